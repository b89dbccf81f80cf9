"""The report's charts, drawn by Altair and vl-convert, which needs neither a browser nor a network.

Each is drawn twice, for wide and for narrow pages, so that its text keeps its size; the style sheet shows one of the two. Colours come from the
style sheet, too, so that a chart follows light, dark and print: see `recon.report.svg`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from recon.report.svg import BAR, INK, LINE, QUIET, TRACK, as_markup

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: Widths in CSS pixels: where a chart has the page's width, and on a telephone.
WIDE, NARROW = 410, 280
#: A trend takes the page's width for itself.
TREND = 620
#: Height of one bar with its label above.
_STEP = 42
_HEIGHT = 190
_MARGIN = {"left": 64, "right": 12, "bottom": 26}
#: The version of Vega-Lite that draws; another one may place things otherwise.
_VEGA_LITE = "6.4"
_DASHES = ([1, 0], [7, 4], [2, 3])
_SHAPES = ("circle", "square", "triangle-up")


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its text alternative; the table after it on the page holds the same numbers.

    Attributes
    ----------
    key
        Names its elements in the page; letters and hyphens.
    title, description
        What it shows, and every number of it.
    wide, narrow
        The drawing as SVG, in two widths.
    """

    key: str
    title: str
    description: str
    wide: str
    narrow: str


def bar_chart(key: str, title: str, counts: Sequence[tuple[str, int]], *, whole: int | None = None) -> Chart:
    """Draw horizontal bars, each with its label and number above, so that nothing depends on colour or length.

    Parameters
    ----------
    key, title
        As in `Chart`.
    counts
        Label and number of every bar, from top to bottom.
    whole
        What a full-length bar stands for; by default the largest number.
    """
    return _bars(key, title, tuple(counts), whole)


def _bar_chart(key: str, title: str, counts: tuple[tuple[str, int], ...], whole: int | None) -> Chart:
    full = whole or max((count for _, count in counts), default=0) or 1
    labels = [f"{label}: {count:,}" for label, count in counts]
    rows = [
        {"place": place, "label": label, "number": count, "full": full}
        for place, (label, (_, count)) in enumerate(zip(labels, counts, strict=True))
    ]

    def draw(alt: Any, width: int) -> Any:
        size = 14 if width == WIDE else 13
        base = alt.Chart(alt.Data(values=rows)).encode(y=alt.Y("place:O", axis=None, scale=alt.Scale(paddingInner=0)))
        across = {"scale": alt.Scale(domain=[0, full], nice=False), "axis": None}
        return alt.layer(
            base.mark_bar(height=10, yOffset=7, color=TRACK).encode(x=alt.X("full:Q", **across)),
            base.mark_bar(height=10, yOffset=7, color=BAR).encode(x=alt.X("number:Q", **across)),
            base.mark_text(align="left", baseline="bottom", dy=-4, fontSize=size, color=INK).encode(
                x=alt.value(0), text="label:N"
            ),
        ).properties(width=width, height=_STEP * max(len(rows), 1))

    return _drawn(key, title, "; ".join(labels) + "." if labels else "Nothing to show.", draw, (WIDE, NARROW))


# A report that is made again mostly draws the same.
_bars = lru_cache(maxsize=64)(_bar_chart)


def trend_chart(key: str, title: str, days: Sequence[str], series: Mapping[str, Sequence[int]]) -> Chart:
    """Draw numbers over runs, a line each: told apart by their dashes and shapes as well as by their names at the end.

    Parameters
    ----------
    key, title
        As in `Chart`.
    days
        The runs, oldest first; at least two.
    series
        Up to three lines: name -> a number a run.
    """
    rows = [
        {"run": place, "line": name, "number": number}
        for name, numbers in series.items()
        for place, number in enumerate(numbers)
    ]
    names = list(series)
    last = len(days) - 1

    def draw(alt: Any, width: int) -> Any:
        shown = [0, last] if width == NARROW or last == 1 else [0, last // 2, last]
        ticks = "[" + ", ".join(f"'{day}'" for day in days) + "][datum.value]"
        across = alt.X(
            "run:Q",
            scale=alt.Scale(domain=[0, last], nice=False),
            axis=alt.Axis(title=None, values=sorted(set(shown)), labelExpr=ticks, grid=False, labelFontSize=13, labelFlush=True,
                          domainColor=QUIET, tickColor=QUIET, labelColor=INK),
        )  # fmt: skip
        down = alt.Y(
            "number:Q",
            scale=alt.Scale(zero=True, nice=True),
            # The first run's points lie on the axis: its numbers keep away from them.
            axis=alt.Axis(title=None, tickCount=4, tickMinStep=1, format=",d", labelFontSize=13, gridColor=LINE, labelColor=INK,
                          domain=False, ticks=False, labelPadding=10),
        )  # fmt: skip
        base = alt.Chart(alt.Data(values=rows)).encode(x=across, y=down)
        legend = alt.Legend(title=None, orient="top", direction="vertical", labelFontSize=13, labelColor=INK, labelLimit=width, offset=8,
                            symbolType="stroke", symbolFillColor=BAR, symbolStrokeColor=BAR, symbolStrokeWidth=2, symbolSize=70)  # fmt: skip
        dash = alt.StrokeDash("line:N", scale=alt.Scale(domain=names, range=list(_DASHES[: len(names)])), legend=legend)
        shape = alt.Shape(
            "line:N",
            scale=alt.Scale(domain=names, range=list(_SHAPES[: len(names)])),
            legend=legend,
        )
        return alt.layer(
            base.mark_line(color=BAR, strokeWidth=2).encode(strokeDash=dash),
            base.mark_point(filled=True, color=BAR, size=70, opacity=1).encode(shape=shape),
        ).properties(width=width - _MARGIN["left"] - _MARGIN["right"], height=_HEIGHT)

    told = "; ".join(
        f"{name}: " + ", ".join(f"{number:,} on {day}" for day, number in zip(days, numbers, strict=True))
        for name, numbers in series.items()
    )
    return _drawn(key, title, told + ".", draw, (TREND, NARROW), _MARGIN | {"top": 26 + 17 * len(series)})


def _drawn(
    key: str,
    title: str,
    description: str,
    draw: Callable[[Any, int], Any],
    widths: tuple[int, int],
    margin: Mapping[str, int] | None = None,
) -> Chart:
    return Chart(
        key,
        title,
        description,
        *(_svg(f"{key}-{name}", draw, width, margin) for name, width in zip(("wide", "narrow"), widths, strict=True)),
    )


def _svg(key: str, draw: Callable[[Any, int], Any], width: int, margin: Mapping[str, int] | None) -> str:
    # Both take a second to come up: only who draws waits for them.
    import altair as alt
    import vl_convert

    with alt.theme.enable("none"):
        spec = draw(alt, width).configure_view(stroke=None).to_dict(validate=False)
    # Fitted to its text, a drawing would depend on the machine's fonts.
    spec["autosize"] = {"type": "none"}
    spec["padding"] = dict(margin or {}) or 0
    spec["config"] |= {"font": "sans-serif", "background": "transparent"}
    return as_markup(vl_convert.vegalite_to_svg(spec, vl_version=_VEGA_LITE), key)
