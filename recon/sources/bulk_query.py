"""A Bulk API 2.0 query, step by step, to disk page by page, with proof that all of it arrived.

Own steps, not simple-salesforce's `bulk2`: that one takes a body that was cut short for the whole (a connection closed without a length),
repeats nothing, and decodes a page without a charset as latin-1.
Source of the wire: Salesforce, Bulk API 2.0 Developer Guide, "Get Results for a Query Job". A locator is good as long as its job is there,
so a read that broke off goes on with the page after the last whole one.
"""

from __future__ import annotations

import contextlib
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pyarrow as pa
from pyarrow import csv

from recon.disk import sha256
from recon.errors import IncompletePull, SourceError
from recon.sources.bulk_state import JobState, PageFile
from recon.sources.rest_query import stamp
from recon.sources.runs import write_run
from recon.tables import RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import requests

    from recon.progress import Task
    from recon.settings import SalesforceSettings
    from recon.sources.bulk_state import States, Terms
    from recon.sources.salesforce_session import Connection

log = logging.getLogger(__name__)

_JOB_ID = re.compile(r"[A-Za-z0-9]{15,18}")
_LOCATOR = re.compile(r"[\x21-\x7e]{1,1024}")
AGAIN = "Pull again; if it happens again, a proxy between here and Salesforce may cut answers short."
#: Codes that mean an earlier pull's job is of no use any more.
_GONE = frozenset({"NOT_FOUND", "INVALID_QUERY_LOCATOR", "API_VERSION_MISMATCH", "ENTITY_IS_DELETED"})


@dataclass(frozen=True, slots=True)
class BulkRows:
    """What a Bulk query gave.

    Attributes
    ----------
    files
        The pages' rows, each a run (`recon.sources.runs`).
    state
        The job and its pages.
    resumed
        How many pages an earlier pull had read; None where this one made the job.
    deleted
        Was the job removed from Salesforce afterwards? If not, it goes by itself after seven days.
    """

    files: tuple[Path, ...]
    state: JobState
    resumed: int | None
    deleted: bool


class JobGoneError(Exception):
    """The job of an earlier pull is there no more, or can't be read any more."""


