"""What the report counts on the run's tables, in Arrow, over whole columns: a first run may hold millions of records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from recon.categories import CATEGORIES
from recon.errors import ReconError
from recon.report.context import AgeRow, SystemRow

if TYPE_CHECKING:
    from datetime import date, datetime

    from recon.report.manifest import Manifest

#: Longest age in days and its words; what is older or unknown comes after.
_AGES = ((7, "up to 7 days"), (30, "8 to 30 days"), (90, "31 to 90 days"), (365, "91 days to a year"))
_OLDER, _FUTURE, _UNKNOWN = "more than a year", "dated after this run", "date unknown"
_DAY = 24 * 60 * 60 * 1_000_000

_OBJECTS = (
    ("Person", "People in Sales Connect"),
    ("Lead", "Leads in Salesforce"),
    ("Contact", "Contacts in Salesforce"),
)


def count_true(flags: pa.ChunkedArray) -> int:
    """How many flags of a column are true."""
    return pc.sum(flags).as_py() or 0


def by_object(merged: pa.Table) -> tuple[SystemRow, ...]:
    """Opt-outs by kind of record: now, after the next nightly run, and as they should be."""
    rows = []
    for name, label in _OBJECTS:
        own = merged.filter(pc.equal(merged["object"], name))
        now, predicted, should_be = (
            count_true(own[flag]) for flag in ("opted_out", "predicted_opted_out", "merged_opted_out")
        )
        rows.append(SystemRow(label, own.num_rows, now, predicted, should_be))
    return tuple(rows)


def by_age(merged: pa.Table, at: datetime) -> tuple[AgeRow, ...]:
    """Opted-out clusters by the age of their newest known opt-out, and by whether all their records are opted out."""
    out = merged.filter(merged["merged_opted_out"])
    groups = (
        out.select(["cluster", "opted_out", "opted_out_at"])
        .group_by("cluster")
        .aggregate([("opted_out", "all"), ("opted_out_at", "max")])
    )
    moment = pa.scalar(at, pa.timestamp("us", tz="UTC"))
    age = pc.cast(pc.subtract(moment, groups["opted_out_at_max"]), pa.int64())
    whole = groups["opted_out_all"]
    labels = [_UNKNOWN, _FUTURE, *(label for _, label in _AGES), _OLDER]
    # Each limit that is passed moves a cluster one place on; a null stays at the first label.
    place = pc.add(1, pc.cast(pc.greater_equal(age, 0), pa.int64()))
    for days, _ in _AGES:
        place = pc.add(place, pc.cast(pc.greater_equal(age, (days + 1) * _DAY), pa.int64()))
    counted = (
        pa.table({"place": pc.fill_null(place, 0), "whole": whole})
        .group_by(["place", "whole"])
        .aggregate([([], "count_all")])
    )
    found: dict[tuple[int, bool], int] = {(row["place"], row["whole"]): row["count_all"] for row in counted.to_pylist()}
    rows = {
        label: AgeRow(label, found.get((number, True), 0), found.get((number, False), 0))
        for number, label in enumerate(labels)
    }
    shown = [*(label for _, label in _AGES), _OLDER, _UNKNOWN]
    if rows[_FUTURE].total:
        shown.append(_FUTURE)
    return tuple(rows[label] for label in shown)


def overdue(actions: pa.Table, today: date) -> pa.ChunkedArray:
    """Which actions' due date is past."""
    return pc.fill_null(pc.less(actions["due_by"], pa.scalar(today, pa.date32())), fill_value=False)


def by_category(actions: pa.Table, today: date) -> dict[str, dict[str, int]]:
    """For every category its actions and how many of them are overdue."""
    counted = (
        actions.select(["category"])
        .append_column("overdue", pc.cast(overdue(actions, today), pa.int64()))
        .group_by("category")
        .aggregate([([], "count_all"), ("overdue", "sum")])
        .to_pylist()
    )
    found = {row["category"]: {"primary": row["count_all"], "overdue": row["overdue_sum"]} for row in counted}
    return {category.name: found.get(category.name, {"primary": 0, "overdue": 0}) for category in CATEGORIES}


def must_agree(manifest: Manifest, merged: pa.Table, actions: pa.Table) -> None:
    """Compare what is told in two places: an auditor must never find two numbers for one thing.

    Raises
    ------
    ReconError
        If manifest and tables contradict each other; the text names every number.
    """
    people = pc.equal(merged["system"], "sales_connect")
    records = pc.invert(people)
    changed = pc.and_not(merged["predicted_opted_out"], merged["opted_out"])
    open_ = pc.and_not(pc.and_not(actions["merged_opted_out"], actions["opted_out"]), actions["predicted_opted_out"])
    own = merged["opted_out"]
    told, mailable = manifest.opted_out, manifest.could_be_mailed
    pairs: list[tuple[str, Any, Any]] = [
        ("rows.merged", manifest.rows.merged, merged.num_rows),
        ("rows.actions", manifest.rows.actions, actions.num_rows),
        ("rows.clusters", manifest.rows.clusters, pc.count_distinct(merged["cluster"]).as_py()),
        ("opted_out.sales_connect", told.sales_connect, count_true(pc.and_(own, people))),
        ("opted_out.salesforce", told.salesforce, count_true(pc.and_(own, records))),
        ("tonight.people_set", manifest.tonight.people_set, count_true(pc.and_(changed, people))),
        ("tonight.records_set", manifest.tonight.records_set, count_true(pc.and_(changed, records))),
        ("overdue", manifest.overdue, count_true(overdue(actions, manifest.created_at.date()))),
        ("the parts of coverage.people", sum(dict(manifest.coverage.people).values()), count_true(people)),
        ("the parts of coverage.records", sum(dict(manifest.coverage.records).values()), count_true(records)),
        ("could_be_mailed.tonight", mailable.tonight, count_true(changed)),
        (
            "the parts of could_be_mailed",
            mailable.total,
            mailable.tonight + mailable.toolkit + mailable.admin + mailable.nobody,
        ),
    ]
    for fix in ("toolkit", "admin", "nobody"):
        mine = pc.equal(actions["fix"], fix)
        pairs.append((f"fix.{fix}", getattr(manifest.fix, fix), count_true(mine)))
        if fix != "nobody":  # the manifest leaves converted Leads out there, and no column tells them
            pairs.append((f"could_be_mailed.{fix}", getattr(mailable, fix), count_true(pc.and_(mine, open_))))
    counted = by_category(actions, manifest.created_at.date())
    pairs += [
        (f"categories.{name}.primary", manifest.categories[name].primary, counted[name]["primary"]) for name in counted
    ]
    # A category or a name in fix that isn't known is in none of the above, so it shows here.
    pairs.append(("the sum of categories", actions.num_rows, sum(row["primary"] for row in counted.values())))
    pairs.append(("the sum of fix", actions.num_rows, sum(dict(manifest.fix).values())))
    wrong = [f"{what} is {one} in the manifest and {other} by count" for what, one, other in pairs if one != other]
    if wrong:
        raise ReconError(
            "The report can't be made, the run contradicts itself: " + "; ".join(wrong) + ".",
            hint="Run `recon diff` again and report on its folder.",
        )
