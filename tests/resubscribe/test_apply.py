"""Apply, end to end on the sandbox over HTTP: what is carried out, what is left, and what is refused before the first write."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recon.errors import InputRefused, ReconError, UsageError
from recon.ledger import Ledger, kinds, verify
from recon.resubscribe.evidence import applied_digests
from recon.resubscribe.plan_file import read_plan
from recon.resubscribe.snapshot_facts import snapshot_facts
from recon.sandbox import sales_connect
from recon.sandbox.salesforce import records
from recon.settings import load
from tests.resubscribe.apply_world import ACTOR, STANDARD, ApplyWorld, Fault, Workspace, results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DONE = [(number, "done", None) for number in range(1, 7)]
#: Answers after which nobody knows whether the write was made.
OPEN_ANSWERS = [
    (408, "REQUEST_TIMEOUT"),
    (429, "TOO_MANY_REQUESTS"),
    (500, "UNKNOWN_EXCEPTION"),
    (503, "SERVER_UNAVAILABLE"),
]


@pytest.fixture(scope="module")
def shared() -> Iterator[ApplyWorld]:
    world = ApplyWorld()
    yield world
    world.close()


@pytest.fixture(scope="module")
def template(shared: ApplyWorld, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    shared.reset()
    return Workspace(shared, tmp_path_factory.mktemp("template"))


@pytest.fixture
def world(shared: ApplyWorld) -> ApplyWorld:
    shared.reset()
    return shared


@pytest.fixture
def workspace(world: ApplyWorld, template: Workspace, tmp_path: Path) -> Workspace:
    return template.copied(tmp_path)


def rows(workspace: Workspace, name: str) -> list[dict[str, str]]:
    with (workspace.folder / "reports" / "20261124T180000Z" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def outcomes_in_ledger(workspace: Workspace) -> list[tuple[Any, str, str | None, bool]]:
    """Step, result, code, found."""
    data = [data for kind, data in workspace.entries() if kind == "outcome"]
    return [(each["step"], each["result"], each.get("code"), each.get("found", False)) for each in data]


def test_a_plan_over_both_systems_is_carried_out(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    applied = workspace.apply(plan)
    assert results(applied) == DONE
    assert applied.exit_code == 0
    ids = world.ids
    assert not any(world.flag(each) for each in (ids.ann_lead, ids.ann_contact, ids.bob_lead))
    assert world.flag(ids.cy_contact)
    assert not world.unsubscribed(ids.ann)
    assert not world.unsubscribed(ids.bob)
    assert sales_connect.history(world.store, ids.ann)[-1] == {
        "date": "2026-11-24T18:00:00.000Z",
        "details": "Resubscribe",
        "source": ACTOR,
        "level": "account",
        "reason": "Asked by phone; =1+1",
    }
    assert [kind for kind, _ in workspace.entries()] == ["run", *["intent", "outcome"] * 6]
    again = workspace.apply(plan)
    assert results(again) == [(number, "skipped_done", None) for number in range(1, 7)]
    assert again.exit_code == 0
    assert len(workspace.entries()) == 13


def test_every_patch_carries_its_precondition_and_only_the_opt_out(world: ApplyWorld, workspace: Workspace) -> None:
    workspace.apply(workspace.plan())
    patches = [headers for method, _, headers in world.salesforce.asked if method == "PATCH"]
    assert len(patches) == 4
    assert all(headers["if-unmodified-since"] == "Mon, 02 Nov 2026 15:30:00 GMT" for headers in patches)
    assert all(headers["content-length"] == str(len('{"HasOptedOutOfEmail": false}')) for headers in patches[:3])


def test_the_evidence_names_the_verdict_and_no_person(world: ApplyWorld, workspace: Workspace) -> None:
    workspace.apply(workspace.plan())
    run, *others = workspace.entries()
    assert run[1]["counts"] == {"clear": 5, "set": 1}
    intents = [data for kind, data in others if kind == "intent"]
    assert [each.get("verdict") for each in intents] == [1, 1, 1, 2, 2, None]
    assert [each["way"] for each in intents] == ["rest", "rest", "gateway", "rest", "gateway", "rest"]
    assert [(each["from"], each["to"]) for each in intents] == [(True, False)] * 5 + [(False, True)]
    text = json.dumps(others)
    assert "@" not in text
    assert world.ids.ann_lead not in text
    assert ACTOR not in text
    assert not verify(workspace.folder / "ledger").findings


def test_the_values_before_are_saved_before_the_first_write(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    seen: list[bool] = []
    saved = plan.with_name("before.json")
    world.salesforce.faults.append(Fault("PATCH", "/sobjects/", "act", action=lambda: seen.append(saved.is_file())))
    workspace.apply(plan)
    assert seen == [True]
    document = json.loads(saved.read_text())
    assert [each["values"] for each in document["records"]][:3] == [
        {STANDARD: True},
        {STANDARD: True},
        {"unsubscribed": True},
    ]
    assert document["records"][2]["opted_out_at"] == "2026-11-02T15:30:00Z"
    assert len(rows(workspace, "before.csv")) == 6


def test_the_three_files_hold_every_step_once(world: ApplyWorld, workspace: Workspace) -> None:
    world.salesforce.faults.append(
        Fault("PATCH", world.ids.bob_lead, "refuse", 400, "FIELD_CUSTOM_VALIDATION_EXCEPTION")
    )
    world.unsubscribe(world.ids.ann)
    applied = workspace.apply(workspace.plan())
    assert applied.exit_code == 3
    found = {
        name: [int(row["step"]) for row in rows(workspace, f"{name}.csv")]
        for name in ("success", "failed", "unprocessed")
    }
    assert found == {"success": [6], "failed": [1, 2, 3, 4], "unprocessed": [5]}
    document = json.loads((applied.folder / "apply.json").read_text())
    assert document["counts"] == {"done": 1, "failed": 1, "stale": 3, "unprocessed": 1}
    assert document["actor"] == ACTOR
    assert "[FIELD_CUSTOM_VALIDATION_EXCEPTION] A validation rule" in "\n".join(applied.lines())


# --- what changed since the plan


def deleted(world: ApplyWorld) -> None:
    records.delete_record(world.store, "Lead", world.ids.ann_lead)


def merged(world: ApplyWorld) -> None:
    records.delete_record(world.store, "Lead", world.ids.ann_lead, master_id=world.ids.bob_lead)


def converted(world: ApplyWorld) -> None:
    records.convert_lead(world.store, world.ids.ann_lead, world.ids.ann_contact)


def cleared_by_hand(world: ApplyWorld) -> None:
    records.update_record(world.store, "Lead", world.ids.ann_lead, {STANDARD: False})


def cleared_and_set_again(world: ApplyWorld) -> None:
    cleared_by_hand(world)
    world.clock.advance(timedelta(seconds=5))
    records.update_record(world.store, "Lead", world.ids.ann_lead, {STANDARD: True})


def other_address(world: ApplyWorld) -> None:
    records.update_record(world.store, "Lead", world.ids.ann_lead, {"Email": "eve@buyer.example"})


def clicked(world: ApplyWorld) -> None:
    world.unsubscribe(world.ids.ann)


def other_address_of_the_person(world: ApplyWorld) -> None:
    with world.store.transaction() as db:
        db.execute("UPDATE person SET email = 'eve@buyer.example' WHERE person_id = ?", (world.ids.ann,))


def resubscribed_by_hand(world: ApplyWorld) -> None:
    sales_connect.remove_unsubscribe(world.store, world.ids.ann, "by hand", "Rob")


def user_level_only(world: ApplyWorld) -> None:
    resubscribed_by_hand(world)
    sales_connect.unsubscribe(world.store, world.ids.ann, level="user", user_name="Rob")


def person_gone(world: ApplyWorld) -> None:
    with world.store.transaction() as db:
        for table in ("unsubscribe", "unsubscribe_history", "person"):
            db.execute(f"DELETE FROM {table} WHERE person_id = ?", (world.ids.ann,))


CHANGES: list[tuple[Callable[[ApplyWorld], None], int, str]] = [
    (deleted, 2, "gone"),
    (merged, 2, "merged"),
    (converted, 2, "converted"),
    (cleared_by_hand, 2, "value_changed"),
    (cleared_and_set_again, 2, "newer_opt_out"),
    (other_address, 2, "address_changed"),
    (clicked, 3, "newer_opt_out"),
    (other_address_of_the_person, 3, "address_changed"),
    (resubscribed_by_hand, 3, "value_changed"),
    (user_level_only, 3, "user_level"),
    (person_gone, 3, "gone"),
]


@pytest.mark.parametrize(("change", "number", "code"), CHANGES)
def test_what_changed_since_the_plan_leaves_the_whole_person_alone(
    world: ApplyWorld, workspace: Workspace, change: Callable[[ApplyWorld], None], number: int, code: str
) -> None:
    plan = workspace.plan()
    world.clock.advance(timedelta(minutes=10))
    change(world)
    before = world.state()
    applied = workspace.apply(plan)
    by_step = {each: (outcome, said) for each, outcome, said in results(applied)}
    assert by_step[number] == ("stale", code)
    others = [by_step[each] for each in (1, 2, 3) if each != number]
    # An unsubscribe is pushed to the linked Lead at once, which may be seen there, too; what is opted out already isn't changed by it.
    assert others == [("stale", "person_stale")] * 2
    assert [by_step[each] for each in (4, 5, 6)] == [("done", None)] * 3
    after = world.state()
    ids = world.ids
    ours = (ids.ann_lead, ids.ann_contact)
    assert {each: after["flags"][each] for each in ours} == {each: before["flags"][each] for each in ours}
    assert [row for row in after["out"] if row[0] == ids.ann] == [row for row in before["out"] if row[0] == ids.ann]
    assert results(workspace.apply(plan))[:3] == results(applied)[:3]
    assert not [path for path in world.salesforce.writes() if ids.ann_lead in path or ids.ann_contact in path]


def test_a_record_changed_for_another_reason_is_written_under_its_new_date(
    world: ApplyWorld, workspace: Workspace
) -> None:
    plan = workspace.plan()
    world.clock.advance(timedelta(minutes=10))
    records.update_record(world.store, "Lead", world.ids.ann_lead, {"FirstName": "Anna"})
    assert results(workspace.apply(plan)) == DONE
    patched = next(
        headers for method, path, headers in world.salesforce.asked if method == "PATCH" and world.ids.ann_lead in path
    )
    assert patched["if-unmodified-since"] == "Tue, 24 Nov 2026 18:10:00 GMT"


def test_a_changed_record_whose_opt_out_has_no_date_is_left(world: ApplyWorld, workspace: Workspace) -> None:
    steps = workspace.all_steps()
    plan = workspace.plan([steps[0], replace(steps[1], opted_out_at=None), steps[2]])
    world.clock.advance(timedelta(minutes=10))
    records.update_record(world.store, "Lead", world.ids.ann_lead, {"FirstName": "Anna"})
    assert results(workspace.apply(plan))[1] == (2, "stale", "opt_out_date_unknown")


def test_an_opt_out_that_is_there_already_is_no_fault(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    records.update_record(world.store, "Contact", world.ids.cy_contact, {STANDARD: True})
    applied = workspace.apply(plan)
    assert results(applied)[5] == (6, "skipped_done", "already_so")
    assert applied.exit_code == 0


def test_a_click_between_the_two_writes_wins(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    world.salesforce.faults.append(Fault("PATCH", world.ids.ann_lead, "act", action=lambda: clicked(world)))
    applied = workspace.apply(plan)
    # The click was pushed to the Lead in the same second as before ours: 412 tells nothing there, the person's own date does.
    assert [each[1:] for each in results(applied)[:3]] == [("stale", "newer_opt_out")] * 3
    assert world.flag(world.ids.ann_contact)
    assert world.flag(world.ids.ann_lead)
    assert world.unsubscribed(world.ids.ann)
    assert sales_connect.history(world.store, world.ids.ann)[-1]["details"] == "Unsubscribe"
    assert ("1.resuppress", "done", None, False) in outcomes_in_ledger(workspace)
    assert results(workspace.apply(plan))[:3] == results(applied)[:3]
    with Ledger.open(workspace.folder / "ledger", clock=world.clock) as ledger:
        # What was put back for a newer opt-out is no undo: that consent is spent.
        assert applied_digests(ledger) == {"digest of 2", "digest of 3"}


def test_a_click_after_the_last_salesforce_write_wins(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    # The second look at the person comes after both PATCHes: 1 before all, 2 before the person, 3 just before the write.
    world.gateway.faults.append(Fault("GET", f"/people/{world.ids.ann}", "act", skip=2, action=lambda: clicked(world)))
    applied = workspace.apply(plan)
    assert [each[1:] for each in results(applied)[:3]] == [("stale", "newer_opt_out")] * 3
    assert world.flag(world.ids.ann_contact)
    assert world.flag(world.ids.ann_lead)
    assert world.unsubscribed(world.ids.ann)
    said = outcomes_in_ledger(workspace)
    assert ("1.resuppress", "done", None, False) in said
    # The click was pushed to the linked Lead by Sales Connect itself.
    assert ("2.resuppress", "stale", "already_so", False) in said
    again = workspace.apply(plan)
    assert results(again)[:3] == results(applied)[:3]


def test_an_opt_out_through_another_record_of_the_person_wins(world: ApplyWorld, workspace: Workspace) -> None:
    """Bob has a Contact that isn't linked and wasn't opted out, so no step is about it."""
    ids = world.ids
    plan = workspace.plan()
    merged = [
        {
            "system": "salesforce",
            "id": ids.bob_lead,
            "object": "Lead",
            "cluster": f"sales_connect:{ids.bob}",
            "opted_out": True,
        },
        {
            "system": "salesforce",
            "id": ids.cy_contact,
            "object": "Contact",
            "cluster": f"sales_connect:{ids.bob}",
            "opted_out": False,
        },
    ]
    pq.write_table(pa.Table.from_pylist(merged), plan.with_name("merged.parquet"))
    assert [
        step.id
        for step in snapshot_facts(read_plan(plan), load(workspace.folder), plan.parent).others[
            f"sales_connect:{ids.bob}"
        ]
    ] == [ids.cy_contact]
    records.update_record(world.store, "Contact", ids.cy_contact, {STANDARD: True})
    applied = workspace.apply(plan)
    assert [each[1:] for each in results(applied)[3:5]] == [("stale", "newer_opt_out")] * 2
    assert results(applied)[:3] == DONE[:3]
    assert world.flag(ids.bob_lead)
    assert world.unsubscribed(ids.bob)


# --- faults


def test_an_expired_session_is_renewed_and_the_precondition_kept(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    world.salesforce.faults.append(Fault("PATCH", world.ids.ann_lead, "act", action=world.end_sessions))
    assert results(workspace.apply(plan)) == DONE
    patches = [
        headers for method, path, headers in world.salesforce.asked if method == "PATCH" and world.ids.ann_lead in path
    ]
    assert len(patches) == 2
    assert all("if-unmodified-since" in headers for headers in patches)
    assert (2, "failed", "INVALID_SESSION_ID", False) in outcomes_in_ledger(workspace)


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        *((kind, status, code) for kind in ("refuse", "lose") for status, code in OPEN_ANSWERS),
        ("drop", 503, "SERVER_UNAVAILABLE"),
    ],
)
@pytest.mark.parametrize("system", ["salesforce", "gateway"])
def test_a_write_without_a_good_answer_is_looked_at_before_it_is_repeated(
    world: ApplyWorld, workspace: Workspace, kind: str, status: int, code: str, system: str
) -> None:
    plan = workspace.plan()
    if system == "salesforce":
        world.salesforce.faults.append(Fault("PATCH", world.ids.ann_lead, kind, status, code))
    else:
        world.gateway.faults.append(Fault("POST", f"/people/{world.ids.ann}/", kind, status, code))
    assert results(workspace.apply(plan)) == DONE
    number, spoiled = (2, world.salesforce) if system == "salesforce" else (3, world.gateway)
    name = world.ids.ann_lead if system == "salesforce" else world.ids.ann
    writes = [path for path in spoiled.writes() if name in path]
    said = [each for each in outcomes_in_ledger(workspace) if each[0] == number]
    if kind == "refuse":
        assert len(writes) == 2
        assert [each[1:3] for each in said] == [
            ("failed", code if number == 2 else f"HTTP_{status}"),
            ("done", None),
        ]
    else:
        assert len(writes) == 1
        assert said == [(number, "done", None, True)]
    resubscribed = [row for row in world.state()["cards"] if row[2] == "Resubscribe" and row[0] == world.ids.ann]
    assert len(resubscribed) == 1


@pytest.mark.parametrize(("status", "code"), OPEN_ANSWERS[1:])
@pytest.mark.parametrize("system", ["salesforce", "gateway"])
def test_a_write_that_was_given_up_and_is_made_late_is_found(
    world: ApplyWorld, workspace: Workspace, status: int, code: str, system: str
) -> None:
    plan = workspace.plan()
    ids = world.ids
    if system == "salesforce":
        world.salesforce.faults.append(Fault("PATCH", ids.ann_lead, "refuse", status, code, times=3))
    else:
        world.gateway.faults.append(Fault("POST", f"/people/{ids.ann}/", "refuse", status, code, times=3))
    number = 2 if system == "salesforce" else 3
    assert results(workspace.apply(plan))[number - 1][1] == "failed"
    world.clock.advance(timedelta(seconds=90))
    if system == "salesforce":
        records.update_record(world.store, "Lead", ids.ann_lead, {STANDARD: False})
    else:
        sales_connect.remove_unsubscribe(world.store, ids.ann, "Asked by phone", ACTOR)
    written = len(world.salesforce.writes()), len(world.gateway.writes())
    again = workspace.apply(plan)
    assert results(again)[number - 1] == (number, "done", None)
    assert again.complete
    assert (number, "done", None, True) in outcomes_in_ledger(workspace)
    # Only what the first run didn't come to was written: Ann's own unsubscribe, where her Lead was in the way.
    assert (len(world.salesforce.writes()), len(world.gateway.writes())) == (written[0], written[1] + 3 - number)
    assert not verify(workspace.folder / "ledger").findings


def test_a_write_that_was_given_up_is_found_late_and_a_newer_opt_out_with_it(
    world: ApplyWorld, workspace: Workspace
) -> None:
    plan = workspace.plan()
    world.salesforce.faults.append(Fault("PATCH", world.ids.ann_lead, "refuse", times=3))
    workspace.apply(plan)
    for value in (True, False):
        world.clock.advance(timedelta(seconds=90))
        records.update_record(world.store, "Lead", world.ids.ann_lead, {STANDARD: not value})
        records.update_record(world.store, "Lead", world.ids.ann_lead, {STANDARD: value})
    assert results(workspace.apply(plan))[1:3] == [(2, "stale", "newer_opt_out"), (3, "stale", "person_stale")]
    assert world.flag(world.ids.ann_lead)
    assert world.unsubscribed(world.ids.ann)


def test_a_refused_write_that_somebody_else_made_is_not_ours(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    world.salesforce.faults.append(Fault("PATCH", world.ids.ann_lead, "refuse", 400, "UNABLE_TO_LOCK_ROW", times=3))
    workspace.apply(plan)
    world.clock.advance(timedelta(seconds=90))
    records.update_record(world.store, "Lead", world.ids.ann_lead, {STANDARD: False})
    assert results(workspace.apply(plan))[1] == (2, "stale", "value_changed")


def test_an_edit_in_between_is_met_by_412(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()

    def edit() -> None:
        world.clock.advance(timedelta(seconds=90))
        records.update_record(world.store, "Lead", world.ids.ann_lead, {"FirstName": "Anna"})

    world.salesforce.faults.append(Fault("PATCH", world.ids.ann_lead, "act", action=edit))
    assert results(workspace.apply(plan)) == DONE
    assert (2, "failed", "PRECONDITION_FAILED", False) in outcomes_in_ledger(workspace)


def test_an_opt_out_in_between_is_met_by_412_and_wins(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()

    def again() -> None:
        world.clock.advance(timedelta(seconds=90))
        cleared_and_set_again(world)

    world.salesforce.faults.append(Fault("PATCH", world.ids.ann_lead, "act", action=again))
    applied = workspace.apply(plan)
    assert results(applied)[:3] == [
        (1, "stale", "newer_opt_out"),
        (2, "stale", "newer_opt_out"),
        (3, "stale", "person_stale"),
    ]
    assert world.flag(world.ids.ann_lead)
    assert world.flag(world.ids.ann_contact)
    assert world.unsubscribed(world.ids.ann)


def test_a_locked_row_is_tried_again_with_bounded_patience(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    lock = Fault("PATCH", world.ids.ann_lead, "refuse", 400, "UNABLE_TO_LOCK_ROW", times=2)
    world.salesforce.faults.append(lock)
    slept: list[float] = []
    assert results(workspace.apply(plan, sleep=slept.append)) == DONE
    assert len(slept) == 2
    assert [each for each in outcomes_in_ledger(workspace) if each[0] == 2][-1] == (2, "done", None, False)


def test_a_lock_that_stays_is_left_for_the_next_time(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    lock = Fault("PATCH", world.ids.ann_lead, "refuse", 400, "UNABLE_TO_LOCK_ROW", times=3)
    world.salesforce.faults.append(lock)
    applied = workspace.apply(plan)
    assert results(applied)[:3] == [
        (1, "done", None),
        (2, "failed", "UNABLE_TO_LOCK_ROW"),
        (3, "unprocessed", "person_failed"),
    ]
    assert applied.outcomes[1].retryable
    assert applied.exit_code == 3
    again = workspace.apply(plan)
    assert results(again)[:3] == [(1, "skipped_done", None), (2, "done", None), (3, "done", None)]
    assert again.exit_code == 0


def test_what_can_not_be_retried_is_said_once_and_stays(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    world.salesforce.faults.append(Fault("PATCH", world.ids.ann_lead, "refuse", 400, "INSUFFICIENT_ACCESS_OR_READONLY"))
    applied = workspace.apply(plan)
    said = [(1, "done", None), (2, "failed", "INSUFFICIENT_ACCESS_OR_READONLY"), (3, "unprocessed", "person_failed")]
    assert results(applied)[:3] == said
    assert not applied.outcomes[1].retryable
    assert results(workspace.apply(plan))[1:3] == said[1:]


def test_a_used_up_limit_stops_everything(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    world.salesforce.faults.append(Fault("PATCH", world.ids.ann_contact, "refuse", 403, "REQUEST_LIMIT_EXCEEDED"))
    applied = workspace.apply(plan)
    assert [each[1:] for each in results(applied)] == [
        ("failed", "REQUEST_LIMIT_EXCEEDED"),
        *[("unprocessed", "REQUEST_LIMIT_EXCEEDED")] * 5,
    ]
    assert results(workspace.apply(plan)) == DONE


def test_a_system_that_stays_away_stops_the_rest(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    away = Fault("GET", f"/people/{world.ids.ann}", "refuse", skip=1, times=99)
    world.gateway.faults.append(away)
    applied = workspace.apply(plan)
    assert [each[1:] for each in results(applied)[:3]] == [("unprocessed", "unreadable")] * 3
    assert results(applied)[3:] == DONE[3:]
    away.times = 0
    assert workspace.apply(plan).exit_code == 0


def test_a_write_nobody_can_look_at_stays_open_until_the_next_time(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    world.gateway.faults += [
        Fault("POST", f"/people/{world.ids.ann}/", "drop"),
        away := Fault("GET", f"/people/{world.ids.ann}", "refuse", skip=3, times=99),
    ]
    applied = workspace.apply(plan)
    assert results(applied)[2] == (3, "failed", "NO_ANSWER")
    assert applied.outcomes[2].retryable
    away.times = 0
    assert results(workspace.apply(plan))[2] == (3, "done", None)
    assert len([path for path in world.gateway.writes() if world.ids.ann in path]) == 1


# --- refused before the first write


def refused(workspace: Workspace, plan: Path, kind: type[ReconError] = UsageError, **options: Any) -> str:
    before = workspace.world.state()
    with pytest.raises(kind) as found:
        workspace.apply(plan, **options)
    assert workspace.world.state() == before
    assert not workspace.entries()
    assert found.value.exit_code == 2
    return str(found.value)


def test_nobody_is_no_actor(workspace: Workspace) -> None:
    assert "nobody is named" in refused(workspace, workspace.plan(), actor="  ")


def test_a_changed_plan_is_refused(workspace: Workspace) -> None:
    plan = workspace.plan()
    plan.write_text(plan.read_text().replace('"direction": "set"', '"direction": "clear"'))
    assert "was changed after it was made" in refused(workspace, plan, InputRefused)


def test_a_plan_beyond_a_guard_is_refused(workspace: Workspace) -> None:
    guard = {"name": "max_resubscribes", "limit": 1.0, "value": 2.0, "passed": False}
    text = refused(workspace, workspace.plan(guards=(guard,), applicable=False), InputRefused)
    assert "max_resubscribes is 2, the limit is 1" in text


def test_a_plan_without_steps_is_refused(workspace: Workspace) -> None:
    assert "no steps" in refused(workspace, workspace.plan([], applicable=False), InputRefused)


@pytest.mark.parametrize(
    ("number", "values", "said"),
    [
        (2, {"row": None}, "without an approved row"),
        (2, {"row": 99}, "without an approved row"),
        (2, {"reason": " "}, "without an approved row and its reason"),
        (2, {"after": (True,)}, "don't fit its direction"),
        (6, {"after": (False,)}, "don't fit its direction"),
        (2, {"id": "00Q5e00000000001"}, "its id is none of a Lead"),
        (2, {"object": "Contact"}, "its id is none of a Contact"),
        (3, {"fields": ("email",)}, "no change of a person"),
        (2, {"fields": ("Email",)}, "writes Email on a Lead"),
    ],
)
def test_a_plan_that_no_planner_makes_is_refused(
    workspace: Workspace, number: int, values: dict[str, Any], said: str
) -> None:
    steps = workspace.all_steps()
    approvals = workspace.plan(steps)
    steps[number - 1] = replace(steps[number - 1], **values)
    kept = json.loads(approvals.read_text())["approvals"]
    plan = workspace.plan(steps, approvals=tuple(kept), verdicts=False)
    assert said in refused(workspace, plan, ReconError)


def test_the_guard_window_is_refused_unless_told(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    world.clock.set(datetime(2026, 11, 25, 4, 30, tzinfo=UTC))
    assert "Apply from 2026-11-25T06:00:00Z" in refused(workspace, plan)
    assert results(workspace.apply(plan, inside_guard_window=True)) == DONE


def test_the_window_that_opens_meanwhile_leaves_the_rest(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    late = datetime(2026, 11, 25, 3, 30, tzinfo=UTC)
    world.gateway.faults.append(Fault("POST", f"/people/{world.ids.ann}/", "act", action=lambda: world.clock.set(late)))
    applied = workspace.apply(plan)
    assert results(applied) == [
        *DONE[:3],
        (4, "unprocessed", "guard_window"),
        (5, "unprocessed", "guard_window"),
        DONE[5],
    ]


def test_changed_settings_are_named(workspace: Workspace) -> None:
    plan = workspace.plan()
    text = (workspace.folder / "recon.toml").read_text()
    (workspace.folder / "recon.toml").write_text(f"{text}\n[actions]\nlimit_business_days = 5\n")
    assert "since the plan was made: actions.limit_business_days" in refused(workspace, plan)


def test_expired_approvals_are_refused(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    world.clock.advance(timedelta(days=40))
    assert "the approvals in line 2, 3 of approved.csv have expired" in refused(workspace, plan)


def test_a_plan_needs_its_snapshot(workspace: Workspace) -> None:
    plan = workspace.plan(snapshot="20200101T000000Z-00000000")
    assert "the plan's snapshot isn't there" in refused(workspace, plan, InputRefused)
    plan = workspace.plan(snapshot_manifest_sha256="0" * 64)
    assert "isn't the snapshot" in refused(workspace, plan, InputRefused)


def test_a_field_that_the_user_may_not_write_is_refused(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    world.store.configure(fls=json.dumps({f"Lead.{STANDARD}": "read_only"}))
    try:
        assert f"may not write Lead.{STANDARD}" in refused(workspace, plan)
    finally:
        world.store.configure(fls="{}")


@pytest.mark.parametrize("verdict", [None, "rejected", "other_record"])
def test_nothing_is_cleared_without_an_accepted_row(
    world: ApplyWorld, workspace: Workspace, verdict: str | None
) -> None:
    plan = workspace.plan(verdicts=verdict == "rejected")
    if verdict == "rejected":
        workspace.add_verdicts(workspace.all_steps(), "rejected")
    if verdict == "other_record":
        workspace.add_verdicts([workspace.step(world.ids.cy, person="sales_connect:1", row=row) for row in (2, 3)])
    applied = workspace.apply(plan)
    assert [each[1:] for each in results(applied)] == [("stale", "no_accepted_verdict")] * 5 + [("done", None)]
    assert world.flag(world.ids.ann_lead)
    assert world.unsubscribed(world.ids.bob)


def test_two_at_once_are_refused(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    said: list[str] = []

    def second() -> None:
        with pytest.raises(ReconError) as found:
            workspace.apply(plan)
        said.append(str(found.value))

    world.gateway.faults.append(Fault("POST", f"/people/{world.ids.ann}/", "act", action=second))
    assert results(workspace.apply(plan)) == DONE
    assert "another run is at work" in said[0]


def test_the_ledger_is_where_the_settings_say(workspace: Workspace) -> None:
    workspace.apply(workspace.plan())
    assert load(workspace.folder).run.ledger == workspace.folder / "ledger"
    assert kinds.OUTCOME in {kind for kind, _ in workspace.entries()}
