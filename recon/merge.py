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
from recon.identity import comparable, not_blank, odd_addresses, plain_address, with_id_parts
from recon.tables import MERGED

if TYPE_CHECKING:
    from recon.engine import Engine, Frame
    from recon.settings import Settings, SyncSettings

SALES_CONNECT, SALESFORCE = "sales_connect", "salesforce"
#: How many of the records that decide a cluster `caused_by` names.
CAUSES_NAMED = 3

#: Above the numbers of all rows.
_NO_NUMBER = 2**62

_ROW_COLUMNS = (
    *("id", "object", "email", "address", "opted_out", "carries", "kind", "own_at", "resubscribed_at"),
    *("is_converted", "fields", "how"),
)
#: What the rules look at: no text that is long.
_KEY_COLUMNS = (
    *("n", "object", "opted_out", "carries", "kind", "own_at", "resubscribed_at", "is_converted", "fields", "how"),
    *("a", "both", "link", "t", "v", "c", "s", "pointed"),
)
_TEXT_COLUMNS = ("n", "object", "id", "email", "address", "opted_out")


@dataclass(frozen=True, slots=True)
class Rows:
    """All live records of both systems, one row each, and what joins them.

    Long texts and what the rules look at are kept apart: the rules pass over millions of rows many times, and a row of theirs is short.

    Attributes
    ----------
    parts
        The people and the records, each held in the order of `n`: `n`, `id`, `object`, `email`, `address`, `opted_out` and more of each.
    odd
        `n` and `_told`, the address of rows that no engine can tell; None where there are none.
    keys
        Columns:

        * `n`: the row's number, by system and id; `object`, `opted_out`; `system`
        * `carries`: does the sync carry the row's flag (account level; an unknown level counts as account)
        * `kind`: of an opted-out row: choice, bounce or user; else null
        * `how`: how an opted-out person came to be so, where that is known
        * `own_at`: when the row was opted out, where it is and that is known; `resubscribed_at`
        * `is_converted`; `fields`: standard or custom where only that field is ticked and the setting is `both`, else null
        * `a`: the number of the first row with the same address; null where the address joins nothing; `both`: do rows of both systems have
          this address
        * `link`: linked, stale or broken, on people with a Salesforce ID; `t`: the number of the record that it leads to
        * `v`: on Leads, the number of the Contact that they became
        * `c`, `s`: the number of the first row of the cluster, of the sync component; `pointed`: is it a record that a person is linked to
    """

    parts: tuple[Frame, Frame]
    odd: Frame | None
    keys: Frame

    @property
    def texts(self) -> Frame:
        """`n`, `system`, `object`, `id`, `email`, `address`, `opted_out`."""
        return _with_system(self._told(_both(self.parts, _TEXT_COLUMNS)))

    @property
    def names(self) -> Frame:
        """`n`, `system`, `id`."""
        return _with_system(_both(self.parts, ("n", "object", "id"))).select("n", "system", "id")

    @property
    def found(self) -> Frame:
        """`keys` and `texts` in one, and `broken_id`: the Salesforce ID where it leads to no record."""
        texts = self._told(_both(self.parts, ("n", "id", "email", "address")))
        ids = self.parts[0].select("n", "salesforce_id")
        rows = self.keys.join(texts, on="n", how="left").join(ids, on="n", how="left")
        return rows.with_columns(broken_id=nw.when(nw.col("link") == "broken").then(nw.col("salesforce_id"))).drop(
            "salesforce_id"
        )

    def _told(self, texts: Frame) -> Frame:
        if self.odd is None:
            return texts
        told = texts.join(self.odd, on="n", how="left")
        return told.with_columns(address=nw.coalesce("address", "_told")).drop("_told")


def _both(parts: tuple[Frame, Frame], columns: tuple[str, ...]) -> Frame:
    return nw.concat([part.select(*columns) for part in parts], how="vertical")


def _with_system(frame: Frame) -> Frame:
    person = nw.col("object") == "Person"
    return frame.with_columns(system=nw.when(person).then(nw.lit(SALES_CONNECT)).otherwise(nw.lit(SALESFORCE)))


