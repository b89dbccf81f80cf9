"""Bar charts as plain SVG: the geometry here, the elements in the template `charts.html.j2`.

Own SVG, because the usual libraries write style attributes, which the report's content security policy blocks. Lengths are shares
of the width, so a chart is as wide as the page and its text keeps its size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Height of one bar with its label above, in CSS pixels.
STEP = 42


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.

    Attributes
    ----------
    label
        What is counted, with the number: shown above the bar, so nothing depends on its colour or length.
    top
        Where it begins, in CSS pixels.
    width
        Its length as a share of the chart's width, like `12.500%`.
    """

    label: str
    top: int
    width: str


@dataclass(frozen=True, slots=True)
class BarChart:
    """A chart of horizontal bars.

    Attributes
    ----------
    key
        Names its elements in the page; letters and hyphens.
    title, description
        The text alternative: what it shows, and every number of it.
    """

    key: str
    title: str
    description: str
    bars: tuple[Bar, ...]

    @property
    def height(self) -> int:
        """The chart's height in CSS pixels."""
        return len(self.bars) * STEP


def bar_chart(key: str, title: str, counts: Sequence[tuple[str, int]], *, whole: int | None = None) -> BarChart:
    """Lay out a chart.

    Parameters
    ----------
    counts
        Label and number of every bar, from top to bottom.
    whole
        What a full-length bar stands for; by default the largest number.
    """
    full = whole or max((count for _, count in counts), default=0)
    bars = tuple(
        Bar(f"{label}: {count:,}", number * STEP, f"{100 * count / full if full else 0:.3f}%")
        for number, (label, count) in enumerate(counts)
    )
    return BarChart(key, title, "; ".join(bar.label for bar in bars) + ".", bars)
