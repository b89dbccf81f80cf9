"""Verify: after the next nightly run, did every resubscribe stick, and if not, which record undid it.

Only the records that a plan cleared are read again, and those that the sync joins to them. Nothing is written to either system.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property
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
from recon.outputs import whole, write_csv
from recon.progress import SILENT
from recon.resubscribe.aftermath import STUCK, Fate, fate
from recon.resubscribe.spool import Row, room_for
from recon.resubscribe.standing import cleared, packed, unpacked
from recon.resubscribe.stars import STARS, Reading
from recon.resubscribe.stored_plan import StoredPlan
from recon.secrets import resolver
from recon.sources.calls import cost
from recon.sources.guard import window
from recon.sources.quota import day
from recon.tables import VERIFICATION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

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
#: Clears whose records are read again.
_LOOKED_AT = frozenset({"done", "worklist"})
#: Rows that are made into a table together.
_AT_A_TIME = 10_000
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


@dataclass(frozen=True)
class Verified:
    """A run that was verified.

    Attributes
    ----------
    run_id, plan
        The run, and its plan's hash.
    rows
        One a clear that was made or may have been, in the plan's order. They are on the disk for as long as this is there, and read whenever they are
        asked for.
    folder
        The run's folder, with verification.csv and verification.json.
    """

    run_id: str
    plan: str
    rows: Sequence[VerifiedRow]
    folder: Path

    @cached_property
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
    NoRoom
        If the disk is full.
    """
    clock = clock or from_environment()
    loaded = settings.load(Path(workspace))
    secrets = resolver(loaded, environ)
    if not loaded.run.ledger.is_dir():
        raise UsageError("no plan was applied here yet.", hint="Apply one with `recon apply`.")
    with room_for(loaded.run.reports, remedy="Make room there, then verify again."):
        with open_ledger(loaded, clock, secrets) as ledger:
            folder, stored = _applied(ledger, loaded) if run_id is None else _of_run(jobs.run_folder(loaded, run_id))
            plan = stored.plan
            verification = _Verification(stored, loaded, clock.now())
            cases, rows = verification.rows(ledger, secrets, progress or SILENT)
            counts = dict(sorted(Counter(row.state for row in rows).items()))
            _write(plan, rows, {"counts": counts} | verification.cost, folder, clock)
            ledger.append_each(_drafts(ledger, plan, cases, rows, counts, loaded, clock.now()))
            take_checkpoint(ledger, loaded, folder, secrets)
        return Verified(plan.run_id, plan.hash, rows or (), folder)


def _of_run(folder: Path) -> tuple[Path, StoredPlan]:
    if not (folder / _PLAN_FILE).is_file():
        raise UsageError(f"there is no plan in the run {folder.name}.", hint="Name the run whose plan was applied.")
    return folder, StoredPlan(folder / _PLAN_FILE)


def _applied(ledger: Ledger, loaded: Settings) -> tuple[Path, StoredPlan]:
    """The folder of the run that was applied last, and its plan; plans that only take something back aren't meant."""
    runs = [entry.data["run_id"] for entry in ledger.entries(kinds.RUN) if entry.data["job"] == "apply"]
    for run_id in dict.fromkeys(reversed(runs)):
        folder = jobs.run_folder(loaded, run_id)
        if (folder / _PLAN_FILE).is_file() and (stored := StoredPlan(folder / _PLAN_FILE)).plan.kind == "resubscribe":
            return folder, stored
    raise UsageError("no plan was applied here yet.", hint="Apply one with `recon apply`.")


