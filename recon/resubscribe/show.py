"""A plan as a person reads it: the summary first, then every record with before, after and why; and what two plans differ in."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from recon.resubscribe.guards import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recon.resubscribe.plan_file import Plan, Step

_SYSTEMS = {"salesforce": "Salesforce", "sales_connect": "Sales Connect"}


def summary_lines(plan: Plan) -> list[str]:
    """What the plan comes to, in lines. Holds nothing of a single person."""
    people: set[str] = set()
    clears = 0
    for step in plan.steps:
        if step.direction == "clear":
            people.add(step.person)
            clears += 1
    sets = len(plan.steps) - clears
    lines = [
        f"Plan {plan.hash[:16]} of run {plan.run_id}, snapshot {plan.snapshot}",
        f"  {_number(len(people), 'person', 'people')} to resubscribe ({_number(clears, 'record')}), "
        f"{_number(sets, 'record')} to opt out, {_number(len(plan.blocked), 'accepted row')} left out",
    ]
    if plan.approved is not None:
        file = plan.approved
        lines.append(
            f"  {file.name}: {_number(file.rows, 'row')}, {file.accepted} accepted, {file.rejected} rejected, {file.no_op} with nothing to do"
        )
    lines += [
        f"  STOPPED by {guard.name}: {guard.value:g} {NAMES.get(guard.name, '')}, at most {guard.limit:g} are allowed. "
        f"Nothing of this plan can be applied; look at it, then raise guards.{guard.name} or plan less."
        for guard in plan.guards
        if not guard.passed
    ]
    if not plan.steps:
        lines.append("  There is nothing to apply.")
    return lines


def plan_lines(plan: Plan) -> Iterator[str]:
    """The plan in lines, one after the other. Holds record ids and the approvals' reasons, no addresses."""
    yield from summary_lines(plan)
    for person, steps in groupby(plan.steps, key=lambda step: step.person):
        listed = list(steps)
        yield from ("", f"{person}: {listed[0].because}")
        if listed[0].reason:
            yield f"  reason: {listed[0].reason}"
        yield from (f"  {step_line(step)}" for step in listed)
    for row in plan.blocked:
        yield from ("", f"left out, line {row.row} ({row.person}): {row.reason}")
        if row.path:
            yield f"  {row.path}"


def step_line(step: Step) -> str:
    """One step in one line."""
    changes = ", ".join(
        f"{field} {_flag(before)} -> {_flag(after)}"
        for field, before, after in zip(step.fields, step.before, step.after, strict=True)
    )
    since = f" (opted out {step.opted_out_at})" if step.opted_out_at else ""
    through = f" (person account {step.account})" if step.account else ""
    return f"{step.number:>4}  {_SYSTEMS[step.system]} {step.object} {step.id}{through}: {changes}{since}"


def diff_lines(old: Plan, new: Plan) -> list[str]:
    """What two plans differ in: records that came, went, or are changed otherwise."""
    before = {step.key: step for step in old.steps}
    after = {step.key: step for step in new.steps}
    came = [after[key] for key in after if key not in before]
    went = [before[key] for key in before if key not in after]
    other = [after[key] for key in after if key in before and _what(after[key]) != _what(before[key])]
    lines = [
        f"Plan {old.hash[:16]} -> {new.hash[:16]}: {len(came)} records came, {len(went)} went, {len(other)} changed otherwise"
    ]
    for mark, steps in (("+", came), ("-", went), ("~", other)):
        lines += [f"{mark} {step_line(step).strip()}" for step in steps]
    return lines


def _what(step: Step) -> tuple[object, ...]:
    return (step.direction, step.fields, step.before, step.after, step.reason, step.modified_at, step.opted_out_at)


def _flag(value: bool | None) -> str:  # noqa: FBT001 - one value of three
    return "unknown" if value is None else str(value).lower()


def _number(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
