"""What the ledger says became of the clears of a plan: which opt-outs were taken away, when, and which may have been."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from recon.ledger import kinds
from recon.resubscribe.plan_file import packed as packed_step
from recon.resubscribe.plan_file import unpacked_step
from recon.resubscribe.spool import Shelf, Spool
from recon.resubscribe.steps_evidence import ALREADY_SO, WORKLIST, Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recon.ledger import Entry, Ledger
    from recon.resubscribe.plan_file import Plan, Step

# A date ends last in the zone that is twelve hours behind.
_DATE_ENDS = timedelta(hours=36)
# Each of three times leaves its fraction of a second out.
_SECONDS = timedelta(seconds=2)
_CONNECT = "sales_connect"
#: What is kept of an intent.
_KEPT = ("plan", "step", "subject", "record", "system", "field", "way")

Standing = Literal["done", "put_back", "undone", "worklist", "open"]


class Told(Protocol):
    """An entry of the ledger, or what was kept of one."""

    @property
    def data(self) -> dict[str, Any]:
        """Its fields."""
        ...


@dataclass(frozen=True, slots=True)
class Cleared:
    """A clear that was made, or may have been.

    Attributes
    ----------
    step
        The step.
    standing
        done; put_back: done, and then the opt-out was put back, as the person opted out meanwhile; undone: a later plan opted the record out
        again; worklist: an admin has it to do; open: begun, and nobody knows.
    intent
        The ledger's entry of its last try: which plan, step, subject, record, system and field it names, and which way it went.
    began_at
        When that was begun, by this machine's clock.
    at
        When it was done, put back or undone, by this machine's clock; None where that isn't known.
    by
        The run that undid it.
    since
        When it was begun by the clock of Sales Connect: an unsubscribe of that time or later is a new one. None where no system told the time.
    """

    step: Step
    standing: Standing
    intent: Told
    began_at: datetime
    at: datetime | None = None
    by: str | None = None
    since: datetime | None = None


class _Intent(NamedTuple):
    """What is kept of an intent."""

    seq: int
    at: str
    data: dict[str, Any]


class _Outcome(NamedTuple):
    """What is kept of an outcome."""

    seq: int
    at: str
    result: str
    code: str | None
    effective_at: str | None


class _Try(NamedTuple):
    """The last try of a task, and what came of it, where that is known."""

    intent: _Intent
    outcome: _Outcome | None = None


def cleared(ledger: Ledger, plan: Plan, spool: Spool | None = None) -> Iterator[Cleared]:
    """The clears of a plan that took an opt-out away, or may have; in the plan's order. What was refused or left alone isn't among them.

    Parameters
    ----------
    ledger, plan
        The ledger, and the plan.
    spool
        Where what the ledger says of the plan's steps is kept meanwhile; by default in memory.
    """
    spool = spool or Spool()
    tries: Shelf[_Try] = Shelf(spool, json.dumps, _unpacked_try)
    clocks = _Clocks(spool)
    put_back = False
    for entry in ledger.each_of_plan(plan.hash):
        if entry.kind == kinds.INTENT:
            label = entry.data["step"]
            kept = {name: entry.data.get(name) for name in _KEPT}
            tries.put(label, _Try(_Intent(entry.seq, entry.at, kept)))
            clocks.note(entry)
            put_back |= isinstance(label, str)
        elif entry.kind == kinds.OUTCOME:
            tried = tries.get(entry.data["step"])
            assert tried is not None, "an outcome answers an intent of its step"
            if entry.data["intent"] == tried.intent.seq:
                tries.put(entry.data["step"], _Try(tried.intent, _outcome(entry)))
    for step in plan.steps:
        if step.direction != "clear" or (tried := tries.get(step.number)) is None:
            continue
        again = tries.get(Task(step, again=True).label) if put_back else None
        back = None if again is None else again.outcome
        one = _standing(step, tried.intent, clocks.since(tried.intent), tried.outcome, back)
        if one is None:
            continue
        if one.standing == "done" and tried.outcome is not None:
            one = _unless_undone(ledger, one, tried.outcome.seq, plan.hash)
        yield one


def packed(case: Cleared) -> str:
    """A clear as short text, for keeping it elsewhere than in memory."""
    kept = {name: case.intent.data.get(name) for name in _KEPT}
    times = (None if each is None else each.isoformat() for each in (case.began_at, case.at, case.since))
    return json.dumps([packed_step(case.step), case.standing, kept, case.by, *times])


def unpacked(text: str) -> Cleared:
    """The clear that `packed` made the text of. Of its intent it knows what `Cleared` tells of."""
    step, standing, kept, by, *times = json.loads(text)
    began_at, at, since = (None if each is None else datetime.fromisoformat(each) for each in times)
    assert began_at is not None
    return Cleared(unpacked_step(step), standing, _Kept(kept), began_at, at, by, since)


class _Kept(NamedTuple):
    """What is kept of the intent of a clear."""

    data: dict[str, Any]


def _outcome(entry: Entry) -> _Outcome:
    data = entry.data
    return _Outcome(entry.seq, entry.at, data["result"], data.get("code"), data.get("effective_at"))


def _unpacked_try(text: str) -> _Try:
    intent, outcome = json.loads(text)
    return _Try(_Intent(*intent), None if outcome is None else _Outcome(*outcome))


def _unless_undone(ledger: Ledger, one: Cleared, done: int, plan: str) -> Cleared:
    """The clear, or that a later plan took it back: what recon did itself isn't looked for in the systems. `done`: the outcome's number."""
    seqs = {seq for name in ledger.names.of(one.step.key) for seq, _ in ledger.mentioning(name) if seq > done}
    entries = (ledger.entry(seq) for seq in sorted(seqs))
    later = [each for each in entries if each.kind == kinds.OUTCOME and each.data["result"] == "done"]
    if not later or later[-1].data.get("to") is False or later[-1].data["plan"] == plan:
        return one
    return replace(one, standing="undone", at=_moment(later[-1].at), by=later[-1].data.get("run_id"))


class _Timed(Protocol):
    """An intent, or what was kept of one."""

    @property
    def seq(self) -> int:
        """Its number."""
        ...

    @property
    def at(self) -> str:
        """When it was said, by this machine's clock."""
        ...


