"""The report of a run that the real jobs made, from files: both sides speak the same manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon import jobs
from recon.sources.ids import salesforce_id_18
from tests.report.conftest import CLOCK
from tests.report.page import Page

if TYPE_CHECKING:
    from pathlib import Path

LINKED = salesforce_id_18("003A00000000001")


def test_a_run_from_files(tmp_path: Path) -> None:
    people = tmp_path / "people.csv"
    people.write_text(
        "person_id,email,salesforce_id,unsubscribed\n"
        f"1,ann@mail.example,{LINKED},true\n"
        "2,bob@mail.example,,true\n"
        "3,<script>@mail.example,00Q-none,false\n"
        "=4,cy at mail,,false\n",
        encoding="utf-8",
    )
    contacts = tmp_path / "contacts.csv"
    contacts.write_text(
        f"Id,Email,HasOptedOutOfEmail\n{LINKED},ann@mail.example,false\n"
        f"{salesforce_id_18('003A00000000002')},bob@mail.example,false\n",
        encoding="utf-8",
    )
    run = jobs.reconcile(tmp_path, people=people, contacts=contacts, run_id="r1", clock=CLOCK)
    report = jobs.report(tmp_path, run_id="r1", clock=CLOCK)
    html = report.path.read_text(encoding="utf-8")
    page = Page(html)
    assert "2 people could be mailed although they opted out; 1 will be mended by tonight's sync, 1 needs you." in (
        page.text
    )
    assert len(page.table("Records that need action").rows) == run.manifest["rows"]["actions"] == 3
    assert "@mail.example" not in html
    assert [row[1] for row in page.table("Values that").rows] == ["2", "1"]
    files = {row[0]: row[4] for row in page.table("Files of the run").rows}
    assert files["actions.csv"] == run.manifest["outputs"]["actions.csv"]["sha256"]
