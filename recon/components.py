"""Connected components of a small edge list, on the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Up to here Python itself is done before SciPy is loaded.
FEW = 20_000


def components(edges: pa.Table, *, few: int = FEW) -> pa.Table:
    """Name the component of every node of an edge list.

    Parameters
    ----------
    edges
        Columns `a` and `b`, of one type that has an order (numbers, strings), no nulls: each row joins two nodes. Memory grows with
        the edges: about 300 bytes each (measured on random graphs in which nearly every edge brings two new nodes), so the setting
        `run.edges` bounds it.
    few
        So many edges are joined without SciPy.

    Returns
    -------
    pyarrow.Table
        `node` and `component`, one row a node, sorted by node: the component's name is the smallest of its nodes, so it doesn't
        depend on the order of the edges.
    """
    kind = edges.schema.field("a").type
    both = pa.chunked_array([*edges.column("a").chunks, *edges.column("b").chunks], type=kind)
    if not len(both):
        return pa.table({"node": pa.array([], kind), "component": pa.array([], kind)})
    if edges.num_rows <= few:
        names = _joined(zip(edges.column("a").to_pylist(), edges.column("b").to_pylist(), strict=True))
        listed = sorted(names)
        return pa.table({"node": pa.array(listed, kind), "component": pa.array([names[node] for node in listed], kind)})
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes = pc.unique(both)
    # Sorted, so that the smallest number in a component is the smallest name.
    nodes = nodes.take(pc.sort_indices(nodes))
    numbers = pc.index_in(both, nodes).to_numpy()
    a, b = numbers[: edges.num_rows], numbers[edges.num_rows :]
    size = len(nodes)
    graph = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(size, size))
    count, labels = connected_components(graph, directed=False)
    smallest = np.full(count, size, dtype=np.int64)
    np.minimum.at(smallest, labels, np.arange(size))
    return pa.table({"node": nodes, "component": nodes.take(pa.array(smallest[labels]))})


def _joined(edges: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """The smallest node of the component of every node: trees whose root is the smallest, their paths halved on the way up."""
    above: dict[Any, Any] = {}

    def root(node: Any) -> Any:
        while (upper := above.setdefault(node, node)) != node:
            above[node] = above[upper]
            node = upper
        return node

    for one, other in edges:
        low, high = sorted((root(one), root(other)))
        above[high] = low
    return {node: root(node) for node in above}
