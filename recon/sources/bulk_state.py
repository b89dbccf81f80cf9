"""How far a Bulk query's results were read, on disk, so that a pull that was killed goes on with the page after.

A file a query in the pull's working folder: the job, where its next page begins, and the pages that were read, each with its hash.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon import __version__
from recon.clock import iso
from recon.disk import sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

_SUFFIX = ".job.json"


@dataclass(frozen=True, slots=True)
class Terms:
    """What has to be the same for a job to be gone on with."""

    query: str
    api_version: str
    identity: str
    recon: str = __version__


@dataclass(slots=True)
class PageFile:
    """A page that was read: the file of its rows, and what Salesforce sent."""

    file: str
    rows: int
    size: int
    merged_away: int
    sha256: str


@dataclass(slots=True)
class JobState:
    """A job and how far it was read.

    Attributes
    ----------
    terms
        What it is good for.
    job_id, created_at
        The job, and when Salesforce made it, by Salesforce's clock.
    started_at
        When the read began, by recon's clock.
    counted
        What was counted before: all records, and those that aren't deleted.
    pages
        What was read.
    locator
        Where the next page begins; None at the first.
    whole
        Were all pages read?
    removed
        Was the job removed from Salesforce then?
    """

    terms: Terms
    job_id: str
    created_at: str | None
    started_at: str
    counted: tuple[int, int]
    pages: list[PageFile] = field(default_factory=list)
    locator: str | None = None
    whole: bool = False
    removed: bool = False

    @property
    def begun(self) -> datetime:
        """`started_at` as a moment."""
        return datetime.fromisoformat(self.started_at)


class States:
    """The states in a pull's working folder.

    Parameters
    ----------
    folder
        The folder; for its owner alone, as the pages hold personal data.
    lasting
        Does it outlive the pull? If not, nothing is written but the pages.
    """

    def __init__(self, folder: Path, *, lasting: bool) -> None:
        self.folder = folder
        self.lasting = lasting

    def _stem(self, query: str) -> str:
        return hashlib.sha256(query.encode()).hexdigest()[:16]

    def page_file(self, query: str, number: int) -> Path:
        """Where a page's rows go."""
        return self.folder / f"{self._stem(query)}-{number:05d}.run"

    def save(self, state: JobState) -> None:
        """Write a state, whole or not at all."""
        if not self.lasting:
            return
        file = self.folder / (self._stem(state.terms.query) + _SUFFIX)
        draft = file.with_suffix(".new")
        with draft.open("w", encoding="utf-8") as out:
            json.dump(asdict(state), out)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)

    def load(self, terms: Terms) -> tuple[JobState | None, str | None]:
        """The state that an earlier pull left for a query, or None; and why one that is there is of no use."""
        file = self.folder / (self._stem(terms.query) + _SUFFIX)
        if not self.lasting or not file.exists():
            return None, None
        state = _read(file)
        if state is None:
            return None, "its notes can't be read"
        if state.terms != terms:
            return None, "it was made with another user, API version or version of recon"
        for page in state.pages:
            path = self.folder / page.file
            if not path.is_file() or sha256(path) != page.sha256:
                return None, "a page that was read is missing or damaged"
        return state, None

    def drop(self, query: str) -> None:
        """Forget a query: its state and its pages."""
        for file in self.folder.glob(f"{self._stem(query)}*"):
            file.unlink(missing_ok=True)

    def left(self) -> Iterator[JobState]:
        """All states that are there."""
        for file in sorted(self.folder.glob(f"*{_SUFFIX}")):
            state = _read(file)
            if state is not None:
                yield state

    def clear(self) -> None:
        """Remove all files of the pull."""
        for file in self.folder.iterdir():
            if file.suffix in (".run", ".csv", ".new", ".json", ".parquet"):
                file.unlink(missing_ok=True)


def _read(file: Path) -> JobState | None:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        state = JobState(
            **found
            | {
                "terms": Terms(**found["terms"]),
                "counted": tuple(found["counted"]),
                "pages": [PageFile(**page) for page in found["pages"]],
            }
        )
        _ = state.begun
    except (OSError, ValueError, TypeError, KeyError):
        return None
    # A name of its own folder, nothing else: the file may have been tampered with.
    return state if all(Path(page.file).name == page.file for page in state.pages) else None


def moment(at: datetime) -> str:
    """A moment as a state keeps it."""
    return iso(at)
