"""Calls of the command line in processes of their own, on a rig's workspace."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from recon.clock import iso

if TYPE_CHECKING:
    from pathlib import Path

    from tests.resubscribe.rig import Rig


def recon(
    rig: Rig, *arguments: str | Path, folder: Path | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a workspace, at the rig's time and with the rig's secrets; warnings are errors."""
    given = os.environ | rig.sandbox.environment() | {"RECON_NOW": iso(rig.clock.now())} | environ
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "recon", *map(str, arguments)],
        cwd=folder or rig.folder,
        env=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
