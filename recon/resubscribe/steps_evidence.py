"""A plan's steps in the ledger: an intent before every external write, its outcome after it, and what an earlier run left.

A step may have several attempts, each an intent with one outcome at most. An intent without outcome is what a crash left, or a job or a
worklist that is under way: what it did is for the remote state to tell. Putting an opt-out back (see `Task.again`) is a step of its own
in the ledger, `<number>.resuppress`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

from recon.clock import iso
from recon.ledger import Draft, kinds
from recon.resubscribe.spool import Shelf, Spool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from recon.clock import Clock
    from recon.ledger import Entry, Ledger
    from recon.resubscribe.plan_file import Plan, Step

#: Ways to write.
REST, BULK, GATEWAY, WORKLIST = "rest", "bulk", "gateway", "worklist"
#: Our own codes; others are the systems'.
ALREADY_SO = "already_so"
NEWER_OPT_OUT = "newer_opt_out"


@dataclass(frozen=True, slots=True)
class Task:
    """One write: a step of the plan, or the putting back of an opt-out that a step took away."""

    step: Step
    again: bool = False

    @property
    def label(self) -> int | str:
        """What it is called in the ledger."""
        return f"{self.step.number}.resuppress" if self.again else self.step.number

    @property
    def clears(self) -> bool:
        """Whether an opt-out is taken back."""
        return not self.again and self.step.direction == "clear"

    @property
    def before(self) -> tuple[bool | None, ...]:
        """The values that are expected to be there."""
        return self.step.after if self.again else self.step.before

    @property
    def after(self) -> tuple[bool, ...]:
        """The values to write. What was unknown is put back as an opt-out."""
        return tuple(value is not False for value in self.step.before) if self.again else self.step.after


@dataclass(slots=True)
class State:
    """What the ledger says about a task.

    Attributes
    ----------
    attempts
        Intents so far.
    open
        The last intent, where it has no outcome yet: its number in the ledger.
    way, job
        Of the last intent.
    system_at
        What time it was by the system's own clock when that was begun; None where it didn't tell.
    result, code, retryable, at, found
        Of the last outcome, where the last intent has one.
    earlier
        Whether an earlier run said so.
    """

    attempts: int = 0
    open: int | None = None
    way: str | None = None
    job: str | None = None
    system_at: str | None = None
    result: str | None = None
    code: str | None = None
    retryable: bool = False
    at: str | None = None
    found: bool = False
    earlier: bool = False

    @property
    def final(self) -> bool:
        """Whether nothing is to be tried any more."""
        return self.result in ("done", "stale") or (self.result == "failed" and not self.retryable)


class Addresses(Protocol):
    """Addresses of records."""

    def get(self, key: str, /) -> str | None:
        """The address of a record, by `system:id`; None where it has none."""
        ...


class StepsEvidence:
    """The ledger's entries of one plan.

    Parameters
    ----------
    ledger
        Where they are.
    plan
        The plan.
    actor
        On whose behalf.
    addresses
        Tell the records' addresses when the plan was made, by `system:id`: their pseudonyms lead to the person's story.
    clock
        Tells when an outcome became known.
    spool
        Where it is kept what is known of each step; by default in memory.

    Attributes
    ----------
    resumed
        Whether an earlier run began any of it.
    """

    def __init__(
        self,
        ledger: Ledger,
        plan: Plan,
        *,
        actor: str,
        addresses: Addresses,
        clock: Clock,
        spool: Spool | None = None,
    ) -> None:
        self._ledger, self._plan, self._clock = ledger, plan, clock
        self._actor = ledger.actor(actor)
        self._addresses = addresses
        spool = spool or Spool()
        self._states: Shelf[State] = Shelf(spool, _packed, _unpacked)
        self._allowed = _allowed(ledger, plan, spool)
        self._put_back = False
        self.resumed = False
        for entry in ledger.each_of_plan(plan.hash):
            if entry.kind == kinds.INTENT:
                self._opened(entry)
                self.resumed = True
            elif entry.kind == kinds.OUTCOME:
                self._closed(entry, earlier=True)

    def state(self, task: Task) -> State:
        """What is known of a task."""
        if task.again and not self._put_back:  # an opt-out is hardly ever put back: then it needn't be looked up
            return State()
        return self._states.get(task.label) or State()

    def verdict(self, step: Step) -> int | None:
        """The accepted verdict that allows a clear: its number in the ledger.

        None where there is none for the step's line, the newest one doesn't accept, or it is about other records.
        """
        return self._allowed.get(step.number)

    def run(self, counts: Mapping[str, int]) -> None:
        """Say that this plan is being applied, before the first write."""
        plan = self._plan
        data = {"run_id": plan.run_id, "job": "apply", "actor": self._actor, "settings": plan.settings_sha256}
        self._ledger.append(kinds.RUN, {**data, "snapshot": plan.snapshot, "counts": dict(counts)})

    def intend(self, task: Task, way: str, system_at: datetime | None = None) -> int:
        """Say what is going to be written; returns the entry's number. An intent that is open is used again.

        Parameters
        ----------
        system_at
            What time it is by the system's own clock, as it told last.
        """
        state = self.state(task)
        if state.open is None:
            state = self._opened(self._ledger.append(kinds.INTENT, self._intent(task, way, None, system_at)))
        assert state.open is not None
        return state.open

    def intend_job(self, tasks: Sequence[Task], job: str, system_at: datetime | None = None) -> None:
        """Say what a Bulk job is going to write: all of it, or nothing. `system_at` as for `intend`."""
        drafts = [Draft(kinds.INTENT, self._intent(task, BULK, job, system_at)) for task in tasks]
        for entry in self._ledger.append_all(drafts):
            self._opened(entry)

    def conclude(
        self,
        task: Task,
        result: str,
        *,
        was: tuple[bool | None, ...] | None,
        now: tuple[bool | None, ...] | None,
        code: str | None = None,
        retryable: bool = False,
        found: bool = False,
        effective_at: str | None = None,
        personal: Mapping[str, str] | None = None,
    ) -> State:
        """Say what became of the open intent.

        Parameters
        ----------
        was, now
            The values before and after, where they are known.
        found
            Not written now but found written.
        effective_at
            When it was done, where that is told.
        personal
            What is said about people, kept beside the chain.
        """
        draft = self._outcome(task, result, was, now, code, retryable=retryable, found=found, effective_at=effective_at)
        return self._closed(self._ledger.append(draft.kind, draft.data, personal))

    def conclude_all(self, results: Sequence[tuple[Task, str, str | None, bool]]) -> None:
        """Say what became of many open intents at once: task, result, code, retryable."""
        drafts = [
            self._outcome(
                task, result, task.before, task.after if result == "done" else task.before, code, retryable=retryable
            )
            for task, result, code, retryable in results
        ]
        for entry in self._ledger.append_all(drafts):
            self._closed(entry)

    def set_aside(self, task: Task, code: str, now: tuple[bool | None, ...] | None, way: str) -> State:
        """Say that a task is not carried out and never will be, as the record isn't what the plan was made for."""
        self.intend(task, way)
        return self.conclude(task, "stale", was=now, now=now, code=code)

    def now(self) -> str:
        """The moment, as text."""
        return iso(self._clock.now())

    def _opened(self, entry: Entry) -> State:
        label = entry.data["step"]
        state = self._states.get(label) or State()
        state.attempts += 1
        state.open = entry.seq
        state.way, state.job, state.system_at = (entry.data.get(name) for name in ("way", "job", "system_at"))
        state.result = state.code = state.at = None
        self._put_back |= isinstance(label, str)
        self._states.put(label, state)
        return state

    def _closed(self, entry: Entry, *, earlier: bool = False) -> State:
        data = entry.data
        state = self._states.get(data["step"])
        assert state is not None, "an outcome answers an intent of its step"
        if state.open == data["intent"]:
            state.open = None
        state.result, state.code, state.at = data["result"], data.get("code"), entry.at
        state.retryable, state.found = bool(data.get("retryable")), bool(data.get("found"))
        state.earlier = earlier
        self._states.put(data["step"], state)
        return state

    def _common(self, task: Task) -> dict[str, Any]:
        step = task.step
        address = self._addresses.get(step.key)
        return {
            "plan": self._plan.hash,
            "step": task.label,
            "subject": None if address is None else self._ledger.names.address(address),
            "record": self._ledger.names.record(step.system, step.id),
            "system": step.system,
            "field": "+".join(step.fields),
            "object": step.object,
            "run_id": self._plan.run_id,
        }

    def _intent(self, task: Task, way: str, job: str | None, system_at: datetime | None) -> dict[str, Any]:
        return self._common(task) | {
            "from": shown(task.before),
            "to": shown(task.after),
            "attempt": self.state(task).attempts + 1,
            "verdict": self.verdict(task.step) if task.clears else None,
            "way": way,
            "job": job,
            "system_at": None if system_at is None else iso(system_at),
            "actor": self._actor,
        }

    def _outcome(
        self,
        task: Task,
        result: str,
        was: tuple[bool | None, ...] | None,
        now: tuple[bool | None, ...] | None,
        code: str | None,
        *,
        retryable: bool,
        found: bool = False,
        effective_at: str | None = None,
    ) -> Draft:
        seq = self.state(task).open
        assert seq is not None, "an outcome answers an intent"
        body = self._common(task) | {"intent": seq, "result": result, "code": code, "effective_at": effective_at}
        # Optional flags stand there only where they are true; a value only where it is known.
        body |= {"retryable": True} if retryable else {}
        body |= {"found": True} if found else {}
        body |= {name: shown(values) for name, values in (("from", was), ("to", now)) if values is not None}
        return Draft(kinds.OUTCOME, body)


