"""When the opt-outs that stand were made, on either side and by which way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from recon.charts.chart import Chart
from recon.charts.reading import grouped
from recon.charts.theme import BLUE, GREEN, GREY, PINK, VERMILION, WIDTH, colours, titled, whole

if TYPE_CHECKING:
    from pathlib import Path

#: How an opt-out was made: Sales Connect tells, Salesforce doesn't.
_WAYS = {
    "clicked link": BLUE,
    "manual": VERMILION,
    "salesforce sync": GREEN,
    "bounce": PINK,
    "not told": GREY,
}
_SIDES = ("Sales Connect", "Salesforce")
#: Bars that fit side by side; months become quarters, and these years, where there are more.
_MOST = 40
_EARLIER = "earlier"


class Kept(Protocol):
    """A snapshot's folder: `recon.results.PullResult` or `recon.snapshot.Snapshot`."""

    @property
    def folder(self) -> Path:
        """Holds people.parquet and records.parquet."""
        ...


def opt_outs(kept: Kept) -> Chart:
    """The opt-outs that stand in a snapshot, by when they were made, by side, and by how. Deleted records are left out."""
    import pandas as pd

    months = grouped(
        """SELECT side, way, year(since) * 12 + month(since) - 1, count(*) FROM (
             SELECT 'Sales Connect' AS side, unsubscribe_source AS way, unsubscribed_at AS since
               FROM read_parquet($people) WHERE unsubscribed
             UNION ALL SELECT 'Salesforce', NULL, opted_out_at FROM read_parquet($records) WHERE opted_out AND NOT is_deleted
           ) GROUP BY ALL ORDER BY ALL""",
        people=str(kept.folder / "people.parquet"),
        records=str(kept.folder / "records.parquet"),
    )
    dated = [month for _, _, month, _ in months if month is not None]
    unit, periods = _periods(min(dated), max(dated)) if dated else (1, [])
    counted: dict[tuple[str, str, str], int] = {}
    totals = dict.fromkeys(_SIDES, 0)
    unknown = dict.fromkeys(_SIDES, 0)
    for side, way, month, number in months:
        totals[side] += number
        if month is None:
            unknown[side] += number
            continue
        name = str(way).replace("_", " ")
        key = (side, _named(month, unit, periods), name if name in _WAYS else "not told")
        counted[key] = counted.get(key, 0) + number
    rows: list[dict[str, Any]] = [
        {"side": side, "period": p, "how": way, "opt-outs": n} for (side, p, way), n in sorted(counted.items())
    ]
    lines = [f"{side}: {_dates(totals[side], unknown[side])}" for side in _SIDES]
    told = "; ".join(lines) + "."
    if periods:
        told += f" Those with a date lie between {periods[0]} and {periods[-1]}."

    heights = {
        side: [sum(row["opt-outs"] for row in rows if (row["side"], row["period"]) == (side, at)) for at in periods]
        for side in _SIDES
    }

    def draw(alt: Any) -> Any:
        # An empty period has its place, too.
        ways = [way for way in _WAYS if any(row["how"] == way for row in rows)]
        ranked = [row | {"rank": ways.index(row["how"])} for row in rows]

        def panel(side: str, *, last: bool) -> Any:
            data = alt.Data(values=[row for row in ranked if row["side"] == side])
            return (
                alt.Chart(data)
                .mark_bar(stroke="white", strokeWidth=0.5)
                .encode(
                    x=alt.X(
                        "period:O",
                        scale=alt.Scale(domain=periods or ["no date known"]),
                        title="opted out since" if last else None,
                        axis=alt.Axis(labelAngle=-45, labelOverlap=True, labels=last),
                    ),
                    y=alt.Y("opt-outs:Q", title=side, axis=whole(alt, heights[side], 4, grid=True)),
                    color=colours(alt, {way: _WAYS[way] for way in ways}, "how"),
                    order=alt.Order("rank:Q"),
                    tooltip=["period:O", "how:N", alt.Tooltip("opt-outs:Q", format=",")],
                )
                .properties(width=WIDTH + 80, height=120)
            )

        # A side without a date has nothing to draw.
        drawn = [side for side in _SIDES if any(row["side"] == side for row in rows)] or [_SIDES[0]]
        return alt.vconcat(*(panel(side, last=side == drawn[-1]) for side in drawn), spacing=12).properties(
            title=titled(alt, "Opt-outs that stand, by when they were made", lines)
        )

    table = pd.DataFrame(rows, columns=["side", "period", "how", "opt-outs"])
    return Chart("opt-outs", "Opt-outs over time", told, table, draw)


def _dates(total: int, unknown: int) -> str:
    if not total:
        return "nobody is opted out"
    if not unknown:
        return f"{total:,} opted out, all with a date"
    which = (
        "none of them has a date, so none is drawn"
        if unknown == total
        else f"{unknown:,} of them without a date, which aren't drawn"
    )
    return f"{total:,} opted out; {which}"


def _periods(first: int, last: int) -> tuple[int, list[str]]:
    """How many months a period has, and the periods' names in order, the newest `_MOST` of them."""
    unit = next((unit for unit in (1, 3) if last // unit - first // unit < _MOST), 12)
    numbers = range(first // unit, last // unit + 1)
    names = [_name(number, unit) for number in numbers[-_MOST:]]
    return unit, names if len(numbers) <= _MOST else [_EARLIER, *names]


def _named(month: int, unit: int, periods: list[str]) -> str:
    name = _name(month // unit, unit)
    return name if name in periods else _EARLIER


def _name(number: int, unit: int) -> str:
    year, rest = divmod(number * unit, 12)
    return {1: f"{year}-{rest + 1:02d}", 3: f"{year} Q{rest // 3 + 1}", 12: f"{year}"}[unit]
