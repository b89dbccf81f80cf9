"""What the ledger says became of the clears of a plan: which opt-outs were taken away, when, and which may have been."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from recon.ledger import kinds
from recon.resubscribe.steps_evidence import ALREADY_SO, WORKLIST, Task

if TYPE_CHECKING:
    from recon.ledger import Entry, Ledger
    from recon.resubscribe.plan_file import Plan, Step

# A date ends last in the zone that is twelve hours behind.
_DATE_ENDS = timedelta(hours=36)
# Each of three times leaves its fraction of a second out.
_SECONDS = timedelta(seconds=2)
_CONNECT = "sales_connect"

Standing = Literal["done", "put_back", "undone", "worklist", "open"]


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
        The ledger's entry of its last try.
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
    intent: Entry
    began_at: datetime
    at: datetime | None = None
    by: str | None = None
    since: datetime | None = None


def cleared(ledger: Ledger, plan: Plan) -> list[Cleared]:
    """The clears of a plan that took an opt-out away, or may have; in the plan's order. What was refused or left alone isn't among them."""
    intents: dict[int | str, Entry] = {}
    outcomes: dict[int | str, Entry] = {}
    clocks = _Clocks()
    for entry in ledger.each_of_plan(plan.hash):
        if entry.kind == kinds.INTENT:
            intents[entry.data["step"]] = entry
            clocks.note(entry)
            outcomes.pop(entry.data["step"], None)
        elif entry.kind == kinds.OUTCOME and entry.data["intent"] == intents[entry.data["step"]].seq:
            outcomes[entry.data["step"]] = entry
    found = []
    for step in plan.steps:
        if step.direction != "clear" or (intent := intents.get(step.number)) is None:
            continue
        back = outcomes.get(Task(step, again=True).label)
        one = _standing(step, intent, clocks.since(intent), outcomes.get(step.number), back)
        if one is not None:
            found.append(one if one.standing != "done" else _unless_undone(ledger, one, outcomes[step.number]))
    return found


def _unless_undone(ledger: Ledger, one: Cleared, done: Entry) -> Cleared:
    """The clear, or that a later plan took it back: what recon did itself isn't looked for in the systems."""
    seqs = {seq for name in ledger.names.of(one.step.key) for seq, _ in ledger.mentioning(name) if seq > done.seq}
    entries = (ledger.entry(seq) for seq in sorted(seqs))
    later = [each for each in entries if each.kind == kinds.OUTCOME and each.data["result"] == "done"]
    if not later or later[-1].data.get("to") is False or later[-1].data["plan"] == done.data["plan"]:
        return one
    return replace(one, standing="undone", at=_moment(later[-1].at), by=later[-1].data.get("run_id"))


class _Clocks:
    """How far the systems' clocks were from this machine's when a plan's writes were begun, as the intents tell."""

    def __init__(self) -> None:
        self._ahead: dict[str, timedelta] = {}
        self._since: dict[int, datetime] = {}

    def note(self, intent: Entry) -> None:
        """Take up an intent, in the ledger's order."""
        told, system = intent.data.get("system_at"), intent.data["system"]
        if told is not None:
            self._ahead[system] = _moment(told) - _moment(intent.at)
        if told is not None and system == _CONNECT:
            self._since[intent.seq] = _moment(told)
        elif (since := self._reckoned(intent)) is not None:
            self._since[intent.seq] = since

    def since(self, intent: Entry) -> datetime | None:
        """When an intent was begun, by Sales Connect's clock, and not later; None where no system told the time."""
        return self._since.get(intent.seq) or self._reckoned(intent)

    def _reckoned(self, intent: Entry) -> datetime | None:
        # Where Sales Connect didn't tell, Salesforce's time counts: both are kept right by their makers, this machine's by whoever has it.
        ahead = self._ahead.get(_CONNECT, self._ahead.get("salesforce"))
        return None if ahead is None else _moment(intent.at) + ahead - _SECONDS


def _standing(
    step: Step, intent: Entry, since: datetime | None, outcome: Entry | None, back: Entry | None
) -> Cleared | None:
    began_at = _moment(intent.at)
    if outcome is None:
        return Cleared(step, "worklist" if intent.data.get("way") == WORKLIST else "open", intent, began_at)
    if outcome.data["result"] != "done":
        return None
    if back is not None and (back.data["result"] == "done" or back.data.get("code") == ALREADY_SO):
        return Cleared(step, "put_back", intent, began_at, _moment(back.at))
    at = _done_at(outcome)
    if outcome.data.get("effective_at") is not None:
        since = min(since or began_at, at)
    return Cleared(step, "done", intent, min(began_at, at), at, since=since)


def _done_at(outcome: Entry) -> datetime:
    """When it was done at the latest: an admin may say so with a date alone, of whatever zone."""
    known, told = _moment(outcome.at), outcome.data.get("effective_at")
    if told is None:
        return known
    return min(known, _moment(told) if "T" in told else _moment(f"{told}T00:00:00Z") + _DATE_ENDS)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
