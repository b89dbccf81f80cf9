"""Updates through Bulk API 2.0, in own steps: what was sent is what comes back, every row exactly once, whatever breaks in between.

Own steps, not simple-salesforce's `bulk2.update`: that one aborts a job when a look at it fails, never tells its id then, writes
booleans in words of its own and reads results as latin-1. Here nothing is written before the upload is closed, so a job whose id is known by
then can always be found again and looked at.
Source of the wire: Salesforce, Bulk API 2.0 Developer Guide, "Bulk API 2.0 Ingest".
"""

from __future__ import annotations

import csv
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import requests

from recon.errors import IncompletePull, SourceError
from recon.resubscribe.answers import json_of, no_answer, of_status
from recon.sources.http import broken
from recon.sources.ids import salesforce_id_18
from recon.sources.salesforce_session import error_code, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from recon.settings import SalesforceSettings
    from recon.sources.salesforce_session import Connection

_JOB_ID = re.compile(r"[A-Za-z0-9]{15,18}")
_ROW_CODE = re.compile(r"[A-Z][A-Z0-9_]{2,59}")
_SETS = ("successfulResults", "failedResults", "unprocessedrecords")
ENDED = frozenset({"JobComplete", "Failed", "Aborted"})
#: An upload may hold 150 MB once it is in base64, that is 100 MB as it is. Source: Bulk API 2.0 Developer Guide, "Upload Job Data".
UPLOAD_BYTES = 100_000_000
_HINT = "Look at the job under Setup > Bulk Data Load Jobs, then apply the same plan again."


@dataclass(frozen=True, slots=True)
class Row:
    """One record to update: its id and the fields' values, in the job's order."""

    id: str
    values: tuple[bool, ...]


class RowResult(NamedTuple):
    """What a job says about a row: done, failed or unprocessed, and the code where it failed."""

    result: str
    code: str | None = None


_DONE, _UNPROCESSED = RowResult("done"), RowResult("unprocessed")


@dataclass(frozen=True, slots=True)
class Results:
    """What an ended job says.

    Attributes
    ----------
    rows
        By id: each record that exactly one of its three sets names, once.
    twice
        Records that it names more than once: none of that is believed.
    strange
        How many of its rows are about records that weren't sent.
    """

    rows: dict[str, RowResult]
    twice: frozenset[str] = frozenset()
    strange: int = 0


