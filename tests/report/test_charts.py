"""Charts: drawn by a library, harmless on the page, the same every time, and told in words."""

from __future__ import annotations

import re
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from recon.report import charts
from recon.report.charts import NARROW, WIDE, bar_chart, trend_chart
from recon.report.svg import as_markup
from tests.report.run_folder import BRACES, LONG, QUOTES, SCRIPT

HARMLESS = {
    *("class", "d", "transform", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height", "viewBox"),
    *("text-anchor", "stroke-width", "stroke-dasharray", "font-size", "role", "aria-labelledby", "aria-describedby"),
}
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1">{}</svg>'


def _bars(drawing: str) -> list[float]:
    root = ET.fromstring(drawing)
    paths = [each.get("d", "") for each in root.iter("path") if each.get("class") == "fill-bar"]
    return [float(found[1]) for path in paths if (found := re.fullmatch(r"M0,[\d.]+h([\d.]+)v10h-?[\d.]+Z", path))]


def test_bars_are_as_long_as_their_numbers() -> None:
    chart = bar_chart("key", "Title", [("a", 1), ("b", 0), ("c", 4)])
    assert _bars(chart.wide) == [WIDE / 4, 0, WIDE]
    assert _bars(chart.narrow) == [NARROW / 4, 0, NARROW]
    assert chart.description == "a: 1; b: 0; c: 4."
    assert _bars(bar_chart("key", "Title", [("a", 2)], whole=10).wide) == [WIDE / 5]
    assert _bars(bar_chart("key", "Title", [("a", 0)]).wide) == [0]
    assert bar_chart("key", "Title", []).description == "Nothing to show."


def test_nothing_in_a_label_becomes_markup() -> None:
    chart = bar_chart("key", SCRIPT, [(text, 1) for text in (SCRIPT, BRACES, QUOTES, LONG, "a & b ]]> c")])
    for drawing in (chart.wide, chart.narrow):
        root = ET.fromstring(drawing)
        assert {each.tag for each in root.iter()} <= {"svg", "g", "path", "rect", "line", "circle", "text"}
        assert {name for each in root.iter() for name in each.attrib} <= HARMLESS
        assert f"{SCRIPT}: 1" in [each.text for each in root.iter("text")]
        assert root.get("width") in {str(WIDE), str(NARROW)}


def test_a_trend_names_each_line_and_every_number() -> None:
    chart = trend_chart("trend", "Title", ["2026-11-01", "2026-11-08"], {"one": [3, 1], "other": [2, 2]})
    assert chart.description == "one: 3 on 2026-11-01, 1 on 2026-11-08; other: 2 on 2026-11-01, 2 on 2026-11-08."
    root = ET.fromstring(chart.wide)
    texts = [each.text for each in root.iter("text")]
    assert {"one", "other", "2026-11-01", "2026-11-08"} <= set(texts)
    dashes = {each.get("stroke-dasharray") for each in root.iter("path") if "stroke-bar" in each.get("class", "")}
    assert len(dashes - {None}) == 2
    assert {name for each in root.iter() for name in each.attrib} <= HARMLESS


def test_the_same_numbers_give_the_same_drawing() -> None:
    counts = (("a", 1), ("b", 3))
    made = [charts._bar_chart("key", "Title", counts, None) for _ in range(2)]
    assert made[0] == made[1]


@pytest.mark.parametrize(
    "inner",
    [
        "<script>alert(1)</script>",
        "<image href='http://evil.test/x.png'/>",
        "<foreignObject/>",
        "<a><text>x</text></a>",
        "<path d='M0,0' fill='url(#x)'/>",
        "<path d='M0,0' fill='#123456'/>",
    ],
)
def test_what_is_not_known_is_refused(inner: str) -> None:
    with pytest.raises(ValueError, match=r"the page doesn't allow|the style sheet doesn't know"):
        as_markup(SVG.format(inner), "key")


def test_what_is_not_needed_is_dropped() -> None:
    drawn = as_markup(
        SVG.format(
            '<g role="x" aria-label="y" id="z" style="fill:red" onclick="alert(1)">'
            '<path class="background" d="M0,0h9" fill="#ddd"/><text font-family="Comic" font-size="11px" fill="#17212b">a</text></g>'
        ),
        "key",
    )
    assert drawn == (
        '<svg width="1" height="1" role="img" aria-labelledby="key-title" aria-describedby="key-desc">'
        '<text font-size="11" class="fill-ink">a</text></svg>'
    )


def test_the_drawing_library_is_not_loaded_until_a_chart_is_drawn() -> None:
    code = (
        "import sys, recon.report, recon.report.folder, recon.report.mask, recon.report.charts; "
        "assert not {'altair', 'vl_convert', 'pandas'} & set(sys.modules), sorted(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
