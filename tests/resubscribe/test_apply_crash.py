"""Killed at every write boundary and started again, apply ends where an uninterrupted run ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recon.clock import iso
from recon.ledger import verify
from recon.sandbox.salesforce import records
from tests.resubscribe.apply_world import ACTOR, STANDARD, ApplyWorld, Fault, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

ROOT = Path(__file__).parents[2]


class Children:
    """Applies plans in other processes."""

    def __init__(self, world: ApplyWorld) -> None:
        self.world = world
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.resubscribe.crash_child"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def apply(self, plan: Path, *, deadly: int | None = None) -> dict[str, Any] | None:
        """What the child told; None where it was killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        report = plan.with_name("report.json")
        order = {
            "workspace": str(plan.parents[2]),
            "plan": str(plan),
            "report": str(report),
            "actor": ACTOR,
            "now": iso(self.world.clock.now()),
            "environ": self.world.box.environment(),
            "deadly": deadly,
        }
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return None
        assert os.WEXITSTATUS(status) == 0
        told: dict[str, Any] = json.loads(report.read_text())
        report.unlink()
        return told

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def world() -> Iterator[ApplyWorld]:
    made = ApplyWorld()
    yield made
    made.close()


@pytest.fixture(scope="module")
def children(world: ApplyWorld) -> Iterator[Children]:
    made = Children(world)
    yield made
    made.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where that is possible: a killed process loses nothing there either, and hundreds of syncs cost nothing."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


class Rehearsal:
    """One workspace and plan, that every trial begins with anew."""

    def __init__(
        self,
        world: ApplyWorld,
        children: Children,
        folder: Path,
        disturb: Callable[[ApplyWorld], None],
        **sections: Any,
    ) -> None:
        self.world, self.children, self.folder, self.disturb = world, children, folder, disturb
        world.reset()
        self.first = Workspace(world, folder / "first", **sections)
        steps = self.first.all_steps()
        self.plan = self.first.plan([*steps[:3], steps[5]])
        self.snapshot = self.first.snapshot

    def trial(self, deadly: int | None, meanwhile: Callable[[ApplyWorld], None] | None = None) -> dict[str, Any]:
        """Run, be killed at a boundary, run again: everything that is left in the end, without times."""
        self.world.reset()
        self.disturb(self.world)
        name = "whole" if deadly is None else f"killed-{deadly}"
        shutil.copytree(self.first.folder, self.folder / name)
        plan = self.folder / name / self.plan.relative_to(self.first.folder)
        if deadly is not None:
            assert self.children.apply(plan, deadly=deadly) is None
        if meanwhile is not None:
            meanwhile(self.world)
        told = self.children.apply(plan)
        assert told is not None
        left = self.left(plan, told)
        shutil.rmtree(self.folder / name)
        return left

    def left(self, plan: Path, told: dict[str, Any]) -> dict[str, Any]:
        workspace = self.first.in_folder(plan.parents[2])
        assert not verify(workspace.folder / "ledger").findings
        entries = [entry for entry in workspace.entries() if entry[0] != "run"]
        entries_bare = [
            (kind, {name: value for name, value in data.items() if name not in SEQ}) for kind, data in entries
        ]
        files = {
            name: [line.split(",")[:6] for line in (plan.parent / name).read_text().splitlines()]
            for name in ("success.csv", "failed.csv", "unprocessed.csv", "before.csv")
        }
        outcomes = [
            (number, "done" if said == "skipped_done" and code is None else said, code)
            for number, said, code in told["outcomes"]
        ]
        return {
            "state": self.world.state(),
            "outcomes": outcomes,
            "entries": entries_bare,
            "files": files,
            "boundaries": told["boundaries"],
        }


#: What tells where in the chain an entry stands, or that it was found done: both differ after a crash, and nothing else may.
SEQ = ("intent", "found")


def nothing(world: ApplyWorld) -> None:
    """Nothing happens."""


def click_between(world: ApplyWorld) -> None:
    """Ann clicks after both of her records in Salesforce were cleared, and once only."""
    world.gateway.faults.append(
        Fault("GET", f"/people/{world.ids.ann}", "act", skip=2, action=lambda: world.unsubscribe(world.ids.ann))
    )


def slips_in(world: ApplyWorld, request: str, skip: int) -> None:
    """Ann's Lead was edited in this very second, so no precondition sees that somebody clears and sets its opt-out just before a request."""
    lead = world.ids.ann_lead
    records.update_record(world.store, "Lead", lead, {"FirstName": "Anna"})

    def act() -> None:
        records.update_record(world.store, "Lead", lead, {STANDARD: False})
        records.update_record(world.store, "Lead", lead, {STANDARD: True})

    world.salesforce.faults.append(Fault("PATCH", request, "act", skip=skip, action=act))


PARTS = ("state", "outcomes", "entries", "files")


