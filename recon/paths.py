"""How an opt-out reaches a record: the shortest way from a record that is opted out to one that isn't, link by link.

One hop is what nearly all need, and comes from joins; so do the two hops between people of one record. Only the clusters of what is
left are walked, on the driver, some at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import narwhals.stable.v2 as nw
import numpy as np
import pyarrow as pa

from recon.spread import NONE, Links

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from recon.engine import Engine, Frame
    from recon.merge import Rows

#: The kinds of links as a path names them, the surest first.
KINDS = ("id", "converted", "address")

#: Up to here all links of a path are written.
HOPS_WRITTEN = 20

#: So many records of clusters are walked at once, of about 500 bytes each; a larger cluster is walked whole.
WALKED_AT_ONCE = 250_000

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
    out = rows.outs.select("n", "c", "s", "a", "t", "v", "link", "carries", "kind")
    by_choice = (nw.col("choice_sales_connect") | nw.col("choice_salesforce")).alias("by_choice")
    choices = deciding.select("c", by_choice)
    stars = out.filter(nw.col("carries")).group_by("s").agg(nw.len().alias("_rows"))
    stars = stars.select("s", in_carrying_star=nw.lit(value=True))
    out = out.join(choices, on="c", how="left").join(stars, on="s", how="left")
    out = engine.hold(out.with_columns(nw.col("in_carrying_star").fill_null(value=False)))
    wanted = engine.hold(wanted.join(choices, on="c", how="left"))
    direct = engine.hold(_direct(wanted, out))
    # Only the names that paths hold are looked up, and these once.
    needed = [wanted.select("n"), out.select("n"), wanted.filter(~nw.col("t").is_null()).select(nw.col("t").alias("n"))]
    distinct = nw.concat(needed, how="vertical").group_by("n").agg(nw.len().alias("_rows")).select("n")
    names = rows.names.join(distinct, on="n", how="inner")
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
    walked = [engine.bring(part) for part in _walk(rest.filter(~nw.col("star_carries")), rows, out, engine)]
    parts = [engine.hold(part.with_columns(nw.col("hops").cast(nw.Int64))) for part in (one_hop, two_hops, *walked)]
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


def _walk(rest: Frame, rows: Rows, out: Frame, engine: Engine) -> Iterator[pa.Table]:
    """Walk the clusters of the rows that no join reaches: in parts, each of whole clusters."""
    yes = nw.lit(value=True)
    targets = engine.hold(rest.select("n", "c", target=yes))
    clusters = targets.group_by("c").agg(nw.len().alias("_rows")).select("c")
    general = (nw.col("kind") == "choice") | ~nw.col("by_choice")
    starts = out.filter(general).select("n", start=yes)
    uid = nw.concat_str("system", nw.lit(":"), "id").alias("uid")
    members = rows.ties.select("n", "c", "a", "t", "v").join(clusters, on="c", how="inner")
    members = members.join(rows.names, on="n", how="inner").select("n", "c", "a", "t", "v", uid)
    members = members.join(targets.select("n", "target"), on="n", how="left").join(starts, on="n", how="left")
    members = engine.hold(members)
    engine.drop(targets)
    for part in _in_parts(members, engine):
        yield _walked(engine.collect(part.drop("c")).sort_by("n"))
    engine.drop(members)


def _in_parts(members: Frame, engine: Engine) -> Iterator[Frame]:
    """The rows of clusters in parts: all of one cluster in one of them, and no more than there may be if no cluster is larger."""
    count = engine.collect(members.select(rows=nw.len())).column("rows")[0].as_py()
    if not count:
        return
    if count <= WALKED_AT_ONCE:
        yield members
        return
    numbered = engine.number(members, ["c", "n"], "_row")
    placed = engine.hold(numbered.with_columns(_first=nw.col("_row").min().over("c")))
    # A cluster that begins in a part and ends beyond it takes up as much again at most.
    size = max(WALKED_AT_ONCE // 2, 1)
    for begins in range(0, count, size):
        here = (nw.col("_first") >= begins) & (nw.col("_first") < begins + size)
        yield placed.filter(here).drop("_row", "_first")
    engine.drop(placed, numbered)


def _walked(told: pa.Table) -> pa.Table:
    """The paths to the rows of clusters that are targets, from those that opt-outs start at.

    Parameters
    ----------
    told
        All rows of some clusters in the order of `n`: `n`, `a`, `t`, `v`, `uid`, `target`, `start` (true or null).
    """
    n = _numbers(told, "n")
    pairs = [_places(told, name, n) for name in ("t", "v")]
    here, address = _places(told, "a", n)
    of_address = np.full(len(n), NONE, dtype=np.int64)
    of_address[here] = address
    links = Links(len(n), pairs, of_address)
    starts, targets = (np.flatnonzero(told.column(name).is_valid().to_numpy()) for name in ("start", "target"))
    return _ways(targets, *links.spread(starts), told) if len(targets) else _SCHEMA.empty_table()


def _numbers(table: pa.Table, name: str) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = table.column(name).to_numpy()
    return numbers


def _places(table: pa.Table, name: str, n: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of the rows that have a number in a column, and those of the rows that have these numbers."""
    column = table.column(name)
    here = np.flatnonzero(column.is_valid().to_numpy())
    return here, np.searchsorted(n, column.drop_null().to_numpy())


def _ways(targets: NDArray[np.int64], came_from: NDArray[np.int64], via: NDArray[np.int64], told: pa.Table) -> pa.Table:
    """The paths to these places, as text."""
    uids, numbers = told.column("uid"), told.column("n")
    back, kinds = came_from.tolist(), via.tolist()
    trails = []
    for target in targets.tolist():
        trail = [target]
        while (at := back[trail[-1]]) != NONE:
            trail.append(at)
        trails.append(trail)
    on_the_way = np.unique(np.fromiter((at for trail in trails for at in trail), dtype=np.int64))
    name = dict(zip(on_the_way.tolist(), uids.take(on_the_way).to_pylist(), strict=True))
    walked = []
    for trail in trails:
        steps = [name[trail[-1]]]
        for at in trail[-2::-1]:
            steps += [f" -[{KINDS[kinds[at]]}]-> ", name[at]]
        walked.append((_written(steps), len(trail) - 1))
    paths, hops = zip(*walked, strict=True)
    columns = [
        numbers.take(targets).cast(pa.int64()),
        numbers.take(np.array([trail[-1] for trail in trails])).cast(pa.int64()),
        pa.array(paths, pa.string()),
        pa.array(hops, pa.int64()),
    ]
    return pa.table(columns, schema=_SCHEMA)


def _written(steps: list[str]) -> str:
    """A path as text; the middle of a very long one is only counted, or a chain of thousands would take thousands of pages."""
    hops = len(steps) // 2
    if hops <= HOPS_WRITTEN:
        return "".join(steps)
    half = HOPS_WRITTEN // 2
    return "".join([*steps[: 2 * half], f"({hops - 2 * half} more)", *steps[-2 * half :]])