def shown(values: Sequence[bool | None]) -> bool | str | None:
    """The values of a step's fields as the ledger tells them: one where they are the same, else joined like `true+false`."""
    if len(set(values)) == 1:
        return values[0]
    return "+".join({True: "true", False: "false", None: "null"}[value] for value in values)


def _allowed(ledger: Ledger, plan: Plan, spool: Spool) -> Shelf[int]:
    """Step -> the newest verdict on its line, where that one accepts and names the step's record: numbers in the plan and in the ledger."""
    lines: Shelf[list[tuple[int, str]]] = Shelf(spool, json.dumps, json.loads)
    for step in plan.steps:
        if step.row is not None:
            lines.put(step.row, [*(lines.get(step.row) or ()), (step.number, step.key)])
    found: Shelf[int] = Shelf(spool, str, int)
    for entry in ledger.each_of_file(plan.approved.sha256) if plan.approved is not None else ():
        if entry.kind != kinds.VERDICT:
            continue
        for number, key in lines.get(entry.data["row"]) or ():
            found.drop(number)
            named = not ledger.names.of(key).isdisjoint(entry.data.get("records", ()))
            if named and entry.data["verdict"] == "accepted":
                found.put(number, entry.seq)
    return found


def _packed(state: State) -> str:
    return json.dumps([getattr(state, name) for name in _STATE])


def _unpacked(text: str) -> State:
    return State(*json.loads(text))


_STATE = tuple(each.name for each in fields(State))
