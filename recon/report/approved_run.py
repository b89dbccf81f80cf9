"""The files that check, plan, apply and verify leave in a run's folder, read and held against each other.

CSVs for people are read back as what they say: the quote that made a cell harmless is taken off again.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recon.errors import InputRefused, ReconError
from recon.report.csv_safe import restore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from recon.resubscribe.plan_file import Plan

PLAN_FILE, VERDICTS_FILE, APPLY_FILE, VERIFICATION_FILE = "plan.json", "verdicts.csv", "apply.json", "verification.json"
_OUTCOME_FILES = ("success.csv", "failed.csv", "unprocessed.csv")
_AGAIN = "Look what became of the folder; what was done is in the ledger: `recon ledger show`."


@dataclass(frozen=True, slots=True)
class ApprovedRun:
    """A run with a plan.

    Attributes
    ----------
    plan
        The plan.
    verdicts
        Every row of the approved file, in its order, as in verdicts.csv.
    applied
        apply.json; None where the plan wasn't applied.
    outcomes
        What became of every step, by its number; empty where the plan wasn't applied.
    verified
        verification.json; None where nobody verified.
    fates
        Its rows by the step's number.
    """

    plan: Plan
    verdicts: tuple[Mapping[str, str], ...] = ()
    applied: Mapping[str, Any] | None = None
    outcomes: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    verified: Mapping[str, Any] | None = None
    fates: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


def read_approved_run(run: Path, run_id: str) -> ApprovedRun | None:
    """Read what a run's folder holds about its plan; None where there is no plan.

    Raises
    ------
    ReconError
        If a file can't be read, is of another plan, or they contradict each other.
    """
    from recon.resubscribe.plan_file import read_plan

    if not (run / PLAN_FILE).is_file():
        return None
    try:
        plan = read_plan(run / PLAN_FILE)
    except InputRefused as refused:
        problem = refused.problems[0]
        raise ReconError(f"{run / PLAN_FILE}: {problem.message}", hint=_AGAIN) from refused
    found = ApprovedRun(
        plan,
        _verdicts(run / VERDICTS_FILE) if plan.approved is not None else (),
        *_applied(run),
        *_verified(run),
    )
    _must_agree(found, run, run_id)
    return found


def _verdicts(file: Path) -> tuple[Mapping[str, str], ...]:
    rows = _rows(file)
    if any(not row["row"].isdecimal() for row in rows):
        raise ReconError(f"{file}: a row has no line number.", hint=_AGAIN)
    return tuple(rows)


def _applied(run: Path) -> tuple[Mapping[str, Any] | None, Mapping[int, Mapping[str, str]]]:
    document = _document(run / APPLY_FILE)
    if document is None:
        return None, {}
    rows = [row for name in _OUTCOME_FILES for row in _rows(run / name)]
    numbers = [int(row["step"]) for row in rows if row["step"].isdecimal()]
    if len(set(numbers)) != len(rows):
        raise ReconError(f"{run}: a step stands twice in {', '.join(_OUTCOME_FILES)}, or has no number.", hint=_AGAIN)
    return document, {int(row["step"]): row for row in rows}


def _verified(run: Path) -> tuple[Mapping[str, Any] | None, Mapping[int, Mapping[str, Any]]]:
    document = _document(run / VERIFICATION_FILE)
    if document is None:
        return None, {}
    try:
        return document, {int(row["step"]): row for row in document["rows"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ReconError(f"{run / VERIFICATION_FILE}: no verification.", hint="Run `recon verify` again.") from error


def _document(file: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ReconError(f"{file}: can't be read.", hint=_AGAIN) from error
    if not isinstance(document, dict) or document.get("schema") != 1:
        raise ReconError(f"{file}: not of version 1.", hint="Use the version of recon that made the run.")
    return document


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, restval=""))
    except (OSError, ValueError, csv.Error) as error:
        raise ReconError(f"{file}: can't be read.", hint=_AGAIN) from error
    return [{name: restore(cell) for name, cell in row.items() if isinstance(cell, str)} for row in rows]


def _must_agree(found: ApprovedRun, run: Path, run_id: str) -> None:
    """An auditor must never find two numbers for one thing, nor a file of another plan."""
    plan = found.plan
    wrong = []
    if plan.run_id != run_id:
        wrong.append(f"plan.json is of the run {plan.run_id}")
    if plan.approved is not None:
        said = Counter(row.get("verdict", "") for row in found.verdicts)
        told = {
            "accepted": plan.approved.accepted,
            "rejected": plan.approved.rejected,
            "no_op": plan.approved.no_op,
        }
        if len(found.verdicts) != plan.approved.rows:
            wrong.append(f"the approved file has {plan.approved.rows} rows and verdicts.csv {len(found.verdicts)}")
        wrong += [
            f"{count} rows are {name} by plan.json and {said[name]} by verdicts.csv"
            for name, count in told.items()
            if said[name] != count
        ]
    for name, document in ((APPLY_FILE, found.applied), (VERIFICATION_FILE, found.verified)):
        if document is not None and document.get("plan") != plan.hash:
            wrong.append(f"{name} is of another plan")
    if found.applied is not None and set(found.outcomes) != {step.number for step in plan.steps}:
        wrong.append("the outcomes aren't those of the plan's steps")
    if unknown := set(found.fates) - {step.number for step in plan.steps}:
        wrong.append(f"{VERIFICATION_FILE} tells of steps that the plan doesn't have: {sorted(unknown)}")
    if wrong:
        raise ReconError(
            f"The report can't be made, the files in {run} contradict each other: {'; '.join(wrong)}.", hint=_AGAIN
        )
