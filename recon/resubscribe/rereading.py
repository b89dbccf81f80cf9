"""The touched records and those that are linked to them, as they are now: live, or in an extract that was made since."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recon.errors import AccessRefused, IncompletePull, SourceError
from recon.resubscribe.live import moment
from recon.sources.discovery import PERSON_ACCOUNT
from recon.sources.gateway_person import PersonReader
from recon.sources.ids import salesforce_id_18, to_18
from recon.sources.rest_query import rest_pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from recon.progress import Progress
    from recon.snapshot import Snapshot
    from recon.sources.gateway_client import GatewayClient
    from recon.sources.salesforce_session import Connection

# See recon.resubscribe.live.
_IDS = 500
_OBJECTS = {"00Q": "Lead", "003": "Contact"}


@dataclass(frozen=True, slots=True)
class Now:
    """A record as it is now.

    Attributes
    ----------
    uid
        `system:id`.
    as_of
        When that was so.
    out
        Is it opted out, at any level?
    carries
        Does the nightly sync carry its opt-out?
    gone
        None where it is there; else deleted, merged, missing, or converted.
    at
        When it was opted out, where that is known.
    source
        On people: how.
    link
        On people: the Salesforce record, 18 characters.
    became
        On a converted Lead: the Contact.
    author
        On records: the id of the user who ticked the opt-out, from field history.
    """

    uid: str
    as_of: datetime
    out: bool = False
    carries: bool = False
    gone: str | None = None
    at: datetime | None = None
    source: str | None = None
    link: str | None = None
    became: str | None = None
    author: str | None = None

    @property
    def is_person(self) -> bool:
        """Whether it is one of Sales Connect."""
        return self.uid.startswith("sales_connect:")


class LiveRecords:
    """Reads records by Salesforce's API.

    Parameters
    ----------
    connection
        A session with Salesforce.
    targets
        The opt-out fields of each object.
    as_of
        The moment.
    person_targets
        The opt-out fields of person accounts on their Accounts; none where the org has no person accounts.
    """

    def __init__(
        self,
        connection: Connection,
        targets: Mapping[str, Sequence[str]],
        as_of: datetime,
        person_targets: Sequence[str] = (),
    ) -> None:
        self._connection, self._targets, self._as_of = connection, targets, as_of
        self._person_targets = person_targets

    def read(self, ids: Iterable[str], progress: Progress) -> dict[str, Now]:
        """Read records, deleted ones included, by `system:id`. Raises SourceError."""
        found: dict[str, Now] = {}
        with progress.task("Salesforce", None, "records") as task:
            for name, part in _by_object(ids):
                if name not in self._targets:
                    continue
                found |= self._part(name, part)
                task.advance(len(part))
        return found

    def _part(self, name: str, ids: Sequence[str]) -> dict[str, Now]:
        own: tuple[str, ...] = ("IsConverted", "ConvertedContactId")
        if name == "Contact":
            own = PERSON_ACCOUNT if self._person_targets else ()
        accounts: dict[str, str] = {}
        fields = tuple(self._targets[name])
        columns = ("Id", *fields, *own, "IsDeleted", "MasterRecordId")
        soql = f"SELECT {', '.join(columns)} FROM {name} WHERE Id IN ({_quoted(ids)})"  # noqa: S608 - names of describe, ids checked
        found = {f"salesforce:{one}": Now(f"salesforce:{one}", self._as_of, gone="missing") for one in ids}
        for page in rest_pages(self._connection, soql, columns, name):
            for row in page:
                uid = f"salesforce:{salesforce_id_18(str(row['Id']))}"
                found[uid] = self._record(uid, row, fields)
                if row.get("IsPersonAccount") is True and found[uid].out:
                    accounts[str(salesforce_id_18(str(row["AccountId"])))] = uid
        found = self._dated(name, found)
        return self._changes("Account", accounts, [*self._person_targets, *fields], found) if accounts else found

    def _record(self, uid: str, row: Mapping[str, Any], fields: Sequence[str]) -> Now:
        if any(not isinstance(row[field], bool) for field in (*fields, "IsDeleted")):
            raise IncompletePull("a record has a checkbox that is neither true nor false.", hint="Run again.")
        gone = None
        if row["IsDeleted"]:
            gone = "merged" if row["MasterRecordId"] else "deleted"
        elif row.get("IsConverted") is True:
            gone = "converted"
        out = any(row[field] for field in fields)
        return Now(uid, self._as_of, out, out and gone is None, gone, became=row.get("ConvertedContactId"))

    def _dated(self, name: str, found: dict[str, Now]) -> dict[str, Now]:
        """The same with when and by whom the opt-outs were ticked, where field history tells."""
        out = {uid.partition(":")[2]: uid for uid, now in found.items() if now.out and now.gone is None}
        return self._changes(name, out, self._targets[name], found) if out else found

    def _changes(
        self, name: str, out: Mapping[str, str], names: Sequence[str], found: dict[str, Now]
    ) -> dict[str, Now]:
        """Add what the history of some records tells: id -> the record it is about, as `system:id`."""
        columns = (f"{name}Id", "NewValue", "CreatedById", "CreatedDate")
        fields = ", ".join(f"'{field}'" for field in names)
        soql = (
            f"SELECT {', '.join(columns)} FROM {name}History WHERE {name}Id IN ({_quoted(out)}) AND Field IN ({fields})"  # noqa: S608 - as above
        )
        try:
            pages = list(rest_pages(self._connection, soql, columns, f"{name}History"))
        except AccessRefused:
            return found
        for row in (row for page in pages for row in page):
            uid = out.get(salesforce_id_18(str(row[f"{name}Id"])) or "", "")
            known, at = found.get(uid), moment(row["CreatedDate"])
            if known is None or str(row["NewValue"]).casefold() != "true" or (known.at is not None and at < known.at):
                continue
            author = salesforce_id_18(str(row["CreatedById"]))
            found[uid] = replace(known, at=at, author=author)
        return found


class LivePeople:
    """Reads people through the gateway.

    Parameters
    ----------
    client
        The gateway.
    columns
        `[sales_connect.columns]`.
    as_of
        The moment.
    """

    def __init__(self, client: GatewayClient, columns: Mapping[str, str], as_of: datetime) -> None:
        self._reader, self._as_of = PersonReader(client, columns), as_of

    def read(self, ids: Iterable[str], progress: Progress) -> dict[str, Now]:
        """Read people, by `system:id`. Raises SourceError."""
        wanted = sorted(set(ids))
        found = {}
        with progress.task("Sales Connect", len(wanted), "people") as task:
            for one in wanted:
                found[f"sales_connect:{one}"] = self._one(one)
                task.advance(1)
        return found

    def _one(self, person_id: str) -> Now:
        row = self._reader.read(person_id)
        return (
            Now(f"sales_connect:{person_id}", self._as_of, gone="missing") if row is None else _person(row, self._as_of)
        )


class Extracted:
    """Reads from a snapshot, for a system that can't be read record by record.

    Parameters
    ----------
    snapshot
        The snapshot.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._as_of = _read_at(snapshot)

    def people(self, ids: Iterable[str], progress: Progress) -> dict[str, Now]:  # noqa: ARG002 - it takes no time
        """People by `system:id`."""
        rows = _rows(self._snapshot, "people", "person_id", ids)
        missing = {one: Now(f"sales_connect:{one}", self._as_of, gone="missing") for one in ids}
        found = missing | {row["person_id"]: _person(row, self._as_of) for row in rows}
        return {now.uid: now for now in found.values()}

    def records(self, ids: Iterable[str], progress: Progress) -> dict[str, Now]:  # noqa: ARG002 - as above
        """Records by `system:id`."""
        found = {one: Now(f"salesforce:{one}", self._as_of, gone="missing") for one in ids}
        for row in _rows(self._snapshot, "records", "record_id", ids):
            gone = "deleted" if row["is_deleted"] else "converted" if row["is_converted"] else None
            found[row["record_id"]] = Now(
                f"salesforce:{row['record_id']}",
                self._as_of,
                row["opted_out"],
                row["opted_out"] and gone is None,
                gone,
                at=row["opted_out_at"],
                became=row["converted_contact_id"],
            )
        return {now.uid: now for now in found.values()}


