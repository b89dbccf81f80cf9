"""Verify and undo keep what they know of a plan on the disk: four times the steps take hardly more memory, and parts change nothing."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from recon.clock import SetClock
from recon.errors import NoRoom
from recon.ledger import Draft, Ledger, kinds
from recon.resubscribe import stored_plan
from recon.resubscribe.spool import Spool
from recon.resubscribe.undo import Undone, undo
from recon.resubscribe.verify import Verified, verify
from recon.sandbox import sales_connect
from recon.sandbox.box import DEFAULT_AT
from recon.sandbox.salesforce import records
from recon.sandbox.salesforce.records import to_18
from tests.resubscribe.apply_world import STANDARD, ApplyWorld, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from recon.resubscribe.plan_file import Step

RUN = "20261124T180000Z"
BOUNDS = (
    *("stars._AT_A_TIME", "stars.STARS", "verify.STARS", "verify._AT_A_TIME"),
    *("spool._PAGE", "spool._AT_HAND", "stored_plan._PAGE"),
)


@pytest.fixture(scope="module")
def world() -> Iterator[ApplyWorld]:
    made = ApplyWorld()
    yield made
    made.close()


@pytest.fixture(scope="module")
def template(world: ApplyWorld, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    world.reset()
    return Workspace(world, tmp_path_factory.mktemp("template"))


def small(patch: pytest.MonkeyPatch, size: int) -> None:
    """What is read or at hand together is bounded: small bounds show with few steps what larger ones do with many."""
    for bound in BOUNDS:
        patch.setattr(f"recon.resubscribe.{bound}", size)
    for bound in ("_PAGE", "_TOGETHER"):
        patch.setattr(f"recon.ledger.store.{bound}", size)


def seen_again(workspace: Workspace) -> Verified:
    world = workspace.world
    return verify(workspace.folder, run_id=RUN, clock=world.clock, environ=world.box.environment())


def taken_back(workspace: Workspace) -> Undone:
    return undo(workspace.folder, RUN, clock=workspace.world.clock, environ={})


JOBS: dict[str, Callable[[Workspace], object]] = {"verify": seen_again, "undo": taken_back}


class TestParts:
    @pytest.mark.parametrize("size", [1, 2, 4])
    def test_parts_give_what_one_part_gives(self, template: Workspace, tmp_path: Path, size: int) -> None:
        world = template.world
        found = []
        for folder in ("whole", "parts"):
            world.reset()
            workspace = template.copied(tmp_path / folder)
            assert workspace.apply(workspace.plan()).complete
            world.unsubscribe(world.ids.ann)
            records.update_record(world.store, "Lead", world.ids.bob_lead, {STANDARD: True})
            world.clock.advance(timedelta(days=1))
            with pytest.MonkeyPatch.context() as patch:
                if folder == "parts":
                    small(patch, size)
                seen, back = seen_again(workspace), taken_back(workspace)
            table = (seen.folder / "verification.csv").read_text()
            said = json.loads((seen.folder / "verification.json").read_text())
            # Salesforce counts the calls of a day, and smaller parts are more of them.
            calls = {name: said.pop(name) is None for name in ("api_calls_by_kind", "api_quota")}
            rows, steps = list(seen.rows), list(back.plan.steps)
            found.append((seen.lines()[:-1], rows, table, said, calls, steps))
            assert len(seen.counts) > 1
        assert found[0] == found[1]


@pytest.mark.parametrize("size", [1, 1000])
def test_who_was_linked_since_and_is_looked_at_himself_is_named(
    template: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    world, ids = template.world, template.world.ids
    world.reset()
    workspace = template.copied(tmp_path)
    assert workspace.apply(workspace.plan()).complete
    # No snapshot tells of this link.
    sales_connect.link_person(world.store, ids.bob, ids.ann_contact)
    world.unsubscribe(ids.bob)
    world.clock.advance(timedelta(days=1))
    small(monkeypatch, size)
    rows = {row.key: row for row in seen_again(workspace).rows}
    told = rows[f"salesforce:{ids.ann_contact}"]
    assert (told.state, told.caused_by, told.through) == ("unsubscribed_anew", f"sales_connect:{ids.bob}", "id")
    assert rows[f"salesforce:{ids.bob_lead}"].state == "stuck"


def test_the_json_is_laid_out_as_every_other_one(template: Workspace, tmp_path: Path) -> None:
    world = template.world
    world.reset()
    workspace = template.copied(tmp_path)
    plan = workspace.plan()
    for applied in (False, True):
        if applied:
            assert workspace.apply(plan).complete
        seen = seen_again(workspace)
        text = (seen.folder / "verification.json").read_text("utf-8")
        assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
        assert len(json.loads(text)["rows"]) == len(seen.rows) == (5 if applied else 0)


def test_nothing_is_left_beside_the_runs(template: Workspace, tmp_path: Path) -> None:
    world = template.world
    world.reset()
    workspace = template.copied(tmp_path)
    assert workspace.apply(workspace.plan()).complete
    reports = workspace.folder / "reports"
    seen_again(workspace)
    made = taken_back(workspace)
    assert sorted(path.name for path in reports.iterdir()) == [RUN, made.folder.name]
    assert not [path.name for path in reports.rglob(".*")]


@pytest.mark.parametrize("job", ["verify", "undo"])
def test_a_full_disk_is_told_in_a_sentence(
    template: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    world = template.world
    world.reset()
    workspace = template.copied(tmp_path)
    assert workspace.apply(workspace.plan()).complete
    before = workspace.entries()

    class Full(Spool):
        def __init__(self, folder: Path | None = None) -> None:
            super().__init__(folder)
            self.db.execute("PRAGMA max_page_count = 8")

    monkeypatch.setattr(stored_plan, "Spool", Full)
    with pytest.raises(NoRoom, match=r"the plan's steps can't be kept on the disk of .*reports") as told:
        JOBS[job](workspace)
    assert "apply" not in str(told.value.hint)
    assert workspace.entries() == before


class TestMemory:
    """What Python's own memory is at most. The records aren't in Salesforce any more, which is asked for each of them."""

    def cleared(self, template: Workspace, folder: Path, size: int) -> Workspace:
        """A plan that was carried out, as its entries say."""
        workspace = template.copied(folder)
        ids = workspace.world.ids
        steps = [_other(workspace.step(ids.bob_lead, person="p", row=3), number) for number in range(size)]
        workspace.plan(steps)
        shutil.rmtree(workspace.folder / "ledger", ignore_errors=True)
        plan = json.loads((workspace.folder / "reports" / RUN / "plan.json").read_text())["hash"]
        with Ledger.open(workspace.folder / "ledger", clock=SetClock(DEFAULT_AT), durable=False) as ledger:
            ledger.append_each(_entries(ledger, plan, steps))
        return workspace

    def peaks(self, template: Workspace, folder: Path, size: int) -> list[int]:
        workspace = self.cleared(template, folder, size)
        template.world.clock.set(DEFAULT_AT + timedelta(days=1))
        found = []
        for job in JOBS.values():
            tracemalloc.start()
            try:
                result = job(workspace)
                found.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
            if isinstance(result, Verified):
                assert result.counts == {"gone": size}
            if isinstance(result, Undone):
                assert len(result.plan.steps) == size
        return found

    def test_four_times_the_steps_take_hardly_more(
        self, template: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        template.world.reset()
        small(monkeypatch, 50)
        self.peaks(template, tmp_path / "warm", 10)
        few, many = (self.peaks(template, tmp_path / str(size), size) for size in (150, 600))
        # All in memory it was some 5,500 bytes a step. What is left is mostly the sandbox's own, which notes what it was asked.
        for little, more in zip(few, many, strict=True):
            assert more - little < 450 * 500


def _entries(ledger: Ledger, plan: str, steps: list[Step]) -> Iterator[Draft]:
    """What apply leaves of steps that went well, in the order of their numbers."""
    names = ledger.names
    subject, actor = names.address("bob@buyer.example"), names.actor("Ida")
    for number, step in enumerate(steps, 1):
        record = names.record(step.system, step.id)
        common = {"plan": plan, "step": number, "subject": subject, "record": record, "system": step.system}
        common |= {"field": STANDARD, "object": step.object, "run_id": RUN}
        if number == 1:
            said = {"file": "a" * 64, "row": 3, "subject": subject, "codes": [], "verdict": "accepted"}
            everybody = [names.record(each.system, each.id) for each in steps]
            yield Draft(kinds.VERDICT, said | {"records": everybody}, {"digest": "d" * 64})
        intent = {"from": True, "to": False, "attempt": 1, "verdict": 1, "way": "rest", "job": None, "system_at": None}
        yield Draft(kinds.INTENT, common | intent | {"actor": actor})
        yield Draft(
            kinds.OUTCOME, common | {"intent": 2 * number, "result": "done", "code": None, "effective_at": None}
        )


def _other(step: Step, number: int) -> Step:
    return replace(step, id=to_18(f"00Q9e{number:010d}"))
