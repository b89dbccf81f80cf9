"""Pulling only what changed: what a snapshot has to be for a pull to be built on it, and from when on is read.

What is certain is the count: a pull of what changed is used only where, with its base, it gives as many records as Salesforce counts, those in
the recycle bin and the others. A record that was deleted for good leaves no change behind; the count tells of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from recon.clock import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from recon.settings import SalesforceSettings
    from recon.sources.discovery import ObjectFields
    from recon.sources.salesforce_session import Connection

#: The manifest's own sentence.
HARD_DELETES = (
    "Records that were deleted for good leave no change behind. Those that vanished from the recycle bin are found by listing it, all others by "
    "the count of records, which makes the pull a full one; which records they were is not known."
)


@dataclass(frozen=True, slots=True)
class Base:
    """A snapshot that a pull may be built on.

    Attributes
    ----------
    id
        The snapshot.
    records, history
        Its Parquet files; `history` is None where it has none.
    pull
        What its manifest says under `pull`; empty where it was not read from Salesforce's API.
    verify
        Holds its files against its manifest; raises InputRefused.
    """

    id: str
    records: Path
    history: Path | None
    pull: Mapping[str, Any]
    verify: Callable[[], object]

    def read_to(self, name: str) -> str | None:
        """Up to when the base surely holds every change of an object, by Salesforce's clock; None where it had no record."""
        found: str | None = self.pull["objects"][name]["read_to"]
        return found

    def readable(self, name: str) -> bool:
        """Whether an object's history could be read."""
        return bool(self.pull["history_readable"].get(name))


class MisfitError(Exception):
    """Nothing can be built on the base; the text says why, as part of a sentence."""


def unfit(
    pull: Mapping[str, Any] | None,
    connection: Connection,
    settings: SalesforceSettings,
    objects: Sequence[ObjectFields],
    now: datetime,
) -> str | None:
    """Why a snapshot can't be built on, as part of a sentence; None where it can.

    Parameters
    ----------
    pull
        What its manifest says under `pull`.
    """
    if not pull:
        return "the snapshot was not read from Salesforce's API, or by an older recon"
    if pull.get("identity") != connection.identity:
        return "the snapshot was read from another org, or as another user"
    if pull.get("api_version") != settings.api_version:
        return "the snapshot was read with another API version"
    for fields in objects:
        said = pull.get("objects", {}).get(fields.object)
        if said is None or said.get("query") != fields.query or said.get("targets") != list(fields.targets):
            return f"the snapshot holds other fields of {fields.object} than would be read now"
    made = datetime.fromisoformat(pull["full_at"])
    if not timedelta(0) <= now - made < timedelta(days=settings.full_every_days):
        return f"the last full pull ({pull['full_at']}) is not of the last {settings.full_every_days} days"
    return None


def begin_at(read_to: str | None, settings: SalesforceSettings) -> str | None:
    """From when on what changed is read, as SOQL writes it; None for all."""
    if read_to is None:
        return None
    return iso(datetime.fromisoformat(read_to) - timedelta(minutes=settings.overlap_minutes))