@dataclass(frozen=True, slots=True)
class BulkReader:
    """Reads Bulk queries.

    Attributes
    ----------
    connection, settings
        Where from, and how.
    states
        Where pages go, and how far each query is.
    sleep
        Waits between two looks at a job.
    pace
        Called before every page and every look; ends the read by an exception.
    """

    connection: Connection
    settings: SalesforceSettings
    states: States
    sleep: Callable[[float], None]
    pace: Callable[[], None]

    def create(self, terms: Terms, counted: tuple[int, int], started_at: str) -> JobState:
        """Make a job over all rows, deleted ones included.

        Raises
        ------
        SourceError
            If Salesforce refuses.
        """
        body = {"operation": "queryAll", "query": terms.query, "columnDelimiter": "COMMA", "lineEnding": "LF"}
        job = _json(self.connection.request("a new Bulk query", "POST", "jobs/query", json=body))
        job_id = job.get("id")
        if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
            raise SourceError("Salesforce's answer to a new Bulk query names no job.", hint=AGAIN)
        created_at = stamp(job.get("createdDate"), f"Bulk query {job_id}")
        state = JobState(terms, job_id, created_at, started_at, counted)
        self.states.save(state)
        return state

    def read(
        self,
        state: JobState,
        columns: Sequence[str],
        convert: Callable[[pa.Table], tuple[pa.Table, int]],
        task: Task,
        *,
        resumed: bool,
    ) -> BulkRows:
        """Read every page that wasn't read yet.

        Parameters
        ----------
        columns
            The query's fields in its order; the header of every page must be these.
        convert
            Makes the rows that are kept of a page's; tells how many of them were merged away.
        task
            Is told of rows as they arrive.
        resumed
            Is it the job of an earlier pull?

        Raises
        ------
        IncompletePull
            If a page holds other rows than Salesforce said, or all pages together do.
        SourceError
            If the job fails, or isn't done in time.
        JobGoneError
            If the job of an earlier pull can't be read any more.
        """
        pages_before = len(state.pages) if resumed else None
        try:
            if not state.whole:
                processed = self._wait(state.job_id)
                task.advance(sum(page.rows for page in state.pages))
                self._pages(state, columns, convert, task, processed)
        except SourceError as error:
            if resumed and error.code in _GONE:
                raise JobGoneError from None
            raise
        if not state.removed:
            state.removed = self.remove(state.job_id)
            self.states.save(state)
        files = tuple(self.states.folder / page.file for page in state.pages)
        return BulkRows(files, state, pages_before, state.removed)

    def give_up(self, state: JobState) -> None:
        """Forget a job whose rows are of no use, and remove it: the next pull makes another one."""
        self.states.drop(state.terms.query)
        if not state.removed:
            state.removed = self.remove(state.job_id)

    def _wait(self, job_id: str) -> int:
        """Wait until the job is done; returns the number of records that it processed."""
        waited = 0.0
        while True:
            self.pace()
            job = _json(self.connection.request(f"the state of Bulk query {job_id}", "GET", f"jobs/query/{job_id}"))
            state = job.get("state")
            if state == "JobComplete":
                processed = job.get("numberRecordsProcessed")
                if not isinstance(processed, int) or isinstance(processed, bool):
                    raise IncompletePull(f"Bulk query {job_id} doesn't say how many records it processed.", hint=AGAIN)
                return processed
            if state in ("Failed", "Aborted"):
                raise self._ended(job_id, state, job)
            if state not in ("UploadComplete", "InProgress"):
                raise SourceError(f"Bulk query {job_id} is in a state that recon doesn't know.", hint=AGAIN)
            if waited >= self.settings.job_timeout:
                raise SourceError(
                    f"Bulk query {job_id} was not done within {self.settings.job_timeout:g} seconds.",
                    hint="Raise salesforce.job_timeout, or pull when the org is less busy.",
                )
            self.sleep(self.settings.poll_seconds)
            waited += self.settings.poll_seconds

    def _ended(self, job_id: str, state: str, job: dict[str, Any]) -> SourceError:
        for left in self.states.left():
            if left.job_id == job_id:
                self.states.drop(left.terms.query)  # it will never have results
        found = re.match(r"[A-Z][A-Z_]{2,59}", str(job.get("errorMessage", "")))
        code = found.group() if found else None
        return SourceError(
            f"Bulk query {job_id} ended as {state}{f': {code}' if code else ''}.",
            hint="Look at the job under Setup > Bulk Data Load Jobs, then pull again.",
            code=code,
        )

    def _pages(
        self,
        state: JobState,
        columns: Sequence[str],
        convert: Callable[[pa.Table], tuple[pa.Table, int]],
        task: Task,
        processed: int,
    ) -> None:
        seen = {state.locator} - {None}
        while True:
            self.pace()
            number = len(state.pages) + 1
            table, size, following = self._page(state, number, columns)
            file = self.states.page_file(state.terms.query, number)
            try:
                rows, away = convert(table)
            except IncompletePull:
                self.give_up(state)
                raise
            write_run(file, [rows], RECORDS.schema)
            state.pages.append(PageFile(file.name, rows.num_rows, size, away, sha256(file)))
            total = sum(page.rows for page in state.pages)
            if following in seen:
                self.give_up(state)
                raise IncompletePull(f"Bulk query {state.job_id} names the same page twice.", hint=AGAIN)
            if following is None and total != processed:
                self.give_up(state)
                raise IncompletePull(
                    f"Bulk query {state.job_id} processed {processed} records, but its {number} pages hold {total} rows.",
                    hint=AGAIN,
                )
            state.locator, state.whole = following, following is None
            self.states.save(state)
            task.advance(rows.num_rows)
            if following is None:
                return
            seen.add(following)

    def _page(self, state: JobState, number: int, columns: Sequence[str]) -> tuple[pa.Table, int, str | None]:
        what = f"page {number} of Bulk query {state.job_id}"
        file = self.states.page_file(state.terms.query, number).with_suffix(".csv")
        query = {"maxRecords": str(self.settings.page_rows)}
        if state.locator is not None:
            query["locator"] = state.locator
        headers = self.connection.download(what, f"jobs/query/{state.job_id}/results?{urlencode(query)}", file)
        said = headers.get("Sforce-NumberOfRecords", "")
        following = headers.get("Sforce-Locator", "")
        if not said.isdecimal() or not _LOCATOR.fullmatch(following):
            raise IncompletePull(
                f"{what} came without Sforce-NumberOfRecords or Sforce-Locator.",
                hint="A proxy between here and Salesforce removes headers, or answers in its place: let it pass the two through.",
            )
        table = _parse(file, columns, what)
        if table.num_rows != int(said):
            raise IncompletePull(f"{what} holds {table.num_rows} rows, but Salesforce said {said}.", hint=AGAIN)
        size = file.stat().st_size
        file.unlink()
        return table, size, None if following == "null" else following

    def remove(self, job_id: str, *, running: bool = False) -> bool:
        """Remove a job. It costs nothing but a place in the org's list, so a fault here is said and doesn't fail the pull.

        Parameters
        ----------
        running
            It may be at work: end it first.
        """
        address = f"jobs/query/{job_id}"
        if running:
            # It may have come to its end since the last look; whether it goes is for the removal to say.
            with contextlib.suppress(SourceError):
                self.connection.request(f"the end of Bulk query {job_id}", "PATCH", address, json={"state": "Aborted"})
        try:
            self.connection.request(f"the removal of Bulk query {job_id}", "DELETE", address)
        except SourceError as error:
            log.warning("Bulk query %s stays in Salesforce until it expires: %s", job_id, error.message)
            return False
        return True


def _parse(file: Path, columns: Sequence[str], what: str) -> pa.Table:
    if file.stat().st_size == 0:  # a result without rows may come without a header too
        return pa.schema([(name, pa.string()) for name in columns]).empty_table()
    try:
        table = csv.read_csv(
            file,
            read_options=csv.ReadOptions(encoding="utf8", use_threads=False),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid:  # its text quotes the row, which holds an address
        raise IncompletePull(f"{what} is not whole CSV in UTF-8.", hint=AGAIN) from None
    if table.column_names != list(columns):
        raise IncompletePull(f"{what} has other columns than the query asked for.", hint=AGAIN)
    return table


def _json(response: requests.Response) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SourceError("Salesforce answered a step of a Bulk query with something that is not JSON.", hint=AGAIN)
    return found
