"""Apply: carry a plan out, exactly and once, and end where an uninterrupted run ends however often it was interrupted."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from recon import lock, secrets, settings
from recon.clock import from_environment
from recon.errors import UsageError
from recon.evidence import cover, open_ledger
from recon.progress import SILENT
from recon.resubscribe import refusals
from recon.resubscribe.applying import Run
from recon.resubscribe.kept_facts import KeptFacts
from recon.resubscribe.spool import room_for
from recon.resubscribe.steps_evidence import StepsEvidence
from recon.resubscribe.stored_plan import StoredPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from recon.clock import Clock
    from recon.progress import Progress
    from recon.resubscribe.outcomes import Applied


def apply(
    workspace: str | Path,
    plan_path: str | Path,
    *,
    actor: str,
    worklist: str | Path | None = None,
    inside_guard_window: bool = False,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Applied:
    """Carry out a plan, or go on with one that was interrupted.

    A plan that was carried out is not carried out again: its outcomes are given back. Of one that was interrupted the remote state is read
    first; nothing is repeated blindly.

    Parameters
    ----------
    workspace
        Where recon.toml, the snapshots and the ledger are.
    plan_path
        The plan.json in the folder of its run; what apply leaves goes there.
    actor
        On whose behalf: an admin's name, shown in Sales Connect's history.
    worklist
        A worklist that an admin ticked: what is ticked counts as done, and nothing else is done.
    inside_guard_window
        Take opt-outs back even around the nightly run.
    clock, environ, progress
        The time, the secrets, where progress is shown.
    sleep
        Waits before something is tried again.

    Returns
    -------
    Applied
        One outcome a step.

    Raises
    ------
    InputRefused
        If the plan was changed, can't be applied, or its snapshot is gone. Nothing was written.
    UsageError
        If the settings were changed, approvals have expired, it is the guard window's time, or nobody acts. Nothing was written.
    ReconError
        If another run is at work, a system can't be logged in to, or the disk is full.
    """
    clock = clock or from_environment()
    workspace, file = Path(workspace), Path(plan_path)
    loaded = settings.load(workspace)
    with ExitStack() as stack:
        stack.enter_context(room_for(file.parent))
        stored = StoredPlan(file)
        plan = stored.plan
        if not actor.strip():
            raise UsageError("nobody is named who applies the plan.", hint="Name the admin: --actor WHO.")
        refusals.refuse_unfit(plan, file)
        environ = secrets.resolver(loaded, environ)
        stack.enter_context(lock.held(workspace, f"apply {plan.run_id}", clock, environ=environ))
        ledger = stack.enter_context(open_ledger(loaded, clock, environ))
        facts = KeptFacts(stored.spool, plan, loaded, file.parent)
        evidence = StepsEvidence(
            ledger, plan, actor=actor.strip(), addresses=facts.addresses, clock=clock, spool=stored.spool
        )
        run = Run(stored, file.parent, loaded, evidence, facts, clock, sleep, inside_guard_window)
        try:
            if worklist is not None:
                return run.take_back(Path(worklist), actor.strip())
            return run.carry_out(stack, actor.strip(), environ, progress or SILENT)
        finally:
            cover(ledger, loaded, file.parent, environ)
