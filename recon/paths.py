"""How an opt-out reaches a record: the shortest way from a record that is opted out to one that isn't, link by link.

One hop is what nearly all need, and comes from joins; so do the two hops between people of one record. Only the clusters of what is
left are walked, on the driver.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import narwhals.stable.v2 as nw
import pyarrow as pa

if TYPE_CHECKING:
    from recon.engine import Engine, Frame
    from recon.merge import Rows

#: The kinds of links as a path names them, the surest first.
KINDS = ("id", "converted", "address")

#: Up to here all links of a path are written.
HOPS_WRITTEN = 20

_SCHEMA = pa.schema([("n", pa.int64()), ("source", pa.int64()), ("path", pa.string()), ("hops", pa.int64())])


def paths(wanted: Frame, rows: Rows, deciding: Frame, engine: Engine) -> Frame:
    """The path by which an opt-out reaches each of these rows.

    An opt-out starts at the cluster's opt-outs by choice and at the flags that the sync carries to the row; where there are none of
    these, at any opted-out record of the cluster. Fewer hops come first; at one hop an id link before a conversion before an address,
    then the smallest source.

    Parameters
    ----------
    wanted
        Rows that aren't opted out although their cluster is: `n`, `c`, `s`, `a`, `t`, `v`, `object`, `star_carries`.
    rows, deciding
        From `recon.merge.rows` and `recon.merge.causes`.

    Returns
    -------
    Frame
        `n`; `source`, the number of the row that the opt-out starts at; `path`, as in `recon.tables.ACTIONS`; `hops`.
    """
    found = rows.keys
    out = found.filter(nw.col("opted_out")).select("n", "c", "s", "a", "t", "v", "link", "carries", "kind")
    by_choice = (nw.col("choice_sales_connect") | nw.col("choice_salesforce")).alias("by_choice")
    choices = deciding.select("c", by_choice)
    stars = out.filter(nw.col("carries")).select("s").unique().with_columns(in_carrying_star=nw.lit(value=True))
    out = out.join(choices, on="c", how="left").join(stars, on="s", how="left")
    out = engine.hold(out.with_columns(nw.col("in_carrying_star").fill_null(value=False)))
    wanted = engine.hold(wanted.join(choices, on="c", how="left"))
    direct = engine.hold(_direct(wanted, out))
    # Only the names that paths hold are looked up, and these once.
    needed = [wanted.select("n"), out.select("n"), wanted.filter(~nw.col("t").is_null()).select(nw.col("t").alias("n"))]
    names = rows.names.join(nw.concat(needed, how="vertical").unique(), on="n", how="inner")
    names = engine.hold(names.select("n", nw.concat_str("system", nw.lit(":"), "id").alias("uid")))
    one_hop = direct.filter(~nw.col("source").is_null())
    one_hop = one_hop.join(names, on="n", how="left").join(
        names.rename({"n": "source", "uid": "_from"}), on="source", how="left"
    )
    arrow = nw.concat_str(nw.lit(" -["), "via", nw.lit("]-> "))
    one_hop = one_hop.select("n", "source", nw.concat_str("_from", arrow, "uid").alias("path"), hops=nw.lit(1))
    rest = direct.filter(nw.col("source").is_null()).select("n")
    rest = engine.hold(rest.join(wanted, on="n", how="left"))
    two_hops = _over_the_record(rest.filter(nw.col("star_carries")), out, names)
    walked = engine.bring(_walk(rest.filter(~nw.col("star_carries")), rows, out, engine))
    parts = [engine.hold(part.with_columns(nw.col("hops").cast(nw.Int64))) for part in (one_hop, two_hops, walked)]
    return engine.hold(nw.concat(parts, how="vertical"))


def _smallest(frame: Frame, by: list[str], name: str) -> Frame:
    return frame.group_by(*by).agg(nw.col("n").min().alias(name))


def _direct(wanted: Frame, out: Frame) -> Frame:
    """Add `source` and `via` where one link is enough."""
    general = (nw.col("kind") == "choice") | ~nw.col("by_choice")
    # What the sync doesn't carry is no source where it carries another flag to the same record.
    of_its_star = (nw.col("link") == "linked") & nw.col("in_carrying_star")
    by_id = (nw.col("kind") == "choice") | (of_its_star & nw.col("carries")) | (~of_its_star & ~nw.col("by_choice"))
    linked_people = out.filter(~nw.col("t").is_null() & by_id)
    their_record = out.select(nw.col("n").alias("t"), nw.col("n").alias("_record"))
    their_people = _smallest(linked_people, ["t"], "_person").rename({"t": "n"})
    their_contact = out.select(nw.col("n").alias("v"), nw.col("n").alias("_contact"))
    their_lead = _smallest(out.filter(~nw.col("v").is_null()), ["v"], "_lead").rename({"v": "n"})
    addressed = out.filter(~nw.col("a").is_null())
    same_address = _smallest(addressed.filter(general), ["a"], "_anyone")
    same_star = _smallest(addressed.filter(nw.col("carries")), ["a", "s"], "_carrier")
    direct = (
        wanted.select("n", "s", "a", "t", "v", "star_carries", "by_choice")
        .join(their_record, on="t", how="left")
        .join(their_people, on="n", how="left")
        .join(their_contact, on="v", how="left")
        .join(their_lead, on="n", how="left")
        .join(same_address, on="a", how="left")
        .join(same_star, on=["a", "s"], how="left")
    )
    anyone = nw.when(nw.col("by_choice") | ~nw.col("star_carries")).then(nw.col("_anyone"))
    direct = direct.with_columns(_anyone=anyone).with_columns(
        _id=nw.coalesce("_record", "_person"),
        _converted=nw.coalesce("_contact", "_lead"),
        _address=nw.min_horizontal("_anyone", "_carrier"),
    )
    via = (
        nw.when(~nw.col("_id").is_null())
        .then(nw.lit("id"))
        .otherwise(
            nw.when(~nw.col("_converted").is_null()).then(nw.lit("converted")).otherwise(nw.lit("address")),
        )
    )
    return direct.select("n", nw.coalesce("_id", "_converted", "_address").alias("source"), via.alias("via"))


def _over_the_record(rest: Frame, out: Frame, names: Frame) -> Frame:
    """Person to record to person, where the sync carries it and no single link does."""
    carriers = _smallest(out.filter(nw.col("carries")), ["s"], "source")
    found = rest.join(carriers, on="s", how="left").join(names, on="n", how="left")
    found = found.join(names.rename({"n": "source", "uid": "_from"}), on="source", how="left")
    found = found.join(names.rename({"n": "t", "uid": "_over"}), on="t", how="left")
    text = nw.concat_str("_from", nw.lit(" -[id]-> "), "_over", nw.lit(" -[id]-> "), "uid")
    return found.select("n", "source", text.alias("path"), hops=nw.lit(2))


def _walk(rest: Frame, rows: Rows, out: Frame, engine: Engine) -> pa.Table:
    """Walk the clusters of the rows that no join reaches."""
    clusters = engine.hold(rest.select("c").unique())
    targets = engine.collect(rest.select("n")).column("n").to_pylist()
    if not targets:
        return _SCHEMA.empty_table()
    uid = nw.concat_str("system", nw.lit(":"), "id").alias("uid")
    members = rows.keys.select("n", "c", "a", "t", "v").join(clusters, on="c", how="inner")
    members = engine.collect(members.join(rows.names, on="n", how="inner").select("n", "a", "t", "v", uid))
    general = (nw.col("kind") == "choice") | ~nw.col("by_choice")
    sources = engine.collect(out.filter(general).join(clusters, on="c", how="inner").select("n"))
    came_from = _spread(members, sorted(sources.column("n").to_pylist()))
    uids = dict(zip(members.column("n").to_pylist(), members.column("uid").to_pylist(), strict=True))
    walked = []
    for n in sorted(targets):
        steps, at = [uids[n]], n
        while (step := came_from[at]) is not None:
            at, via = step
            steps += [f" -[{via}]-> ", uids[at]]
        steps.reverse()
        walked.append({"n": n, "source": at, "path": _written(steps), "hops": len(steps) // 2})
    return pa.Table.from_pylist(walked, schema=_SCHEMA)


def _written(steps: list[str]) -> str:
    """A path as text; the middle of a very long one is only counted, or a chain of thousands would take thousands of pages."""
    hops = len(steps) // 2
    if hops <= HOPS_WRITTEN:
        return "".join(steps)
    half = HOPS_WRITTEN // 2
    return "".join([*steps[: 2 * half], f"({hops - 2 * half} more)", *steps[-2 * half :]])


def _spread(members: pa.Table, sources: list[int]) -> dict[int, tuple[int, str] | None]:
    """Breadth first from all sources at once: for every row the neighbour it is reached from, and over which link.

    An address is one step for all that have it, so that a mailbox of thousands costs thousands and not their square.
    """
    linked: tuple[dict[int, list[int]], ...] = (defaultdict(list), defaultdict(list))
    at_address: dict[int, list[int]] = defaultdict(list)
    address_of: dict[int, int] = {}
    for row in members.to_pylist():
        n = row["n"]
        for neighbours, other in zip(linked, (row["t"], row["v"]), strict=True):
            if other is not None:
                neighbours[n].append(other)
                neighbours[other].append(n)
        if row["a"] is not None:
            at_address[row["a"]].append(n)
            address_of[n] = row["a"]
    came_from: dict[int, tuple[int, str] | None] = dict.fromkeys(sources)
    frontier = sources
    while frontier:
        # The surest kind of link first, then the smallest row: the same path in every run.
        steps = [
            (n, via, other)
            for via, neighbours in zip(KINDS, linked, strict=False)
            for n in frontier
            for other in sorted(neighbours[n])
        ]
        steps += [(n, KINDS[2], other) for n in frontier for other in at_address.pop(address_of.get(n, -1), ())]
        frontier = []
        for n, via, other in steps:
            if other not in came_from:
                came_from[other] = (n, via)
                frontier.append(other)
        frontier.sort()
    return came_from
