"""Nothing in the data becomes markup, nothing leaves the page, no address stands in it."""

from __future__ import annotations

import base64
import hashlib
import html as html_module
import re
import time
from importlib import resources
from typing import TYPE_CHECKING

import pytest

from recon.report import build
from recon.report.mask import NO_ADDRESS, mask_address, mask_within, visible
from recon.report.render import css_string
from tests.report.conftest import CLOCK
from tests.report.page import Page
from tests.report.run_folder import BRACES, FORMULA, HOSTILE, SCRIPT, URL, RunFolder, addresses, every_case

if TYPE_CHECKING:
    from pathlib import Path

    from recon.settings import Settings

ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "a", "header", "div", "p", "h1", "h2", "dl", "dt", "dd", "details", "summary", "nav", "ol", "ul", "li",
    "main", "section", "span", "svg", "path", "circle", "rect", "text", "desc", "figure", "figcaption", "table", "caption", "thead",
    "tbody", "tfoot", "tr", "th", "td", "br", "b", "i", "em", "strong", "code", "footer", "script", "g", "line",
}  # fmt: skip


def test_only_known_elements_and_harmless_attributes(page: Page) -> None:
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    for tag, attrs in page.elements:
        for name, value in attrs.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in {"style", "src", "srcset", "xlink:href", "action", "formaction", "srcdoc", "data"}
            assert "javascript:" not in (value or "")
            if name == "href":
                assert (value or "").startswith("#")
    assert page.comments == []
    assert page.declarations == ["DOCTYPE html"]


def test_links_lead_somewhere_and_ids_are_unique(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    for attrs in page.of("a"):
        assert (attrs["href"] or "")[1:] in page.ids
    for _, attrs in page.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((attrs.get(name) or "").split()) <= set(page.ids)


def test_hostile_values_are_shown_as_text(page: Page) -> None:
    for text in (SCRIPT, BRACES, FORMULA, URL):
        assert text in page.text
    assert "1337" not in page.text  # what the braces would have become
    assert "⟨U+202E⟩" in page.text
    assert "⟨U+200B⟩" in page.text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\0]", page.text)


def test_very_long_values_end(page: Page) -> None:
    assert not re.search(r"\S{1300}", page.text)


def test_content_security_policy_stands_first_and_its_hash_is_the_style_sheets(html: str, page: Page) -> None:
    (policy,) = [
        attrs["content"] or "" for attrs in page.of("meta") if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert [tag for tag, _ in page.elements[:4]] == ["html", "head", "meta", "meta"]
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    code = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; script-src 'sha256-{code}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    assert html.count("<style>") == 1
    # The script is our own, the same in every report: nothing of the data is in it.
    assert html.count("<script") == 1
    assert page.script == (resources.files("recon.report") / "templates" / "tables.js").read_text(encoding="utf-8")
    assert "url(" not in page.style
    assert "@import" not in page.style


def test_no_full_address_stands_anywhere(run: RunFolder, html: str, page: Page) -> None:
    extra = ["quentin@origin.example", "rita@details.example", "sarah@never.example", "tom@user.example"]
    unescaped = html_module.unescape(html)
    for address in addresses(run.rows) + extra:
        for where in (html, unescaped, page.text):
            assert address not in where
            assert visible(address) not in where
    # And nothing else that looks like one: what stands before an @ is masked.
    # (Meanings of settings are our own words, with examples in them.)
    own = {row[2] for row in page.table("Settings in force").rows if len(row) == 3}
    text = page.text
    for meaning in own:
        text = text.replace(meaning, "")
    for found in re.finditer(r"(\S+)@\w", text):
        assert found.group(1).endswith("***") or found.group(1) == "!A0", found.group()


def test_full_addresses_only_where_the_setting_says_so(run: RunFolder, hostile_settings: Settings) -> None:
    open_ = hostile_settings.with_values(report={"mask": False})
    page = Page(build(run.folder, open_, clock=CLOCK).read_text(encoding="utf-8"))
    assert "cy@mail-net.example" in page.text
    assert "in full: personal data" in page.text
    assert page.of("script") == [{}]


def test_a_masked_row_can_be_found_again(run: RunFolder, page: Page) -> None:
    import csv

    with (run.folder / "actions.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    for row in page.table("Records that need action").rows:
        line = lines[int(row[-1]) - 1]
        assert line[lines[0].index("object")] in row[1]
        own = line[lines[0].index("id")]
        if own not in HOSTILE and own.lstrip("'") not in HOSTILE:
            assert own in row[1]


def test_the_files_mode_is_the_owners(run: RunFolder, html: str) -> None:
    assert (run.folder / "compliance.html").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "actions.csv",
        "compliance.html",
        "manifest.json",
        "merged.parquet",
        "persons.csv",
        "unusable.csv",
    ]
    assert html


def test_a_hostile_run_id_stays_inside_its_string(tmp_path: Path, hostile_settings: Settings) -> None:
    run = RunFolder(tmp_path / "run", every_case(), hostile_settings).write(
        run_id='"}</style><script>alert(1)</script>\\'
    )
    page = Page(build(run.folder, hostile_settings, clock=CLOCK).read_text(encoding="utf-8"))
    assert page.of("script") == [{}]
    assert "</style" not in page.style


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("ann@example.com", "a***@e***.com"),
        (" ann.lee@mail.example.co.uk ", "a***@m***.uk"),
        ("a@b.co", "a***@b***.co"),
        ("root@localhost", "r***@l***"),
        ("ann@[192.0.2.1]", "a***@[***"),
        ("ann@bücher.example", "a***@b***.example"),
        ("gus at example.com", "g***"),
        ("a@b@c.com", "a***"),
        ("@example.com", "***@e***.com"),
        ("ann@", "a***"),
        ("   ", NO_ADDRESS),
        (None, NO_ADDRESS),
    ],
)
def test_masking(text: str | None, masked: str) -> None:
    assert mask_address(text) == masked
    if masked != NO_ADDRESS and "***" not in (text or "***"):
        assert mask_address(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "see ann@example.com.",
        "sales_connect:ann@example.com -[address]-> salesforce:003",
        "<ann@example.com>, (ann@example.com); 'ann@example.com'",
        "https://ann@example.com/x and https://u:secret@example.com/",
        '"ann lee"@example.com',
        "o'ann@example.com",
        "x@ann@example.com",
    ],
)
def test_masking_within_a_text(text: str) -> None:
    shown = mask_within(text)
    assert "ann@" not in shown
    assert "@example.com" not in shown
    assert "secret" not in shown
    assert mask_within(shown) == shown


def test_masking_takes_time_that_grows_with_the_text() -> None:
    began = time.process_time()
    for text in ("x" * 200_000 + "@", "@" * 200_000, "a@" * 100_000, "://" * 70_000 + "@", "x@y " * 50_000):
        mask_within(text)
    assert time.process_time() - began < 2


def test_a_css_string_holds_anything() -> None:
    assert css_string('a"b\\c\n</style>') == r'"a\000022b\00005cc\0027e8U\00002b000A\0027e9\00003c\00002fstyle\00003e"'
