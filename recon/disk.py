"""Files that last and can be proven: hashes, and names that survive a power cut."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def of_a_stranger(said: os.stat_result) -> bool:
    """Whether a file belongs to neither who runs this nor root: its owner may read and change it, whatever its mode says."""
    return os.name != "nt" and said.st_uid not in (os.geteuid(), 0)


def sync_folder(folder: Path) -> None:
    """Make new names in a folder last through a power cut, where the system lets a folder be synced."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
