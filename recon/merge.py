"""Link, cluster, merge: which records of the two systems are one person, and is that person opted out anywhere.

One row stands for one live record of either system, numbered by system and id. Numbers instead of names make the joins cheap, and the
smallest number of a group is the smallest `system:id` of it, which is the group's stable name.

How it stays linear: rows group by address; an id link adds an edge only where the two sides' groups differ. That edge list is the only
graph, solved on the driver (contracted by the engine first, where it is too large for that) and joined back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import narwhals.stable.v2 as nw

from recon import nightly
from recon.identity import comparable, odd_addresses, with_id_parts
from recon.rows import SALES_CONNECT, SALESFORCE, Rows, both, link_number, numbered, outs, shorts, with_system
from recon.tables import MERGED

if TYPE_CHECKING:
    from recon.engine import Engine, Frame
    from recon.settings import Settings, SyncSettings

__all__ = ["SALESFORCE", "SALES_CONNECT", "Merged", "Rows", "causes", "edges", "merged", "rows"]

#: How many of the records that decide a cluster `caused_by` names.
CAUSES_NAMED = 3

#: Above the numbers of all rows.
_NO_NUMBER = 2**62


def rows(people: Frame, records: Frame, settings: Settings, engine: Engine) -> Rows:
    """All live records of both systems, with what joins them.

    Parameters
    ----------
    people, records
        In the shape of `recon.tables.PEOPLE` and `recon.tables.RECORDS`. Where they are held, they are let go of: what is needed of them is in
        the rows.
    settings
        `clusters.never_join`, `salesforce.opt_out_field` and `run.edges` are used.
    engine
        Where the frames live.
    """
    parts = numbered(people, records, settings, engine)
    engine.drop(people, records)
    odd = odd_addresses(both(parts, ("n", "email", "_form")), engine)
    ties = _ties(parts, odd, settings, engine)
    return Rows(parts, odd, ties, outs(parts, ties, engine))


def _ties(parts: tuple[Frame, Frame], odd: Frame | None, settings: Settings, engine: Engine) -> Frame:
    from recon.contraction import named  # SciPy takes a while to load

    people, records = parts
    shared = engine.hold(_shared(parts, odd, comparable(settings.clusters.never_join)))
    links = _links(people, records, engine)
    contacts = records.filter(~nw.col("lead")).select(
        nw.col("id").alias("converted_contact_id"), nw.col("n").alias("v")
    )
    leads = records.filter(~nw.col("converted_contact_id").is_null()).select("n", "converted_contact_id")
    became = engine.hold(leads.join(contacts, on="converted_contact_id", how="inner").select("n", "v"))
    names = named(edges(links.select("n", "t"), became, shared), engine, settings.run.edges)
    # Every person has one Salesforce ID, so what the sync joins is one record and its people: no graph is needed.
    linked = links.filter(nw.col("link") == 1)
    stars = engine.hold(linked.group_by("t").agg(nw.col("n").min().alias("_s")))
    starred = links.join(linked.select("n", "t").join(stars, on="t", how="inner").select("n", "_s"), on="n", how="left")
    # A null of the right type on every engine: no row's number is below 0.
    nothing = nw.when(nw.col("n") < 0).then(nw.col("n"))
    sides = (
        shorts(parts, 0).join(starred, on="n", how="left").with_columns(v=nothing, pointed=nw.lit(value=False)),
        shorts(parts, 1)
        .join(stars.rename({"t": "n"}), on="n", how="left")
        .join(became, on="n", how="left")
        .with_columns(link=nw.lit(0, nw.Int8), t=nothing, pointed=~nw.col("_s").is_null()),
    )
    every = nw.concat([side.select(*_SIDE) for side in sides], how="vertical")
    every = every.join(shared, on="n", how="left").with_columns(_k=nw.coalesce("a", "n"))
    every = every.join(names.rename({"node": "_k", "component": "_c"}), on="_k", how="left")
    every = every.with_columns(
        c=nw.coalesce("_c", "_k"),
        s=nw.coalesce("_s", "n"),
        both=nw.col("both").fill_null(value=False),
        link=nw.col("link").fill_null(0),
    )
    ties = engine.hold(every.drop("_c", "_k", "_s"))
    engine.drop(shared, links, became, stars, names)
    return ties


_SIDE = ("n", "person", "lead", "kind", "is_converted", "fields", "link", "t", "v", "_s", "pointed")


def _shared(parts: tuple[Frame, Frame], odd: Frame | None, never: list[str]) -> Frame:
    """The rows whose address another row has: `n`; `a`, the number of the first of them; `both`, are rows of both systems among them."""
    people, records = (part.select("n", "address") for part in parts)
    people = people.with_columns(_person=nw.lit(1, nw.Int64))
    every = nw.concat([people, records.with_columns(_person=nw.lit(0, nw.Int64))], how="vertical")
    every = every.filter(~nw.col("address").is_null())
    if odd is not None:
        told = [
            odd.join(part.select("n"), on="n", how="inner").select(
                "n", nw.col("_told").alias("address"), nw.lit(number, nw.Int64).alias("_person")
            )
            for number, part in ((1, parts[0]), (0, parts[1]))
        ]
        every = nw.concat([every, *told], how="vertical")
    if never:
        every = every.filter(~nw.col("address").is_in(never))
    sizes = every.group_by("address").agg(
        nw.col("n").min().alias("a"), nw.len().alias("_size"), nw.col("_person").sum().alias("_people")
    )
    # Many addresses stand in one row only: the join is with the others.
    shared = sizes.filter(nw.col("_size") > 1).select(
        "address", "a", both=(nw.col("_people") > 0) & (nw.col("_people") < nw.col("_size"))
    )
    return every.join(shared, on="address", how="inner").select("n", "a", "both")


def _links(people: Frame, records: Frame, engine: Engine) -> Frame:
    """`n`, `link` (as a number) and `t` of the people that have a Salesforce ID."""
    targets = records.select(
        nw.col("id").str.slice(0, 15).alias("id_body"),
        nw.col("id").str.slice(15, 3).alias("_check"),
        nw.col("n").alias("_t"),
        nw.col("is_converted").alias("_converted"),
    )
    named = people.filter(~nw.col("salesforce_id").is_null()).select("n", "salesforce_id")
    # Nearly all ids are the record's, sign by sign; only what isn't is taken apart.
    whole = records.select(
        nw.col("id").alias("salesforce_id"), nw.col("n").alias("t"), nw.col("is_converted").alias("_converted")
    )
    whole = engine.hold(named.join(whole, on="salesforce_id", how="left"))
    exact = whole.filter(~nw.col("t").is_null())
    exact = exact.select("n", link_number(nw.lit(value=False), nw.col("_converted")).alias("link"), "t")
    named = whole.filter(nw.col("t").is_null()).select("n", "salesforce_id")
    joined = engine.hold(with_id_parts(named, engine))
    bodies = joined.select("id_body").group_by("id_body").agg(nw.len().alias("_rows")).select("id_body")
    joined = joined.join(targets.join(bodies, on="id_body", how="inner"), on="id_body", how="left")
    same = ~nw.col("_t").is_null() & (
        nw.col("id_check").is_null() | (nw.col("id_check") == nw.col("_check"))
    ).fill_null(value=False)
    joined = joined.with_columns(_same=same)
    link = link_number(broken=~nw.col("_same"), stale=nw.col("_converted"))
    rest = joined.select("n", link.alias("link"), nw.when(nw.col("_same")).then(nw.col("_t")).alias("t"))
    links = engine.hold(nw.concat([exact, rest], how="vertical"))
    engine.drop(whole)
    return links


def edges(links: Frame, became: Frame, shared: Frame) -> Frame:
    """The links that lead from one address to another: the only graph there is.

    Parameters
    ----------
    links, became
        `n` and the number of the record that the person is linked to, `t` (may be null), or of the Contact that the Lead became, `v`.
    shared
        `n`, and `a`, the number of the first row of the same address, of the rows that share theirs. A row that isn't there stands for itself.

    Returns
    -------
    Frame
        `a` and `b`, two numbers that differ; the link of a pair that has one address is no edge.
    """
    ends = [
        links.filter(~nw.col("t").is_null()).select("n", nw.col("t").alias("_to")),
        became.select("n", nw.col("v").alias("_to")),
    ]
    joined = nw.concat(ends, how="vertical").join(shared.select("n", "a"), on="n", how="left")
    joined = joined.join(shared.select(nw.col("n").alias("_to"), nw.col("a").alias("b")), on="_to", how="left")
    found = joined.select(nw.coalesce("a", "n").alias("a"), nw.coalesce("b", "_to").alias("b"))
    return found.filter(nw.col("a") != nw.col("b"))


def causes(rows: Rows, engine: Engine) -> Frame:
    """What every cluster with an opted-out record has to say.

    Parameters
    ----------
    rows
        From `rows`.

    Returns
    -------
    Frame
        One row a cluster `c`: `caused_by` and `opted_out_at` as in `recon.tables.MERGED`; whether there is an opt-out by `choice` in
        either system (`choice_sales_connect`, `choice_salesforce`), a `user`-level one, a `bounce`.
    """
    out = rows.outs.select("n", "c", "system", "id", "kind", "own_at")
    out = engine.hold(out.with_columns(_place=nw.col("n").rank("ordinal").over("c").cast(nw.Int64)))
    first = out.filter(nw.col("_place") <= CAUSES_NAMED).select("c", "_place", "system", "id")
    choice = nw.col("kind") == "choice"
    groups = out.with_columns(
        _sc=choice & (nw.col("system") == SALES_CONNECT),
        _sf=choice & (nw.col("system") == SALESFORCE),
        _user=nw.col("kind") == "user",
        _bounce=nw.col("kind") == "bounce",
    )
    groups = groups.group_by("c").agg(
        nw.col("own_at").max().alias("opted_out_at"),
        nw.len().alias("_count"),
        nw.col("_sc").any().alias("choice_sales_connect"),
        nw.col("_sf").any().alias("choice_salesforce"),
        nw.col("_user").any().alias("user"),
        nw.col("_bounce").any().alias("bounce"),
    )
    named = []
    for place in range(1, CAUSES_NAMED + 1):
        uid = nw.concat_str(nw.lit("" if place == 1 else "; "), nw.col("system"), nw.lit(":"), nw.col("id"))
        one = first.filter(nw.col("_place") == place).select("c", uid.alias(f"_uid_{place}"))
        groups = groups.join(one, on="c", how="left")
        named.append(nw.col(f"_uid_{place}").fill_null(""))
    rest = nw.when(nw.col("_count") > CAUSES_NAMED).then(
        nw.concat_str(nw.lit(" (+"), (nw.col("_count") - CAUSES_NAMED).cast(nw.String), nw.lit(" more)"))
    )
    groups = groups.with_columns(caused_by=nw.concat_str(*named, rest.fill_null("")))
    groups = engine.hold(groups.drop("_count", *(f"_uid_{place}" for place in range(1, CAUSES_NAMED + 1))))
    engine.drop(out)
    return groups


@dataclass(frozen=True, slots=True)
class Merged:
    """The table `recon.tables.MERGED`, made where it is needed: of all rows in their order, or of a few.

    Attributes
    ----------
    sides
        All rows and `n`: the people and the records, each in the order of `n`.
    """

    rows: Rows
    clusters: Frame
    components: Frame
    sync: SyncSettings
    sides: tuple[Frame, Frame]

    def of(self, some: Frame) -> Frame:
        """The rows of the table, and `n`, for some rows of `recon.rows.Rows.keys`."""
        state = _of_components(some.select("n", "c", "s", "opted_out"), self.components, self.sync)
        state = _of_clusters(state, self.clusters)
        if self.rows.odd is not None:
            state = state.join(self.rows.odd, on="n", how="left")
        return _shaped(self.rows.texts_of(state), self.rows)


def merged(rows: Rows, deciding: Frame, carried: Frame, sync: SyncSettings, engine: Engine) -> Merged:
    """The table `recon.tables.MERGED`.

    Parameters
    ----------
    rows, deciding
        From `rows` and `causes`.
    carried, sync
        See `recon.nightly.carriers` and `predict`.
    """
    keys = rows.ties.select("n", "c", "s", opted_out=nw.col("kind") > 0)
    clusters, components = _groups(rows, keys, deciding, carried, engine)
    # In steps that are held: so an engine of little memory has in it the groups of one kind at a time, and none beside a sort.
    with_components = engine.hold(_of_components(keys, components, sync))
    told = engine.hold(_of_clusters(with_components, clusters))
    engine.drop(with_components)
    state = told if rows.odd is None else told.join(rows.odd, on="n", how="left")
    people, records = rows.parts
    first = engine.collect(records.select(nw.col("n").min())).column("n")[0].as_py()
    mine = nw.col("n") < (first if first is not None else _NO_NUMBER)
    texts = ("n", "id", "object", "email", "address", "opted_out")
    sides = (
        _shaped(engine.beside(people.select(*texts), state.filter(mine), "n"), rows),
        _shaped(engine.beside(records.select(*texts), state.filter(~mine), "n"), rows),
    )
    engine.drop(told)
    return Merged(rows, clusters, components, sync, sides)


def _groups(rows: Rows, keys: Frame, deciding: Frame, carried: Frame, engine: Engine) -> tuple[Frame, Frame]:
    """What the clusters and the sync components say to their rows, one row each; of those of which there is something to say.

    Returns
    -------
    tuple of Frame
        `c`, `cluster`, `caused_by`, `opted_out_at`; and `s`, `sync_component`, `star_carries`. A group of one row needs no name: it is the row's own.
    """
    larger = {name: keys.filter(nw.col(name) != nw.col("n")).select(name) for name in ("c", "s")}
    distinct = _each_once(nw.concat([each.rename({name: "n"}) for name, each in larger.items()], how="vertical"), "n")
    names = rows.names.join(distinct, on="n", how="inner")
    names = engine.hold(names.select("n", nw.concat_str("system", nw.lit(":"), "id").alias("_name")))

    def told(of: str, found: Frame, name: str) -> Frame:
        every = _each_once(nw.concat([larger[of], found.select(of)], how="vertical"), of)
        named = every.join(names.rename({"n": of, "_name": name}), on=of, how="left")
        return engine.hold(named.join(found, on=of, how="left"))

    clusters = told("c", deciding.select("c", "caused_by", "opted_out_at"), "cluster")
    components = told("s", carried.select("s", "star_carries"), "sync_component")
    engine.drop(names)
    return clusters, components


def _each_once(numbers: Frame, name: str) -> Frame:
    """Numbers, each once: grouped, as only that is cheap on every engine."""
    return numbers.group_by(name).agg(nw.len().alias("_rows")).select(name)


def _of_components(keys: Frame, components: Frame, sync: SyncSettings) -> Frame:
    """To `n`, `c`, `s`, `opted_out` what the component says: its name, if not the row's own, and the flag after the next nightly run."""
    found = nightly.predict(keys.join(components, on="s", how="left"), sync)
    return found.select("n", "c", "sync_component", "predicted_opted_out")


def _of_clusters(keys: Frame, clusters: Frame) -> Frame:
    """To `n`, `c` and more what the cluster says: its name, if not the row's own, and its opt-outs."""
    return keys.join(clusters, on="c", how="left").drop("c")


def _shaped(side: Frame, rows: Rows) -> Frame:
    uid = nw.concat_str("system", nw.lit(":"), "id")
    address = nw.col("address") if rows.odd is None else nw.coalesce("address", "_told")
    side = with_system(side).with_columns(
        address=address,
        cluster=nw.coalesce(nw.col("cluster"), uid),
        merged_opted_out=~nw.col("caused_by").is_null(),
        sync_component=nw.coalesce(nw.col("sync_component"), uid),
    )
    return side.select("n", *MERGED.names)
