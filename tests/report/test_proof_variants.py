"""What a run with an approved file can come to, beside the story that is told end to end: by files made by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from recon.report import build, gather_proof
from recon.report.csv_safe import neutralise, restore
from recon.report.evidence_lookup import Looked, Said
from recon.report.words_proof import stopping
from recon.resubscribe.codes import BY_NAME
from recon.resubscribe.outcomes import Outcome, write_outcomes, write_rows
from recon.resubscribe.plan_file import Approval, Approved, Blocked, Guard, Plan, Step, write_plan
from recon.settings import Settings
from recon.tables import VERDICTS
from tests.report.conftest import CLOCK
from tests.report.page import Page
from tests.report.run_folder import RunFolder, every_case

if TYPE_CHECKING:
    from pathlib import Path

RUN = "20261124T180000Z"
AT = "2026-11-24T18:00:00Z"


def _step(number: int, row: int | None, **values: Any) -> Step:
    fixed: dict[str, Any] = {
        "person": f"sales_connect:9{number:02}",
        "system": "sales_connect",
        "object": "Person",
        "id": f"9{number:02}",
        "direction": "clear" if row else "set",
        "fields": ("unsubscribed",),
        "before": (bool(row),),
        "after": (not row,),
        "row": row,
        "reason": "Asked again" if row else None,
        "because": "The plan says so.",
    }
    return Step(number=number, **fixed | values)


def _plan(steps: list[Step], **values: Any) -> Plan:
    rows = [step for step in steps if step.row]
    return Plan.model_validate(
        {
            "schema": 1,
            "kind": "resubscribe",
            "recon": "0.1.0",
            "run_id": RUN,
            "created_at": AT,
            "settings_sha256": "ab" * 32,
            "snapshot": "s",
            "snapshot_manifest_sha256": "cd" * 32,
            "approved": Approved(name="approved.csv", sha256="ef" * 32, rows=5, accepted=5, rejected=0, no_op=0),
            "approvals": tuple(
                Approval(row=step.row or 0, digest="d" * 64, person=step.person, kind="consent", scope="sales",
                         consent_at="2026-11-20", approved_at="2026-11-21", warnings=("consent_too_old",),
                         opt_out_dates_known=False)
                for step in rows
            ),
            "steps": tuple(steps),
            "applicable": True,
        }
        | values
    ).sealed()  # fmt: skip


STEPS = [_step(1, 2), _step(2, 3), _step(3, 4), _step(4, None)]
OUTCOMES = (
    Outcome(1, STEPS[0].key, "worklist", retryable=True, code="worklist", message="An admin has to do it.", at=None),
    Outcome(2, STEPS[1].key, "stale", code="newer_opt_out", message="The opt-out was put back. That wins.", at=AT),
    Outcome(3, STEPS[2].key, "failed", code="FIELD_CUSTOM_VALIDATION_EXCEPTION", message="Mend the rule.", at=AT),
    Outcome(4, STEPS[3].key, "done", at=AT),
)
LEFT_OUT = Blocked(row=5, person="sales_connect:905", reason="A Lead would undo it.", path="salesforce:00Q1 -[id]-> x")


def _verdicts(folder: Path, codes: str = "", message: str = "1 record would be cleared.") -> None:
    rows = [[line, f"p{line}@buyer.example", "accepted", codes, message, 1] for line in range(2, 7)]
    write_rows(folder / "verdicts.csv", VERDICTS.names, rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = RunFolder(tmp_path / "run", every_case()).write()
    _verdicts(run.folder)
    return run.folder


def _page(folder: Path) -> Page:
    return Page(build(folder, Settings(), clock=CLOCK).read_text(encoding="utf-8"))


def test_every_outcome_is_shown_with_its_reason(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = _plan(STEPS, blocked=(LEFT_OUT,))
    write_plan(plan, folder / "plan.json")
    write_outcomes(plan, OUTCOMES, {"actor": "Ines Admin", "finished_at": AT}, folder)
    erased = Said({"kind": "consent", "opt_out_source": "bounce", "initiated_by": "person"}, None)
    told = Looked({2: erased}, put_back={2: AT}, ticked_by={1: "Ida Admin"})
    monkeypatch.setattr(gather_proof, "look_up", lambda *_: told)
    page = _page(folder)
    counts = {row[0]: row[1] for row in page.table("Every row of the approved file").rows}
    assert list(counts.values()) == ["0", "3", "1", "1", "0", "0", "5"]
    rows = page.table("Resubscribes and their proof").rows
    assert "evidenceerased on request" in rows[0][1]
    assert "warning▲ consent_too_old" in rows[0][1]
    assert "of another record the date is unknown" in rows[0][0]
    assert rows[0][3].startswith("◆ on the worklist")
    assert "By hand in Sales Connect, ticked off by Ida Admin." in rows[0][3]
    assert rows[1][3].startswith("◆ left as it is2026-11-24 18:00:00Z")
    assert rows[2][3].startswith("▲ failed")
    assert "[FIELD_CUSTOM_VALIDATION_EXCEPTION] Mend the rule." in rows[2][3]
    assert [row[4] for row in rows] == ["◆ not yet verified", "nothing was cleared", "nothing was cleared"]
    (set_,) = page.table("Opt-outs that the same plan set").rows
    assert set_[2].startswith("✓ done")
    (left,) = page.table("Accepted rows that were left out").rows
    assert (left[0], left[2]) == ("5", "A Lead would undo it. salesforce:00Q1 -[id]-> x")
    (idle,) = page.table("Accepted rows with no record").rows
    assert idle[0] == "6"
    (back,) = page.table("Opt-outs put back").rows
    assert back[2].startswith("✓ opted out again2026-11-24 18:00:00Z")
    assert "Action needed" in page.text


def test_a_plan_beyond_a_guard_says_which(folder: Path) -> None:
    guard = Guard(name="max_resubscribes", limit=1, value=3, passed=False)
    write_plan(_plan(STEPS, blocked=(LEFT_OUT,), guards=(guard,), applicable=False), folder / "plan.json")
    page = _page(folder)
    assert "The plan can’t be applied. max_resubscribes: 3, and at most 1 are allowed." in page.text
    assert "The workspace's ledger isn't where the settings say" in page.text


@pytest.mark.parametrize("state", ["gone", "undone", "worklist_open", "too_early", "unknown", "from_the_future"])
def test_every_state_after_the_night_has_its_words(folder: Path, state: str) -> None:
    plan = _plan(STEPS, blocked=(LEFT_OUT,))
    write_plan(plan, folder / "plan.json")
    done = (*OUTCOMES[:2], Outcome(3, STEPS[2].key, "done", at=AT), OUTCOMES[3])
    write_outcomes(plan, done, {"actor": "Ines Admin", "finished_at": AT}, folder)
    row = {
        "step": 3,
        "row": 4,
        "record": STEPS[2].key,
        "state": state,
        "caused_by": None,
        "through": None,
        "message": "So.",
    }
    document = {"schema": 1, "plan": plan.hash, "run_id": RUN, "created_at": AT, "counts": {state: 1}, "rows": [row]}
    (folder / "verification.json").write_text(json.dumps(document), encoding="utf-8")
    page = _page(folder)
    rows = page.table("Resubscribes and their proof").rows
    assert "So." in rows[2][4]
    assert "_" not in rows[2][4] or state == "from_the_future"
    assert rows[0][4] == "◆ not verified sinceVerify again: it was done after the last look."


def test_which_codes_stopped_a_row_and_which_only_warn() -> None:
    old, missing = BY_NAME["consent_too_old"], BY_NAME["evidence_missing"]
    message = f"Only a warning: {old.meaning} {old.remedy} {missing.meaning} {missing.remedy}"
    assert stopping([old.name, missing.name], message) == {old.name: False, missing.name: True}
    assert stopping(["unheard_of"], "Whatever.") == {"unheard_of": True}


@pytest.mark.parametrize("text", ["=1+1", "plain", "", "'quoted'", "-5", "\t=1", "''=1"])
def test_what_was_made_harmless_reads_back_as_it_was(text: str) -> None:
    assert restore(neutralise(text)) == text
