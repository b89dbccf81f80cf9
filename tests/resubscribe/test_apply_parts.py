"""A large plan is carried out in parts, with what is known of its steps on the disk: the parts change nothing, and the memory stays."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recon.clock import SetClock
from recon.errors import InputRefused, NoRoom, ReconError
from recon.ledger import Ledger
from recon.resubscribe.kept_facts import KeptFacts
from recon.resubscribe.plan_file import read_plan
from recon.resubscribe.spool import Row, Shelf, Spool, room_for
from recon.resubscribe.steps_evidence import StepsEvidence, Task
from recon.resubscribe.stored_plan import StoredPlan
from recon.sandbox.box import DEFAULT_AT
from recon.sandbox.salesforce import records
from recon.settings import load
from tests.resubscribe.apply_world import ApplyWorld, Workspace, results

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from recon.resubscribe.plan_file import Step

LEFT = ("success.csv", "failed.csv", "unprocessed.csv", "before.csv", "before.json")


@pytest.fixture(scope="module")
def world() -> Iterator[ApplyWorld]:
    made = ApplyWorld()
    yield made
    made.close()


@pytest.fixture(scope="module")
def template(world: ApplyWorld, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    world.reset()
    return Workspace(world, tmp_path_factory.mktemp("template"), salesforce={"bulk_updates_above": 0})


def in_parts(template: Workspace, folder: Path, rows: int) -> Workspace:
    """The workspace, with so many rows a part."""
    made = template.copied(folder)
    values = made.world.settings()
    made.write_settings(
        values | {"salesforce": values["salesforce"] | {"bulk_updates_above": 0, "bulk_job_rows": rows}}
    )
    return made


def told(workspace: Workspace) -> list[tuple[str, Any, Any, Any]]:
    """What the ledger says of every step; jobs have other names each time."""
    return sorted(
        (kind, str(data["step"]), str(data.get("result")), str(data.get("code")))
        for kind, data in workspace.entries()
        if kind != "run"
    )


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_parts_give_what_one_part_gives(template: Workspace, tmp_path: Path, rows: int) -> None:
    world = template.world
    found = []
    for folder, size in (("one", 10_000), ("parts", rows)):
        world.reset()
        workspace = in_parts(template, tmp_path / folder, size)
        plan = workspace.plan()
        world.unsubscribe(world.ids.ann)
        records.update_record(world.store, "Lead", world.ids.bob_lead, {"FirstName": "Robert"})
        applied = workspace.apply(plan)
        again = workspace.apply(plan)
        # The size is a setting, and the plan names its settings.
        files = {name: (applied.folder / name).read_text().replace(read_plan(plan).hash, "") for name in LEFT}
        found.append((results(applied), results(again), applied.lines()[:-1], files, told(workspace), world.state()))
    assert found[0] == found[1]


def test_facts_read_in_parts_are_the_same(template: Workspace, tmp_path: Path) -> None:
    workspace = template.copied(tmp_path)
    plan = workspace.plan()
    merged = pq.read_table(plan.with_name("merged.parquet")).to_pylist()
    linked = merged[0] | {"id": workspace.world.ids.cy_contact, "object": "Contact", "opted_out": False}
    pq.write_table(pa.Table.from_pylist([*merged, linked]), plan.with_name("merged.parquet"))
    stored = StoredPlan(plan)
    whole, parts = (
        KeptFacts(stored.spool, stored.plan, load(workspace.folder), plan.parent, at_a_time=size) for size in (100, 1)
    )
    for step in stored.plan.steps:
        assert parts.addresses.get(step.key) == whole.addresses.get(step.key)
        assert parts.names.get(step.key) == whole.names.get(step.key)
        assert parts.others.get(step.person) == whole.others.get(step.person)
    assert whole.looked_at == parts.looked_at == {"salesforce"}


class TestStoredPlan:
    def test_it_is_the_plan(self, template: Workspace, tmp_path: Path) -> None:
        plan = template.copied(tmp_path).plan()
        stored, whole = StoredPlan(plan).plan, read_plan(plan)
        assert tuple(stored.steps) == whole.steps
        assert tuple(stored.approvals) == whole.approvals
        assert stored.steps[-1] == whole.steps[-1]
        assert tuple(stored.steps[1:5:2]) == whole.steps[1:5:2]
        with pytest.raises(IndexError):
            stored.steps[len(whole.steps)]
        assert stored.hash == stored.computed_hash() == whole.hash

    def test_it_may_be_laid_out_in_any_way(self, template: Workspace, tmp_path: Path) -> None:
        plan = template.copied(tmp_path).plan()
        whole = read_plan(plan)
        plan.write_text(json.dumps(json.loads(plan.read_text())))
        stored = StoredPlan(plan).plan
        assert tuple(stored.steps) == whole.steps
        assert tuple(stored.approvals) == whole.approvals

    def test_its_last_step_is_held_against_the_hash(self, template: Workspace, tmp_path: Path) -> None:
        workspace = template.copied(tmp_path)
        plan = workspace.plan()
        before = workspace.world.state()
        text = plan.read_text()
        place = text.rindex(workspace.world.ids.cy_contact)
        plan.write_text(text[:place] + workspace.world.ids.ann_contact + text[place + 18 :])
        with pytest.raises(InputRefused, match="was changed after it was made"):
            workspace.apply(plan)
        assert workspace.world.state() == before

    def test_all_steps_of_a_person_come_together(self, template: Workspace, tmp_path: Path) -> None:
        workspace = template.copied(tmp_path)
        ann, bob, *_ = {step.person: None for step in workspace.all_steps()}
        steps = workspace.all_steps()
        stored = StoredPlan(workspace.plan([steps[0], steps[3], *steps[1:3], *steps[4:]]))
        persons = [[step.person for step in theirs] for theirs in stored.persons()]
        assert persons[:2] == [[ann] * 3, [bob] * 2]

    def test_nothing_of_it_is_left_and_nobody_else_can_read_it(self, template: Workspace, tmp_path: Path) -> None:
        plan = template.copied(tmp_path).plan()
        before = set(plan.parent.iterdir())
        stored = StoredPlan(plan)
        assert set(plan.parent.iterdir()) == before
        ((_, _, file),) = stored.spool.db.execute("PRAGMA database_list").fetchall()
        assert file.startswith(str(plan.parent))


def test_a_spool_is_its_owner_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    real = sqlite3.connect

    def connect(file: Path, **options: Any) -> sqlite3.Connection:
        modes.append(stat.S_IMODE(file.stat().st_mode))
        made: sqlite3.Connection = real(file, **options)
        return made

    monkeypatch.setattr(sqlite3, "connect", connect)
    Spool(tmp_path)
    assert modes == [0o600]


def test_no_room_is_told_in_a_sentence(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.db.execute("PRAGMA max_page_count = 20")
    row: Row[str] = Row(spool, str, str)

    def fill() -> None:
        with room_for(tmp_path):
            for _ in range(1000):
                row.append("x" * 4000)

    with pytest.raises(NoRoom, match="can't be kept on the disk of"):
        fill()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReconError, match="nothing can be written into"):
        Spool(tmp_path / "nowhere")


def test_what_is_at_hand_is_what_lies_on_the_disk() -> None:
    shelf: Shelf[list[int]] = Shelf(Spool(), json.dumps, json.loads)
    assert 1 not in shelf
    for number in range(40_000):
        shelf.put(number, [number])
    shelf.put(7, [8])
    shelf.drop(9)
    assert [shelf.get(number) for number in (0, 7, 9, 39_999, "7")] == [[0], [8], None, [39_999], None]


class TestMemory:
    """What Python's own memory is at most while a plan is read and its states go into the ledger and come from there again."""

    def peak(self, template: Workspace, folder: Path, persons: int) -> int:
        workspace = template.copied(folder)
        (step,) = [each for each in workspace.all_steps() if each.direction == "set"]
        plan = workspace.plan([_other(step, number) for number in range(persons)])
        shutil.rmtree(workspace.folder / "ledger", ignore_errors=True)
        with Ledger.open(workspace.folder / "ledger", clock=SetClock(DEFAULT_AT), durable=False) as ledger:
            tracemalloc.start()
            try:
                stored = StoredPlan(plan)
                evidence = _evidence(ledger, stored)
                for start in range(0, persons, 50):
                    tasks = [Task(step) for step in stored.plan.steps[start : start + 50]]
                    evidence.intend_job(tasks, "7505e0000000001AAA")
                    evidence.conclude_all([(task, "done", None, False) for task in tasks])
                again = _evidence(ledger, StoredPlan(plan))
                assert all(again.state(Task(step)).earlier for (step,) in stored.persons())
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    def test_four_times_the_steps_take_no_more(
        self, template: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # What is at hand and what is read together is bounded, too: small bounds show with few steps what larger ones do with many.
        for bound in ("ledger.store._PAGE", "resubscribe.spool._PAGE", "resubscribe.spool._AT_HAND"):
            monkeypatch.setattr(f"recon.{bound}", 50)
        monkeypatch.setattr("recon.resubscribe.stored_plan._PAGE", 50)
        self.peak(template, tmp_path / "warm", 10)
        few, many = (self.peak(template, tmp_path / str(size), size) for size in (250, 1000))
        # All in memory it was some 2,500 bytes a step: 5 times as much. A reader's cache of short texts, which is bounded, is what is left.
        assert many < 1.5 * few


def _evidence(ledger: Ledger, stored: StoredPlan) -> StepsEvidence:
    clock = SetClock(DEFAULT_AT)
    return StepsEvidence(ledger, stored.plan, actor="Ida", addresses={}, clock=clock, spool=stored.spool)


def _other(step: Step, number: int) -> Step:
    return replace(step, id=f"{number:018}", person=f"salesforce:{number:018}")
