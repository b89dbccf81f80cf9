"""One person as a question's answer needs it: the records, what joins them, where each opt-out came from, what happened when."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from recon import merge
from recon.engine import engine_named
from recon.merge import SALES_CONNECT
from recon.reconcile import reconcile

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import date, datetime

    import pyarrow as pa

    from recon.engine import Engine
    from recon.settings import Settings


@dataclass(frozen=True, slots=True)
class Record:
    """One record of either system.

    Attributes
    ----------
    uid, system, id, object
        `system:id`; the system; the id there; Person, Lead or Contact.
    email
        The address as its system has it.
    opted_out, predicted
        The flag now, and after the next nightly run.
    since, resubscribed_at
        When it was opted out, and when an opt-out was last taken back; None where that is unknown.
    how, level
        Of a person that is opted out: manual, clicked_link, salesforce_sync or bounce; account or user.
    carries
        Does the sync carry its flag?
    converted
        A Lead that was converted.
    link
        Of a person with a Salesforce ID: linked, stale (a converted Lead) or broken (no such record).
    category, fix, due_by, path, explanation
        As in `recon.tables.ACTIONS`; None where nothing is to be done.
    origin
        Where its opt-out came from, in a sentence; of a record that isn't opted out, why not or what is wrong.
    way
        The path that the opt-out took to this record: of an opted-out one as far as it can be told.
    asked
        Was it asked about?
    """

    uid: str
    system: str
    id: str
    object: str
    email: str | None
    opted_out: bool
    predicted: bool
    since: datetime | None
    resubscribed_at: datetime | None
    how: str | None
    level: str | None
    carries: bool
    converted: bool
    link: str | None
    category: str | None
    fix: str | None
    due_by: date | None
    path: str | None
    explanation: str | None
    origin: str = ""
    way: str | None = None
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """What joins two records.

    Attributes
    ----------
    start, end
        `system:id`; of a broken link the end is an id that no record has.
    kind
        id, stale or broken (a person's Salesforce ID, see `Record.link`), converted (a Lead and its Contact).
    """

    start: str
    end: str
    kind: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a record, and when."""

    at: datetime
    uid: str
    what: str


@dataclass(frozen=True, slots=True)
class Person:
    """All records of one person.

    Attributes
    ----------
    cluster
        The person's stable name, the smallest `system:id`.
    records
        By system and id.
    links
        What joins them, equal addresses aside.
    addresses
        Address -> the records that have it, for addresses that join more than one.
    """

    cluster: str
    records: tuple[Record, ...]
    links: tuple[Link, ...]
    addresses: dict[str, tuple[str, ...]]

    @property
    def asked(self) -> tuple[Record, ...]:
        """The records that were asked about."""
        return tuple(record for record in self.records if record.asked)

    def record(self, uid: str) -> Record:
        """The record of a `system:id`."""
        return next(record for record in self.records if record.uid == uid)

    def linked(self, record: Record) -> tuple[Record, ...]:
        """The records that the sync joins to one by a single link."""
        ends = [link for link in self.links if link.kind == "id" and record.uid in (link.start, link.end)]
        return tuple(self.record(link.end if link.start == record.uid else link.start) for link in ends)

    def events(self) -> tuple[Event, ...]:
        """What is known to have happened, in order of time."""
        found = []
        for record in self.records:
            if record.since is not None:
                verb = "unsubscribed" if record.system == SALES_CONNECT else "opted out"
                how = f" ({record.how.replace('_', ' ')})" if record.how else ""
                found.append(Event(record.since, record.uid, verb + how))
            if record.resubscribed_at is not None:
                found.append(Event(record.resubscribed_at, record.uid, "an opt-out was taken back"))
        return tuple(sorted(found, key=lambda event: (event.at, event.uid, event.what)))


def persons(
    people: pa.Table,
    records: pa.Table,
    settings: Settings,
    asked: Collection[str],
    answered: Sequence[str] = (),
    engine: Engine | None = None,
) -> tuple[Person, ...]:
    """Reconcile the rows of a few persons and tell how they hang together. The result is what it would be among all rows.

    Parameters
    ----------
    people, records
        All rows of these persons, see `recon.explore.find`.
    asked
        The `system:id` of the records that were asked about.
    answered
        Converted Leads whose opt-out a documented resubscribe has answered, see `recon.resubscribe.answered`.
    engine
        Where to reconcile; by default in an engine of its own, within the memory that is set. What else is held there stays.

    Returns
    -------
    tuple of Person
        In the order of their names.
    """
    from recon.explore.origin import origin

    if not people.num_rows and not records.num_rows:
        return ()
    if engine is None:
        engine = engine_named("auto", memory=settings.run.memory, spill=settings.run.spill)
    with engine.apart():
        result = reconcile(people, records, settings, engine=engine, answered=answered)
        merged = {row["n"]: row for row in engine.collect(result.merged_frame).to_pylist()}
        actions = {row["n"]: row for row in engine.collect(result.actions_frame).to_pylist()}
        rows = {row["n"]: row for row in engine.collect(result.found.sort("n")).to_pylist()}
    levels = dict(zip(*(people.column(name).to_pylist() for name in ("person_id", "unsubscribe_level")), strict=True))
    grouped: dict[str, list[int]] = defaultdict(list)
    for n in rows:
        grouped[merged[n]["cluster"]].append(n)
    told = []
    for cluster in sorted(grouped):
        numbers = grouped[cluster]
        members = [_record(rows[n], merged[n], actions.get(n, {}), levels, asked) for n in numbers]
        person = Person(cluster, tuple(members), _links(numbers, rows, merged), _addresses(numbers, rows, merged))
        told.append(replace(person, records=tuple(origin(record, person) for record in person.records)))
    return tuple(told)


def _record(
    row: dict[str, Any],
    merged: dict[str, Any],
    action: dict[str, Any],
    levels: dict[str, str | None],
    asked: Collection[str],
) -> Record:
    uid = _uid(merged)
    level = levels.get(row["id"]) if row["system"] == SALES_CONNECT and row["opted_out"] else None
    return Record(
        uid=uid,
        system=row["system"],
        id=row["id"],
        object=row["object"],
        email=row["email"],
        opted_out=row["opted_out"],
        predicted=merged["predicted_opted_out"],
        since=row["own_at"],
        resubscribed_at=row["resubscribed_at"],
        how=row["how"],
        level=level,
        carries=row["carries"],
        converted=row["is_converted"],
        link=row["link"],
        category=action.get("category"),
        fix=action.get("fix"),
        due_by=action.get("due_by"),
        path=action.get("path"),
        explanation=action.get("explanation"),
        asked=uid in asked,
    )


def _uid(merged: dict[str, Any]) -> str:
    return f"{merged['system']}:{merged['id']}"


def _links(numbers: list[int], rows: dict[int, dict[str, Any]], merged: dict[int, dict[str, Any]]) -> tuple[Link, ...]:
    found = []
    for n in numbers:
        row, uid = rows[n], _uid(merged[n])
        if row["t"] is not None:
            found.append(Link(uid, _uid(merged[row["t"]]), "id" if row["link"] == "linked" else "stale"))
        elif row["broken_id"] is not None:
            found.append(Link(uid, f"{merge.SALESFORCE}:{row['broken_id'].strip()}", "broken"))
        if row["v"] is not None:
            found.append(Link(uid, _uid(merged[row["v"]]), "converted"))
    return tuple(found)


def _addresses(
    numbers: list[int], rows: dict[int, dict[str, Any]], merged: dict[int, dict[str, Any]]
) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = defaultdict(list)
    for n in numbers:
        if rows[n]["a"] is not None:
            found[rows[n]["address"]].append(_uid(merged[n]))
    return {address: tuple(uids) for address, uids in sorted(found.items()) if len(uids) > 1}
