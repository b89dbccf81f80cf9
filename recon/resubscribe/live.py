"""The records of a plan as they are at this moment in both systems."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from recon.errors import AccessRefused, IncompletePull, SourceError
from recon.sources.discovery import on_contact
from recon.sources.gateway_person import PersonReader
from recon.sources.ids import salesforce_id_18
from recon.sources.rest_query import rest_pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from recon.resubscribe.plan_file import Step
    from recon.sources.discovery import ObjectFields
    from recon.sources.gateway_client import GatewayClient
    from recon.sources.salesforce_session import Connection

T = TypeVar("T")

#: An id's checksum takes longer than looking it up, and every record is read several times.
_id_18 = lru_cache(1 << 14)(salesforce_id_18)

# A query's address may hold 16,384 bytes, and an id in quotes, with the comma and the blank after it, takes 28 of them.
_IDS = 500


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
    account
        A Contact's Account, where the user sees it.
    person_account, account_modified_at
        Of a person account: its Account, and that one's LastModifiedDate.
    """

    values: tuple[bool | None, ...] = ()
    gone: str | None = None
    email: str | None = None
    modified_at: datetime | None = None
    opted_out_at: datetime | None = None
    converted: bool = False
    level: str | None = None
    account: str | None = None
    person_account: str | None = None
    account_modified_at: datetime | None = None

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
    contact
        What is known of Contact: has the org person accounts, does the user see AccountId?
    """

    def __init__(self, connection: Connection, contact: ObjectFields | None = None) -> None:
        self._connection = connection
        self._more: tuple[str, ...] = ()
        if contact is not None:
            self._more += ("AccountId",) if contact.account_visible else ()
            self._more += ("IsPersonAccount",) if contact.person_accounts else ()

    def read(self, steps: Iterable[Step]) -> dict[str, Seen]:
        """Read records, deleted ones included: by `Step.key`.

        Raises
        ------
        SourceError
            If Salesforce can't be read.
        """
        groups = _groups(steps)
        found: dict[str, Seen] = {}
        for (sobject, names, through), of_group in groups.items():
            own = ("IsConverted",) if sobject == "Lead" else self._more
            # A person account is read as the Contact that it is; its write needs the Account's own date.
            fields = tuple(on_contact(name) for name in names) if through else names
            columns = ("Id", "Email", *fields, *own, "IsDeleted", "MasterRecordId", "LastModifiedDate")
            selected = (*columns, "Account.LastModifiedDate") if through else columns
            for part in _parts(of_group, _IDS):
                ids = ", ".join(f"'{_plain(step.id)}'" for step in part)
                soql = f"SELECT {', '.join(selected)} FROM {sobject} WHERE Id IN ({ids})"  # noqa: S608 - names of describe, ids checked
                for page in rest_pages(self._connection, soql, columns, sobject):
                    for row in page:
                        found[f"salesforce:{_id_18(str(row['Id']))}"] = _record(row, fields)
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
        for (sobject, names, through), of_group in _groups(steps).items():
            for part in _parts(of_group, _IDS):
                found |= {step.key: [] for step in part}
                own = [on_contact(name) for name in names] if through else names
                self._changes(sobject, {step.id: step.key for step in part}, own, found)
                if through:
                    # Which of the two keeps it isn't documented, nor by which name of the field.
                    self._changes("Account", {step.written[1]: step.key for step in part}, [*names, *own], found)
        return found

    def _changes(
        self, name: str, keys: Mapping[str, str], fields: Sequence[str], found: dict[str, list[Change] | None]
    ) -> None:
        """Add what the history of some records tells: id -> the key that it is told under."""
        parent = f"{name}Id"
        columns = (parent, "Field", "NewValue", "CreatedDate")
        ids = ", ".join(f"'{_plain(one)}'" for one in keys)
        wanted = ", ".join(f"'{field}'" for field in fields)
        soql = f"SELECT {', '.join(columns)} FROM {name}History WHERE {parent} IN ({ids}) AND Field IN ({wanted})"  # noqa: S608 - as above
        try:
            pages = list(rest_pages(self._connection, soql, columns, f"{name}History"))
        except AccessRefused:
            found |= dict.fromkeys(keys.values(), None)
            return
        for row in (row for page in pages for row in page):
            change = Change(str(row["Field"]), _flag(row["NewValue"]), moment(row["CreatedDate"]))
            changes = found.get(keys.get(_id_18(str(row[parent])) or "", ""))
            if changes is not None:
                changes.append(change)


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
    account, parent = row.get("AccountId"), row.get("Account")
    account = None if account is None else _id_18(str(account))
    return Seen(
        values=values,
        gone=gone,
        email=row["Email"] or None,
        modified_at=moment(row["LastModifiedDate"]),
        converted=row.get("IsConverted") is True,
        account=account,
        person_account=account if row.get("IsPersonAccount") is True else None,
        account_modified_at=moment(parent["LastModifiedDate"]) if isinstance(parent, dict) else None,
    )


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else {"true": True, "false": False}.get(str(value).casefold())


def _plain(record_id: str) -> str:
    plain = _id_18(record_id)
    if plain is None:
        raise SourceError("a step of the plan names a record by something that is no Salesforce id.")
    return plain


def _groups(steps: Iterable[Step]) -> dict[tuple[str, tuple[str, ...], bool], list[Step]]:
    """Steps by object, fields, and whether they are person accounts: what one query can read."""
    groups: dict[tuple[str, tuple[str, ...], bool], list[Step]] = {}
    for step in steps:
        groups.setdefault((step.object, step.fields, step.account is not None), []).append(step)
    return groups


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
