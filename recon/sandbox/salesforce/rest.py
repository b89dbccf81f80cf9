"""The REST API: limits, describe, rows, queries."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from recon.sandbox.salesforce import person_accounts, records
from recon.sandbox.salesforce.errors import Fault, RecordFault, not_found
from recon.sandbox.salesforce.objects import visible_object, visible_objects
from recon.sandbox.salesforce.soql import Compiled, attributes, compile_query, json_value, prepare
from recon.sandbox.salesforce.wire import API_LIMIT, VERSIONS, Call, usage, whole_number

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from starlette.requests import Request

    from recon.sandbox.salesforce.objects import SObject
    from recon.sandbox.store import Store

_MIN_BATCH, _MAX_BATCH = 200, 2000
_MAX_CURSORS = 10
_HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"


async def versions(request: Request) -> Response:  # noqa: ARG001 - the form of an endpoint
    """``GET /services/data``: open to all."""
    return JSONResponse(
        [{"label": f"v{number}", "url": f"/services/data/v{number}.0", "version": f"{number}.0"} for number in VERSIONS]
    )


def resources(call: Call) -> Response:
    """``GET /services/data/vXX.0``."""
    names = ("sobjects", "query", "queryAll", "limits", "composite", "jobs")
    return JSONResponse({name: f"{call.base}/{name}" for name in names})


def limits(call: Call) -> Response:
    """``GET /limits``."""
    left = API_LIMIT - usage(call.store)
    whole = {"DailyBulkApiBatches": 15_000, "DailyBulkV2QueryJobs": 10_000, "DailyBulkV2QueryFileStorageMB": 976_562}
    return JSONResponse(
        {"DailyApiRequests": {"Max": API_LIMIT, "Remaining": left}}
        | {name: {"Max": most, "Remaining": most} for name, most in whole.items()}
    )


def known_object(call: Call) -> SObject:
    """The object that the path names, as the user sees it.

    Raises
    ------
    Fault
        404 ``NOT_FOUND``.
    """
    sobject = visible_object(call.store, call.arguments["sobject"])
    if sobject is None:
        raise not_found()
    return sobject


def sobjects(call: Call) -> Response:
    """``GET /sobjects``."""
    items = [item.summary(call.base) for item in visible_objects(call.store)]
    return JSONResponse({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": items})


def sobject_info(call: Call) -> Response:
    """``GET /sobjects/{sobject}``."""
    return JSONResponse({"objectDescribe": known_object(call).summary(call.base), "recentItems": []})


def describe(call: Call) -> Response:
    """``GET /sobjects/{sobject}/describe``."""
    item = known_object(call)
    fields = [field.describe() for field in item.fields]
    return JSONResponse(item.summary(call.base) | {"fields": fields, "childRelationships": [], "recordTypeInfos": []})


def _record_id(call: Call, sobject: SObject) -> str:
    text = call.arguments["record_id"]
    if len(text) not in (15, 18):
        message = f"Provided external ID field does not exist or is not accessible: {text}"
        raise RecordFault(404, "NOT_FOUND", message)
    return records.resolve_id(sobject, text)


def _http_date(call: Call, header: str) -> datetime | None:
    text = call.header(header)
    if text is None:
        return None
    try:
        return datetime.strptime(text, _HTTP_DATE).replace(tzinfo=UTC)
    except ValueError:
        message = f"{header} must be a date like Mon, 30 Nov 2015 08:34:54 GMT"
        raise Fault(400, "INVALID_HEADER", message) from None


def _modified(row: sqlite3.Row) -> datetime:
    # Conditional requests compare whole seconds. Source: REST API Developer Guide, Conditional Requests.
    return datetime.fromisoformat(row["LastModifiedDate"]).replace(microsecond=0)


def _unmodified_since(call: Call, row: sqlite3.Row) -> None:
    limit = _http_date(call, "If-Unmodified-Since")
    if limit is not None and _modified(row) > limit:
        raise Fault(412, "PRECONDITION_FAILED", "The record was modified after the time of If-Unmodified-Since")


def row_get(call: Call) -> Response:
    """``GET /sobjects/{sobject}/{record_id}``, with ``?fields=``."""
    sobject = known_object(call)
    wanted = call.query("fields")
    fields = list(sobject.fields)
    if wanted is not None:
        fields = []
        for name in wanted.split(","):
            field = sobject.field(name.strip())
            if field is None:
                raise Fault(400, "INVALID_FIELD", f"No such column '{name.strip()}' on sobject of type {sobject.name}")
            fields.append(field)
    with call.store.transaction() as db:
        row = records.read_record(call.store, sobject.name, _record_id(call, sobject))
        selected = ", ".join(field.sql for field in fields)
        values = db.execute(f"SELECT {selected} FROM {sobject.table} WHERE Id = ?", (row["Id"],)).fetchone()  # noqa: S608 - names from the object list
    headers = {}
    if "LastModifiedDate" in row.keys():  # noqa: SIM118 - a row is no mapping
        _unmodified_since(call, row)
        since = _http_date(call, "If-Modified-Since")
        headers["Last-Modified"] = format_datetime(_modified(row), usegmt=True)
        if since is not None and _modified(row) <= since:
            return Response(status_code=304, headers=headers)
    record: dict[str, Any] = {"attributes": attributes(sobject.name, row["Id"], call.base)}
    record |= {field.name: json_value(field, value) for field, value in zip(fields, values, strict=True)}
    record.setdefault("Id", row["Id"])
    return JSONResponse(record, headers=headers)


def row_patch(call: Call) -> Response:
    """``PATCH /sobjects/{sobject}/{record_id}``, with If-Unmodified-Since."""
    sobject = writeable_object(known_object(call))
    values = call.json_object()
    if any(name.lower() == "id" for name in values):
        raise Fault(400, "INVALID_FIELD", "The Id field should not be specified in the sobject data.")
    with call.store.transaction():
        row = records.read_record(call.store, sobject.name, _record_id(call, sobject))
        _unmodified_since(call, row)
        call.may_change(sobject.name, row["Id"])
        write(call.store, sobject, row["Id"], values, call.user_id)
    return Response(status_code=204)


def row_delete(call: Call) -> Response:
    """``DELETE /sobjects/{sobject}/{record_id}``."""
    sobject = writeable_object(known_object(call))
    records.delete_record(call.store, sobject.name, _record_id(call, sobject), call.user_id)
    return Response(status_code=204)


def row_post(call: Call) -> Response:
    """``POST /sobjects/{sobject}``."""
    sobject = writeable_object(known_object(call))
    values = records.check_values(sobject, _fields_only(call.json_object()), creating=True)
    insert = {"Lead": records.insert_lead, "Contact": records.insert_contact}.get(sobject.name)
    if insert is None:
        raise Fault(405, "METHOD_NOT_ALLOWED", f"{sobject.name} can't be created here")
    record_id = insert(call.store, LastModifiedById=call.user_id, **values)
    return JSONResponse({"id": record_id, "success": True, "errors": []}, status_code=201)


def writeable_object(sobject: SObject) -> SObject:
    """The object, if records of it can be written.

    Raises
    ------
    Fault
        405 ``METHOD_NOT_ALLOWED``.
    """
    if not sobject.updateable:
        raise Fault(405, "METHOD_NOT_ALLOWED", f"{sobject.name} can't be written here")
    return sobject


def _fields_only(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "attributes"}


def write(store: Store, sobject: SObject, record_id: str, values: Mapping[str, Any], user_id: str) -> None:
    """Change a record as the logged-in user, who may see and edit less than there is.

    Raises
    ------
    RecordFault
        See `records.update_record`.
    """
    wanted = _fields_only(values)
    records.check_values(sobject, wanted)
    exact = {field.name: value for name, value in wanted.items() if (field := sobject.field(name)) is not None}
    if sobject.name == "Contact":
        person_accounts.refuse_direct(store, records.read_record(store, sobject.name, record_id), exact)
    records.update_record(store, sobject.name, record_id, exact, user_id)


@dataclass(frozen=True, slots=True)
class _Cursor:
    compiled: Compiled
    ids: list[str]


class Queries:
    """Queries and their cursors; the oldest of more than ten cursors is closed."""

    def __init__(self) -> None:
        self._cursors: OrderedDict[str, _Cursor] = OrderedDict()

    def query(self, call: Call) -> Response:
        """``GET /query?q=``: live records."""
        return self._start(call, deleted=False)

    def query_all(self, call: Call) -> Response:
        """``GET /queryAll?q=``: the recycle bin too."""
        return self._start(call, deleted=True)

    def _start(self, call: Call, *, deleted: bool) -> Response:
        compiled = compile_query(call.store, call.query("q") or "", deleted=deleted)
        with call.store.transaction() as db:
            prepare(db)
            if compiled.query.count is not None:
                return _count(compiled, compiled.count(db))
            cursor = _Cursor(compiled, compiled.ids(db))
            return self._page(call, cursor, None, 0)

    def more(self, call: Call) -> Response:
        """``GET /query/{locator}``: the next page."""
        key, _, at = call.arguments["locator"].partition("-")
        start = whole_number(at)
        with call.store.transaction():
            cursor = self._cursors.get(key)
            if cursor is None or start is None or start >= len(cursor.ids):
                raise Fault(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
            return self._page(call, cursor, key, start)

    def _page(self, call: Call, cursor: _Cursor, key: str | None, start: int) -> Response:
        end = start + _batch_size(call)
        with call.store.transaction() as db:
            found = cursor.compiled.records(db, cursor.ids[start:end], call.base)
        total = len(cursor.ids)
        answer: dict[str, Any] = {"totalSize": total, "done": end >= total}
        if end < total:
            if key is None:
                key = records.new_id(call.store, "01g")
                self._cursors[key] = cursor
                while len(self._cursors) > _MAX_CURSORS:
                    self._cursors.popitem(last=False)
            answer["nextRecordsUrl"] = f"{call.base}/query/{key}-{end}"
        return JSONResponse(answer | {"records": found})


def _count(compiled: Compiled, number: int) -> Response:
    counted = compiled.query.count
    if not counted:
        return JSONResponse({"totalSize": number, "done": True, "records": []})
    record = {"attributes": {"type": "AggregateResult"}, counted[1] or "expr0": number}
    return JSONResponse({"totalSize": 1, "done": True, "records": [record]})


def _batch_size(call: Call) -> int:
    for option in (call.header("Sforce-Query-Options") or "").split(","):
        name, _, value = option.strip().partition("=")
        size = whole_number(value.strip())
        if name.strip().lower() == "batchsize" and size is not None:
            return min(max(size, _MIN_BATCH), _MAX_BATCH)
    return call.org.query_rows
