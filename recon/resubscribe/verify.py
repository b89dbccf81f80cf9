"""Verify: after the next nightly run, did every resubscribe stick, and if not, which record undid it.

Only the records that a plan cleared are read again, and those that the sync joins to them. Nothing is written to either system.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from recon import jobs, settings
from recon.clock import from_environment, iso
from recon.errors import UsageError
from recon.evidence import open_ledger, take_checkpoint
from recon.ledger import Draft, kinds
from recon.nightly import next_run
from recon.outputs import write_csv, write_json
from recon.progress import SILENT
from recon.resubscribe.aftermath import STUCK, Fate, fate
from recon.resubscribe.plan_file import read_plan
from recon.resubscribe.standing import cleared
from recon.resubscribe.stars import Reading
from recon.secrets import resolver
from recon.sources.calls import cost
from recon.sources.guard import window
from recon.sources.quota import day
from recon.tables import VERIFICATION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from recon.clock import Clock
    from recon.ledger import Ledger
    from recon.progress import Progress
    from recon.resubscribe.plan_file import Plan
    from recon.resubscribe.rereading import Now
    from recon.resubscribe.standing import Cleared
    from recon.settings import Settings

VERIFICATION_CSV, VERIFICATION_JSON = "verification.csv", "verification.json"
_PLAN_FILE = "plan.json"
_NO_EXTRACT = "No extract that was made since is there: pull a fresh one, and verify again."
_NO_CAUSE = "It is opted out again. What did it can't be told, as the newest extract of the linked records is older: pull a fresh one, and verify again."
_IN_LEDGER = {"worklist_open": "on_worklist"}


@dataclass(frozen=True, slots=True)
class VerifiedRow:
    """What became of one clear.

    Attributes
    ----------
    step, row, key
        The step of the plan, the line of the approved file, and the record as `system:id`.
    state
        stuck; reverted; unsubscribed_anew: the person's own act, which wins; undone: by a later plan of recon's own; worklist_open: an admin hasn't done it; gone: deleted, merged or
        converted; too_early: the nightly run is still to come; unknown.
    caused_by, through
        The record that undid it, as `system:id`, and the link it came by; `through` None where it happened on the record itself.
    changed_at
        When it was undone, UTC, where that is known.
    message
        What happened and what to do. Holds no address.
    """

    step: int
    row: int | None
    key: str
    state: str
    caused_by: str | None
    through: str | None
    changed_at: datetime | None
    message: str


@dataclass(frozen=True, slots=True)
class Verified:
    """A run that was verified.

    Attributes
    ----------
    run_id, plan
        The run, and its plan's hash.
    rows
        One a clear that was made or may have been, in the plan's order.
    folder
        The run's folder, with verification.csv and verification.json.
    """

    run_id: str
    plan: str
    rows: tuple[VerifiedRow, ...]
    folder: Path

    @property
    def counts(self) -> dict[str, int]:
        """Rows by state, those that don't occur left out."""
        return dict(sorted(Counter(row.state for row in self.rows).items()))

    @property
    def exit_code(self) -> int:
        """3: something was reverted. 0: nothing was."""
        return 3 if "reverted" in self.counts else 0

    def lines(self) -> list[str]:
        """What was found, for people. Holds no address."""
        said = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.counts.items())
        lines = [f"Run {self.run_id}, {len(self.rows)} records cleared: {said or 'nothing to verify'}"]
        lines += [
            f"  step {row.step}, {row.key}: {row.state.replace('_', ' ')}. {row.message}"
            for row in self.rows
            if (row.state, row.message) != ("stuck", STUCK)
        ]
        return [*lines, f"  files in {self.folder}"]


