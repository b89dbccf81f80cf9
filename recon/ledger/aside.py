"""A private place for what is gathered while a ledger is read through: in memory while it is little, on the disk where it is more.

A ledger grows for years, and what is asked of it should not need more memory every year.
"""

from __future__ import annotations

import sqlite3
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING

from recon.errors import NoRoom

if TYPE_CHECKING:
    from collections.abc import Iterator


class Aside:
    """A database that nobody else can open: it has no name, and is gone with this object and with the process.

    Parameters
    ----------
    tables
        Statements that make its tables.

    Attributes
    ----------
    db
        The database. SQLite keeps it in memory until its cache is full, then in a file of its own in the system's folder for such files.
    """

    def __init__(self, *tables: str) -> None:
        self.db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._end = weakref.finalize(self, self.db.close)
        # Nothing of it outlives the process, so nothing is synced, journalled or ever committed.
        for statement in ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", *tables, "BEGIN"):
            self.db.execute(statement)

    def close(self) -> None:
        """Give the place up."""
        self._end()


@contextmanager
def room_aside(what: str) -> Iterator[None]:
    """Tell in a sentence that there is no room.

    Parameters
    ----------
    what
        What is kept: the sentence's subject.

    Raises
    ------
    NoRoom
        If a database fails within.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise NoRoom(
            f"{what} can't be kept on the disk: {error}.",
            "Make room in the system's folder for temporary files, or name another one in the environment variable SQLITE_TMPDIR; "
            "then try again.",
        ) from error
