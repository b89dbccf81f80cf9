"""The ledger: opened, added to, read."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from recon import __version__
from recon.clock import SystemClock, iso
from recon.errors import UsageError
from recon.ledger import chain, kinds, pointers, schema
from recon.ledger import checkpoint as points
from recon.ledger.canonical import NotCanonical, clean
from recon.ledger.chain import Entry, Head
from recon.ledger.checkpoint import Checkpoint, Unreadable
from recon.ledger.errors import LedgerError, broken, from_sqlite
from recon.ledger.pseudonym import Pseudonyms, held, new_key, read_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from recon.clock import Clock

TOOL = f"recon {__version__}"

_PAGE = 1000
#: Rows that are written together beside the chain.
_TOGETHER = 4000


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry to be: its kind, its fields, and what is said about a person beside the chain."""

    kind: str
    data: Mapping[str, Any]
    personal: Mapping[str, Any] | None = None


class Ledger:
    """The evidence of a workspace. Open it with `Ledger.open`; it is a context manager.

    Safe with several processes: each addition is one transaction that takes the write lock before it reads the head, so entries are whole or absent
    and the chain can't fork. Who has to wait longer than the timeout is refused with a sentence. Safe with threads: they wait for each other.

    Attributes
    ----------
    path
        The database's file.
    names
        Makes pseudonyms.
    """

    def __init__(self, path: Path, db: sqlite3.Connection, names: Pseudonyms, clock: Clock, timeout: float) -> None:
        self.path = path
        self.names = names
        self._db = db
        self._clock = clock
        self._timeout = timeout
        self._lock = threading.RLock()
        self._end: tuple[int, str, str, str] | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        clock: Clock | None = None,
        timeout: float = 30.0,
        keys: Path | None = None,
        given: Mapping[int, bytes] = MappingProxyType({}),
        durable: bool = True,
    ) -> Ledger:
        """Open the ledger in a folder; the first time, make it.

        Parameters
        ----------
        folder
            The ledger's folder, made where it is missing.
        clock
            Tells the time of entries.
        timeout
            Seconds to wait for another process that is writing.
        keys
            The folder of the pseudonyms' keys, where they are kept apart from the ledger.
        given
            Keys by their version, where they come from elsewhere than files.
        durable
            False for rehearsals: commits are not synced to the disk. Killing the process still loses nothing, a power cut may.

        Raises
        ------
        LedgerError
            If the file is no ledger, a key is missing or is another one, or the file can't be used.
        LedgerBusy
            If another process held it for longer than the timeout.
        """
        clock = SystemClock() if clock is None else clock
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / schema.FILE
        try:
            db = schema.connect(path, timeout=timeout, create=True, durable=durable)
        except sqlite3.Error as error:
            raise from_sqlite(error, path, timeout) from error
        try:
            schema.prepare(db, path)
            names = held(db, path, folder if keys is None else keys, given)
        except sqlite3.Error as error:
            db.close()
            raise from_sqlite(error, path, timeout) from error
        except BaseException:
            db.close()
            raise
        return cls(path, db, names, clock, timeout)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, kind: str, body: Mapping[str, Any], personal: Mapping[str, Any] | None = None) -> Entry:
        """Add one entry.

        Parameters
        ----------
        kind
            One of the constants of `recon.ledger.kinds`.
        body
            Its fields, as listed there.
        personal
            What is said about the person: addresses, names, reasons, evidence. Kept beside the chain, which holds salted hashes of it.

        Returns
        -------
        Entry
            When this returns, the entry is on the disk.

        Raises
        ------
        ValueError
            If a field is missing, isn't listed or has another form.
        LedgerBusy
            If another process held the ledger for longer than the timeout; nothing was written.
        LedgerBroken
            If the chain's end contradicts itself; nothing was written.
        LedgerError
            If an intent, an outcome or a correction points at an entry that it can't point at, or an intent clears a flag without an
            accepted verdict; nothing was written.
        """
        return self.append_all([Draft(kind, body, personal)])[0]

    def append_all(self, drafts: Iterable[Draft]) -> list[Entry]:
        """Add several entries in one transaction: all of them or none. See `append`."""
        ready = [Draft(draft.kind, kinds.conform(draft.kind, draft.data), draft.personal) for draft in drafts]
        return list(self._added(ready)) if ready else []

    def append_each(self, drafts: Iterable[Draft]) -> int:
        """The same, of any number: they are made one at a time, within the transaction, and not kept. Returns how many there were."""
        ready = (Draft(draft.kind, kinds.conform(draft.kind, draft.data), draft.personal) for draft in drafts)
        return sum(1 for _ in self._added(ready))

    def _added(self, ready: Iterable[Draft]) -> Iterator[Entry]:
        with self.writing():
            head = self.sound_head()
            beside = _Beside(self._db)
            for draft in ready:
                made = self._chain(draft, head, beside)
                yield made
                head = Head(made.seq, made.hash)
            beside.write()

    def actor(self, who: str) -> str:
        """The pseudonym of somebody who acts, whose name is kept to be shown beside it."""
        name = self.names.actor(who)
        with self._reading():
            known = self._db.execute("SELECT 1 FROM actor WHERE name = ?", (name,)).fetchone()
        if not known:
            said = clean(who.strip())
            with self.writing() as db:
                db.execute("INSERT INTO actor VALUES (?, ?) ON CONFLICT DO NOTHING", (name, said))
        return name

    def actor_name(self, pseudonym: str) -> str | None:
        """Who is behind an actor's pseudonym, unless erased."""
        row = self._one("SELECT said FROM actor WHERE name = ?", pseudonym)
        return None if row is None else str(row[0])

    def head(self) -> Head:
        """Where the chain ends."""
        row = self._one("SELECT seq, hash FROM chain ORDER BY seq DESC LIMIT 1")
        return Head(0, chain.GENESIS) if row is None else Head(int(row[0]), str(row[1]))

    def entry(self, seq: int) -> Entry:
        """One entry; KeyError where there is none."""
        for found in self._select("WHERE seq = ?", seq):
            return found
        raise KeyError(seq)

    def entries(self, kind: str | None = None, *, after: int = 0) -> Iterator[Entry]:
        """Entries in their order, read in pages: what others add meanwhile comes too.

        Parameters
        ----------
        kind
            Only this kind.
        after
            Only entries with a larger number.
        """
        while True:
            if kind is None:
                page = self._select("WHERE seq > ? ORDER BY seq LIMIT ?", after, _PAGE)
            else:
                where = "WHERE json_extract(body, '$.kind') = ? AND seq > ? ORDER BY seq LIMIT ?"
                page = self._select(where, kind, after, _PAGE)
            if not page:
                return
            yield from page
            after = page[-1].seq

    def of_plan(self, plan: str) -> list[Entry]:
        """Every entry that names a plan, in order."""
        return list(self.each_of_plan(plan))

    def each_of_plan(self, plan: str) -> Iterator[Entry]:
        """The same one after the other, for a plan of any size."""
        return self._pages("WHERE json_extract(body, '$.data.plan') = ?", plan)

    def of_file(self, file: str) -> list[Entry]:
        """Every entry that names an approved CSV, by its SHA-256, in order."""
        return list(self.each_of_file(file))

    def each_of_file(self, file: str) -> Iterator[Entry]:
        """The same one after the other, for a file of any size."""
        return self._pages("WHERE json_extract(body, '$.data.file') = ?", file)

    def intents_without_outcome(self, plan: str) -> list[Entry]:
        """The intents of a plan that have no outcome: what a crash left open. Read the remote state before doing anything about them."""
        return self._select(
            "AS i WHERE json_extract(body, '$.data.plan') = ? AND json_extract(body, '$.kind') = 'intent' AND NOT EXISTS "
            "(SELECT 1 FROM chain AS o WHERE json_extract(o.body, '$.data.intent') = i.seq) ORDER BY seq",
            plan,
        )

    def outcome(self, intent: int) -> Entry | None:
        """The outcome that answers an intent, by the intent's number; None where there is none yet."""
        found = self._select("WHERE json_extract(body, '$.data.intent') = ?", intent)
        return found[0] if found else None

    def accepted_verdict(self, file: str, row: int) -> Entry | None:
        """The newest verdict on a row of an approved CSV, where it accepts the row."""
        found = [e for e in self.of_file(file) if e.kind == kinds.VERDICT and e.data["row"] == row]
        return found[-1] if found and found[-1].data["verdict"] == "accepted" else None

    def mentioning(self, name: str) -> list[tuple[int, bool]]:
        """The numbers of the entries that hold a pseudonym, each with whether it stands there as the person's own."""
        rows = self._all("SELECT seq, joins FROM mention WHERE name = ? ORDER BY seq", name)
        return [(int(seq), bool(joins)) for seq, joins in rows]

    def personal(self, entry: Entry) -> dict[str, Any] | None:
        """An entry's personal part; None where it has none, or where it was erased."""
        if entry.personal_id is None:
            return None
        row = self._one("SELECT body FROM personal WHERE id = ?", entry.personal_id)
        return None if row is None else chain.unseal(str(row[0]).encode())

    def checkpoint(
        self, path: Path, sign_with: Path | bytes | None = None, *, password: bytes | None = None
    ) -> Checkpoint:
        """Record where the chain stands, in a file that should leave this machine.

        The checkpoint covers an entry of its own kind, so that the ledger tells when checkpoints were taken.

        Parameters
        ----------
        path
            The file. Checkpoints that are in it already stay, after they were held against the chain.
        sign_with
            A PEM file with an Ed25519 private key.
        password
            That file's password.

        Raises
        ------
        LedgerBroken
            If the chain contradicts a checkpoint that the file holds: the file is left as it is.
        UsageError
            If the signing key can't be used.
        """
        now = iso(self._clock.now())
        if sign_with is not None:  # a key that can't be used is told before anything is written
            points.sign(Checkpoint(0, chain.GENESIS, now, TOOL), sign_with, password)
        earlier = self._earlier(path)
        with self.writing():
            self._hold_against(path, earlier)
            last = self.sound_head()
            if not last.size or self.entry(last.size).kind != kinds.CHECKPOINT:
                made = self.add(Draft(kinds.CHECKPOINT, {"entries": last.size}), last)
                last = Head(made.seq, made.hash)
        point = Checkpoint(last.size, last.hash, now, TOOL)
        if sign_with is not None:
            point = points.sign(point, sign_with, password)
        with self.writing():  # only for the lock: two processes don't write the file at once
            points.write(path, [*self._earlier(path), point])
        return point

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction with the write lock, whole or not at all. For this package's own modules."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise from_sqlite(error, self.path, self._timeout) from error

    def add(self, draft: Draft, head: Head) -> Entry:
        """Add one conforming entry after the head, within `writing`. For this package's own modules."""
        beside = _Beside(self._db)
        made = self._chain(draft, head, beside)
        beside.write()
        return made

    def _chain(self, draft: Draft, head: Head, beside: _Beside) -> Entry:
        pointers.check(draft.kind, draft.data, self._select)
        reference, kept = (None, None) if draft.personal is None else chain.seal(draft.personal)
        made = chain.make(head, draft.kind, iso(self._clock.now()), TOOL, draft.data, reference)
        self._end = (made.seq, made.prev, made.hash, made.text)
        self._db.execute("INSERT INTO chain (seq, prev, hash, body) VALUES (?, ?, ?, ?)", self._end)
        beside.add(made, kept)
        return made

    def sound_head(self) -> Head:
        """The head, after its own hash was computed anew: nothing is built upon an end that was changed. For this package's own modules."""
        row = self._db.execute("SELECT seq, prev, hash, body FROM chain ORDER BY seq DESC LIMIT 1").fetchone()
        if row is None:
            return Head(0, chain.GENESIS)
        if row == self._end:  # as it was made, or was found sound before
            return Head(row[0], row[2])
        last = self._entry(row)
        if chain.chained(last.prev, last.text.encode()) != last.hash:
            raise broken(
                f"the last entry of the ledger {self.path}, number {last.seq}, was changed after it was written."
            )
        self._end = row
        return Head(last.seq, last.hash)

    def _earlier(self, path: Path) -> list[Checkpoint]:
        if not path.exists():
            return []
        try:
            return points.read(path)
        except Unreadable as error:
            raise LedgerError(
                f"{path} is there and is no file of checkpoints: {error}.", hint="Name another file for the checkpoint."
            ) from None

    def _hold_against(self, path: Path, earlier: list[Checkpoint]) -> None:
        for point in earlier:
            row = self._db.execute("SELECT hash FROM chain WHERE seq = ?", (point.size,)).fetchone()
            if point.size and (row is None or row[0] != point.head):
                raise broken(
                    f"the ledger {self.path} contradicts the checkpoint of {point.time} in {path}: no new one was written."
                )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise from_sqlite(error, self.path, self._timeout) from error

    def _all(self, sql: str, *values: Any) -> list[Any]:
        with self._reading():
            return self._db.execute(sql, values).fetchall()

    def _one(self, sql: str, *values: Any) -> Any:
        with self._reading():
            return self._db.execute(sql, values).fetchone()

    def _pages(self, where: str, value: str) -> Iterator[Entry]:
        after = 0
        while page := self._select(f"{where} AND seq > ? ORDER BY seq LIMIT ?", value, after, _PAGE):
            yield from page
            after = page[-1].seq

    def _select(self, rest: str, *values: Any) -> list[Entry]:
        return [self._entry(row) for row in self._all(f"SELECT seq, prev, hash, body FROM chain {rest}", *values)]  # noqa: S608 - `rest` is ours

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        seq, prev, own, text = row
        try:
            return chain.entry(seq, prev, own, text)
        except (NotCanonical, AttributeError):
            raise broken(f"entry {seq} of the ledger {self.path} was changed after it was written.") from None


