"""What the ledger holds about a run's plan: what every approved row said, and which opt-outs were put back.

The run's files hold no words about a person: those are in the ledger's personal part, which can be erased.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recon.errors import ReconError
from recon.ledger.errors import LedgerError
from recon.report.context_proof import LedgerPoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from recon.clock import Clock
    from recon.ledger import Checkpoint
    from recon.report.approved_run import ApprovedRun
    from recon.report.manifest import Manifest
    from recon.report.mask import Veil
    from recon.settings import Settings


@dataclass(frozen=True, slots=True)
class Said:
    """One row of the approved file, as the ledger has it.

    Attributes
    ----------
    facts
        The entry's own fields.
    words
        Its personal part; None where it was erased.
    """

    facts: Mapping[str, Any]
    words: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found.

    Attributes
    ----------
    rows
        The approved file's rows by line.
    put_back
        Numbers of the steps whose opt-out was put back while the plan was applied, each with the time.
    ticked_by
        Numbers of the steps that an admin did by hand, each with the name.
    note
        A sentence where the ledger can't be looked into; None where it could.
    """

    rows: Mapping[int, Said] = field(default_factory=dict)
    put_back: Mapping[int, str] = field(default_factory=dict)
    ticked_by: Mapping[int, str] = field(default_factory=dict)
    note: str | None = None


def look_up(found: ApprovedRun, settings: Settings, clock: Clock) -> Looked:
    """Look into the workspace's ledger; nothing is written. Where it isn't there, that is said and the rest of the report stands."""
    from recon.evidence import open_ledger
    from recon.ledger.schema import FILE

    if not (settings.run.ledger / FILE).is_file():
        return Looked(
            note="The workspace's ledger isn't where the settings say: evidence, requester and approver can't be shown."
        )
    try:
        with open_ledger(settings, clock) as ledger:
            return _looked(ledger, found)
    except LedgerError as error:
        return Looked(
            note=f"The ledger can't be used, so evidence, requester and approver can't be shown: {error.message}"
        )


def _looked(ledger: Any, found: ApprovedRun) -> Looked:
    from recon.clock import iso
    from recon.ledger import kinds
    from recon.resubscribe.standing import cleared

    plan = found.plan
    rows: dict[int, Said] = {}
    if plan.approved is not None:
        for entry in ledger.of_file(plan.approved.sha256):
            if entry.kind == kinds.VERDICT and entry.data.get("run_id") == plan.run_id:
                rows[entry.data["row"]] = Said(entry.data, ledger.personal(entry))
    ticked = {}
    for entry in ledger.of_plan(plan.hash):
        if entry.kind == kinds.OUTCOME and entry.personal_id is not None and isinstance(entry.data["step"], int):
            ticked[entry.data["step"]] = str((ledger.personal(entry) or {}).get("done_by", "erased"))
    back = {
        case.step.number: "" if case.at is None else iso(case.at)
        for case in cleared(ledger, plan)
        if case.standing == "put_back"
    }
    return Looked(rows, back, ticked)


def newest_checkpoint(
    run: Path, in_manifest: Mapping[str, Any] | None, settings: Settings
) -> tuple[Checkpoint, Path] | None:
    """The newest checkpoint that this run took and the file that holds it; for a run that took none, the workspace's newest.

    Raises
    ------
    ReconError
        If the file can't be read.
    """
    from recon.evidence import CHECKPOINTS
    from recon.ledger.checkpoint import Unreadable, from_json, read

    file = run / CHECKPOINTS
    try:
        if file.is_file():
            return read(file)[-1], file
        if in_manifest is not None:
            return from_json(in_manifest), run / "manifest.json"
        file = settings.run.ledger / CHECKPOINTS
        return (read(file)[-1], file) if file.is_file() else None
    except Unreadable as error:
        raise ReconError(
            f"{file}: the ledger's checkpoint can't be read: {error}.",
            hint="Hold the ledger against a copy from elsewhere: `recon ledger verify --checkpoint FILE`.",
        ) from error


def ledger_point(run: Path, manifest: Manifest, settings: Settings, veil: Veil) -> LedgerPoint | None:
    """The checkpoint as the page shows it; None where the workspace has no ledger yet.

    Raises
    ------
    ReconError
        If the file that holds it can't be read.
    """
    found = newest_checkpoint(run, manifest.ledger, settings)
    if found is None:
        return None
    point, file = found
    own = file.parent == run
    return LedgerPoint(
        size=point.size,
        head=point.head,
        time=point.time,
        tool=veil.text(point.tool),
        signed=point.signature is not None,
        line=point.line(),
        place="taken by this run" if own else "the workspace’s newest; this run itself wrote nothing to the ledger",
        file=veil.text(f"{run.name}/{file.name}" if own else f"{file.parent.name}/{file.name}"),
    )
