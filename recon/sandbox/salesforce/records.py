"""Writing records: the one way in which REST, Bulk, the nightly run and the population change Leads and Contacts.

A change sets LastModifiedDate, LastModifiedById and SystemModstamp from the store's clock, and writes a row of field history for
each tracked field that got another value.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from functools import cache
from typing import TYPE_CHECKING, Any

from recon.sandbox.salesforce import errors, person_accounts
from recon.sandbox.salesforce.objects import SObject, whole_object
from recon.sandbox.store import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recon.sandbox.salesforce.objects import Field
    from recon.sandbox.store import Store

#: The user whose hand wrote a record when nobody else is named.
ADMIN = "0055e000001AdmnAAC"

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID = re.compile(r"[0-9A-Za-z]{15}(?:[0-9A-Za-z]{3})?", re.ASCII)
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_HISTORY_PREFIX = "017"


def to_18(record_id: str) -> str:
    """The 18-character form of a record id: three more characters tell which of the 15 are upper case.

    Parameters
    ----------
    record_id
        An id of 15 or 18 characters. Of 18, the last three are checked; their case doesn't matter.

    Raises
    ------
    ValueError
        If the text is no id, or its last three characters don't fit.
    """
    if not _ID.fullmatch(record_id):
        raise ValueError("an id has 15 or 18 letters and digits")
    suffix = ""
    for start in (0, 5, 10):
        bits = sum(1 << n for n, char in enumerate(record_id[start : start + 5]) if "A" <= char <= "Z")
        suffix += _ALPHABET[bits]
    if len(record_id) == 18 and record_id[15:].upper() != suffix:
        raise ValueError("the id's last three characters don't fit the others")
    return record_id[:15] + suffix


def new_id(store: Store, prefix: str) -> str:
    """The next id of an object: deterministic, from the store's `id_sequence`.

    Parameters
    ----------
    prefix
        The object's three characters, like ``00Q``.
    """
    with store.transaction() as db:
        number = int(store.config("id_sequence"))
        db.execute("UPDATE config SET value = ? WHERE key = 'id_sequence'", (str(number + 1),))
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return to_18(prefix + "5e00" + digits.rjust(8, "0"))


def _object(name: str) -> SObject:
    item = whole_object(name)
    if item is None:
        raise errors.Fault(404, "NOT_FOUND", f"sObject type '{name}' is not supported.")
    return item


def resolve_id(sobject: SObject, record_id: str) -> str:
    """The 18-character id of a record of this object, from 15 or 18 characters.

    Raises
    ------
    RecordFault
        ``MALFORMED_ID``, if the text is no id of this object.
    """
    try:
        full = to_18(record_id)
    except ValueError:
        raise errors.malformed_id(record_id) from None
    if not full.startswith(sobject.key_prefix):
        raise errors.malformed_id(record_id)
    return full


def read_record(store: Store, name: str, record_id: str) -> sqlite3.Row:
    """A live record's row.

    Parameters
    ----------
    name
        The object, like ``Lead``.
    record_id
        15 or 18 characters.

    Raises
    ------
    RecordFault
        ``MALFORMED_ID``, ``NOT_FOUND`` or ``ENTITY_IS_DELETED``.
    """
    item = _object(name)
    condition = "" if item.only is None else f" AND {item.only}"
    with store.transaction() as db:
        row: sqlite3.Row | None = db.execute(
            f"SELECT * FROM {item.table} WHERE Id = ?{condition}",  # noqa: S608 - names from the object list
            (resolve_id(item, record_id),),
        ).fetchone()
    if row is None:
        raise errors.record_not_found()
    if item.has_deleted and row["IsDeleted"]:
        raise errors.record_deleted()
    return row


def update_record(
    store: Store, name: str, record_id: str, values: Mapping[str, Any], user_id: str = ADMIN, *, bump: bool = True
) -> None:
    """Change a live record, as any hand in the org would.

    Parameters
    ----------
    name
        ``Lead``, ``Contact`` or ``Account``. What is a person account is changed through its Account, whichever is named.
    record_id
        15 or 18 characters.
    values
        Fields by their exact names; flags as booleans, everything else as text or None.
    user_id
        Who changes it.
    bump
        False leaves the times and the author alone and writes no history: for making the past.

    Raises
    ------
    RecordFault
        ``MALFORMED_ID``, ``NOT_FOUND``, ``ENTITY_IS_DELETED``, ``CANNOT_UPDATE_CONVERTED_LEAD``, ``INVALID_FIELD``,
        ``INVALID_FIELD_FOR_INSERT_UPDATE``, or what is wrong with a value. Nothing is changed then.
    """
    item = _object(name)
    if not item.updateable:
        raise errors.Fault(405, "METHOD_NOT_ALLOWED", f"{item.name} can't be written here")
    with store.transaction() as db:
        row = read_record(store, name, record_id)
        if item.name == "Lead" and row["IsConverted"]:
            raise errors.converted_lead()
        if item.name == "Contact" and (account := person_accounts.account_of(db, row)) is not None:
            update_record(store, "Account", account, person_accounts.on_account(values), user_id, bump=bump)
            return
        checked = check_values(item, values)
        if item.name == "Account" and not row["IsPersonAccount"] and checked:
            raise errors.field_not_writeable(list(checked))
        target, held = item, row
        if item.name == "Account" and row["IsPersonAccount"]:
            target, held = _object("Contact"), read_record(store, "Contact", row["PersonContactId"])
        changes: dict[str, Any] = {}
        stamps: dict[str, Any] = {}
        now = store.now()
        if bump:
            stamps = {"LastModifiedDate": now, "LastModifiedById": user_id, "SystemModstamp": now}
        for field in item.fields:
            if field.name not in checked:
                continue
            column = field.of_contact or field.name
            changes[column] = checked[field.name]
            if bump and field.tracked and changes[column] != held[column]:
                old, new = _as_told(field, held[column]), _as_told(field, changes[column])
                for place in _history_places(store, item, row["Id"], held["Id"], field):
                    insert_history(store, *place, old, new, now, user_id)
        _change(db, target, held["Id"], changes | stamps)
        if target is not item:
            _change(db, item, row["Id"], stamps)


def _as_told(field: Field, value: Any) -> str | None:
    """A value as history has it."""
    told: str | None = ("true" if value else "false") if field.type == "boolean" else value
    return told


def _history_places(
    store: Store, item: SObject, record_id: str, held_id: str, field: Field
) -> list[tuple[str, str, str]]:
    """Object, record and name under which a change of a field is kept; none where it isn't."""
    if field.of_contact is None:
        return [(item.name, record_id, field.name)]
    place = person_accounts.history_place(store, held_id, record_id, field)
    return [] if place is None else [place]


