"""What became of a step, as a person reads it: from the ledger's states to an outcome with a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon.resubscribe.answers import remedy
from recon.resubscribe.outcomes import Outcome
from recon.resubscribe.staleness import MEANINGS
from recon.resubscribe.steps_evidence import ALREADY_SO, NEWER_OPT_OUT, WORKLIST

if TYPE_CHECKING:
    from recon.resubscribe.plan_file import Step
    from recon.resubscribe.steps_evidence import State

_PUT_BACK = "The person opted out again while the plan was carried out: the opt-out was put back. That wins."
_CANT_BE = "The person opted out again after this was cleared, and the opt-out can't be put back."
_NOT_BACK = "The person opted out again after this was cleared, and the opt-out is not put back yet."


def outcome_of(step: Step, state: State, back: State, *, owed: bool) -> Outcome:
    """What became of a step.

    Parameters
    ----------
    step
        The step.
    state, back
        What the ledger says about it, and about putting its opt-out back.
    owed
        Has its opt-out to be put back, and isn't yet?
    """
    if back.result == "done" or back.code == ALREADY_SO:
        return Outcome(step.number, step.key, "stale", code=NEWER_OPT_OUT, message=_PUT_BACK, at=back.at)
    if back.result == "stale":  # it was converted, or isn't there any more
        message = f"{_CANT_BE} {MEANINGS.get(back.code or '', '')} Pull and plan with opt-outs, so that what it became is opted out."
        return Outcome(step.number, step.key, "failed", code=back.code, message=message, at=back.at)
    if back.result is not None:
        retryable = back.result == "failed" and back.retryable
        message = f"{_NOT_BACK} {remedy(back.code, retryable=retryable)}"
        return Outcome(step.number, step.key, "failed", retryable, back.code, message, back.at)
    if owed:
        message = f"{_NOT_BACK} Apply the same plan again at once."
        return Outcome(
            step.number, step.key, "failed", retryable=True, code=NEWER_OPT_OUT, message=message, at=state.at
        )
    return _of_state(step, state)


def untried(step: Step, code: str, message: str) -> Outcome:
    """A step that was not tried, or of which nothing is known yet."""
    return Outcome(step.number, step.key, "unprocessed", retryable=True, code=code, message=message)


def stale_outcome(step: Step, code: str | None, at: str | None) -> Outcome:
    """A step that is left as it is; one that was so already is as good as done."""
    text = MEANINGS.get(code or "", "The record isn't what the plan was made for.")
    if code == ALREADY_SO:
        return Outcome(step.number, step.key, "skipped_done", code=code, message=text, at=at)
    again = "" if code == NEWER_OPT_OUT else " Pull and plan again."
    return Outcome(step.number, step.key, "stale", code=code, message=f"{text}{again}", at=at)


def _of_state(step: Step, state: State) -> Outcome:
    if state.open is not None:
        if state.way == WORKLIST:
            message = "An admin has to do it in Sales Connect, see the worklist."
            return Outcome(step.number, step.key, "worklist", retryable=True, code="worklist", message=message)
        return untried(
            step, "open", "It was begun, and whether it was done isn't known yet: apply the same plan again."
        )
    if state.result == "done":
        return Outcome(step.number, step.key, "done", code=state.code, at=state.at)
    if state.result == "stale":
        return stale_outcome(step, state.code, state.at)
    if state.result == "failed":
        message = remedy(state.code, retryable=state.retryable)
        return Outcome(step.number, step.key, "failed", state.retryable, state.code, message, state.at)
    if state.result == "unprocessed":
        return untried(step, state.code or "unprocessed", "The Bulk job did not come to it: apply the same plan again.")
    return untried(step, "not_reached", "It was not tried: apply the same plan again.")
