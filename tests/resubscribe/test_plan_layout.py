"""plan.json as it is laid out: what was approved is what is read again, whatever characters the approval has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from recon.outputs import write_json
from recon.resubscribe.plan_file import Approval, Blocked, Plan, Step, read_plan, write_plan

if TYPE_CHECKING:
    from pathlib import Path

#: Line ends for `str.splitlines`, and none for JSON.
_ODD_LINE_ENDS = "one\u2028two\u2029three\x85four\x0bfive\x0csix\r\nseven"


def _plan(reason: str) -> Plan:
    steps = tuple(
        Step(
            number=number,
            person="salesforce:00Q000000000001AAA",
            system="salesforce",
            object="Lead",
            id=f"00Q00000000000{number}AAA",
            direction="clear",
            fields=("HasOptedOutOfEmail",),
            before=(True,),
            after=(False,),
            row=2,
            reason=reason,
            because="Line 2 of the approved file.",
            account=account,
        )
        for number, account in ((1, None), (2, "001000000000001AAA"))
    )
    approval = Approval(
        row=2, digest="a" * 64, person="salesforce:00Q000000000001AAA", kind="consent", scope="sales", country="DE"
    )
    return Plan(
        schema=1,
        kind="resubscribe",
        recon="0",
        run_id="run",
        created_at="2026-11-24T18:00:00Z",
        created_by=reason,
        settings_sha256="b" * 64,
        snapshot="snapshot",
        snapshot_manifest_sha256="c" * 64,
        approvals=(approval,),
        steps=steps,
        blocked=(Blocked(row=3, person="sales_connect:1", reason=reason),),
        applicable=True,
    ).sealed()


@pytest.mark.parametrize("reason", ["Asked to get mail again", "Bitte, «ja» – \N{SNOWMAN}", _ODD_LINE_ENDS])
def test_a_plan_is_read_as_it_was_written(tmp_path: Path, reason: str) -> None:
    plan = _plan(reason)
    write_plan(plan, tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == plan


@pytest.mark.parametrize("reason", ["Asked to get mail again", _ODD_LINE_ENDS])
@pytest.mark.parametrize("empty", [False, True])
def test_a_plan_that_is_written_by_parts_has_the_bytes_of_one_written_whole(
    tmp_path: Path, reason: str, *, empty: bool
) -> None:
    plan = _plan(reason)
    if empty:
        plan = plan.model_copy(update={"steps": (), "approvals": (), "blocked": ()}).sealed()
    write_plan(plan, tmp_path / "plan.json")
    write_json(plan.as_json(), tmp_path / "whole.json")
    assert (tmp_path / "plan.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert json.loads((tmp_path / "plan.json").read_text("utf-8")) == plan.as_json()
