"""A pull into a snapshot: whole, or what changed since an earlier one; gone on with where the last one broke off."""

from __future__ import annotations

import errno
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from recon import lock, snapshot
from recon.errors import ReconError, UsageError
from recon.progress import SILENT
from recon.sources.bulk_state import States
from recon.sources.pulling import pull_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from recon.clock import Clock
    from recon.progress import Progress
    from recon.settings import Settings
    from recon.snapshot import Snapshot

Way = Literal["full", "since"]

#: The working folder beside the snapshots: what a pull has read so far. It holds personal data and is for its owner alone; hidden, so that nobody
#: takes it for a snapshot.
WORKING = ".pulling"
#: Why a file can't be written: no room, a quota, a limit, no right, or a disk that is broken.
_NOT_WRITTEN = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO")
    if hasattr(errno, name)
)


def pull(
    loaded: Settings,
    *,
    way: Way | None = None,
    since: str | None = None,
    environ: Mapping[str, str],
    clock: Clock,
    progress: Progress = SILENT,
    sleep: Callable[[float], None] = time.sleep,
) -> Snapshot:
    """Pull both sides into a snapshot.

    Parameters
    ----------
    loaded
        The workspace's settings.
    way
        "full" reads everything; "since" of Salesforce what changed since the newest snapshot that fits, and everything where none does. None: as
        `salesforce.pull` says.
    since
        The snapshot to build on, by its id; None takes the newest that fits.

    Raises
    ------
    UsageError
        If there is no such snapshot, or nothing can be built on it.
    ReconError
        If another pull is at work in the same folder of snapshots, or it can't be written.
    SourceError, InputRefused
        As `recon.sources.pulling.pull_to`. What Bulk queries gave is kept for the next pull.
    """
    way = "since" if since is not None else way or loaded.salesforce.pull
    folder = loaded.run.snapshots
    bases = snapshot.bases(folder, since) if way == "since" and loaded.salesforce.instance_url is not None else []
    if since is not None and not bases:
        raise UsageError(
            f"nothing can be built on the snapshot {since}: Salesforce is not read by API, or the snapshot was damaged.",
            hint="Run `recon pull --full`.",
        )
    working = _working_folder(folder)
    # A pull within a run holds the workspace as the run's part; this lock keeps apart pulls into one folder of snapshots.
    with lock.held(working, "pull", clock, environ={}):
        states = States(working, lasting=True)
        with _room_in(working):
            pulled = pull_to(
                loaded,
                states=states,
                bases=bases,
                strict=since is not None,
                environ=environ,
                clock=clock,
                progress=progress,
                sleep=sleep,
            )
        kept = snapshot.write(folder, pulled, loaded, clock=clock)
        states.clear()
    return kept


@contextmanager
def _room_in(working: Path) -> Iterator[None]:
    """Say in a sentence that what is read can't be written."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.errno not in _NOT_WRITTEN:
            raise
        raise ReconError(
            f"what is read can't be written to {working}: {os.strerror(error.errno)}.",
            hint="Make room there, or set another folder: snapshots under [run]. Then pull again: what Bulk queries gave so far is kept.",
        ) from None


def _working_folder(snapshots: Path) -> Path:
    working = snapshots / WORKING
    try:
        snapshots.mkdir(parents=True, exist_ok=True)
        working.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ReconError(
            f"the snapshot can't be written to {snapshots}: {error.strerror}.",
            hint="Make room or give yourself the right to write there, or set another folder: snapshots under [run].",
        ) from error
    return working
