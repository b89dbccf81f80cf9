"""One person at a time: read everything again, write Salesforce, read again, write Sales Connect; every write between two ledger entries.

The rules that hold whatever happens:

* A new opt-out wins. Seen before the first write, nothing of the person is cleared; seen between two writes, what was cleared is put back.
* If one clear of a person is stale, no other clear of the person is begun.
* Before any write is repeated the remote state is read: what is there already is not written again.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from recon.errors import SourceError
from recon.resubscribe.answers import STOPPING, leaves_open, remedy
from recon.resubscribe.histories import Histories
from recon.resubscribe.outcomes import Outcome, packed, unpacked
from recon.resubscribe.spool import Shelf
from recon.resubscribe.staleness import came_in, is_so, set_since, slipped_in, staleness
from recon.resubscribe.steps_evidence import BULK, NEWER_OPT_OUT, WORKLIST, Task
from recon.resubscribe.systems import Stopped
from recon.resubscribe.telling import outcome_of, stale_outcome, untried

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from recon.resubscribe.answers import Answer
    from recon.resubscribe.kept_facts import KeptFacts
    from recon.resubscribe.live import Seen
    from recon.resubscribe.plan_file import Step
    from recon.resubscribe.spool import Spool
    from recon.resubscribe.steps_evidence import State, StepsEvidence
    from recon.resubscribe.systems import Systems, Writer


class Carrier:
    """Carries out the steps of a plan.

    Parameters
    ----------
    systems
        Both systems.
    evidence
        The ledger's entries of the plan.
    facts
        The records' addresses in the plan's snapshot, and the people's other records: where one of those is opted out now, the person opted out
        anew.
    spool
        Where it is kept what isn't sure in this run.
    retries, backoff
        By system: how often a write is tried again, and the first pause before that, in seconds.
    sleep
        Waits.
    """

    def __init__(
        self,
        systems: Systems,
        evidence: StepsEvidence,
        *,
        facts: KeptFacts,
        spool: Spool,
        retries: Mapping[str, int],
        backoff: Mapping[str, float],
        sleep: Callable[[float], None],
    ) -> None:
        self._systems, self._evidence, self._facts = systems, evidence, facts
        self._retries, self._backoff, self._sleep = retries, backoff, sleep
        self._unsure: Shelf[Outcome] = Shelf(spool, packed, unpacked)
        self._histories = Histories(systems.salesforce)

    def person(self, steps: Sequence[Step], seen: Mapping[str, Seen] | None = None) -> None:
        """Carry out the steps of one person, as far as they aren't carried out.

        Parameters
        ----------
        steps
            All steps of the person.
        seen
            The person's records in Salesforce, where they were read just now.

        Raises
        ------
        SourceError
            If a system can't be read; what was begun is in the ledger.
        Stopped
            If a system refuses everything.
        """
        self._histories.forget()
        for step in steps:
            task = Task(step)
            if not task.clears and not self._resting(task):
                self._one(task, None)
        clears = [Task(step) for step in steps if step.direction == "clear"]
        waiting = [task for task in clears if not self._resting(task)]
        if waiting:
            self._clear(clears, waiting, seen)
        self.put_back_owed(steps)

    def looked_at(self, steps: Sequence[Step]) -> list[Step]:
        """The records to read before a person's opt-outs are taken back: those of the steps, and the person's others."""
        cleared = any(step.direction == "clear" for step in steps)
        return [*steps, *((self._facts.others.get(steps[0].person) or ()) if cleared else ())]

    def put_back_owed(self, steps: Sequence[Step]) -> None:
        """Set the opt-outs again that have to be. Errors as `person`."""
        for task in self.owed(steps):
            self._one(task, None)

    def owed(self, steps: Sequence[Step]) -> list[Task]:
        """The opt-outs of one person that this plan took away and has to put back: a newer opt-out was met, and that wins."""
        clears = [Task(step) for step in steps if step.direction == "clear"]
        backs = [Task(step, again=True) for step in steps if step.direction == "clear"]
        met = any(self._state(task).code == NEWER_OPT_OUT for task in clears)
        begun = any(self._state(back).attempts for back in backs)
        if not met and not begun:
            return []
        return [
            back
            for task, back in zip(clears, backs, strict=True)
            if self._state(task).result == "done" and not self._state(back).final and back.label not in self._unsure
        ]

    def know_histories(self, persons: Sequence[Sequence[Step]], seen: Mapping[str, Seen]) -> None:
        """Read together the histories that `review` of these people will ask for. Errors as `person`."""
        clears = [Task(step) for steps in persons for step in steps if step.direction == "clear"]
        waiting = [task for task in clears if task.step.system == "salesforce" and not self._resting(task)]
        self._histories.know(waiting, seen)

    def review(self, steps: Sequence[Step], seen: Mapping[str, Seen]) -> list[Task]:
        """Settle what needs no write: close intents whose values are there, set aside what is stale.

        Parameters
        ----------
        steps
            All steps of one person.
        seen
            Their records now, by `Step.key`.

        Returns
        -------
        list of Task
            What is left to be written.
        """
        left = [Task(step) for step in steps if step.direction == "set" and not self._resting(Task(step))]
        left = [task for task in left if not self._settled(task, seen.get(task.step.key))]
        clears = [Task(step) for step in steps if step.direction == "clear"]
        waiting = [task for task in clears if not self._resting(task)]
        if waiting:
            left += self._ready(clears, waiting, seen)
        return left

    def at_rest(self, steps: Sequence[Step]) -> bool:
        """Whether nothing of a person is to be done: every step is settled or on the worklist, and no opt-out is to be put back."""
        tasks = [Task(step) for step in steps]
        return all(self._resting(task) and not self._in_job(task) for task in tasks) and not self.owed(steps)

    def unreached(self, steps: Sequence[Step], code: str, message: str) -> None:
        """Say of a person's steps that aren't settled why they aren't tried in this run (any more)."""
        for step in steps:
            if not self._resting(Task(step)) and self._state(Task(step)).result != "failed":
                self._unsure.put(step.number, untried(step, code, message))

    def outcomes(self, steps: Sequence[Step]) -> list[Outcome]:
        """What became of one person's steps, as the ledger and this run know it."""
        owed = {task.step.number for task in self.owed(steps)}
        found = []
        for step in steps:
            task, back = Task(step), Task(step, again=True)
            unsure = self._unsure.get(back.label) or self._unsure.get(task.label)
            told = outcome_of(step, self._state(task), self._state(back), owed=step.number in owed)
            found.append(unsure or told)
        return found

    def _clear(self, clears: Sequence[Task], waiting: Sequence[Task], given: Mapping[str, Seen] | None) -> None:
        seen = dict(given) if given is not None else self._systems.read(self.looked_at([task.step for task in clears]))
        for task in self._ready(clears, waiting, seen):
            if task.step.system == "sales_connect" and task.step.system in self._systems.writers:
                # Salesforce was written in between, and a person can click at any moment.
                seen |= self._systems.read([task.step])
                if self._why_not(task, seen[task.step.key]) == NEWER_OPT_OUT:
                    self._put_back(clears)
            self._one(task, seen.get(task.step.key))
            if self._state(task).code == NEWER_OPT_OUT:
                self._put_back(clears)
                self._leave(waiting, {task.label: NEWER_OPT_OUT}, seen)
                return
            if self._state(task).result != "done" and not self._on_worklist(task):
                self._leave(waiting, {}, seen, task)
                return

    def _ready(self, clears: Sequence[Task], waiting: Sequence[Task], seen: Mapping[str, Seen]) -> list[Task]:
        """The clears that may be written now: all that are waiting, or none."""
        reasons: dict[int | str, str] = {}
        for task in clears:
            reason = self._reason(task, seen.get(task.step.key))
            if reason is not None:
                reasons[task.label] = reason
        others = self._facts.others.get(clears[0].step.person) or ()
        met = {came_in(other, seen.get(other.key)) for other in others} - {None}
        if met:
            reasons |= {
                task.label: NEWER_OPT_OUT if NEWER_OPT_OUT in met else "opt_out_date_unknown" for task in waiting
            }
        if NEWER_OPT_OUT in reasons.values():
            self._put_back(clears)
        if reasons:
            self._leave(waiting, reasons, seen)
            return []
        return [task for task in waiting if not self._resting(task)]

    def _reason(self, task: Task, now: Seen | None) -> str | None:
        """Why no clear of this task's person may be begun, as far as this task tells."""
        state = self._state(task)
        if state.result == "done":
            set_again = now is not None and set_since(task, now, state.system_at or state.at)
            return NEWER_OPT_OUT if set_again or state.code == NEWER_OPT_OUT else None
        if state.final:
            return "person_failed" if state.result == "failed" else "person_stale"
        if self._in_job(task) or task.label in self._unsure:
            return "person_failed"
        if self._on_worklist(task):
            return None
        if self._found(task, now):
            # Unless nobody could look whether somebody opted out meanwhile.
            return "person_failed" if task.label in self._unsure else self._state(task).code
        return self._why_not(task, now)

    def _leave(
        self,
        waiting: Sequence[Task],
        reasons: Mapping[int | str, str],
        seen: Mapping[str, Seen],
        stuck: Task | None = None,
    ) -> None:
        """Settle the clears of a person that are not begun, because one of them can't be done."""
        stale = set(reasons.values()) - {"person_failed"} or (stuck and self._state(stuck).result == "stale")
        for task in waiting:
            if self._resting(task) or task is stuck:
                continue
            if stale:
                self._set_aside(task, reasons.get(task.label, "person_stale"), seen.get(task.step.key))
            else:
                text = "Another record of the same person was not done: mend that first."
                self._unsure.put(task.label, untried(task.step, "person_failed", text))

    def _put_back(self, clears: Sequence[Task]) -> None:
        """Set the opt-outs again that this plan took away, in this run or an earlier one, before anything else is said."""
        for task in clears:
            back = Task(task.step, again=True)
            done = self._state(task).result == "done"
            if done and not self._state(back).final and task.step.system in self._systems.writers:
                self._one(back, None)

    def _one(self, task: Task, seen: Seen | None) -> None:
        """Write one task, with all tries that it needs."""
        way = self._way(task)
        if way == WORKLIST:
            self._evidence.intend(task, WORKLIST)
            return
        if seen is None:
            seen = self._systems.read([task.step])[task.step.key]
        if self._settled(task, seen):
            return
        ours = False
        writer = self._systems.writers[task.step.system]
        for attempt in range(self._retries[task.step.system] + 1):
            self._evidence.intend(task, way, writer.server_time)
            answer = writer.write(task, seen)
            if answer.done:
                self._written(task, seen.values, seen)
                break
            if answer.stale is not None:
                self._evidence.conclude(task, "stale", was=seen.values, now=None, code=answer.stale)
                break
            if not answer.retry or answer.code in STOPPING:
                self._refused(task, seen, answer)
                break
            ours |= answer.unknown
            seen = self._look_again(task, writer, answer, attempt)
            if seen is None or self._after_try(task, seen, answer, ours=ours):
                break

    def _look_again(self, task: Task, writer: Writer, answer: Answer, attempt: int) -> Seen | None:
        """Read the record after a try that wasn't done; None where that isn't possible, and the intent stays open."""
        try:
            if answer.renew:
                writer.renew()
            elif answer.code != "PRECONDITION_FAILED":
                self._sleep(max(answer.wait, self._backoff[task.step.system] * 2**attempt))
            return self._systems.read([task.step])[task.step.key]
        except SourceError as error:
            text = f"Whether it was written isn't known: {error.message} Apply the same plan again: it reads the record first."
            self._not_sure(task, answer.code, text)
            return None

    def _after_try(self, task: Task, seen: Seen, answer: Answer, *, ours: bool) -> bool:
        """Judge a try by the record as it is now; returns whether it is settled. `ours`: one of the tries may have been made late."""
        if ours and is_so(task, seen):
            self._written(task, task.before, None)
            return True
        stale = self._why_not(task, seen)
        if stale is not None:
            self._evidence.conclude(task, "stale", was=seen.values or None, now=seen.values or None, code=stale)
            return True
        self._evidence.conclude(task, "failed", was=seen.values, now=seen.values, code=answer.code, retryable=True)
        return False

    def _refused(self, task: Task, seen: Seen, answer: Answer) -> None:
        stopping = answer.code in STOPPING
        self._evidence.conclude(task, "failed", was=seen.values, now=seen.values, code=answer.code, retryable=stopping)
        if stopping:
            raise Stopped(str(answer.code), remedy(answer.code, retryable=True))

    def _settled(self, task: Task, seen: Seen | None) -> bool:
        """Close or set aside a task for which nothing is to be written; returns whether it was."""
        if self._found(task, seen):
            return True
        stale = self._why_not(task, seen)
        if stale is not None:
            self._set_aside(task, stale, seen)
        return stale is not None

    def _found(self, task: Task, seen: Seen | None) -> bool:
        """Close an intent that a crash left open where what it was to write is there; returns whether it is.

        The same goes for a write that an earlier run gave up on, where its last answer left it open: it may have been made since.
        """
        state = self._state(task)
        if seen is None or not is_so(task, seen):
            return False
        if state.open is None:
            if state.result != "failed" or not state.retryable or not leaves_open(state.code):
                return False
            if task.clears and self._evidence.verdict(task.step) is None:
                return False
            begun = None if state.system_at is None else datetime.fromisoformat(state.system_at)
            self._evidence.intend(task, self._way(task), begun)
        self._written(task, task.before, None)
        return True

    def _written(self, task: Task, was: tuple[bool | None, ...], seen: Seen | None) -> None:
        """Say that a task is done, and whether that overwrote an opt-out.

        That is asked before anything is said: a run that was killed in between finds the intent open, and asks again.

        Parameters
        ----------
        was
            The values before.
        seen
            The record as it was seen just before it was written; None where it was found written.
        """
        try:
            code = NEWER_OPT_OUT if slipped_in(task, seen, self._state(task), self._systems.salesforce) else None
        except SourceError as error:
            text = f"It was written. Whether the person opted out just before isn't known: {error.message} Apply the same plan again: it looks."
            self._not_sure(task, "history_unread", text)
            return
        self._evidence.conclude(task, "done", was=was, now=task.after, code=code, found=seen is None)

    def _why_not(self, task: Task, seen: Seen | None) -> str | None:
        if task.clears and self._evidence.verdict(task.step) is None:
            return "no_accepted_verdict"
        if seen is None:  # people without a gateway: the admin looks
            return None
        address = self._facts.addresses.get(task.step.key)
        return staleness(task, seen, address, lambda: self._histories.since(task.step, seen))

    def _not_sure(self, task: Task, code: str | None, message: str) -> None:
        """Say of a task that was begun that this run doesn't know what became of it."""
        step, at = task.step, self._evidence.now()
        told = Outcome(step.number, step.key, "failed", retryable=True, code=code, message=message, at=at)
        self._unsure.put(task.label, told)

    def _set_aside(self, task: Task, code: str, seen: Seen | None) -> None:
        """Say of a task that it is stale: in the ledger, but for a clear that no verdict allows, of which the ledger takes no intent."""
        if task.clears and self._evidence.verdict(task.step) is None:
            self._unsure.put(task.label, stale_outcome(task.step, "no_accepted_verdict", self._evidence.now()))
            return
        self._evidence.set_aside(task, code, seen.values if seen is not None and seen.there else None, self._way(task))

    def _way(self, task: Task) -> str:
        writer = self._systems.writers.get(task.step.system)
        return WORKLIST if writer is None else writer.way

    def _resting(self, task: Task) -> bool:
        """Whether nothing is to be tried: it is settled, or waits for an admin or a job, or isn't sure in this run."""
        waits = self._on_worklist(task) or self._in_job(task) or task.label in self._unsure
        return waits or self._state(task).final

    def _in_job(self, task: Task) -> bool:
        """Whether a Bulk job was begun for it, of which nothing is known yet."""
        state = self._state(task)
        return state.open is not None and state.way == BULK

    def _on_worklist(self, task: Task) -> bool:
        state = self._state(task)
        return state.open is not None and state.way == WORKLIST

    def _state(self, task: Task) -> State:
        return self._evidence.state(task)