def rows(people: Frame, records: Frame, settings: Settings, engine: Engine) -> Rows:
    """All live records of both systems, with what joins them.

    Parameters
    ----------
    people, records
        In the shape of `recon.tables.PEOPLE` and `recon.tables.RECORDS`.
    settings
        `clusters.never_join`, `salesforce.opt_out_field` and `run.edges` are used.
    engine
        Where the frames live.
    """
    parts = _numbered(people, records, settings, engine)
    odd = odd_addresses(_both(parts, ("n", "email", "address")), engine)
    linked = engine.hold(_linked(parts, odd, settings, engine))
    clustered = _with_system(engine.hold(_clustered(linked, settings.run.edges, engine).select(*_KEY_COLUMNS)))
    engine.drop(linked)
    return Rows(parts, odd, clustered)


def _numbered(people: Frame, records: Frame, settings: Settings, engine: Engine) -> tuple[Frame, Frame]:
    """Both sides, each in the order of its ids; as `sales_connect` comes before `salesforce`, so do their numbers."""
    first = engine.number(_people_rows(people), ["id"], "n")
    # Over no rows an engine may tell null.
    last = engine.collect(first.select(nw.col("n").max())).column("n")[0].as_py()
    second = engine.number(_record_rows(records, settings), ["id"], "n")
    return first, second.with_columns(n=nw.col("n") + nw.lit(0 if last is None else last + 1))


def _people_rows(people: Frame) -> Frame:
    out = nw.col("unsubscribed")
    user = (nw.col("unsubscribe_level") == "user").fill_null(value=False)
    bounce = (nw.col("unsubscribe_source") == "bounce").fill_null(value=False)
    kind = (
        nw.when(out & user)
        .then(nw.lit("user"))
        .otherwise(
            nw.when(out & bounce)
            .then(nw.lit("bounce"))
            .otherwise(nw.when(out).then(nw.lit("choice")).otherwise(nw.lit(None, nw.String)))
        )
    )
    return people.with_columns(
        id=nw.col("person_id"),
        object=nw.lit("Person"),
        email=not_blank("email"),
        address=plain_address("email"),
        opted_out=out,
        carries=out & ~user,
        kind=kind,
        own_at=nw.when(out).then(nw.col("unsubscribed_at")),
        is_converted=nw.lit(value=False),
        fields=nw.lit(None, nw.String),
        salesforce_id=not_blank("salesforce_id"),
        how=nw.when(out).then(nw.col("unsubscribe_source")),
    ).select(*_ROW_COLUMNS, "salesforce_id")


def _record_rows(records: Frame, settings: Settings) -> Frame:
    standard, custom = nw.col("has_opted_out_of_email"), nw.col("sales_opt_out")
    fields = nw.lit(None, nw.String)
    if settings.salesforce.opt_out_field == "both":
        fields = (
            nw.when(standard & ~custom)
            .then(nw.lit("standard"))
            .otherwise(nw.when(custom & ~standard).then(nw.lit("custom")).otherwise(nw.lit(None, nw.String)))
        )
    out = nw.col("opted_out")
    return (
        records.filter(~nw.col("is_deleted"))
        .with_columns(fields=fields)
        .with_columns(
            id=nw.col("record_id"),
            email=not_blank("email"),
            address=plain_address("email"),
            carries=out,
            kind=nw.when(out).then(nw.lit("choice")).otherwise(nw.lit(None, nw.String)),
            own_at=nw.when(out).then(nw.col("opted_out_at")),
            converted_contact_id=nw.when(nw.col("object") == "Lead").then(nw.col("converted_contact_id")),
            how=nw.lit(None, nw.String),
        )
        .select(*_ROW_COLUMNS, "converted_contact_id")
    )


