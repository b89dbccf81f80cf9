"""The workspace's other runs, as far as this one's report needs them: what isn't verified yet, and what takes this run back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_NOT_OVER = ("too_early", "unknown", "worklist_open")


@dataclass(frozen=True, slots=True)
class Planned:
    """Another run that has a plan: the documents of its folder, None where there is no such file."""

    folder: Path
    plan: Mapping[str, Any]
    applied: Mapping[str, Any] | None
    verified: Mapping[str, Any] | None

    @property
    def unverified(self) -> str | None:
        """Why its resubscribes can't be called verified; None where they can, or nothing was applied."""
        clears = sum(step["direction"] == "clear" for step in self.plan["steps"])
        if self.applied is None or not clears:
            return None
        if self.verified is None:
            return "applied, and never verified"
        waiting = {name: count for name, count in self.verified["counts"].items() if name in _NOT_OVER}
        if not waiting:
            return None
        return "verified, with records still open: " + ", ".join(
            f"{count} {name.replace('_', ' ')}" for name, count in sorted(waiting.items())
        )


def planned_runs(reports: Path, own: Path) -> Iterator[Planned]:
    """Every other run of the workspace with a plan that can be read, in the order of their names.

    Parameters
    ----------
    reports
        The folder of the runs.
    own
        The folder of the run that the report is about.
    """
    for file in sorted(reports.glob("*/plan.json")):
        if file.parent.resolve() == own.resolve():
            continue
        plan = document(file)
        # A folder that somebody put there is no run of ours.
        if plan is None or not isinstance(plan.get("steps"), list) or not isinstance(plan.get("run_id"), str):
            continue
        found = Planned(
            file.parent, plan, document(file.parent / "apply.json"), document(file.parent / "verification.json")
        )
        try:
            _ = found.unverified, found.plan["created_at"], found.plan["kind"]
        except (KeyError, TypeError, AttributeError):
            continue
        yield found


def document(file: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is none that can be read."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
