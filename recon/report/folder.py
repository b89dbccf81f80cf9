"""A run folder in, compliance.html out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recon.disk import sha256
from recon.errors import ReconError
from recon.outputs import whole
from recon.report.gather import gather
from recon.report.gather_proof import gather_proof
from recon.report.manifest import FILE_NAME, read_manifest
from recon.report.mask import Veil
from recon.report.persons import PERSONS_FILE, Persons, run_key
from recon.report.render import render_html
from recon.report.run_tables import AGAIN, open_tables
from recon.report.trend import trend

if TYPE_CHECKING:
    from recon.clock import Clock
    from recon.report.manifest import Manifest
    from recon.settings import Settings

#: The report's name in the run folder.
REPORT_NAME = "compliance.html"


def build(run: Path, settings: Settings, *, clock: Clock) -> Path:
    """Write the report of a run into its folder, and persons.csv, which tells who the page's pseudonyms are.

    The same folder, settings and moment give the same bytes. The page is written beside its place and moved there when it is whole.

    Parameters
    ----------
    run
        The run's folder: manifest.json, merged.parquet and actions.csv are read.
    settings
        How to show it: `settings.report` is used.
    clock
        Tells when the report is made. What is overdue is judged on the day of the run, as in the manifest.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    ReconError
        If a file is missing, isn't the file that the run wrote, or contradicts the manifest. Nothing is written then.
    """
    manifest = read_manifest(run / FILE_NAME)
    for name in ("merged.parquet", "actions.csv"):
        if name not in manifest.outputs:
            raise ReconError(f"{run / FILE_NAME}: outputs doesn't name {name}.", hint=AGAIN)
    for name in manifest.outputs:
        _must_be_the_runs(run, name, manifest)
    veil = Veil(masked=settings.report.mask)
    persons = Persons(run_key(run / "merged.parquet"))
    tables = open_tables(run, settings.run)
    report = gather(
        manifest,
        tables,
        gather_proof(run, manifest, settings, clock, veil, persons),
        persons,
        trend(settings.run.reports, run, manifest, veil),
        others=_others(run, manifest),
        settings=settings,
        at=clock.now(),
    )
    html = render_html(report)
    persons.write(tables, run / PERSONS_FILE)
    page = run / REPORT_NAME
    with whole(page) as draft:
        draft.write_bytes(html.encode())
    return page


def _others(run: Path, manifest: Manifest) -> dict[str, str]:
    """The files of the folder whose hash the manifest doesn't hold, with the one they have now. The report can't hold its own."""
    names = sorted(path.name for path in run.iterdir() if path.is_file() and not path.name.startswith("."))
    return {name: sha256(run / name) for name in names if name not in {*manifest.outputs, REPORT_NAME, PERSONS_FILE}}


def _must_be_the_runs(run: Path, name: str, manifest: Manifest) -> None:
    if Path(name).name != name or name in {"", ".", ".."}:
        raise ReconError(f"{run / FILE_NAME}: {name!r} in outputs is no file of this folder.", hint=AGAIN)
    try:
        found = sha256(run / name)
    except OSError as error:
        raise ReconError(f"{run / name}: can't be read: {error.strerror}.", hint=AGAIN) from error
    if found != manifest.outputs[name].sha256:
        raise ReconError(f"{run / name}: was changed after the run: its SHA-256 isn't the manifest's.", hint=AGAIN)
