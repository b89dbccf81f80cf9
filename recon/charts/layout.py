"""Where each record of a person stands in the graph: people left, Salesforce's records right, shared addresses between them.

The same person gives the same places. A record stands near those that it is joined to, and no line runs through a record.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from recon.merge import SALES_CONNECT
from recon.report.mask import Veil, visible

if TYPE_CHECKING:
    import pandas as pd

    from recon.explore import Person, Record

HEIGHT_OF_ROW = 64
#: More records than these make no picture: the ones asked about, the opted-out ones, and what is on the way come first.
MOST_NODES = 24

_LEFT, _MIDDLE, _RIGHT = 0.34, 0.5, 0.66
_LABEL = 30
_BENDS = 16
# Halfway between two rows a line between neighbours would run through an address.
_BETWEEN = 0.4
_KINDS = {
    "id": "Salesforce ID",
    "stale": "Salesforce ID, not synced",
    "broken": "Salesforce ID, not synced",
    "converted": "became the Contact",
}
# How a way names them: whether the sync follows an id, it doesn't tell.
_WAYS = {"id": "id", "stale": "id", "broken": "id", "converted": "converted"}
_ADDRESS = "same address"


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is drawn, and where: `x` from 0 to 1, `y` in rows.

    Attributes
    ----------
    rows
        How many rows it is high.
    nodes
        The records.
    hubs
        The addresses that join several.
    edges
        What joins them: start, end, kind, and whether the opt-out came this way.
    edge_points
        Where their lines run.
    left_out
        What isn't drawn, in a sentence; empty where everything is.
    """

    rows: int
    nodes: list[dict[str, Any]]
    hubs: list[dict[str, Any]]
    edges: list[tuple[str, str, str, bool]]
    edge_points: list[dict[str, Any]]
    left_out: str

    @classmethod
    def nothing(cls) -> Drawn:
        """A graph of nobody."""
        return cls(0, [], [], [], [], "No record was found.")

    def told(self) -> str:
        """What is drawn, in sentences."""
        nodes = [f"{node['record']} is {node['state']}" for node in self.nodes]
        edges = [
            f"{start} and {end}: {kind}{', the way of the opt-out' if thick else ''}"
            for start, end, kind, thick in self.edges
        ]
        return ". ".join([*nodes, *edges, *filter(None, [self.left_out.rstrip(".")])]) + "."

    def table(self) -> pd.DataFrame:
        """The records that are drawn."""
        import pandas as pd

        return pd.DataFrame(
            [{name: node[name] for name in ("record", "state", "label")} for node in self.nodes],
            columns=["record", "state", "label"],
        )


def lay_out(person: Person, *, show_addresses: bool) -> Drawn:
    """Place a person's records."""
    veil = Veil(masked=not show_addresses)
    shown = _chosen(person)
    kept = {record.uid for record in shown}
    hops = {hop for record in shown if record.asked for hop in _hops(record.way)}
    neighbours: dict[str, set[str]] = defaultdict(set)
    edges: list[tuple[str, str, str, bool]] = []
    missing: dict[str, str] = {}
    for link in person.links:
        if link.start not in kept or (link.end not in kept and link.kind != "broken"):
            continue
        end = link.end
        if link.kind == "broken":
            end = missing.setdefault(link.end, f"missing {len(missing)}")
        edges.append(
            (link.start, end, _KINDS[link.kind], (frozenset((link.start, link.end)), _WAYS[link.kind]) in hops)
        )
    by_address = [pair for pair, kind in hops if kind == "address"]
    hubs = {address: [uid for uid in uids if uid in kept] for address, uids in person.addresses.items()}
    hubs = {address: uids for address, uids in hubs.items() if len(uids) > 1}
    for start, end, _, _ in edges:
        neighbours[start].add(end)
        neighbours[end].add(start)
    for uids in hubs.values():
        for uid in uids:
            neighbours[uid].update(set(uids) - {uid})
    left = [record.uid for record in shown if record.system == SALES_CONNECT]
    right = [record.uid for record in shown if record.system != SALES_CONNECT] + list(missing.values())
    places = _rows(left, right, neighbours)
    nodes = [_node(record, places, veil) for record in shown]
    nodes += [_missing(uid, places[name], veil) for uid, name in missing.items()]
    names = {record.uid: _name(record, veil) for record in shown} | {
        name: _id(uid, veil) for uid, name in missing.items()
    }
    at = {**{uid: (_LEFT, float(places[uid])) for uid in left}, **{uid: (_RIGHT, float(places[uid])) for uid in right}}
    drawn_hubs, taken = [], set[float]()
    points: list[dict[str, Any]] = []
    told = [(names[start], names[end], kind, thick) for start, end, kind, thick in edges]
    for number, (start, end, kind, thick) in enumerate(edges):
        points += _line(number, at[start], at[end], kind, thick=thick)
    for address, uids in sorted(hubs.items(), key=lambda item: (fmean(places[uid] for uid in item[1]), item[0])):
        row = int(fmean(places[uid] for uid in uids)) + _BETWEEN
        while row in taken:
            row += 1
        taken.add(row)
        label = visible(veil.address(address, address))
        drawn_hubs.append({"x": _MIDDLE, "y": row, "label": _cut(label)})
        for uid in uids:
            thick = any(uid in pair and pair <= set(uids) for pair in by_address)
            points += _line(len(points), at[uid], (_MIDDLE, row), _ADDRESS, thick=thick)
        told.append(
            (
                " and ".join(names[uid] for uid in uids[:-1]),
                names[uids[-1]],
                _ADDRESS,
                any(pair <= set(uids) for pair in by_address),
            )
        )
    rows = max([places[name] + 1 for name in places] + [int(row) + 1 for row in taken], default=0)
    more = len(person.records) - len(shown)
    left_out = f"{more:,} more records of this person aren't drawn." if more else ""
    return Drawn(rows, nodes, drawn_hubs, told, points, left_out)


