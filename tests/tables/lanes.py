"""Several cases in one call of an engine, as a call takes as long for ten rows as for a thousand, and on Spark seconds.

Every case gets a lane: the numbers of its worlds are moved, in its ids and in its addresses, so that nothing joins two lanes; in what comes back they
are moved home again. The order of the rows stays what it was.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.tables.strategies import Case, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.tables.reference import Row

    Reconcile = Callable[[Case], tuple[list[Row], list[Row]]]

#: So many worlds has a case at most, and two digits have room for three.
WIDTH = 30
LANES = 3

_ID = re.compile(r"(?i)(00q5e0000|0035e0000|/)(\d\d)")
_ADDRESS = re.compile(r"(?<!\d)()(\d\d)(?!\w)")
_ADDRESSES = ("email", "address")


def together(reconcile: Reconcile, cases: Sequence[Case]) -> list[tuple[list[Row], list[Row]]]:
    """`merged` and `actions` of each case, computed in one call; the cases have the same options."""
    assert len(cases) <= LANES
    options = cases[0].options
    assert all(case.options == options for case in cases)
    shifts = [WIDTH * place for place in range(len(cases))]
    worlds = [
        World(_moved(world.people, shift), _moved(world.records, shift))
        for case, shift in zip(cases, shifts, strict=True)
        for world in case.worlds
    ]
    never = [_renumbered(text, _ADDRESS, shift) for shift in shifts for text in options["clusters"]["never_join"]]
    tables = reconcile(Case(worlds, options | {"clusters": {"never_join": never}}))
    return [(_of_lane(tables[0], shift), _of_lane(tables[1], shift)) for shift in shifts]


def _of_lane(table: list[Row], shift: int) -> list[Row]:
    return _moved((row for row in table if shift < _world(row["id"]) <= shift + WIDTH), -shift)


def _world(name: str) -> int:
    found = _ID.search(name)
    assert found is not None, name
    return int(found[2])


def _moved(rows: Iterable[Row], shift: int) -> list[Row]:
    def cell(name: str, value: object) -> object:
        if not isinstance(value, str):
            return value
        return _renumbered(value, _ADDRESS if name in _ADDRESSES else _ID, shift)

    return [{name: cell(name, value) for name, value in row.items()} for row in rows]


def _renumbered(text: str, pattern: re.Pattern[str], shift: int) -> str:
    """The text with the numbers of worlds moved; 00 is no world's."""

    def moved(found: re.Match[str]) -> str:
        number = int(found[2])
        return f"{found[1]}{number + shift:02}" if number else found[0]

    return pattern.sub(moved, text)
