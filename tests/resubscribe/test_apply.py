"""Apply, end to end on the sandbox over HTTP: what is carried out, what is left, and what is refused before the first write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from recon.sandbox import sales_connect
from recon.sandbox.salesforce import records
from tests.resubscribe.apply_world import ACTOR, ApplyWorld, Workspace, results


@pytest.fixture(scope="module")
def shared() -> Iterator[ApplyWorld]:
    world = ApplyWorld()
    yield world
    world.close()


@pytest.fixture
def world(shared: ApplyWorld) -> ApplyWorld:
    shared.reset()
    return shared


def test_a_plan_over_both_systems_is_carried_out(world: ApplyWorld, tmp_path: Path) -> None:
    workspace = Workspace(world, tmp_path)
    plan = workspace.plan()
    applied = workspace.apply(plan)
    assert results(applied) == [(number, "done", None) for number in range(1, 7)]
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
    kinds = [kind for kind, _ in workspace.entries()]
    assert kinds == ["run", *["intent", "outcome"] * 6]
    again = workspace.apply(plan)
    assert results(again) == [(number, "skipped_done", None) for number in range(1, 7)]
    assert again.exit_code == 0
    assert len(workspace.entries()) == 13
