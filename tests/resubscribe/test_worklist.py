"""Without a gateway: the list of clicks, how it is ticked and handed back, end to end on the sandbox over HTTP."""

from __future__ import annotations

import csv
from datetime import timedelta
from typing import TYPE_CHECKING

import openpyxl
import pytest

from recon.errors import InputRefused
from recon.ledger import Ledger
from tests.resubscribe.apply_world import ApplyWorld, Workspace, results

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from recon.resubscribe.outcomes import Applied

OPEN = ("worklist", "worklist")


@pytest.fixture(scope="module")
def shared() -> Iterator[ApplyWorld]:
    world = ApplyWorld()
    with world.store.transaction() as db:
        db.execute(
            "UPDATE person SET first_name = '<script>alert(1)</script>', last_name = '=HYPERLINK(1)' WHERE person_id = ?",
            (world.ids.bob,),
        )
    world.remember()
    yield world
    world.close()


@pytest.fixture(scope="module")
def template(shared: ApplyWorld, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    shared.reset()
    return Workspace(shared, tmp_path_factory.mktemp("template"), gateway=False)


@pytest.fixture
def workspace(shared: ApplyWorld, template: Workspace, tmp_path: Path) -> Workspace:
    shared.reset()
    return template.copied(tmp_path)


@pytest.fixture
def applied(workspace: Workspace) -> Applied:
    return workspace.apply(workspace.plan())


def listed(applied: Applied) -> list[dict[str, str]]:
    with (applied.folder / "worklist.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def hand_back(
    applied: Applied, rows: list[dict[str, str]], *, delimiter: str = ",", header: list[str] | None = None
) -> Path:
    path = applied.folder / "ticked.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, header or list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def take(workspace: Workspace, applied: Applied, path: Path) -> Applied:
    return workspace.apply(applied.folder / "plan.json", worklist=path)


def test_salesforce_is_cleared_and_the_people_are_listed(workspace: Workspace, applied: Applied) -> None:
    ids = workspace.world.ids
    assert [each[1:] for each in results(applied)] == [("done", None)] * 2 + [
        OPEN,
        ("done", None),
        OPEN,
        ("done", None),
    ]
    assert applied.exit_code == 3
    assert not workspace.world.flag(ids.ann_lead)
    assert workspace.world.unsubscribed(ids.ann)
    assert not workspace.world.gateway.writes()
    rows = listed(applied)
    assert [(row["step"], row["person_id"], row["email"]) for row in rows] == [
        ("3", ids.ann, "ann@buyer.example"),
        ("5", ids.bob, "bob@buyer.example"),
    ]
    assert (
        rows[0]["to_do"]
        == "People > the person > the three dots > Remove Unsubscribe > the reason > Remove Unsubscribe"
    )
    assert rows[0]["reason"] == "Asked by phone; =1+1"
    assert rows[0]["deadline"] == "2026-11-25T03:00:00Z (2026-11-24 19:00 America/Los_Angeles)"
    assert rows[0]["done"] == ""
    again = workspace.apply(applied.folder / "plan.json")
    assert [each[1] for each in results(again)] == [
        "skipped_done",
        "skipped_done",
        "worklist",
        "skipped_done",
        "worklist",
        "skipped_done",
    ]


def test_the_page_is_for_paper_and_harmless(workspace: Workspace, applied: Applied) -> None:
    page = (applied.folder / "worklist.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; =HYPERLINK(1)" in page
    assert "default-src 'none'" in page
    assert "To be done before 2026-11-25T03:00:00Z" in page
    for click in (
        "People",
        "the three dots",
        "Remove Unsubscribe",
        "Asked by phone; =1+1",
        f"Person ID {workspace.world.ids.ann}",
    ):
        assert click in page
    assert (applied.folder / "worklist.html").stat().st_mode & 0o077 == 0
    assert (applied.folder / "worklist.csv").stat().st_mode & 0o077 == 0


def test_what_is_ticked_is_done(workspace: Workspace, applied: Applied) -> None:
    rows = listed(applied)
    rows[0] |= {"done": "x", "done_by": "Rob Admin", "done_at": "2026-11-24T17:59:00Z"}
    rows[1] |= {"done": "no"}
    taken = take(workspace, applied, hand_back(applied, rows, delimiter=";"))
    assert results(taken)[2] == (3, "done", None)
    assert results(taken)[4][1:] == OPEN
    assert [row["step"] for row in listed(taken)] == ["5"]
    assert len(list((taken.folder).glob("worklist-*.csv"))) == 1
    with Ledger.open(workspace.folder / "ledger") as ledger:
        outcome = [entry for entry in ledger.entries("outcome") if entry.data["step"] == 3][-1]
        assert outcome.data["effective_at"] == "2026-11-24T17:59:00Z"
        assert (ledger.personal(outcome) or {})["done_by"] == "Rob Admin"
    rows[1] |= {"done": "YES"}
    taken = take(workspace, applied, hand_back(applied, rows))
    assert taken.exit_code == 0
    assert listed(taken) == []
    assert results(workspace.apply(applied.folder / "plan.json"))[4] == (5, "skipped_done", None)


def test_a_spreadsheet_may_be_handed_back(workspace: Workspace, applied: Applied) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["Done", "Step", "Person_ID"])
    sheet.append(["x", 3, int(workspace.world.ids.ann)])
    sheet.append(["x", 5, workspace.world.ids.bob])
    path = applied.folder / "ticked.xlsx"
    book.save(path)
    book.close()
    assert take(workspace, applied, path).exit_code == 0


def test_ticks_in_the_list_itself_are_never_lost(workspace: Workspace, applied: Applied) -> None:
    rows = listed(applied)
    rows[0]["done"] = "x"
    hand_back(applied, rows).replace(applied.folder / "worklist.csv")
    workspace.world.clock.advance(timedelta(days=1))
    workspace.apply(applied.folder / "plan.json")
    kept = [path.read_text("utf-8-sig") for path in applied.folder.glob("worklist*.csv")]
    assert any(",x," in text for text in kept)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"done": "perhaps"}, "line 2, column 'done'"),
        ({"step": "4"}, "were not on the worklist"),
        ({"step": "99"}, "were not on the worklist"),
        ({"step": ""}, "were not on the worklist"),
        ({"person_id": "4711"}, "were not on the worklist"),
        ({"plan": "0123456789abcdef"}, "another plan's worklist"),
        ({"done_at": "24.11.26"}, "no date that can be read surely"),
        ({"done_at": "2027-01-01"}, "lies in the future"),
    ],
)
def test_a_list_that_is_not_surely_this_one_is_refused_whole(
    workspace: Workspace, applied: Applied, change: dict[str, str], said: str
) -> None:
    rows = listed(applied)
    rows[1]["done"] = "x"
    rows[0] |= {"done": "x"} | change
    before = workspace.entries()
    with pytest.raises(InputRefused) as found:
        take(workspace, applied, hand_back(applied, rows))
    assert said in str(found.value)
    assert "@" not in str(found.value)
    assert workspace.entries() == before


def test_a_row_that_stands_there_twice_is_refused(workspace: Workspace, applied: Applied) -> None:
    rows = listed(applied)
    rows[0]["done"] = "x"
    with pytest.raises(InputRefused, match="stands there twice"):
        take(workspace, applied, hand_back(applied, [rows[0], {**rows[0], "done": "no"}]))


def test_a_list_without_its_columns_is_refused(workspace: Workspace, applied: Applied) -> None:
    path = applied.folder / "other.csv"
    path.write_text("step,done\n3,x\n")
    with pytest.raises(InputRefused, match="person_id"):
        take(workspace, applied, path)


def test_nothing_is_listed_for_a_person_whose_salesforce_side_is_stale(workspace: Workspace) -> None:
    world = workspace.world
    plan = workspace.plan()
    with world.store.transaction() as db:
        db.execute("UPDATE lead SET Email = 'eve@buyer.example' WHERE Id = ?", (world.ids.bob_lead,))
    applied = workspace.apply(plan)
    assert [each[1:] for each in results(applied)[3:5]] == [("stale", "address_changed"), ("stale", "person_stale")]
    assert [row["step"] for row in listed(applied)] == ["3"]
