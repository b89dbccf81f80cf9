"""Both systems, as far as a plan needs them: who reads and who writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from recon.resubscribe.answers import Answer
    from recon.resubscribe.live import LivePeople, LiveSalesforce, Seen
    from recon.resubscribe.plan_file import Step
    from recon.resubscribe.steps_evidence import Task


class Writer(Protocol):
    """Writes one record of one system."""

    way: str

    @property
    def server_time(self) -> datetime | None:
        """What time it was by the system's own clock when it answered last; None where it doesn't tell."""
        ...

    def write(self, task: Task, seen: Seen) -> Answer:
        """Write a task's values, once."""
        ...

    def renew(self) -> None:
        """Begin a new session."""
        ...


class Stopped(Exception):
    """No other record can be written now; `code` and `message` say why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(slots=True)
class Systems:
    """Both systems, as far as a plan needs them.

    Attributes
    ----------
    salesforce, people
        Read records and people; None where the plan has none, or there is no gateway.
    writers
        By system. Where Sales Connect has none, an admin does it by a worklist.
    """

    salesforce: LiveSalesforce | None = None
    people: LivePeople | None = None
    writers: dict[str, Writer] = field(default_factory=dict)

    def read(self, steps: Sequence[Step]) -> dict[str, Seen]:
        """The records as they are now, by `Step.key`; people only where there is a gateway. Raises SourceError."""
        found: dict[str, Seen] = {}
        if self.salesforce is not None:
            found |= self.salesforce.read(step for step in steps if step.system == "salesforce")
        if self.people is not None:
            found |= {step.key: self.people.read(step) for step in steps if step.system == "sales_connect"}
        return found
