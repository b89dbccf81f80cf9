"""The report as one HTML file: no script, no network, every value escaped.

The content security policy stands in the file itself and allows nothing but the one style sheet, by its hash. Source of the rules:
content-security-policy.com, meta tag examples; OWASP, cross-site scripting prevention.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from recon.report.mask import visible
from recon.report.words import TITLES, number, percent, plural

if TYPE_CHECKING:
    from datetime import datetime

    from recon.report.context import Report


def render_html(report: Report) -> str:
    """The whole file. Equal reports give equal text; write it as UTF-8."""
    style = _style(report)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            # Both are our own text: the style sheet holds no outside data but the run id, which css_string makes harmless.
            style=Markup(style),  # noqa: S704 - see the line above
            policy=Markup(policy),  # noqa: S704 - a constant and a base64 digest
        )
    )


def css_string(text: str) -> str:
    """The text as a CSS string in which only letters, digits, dot, hyphen and blank stand for themselves."""
    return (
        '"'
        + "".join(
            char if char.isascii() and (char.isalnum() or char in ".- ") else f"\\{ord(char):06x}"
            for char in visible(text)
        )
        + '"'
    )


def _style(report: Report) -> str:
    sheet = (resources.files("recon.report") / "templates" / "style.css").read_text(encoding="utf-8")
    version = dict(report.tool).get("recon", "")
    point = report.proof.ledger
    ledger = "no ledger" if point is None else f"ledger head {point.head[:16]}"
    kept = "personal data, addresses masked" if report.masked else "personal data"
    line = f"run {report.run_id} - report of {_time(report.generated_at)} - recon {version} - {ledger} - {kept}"
    return sheet.replace('"RUN-LINE"', css_string(line))


def _time(at: datetime | None) -> str:
    return "unknown" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


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
    environment.filters.update(number=number, time=_time, drawing=_drawing)
    environment.globals.update(plural=plural, percent=percent, titles=TITLES)
    return environment
