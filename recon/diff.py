"""Diff: the records that need action, each with its categories, who mends it, until when, how the opt-out gets there, and a sentence.

Only setting an opt-out is ever proposed from a disagreement. Clearing one comes only from an approved resubscribe.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import narwhals.stable.v2 as nw
import numpy as np
import pyarrow as pa

from recon.categories import CATEGORIES
from recon.explain import ANSWERED, with_explanation
from recon.merge import SALES_CONNECT, SALESFORCE
from recon.paths import paths
from recon.rows import both
from recon.tables import ACTIONS, MERGED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recon.engine import Engine, Frame
    from recon.merge import Merged, Rows
    from recon.settings import ActionSettings, Settings


def actions(
    rows: Rows,
    merged: Merged,
    deciding: Frame,
    carried: Frame,
    settings: Settings,
    engine: Engine,
    answered: Sequence[str] = (),
) -> Frame:
    """The table `recon.tables.ACTIONS`, and `n`.

    Parameters
    ----------
    rows, merged, deciding
        From `recon.merge`: `rows`, `merged`, and `causes`.
    carried
        From `recon.nightly.carriers`.
    settings
        `sync.enabled`, `salesforce.opt_out_field` and `actions` are used.
    answered
        Ids of converted Leads whose opt-out a documented resubscribe has answered: where nothing else opts a person out by choice, nobody is
        to set anything.
    """
    candidates = engine.hold(_candidates(rows, deciding, carried, engine))
    needing = candidates.filter(nw.col("needs"))
    ways = paths(needing, rows, deciding, engine)
    # What an opt-out starts at is opted out.
    sources = rows.outs.select(
        nw.col("n").alias("source"),
        nw.col("object").alias("source_object"),
        nw.col("own_at").alias("source_at"),
        nw.col("id").alias("source_id"),
    )
    told = candidates.join(ways, on="n", how="left").join(sources, on="source", how="left")
    told = engine.hold(_told(told, settings))
    told = with_explanation(_due(told, settings.actions, engine))
    if answered:
        told = _answered(told, rows, answered, engine)
    extra = told.select("n", "category", "categories", "fix", "due_by", "path", "explanation")
    return (
        merged.of(candidates)
        .join(extra, on="n", how="inner")
        .select("n", *MERGED.names, *ACTIONS.names[len(MERGED.names) :])
    )


def _candidates(rows: Rows, deciding: Frame, carried: Frame, engine: Engine) -> Frame:
    """The rows that may need action, with what decides about them."""
    groups = deciding.select("c", "choice_sales_connect", "choice_salesforce", "user", "bounce", "opted_out_at")
    needs = ~nw.col("opted_out") & ~nw.col("user").is_null()
    odd = nw.col("link").is_in(["broken", "stale"]).fill_null(value=False) | ~nw.col("fields").is_null()
    found = rows.keys.join(groups, on="c", how="left").with_columns(needs=needs).filter(nw.col("needs") | odd)
    found = found.join(carried, on="s", how="left")
    back = both(rows.parts, ("n", "resubscribed_at")).filter(~nw.col("resubscribed_at").is_null())
    in_cluster = ("choice_sales_connect", "choice_salesforce", "user", "bounce", "star_carries")
    found = found.with_columns(*(nw.col(name).fill_null(value=False) for name in in_cluster))
    found = engine.hold(found.join(back, on="n", how="left"))

    lost = rows.outs.filter(~nw.col("v").is_null()).group_by("v").agg(nw.len().alias("_lost"))
    choices = rows.outs.filter((nw.col("kind") == "choice") & ~nw.col("a").is_null())
    choices = choices.group_by("a", "system").agg(
        nw.col("s").min().alias("_low"), nw.col("s").max().alias("_high"), nw.len().alias("_number")
    )
    other = nw.when(nw.col("system") == SALES_CONNECT).then(nw.lit(SALESFORCE)).otherwise(nw.lit(SALES_CONNECT))
    across = choices.with_columns(system=other).rename({"_number": "_across"})
    within = choices.select("a", "system", nw.col("_number").alias("_within"))
    found = (
        found.join(lost.rename({"v": "n"}), on="n", how="left")
        .join(across, on=["a", "system"], how="left")
        .join(within, on=["a", "system"], how="left")
    )
    elsewhere = ((nw.col("_low") != nw.col("s")) | (nw.col("_high") != nw.col("s"))).fill_null(value=False)
    return found.with_columns(
        lost=~nw.col("_lost").is_null(), across=elsewhere, within=~nw.col("_within").is_null()
    ).drop("_lost", "_low", "_high", "_across", "_within")


def _told(rows: Frame, settings: Settings) -> Frame:
    """Add `category`, `categories`, `fix`; and what the sentences need."""
    enabled = settings.sync.enabled
    needs, carried = nw.col("needs"), nw.col("star_carries")
    # A resubscribe was made here, and no opt-out of the component is known to be newer.
    newer = (nw.col("star_at") > nw.col("resubscribed_at")).fill_null(value=False)
    reverts = needs & carried & ~nw.col("resubscribed_at").is_null() & ~newer & nw.lit(enabled)
    by_choice = nw.col("choice_sales_connect") | nw.col("choice_salesforce")
    nobody_chose = needs & ~by_choice & ~carried
    applies = {
        "field_disagrees": ~nw.col("fields").is_null(),
        "broken_link": (nw.col("link") == "broken").fill_null(value=False),
        "stale_link": (nw.col("link") == "stale").fill_null(value=False),
        "lost_on_conversion": needs & (nw.col("object") == "Contact") & nw.col("lost"),
        "awaiting_sync": needs & carried & ~reverts & nw.lit(enabled),
        "sync_off": needs & carried & nw.lit(not enabled),
        "unlinked_match": needs & nw.col("across"),
        "duplicate_disagrees": needs & nw.col("within"),
        "user_level_only": nobody_chose & nw.col("user"),
        "bounce": nobody_chose & nw.col("bounce"),
        "will_revert": reverts,
    }
    rows = rows.with_columns(**{f"is_{name}": condition for name, condition in applies.items()})
    reasons = [nw.col(f"is_{category.name}") for category in CATEGORIES[3:]]
    # The opt-out gets here only over other records: no rule of one link says so.
    farther = needs & ~reduce(lambda one, two: one | two, reasons)
    other_system = (
        nw.when(nw.col("system") == SALES_CONNECT)
        .then(nw.col("choice_salesforce"))
        .otherwise(nw.col("choice_sales_connect"))
    )
    rows = rows.with_columns(farther=farther).with_columns(
        is_unlinked_match=nw.col("is_unlinked_match") | (nw.col("farther") & other_system),
        is_duplicate_disagrees=nw.col("is_duplicate_disagrees") | (nw.col("farther") & ~other_system),
    )
    first, every = nw.lit(None, nw.String), []
    for category in reversed(CATEGORIES):
        mark = nw.col(f"is_{category.name}")
        first = nw.when(mark).then(nw.lit(category.name)).otherwise(first)
        every.append(nw.when(mark).then(nw.lit(f"{category.name};")).otherwise(nw.lit("")))
    rows = rows.with_columns(category=first, categories=nw.concat_str(*reversed(every)).str.strip_chars(";"))
    return rows.with_columns(fix=_fix())


def _fix() -> nw.Expr:
    """Who mends it: nobody can change a converted Lead; a stale link alone is the admin's."""
    fix = nw.lit(None, nw.String)
    for category in CATEGORIES:
        fix = nw.when(nw.col("category") == category.name).then(nw.lit(category.fix)).otherwise(fix)
    alone = (nw.col("category") == "stale_link") & ~nw.col("needs")
    fix = nw.when(alone).then(nw.lit("admin")).otherwise(fix)
    return nw.when(nw.col("is_converted")).then(nw.lit("nobody")).otherwise(fix)


