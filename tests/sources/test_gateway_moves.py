"""A gateway whose cursor counts rows, and whose people come and go while they are read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from recon.clock import SetClock
from recon.errors import IncompletePull, SourceError
from recon.progress import SILENT
from recon.settings import GatewaySettings
from recon.sources.gateway import read_gateway

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from recon.sources.base import Extract
    from tests.sources.conftest import Serve


class Counting:
    """A gateway that lists people in the order of their ids, by how many to leave out (or by the page's number).

    Attributes
    ----------
    people
        Everybody.
    meanwhile
        What happens before a page is answered, by the request's number from 1.
    pages
        Does the cursor count pages, from 1?
    strict
        Does it refuse a cursor that it didn't give, with the status `refusal`?
    asked
        The cursors and sizes that were asked for.
    """

    def __init__(self, people: list[str], *, pages: bool = False, strict: bool = False, most: int = 1000) -> None:
        self.people, self.pages, self.strict, self.most = people, pages, strict, most
        self.meanwhile: dict[int, Callable[[], object]] = {}
        self.refusal = 400
        self.given: set[str] = set()
        self.asked: list[tuple[str | None, int]] = []
        self.app = Starlette(routes=[Route("/people", self.answer)])

    async def answer(self, request: Request) -> Response:
        cursor, limit = request.query_params.get("cursor"), int(request.query_params["limit"])
        self.asked.append((cursor, limit))
        self.meanwhile.get(len(self.asked), lambda: None)()
        if self.strict and cursor is not None and cursor not in self.given:
            return JSONResponse({}, self.refusal)
        limit = min(limit, self.most)
        start = (int(cursor or 1) - 1) * limit if self.pages else int(cursor or 0)
        rows = sorted(self.people)[start : start + limit]
        more = start + limit < len(self.people)
        following = str(int(cursor or 1) + 1) if self.pages else str(start + limit)
        self.given.add(following)
        people = [{"person_id": each, "unsubscribed": False} for each in rows]
        return JSONResponse({"people": people, "next": following if more else None, "total": len(self.people)})


@pytest.fixture
def ids() -> list[str]:
    return [f"p{number:02d}" for number in range(10)]


def pull(serve: Serve, gateway: Counting, **values: Any) -> Extract:
    settings = {"url": serve(gateway.app), "backoff_seconds": 0, "retries": 0, "page_size": 3} | values
    return read_gateway(
        GatewaySettings.model_validate(settings),
        environ={"RECON_GATEWAY_TOKEN": "token"},
        clock=SetClock(datetime(2026, 11, 24, 12, tzinfo=UTC)),
        progress=SILENT,
    )


def read(extract: Extract) -> list[str]:
    found: list[str] = extract.table.column("person_id").to_pylist()
    return found


@pytest.mark.parametrize("most", [1000, 3])
def test_everybody_is_read_and_nobody_twice(serve: Serve, ids: list[str], most: int) -> None:
    gateway = Counting(ids, most=most)
    extract = pull(serve, gateway)
    assert read(extract) == ids
    # The fewest that this gateway gives are three, and one of those was there before.
    assert [cursor for cursor, _ in gateway.asked[:3]] == [None, "2", "5" if most > 3 else "4"]
    details = extract.inputs[0].details
    assert (details["pages"], details["overlapping_pages"]) == ((4, 3) if most > 3 else (5, 4))


def test_who_slips_through_is_seen_though_the_total_stays(serve: Serve, ids: list[str]) -> None:
    gateway = Counting(ids)

    def swap() -> None:
        ids.remove("p01")
        ids.append("p99")

    gateway.meanwhile[2] = swap
    with pytest.raises(IncompletePull, match="page 2 of the gateway doesn't go on where page 1 ended") as caught:
        pull(serve, gateway)
    assert "Pull again" in str(caught.value)
    gateway.asked.clear()
    gateway.meanwhile.clear()
    assert read(pull(serve, gateway)) == sorted(ids)


def test_who_is_removed_last_on_a_page_is_seen_as_well(serve: Serve, ids: list[str]) -> None:
    gateway = Counting(ids)

    def swap() -> None:
        ids.remove("p05")
        ids.append("p99")

    gateway.meanwhile[3] = swap
    with pytest.raises(IncompletePull, match="page 3 of the gateway doesn't go on where page 2 ended"):
        pull(serve, gateway)


def test_a_page_that_ends_early_is_no_end(serve: Serve, ids: list[str]) -> None:
    gateway = Counting(ids)
    gateway.meanwhile[3] = lambda: gateway.people.__delitem__(slice(2, None))
    with pytest.raises(IncompletePull, match="10 people at first and 2 on page 3"):
        pull(serve, gateway)


def test_an_empty_page_is_none_that_goes_on(serve: Serve, ids: list[str]) -> None:
    gateway = Counting(ids)
    gateway.meanwhile[2] = lambda: setattr(gateway, "most", 0)
    with pytest.raises(IncompletePull, match="page 2 of the gateway doesn't go on where page 1 ended"):
        pull(serve, gateway)


def test_a_gateway_that_fails_there_is_not_taken_for_one_that_refuses(serve: Serve, ids: list[str]) -> None:
    gateway = Counting(ids, strict=True)
    gateway.refusal = 503
    with pytest.raises(SourceError, match="status 503"):
        pull(serve, gateway)


def test_who_comes_and_goes_on_pages_not_read_yet_does_not_matter(serve: Serve, ids: list[str]) -> None:
    gateway = Counting(ids)

    def swap() -> None:
        ids.remove("p08")
        ids.append("p99")

    gateway.meanwhile[2] = swap
    assert read(pull(serve, gateway)) == sorted(ids)


def test_a_gateway_that_takes_only_its_own_cursors_is_read_all_the_same(serve: Serve, ids: list[str]) -> None:
    gateway = Counting(ids, strict=True)
    extract = pull(serve, gateway)
    assert read(extract) == ids
    assert extract.inputs[0].details["overlapping_pages"] == 0
    # It was tried once.
    assert [cursor for cursor, _ in gateway.asked] == [None, "2", "3", "6", "9", None]


@pytest.mark.parametrize("size", [2, 3])
def test_a_cursor_that_counts_pages_is_followed_as_it_is(serve: Serve, ids: list[str], size: int) -> None:
    gateway = Counting(ids, pages=True)
    extract = pull(serve, gateway, page_size=size)
    assert read(extract) == ids
    assert {limit for _, limit in gateway.asked[:-1]} == {size}
    assert extract.inputs[0].details["overlapping_pages"] == 0


def test_a_cursor_that_is_a_person_s_number_is_followed_as_it_is(serve: Serve) -> None:
    asked: list[str | None] = []

    async def after(request: Request) -> Response:
        cursor, limit = request.query_params.get("cursor"), int(request.query_params["limit"])
        asked.append(cursor)
        rows = [{"person_id": n, "unsubscribed": False} for n in range(1, 10) if n > int(cursor or 0)][:limit]
        last = rows[-1]["person_id"]
        return JSONResponse({"people": rows, "next": None if last == 9 else last, "total": 9})

    gateway = Counting([])
    gateway.app = Starlette(routes=[Route("/people", after)])
    assert len(read(pull(serve, gateway))) == 9
    assert asked == [None, "3", "6", None]