def _change(db: sqlite3.Connection, item: SObject, record_id: str, changes: Mapping[str, Any]) -> None:
    if changes:
        assignments = ", ".join(f"{column} = :{column}" for column in changes)
        db.execute(
            f"UPDATE {item.table} SET {assignments} WHERE Id = :Id",  # noqa: S608 - names checked against the object list
            {**changes, "Id": record_id},
        )


def check_values(item: SObject, values: Mapping[str, Any], *, creating: bool = False) -> dict[str, Any]:
    """Values as the store keeps them.

    Raises
    ------
    RecordFault
        If a field isn't there or can't be written, or a value doesn't fit its field.
    """
    checked: dict[str, Any] = {}
    locked = []
    for name, value in values.items():
        field = item.field(name)
        if field is None:
            raise errors.no_such_column(name, item.name)
        if not field.updateable:
            locked.append(field.name)
            continue
        checked[field.name] = _flag(field, value) if field.type == "boolean" else _text(field, value)
    if locked:
        raise errors.field_not_writeable(locked)
    missing = [field.name for field in item.fields if creating and field.required and not checked.get(field.name)]
    if missing:
        message = f"Required fields are missing: [{', '.join(missing)}]"
        raise errors.RecordFault(400, "REQUIRED_FIELD_MISSING", message, missing)
    return checked


