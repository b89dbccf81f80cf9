"""The sandbox's Salesforce over real HTTP, for its own tests."""

from __future__ import annotations

import csv
import io
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import requests
from starlette.responses import PlainTextResponse

from recon.clock import SetClock
from recon.sandbox.salesforce.app import create_app
from recon.sandbox.salesforce.auth import Org
from recon.sandbox.serving import Serving
from recon.sandbox.store import Store
from recon.sandbox.transport import LoopbackAdapter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Receive, Scope, Send

START = datetime(2026, 11, 24, 4, 0, 0, tzinfo=UTC)
CSV = {"Content-Type": "text/csv; charset=UTF-8"}


class Slot:
    """One server for all tests: each puts its own application into it."""

    def __init__(self) -> None:
        self.app: ASGIApp = PlainTextResponse("no test is using this", status_code=500)
        self.serving = Serving(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


@dataclass
class Server:
    """A running Salesforce: its address, store, clock and org, and calls with a session."""

    url: str
    store: Store
    clock: SetClock
    org: Org
    app: Any
    version: str = "62.0"
    http: requests.Session = field(default_factory=requests.Session)

    def token(self, **form: str) -> requests.Response:
        """An OAuth login without the session's headers."""
        return requests.post(f"{self.url}/services/oauth2/token", form, timeout=10)

    def login(self) -> None:
        answer = self.token(
            grant_type="client_credentials", client_id=self.org.consumer_key, client_secret=self.org.consumer_secret
        )
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, *, version: str | None = None, **options: Any) -> requests.Response:
        base = f"{self.url}/services/data/v{version or self.version}"
        return self.http.request(method, base + path, timeout=30, **options)

    def refused(self, status: int, code: str, method: str, path: str, **options: Any) -> str:
        """The message of a refusal, which must have this status and error code, in Salesforce's form."""
        answer = self.call(method, path, **options)
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (status, code), answer.text
        assert len(answer.json()) == 1
        return str(answer.json()[0]["message"])

    def soql(self, query: str, resource: str = "query") -> Any:
        return self.call("GET", f"/{resource}", params={"q": query}).json()

    def rows(self, query: str, resource: str = "query") -> list[dict[str, Any]]:
        answer = self.soql(query, resource)
        assert isinstance(answer, dict), answer
        assert answer["done"]
        return [{name: value for name, value in row.items() if name != "attributes"} for row in answer["records"]]


@contextmanager
def serve(slot: Slot, org: Org | None = None) -> Iterator[Server]:
    """Serve a new Salesforce, and log in."""
    clock = SetClock(START)
    org = org or Org()
    with closing(Store(None, clock)) as store, requests.Session() as http:
        slot.app = create_app(store, org)
        running = Server(slot.serving.url, store, clock, org, slot.app, http=http)
        try:
            running.login()
            yield running
        finally:
            slot.app = PlainTextResponse("the test is over", status_code=500)


def loopback_session(server: Server) -> requests.Session:
    """A session for simple-salesforce, which always speaks https."""
    session = requests.Session()
    session.mount("https://", LoopbackAdapter(server.url))
    return session


def read_csv(content: bytes, delimiter: str = ",") -> list[dict[str, str]]:
    """The rows of a Bulk result."""
    return list(csv.DictReader(io.StringIO(content.decode(), newline=""), delimiter=delimiter, strict=True))
