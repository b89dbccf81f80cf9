"""Make the sample: the run folder that the demo leaves, and the executed notebooks, of made-up people.

The same versions of the libraries give the same bytes: the clock stands, the two systems listen on set ports, and what the ledger draws at
random comes from a seed here (and only here).
"""

from __future__ import annotations

import argparse
import csv
import filecmp
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import nbformat

from recon import batch, demo, demo_story
from recon.clock import VARIABLE, iso
from recon.errors import ReconError
from recon.ledger import chain, pseudonym

if TYPE_CHECKING:
    from recon.clock import SetClock
    from recon.sandbox.box import Sandbox

HERE = Path(__file__).resolve().parent
SAMPLE = HERE / "sample"
#: What the notebook for approved files is handed in, the day after the demo's own: some of those whose rows were refused, with what was
#: missing, and some that are refused again.
APPROVED = "inbox/approved_next.csv"
_USUAL = {
    "reason": "Asked on the phone to get our mail again",
    "authorization": "Consent",
    "consent_date": "2026-11-26T15:00:00Z",
    "purpose": "Sales mail about our products",
    "evidence": "call recording 2214",
    "initiated_by": "person",
    "approved_by": demo_story.ADMIN,
    "approved_at": "2026-11-26T17:00:00Z",
    "requested_by": "Kofi Mensah",
    "scope": "sales",
}
_ROWS = (
    {"email": "ada.startek.117@pearson.invalid"},
    {"email": "nurettin.kreusel.158@smith.example", "evidence": "form submission 83177", "country": "DE"},
    {"email": "almuth.mentzel.260@valenzuela.example", "evidence": "paper form 9, scanned"},
    {"email": "118@example.net", "initiated_by": "sender"},
    {"email": "bibiana.valero.4@example.org"},
    {"email": "nobody@nowhere.example", "evidence": "", "approved_by": "Sam Sales"},
)
PEOPLE = 300
PORTS = (48127, 48128)
#: Of an executed notebook, what differs from run to run: when, how long, and in which folder.
_VOLATILE = ("start_time", "end_time", "duration", "input_path", "output_path")
#: A picture depends on the browser and its fonts, so it is not compared.
_NOT_COMPARED = ("compliance.png",)


class _Seeded:
    """What stands in for the module `secrets`."""

    def __init__(self, seed: bytes) -> None:
        self._seed, self._drawn = seed, 0

    def token_bytes(self, count: int = 32) -> bytes:
        self._drawn += 1
        return hashlib.shake_256(self._seed + self._drawn.to_bytes(8, "big")).digest(count)

    def token_hex(self, count: int = 32) -> str:
        return self.token_bytes(count).hex()


def make(target: Path) -> None:
    """Write the sample to a folder, which is replaced."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="recon-sample-") as temporary:
        # Relative paths: where the sample was made must not be told in it.
        os.chdir(temporary)
        try:
            drawn = _Seeded(b"recon sample")
            with mock.patch.object(chain, "secrets", drawn), mock.patch.object(pseudonym, "secrets", drawn):
                report = demo.run(Path("demo"), people=PEOPLE, say=lambda _: None, ports=PORTS, afterwards=_notebooks)
            for path in target.glob("*"):
                if path.name not in _NOT_COMPARED:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            shutil.copytree(report.parent, target, dirs_exist_ok=True)
            for path in sorted(Path("demo/reports").glob("*/notebooks/*.ipynb")):
                (target / "notebooks").mkdir(exist_ok=True)
                (target / "notebooks" / path.name).write_text(_settled(path, temporary), "utf-8")
        finally:
            os.chdir(before)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _notebooks(sandbox: Sandbox, clock: SetClock) -> None:
    """Run the notebooks in the demo's workspace, as a run of its own: the demo's run stays as it was."""
    with (Path("demo") / APPROVED).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, (*_USUAL, "email", "country"), restval="")
        writer.writeheader()
        writer.writerows(_USUAL | row for row in _ROWS)
    environ = sandbox.environment() | {VARIABLE: iso(clock.now())}
    told: dict[str, object] = {
        "approved": APPROVED,
        "created_by": demo_story.ANALYST,
        "apply": True,
        "actor": demo_story.ADMIN,
    }
    with mock.patch.dict(os.environ, environ):
        batch.run(
            Path("demo"),
            run_id="notebooks",
            notebooks=("01_pull", "02_reconcile", "03_report", "05_explore"),
            clock=clock,
        )
        batch.run(Path("demo"), run_id="resubscribe", notebooks=("04_resubscribe",), parameters=told, clock=clock)


def _settled(path: Path, folder: str) -> str:
    """An executed notebook without what differs from run to run."""
    notebook: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    for part in (notebook, *notebook.cells):
        for name in ("papermill", "execution"):
            told = part.metadata.get(name, {})
            for key in (*_VOLATILE, *(key for key in tuple(told) if key.startswith(("iopub", "shell")))):
                told.pop(key, None)
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False).replace(folder, "") + "\n"


def _draw(page: Path, picture: Path) -> None:
    """Take the README's picture of the report, where a browser is there to do it."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.stdout.write("No Chromium is here: the picture of the report is left as it was.\n")
        return
    with tempfile.TemporaryDirectory(prefix="recon-browser-", ignore_cleanup_errors=True) as profile:
        options = (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-sync",
        )
        quiet = ("--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}")
        size = ("--window-size=1280,900", f"--screenshot={picture}")
        subprocess.run([browser, *options, *quiet, *size, page.as_uri()], check=True, capture_output=True, timeout=120)  # noqa: S603


def differences(one: Path, other: Path) -> list[str]:
    """The files that aren't the same in both folders."""

    def names(folder: Path) -> set[str]:
        found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        return set(found) - set(_NOT_COMPARED)

    both = names(one) | names(other)
    _, differing, missing = filecmp.cmpfiles(one, other, sorted(both), shallow=False)
    return sorted([*differing, *missing])


def main() -> int:
    """Make the sample, or with --check hold it against one that is made anew."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit with 1 where the sample is behind the code"
    )
    if not parser.parse_args().check:
        make(SAMPLE)
        _draw(SAMPLE / "compliance.html", SAMPLE / "compliance.png")
        sys.stdout.write(f"{SAMPLE}\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="recon-sample-") as temporary:
        made = Path(temporary) / "sample"
        make(made)
        tools = [json.loads((folder / "manifest.json").read_text("utf-8"))["tool"] for folder in (made, SAMPLE)]
        if tools[0] != tools[1]:
            sys.stdout.write(f"The sample was made with other versions: {tools[1]}, not {tools[0]}. Not compared.\n")
            return 0
        differing = differences(made, SAMPLE)
        if differing:
            sys.stdout.write(
                f"The sample is behind the code: {', '.join(differing)}. Run `make sample`, look, commit.\n"
            )
            return 1
    sys.stdout.write("The sample is what the code makes.\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ReconError as error:
        # A port of the two systems that is taken, above all: they stand in the sample, so others won't do.
        sys.exit(
            f"make sample: {error}\nThe two systems of the sample need the ports {PORTS[0]} and {PORTS[1]} to be free."
        )