def _flag(field: Field, value: object) -> int:
    if value is None:
        message = f"{field.label}: value not of required type: "
        raise errors.RecordFault(400, "INVALID_TYPE_ON_FIELD_IN_RECORD", message, [field.name])
    if not isinstance(value, bool):
        raise errors.cannot_deserialize("boolean", _token(value), value)
    return int(value)


def _text(field: Field, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise errors.cannot_deserialize("string", _token(value), value)
    if not value:
        if field.required:
            message = f"Required fields are missing: [{field.name}]"
            raise errors.RecordFault(400, "REQUIRED_FIELD_MISSING", message, [field.name])
        return None
    if len(value) > field.length:
        message = f"{field.label}: data value too large: {value} (max length={field.length})"
        raise errors.RecordFault(400, "STRING_TOO_LONG", message, [field.name])
    if field.type == "email" and not _EMAIL.fullmatch(value.strip()):
        message = f"{field.label}: invalid email address: {value}"
        raise errors.RecordFault(400, "INVALID_EMAIL_ADDRESS", message, [field.name])
    return _reference(field.label, field.name, value) if field.type == "reference" else value


def _reference(label: str, name: str, text: str) -> str:
    try:
        return to_18(text)
    except ValueError:
        message = f"{label}: id value of incorrect type: {text}"
        raise errors.RecordFault(400, "MALFORMED_ID", message, [name]) from None


def _token(value: object) -> str:
    if isinstance(value, bool):
        return "VALUE_TRUE" if value else "VALUE_FALSE"
    if isinstance(value, dict):
        return "START_OBJECT"
    if isinstance(value, list):
        return "START_ARRAY"
    if isinstance(value, int):
        return "VALUE_NUMBER_INT"
    return "VALUE_NUMBER_FLOAT" if isinstance(value, float) else "VALUE_STRING"


def insert_history(
    store: Store,
    name: str,
    parent: str,
    field: str,
    old: str | None,
    new: str | None,
    at: str,
    user_id: str = ADMIN,
) -> str:
    """Write one row of field history and return its id.

    Parameters
    ----------
    name, parent
        ``Lead`` or ``Contact``, and the record's 18-character id.
    field, old, new
        The field and its values as text; flags are ``true`` and ``false``.
    at
        When, as the store keeps times.
    """
    with store.transaction() as db:
        history_id = new_id(store, _HISTORY_PREFIX)
        db.execute(
            "INSERT INTO history (Id, Object, Parent, Field, OldValue, NewValue, CreatedById, CreatedDate) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (history_id, name, parent, field, old, new, user_id, at),
        )
    return history_id


@cache
def _columns(table: str) -> frozenset[str]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(SCHEMA)
        return frozenset(row[1] for row in db.execute(f"PRAGMA table_info({table})"))


def _insert(store: Store, name: str, columns: dict[str, Any], *, author: bool) -> str:
    item = _object(name)
    now = store.now()
    created = columns.get("CreatedDate", now)
    row: dict[str, Any] = {"CreatedDate": created, "LastModifiedDate": created}
    if author:
        row["LastModifiedById"] = ADMIN
    row |= {column: int(value) if isinstance(value, bool) else value for column, value in columns.items()}
    row.setdefault("SystemModstamp", row["LastModifiedDate"])
    with store.transaction() as db:
        if "Id" not in row:
            row["Id"] = new_id(store, item.key_prefix)
        if unknown := sorted(row.keys() - _columns(item.table)):
            raise ValueError(f"{item.name} has no column {', '.join(unknown)}")
        names = ", ".join(row)
        places = ", ".join(f":{column}" for column in row)
        db.execute(f"INSERT INTO {item.table} ({names}) VALUES ({places})", row)  # noqa: S608 - names checked above
    return str(row["Id"])


def insert_lead(store: Store, **columns: Any) -> str:
    """Create a lead and return its id.

    Parameters
    ----------
    columns
        The columns of the store's table `lead`. Id, times and author have defaults; values are kept as they are written.
    """
    return _insert(store, "Lead", columns, author=True)


def insert_contact(store: Store, **columns: Any) -> str:
    """Create a contact and return its id; see `insert_lead`."""
    return _insert(store, "Contact", columns, author=True)


def insert_person_account(store: Store, **columns: Any) -> str:
    """Create a person account from its contact's columns and return the *contact's* id; see `insert_lead`."""
    with store.transaction():
        contact = insert_contact(store, **columns)
        person_accounts.new_person_account(store, contact)
    return contact


def insert_individual(store: Store, **columns: Any) -> str:
    """Create an Individual and return its id; see `insert_lead`."""
    return _insert(store, "Individual", columns, author=False)


def insert_consent(store: Store, **columns: Any) -> str:
    """Create a ContactPointTypeConsent and return its id; see `insert_lead`."""
    return _insert(store, "ContactPointTypeConsent", columns, author=False)


def delete_record(
    store: Store, name: str, record_id: str, user_id: str = ADMIN, *, master_id: str | None = None
) -> None:
    """Move a live record to the recycle bin.

    Parameters
    ----------
    master_id
        The record that it was merged into, if it was.

    Raises
    ------
    RecordFault
        ``MALFORMED_ID``, ``NOT_FOUND`` or ``ENTITY_IS_DELETED``.
    """
    item = _object(name)
    with store.transaction() as db:
        row = read_record(store, name, record_id)
        now = store.now()
        db.execute(
            f"UPDATE {item.table} SET IsDeleted = 1, MasterRecordId = ?, LastModifiedDate = ?, LastModifiedById = ?, "  # noqa: S608 - name from the object list
            "SystemModstamp = ? WHERE Id = ?",
            (master_id, now, user_id, now, row["Id"]),
        )
        if item.name == "Contact" and (account := person_accounts.account_of(db, row)) is not None:
            db.execute(
                "UPDATE account SET IsDeleted = 1, LastModifiedDate = ?, LastModifiedById = ?, SystemModstamp = ? WHERE Id = ?",
                (now, user_id, now, account),
            )


def convert_lead(store: Store, lead_id: str, contact_id: str | None = None, user_id: str = ADMIN) -> str:
    """Convert a lead into a new contact or into one that is there, and return the contact's id.

    An existing contact only gets its empty fields filled. A cleared checkbox is not empty, so a lead's opt-out is lost then.
    Source: Salesforce Help, Considerations for Converting Leads.

    Raises
    ------
    RecordFault
        If either record isn't there, or the lead is converted already.
    """
    carried = ("FirstName", "LastName", "Email", "IndividualId")
    with store.transaction() as db:
        lead = read_record(store, "Lead", lead_id)
        if lead["IsConverted"]:
            raise errors.converted_lead()
        now = store.now()
        if contact_id is None:
            flags = {name: lead[name] for name in ("HasOptedOutOfEmail", "Marketo_Sales_Opt_Out__c")}
            target = insert_contact(store, LastModifiedById=user_id, **{name: lead[name] for name in carried}, **flags)
        else:
            contact = read_record(store, "Contact", contact_id)
            target = str(contact["Id"])
            empty = {name: lead[name] for name in carried if not contact[name] and lead[name]}
            update_record(store, "Contact", target, empty, user_id)
        db.execute(
            "UPDATE lead SET IsConverted = 1, ConvertedContactId = ?, ConvertedDate = ?, LastModifiedDate = ?, "
            "LastModifiedById = ?, SystemModstamp = ? WHERE Id = ?",
            (target, now, now, user_id, now, lead["Id"]),
        )
    return target
