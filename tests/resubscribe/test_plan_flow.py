"""Check and plan, end to end: a workspace, a sandbox over HTTP, an approved file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from recon import settings
from recon.errors import InputRefused
from recon.evidence import checkpoint_files
from recon.ledger import Ledger, kinds, verify
from recon.resubscribe.plan_file import read_plan, write_plan
from recon.resubscribe.show import diff_lines, plan_lines
from recon.sandbox import sales_connect
from recon.sandbox.salesforce import records
from tests.resubscribe.rig import POLICY, Rig, new_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = new_rig(tmp_path)
    yield made
    made.sandbox.close()


def test_a_linked_pair_is_planned_on_both_sides(rig: Rig) -> None:
    person, record = rig.pair("ada@example.com")
    rig.pair("bob@example.com")
    rig.days(3)
    rig.pull()
    rig.approve("Ada@Example.com")
    result = rig.plan()
    plan = result.plan
    assert plan.applicable
    assert [(step.key, step.direction, step.fields, step.before, step.after) for step in plan.steps] == [
        (f"salesforce:{record}", "clear", ("HasOptedOutOfEmail",), (True,), (False,)),
        (f"sales_connect:{person}", "clear", ("unsubscribed",), (True,), (False,)),
    ]
    assert {step.reason for step in plan.steps} == {"Asked to get mail again"}
    assert plan.steps[0].opted_out_at == plan.steps[1].opted_out_at == "2026-11-02T18:00:00Z"
    assert "ada@" not in result.path.read_text("utf-8").lower()
    assert read_plan(result.path).as_json() == plan.as_json()
    lines = "\n".join(plan_lines(plan))
    assert "1 person to resubscribe (2 records), 0 records to opt out, 0 accepted rows left out" in lines
    assert record in lines
    verdicts = pd.read_csv(result.folder / "verdicts.csv", dtype=str)
    assert verdicts[["row", "verdict", "records"]].values.tolist() == [["2", "accepted", "2"]]


def test_the_same_inputs_make_the_same_bytes(rig: Rig) -> None:
    rig.pair("ada@example.com")
    rig.days(3)
    rig.pull()
    rig.approve("ada@example.com")
    first = rig.plan().path.read_bytes()
    assert rig.plan().path.read_bytes() == first


def test_a_check_writes_nothing(rig: Rig) -> None:
    rig.pair("ada@example.com")
    rig.days(3)
    rig.pull()
    rig.approve("ada@example.com", evidence="")
    file = rig.approved()
    before = {path: path.read_bytes() for path in rig.folder.rglob("*") if path.is_file()}
    result = rig.check()
    assert result.checked.verdicts.column("codes").to_pylist() == ["evidence_missing"]
    assert "ada@" not in "\n".join(result.lines())
    after = {path: path.read_bytes() for path in rig.folder.rglob("*") if path.is_file()}
    assert after == before
    assert file in after


def test_what_would_not_stick_is_left_out(rig: Rig) -> None:
    """The record has another person, with an address that the file doesn't name; the policy only warns of that here."""
    person, record = rig.pair("ada@example.com")
    store = rig.sandbox.store
    other = sales_connect.add_person(store, email=None, salesforce_id=record)
    sales_connect.unsubscribe(store, other, source="bounce")
    rig.days(3)
    rig.pull()
    rig.approve("ada@example.com")
    plan = rig.plan().plan
    cleared = {step.key for step in plan.steps}
    assert plan.approved is not None
    assert cleared in ({f"sales_connect:{person}", f"salesforce:{record}", f"sales_connect:{other}"}, set())
    if not cleared:
        assert plan.blocked or plan.approved.accepted == 0


