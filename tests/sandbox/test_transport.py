"""What is meant for https://….salesforce.com gets to the sandbox, and nothing else gets anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests
from requests.exceptions import InvalidURL
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from recon.errors import UsageError
from recon.sandbox.serving import Serving
from recon.sandbox.transport import LoopbackAdapter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request


async def mirror(request: Request) -> Response:
    body = (await request.body()).decode()
    return JSONResponse(
        {
            "method": request.method,
            "path": request.scope["raw_path"].decode(),
            "query": request.url.query,
            "headers": dict(request.headers),
            "body": body,
        }
    )


async def away(request: Request) -> Response:
    return RedirectResponse(request.query_params["to"])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    methods = ["GET", "POST", "PATCH", "PUT", "DELETE"]
    serving = Serving(Starlette(routes=[Route("/away", away), Route("/{path:path}", mirror, methods=methods)]))
    yield serving.url
    serving.stop()


@pytest.fixture
def session(url: str) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.mount("https://", LoopbackAdapter(url))
        yield session


@pytest.mark.parametrize(
    "host",
    [
        "login.salesforce.com",
        "acme.my.salesforce.com",
        "salesforce.com",
        "ACME.my.SALESFORCE.com",
        "x.salesforce.com:8443",
    ],
)
def test_every_host_at_salesforce_leads_to_the_sandbox(session: requests.Session, host: str) -> None:
    asked = f"https://{host}/services/data/v62.0/query?q=SELECT+Id%20FROM%20Lead"
    answer = session.get(asked, timeout=5)
    seen = answer.json()
    assert seen["path"] == "/services/data/v62.0/query"
    assert seen["query"] == "q=SELECT+Id%20FROM%20Lead"
    assert seen["headers"]["host"].lower() == host.lower()
    assert answer.url.lower() == asked.lower()  # as if it had come from there
    assert answer.request.url == answer.url


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
def test_method_body_and_headers_get_there_whole(session: requests.Session, method: str) -> None:
    seen = session.request(
        method,
        "https://acme.my.salesforce.com/a%2Fb/ü",
        data='{"é": 1}'.encode(),
        headers={"Authorization": "Bearer x", "If-Unmodified-Since": "now"},
        timeout=5,
    ).json()
    assert (seen["method"], seen["body"]) == (method, '{"é": 1}')
    assert seen["path"] == "/a%2Fb/%C3%BC"
    assert seen["headers"]["authorization"] == "Bearer x"
    assert seen["headers"]["if-unmodified-since"] == "now"


@pytest.mark.parametrize(
    "asked",
    [
        "https://example.com/",
        "https://salesforce.com.evil.example/",
        "https://evilsalesforce.com/",
        "https://salesforce.com@evil.example/",
        "https://127.0.0.1/",
    ],
)
def test_another_host_is_refused(session: requests.Session, asked: str) -> None:
    with pytest.raises(InvalidURL, match="only hosts at salesforce"):
        session.get(asked, timeout=5)


def test_a_redirect_elsewhere_is_refused(session: requests.Session) -> None:
    with pytest.raises(InvalidURL):
        session.get("https://acme.my.salesforce.com/away", params={"to": "https://evil.example/x"}, timeout=5)


def test_a_redirect_within_is_followed(session: requests.Session) -> None:
    seen = session.get(
        "https://login.salesforce.com/away", params={"to": "https://acme.my.salesforce.com/there"}, timeout=5
    ).json()
    assert (seen["path"], seen["headers"]["host"]) == ("/there", "acme.my.salesforce.com")


def test_no_proxy_sees_a_request(session: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # nobody listens there
    assert session.get("https://acme.my.salesforce.com/x", timeout=5).json()["path"] == "/x"


@pytest.mark.parametrize(
    "base",
    [
        "https://127.0.0.1:8000",
        "http://acme.my.salesforce.com:80",
        "http://127.0.0.1",  # which port?
        "http://127.0.0.1:99999",
        "http://127.0.0.1:8000/path",
        "http://127.0.0.1:8000/?x=1",
        "http://user@127.0.0.1:8000",
        "http://10.0.0.1:8000",
        "http://0.0.0.0:8000",
        "http://[::1",
        "http://127.0.0.1:8000#x",
        "http://@127.0.0.1:8000",
        "",
    ],
)
def test_only_a_plain_address_on_loopback_is_a_sandbox(base: str) -> None:
    with pytest.raises(UsageError, match="not the address of a sandbox"):
        LoopbackAdapter(base)


@pytest.mark.parametrize("base", ["http://127.0.0.1:8000/", "http://localhost:8000", "http://[::1]:8000"])
def test_addresses_of_a_sandbox(base: str) -> None:
    LoopbackAdapter(base).close()


def test_options_are_the_adapters(url: str) -> None:
    adapter: Any = LoopbackAdapter(url, max_retries=3)
    assert adapter.max_retries.total == 3
    adapter.close()
