"""A plan's steps through Bulk jobs: the intents name the job before its upload is closed, so that a job is found again after a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon.resubscribe.answers import RETRYABLE, STALE
from recon.resubscribe.bulk_update import ENDED, BulkUpdate, Row, RowResult
from recon.resubscribe.steps_evidence import BULK, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recon.resubscribe.live import LiveSalesforce
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
    """

    def __init__(self, jobs: BulkUpdate, salesforce: LiveSalesforce, evidence: StepsEvidence) -> None:
        self._jobs, self._salesforce, self._evidence = jobs, salesforce, evidence

    def go_on(self, steps: Sequence[Step]) -> None:
        """Look what became of the jobs that an earlier run began. What isn't known stays open.

        Raises
        ------
        SourceError
            If Salesforce can't be asked.
        """
        begun: dict[str, list[Task]] = {}
        for step in steps:
            state = self._evidence.state(Task(step))
            if state.open is not None and state.way == BULK and state.job is not None:
                begun.setdefault(state.job, []).append(Task(step))
        for job_id, tasks in begun.items():
            # An upload that was never closed wrote nothing, and by now its records may have changed: it isn't closed any more.
            if self._jobs.abandon(job_id):
                self._evidence.conclude_all([(task, "unprocessed", "JOB_NOT_STARTED", True) for task in tasks])
            else:
                self._collect(job_id, tasks)

    def write(self, tasks: Sequence[Task]) -> None:
        """Write tasks, one job for each object and set of fields.

        Raises
        ------
        SourceError
            If a job can't be made, or what became of it can't be read; then its intents stay open.
        """
        groups: dict[tuple[str, tuple[str, ...]], list[Task]] = {}
        for task in tasks:
            groups.setdefault((task.step.written[0], task.step.fields), []).append(task)
        for (sobject, fields), of_group in groups.items():
            job_id = self._jobs.prepare(sobject, fields, [Row(task.step.written[1], task.after) for task in of_group])
            self._evidence.intend_job(of_group, job_id)
            if self._jobs.close(job_id):
                self._collect(job_id, of_group)
            else:
                self._evidence.conclude_all([(task, "unprocessed", "JOB_NOT_STARTED", True) for task in of_group])

    def _collect(self, job_id: str, tasks: Sequence[Task]) -> None:
        """Wait for a job and say what became of each of its tasks."""
        state = self._jobs.wait(job_id)
        if state is not None and state not in ENDED:
            return  # still running: the intents stay open, and the next run looks again
        told = {} if state is None else self._jobs.results(job_id, [task.step.written[1] for task in tasks])
        untold = [task for task in tasks if task.step.written[1] not in told]
        # A row that no result names may have been written all the same: the record tells.
        seen = self._salesforce.read([task.step for task in untold]) if untold else {}
        results = []
        for task in tasks:
            now = seen.get(task.step.key)
            if now is None:
                results.append((task, *_said(told[task.step.written[1]])))
            elif now.there and now.values == task.after:
                results.append((task, "done", None, False))
            else:
                results.append((task, "unprocessed", "JOB_SAYS_NOTHING", True))
        self._evidence.conclude_all(results)


def _said(row: RowResult) -> tuple[str, str | None, bool]:
    """Result, code and whether to try again, as the ledger has them."""
    if row.result != "failed":
        return row.result, None, row.result == "unprocessed"
    if row.code in STALE:
        return "stale", STALE[str(row.code)], False
    return "failed", row.code, row.code in RETRYABLE
