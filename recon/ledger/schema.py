"""The ledger's database: its tables, its guards against mistakes, and how it is opened.

Why a rollback journal and not a write-ahead log: the log is faster, but the newest entries would lie in a second file for as long as any process
has the ledger open, and after a crash; a copy of `ledger.db` alone would then be short, without a sign of it. A write-protected copy couldn't be
opened, nothing would work on a network share, and erased text would stay in the log. With a rollback journal `ledger.db` is the whole
ledger whenever no process is writing. An entry is followed by a write to a system over a network, beside which its sync is short.

Why journal_mode=TRUNCATE with synchronous=FULL: both the content and the end of the journal are then synced before a commit returns. In the mode
DELETE only EXTRA does that; with FULL a power cut could bring the removed journal back and undo a commit: an intent would be lost
although its write went out. Measured on a busy ext4 disk, in turns: 43 to 54 commits a second, DELETE with EXTRA 42 to 51, a
write-ahead log 210 to 310.

secure_delete overwrites what is erased with zeroes.

Hashes, random ids and pseudonyms come in no order, so each entry touches pages anywhere in their trees. cache_size keeps these pages at hand: with
SQLite's own 2 MiB they are read, and within a large transaction written and synced, over and over again.
"""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING

from recon import __version__
from recon.disk import sync_folder
from recon.ledger.chain import GENESIS
from recon.ledger.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = "ledger.db"
#: `recn` in ASCII: tells the file from other databases.
APPLICATION_ID = 0x7265636E
VERSION = 1

#: Pages that are kept in memory, in KiB; only what was read or written takes any.
_CACHE_KIB = 32 * 1024

_TABLES = """
CREATE TABLE chain (
    seq INTEGER PRIMARY KEY CHECK (seq >= 1),
    prev TEXT NOT NULL UNIQUE CHECK (typeof(prev) = 'text' AND length(prev) = 64),
    hash TEXT NOT NULL UNIQUE CHECK (typeof(hash) = 'text' AND length(hash) = 64),
    body TEXT NOT NULL CHECK (typeof(body) = 'text')
);
CREATE INDEX chain_kind ON chain (json_extract(body, '$.kind'), seq);
CREATE INDEX chain_plan ON chain (json_extract(body, '$.data.plan'), seq) WHERE json_extract(body, '$.data.plan') IS NOT NULL;
CREATE INDEX chain_file ON chain (json_extract(body, '$.data.file'), seq) WHERE json_extract(body, '$.data.file') IS NOT NULL;
CREATE INDEX chain_intent ON chain (json_extract(body, '$.data.intent')) WHERE json_extract(body, '$.data.intent') IS NOT NULL;
-- The pseudonyms in the entries, so that a person's entries are found; joins = 1: one of the person's own.
CREATE TABLE mention (
    name TEXT NOT NULL, seq INTEGER NOT NULL, joins INTEGER NOT NULL CHECK (joins IN (0, 1)), PRIMARY KEY (name, seq)
) WITHOUT ROWID;
-- What is said about people: the only part that can be erased.
CREATE TABLE personal (id TEXT PRIMARY KEY, seq INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
-- The names of those who act, by their pseudonyms.
CREATE TABLE actor (name TEXT PRIMARY KEY, said TEXT NOT NULL) WITHOUT ROWID;
-- Ids of personal parts, and pseudonyms of actors, that were erased, and by which entry.
CREATE TABLE erased (id TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (id, seq)) WITHOUT ROWID;
-- Which keys of pseudonyms were used, told by a fingerprint.
CREATE TABLE key (version INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL);

CREATE TRIGGER chain_grows_at_its_end BEFORE INSERT ON chain
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM chain)
    OR NEW.prev IS NOT coalesce((SELECT hash FROM chain ORDER BY seq DESC LIMIT 1), 'GENESIS')
    OR EXISTS (SELECT 1 FROM chain WHERE hash = NEW.hash)
BEGIN SELECT RAISE(ABORT, 'the ledger grows at its end only'); END;
-- INSERT OR REPLACE would delete without a DELETE trigger.
CREATE TRIGGER personal_stays BEFORE INSERT ON personal WHEN EXISTS (SELECT 1 FROM personal WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'a personal part is not overwritten'); END;
CREATE TRIGGER personal_is_erased_by_an_entry BEFORE DELETE ON personal
WHEN NOT EXISTS (SELECT 1 FROM erased WHERE id = OLD.id)
BEGIN SELECT RAISE(ABORT, 'a personal part is erased by an entry only'); END;
CREATE TRIGGER actor_is_erased_by_an_entry BEFORE DELETE ON actor
WHEN NOT EXISTS (SELECT 1 FROM erased WHERE id = OLD.name)
BEGIN SELECT RAISE(ABORT, 'a name is erased by an entry only'); END;
"""

_NEVER_CHANGED = ("chain", "mention", "personal", "actor", "erased", "key")
_NEVER_DELETED = ("chain", "mention", "erased", "key")


def _statements() -> Iterator[str]:
    statement = ""
    for line in _TABLES.replace("GENESIS", GENESIS).splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    for event, tables in (("UPDATE", _NEVER_CHANGED), ("DELETE", _NEVER_DELETED)):
        for table in tables:
            yield (
                f"CREATE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: no {event} on {table}'); END"
            )


STATEMENTS = tuple(_statements())
#: The names of the guards that a sound ledger has.
TRIGGERS = frozenset(name for text in STATEMENTS for name in re.findall(r"CREATE TRIGGER (\w+)", text))


def connect(path: Path, *, timeout: float, create: bool, durable: bool = True) -> sqlite3.Connection:
    """Open the database's file.

    Parameters
    ----------
    path
        The file.
    timeout
        Seconds to wait for other processes.
    create
        Make the file where there is none.
    durable
        Sync every commit to the disk. Without, a process may still be killed at any moment, but a power cut can lose entries.
    """
    sync = "FULL" if durable else "OFF"
    mode = "rwc" if create else "rw"
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        for pragma in (
            "cell_size_check = ON",
            "journal_mode = TRUNCATE",
            f"synchronous = {sync}",
            "secure_delete = ON",
            f"cache_size = -{_CACHE_KIB}",
        ):
            db.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        db.close()
        raise
    return db


def is_new(db: sqlite3.Connection) -> bool:
    """Tell whether there is nothing in the database yet."""
    return db.execute("SELECT 1 FROM sqlite_master").fetchone() is None


def is_ours(db: sqlite3.Connection) -> bool:
    """Tell whether the database is a ledger of this version."""
    return (db.execute("PRAGMA application_id").fetchone(), db.execute("PRAGMA user_version").fetchone()) == (
        (APPLICATION_ID,),
        (VERSION,),
    )


def build(db: sqlite3.Connection) -> None:
    """Make the tables and guards, within the transaction of the caller."""
    for statement in STATEMENTS:
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {VERSION}")


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables where there are none; two processes at once make them once.

    Raises
    ------
    LedgerError
        If the file is no ledger of this version.
    """
    if is_new(db):
        db.execute("BEGIN IMMEDIATE")
        try:
            if is_new(db):
                path.chmod(0o600)  # before anything is in it; SQLite gives its journal the same rights
                build(db)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        sync_folder(path.parent)
    if not is_ours(db):
        raise LedgerError(
            f"{path} is no ledger that recon {__version__} can use.",
            hint="Use the recon that wrote it, or another folder.",
        )