def rows_at_most(fields: Sequence[str], rows: int) -> int:
    """How many rows an upload may have, given how many are wanted: its bytes are bounded."""
    longest = len("003000000000000AAA") + len(",false") * len(fields) + 1
    header = len(",".join(["Id", *fields])) + 1
    return max(1, min(rows, (UPLOAD_BYTES - header) // longest))


class BulkUpdate:
    """Runs update jobs.

    Parameters
    ----------
    connection, settings
        A session with Salesforce; retries, pauses and how long to wait for a job.
    sleep
        Waits.
    """

    def __init__(self, connection: Connection, settings: SalesforceSettings, sleep: Callable[[float], None]) -> None:
        self._connection, self._settings, self._sleep = connection, settings, sleep

    def prepare(self, sobject: str, fields: Sequence[str], rows: Sequence[Row]) -> str:
        """Open a job and upload its rows, and return its id. Nothing is written by that: the upload is still open.

        Raises
        ------
        SourceError
            If that can't be done. A job that was left open does nothing, and Salesforce removes it after seven days.
        """
        content = _sheet(fields, rows)
        for attempt in self._tries():
            last = attempt == self._settings.retries
            job_id = self._create(sobject, last=last)
            if job_id is not None and self._upload(job_id, content, last=last):
                return job_id
        raise AssertionError("the last try returns or raises")

    def close(self, job_id: str) -> bool:
        """Close the upload, which sets the job going; returns False where it can't be closed and has done nothing.

        Raises
        ------
        SourceError
            If it isn't known whether it was closed.
        """
        for _ in self._tries():
            try:
                response = self._connection.write_once(
                    "PATCH", f"jobs/ingest/{job_id}", json={"state": "UploadComplete"}
                )
                answer = of_status(response, error_code(json_of(response)))
            except requests.RequestException as error:
                answer = no_answer(error)
            if answer.done:
                return True
            if answer.renew:
                self._connection.log_in()
            # Whatever the answer was: the job itself tells whether it runs.
            if self.state(job_id) != "Open":
                return True
        return not self.abandon(job_id)

    def abandon(self, job_id: str) -> bool:
        """Take back a job whose upload was never closed; returns whether it did nothing and never will.

        Raises
        ------
        SourceError
            If Salesforce can't be asked.
        """
        if self.state(job_id) != "Open":
            return False
        self._connection.request(
            f"the end of Bulk job {job_id}", "PATCH", f"jobs/ingest/{job_id}", json={"state": "Aborted"}
        )
        return True

    def state(self, job_id: str) -> str | None:
        """The job's state; None where there is no such job (any more).

        Raises
        ------
        SourceError
            If Salesforce can't be asked.
        """
        try:
            job = json_of(self._connection.request(f"the state of Bulk job {job_id}", "GET", f"jobs/ingest/{job_id}"))
        except SourceError as error:
            if error.status == requests.codes.not_found:
                return None
            raise
        state = job.get("state") if isinstance(job, dict) else None
        if not isinstance(state, str):
            raise SourceError(f"Salesforce's answer about Bulk job {job_id} names no state.", hint=_HINT)
        return state

    def wait(self, job_id: str) -> str | None:
        """Wait until the job has ended, and return its last state; one that still runs after the set time is left running.

        A look that fails is repeated for as long; it never ends the job.
        """
        waited = 0.0
        state: str | None = "InProgress"
        while True:
            try:
                state = self.state(job_id)
            except SourceError:
                state = "InProgress"
            if state is None or state in ENDED or state == "Open" or waited >= self._settings.job_timeout:
                return state
            self._sleep(self._settings.poll_seconds)
            waited += self._settings.poll_seconds

    def results(self, job_id: str, sent: Sequence[str]) -> Results:
        """What an ended job says about each record; one that it says nothing about is missing here.

        Parameters
        ----------
        sent
            The records' ids.

        Raises
        ------
        IncompletePull
            If the results are no whole CSV.
        SourceError
            If they can't be read.
        """
        wanted = set(sent)
        found: dict[str, RowResult] = {}
        twice: set[str] = set()
        strange = 0
        for kind in _SETS:
            for record_id, error in self._read(job_id, kind):
                if record_id not in wanted:
                    strange += 1
                    continue
                if record_id in found:
                    twice.add(record_id)
                    continue
                if kind == "failedResults":
                    code = _ROW_CODE.match(error)
                    found[record_id] = RowResult("failed", code.group() if code else "UNKNOWN")
                else:
                    found[record_id] = _DONE if kind == "successfulResults" else _UNPROCESSED
        rows = {record_id: result for record_id, result in found.items() if record_id not in twice}
        return Results(rows, frozenset(twice), strange)

    def _tries(self) -> Iterator[int]:
        for attempt in range(self._settings.retries + 1):
            if attempt:
                self._sleep(self._settings.backoff_seconds * 2 ** (attempt - 1))
            yield attempt

    def _create(self, sobject: str, *, last: bool) -> str | None:
        body = {
            "object": sobject,
            "operation": "update",
            "contentType": "CSV",
            "lineEnding": "LF",
            "columnDelimiter": "COMMA",
        }
        response = self._send("POST", "jobs/ingest", last=last, json=body)
        if response is None:
            return None
        job = json_of(response)
        job_id = job.get("id") if isinstance(job, dict) else None
        if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
            raise SourceError("Salesforce's answer to a new Bulk job names no job.", hint=_HINT)
        return job_id

    def _upload(self, job_id: str, content: bytes, *, last: bool) -> bool:
        headers = {"Content-Type": "text/csv; charset=UTF-8"}
        sent = self._send("PUT", f"jobs/ingest/{job_id}/batches", last=last, headers=headers, data=content)
        return sent is not None

    def _send(self, method: str, path: str, *, last: bool, **content: Any) -> requests.Response | None:
        """Send a step that changes no record; None where it may be tried again with a new job."""
        try:
            response = self._connection.write_once(method, path, **content)
        except requests.RequestException as error:
            if last:
                raise broken("Salesforce", "a new Bulk job", error) from None
            return None
        code = error_code(json_of(response))
        answer = of_status(response, code)
        if answer.done:
            return response
        if answer.retry and not last:
            if answer.renew:
                self._connection.log_in()
            return None
        raise refusal("a new Bulk job", response.status_code, code)

    def _read(self, job_id: str, kind: str) -> Iterator[tuple[str, str]]:
        """The records of one of the three result sets, each with its error."""
        what = f"the {kind} of Bulk job {job_id}"
        with tempfile.TemporaryDirectory(prefix="recon-bulk-") as folder:
            file = Path(folder) / "results.csv"
            self._connection.download(what, f"jobs/ingest/{job_id}/{kind}/", file)
            try:
                with file.open(encoding="utf-8", newline="") as stream:
                    reader = csv.DictReader(stream, strict=True)
                    # Salesforce takes names of fields in any case, so they may come back in any.
                    reader.fieldnames = [name.casefold() for name in reader.fieldnames or ()]
                    for row in reader:
                        # The input's own Id; a failed row's sf__Id is blank in older versions of the API.
                        record_id = salesforce_id_18(row.get("id") or row.get("sf__id") or "")
                        if record_id is None or None in row or None in row.values():
                            raise IncompletePull(
                                f"{what} hold a row without an Id, or one that was cut short.", hint=_HINT
                            )
                        if kind == "failedResults" and "sf__error" not in row:
                            raise IncompletePull(f"{what} don't say why they failed.", hint=_HINT)
                        yield record_id, row.get("sf__error") or ""
            except (UnicodeDecodeError, csv.Error):
                raise IncompletePull(f"{what} are not whole CSV in UTF-8.", hint=_HINT) from None


def _sheet(fields: Sequence[str], rows: Sequence[Row]) -> bytes:
    """The upload: ids and flags, which need no quotes. An empty cell would be ignored, so there is none."""
    lines = [",".join(["Id", *fields])]
    lines += [",".join([row.id, *("true" if value else "false" for value in row.values)]) for row in rows]
    return ("\n".join(lines) + "\n").encode()
