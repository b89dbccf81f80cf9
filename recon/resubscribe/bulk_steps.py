"""A plan's steps through Bulk jobs: the intents name the job before its upload is closed, so that a job is found again after a crash."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from recon.errors import IncompletePull
from recon.resubscribe.answers import RETRYABLE, STALE
from recon.resubscribe.bulk_update import ENDED, BulkUpdate, Results, Row, RowResult, rows_at_most
from recon.resubscribe.staleness import opted_out_since
from recon.resubscribe.steps_evidence import BULK, NEWER_OPT_OUT, Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from recon.resubscribe.live import LiveSalesforce, Seen
    from recon.resubscribe.plan_file import Step
    from recon.resubscribe.steps_evidence import StepsEvidence


class BulkSteps:
    """Writes tasks by jobs, and goes on with jobs that an earlier run began.

    Parameters
    ----------
    jobs
        Runs the jobs.
    salesforce
        Reads records.
    evidence
        The ledger's entries of the plan.
    rows
        How many rows a job has at most.

    Attributes
    ----------
    notes
        What was wrong with a job's results: sentences, without an address.
    """

    def __init__(self, jobs: BulkUpdate, salesforce: LiveSalesforce, evidence: StepsEvidence, rows: int) -> None:
        self._jobs, self._salesforce, self._evidence, self._rows = jobs, salesforce, evidence, rows
        self.notes: list[str] = []

    def go_on(self, steps: Sequence[Step]) -> None:
        """Look what became of the jobs that an earlier run began. What isn't known stays open.

        Raises
        ------
        SourceError
            If Salesforce can't be asked.
        """
        begun: dict[str, array[int]] = {}
        for place, step in enumerate(steps):
            state = self._evidence.state(Task(step))
            if state.open is not None and state.way == BULK and state.job is not None:
                begun.setdefault(state.job, array("Q")).append(place)
        for job_id, places in begun.items():
            tasks = [Task(steps[place]) for place in places]
            # An upload that was never closed wrote nothing, and by now its records may have changed: it isn't closed any more.
            if self._jobs.abandon(job_id):
                self._evidence.conclude_all([(task, "unprocessed", "JOB_NOT_STARTED", True) for task in tasks])
            else:
                self._collect(job_id, tasks)

    def write(self, tasks: Sequence[Task], seen: Mapping[str, Seen], looked_at: datetime | None = None) -> None:
        """Write tasks: jobs for each object and set of fields, one after the other, and none larger than it may be.

        Salesforce writes a job's batches at the same time, and each write of a Contact locks its Account. So those of one Account stand together.

        Parameters
        ----------
        seen
            The records as they were read just now, by `Step.key`.
        looked_at
            What time it was by Salesforce's clock before they were read.

        Raises
        ------
        SourceError
            If a job can't be made, or what became of it can't be read; then its intents stay open.
        """
        groups: dict[tuple[str, tuple[str, ...]], list[Task]] = {}
        for task in tasks:
            groups.setdefault((task.step.written[0], task.step.fields), []).append(task)
        opted_out: set[str] = set()
        for (sobject, fields), of_group in groups.items():
            of_group.sort(key=lambda task: (_account(task, seen), task.step.written[1]))
            for whole in _parts(of_group, rows_at_most(fields, self._rows)):
                # Whom a former job showed to have opted out meanwhile is left alone by the next one.
                part = [task for task in whole if task.step.person not in opted_out]
                if not part:
                    continue
                job_id = self._jobs.prepare(sobject, fields, [Row(task.step.written[1], task.after) for task in part])
                self._evidence.intend_job(part, job_id, looked_at)
                if self._jobs.close(job_id):
                    opted_out |= self._collect(job_id, part)
                else:
                    self._evidence.conclude_all([(task, "unprocessed", "JOB_NOT_STARTED", True) for task in part])

    def _collect(self, job_id: str, tasks: Sequence[Task]) -> set[str]:
        """Wait for a job and say what became of each of its tasks; returns the persons that opted out meanwhile.

        A job knows no precondition: whether somebody opted a record out between the last look at it and the job is for its history to tell.
        That is asked before anything is said, so that a run that was killed asks again.
        """
        state = self._jobs.wait(job_id)
        if state is not None and state not in ENDED:
            return set()  # still running: the intents stay open, and the next run looks again
        told = Results({}) if state is None else self._results(job_id, tasks)
        untold = [task for task in tasks if task.step.written[1] not in told.rows]
        # A row that no result names may have been written all the same, and so may one that two name: the record tells.
        seen = self._salesforce.read([task.step for task in untold]) if untold else {}
        results: list[tuple[Task, str, str | None, bool]] = []
        for task in tasks:
            now = seen.get(task.step.key)
            if now is None:
                results.append((task, *_said(told.rows[task.step.written[1]])))
            elif now.there and now.values == task.after:
                results.append((task, "done", None, False))
            else:
                code = "JOB_CONTRADICTS_ITSELF" if task.step.written[1] in told.twice else "JOB_SAYS_NOTHING"
                results.append((task, "unprocessed", code, True))
        overwritten = self._overwritten([task for task, result, *_ in results if result == "done" and task.clears])
        self._evidence.conclude_all(
            [
                (task, result, NEWER_OPT_OUT if task.label in overwritten else code, retryable)
                for task, result, code, retryable in results
            ]
        )
        return {task.step.person for task in tasks if task.label in overwritten}

    def _overwritten(self, tasks: Sequence[Task]) -> set[int | str]:
        """The tasks, by label, that took away an opt-out of somebody who opted out meanwhile."""
        histories = self._salesforce.histories(task.step for task in tasks) if tasks else {}
        dark = sum(histories.get(task.step.key) is None for task in tasks)
        if dark:
            many = "1 record" if dark == 1 else f"{dark} records"
            self.notes.append(
                f"Whether anybody opted out between the last look and the job isn't known of {many} whose history can't be read."
            )
        return {
            task.label
            for task in tasks
            if opted_out_since(task.step, histories.get(task.step.key), self._evidence.state(task).system_at)
        }

    def _results(self, job_id: str, tasks: Sequence[Task]) -> Results:
        """A job's results held against what was sent; what is wrong with them is noted."""
        try:
            told = self._jobs.results(job_id, [task.step.written[1] for task in tasks])
        except IncompletePull as error:
            self.notes.append(f"{error.message} All its records were read back.")
            return Results({})
        missing = len(tasks) - len(told.rows) - len(told.twice)
        faults = {
            "are in none of its results": missing,
            "are in more than one": len(told.twice),
            "of its results are about records that weren't sent": told.strange,
        }
        said = [f"{count} {what}" for what, count in faults.items() if count]
        if said:
            read_back = " Those that were sent were read back." if missing or told.twice else ""
            self.notes.append(f"Bulk job {job_id}, {len(tasks)} rows: {', '.join(said)}.{read_back}")
        return told


def _account(task: Task, seen: Mapping[str, Seen]) -> str:
    now = seen.get(task.step.key)
    return (now.account if now is not None else None) or ""


def _parts(tasks: Sequence[Task], size: int) -> Iterator[Sequence[Task]]:
    for start in range(0, len(tasks), size):
        yield tasks[start : start + size]


def _said(row: RowResult) -> tuple[str, str | None, bool]:
    """Result, code and whether to try again, as the ledger has them."""
    if row.result != "failed":
        return row.result, None, row.result == "unprocessed"
    if row.code in STALE:
        return "stale", STALE[str(row.code)], False
    return "failed", row.code, row.code in RETRYABLE
