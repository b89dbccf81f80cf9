"""The report of a run that was checked, planned, applied and verified on the sandbox over HTTP: what an auditor finds in it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from recon import jobs
from recon.errors import ReconError
from recon.ledger.checkpoint import from_json
from recon.resubscribe.apply import apply
from recon.resubscribe.codes import BY_NAME
from recon.resubscribe.undo import undo
from recon.resubscribe.verify import verify
from recon.sandbox import sales_connect
from recon.sandbox.salesforce import records
from tests.report.page import Page
from tests.resubscribe.cli import here
from tests.resubscribe.rig import ADMIN, Rig, new_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLAG = "HasOptedOutOfEmail"
EVIDENCE_HASH = "fc" * 32


@dataclass
class Story:
    """One run, reported at three moments; the workspace as it is at the end."""

    rig: Rig
    folder: Path
    plan: str
    pairs: dict[str, tuple[str, str]]
    planned: str
    applied: str
    html: str

    @property
    def page(self) -> Page:
        return Page(self.html)


def _report(rig: Rig, run_id: str) -> str:
    return jobs.report(rig.folder, run_id=run_id, clock=rig.clock).path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    rig = new_rig(tmp_path_factory.mktemp("story"))
    store, environ = rig.sandbox.store, rig.sandbox.environment()
    pairs = {name: rig.pair(f"{name}@buyer.example") for name in ("ada", "bob", "eva", "asked", "wrong")}
    pairs["in"] = rig.pair("in@buyer.example", out=False)
    # An import's mistake, which nobody clicked.
    pairs["mistake"] = rig.pair("mistake@buyer.example", out=False)
    sales_connect.unsubscribe(store, pairs["mistake"][0], source="manual")
    rig.days(3)
    rig.approve("ada@buyer.example", evidence_sha256=EVIDENCE_HASH)
    rig.approve("bob@buyer.example")
    rig.approve("eva@buyer.example")
    rig.approve("asked@buyer.example", initiated_by="sender", approved_by="Kofi Mensah")
    rig.approve("wrong@buyer.example", consent_date="2026-10-01")
    rig.approve("in@buyer.example")
    rig.approve(
        "mistake@buyer.example", kind="correction", note="Imported from a wrong list", consent_date="", authorization=""
    )
    rig.pull()
    made = rig.plan()
    planned = _report(rig, made.plan.run_id)
    assert apply(rig.folder, made.path, actor=ADMIN, clock=rig.clock, environ=environ).complete
    applied = _report(rig, made.plan.run_id)
    # Somebody carelessly ticks the box in Salesforce alone; and Eva clicks again.
    rig.clock.advance(timedelta(hours=1))
    records.update_record(store, "Contact", pairs["bob"][1], {FLAG: True})
    sales_connect.unsubscribe(store, pairs["eva"][0], source="clicked_link")
    rig.night()
    assert verify(rig.folder, clock=rig.clock, environ=environ).exit_code == 3
    yield Story(rig, made.folder, made.plan.hash, pairs, planned, applied, _report(rig, made.plan.run_id))
    rig.sandbox.close()


def _cells(page: Page, caption: str) -> list[str]:
    return [" ".join(row) for row in page.table(caption).rows]


def test_every_row_of_the_approved_file_is_accounted_for(story: Story) -> None:
    table = story.page.table("Every row of the approved file")
    counts = {row[0]: int(row[1]) for row in table.rows}
    assert counts == {
        "Resubscribed in both systems": 4,
        "Planned, and not done in every record": 0,
        "Accepted, and left out of the plan": 0,
        "Accepted, with no record of its own to clear": 0,
        "Rejected": 2,
        "Nothing to do": 1,
        "All": 7,
    }
    assert {row[0]: row[1] for row in Page(story.planned).table("Every row").rows}[
        "Accepted and planned, not applied"
    ] == "4"


def test_a_resubscribe_shows_all_of_its_proof(story: Story) -> None:
    table = story.page.table("Resubscribes and their proof")
    assert len(table.rows) == 6
    first = next(row for row in table.rows if row[0].startswith("a***@b***.example"))
    person, consent, record, effect, after = first
    assert "line 2" in person
    assert "opted out 2026-11-02 18:00:00Z" in person
    assert "unsubscribe link clicked" in person
    assert consent.strip().startswith("consent2026-11-05 15:00:00Z, Consent, asked by the person")
    assert "purposeSales mail about our products" in consent
    assert "evidenceform submission 83141" in consent
    assert f"SHA-256 {EVIDENCE_HASH}" in consent
    assert "requestedKofi Mensah" in consent
    assert f"approved{ADMIN}, 2026-11-05 17:00:00Z" in consent
    assert "reasonAsked to get mail again" in consent
    _, ada_record = story.pairs["ada"]
    assert record == f"Salesforce Contact {ada_record}"
    assert effect.startswith("✓ done2026-11-05 18:00:00Z")
    assert after == "✓ stuckStill not opted out."
    other = table.rows[table.rows.index(first) + 1]
    assert other[0] == f"Sales Connect Person {story.pairs['ada'][0]}"
    assert f"Appliedby {ADMIN}" in story.page.text
    assert story.plan in story.page.text


def test_what_undid_a_resubscribe_is_named(story: Story) -> None:
    page = story.page
    person, record = story.pairs["bob"]
    rows = _cells(page, "Records that didn’t stay")
    (own,) = [row for row in rows if row.startswith(f"Salesforce Contact {record}")]
    assert f"▲ revertedby salesforce:{record}, on the record itself" in own
    (other,) = [row for row in rows if row.startswith(f"Sales Connect Person {person}")]
    assert f"▲ revertedby salesforce:{record}, by the link (Salesforce ID)" in other
    assert sum("unsubscribed anew" in row for row in rows) == 2
    counts = {row[0]: row[1] for row in page.table("Cleared records by their state").rows}
    assert counts == {"stuck": "4", "reverted": "2", "unsubscribed anew": "2", "All": "8"}
    assert "2 resubscribed records were opted out again by another record" in page.text
    assert "Action needed" in page.text


def test_rejected_rows_name_every_code_and_its_rule(story: Story) -> None:
    table = story.page.table("Rejected rows")
    by_line = {row[0]: row for row in table.rows}
    assert set(by_line) == {"5", "6"}
    asked = by_line["5"]
    for code in ("approver_not_admin", "self_approved", "asked_by_sender"):
        assert code in asked[3]
        assert BY_NAME[code].source in asked[3]
    assert "only a warning" not in asked[3]
    assert asked[1] == "a***@b***.example"
    assert "consent_before_opt_out" in by_line["6"][3]
    assert BY_NAME["consent_before_opt_out"].source in by_line["6"][3]
    (nothing,) = story.page.table("Rows with nothing to do").rows
    assert "not_opted_out" in nothing[3]


def test_corrections_stand_apart(story: Story) -> None:
    page = story.page
    row, _ = page.table("Corrections of wrongly").rows
    assert row[1].strip().startswith("wrongImported from a wrong list")
    assert "m***@b***.example" in row[0]
    assert "✓ stuck" in row[4]
    assert not any("m***@b***" in row[0] for row in page.table("Resubscribes and their proof").rows)


def test_before_the_night_it_says_that_nothing_is_verified(story: Story) -> None:
    planned, applied = Page(story.planned), Page(story.applied)
    assert "Not applied: nothing was changed in either system." in planned.text
    assert {row[-2] for row in planned.table("Resubscribes and their proof").rows} == {"not applied"}
    assert "Not yet verified." in applied.text
    assert f"recon verify --run {story.folder.name}" in applied.text
    assert {row[-1] for row in applied.table("Resubscribes and their proof").rows} == {"◆ not yet verified"}
    assert "The resubscribes of this run are not yet verified." in applied.text


def test_the_checkpoint_on_the_page_verifies_the_ledger_alone(story: Story, tmp_path: Path) -> None:
    page = story.page
    (line,) = [line for line in page.text.splitlines() if line.startswith('{"head"')]
    point = from_json(json.loads(line))
    assert point.head[:16] in page.style
    assert point.head[:16] in page.text[page.text.index("Report made at", 1000) :]
    assert "Not signed." in page.text
    kept = tmp_path / "checkpoint.jsonl"
    kept.write_text(line + "\n", encoding="utf-8")
    assert here(story.rig, "ledger", "verify", "--checkpoint", kept).returncode == 0
    kept.write_text(line.replace(point.head, "0" * 63 + "1") + "\n", encoding="utf-8")
    assert here(story.rig, "ledger", "verify", "--checkpoint", kept).returncode == 1


def test_every_file_is_for_people_or_for_machines(story: Story) -> None:
    files = {row[0]: row[1] for row in story.page.table("Files of the run").rows}
    assert {name for name, whom in files.items() if whom == "machines"} == {
        "apply.json",
        "before.json",
        "checkpoints.jsonl",
        "manifest.json",
        "merged.parquet",
        "plan.json",
        "verification.json",
    }
    assert {name for name, whom in files.items() if whom == "people"} == {
        "actions.csv",
        "before.csv",
        "failed.csv",
        "success.csv",
        "unprocessed.csv",
        "unusable.csv",
        "verdicts.csv",
        "verification.csv",
    }
    told = json.loads((story.folder / "manifest.json").read_text("utf-8"))["outputs"]
    assert {name: each["for"] for name, each in told.items()} == {name: files[name] for name in told}


def test_no_address_and_the_same_bytes_again(story: Story) -> None:
    assert "@buyer.example" not in story.html
    assert _report(story.rig, story.folder.name) == story.html


def test_what_the_work_cost_in_calls_is_told(story: Story) -> None:
    page = Page(_report(story.rig, story.folder.name))
    pulled = page.table("API calls of the pull").rows
    done = page.table("API calls of the last apply and verify").rows
    assert [row[:2] for row in pulled] == [["Pull", "Salesforce"], ["Pull", "Sales Connect"]]
    assert [row[:2] for row in done] == [
        [work, system] for work in ("Apply", "Verify") for system in ("Salesforce", "Sales Connect")
    ]
    manifest = json.loads((story.folder / "manifest.json").read_text("utf-8"))
    applied = json.loads((story.folder / "apply.json").read_text("utf-8"))
    verified = json.loads((story.folder / "verification.json").read_text("utf-8"))
    told = [manifest["snapshot"]["api_calls"], applied["api_calls_by_kind"], verified["api_calls_by_kind"]]
    assert [int(row[2]) for row in (*pulled, *done)] == [
        calls[system]["total"] for calls in told for system in ("salesforce", "sales_connect")
    ]
    assert all(sum(each.values()) == 2 * each["total"] for calls in told for each in calls.values())
    assert applied["api_calls"] == {name: each["total"] for name, each in told[1].items()}
    for row in (pulled[0], done[0], done[2]):
        assert " % of 100,000; " in row[4]


def test_a_run_without_an_approved_file_says_so_and_points_to_what_is_not_verified(
    story: Story, tmp_path: Path
) -> None:
    rig = story.rig
    plain = jobs.reconcile(rig.folder, run_id="plain", clock=rig.clock)
    page = Page(_report(rig, plain.run_id))
    for sentence in ("it resubscribed nobody", "there was no row to reject", "there is no resubscribe to verify"):
        assert f"This run had no approved file: {sentence}." in page.text
    assert "This run had no approved file: nothing was corrected." in page.text
    assert "the workspace’s newest; this run itself wrote nothing to the ledger" in page.text
    assert not [table for table in page.tables if table.caption.startswith("Other runs")]
    # As if nobody had verified it.
    verification = story.folder / "verification.json"
    aside = tmp_path / "verification.json"
    verification.rename(aside)
    try:
        page = Page(_report(rig, plain.run_id))
        (row,) = page.table("Other runs of this workspace").rows
        assert row[0] == story.folder.name
        assert "never verified" in row[2]
        assert "1 other run waits for verification" in page.text
    finally:
        aside.rename(verification)
        shutil.rmtree(plain.folder)


def test_a_plan_that_takes_it_back_is_listed(story: Story) -> None:
    rig = story.rig
    made = undo(rig.folder, story.folder.name, created_by="Dana Analyst", clock=rig.clock, environ={})
    try:
        (row,) = Page(_report(rig, story.folder.name)).table("Plans that take this run back").rows
        assert row[0] == made.plan.run_id
        assert row[1].endswith("by Dana Analyst")
        assert row[2:] == [str(len(made.plan.steps)), "not applied"]
    finally:
        shutil.rmtree(made.folder)


def test_files_that_contradict_each_other_get_no_report(story: Story) -> None:
    path = story.folder / "verdicts.csv"
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    try:
        path.write_text("".join(lines[:-1]), encoding="utf-8")
        with pytest.raises(ReconError, match=r"the approved file has 7 rows and verdicts\.csv 6"):
            _report(story.rig, story.folder.name)
    finally:
        path.write_text(text, encoding="utf-8")
    path = story.folder / "apply.json"
    text = path.read_text(encoding="utf-8")
    try:
        path.write_text(text.replace(story.plan, "0" * 64), encoding="utf-8")
        with pytest.raises(ReconError, match=r"apply\.json is of another plan"):
            _report(story.rig, story.folder.name)
    finally:
        path.write_text(text, encoding="utf-8")


def test_without_the_ledger_the_rest_stands(story: Story) -> None:
    ledger = story.rig.folder / "ledger"
    ledger.rename(story.rig.folder / "elsewhere")
    try:
        page = Page(_report(story.rig, story.folder.name))
        assert "evidence, requester and approver can't be shown" in page.text
        assert "evidencenot said" in page.table("Resubscribes and their proof").rows[0][1]
        assert "✓ stuck" in page.table("Resubscribes and their proof").rows[0][4]
    finally:
        (story.rig.folder / "elsewhere").rename(ledger)
