"""Not some small worlds but all of them: every way that a few rows can be opted out, linked and addressed, on every engine.

A family is a product of choices. Its worlds share nothing, so that all of them go through an engine in one call.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.tables import reference
from tests.tables.engines import run
from tests.tables.strategies import Case, World

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.tables.engines import Engine
    from tests.tables.reference import Row

EARLY, LATE = datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC)
KINDS = (None, "choice", "bounce", "user")
ON_AND_OFF = (False, True)


class Maker:
    """Rows of one world, by its number."""

    def __init__(self, number: int) -> None:
        self._number = f"{number:05}"

    def id_of(self, name: str) -> str:
        """`L...` is a Lead, `C...` a Contact."""
        found = reference.id_18(f"{'00Q' if name[0] == 'L' else '003'}5e{self._number}0{name}")
        assert found is not None
        return found

    def person(self, name: str, out: str | None, address: str, link: str | None = None, **more: Any) -> Row:
        row: Row = {"person_id": f"{self._number}/{name}", "email": f"{address}@x{self._number}.example"}
        row |= {"salesforce_id": self.id_of(link) if link else None, "unsubscribed": out is not None}
        row |= {"unsubscribe_level": "user" if out == "user" else "account"}
        row |= {"unsubscribe_source": "bounce" if out == "bounce" else "manual"}
        return row | {"unsubscribed_at": None, "resubscribed_at": None} | more

    def record(self, name: str, address: str, out: bool, into: str | None = None, **more: Any) -> Row:
        row: Row = {"record_id": self.id_of(name), "email": f"{address}@x{self._number}.example", "opted_out": out}
        row |= {"object": "Lead" if name[0] == "L" else "Contact", "is_deleted": False}
        row |= {"is_converted": into is not None, "converted_contact_id": self.id_of(into) if into else None}
        row |= {"has_opted_out_of_email": out, "sales_opt_out": False}
        return row | {"opted_out_at": None, "resubscribed_at": None} | more


def two_people_and_a_record(make: Iterator[Maker]) -> Iterator[World]:
    for name in ("C001", "L001"):
        each = [*itertools.product(KINDS, ("a", "b"), (None, name))]
        for one, other, out in itertools.product(each, each, ON_AND_OFF):
            m = next(make)
            yield World([m.person("1", *one), m.person("2", *other)], [m.record(name, "a", out)])


def a_converted_lead(make: Iterator[Maker]) -> Iterator[World]:
    """A Lead, its Contact, and a person that is linked to the one, to the other, or to none."""
    people = itertools.product(KINDS, ("a", "b"), (None, "L001", "C001"))
    for each, lead_out, contact_out, address in itertools.product(people, ON_AND_OFF, ON_AND_OFF, ("a", "c")):
        m = next(make)
        records = [m.record("L001", "a", lead_out, "C001"), m.record("C001", address, contact_out)]
        yield World([m.person("1", *each)], records)


def three_people_and_a_record(make: Iterator[Maker]) -> Iterator[World]:
    """The middle one isn't opted out; who comes first among the others' opt-outs, and over what?"""
    links = (None, "C001")
    ones = itertools.product(("choice", "bounce", "user"), ("a", "b"), links)
    others = itertools.product((None, "choice", "bounce"), ("a", "b"), links)
    for one, link, other, out in itertools.product(ones, links, [*others], ON_AND_OFF):
        m = next(make)
        people = [m.person("3", *one), m.person("2", None, "a", link), m.person("1", *other)]
        yield World(people, [m.record("C001", "b", out)])


def dates_of_a_pair(make: Iterator[Maker]) -> Iterator[World]:
    """A linked pair and a second person of the record: opted out, dated and resubscribed in every order."""
    times = (None, EARLY, LATE)
    people = itertools.product((None, "choice", "user"), times, (None, EARLY))
    for (kind, at, back), out, out_at, out_back, other in itertools.product(
        people, ON_AND_OFF, times, (None, EARLY, LATE), times
    ):
        m = next(make)
        first = m.person("1", kind, "a", "C001", unsubscribed_at=at, resubscribed_at=back)
        second = m.person("2", "choice" if other else None, "b", "C001", unsubscribed_at=other)
        yield World([first, second], [m.record("C001", "a", out, opted_out_at=out_at, resubscribed_at=out_back)])


def chains(make: Iterator[Maker]) -> Iterator[World]:
    """Person, record, person, converted Lead, Contact, in a row: an opt-out at one end or the other, or in between."""
    for kinds in itertools.product((None, "choice", "user"), (False, True), KINDS, ON_AND_OFF, ON_AND_OFF):
        first, record, second, lead, contact = kinds
        m = next(make)
        people = [m.person("1", first, "a", "C001"), m.person("2", second, "b", "L001")]
        records = [m.record("C001", "b", record), m.record("L001", "c", lead, "C002"), m.record("C002", "d", contact)]
        yield World(people, records)


FAMILIES = (two_people_and_a_record, a_converted_lead, three_people_and_a_record, dates_of_a_pair, chains)


def worlds() -> list[World]:
    numbers = (Maker(number) for number in itertools.count(1))
    return [world for family in FAMILIES for world in family(numbers)]


@pytest.mark.parametrize("sync", ["on", "off"])
def test_every_small_world(engine: Engine, sync: str) -> None:
    case = Case(worlds(), {"sync": {"enabled": sync == "on"}})
    merged, actions = run(engine, case.people, case.records, case.settings)
    found = dict(_by_uid(merged)), dict(_by_uid(actions))
    settings = case.settings
    for world in case.worlds:
        model = reference.World(world.people, world.records, settings)
        for table, rows in zip(found, reference.reconcile(world.people, world.records, settings), strict=True):
            wanted = dict(_by_uid(rows))
            for uid in model.rows:
                got = table.pop(uid, None)
                told = None if got is None else {name: got[name] for name in got if name not in ("path", "explanation")}
                row = wanted.get(uid)
                assert told == (None if row is None else {name: row[name] for name in row if name != "path"}), world
                if got is not None and got.get("path") is not None:
                    assert reference.check_path(model, model.rows[uid], got["path"]) is None, world
                    assert row is not None
                    assert row["path"] is not None
    assert found == ({}, {})


def _by_uid(rows: list[Row]) -> Iterable[tuple[str, Row]]:
    return ((f"{row['system']}:{row['id']}", row) for row in rows)
