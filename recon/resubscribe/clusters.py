"""What the snapshot knows of the addresses in an approved file: their clusters, and of each record why and since when it is opted out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from recon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

System = Literal["sales_connect", "salesforce"]
#: Why a record is opted out: one sales user's unsubscribe, a bounce, or anything else.
Cause = Literal["choice", "bounce", "user"]

_PEOPLE = (
    *("person_id", "unsubscribe_level", "unsubscribe_source", "unsubscribed_at", "updated_at"),
    *("first_name", "last_name"),
)
_RECORDS = ("record_id", "opted_out_at", "modified_at", "is_converted", "first_name", "last_name")


@dataclass(frozen=True, slots=True)
class Member:
    """A record of a cluster.

    Attributes
    ----------
    system, id, object
        As in `recon.tables.MERGED`.
    address
        Made comparable; None where there is none.
    cluster
        The cluster's name.
    opted_out
        The record's own flag.
    cause
        Why it is opted out; None where it isn't. A Salesforce record's is always choice.
    source
        How a person was unsubscribed, where that is known: manual, clicked_link, salesforce_sync, bounce; of a record None, nobody tells.
    opted_out_at
        Since when it is opted out, where that is known.
    changed_at
        When it was last changed: no opt-out on it is newer.
    converted
        Is it a converted Lead, which Salesforce doesn't let anyone change?
    name
        First and last name, for comparison; None where either is blank.
    """

    system: System
    id: str
    object: str
    address: str | None
    cluster: str
    opted_out: bool
    cause: Cause | None
    source: str | None
    opted_out_at: datetime | None
    changed_at: datetime | None
    converted: bool
    name: str | None

    @property
    def uid(self) -> str:
        """The record's name over both systems."""
        return f"{self.system}:{self.id}"

    @property
    def clicked(self) -> bool:
        """Whether the person clicked the unsubscribe link."""
        return self.source == "clicked_link"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of some addresses and people.

    Attributes
    ----------
    members
        By cluster, sorted by system and id.
    clusters
        By address: the clusters with a record of that address. More than one only for addresses that are set to join nothing.
    people
        By person_id: the address of those people that were asked for and are there.
    """

    members: dict[str, tuple[Member, ...]]
    clusters: dict[str, tuple[str, ...]]
    people: dict[str, str | None]

    def of(self, address: str) -> tuple[Member, ...]:
        """All members of an address's clusters."""
        return tuple(member for name in self.clusters.get(address, ()) for member in self.members[name])


def known(
    addresses: Iterable[str], person_ids: Iterable[str], merged: pa.Table, people: pa.Table, records: pa.Table
) -> Known:
    """Gather what is known of these addresses and people.

    Parameters
    ----------
    addresses
        Made comparable.
    person_ids
        Ids of Sales Connect.
    merged, people, records
        `recon.tables.MERGED`, `PEOPLE` and `RECORDS`, of one snapshot.

    Raises
    ------
    UsageError
        If a row of merged is missing in people or records: then they aren't of one snapshot.
    """
    asked = pa.array(sorted(set(addresses)), pa.string())
    ids = pa.array(sorted(set(person_ids)), pa.string())
    has_address = pc.is_in(merged.column("address"), value_set=asked)
    names = pc.unique(merged.column("cluster").filter(has_address))
    rows = merged.filter(pc.is_in(merged.column("cluster"), value_set=names)).sort_by(
        [("system", "ascending"), ("id", "ascending")]
    )
    of_people = _details(people, "person_id", _PEOPLE, rows, "sales_connect")
    of_records = _details(records, "record_id", _RECORDS, rows, "salesforce")
    members: dict[str, list[Member]] = {}
    clusters: dict[str, set[str]] = {}
    wanted = set(asked.to_pylist())
    for row in rows.to_pylist():
        details = of_people if row["system"] == "sales_connect" else of_records
        if row["id"] not in details:
            raise UsageError(
                f"{row['system']}:{row['id']} is in the merged table but not in its own: they aren't of one snapshot.",
                hint="Run the reconciliation of this snapshot again.",
            )
        member = _member(row, details[row["id"]])
        members.setdefault(member.cluster, []).append(member)
        if member.address is not None and member.address in wanted:
            clusters.setdefault(member.address, set()).add(member.cluster)
    in_people = merged.filter(
        pc.and_(pc.equal(merged.column("system"), "sales_connect"), pc.is_in(merged.column("id"), value_set=ids))
    )
    return Known(
        {name: tuple(of_cluster) for name, of_cluster in members.items()},
        {address: tuple(sorted(names)) for address, names in clusters.items()},
        dict(zip(in_people.column("id").to_pylist(), in_people.column("address").to_pylist(), strict=True)),
    )


def _details(
    table: pa.Table, key: str, columns: Iterable[str], rows: pa.Table, system: System
) -> dict[str, dict[str, Any]]:
    ids = rows.column("id").filter(pc.equal(rows.column("system"), system))
    known_ids = pa.array(ids.to_pylist(), pa.string())
    picked = table.select(list(columns)).filter(pc.is_in(table.column(key), value_set=known_ids))
    return {row[key]: row for row in picked.to_pylist()}


def _member(row: dict[str, Any], details: dict[str, Any]) -> Member:
    person = row["system"] == "sales_connect"
    cause: Cause | None = None
    if row["opted_out"]:
        cause = "choice"
        if person and details["unsubscribe_level"] == "user":
            cause = "user"
        elif person and details["unsubscribe_source"] == "bounce":
            cause = "bounce"
    first, last = details["first_name"], details["last_name"]
    return Member(
        system=row["system"],
        id=row["id"],
        object=row["object"],
        address=row["address"],
        cluster=row["cluster"],
        opted_out=bool(row["opted_out"]),
        cause=cause,
        source=details["unsubscribe_source"] if cause is not None and person else None,
        opted_out_at=details["unsubscribed_at" if person else "opted_out_at"],
        changed_at=details["updated_at" if person else "modified_at"],
        converted=not person and bool(details["is_converted"]),
        name=f"{first} {last}" if first and last else None,
    )
