"""Undo: a plan that puts back the opt-outs that a run took away. It only ever opts out; what a run opted out stays so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recon import __version__, jobs, settings
from recon.clock import from_environment, iso
from recon.errors import UsageError
from recon.evidence import open_ledger, take_checkpoint
from recon.ledger import kinds
from recon.resubscribe.evidence import write_plan_entry
from recon.resubscribe.plan_file import Plan, Step, packed, unpacked_step, write_plan
from recon.resubscribe.spool import Row, room_for
from recon.resubscribe.standing import cleared
from recon.resubscribe.stored_plan import StoredPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recon.clock import Clock
    from recon.ledger import Ledger
    from recon.resubscribe.standing import Cleared
    from recon.settings import Settings

_PLAN_FILE = "plan.json"
_MAY_BE = {
    "open": " Whether it was taken away isn't known.",
    "worklist": " It was on the worklist, and may have been taken away by hand: see that nobody does it any more.",
}


@dataclass(frozen=True, slots=True)
class Undone:
    """A plan that takes a run back, and the run folder it is in. `plan.applicable` is false where there is nothing to put back.

    The plan's steps are on the disk for as long as this is there, and read whenever they are asked for.
    """

    plan: Plan
    path: Path
    folder: Path


def undo(
    workspace: str | Path,
    run_id: str,
    *,
    created_by: str | None = None,
    new_run_id: str | None = None,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
) -> Undone:
    """Make a plan that puts back every opt-out that a run took away, or may have taken away. Apply it like any other.

    Parameters
    ----------
    workspace
        Where recon.toml, the runs and the ledger are.
    run_id
        The run whose plan was applied.
    created_by
        Who makes the plan.
    new_run_id
        The undo's own run; by default made from the time.
    clock, environ
        The time, and the environment that holds the secrets; by default the machine's own.

    Raises
    ------
    UsageError
        If the run has no plan, or its plan is an undo itself: that took nothing away.
    InputRefused
        If the plan was changed.
    NoRoom
        If the disk is full.
    """
    clock = clock or from_environment()
    loaded = settings.load(Path(workspace))
    file = jobs.run_folder(loaded, run_id) / _PLAN_FILE
    if not file.is_file() or not loaded.run.ledger.is_dir():
        raise UsageError(f"there is no plan in the run {run_id!r}.", hint="Name the run whose plan was applied.")
    with room_for(loaded.run.reports, remedy="Make room there, then do it again: nothing was written."):
        # The former run's folder stays as it is, and the new one isn't there yet.
        stored = StoredPlan(file, loaded.run.reports)
        if stored.plan.kind == "undo":
            raise UsageError(
                f"the run {run_id!r} is an undo itself: it took no opt-out away.",
                hint="An opt-out is taken away by an approved file and `recon plan` only.",
            )
        own_id = new_run_id or f"{jobs.new_run_id(clock)}-undo"
        folder = jobs.run_folder(loaded, own_id)
        with open_ledger(loaded, clock, environ) as ledger:
            made = _plan(ledger, stored, loaded, own_id, created_by, clock)
            who = None if created_by is None else ledger.actor(created_by)
            run = {"run_id": own_id, "job": "undo", "actor": who, "settings": made.settings_sha256}
            ledger.append(kinds.RUN, {**run, "snapshot": made.snapshot, "counts": {"set": len(made.steps)}})
            write_plan_entry(ledger, made, created_by)
            take_checkpoint(ledger, loaded, folder, environ)
        write_plan(made, folder / _PLAN_FILE)
    return Undone(made, folder / _PLAN_FILE, folder)


def _plan(
    ledger: Ledger, stored: StoredPlan, loaded: Settings, run_id: str, created_by: str | None, clock: Clock
) -> Plan:
    former = stored.plan
    steps: Row[Step] = Row(stored.spool, packed, unpacked_step)
    for case in cleared(ledger, former, stored.spool):
        if case.standing not in ("put_back", "undone"):
            steps.append(_step(len(steps) + 1, case, former))
    plan = Plan(
        schema=1,
        kind="undo",
        recon=__version__,
        run_id=run_id,
        created_at=iso(clock.now()),
        created_by=created_by,
        settings_sha256=jobs.settings_in_force(loaded)["settings_sha256"],
        snapshot=former.snapshot,
        snapshot_manifest_sha256=former.snapshot_manifest_sha256,
        undoes=former.hash,
        applicable=bool(steps),
    )
    return plan.model_copy(update={"steps": steps or ()}).sealed()


def _step(number: int, case: Cleared, former: Plan) -> Step:
    """The opt-out that puts a clear back, in every field that the sync writes: where one of two was ticked, both are."""
    step = case.step
    return Step(
        number=number,
        person=step.person,
        system=step.system,
        object=step.object,
        id=step.id,
        direction="set",
        fields=step.fields,
        before=step.after,
        after=(True,) * len(step.fields),
        account=step.account,
        because=f"Takes back step {step.number} of the run {former.run_id}.{_MAY_BE.get(case.standing, '')}",
    )