class _Verification:
    """Judges the clears of one plan."""

    def __init__(self, stored: StoredPlan, loaded: Settings, now: datetime) -> None:
        self._plan, self._spool = stored.plan, stored.spool
        self._loaded, self._now = loaded, now
        self.cost: dict[str, Any] = {"api_calls_by_kind": cost(None, None), "api_quota": day(None)}

    def rows(
        self, ledger: Ledger, environ: Mapping[str, str], progress: Progress
    ) -> tuple[Row[Cleared], Row[VerifiedRow]]:
        """The clears, and what became of each."""
        cases: Row[Cleared] = Row(self._spool, packed, unpacked)
        looked_at: Row[str] = Row(self._spool, str, str)
        for case in cleared(ledger, self._plan, self._spool):
            cases.append(case)
            if case.standing in _LOOKED_AT:
                looked_at.append(case.step.key)
        rows: Row[VerifiedRow] = Row(self._spool, _packed, _unpacked)
        for case, found in self._fates(cases, looked_at, environ, progress):
            rows.append(_row(case, found))
        return cases, rows

    def _fates(
        self, cases: Sequence[Cleared], looked_at: Sequence[str], environ: Mapping[str, str], progress: Progress
    ) -> Iterator[tuple[Cleared, Fate]]:
        if not looked_at:
            yield from ((case, self._fate(case, None, ())) for case in cases)
            return
        with Reading(self._plan, self._loaded, self._now, environ, progress, self._spool) as reading:
            reading.read(looked_at)
            self.cost = reading.cost()
        for start in range(0, len(cases), STARS):
            part = cases[start : start + STARS]
            stars = reading.stars([case.step.key for case in part if case.standing in _LOOKED_AT])
            yield from ((case, self._fate(case, *stars.get(case.step.key, (None, ())))) for case in part)

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


def _packed(row: VerifiedRow) -> str:
    values = [getattr(row, name) for name in _FIELDS]
    return json.dumps([value.isoformat() if isinstance(value, datetime) else value for value in values])


def _unpacked(text: str) -> VerifiedRow:
    said = dict(zip(_FIELDS, json.loads(text), strict=True))
    at = said.pop("changed_at")
    return VerifiedRow(**said, changed_at=None if at is None else datetime.fromisoformat(at))


_FIELDS = tuple(each.name for each in fields(VerifiedRow))


def _write(plan: Plan, rows: Row[VerifiedRow], about: Mapping[str, Any], folder: Path, clock: Clock) -> None:
    batches = (
        pa.RecordBatch.from_pylist(
            [_cells(row) for row in rows[start : start + _AT_A_TIME]], schema=VERIFICATION.schema
        )
        for start in range(0, len(rows), _AT_A_TIME)
    )
    write_csv(batches, VERIFICATION, folder / VERIFICATION_CSV)
    document = {"schema": 1, "run_id": plan.run_id, "plan": plan.hash, "created_at": iso(clock.now())} | dict(about)
    _write_json(document, rows, folder / VERIFICATION_JSON)


def _cells(row: VerifiedRow) -> dict[str, Any]:
    cells = {name: getattr(row, name) for name in _FIELDS}
    cells["record"] = cells.pop("key")
    return cells


def _write_json(document: Mapping[str, Any], rows: Iterable[VerifiedRow], path: Path) -> None:
    """By hand what `recon.outputs.write_json` would write of the document with its rows, so that the rows need not all be there at once."""
    with whole(path) as draft, draft.open("w", encoding="utf-8") as out:
        between = "{\n"
        for name in sorted({*document, "rows"}):
            out.write(f"{between}  {json.dumps(name)}: ")
            between = ",\n"
            if name in document:
                out.write(_text(document[name], 2))
                continue
            first = "[\n"
            for row in rows:
                cells = _cells(row)
                cells["changed_at"] = None if row.changed_at is None else iso(row.changed_at)
                out.write(f"{first}    {_text(cells, 4)}")
                first = ",\n"
            out.write("[]" if first == "[\n" else "\n  ]")
        out.write("\n}\n")


def _text(value: object, by: int) -> str:
    """A value as JSON, moved in by so many blanks but for its first line."""
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True).replace("\n", "\n" + " " * by)


def _drafts(
    ledger: Ledger,
    plan: Plan,
    cases: Iterable[Cleared],
    rows: Iterable[VerifiedRow],
    counts: Mapping[str, int],
    loaded: Settings,
    now: datetime,
) -> Iterator[Draft]:
    """The entries: the run, and one for each record of which something is known."""
    in_force = jobs.settings_in_force(loaded)["settings_sha256"]
    yield Draft(kinds.RUN, {"run_id": plan.run_id, "job": "verify", "settings": in_force, "counts": dict(counts)})
    for case, found in zip(cases, rows, strict=True):
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
        yield Draft(kinds.VERIFICATION, data)
