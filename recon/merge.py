"""Link, cluster, merge: which records of the two systems are one person, and is that person opted out anywhere.

One row stands for one live record of either system, numbered by system and id. Numbers instead of names make the joins cheap, and the
smallest number of a group is the smallest `system:id` of it, which is the group's stable name.

How it stays linear: rows group by address; an id link adds an edge only where the two sides' groups differ. That edge list is the only
graph, solved on the driver (contracted by the engine first, where it is too large for that) and joined back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import narwhals.stable.v2 as nw

from recon.identity import comparable, not_blank, with_address, with_id_parts

if TYPE_CHECKING:
    from recon.engine import Engine, Frame
    from recon.settings import Settings

SALES_CONNECT, SALESFORCE = "sales_connect", "salesforce"
#: How many of the records that decide a cluster `caused_by` names.
CAUSES_NAMED = 3

_ROW_COLUMNS = (
    *("system", "id", "object", "email", "opted_out", "carries", "kind", "own_at", "resubscribed_at"),
    *("is_converted", "converted_contact_id", "fields", "salesforce_id", "how"),
)


def rows(people: Frame, records: Frame, settings: Settings, engine: Engine) -> Frame:
    """All live records of both systems, one row each, with what joins them.

    Parameters
    ----------
    people, records
        In the shape of `recon.tables.PEOPLE` and `recon.tables.RECORDS`.
    settings
        `clusters.never_join`, `salesforce.opt_out_field` and `run.edges` are used.
    engine
        Where the frames live.

    Returns
    -------
    Frame
        Columns:

        * `n`: the row's number, by system and id; `system`, `id`, `object`, `email`, `address`, `opted_out`
        * `carries`: does the sync carry the row's flag (account level; an unknown level counts as account)
        * `kind`: of an opted-out row: choice, bounce or user; else null
        * `how`: how an opted-out person came to be so, where that is known
        * `own_at`: when the row was opted out, where it is and that is known; `resubscribed_at`
        * `is_converted`; `fields`: standard or custom where only that field is ticked and the setting is `both`, else null
        * `a`: the number of the first row with the same address; null where the address joins nothing
        * `link`: linked, stale or broken, on people with a Salesforce ID; `t`: the number of the record that it leads to;
          `broken_id`: the Salesforce ID where it leads to none
        * `v`: on Leads, the number of the Contact that they became
        * `c`, `s`: the number of the first row of the cluster, of the sync component
    """
    found = engine.hold(_numbered(people, records, settings, engine))
    found = engine.hold(_linked(found))
    return engine.hold(_clustered(found, settings.run.edges, engine))


def _numbered(people: Frame, records: Frame, settings: Settings, engine: Engine) -> Frame:
    both = nw.concat([_people_rows(people), _record_rows(records, settings)], how="vertical")
    numbered = engine.number(both, ["system", "id"], "n")
    addressed = with_id_parts(with_address(engine.hold(numbered), engine), engine)
    joining = ~nw.col("address").is_null()
    never = comparable(settings.clusters.never_join)
    if never:
        joining = joining & ~nw.col("address").is_in(never)
    addressed = engine.hold(addressed.with_columns(_joins=joining))
    firsts = addressed.filter(nw.col("_joins")).group_by("address").agg(nw.col("n").min().alias("_first"))
    grouped = addressed.join(firsts, on="address", how="left")
    return grouped.with_columns(a=nw.when(nw.col("_joins")).then(nw.col("_first"))).drop("_joins", "_first")


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
        system=nw.lit(SALES_CONNECT),
        id=nw.col("person_id"),
        object=nw.lit("Person"),
        email=not_blank("email"),
        opted_out=out,
        carries=out & ~user,
        kind=kind,
        own_at=nw.when(out).then(nw.col("unsubscribed_at")),
        is_converted=nw.lit(value=False),
        converted_contact_id=nw.lit(None, nw.String),
        fields=nw.lit(None, nw.String),
        salesforce_id=not_blank("salesforce_id"),
        how=nw.when(out).then(nw.col("unsubscribe_source")),
    ).select(*_ROW_COLUMNS)


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
            system=nw.lit(SALESFORCE),
            id=nw.col("record_id"),
            email=not_blank("email"),
            carries=out,
            kind=nw.when(out).then(nw.lit("choice")).otherwise(nw.lit(None, nw.String)),
            own_at=nw.when(out).then(nw.col("opted_out_at")),
            converted_contact_id=nw.when(nw.col("object") == "Lead").then(nw.col("converted_contact_id")),
            salesforce_id=nw.lit(None, nw.String),
            how=nw.lit(None, nw.String),
        )
        .select(*_ROW_COLUMNS)
    )


def _linked(found: Frame) -> Frame:
    """Add `link` and `t` to people, `v` to Leads that became a Contact."""
    records = found.filter(nw.col("system") == SALESFORCE)
    targets = records.select(
        nw.col("id").str.slice(0, 15).alias("id_body"),
        nw.col("id").str.slice(15, 3).alias("_check"),
        nw.col("n").alias("_t"),
        nw.col("is_converted").alias("_converted"),
    )
    contacts = records.filter(nw.col("object") == "Contact").select(
        nw.col("id").alias("converted_contact_id"), nw.col("n").alias("v")
    )
    joined = found.join(targets, on="id_body", how="left").join(contacts, on="converted_contact_id", how="left")
    same = ~nw.col("_t").is_null() & (
        nw.col("id_check").is_null() | (nw.col("id_check") == nw.col("_check"))
    ).fill_null(value=False)
    joined = joined.with_columns(_same=same)
    link = (
        nw.when(nw.col("salesforce_id").is_null())
        .then(nw.lit(None, nw.String))
        .otherwise(
            nw.when(~nw.col("_same"))
            .then(nw.lit("broken"))
            .otherwise(nw.when(nw.col("_converted")).then(nw.lit("stale")).otherwise(nw.lit("linked")))
        )
    )
    joined = joined.with_columns(link=link, t=nw.when(nw.col("_same")).then(nw.col("_t")))
    return joined.with_columns(broken_id=nw.when(nw.col("link") == "broken").then(nw.col("salesforce_id"))).drop(
        "_t", "_check", "_converted", "_same", "id_body", "id_check", "salesforce_id", "converted_contact_id"
    )


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
    return grouped.with_columns(s=nw.coalesce("_s", "_star")).drop("_s", "_star")


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


def causes(found: Frame, engine: Engine) -> Frame:
    """What every cluster with an opted-out record has to say.

    Returns
    -------
    Frame
        One row a cluster `c`: `caused_by` and `opted_out_at` as in `recon.tables.MERGED`; whether there is an opt-out by `choice` in
        either system (`choice_sales_connect`, `choice_salesforce`), a `user`-level one, a `bounce`.
    """
    out = found.filter(nw.col("opted_out")).select("n", "c", "system", "id", "kind", "own_at")
    out = engine.hold(out.with_columns(_place=nw.col("n").rank("ordinal").over("c").cast(nw.Int64)))
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
        one = out.filter(nw.col("_place") == place).select("c", uid.alias(f"_uid_{place}"))
        groups = groups.join(one, on="c", how="left")
        named.append(nw.col(f"_uid_{place}").fill_null(""))
    rest = nw.when(nw.col("_count") > CAUSES_NAMED).then(
        nw.concat_str(nw.lit(" (+"), (nw.col("_count") - CAUSES_NAMED).cast(nw.String), nw.lit(" more)"))
    )
    groups = groups.with_columns(caused_by=nw.concat_str(*named, rest.fill_null("")))
    return engine.hold(groups.drop("_count", *(f"_uid_{place}" for place in range(1, CAUSES_NAMED + 1))))


def merged(found: Frame, deciding: Frame, predicted: Frame) -> Frame:
    """The table `recon.tables.MERGED`, and `n`.

    Parameters
    ----------
    found
        From `rows`.
    deciding
        From `causes`.
    predicted
        From `recon.nightly.predict`: `n` and `predicted_opted_out`.
    """
    names = found.select("n", nw.concat_str("system", nw.lit(":"), "id").alias("_name"))
    table = (
        found.join(deciding.select("c", "caused_by", "opted_out_at"), on="c", how="left")
        .join(predicted, on="n", how="left")
        .join(names.rename({"n": "c", "_name": "cluster"}), on="c", how="left")
        .join(names.rename({"n": "s", "_name": "sync_component"}), on="s", how="left")
    )
    table = table.with_columns(merged_opted_out=~nw.col("caused_by").is_null())
    return table.select(
        *(
            "n",
            "system",
            "id",
            "object",
            "email",
            "address",
            "opted_out",
            "cluster",
            "merged_opted_out",
            "sync_component",
        ),
        *("predicted_opted_out", "caused_by", "opted_out_at"),
    )
