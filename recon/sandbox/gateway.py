"""The HTTP gateway in front of the sandbox's Sales Connect, such as some accounts have: bearer token, JSON, pages."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from recon.sandbox import sales_connect
from recon.sandbox.sales_connect import SalesConnectError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from recon.sandbox.store import Store

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000


class Body(BaseModel):
    """A request's JSON body: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class _Unsubscribe(Body):
    level: Literal["account", "user"] = "account"
    source: Literal["manual", "clicked_link", "bounce"] = "manual"
    user: str = ""


class _Remove(Body):
    reason: str = ""
    admin: str = ""


_B = TypeVar("_B", bound=Body)


def create_app(store: Store, *, token: str, extra_routes: Sequence[Route] = ()) -> Starlette:
    """The gateway as an ASGI application.

    ======  =====================================  =====================================================
    GET     /people?limit=&cursor=                 `{"people": [...], "next": cursor or null, "total": n}`
    GET     /people/{id}                           one person
    GET     /people/{id}/history                   `{"history": [...]}`, oldest first
    POST    /people/{id}/unsubscribe               `{"level", "source", "user"}`; answers the person
    POST    /people/{id}/remove-unsubscribe        `{"reason", "admin"}`; answers the person
    ======  =====================================  =====================================================

    Errors are `{"error": {"code", "message"}}`: 400 a bad request, 401 no token, 403 another token, 404 no such person,
    409 not unsubscribed.

    Parameters
    ----------
    token
        The bearer token that every request must carry.
    extra_routes
        Routes of the caller, behind the same token and with the same errors.
    """

    async def people(request: Request) -> Response:
        limit = _limit(request.query_params.get("limit"))
        after = _after(request.query_params.get("cursor"))
        page, total, more = await run_in_threadpool(sales_connect.list_people, store, after=after, limit=limit)
        cursor = _cursor(page[-1]["person_id"]) if more else None
        return JSONResponse({"people": page, "next": cursor, "total": total})

    async def person(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(sales_connect.get_person, store, request.path_params["id"]))

    async def history(request: Request) -> Response:
        rows = await run_in_threadpool(sales_connect.history, store, request.path_params["id"])
        return JSONResponse({"history": rows})

    async def unsubscribe(request: Request) -> Response:
        body = await read_body(request, _Unsubscribe)
        person_id = request.path_params["id"]
        await run_in_threadpool(sales_connect.unsubscribe, store, person_id, body.level, body.source, body.user)
        return await person(request)

    async def remove(request: Request) -> Response:
        body = await read_body(request, _Remove)
        person_id = request.path_params["id"]
        await run_in_threadpool(sales_connect.remove_unsubscribe, store, person_id, body.reason, body.admin)
        return await person(request)

    return Starlette(
        routes=[
            Route("/people", people, methods=["GET"]),
            Route("/people/{id}", person, methods=["GET"]),
            Route("/people/{id}/history", history, methods=["GET"]),
            Route("/people/{id}/unsubscribe", unsubscribe, methods=["POST"]),
            Route("/people/{id}/remove-unsubscribe", remove, methods=["POST"]),
            *extra_routes,
        ],
        middleware=[Middleware(_Guard, token=token)],
        exception_handlers={SalesConnectError: _refused, HTTPException: _http_error},
    )


async def read_body(request: Request, shape: type[_B]) -> _B:
    """A request's JSON body, held against its shape.

    Raises
    ------
    SalesConnectError
        400, if it is no JSON object, or a field is unknown or of another type.
    """
    try:
        # pydantic's own parser: unlike json it bounds the depth and refuses halves of characters, which the store can't hold.
        return shape.model_validate_json(await request.body() or b"{}")
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise SalesConnectError(400, "bad_request", f"This can't be used: {wrong}.") from error


class _Guard:
    """Lets requests with the bearer token through: pure ASGI, so that nothing of a body is touched."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, token = sent.partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            return _error(401, "token_missing", "Send the bearer token.", {"WWW-Authenticate": "Bearer"})
        if not hmac.compare_digest(token.strip(), self._token):
            return _error(403, "token_refused", "This token is not the gateway's.")
        return None


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_PAGE
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
        raise SalesConnectError(400, "bad_limit", f"limit is a number; a page has from 1 to {LARGEST_PAGE} people.")
    return min(int(text), LARGEST_PAGE)


def _cursor(person_id: str) -> str:
    return base64.urlsafe_b64encode(f"after:{person_id}".encode()).decode()


def _after(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise SalesConnectError(400, "bad_cursor", "This cursor is not one of the gateway's.") from error
    if not text.startswith("after:"):
        raise SalesConnectError(400, "bad_cursor", "This cursor is not one of the gateway's.")
    return text.removeprefix("after:")


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status, headers=headers)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, SalesConnectError)
    return _error(error.status, error.code, error.message)


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, "http_error", error.detail, dict(error.headers or {}))
