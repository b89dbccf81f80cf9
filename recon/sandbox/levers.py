"""The sandbox's levers over HTTP: run the night, move the clock, take extracts, convert a Lead. No real system has these."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AwareDatetime, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from recon.clock import SetClock, ShiftedClock, iso
from recon.sandbox.extracts import write_extract, write_salesforce_files
from recon.sandbox.gateway import Body, read_body
from recon.sandbox.nightly import run_nightly
from recon.sandbox.sales_connect import SalesConnectError, link_person
from recon.sandbox.salesforce import records
from recon.sandbox.salesforce.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from recon.sandbox.store import Store

#: Where the store keeps how far its clock was moved, for the next start.
SHIFT_KEY = "clock_shift_seconds"

_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_FARTHEST = (_LATEST - _EARLIEST).total_seconds()
_FLAVOURS = {
    "people": ("canonical", "foreign"),
    "leads": ("data_loader", "report"),
    "contacts": ("data_loader", "report"),
}
_COUNTS = {
    "people": "SELECT count(*) FROM person",
    "people_unsubscribed": "SELECT count(DISTINCT person_id) FROM unsubscribe",
    "people_unsubscribed_for_the_account": "SELECT count(*) FROM unsubscribe WHERE level = 'account'",
    "leads": "SELECT count(*) FROM lead",
    "leads_opted_out": "SELECT count(*) FROM lead WHERE HasOptedOutOfEmail",
    "leads_converted": "SELECT count(*) FROM lead WHERE IsConverted",
    "leads_deleted": "SELECT count(*) FROM lead WHERE IsDeleted",
    "contacts": "SELECT count(*) FROM contact",
    "contacts_opted_out": "SELECT count(*) FROM contact WHERE HasOptedOutOfEmail",
    "contacts_deleted": "SELECT count(*) FROM contact WHERE IsDeleted",
    "nightly_runs": "SELECT count(*) FROM nightly_run",
}


class _Clock(Body):
    at: AwareDatetime | None = None
    advance_seconds: Annotated[float, Field(ge=-_FARTHEST, le=_FARTHEST)] | None = None


class _Configuration(Body):
    sync_enabled: bool | None = None
    opt_out_field: Literal["standard", "custom", "both"] | None = None
    push_enabled: bool | None = None
    custom_field_installed: bool | None = None


class _Conversion(Body):
    lead_id: str
    contact_id: str | None = None


class _Deletion(Body):
    object: Literal["Lead", "Contact"]
    id: str
    master_id: str | None = None


class _Link(Body):
    person_id: str
    salesforce_id: str | None


def lever_routes(store: Store) -> list[Route]:
    """Routes for `recon.sandbox.gateway.create_app`, behind its token and with its errors.

    ======  ===============================  ======================================================================
    POST    /sandbox/nightly                 runs the nightly sync now; answers the `NightlyResult`
    GET     /sandbox/clock                   `{"now": "2026-11-24T18:00:00Z"}`
    POST    /sandbox/clock                   `{"at": moment}` or `{"advance_seconds": number}`; answers the new time
    GET     /sandbox/state                   the time, the configuration, counts
    POST    /sandbox/configure               `{"sync_enabled", "opt_out_field", "push_enabled", "custom_field_installed"}`
    POST    /sandbox/convert-lead            `{"lead_id", "contact_id": id or null for a new one}`; answers the Contact's id
    POST    /sandbox/delete-record           `{"object", "id", "master_id": where it was merged into, or null}`
    POST    /sandbox/link-person             `{"person_id", "salesforce_id": id or null}`
    GET     /sandbox/extract/people.csv      `?flavour=canonical` or `foreign`
    GET     /sandbox/extract/leads.csv       `?flavour=data_loader` or `report`; likewise contacts.csv
    ======  ===============================  ======================================================================
    """

    async def nightly(_request: Request) -> Response:
        return JSONResponse(asdict(await run_in_threadpool(run_nightly, store)))

    async def clock(_request: Request) -> Response:
        return JSONResponse({"now": iso(store.clock.now())})

    async def move(request: Request) -> Response:
        body = await read_body(request, _Clock)
        await run_in_threadpool(_move, store, body)
        return JSONResponse({"now": iso(store.clock.now())})

    async def state(_request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(_state, store))

    async def configure(request: Request) -> Response:
        body = await read_body(request, _Configuration)
        given = body.model_dump(exclude_none=True)
        values = {name: str(value).lower() if isinstance(value, bool) else value for name, value in given.items()}
        await run_in_threadpool(partial(store.configure, **values))
        return JSONResponse(await run_in_threadpool(_state, store))

    async def convert(request: Request) -> Response:
        body = await read_body(request, _Conversion)
        made = await run_in_threadpool(_in_org, partial(records.convert_lead, store, body.lead_id, body.contact_id))
        return JSONResponse({"contact_id": made})

    async def delete(request: Request) -> Response:
        body = await read_body(request, _Deletion)
        await run_in_threadpool(_in_org, partial(_delete, store, body))
        return JSONResponse({"deleted": True})

    async def link(request: Request) -> Response:
        body = await read_body(request, _Link)
        await run_in_threadpool(link_person, store, body.person_id, body.salesforce_id)
        return JSONResponse({"linked": body.salesforce_id is not None})

    async def extract(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _FLAVOURS:
            raise SalesConnectError(404, "unknown_extract", f"The extracts are {', '.join(_FLAVOURS)}.")
        flavour = request.query_params.get("flavour", _FLAVOURS[name][0])
        if flavour not in _FLAVOURS[name]:
            raise SalesConnectError(400, "bad_flavour", f"The flavours of {name} are {', '.join(_FLAVOURS[name])}.")
        content = await run_in_threadpool(_extract, store, name, flavour)
        charset = "iso-8859-1" if flavour == "report" else "utf-8"
        return Response(
            content,
            media_type=f"text/csv; charset={charset}",
            headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
        )

    return [
        Route("/sandbox/nightly", nightly, methods=["POST"]),
        Route("/sandbox/clock", clock, methods=["GET"]),
        Route("/sandbox/clock", move, methods=["POST"]),
        Route("/sandbox/state", state, methods=["GET"]),
        Route("/sandbox/configure", configure, methods=["POST"]),
        Route("/sandbox/convert-lead", convert, methods=["POST"]),
        Route("/sandbox/delete-record", delete, methods=["POST"]),
        Route("/sandbox/link-person", link, methods=["POST"]),
        Route("/sandbox/extract/{name}.csv", extract, methods=["GET"]),
    ]


def _move(store: Store, body: _Clock) -> None:
    if (body.at is None) == (body.advance_seconds is None):
        raise SalesConnectError(400, "bad_request", "Give either at or advance_seconds.")
    clock = store.clock
    if not isinstance(clock, SetClock | ShiftedClock):
        raise SalesConnectError(409, "clock_fixed", "This sandbox goes by a clock that can't be moved.")
    to = body.at or clock.now() + timedelta(seconds=body.advance_seconds or 0)
    if not _EARLIEST <= to < _LATEST:
        raise SalesConnectError(400, "bad_request", "The sandbox's time lies between the years 2000 and 2100.")
    clock.set(to)
    if isinstance(clock, ShiftedClock):
        store.configure(**{SHIFT_KEY: str(clock.shift.total_seconds())})


def _state(store: Store) -> dict[str, Any]:
    with store.transaction() as db:
        config = {name: store.config(name) for name in _Configuration.model_fields}
        counts = {name: db.execute(sql).fetchone()[0] for name, sql in _COUNTS.items()}
    return {"now": iso(store.clock.now()), "config": config, "counts": counts}


def _delete(store: Store, body: _Deletion) -> None:
    with store.transaction():
        record = records.read_record(store, body.object, body.id)["Id"]
        master = None if body.master_id is None else records.read_record(store, body.object, body.master_id)["Id"]
        if master == record:
            raise SalesConnectError(400, "bad_request", "A record can't be merged into itself.")
        records.delete_record(store, body.object, record, master_id=master)


def _in_org(call: Callable[[], Any]) -> Any:
    """Salesforce's refusals as the gateway's."""
    try:
        return call()
    except Fault as fault:
        raise SalesConnectError(fault.status, fault.code.lower(), fault.message) from fault


def _extract(store: Store, name: str, flavour: Any) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.csv"
        if name == "people":
            write_extract(store, path, flavour)
        else:
            write_salesforce_files(store, Path(folder), flavour)
        return path.read_bytes()
