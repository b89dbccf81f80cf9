"""The gateway source, over real HTTP: against the sandbox's gateway, and against answers that it must not believe."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from recon.clock import SetClock
from recon.errors import AccessRefused, IncompletePull, ReconError, SettingsError, SourceError
from recon.progress import SILENT
from recon.sandbox import gateway as sandbox_gateway
from recon.sandbox import sales_connect
from recon.sandbox.store import Store
from recon.settings import GatewaySettings
from recon.sources.gateway import read_gateway
from recon.tables import PEOPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from recon.sources.base import Extract

    Serve = Callable[[ASGIApp], str]

TOKEN = "gateway-token-4711"
ENVIRON = {"RECON_GATEWAY_TOKEN": TOKEN}
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def settings(url: str | None, **values: Any) -> GatewaySettings:
    return GatewaySettings.model_validate({"url": url, "backoff_seconds": 0, "retries": 2} | values)


def read(given: GatewaySettings, environ: dict[str, str] = ENVIRON, columns: dict[str, str] | None = None) -> Extract:
    return read_gateway(given, environ=environ, clock=SetClock(NOW), progress=SILENT, columns=columns or {})


def pull(url: str, *, columns: dict[str, str] | None = None, **values: Any) -> Extract:
    return read(settings(url, **values), columns=columns)


class Fixed:
    """A gateway that gives prepared answers, one a call and the last one again, and notes what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[Request] = []
        self.app = Starlette(routes=[Route("/people", self.people)])

    async def people(self, request: Request) -> Response:
        self.asked.append(request)
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        return answer if isinstance(answer, Response) else JSONResponse(answer)


def person(number: int, **values: Any) -> dict[str, Any]:
    return {"person_id": f"p{number}", "email": f"p{number}@example.com", "unsubscribed": False} | values


def page(*people: Any, total: int | None = None, cursor: Any = None) -> dict[str, Any]:
    return {"people": list(people), "next": cursor, "total": len(people) if total is None else total}


def refused(serve: Serve, kind: type[ReconError], *answers: Any, **values: Any) -> str:
    with pytest.raises(kind) as caught:
        pull(serve(Fixed(*answers).app), **values)
    shown = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in shown
    assert "@example.com" not in shown
    return str(caught.value)


def test_reads_everybody_from_the_sandbox(serve: Serve) -> None:
    store = Store(None, SetClock(NOW))
    ids = [
        sales_connect.add_person(store, email=f"p{n}@example.com", first_name="Ann", last_name=None) for n in range(7)
    ]
    sales_connect.unsubscribe(store, ids[2], "account", "clicked_link", "")
    extract = pull(serve(sandbox_gateway.create_app(store, token=TOKEN)), page_size=3)
    assert extract.table.schema == PEOPLE.schema
    rows = extract.table.to_pylist()
    assert [row["person_id"] for row in rows] == sorted(ids)
    stood = {row["person_id"]: row for row in rows}[ids[2]]
    assert (stood["unsubscribed"], stood["unsubscribe_level"], stood["unsubscribe_source"]) == (
        True,
        "account",
        "clicked_link",
    )
    assert stood["unsubscribed_at"] == NOW
    assert sum(row["unsubscribed"] for row in rows) == 1
    part = extract.inputs[0]
    assert (part.name, part.kind, part.rows, part.started_at) == ("people", "gateway", 7, NOW)
    assert part.details["pages"] == 3
    assert TOKEN not in str(part.as_json())
    store.close()


def test_no_people_is_a_table_without_rows(serve: Serve) -> None:
    assert pull(serve(Fixed(page()).app)).table.schema == PEOPLE.schema


def test_the_hash_does_not_depend_on_the_order(serve: Serve) -> None:
    one = pull(serve(Fixed(page(person(1), person(2))).app))
    two = pull(serve(Fixed(page(person(2), total=2, cursor="x"), page(person(1), total=2)).app))
    assert one.table.equals(two.table)
    assert one.inputs[0].sha256 == two.inputs[0].sha256


def test_keys_may_be_paths_and_columns_mapped(serve: Serve) -> None:
    answer = {
        "data": {"items": [{"id": 7, "flags": {"out": True}, "mail": "a@b.example", "how": "Clicked Link"}]},
        "meta": {"count": 1, "cursor": None},
    }
    fixed = Fixed(answer)
    columns = {"person_id": "id", "unsubscribed": "flags.out", "email": "mail", "unsubscribe_source": "how"}
    values = {"items_key": "data.items", "next_key": "meta.cursor", "total_key": "meta.count", "page_parameter": "size"}
    extract = pull(serve(fixed.app), columns=columns, **values)
    row = extract.table.to_pylist()[0]
    assert (row["person_id"], row["unsubscribed"], row["unsubscribe_source"]) == ("7", True, "clicked_link")
    assert fixed.asked[0].query_params["size"] == "500"
    assert fixed.asked[0].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("flag", [None, "", " ", "maybe", 2, 0.0, [], {}, "missing"])
def test_an_unsubscribed_that_is_not_a_flag_is_refused(serve: Serve, flag: Any) -> None:
    second = person(2, unsubscribed=flag)
    if flag == "missing":
        del second["unsubscribed"]
    text = refused(serve, IncompletePull, page(person(1), second))
    assert "page 1 of the gateway, person 2" in text
    assert "'unsubscribed'" in text


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((True, False), "JSON true/JSON false"),
        (("Yes", "no"), "yes/no"),
        ((1, 0), "1/0"),
        (("Unsubscribed", " subscribed "), "unsubscribed/subscribed"),
    ],
)
def test_flags_may_be_words_of_one_vocabulary(serve: Serve, flags: tuple[Any, Any], said: str) -> None:
    people = [person(number, unsubscribed=flag) for number, flag in enumerate(flags)]
    extract = pull(serve(Fixed(page(*people)).app))
    assert extract.table.column("unsubscribed").to_pylist() == [True, False]
    assert extract.inputs[0].details["vocabulary"] == [f"unsubscribed: {said}"]


