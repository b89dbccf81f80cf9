"""What the snapshot knows of the addresses in an approved file: their clusters, and of each record why and since when it is opted out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - read by pydantic
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recon.components import components
from recon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from recon.resubscribe.approved import ApprovedRows, Numbers

System = Literal["sales_connect", "salesforce"]
Kind = Literal["Person", "Lead", "Contact"]
#: Why a record is opted out: one sales user's unsubscribe, a bounce, or anything else.
Cause = Literal["choice", "bounce", "user"]

#: What a person's and a record's own table tell of a member, by its name here; None where they don't.
_TOLD: dict[str, tuple[str | None, str | None]] = {
    "level": ("unsubscribe_level", None),
    "source": ("unsubscribe_source", None),
    "opted_out_at": ("unsubscribed_at", "opted_out_at"),
    "changed_at": ("updated_at", "modified_at"),
    "converted": (None, "is_converted"),
    "first": ("first_name", "first_name"),
    "last": ("last_name", "last_name"),
    "flag": ("unsubscribed", "has_opted_out_of_email"),
    "custom": (None, "sales_opt_out"),
    "account": (None, "account_id"),
}
#: Columns of the merged table, of people and of records that are looked at.
OF_MERGED = ("system", "id", "object", "address", "cluster", "opted_out")
OF_PEOPLE = ("person_id", *(person for person, _ in _TOLD.values() if person))
OF_RECORDS = ("record_id", *(record for _, record in _TOLD.values() if record))
#: Rows that are turned into Python's own values together.
_AT_A_TIME = 10_000


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
    flag, custom
        HasOptedOutOfEmail and the custom opt-out field as they are, of a person `unsubscribed` and None; None where unknown.
    account
        Of a person account's Contact: the Account's id.
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
    flag: bool | None
    custom: bool | None
    account: str | None

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
    people: Mapping[str, str | None]

    def of(self, address: str) -> tuple[Member, ...]:
        """All members of an address's clusters."""
        return tuple(member for name in self.clusters.get(address, ()) for member in self.members[name])


class Facts:
    """What a snapshot knows of the people in an approved file: as columns, of which `parts` makes objects, some rows at a time.

    Parameters
    ----------
    rows
        The file's.
    merged, people, records
        `recon.tables.MERGED`, `PEOPLE` and `RECORDS`, of one snapshot: all of it, or at least all records of the clusters that have an address of
        the file, and the people whose person_id stands in it.

    Raises
    ------
    UsageError
        If a row of merged is missing in people or records: then they aren't of one snapshot.
    """

    def __init__(self, rows: ApprovedRows, merged: pa.Table, people: pa.Table, records: pa.Table) -> None:
        self._rows = rows
        readings = rows.readings
        texts = readings.flatten()
        asked = pc.unique(texts)
        names = pc.unique(merged.column("cluster").filter(pc.is_in(merged.column("address"), value_set=asked)))
        members = merged.select(OF_MERGED).filter(pc.is_in(merged.column("cluster"), value_set=names))
        members = pa.concat_tables(
            [
                _told(members, people, "person_id", "sales_connect", 0),
                _told(members, records, "record_id", "salesforce", 1),
            ]
        )
        clusters = pc.index_in(members.column("cluster"), value_set=names).to_numpy()
        at = pc.index_in(members.column("address"), value_set=asked)
        known = pc.is_valid(at)
        edges = [(at.filter(known).to_numpy(), len(asked) + clusters[known.to_numpy()])]
        starts = readings.offsets.to_numpy()[:-1] - readings.offsets[0].as_py()
        lengths = readings.value_lengths().fill_null(0).to_numpy()
        nodes = pc.index_in(texts, value_set=asked).to_numpy()
        # What a cell can mean is one row's: all of its readings go together.
        first = np.repeat(nodes[starts[lengths > 0]], lengths[lengths > 0])
        edges.append((first[first != nodes], nodes[first != nodes]))
        group = _groups(edges, len(asked) + len(names))
        # A row is where the first row of its group is.
        of_row = len(group) + np.arange(len(rows))
        of_row[lengths > 0] = group[nodes[starts[lengths > 0]]]
        firsts = np.full(len(group) + len(rows), len(rows), dtype=np.int64)
        np.minimum.at(firsts, of_row, np.arange(len(rows)))
        self._order = np.argsort(firsts[of_row], kind="stable")
        self._keys = firsts[of_row][self._order]
        members = members.append_column("key", pa.array(firsts[group[len(asked) + clusters]], pa.int64()))
        members = members.sort_by([("key", "ascending"), ("system", "ascending"), ("id", "ascending")])
        self._member_keys = members.column("key").to_numpy()
        self._members = members.drop_columns(["key"]).combine_chunks()
        by_id = pc.is_in(merged.column("id"), value_set=rows.person_ids)
        in_people = pc.and_(by_id, pc.equal(merged.column("system"), "sales_connect"))
        self._people = merged.select(["id", "address"]).filter(in_people).combine_chunks()

    def parts(self, at_a_time: int) -> Iterator[tuple[Numbers, Known]]:
        """Some rows of the file and all that is known of their people, and so on until all rows had their turn.

        Rows that name one person, or people who share an address, are in one part, however many they are; those of a part stand in the file's order
        but for that.

        Parameters
        ----------
        at_a_time
            Rows of a part, about.

        Yields
        ------
        tuple
            The rows' places in the file, from 0, ascending within each group of people; and what is known.
        """
        start = 0
        while start < len(self._order):
            last = self._keys[min(start + at_a_time, len(self._order)) - 1]
            end = int(np.searchsorted(self._keys, last, side="right"))
            low = np.searchsorted(self._member_keys, self._keys[start], side="left")
            high = np.searchsorted(self._member_keys, last, side="right")
            places = self._order[start:end]
            yield places, self._known(places, self._members.slice(low, high - low))
            start = end

    def _known(self, places: Numbers, told: pa.Table) -> Known:
        wanted = set(self._rows.readings.take(pa.array(places)).flatten().to_pylist())
        members: dict[str, list[Member]] = {}
        clusters: dict[str, set[str]] = {}
        # As dictionaries a part at a time: these take many times the room of columns.
        for start in range(0, told.num_rows, _AT_A_TIME):
            for row in told.slice(start, _AT_A_TIME).to_pylist():
                member = _member(row)
                members.setdefault(member.cluster, []).append(member)
                if member.address is not None and member.address in wanted:
                    clusters.setdefault(member.address, set()).add(member.cluster)
        ids = pa.array({row.person_id for row in self._rows.at(places)} - {None}, pa.string())
        people = self._people.filter(pc.is_in(self._people.column("id"), value_set=ids))
        return Known(
            {name: tuple(of_cluster) for name, of_cluster in members.items()},
            {address: tuple(sorted(names)) for address, names in clusters.items()},
            dict(zip(people.column("id").to_pylist(), people.column("address").to_pylist(), strict=True)),
        )


