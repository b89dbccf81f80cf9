"""The drawing library's SVG as the page may hold it: only elements and attributes that are known to be harmless, and classes for colours.

The page's content security policy allows no style attributes; and colours that stood in the drawing would not follow light, dark and print.
What isn't on the lists below is dropped, or where it is an element, refused: a new version of the library can't bring anything in.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Colours of the drawing, each with its class in the style sheet.
BAR, TRACK, INK, QUIET, LINE = "#0b6e7f", "#e6eaed", "#17212b", "#52606d", "#d8dde2"
_CLASSES = {BAR: "bar", TRACK: "track", INK: "ink", QUIET: "quiet", LINE: "line"}

_SVG = "{http://www.w3.org/2000/svg}"
_ELEMENTS = frozenset({"svg", "g", "path", "rect", "line", "circle", "text"})
_KEPT = frozenset(
    {"d", "transform", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height", "viewBox", "text-anchor", "stroke-width",
     "stroke-dasharray", "font-size"}
)  # fmt: skip
_NUMBER = re.compile(r"-?\d+\.\d{3,}(?:e-?\d+)?|-?\d+e-\d+")
_NOTHING = frozenset({"background", "foreground"})


def as_markup(drawn: str, key: str) -> str:
    """The drawing as markup for the page.

    Parameters
    ----------
    drawn
        SVG from the library.
    key
        Names it: the page has elements `<key>-title` and `<key>-desc` before it.

    Raises
    ------
    ValueError
        If it holds an element or a colour that isn't known.
    """
    found = ET.fromstring(drawn)  # noqa: S314 - written by the library a moment ago, in this process
    root = ET.Element("svg")
    for name, value in found.attrib.items():
        if name in ("width", "height", "viewBox"):
            root.set(name, value)
    root.set("role", "img")
    root.set("aria-labelledby", f"{key}-title")
    root.set("aria-describedby", f"{key}-desc")
    for child in found:
        _take(child, root)
    # ElementTree writes text and attributes escaped; short tags are closed in full, as HTML wants them.
    return ET.tostring(root, encoding="unicode", short_empty_elements=False)


def _take(element: ET.Element, parent: ET.Element) -> None:
    name = element.tag.removeprefix(_SVG)
    if name not in _ELEMENTS:
        raise ValueError(f"a chart holds an element {name!r}, which the page doesn't allow")
    kind = set(element.get("class", "").split())
    if kind & _NOTHING or element.get("display") == "none":
        return
    into = parent
    attributes = _attributes(element.attrib)
    # Groups that say nothing are left out: what is in them stands for itself.
    if name != "g" or attributes:
        into = ET.SubElement(parent, name, attributes)
        into.text = element.text if name == "text" else None
    for child in element:
        _take(child, into)


def _attributes(given: Mapping[str, str]) -> dict[str, str]:
    kept = {name: _rounded(value) for name, value in sorted(given.items()) if name in _KEPT}
    if kept.get("transform") == "translate(0,0)":
        del kept["transform"]
    if kept.get("font-size") is not None:
        kept["font-size"] = kept["font-size"].removesuffix("px")
    classes = [
        f"{part}-{_class(given[part])}"
        for part in ("fill", "stroke")
        if given.get(part) not in (None, "none", "transparent")
    ]
    if "stroke" in given and given.get("fill") in (None, "none", "transparent"):
        classes.append("no-fill")
    if classes:
        kept["class"] = " ".join(classes)
    return kept


def _class(colour: str) -> str:
    if colour not in _CLASSES:
        raise ValueError(f"a chart holds the colour {colour!r}, which the style sheet doesn't know")
    return _CLASSES[colour]


def _rounded(value: str) -> str:
    """Numbers to two places: what lies beyond is the machine's arithmetic."""
    return _NUMBER.sub(
        lambda found: (
            f"{float(found.group()):.2f}".rstrip("0").rstrip(".").replace("-0", "0", 1)
            if abs(float(found.group())) < 0.005
            else f"{float(found.group()):.2f}".rstrip("0").rstrip(".")
        ),
        value,
    )
