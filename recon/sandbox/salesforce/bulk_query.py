"""Bulk API 2.0 query: jobs that move on with every look, and their results, page by page.

Source: Bulk API 2.0 Developer Guide, Query. A job is UploadComplete when made, InProgress at the first look (then it runs) and
JobComplete at the second. Results are made once, in a file, so that a page costs no query.
"""

from __future__ import annotations

import base64
import binascii
import shutil
import tempfile
import weakref
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response, StreamingResponse

from recon.sandbox.salesforce.errors import Fault
from recon.sandbox.salesforce.records import new_id
from recon.sandbox.salesforce.soql import Compiled, compile_query, prepare
from recon.sandbox.salesforce.wire import whole_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recon.sandbox.salesforce.wire import Call

DELIMITERS = {"BACKQUOTE": "`", "CARET": "^", "COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "TAB": "\t"}
LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
CSV = "text/csv; charset=UTF-8"
_FETCH = 10_000
_CHUNK = 256 * 1024


@dataclass(slots=True)
class QueryJob:
    """One job; `offsets` says where in its file each row starts, and the last one where the file ends."""

    id: str
    operation: str
    compiled: Compiled
    version: str
    delimiter: str
    line_ending: str
    created_by: str
    created: str
    changed: str
    state: str = "UploadComplete"
    error: str | None = None
    offsets: array[int] = field(default_factory=lambda: array("Q", [0]))

    @property
    def rows(self) -> int:
        """How many rows the results have."""
        return len(self.offsets) - 1

    def info(self, *, brief: bool = False) -> dict[str, Any]:
        """The job as JSON; `brief` as in the answers to POST and PATCH."""
        info: dict[str, Any] = {
            "id": self.id,
            "operation": self.operation,
            "object": self.compiled.sobject.name,
            "createdById": self.created_by,
            "createdDate": wire_time(self.created),
            "systemModstamp": wire_time(self.changed),
            "state": self.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(self.version),
            "lineEnding": self.line_ending,
            "columnDelimiter": self.delimiter,
        }
        if not brief:
            info |= {
                "jobType": "V2Query",
                "numberRecordsProcessed": self.rows,
                "retries": 0,
                "totalProcessingTime": 0,
                "isPkChunkingSupported": True,
            }
        if self.error is not None:
            info["errorMessage"] = self.error
        return info


def wire_time(stored: str) -> str:
    """A stored time as it stands in JSON."""
    return stored.removesuffix("Z") + "+0000"


def choice(body: dict[str, Any], name: str, allowed: dict[str, str], default: str) -> str:
    """A job's setting out of a fixed list.

    Raises
    ------
    Fault
        ``INVALIDJOB``.
    """
    value: object = body.get(name, default)
    if not isinstance(value, str) or value not in allowed:
        raise Fault(400, "INVALIDJOB", f"{name} must be one of {', '.join(allowed)}")
    return value


class QueryJobs:
    """The query jobs of one org."""

    def __init__(self) -> None:
        self._jobs: dict[str, QueryJob] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="recon-sandbox-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def create(self, call: Call) -> Response:
        """``POST /jobs/query``."""
        body = call.json_object()
        unknown = body.keys() - {"operation", "query", "contentType", "columnDelimiter", "lineEnding"}
        if unknown:
            raise Fault(400, "INVALIDJOB", f'Unrecognized field "{min(unknown)}"')
        if body.get("operation") not in ("query", "queryAll"):
            raise Fault(400, "INVALIDJOB", "operation must be query or queryAll")
        delimiter = choice(body, "columnDelimiter", DELIMITERS, "COMMA")
        line_ending = choice(body, "lineEnding", LINE_ENDINGS, "LF")
        choice(body, "contentType", {"CSV": ""}, "CSV")
        text = body.get("query")
        if not isinstance(text, str):
            raise Fault(400, "INVALIDJOB", "query is missing")
        compiled = compile_query(call.store, text, deleted=body["operation"] == "queryAll")
        _check_bulk(compiled)
        now = call.store.now()
        job = QueryJob(
            new_id(call.store, "750"),
            body["operation"],
            compiled,
            call.version,
            delimiter,
            line_ending,
            call.user_id,
            now,
            now,
        )
        self._jobs[job.id] = job
        return JSONResponse(job.info(brief=True))

    def listing(self, call: Call) -> Response:
        """``GET /jobs/query``."""
        with call.store.transaction():
            found = [job.info() for job in list(self._jobs.values())]
        return JSONResponse({"done": True, "records": found, "nextRecordsUrl": None})

    def _job(self, call: Call) -> QueryJob:
        job = self._jobs.get(call.arguments["job_id"])
        if job is None:
            raise Fault(404, "NOT_FOUND", "The requested resource does not exist")
        if job.version != call.version:
            raise Fault(409, "API_VERSION_MISMATCH", f"The job was created with API version {job.version}")
        return job

    def look(self, call: Call) -> Response:
        """``GET /jobs/query/{job_id}``: tells the state, and moves the job on."""
        with call.store.transaction():
            job = self._job(call)
            if call.job_end is not None and job.state in ("UploadComplete", "InProgress"):
                job.state = call.job_end.state
                job.error = call.job_end.message or "InternalServerError : the job can't go on"
                job.changed = call.store.now()
                return JSONResponse(job.info())
            if job.state == "UploadComplete":
                self._run(call, job)
                job.state = "InProgress"
                job.changed = call.store.now()
                return JSONResponse(job.info() | {"numberRecordsProcessed": 0})
            if job.state == "InProgress":
                job.state = "JobComplete"
                job.changed = call.store.now()
            return JSONResponse(job.info())

    def _run(self, call: Call, job: QueryJob) -> None:
        end = LINE_ENDINGS[job.line_ending]
        sql = job.compiled.csv_sql(DELIMITERS[job.delimiter])
        position = 0
        with call.store.transaction() as db, (self._folder / job.id).open("wb") as file:
            prepare(db)
            cursor = db.execute(sql, job.compiled.parameters)
            while rows := cursor.fetchmany(_FETCH):
                lines = [(row[0] + end).encode() for row in rows]
                file.write(b"".join(lines))
                for line in lines:
                    position += len(line)
                    job.offsets.append(position)

    def change(self, call: Call) -> Response:
        """``PATCH /jobs/query/{job_id}``: abort."""
        body = call.json_object()
        with call.store.transaction():
            job = self._job(call)
            if body != {"state": "Aborted"}:
                raise Fault(400, "INVALIDJOBSTATE", "A query job's state can only be set to Aborted")
            if job.state not in ("UploadComplete", "InProgress"):
                raise Fault(400, "INVALIDJOBSTATE", f"Aborting a job in state {job.state} is not allowed")
            job.state = "Aborted"
            job.changed = call.store.now()
        return JSONResponse(job.info(brief=True))

    def delete(self, call: Call) -> Response:
        """``DELETE /jobs/query/{job_id}``."""
        with call.store.transaction():
            job = self._job(call)
            if job.state not in ("JobComplete", "Aborted", "Failed"):
                raise Fault(400, "INVALIDJOBSTATE", f"Deleting a job in state {job.state} is not allowed")
            del self._jobs[job.id]
            (self._folder / job.id).unlink(missing_ok=True)
        return Response(status_code=204)

    def results(self, call: Call) -> Response:
        """``GET /jobs/query/{job_id}/results``."""
        with call.store.transaction():
            job = self._job(call)
            if job.state != "JobComplete":
                raise Fault(400, "INVALIDJOBSTATE", f"There are no results: the job's state is {job.state}")
        most = _number(call.query("maxRecords"), call.org.page_rows)
        start = _row_of(call.query("locator"), job.rows)
        end = min(start + most, job.rows)
        headers = {
            "Sforce-NumberOfRecords": str(end - start),
            "Sforce-Locator": _locator(end) if end < job.rows else "null",
        }
        names = [f'"{column.name}"' for column in job.compiled.columns]
        header = (DELIMITERS[job.delimiter].join(names) + LINE_ENDINGS[job.line_ending]).encode()
        content = _range(header, self._folder / job.id, job.offsets[start], job.offsets[end])
        return StreamingResponse(content, headers=headers, media_type=CSV)


def _range(header: bytes, path: Path, start: int, end: int) -> Iterator[bytes]:
    yield header
    with path.open("rb") as file:
        file.seek(start)
        while start < end:
            chunk = file.read(min(_CHUNK, end - start))
            start += len(chunk)
            yield chunk


def _check_bulk(compiled: Compiled) -> None:
    """Refuse what Bulk queries can't do. Source: Bulk API 2.0 Developer Guide, SOQL Considerations."""
    if compiled.query.count is not None:
        raise Fault(400, "API_ERROR", "Aggregate Relationships not supported in Bulk Query")
    if compiled.query.offset is not None:
        raise Fault(400, "API_ERROR", "OFFSET is not supported in Bulk Query")
    if compiled.sobject.name.endswith("History"):
        raise Fault(400, "INVALIDENTITY", f"Entity '{compiled.sobject.name}' is not supported by the Bulk API.")


def _number(text: str | None, default: int) -> int:
    if text is None:
        return default
    number = whole_number(text)
    if not number:
        raise Fault(400, "INVALID_ARGUMENT", "maxRecords must be a whole number above 0")
    return number


def _locator(row: int) -> str:
    return base64.urlsafe_b64encode(str(row).encode()).decode().rstrip("=")


def _row_of(locator: str | None, rows: int) -> int:
    if not locator:
        return 0
    try:
        text = base64.urlsafe_b64decode(locator + "=" * (-len(locator) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    row = whole_number(text)
    if row is None or row >= rows or _locator(row) != locator:
        raise Fault(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    return row
