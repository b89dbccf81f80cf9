"""Is the evidence whole? Everything is computed anew and held against checkpoints that were kept elsewhere.

What this can show, and what it can't: an edited, deleted, added or swapped entry shows by the chain alone. That the end was cut off, or that
all of it was computed anew, shows only against a checkpoint that whoever did it couldn't change. What was false when it was entered,
and what is lost together with all checkpoints, doesn't show.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from recon.errors import UsageError
from recon.ledger import chain, checkpoint, kinds, schema
from recon.ledger.canonical import NotCanonical
from recon.ledger.errors import LedgerError, from_sqlite
from recon.ledger.seals import Seals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from recon.ledger.chain import Entry
    from recon.ledger.checkpoint import Checkpoint

#: Exit codes of `recon ledger verify`. 2 and 3 have their meaning for every command already.
EXIT_OK = 0
EXIT_BROKEN = 1
EXIT_TRUNCATED = 4
EXIT_NO_CHECKPOINT = 5
EXIT_BAD_SIGNATURE = 6

_SHOWN = 20


class Result(Enum):
    """What verifying came to; the first that applies. The value is the exit code."""

    #: An entry, a personal part or an index contradicts the chain, or the chain contradicts a checkpoint.
    BROKEN = EXIT_BROKEN
    #: The chain holds together, and is shorter than a checkpoint says.
    TRUNCATED = EXIT_TRUNCATED
    #: A checkpoint's signature doesn't hold or is missing although a key was given, or the checkpoint can't be read.
    BAD_SIGNATURE = EXIT_BAD_SIGNATURE
    #: The chain holds together, and there was no checkpoint to hold it against.
    NO_CHECKPOINT = EXIT_NO_CHECKPOINT
    #: The chain holds together and every checkpoint is a part of it.
    OK = EXIT_OK


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    result
        What it makes of the whole.
    seq
        The entry it begins at, where it can be told.
    message
        One sentence.
    """

    result: Result
    seq: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found.

    Attributes
    ----------
    result
        The outcome.
    size, head
        The entries that were read, and the last one's hash.
    findings
        All that is wrong, in the order in which it was found.
    notes
        What isn't wrong but should be known.
    since
        The newest checkpoint that the chain agrees with, and its file's name.
    signed
        Whether that checkpoint's signature was checked.
    kinds
        Entries by kind.
    erased
        Personal parts that were erased.
    """

    result: Result
    size: int
    head: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    since: tuple[str, Checkpoint] | None
    signed: bool
    kinds: dict[str, int]
    erased: int

    @property
    def exit_code(self) -> int:
        """0 ok, 1 broken, 4 truncated, 5 no checkpoint, 6 bad signature."""
        return self.result.value

    @property
    def first_bad(self) -> int | None:
        """The first entry that something is wrong with, or None."""
        return min((finding.seq for finding in self.findings if finding.seq is not None), default=None)

    def lines(self) -> list[str]:
        """The outcome for people, the verdict first."""
        first = self.first_bad
        where = "" if first is None else f" First bad entry: {first}."
        told = {
            Result.OK: "The ledger is unbroken",
            Result.BROKEN: f"The ledger is BROKEN.{where}",
            Result.TRUNCATED: f"The ledger is TRUNCATED: entries are missing at its end.{where}",
            Result.BAD_SIGNATURE: f"A checkpoint can't be trusted: BAD SIGNATURE.{where}",
            Result.NO_CHECKPOINT: "The chain holds together, but there is NO CHECKPOINT to hold it against: a cut-off end or a chain computed anew wouldn't show.",
        }[self.result]
        if self.result is Result.OK and self.since is not None:
            told += f" since checkpoint {self._point()}."
        lines = [told, f"{self.size} entries, head {self.head}."]
        if self.since is not None:
            name, point = self.since
            if self.result is not Result.OK and (first is None or first > point.size):
                lines.append(f"Entries 1 to {point.size} are as they were at checkpoint {name} of {point.time}.")
            if self.size > point.size:
                one = self.size == point.size + 1
                new = f"Entry {self.size}" if one else f"Entries {point.size + 1} to {self.size}"
                lines.append(f"{new} came after that checkpoint: the next one will cover {'it' if one else 'them'}.")
        lines += [finding.message for finding in self.findings[:_SHOWN]]
        if len(self.findings) > _SHOWN:
            lines.append(f"... and {len(self.findings) - _SHOWN} more findings.")
        return [*lines, *self.notes]

    def as_json(self) -> dict[str, Any]:
        """The outcome for machines."""
        return {
            "result": self.result.name.lower(),
            "exit_code": self.exit_code,
            "size": self.size,
            "head": self.head,
            "first_bad": self.first_bad,
            "findings": [{"result": f.result.name.lower(), "seq": f.seq, "message": f.message} for f in self.findings],
            "notes": list(self.notes),
            "since": None if self.since is None else {"name": self.since[0], "checkpoint": self.since[1].as_json()},
            "signature_checked": self.signed,
            "kinds": self.kinds,
            "erased": self.erased,
        }

    def _point(self) -> str:
        assert self.since is not None
        name, point = self.since
        how = (
            "its signature holds" if self.signed else "its signature was not checked" if point.signature else "unsigned"
        )
        return f"{name} of {point.time} ({how})"


def verify(folder: Path, checkpoints: Sequence[Path] = (), pubkey: Path | None = None) -> Verification:
    """Compute the whole ledger anew and hold it against checkpoints. Nothing is written, and no key of pseudonyms is needed.

    Parameters
    ----------
    folder
        The ledger's folder.
    checkpoints
        Files of checkpoints, each with one or more.
    pubkey
        A PEM file with the Ed25519 public key: then every checkpoint has to be signed with it.

    Returns
    -------
    Verification
        Also for a broken ledger: it is a result, not an error.

    Raises
    ------
    UsageError
        If a file that was named isn't there, or there is neither a ledger nor a checkpoint of one.
    LedgerBusy
        If another process was writing for longer than we waited.
    """
    points, findings, signed = _points(checkpoints, pubkey)
    path = folder / schema.FILE
    if not path.is_file():
        if not points and not findings:
            raise UsageError(f"there is no ledger in {folder}.", hint="Name the workspace whose ledger it is.")
        findings.append(Finding(Result.TRUNCATED, 1, f"The ledger {path} is gone, with all its entries."))
        return _concluded(_Reading(), findings, None, signed=signed)
    reading = _Reading(wanted={point.size for _, point in points})
    try:
        with closing(schema.connect(path, timeout=30.0, create=False)) as db:
            reading.run(db)
    except sqlite3.Error as error:
        told = from_sqlite(error, path, 30.0)
        if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN):
            raise told from error
        reading.add(reading.size + 1, f"The file {path.name} is damaged from here on: {error}.")
    except LedgerError as error:
        reading.add(1, error.message)
    findings = reading.findings + findings
    since = None
    for name, point in points:
        own = reading.heads.get(point.size)
        if own == point.head:
            since = (name, point) if since is None or point.size >= since[1].size else since
        elif own is not None:
            message = f"Entry {point.size} is not the one that checkpoint {name} of {point.time} names: entries up to it were written anew, or the checkpoint is another ledger's."
            findings.append(Finding(Result.BROKEN, reading.first or point.size, message))
        else:
            message = f"Checkpoint {name} of {point.time} counts {point.size} entries, and {reading.size} are there."
            findings.append(Finding(Result.TRUNCATED, reading.size + 1, message))
    return _concluded(reading, findings, since, signed=signed and since is not None)


def _concluded(
    reading: _Reading, findings: list[Finding], since: tuple[str, Checkpoint] | None, *, signed: bool
) -> Verification:
    found = {finding.result for finding in findings}
    if since is None:
        found.add(Result.NO_CHECKPOINT)
    result = next(result for result in Result if result in found or result is Result.OK)
    return Verification(
        result,
        reading.size,
        reading.head,
        tuple(findings),
        tuple(reading.notes),
        since,
        signed,
        dict(sorted(reading.kinds.items())),
        reading.seals.erased(),
    )


def _points(files: Sequence[Path], pubkey: Path | None) -> tuple[list[tuple[str, Checkpoint]], list[Finding], bool]:
    """The checkpoints that can be relied on, and what is wrong with the others."""
    key = None if pubkey is None else checkpoint.public_key(pubkey)
    points, findings = [], []
    for file in files:
        try:
            read = checkpoint.read(file)
        except checkpoint.Unreadable as error:
            message = f"The file {file.name} can't be read as checkpoints: {error}."
            findings.append(Finding(Result.BAD_SIGNATURE, None, message))
            continue
        for point in read:
            if key is not None and point.signature is None:
                message = f"Checkpoint {file.name} of {point.time} is not signed."
            elif key is not None and not checkpoint.signature_holds(point, key):
                message = f"The signature of checkpoint {file.name} of {point.time} doesn't hold: it was changed, or signed with another key."
            else:
                points.append((file.name, point))
                continue
            findings.append(Finding(Result.BAD_SIGNATURE, None, message))
    return points, findings, key is not None


@dataclass(slots=True)
class _Reading:
    """One reading of a ledger, from the first entry to the last."""

    wanted: set[int] = field(default_factory=set)
    size: int = 0
    head: str = chain.GENESIS
    first: int | None = None
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    #: Hashes at the sizes that checkpoints name.
    heads: dict[int, str] = field(default_factory=dict)
    seals: Seals = field(default_factory=Seals)
    backwards: int | None = None

    def add(self, seq: int | None, message: str) -> None:
        """Note what is wrong."""
        self.findings.append(Finding(Result.BROKEN, seq, message))
        if seq is not None:
            self.first = seq if self.first is None else min(seq, self.first)

    def run(self, db: sqlite3.Connection) -> None:
        """Read and hold everything together, in one transaction so that nobody writes in between."""
        db.execute("PRAGMA query_only = ON")
        db.execute("BEGIN")
        if schema.is_new(db):  # the first opening was cut off before anything was in it
            return
        if not schema.is_ours(db):
            raise LedgerError("The file is no ledger of this version.")
        # Bytes: a text that isn't UTF-8 any more must not stop the reading.
        db.text_factory = bytes
        self._chain(db)
        self._personal(db)
        damage = [row[0].decode(errors="replace") for row in db.execute("PRAGMA integrity_check(3)")]
        if damage != ["ok"]:
            self.add(None, f"The database contradicts itself: {'; '.join(' '.join(part.split()) for part in damage)}.")
        there = {row[0].decode() for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")}
        if missing := sorted(schema.TRIGGERS - there):
            self.notes.append(
                f"Guards against mistakes were removed from the database: {', '.join(missing)}. Somebody was at the file with other tools."
            )
        if self.backwards is not None:
            self.notes.append(f"Entry {self.backwards} is dated before the one that it follows: a clock was wrong.")

    def _chain(self, db: sqlite3.Connection) -> None:
        names = _by_entry(db.execute("SELECT seq, name, joins FROM mention ORDER BY seq, name"))
        pending = next(names, None)
        self.heads = {0: chain.GENESIS} if 0 in self.wanted else {}
        time = ""
        for row in db.execute("SELECT seq, prev, hash, body FROM chain NOT INDEXED ORDER BY seq"):
            entry = self._row(*row)
            if entry is None:
                continue
            time = self._dated(entry, time)
            while pending is not None and pending[0] < entry.seq:
                self.add(pending[0], f"The index of pseudonyms names entry {pending[0]}, which is not there.")
                pending = next(names, None)
            listed = pending[1] if pending is not None and pending[0] == entry.seq else []
            if listed:
                pending = next(names, None)
            if listed != sorted((name.encode(), int(joins)) for name, joins in chain.mentions(entry.data)):
                self.add(entry.seq, f"The index of pseudonyms doesn't show entry {entry.seq} as it is.")
        if pending is not None and not self.findings:
            self.add(pending[0], f"The index of pseudonyms names entry {pending[0]}, which is not there.")

    def _row(self, seq: int, prev: Any, own: Any, body: Any) -> Entry | None:
        """One row: whole in itself, and the one that follows the row before."""
        before, expected = self.head, self.size + 1
        if seq != expected:
            gap = (
                f"Entry {expected} is missing"
                if seq == expected + 1
                else f"Entries {expected} to {seq - 1} are missing"
            )
            self.add(expected, f"{gap}.")
        self.size = seq
        texts = [value.decode("ascii", "replace") if isinstance(value, bytes) else "" for value in (prev, own)]
        self.head = texts[1]
        if seq in self.wanted:
            self.heads[seq] = texts[1]
        if seq == expected and texts[0] != before:
            self.add(seq, f"Entry {seq} doesn't follow entry {seq - 1}: it names another previous hash.")
        try:
            if chain.chained(texts[0], body) != texts[1]:
                self.add(seq, f"Entry {seq} was changed after it was written: its hash doesn't fit its text.")
            found = chain.entry(seq, texts[0], texts[1], body.decode())
        except NotCanonical as error:
            self.add(seq, f"Entry {seq} is not as it was written, or not in its place: {error}.")
            return None
        except (ValueError, TypeError, AttributeError):
            self.add(seq, f"Entry {seq} is not as it was written: its text or its hash is no text any more.")
            return None
        self.kinds[found.kind] += 1
        self._noted(found)
        return found

    def _noted(self, entry: Entry) -> None:
        if entry.personal_id is not None:
            self.seals.note(entry.personal_id, entry.seq, entry.sealed())
        ids: Any = entry.data.get("erased")
        if entry.kind == kinds.ERASURE and kinds.RANDOM_IDS.fits(ids):
            self.seals.note_erased(ids)

    def _dated(self, entry: Entry, before: str) -> str:
        if entry.at < before and self.backwards is None:
            self.backwards = entry.seq
        return max(entry.at, before)

    def _personal(self, db: sqlite3.Connection) -> None:
        for key, text in db.execute("SELECT id, body FROM personal ORDER BY seq, id"):
            sealed = self.seals.found(key.decode(errors="replace"))
            if sealed is None:
                self.add(None, "There is a personal part that no entry points at.")
            elif not isinstance(text, bytes) or not chain.seal_holds(sealed[1], text):
                self.add(sealed[0], f"The personal part of entry {sealed[0]} was changed after it was written.")
        for seq in self.seals.gone():
            self.add(seq, f"The personal part of entry {seq} is gone, and no entry says that it was erased.")
        if (kept := self.seals.first_kept()) is not None:
            self.add(kept, f"The personal part of entry {kept} is there, although an entry says that it was erased.")


def _by_entry(rows: sqlite3.Cursor) -> Iterator[tuple[int, list[tuple[bytes, int]]]]:
    """The index of pseudonyms, an entry at a time."""
    seq, names = None, []
    for at, name, joins in rows:
        if at != seq and seq is not None:
            yield seq, names
            names = []
        seq = at
        names.append((name, joins))
    if seq is not None:
        yield seq, names
