"""Undo, end to end on the sandbox over HTTP: what a run cleared is opted out again, and nothing else is touched."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from recon import settings
from recon.errors import InputRefused, UsageError
from recon.evidence import open_ledger
from recon.ledger import kinds
from recon.ledger import verify as verify_ledger
from recon.resubscribe.apply import apply
from recon.resubscribe.plan_file import read_plan
from recon.resubscribe.show import plan_lines
from recon.resubscribe.steps_evidence import StepsEvidence, Task
from recon.resubscribe.undo import Undone, undo
from recon.resubscribe.verify import verify
from tests.resubscribe.apply_world import STANDARD, ApplyWorld, Fault, Workspace, results
from tests.resubscribe.rig import ADMIN, new_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from recon.resubscribe.outcomes import Applied

RUN = "20261124T180000Z"


@pytest.fixture(scope="module")
def world() -> Iterator[ApplyWorld]:
    made = ApplyWorld()
    yield made
    made.close()


@pytest.fixture(scope="module")
def template(world: ApplyWorld, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    world.reset()
    return Workspace(world, tmp_path_factory.mktemp("template"))


@pytest.fixture
def workspace(world: ApplyWorld, template: Workspace, tmp_path: Path) -> Workspace:
    world.reset()
    return template.copied(tmp_path)


def take_back(workspace: Workspace, run_id: str = RUN) -> Undone:
    return undo(workspace.folder, run_id, created_by="Dana Analyst", clock=workspace.world.clock, environ={})


def carry_out(workspace: Workspace, made: Undone) -> Applied:
    return workspace.apply(made.path)


def test_every_clear_is_put_back_and_no_set_is(workspace: Workspace) -> None:
    world, ids = workspace.world, workspace.world.ids
    plan = workspace.plan()
    assert workspace.apply(plan).complete
    made = take_back(workspace)
    assert [(step.key, step.direction, step.fields, step.before, step.after) for step in made.plan.steps] == [
        (f"salesforce:{ids.ann_contact}", "set", (STANDARD,), (False,), (True,)),
        (f"salesforce:{ids.ann_lead}", "set", (STANDARD,), (False,), (True,)),
        (f"sales_connect:{ids.ann}", "set", ("unsubscribed",), (False,), (True,)),
        (f"salesforce:{ids.bob_lead}", "set", (STANDARD,), (False,), (True,)),
        (f"sales_connect:{ids.bob}", "set", ("unsubscribed",), (False,), (True,)),
    ]
    assert [step.number for step in made.plan.steps] == [1, 2, 3, 4, 5]
    assert made.plan.steps[0].because == f"Takes back step 1 of the run {RUN}."
    assert (made.plan.kind, made.plan.undoes, made.plan.applicable) == ("undo", read_plan(plan).hash, True)
    assert made.path == made.folder / "plan.json"
    assert made.folder.name == f"{RUN}-undo"
    assert read_plan(made.path) == made.plan
    assert "5 records to opt out" in "\n".join(plan_lines(made.plan))
    done = carry_out(workspace, made)
    assert done.complete
    assert all(world.flag(record) for record in (ids.ann_contact, ids.ann_lead, ids.bob_lead, ids.cy_contact))
    assert world.unsubscribed(ids.ann)
    assert world.unsubscribed(ids.bob)


def test_making_it_writes_to_no_system(workspace: Workspace) -> None:
    world = workspace.world
    workspace.apply(workspace.plan())
    before = world.state()
    asked = len(world.salesforce.asked), len(world.gateway.asked)
    take_back(workspace)
    assert world.state() == before
    assert (len(world.salesforce.asked), len(world.gateway.asked)) == asked


def test_the_same_moment_makes_the_same_plan(workspace: Workspace) -> None:
    workspace.apply(workspace.plan())
    first = take_back(workspace).path.read_bytes()
    assert take_back(workspace).path.read_bytes() == first


def test_it_can_be_applied_inside_the_guard_window(workspace: Workspace) -> None:
    """To opt somebody out is never refused."""
    world = workspace.world
    workspace.apply(workspace.plan())
    made = take_back(workspace)
    world.clock.advance(timedelta(hours=10))
    assert carry_out(workspace, made).complete


def test_who_opted_out_again_is_left_as_it_is(workspace: Workspace) -> None:
    world, ids = workspace.world, workspace.world.ids
    workspace.apply(workspace.plan())
    world.unsubscribe(ids.bob)
    card = world.state()["cards"]
    done = carry_out(workspace, take_back(workspace))
    outcomes = dict(zip([each.key for each in done.outcomes], [each.outcome for each in done.outcomes], strict=True))
    assert outcomes[f"sales_connect:{ids.bob}"] == outcomes[f"salesforce:{ids.bob_lead}"] == "skipped_done"
    assert done.complete
    ours = [row for row in world.state()["cards"][len(card) :] if row[0] == ids.bob]
    assert ours == []


def test_only_what_was_done_is_taken_back(workspace: Workspace) -> None:
    world, ids = workspace.world, workspace.world.ids
    world.unsubscribe(ids.bob)  # stale: Bob's clears are not begun
    workspace.apply(workspace.plan())
    assert [step.id for step in take_back(workspace).plan.steps] == [ids.ann_contact, ids.ann_lead, ids.ann]


def test_what_was_put_back_already_is_not_put_back_again(workspace: Workspace) -> None:
    world, ids = workspace.world, workspace.world.ids
    world.gateway.faults.append(
        Fault("GET", f"/people/{ids.bob}", "act", skip=2, action=lambda: world.unsubscribe(ids.bob))
    )
    applied = workspace.apply(workspace.plan([each for each in workspace.all_steps() if each.row == 3]))
    assert [each[1] for each in results(applied)] == ["stale", "stale"]
    made = take_back(workspace)
    assert (made.plan.steps, made.plan.applicable) == ((), False)
    with pytest.raises(InputRefused, match="nothing to apply"):
        carry_out(workspace, made)


def test_what_may_have_been_cleared_is_opted_out_too(workspace: Workspace) -> None:
    world = workspace.world
    plan = read_plan(workspace.plan())
    loaded = settings.load(workspace.folder)
    with open_ledger(loaded, world.clock) as ledger:
        evidence = StepsEvidence(ledger, plan, actor="Ida", addresses={}, clock=world.clock)
        evidence.intend(Task(plan.steps[0]), "rest")
        evidence.intend(Task(plan.steps[2]), "worklist")
        evidence.intend(Task(plan.steps[5]), "rest")
    made = take_back(workspace)
    assert [step.id for step in made.plan.steps] == [plan.steps[0].id, plan.steps[2].id]
    assert "isn't known" in made.plan.steps[0].because
    assert "by hand" in made.plan.steps[1].because
    done = carry_out(workspace, made)
    assert [each.outcome for each in done.outcomes] == ["skipped_done", "skipped_done"]


def test_an_undo_is_not_undone(workspace: Workspace) -> None:
    workspace.apply(workspace.plan())
    made = take_back(workspace)
    carry_out(workspace, made)
    with pytest.raises(UsageError, match="is an undo itself"):
        take_back(workspace, made.plan.run_id)


def test_no_run_no_plan(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="no plan in the run"):
        take_back(workspace)
    with pytest.raises(UsageError, match="can't be a run's id"):
        take_back(workspace, "../../etc")
    plan = workspace.plan()
    made = take_back(workspace)  # nothing was applied
    assert (made.plan.steps, made.plan.applicable) == ((), False)
    plan.write_text(plan.read_text("utf-8").replace("Asked by phone", "Asked"), "utf-8")
    with pytest.raises(InputRefused, match="changed after it was made"):
        take_back(workspace)


def test_the_ledger_says_what_is_taken_back_by_whom(workspace: Workspace) -> None:
    world = workspace.world
    plan = workspace.plan()
    workspace.apply(plan)
    made = take_back(workspace)
    carry_out(workspace, made)
    loaded = settings.load(workspace.folder)
    with open_ledger(loaded, world.clock) as ledger:
        (entry,) = ledger.entries(kinds.PLAN)
        run = next(each for each in ledger.entries(kinds.RUN) if each.data["job"] == "undo")
        cleared = [each for each in ledger.of_plan(made.plan.hash) if each.data.get("to") is False]
        assert ledger.actor_name(run.data["actor"]) == "Dana Analyst"
    assert (entry.data["purpose"], entry.data["undoes"]) == ("undo", read_plan(plan).hash)
    assert entry.data["counts"] == {"clear": 0, "set": 5, "blocked": 0}
    assert run.data["run_id"] == made.plan.run_id
    assert cleared == []
    assert verify_ledger(loaded.run.ledger, [loaded.run.ledger / "checkpoints.jsonl"]).exit_code == 0


def test_both_fields_are_set_where_both_are_the_sync_s(world: ApplyWorld, tmp_path: Path) -> None:
    world.reset()
    world.store.configure(opt_out_field="both")
    try:
        workspace = Workspace(world, tmp_path)
        ids, both = world.ids, (STANDARD, "Marketo_Sales_Opt_Out__c")
        steps = [
            workspace.step(ids.bob_lead, person="p", row=3, fields=both, before=(True, False), after=(False, False)),
            workspace.step(ids.bob, person="p", row=3),
        ]
        applied = workspace.apply(workspace.plan(steps))
        assert applied.complete, applied.lines()
        made = take_back(workspace)
        assert (made.plan.steps[0].fields, made.plan.steps[0].before, made.plan.steps[0].after) == (
            both,
            (False, False),
            (True, True),
        )
        assert carry_out(workspace, made).complete
    finally:
        world.store.configure(opt_out_field="standard")


def test_from_the_approved_file_to_the_undo_and_the_night_after(tmp_path: Path) -> None:
    rig = new_rig(tmp_path)
    environ = rig.sandbox.environment()
    try:
        person, record = rig.pair("ada@example.com")
        rig.pair("bob@example.com")
        rig.days(3)
        rig.pull()
        rig.approve("ada@example.com")
        planned = rig.plan()
        apply(rig.folder, planned.path, actor=ADMIN, clock=rig.clock, environ=environ)
        assert not rig.flag(f"salesforce:{record}")
        rig.clock.advance(timedelta(hours=1))
        made = undo(rig.folder, planned.plan.run_id, clock=rig.clock, environ=environ)
        done = apply(rig.folder, made.path, actor=ADMIN, clock=rig.clock, environ=environ)
        assert done.complete
        assert rig.flag(f"salesforce:{record}")
        assert rig.flag(f"sales_connect:{person}")
        rig.night()
        # By default the resubscribe is looked at, not its undo; and nobody says that the person unsubscribed.
        found = verify(rig.folder, clock=rig.clock, environ=environ)
        assert found.run_id == planned.plan.run_id
        assert (found.counts, found.exit_code) == ({"undone": 2}, 0)
        assert made.plan.run_id in found.rows[0].message
        assert undo(rig.folder, planned.plan.run_id, clock=rig.clock, environ=environ).plan.steps == ()
    finally:
        rig.sandbox.close()