def test_opt_outs_come_along_when_asked_for(rig: Rig) -> None:
    store = rig.sandbox.store
    rig.pair("ada@example.com")
    out = records.insert_contact(store, LastName="B", Email="bob@example.com", HasOptedOutOfEmail=True)
    lonely = sales_connect.add_person(store, email="BOB@example.com")
    rig.days(3)
    rig.pull()
    rig.approve("ada@example.com")
    assert len(rig.plan().plan.steps) == 2
    plan = rig.plan(with_opt_outs=True).plan
    added = [step for step in plan.steps if step.direction == "set"]
    assert [(step.key, step.before, step.after, step.row, step.reason) for step in added] == [
        (f"sales_connect:{lonely}", (False,), (True,), None, None)
    ]
    assert added[0].path == f"salesforce:{out} -[address]-> sales_connect:{lonely}"
    assert [step.number for step in plan.steps] == [1, 2, 3]


def test_a_guard_stops_the_whole_plan(tmp_path: Path) -> None:
    rig = new_rig(tmp_path, POLICY + "[guards]\nmax_resubscribes = 1\n")
    try:
        for name in ("ada", "bob"):
            rig.pair(f"{name}@example.com")
            rig.approve(f"{name}@example.com")
        rig.days(3)
        for row in rig.rows:
            row["consent_date"] = "2026-11-04T12:00:00Z"
            row["approved_at"] = "2026-11-04T13:00:00Z"
        rig.pull()
        plan = rig.plan().plan
        assert not plan.applicable
        assert [guard.name for guard in plan.guards if not guard.passed] == ["max_resubscribes"]
        assert len(plan.steps) == 4
        assert any("STOPPED by max_resubscribes" in line for line in plan_lines(plan))
    finally:
        rig.sandbox.close()


def test_nothing_accepted_is_nothing_to_apply(rig: Rig) -> None:
    rig.pair("ada@example.com")
    rig.days(3)
    rig.pull()
    rig.approve("ada@example.com", approved_by="Nobody Known")
    result = rig.plan()
    assert (result.plan.applicable, result.plan.steps) == (False, ())
    assert result.check.checked.rejected == 1


def test_the_ledger_holds_file_verdicts_and_plan(rig: Rig) -> None:
    rig.pair("ada@example.com")
    rig.days(3)
    rig.pull()
    rig.approve("ada@example.com")
    rig.approve("nobody@example.com")
    rig.approve("n/a")
    plan = rig.plan().plan
    folder = settings.load(rig.folder).run.ledger
    with Ledger.open(folder, clock=rig.clock) as ledger:
        entries = list(ledger.entries())
        assert [entry.kind for entry in entries] == [
            kinds.RUN,
            kinds.APPROVED_FILE,
            *[kinds.VERDICT] * 3,
            kinds.PLAN,
            kinds.CHECKPOINT,
        ]
        assert [entry.data["verdict"] for entry in entries[2:5]] == ["accepted", "rejected", "rejected"]
        assert entries[-2].data["plan"] == plan.hash
        assert "example.com" not in json.dumps([entry.data for entry in entries])
    assert verify(folder, checkpoint_files(settings.load(rig.folder))).exit_code == 0
    assert verify(folder, []).exit_code == 5


def test_a_changed_plan_is_refused(rig: Rig) -> None:
    rig.pair("ada@example.com")
    rig.days(3)
    rig.pull()
    rig.approve("ada@example.com")
    path = rig.plan().path
    path.write_text(path.read_text().replace('"before": [\n        true', '"before": [\n        false', 1))
    with pytest.raises(InputRefused, match="changed after it was made"):
        read_plan(path)
    path.write_text("{}")
    with pytest.raises(InputRefused, match="this is no plan"):
        read_plan(path)


def test_two_plans_are_compared(rig: Rig) -> None:
    person, _ = rig.pair("ada@example.com")
    rig.days(3)
    rig.pull()
    rig.approve("ada@example.com")
    old = rig.plan().plan
    new = old.model_copy(update={"steps": old.steps[:1]}).sealed()
    lines = diff_lines(old, new)
    assert "0 records came, 1 went, 0 changed otherwise" in lines[0]
    assert person in lines[1]
    write_plan(new, rig.folder / "p.json")
    assert read_plan(rig.folder / "p.json").as_json() == new.as_json()
