"""Persons on the page can be found again, and the runs of a workspace are held against each other."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from recon.engine import engine_named
from recon.report import build
from recon.report.persons import Persons, pseudonym, run_key
from recon.report.run_tables import RunTables
from recon.settings import Settings
from tests.report.conftest import CLOCK
from tests.report.page import Page
from tests.report.run_folder import RunFolder, _pair, every_case

if TYPE_CHECKING:
    from pathlib import Path


def _page(run: RunFolder) -> Page:
    return Page(build(run.folder, Settings(), clock=CLOCK).read_text(encoding="utf-8"))


def test_a_person_on_the_page_is_found_in_actions_csv(run: RunFolder, page: Page) -> None:
    with (run.folder / "persons.csv").open(encoding="utf-8", newline="") as file:
        persons = {row["person"]: row for row in csv.DictReader(file)}
    with (run.folder / "actions.csv").open(encoding="utf-8", newline="") as file:
        actions = list(csv.reader(file))
    place = actions[0].index("cluster")
    rows = page.table("Records that need action").rows
    for row in rows:
        (name,) = [name for name in persons if row[1].endswith(name)]
        numbers = persons[name]["rows"].split()
        assert row[-1] in numbers
        assert {actions[int(number) - 1][place] for number in numbers} == {persons[name]["cluster"]}
    assert (run.folder / "persons.csv").stat().st_mode & 0o077 == 0


def test_pseudonyms_are_the_runs_own(tmp_path: Path) -> None:
    one = RunFolder(tmp_path / "one", every_case()).write()
    same = RunFolder(tmp_path / "same", every_case()).write()
    other = RunFolder(tmp_path / "other", every_case()[:-1]).write()
    keys = [run_key(each.folder / "merged.parquet") for each in (one, same, other)]
    assert keys[0] == keys[1] != keys[2]
    assert keys[0].hex() not in _page(one).text
    name = pseudonym("sales_connect:903", keys[0])
    assert name != pseudonym("sales_connect:903", keys[2])
    assert name in _page(one).text
    assert len(name) == 1 + 24
    assert Persons(keys[0]).name("sales_connect:903") == name


def test_a_person_with_very_many_rows_ends(tmp_path: Path) -> None:
    engine = engine_named("auto")
    actions = engine.bring(pa.table({"cluster": ["c"] * 80, "row": range(2, 82)}))
    persons = Persons(bytes(32))
    persons.name("c")
    persons.write(RunTables(actions, actions, engine), tmp_path / "persons.csv")
    assert "51 (+30 more)" in (tmp_path / "persons.csv").read_text("utf-8")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """The reports' folder of the workspace that the test stands in."""
    return tmp_path / "reports"


def _earlier(workspace: Path, name: str, at: str, **numbers: Any) -> None:
    run = RunFolder(workspace / name, every_case()).write(run_id=name, created_at=at)
    run.manifest["could_be_mailed"] |= {key: value for key, value in numbers.items() if key != "overdue"}
    run.manifest["overdue"] = numbers.get("overdue", run.manifest["overdue"])
    run.save()


def test_without_an_earlier_run_there_is_no_trend(workspace: Path) -> None:
    run = RunFolder(workspace / "now", every_case()).write()
    _earlier(workspace, "tomorrow", "2026-11-25T18:00:00Z")
    page = _page(run)
    assert "There is no earlier run in this workspace," in page.text
    assert not [table for table in page.tables if table.caption.startswith("The runs")]


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"total": 10, "overdue": 3}, "Better than the run before: 2 fewer records that could be mailed, 1 fewer overdue action."),
        ({"total": 7, "overdue": 2}, "Worse than the run before: 1 more record that could be mailed, as many overdue actions."),
        ({"total": 9, "overdue": 0}, "Mixed against the run before: 1 fewer record that could be mailed, 2 more overdue actions."),
        ({}, "The same as the run before: as many records that could be mailed, as many overdue actions."),
    ],
    ids=["better", "worse", "mixed", "same"],
)  # fmt: skip
def test_runs_are_held_against_each_other(workspace: Path, numbers: dict[str, Any], said: str) -> None:
    _earlier(workspace, "first", "2026-11-20T18:00:00Z", total=50)
    _earlier(workspace, "second", "2026-11-23T18:00:00Z", **numbers)
    (workspace / "broken").mkdir()
    (workspace / "broken" / "manifest.json").write_text(json.dumps({"schema": 1, "run_id": []}), encoding="utf-8")
    run = RunFolder(workspace / "now", every_case()).write()
    page = _page(run)
    assert said in page.text
    rows = page.table("The runs of this workspace").rows
    assert [row[0].split()[0] for row in rows] == ["first", "second", "20261124T180000Z"]
    assert [row[3] for row in rows] == ["50", str(numbers.get("total", 8)), "8"]
    assert "1 other folder is no run that can be read, and left out." in page.text
    (told,) = [attrs for attrs in page.of("span") if attrs.get("id") == "trend-chart-wide-desc"]
    assert told
    assert "overdue actions: 2 on 2026-11-20" in page.text


def test_only_the_newest_runs_are_shown(workspace: Path) -> None:
    rows = _pair("01", "ann@mail-com.example", "awaiting_sync", tonight=True)
    for number in range(1, 31):
        RunFolder(workspace / f"r{number:02}", rows).write(
            run_id=f"r{number:02}", created_at=f"2026-10-{number:02}T18:00:00Z", large_clusters=[]
        )
    page = _page(RunFolder(workspace / "now", rows).write(large_clusters=[]))
    assert len(page.table("The runs of this workspace").rows) == 24
    assert "The newest 23 of 30 earlier runs are shown." in page.text
