"""Why a plan may not be applied now. All of it is looked at before the first write."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from recon import jobs
from recon.clock import iso
from recon.errors import InputRefused, Problem, UsageError
from recon.resubscribe.moments import reader
from recon.sources.discovery import on_account, on_contact
from recon.sources.guard import window_met
from recon.sources.ids import salesforce_id_18

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from recon.resubscribe.plan_file import Approval, Plan, Step
    from recon.settings import Settings, SyncSettings

_PREFIX = {"Lead": "00Q", "Contact": "003"}
_AGAIN = "Make the plan again with `recon plan`."


def refuse_unfit(plan: Plan, file: Path) -> None:
    """Refuse a plan that can't be applied, or does what no plan may do.

    Raises
    ------
    InputRefused
        With everything that is wrong with it.
    """
    problems = [Problem(str(file), fault, _AGAIN) for fault in _faults(plan)]
    if problems:
        raise InputRefused(problems)


def _faults(plan: Plan) -> Iterator[str]:
    if not plan.steps:
        yield "the plan has no steps: there is nothing to apply."
    for guard in plan.guards:
        if not guard.passed:
            yield f"a guard stops the plan: {guard.name} is {guard.value:g}, the limit is {guard.limit:g}."
    if plan.steps and not plan.applicable and all(guard.passed for guard in plan.guards):
        yield "the plan says of itself that it can't be applied."
    if [step.number for step in plan.steps] != list(range(1, len(plan.steps) + 1)):
        yield "the steps are not numbered from 1."
    if len({step.key for step in plan.steps}) != len(plan.steps):
        yield "a record is in the plan twice."
    rows = {approval.row for approval in plan.approvals}
    for step in plan.steps:
        fault = _of_step(plan, step, rows)
        if fault is not None:
            yield f"step {step.number}: {fault}"


def _of_step(plan: Plan, step: Step, rows: set[int]) -> str | None:
    clears = step.direction == "clear"
    if not len(step.fields) == len(step.before) == len(step.after) > 0 or any(value is clears for value in step.after):
        return "its values don't fit its direction."
    if clears and (
        plan.kind == "undo" or plan.approved is None or step.row not in rows or not (step.reason or "").strip()
    ):
        return "it takes an opt-out back without an approved row and its reason."
    if step.system == "sales_connect":
        return None if step.object == "Person" and step.fields == ("unsubscribed",) else "it is no change of a person."
    if step.account is not None and not _through_account(step):
        return "it is no change of a person account."
    if step.object == "Person" or salesforce_id_18(step.id) != step.id or not step.id.startswith(_PREFIX[step.object]):
        return f"its id is none of a {step.object}."
    return None


def _through_account(step: Step) -> bool:
    account = step.account or ""
    plain = salesforce_id_18(account) == account and account.startswith("001")
    return plain and step.object == "Contact" and all(on_account(on_contact(name)) == name for name in step.fields)


def refuse_changed_settings(plan: Plan, loaded: Settings, folder: Path) -> None:
    """Refuse a plan that was made under other settings than those in force.

    Raises
    ------
    UsageError
        Names what was changed, where the run's manifest still tells.
    """
    in_force = jobs.settings_in_force(loaded)
    if in_force["settings_sha256"] == plan.settings_sha256:
        return
    try:
        then = json.loads((folder / "manifest.json").read_text("utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        then = None
    changed = sorted(_differences(then, in_force["settings"], "")) if isinstance(then, dict) else []
    what = f": {', '.join(changed[:10])}{' and more' if len(changed) > 10 else ''}" if changed else ""
    raise UsageError(
        f"the settings were changed since the plan was made{what}.",
        hint="Make the plan again under the settings in force, or put them back as they were.",
    )


def _differences(then: Any, now: Any, path: str) -> Iterator[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        for name in then.keys() | now.keys():
            yield from _differences(then.get(name), now.get(name), f"{path}.{name}" if path else name)
    elif then != now:
        yield path


def refuse_guard_window(sync: SyncSettings, now: datetime) -> None:
    """Refuse to take opt-outs back around the nightly run.

    Raises
    ------
    UsageError
        Says when the window is over.
    """
    met = window_met(now, now, sync)
    if met is None:
        return
    closes = met[1]
    raise UsageError(
        f"it is {iso(now)}, inside the guard window around the nightly run ({sync.guard_start:%H:%M} to {sync.guard_end:%H:%M} "
        f"{sync.time_zone}): a run between the two systems would undo what is half done.",
        hint=f"Apply from {iso(closes)} on ({closes.astimezone(ZoneInfo(sync.time_zone)):%Y-%m-%d %H:%M} there), or say that it may be done "
        "inside the window.",
    )


def refuse_expired(plan: Plan, rows: set[int], loaded: Settings, now: datetime) -> None:
    """Refuse approvals that don't count any more by the policy.

    Parameters
    ----------
    rows
        The lines whose clears are still to be done.

    Raises
    ------
    UsageError
        Names the lines.
    """
    expired = [each for each in plan.approvals if each.row in rows and _expired(each, loaded, now)]
    if expired:
        lines = ", ".join(str(each.row) for each in expired[:20])
        raise UsageError(
            f"the approvals in line {lines}{' and more' if len(expired) > 20 else ''} of {plan.approved.name if plan.approved else 'the approved file'} "
            "have expired since the plan was made.",
            hint="Have them approved anew, then check and plan again.",
        )


def _expired(approval: Approval, loaded: Settings, now: datetime) -> bool:
    rules = loaded.policy.rules(approval.country)
    if approval.approved_at is None or rules.severity("approval_expired") != "reject":
        return False
    at = reader(None, rules.time_zone)(approval.approved_at)
    return at is None or now - at.earliest > timedelta(days=rules.approval_valid_days)


def refuse_other_fields(plan: Plan, targets: dict[str, tuple[str, ...]], read_only: Sequence[str]) -> None:
    """Refuse to write any field but the configured opt-out, or one that the user may not write.

    Parameters
    ----------
    targets
        The opt-out fields of Lead, of Contact, and under Account those of person accounts, as Salesforce describes them.
    read_only
        Those that the user may not write, like `Lead.HasOptedOutOfEmail`.

    Raises
    ------
    UsageError
        Names the field and what to do.
    """
    for step in plan.steps:
        if step.system != "salesforce":
            continue
        name = step.written[0]
        known = targets.get(name, ())
        if step.fields != known:
            there = f"the opt-out there is {', '.join(known)}" if known else "the user can't see it there"
            raise UsageError(
                f"step {step.number} writes {', '.join(step.fields)} on {'an' if name == 'Account' else 'a'} {name}, but {there}.",
                hint=_AGAIN,
            )
        locked = [f"{name}.{field}" for field in step.fields if f"{name}.{field}" in read_only]
        if locked:
            raise UsageError(
                f"the Salesforce user may not write {', '.join(locked)}; nothing was written.",
                hint="Make it editable for the user: Setup > Object Manager > the object > Fields & Relationships > the field > Set Field-Level Security.",
            )
