"""The sandbox's Salesforce over real HTTP, for its own tests."""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from socket import create_server
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import requests
import uvicorn
from requests.adapters import HTTPAdapter

from recon.clock import SetClock
from recon.sandbox.salesforce.app import create_app
from recon.sandbox.salesforce.auth import Org
from recon.sandbox.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

START = datetime(2026, 11, 24, 4, 0, 0, tzinfo=UTC)


@dataclass
class Server:
    """A running Salesforce: its address, store, clock and org, and calls with a session."""

    url: str
    store: Store
    clock: SetClock
    org: Org
    version: str = "62.0"
    http: requests.Session = field(default_factory=requests.Session)

    def login(self) -> None:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.org.consumer_key,
            "client_secret": self.org.consumer_secret,
        }
        token = self.http.post(f"{self.url}/services/oauth2/token", form, timeout=10).json()["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, *, version: str | None = None, **options: Any) -> requests.Response:
        base = f"{self.url}/services/data/v{version or self.version}"
        return self.http.request(method, base + path, timeout=30, **options)

    def soql(self, query: str, resource: str = "query") -> Any:
        return self.call("GET", f"/{resource}", params={"q": query}).json()

    def rows(self, query: str, resource: str = "query") -> list[dict[str, Any]]:
        answer = self.soql(query, resource)
        assert isinstance(answer, dict), answer
        assert answer["done"]
        return [{name: value for name, value in row.items() if name != "attributes"} for row in answer["records"]]


@contextmanager
def serve(org: Org | None = None) -> Iterator[Server]:
    """Run a Salesforce on 127.0.0.1 in a thread, and log in."""
    clock = SetClock(START)
    org = org or Org()
    with closing(Store(None, clock)) as store, closing(create_server(("127.0.0.1", 0))) as socket:
        config = uvicorn.Config(create_app(store, org), log_level="warning", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
        thread.start()
        running = Server(f"http://127.0.0.1:{socket.getsockname()[1]}", store, clock, org)
        try:
            running.login()
            yield running
        finally:
            running.http.close()
            server.should_exit = True
            thread.join()


class Loopback(HTTPAdapter):
    """Sends what is meant for Salesforce to the loopback address."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.target = urlsplit(url)
        self.seen: list[str] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        parts = urlsplit(str(request.url))
        assert parts.scheme == "https"
        assert str(parts.hostname).endswith(".salesforce.com") or parts.netloc == self.target.netloc
        self.seen.append(str(parts.hostname))
        request.url = urlunsplit((self.target.scheme, self.target.netloc, parts.path, parts.query, ""))
        return super().send(request, *args, **options)


def loopback_session(server: Server) -> requests.Session:
    """A session for simple-salesforce, which always speaks https."""
    session = requests.Session()
    session.mount("https://", Loopback(server.url))
    return session
