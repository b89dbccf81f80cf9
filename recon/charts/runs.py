"""Charts of one run: why records need action and who mends them, until when, and how many records one person has."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from recon.categories import CATEGORIES
from recon.charts.chart import Chart
from recon.charts.reading import count_actions, grouped
from recon.charts.theme import BLUE, FIXES, GREY, VERMILION, WIDTH, colours, titled, whole
from recon.report.words import plural

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_STEP = 26


class Run(Protocol):
    """A run whose files are there: `recon.results.RunResult` or `ReportResult`."""

    @property
    def folder(self) -> Path:
        """The run's folder."""
        ...

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What manifest.json holds."""
        ...


def disagreements(run: Run) -> Chart:
    """Records that need action, by category and by who mends them."""
    import pandas as pd

    counted = {
        (category, fix): number
        for category, fix, number in count_actions(run.folder / "actions.csv", "category", "fix")
    }
    names = [each.name for each in CATEGORIES if any(category == each.name for category, _ in counted)]
    rows = [
        {"category": name, "fix": fix, "records": counted[name, fix]}
        for name in names
        for fix in FIXES
        if (name, fix) in counted
    ]
    table = pd.DataFrame(rows, columns=["category", "fix", "records"])
    total = sum(counted.values())
    most = max(names, key=lambda name: sum(n for (category, _), n in counted.items() if category == name), default=None)
    by_fix = ", ".join(f"{fix} {sum(n for (_, each), n in counted.items() if each == fix):,}" for fix in FIXES)
    told = f"{plural(total, 'record needs', 'records need')} action. Who mends them: {by_fix}." + (
        f" Most of them: {most}." if most else ""
    )

    def draw(alt: Any) -> Any:
        return bars(alt, rows, "category", names, "fix", FIXES, "records", "who mends it").properties(
            title=titled(
                alt,
                "Records that need action",
                [f"{plural(total, 'record', 'records')}, each under the first category that applies"],
            )
        )

    return Chart("disagreements", "Records that need action, by category", told, table, draw)


#: Days from the run's date, the last day of each span; None has no end.
_DUE = (
    ("overdue by more than 30 days", -31),
    ("overdue", -1),
    ("due within 7 days", 7),
    ("due within 14 days", 14),
    ("due later", None),
)
_NO_DATE = "no date known"


def deadlines(run: Run) -> Chart:
    """Records that need action, by the day until which the opt-out has to be effective, and by who mends them."""
    import pandas as pd

    today = date.fromisoformat(run.manifest["created_at"][:10])
    spans = [name for name, _ in _DUE] + [_NO_DATE]
    counted = {(span, fix): 0 for span in spans for fix in FIXES}
    for due_by, fix, number in count_actions(run.folder / "actions.csv", "due_by", "fix"):
        counted[_span(due_by, today), fix] += number
    rows = [{"due": span, "fix": fix, "records": n} for (span, fix), n in counted.items() if n]
    late = sum(n for (span, _), n in counted.items() if span.startswith("overdue"))
    told = f"{late:,} of {sum(counted.values()):,} records are overdue on {today}."

    def draw(alt: Any) -> Any:
        return bars(alt, rows, "due", spans, "fix", FIXES, "records", "who mends it").properties(
            title=titled(
                alt, "Until when the opt-outs have to be effective", [f"seen from {today}, the run's day (UTC)"]
            )
        )

    table = pd.DataFrame(rows, columns=["due", "fix", "records"])
    return Chart("deadlines", "Records that need action, by due date", told, table, draw)


def _span(due_by: str | None, today: date) -> str:
    if due_by is None:
        return _NO_DATE
    days = (date.fromisoformat(due_by) - today) / timedelta(days=1)
    return next(name for name, last in _DUE if last is None or days <= last)


_SIZES = ((1, "1"), (2, "2"), (3, "3"), (4, "4"), (9, "5 to 9"), (49, "10 to 49"), (None, "50 and more"))
_STATES = {"opted out everywhere": BLUE, "opted out on some records only": VERMILION, "not opted out": GREY}


def cluster_sizes(run: Run) -> Chart:
    """How many records one person has, and in how many of such persons the records disagree."""
    import pandas as pd

    # One row a size: as many as there are different sizes.
    found = grouped(
        """SELECT size, count(*) FILTER (out = size), count(*) FILTER (out > 0 AND out < size), count(*) FILTER (out = 0)
           FROM (SELECT count(*) AS size, count(*) FILTER (opted_out) AS out FROM read_parquet($file) GROUP BY cluster)
           GROUP BY size ORDER BY size""",
        file=str(run.folder / "merged.parquet"),
    )
    counted: dict[tuple[str, str], int] = {}
    for size, *numbers in found:
        span = next(name for last, name in _SIZES if last is None or size <= last)
        for state, number in zip(_STATES, numbers, strict=True):
            counted[span, state] = counted.get((span, state), 0) + number
    spans = [name for _, name in _SIZES if any(span == name for span, _ in counted)]
    rows = [{"records": span, "state": state, "persons": n} for (span, state), n in counted.items() if n]
    totals: list[dict[str, Any]] = [
        {"records": span, "persons": sum(counted[span, state] for state in _STATES)} for span in spans
    ]
    everybody = sum(each["persons"] for each in totals)
    split = sum(n for (_, state), n in counted.items() if state == "opted out on some records only")
    told = (
        f"{everybody:,} persons, {everybody - next((t['persons'] for t in totals if t['records'] == '1'), 0):,} of them with more than "
        f"one record; {split:,} are opted out on some of their records only. The largest has {found[-1][0] if found else 0:,} records."
    )

    def draw(alt: Any) -> Any:
        order = alt.Y("records:N", sort=spans, title="records of one person")
        number = alt.Chart(alt.Data(values=totals)).encode(
            y=order, x=alt.X("persons:Q", title="persons", axis=whole(alt, (each["persons"] for each in totals)))
        )
        label = number.mark_text(align="left", dx=4).encode(text=alt.Text("persons:Q", format=","))
        left = (number.mark_bar(color=GREY) + label).properties(width=WIDTH * 0.4, height=alt.Step(_STEP))
        share = alt.Chart(alt.Data(values=rows)).mark_bar(stroke="white")
        right = share.encode(
            y=alt.Y("records:N", sort=spans, title=None, axis=alt.Axis(labels=False)),
            x=alt.X(
                "persons:Q",
                stack="normalize",
                title="share of them",
                axis=alt.Axis(format="%", tickCount=5, grid=False),
            ),
            color=colours(alt, _STATES, "state"),
            order=alt.Order("rank:Q"),
            tooltip=["records:N", "state:N", alt.Tooltip("persons:Q", format=",")],
        ).transform_calculate(rank=f"indexof({list(_STATES)}, datum.state)")
        right = right.properties(width=WIDTH * 0.5, height=alt.Step(_STEP))
        title = titled(
            alt,
            "How many records one person has",
            [f"{everybody:,} persons; {split:,} of them opted out on some records only"],
        )
        return alt.hconcat(left, right, spacing=24).properties(title=title)

    table = pd.DataFrame(rows, columns=["records", "state", "persons"])
    return Chart("cluster-sizes", "Records of one person", told, table, draw)


def bars(
    alt: Any,
    rows: list[dict[str, Any]],
    along: str,
    names: list[str],
    part: str,
    parts: Mapping[str, str],
    number: str,
    legend: str | None,
) -> Any:
    """Horizontal bars in parts, with the sum at their end: small ones can be read, too."""
    sums = [{along: name, number: sum(row[number] for row in rows if row[along] == name)} for name in names]
    order = alt.Y(f"{along}:N", sort=names, title=None)
    across = alt.X(f"{number}:Q", title=number, axis=whole(alt, (row[number] for row in sums)))
    ranked = [row | {"rank": list(parts).index(row[part])} for row in rows]
    parted = (
        alt.Chart(alt.Data(values=ranked))
        .mark_bar(stroke="white")
        .encode(
            y=order,
            x=across,
            color=colours(alt, parts, part, legend),
            order=alt.Order("rank:Q"),
            tooltip=[f"{along}:N", f"{part}:N", alt.Tooltip(f"{number}:Q", format=",")],
        )
    )
    ends = (
        alt.Chart(alt.Data(values=sums))
        .mark_text(align="left", dx=4)
        .encode(y=order, x=across, text=alt.Text(f"{number}:Q", format=","))
    )
    return (parted + ends).properties(width=WIDTH, height=alt.Step(_STEP))
