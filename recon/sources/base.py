"""What every source hands over: a table that is complete, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from recon.clock import iso

if TYPE_CHECKING:
    from datetime import datetime

InputKind = Literal["csv", "parquet", "excel", "salesforce-bulk", "salesforce-rest", "gateway"]


@dataclass(frozen=True, slots=True)
class Input:
    """Where one part of the data came from; goes into the manifest and the report.

    Attributes
    ----------
    name
        people, leads or contacts.
    origin
        The file's name, or the host and the call that was used. Never holds a secret.
    kind
        What was read.
    rows
        Rows that it gave, deleted ones included.
    sha256
        Of the file's bytes; for an API, of the rows as they were received; None where nothing could be hashed.
    size
        Bytes read, where known.
    started_at, finished_at
        When the data was read from its system, UTC. None for a file: nobody knows when it was extracted.
    details
        What else an auditor may ask: encoding, columns mapped, API calls, counts before and after, job ids.
    """

    name: str
    origin: str
    kind: InputKind
    rows: int
    sha256: str | None = None
    size: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    details: dict[str, str | int | bool | list[str] | None] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """The input as it stands in a manifest."""
        return {
            "name": self.name,
            "origin": self.origin,
            "kind": self.kind,
            "rows": self.rows,
            "sha256": self.sha256,
            "bytes": self.size,
            "started_at": iso(self.started_at) if self.started_at else None,
            "finished_at": iso(self.finished_at) if self.finished_at else None,
            "details": self.details,
        }


@dataclass(frozen=True, slots=True)
class Extract:
    """One side's rows, in the shape of `recon.tables.PEOPLE` or `recon.tables.RECORDS`, and where they came from.

    Attributes
    ----------
    table
        An Arrow table; a frame of an engine where a quick reader read the file straight into it.
    inputs
        Where the rows came from.
    """

    table: Any
    inputs: tuple[Input, ...]
