"""Calls of the command line on a rig's workspace: in a process of its own as a user does, or, much faster, in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import chdir
from typing import TYPE_CHECKING

from click.testing import CliRunner

from recon.cli import main
from recon.clock import iso

if TYPE_CHECKING:
    from pathlib import Path

    from tests.resubscribe.rig import Rig


def recon(
    rig: Rig, *arguments: str | Path, folder: Path | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a workspace, at the rig's time and with the rig's secrets; warnings are errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "recon", *map(str, arguments)],
        cwd=folder or rig.folder,
        env=os.environ | _environ(rig) | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def here(
    rig: Rig, *arguments: str | Path, folder: Path | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """The same within this process."""
    given = [str(each) for each in arguments]
    with chdir(folder or rig.folder):
        done = CliRunner(env=_environ(rig) | environ).invoke(main, given, prog_name="recon")
    return subprocess.CompletedProcess(given, done.exit_code, done.stdout, done.stderr)


def _environ(rig: Rig) -> dict[str, str]:
    return rig.sandbox.environment() | {"RECON_NOW": iso(rig.clock.now())}
