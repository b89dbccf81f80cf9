"""The page says what the manifest says, can be read by everybody, and is the same every time."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recon.categories import CATEGORIES
from recon.clock import SetClock
from recon.errors import ReconError
from recon.report import build
from recon.report.words import TITLES
from recon.settings import Settings
from tests.report.conftest import CLOCK
from tests.report.page import Page
from tests.report.run_folder import RunFolder, _pair, every_case

if TYPE_CHECKING:
    from tests.report.run_folder import Row

SNAPSHOT = Path(__file__).parent / "snapshots" / "compliance.html"
REGENERATE = "RECON_REGEN_SNAPSHOTS"

SECTIONS = [
    "scope", "inputs", "coverage", "opt-outs", "limit", "categories", "actions", "tonight", "resubscribes", "rejected", "verification",
    "corrections", "clusters", "trend", "settings", "files", "ledger", "limits",
]  # fmt: skip


def _int(cell: str) -> int:
    return int(cell.replace(",", ""))


def _built(run: RunFolder, settings: Settings | None = None) -> Page:
    return Page(build(run.folder, settings or Settings(), clock=CLOCK).read_text(encoding="utf-8"))


def test_the_page_is_the_one_that_was_looked_at(html: str) -> None:
    """Regenerate with RECON_REGEN_SNAPSHOTS=1, and look at the page before committing it."""
    if os.environ.get(REGENERATE):
        SNAPSHOT.write_text(html, encoding="utf-8")
    kept = SNAPSHOT.read_text(encoding="utf-8")
    if html != kept:
        lines = zip(kept.splitlines(), html.splitlines(), strict=False)
        first = next((number for number, (one, other) in enumerate(lines, 1) if one != other), "the end")
        at = next((n for n, (one, other) in enumerate(zip(kept, html, strict=False)) if one != other), -1)
        pytest.fail(
            f"first difference in line {first}:\n- {kept[max(at - 60, 0) : at + 60]!r}\n+ {html[max(at - 60, 0) : at + 60]!r}\n"
            f"If it is meant: {REGENERATE}=1 pytest {Path(__file__).name}"
        )


def test_equal_folder_and_clock_give_equal_bytes(tmp_path: Path, hostile_settings: Settings) -> None:
    pages = []
    for name in ("one", "other"):
        run = RunFolder(tmp_path / name, every_case(), hostile_settings).write()
        pages.append(build(run.folder, hostile_settings, clock=CLOCK).read_bytes())
        assert build(run.folder, hostile_settings, clock=CLOCK).read_bytes() == pages[-1]
    assert pages[0] == pages[1]
    later = build(tmp_path / "one", hostile_settings, clock=SetClock(datetime(2026, 12, 24, tzinfo=UTC)))
    changed = Page(later.read_text(encoding="utf-8"))
    assert "2026-12-24 00:00:00 UTC" in changed.text
    # What is overdue is judged on the day of the run.
    assert f"{run.manifest['overdue']} actions are overdue" in changed.text


def test_sections_stand_in_order(page: Page) -> None:
    found = [attrs["id"] for attrs in page.of("section")]
    assert found == ["verdict", *SECTIONS]


def test_numbers_are_the_manifests(run: RunFolder, page: Page) -> None:
    told = run.manifest
    coverage = page.table("Coverage")
    for label, tie in (("Linked", "linked"), ("Matched", "address_only"), ("Unmatched", "unmatched")):
        row = coverage.row(label)
        assert (_int(row[1]), _int(row[3])) == (told["coverage"]["people"][tie], told["coverage"]["records"][tie])
    for label, tie in (("Stale", "stale_link"), ("Broken", "broken_link")):
        assert _int(coverage.row(label)[1]) == told["coverage"]["people"][tie]
        assert coverage.row(label)[3] == "n/a"
    by_category = page.table("Every category")
    for category in CATEGORIES:
        row = by_category.row(TITLES[category.name])
        assert [_int(cell) for cell in row[1:3]] == [
            told["categories"][category.name][key] for key in ("primary", "all")
        ]
        assert row[4:] == [f"{category.meaning}To do: {category.to_do}", category.fix]
    assert sum(_int(row[3]) for row in by_category.rows[:-1]) == told["overdue"] == 2
    by_system = page.table("Opt-outs by system")
    assert _int(by_system.row("People")[2]) == told["opted_out"]["sales_connect"]
    assert _int(by_system.row("Leads")[2]) + _int(by_system.row("Contacts")[2]) == told["opted_out"]["salesforce"]
    agreement = page.table("Opted-out people who stand")
    for label, key in (
        ("Opted out on both", "both_sides"),
        ("In Sales Connect", "sales_connect_only"),
        ("In Salesforce", "salesforce_only"),
    ):
        assert _int(agreement.row(label)[1]) == told["opted_out"][key]
    ages = page.table("Opted-out people by the age")
    assert sum(_int(row[1]) for row in ages.rows) == told["opted_out"]["clusters"]
    assert _int(ages.row("date unknown")[1]) == 1
    unusable = page.table("Values that")
    assert [_int(row[1]) for row in unusable.rows] == [told["unusable"]["addresses"], told["unusable"]["ids"]]
    files = page.table("Files of the run")
    assert {row[0]: row[4] for row in files.rows if row[3] != "n/a"} == {
        name: output["sha256"] for name, output in told["outputs"].items()
    }
    due = page.table("Actions by due date")
    assert _int(due.row("Overdue")[1]) == told["overdue"]
    assert sum(_int(row[1]) for row in due.rows[:-1]) == told["rows"]["actions"]
    assert len(page.table("Records that need action").rows) == told["rows"]["actions"]
    assert len(page.table("Records that the next run").rows) == 2
    assert len(page.table("Overdue").rows) == 2
    sentence = "8 records could be mailed although the person opted out; 2 will be mended by tonight's sync, 5 need you"
    assert sentence in page.text


def test_large_clusters_and_what_joins_them(page: Page) -> None:
    largest, smaller = page.table("Clusters of more").rows
    assert largest[1:] == ["70", "link salesforce:003A99, 71 records"]
    assert smaller[1:] == ["61", "address i***@e***.com, 60 records"]


def test_overdue_actions_come_first_and_undated_last(page: Page) -> None:
    due = [row[0].strip() for row in page.table("Records that need action").rows]
    dated = [cell[:10] for cell in due if cell != "no date"]
    assert dated == sorted(dated)
    assert due[: len(dated)] == [cell for cell in due if cell != "no date"]
    assert all("▲ overdue" in cell for cell in due[:2])
    assert "▲ overdue" not in "".join(due[2:])


def test_only_the_first_actions_are_shown(run: RunFolder) -> None:
    page = _built(run, Settings().with_values(report={"rows": 3}))
    total = run.manifest["rows"]["actions"]
    table = page.table("Records that need action")
    assert len(table.rows) == 3
    assert f"(3 of {total} shown)" in table.caption
    assert f"The first 3 of {total} actions" in page.text
    # The overdue list doesn't depend on it.
    assert len(page.table("Overdue").rows) == 2


def test_inputs_and_unknown_times(page: Page) -> None:
    people, contacts = page.table("What was read").rows
    assert "unknown: a file does not say" in people[4]
    assert "0f" * 32 in people[1]
    assert "2026-11-24 17:20:00 UTC" in contacts[4]
    assert "no SHA-256" in contacts[1]
    assert "Straddles a nightly run: unknown." in page.text


@pytest.mark.parametrize(("straddles", "word"), [(True, "yes"), (False, "no"), (None, "unknown")])
def test_straddling_is_said(tmp_path: Path, straddles: bool | None, word: str) -> None:
    page = _built(RunFolder(tmp_path / "run", every_case()).write(straddles=straddles))
    assert f"Straddles a nightly run: {word}." in page.text
    assert ("Read with care" in page.text) is (straddles is not False)


def test_sources_are_shown_where_they_were_counted(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", every_case()).write()
    assert "not counted in this run" in _built(run).text
    run.manifest["opted_out"]["sources"] = {"manual": 3, "bounce": 1, "sorcery": 2}
    run.save()
    rows = {row[0]: row[1] for row in _built(run).table("Unsubscribed people").rows}
    assert rows == {"set by hand": "3", "link clicked": "0", "sync from Salesforce": "0", "bounce": "1", "unknown": "2"}


def test_the_next_run_in_both_zones_and_off(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", every_case()).write()
    assert "2026-11-24 20:00 America/Los_Angeles (2026-11-25 04:00 UTC)" in _built(run).text
    off = [row for row in every_case() if not row.predicted or row.opted_out]
    run = RunFolder(tmp_path / "off", off).write()
    run.manifest["tonight"] |= {"enabled": False, "run_at": None}
    run.save()
    page = _built(run)
    assert "The sync is switched off" in page.text
    assert "could be mailed although the person opted out; the sync is switched off, 5 need you" in page.text


def test_a_run_with_nothing_to_say(tmp_path: Path) -> None:
    page = _built(RunFolder(tmp_path / "run", []).write(large_clusters=[], straddles=False, inputs=[]))
    assert "No record could be mailed against an opt-out." in page.text
    assert "In agreement" in page.text
    assert "There is nothing to do." in page.text
    assert "Nothing is overdue." in page.text


def test_a_rehearsal_is_said(tmp_path: Path) -> None:
    assert "Rehearsal" in _built(RunFolder(tmp_path / "run", every_case()).write(clock="set")).text


def test_changed_settings_are_marked(page: Page) -> None:
    rows = {row[0]: row[1] for row in page.table("Settings in force").rows if len(row) == 3}
    assert rows["never_join"] == "s***@n***.example changed"
    assert rows["limit_business_days"] == "10"


def test_readable_by_everybody(html: str, page: Page) -> None:
    assert page.of("html") == [{"lang": "en"}]
    assert html.startswith("<!DOCTYPE html>\n")
    assert page.of("a")[0] == {"class": "skip", "href": "#main"}
    assert all(page.scrolled), "a table outside a scroll box"
    assert all(table.caption.strip() for table in page.tables)
    for attrs in page.of("th"):
        assert attrs.get("scope") in {"col", "row", "rowgroup"}
    for attrs in page.of("svg"):
        assert attrs.get("aria-hidden") == "true" or (attrs.get("role") == "img" and attrs.get("aria-labelledby"))
    headings = [tag for tag, _ in page.elements if tag in {"h1", "h2", "h3"}]
    assert headings == ["h1"] + ["h2"] * len(SECTIONS)


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(page: Page, scheme: str) -> None:
    light, dark = page.style.split("@media screen and (prefers-color-scheme: dark)")[:2]
    colours: dict[str, str] = {}
    for part in (light, dark) if scheme == "dark" else (light,):
        for line in part.split("}")[0].splitlines():
            name, _, value = line.strip().rstrip(";").partition(": ")
            if name.startswith("--"):
                colours[name[2:]] = value
    text = [
        ("ink", "paper"), ("ink", "page"), ("ink", "head"), ("quiet", "paper"), ("quiet", "page"), ("quiet", "head"), ("link", "page"),
        ("link", "paper"), ("masthead-ink", "masthead"), ("masthead-quiet", "masthead"), ("act", "act-paper"), ("act", "paper"),
        ("watch", "watch-paper"), ("watch", "paper"), ("ok", "ok-paper"), ("ok", "paper"), ("ink", "act-paper"), ("ink", "watch-paper"),
        ("ink", "ok-paper"),
    ]  # fmt: skip
    for one, other in text:
        assert _contrast(colours[one], colours[other]) >= 4.5, (one, other)
    assert _contrast(colours["bar"], colours["track"]) >= 3
    assert _contrast(colours["bar"], colours["paper"]) >= 3


# -- refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "key", "value", "said"),
    [
        ("rows", "actions", 3, "rows.actions is 3 in the manifest and"),
        ("could_be_mailed", "total", 99, "the parts of could_be_mailed"),
        ("tonight", "people_set", 7, "tonight.people_set is 7"),
        ("fix", "admin", 0, "fix.admin is 0"),
        ("opted_out", "salesforce", 0, "opted_out.salesforce is 0"),
    ],
)
def test_a_run_that_contradicts_itself_gets_no_report(
    run: RunFolder, part: str, key: str, value: int, said: str
) -> None:
    run.manifest[part][key] = value
    run.save()
    with pytest.raises(ReconError, match=said):
        build(run.folder, Settings(), clock=CLOCK)
    assert not (run.folder / "compliance.html").exists()


@pytest.mark.parametrize("name", ["merged.parquet", "actions.csv", "unusable.csv"])
def test_a_changed_or_missing_file_gets_no_report(run: RunFolder, name: str) -> None:
    before = build(run.folder, Settings(), clock=CLOCK).read_bytes()
    (run.folder / name).write_bytes((run.folder / name).read_bytes() + b"\n")
    with pytest.raises(ReconError, match=r"was changed after the run.*\n.*edited file is no evidence"):
        build(run.folder, Settings(), clock=CLOCK)
    (run.folder / name).unlink()
    with pytest.raises(ReconError, match="can't be read"):
        build(run.folder, Settings(), clock=CLOCK)
    # The earlier report stays as it was.
    assert (run.folder / "compliance.html").read_bytes() == before


def test_outputs_outside_the_folder_are_refused(run: RunFolder) -> None:
    run.manifest["outputs"]["../secret"] = {"rows": 1, "sha256": "00" * 32}
    (run.folder / "manifest.json").write_text(json.dumps(run.manifest), encoding="utf-8")
    with pytest.raises(ReconError, match="no file of this folder"):
        build(run.folder, Settings(), clock=CLOCK)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a manifest of version 1"),
        ('{"schema": 2}', "not a manifest of version 1"),
        ('{"schema": 1}', "run_id: Field required"),
    ],
)
def test_a_bad_manifest_is_a_sentence(run: RunFolder, text: str, said: str) -> None:
    (run.folder / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(ReconError, match=said):
        build(run.folder, Settings(), clock=CLOCK)


def test_no_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ReconError, match="can't be read: No such file"):
        build(tmp_path / "nowhere", Settings(), clock=CLOCK)


def test_a_category_that_nobody_knows_is_refused(run: RunFolder) -> None:
    text = (run.folder / "actions.csv").read_text(encoding="utf-8").replace("sync_off", "sorcery")
    (run.folder / "actions.csv").write_text(text, encoding="utf-8")
    run.save()
    with pytest.raises(ReconError, match="the sum of categories"):
        build(run.folder, Settings(), clock=CLOCK)


# -- size ----------------------------------------------------------------------------------------------------------------


def many(number: int) -> list[Row]:
    rows: list[Row] = []
    for n in range(number):
        rows += _pair(f"{n:014}", f"someone{n}@example.com", "unlinked_match")
    return sorted(rows, key=lambda row: (row.system, row.id))


def test_ten_thousand_actions_all_shown_below_five_megabytes(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", many(10_000)).write()
    settings = Settings().with_values(report={"rows": 10_000})
    build(run.folder, settings, clock=CLOCK)
    began = time.process_time()
    report = build(run.folder, settings, clock=CLOCK)
    used = time.process_time() - began
    assert report.stat().st_size < 5_000_000
    assert used < 4, f"{used:.2f} s"
