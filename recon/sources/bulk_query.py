"""A Bulk API 2.0 query, step by step, with proof that all of it arrived.

Own steps, not simple-salesforce's `bulk2`: that one takes a body that was cut short for the whole (a connection closed without a length),
repeats nothing, and decodes a page without a charset as latin-1.
Source of the wire: Salesforce, Bulk API 2.0 Developer Guide, "Get Results for a Query Job".
"""

from __future__ import annotations

import contextlib
import logging
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pyarrow as pa
from pyarrow import csv

from recon.errors import IncompletePull, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import requests

    from recon.progress import Task
    from recon.settings import SalesforceSettings
    from recon.sources.salesforce_session import Connection

log = logging.getLogger(__name__)

_JOB_ID = re.compile(r"[A-Za-z0-9]{15,18}")
_LOCATOR = re.compile(r"[\x21-\x7e]{1,1024}")
AGAIN = "Pull again; if it happens again, a proxy between here and Salesforce may cut answers short."


@dataclass(frozen=True, slots=True)
class BulkRows:
    """What a Bulk query gave.

    Attributes
    ----------
    table
        The rows, every column a string, empty cells null.
    job_id, pages, size
        The job, how many pages of results it had, and their bytes.
    deleted
        Was the job removed from Salesforce afterwards? If not, it goes by itself after seven days.
    """

    table: pa.Table
    job_id: str
    pages: int
    size: int
    deleted: bool


@dataclass(frozen=True, slots=True)
class _Page:
    table: pa.Table
    size: int
    locator: str | None


def bulk_query(
    connection: Connection,
    soql: str,
    columns: Sequence[str],
    settings: SalesforceSettings,
    task: Task,
    sleep: Callable[[float], None],
) -> BulkRows:
    """Run a query over all rows, deleted ones included, and read every page of its result.

    Parameters
    ----------
    columns
        The query's fields in its order; the header of every page must be these.
    task
        Is told of rows as they arrive.
    sleep
        Waits between two looks at the job.

    Raises
    ------
    IncompletePull
        If a page holds other rows than Salesforce said, or all pages together do.
    SourceError
        If the job fails, or isn't done in time.
    """
    job_id = _create(connection, soql)
    done = False
    try:
        processed = _wait(connection, job_id, settings, sleep)
        done = True
        rows = _results(connection, job_id, columns, settings, task, processed)
    except BaseException:
        _clean_up(connection, job_id, running=not done)
        raise
    table, pages, size = rows
    return BulkRows(table, job_id, pages, size, deleted=_clean_up(connection, job_id, running=False))


def _create(connection: Connection, soql: str) -> str:
    body = {"operation": "queryAll", "query": soql, "columnDelimiter": "COMMA", "lineEnding": "LF"}
    job = _json(connection.request("a new Bulk query", "POST", "jobs/query", json=body))
    job_id = job.get("id")
    if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
        raise SourceError("Salesforce's answer to a new Bulk query names no job.", hint=AGAIN)
    return job_id


def _wait(connection: Connection, job_id: str, settings: SalesforceSettings, sleep: Callable[[float], None]) -> int:
    """Wait until the job is done; returns the number of records that it processed."""
    waited = 0.0
    while True:
        job = _json(connection.request(f"the state of Bulk query {job_id}", "GET", f"jobs/query/{job_id}"))
        state = job.get("state")
        if state == "JobComplete":
            processed = job.get("numberRecordsProcessed")
            if not isinstance(processed, int) or isinstance(processed, bool):
                raise IncompletePull(f"Bulk query {job_id} doesn't say how many records it processed.", hint=AGAIN)
            return processed
        if state in ("Failed", "Aborted"):
            found = re.match(r"[A-Z][A-Z_]{2,59}", str(job.get("errorMessage", "")))
            code = found.group() if found else None
            raise SourceError(
                f"Bulk query {job_id} ended as {state}{f': {code}' if code else ''}.",
                hint="Look at the job under Setup > Bulk Data Load Jobs, then pull again.",
                code=code,
            )
        if state not in ("UploadComplete", "InProgress"):
            raise SourceError(f"Bulk query {job_id} is in a state that recon doesn't know.", hint=AGAIN)
        if waited >= settings.job_timeout:
            raise SourceError(
                f"Bulk query {job_id} was not done within {settings.job_timeout:g} seconds.",
                hint="Raise salesforce.job_timeout, or pull when the org is less busy.",
            )
        sleep(settings.poll_seconds)
        waited += settings.poll_seconds


def _results(
    connection: Connection,
    job_id: str,
    columns: Sequence[str],
    settings: SalesforceSettings,
    task: Task,
    processed: int,
) -> tuple[pa.Table, int, int]:
    tables: list[pa.Table] = []
    size = 0
    seen: set[str] = set()
    locator: str | None = None
    with tempfile.TemporaryDirectory(prefix="recon-bulk-") as folder:
        while True:
            file = Path(folder) / "page.csv"
            page = _page(connection, job_id, len(tables) + 1, locator, columns, settings, file)
            tables.append(page.table)
            size += page.size
            task.advance(page.table.num_rows)
            locator = page.locator
            if locator is None:
                break
            if locator in seen:
                raise IncompletePull(f"Bulk query {job_id} names the same page twice.", hint=AGAIN)
            seen.add(locator)
    table = pa.concat_tables(tables)
    if table.num_rows != processed:
        raise IncompletePull(
            f"Bulk query {job_id} processed {processed} records, but its {len(tables)} pages hold {table.num_rows} rows.",
            hint=AGAIN,
        )
    return table, len(tables), size


def _page(
    connection: Connection,
    job_id: str,
    number: int,
    locator: str | None,
    columns: Sequence[str],
    settings: SalesforceSettings,
    file: Path,
) -> _Page:
    what = f"page {number} of Bulk query {job_id}"
    query = {"maxRecords": str(settings.page_rows)} | ({} if locator is None else {"locator": locator})
    path = f"jobs/query/{job_id}/results?{urlencode(query)}"
    headers = connection.download(what, path, file)
    said = headers.get("Sforce-NumberOfRecords", "")
    following = headers.get("Sforce-Locator", "")
    if not said.isdecimal() or not _LOCATOR.fullmatch(following):
        raise IncompletePull(
            f"{what} came without Sforce-NumberOfRecords or Sforce-Locator.",
            hint="A proxy between here and Salesforce removes headers: let it pass the two through.",
        )
    table = _parse(file, columns, what)
    if table.num_rows != int(said):
        raise IncompletePull(f"{what} holds {table.num_rows} rows, but Salesforce said {said}.", hint=AGAIN)
    return _Page(table, file.stat().st_size, None if following == "null" else following)


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


def _clean_up(connection: Connection, job_id: str, *, running: bool) -> bool:
    """Remove the job. It costs nothing but a place in the org's list, so a fault here is said and doesn't fail the pull."""
    address = f"jobs/query/{job_id}"
    if running:
        # It may have come to its end since the last look; whether it goes is for the removal to say.
        with contextlib.suppress(SourceError):
            connection.request(f"the end of Bulk query {job_id}", "PATCH", address, json={"state": "Aborted"})
    try:
        connection.request(f"the removal of Bulk query {job_id}", "DELETE", address)
    except SourceError as error:
        log.warning("Bulk query %s stays in Salesforce until it expires: %s", job_id, error.message)
        return False
    return True


def _json(response: requests.Response) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SourceError("Salesforce answered a step of a Bulk query with something that is not JSON.", hint=AGAIN)
    return found
