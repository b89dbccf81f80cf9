"""Hostile data in every field, through both systems and every file, to the page in a real browser: all of it is text, and everybody can read it."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from recon import jobs
from recon.errors import InputRefused
from recon.report.csv_safe import neutralise
from recon.report.mask import visible
from recon.resubscribe.approved import read_approved
from recon.tables import APPROVED, PEOPLE
from tests.report.conftest import CLOCK
from tests.report.hostile import (
    FILE,
    NUL,
    REFUSING,
    RUNS,
    TEXTS,
    HostileRun,
    hostile_run,
    write_approved,
    write_extracts,
)
from tests.report.page import Page
from tests.report.run_folder import FORMULA, LONG, MARKS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WCAG = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice")
LOOKS = [(width, scheme) for width in (1280, 360) for scheme in ("light", "dark")]


#: The names of the tables' boxes that have to be scrolled sideways.
SCROLLS = """() => Array.from(document.querySelectorAll(".scroll")).filter((box) => box.scrollWidth > box.clientWidth)
  .map((box) => box.getAttribute("aria-label"))"""
HIDDEN = re.compile("[\0-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]")
LEAD_HEADERS = ("Id", "Email", "HasOptedOutOfEmail", "IsConverted", "ConvertedContactId", "IsDeleted", "FirstName", "LastName", "LastModifiedDate")  # fmt: skip
_ELEMENTS = {"div", "p", "h4", "ul", "li", "b", "br", "code", "table", "thead", "tbody", "tr", "th", "td"}


def _only_text(markup: str) -> None:
    """Nothing but a table's and a text's elements, no handler, nothing hidden."""
    page = Page(markup)
    assert {tag for tag, _ in page.elements} <= _ELEMENTS
    assert not [
        name for _, attrs in page.elements for name in attrs if name.startswith("on") or name in ("href", "src")
    ]
    assert not HIDDEN.search(markup)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileRun]:
    made = hostile_run(tmp_path_factory.mktemp("hostile"))
    yield made
    made.rig.sandbox.close()


class TestWithoutABrowser:
    def test_the_page_holds_every_text_as_text(self, hostile: HostileRun) -> None:
        page = Page(hostile.html)
        assert page.of("script") == [{}]
        assert not {tag for tag, _ in page.elements} & {"img", "iframe", "svg onload", "object", "form", "link", "base"}
        assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on") or name == "style"]
        for text in RUNS:
            assert visible(text) in page.text
        proof = " ".join(cell for row in page.table("Resubscribes and their proof").rows for cell in row)
        rejected = " ".join(cell for row in page.table("Rejected rows").rows for cell in row)
        for text in RUNS:
            assert f"evidence{visible(text)}" in proof
        assert "bad_email" in rejected
        assert "⟨U+0000⟩" in page.text
        assert not HIDDEN.search(hostile.html)
        assert not [email for email in hostile.emails if email in hostile.html]

    def test_files_for_people_hold_no_formula(self, hostile: HostileRun) -> None:
        names = sorted(hostile.folder.glob("*.csv"))
        assert len(names) >= 9
        for name in names:
            with name.open(encoding="utf-8", newline="") as stream:
                for row in csv.reader(stream):
                    for cell in row:
                        assert neutralise(cell) == cell, (name.name, cell)

    def test_files_for_machines_are_exact(self, hostile: HostileRun) -> None:
        import pyarrow.parquet as pq

        merged = pq.read_table(hostile.folder / "merged.parquet")
        ids = set(merged.column("id").to_pylist())
        assert {f"{number}{text}" for number, text in enumerate(TEXTS)} <= ids
        plan = json.loads((hostile.folder / "plan.json").read_text("utf-8"))
        said = {step["reason"] for step in plan["steps"]}
        assert {text for text in TEXTS if text in RUNS} <= said

    def test_from_extract_files_it_is_text_as_well(self, tmp_path: Path) -> None:
        run = jobs.reconcile(tmp_path, **write_extracts(tmp_path), run_id="files", clock=CLOCK)  # type: ignore[arg-type]
        assert run.manifest["rows"]["actions"] >= len(TEXTS) - 1
        page = Page(jobs.report(tmp_path, run_id="files", clock=CLOCK).path.read_text(encoding="utf-8"))
        assert page.of("script") == [{}]
        assert "img" not in {tag for tag, _ in page.elements}
        for text in RUNS:
            assert visible(text) in page.text
        with (run.folder / "actions.csv").open(encoding="utf-8", newline="") as stream:
            assert all(neutralise(cell) == cell for row in csv.reader(stream) for cell in row)

    def test_every_field_of_both_systems_is_hostile(self, hostile: HostileRun) -> None:
        """What a person or an import can write; not ids, times and flags, which the systems make or check."""
        own = {"MasterRecordId", "ConvertedContactId", "IndividualId", "AccountId", "PersonContactId", "PartyId"}
        told = {"ContactPointType", "PrivacyConsentStatus", "LastModifiedById", "level", "source", "details"}
        with hostile.rig.sandbox.store.transaction() as db:
            for table in ("lead", "contact", "account", "individual", "contactpointtypeconsent", "person", "unsubscribe", "unsubscribe_history"):  # fmt: skip
                for _, column, kind, *_ in db.execute(f"PRAGMA table_info({table})").fetchall():
                    plain = column in own | told or column == "Id" or column.endswith(("Date", "_at", "Modstamp"))
                    if kind != "TEXT" or plain or column in ("at", "EffectiveFrom", "EffectiveTo"):
                        continue
                    if table != "person" and column == "person_id":
                        continue
                    found = db.execute(
                        f"SELECT count(*) FROM {table} WHERE instr({column}, 'window.hacked')"
                    ).fetchone()
                    assert found[0], (table, column)

    def test_every_column_of_the_approved_file_is_hostile(self, hostile: HostileRun) -> None:
        with (hostile.rig.folder / FILE).open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert tuple(name for name in rows[0] if not any("hacked" in row[name] for row in rows)) == REFUSING
        verdicts = hostile.done.planned.check.checked.verdicts
        assert verdicts.num_rows == len(rows)
        assert visible(FILE) in Page(hostile.html).text

    @pytest.mark.parametrize("name", REFUSING)
    def test_what_may_hold_a_few_words_only_refuses_the_file_in_a_sentence(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / "approved.csv"
        row = dict.fromkeys(APPROVED.names, "") | {"email": "a@b.example", name: RUNS[0] + MARKS}
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, row)
            writer.writeheader()
            writer.writerow(row)
        with pytest.raises(InputRefused, match=rf"approved\.csv, line 2, column '{name}'") as refused:
            read_approved(path)
        assert "hacked" not in str(refused.value)
        assert not HIDDEN.search(str(refused.value))

    def test_what_notebooks_show_is_text(self, hostile: HostileRun) -> None:
        from recon import charts, views
        from recon.results import RunResult

        manifest = json.loads((hostile.folder / "manifest.json").read_text("utf-8"))
        run = RunResult(manifest["run_id"], hostile.folder, manifest)
        tables = [views.verdicts(hostile.done), views.steps(hostile.done), views.blocked(hostile.done), views.outcomes(hostile.done)]  # fmt: skip
        tables += [views.verdicts(hostile.done, show_addresses=True), views.first_actions(run, 200, show_addresses=True)]  # fmt: skip
        tables += [views.first_actions(run, 200), views.inputs(manifest["inputs"]), views.files(hostile.folder)]
        tables += [views.large_clusters(manifest), views.categories(run), views.coverage(run)]
        for table in tables:
            _only_text(table._repr_html_())
        assert any("⟨U+202E⟩" in table._repr_html_() for table in tables)
        for chart in (charts.disagreements(run), charts.cluster_sizes(run), charts.verdicts(hostile.done)):
            assert "<script" not in chart.svg

    def test_what_why_says_is_text(self, hostile: HostileRun) -> None:
        from recon import charts, settings
        from recon.explore import asking, find

        loaded = settings.load(hostile.rig.folder)
        among = find.joined(jobs.from_snapshot(loaded, None), loaded)
        asked = [(f"{number}{text}", True) for number, text in enumerate(TEXTS) if text not in (FORMULA, LONG)]
        for query, full in [*asked, (hostile.emails[0], False), (RUNS[0], False)]:
            answer = asking._why(loaded, among, query, show_addresses=full, clock=hostile.rig.clock)
            _only_text(answer._repr_html_())
            assert not HIDDEN.search("".join(answer.lines()))
            assert (answer.person is None) == (query == RUNS[0])
            if answer.person is not None:
                assert not HIDDEN.search(charts.links(answer).svg)

    @pytest.mark.parametrize("name", [*PEOPLE.names, *LEAD_HEADERS])
    def test_a_hostile_column_of_an_extract_is_read_as_text_or_refused_in_a_sentence(
        self, name: str, tmp_path: Path
    ) -> None:
        people = {"person_id": "1", "email": "a@b.example", "unsubscribed": "true"}
        leads = {"Id": "00Q000000000001", "Email": "a@b.example", "HasOptedOutOfEmail": "false", "IsConverted": "false"}
        text = TEXTS[2] + MARKS
        (people if name in PEOPLE.names else leads)[name] = text
        given = {}
        for file, row in (("people", people), ("leads", leads)):
            given[file] = tmp_path / f"{file}.csv"
            with given[file].open("w", encoding="utf-8", newline="") as stream:
                writer = csv.DictWriter(stream, row)
                writer.writeheader()
                writer.writerow(row)
        refused = None
        try:
            run = jobs.reconcile(tmp_path, **given, run_id="one", clock=CLOCK)  # type: ignore[arg-type]
        except InputRefused as error:
            refused = str(error)
        if refused is not None:
            assert not HIDDEN.search(refused)
            assert "hacked" not in refused
            assert f"{'people' if name in PEOPLE.names else 'leads'}.csv, line 2" in refused
            return
        page = Page(jobs.report(tmp_path, run_id="one", clock=CLOCK).path.read_text("utf-8"))
        assert page.of("script") == [{}]
        assert "iframe" not in {tag for tag, _ in page.elements}
        with (run.folder / "actions.csv").open(encoding="utf-8", newline="") as stream:
            assert all(neutralise(cell) == cell for row in csv.reader(stream) for cell in row)

    def test_a_file_with_a_null_byte_is_refused_in_a_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(InputRefused, match=r"hostile\.csv"):
            read_approved(write_approved(tmp_path, NUL))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium, chromium-browser or google-chrome on this machine")
    from playwright.sync_api import sync_playwright

    # Chromium's own sandbox doesn't run as root, where these tests often do; the page is ours.
    with (
        sync_playwright() as started,
        started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as found,
    ):
        yield found


def _opened(browser: Browser, page: Path, told: list[str], **context: Any) -> Tab:
    tab = browser.new_context(**context).new_page()
    tab.on("console", lambda message: told.append(message.text))
    tab.on("pageerror", lambda error: told.append(str(error)))
    tab.on("dialog", lambda dialog: told.append(dialog.message))
    tab.on("request", lambda request: told.append(request.url))
    tab.goto(page.as_uri())
    return tab


@pytest.mark.chromium
class TestInABrowser:
    def test_nothing_of_the_data_runs(self, hostile: HostileRun, browser: Browser) -> None:
        told: list[str] = []
        tab = _opened(browser, hostile.folder / "compliance.html", told)
        assert tab.evaluate("window.hacked") is None
        assert tab.evaluate("document.querySelectorAll('script').length") == 1
        assert (
            tab.evaluate(
                "document.querySelectorAll('img, iframe, object, embed, form, link, [style], [onload]').length"
            )
            == 0
        )
        assert told == [(hostile.folder / "compliance.html").as_uri()]  # nothing but the page itself was asked for
        # And the policy stops what would: a script that is put in doesn't run.
        tab.evaluate(
            "() => { const s = document.createElement('script'); s.textContent = 'window.hacked=2'; document.body.append(s) }"
        )
        assert tab.evaluate("window.hacked") is None
        assert any("Content Security Policy" in text for text in told)
        tab.context.close()

    @pytest.mark.parametrize(("width", "scheme"), LOOKS, ids=[f"{width}-{scheme}" for width, scheme in LOOKS])
    def test_everybody_can_read_it(self, hostile: HostileRun, browser: Browser, width: int, scheme: str) -> None:
        from axe_playwright_python.sync_playwright import Axe

        tab = _opened(
            browser,
            hostile.folder / "compliance.html",
            [],
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
        )
        # 1.4.10: nothing is wider than the screen, and no table wider than the box that it is in.
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.evaluate(SCROLLS) == []
        tags = {"runOnly": {"type": "tag", "values": WCAG}, "rules": {"color-contrast": {"enabled": False}}}
        contrast = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
        # Contrast is measured element by element: a table's later rows look like its first ones.
        first_rows = {"exclude": [["tbody tr:nth-child(n+4)"], ["tbody:nth-of-type(n+3)"]]}
        found = [
            each
            for options, context in ((tags, None), (contrast, first_rows))
            for each in Axe().run(tab, context, options | {"resultTypes": ["violations"]}).response["violations"]
        ]
        wrong = [
            f"{each['id']}: {each['help']}: {each['nodes'][0]['html'][:200]} {each['nodes'][0]['failureSummary']}"
            for each in found
        ]
        assert wrong == []
        drawn = "wide" if width == 1280 else "narrow"
        assert tab.locator(f".{drawn}-only svg").first.is_visible()
        tab.context.close()

    def test_actions_can_be_filtered_and_sorted(self, hostile: HostileRun, browser: Browser) -> None:
        tab = _opened(browser, hostile.folder / "compliance.html", [])
        table = tab.locator("table.actions")
        rows = table.locator("tbody tr:visible")
        every = rows.count()
        tab.locator("#actions").get_by_label("Filter these rows").fill("TWIN1 sales")
        assert 0 < rows.count() < every
        assert tab.locator("#actions").get_by_role("status").inner_text() == f"{rows.count()} of {every} rows"
        tab.locator("#actions").get_by_label("Filter these rows").fill("")
        assert rows.count() == every
        head = table.get_by_role("columnheader", name="Row", exact=False)
        for order in ("ascending", "descending"):
            head.get_by_role("button").click()
            assert head.get_attribute("aria-sort") == order
            numbers = [int(text) for text in table.locator("tbody td:last-child").all_inner_texts()]
            assert numbers == sorted(numbers, reverse=order == "descending")
        tab.context.close()

    def test_it_is_whole_without_the_script(self, hostile: HostileRun, browser: Browser) -> None:
        tab = _opened(browser, hostile.folder / "compliance.html", [], java_script_enabled=False)
        assert tab.locator(".tools").count() == 0
        shown = len(Page(hostile.html).table("Records that need action").rows)
        assert tab.locator("table.actions tbody tr").count() == shown
        tab.context.close()

    def test_every_printed_page_has_its_number_the_run_and_the_ledger(
        self, hostile: HostileRun, browser: Browser, tmp_path: Path
    ) -> None:
        if shutil.which("pdftotext") is None:
            pytest.skip("there is no pdftotext on this machine")
        tab = _opened(browser, hostile.folder / "compliance.html", [])
        tab.locator("#actions").get_by_label("Filter these rows").fill("nothing has this")
        tab.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
        tab.context.close()
        text = subprocess.run(
            ["pdftotext", "-layout", tmp_path / "page.pdf", "-"], capture_output=True, text=True, check=True
        ).stdout
        pages = text.split("\f")[:-1]
        head = re.search(r"Head\s+([0-9a-f]{16})", text)
        assert head is not None
        assert len(pages) > 5
        for number, page in enumerate(pages, 1):
            assert f"page {number} of {len(pages)}" in page
            assert f"run {hostile.folder.name}" in page
            assert f"ledger head {head[1]}" in page
        # The heads are repeated where a table goes on, and what was filtered away is printed.
        for title in ("Why, and how the opt-out gets here", "Setting "):
            assert sum(title in page for page in pages) > 1
        assert "twin1" in text
