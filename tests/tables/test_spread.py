"""Breadth first from many rows at once, held against the plainest way to do it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon.spread import NONE, Links

Pairs = list[tuple[int, int]]


@dataclass(frozen=True)
class Graph:
    """Rows by their places; links, one list a kind; what each row has for an address, where it has one; and where it begins."""

    kinds: list[Pairs]
    addresses: list[str | None]
    sources: list[int]

    @property
    def rows(self) -> int:
        return len(self.addresses)

    def spread(self) -> tuple[list[int], list[int]]:
        first = [NONE if each is None else self.addresses.index(each) for each in self.addresses]
        links = Links(self.rows, [columns(pairs) for pairs in self.kinds], np.array(first, np.int64))
        came_from, via = links.spread(np.array(self.sources, np.int64))
        return came_from.tolist(), via.tolist()

    def joined(self, one: int, other: int) -> list[int]:
        """The kinds of links between two rows, the surest first."""
        kinds = [kind for kind, pairs in enumerate(self.kinds) if (one, other) in pairs or (other, one) in pairs]
        same = one != other and self.addresses[one] is not None and self.addresses[one] == self.addresses[other]
        return kinds + [len(self.kinds)] * same


def columns(pairs: Pairs) -> tuple[Any, Any]:
    return np.array([one for one, _ in pairs], np.int64), np.array([other for _, other in pairs], np.int64)


def plainly(graph: Graph) -> tuple[list[int], list[int]]:
    """Level by level: a row that is new is reached over the surest link there is from the level before, and then from the smallest row."""
    came_from, via = [NONE] * graph.rows, [NONE] * graph.rows
    seen, level = set(graph.sources), sorted(graph.sources)
    while level:
        ways: dict[int, list[tuple[int, int]]] = {}
        for new in set(range(graph.rows)) - seen:
            found = [(kind, row) for row in level for kind in graph.joined(row, new)]
            if found:
                ways[new] = found
        for new, found in ways.items():
            via[new], came_from[new] = min(found)
        level = sorted(ways)
        seen |= set(level)
    return came_from, via


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    rows = draw(st.integers(1, 14))
    places = st.integers(0, rows - 1)
    pairs = st.lists(st.tuples(places, places), max_size=8)
    address = st.sampled_from((None, None, "a", "b", "c"))
    return Graph(
        draw(st.lists(pairs, min_size=1, max_size=3)),
        draw(st.lists(address, min_size=rows, max_size=rows)),
        sorted(draw(st.sets(places, max_size=4))),
    )


@given(graph=graphs())
def test_rows_are_reached_as_the_plain_way_reaches_them(graph: Graph) -> None:
    assert graph.spread() == plainly(graph)


def test_the_surest_link_comes_first_and_then_the_smallest_row() -> None:
    """Row 4 is reached over a link of the first kind, though smaller rows reach it otherwise; row 5 from the smaller of two."""
    graph = Graph([[(4, 3)], [(0, 4), (2, 5), (1, 5)]], ["a", None, None, None, "a", None], [0, 1, 2, 3])
    assert graph.spread() == ([NONE, NONE, NONE, NONE, 3, 1], [NONE, NONE, NONE, NONE, 0, 1])


def test_an_address_is_one_step_for_all_that_have_it() -> None:
    graph = Graph([[(3, 4)]], ["a", "b", "a", "b", None, "a"], [2, 5])
    assert graph.spread() == ([2, NONE, NONE, NONE, NONE, NONE], [1, NONE, NONE, NONE, NONE, NONE])
    onwards = Graph([[(0, 1), (3, 4)]], ["a", "b", "a", "b", None, "a"], [5])
    assert onwards.spread() == ([5, 0, 5, 1, 3, NONE], [1, 0, 1, 1, 0, NONE])


@pytest.mark.parametrize("sources", [[], [0]])
def test_what_nothing_leads_to_is_reached_from_nowhere(sources: list[int]) -> None:
    assert Graph([[(1, 2)]], [None, "a", "a"], sources).spread() == ([NONE] * 3, [NONE] * 3)


def test_a_mailbox_of_many_costs_its_size_and_not_its_square() -> None:
    """Sixty thousand rows of one address, a third of them sources: as pairs they would not fit into any memory."""
    size = 60_000
    links = Links(size, [columns([])], np.zeros(size, np.int64))
    came_from, via = links.spread(np.arange(1, size, 3, dtype=np.int64))
    reached = came_from != NONE
    assert reached.sum() == size - len(range(1, size, 3))
    assert set(came_from[reached].tolist()) == {1}
    assert set(via[reached].tolist()) == {1}