class Links:
    """Who is linked to whom, as some snapshots have it.

    Parameters
    ----------
    snapshots
        Where two differ both count: a link that was there may have carried an opt-out.
    """

    def __init__(self, snapshots: Iterable[Snapshot]) -> None:
        self._tables = []
        for each in snapshots:
            table = pq.read_table(each.people, columns=["person_id", "salesforce_id"])
            table = table.filter(pc.is_valid(table.column("salesforce_id")))
            ids, _ = to_18(table.column("salesforce_id"))
            self._tables.append(pa.table({"person": table.column("person_id"), "record": ids}))

    def records_of(self, people: Iterable[str]) -> dict[str, set[str]]:
        """Person id -> ids of the records it is linked to."""
        return self._found("person", "record", people)

    def people_of(self, records: Iterable[str]) -> dict[str, set[str]]:
        """Record id -> ids of the people that are linked to it."""
        return self._found("record", "person", records)

    def _found(self, key: str, value: str, wanted: Iterable[str]) -> dict[str, set[str]]:
        ids = pa.array(sorted(set(wanted)), pa.string())
        found: dict[str, set[str]] = {}
        for table in self._tables:
            rows = table.filter(pc.is_in(table.column(key), value_set=ids))
            for one, other in zip(rows.column(key).to_pylist(), rows.column(value).to_pylist(), strict=True):
                if other is not None:
                    found.setdefault(one, set()).add(other)
        return found


