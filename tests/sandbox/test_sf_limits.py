"""The count of calls, versions, and what is said about paths and methods that aren't there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests

from recon.sandbox.salesforce.wire import API_LIMIT

if TYPE_CHECKING:
    from tests.sandbox.sf_server import Server


def used(answer: requests.Response) -> int:
    text = answer.headers["Sforce-Limit-Info"]
    assert text.startswith("api-usage=")
    assert text.endswith(f"/{API_LIMIT}")
    return int(text.removeprefix("api-usage=").partition("/")[0])


def test_every_call_counts_and_says_so(sf: Server) -> None:
    first = used(sf.call("GET", "/limits"))
    answers = [
        sf.call("GET", "/query", params={"q": "SELECT Id FROM Lead"}),
        sf.call("GET", "/query", params={"q": "nonsense"}),
        sf.call("GET", "/jobs/ingest/none"),
        sf.call("PATCH", "/composite/sobjects", json={"records": []}),
        sf.call("DELETE", "/limits"),
    ]
    assert [used(answer) for answer in answers] == [first + n for n in range(1, 6)]
    limits = sf.call("GET", "/limits").json()
    assert limits["DailyApiRequests"] == {"Max": API_LIMIT, "Remaining": API_LIMIT - first - 6}
    assert limits["DailyBulkApiBatches"]["Max"] == 15_000
    assert limits["DailyBulkV2QueryJobs"]["Max"] == 10_000


def test_logins_and_calls_without_a_session_count_nothing(sf: Server) -> None:
    first = used(sf.call("GET", "/limits"))
    sf.login()
    unknown = sf.call("GET", "/limits", headers={"Authorization": "Bearer x"})
    assert used(unknown) == first
    assert used(sf.call("GET", "/limits")) == first + 1


def test_when_the_days_calls_are_used_up(sf: Server) -> None:
    sf.store.configure(api_usage=str(API_LIMIT - 1))
    assert sf.call("GET", "/limits").json()["DailyApiRequests"]["Remaining"] == 0
    assert sf.refused(403, "REQUEST_LIMIT_EXCEEDED", "GET", "/limits") == "TotalRequests Limit exceeded."
    refused = sf.call("PATCH", "/composite/sobjects", json={"records": []})
    assert (refused.status_code, used(refused)) == (403, API_LIMIT)


def test_versions_are_open_to_all(sf: Server) -> None:
    versions = requests.get(f"{sf.url}/services/data", timeout=10).json()
    assert versions[0] == {"label": "v50", "url": "/services/data/v50.0", "version": "50.0"}
    assert versions[-1]["version"] == "66.0"
    assert requests.get(f"{sf.url}/services/data/", timeout=10).json() == versions


@pytest.mark.parametrize("version", ["50.0", "66.0"])
def test_every_version_answers_with_its_own_paths(sf: Server, version: str) -> None:
    assert sf.call("GET", "", version=version).json()["query"] == f"/services/data/v{version}/query"


@pytest.mark.parametrize("version", ["49.0", "67.0", "62", "62.1", "²2.0", "٥٥.0", "", "x", "9" * 5000 + ".0"])
def test_another_version_is_not_there(sf: Server, version: str) -> None:
    answer = sf.http.get(f"{sf.url}/services/data/v{version}/limits", timeout=10)
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    "path", ["/nowhere", "/sobjects/Opportunity", "/jobs/dataload", "/jobs/ingest/x/y/z", "/tooling"]
)
def test_a_path_that_leads_nowhere(sf: Server, path: str) -> None:
    assert sf.refused(404, "NOT_FOUND", "GET", path) == "The requested resource does not exist"


def test_a_slash_at_the_end_changes_nothing(sf: Server) -> None:
    assert sf.call("GET", "/sobjects/Lead/describe/").json() == sf.call("GET", "/sobjects/Lead/describe").json()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/limits"),
        ("POST", "/query"),
        ("PUT", "/sobjects/Lead/00Q000000000000"),
        ("POST", "/composite/sobjects"),
        ("GET", "/jobs/ingest/750000000000000/batches"),
    ],
)
def test_another_method_is_refused(sf: Server, method: str, path: str) -> None:
    assert "Allowed are" in sf.refused(405, "METHOD_NOT_ALLOWED", method, path)


def test_head_is_get_without_a_body(sf: Server) -> None:
    answer = sf.call("HEAD", "/limits")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_uri_that_is_too_long(sf: Server) -> None:
    sf.refused(414, "URI_TOO_LONG", "GET", "/query", params={"q": "SELECT Id FROM Lead WHERE Id IN (" + "'x'," * 5000})


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"LastName": "\\ud800"}', b"[" * 100_000])
def test_a_body_that_is_no_json_object(sf: Server, body: bytes) -> None:
    for method, path in (("PATCH", "/composite/sobjects"), ("POST", "/jobs/query"), ("POST", "/sobjects/Lead")):
        sf.refused(400, "JSON_PARSER_ERROR", method, path, data=body)


def test_a_body_that_is_too_large(sf: Server) -> None:
    sf.refused(413, "REQUEST_ENTITY_TOO_LARGE", "PATCH", "/composite/sobjects", data=b" " * 30_000_000)