def _chosen(person: Person) -> list[Record]:
    """The records to draw, in their order."""
    on_the_way = {uid for record in person.asked for pair, _ in _hops(record.way) for uid in pair}
    ranked = sorted(
        person.records, key=lambda record: (not record.asked, record.uid not in on_the_way, not record.opted_out)
    )
    kept = {record.uid for record in ranked[:MOST_NODES]}
    return [record for record in person.records if record.uid in kept]


def _hops(way: str | None) -> list[tuple[frozenset[str], str]]:
    """The pairs of records that a way goes over, and by what kind of link."""
    first, *rest = (way or "").split(" -[")
    hops, at = [], first
    for part in rest:
        kind, _, station = part.partition("]-> ")
        hops.append((frozenset((at, station)), kind))
        at = station
    return hops


def _rows(left: list[str], right: list[str], neighbours: dict[str, set[str]]) -> dict[str, int]:
    """A row for each record: neighbours opposite each other, as near as the order allows."""
    order = sorted(left, key=lambda uid: (-len(neighbours[uid]), uid)) if len(left) < len(right) else left
    rows = {uid: row for row, uid in enumerate(order)}
    for side, others in ((right, left), (left, right), (right, left)):
        known = [uid for uid in others if uid in rows]
        wish = {uid: fmean([rows[n] for n in neighbours[uid] & set(known)] or [len(known)]) for uid in side}
        rows |= {uid: row for row, uid in enumerate(sorted(side, key=lambda uid: (wish[uid], uid)))}
    for side in (left, right):
        # The shorter side stands in the middle of the longer one.
        shift = (max(len(left), len(right)) - len(side)) // 2
        for uid in side:
            rows[uid] += shift
    return rows


def _line(
    number: int, start: tuple[float, float], end: tuple[float, float], kind: str, *, thick: bool
) -> list[dict[str, Any]]:
    (x1, y1), (x2, y2) = start, end
    stations = [start, end]
    if x1 == x2:
        # Two records of one side: an arc in the free space between the sides, so that it meets no other record.
        bend = (0.05 + 0.02 * min(abs(y2 - y1), 4)) * (-1 if x1 > _MIDDLE else 1)
        stations = [
            (x1 + bend * (1 - (2 * step / _BENDS - 1) ** 2), y1 + (y2 - y1) * step / _BENDS)
            for step in range(_BENDS + 1)
        ]
    return [
        {
            "edge": f"{kind} {number}",
            "step": step,
            "x": round(x, 4),
            "y": round(y, 4),
            "kind": kind,
            "thick": "yes" if thick else "no",
        }
        for step, (x, y) in enumerate(stations)
    ]


def _node(record: Record, places: dict[str, int], veil: Veil) -> dict[str, Any]:
    left = record.system == SALES_CONNECT
    state = (
        "opted out"
        if record.opted_out
        else "not yet: the next run opts it out"
        if record.predicted
        else "not opted out"
    )
    told = ["opted out" if record.opted_out else "not opted out"]
    if record.opted_out:
        told.append(f"since {record.since:%Y-%m-%d}" if record.since else "date unknown")
        told += [record.how.replace("_", " ")] if record.how else []
        told += ["one user only"] if record.level == "user" else []
    if record.category:
        told.append(record.category)
    if record.converted:
        told.append("converted")
    return {
        "x": _LEFT if left else _RIGHT,
        "y": places[record.uid],
        "side": "left" if left else "right",
        "object": record.object,
        "state": state,
        "asked": record.asked,
        "record": _name(record, veil),
        "label": visible(", ".join(told)),
    }


def _missing(uid: str, row: int, veil: Veil) -> dict[str, Any]:
    return {
        "x": _RIGHT,
        "y": row,
        "side": "right",
        "object": "no record",
        "state": "not there",
        "asked": False,
        "record": _id(uid, veil),
        "label": "no such record, or it is deleted",
    }


def _name(record: Record, veil: Veil) -> str:
    return f"{record.object} {_id(record.uid, veil)}"


def _id(uid: str, veil: Veil) -> str:
    return _cut(visible(veil.text(uid.partition(":")[2])))


def _cut(text: str) -> str:
    return text if len(text) <= _LABEL else text[: _LABEL - 1] + "…"