def _read_at(snapshot: Snapshot) -> datetime:
    """The moment before anything of it was read: what is written from then on may not be in it. Of a file nobody knows; the pull's counts."""
    said = [each["started_at"] or snapshot.manifest["created_at"] for each in snapshot.manifest["inputs"]]
    first = min(datetime.fromisoformat(at).astimezone(UTC) for at in said)
    return first - timedelta(microseconds=1)


def _rows(snapshot: Snapshot, which: str, key: str, ids: Iterable[str]) -> list[dict[str, Any]]:
    file = snapshot.people if which == "people" else snapshot.records
    wanted = pa.array(sorted(set(ids)), pa.string())
    rows: list[dict[str, Any]] = pq.read_table(file, filters=pc.field(key).isin(wanted)).to_pylist()
    return rows


def _person(row: Mapping[str, Any], as_of: datetime) -> Now:
    link = row["salesforce_id"]
    return Now(
        f"sales_connect:{row['person_id']}",
        as_of,
        row["unsubscribed"],
        row["unsubscribed"] and row["unsubscribe_level"] != "user",
        at=row["unsubscribed_at"] if row["unsubscribed"] else None,
        source=row["unsubscribe_source"] if row["unsubscribed"] else None,
        link=None if link is None else salesforce_id_18(link),
    )


def _by_object(ids: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """The ids by the object that their first characters tell, some at a time."""
    wanted = sorted(set(ids))
    for prefix, name in _OBJECTS.items():
        of_object = [one for one in wanted if one.startswith(prefix)]
        for start in range(0, len(of_object), _IDS):
            yield name, of_object[start : start + _IDS]


def _quoted(ids: Iterable[str]) -> str:
    """Ids for a query: nothing but what is an id gets into it."""
    plain = [salesforce_id_18(one) for one in ids]
    if None in plain:
        raise SourceError("a record is named by something that is no Salesforce id.", hint="Pull again.")
    return ", ".join(f"'{one}'" for one in plain)