@pytest.mark.parametrize("flags", [(True, "false"), ("yes", "0"), (1, "no"), ("unsubscribed", "false")])
def test_flags_of_two_vocabularies_are_refused(serve: Serve, flags: tuple[Any, Any]) -> None:
    first, second = (person(number, unsubscribed=flag) for number, flag in enumerate(flags))
    text = refused(serve, IncompletePull, page(first, total=2, cursor="x"), page(second, total=2))
    assert "page 2 of the gateway, person 1: 'unsubscribed' is written in another vocabulary" in text


def test_levels_and_sources_are_understood_as_in_files(serve: Serve) -> None:
    people = [
        person(1, unsubscribe_level="Block", unsubscribe_source="Clicked Link", salesforce_id=" 00Q1 "),
        person(2, unsubscribe_level=" ", unsubscribe_source="Fax", email="  "),
    ]
    extract = pull(serve(Fixed(page(*people)).app))
    one, two = extract.table.to_pylist()
    assert (one["unsubscribe_level"], one["unsubscribe_source"], one["salesforce_id"]) == (
        "account",
        "clicked_link",
        "00Q1",
    )
    assert (two["unsubscribe_level"], two["unsubscribe_source"], two["email"]) == (None, None, None)
    assert extract.inputs[0].details["unknown_unsubscribe_sources"] == 1


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([page(person(1), total=2)], "counted 2 people before the pull and 2 after it; 1 arrived"),
        ([page(person(1), person(2)), page(person(1), total=3)], "2 people before the pull and 3 after"),
        ([page(person(1), total=2, cursor="a"), page(person(2), total=3)], "counted 2 people at first and 3 on page 2"),
        ([page(person(1), person(1))], "page 1 of the gateway, person 2: an id that was there before"),
        (
            [page(person(1), total=2, cursor="a"), page(person(1), total=2)],
            "1 people came with an id that was there before, on another page",
        ),
        ([page(person(1), total=3, cursor="a"), page(person(2), total=3, cursor="a")], "leads back"),
        ([page(person(1), total=9, cursor="a"), page(total=9, cursor="b")], "0 people on it"),
        ([page(person(1), person(2), total=1, cursor="a")], "2 of 1 read"),
        ([{"people": [person(1)], "next": None}], "no number at 'total'"),
        ([page(person(1, person_id=" "))], "no id"),
    ],
)
def test_what_is_not_provably_everybody_is_refused(serve: Serve, answers: list[Any], words: str) -> None:
    assert words in refused(serve, IncompletePull, *answers)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"next": None, "total": 0}, "no list at 'people'"),
        (page(person(1, unsubscribe_level="team")), "'unsubscribe_level' is none of account, user, block, blocked"),
        (page(person(1, unsubscribed_at="2026-11-24 04:00:00")), "no time with a zone"),
        (page(person(1, unsubscribed_at="2026-13-24T04:00:00Z")), "a time in unsubscribed_at that doesn't exist"),
        (page(person(1, email={"work": "a@example.com"})), "'email' is no text"),
        (page("p1"), "person 1: not an object"),
        (page(person(1), cursor={"a": 1}), "no usable cursor"),
        (Response("<html>Sign in with a@example.com</html>", media_type="text/html"), "not JSON"),
        (RedirectResponse("https://elsewhere.example.com/people"), "status 307"),
        (JSONResponse({"error": "a@example.com"}, status_code=400), "status 400"),
    ],
)
def test_another_shape_is_refused(serve: Serve, answer: Any, words: str) -> None:
    assert words in refused(serve, SourceError, answer)


def test_a_refused_token_names_its_variable(serve: Serve) -> None:
    text = refused(serve, AccessRefused, JSONResponse({}, status_code=403))
    assert "RECON_GATEWAY_TOKEN" in text


def test_a_busy_gateway_is_asked_again_but_not_for_ever(serve: Serve) -> None:
    busy = JSONResponse({}, status_code=503)
    fixed = Fixed(busy, JSONResponse({}, status_code=429, headers={"Retry-After": "0"}), page(person(1)))
    extract = pull(serve(fixed.app))
    assert extract.table.num_rows == 1
    assert extract.inputs[0].details["api_calls"] == 4
    for_ever = Fixed(busy)
    with pytest.raises(SourceError, match="status 503"):
        pull(serve(for_ever.app))
    assert len(for_ever.asked) == 3


def test_settings_that_cannot_work_are_named() -> None:
    with pytest.raises(SettingsError, match=r"gateway\.url is not set"):
        read(settings(None))
    with pytest.raises(SettingsError, match="RECON_GATEWAY_TOKEN"):
        read(settings("https://gateway.example.com"), {})
    with pytest.raises(SettingsError, match="is no bearer token"):
        read(settings("https://gateway.example.com"), {"RECON_GATEWAY_TOKEN": "a b"})
    for url in (
        "http://gateway.example.com",
        "http://127.0.0.1.example.com",
        "gateway.example.com",
        "https://u:p@g.example.com",
    ):
        with pytest.raises(SettingsError, match=r"gateway\.url") as caught:
            read(settings(url))
        assert TOKEN not in str(caught.value)
    with pytest.raises(SettingsError, match="colour"):
        read(settings("https://g.example.com"), columns={"colour": "x"})


def test_nobody_there_is_a_sentence(serve: Serve) -> None:
    with pytest.raises(SourceError, match="no connection"):
        pull("http://127.0.0.1:9", retries=0)
