"""One read of one object: by Bulk or by REST, whole or what changed, into sorted runs."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from recon.sources.bulk_query import BulkReader, JobGoneError
from recon.sources.bulk_state import JobState, Terms, moment
from recon.sources.calls import charged
from recon.sources.guard import window_met
from recon.sources.object_rows import as_records, texts
from recon.sources.rest_query import count, newest_stamp, rest_pages
from recon.sources.runs import write_run
from recon.tables import RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    import pyarrow as pa

    from recon.clock import Clock
    from recon.progress import Progress, Task
    from recon.settings import SalesforceSettings, SyncSettings
    from recon.sources.base import InputKind
    from recon.sources.bulk_state import States
    from recon.sources.discovery import ObjectFields
    from recon.sources.rows import Details
    from recon.sources.salesforce_session import Connection

log = logging.getLogger(__name__)

#: Records of an answer of a REST query. Source: REST API Developer Guide, Query Options.
REST_PAGE = 2000
#: REST pages that are written as one run.
_GATHERED = 50_000


@dataclass(frozen=True, slots=True)
class Counts:
    """Records of one object: all, deleted ones included, and those that are not deleted."""

    total: int
    live: int

    def __str__(self) -> str:
        return f"{self.total} records, {self.live} of them not deleted"


@dataclass(frozen=True, slots=True)
class Means:
    """What a read needs: see `recon.sources.salesforce_pull`."""

    connection: Connection
    settings: SalesforceSettings
    sync: SyncSettings | None
    clock: Clock
    progress: Progress
    sleep: Callable[[float], None]
    states: States
    pace: Callable[[], None]

    @property
    def bulk(self) -> BulkReader:
        """Reads Bulk queries."""
        return BulkReader(self.connection, self.settings, self.states, self.sleep, self.pace)


@dataclass(slots=True)
class ObjectRead:
    """A read of one object.

    Attributes
    ----------
    since
        What changed since this moment is read; None for everything.
    counted
        What was counted before.
    expected
        How many rows there will be.
    read_to
        Up to when it surely holds every change, by Salesforce's clock; None where there is no record.
    state
        The Bulk job; None by REST.
    resumed
        Is it the job of an earlier pull?
    files
        Sorted runs in the shape of `recon.tables.RECORDS`.
    """

    fields: ObjectFields
    since: str | None
    counted: Counts
    expected: int
    read_to: str | None
    started_at: datetime
    state: JobState | None = None
    resumed: bool = False
    kind: InputKind = "salesforce-rest"
    files: tuple[Path, ...] = ()
    rows: int = 0
    size: int | None = None
    merged_away: int = 0
    details: Details = field(default_factory=dict)

    @property
    def query(self) -> str:
        """The SOQL."""
        return self.fields.query + where(self.since)


def where(since: str | None) -> str:
    """The condition that reads what changed since a moment, as it follows `FROM`; empty for None."""
    return "" if since is None else f" WHERE SystemModstamp >= {since}"


def begin(means: Means, fields: ObjectFields, counted: Counts, since: str | None, known_to: str | None) -> ObjectRead:
    """Find out how much there is to read, and open the Bulk job where it is much, or find the one of an earlier pull.

    Parameters
    ----------
    since
        What changed since this moment; None for everything.
    known_to
        Up to when every change is known already.
    """
    name = fields.object
    with charged(name):
        rows = counted.total
        if since is not None:
            rows = count(means.connection, name, include_deleted=True, where=where(since))
        read = ObjectRead(fields, since, counted, rows, known_to, means.clock.now())
        if rows > means.settings.bulk_above:
            _open_job(means, read)
        elif rows:
            stamps = (newest_stamp(means.connection, name, where(since)), known_to)
            read.read_to = max(filter(None, stamps), default=None)
    return read


def _open_job(means: Means, read: ObjectRead) -> None:
    read.kind = "salesforce-bulk"
    terms = Terms(read.query, means.settings.api_version, means.connection.identity)
    state, why = means.states.load(terms)
    if state is not None and _met_the_run(means, state.begun):
        why, state = "a nightly run lies, or may lie, between it and now", None
    if why is not None:
        log.warning("The Bulk query of an earlier pull of %s is not gone on with: %s.", read.fields.object, why)
        means.states.drop(read.query)
    if state is None:
        state = _new_job(means, read, terms)
    else:
        read.resumed, read.started_at = True, state.begun
        read.counted = Counts(*state.counted)
        log.warning(
            "The pull of %s goes on with the Bulk query %s of an earlier pull: %d pages of it are here.",
            read.fields.object,
            state.job_id,
            len(state.pages),
        )
    read.state, read.read_to = state, state.created_at


def _new_job(means: Means, read: ObjectRead, terms: Terms) -> JobState:
    counted = (read.counted.total, read.counted.live)
    return means.bulk.create(terms, counted, moment(read.started_at))


def _met_the_run(means: Means, begun: datetime) -> bool:
    now = means.clock.now()
    return means.sync is not None and window_met(min(begun, now), now, means.sync) is not None


def rows_of(means: Means, read: ObjectRead) -> None:
    """Read the rows into runs.

    Raises
    ------
    IncompletePull, SourceError
        If they can't be read to their end; what a Bulk query gave is kept for the next pull.
    """
    with charged(read.fields.object), means.progress.task(f"{read.fields.object}s", read.expected, "rows") as task:
        if read.state is not None:
            _by_bulk(means, read, task)
        elif read.expected or read.since is None:
            _by_rest(means, read, task)


def _by_bulk(means: Means, read: ObjectRead, task: Task) -> None:
    assert read.state is not None
    columns = read.fields.select

    def convert(page: pa.Table) -> tuple[pa.Table, int]:
        return as_records(read.fields, page)

    try:
        bulk = means.bulk.read(read.state, columns, convert, task, resumed=read.resumed)
    except JobGoneError:
        log.warning(
            "The Bulk query %s of an earlier pull of %s is not there any more, so the read starts anew.",
            read.state.job_id,
            read.fields.object,
        )
        means.states.drop(read.query)
        read.started_at = means.clock.now()
        read.state = _new_job(means, read, read.state.terms)
        read.read_to = read.state.created_at
        bulk = means.bulk.read(read.state, columns, convert, task, resumed=False)
    pages = bulk.state.pages
    read.files = bulk.files
    read.rows = sum(page.rows for page in pages)
    read.size = sum(page.size for page in pages)
    read.merged_away = sum(page.merged_away for page in pages)
    read.details = {"job_id": bulk.state.job_id, "pages": len(pages), "job_deleted": bulk.deleted}
    if bulk.resumed is not None:
        read.details["pages_of_an_earlier_pull"] = bulk.resumed


def _by_rest(means: Means, read: ObjectRead, task: Task) -> None:
    name = read.fields.object
    place = means.states.folder / f"{name}-rest-{'all' if read.since is None else 'changed'}"
    files: list[Path] = []
    waiting: list[dict[str, object]] = []

    def write() -> None:
        rows, away = as_records(read.fields, texts(read.fields, waiting))
        files.append(place.with_name(f"{place.name}-{len(files) + 1:05d}.run"))
        write_run(files[-1], [rows], RECORDS.schema)
        read.merged_away += away
        read.rows += rows.num_rows
        waiting.clear()

    for page in rest_pages(means.connection, read.query, read.fields.select, name, means.pace):
        waiting += page
        if len(waiting) >= _GATHERED:
            write()
        task.advance(len(page))
    if waiting:
        write()
    read.files = tuple(files)


def calls_expected(read: ObjectRead, settings: SalesforceSettings) -> int:
    """About how many calls the rows of a read will need."""
    history = 2 if read.fields.person_targets else 0  # of person accounts, in the beginning and at the end
    if read.state is not None:
        return max(math.ceil(read.expected / settings.page_rows) - len(read.state.pages), 0) + 5 + history
    return max(math.ceil(read.expected / REST_PAGE), 1) + history
