"""One run at a time: a lock on a workspace that the operating system lets go of when its process ends, however it ends."""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from recon.clock import iso
from recon.errors import ReconError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from recon.clock import Clock

#: The lock's file in a workspace. It stays there when nobody holds the lock, empty.
FILE_NAME = ".recon.lock"

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
    """

    pid: int
    host: str
    since: str
    doing: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.doing}), since {self.since}"


@contextmanager
def held(workspace: Path, doing: str, clock: Clock) -> Iterator[Holder | None]:
    """Hold a workspace's lock for the length of a `with` block.

    Parameters
    ----------
    workspace
        The folder; it must be there.
    doing
        What the lock is held for; told to whoever finds it held.
    clock
        Tells since when.

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
    file = workspace / FILE_NAME
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise ReconError(
            f"{file} can't be opened: {error.strerror}.", hint="Run as the user whom the workspace belongs to."
        ) from error
    try:
        _take(handle, file)
        former = _read(handle)
        _write(handle, json.dumps(asdict(Holder(os.getpid(), socket.gethostname(), iso(clock.now()), doing))))
        try:
            yield former
        finally:
            _write(handle, "")
    finally:
        # Closing lets go of the lock. The file stays: if it were deleted, one process could lock the deleted file and another a new one.
        os.close(handle)


def _take(handle: int, file: Path) -> None:
    try:
        _lock(handle)
    except (BlockingIOError, PermissionError):
        holder = _read(handle)
        raise ReconError(
            f"another run is at work in {file.parent}: {holder or 'its process has just begun'}.",
            hint="Wait until it is done. Should it hang, end that process: its lock goes with it.",
        ) from None
    except OSError as error:
        raise ReconError(
            f"{file} can't be locked: {error.strerror}.", hint="Keep the workspace on a file system that knows locks."
        ) from error


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        os.lseek(handle, _BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


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
