"""Bulk API 2.0 ingest: updates by CSV, with an outcome for every row.

Source: Bulk API 2.0 Developer Guide, Ingest. A closed job is InProgress at the first look, and has then written its first batch of
rows; the second look writes the rest and completes it. A job aborted in between keeps what it has written.
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from recon.sandbox.salesforce.bulk_csv import JobFailed, Sheet, read_sheet, row_values, write_sheet
from recon.sandbox.salesforce.bulk_query import CSV, DELIMITERS, LINE_ENDINGS, choice, wire_time
from recon.sandbox.salesforce.errors import Fault, RecordFault, in_batch
from recon.sandbox.salesforce.objects import visible_object
from recon.sandbox.salesforce.records import new_id, resolve_id
from recon.sandbox.salesforce.rest import write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recon.sandbox import faults
    from recon.sandbox.salesforce.objects import SObject
    from recon.sandbox.salesforce.wire import Call

_KNOWN = {
    "object", "operation", "contentType", "lineEnding", "columnDelimiter", "externalIdFieldName", "assignmentRuleId",
}  # fmt: skip
_ENDED = ("JobComplete", "Failed", "Aborted")


@dataclass(slots=True)
class IngestJob:
    """One job.

    Attributes
    ----------
    outcomes
        For each row tried, in the file's order, what went wrong, or None.
    """

    id: str
    sobject: SObject
    version: str
    delimiter: str
    line_ending: str
    created_by: str
    created: str
    changed: str
    state: str = "Open"
    content: bytes | None = None
    sheet: Sheet | None = None
    outcomes: list[RecordFault | None] = field(default_factory=list)
    error: str | None = None

    def info(self, *, brief: bool = False) -> dict[str, Any]:
        """The job as JSON; `brief` as in the answers to POST and PATCH."""
        info: dict[str, Any] = {
            "id": self.id,
            "operation": "update",
            "object": self.sobject.name,
            "createdById": self.created_by,
            "createdDate": wire_time(self.created),
            "systemModstamp": wire_time(self.changed),
            "state": self.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(self.version),
        }
        if self.state == "Open":
            info["contentUrl"] = f"services/data/v{self.version}/jobs/ingest/{self.id}/batches"
        info |= {"lineEnding": self.line_ending, "columnDelimiter": self.delimiter}
        if brief:
            return info
        info |= {
            "jobType": "V2Ingest",
            "numberRecordsProcessed": len(self.outcomes),
            "numberRecordsFailed": sum(outcome is not None for outcome in self.outcomes),
            "retries": 0,
            "totalProcessingTime": 0,
            "apiActiveProcessingTime": 0,
            "apexProcessingTime": 0,
        }
        if self.error is not None:
            info["errorMessage"] = self.error
        return info


class IngestJobs:
    """The ingest jobs of one org."""

    def __init__(self) -> None:
        self._jobs: dict[str, IngestJob] = {}

    def create(self, call: Call) -> Response:
        """``POST /jobs/ingest``: updates only."""
        body = call.json_object()
        if unknown := body.keys() - _KNOWN:
            raise Fault(400, "INVALIDJOB", f'Unrecognized field "{min(unknown)}"')
        if body.get("operation") != "update":
            raise Fault(400, "FEATURENOTENABLED", "Only the operation update is open to this user")
        choice(body, "contentType", {"CSV": ""}, "CSV")
        delimiter = choice(body, "columnDelimiter", DELIMITERS, "COMMA")
        line_ending = choice(body, "lineEnding", LINE_ENDINGS, "LF")
        sobject = visible_object(call.store, str(body.get("object")))
        if sobject is None or not sobject.updateable:
            raise Fault(400, "INVALIDENTITY", f"Entity '{body.get('object')}' is not supported by the Bulk API.")
        now = call.store.now()
        job = IngestJob(
            new_id(call.store, "750"), sobject, call.version, delimiter, line_ending, call.user_id, now, now
        )
        self._jobs[job.id] = job
        return JSONResponse(job.info(brief=True))

    def listing(self, call: Call) -> Response:
        """``GET /jobs/ingest``."""
        with call.store.transaction():
            found = [job.info(brief=True) for job in list(self._jobs.values())]
        return JSONResponse({"done": True, "records": found, "nextRecordsUrl": None})

    def _job(self, call: Call) -> IngestJob:
        job = self._jobs.get(call.arguments["job_id"])
        if job is None:
            raise Fault(404, "NOT_FOUND", "The requested resource does not exist")
        if job.version != call.version:
            raise Fault(409, "API_VERSION_MISMATCH", f"The job was created with API version {job.version}")
        return job

    def upload(self, call: Call) -> Response:
        """``PUT /jobs/ingest/{job_id}/batches``."""
        kind = (call.header("Content-Type") or "").partition(";")[0].strip().lower()
        if kind != "text/csv":
            raise Fault(415, "UNSUPPORTED_MEDIA_TYPE", f"Content-Type {kind!r} is not supported: send text/csv")
        with call.store.transaction():
            job = self._job(call)
            if job.state != "Open":
                raise Fault(400, "INVALIDJOBSTATE", f"Uploading to a job in state {job.state} is not allowed")
            if job.content is not None:
                message = (
                    f"Found multiple contents for job: <{job.id}>, please 'Close' / 'Abort' / 'Delete' the current Job then "
                    "create a new Job and make sure you only do 'PUT' once on a given Job."
                )
                raise Fault(400, "CLIENTINPUTERROR", message)
            job.content = call.body
        return Response(status_code=201)

    def change(self, call: Call) -> Response:
        """``PATCH /jobs/ingest/{job_id}``: close or abort."""
        state = call.json_object().get("state")
        with call.store.transaction():
            job = self._job(call)
            if state == "UploadComplete":
                if job.state != "Open" or job.content is None:
                    raise Fault(
                        400, "INVALIDJOBSTATE", f"Closing a job in state {job.state} without data is not allowed"
                    )
            elif state != "Aborted":
                raise Fault(400, "INVALIDJOBSTATE", "A job's state can be set to UploadComplete or Aborted")
            elif job.state in _ENDED:
                raise Fault(400, "INVALIDJOBSTATE", f"Aborting a job in state {job.state} is not allowed")
            elif job.sheet is None and job.content is not None:
                # Only for the unprocessed rows: nobody will be told what else may be wrong with the file.
                with suppress(JobFailed):
                    job.sheet = self._sheet(job)
            job.state = str(state)
            job.changed = call.store.now()
            return JSONResponse(job.info(brief=True))

    def look(self, call: Call) -> Response:
        """``GET /jobs/ingest/{job_id}``: tells the state, and moves the job on."""
        with call.store.transaction():
            job = self._job(call)
            if call.job_end is not None and job.state in ("UploadComplete", "InProgress"):
                self._end(call, job, call.job_end)
            elif job.state == "UploadComplete":
                job.state = "InProgress"
                self._read(job)
                if job.state == "InProgress":
                    self._write(call, job, call.org.ingest_batch)
                job.changed = call.store.now()
            elif job.state == "InProgress":
                self._write(call, job, None)
                job.state = "JobComplete"
                job.changed = call.store.now()
            return JSONResponse(job.info())

    def _end(self, call: Call, job: IngestJob, end: faults.Fault) -> None:
        """End a job as a fault says; what it has written by then stays."""
        if job.sheet is None:
            self._read(job)
        self._write(call, job, max(0, end.rows - len(job.outcomes)))
        job.state = end.state
        job.error = end.message or ("InternalServerError : the job can't go on" if end.state == "Failed" else None)
        job.changed = call.store.now()

    def _read(self, job: IngestJob) -> None:
        try:
            job.sheet = self._sheet(job)
        except JobFailed as failed:
            job.state = "Failed"
            job.error = str(failed)
            job.sheet = failed.sheet

    def _sheet(self, job: IngestJob) -> Sheet:
        return read_sheet(job.content or b"", job.sobject, job.delimiter, job.line_ending)

    def _write(self, call: Call, job: IngestJob, most: int | None) -> None:
        if job.sheet is None:
            return
        start = len(job.outcomes)
        for row in job.sheet.rows[start : None if most is None else start + most]:
            job.outcomes.append(self._write_row(call, job, job.sheet, row))

    def _write_row(self, call: Call, job: IngestJob, sheet: Sheet, row: Sequence[str]) -> RecordFault | None:
        given = "" if sheet.id_column is None else row[sheet.id_column]
        if not given:
            return RecordFault(400, "MISSING_ARGUMENT", "Id not specified in an update call", [])
        try:
            record_id = resolve_id(job.sobject, given)
            call.may_change(job.sobject.name, record_id)
            write(call.store, job.sobject, record_id, row_values(sheet, row), call.user_id)
        except RecordFault as fault:
            return in_batch(fault)
        return None

    def results(self, call: Call) -> Response:
        """``GET /jobs/ingest/{job_id}/{kind}``: successfulResults, failedResults or unprocessedrecords, in any case."""
        kind = call.arguments["kind"].lower()
        if kind not in ("successfulresults", "failedresults", "unprocessedrecords"):
            raise Fault(404, "NOT_FOUND", "The requested resource does not exist")
        with call.store.transaction():
            job = self._job(call)
            if job.state not in _ENDED:
                raise Fault(400, "INVALIDJOBSTATE", f"There are no results: the job's state is {job.state}")
            header, rows = _results(job, kind)
        return Response(write_sheet(header, rows, job.delimiter, job.line_ending), media_type=CSV)

    def delete(self, call: Call) -> Response:
        """``DELETE /jobs/ingest/{job_id}``."""
        with call.store.transaction():
            job = self._job(call)
            if job.state not in ("UploadComplete", *_ENDED):
                raise Fault(400, "INVALIDJOBSTATE", f"Deleting a job in state {job.state} is not allowed")
            del self._jobs[job.id]
        return Response(status_code=204)


def _results(job: IngestJob, kind: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of one of the three result files, in an order that isn't the upload's but always the same."""
    sheet = job.sheet
    added = {"successfulresults": ["sf__Id", "sf__Created"], "failedresults": ["sf__Id", "sf__Error"]}.get(kind, [])
    if sheet is None:
        return added, []
    tried = len(job.outcomes)
    if kind == "unprocessedrecords":
        chosen = list(range(tried, len(sheet.rows)))
    else:
        ok = kind == "successfulresults"
        chosen = [n for n, outcome in enumerate(job.outcomes) if (outcome is None) is ok]
    chosen.sort(key=lambda n: (zlib.crc32(str(n).encode()), n))
    rows = []
    for n in chosen:
        row = sheet.rows[n]
        given = "" if sheet.id_column is None else row[sheet.id_column]
        if kind == "successfulresults":
            rows.append([resolve_id(job.sobject, given), "false", *row])
        elif kind == "failedresults":
            rows.append([given, _row_error(job.outcomes[n]), *row])
        else:
            rows.append(row)
    return added + sheet.header, rows


def _row_error(fault: RecordFault | None) -> str:
    """Code, message and fields, as in ``REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --``."""
    if fault is None:
        return ""
    fields = f"{', '.join(fault.fields)} " if fault.fields else ""
    return f"{fault.code}:{fault.message}:{fields}--"
