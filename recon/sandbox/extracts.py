"""The sandbox's data as the files that people bring: extracts of the people, Data Loader exports and report exports."""

from __future__ import annotations

import csv
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal

from recon import tables
from recon.sandbox.sales_connect import list_people
from recon.sandbox.salesforce.objects import CUSTOM_FIELD

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from recon.sandbox.store import Store

PeopleFlavour = Literal["canonical", "foreign"]
SalesforceFlavour = Literal["data_loader", "report"]

#: Headers of an extract whose origin nobody knows: it needs a column map.
FOREIGN_HEADERS: dict[str, str] = {
    "person_id": "Person ID",
    "email": "Email ID",
    "salesforce_id": "Salesforce ID",
    "unsubscribed": "Unsubscribed",
    "unsubscribe_level": "Unsubscribe Level",
    "unsubscribed_at": "Unsubscribed On",
    "unsubscribe_source": "Unsubscribe Source",
    "resubscribed_at": "Resubscribed On",
    "first_name": "First Name",
    "last_name": "Last Name",
    "updated_at": "Updated At",
}

_DATA_LOADER = {
    "lead": (
        *(
            "Id",
            "Email",
            "HasOptedOutOfEmail",
            CUSTOM_FIELD,
            "IsConverted",
            "ConvertedContactId",
            "IsDeleted",
            "MasterRecordId",
        ),
        *("FirstName", "LastName", "Company", "CreatedDate", "LastModifiedDate"),
    ),
    "contact": (
        *("Id", "Email", "HasOptedOutOfEmail", CUSTOM_FIELD, "IsDeleted", "MasterRecordId"),
        *("FirstName", "LastName", "CreatedDate", "LastModifiedDate"),
    ),
}
_REPORT = {
    "lead": {
        "Lead ID": "Id",
        "First Name": "FirstName",
        "Last Name": "LastName",
        "Company / Account": "Company",
        "Email": "Email",
        "Email Opt Out": "HasOptedOutOfEmail",
        "Marketo Sales Opt Out": CUSTOM_FIELD,
        "Converted": "IsConverted",
    },
    "contact": {
        "Contact ID": "Id",
        "First Name": "FirstName",
        "Last Name": "LastName",
        "Email": "Email",
        "Email Opt Out": "HasOptedOutOfEmail",
        "Marketo Sales Opt Out": CUSTOM_FIELD,
    },
}
_FLAGS = {"HasOptedOutOfEmail", CUSTOM_FIELD, "IsConverted", "IsDeleted"}


def write_extract(store: Store, path: Path, flavour: PeopleFlavour = "canonical") -> int:
    """Write all people as a CSV extract and return their number.

    Parameters
    ----------
    path
        The file; replaced if it is there.
    flavour
        `canonical` has the columns of `recon.tables.PEOPLE`; `foreign` has headers of its own (`FOREIGN_HEADERS`),
        TRUE and FALSE, CRLF, and a byte order mark as Excel writes it.
    """
    names = tables.PEOPLE.names
    foreign = flavour == "foreign"
    words = {True: "TRUE", False: "FALSE"} if foreign else {True: "true", False: "false"}
    count = 0
    # One transaction over all pages: an extract is of one moment.
    with store.transaction(), path.open("w", encoding="utf-8-sig" if foreign else "utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n" if foreign else "\n")
        writer.writerow([FOREIGN_HEADERS[name] if foreign else name for name in names])
        for person in _everyone(store):
            person["unsubscribed"] = words[person["unsubscribed"]]
            writer.writerow([person[name] for name in names])
            count += 1
    return count


def write_salesforce_files(store: Store, folder: Path, flavour: SalesforceFlavour = "data_loader") -> tuple[Path, Path]:
    """Write leads.csv and contacts.csv into a folder and return their paths.

    Parameters
    ----------
    folder
        Made if it isn't there. Files of these names are replaced.
    flavour
        `data_loader`: API names, true and false, UTF-8, 18-character ids, UTC times, deleted rows included (Export All).
        `report`: labels, 1 and 0, ISO-8859-1, 15-character ids, everything quoted, a footer; no deleted rows, and no id of the
        Contact that a Lead became. Characters that ISO-8859-1 lacks become question marks, as in such an export.

    Notes
    -----
    The custom checkbox is a column only where it is installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    leads, contacts = folder / "leads.csv", folder / "contacts.csv"
    write = _write_data_loader if flavour == "data_loader" else _write_report
    with store.transaction() as db:
        hidden = set() if store.config("custom_field_installed") == "true" else {CUSTOM_FIELD}
        write(db, "lead", leads, hidden)
        write(db, "contact", contacts, hidden)
    return leads, contacts


def leave_extracts(folder: Path, *, people: int = 1000, seed: int = 1, at: datetime | None = None) -> tuple[Path, ...]:
    """Write the files that two systems of one's own would give: something to try recon on.

    Parameters
    ----------
    folder
        Made if it isn't there. Files of these names are replaced.
    people, seed
        See `recon.sandbox.population.populate`.
    at
        When they were taken; by default now.

    Returns
    -------
    tuple[Path, ...]
        people.csv, leads.csv, contacts.csv.
    """
    from recon.clock import SetClock, from_environment
    from recon.sandbox.population import populate
    from recon.sandbox.store import Store

    folder.mkdir(parents=True, exist_ok=True)
    with closing(Store(None, SetClock(at) if at is not None else from_environment())) as store:
        populate(store, people, seed)
        write_extract(store, folder / "people.csv")
        return (folder / "people.csv", *write_salesforce_files(store, folder))


def _write_data_loader(db: sqlite3.Connection, table: str, path: Path, hidden: set[str]) -> None:
    columns = [column for column in _DATA_LOADER[table] if column not in hidden]
    words = {0: "false", 1: "true"}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(columns)
        for row in db.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY Id"):  # noqa: S608 - names from this module
            writer.writerow([words[row[name]] if name in _FLAGS else row[name] for name in columns])


def _write_report(db: sqlite3.Connection, table: str, path: Path, hidden: set[str]) -> None:
    columns = {label: name for label, name in _REPORT[table].items() if name not in hidden}
    with path.open("w", encoding="iso-8859-1", errors="replace", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(columns)
        query = f"SELECT {', '.join(columns.values())} FROM {table} WHERE NOT IsDeleted ORDER BY Id"  # noqa: S608 - names from this module
        for row in db.execute(query):
            writer.writerow([row[name][:15] if name == "Id" else row[name] for name in columns.values()])
        file.write("\n\n")
        for line in (
            f"Opt-outs of {table}s",
            "Copyright (c) 2000-2026 salesforce.com, inc. All rights reserved.",
            "Confidential Information - Do Not Distribute",
            "Generated By:  Sandbox Admin  11/24/2026 4:00 AM",
            "Sandbox",
        ):
            writer.writerow([line])


def _everyone(store: Store) -> Iterator[dict[str, Any]]:
    after: str | None = None
    more = True
    while more:
        page, _, more = list_people(store, after=after, limit=10_000)
        yield from page
        after = page[-1]["person_id"] if page else None
