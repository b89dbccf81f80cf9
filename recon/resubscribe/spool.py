"""A private place on the disk for what is known of every row and step of a plan, so that a large plan needs no more memory than a small one.

It is no evidence: the ledger is that, and plan.json is the plan. Every run makes it anew from both, and it is gone with the run, even with one
that is killed: where the system allows it, its file has no name from the first moment on.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from recon.errors import NoRoom, ReconError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
Key = int | str

#: Parts that are read together.
_PAGE = 1000
#: Values of a shelf that are in memory as well.
_AT_HAND = 1 << 14


class Spool:
    """The place: a database without a name, which only its maker can read.

    Parameters
    ----------
    folder
        Where the file lies; None keeps it in memory, for a plan that is in memory itself.

    Raises
    ------
    ReconError
        If there can be no file.
    """

    def __init__(self, folder: Path | None = None) -> None:
        file = None if folder is None else _own_file(folder)
        self.db = sqlite3.connect(":memory:" if file is None else file, isolation_level=None, check_same_thread=False)
        self._tables = 0
        self._end = weakref.finalize(self, _end, self.db, file)
        # Nothing of it outlives the run, so nothing is synced, journalled or ever committed.
        for rule in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
            self.db.execute(f"PRAGMA {rule}")
        self.db.execute("CREATE TABLE begun (place)")
        self.db.execute("BEGIN")
        if file is not None and os.name != "nt":
            file.unlink()

    def table(self, columns: str) -> str:
        """Make a table with these columns, and return its name."""
        self._tables += 1
        name = f"kept_{self._tables}"
        self.db.execute(f"CREATE TABLE {name} ({columns})")
        return name


@contextmanager
def room_for(
    folder: Path,
    what: str = "the plan's steps",
    remedy: str = "Make room there, then apply the same plan again: it goes on where it stopped.",
) -> Iterator[None]:
    """Tell in a sentence that a spool in this folder has no room.

    Parameters
    ----------
    folder
        Where the spool lies.
    what
        Of what it keeps what is known.
    remedy
        What is to be done then.

    Raises
    ------
    NoRoom
        If the disk is full, or the file can't be used.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise NoRoom(f"what is known of {what} can't be kept on the disk of {folder}: {error}.", remedy) from error


class Shelf(Generic[T]):
    """Values by a key.

    Parameters
    ----------
    spool
        Where they lie.
    pack, unpack
        A value as text, and back.
    """

    def __init__(self, spool: Spool, pack: Callable[[T], str], unpack: Callable[[str], T]) -> None:
        self._spool, self._pack, self._unpack = spool, pack, unpack
        self._table = spool.table("key PRIMARY KEY NOT NULL, value NOT NULL")
        self._empty = True
        self._at_hand: dict[Key, T | None] = {}

    def get(self, key: Key) -> T | None:
        """The value; None where there is none."""
        if self._empty:
            return None
        if key in self._at_hand:
            return self._at_hand[key]
        row = self._spool.db.execute(f"SELECT value FROM {self._table} WHERE key = ?", (key,)).fetchone()  # noqa: S608 - a name of `Spool.table`
        return self._remember(key, None if row is None else self._unpack(row[0]))

    def put(self, key: Key, value: T) -> None:
        """Keep a value in the place of what there is."""
        self._empty = False
        self._remember(key, value)
        self._spool.db.execute(f"INSERT OR REPLACE INTO {self._table} VALUES (?, ?)", (key, self._pack(value)))  # noqa: S608 - as above

    def drop(self, key: Key) -> None:
        """Keep no value any more."""
        if not self._empty:
            self._remember(key, None)
            self._spool.db.execute(f"DELETE FROM {self._table} WHERE key = ?", (key,))  # noqa: S608 - as above

    def __contains__(self, key: Key) -> bool:
        return self.get(key) is not None

    def _remember(self, key: Key, value: T | None) -> T | None:
        if len(self._at_hand) >= _AT_HAND:
            self._at_hand.clear()
        self._at_hand[key] = value
        return value


class Row(Sequence[T]):
    """Values one after the other, like a list that is too long for the memory. Parameters as for `Shelf`."""

    def __init__(self, spool: Spool, pack: Callable[[T], str], unpack: Callable[[str], T]) -> None:
        self._spool, self._pack, self._unpack = spool, pack, unpack
        self._table = spool.table("place INTEGER PRIMARY KEY, value NOT NULL")
        self._length = 0

    def append(self, value: T) -> None:
        """Add a value at the end."""
        self.put(self._length, value)

    def put(self, place: int, value: T) -> None:
        """Put a value at its place, which has none yet. In the end there may be no gap."""
        self._spool.db.execute(f"INSERT INTO {self._table} VALUES (?, ?)", (place, self._pack(value)))  # noqa: S608 - as above
        self._length += 1

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        """Whether another list, tuple or row has the same values."""
        if not isinstance(other, (Row, list, tuple)):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment] # like a list: what it holds changes

    def __iter__(self) -> Iterator[T]:
        for start in range(0, self._length, _PAGE):
            yield from self._between(start, start + _PAGE)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            start, stop, stride = place.indices(self._length)
            if stride == 1:
                return self._between(start, stop)
            return [self[each] for each in range(start, stop, stride)]
        place = place + self._length if place < 0 else place
        found = self._between(place, place + 1)
        if not found:
            raise IndexError(place)
        return found[0]

    def at(self, places: Sequence[int]) -> list[T]:
        """The values at these places, in this order."""
        where = f"SELECT place, value FROM {self._table} WHERE place IN (SELECT value FROM json_each(?))"  # noqa: S608 - as above
        found = dict(self._spool.db.execute(where, (json.dumps(list(places)),)))
        return [self._unpack(found[place]) for place in places]

    def _between(self, start: int, stop: int) -> list[T]:
        where = f"SELECT value FROM {self._table} WHERE place >= ? AND place < ? ORDER BY place"  # noqa: S608 - as above
        return [self._unpack(text) for (text,) in self._spool.db.execute(where, (start, stop))]


class Picked(Sequence[T]):
    """Some values of a row, in an order of their own.

    Parameters
    ----------
    row
        The row.
    places
        Where they stand in it.
    """

    def __init__(self, row: Row[T], places: NDArray[np.int64]) -> None:
        self._row, self._places = row, places

    def pick(self, which: NDArray[np.int64]) -> Picked[T]:
        """Some of these, in another order: by their places here."""
        return Picked(self._row, self._places[which])

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[T]:
        for start in range(0, len(self), _PAGE):
            yield from self[start : start + _PAGE]

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return self._row.at(self._places[place].tolist())
        return self._row[int(self._places[place])]


def _own_file(folder: Path) -> Path:
    """A new, empty file that only its maker can read."""
    try:
        handle, name = tempfile.mkstemp(prefix=".steps-", dir=folder)
    except OSError as error:
        raise ReconError(
            f"nothing can be written into {folder}: {error.strerror}.", hint="Check the folder, and the rights on it."
        ) from error
    os.close(handle)
    return Path(name)


def _end(db: sqlite3.Connection, file: Path | None) -> None:
    db.close()
    if file is not None:
        file.unlink(missing_ok=True)