class _Beside:
    """What is kept beside the chain of the entries that a transaction adds: written many at a time, as their places in the tables are near each other then."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._personal: list[tuple[str | None, int, str]] = []
        self._mentions: list[tuple[str, int, int]] = []

    def add(self, entry: Entry, kept: bytes | None) -> None:
        """Take what one entry leaves; see to it that `write` is called before the transaction ends."""
        if kept is not None:
            self._personal.append((entry.personal_id, entry.seq, kept.decode()))
        self._mentions += [(name, entry.seq, int(joins)) for name, joins in chain.mentions(entry.data)]
        if len(self._personal) >= _TOGETHER or len(self._mentions) >= _TOGETHER:
            self.write()

    def write(self) -> None:
        """Write what was taken."""
        for table, rows in (("personal", self._personal), ("mention", self._mentions)):
            if rows:
                self._db.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", sorted(rows))  # noqa: S608 - both are ours
                rows.clear()


def replace_key(folder: Path, *, keys: Path | None = None, timeout: float = 30.0) -> int:
    """Begin a new version of the pseudonyms' key: what comes from now on is named with it.

    Keep the old file as long as stories that begin before have to be found; destroy it to make its pseudonyms lead to nobody.

    Parameters
    ----------
    folder
        The ledger's folder.
    keys
        The keys' folder, where they are kept apart.
    timeout
        Seconds to wait for another process that is writing.

    Returns
    -------
    int
        The new version.
    """
    path, place = folder / schema.FILE, folder if keys is None else keys
    if not path.exists():
        raise UsageError(f"there is no ledger in {folder}.")
    try:
        db = schema.connect(path, timeout=timeout, create=False)
        try:
            used = [version for (version,) in db.execute("SELECT version FROM key")]
        finally:
            db.close()
    except sqlite3.Error as error:
        raise from_sqlite(error, path, timeout) from error
    version = max([*used, *read_keys(place)], default=0) + 1
    new_key(place, version)
    with Ledger.open(folder, keys=keys, timeout=timeout) as ledger:
        return max(ledger.names.versions)