def ends_alike(rehearsal: Rehearsal, whole: dict[str, Any], deadly: int, parts: tuple[str, ...] = PARTS) -> None:
    """Everything is as after an uninterrupted run."""
    killed = rehearsal.trial(deadly)
    where = whole["boundaries"][deadly - 1]
    for part in parts:
        assert killed[part] == whole[part], f"killed {where}: {part}"


def test_every_boundary_of_a_plan_over_both_systems(world: ApplyWorld, children: Children, folder: Path) -> None:
    rehearsal = Rehearsal(world, children, folder, nothing)
    whole = rehearsal.trial(None)
    assert [each[1] for each in whole["outcomes"]] == ["done"] * 4
    # A run's entry; then an intent, a write and an outcome for each of four steps: before and after each.
    assert len(whole["boundaries"]) == 2 + 6 * 4
    for deadly in range(1, len(whole["boundaries"]) + 1):
        ends_alike(rehearsal, whole, deadly)


def test_every_boundary_where_an_opt_out_is_put_back(world: ApplyWorld, children: Children, folder: Path) -> None:
    rehearsal = Rehearsal(world, children, folder, click_between)
    whole = rehearsal.trial(None)
    assert [each[1:] for each in whole["outcomes"]] == [("stale", "newer_opt_out")] * 3 + [("done", None)]
    assert whole["state"]["flags"][world.ids.ann_contact]
    boundaries = whole["boundaries"]
    assert "before intent 1.resuppress" in boundaries
    first = next(place for place, name in enumerate(boundaries, 1) if name == "before intent 3")
    for deadly in range(first, len(boundaries) + 1):
        ends_alike(rehearsal, whole, deadly)


@pytest.mark.parametrize("way", ["rest", "bulk"])
def test_an_opt_out_that_slipped_in_is_looked_for_by_the_next_run(
    world: ApplyWorld, children: Children, folder: Path, way: str
) -> None:
    """Killed after the write and before the look for it, or between the look and the putting back."""
    lead, request = world.ids.ann_lead, "/jobs/ingest" if way == "bulk" else f"/sobjects/Lead/{world.ids.ann_lead}"
    # Contacts have a job of their own, which is the first one.
    above, skip = (0, 1) if way == "bulk" else (2000, 0)
    rehearsal = Rehearsal(
        world, children, folder, lambda world: slips_in(world, request, skip), salesforce={"bulk_updates_above": above}
    )
    whole = rehearsal.trial(None)
    put_back = ("stale", "newer_opt_out")
    assert [each[1:] for each in whole["outcomes"]] == [put_back, put_back, ("stale", "person_stale"), ("done", None)]
    assert whole["state"]["flags"][lead]
    boundaries = whole["boundaries"]
    back = boundaries.index("before intent 1.resuppress") + 1
    told = boundaries.index("after outcome 2") + 1
    wrote = max(n for n, name in enumerate(boundaries[:told], 1) if name.startswith("after PATCH") and request in name)
    assert wrote < told < back
    for deadly in range(wrote, back + 1):
        ends_alike(rehearsal, whole, deadly, ("state", "outcomes", "files"))


def test_a_click_while_nothing_runs_wins_whenever_it_comes(world: ApplyWorld, children: Children, folder: Path) -> None:
    rehearsal = Rehearsal(world, children, folder, nothing)
    whole = rehearsal.trial(None)
    ids = world.ids
    for deadly in range(1, len(whole["boundaries"]) + 1, 3):
        where = whole["boundaries"][deadly - 1]
        left = rehearsal.trial(deadly, lambda world: world.unsubscribe(world.ids.ann))
        assert any(row[0] == ids.ann for row in left["state"]["out"]), where
        assert left["state"]["flags"][ids.ann_lead], where
        # Once the person herself was written, the plan was done with her, and the click is a new opt-out for the next diff to carry on.
        done = deadly > whole["boundaries"].index(f"after POST /people/{ids.ann}/remove-unsubscribe")
        assert done or left["state"]["flags"][ids.ann_contact], where
        assert [card[3] for card in left["state"]["cards"] if card[0] == ids.ann][-1] == "Clicked Link", where


def test_every_boundary_of_the_jobs(world: ApplyWorld, children: Children, folder: Path) -> None:
    rehearsal = Rehearsal(world, children, folder, nothing, salesforce={"bulk_updates_above": 0})
    whole = rehearsal.trial(None)
    assert [each[1] for each in whole["outcomes"]] == ["done"] * 4
    boundaries = whole["boundaries"]
    assert sum(name.startswith("before PATCH") for name in boundaries) == 2
    # From the person on it is as row by row, which is held above.
    for deadly in range(1, boundaries.index("before intent 3") + 1):
        # An upload that was not closed is taken back, so there may be a further attempt; everything else is the same.
        ends_alike(rehearsal, whole, deadly, ("state", "outcomes", "files"))
