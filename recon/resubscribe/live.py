"""The records of a plan as they are at this moment in both systems."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from recon.errors import AccessRefused, IncompletePull, SourceError
from recon.sources.gateway_person import PersonReader
from recon.sources.ids import salesforce_id_18
from recon.sources.rest_query import rest_pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from recon.resubscribe.plan_file import Step
    from recon.sources.gateway_client import GatewayClient
    from recon.sources.salesforce_session import Connection

T = TypeVar("T")

# A query's address may hold 16,384 bytes, and an id in quotes takes some 25 of them.
_IDS = 200


@dataclass(frozen=True, slots=True)
class Seen:
    """A record as it was read.

    Attributes
    ----------
    values
        Of the step's fields, in their order; empty where the record isn't there.
    gone
        None where it is there; else deleted, merged, or missing.
    email
        As the system has it.
    modified_at
        LastModifiedDate, on people updated_at.
    opted_out_at
        A person's unsubscribed_at; a record's stands in its history only.
    converted
        Is it a converted Lead?
    level
        A person's unsubscribe level.
    """

    values: tuple[bool | None, ...] = ()
    gone: str | None = None
    email: str | None = None
    modified_at: datetime | None = None
    opted_out_at: datetime | None = None
    converted: bool = False
    level: str | None = None

    @property
    def there(self) -> bool:
        """Whether there is such a record."""
        return self.gone is None


@dataclass(frozen=True, slots=True)
class Change:
    """One row of a record's field history; `value` is None where the row doesn't say."""

    field: str
    value: bool | None
    at: datetime


class LiveSalesforce:
    """Reads Leads and Contacts.

    Parameters
    ----------
    connection
        A session with Salesforce.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def read(self, steps: Iterable[Step]) -> dict[str, Seen]:
        """Read records, deleted ones included: by `Step.key`.

        Raises
        ------
        SourceError
            If Salesforce can't be read.
        """
        groups = _groups(steps)
        found: dict[str, Seen] = {}
        for (sobject, fields), of_group in groups.items():
            own = ("IsConverted",) if sobject == "Lead" else ()
            columns = ("Id", "Email", *fields, *own, "IsDeleted", "MasterRecordId", "LastModifiedDate")
            for part in _parts(of_group, _IDS):
                ids = ", ".join(f"'{_plain(step.id)}'" for step in part)
                soql = f"SELECT {', '.join(columns)} FROM {sobject} WHERE Id IN ({ids})"  # noqa: S608 - names of describe, ids checked
                for page in rest_pages(self._connection, soql, columns, sobject):
                    for row in page:
                        found[f"salesforce:{salesforce_id_18(str(row['Id']))}"] = _record(row, fields)
        return {step.key: found.get(step.key, Seen(gone="missing")) for of in groups.values() for step in of}

    def history(self, step: Step) -> list[Change] | None:
        """The changes of one record's opt-out fields; see `histories`."""
        return self.histories([step])[step.key]

    def histories(self, steps: Iterable[Step]) -> dict[str, list[Change] | None]:
        """The changes of records' opt-out fields, by `Step.key`; None where the org keeps no history or shows none.

        Raises
        ------
        SourceError
            If Salesforce can't be read.
        """
        found: dict[str, list[Change] | None] = {}
        for (sobject, names), of_group in _groups(steps).items():
            fields = ", ".join(f"'{name}'" for name in names)
            parent = f"{sobject}Id"
            columns = (parent, "Field", "NewValue", "CreatedDate")
            for part in _parts(of_group, _IDS):
                found |= {step.key: [] for step in part}
                ids = ", ".join(f"'{_plain(step.id)}'" for step in part)
                soql = f"SELECT {', '.join(columns)} FROM {sobject}History WHERE {parent} IN ({ids}) AND Field IN ({fields})"  # noqa: S608 - as above
                try:
                    pages = list(rest_pages(self._connection, soql, columns, f"{sobject}History"))
                except AccessRefused:
                    found |= dict.fromkeys((step.key for step in part), None)
                    continue
                for row in (row for page in pages for row in page):
                    change = Change(str(row["Field"]), _flag(row["NewValue"]), moment(row["CreatedDate"]))
                    changes = found.get(f"salesforce:{salesforce_id_18(str(row[parent]))}")
                    if changes is not None:
                        changes.append(change)
        return found


class LivePeople:
    """Reads people through a gateway.

    Parameters
    ----------
    client
        The gateway.
    columns
        Which key of a person is which column, `[sales_connect.columns]`.
    """

    def __init__(self, client: GatewayClient, columns: Mapping[str, str]) -> None:
        self._reader = PersonReader(client, columns)

    def read(self, step: Step) -> Seen:
        """Read a person.

        Raises
        ------
        SourceError
            If the gateway can't be read, answers with somebody else, or its address for a person is wrong.
        """
        row = self._reader.read(step.id)
        if row is None:
            return Seen(gone="missing")
        return Seen(
            values=(row["unsubscribed"],),
            email=row["email"],
            modified_at=row["updated_at"],
            opted_out_at=row["unsubscribed_at"],
            level=row["unsubscribe_level"],
        )


def moment(text: object) -> datetime:
    """A time as Salesforce writes it, like `2026-11-24T18:00:00.000+0000`, in UTC.

    Raises
    ------
    SourceError
        If it is none.
    """
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise SourceError("Salesforce answered with a time that can't be read.", hint="Run again.")
    return at.astimezone(UTC)


def _record(row: Mapping[str, Any], fields: Sequence[str]) -> Seen:
    values = tuple(_flag(row[name]) for name in fields)
    if row["IsDeleted"] not in (True, False) or None in values:
        raise IncompletePull("a record has a checkbox that is neither true nor false.", hint="Run again.")
    gone = None
    if row["IsDeleted"]:
        gone = "merged" if row["MasterRecordId"] else "deleted"
    return Seen(
        values=values,
        gone=gone,
        email=row["Email"] or None,
        modified_at=moment(row["LastModifiedDate"]),
        converted=row.get("IsConverted") is True,
    )


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else {"true": True, "false": False}.get(str(value).casefold())


def _plain(record_id: str) -> str:
    plain = salesforce_id_18(record_id)
    if plain is None:
        raise SourceError("a step of the plan names a record by something that is no Salesforce id.")
    return plain


def _groups(steps: Iterable[Step]) -> dict[tuple[str, tuple[str, ...]], list[Step]]:
    """Steps by object and fields: what one query can read."""
    groups: dict[tuple[str, tuple[str, ...]], list[Step]] = {}
    for step in steps:
        groups.setdefault((step.object, step.fields), []).append(step)
    return groups


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
