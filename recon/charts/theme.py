"""How charts look: colours that colour-blind people tell apart, on white in every theme, and one font whose widths are known.

Colours: Okabe and Ito, "Color Universal Design"; only those that stand out from white by 3:1 (WCAG 2.2, 1.4.11), and a grey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

BLUE, VERMILION, GREEN, PINK, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#767676"
INK, PALE, LINE = "#222222", "#f3c9a5", "#d9d9d9"
WIDTH = 620

#: vl-convert brings this font along, so that texts are as wide on every machine; the others are its look-alikes elsewhere.
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"

#: Who mends it.
FIXES = {"toolkit": BLUE, "admin": VERMILION, "nobody": GREY}


def config() -> dict[str, Any]:
    """The configuration of every chart."""
    return {
        "font": FONT,
        # A white ground of its own: dark labels stay readable in a dark JupyterLab.
        "background": "white",
        "padding": 12,
        "view": {"stroke": None},
        "title": {
            "anchor": "start",
            "frame": "group",
            "fontSize": 15,
            "color": INK,
            "subtitleColor": "#444444",
            "subtitleFontSize": 12,
            "offset": 14,
        },
        "axis": {
            "labelColor": INK,
            "titleColor": INK,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "labelLimit": 260,
            "gridColor": LINE,
            "domain": False,
            "ticks": False,
            "labelPadding": 6,
        },
        "legend": {
            "labelColor": INK,
            "titleColor": INK,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "orient": "top",
            "symbolType": "square",
            "labelLimit": 320,
        },
        "text": {"color": INK, "fontSize": 12},
    }


def colours(alt: Any, of: Mapping[str, str], field: str, title: str | None = None) -> Any:
    """A colour for every name, in this order in the legend, too."""
    return alt.Color(
        f"{field}:N",
        scale=alt.Scale(domain=list(of), range=list(of.values())),
        legend=alt.Legend(title=title, columns=6),
    )


def whole(alt: Any, numbers: Iterable[int], ticks: int = 5, *, grid: bool = False) -> Any:
    """An axis of counts, as long as the largest of them: whole numbers only, each once."""
    # No more ticks than the largest number. tickMinStep says the same, but is dropped where layers share an axis.
    return alt.Axis(format=",d", tickCount=max(1, min(ticks, max(numbers, default=0))), grid=grid)


def titled(alt: Any, title: str, lines: Sequence[str] = ()) -> Any:
    """A chart's title with the lines below it."""
    return alt.TitleParams(title, subtitle=list(lines)) if lines else alt.TitleParams(title)
