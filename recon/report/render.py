"""The report as one HTML file: no network, every value escaped, readable without its one script.

The content security policy stands in the file itself and allows nothing but the one style sheet and the one script that filters and sorts
tables, each by its hash. Source of the rules: content-security-policy.com, meta tag examples; OWASP, cross-site scripting prevention.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from recon.report.mask import visible
from recon.report.words import TITLES, number, percent, plural

if TYPE_CHECKING:
    from datetime import datetime

    from recon.report.context import Report


_ESCAPED = re.compile(r"\\[0-9a-f]{6}$", re.ASCII)
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)", re.ASCII)
_DATE = re.compile(r"(\d{4}-\d\d-\d\d)", re.ASCII)


def render_html(report: Report) -> str:
    """The whole file. Equal reports give equal text; write it as UTF-8."""
    style = _style(report)
    script = _file("tables.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            # Both are our own text: the style sheet holds no outside data but the run id, which css_string makes harmless.
            style=Markup(style),  # noqa: S704 - see the line above
            script=Markup(script),  # noqa: S704 - our own file
            policy=Markup(policy),  # noqa: S704 - a constant and a base64 digest
        )
    )


def css_string(text: str) -> str:
    """The text as a CSS string in which only letters, digits, dot, hyphen and blank stand for themselves."""
    told = ""
    for char in visible(text):
        # A blank after an escape would count as the escape's end.
        plain = char.isascii() and (char.isalnum() or char in ".-" or (char == " " and not _ESCAPED.search(told)))
        told += char if plain else f"\\{ord(char):06x}"
    return f'"{told}"'


def _style(report: Report) -> str:
    sheet = _file("style.css")
    version = dict(report.tool).get("recon", "")
    point = report.proof.ledger
    ledger = "no ledger" if point is None else f"ledger head {point.head[:16]}"
    kept = "personal data, addresses masked" if report.masked else "personal data"
    line = f"run {report.run_id} - report of {_time(report.generated_at)} - recon {version} - {ledger} - {kept}"
    return sheet.replace('"RUN-LINE"', css_string(line))


def _file(name: str) -> str:
    return (resources.files("recon.report") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _time(at: datetime | None) -> str:
    return "unknown" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _stamp(text: str) -> Markup:
    """A text with the times in it for reading, each breaking between date and time only."""
    parts = _ISO.sub(r"\1 \2", visible(text)).split(" ")
    return Markup(" ").join(
        Markup('<span class="stamp">{}</span>').format(part) if part[:1].isdigit() else escape(part) for part in parts
    )


def _dated(text: str) -> Markup:
    """A text with its dates kept on one line each."""
    parts = _DATE.split(visible(text))
    return Markup("").join(
        Markup('<span class="nowrap">{}</span>').format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )


def _drawing(svg: str) -> Markup:
    # Only what recon.report.svg let through, with every text in it escaped.
    return Markup(visible(svg))  # noqa: S704 - see the line above


def _finalize(value: object) -> object:
    """Make hidden characters visible in everything that a template prints."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("recon.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(number=number, time=_time, drawing=_drawing, stamp=_stamp, dated=_dated)
    environment.globals.update(plural=plural, percent=percent, titles=TITLES)
    return environment
