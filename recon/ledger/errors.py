"""What can go wrong with the ledger.

::

    ReconError
    └── LedgerError            exit code 1: the ledger can't be used as asked
        ├── LedgerBusy         another process held it for longer than we waited; nothing was written
        └── LedgerBroken       what is there contradicts itself or a checkpoint; nothing was written
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from recon.errors import ReconError

if TYPE_CHECKING:
    from pathlib import Path


class LedgerError(ReconError):
    """The ledger can't be used as asked."""


class LedgerBusy(LedgerError):
    """Another process held the ledger for longer than we waited. Nothing was written."""


class LedgerBroken(LedgerError):
    """What is in the ledger contradicts itself or a checkpoint. Nothing was written."""


_CHECK = "Run `recon ledger verify` with your saved checkpoints, and keep the file as it is."


def broken(message: str) -> LedgerBroken:
    """The error for a ledger that doesn't hold together."""
    return LedgerBroken(message, hint=_CHECK)


def from_sqlite(error: sqlite3.Error, path: Path, timeout: float) -> LedgerError:
    """The sentence for an error of the database."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LedgerBusy(
            f"the ledger {path} has been in use by another process for {timeout:g} seconds; nothing was written to it.",
            hint="Wait until the other run has ended, then run this again.",
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return broken(f"the ledger {path} is damaged: {error}.")
    if code == sqlite3.SQLITE_READONLY:
        return LedgerError(
            f"the ledger {path} can't be written to.", hint="Check the rights on the file and its folder."
        )
    if code == sqlite3.SQLITE_FULL:
        return LedgerError(
            f"the disk is full: nothing was written to the ledger {path}.", hint="Make room, then run this again."
        )
    return LedgerError(
        f"the ledger {path} can't be used: {error}.", hint="Check the file, its folder and the rights on both."
    )
