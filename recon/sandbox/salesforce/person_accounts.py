"""Person accounts: a Contact that is an Account, too. Its fields are the Contact's, and are written through the Account.

Salesforce documents that such an Account has IsPersonAccount, PersonContactId and the Contact's fields as Person... and ...__pc.
UNCONFIRMED, and chosen as the strictest that a client can meet: the Contact's own fields refuse a write (INVALID_FIELD_FOR_INSERT_UPDATE), a
change moves LastModifiedDate of both records, and its history stands under the Account alone, by the Account's names of the fields.
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
    with store.transaction() as db:
        if account_of(db, contact) is not None and (locked := [name for name in names if name in mirrored()]):
            raise errors.field_not_writeable(locked)


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
            db.execute(
                "UPDATE history SET Object = 'Account', Parent = ?, Field = ? WHERE Object = 'Contact' AND Parent = ? AND Field = ?",
                (account, field.name, contact["Id"], field.of_contact),
            )
        store.configure(person_accounts="true")
    return account
