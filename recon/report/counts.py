"""What the report counts on the run's tables: by the engine, as a run may hold more records than fit in memory."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw

from recon.categories import CATEGORIES
from recon.errors import ReconError
from recon.report.context import AgeRow, SystemRow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime

    from recon.engine import Frame
    from recon.report.manifest import Manifest
    from recon.report.run_tables import RunTables

#: Longest age in days and its words; what is older or unknown comes after.
_AGES = ((7, "up to 7 days"), (30, "8 to 30 days"), (90, "31 to 90 days"), (365, "91 days to a year"))
_OLDER, _FUTURE, _UNKNOWN = "more than a year", "dated after this run", "date unknown"

_OBJECTS = (
    ("Person", "People in Sales Connect"),
    ("Lead", "Leads in Salesforce"),
    ("Contact", "Contacts in Salesforce"),
)


def by_object(tables: RunTables) -> tuple[SystemRow, ...]:
    """Opt-outs by kind of record: now, after the next nightly run, and as they should be."""
    flags = ("opted_out", "predicted_opted_out", "merged_opted_out")
    counted = tables.rows(tables.merged.group_by("object").agg(nw.len().alias("records"), *map(_true, flags)))
    found = {row["object"]: row for row in counted}
    nothing = dict.fromkeys(("records", *flags), 0)
    return tuple(
        SystemRow(label, *(found.get(name, nothing)[count] for count in ("records", *flags)))
        for name, label in _OBJECTS
    )


def by_age(tables: RunTables, at: datetime) -> tuple[AgeRow, ...]:
    """Opted-out clusters by the age of their newest known opt-out, and by whether all their records are opted out."""
    groups = (
        tables.merged.filter(nw.col("merged_opted_out"))
        .group_by("cluster")
        .agg(nw.col("opted_out").all().alias("whole"), nw.col("opted_out_at").max().alias("newest"))
    )
    labels = [_UNKNOWN, _FUTURE, *(label for _, label in _AGES), _OLDER]
    # Each limit that is passed moves a cluster one place on; what has no date passes none.
    moment = at.astimezone(UTC)
    limits = [moment, *(moment - timedelta(days=days + 1) for days, _ in _AGES)]
    place = (~nw.col("newest").is_null()).cast(nw.Int64)
    for limit in limits:
        passed = nw.col("newest") <= nw.lit(limit, nw.Datetime("us", "UTC"))
        place = place + passed.fill_null(value=False).cast(nw.Int64)
    counted = tables.rows(groups.with_columns(place=place).group_by("place", "whole").agg(nw.len().alias("clusters")))
    found: dict[tuple[int, bool], int] = {(row["place"], row["whole"]): row["clusters"] for row in counted}
    rows = {
        label: AgeRow(label, found.get((number, True), 0), found.get((number, False), 0))
        for number, label in enumerate(labels)
    }
    shown = [*(label for _, label in _AGES), _OLDER, _UNKNOWN]
    if rows[_FUTURE].total:
        shown.append(_FUTURE)
    return tuple(rows[label] for label in shown)


def by_category(tables: RunTables, today: date) -> dict[str, dict[str, int]]:
    """For every category its actions and how many of them are overdue."""
    late = tables.actions.select("category", overdue=_due_before(today))
    counted = tables.rows(late.group_by("category").agg(nw.len().alias("primary"), _true("overdue")))
    found = {row["category"]: {"primary": row["primary"], "overdue": row["overdue"]} for row in counted}
    return {category.name: found.get(category.name, {"primary": 0, "overdue": 0}) for category in CATEGORIES}


def by_due_date(tables: RunTables, today: date) -> tuple[int, int, int]:
    """The actions that are due before a day, those that are due on that day or later, and those without a date."""
    marks = tables.actions.select(before=_due_before(today), undated=nw.col("due_by").is_null())
    counted = tables.rows(marks.select(_true("before"), _true("undated"), nw.len().alias("rows")))[0]
    before, undated = counted["before"] or 0, counted["undated"] or 0
    return before, counted["rows"] - before - undated, undated


def _due_before(day: date) -> nw.Expr:
    return (nw.col("due_by") < nw.lit(day, nw.Date)).fill_null(value=False)


def _true(flag: str) -> nw.Expr:
    """How many flags of a column are true; over no rows an engine may say null."""
    return nw.col(flag).cast(nw.Int64).sum().cast(nw.Int64).alias(flag)


def must_agree(manifest: Manifest, tables: RunTables) -> None:
    """Compare what is told in two places: an auditor must never find two numbers for one thing.

    Raises
    ------
    ReconError
        If manifest and tables contradict each other; the text names every number.
    """
    today = manifest.created_at.date()
    merged, actions = _of_merged(tables), _of_actions(tables, today)
    told, mailable = manifest.opted_out, manifest.could_be_mailed
    pairs: list[tuple[str, Any, Any]] = [
        ("rows.merged", manifest.rows.merged, merged["rows"]),
        ("rows.actions", manifest.rows.actions, actions["rows"]),
        ("rows.clusters", manifest.rows.clusters, merged["clusters"]),
        ("opted_out.sales_connect", told.sales_connect, merged["people_out"]),
        ("opted_out.salesforce", told.salesforce, merged["records_out"]),
        ("tonight.people_set", manifest.tonight.people_set, merged["people_set"]),
        ("tonight.records_set", manifest.tonight.records_set, merged["records_set"]),
        ("overdue", manifest.overdue, actions["overdue"]),
        ("the parts of coverage.people", sum(dict(manifest.coverage.people).values()), merged["people"]),
        ("the parts of coverage.records", sum(dict(manifest.coverage.records).values()), merged["records"]),
        ("could_be_mailed.tonight", mailable.tonight, merged["people_set"] + merged["records_set"]),
        (
            "the parts of could_be_mailed",
            mailable.total,
            mailable.tonight + mailable.toolkit + mailable.admin + mailable.nobody,
        ),
    ]
    for fix in ("toolkit", "admin", "nobody"):
        pairs.append((f"fix.{fix}", getattr(manifest.fix, fix), actions[fix]))
        if fix != "nobody":  # the manifest leaves converted Leads out there, and no column tells them
            pairs.append((f"could_be_mailed.{fix}", getattr(mailable, fix), actions[f"{fix}_open"]))
    counted = by_category(tables, today)
    pairs += [
        (f"categories.{name}.primary", manifest.categories[name].primary, counted[name]["primary"]) for name in counted
    ]
    # A category or a name in fix that isn't known is in none of the above, so it shows here.
    pairs.append(("the sum of categories", actions["rows"], sum(row["primary"] for row in counted.values())))
    pairs.append(("the sum of fix", actions["rows"], sum(dict(manifest.fix).values())))
    wrong = [f"{what} is {one} in the manifest and {other} by count" for what, one, other in pairs if one != other]
    if wrong:
        raise ReconError(
            "The report can't be made, the run contradicts itself: " + "; ".join(wrong) + ".",
            hint="Run `recon diff` again and report on its folder.",
        )


def _of_merged(tables: RunTables) -> dict[str, int]:
    """Counts over the merged table."""
    person, out = nw.col("system") == "sales_connect", nw.col("opted_out")
    set_ = nw.col("predicted_opted_out") & ~out
    marks = {
        "people": person,
        "records": ~person,
        "people_out": out & person,
        "records_out": out & ~person,
        "people_set": set_ & person,
        "records_set": set_ & ~person,
        # A cluster has the name of one of its records.
        "clusters": nw.col("cluster") == nw.concat_str("system", nw.lit(":"), "id"),
    }
    return _counted(tables, tables.merged, marks)


def _of_actions(tables: RunTables, today: date) -> dict[str, int]:
    """Counts over the actions."""
    open_ = nw.col("merged_opted_out") & ~nw.col("opted_out") & ~nw.col("predicted_opted_out")
    marks = {"overdue": _due_before(today)}
    for fix in ("toolkit", "admin", "nobody"):
        mine = nw.col("fix") == fix
        marks |= {fix: mine, f"{fix}_open": mine & open_}
    return _counted(tables, tables.actions, marks)


def _counted(tables: RunTables, frame: Frame, marks: Mapping[str, nw.Expr]) -> dict[str, int]:
    counted = tables.rows(frame.select(**marks).select(*map(_true, marks), nw.len().alias("rows")))[0]
    return {name: count or 0 for name, count in counted.items()}