class _Clocks:
    """How far the systems' clocks were from this machine's when a plan's writes were begun, as the intents tell."""

    def __init__(self, spool: Spool | None = None) -> None:
        self._ahead: dict[str, timedelta] = {}
        self._since: Shelf[datetime] = Shelf(spool or Spool(), datetime.isoformat, datetime.fromisoformat)

    def note(self, intent: Entry) -> None:
        """Take up an intent, in the ledger's order."""
        told, system = intent.data.get("system_at"), intent.data["system"]
        if told is not None:
            self._ahead[system] = _moment(told) - _moment(intent.at)
        if told is not None and system == _CONNECT:
            self._since.put(intent.seq, _moment(told))
        elif (since := self._reckoned(intent)) is not None:
            self._since.put(intent.seq, since)

    def since(self, intent: _Timed) -> datetime | None:
        """When an intent was begun, by Sales Connect's clock, and not later; None where no system told the time."""
        return self._since.get(intent.seq) or self._reckoned(intent)

    def _reckoned(self, intent: _Timed) -> datetime | None:
        # Where Sales Connect didn't tell, Salesforce's time counts: both are kept right by their makers, this machine's by whoever has it.
        ahead = self._ahead.get(_CONNECT, self._ahead.get("salesforce"))
        return None if ahead is None else _moment(intent.at) + ahead - _SECONDS


def _standing(
    step: Step, intent: _Intent, since: datetime | None, outcome: _Outcome | None, back: _Outcome | None
) -> Cleared | None:
    began_at = _moment(intent.at)
    if outcome is None:
        return Cleared(step, "worklist" if intent.data.get("way") == WORKLIST else "open", intent, began_at)
    if outcome.result != "done":
        return None
    if back is not None and (back.result == "done" or back.code == ALREADY_SO):
        return Cleared(step, "put_back", intent, began_at, _moment(back.at))
    at = _done_at(outcome)
    if outcome.effective_at is not None:
        since = min(since or began_at, at)
    return Cleared(step, "done", intent, min(began_at, at), at, since=since)


def _done_at(outcome: _Outcome) -> datetime:
    """When it was done at the latest: an admin may say so with a date alone, of whatever zone."""
    known, told = _moment(outcome.at), outcome.effective_at
    if told is None:
        return known
    return min(known, _moment(told) if "T" in told else _moment(f"{told}T00:00:00Z") + _DATE_ENDS)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
