"""The histories of records that were changed since the plan was made: each read once for each look at its record, and many together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon.resubscribe.staleness import needs_history

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from recon.resubscribe.live import Change, LiveSalesforce, Seen
    from recon.resubscribe.plan_file import Step
    from recon.resubscribe.steps_evidence import Task


class Histories:
    """What was read.

    A history that was read after its record tells all that made the record so. What comes after that changes the record again, which the write's
    precondition sees, or the question after a job. So for the same look at a record it isn't read twice; for another look it is.

    Parameters
    ----------
    salesforce
        Reads histories; None where there is none to be read.
    """

    def __init__(self, salesforce: LiveSalesforce | None) -> None:
        self._salesforce = salesforce
        self._read: dict[str, tuple[Seen, list[Change] | None]] = {}

    def know(self, tasks: Iterable[Task], seen: Mapping[str, Seen]) -> None:
        """Read together the histories of those records that were changed; what was read before is let go of.

        Raises
        ------
        SourceError
            If Salesforce can't be read.
        """
        self.forget()
        steps = [task.step for task in tasks]
        moved = [step for step in steps if step.key in seen and seen[step.key].there]
        moved = [step for step in moved if needs_history(step, seen[step.key])]
        if self._salesforce is not None and moved:
            found = self._salesforce.histories(moved)
            self._read = {step.key: (seen[step.key], found[step.key]) for step in moved}

    def forget(self) -> None:
        """Let go of what was read: other records come now."""
        self._read.clear()

    def since(self, step: Step, seen: Seen) -> list[Change] | None:
        """The changes of a record's opt-out fields, as `LiveSalesforce.history`. Errors as `know`.

        Parameters
        ----------
        seen
            The look at the record that it is asked for.
        """
        if self._salesforce is None:
            return None
        known = self._read.get(step.key)
        if known is None or known[0] is not seen:
            known = (seen, self._salesforce.history(step))
            self._read[step.key] = known
        return known[1]