def _linked(parts: tuple[Frame, Frame], odd: Frame | None, settings: Settings, engine: Engine) -> Frame:
    """The keys of all rows with what joins them one by one: `a`, `both`, `link`, `t`, `v`."""
    people, records = parts
    every = _both(parts, ("n", *_ROW_COLUMNS[1:2], *_ROW_COLUMNS[3:]))
    if odd is not None:
        told = every.join(odd, on="n", how="left")
        every = told.with_columns(address=nw.coalesce("address", "_told")).drop("_told")
    never = comparable(settings.clusters.never_join)
    if never:
        every = every.with_columns(address=nw.when(~nw.col("address").is_in(never)).then(nw.col("address")))
    # Most addresses stand in one row only: the join is with the others.
    sizes = every.filter(~nw.col("address").is_null()).select(
        "n", "address", _person=(nw.col("object") == "Person").cast(nw.Int64)
    )
    sizes = sizes.group_by("address").agg(
        nw.col("n").min().alias("_first"), nw.len().alias("_size"), nw.col("_person").sum().alias("_people")
    )
    shared = sizes.filter(nw.col("_size") > 1).select(
        "address", "_first", both=(nw.col("_people") > 0) & (nw.col("_people") < nw.col("_size"))
    )
    joined = every.join(shared, on="address", how="left").with_columns(
        a=nw.when(~nw.col("address").is_null()).then(nw.coalesce("_first", "n")),
        both=nw.col("both").fill_null(value=False),
    )
    joined = joined.drop("address", "_first")
    joined = joined.join(_links(people, records, engine), on="n", how="left")
    contacts = records.filter(nw.col("object") == "Contact").select(
        nw.col("id").alias("converted_contact_id"), nw.col("n").alias("v")
    )
    leads = records.filter(~nw.col("converted_contact_id").is_null()).select("n", "converted_contact_id")
    became = engine.hold(leads.join(contacts, on="converted_contact_id", how="inner").select("n", "v"))
    return joined.join(became, on="n", how="left")


def _links(people: Frame, records: Frame, engine: Engine) -> Frame:
    """`n`, `link` and `t` of the people that have a Salesforce ID."""
    targets = records.select(
        nw.col("id").str.slice(0, 15).alias("id_body"),
        nw.col("id").str.slice(15, 3).alias("_check"),
        nw.col("n").alias("_t"),
        nw.col("is_converted").alias("_converted"),
    )
    named = people.filter(~nw.col("salesforce_id").is_null()).select("n", "salesforce_id")
    joined = with_id_parts(named, engine).join(targets, on="id_body", how="left")
    same = ~nw.col("_t").is_null() & (
        nw.col("id_check").is_null() | (nw.col("id_check") == nw.col("_check"))
    ).fill_null(value=False)
    joined = joined.with_columns(_same=same)
    link = (
        nw.when(~nw.col("_same"))
        .then(nw.lit("broken"))
        .otherwise(nw.when(nw.col("_converted")).then(nw.lit("stale")).otherwise(nw.lit("linked")))
    )
    return engine.hold(joined.select("n", link.alias("link"), nw.when(nw.col("_same")).then(nw.col("_t")).alias("t")))


def _clustered(found: Frame, most: int, engine: Engine) -> Frame:
    """Add `c` and `s`."""
    from recon.contraction import named  # SciPy takes a while to load

    grouped = found.with_columns(_k=nw.coalesce("a", "n"))
    names = named(edges(grouped), engine, most).rename({"node": "_k", "component": "_c"})
    grouped = grouped.join(names, on="_k", how="left").with_columns(c=nw.coalesce("_c", "_k")).drop("_c", "_k")
    # Every person has one Salesforce ID, so what the sync joins is one record and its people: no graph is needed.
    stars = grouped.filter(nw.col("link") == "linked").group_by("t").agg(nw.col("n").min().alias("_s"))
    star = nw.coalesce(nw.when(nw.col("link") == "linked").then(nw.col("t")), nw.col("n"))
    grouped = grouped.with_columns(_star=star).join(stars, left_on="_star", right_on="t", how="left")
    pointed = (nw.col("object") != "Person") & ~nw.col("_s").is_null()
    return grouped.with_columns(s=nw.coalesce("_s", "_star"), pointed=pointed).drop("_s", "_star")


