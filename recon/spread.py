"""Breadth first from many rows at once, over links and equal addresses: how rows are reached that no single link leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

#: No row.
NONE = -1


class Links:
    """Who is joined with whom, among some rows that are known by their places.

    Parameters
    ----------
    rows
        How many rows there are.
    pairs
        The links, one kind after the other, the surest first: two columns of places each.
    address
        Of each row the place of the first row with the same address, or NONE.
    """

    def __init__(self, rows: int, pairs: Sequence[tuple[Numbers, Numbers]], address: Numbers) -> None:
        self._rows = rows
        self._neighbours = [_Lists(np.concatenate(pair), np.concatenate(pair[::-1]), rows) for pair in pairs]
        known = np.flatnonzero(address != NONE)
        self._at_address = _Lists(address[known], known, rows)
        self._address = address

    def spread(self, sources: Numbers) -> tuple[Numbers, Numbers]:
        """For every row the neighbour it is reached from, and over which kind of link; the last kind are equal addresses.

        The surest kind comes first, then the smallest neighbour, so that the answer is the same in every run. An address is one step for all that have it,
        so that a mailbox of thousands costs thousands and not their square.

        Parameters
        ----------
        sources
            Where it begins, in rising order. They, and rows that nothing leads to, are reached from NONE.
        """
        came_from = np.full(self._rows, NONE, dtype=np.int64)
        via = np.full(self._rows, NONE, dtype=np.int64)
        seen = np.zeros(self._rows, dtype=np.bool_)
        done = np.zeros(self._rows, dtype=np.bool_)
        seen[sources] = True
        frontier = sources
        while len(frontier):
            steps = [(kind, *lists.of(frontier)) for kind, lists in enumerate(self._neighbours)]
            at = self._address[frontier]
            fresh = (at != NONE) & ~done[at]
            addresses, first = np.unique(at[fresh], return_index=True)
            done[addresses] = True
            firsts, members = self._at_address.of(addresses)
            # Of an address that several rows bring, the smallest of them.
            bringer = frontier[fresh][first]
            steps.append((len(steps), bringer[np.searchsorted(addresses, firsts)], members))
            kinds = np.concatenate([np.full(len(ends), kind) for kind, _, ends in steps])
            starts = np.concatenate([each for _, each, _ in steps])
            ends = np.concatenate([each for _, _, each in steps])
            new = ~seen[ends]
            starts, ends, kinds = starts[new], ends[new], kinds[new]
            frontier, chosen = np.unique(ends, return_index=True)
            came_from[frontier], via[frontier] = starts[chosen], kinds[chosen]
            seen[frontier] = True
        return came_from, via


class _Lists:
    """Lists of places, one a place."""

    def __init__(self, keys: Numbers, values: Numbers, rows: int) -> None:
        order = np.argsort(keys, kind="stable")
        self._values = values[order]
        self._ends = np.searchsorted(keys[order], np.arange(rows + 1, dtype=np.int64))

    def of(self, places: Numbers) -> tuple[Numbers, Numbers]:
        """The lists of these places, one after the other: each value with the place whose list it is in."""
        starts, lengths = self._ends[places], self._ends[places + 1] - self._ends[places]
        total = int(lengths.sum())
        begun = np.cumsum(lengths) - lengths
        picked = np.arange(total) + np.repeat(starts - begun, lengths)
        return np.repeat(places, lengths), self._values[picked]