def _groups(edges: list[tuple[Any, Any]], nodes: int) -> Numbers:
    """A number for each node: the same for those that edges join."""
    group = np.arange(nodes)
    joined = components(
        pa.table({"a": np.concatenate([a for a, _ in edges]), "b": np.concatenate([b for _, b in edges])})
    )
    group[joined.column("node").to_numpy()] = joined.column("component").to_numpy()
    return group


def _told(rows: pa.Table, table: pa.Table, key: str, system: System, side: int) -> pa.Table:
    """The rows of one system with what its own table tells."""
    own = rows.filter(pc.equal(rows.column("system"), system))
    place = pc.index_in(own.column("id"), value_set=table.column(key).combine_chunks())
    if place.null_count:
        lacking = own.column("id").filter(pc.is_null(place))[0].as_py()
        raise UsageError(
            f"{system}:{lacking} is in the merged table but not in its own: they aren't of one snapshot.",
            hint="Run the reconciliation of this snapshot again.",
        )
    for name, of_sides in _TOLD.items():
        own_name = of_sides[side]
        kind = _KINDS.get(name, pa.string())
        values = pa.nulls(own.num_rows, kind) if own_name is None else table.column(own_name).take(place)
        own = own.append_column(pa.field(name, kind), values)
    return own


_KINDS = {
    **dict.fromkeys(("opted_out_at", "changed_at"), pa.timestamp("us", tz="UTC")),
    **dict.fromkeys(("converted", "flag", "custom"), pa.bool_()),
}


def _member(row: dict[str, Any]) -> Member:
    person = row["system"] == "sales_connect"
    cause: Cause | None = None
    if row["opted_out"]:
        cause = "choice"
        if person and row["level"] == "user":
            cause = "user"
        elif person and row["source"] == "bounce":
            cause = "bounce"
    first, last = row["first"], row["last"]
    return Member(
        system=row["system"],
        id=row["id"],
        object=row["object"],
        address=row["address"],
        cluster=row["cluster"],
        opted_out=bool(row["opted_out"]),
        cause=cause,
        source=row["source"] if cause is not None else None,
        opted_out_at=row["opted_out_at"],
        changed_at=row["changed_at"],
        converted=bool(row["converted"]),
        name=f"{first} {last}" if first and last else None,
        flag=row["flag"],
        custom=row["custom"],
        account=row["account"],
    )
