"""Connected components, held against the plainest way to find them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon.components import components

NODES = st.integers(0, 25)
EDGES = st.lists(st.tuples(NODES, NODES), max_size=40)


def plain(edges: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Node -> the smallest node of its component: names sink along the edges until none does."""
    name = {node: node for edge in edges for node in edge}
    sinking = True
    while sinking:
        sinking = False
        for a, b in edges:
            low = min(name[a], name[b])
            if name[a] != low or name[b] != low:
                name[a] = name[b] = low
                sinking = True
    return name


def table(edges: list[tuple[Any, Any]], kind: pa.DataType) -> pa.Table:
    return pa.table({"a": pa.array([a for a, _ in edges], kind), "b": pa.array([b for _, b in edges], kind)})


def found(edges: pa.Table) -> dict[Any, Any]:
    result = components(edges)
    # With SciPy and without it.
    assert result.equals(components(edges, few=0))
    assert result.column_names == ["node", "component"]
    assert {column.type for column in result.columns} == {edges.schema.field("a").type}
    nodes = result.column("node").to_pylist()
    assert nodes == sorted(set(nodes))
    return dict(zip(nodes, result.column("component").to_pylist(), strict=True))


@given(EDGES)
def test_random_graphs_of_numbers(edges: list[tuple[int, int]]) -> None:
    assert found(table(edges, pa.int64())) == plain(edges)


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=30))
def test_random_graphs_of_strings(edges: list[tuple[str, str]]) -> None:
    """Strings in the order of their code points, as Python and UTF-8 have it."""
    assert found(table(edges, pa.string())) == plain(edges)


@given(EDGES, st.randoms(use_true_random=False))
def test_the_order_and_direction_of_edges_change_nothing(edges: list[tuple[int, int]], random: Any) -> None:
    turned = [edge if random.random() < 0.5 else (edge[1], edge[0]) for edge in edges]
    random.shuffle(turned)
    assert components(table(turned, pa.int64())).equals(components(table(edges, pa.int64())))


@given(EDGES, st.tuples(NODES, NODES))
def test_one_more_edge_only_joins(edges: list[tuple[int, int]], edge: tuple[int, int]) -> None:
    before, after = found(table(edges, pa.int64())), found(table([*edges, edge], pa.int64()))
    for one in before:
        for other in before:
            if before[one] == before[other]:
                assert after[one] == after[other]


@given(EDGES)
def test_a_component_is_named_by_its_smallest_node_and_names_itself(edges: list[tuple[int, int]]) -> None:
    result = found(table(edges, pa.int64()))
    for node, component in result.items():
        assert component <= node
        assert result[component] == component


@pytest.mark.parametrize("kind", [pa.string(), pa.int32(), pa.int64(), pa.large_string()])
def test_no_edges(kind: pa.DataType) -> None:
    assert found(table([], kind)) == {}
    assert found(pa.schema([("a", kind), ("b", kind)]).empty_table()) == {}


def test_a_node_joined_to_itself_is_a_component() -> None:
    assert found(table([("x", "x")], pa.string())) == {"x": "x"}


@pytest.mark.parametrize("times", [2, 128, 256, 65_536])
def test_an_edge_that_is_there_often_is_still_an_edge(times: int) -> None:
    """A count in eight bits would come round to nothing."""
    assert found(table([("x", "y")] * times, pa.string())) == {"x": "x", "y": "x"}


def test_edges_in_many_chunks_and_slices() -> None:
    edges = [(n, n + 1) for n in range(0, 40, 2)]
    whole = table([(100, 101), *edges, (200, 201)], pa.int64())
    chunked = pa.concat_tables([whole.slice(1, 7), whole.slice(8, 0), whole.slice(8, 13)])
    assert found(chunked) == plain(edges)
    uneven = pa.table(
        {"a": pa.chunked_array([[1], [3, 5]], pa.int64()), "b": pa.chunked_array([[2, 4], [6]], pa.int64())}
    )
    assert found(uneven) == {1: 1, 2: 1, 3: 3, 4: 3, 5: 5, 6: 5}


def test_a_long_chain_and_a_large_star() -> None:
    size = 20_000
    assert set(found(table([(n + 1, n) for n in range(size)], pa.int64())).values()) == {0}
    assert set(found(table([(size, n) for n in range(size)], pa.int64())).values()) == {0}


def test_uids_of_both_systems() -> None:
    edges = [
        ("sales_connect:9", "salesforce:003000000000001AAA"),
        ("sales_connect:10", "salesforce:003000000000001AAA"),
        ("sales_connect:8", "sales_connect:7"),
    ]
    assert found(table(edges, pa.string())) == {
        "sales_connect:10": "sales_connect:10",
        "sales_connect:9": "sales_connect:10",
        "salesforce:003000000000001AAA": "sales_connect:10",
        "sales_connect:7": "sales_connect:7",
        "sales_connect:8": "sales_connect:7",
    }
