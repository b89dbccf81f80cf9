"""Person accounts: a Contact that is an Account, too. Its fields are the Contact's, and are written through the Account.

Sources: SOAP API Developer Guide, Person Account Record Types (IsPersonAccount, PersonContactId); Change Data Capture Developer Guide, Creating a
Person Account (the Contact's fields on the Account, PersonHasOptedOutOfEmail and ...__pc) and Updating a Person Account (a change moves
LastModifiedDate of both records).

Two things aren't documented, so each can be had in every way:

* Does the Contact take a write, too? Config ``person_contact``: "refuses" (INVALID_FIELD_FOR_INSERT_UPDATE, the default) or "takes".
* Where does history stand? Salesforce Help, Track Object Field History, says that it "excludes the changes made to a person's contact record".
  Config ``person_history``: "account" (by the Account's names of the fields, the default), "contact" (by its own), "none".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recon.sandbox.salesforce import errors
from recon.sandbox.salesforce.objects import whole_object

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from recon.sandbox.salesforce.objects import Field
    from recon.sandbox.store import Store


def mirrored() -> dict[str, Field]:
    """The Account's fields by the Contact's fields that they are."""
    account = whole_object("Account")
    assert account is not None
    return {field.of_contact: field for field in account.fields if field.of_contact is not None}


def account_of(db: sqlite3.Connection, contact: sqlite3.Row) -> str | None:
    """The Account that a Contact is; None where it is a Contact only."""
    sql = "SELECT Id FROM account WHERE Id = ? AND IsPersonAccount = 1 AND PersonContactId = ?"
    found = db.execute(sql, (contact["AccountId"], contact["Id"])).fetchone()
    return None if found is None else str(found["Id"])


def refuse_direct(store: Store, contact: sqlite3.Row, names: Iterable[str]) -> None:
    """Refuse to write a person account's fields on its Contact.

    Raises
    ------
    RecordFault
        ``INVALID_FIELD_FOR_INSERT_UPDATE``.
    """
    if _choice(store, "person_contact", "refuses") == "takes":
        return
    with store.transaction() as db:
        if account_of(db, contact) is not None and (locked := [name for name in names if name in mirrored()]):
            raise errors.field_not_writeable(locked)


def history_place(store: Store, contact_id: str, account_id: str, field: Field) -> tuple[str, str, str] | None:
    """Under which object and record, and by which name, a change of a person account's field is kept; None where it isn't."""
    assert field.of_contact is not None
    places = {"account": ("Account", account_id, field.name), "contact": ("Contact", contact_id, field.of_contact)}
    return places.get(_choice(store, "person_history", "account"))


def _choice(store: Store, key: str, default: str) -> str:
    try:
        return store.config(key)
    except KeyError:
        return default


def on_account(values: Mapping[str, Any]) -> dict[str, Any]:
    """A Contact's values under the Account's names of the fields."""
    names = mirrored()
    return {names[name].name if name in names else name: value for name, value in values.items()}


def new_person_account(store: Store, contact_id: str) -> str:
    """Make a Contact a person account; what its history tells goes to the Account. Returns the Account's id.

    Nothing of the Contact's is changed but AccountId, and no time of it.
    """
    from recon.sandbox.salesforce import records

    with store.transaction() as db:
        contact = records.read_record(store, "Contact", contact_id)
        account = records.new_id(store, "001")
        name = f"{contact['FirstName'] or ''} {contact['LastName'] or ''}".strip()
        stamps = ("CreatedDate", "LastModifiedDate", "LastModifiedById", "SystemModstamp")
        db.execute(
            "INSERT INTO account (Id, Name, IsPersonAccount, PersonContactId, CreatedDate, LastModifiedDate, LastModifiedById, SystemModstamp) "
            "VALUES (?, ?, 1, ?, ?, ?, ?, ?)",
            (account, name, contact["Id"], *(contact[stamp] for stamp in stamps)),
        )
        db.execute("UPDATE contact SET AccountId = ? WHERE Id = ?", (account, contact["Id"]))
        for field in mirrored().values():
            place = history_place(store, contact["Id"], account, field)
            if place is None:
                db.execute("DELETE FROM history WHERE Parent = ? AND Field = ?", (contact["Id"], field.of_contact))
                continue
            db.execute(
                "UPDATE history SET Object = ?, Parent = ?, Field = ? WHERE Object = 'Contact' AND Parent = ? AND Field = ?",
                (*place, contact["Id"], field.of_contact),
            )
        store.configure(person_accounts="true")
    return account
