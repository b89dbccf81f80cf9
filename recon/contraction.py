"""Connected components where the edge list is too large for the driver: the engine contracts it first.

In a round every node looks at its smallest neighbour. A node that has a smaller one hangs itself on it, so that trees grow whose root is
their smallest node; the trees are flattened by pointer doubling, every edge is led from root to root, and edges within a tree are gone.

Two rounds at least halve the nodes, whatever the graph (n nodes, m of which have a smaller neighbour and vanish in the first round, so
that n - m roots are left): a root on which nothing hung has only neighbours that hung themselves on something smaller than it; the roots of these
are its neighbours now, so it vanishes in the second round. What is left then had something hanging on it: at most m, and at most n - m.
So O(log n) rounds, each with O(log n) joins: a chain of 2,000 takes one round and eleven joins, not 2,000.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import narwhals.stable.v2 as nw

from recon.components import components

if TYPE_CHECKING:
    from recon.engine import Engine, Frame


def named(edges: Frame, engine: Engine, most: int) -> Frame:
    """Name the component of every node of an edge list: on the driver if it is small enough, contracted by the engine until it is.

    Parameters
    ----------
    edges
        Columns `a` and `b`, of one type that has an order, no nulls; an edge may be there more than once.
    most
        So many edges the driver takes, see `recon.components` for what that costs it.

    Returns
    -------
    Frame
        `node` and `component`, the smallest node of the component; a node that is missing here names its component itself.
    """
    edges = engine.hold(_each_once(edges))
    names: Frame | None = None
    while _count(edges, engine) > most:
        roots = _roots(edges, engine)
        names = roots if names is None else nw.concat([_renamed(names, roots), roots], how="vertical")
        names = engine.hold(names)
        edges = engine.hold(_each_once(_led(_led(edges, "a", roots), "b", roots)))
    rest = engine.bring(components(engine.collect(edges)))
    return rest if names is None else engine.hold(nw.concat([_renamed(names, rest), rest], how="vertical"))


def _each_once(edges: Frame) -> Frame:
    """The edges between two nodes, each once: grouped, which costs some engines less than looking for those that are unique."""
    between = edges.filter(nw.col("a") != nw.col("b"))
    return between.group_by("a", "b").agg(nw.len().alias("_rows")).select("a", "b")


def _count(frame: Frame, engine: Engine) -> int:
    number: int = engine.collect(frame.select(rows=nw.len())).column("rows")[0].as_py()
    return number


def _roots(edges: Frame, engine: Engine) -> Frame:
    """The root of every node that has a smaller neighbour."""
    both = nw.concat(
        [edges.select("a", "b"), edges.select(nw.col("b").alias("a"), nw.col("a").alias("b"))], how="vertical"
    )
    lowest = both.group_by("a").agg(nw.col("b").min().alias("component"))
    hung = lowest.filter(nw.col("component") < nw.col("a")).rename({"a": "node"}).select("node", "component")
    hung = engine.hold(hung)
    while True:
        upper = hung.select(nw.col("node").alias("component"), nw.col("component").alias("_upper"))
        higher = engine.hold(hung.join(upper, on="component", how="left"))
        if not _count(higher.filter(~nw.col("_upper").is_null()), engine):
            return hung
        hung = engine.hold(
            higher.with_columns(component=nw.coalesce("_upper", "component")).select("node", "component")
        )


def _renamed(names: Frame, roots: Frame) -> Frame:
    """The names after the nodes that they are have names themselves."""
    told = roots.select(nw.col("node").alias("component"), nw.col("component").alias("_root"))
    joined = names.join(told, on="component", how="left")
    return joined.with_columns(component=nw.coalesce("_root", "component")).select("node", "component")


def _led(edges: Frame, end: str, roots: Frame) -> Frame:
    """The edges with one end led to its root."""
    told = roots.select(nw.col("node").alias(end), nw.col("component").alias("_root"))
    return edges.join(told, on=end, how="left").with_columns(nw.coalesce("_root", end).alias(end)).select("a", "b")
