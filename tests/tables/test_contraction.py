"""The graph of a reconciliation: only keys that differ are in it, and an engine contracts what the driver can't take."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import pyarrow as pa
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from recon import merge
from recon.components import components
from recon.contraction import named
from recon.settings import Settings
from recon.tables import PEOPLE, RECORDS
from tests.tables.engines import ENGINES, LOCAL, Watched, run, table_of
from tests.tables.test_every_small_world import FAMILIES, Maker

if TYPE_CHECKING:
    from recon.engine import Engine as Own
    from tests.tables.engines import Engine

Edges = list[tuple[int, int]]


def chain(size: int) -> Edges:
    return [(n + 1, n) for n in range(size)]


def star(size: int) -> Edges:
    """The hub has the largest number: its leaves have no smaller neighbour but it."""
    return [(size, n) for n in range(size)]


def clique(size: int) -> Edges:
    return list(itertools.combinations(range(size), 2))


def shuffled(edges: Edges, seed: int = 1) -> Edges:
    """The same graph under other names."""
    rng = random.Random(seed)
    nodes = sorted({node for edge in edges for node in edge})
    names = dict(zip(nodes, rng.sample(nodes, len(nodes)), strict=True))
    return [(names[a], names[b]) for a, b in edges]


def at_random(size: int, edges: int, seed: int = 1) -> Edges:
    rng = random.Random(seed)
    return [(rng.randrange(size), rng.randrange(size)) for _ in range(edges)]


def beside_each_other(*graphs: Edges) -> Edges:
    """All of them as one graph; none touches another."""
    together: Edges = []
    for number, edges in enumerate(graphs):
        together += [(a + 1_000_000 * number, b + 1_000_000 * number) for a, b in edges]
    return together


GRAPHS = {
    "chain": chain(2000),
    "chain under other names": shuffled(chain(2000)),
    "star": star(300),
    "star under other names": shuffled(star(300)),
    "clique": clique(25),
    "two cliques and a bridge": [*clique(12), *((a + 12, b + 12) for a, b in clique(12)), (3, 20)],
    "zigzag": [(n, 1000 + n) for n in range(500)] + [(n + 1, 1000 + n) for n in range(500)],
    "random": at_random(400, 300),
    "tree": [(n, (n - 1) // 2) for n in range(1, 500)],
    "loops and repetitions": [(1, 1), (2, 3), (3, 2), (2, 3), (5, 5)],
    "nothing": [],
}


def table(edges: Edges) -> pa.Table:
    return pa.table(
        {"a": pa.array([a for a, _ in edges], pa.int64()), "b": pa.array([b for _, b in edges], pa.int64())}
    )


def solved(edges: Edges, engine: Own, most: int) -> dict[Any, Any]:
    """Node -> component, for all nodes."""
    found = engine.collect(named(engine.bring(table(edges)), engine, most))
    assert found.column_names == ["node", "component"]
    names = dict(zip(*(found.column(name).to_pylist() for name in found.column_names), strict=True))
    assert len(names) == found.num_rows
    return {node: names.get(node, node) for edge in edges for node in edge}


def expected(edges: Edges) -> dict[Any, Any]:
    found = components(table(edges))
    return dict(zip(*(found.column(name).to_pylist() for name in found.column_names), strict=True))


def test_all_graphs_at_once(engine: Engine) -> None:
    """Contracted to the last edge: nothing is left for the driver."""
    together = beside_each_other(*GRAPHS.values())
    assert solved(together, engine.own(), 0) == expected(together)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("most", [0, 5, 1000])
def test_graphs(name: str, most: int) -> None:
    assert solved(GRAPHS[name], ENGINES["polars"].own(), most) == expected(GRAPHS[name])


_few_nodes = st.integers(0, 30)
_pairs = st.tuples(_few_nodes, _few_nodes)
# Without a least number lists are of five pairs, mostly.
small_graphs = st.integers(0, 30).flatmap(lambda least: st.lists(_pairs, min_size=least, max_size=60))


@settings(max_examples=max(2, settings().max_examples // 10))
@given(edges=small_graphs, most=st.sampled_from((0, 1, 3, 10)))
def test_random_graphs(edges: Edges, most: int) -> None:
    wanted = expected(edges)
    for name, engine in LOCAL.items():
        assert solved(edges, engine.own(), most) == wanted, name


@pytest.mark.spark
@settings(max_examples=1, phases=(Phase.generate,))
@given(graphs=st.lists(small_graphs, min_size=8, max_size=10))
def test_random_graphs_on_spark(graphs: list[Edges]) -> None:
    """The same graphs, beside each other, as every round takes seconds there."""
    together = beside_each_other(*graphs)
    assume(len({(a, b) for a, b in together if a != b}) > 60)
    engine: Any = Watched(ENGINES["spark"].own())
    assert solved(together, engine, 3) == expected(together)
    assert engine.held > 5


@pytest.mark.parametrize("name", ["chain", "chain under other names", "zigzag", "star", "clique"])
def test_rounds_grow_with_the_logarithm(name: str) -> None:
    """A label that goes from neighbour to neighbour would take 2,000 rounds down the chain."""
    engine: Any = Watched(ENGINES["polars"].own())
    assert solved(GRAPHS[name], engine, 0) == expected(GRAPHS[name])
    assert engine.held < 80


def test_nothing_is_contracted_that_the_driver_can_take() -> None:
    engine: Any = Watched(ENGINES["polars"].own())
    solved(GRAPHS["chain"], engine, 2000)
    assert engine.held == 1


def test_linked_records_of_one_address_send_no_edge(engine: Engine) -> None:
    """The driver sees what addresses don't join, and not a row more."""
    own, m = engine.own(), Maker(1)
    people = [m.person(f"same{n}", None, "a", "C001") for n in range(3)] + [m.person("other", None, "b", "C001")]
    people += [m.person("none", None, "c"), m.person("broken", None, "d", "C009")]
    records = [m.record("C001", "a", False), m.record("C002", "e", False), m.record("L001", "e", False, "C002")]
    frames = (own.take(table_of(people, PEOPLE), PEOPLE), own.take(table_of(records, RECORDS), RECORDS))
    keys = merge.rows(*frames, Settings(), own).keys
    became = keys.filter(~nw.col("v").is_null()).select("n", "v")
    sent = own.collect(merge.edges(keys.select("n", "t"), became, keys.filter(~nw.col("a").is_null()).select("n", "a")))
    assert sent.num_rows == 1


def test_tables_are_the_same_however_little_the_driver_takes(engine: Engine) -> None:
    """Contracted to the last edge on each engine, and solved by the driver alone on one."""
    numbers = (Maker(number) for number in itertools.count(1))
    worlds = [world for family in FAMILIES for world in itertools.islice(family(numbers), 60)]
    rows = [row for world in worlds for row in world.people], [row for world in worlds for row in world.records]
    wanted = run(ENGINES["duckdb"], *rows, Settings())
    assert run(engine, *rows, Settings().with_values(run={"edges": 0})) == wanted