def verify(
    workspace: str | Path,
    *,
    run_id: str | None = None,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Verified:
    """Look whether the resubscribes of a run stuck.

    Before the next nightly run is over this can't be told: such records are too_early, unless something undid them already.

    Parameters
    ----------
    workspace
        Where recon.toml, the runs and the ledger are.
    run_id
        The run whose plan was applied; by default the one that was applied last.
    clock, environ, progress
        The time, the environment that holds the secrets, and where progress is shown; by default the machine's own and silence.

    Returns
    -------
    Verified
        `exit_code` is 3 where something was reverted. The run's folder holds it as verification.csv and verification.json, the ledger as
        entries.

    Raises
    ------
    UsageError
        If no plan was applied, or the run has none.
    InputRefused
        If the plan was changed.
    SourceError
        If a system can't be read.
    """
    clock = clock or from_environment()
    loaded = settings.load(Path(workspace))
    secrets = resolver(loaded, environ)
    if not loaded.run.ledger.is_dir():
        raise UsageError("no plan was applied here yet.", hint="Apply one with `recon apply`.")
    with open_ledger(loaded, clock, secrets) as ledger:
        folder = _applied(ledger, loaded) if run_id is None else jobs.run_folder(loaded, run_id)
        if not (folder / _PLAN_FILE).is_file():
            raise UsageError(f"there is no plan in the run {folder.name}.", hint="Name the run whose plan was applied.")
        plan = read_plan(folder / _PLAN_FILE)
        cases = cleared(ledger, plan)
        verification = _Verification(plan, loaded, clock.now())
        found = verification.fates(cases, secrets, progress or SILENT)
        rows = tuple(_row(case, each) for case, each in zip(cases, found, strict=True))
        _write(plan, rows, verification.cost, folder, clock)
        ledger.append_all(_drafts(ledger, plan, cases, found, loaded, clock.now()))
        take_checkpoint(ledger, loaded, folder, secrets)
    return Verified(plan.run_id, plan.hash, rows, folder)


def _applied(ledger: Ledger, loaded: Settings) -> Path:
    """The folder of the run that was applied last; plans that only take something back aren't meant."""
    runs = [entry.data["run_id"] for entry in ledger.entries(kinds.RUN) if entry.data["job"] == "apply"]
    for run_id in dict.fromkeys(reversed(runs)):
        folder = jobs.run_folder(loaded, run_id)
        if (folder / _PLAN_FILE).is_file() and read_plan(folder / _PLAN_FILE).kind == "resubscribe":
            return folder
    raise UsageError("no plan was applied here yet.", hint="Apply one with `recon apply`.")


class _Verification:
    """Judges the clears of one plan."""

    def __init__(self, plan: Plan, loaded: Settings, now: datetime) -> None:
        self._plan, self._loaded, self._now = plan, loaded, now
        self.cost: dict[str, Any] = {"api_calls_by_kind": cost(None, None), "api_quota": day(None)}

    def fates(self, cases: Sequence[Cleared], environ: Mapping[str, str], progress: Progress) -> list[Fate]:
        looked_at = [case.step.key for case in cases if case.standing in ("done", "worklist")]
        if not looked_at:
            return [self._fate(case, None, ()) for case in cases]
        with Reading(self._plan, self._loaded, self._now, environ, progress) as reading:
            stars = reading.stars(looked_at)
            self.cost = reading.cost()
        return [self._fate(case, *stars.get(case.step.key, (None, ()))) for case in cases]

    def _fate(self, case: Cleared, now: Now | None, star: Sequence[Now]) -> Fate:
        if case.standing == "put_back":
            text = "The person opted out again while the plan was applied, and the opt-out was put back. That wins."
            return Fate("unsubscribed_anew", text, changed_at=case.at)
        if case.standing == "undone":
            run = f"The run {case.by}" if case.by else "A later run"
            return Fate("undone", f"{run} opted it out again, as its plan says.", changed_at=case.at)
        if case.standing == "open":
            return Fate("unknown", "It was begun, and whether it was done isn't known: apply the same plan again.")
        if case.standing == "worklist":
            text = "An admin has to do it in Sales Connect, see the worklist; hand the ticked list back."
            if now is not None and now.as_of > case.began_at and now.gone is None and not now.out:
                text = "It seems to be done in Sales Connect: hand the ticked worklist back."
            return Fate("worklist_open", text)
        assert case.at is not None
        closes = run_over(case.at, self._loaded)
        early = closes is not None and self._now < closes
        if now is None or now.as_of < case.at:
            if closes is not None and early:
                text = f"The nightly run is over at {iso(closes)}: pull a fresh extract then, and verify."
                return Fate("too_early", text)
            return Fate("unknown", _NO_EXTRACT)
        found = fate(case, now, [each for each in star if each.as_of >= case.at], closes)
        guessed = found.caused_by is None or (found.caused_by == now.uid and not now.is_person)
        # What was read live is never older, whatever the clocks say: nothing is read before it happens.
        happened = min(now.at or now.as_of, now.as_of)
        older = any(each.as_of < happened for each in star)
        if found.state == "reverted" and guessed and older:
            return Fate("unknown", _NO_CAUSE, changed_at=found.changed_at)
        # An extract that was pulled before the run was over tells nothing about after it.
        return Fate("unknown", _NO_EXTRACT) if found.state == "too_early" and not early else found


def run_over(at: datetime, loaded: Settings) -> datetime | None:
    """When the guard window around the next nightly run after a moment is over; None with the sync switched off."""
    if not loaded.sync.enabled:
        return None
    run = next_run(at, loaded.sync)
    return window(run.astimezone(ZoneInfo(loaded.sync.time_zone)).date(), loaded.sync)[1]


def _row(case: Cleared, found: Fate) -> VerifiedRow:
    step = case.step
    return VerifiedRow(
        step.number, step.row, step.key, found.state, found.caused_by, found.through, found.changed_at, found.message
    )


def _write(plan: Plan, rows: Sequence[VerifiedRow], about: Mapping[str, Any], folder: Path, clock: Clock) -> None:
    table = pa.Table.from_pylist(
        [
            {
                "step": row.step,
                "row": row.row,
                "record": row.key,
                "state": row.state,
                "caused_by": row.caused_by,
                "through": row.through,
                "changed_at": row.changed_at,
                "message": row.message,
            }
            for row in rows
        ],
        schema=VERIFICATION.schema,
    )
    write_csv(table.to_batches(), VERIFICATION, folder / VERIFICATION_CSV)
    said = table.to_pylist()
    for row in said:
        row["changed_at"] = None if row["changed_at"] is None else iso(row["changed_at"])
    document = {
        "schema": 1,
        "run_id": plan.run_id,
        "plan": plan.hash,
        "created_at": iso(clock.now()),
        "counts": dict(sorted(Counter(row.state for row in rows).items())),
        "rows": said,
    } | dict(about)
    write_json(document, folder / VERIFICATION_JSON)


def _drafts(
    ledger: Ledger, plan: Plan, cases: Sequence[Cleared], fates: Sequence[Fate], loaded: Settings, now: datetime
) -> list[Draft]:
    """The entries: the run, and one for each record of which something is known."""
    counts = Counter(each.state for each in fates)
    in_force = jobs.settings_in_force(loaded)["settings_sha256"]
    run = {"run_id": plan.run_id, "job": "verify", "settings": in_force, "counts": dict(sorted(counts.items()))}
    drafts = [Draft(kinds.RUN, run)]
    for case, found in zip(cases, fates, strict=True):
        if found.state == "too_early":
            continue
        said = case.intent.data
        data: dict[str, Any] = {
            name: said.get(name) for name in ("plan", "step", "subject", "record", "system", "field")
        }
        data |= {"result": _IN_LEDGER.get(found.state, found.state), "run_id": plan.run_id, "through": found.through}
        if found.state in ("stuck", "reverted", "unsubscribed_anew", "undone"):
            data["value"] = found.state != "stuck"
        if found.caused_by is not None:
            system, _, identity = found.caused_by.partition(":")
            data["caused_by"] = ledger.names.record(system, identity)
        if found.changed_at is not None:
            data["changed_at"] = iso(found.changed_at)
        closes = None if case.at is None else run_over(case.at, loaded)
        if case.at is not None and closes is not None and closes <= now:
            data["sync_run_at"] = iso(next_run(case.at, loaded.sync))
        drafts.append(Draft(kinds.VERIFICATION, data))
    return drafts
