"""What the snapshot knows of the addresses in an approved file: their clusters, and of each record why and since when it is opted out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from recon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

System = Literal["sales_connect", "salesforce"]
Kind = Literal["Person", "Lead", "Contact"]
#: Why a record is opted out: one sales user's unsubscribe, a bounce, or anything else.
Cause = Literal["choice", "bounce", "user"]

_PEOPLE = (
    *("person_id", "unsubscribe_level", "unsubscribe_source", "unsubscribed_at", "updated_at"),
    *("first_name", "last_name"),
)
#: Rows that are turned into Python's own values together.
_AT_A_TIME = 10_000
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
    object: Kind
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
    members: dict[str, list[Member]] = {}
    clusters: dict[str, set[str]] = {}
    wanted = set(asked.to_pylist())
    told = (
        _told(rows, people, "person_id", _PEOPLE, "sales_connect"),
        _told(rows, records, "record_id", _RECORDS, "salesforce"),
    )
    for row, details in chain.from_iterable(told):
        member = _member(row, details)
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


def _told(
    rows: pa.Table, table: pa.Table, key: str, columns: Iterable[str], system: System
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The rows of one system, each with what its own table tells, in the rows' order."""
    own = rows.filter(pc.equal(rows.column("system"), system))
    place = pc.index_in(own.column("id"), value_set=table.column(key).combine_chunks())
    if place.null_count:
        lacking = own.column("id").filter(pc.is_null(place))[0].as_py()
        raise UsageError(
            f"{system}:{lacking} is in the merged table but not in its own: they aren't of one snapshot.",
            hint="Run the reconciliation of this snapshot again.",
        )
    details = table.select(list(columns)).take(place)
    # As dictionaries a part at a time: these take many times the room of columns.
    for start in range(0, own.num_rows, _AT_A_TIME):
        yield from zip(
            own.slice(start, _AT_A_TIME).to_pylist(), details.slice(start, _AT_A_TIME).to_pylist(), strict=True
        )


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
