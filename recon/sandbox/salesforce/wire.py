"""What every call to the API has in common: its path, version, session, body, the count of calls, the form of a refusal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from recon.sandbox.faults import message_of
from recon.sandbox.salesforce.errors import Fault, RecordFault, not_found
from recon.sandbox.salesforce.soql import prepare

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from recon.sandbox import faults
    from recon.sandbox.salesforce.auth import Login, Org
    from recon.sandbox.store import Store

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
VERSIONS = range(50, 67)
MAX_URI = 16_384
API_LIMIT = 100_000


@dataclass(slots=True)
class Call:
    """One authenticated call, as a handler sees it.

    Attributes
    ----------
    arguments
        What the path holds, by name.
    user_id
        Who is logged in.
    """

    store: Store
    org: Org
    request: Request
    body: bytes
    version: str
    user_id: str
    arguments: Mapping[str, str]

    @property
    def base(self) -> str:
        """The path up to the version."""
        return f"/services/data/v{self.version}"

    def header(self, name: str) -> str | None:
        """A request header, or None."""
        return self.request.headers.get(name)

    def query(self, name: str) -> str | None:
        """A query parameter, or None."""
        return self.request.query_params.get(name)

    @property
    def job_end(self) -> faults.Fault | None:
        """How a fault of the sandbox ends the job that this call looks at."""
        met: faults.Fault | None = self.request.scope.get("recon.fault")
        return met

    def may_change(self, name: str, record_id: str) -> None:
        """Let a fault of the sandbox refuse the change of a record.

        Raises
        ------
        RecordFault
            What the fault says.
        """
        switchboard: faults.Faults | None = self.request.scope.get("recon.faults")
        met = None if switchboard is None else switchboard.row(name, record_id)
        if met is not None and met.code is not None:
            raise RecordFault(400, met.code, met.message or message_of(met.code), met.fields)

    def json_object(self) -> dict[str, Any]:
        """The body, which must be one JSON object.

        Raises
        ------
        Fault
            ``JSON_PARSER_ERROR``.
        """
        try:
            value = json.loads(self.body)
            if b"\\u" in self.body:
                # Half of a surrogate pair is legal JSON and no text that can be stored.
                json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise Fault(400, "JSON_PARSER_ERROR", f"The HTTP entity body can't be read as JSON: {error}") from None
        if not isinstance(value, dict):
            raise Fault(400, "JSON_PARSER_ERROR", "The HTTP entity body must be one JSON object")
        return value


if TYPE_CHECKING:
    Handler = Callable[[Call], Response]


def fault_response(fault: Fault) -> Response:
    """A refusal as an answer."""
    return JSONResponse(fault.body(), status_code=fault.status)


@dataclass(frozen=True, slots=True)
class Api:
    """The API over one store: makes routes of handlers."""

    store: Store
    org: Org
    login: Login

    def route(self, path: str, *, max_body: int = 10_000_000, **handlers: Handler) -> Route:
        """A route under ``/services/data/v{version}``.

        Parameters
        ----------
        path
            The rest of the path, with places in Starlette's form.
        max_body
            The largest body in bytes.
        handlers
            A handler for each method, by its name in lower case. Any other method gets 405.
        """

        async def endpoint(request: Request) -> Response:
            response = await self._answer(request, handlers, max_body)
            used = usage(self.store)
            response.headers["Sforce-Limit-Info"] = f"api-usage={used}/{API_LIMIT}"
            return response

        return Route("/services/data/{version}" + path, endpoint, methods=METHODS)

    async def _answer(self, request: Request, handlers: Mapping[str, Handler], max_body: int) -> Response:
        try:
            version = _version(request.path_params["version"])
            user_id = self.login.user_of(request.headers.get("authorization"))
            count_call(self.store)
            handler = _handler(request, handlers)
            body = await read_body(request, max_body)
            call = Call(self.store, self.org, request, body, version, user_id, request.path_params)
            return await run_in_threadpool(handler, call)
        except Fault as fault:
            return fault_response(fault)


def _handler(request: Request, handlers: Mapping[str, Handler]) -> Handler:
    if len(request.url.path) + len(request.url.query) > MAX_URI:
        raise Fault(414, "URI_TOO_LONG", f"The URI is longer than {MAX_URI} bytes")
    handler = handlers.get("get" if request.method == "HEAD" else request.method.lower())
    if handler is None:
        allowed = ",".join(name.upper() for name in handlers)
        message = f"HTTP Method '{request.method}' not allowed. Allowed are {allowed}"
        raise Fault(405, "METHOD_NOT_ALLOWED", message)
    return handler


async def read_body(request: Request, most: int) -> bytes:
    """The request's body.

    Raises
    ------
    Fault
        413, if it is longer than `most` bytes.
    """
    chunks = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise Fault(413, "REQUEST_ENTITY_TOO_LARGE", f"The request's body is larger than {most} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _version(text: str) -> str:
    if text.startswith("v") and text.endswith(".0") and whole_number(text[1:-2]) in VERSIONS:
        return text[1:]
    raise not_found()


def whole_number(text: str | None) -> int | None:
    """A number of up to nine digits 0 to 9; None if the text is anything else."""
    return int(text) if text and len(text) <= 9 and text.isascii() and text.isdigit() else None


def usage(store: Store) -> int:
    """The calls counted so far."""
    try:
        return int(store.config("api_usage"))
    except KeyError:
        return 0


def count_call(store: Store) -> None:
    """Count one call.

    Raises
    ------
    Fault
        ``REQUEST_LIMIT_EXCEEDED``, once the day's calls are used up.
    """
    with store.transaction() as db:
        used = usage(store)
        if used >= API_LIMIT:
            raise Fault(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        store.configure(api_usage=str(used + 1))
        if used == 0:
            prepare(db)


class TrailingSlash:
    """Middleware: a path means the same with a slash at its end."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and len(scope["path"]) > 1:
            scope = dict(scope) | {"path": scope["path"].rstrip("/") or "/"}
        await self.app(scope, receive, send)


def nothing_here(check: Callable[[str | None], str]) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint for every other path."""

    async def endpoint(request: Request) -> Response:
        try:
            check(request.headers.get("authorization"))
        except Fault as fault:
            return fault_response(fault)
        return fault_response(not_found())

    return endpoint
