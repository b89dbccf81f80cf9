"""Connected components of a small edge list, on the driver."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def components(edges: pa.Table) -> pa.Table:
    """Name the component of every node of an edge list.

    Parameters
    ----------
    edges
        Columns `a` and `b`, of one type that has an order (numbers, strings), no nulls: each row joins two nodes. Memory grows with
        the edges: about 300 bytes each (measured on random graphs in which nearly every edge brings two new nodes), so the setting
        `run.edges` bounds it.

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
