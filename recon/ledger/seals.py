"""The personal parts that a ledger's entries name, held against those that are there. Kept aside: there are as many as verdicts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from recon.ledger.aside import Aside, room_aside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TABLES = (
    "CREATE TABLE seal (id TEXT PRIMARY KEY, seq INTEGER NOT NULL, hashes TEXT NOT NULL, there INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID",
    "CREATE TABLE erased (id TEXT PRIMARY KEY) WITHOUT ROWID",
)
_WHAT = "what the ledger says about personal parts"


class Seals:
    """What the entries of one ledger say about personal parts, noted while it is read.

    Raises
    ------
    NoRoom
        From any of its methods: if there is no room on the disk.
    """

    def __init__(self) -> None:
        with room_aside(_WHAT):
            self._db = (aside := Aside(*_TABLES)).db
        self._aside = aside  # the database ends with it

    def note(self, part: str, seq: int, hashes: dict[str, str]) -> None:
        """An entry names a personal part."""
        with room_aside(_WHAT):
            self._db.execute("INSERT OR REPLACE INTO seal VALUES (?, ?, ?, 0)", (part, seq, json.dumps(hashes)))

    def note_erased(self, parts: Iterable[str]) -> None:
        """An entry says that personal parts were erased."""
        with room_aside(_WHAT):
            self._db.executemany("INSERT OR IGNORE INTO erased VALUES (?)", ((part,) for part in parts))

    def found(self, part: str) -> tuple[int, dict[str, str]] | None:
        """A personal part is there: returns the entry that names it, and its hashes; None where no entry does."""
        with room_aside(_WHAT):
            row = self._db.execute("SELECT seq, hashes FROM seal WHERE id = ?", (part,)).fetchone()
            self._db.execute("UPDATE seal SET there = 1 WHERE id = ?", (part,))
        return None if row is None else (row[0], json.loads(row[1]))

    def gone(self) -> Iterator[int]:
        """The entries whose personal part is not there although none says that it was erased, in their order."""
        with room_aside(_WHAT):
            for (seq,) in self._db.execute(
                "SELECT seq FROM seal WHERE NOT there AND id NOT IN (SELECT id FROM erased) ORDER BY seq"
            ):
                yield seq

    def first_kept(self) -> int | None:
        """The first entry whose personal part is there although an entry says that it was erased."""
        with room_aside(_WHAT):
            found = self._db.execute(
                "SELECT min(seq) FROM seal WHERE there AND id IN (SELECT id FROM erased)"
            ).fetchone()
        return None if found[0] is None else int(found[0])

    def erased(self) -> int:
        """How many personal parts entries say were erased."""
        with room_aside(_WHAT):
            (count,) = self._db.execute("SELECT count(*) FROM erased").fetchone()
        return int(count)