def _answered(told: Frame, rows: Rows, answered: Sequence[str], engine: Engine) -> Frame:
    """Leave alone who was resubscribed since, where only what nobody else can take back still opts the person out.

    That is a converted Lead, or one sales user's unsubscribe. A link that leads to such a Lead is the admin's all the same.
    """
    marks = engine.bring(pa.table({"id": pa.array(sorted(answered), pa.string()), "_lead": [True] * len(answered)}))
    out = rows.outs.join(marks, on="id", how="left")
    lead = nw.col("_lead").fill_null(value=False) & (nw.col("system") == SALESFORCE)
    of_user = (nw.col("kind") == "user").fill_null(value=False)
    # As numbers: not every engine adds flags up.
    out = out.with_columns(_lead=lead.cast(nw.Int64), _of_user=(of_user & ~lead).cast(nw.Int64))
    settled = (
        out.group_by("c")
        .agg(nw.len().alias("_all"), nw.col("_lead").sum().alias("_leads"), nw.col("_of_user").sum().alias("_users"))
        .filter((nw.col("_leads") > 0) & (nw.col("_leads") + nw.col("_users") == nw.col("_all")))
        .select("c", "_users")
    )
    told = told.join(settled, on="c", how="left")
    mine = nw.col("needs") & ~nw.col("_users").is_null()
    admins = (nw.col("_users") > 0) | nw.col("category").is_in(["stale_link", "broken_link"])
    fix = nw.when(admins.fill_null(value=False)).then(nw.lit("admin")).otherwise(nw.lit("nobody"))
    said = nw.concat_str(nw.col("explanation"), nw.lit(ANSWERED))
    return told.with_columns(
        fix=nw.when(mine).then(fix).otherwise(nw.col("fix")),
        due_by=nw.when(~mine).then(nw.col("due_by")),
        explanation=nw.when(mine).then(said).otherwise(nw.col("explanation")),
    ).drop("_users")


def _due(rows: Frame, limits: ActionSettings, engine: Engine) -> Frame:
    """Add `due_by`: the opt-out's UTC date and the limit in business days. Sources: see the setting `limit_business_days`."""
    sets = nw.col("needs") | ~nw.col("fields").is_null()
    bound = sets & ~nw.col("category").is_in(["bounce", "user_level_only"])
    rows = rows.with_columns(_day=nw.when(bound).then(nw.col("opted_out_at").dt.date().cast(nw.String)))
    days = engine.collect(rows.filter(~nw.col("_day").is_null()).select("_day").unique()).column("_day")
    due = engine.bring(
        pa.table({"_day": pa.array(days.to_pylist(), pa.string()), "due_by": due_dates(days.to_pylist(), limits)})
    )
    return rows.join(due, on="_day", how="left").drop("_day")


def due_dates(days: list[str], limits: ActionSettings) -> pa.Array:
    """Until when opt-outs of these days have to be effective everywhere.

    Parameters
    ----------
    days
        ISO dates. One that is no business day counts as the business day before it.

    Returns
    -------
    pa.Array
        Dates (date32).

    Examples
    --------
    >>> from recon.settings import ActionSettings
    >>> due_dates(["2026-11-20", "2026-11-21"], ActionSettings()).to_pylist()
    [datetime.date(2026, 12, 4), datetime.date(2026, 12, 4)]
    """
    number = limits.limit_business_days
    due = np.busday_offset(
        np.array(days, dtype="datetime64[D]"),
        number,
        roll="backward" if number else "forward",
        holidays=np.array(limits.holidays, dtype="datetime64[D]"),
    )
    return pa.array(due, pa.date32())
