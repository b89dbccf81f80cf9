"""From the files of a run with a plan, and from the ledger, to what the report says about resubscribes."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from recon.report.approved_run import ApprovedRun, read_approved_run
from recon.report.calls import calls_rows
from recon.report.context import Count
from recon.report.context_proof import (
    ApprovedFile,
    Effect,
    OtherRun,
    Proof,
    RefusedRow,
    Resubscribe,
    Rule,
    SetRow,
    UndoPlan,
    Verification,
)
from recon.report.evidence_lookup import Looked, ledger_point, look_up
from recon.report.rows import SENTENCE
from recon.report.words import SYSTEMS
from recon.report.words_proof import LINKS, OUTCOMES, SOURCES, STATES, stopping
from recon.report.workspace_runs import planned_runs
from recon.resubscribe.codes import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from recon.clock import Clock
    from recon.report.context import State
    from recon.report.context_proof import LedgerPoint, Tone
    from recon.report.manifest import Manifest
    from recon.report.mask import Veil
    from recon.report.persons import Persons
    from recon.resubscribe.plan_file import Approval, Step
    from recon.settings import Settings

_ERASED = "erased on request"
_NOT_SAID = "not said"
_NOT_HELD = ("reverted", "unsubscribed_anew", "undone", "worklist_open", "gone", "unknown")


def gather_proof(
    run: Path, manifest: Manifest, settings: Settings, clock: Clock, veil: Veil, persons: Persons
) -> Proof:
    """Gather what the run's folder, the workspace's other runs and the ledger say about resubscribes.

    Parameters
    ----------
    run, manifest
        The run's folder and its manifest.
    settings
        Where the ledger and the other runs are, and how many rows are shown.
    clock
        For opening the ledger; nothing is written to it.
    veil, persons
        Mask addresses, and name persons.

    Raises
    ------
    ReconError
        If the files contradict each other or can't be read.
    """
    found = read_approved_run(run, manifest.run_id)
    others = list(planned_runs(settings.run.reports, run))
    ledger = ledger_point(run, manifest, settings, veil)
    unverified = tuple(
        OtherRun(veil.text(each.plan["run_id"]), _finished(each.applied), why)
        for each in others
        if each.plan["kind"] == "resubscribe" and (why := each.unverified) is not None
    )
    if found is None or found.plan.kind != "resubscribe":
        return _without_file(unverified, ledger)
    looked = look_up(found, settings, clock)
    return _Gathering(found, looked, settings.report.rows, veil, persons).proof(
        unverified,
        tuple(
            _undo_plan(each.plan, each.applied, veil) for each in others if each.plan.get("undoes") == found.plan.hash
        ),
        ledger,
    )


def _without_file(unverified: tuple[OtherRun, ...], ledger: LedgerPoint | None) -> Proof:
    return Proof(
        file=None,
        plan_hash=None,
        made_by="",
        applied_by="",
        applied_at=None,
        not_applicable=(),
        consents=(),
        consents_total=0,
        corrections=(),
        corrections_total=0,
        rejected=(),
        rejected_total=0,
        no_op=(),
        no_op_total=0,
        left_out=(),
        left_out_total=0,
        idle=(),
        idle_total=0,
        sets=(),
        sets_total=0,
        put_back=(),
        undo_plans=(),
        verification=Verification(None, (), 0, 0, (), 0),
        unverified_runs=unverified,
        notes=(),
        ledger=ledger,
        state="watch" if unverified else None,
    )


def _finished(applied: Mapping[str, Any] | None) -> str:
    return str((applied or {}).get("finished_at") or "unknown")


def _undo_plan(plan: Mapping[str, Any], applied: Mapping[str, Any] | None, veil: Veil) -> UndoPlan:
    if applied is None:
        said = "not applied"
    else:
        counts = ", ".join(f"{count} {OUTCOMES.get(name, (name,))[0]}" for name, count in applied["counts"].items())
        said = f"applied {_finished(applied)}: {counts or 'nothing to do'}"
    return UndoPlan(
        veil.text(str(plan["run_id"])),
        str(plan["created_at"]),
        veil.text(str(plan.get("created_by") or _NOT_SAID)),
        len(plan["steps"]),
        veil.text(said),
    )


class _Gathering:
    """One run with an approved file."""

    def __init__(self, found: ApprovedRun, looked: Looked, limit: int, veil: Veil, persons: Persons) -> None:
        self._found, self._plan, self._looked = found, found.plan, looked
        self._limit, self._veil, self._persons = limit, veil, persons
        self._approvals: dict[int, Approval] = {each.row: each for each in self._plan.approvals}
        self._steps: dict[int, list[Step]] = {}
        for step in self._plan.steps:
            if step.direction == "clear" and step.row is not None:
                self._steps.setdefault(step.row, []).append(step)
        self._blocked = {each.row: each for each in self._plan.blocked}

    def proof(
        self, unverified: tuple[OtherRun, ...], undo_plans: tuple[UndoPlan, ...], ledger: LedgerPoint | None
    ) -> Proof:
        plan, applied = self._plan, self._found.applied
        by_verdict: dict[str, list[Mapping[str, str]]] = {"accepted": [], "rejected": [], "no_op": []}
        for row in self._found.verdicts:
            by_verdict[row["verdict"]].append(row)
        accepted = by_verdict["accepted"]
        planned = [row for row in accepted if int(row["row"]) in self._steps]
        left_out = [row for row in accepted if int(row["row"]) in self._blocked]
        idle = [row for row in accepted if int(row["row"]) not in {*self._steps, *self._blocked}]
        corrections = [row for row in planned if self._kind(int(row["row"])) == "correction"]
        consents = [row for row in planned if row not in corrections]
        sets = [step for step in plan.steps if step.direction == "set"]
        verification = self._verification()
        cut = self._limit
        return Proof(
            file=self._file(planned, left_out, idle),
            plan_hash=plan.hash,
            made_by=self._text(plan.created_by),
            applied_by=self._text((applied or {}).get("actor")),
            applied_at=None if applied is None else _finished(applied),
            not_applicable=()
            if plan.applicable
            else tuple(
                f"{guard.name}: {guard.value:g}, and at most {guard.limit:g} are allowed"
                for guard in plan.guards
                if not guard.passed
            )
            or ("it changes nothing",),
            consents=tuple(self._resubscribe(row) for row in consents[:cut]),
            consents_total=len(consents),
            corrections=tuple(self._resubscribe(row) for row in corrections[:cut]),
            corrections_total=len(corrections),
            rejected=tuple(self._refused(row) for row in by_verdict["rejected"][:cut]),
            rejected_total=len(by_verdict["rejected"]),
            no_op=tuple(self._refused(row) for row in by_verdict["no_op"][:cut]),
            no_op_total=len(by_verdict["no_op"]),
            left_out=tuple(self._refused(row, self._why_left_out) for row in left_out[:cut]),
            left_out_total=len(left_out),
            idle=tuple(self._refused(row) for row in idle[:cut]),
            idle_total=len(idle),
            sets=tuple(self._set_row(step) for step in sets[:cut]),
            sets_total=len(sets),
            put_back=tuple(self._put_back(step) for step in plan.steps if step.number in self._looked.put_back),
            undo_plans=undo_plans,
            verification=verification,
            unverified_runs=unverified,
            notes=() if self._looked.note is None else (self._text(self._looked.note),),
            ledger=ledger,
            state=self._state(verification, unverified),
        )

    def _state(self, verification: Verification, unverified: Sequence[OtherRun]) -> State:
        said = Counter(row["outcome"] for row in self._found.outcomes.values())
        if verification.reverted or said["failed"]:
            return "act"
        waiting = said["unprocessed"] + said["worklist"] + verification.open + len(unverified)
        cleared = any(self._found.outcomes.get(step.number, {}).get("outcome") == "done" for step in self._plan.steps)
        return "watch" if waiting or (cleared and verification.at is None) else "ok"

    def _file(
        self,
        planned: Sequence[Mapping[str, str]],
        left_out: Sequence[Mapping[str, str]],
        idle: Sequence[Mapping[str, str]],
    ) -> ApprovedFile | None:
        approved = self._plan.approved
        if approved is None:
            return None
        whole = sum(all(self._settled(step) for step in self._steps[int(row["row"])]) for row in planned)
        if self._found.applied is None:
            done = [Count("Accepted and planned, not applied", len(planned), "The plan was not carried out.")]
        else:
            done = [
                Count("Resubscribed in both systems", whole, "Every opted-out record of the person was cleared."),
                Count(
                    "Planned, and not done in every record", len(planned) - whole, "See the effect, record by record."
                ),
            ]
        return ApprovedFile(
            name=self._text(approved.name),
            sha256=approved.sha256,
            rows=approved.rows,
            counts=(
                *done,
                Count("Accepted, and left out of the plan", len(left_out), "The resubscribe would not stick."),
                Count(
                    "Accepted, with no record of its own to clear",
                    len(idle),
                    "Its records are cleared under another row of the same person, or nobody may change them.",
                ),
                Count("Rejected", approved.rejected, "A rule stopped it; nothing was done."),
                Count("Nothing to do", approved.no_op, "Nobody with that address is opted out, or it was done before."),
            ),
        )

    def _settled(self, step: Step) -> bool:
        return self._found.outcomes.get(step.number, {}).get("outcome") in ("done", "skipped_done")

    def _resubscribe(self, row: Mapping[str, str]) -> Resubscribe:
        line = int(row["row"])
        approval, said = self._approvals.get(line), self._looked.rows.get(line)
        facts = {} if said is None else said.facts
        steps = self._steps[line]
        newest = approval.newest_opt_out if approval is not None else None
        known = approval is None or approval.opt_out_dates_known
        return Resubscribe(
            line=line,
            address=self._veil.address(None, row["email"]),
            person=self._persons.name(steps[0].person),
            opted_out=(newest or "date unknown") + ("" if known else "; of another record the date is unknown"),
            opt_out_source=SOURCES.get(str(facts.get("opt_out_source")), "source unknown"),
            consent=self._text(approval.consent_at if approval is not None else None),
            authorization=self._text(
                (approval.authorization if approval else None) or self._word(line, "authorization")
            ),
            purpose=self._word(line, "purpose"),
            reason=self._text(steps[0].reason) if steps[0].reason else None,
            notice=self._word(line, "notice"),
            note=self._word(line, "note"),
            initiated_by={"person": "the person", "sender": "the sender"}.get(str(facts.get("initiated_by"))),
            evidence=self._word(line, "evidence") or _NOT_SAID,
            evidence_sha256=self._word(line, "evidence_sha256"),
            requested_by=self._word(line, "requested_by") or _NOT_SAID,
            approved_by=self._word(line, "approved_by") or _NOT_SAID,
            approved_at=self._text(approval.approved_at if approval is not None else None),
            scope=self._text(approval.scope if approval is not None else None),
            warnings=() if approval is None else tuple(self._text(code) for code in approval.warnings),
            effects=tuple(self._effect(step) for step in steps),
        )

    def _effect(self, step: Step) -> Effect:
        said = self._found.outcomes.get(step.number, {})
        outcome, tone = OUTCOMES.get(said.get("outcome", ""), (said.get("outcome", ""), "watch"))
        why = " ".join(filter(None, (f"[{said['code']}]" if said.get("code") else "", said.get("message", ""))))
        by = self._looked.ticked_by.get(step.number)
        if by is not None:
            why = f"{why} By hand in Sales Connect, ticked off by {by}.".strip()
        after, after_tone, after_why, undone_by = self._after(step, said.get("outcome", ""))
        return Effect(
            system=SYSTEMS[step.system],
            record=f"{SYSTEMS[step.system]} {step.object}",
            id=self._text(step.id),
            outcome=self._text(outcome),
            outcome_tone=tone,
            outcome_at=said.get("at") or None,
            outcome_why=self._veil.text(why, SENTENCE),
            after=after,
            after_tone=after_tone,
            after_why=after_why,
            undone_by=undone_by,
        )

    def _after(self, step: Step, outcome: str) -> tuple[str, Tone, str, str | None]:
        fate = self._found.fates.get(step.number)
        if fate is None:
            if outcome != "done" and outcome != "worklist":
                return "nothing was cleared", "none", "", None
            if self._found.verified is None:
                return "not yet verified", "watch", "", None
            return "not verified since", "watch", "Verify again: it was done after the last look.", None
        word, tone, _ = STATES.get(str(fate["state"]), (str(fate["state"]), "watch", ""))
        undone_by = None
        if fate.get("caused_by"):
            way = LINKS.get(str(fate.get("through")), "on the record itself")
            undone_by = f"{self._text(str(fate['caused_by']))}, {way}"
        return self._text(word), tone, self._veil.text(str(fate.get("message") or ""), SENTENCE), undone_by

    def _refused(self, row: Mapping[str, str], why: Callable[[Mapping[str, str]], str] | None = None) -> RefusedRow:
        codes = [code for code in row["codes"].split(";") if code]
        stops = stopping(codes, row["message"])
        return RefusedRow(
            line=int(row["row"]),
            address=self._veil.address(None, row["email"]),
            kind=self._kind(int(row["row"])),
            message=self._text(row["message"] if why is None else why(row), 2 * SENTENCE),
            rules=tuple(
                Rule(
                    self._text(code),
                    BY_NAME[code].meaning if code in BY_NAME else "",
                    BY_NAME[code].source if code in BY_NAME else "",
                    stops[code],
                )
                for code in codes
            ),
        )

    def _why_left_out(self, row: Mapping[str, str]) -> str:
        blocked = self._blocked[int(row["row"])]
        return blocked.reason + (f" {blocked.path}" if blocked.path else "")

    def _set_row(self, step: Step) -> SetRow:
        effect = self._effect(step)
        why = self._text(step.because, SENTENCE)
        return SetRow(effect.record, effect.id, why, effect.outcome, effect.outcome_tone, effect.outcome_at)

    def _put_back(self, step: Step) -> SetRow:
        at = self._looked.put_back[step.number] or None
        why = self._found.outcomes.get(step.number, {}).get("message", "")
        record = f"{SYSTEMS[step.system]} {step.object}"
        return SetRow(record, self._text(step.id), self._text(why, SENTENCE), "opted out again", "ok", at)

    def _verification(self) -> Verification:
        document, fates = self._found.verified, self._found.fates
        calls = tuple(
            row
            for work, file in (("Apply", self._found.applied), ("Verify", document))
            if file is not None
            for row in calls_rows(work, file.get("api_calls_by_kind"), file.get("api_quota"), self._veil)
        )
        if document is None:
            return Verification(None, (), 0, 0, (), 0, calls)
        said = Counter(str(fate["state"]) for fate in fates.values())
        steps = {step.number: step for step in self._plan.steps}
        listed = [number for number in sorted(fates) if fates[number]["state"] in _NOT_HELD]
        return Verification(
            at=datetime.fromisoformat(str(document["created_at"])).astimezone(UTC),
            counts=tuple(Count(word, said[name], meaning) for name, (word, _, meaning) in STATES.items() if said[name]),
            rows=len(fates),
            reverted=said["reverted"],
            not_held=tuple(self._effect(steps[number]) for number in listed[: self._limit]),
            open=said["too_early"] + said["unknown"] + said["worklist_open"],
            calls=calls,
        )

    def _kind(self, line: int) -> str:
        if line in self._approvals:
            return self._approvals[line].kind
        said = self._looked.rows.get(line)
        return str(said.facts.get("kind", "consent")) if said is not None else "consent"

    def _word(self, line: int, name: str) -> str | None:
        """What the row said, from the ledger's personal part."""
        said = self._looked.rows.get(line)
        if said is None:
            return None
        if said.words is None:
            return _ERASED
        value = said.words.get(name)
        return None if value is None else self._text(str(value), 300)

    def _text(self, text: object, limit: int = 120) -> str:
        return self._veil.text(_NOT_SAID if text is None or text == "" else str(text), limit)
