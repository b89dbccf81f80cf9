"""Guards: bounds on how much one plan may do, looked at before anything is written.

Beyond a bound the plan can't be applied at all. "The first N of it" would be a half-done plan that nobody approved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon.resubscribe.plan_file import Guard

if TYPE_CHECKING:
    from recon.settings import GuardSettings

NAMES = {
    "max_resubscribes": "people to resubscribe",
    "max_share_percent": "percent of all opted-out people to resubscribe",
    "max_opt_outs": "records to opt out",
}


def guards(limits: GuardSettings, *, resubscribes: int, opted_out_people: int, opt_outs: int) -> tuple[Guard, ...]:
    """Hold a plan's numbers against the bounds.

    Parameters
    ----------
    limits
        The settings.
    resubscribes
        People that the plan resubscribes.
    opted_out_people
        People that are opted out now, anywhere.
    opt_outs
        Records that the plan opts out.
    """
    share = 100 * resubscribes / opted_out_people if opted_out_people else 0.0
    few = resubscribes <= limits.min_counted
    return (
        _guard("max_resubscribes", limits.max_resubscribes, resubscribes),
        _guard("max_share_percent", limits.max_share_percent, round(share, 3), passed=few),
        _guard("max_opt_outs", limits.max_opt_outs, opt_outs),
    )


def _guard(name: str, limit: float, value: float, *, passed: bool = False) -> Guard:
    return Guard(name=name, limit=limit, value=value, passed=passed or value <= limit)
