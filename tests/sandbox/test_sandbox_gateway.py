"""The gateway in front of the sandbox's Sales Connect, over HTTP."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import requests
from starlette.responses import JSONResponse
from starlette.routing import Route

from recon.clock import SetClock
from recon.sandbox import gateway
from recon.sandbox import sales_connect as sc
from recon.sandbox.salesforce import records
from recon.sandbox.serving import Serving
from recon.sandbox.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

TOKEN = "a-token_that~is.long=="
START = datetime(2026, 11, 24, 18, tzinfo=UTC)
NOW = "2026-11-24T18:00:00.000Z"


class Gateway:
    """One gateway, its store, and calls with the token."""

    def __init__(self) -> None:
        self.clock = SetClock(START)
        self.store = Store(None, self.clock)

        async def echo(request: Request) -> JSONResponse:
            return JSONResponse({"path": request.url.path})

        async def refuse(request: Request) -> JSONResponse:
            raise sc.SalesConnectError(418, "teapot", "I am one.")

        extra = [Route("/own/echo", echo), Route("/own/refuse", refuse)]
        self._serving = Serving(gateway.create_app(self.store, token=TOKEN, extra_routes=extra))
        self.url = self._serving.url
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {TOKEN}"

    def clear(self) -> None:
        self.clock.set(START)
        with self.store.transaction() as db:
            for table in ("unsubscribe_history", "unsubscribe", "person", "lead", "contact", "history"):
                db.execute(f"DELETE FROM {table}")

    def close(self) -> None:
        self.http.close()
        self._serving.stop()
        self.store.close()

    def get(self, path: str, status: int = 200, **options: Any) -> Any:
        return self._call("GET", path, status, options)

    def post(self, path: str, body: Any = None, status: int = 200, **options: Any) -> Any:
        return self._call("POST", path, status, ({} if body is None else {"json": body}) | options)

    def _call(self, method: str, path: str, status: int, options: dict[str, Any]) -> Any:
        answer = self.http.request(method, self.url + path, timeout=10, **options)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        body = answer.json()
        if status >= 400:
            assert body.keys() == {"error"}
            assert body["error"].keys() == {"code", "message"}
            return body["error"]
        return body


@pytest.fixture(scope="module")
def _running() -> Iterator[Gateway]:
    running = Gateway()
    yield running
    running.close()


@pytest.fixture
def gate(_running: Gateway) -> Gateway:
    """The gateway, empty."""
    _running.clear()
    return _running


def people(gate: Gateway, number: int) -> list[str]:
    return [sc.add_person(gate.store, email=f"p{n}@example.com", person_id=f"{n:05d}") for n in range(number)]


class TestToken:
    @pytest.mark.parametrize("path", ["/people", "/people/1/history", "/own/echo", "/nothing"])
    def test_without_one_nothing_is_told(self, gate: Gateway, path: str) -> None:
        answer = requests.get(gate.url + path, timeout=10)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "token_missing"

    @pytest.mark.parametrize(
        ("header", "status"),
        [
            ("Bearer", 401),
            ("Bearer ", 401),
            (f"Basic {TOKEN}", 401),
            (TOKEN, 401),
            ("Bearer another", 403),
            (f"Bearer {TOKEN}x", 403),
            (f"Bearer {TOKEN[:-1]}", 403),
            ("Bearer ünïcode", 403),
            (f"bearer  {TOKEN} ", 200),
        ],
    )
    def test_only_the_gateways_own_opens(self, gate: Gateway, header: str, status: int) -> None:
        answer = requests.get(f"{gate.url}/people", headers={"Authorization": header.encode()}, timeout=10)
        assert answer.status_code == status

    def test_a_write_without_it_writes_nothing(self, gate: Gateway) -> None:
        (person_id,) = people(gate, 1)
        url = f"{gate.url}/people/{person_id}/unsubscribe"
        assert requests.post(url, json={}, timeout=10).status_code == 401
        assert sc.history(gate.store, person_id) == []


class TestPages:
    @pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 1000])
    def test_everybody_is_listed_once_by_id_whatever_the_page(self, gate: Gateway, limit: int) -> None:
        ids = people(gate, 7)
        seen: list[str] = []
        cursor: str | None = None
        pages = 0
        while True:
            query = {"limit": str(limit)} | ({} if cursor is None else {"cursor": cursor})
            page = gate.get("/people", params=query)
            assert page["total"] == 7
            assert len(page["people"]) <= limit
            seen += [person["person_id"] for person in page["people"]]
            pages += 1
            cursor = page["next"]
            if cursor is None:
                break
        assert seen == ids
        assert pages == -(-7 // limit)

    def test_without_a_limit_a_page_has_a_hundred_and_at_most_a_thousand(self, gate: Gateway) -> None:
        people(gate, 1005)
        assert len(gate.get("/people")["people"]) == 100
        assert len(gate.get("/people?limit=99999")["people"]) == 1000

    def test_nobody_is_a_page_too(self, gate: Gateway) -> None:
        assert gate.get("/people") == {"people": [], "next": None, "total": 0}

    def test_a_person_who_is_added_behind_the_cursor_moves_nobody(self, gate: Gateway) -> None:
        people(gate, 4)
        first = gate.get("/people?limit=2")
        sc.add_person(gate.store, person_id="00000a")
        second = gate.get("/people", params={"limit": 9, "cursor": first["next"]})
        assert [person["person_id"] for person in second["people"]] == ["00002", "00003"]
        assert second["total"] == 5  # which tells the reader that somebody came

    @pytest.mark.parametrize("limit", ["0", "-1", "", "1.5", "ten", "1e3", "٣", "+1", "9" * 5000])
    def test_a_limit_is_a_positive_number(self, gate: Gateway, limit: str) -> None:
        assert gate.get("/people", 400, params={"limit": limit})["code"] == "bad_limit"

    @pytest.mark.parametrize(
        "cursor",
        ["", "x", "00001", "ü", base64.b64encode(b"00001").decode(), base64.b64encode(b"after:\xff").decode(), "===="],
    )
    def test_a_cursor_is_the_gateways_own(self, gate: Gateway, cursor: str) -> None:
        people(gate, 3)
        assert gate.get("/people", 400, params={"cursor": cursor})["code"] == "bad_cursor"

    def test_ids_are_hostile_text(self, gate: Gateway) -> None:
        ids = sorted(["'; DROP TABLE person;--", "%", "a?b&c=d", "日本", " ", "\u202e"])
        for person_id in ids:
            sc.add_person(gate.store, person_id=person_id)
        seen, cursor = [], None
        for _ in ids:
            page = gate.get("/people", params={"limit": "1"} | ({"cursor": cursor} if cursor else {}))
            seen += [person["person_id"] for person in page["people"]]
            cursor = page["next"]
        assert (sorted(seen), cursor) == (ids, None)
        for person_id in ids:
            assert gate.get(f"/people/{quote(person_id, safe='')}")["person_id"] == person_id


class TestPerson:
    def test_one_person_as_in_the_list(self, gate: Gateway) -> None:
        people(gate, 3)
        gate.post("/people/00001/unsubscribe", {"source": "clicked_link"})
        one = gate.get("/people/00001")
        assert one == gate.get("/people")["people"][1]
        assert one == {
            "person_id": "00001",
            "email": "p1@example.com",
            "salesforce_id": None,
            "unsubscribed": True,
            "unsubscribe_level": "account",
            "unsubscribed_at": NOW,
            "unsubscribe_source": "clicked_link",
            "resubscribed_at": None,
            "first_name": None,
            "last_name": None,
            "updated_at": NOW,
        }

    @pytest.mark.parametrize(
        "path", ["/people/none", "/people/none/history", "/people/%00", "/people/none/history?x='--"]
    )
    def test_nobody(self, gate: Gateway, path: str) -> None:
        assert gate.get(path, 404)["code"] == "unknown_person"

    @pytest.mark.parametrize("act", ["unsubscribe", "remove-unsubscribe"])
    def test_nothing_is_done_to_nobody(self, gate: Gateway, act: str) -> None:
        assert gate.post(f"/people/none/{act}", {} if act == "unsubscribe" else {"reason": "a", "admin": "b"}, 404)


class TestUnsubscribe:
    def test_the_account_level_by_hand_is_the_default_and_is_pushed(self, gate: Gateway) -> None:
        lead = records.insert_lead(gate.store, LastName="Lee", Company="Acme")
        person_id = sc.add_person(gate.store, salesforce_id=lead)
        answer = gate.post(f"/people/{person_id}/unsubscribe")
        assert (answer["unsubscribe_level"], answer["unsubscribe_source"]) == ("account", "manual")
        assert records.read_record(gate.store, "Lead", lead)["HasOptedOutOfEmail"] == 1

    def test_a_users_unsubscribe_names_the_user(self, gate: Gateway) -> None:
        (person_id,) = people(gate, 1)
        assert gate.post(f"/people/{person_id}/unsubscribe", {"level": "user"}, 400)["code"] == "user_missing"
        answer = gate.post(f"/people/{person_id}/unsubscribe", {"level": "user", "user": "Dana", "source": "bounce"})
        assert (answer["unsubscribe_level"], answer["unsubscribe_source"]) == ("user", "bounce")

    @pytest.mark.parametrize(
        "body",
        [
            {"level": "company"},
            {"source": "salesforce_sync"},  # only the sync says that
            {"level": None},
            {"user": 5},
            {"at": "2020-01-01"},
            [],
            "text",
            None,
        ],
    )
    def test_a_body_that_does_not_fit_changes_nothing(self, gate: Gateway, body: object) -> None:
        (person_id,) = people(gate, 1)
        data = json.dumps(body)
        error = gate.post(f"/people/{person_id}/unsubscribe", status=400, data=data)
        assert error["code"] == "bad_request"
        assert gate.get(f"/people/{person_id}")["unsubscribed"] is False

    @pytest.mark.parametrize(
        "body",
        [b"{", b"\xff\xfe", b'{"user": "\\ud800"}', b"[" * 100_000, b'{"user": ' + b"1" * 5000 + b"}", b"NaN"],
        ids=["cut short", "not UTF-8", "half a character", "very deep", "a very long number", "NaN"],
    )
    def test_what_is_no_json_is_told_so(self, gate: Gateway, body: bytes) -> None:
        (person_id,) = people(gate, 1)
        assert gate.post(f"/people/{person_id}/unsubscribe", status=400, data=body)["code"] == "bad_request"
        assert gate.get(f"/people/{person_id}")["unsubscribed"] is False

    def test_what_was_sent_is_not_sent_back(self, gate: Gateway) -> None:
        (person_id,) = people(gate, 1)
        error = gate.post(f"/people/{person_id}/unsubscribe", {"level": "ann@example.com"}, 400)
        assert "ann@" not in error["message"]


class TestRemove:
    def test_the_reason_is_kept_and_salesforce_is_not_told(self, gate: Gateway) -> None:
        lead = records.insert_lead(gate.store, LastName="Lee", Company="Acme")
        person_id = sc.add_person(gate.store, salesforce_id=lead)
        gate.post(f"/people/{person_id}/unsubscribe")
        gate.clock.advance(timedelta(hours=1))
        body = {"reason": "  Asked\n<b>by phone</b> ", "admin": "Ines"}
        answer = gate.post(f"/people/{person_id}/remove-unsubscribe", body)
        assert (answer["unsubscribed"], answer["resubscribed_at"]) == (False, "2026-11-24T19:00:00.000Z")
        history = gate.get(f"/people/{person_id}/history")["history"]
        assert [(row["details"], row["source"], row["reason"]) for row in history] == [
            ("Unsubscribe", "Manual", None),
            ("Resubscribe", "Ines", body["reason"]),
        ]
        assert records.read_record(gate.store, "Lead", lead)["HasOptedOutOfEmail"] == 1

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({}, "reason_missing"),
            ({"reason": " \t", "admin": "Ines"}, "reason_missing"),
            ({"reason": "Asked"}, "admin_missing"),
            ({"reason": "Asked", "admin": "Ines", "level": "user"}, "bad_request"),
        ],
    )
    def test_an_admin_gives_a_reason(self, gate: Gateway, body: dict[str, str], code: str) -> None:
        (person_id,) = people(gate, 1)
        gate.post(f"/people/{person_id}/unsubscribe")
        assert gate.post(f"/people/{person_id}/remove-unsubscribe", body, 400)["code"] == code
        assert gate.get(f"/people/{person_id}")["unsubscribed"] is True

    def test_nothing_to_remove(self, gate: Gateway) -> None:
        (person_id,) = people(gate, 1)
        body = {"reason": "Asked", "admin": "Ines"}
        assert gate.post(f"/people/{person_id}/remove-unsubscribe", body, 409)["code"] == "not_unsubscribed"
        gate.post(f"/people/{person_id}/unsubscribe", {"level": "user", "user": "Dana"})
        assert gate.post(f"/people/{person_id}/remove-unsubscribe", body, 409)["code"] == "not_unsubscribed"


class TestElsewhere:
    @pytest.mark.parametrize("path", ["/", "/People", "/people/1/2/3", "/own"])
    def test_nothing_there(self, gate: Gateway, path: str) -> None:
        assert gate.get(path, 404)

    @pytest.mark.parametrize(
        ("method", "path"), [("DELETE", "/people/1"), ("POST", "/people"), ("GET", "/people/1/unsubscribe")]
    )
    def test_another_method(self, gate: Gateway, method: str, path: str) -> None:
        answer = gate.http.request(method, gate.url + path, timeout=10)
        assert answer.status_code == 405
        assert answer.json()["error"]["code"] == "http_error"
        assert answer.headers["allow"]

    def test_the_callers_own_routes_have_the_same_errors(self, gate: Gateway) -> None:
        assert gate.get("/own/echo") == {"path": "/own/echo"}
        assert gate.get("/own/refuse", 418) == {"code": "teapot", "message": "I am one."}