def edges(grouped: Frame) -> Frame:
    """The links that lead from one address to another: the only graph there is.

    Parameters
    ----------
    grouped
        Rows with `n`, `t`, `v` and `_k`, the number of the first row of the same address, or the row's own where it has none that joins.

    Returns
    -------
    Frame
        `a` and `b`, two keys that differ; the link of a pair that has one address is no edge.
    """
    keys = grouped.select(nw.col("n").alias("_to"), nw.col("_k").alias("b"))
    ends = []
    for link in ("t", "v"):
        from_here = grouped.filter(~nw.col(link).is_null()).select(nw.col(link).alias("_to"), nw.col("_k").alias("a"))
        ends.append(from_here.join(keys, on="_to", how="inner").filter(nw.col("a") != nw.col("b")).select("a", "b"))
    return nw.concat(ends, how="vertical")


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
    out = rows.keys.filter(nw.col("opted_out")).select("n", "c", "system", "kind", "own_at")
    out = engine.hold(out.with_columns(_place=nw.col("n").rank("ordinal").over("c").cast(nw.Int64)))
    first = out.filter(nw.col("_place") <= CAUSES_NAMED).select("n", "c", "_place")
    first = engine.hold(first.join(rows.names, on="n", how="inner"))
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
    return engine.hold(groups.drop("_count", *(f"_uid_{place}" for place in range(1, CAUSES_NAMED + 1))))


def merged(rows: Rows, deciding: Frame, carried: Frame, sync: SyncSettings, engine: Engine) -> tuple[Frame, Frame]:
    """The table `recon.tables.MERGED`, and `n`: the people and the records, each in the order of `n`.

    Parameters
    ----------
    rows, deciding
        From `rows` and `causes`.
    carried, sync
        See `recon.nightly.predict`.
    """
    keys = rows.keys.select(
        *("n", "opted_out", "c", "s"),
        # Most rows are the first of their cluster: their own name is its name.
        _c=nw.when(nw.col("c") != nw.col("n")).then(nw.col("c")),
        _s=nw.when(nw.col("s") != nw.col("n")).then(nw.col("s")),
    )
    others = [keys.filter(~nw.col(name).is_null()).select(nw.col(name).alias("n")) for name in ("_c", "_s")]
    heads = engine.hold(nw.concat(others, how="vertical").unique())
    names = rows.names.join(heads, on="n", how="inner")
    names = engine.hold(names.select("n", nw.concat_str("system", nw.lit(":"), "id").alias("_name")))
    state = (
        nightly.predict(keys, carried, sync)
        .join(deciding.select("c", "caused_by", "opted_out_at"), on="c", how="left")
        .join(names.rename({"n": "_c", "_name": "cluster"}), on="_c", how="left")
        .join(names.rename({"n": "_s", "_name": "sync_component"}), on="_s", how="left")
        .select("n", "cluster", "sync_component", "predicted_opted_out", "caused_by", "opted_out_at")
    )
    if rows.odd is not None:
        state = state.join(rows.odd, on="n", how="left")
    people, records = rows.parts
    first = engine.collect(records.select(nw.col("n").min())).column("n")[0].as_py()
    mine = nw.col("n") < (first if first is not None else _NO_NUMBER)
    state = engine.hold(state)
    sides = (engine.beside(people, state.filter(mine), "n"), engine.beside(records, state.filter(~mine), "n"))
    engine.drop(state, heads, names)
    return _merged_side(sides[0], rows), _merged_side(sides[1], rows)


def _merged_side(side: Frame, rows: Rows) -> Frame:
    uid = nw.concat_str("system", nw.lit(":"), "id")
    address = nw.col("address") if rows.odd is None else nw.coalesce("address", "_told")
    side = _with_system(side).with_columns(
        address=address,
        cluster=nw.coalesce(nw.col("cluster"), uid),
        merged_opted_out=~nw.col("caused_by").is_null(),
        sync_component=nw.coalesce(nw.col("sync_component"), uid),
    )
    return side.select("n", *MERGED.names)
