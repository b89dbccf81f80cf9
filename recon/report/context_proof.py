"""What the report says about resubscribes, as plain data: the approved file, its rows, what was done, what held, and the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

    from recon.report.context import CallsRow, Count, State

#: What the figures of a row or a step tell the eye; its word stands with it.
Tone = Literal["act", "watch", "ok", "none"]


@dataclass(frozen=True, slots=True)
class ApprovedFile:
    """The file that admins handed in, with every row of it accounted for: the counts add up to `rows`."""

    name: str
    sha256: str
    rows: int
    counts: tuple[Count, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """One record of a resubscribe: what was done to it, and how it stood after the next nightly run.

    `undone_by` names the record that undid it and the way it came, where it was undone.
    """

    system: str
    record: str
    id: str
    outcome: str
    outcome_tone: Tone
    outcome_at: str | None
    outcome_why: str
    after: str
    after_tone: Tone
    after_why: str
    undone_by: str | None


@dataclass(frozen=True, slots=True)
class Resubscribe:
    """One row of the approved file that was planned, with its proof. Texts are None where nothing was said.

    `effects` has one entry a record.
    """

    line: int
    address: str
    person: str
    opted_out: str
    opt_out_source: str
    consent: str
    authorization: str
    purpose: str | None
    reason: str | None
    notice: str | None
    note: str | None
    initiated_by: str | None
    evidence: str
    evidence_sha256: str | None
    requested_by: str
    approved_by: str
    approved_at: str
    scope: str
    warnings: tuple[str, ...]
    effects: tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A verdict code that a row has: why it applied is in the row's message; what it asks for, and where it comes from, is here."""

    code: str
    meaning: str
    source: str
    stops: bool


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row of the approved file that nothing was done for: rejected, with nothing to do, or left out of the plan."""

    line: int
    address: str
    kind: str
    message: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class SetRow:
    """An opt-out that the plan set, or that was put back."""

    record: str
    id: str
    why: str
    outcome: str
    outcome_tone: Tone
    outcome_at: str | None


@dataclass(frozen=True, slots=True)
class UndoPlan:
    """A plan of a later run that puts back the opt-outs which this run took away."""

    run_id: str
    created_at: str
    created_by: str
    records: int
    applied: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What verifying found. `at` is None where nobody looked yet."""

    at: datetime | None
    counts: tuple[Count, ...]
    rows: int
    reverted: int
    not_held: tuple[Effect, ...]
    open: int
    calls: tuple[CallsRow, ...] = ()


@dataclass(frozen=True, slots=True)
class OtherRun:
    """Another run of the workspace whose resubscribes nobody has verified, or not all of them."""

    run_id: str
    applied_at: str
    why: str


@dataclass(frozen=True, slots=True)
class LedgerPoint:
    """The ledger's checkpoint. `line` is the checkpoint as it stands in a file; `place` tells where it comes from."""

    size: int
    head: str
    time: str
    tool: str
    signed: bool
    line: str
    place: str
    file: str


@dataclass(frozen=True, slots=True)
class Proof:
    """All of it. `file` is None for a run without an approved file."""

    file: ApprovedFile | None
    plan_hash: str | None
    made_by: str
    applied_by: str
    applied_at: str | None
    not_applicable: tuple[str, ...]
    consents: tuple[Resubscribe, ...]
    consents_total: int
    corrections: tuple[Resubscribe, ...]
    corrections_total: int
    rejected: tuple[RefusedRow, ...]
    rejected_total: int
    no_op: tuple[RefusedRow, ...]
    no_op_total: int
    left_out: tuple[RefusedRow, ...]
    left_out_total: int
    idle: tuple[RefusedRow, ...]
    idle_total: int
    sets: tuple[SetRow, ...]
    sets_total: int
    put_back: tuple[SetRow, ...]
    undo_plans: tuple[UndoPlan, ...]
    verification: Verification
    unverified_runs: tuple[OtherRun, ...]
    notes: tuple[str, ...]
    ledger: LedgerPoint | None
    state: State | None
