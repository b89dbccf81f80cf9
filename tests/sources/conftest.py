"""Real HTTP on loopback: ASGI applications served by threads that all tests of a session share."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recon.clock import SetClock
from recon.progress import SILENT
from recon.sandbox.salesforce.app import create_app
from recon.sandbox.serving import Serving
from recon.sandbox.store import Store
from recon.settings import SalesforceSettings
from recon.sources.salesforce import read_salesforce
from recon.sources.salesforce_session import Connection, connect

if TYPE_CHECKING:
    from recon.errors import ReconError
    from recon.sources.base import Extract

Serve = Callable[[ASGIApp], str]


class _Slot:
    """A server whose application can be changed, so that a test needn't start and stop one."""

    def __init__(self) -> None:
        self.app: ASGIApp = PlainTextResponse("no test is using this", status_code=500)
        self.serving = Serving(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


@pytest.fixture(scope="session")
def _slots() -> Iterator[list[_Slot]]:
    slots: list[_Slot] = []
    yield slots
    for slot in slots:
        slot.serving.ask_to_stop()
    for slot in slots:
        slot.serving.stop()


@pytest.fixture
def serve(_slots: list[_Slot]) -> Iterator[Serve]:
    """Serves an application for the length of a test and gives its address."""
    taken: list[_Slot] = []

    def start(app: ASGIApp) -> str:
        if len(taken) == len(_slots):
            _slots.append(_Slot())
        slot = _slots[len(taken)]
        taken.append(slot)
        slot.app = app
        return slot.serving.url

    yield start
    for slot in taken:
        slot.app = PlainTextResponse("the test is over", status_code=500)


@dataclass
class Answer:
    """What the sandbox answered, for a test to change before it is sent."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def set_json(self, value: Any) -> None:
        self.body = json.dumps(value).encode()


#: Called with the method, the path and query, and the answer; changes the answer in place.
Alter = Callable[[str, str, Answer], None]
#: Called with the method and the path and query, before the sandbox sees the request.
Before = Callable[[str, str], None]


class Altered:
    """An application whose answers can be spoiled on their way, as proxies, faults and busy orgs do."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.alter: Alter = lambda *_: None
        self.before: Before = lambda *_: None
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = scope["path"] + (f"?{scope['query_string'].decode()}" if scope["query_string"] else "")
        self.asked.append((scope["method"], target))
        self.before(scope["method"], target)
        answer = Answer(0, {}, b"")

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                answer.body += message.get("body", b"")

        await self._app(scope, receive, keep)
        self.alter(scope["method"], target, answer)
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        await Response(answer.body, answer.status, headers)(scope, receive, send)


SECRETS = ("sandbox-consumer-secret", "correct-horse", "tokenTOKENtoken", "3MVGsandboxconsumerkey")
ENVIRON = {
    "RECON_SF_CONSUMER_KEY": "3MVGsandboxconsumerkey",
    "RECON_SF_CONSUMER_SECRET": "sandbox-consumer-secret",
    "RECON_SF_PASSWORD": "correct-horse",
    "RECON_SF_SECURITY_TOKEN": "tokenTOKENtoken",
}


class Acme:
    """An org of the sandbox, served over HTTP, and ways to read it and to get in the way."""

    def __init__(self, serve: Serve) -> None:
        self.clock = SetClock(datetime(2026, 11, 24, 12, tzinfo=UTC))
        self.store = Store(None, self.clock)
        self._app = create_app(self.store)
        self.wire = Altered(self._app)
        self.url = serve(self.wire)
        self.slept: list[float] = []
        self.environ = ENVIRON

    def end_sessions(self) -> None:
        self._app.state.login.end_sessions()

    def settings(self, **values: Any) -> SalesforceSettings:
        given = {
            "instance_url": self.url,
            "backoff_seconds": 0,
            "retries": 2,
            "page_rows": 4,
            "parallel_reads": 1,
        } | values
        return SalesforceSettings.model_validate(given)

    def connect(self, environ: dict[str, str] | None = None, **values: Any) -> Connection:
        return connect(
            self.settings(**values), environ=ENVIRON if environ is None else environ, sleep=self.slept.append
        )

    def pull(self, **values: Any) -> Extract:
        return read_salesforce(
            self.settings(**values), environ=ENVIRON, clock=self.clock, progress=SILENT, sleep=self.slept.append
        )

    def refused(self, kind: type[ReconError], call: Callable[[], object]) -> str:
        """The refusal's text; neither it nor its traceback may hold a secret, a session or an address."""
        with pytest.raises(kind) as caught:
            call()
        shown = "".join(traceback.format_exception(caught.value))
        for private in (*SECRETS, "@acme.example", "00D5e000000Acme"):
            assert private not in shown
        return str(caught.value)

    def asked(self, method: str, part: str) -> int:
        """How often such a request was made."""
        return sum(1 for one, target in self.wire.asked if one == method and part in target)


@pytest.fixture
def acme(serve: Serve) -> Iterator[Acme]:
    """An org without records."""
    org = Acme(serve)
    yield org
    org.store.close()
