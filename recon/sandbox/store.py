"""The sandbox's state: one SQLite database that both systems, the nightly run and the population share.

Times are UTC text, `2026-11-24T04:00:00.000Z`, so that they sort. Flags are 0 and 1. A table is named after the object it holds.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from recon.errors import ReconError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from recon.clock import Clock

SCHEMA = """
CREATE TABLE lead (
    Id TEXT PRIMARY KEY, FirstName TEXT, LastName TEXT, Company TEXT, Email TEXT,
    HasOptedOutOfEmail INTEGER NOT NULL DEFAULT 0, Marketo_Sales_Opt_Out__c INTEGER NOT NULL DEFAULT 0,
    IsConverted INTEGER NOT NULL DEFAULT 0, ConvertedContactId TEXT, ConvertedDate TEXT, MasterRecordId TEXT,
    IndividualId TEXT, IsDeleted INTEGER NOT NULL DEFAULT 0,
    CreatedDate TEXT NOT NULL, LastModifiedDate TEXT NOT NULL, LastModifiedById TEXT NOT NULL, SystemModstamp TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX lead_email ON lead (Email COLLATE NOCASE);
CREATE TABLE contact (
    Id TEXT PRIMARY KEY, FirstName TEXT, LastName TEXT, AccountId TEXT, Email TEXT,
    HasOptedOutOfEmail INTEGER NOT NULL DEFAULT 0, Marketo_Sales_Opt_Out__c INTEGER NOT NULL DEFAULT 0,
    MasterRecordId TEXT, IndividualId TEXT, IsDeleted INTEGER NOT NULL DEFAULT 0,
    CreatedDate TEXT NOT NULL, LastModifiedDate TEXT NOT NULL, LastModifiedById TEXT NOT NULL, SystemModstamp TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX contact_email ON contact (Email COLLATE NOCASE);
-- A person account's own fields are its Contact's.
CREATE TABLE account (
    Id TEXT PRIMARY KEY, Name TEXT, IsPersonAccount INTEGER NOT NULL DEFAULT 0, PersonContactId TEXT,
    MasterRecordId TEXT, IsDeleted INTEGER NOT NULL DEFAULT 0,
    CreatedDate TEXT NOT NULL, LastModifiedDate TEXT NOT NULL, LastModifiedById TEXT NOT NULL, SystemModstamp TEXT NOT NULL
) WITHOUT ROWID;
-- LeadHistory, ContactHistory and AccountHistory: Parent is LeadId, ContactId or AccountId on the wire.
CREATE TABLE history (
    Id TEXT PRIMARY KEY, Object TEXT NOT NULL, Parent TEXT NOT NULL, Field TEXT NOT NULL, OldValue TEXT, NewValue TEXT,
    CreatedById TEXT NOT NULL, CreatedDate TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX history_parent ON history (Object, Parent);
CREATE TABLE individual (
    Id TEXT PRIMARY KEY, FirstName TEXT, LastName TEXT, HasOptedOutSolicit INTEGER NOT NULL DEFAULT 0,
    HasOptedOutProcessing INTEGER NOT NULL DEFAULT 0, ShouldForget INTEGER NOT NULL DEFAULT 0, IsDeleted INTEGER NOT NULL DEFAULT 0,
    CreatedDate TEXT NOT NULL, LastModifiedDate TEXT NOT NULL, SystemModstamp TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE contactpointtypeconsent (
    Id TEXT PRIMARY KEY, Name TEXT NOT NULL, PartyId TEXT NOT NULL, ContactPointType TEXT NOT NULL, PrivacyConsentStatus TEXT NOT NULL,
    CaptureDate TEXT, CaptureSource TEXT, EffectiveFrom TEXT, EffectiveTo TEXT, IsDeleted INTEGER NOT NULL DEFAULT 0,
    CreatedDate TEXT NOT NULL, LastModifiedDate TEXT NOT NULL, SystemModstamp TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE person (
    person_id TEXT PRIMARY KEY, email TEXT, salesforce_id TEXT, first_name TEXT, last_name TEXT, company TEXT, title TEXT, phone TEXT,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL
) WITHOUT ROWID;
-- A standing unsubscribe. An account-level one holds for the company (user_name null), a user-level one for one sales user.
CREATE TABLE unsubscribe (
    person_id TEXT NOT NULL REFERENCES person, level TEXT NOT NULL CHECK (level IN ('account', 'user')), user_name TEXT NOT NULL DEFAULT '',
    source TEXT NOT NULL CHECK (source IN ('manual', 'clicked_link', 'salesforce_sync', 'bounce')), at TEXT NOT NULL,
    PRIMARY KEY (person_id, level, user_name)
) WITHOUT ROWID;
-- The Unsubscribe History card. details: Unsubscribe or Resubscribe; source as on screen, or the admin's name on a resubscribe.
CREATE TABLE unsubscribe_history (
    seq INTEGER PRIMARY KEY, person_id TEXT NOT NULL REFERENCES person, at TEXT NOT NULL, level TEXT NOT NULL,
    details TEXT NOT NULL CHECK (details IN ('Unsubscribe', 'Resubscribe')), source TEXT NOT NULL, reason TEXT
);
CREATE INDEX unsubscribe_history_person ON unsubscribe_history (person_id);

CREATE TABLE config (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE nightly_run (seq INTEGER PRIMARY KEY, at TEXT NOT NULL, people_set INTEGER NOT NULL, records_set INTEGER NOT NULL);
"""

DEFAULT_CONFIG = {
    "sync_enabled": "true",
    "opt_out_field": "standard",  # standard | custom | both: what the sync reads and writes in Salesforce
    "custom_field_installed": "true",
    "push_enabled": "true",
    "id_sequence": "1",
    "person_sequence": "7000001",
}


def text_time(at: datetime) -> str:
    """A moment as the store keeps it (milliseconds, UTC)."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


class Store:
    """The database, opened once a process and shared by threads under one lock.

    Parameters
    ----------
    path
        The SQLite file, or None for memory.
    clock
        Tells the time of every change.

    Raises
    ------
    ReconError
        If the file can't be opened, or is something else than a sandbox's state. It is left as it is then.
    """

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self.clock = clock
        self._lock = threading.RLock()
        if path is not None:
            # It holds the sandbox's secrets. What is wrong with the path, SQLite says below.
            with suppress(OSError):
                path.touch(mode=0o600)
        try:
            self._db = sqlite3.connect(
                ":memory:" if path is None else str(path), check_same_thread=False, isolation_level=None
            )
        except sqlite3.Error as error:
            raise _unusable(path, str(error)) from error
        self._db.row_factory = sqlite3.Row
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._db.close()
            raise _unusable(path, str(error)) from error

    def _prepare(self) -> None:
        with self.transaction() as db:
            tables = {row["name"] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                # Not executescript, which would commit: the tables are there whole or not at all.
                for statement in SCHEMA.split(";\n"):
                    db.execute(statement)
                db.executemany("INSERT INTO config VALUES (?, ?)", DEFAULT_CONFIG.items())
            elif not {"config", "lead", "contact", "person"} <= tables:
                raise sqlite3.DatabaseError("it holds other tables")
            elif "account" not in tables:  # made before there were person accounts
                db.execute(next(part for part in SCHEMA.split(";\n") if "CREATE TABLE account " in part))

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One change, whole or not at all; other threads wait. Nested calls join the outer one."""
        with self._lock:
            if self._db.in_transaction:
                yield self._db
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def saved(self) -> bytes:
        """Everything that is in it, to be put back by `restore`."""
        with self._lock:
            return self._db.serialize()

    def restore(self, saved: bytes) -> None:
        """Put back what was there; what was changed since is forgotten."""
        with closing(sqlite3.connect(":memory:")) as source, self._lock:
            source.deserialize(saved)
            source.backup(self._db)

    def now(self) -> str:
        """The clock's moment, as the store keeps it."""
        return text_time(self.clock.now())

    def config(self, key: str) -> str:
        """One configuration value; KeyError when there is none."""
        with self._lock:
            row = self._db.execute("SELECT value FROM config WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        return str(row["value"])

    def configure(self, **values: str) -> None:
        """Set configuration values."""
        with self.transaction() as db:
            db.executemany(
                "INSERT INTO config VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                values.items(),
            )


def _unusable(path: Path | None, reason: str) -> ReconError:
    return ReconError(
        f"{path or 'memory'} can't be used as a sandbox's state: {reason}.",
        hint="Name a new file, or one that a sandbox made.",
    )
