"""Faults on the wire: what `recon.sandbox.faults` declares is done here, between the server and the application."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from contextlib import suppress
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from recon.clock import SetClock, ShiftedClock
from recon.sandbox import sales_connect
from recon.sandbox.faults import Asked, message_of
from recon.sandbox.sales_connect import SalesConnectError
from recon.sandbox.salesforce import records
from recon.sandbox.salesforce.errors import Fault as Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from recon.sandbox.faults import Fault, Faults, System
    from recon.sandbox.store import Store

#: Under these names the application finds the switchboard and the fault that its request met, see `recon.sandbox.salesforce.wire.Call`.
SWITCHBOARD, MET = "recon.faults", "recon.fault"

_CODES = {
    401: "INVALID_SESSION_ID",
    403: "REQUEST_LIMIT_EXCEEDED",
    429: "TOO_MANY_REQUESTS",
    500: "UNKNOWN_EXCEPTION",
    503: "SERVER_UNAVAILABLE",
}
#: Answers that a proxy gives, not the system behind it.
_OF_A_PROXY = (502, 504)
_OBJECTS = {"00Q": "Lead", "003": "Contact"}


class Faulty:
    """Middleware around one of the two systems: spoils what the switchboard says.

    Parameters
    ----------
    app, faults, system
        The application, the switchboard, and which of the two systems it is.
    store
        What changes are made in, and whose clock is moved.
    end_sessions
        Ends all sessions of Salesforce.
    """

    def __init__(
        self,
        app: ASGIApp,
        faults: Faults,
        system: System,
        store: Store,
        end_sessions: Callable[[], None] | None = None,
    ) -> None:
        self._app, self._faults, self._system, self._store = app, faults, system, store
        self._end_sessions = end_sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or spoil it."""
        # The sandbox's own levers have no faults.
        if scope["type"] != "http" or scope["path"].startswith("/sandbox/"):
            await self._app(scope, receive, send)
            return
        scope = dict(scope) | {SWITCHBOARD: self._faults}
        body = b""
        if self._faults.reads_bodies(self._system):
            body = await _whole(receive)
            receive = _again(body, receive)
        asked = Asked(
            self._system,
            scope["method"],
            scope["path"],
            unquote_plus(scope["query_string"].decode("latin-1")),
            {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            body,
        )
        for fault in self._faults.due(asked):
            if fault.kind in ("change", "clock", "call", "session"):
                wrong = await run_in_threadpool(self._beside, fault, asked)
                if wrong is not None:
                    await JSONResponse({"the fault can't be made": wrong}, 500)(scope, receive, send)
                    return
            else:
                await self._spoil(fault, scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _spoil(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.kind == "job":
            await self._app(dict(scope) | {MET: fault}, receive, send)
        elif fault.kind == "headers":
            await self._app(scope, receive, _with_headers(fault, send))
        elif fault.kind == "order":
            answer = await self._answer(scope, receive)
            answer.body = _reversed(answer.body)
            await answer(scope, receive, send)
        elif fault.kind == "cut":
            answer = await self._answer(scope, receive)
            await _cut(answer, fault, scope, receive)
        elif fault.kind == "status":
            if fault.carried_out:
                await self._answer(scope, receive)
            await _refusal(fault, self._system)(scope, receive, send)
        elif fault.kind == "drop":
            if fault.carried_out:
                await self._answer(scope, receive)
            scope["state"]["transport"].abort()
            await _gone(receive)
        else:
            await self._late(fault, scope, receive, send)

    async def _late(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._answer(scope, receive) if fault.carried_out else None
        with suppress(TimeoutError):
            async with asyncio.timeout(fault.seconds):
                await _gone(receive)
                return
        if answer is None:
            await self._app(scope, receive, send)
        else:
            await answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> _Answer:
        answer = _Answer()
        await self._app(scope, receive, answer.take)
        return answer

    def _beside(self, fault: Fault, asked: Asked) -> str | None:
        """Do what happens beside a request; returns what is wrong where it can't be done."""
        try:
            if fault.kind == "session":
                if self._end_sessions is not None:
                    self._end_sessions()
            elif fault.kind == "call":
                assert fault.action is not None
                fault.action()
            elif fault.kind == "clock":
                _move(self._store, fault.seconds)
            else:
                _change(self._store, fault, asked)
        except (Refusal, SalesConnectError, ValueError) as error:
            return str(error)
        return None


class _Answer:
    """What the application answered, kept back."""

    def __init__(self) -> None:
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    async def take(self, message: Message) -> None:
        """In the place of ASGI's send."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(name, value) for name, value in message["headers"] if name != b"content-length"]
        else:
            self.body += message.get("body", b"")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        response = Response(self.body, self.status)
        if self.status not in (204, 304):
            self.headers.append((b"content-length", str(len(self.body)).encode()))
        response.raw_headers = self.headers
        await response(scope, receive, send)


async def _whole(receive: Receive) -> bytes:
    content: list[bytes] = []
    more = True
    while more:
        message = await receive()
        content.append(message.get("body", b""))
        more = bool(message.get("more_body"))
    return b"".join(content)


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that was read, to be read once more."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return left.pop() if left else await receive()

    return replayed


async def _gone(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cut(answer: _Answer, fault: Fault, scope: Scope, receive: Receive) -> None:
    """Send a part of a body and end the connection; written by hand, as no server does that."""
    kept = answer.body[: int(len(answer.body) * fault.keep)]
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}".encode()]
    lines += [name + b": " + value for name, value in answer.headers]
    if fault.framing == "length":
        lines.append(f"content-length: {len(answer.body)}".encode())
    elif fault.framing == "chunked":
        lines.append(b"transfer-encoding: chunked")
        kept = f"{len(kept):x}\r\n".encode() + kept + b"\r\n" if kept else b""
    lines.append(b"connection: close")
    transport = scope["state"]["transport"]
    transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + kept)
    transport.close()
    await _gone(receive)


def _with_headers(fault: Fault, send: Send) -> Send:
    taken = {name.lower().encode() for name in (*fault.remove, *fault.headers)}
    given = [(name.lower().encode(), value.encode()) for name, value in fault.headers.items()]

    async def changed(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message["headers"] if name.lower() not in taken]
            message = dict(message) | {"headers": [*kept, *given]}
        await send(message)

    return changed


def _refusal(fault: Fault, system: System) -> Response:
    if fault.content is not None:
        return Response(fault.content, fault.status, fault.headers, media_type="text/html")
    if fault.status in _OF_A_PROXY and fault.code is None:
        words = f"<html><body>{fault.status} {HTTPStatus(fault.status).phrase}</body></html>"
        return Response(words, fault.status, fault.headers, media_type="text/html")
    code = fault.code or _CODES.get(fault.status, "UNKNOWN_EXCEPTION")
    message = fault.message or message_of(code)
    if system == "gateway":
        return JSONResponse({"error": {"code": code.lower(), "message": message}}, fault.status, headers=fault.headers)
    return JSONResponse([{"message": message, "errorCode": code}], fault.status, headers=fault.headers)


def _reversed(body: bytes) -> bytes:
    """Rows of a JSON list or a CSV, the last one first."""
    try:
        document: Any = json.loads(body)
    except ValueError:
        rows = list(csv.reader(io.StringIO(body.decode(), newline="")))
        text = io.StringIO(newline="")
        csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([*rows[:1], *reversed(rows[1:])])
        return text.getvalue().encode()
    for key, value in document.items() if isinstance(document, dict) else ():
        if isinstance(value, list):
            document[key] = value[::-1]
    return json.dumps(document[::-1] if isinstance(document, list) else document).encode()


def _move(store: Store, seconds: float) -> None:
    clock = store.clock
    if not isinstance(clock, SetClock | ShiftedClock):
        raise ValueError("this sandbox goes by a clock that can't be moved")  # noqa: TRY004 - no type of a caller's
    clock.advance(timedelta(seconds=seconds))


def _change(store: Store, fault: Fault, asked: Asked) -> None:
    if fault.field is not None:
        _open_field(store, fault.field, {"hide_field": "hidden", "lock_field": "read_only"}.get(str(fault.change)))
        return
    parts = asked.path.strip("/").split("/")
    named = parts[1] if parts[0] == "people" and len(parts) > 1 else parts[-1]
    record = fault.record or named
    name = _OBJECTS.get(record[:3])
    if fault.change == "unsubscribe":
        sales_connect.unsubscribe(store, record, source="clicked_link")
    elif fault.change == "remove":
        sales_connect.get_person(store, record)
        with store.transaction() as db:
            for table in ("unsubscribe", "unsubscribe_history", "person"):
                db.execute(f"DELETE FROM {table} WHERE person_id = ?", (record,))  # noqa: S608 - names above
    elif name is None:
        raise ValueError(f"{record!r} is no Lead and no Contact")
    elif fault.change in ("delete", "merge"):
        records.delete_record(store, name, record, master_id=fault.into)
    elif fault.change == "convert":
        records.convert_lead(store, record, fault.into)
    elif fault.change == "edit":
        records.update_record(store, name, record, {"FirstName": "Edited"})
    else:
        records.update_record(store, name, record, {"HasOptedOutOfEmail": fault.change == "opt_out"})


def _open_field(store: Store, field: str, rule: str | None) -> None:
    with store.transaction():
        try:
            rules: dict[str, str] = json.loads(store.config("fls"))
        except KeyError:
            rules = {}
        rules.pop(field, None)
        if rule is not None:
            rules[field] = rule
        store.configure(fls=json.dumps(rules))
