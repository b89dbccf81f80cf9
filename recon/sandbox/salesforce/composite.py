"""sObject Collections: many records in one call, each with its own outcome, in the order they were sent.

Source: REST API Developer Guide, sObject Collections.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from recon.sandbox.salesforce.errors import Fault, RecordFault, in_batch
from recon.sandbox.salesforce.objects import visible_objects
from recon.sandbox.salesforce.records import resolve_id
from recon.sandbox.salesforce.rest import write

if TYPE_CHECKING:
    from recon.sandbox.salesforce.objects import SObject
    from recon.sandbox.salesforce.wire import Call

_MOST = 200
_MOST_CHUNKS = 10
_ROLLED_BACK = RecordFault(
    400,
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "Record rolled back because not all records were valid and the request was using AllOrNone header",
    [],
)


class _RolledBackError(Exception):
    """Leaves the transaction without a trace of what it wrote."""

    def __init__(self, outcomes: list[str | RecordFault]) -> None:
        super().__init__()
        self.outcomes = outcomes


def update(call: Call) -> Response:
    """``PATCH /composite/sobjects``: up to 200 records."""
    body = call.json_object()
    rows = body.get("records")
    all_or_none = body.get("allOrNone", False)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Fault(400, "JSON_PARSER_ERROR", "records must be a list of objects")
    if not isinstance(all_or_none, bool):
        raise Fault(400, "JSON_PARSER_ERROR", "allOrNone must be true or false")
    if len(rows) > _MOST:
        message = f"record limit reached. cannot submit more than {_MOST} records into this call"
        raise Fault(400, "EXCEEDED_ID_LIMIT", message)
    if len(list(groupby(rows, key=lambda row: _kind(row).lower()))) > _MOST_CHUNKS:
        # The words are Salesforce's; no source tells the code.
        message = f"Cannot have more than {_MOST_CHUNKS} chunks in a single operation. Please rearrange the data to reduce chunking."
        raise Fault(400, "LIMIT_EXCEEDED", message)
    try:
        outcomes = _update_all(call, rows, all_or_none=all_or_none)
    except _RolledBackError as undone:
        outcomes = [outcome if isinstance(outcome, RecordFault) else _ROLLED_BACK for outcome in undone.outcomes]
    return JSONResponse([_entry(outcome) for outcome in outcomes])


def _update_all(call: Call, rows: list[dict[str, Any]], *, all_or_none: bool) -> list[str | RecordFault]:
    objects = {item.name.lower(): item for item in visible_objects(call.store)}
    with call.store.transaction():
        outcomes = [_update_one(call, objects, row) for row in rows]
        if all_or_none and any(isinstance(outcome, RecordFault) for outcome in outcomes):
            raise _RolledBackError(outcomes)
    return outcomes


def _update_one(call: Call, objects: dict[str, SObject], row: dict[str, Any]) -> str | RecordFault:
    """The record's id, or what is wrong with it; nothing of it is written then."""
    values = {name: value for name, value in row.items() if name.lower() not in ("attributes", "id")}
    given = next((value for name, value in row.items() if name.lower() == "id"), None)
    kind = _kind(row)
    try:
        sobject = objects.get(kind.lower())
        if sobject is None or not sobject.updateable:
            return RecordFault(400, "INVALID_TYPE", f"sObject type '{kind}' is not supported.", [])
        if not isinstance(given, str) or not given:
            return RecordFault(400, "MISSING_ARGUMENT", "Id not specified in an update call", [])
        record_id = resolve_id(sobject, given)
        call.may_change(sobject.name, record_id)
        write(call.store, sobject, record_id, values, call.user_id)
    except RecordFault as fault:
        return in_batch(fault)
    return record_id


def _kind(row: dict[str, Any]) -> str:
    """The record's object, as it was sent."""
    attributes = row.get("attributes")
    return str(attributes.get("type") if isinstance(attributes, dict) else None)


def _entry(outcome: str | RecordFault) -> dict[str, Any]:
    if isinstance(outcome, str):
        return {"id": outcome, "success": True, "errors": []}
    error = {"statusCode": outcome.code, "message": outcome.message, "fields": outcome.fields or []}
    return {"success": False, "errors": [error]}
