"""One run at a time: a lock on a workspace that the operating system lets go of when its process ends, however it ends.

A run may let a part of itself into the workspace that it holds, like a notebook's kernel that applies a plan: it hands the lock's word on,
in the environment. One part at a time: that one holds a lock of its own, which nobody gets past even if the run itself is killed.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from recon.clock import iso
from recon.errors import ReconError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from recon.clock import Clock

#: The lock's file in a workspace. It stays there when nobody holds the lock, empty.
FILE_NAME = ".recon.lock"
#: The file of the part that a run let in.
PART_NAME = ".recon.part.lock"
#: The environment variable with the word of the run that somebody is a part of. It is no secret: it keeps out accidents, not attackers.
WITHIN = "RECON_WITHIN"

# Windows locks bytes, and locked bytes can't be read: one far behind what the file holds is locked.
_BYTE = 1 << 30


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, or held it last.

    Attributes
    ----------
    pid, host
        The process.
    since
        When it took the lock, as recon writes times.
    doing
        What it does, like "run 20261124T180000Z".
    word
        Who knows it is a part of the same run.
    """

    pid: int
    host: str
    since: str
    doing: str
    word: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.doing}), since {self.since}"


#: Holds a lock and has not said yet who it is.
_NOBODY_KNOWN = Holder(0, "", "", "")


def new_word() -> str:
    """A word for `held` that no other run has."""
    return secrets.token_hex(8)


def last_holder(workspace: Path) -> Holder | None:
    """Who holds a workspace, or held it and was killed; None where the last one ended as it should. Only the file is read: it isn't locked."""
    for name in (FILE_NAME, PART_NAME):
        try:
            handle = os.open(workspace / name, os.O_RDONLY)
        except OSError:
            continue
        try:
            found = _read(handle)
        finally:
            os.close(handle)
        if found is not None:
            return found
    return None


@contextmanager
def held(
    workspace: Path, doing: str, clock: Clock, *, word: str = "", environ: Mapping[str, str] | None = None
) -> Iterator[Holder | None]:
    """Hold a workspace's lock for the length of a `with` block.

    Parameters
    ----------
    workspace
        The folder; it must be there.
    doing
        What the lock is held for; told to whoever finds it held.
    clock
        Tells since when.
    word
        Lets parts of the same run in: those with this word in their environment, under `WITHIN`.
    environ
        The environment; by default that of this process.

    Yields
    ------
    Holder or None
        Who held the lock last and ended without letting it go: a process that was killed, whose work may be half done. None where
        the last one ended as it should.

    Raises
    ------
    ReconError
        If another process, or another part of this one, holds it; or the file can't be used.
    """
    mine = (os.environ if environ is None else environ).get(WITHIN, "")
    me = Holder(os.getpid(), socket.gethostname(), iso(clock.now()), doing, word)
    with ExitStack() as stack:
        handle = stack.enter_context(_opened(workspace / FILE_NAME))
        part = stack.enter_context(_opened(workspace / PART_NAME))
        holder = _taken(handle, workspace)
        if holder is not None:
            if not mine or not holder.word or mine != holder.word:
                raise _at_work(workspace, holder)
            # The run itself holds the workspace for us: we are kept apart from its other parts alone.
            handle = part
        # A run that was killed may have left a part at work.
        other = _taken(part, workspace)
        if other is not None:
            raise _at_work(workspace, other)
        former = _read(handle)
        _write(handle, json.dumps(asdict(me)))
        if handle != part:
            # Parts have to get in.
            _let_go(part)
        try:
            yield former
        finally:
            _write(handle, "")


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise ReconError(
            f"{file} can't be opened: {error.strerror}.", hint="Run as the user whom the workspace belongs to."
        ) from error
    try:
        yield handle
    finally:
        # Closing lets go of the lock. The file stays: if it were deleted, one process could lock the deleted file and another a new one.
        os.close(handle)


def _taken(handle: int, workspace: Path) -> Holder | None:
    """Take a file's lock; who holds it where somebody does."""
    try:
        _lock(handle)
    except (BlockingIOError, PermissionError):
        return _read(handle) or _NOBODY_KNOWN
    except OSError as error:
        raise ReconError(
            f"{workspace / FILE_NAME} can't be locked: {error.strerror}.",
            hint="Keep the workspace on a file system that knows locks.",
        ) from error
    return None


def _at_work(workspace: Path, holder: Holder) -> ReconError:
    who = "its process has just begun" if holder is _NOBODY_KNOWN else str(holder)
    return ReconError(
        f"another run is at work in {workspace}: {who}.",
        hint="Wait until it is done. Should it hang, end that process: its lock goes with it.",
    )


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        os.lseek(handle, _BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

    def _let_go(handle: int) -> None:
        os.lseek(handle, _BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _let_go(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)


def _read(handle: int) -> Holder | None:
    """Who wrote the file last; None where it is empty or half written."""
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        return Holder(**json.loads(os.read(handle, 4096)))
    except (ValueError, TypeError):
        return None


def _write(handle: int, text: str) -> None:
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, text.encode())
