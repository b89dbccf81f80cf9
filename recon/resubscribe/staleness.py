"""Is a record still what the plan was made for? What changed since may be a new opt-out, and that always wins."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from recon.clock import iso
from recon.errors import SourceError
from recon.identity import address as comparable
from recon.resubscribe.steps_evidence import ALREADY_SO, NEWER_OPT_OUT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from recon.resubscribe.live import Change, LiveSalesforce, Seen
    from recon.resubscribe.plan_file import Step
    from recon.resubscribe.steps_evidence import State, Task

#: The codes of what is not carried out, each with its meaning.
MEANINGS = {
    "gone": "The record isn't there any more.",
    "merged": "The record was merged into another one.",
    "converted": "The Lead was converted, and Salesforce lets nobody change it.",
    "address_changed": "The record has another address than the approval was given for.",
    "person_account": "It is a person account and the plan doesn't say so, or another one: pull from Salesforce's API, and plan again.",
    "value_changed": "The record's opt-out isn't as it was when the plan was made.",
    "user_level": "Only an unsubscribe of a single user stands, which is that user's to remove.",
    NEWER_OPT_OUT: "The person opted out again after the plan was made. That wins.",
    "opt_out_date_unknown": "The record was changed since, and nothing tells whether its opt-out is newer than the consent.",
    "person_stale": "Another record of the same person is stale, so the resubscribe would not stick.",
    "no_accepted_verdict": "The ledger holds no accepted verdict for it, or a newer one that isn't accepted.",
    ALREADY_SO: "The record was opted out already.",
}


def staleness(task: Task, seen: Seen, address: str | None, history: Callable[[], list[Change] | None]) -> str | None:
    """Hold a record as it is now against what the plan knew of it.

    Parameters
    ----------
    task
        What is to be written.
    seen
        The record now.
    address
        Its address in the plan's snapshot.
    history
        Reads the changes of the record's opt-out fields; called only where it was changed since the snapshot.

    Returns
    -------
    str or None
        Why it is not written, one of `MEANINGS`; None where it may be.
    """
    if seen.gone is not None:
        return "merged" if seen.gone == "merged" else "gone"
    if seen.converted:
        return "converted"
    if seen.there and seen.person_account != task.step.account:
        return "person_account"
    if not task.clears:
        return ALREADY_SO if is_so(task, seen) else None
    if _form(seen.email) != _form(address):
        return "address_changed"
    if seen.values != task.before:
        return "value_changed"
    return _person(task, seen) if task.step.system == "sales_connect" else _record(task, seen, history)


def is_so(task: Task, seen: Seen) -> bool:
    """Whether what a task writes stands there. On a person that is the account's unsubscribe: one of a single user isn't it."""
    values = (False,) * len(seen.values) if seen.level == "user" else seen.values
    return seen.there and values == task.after


def came_in(other: Step, seen: Seen | None) -> str | None:
    """Whether a new opt-out came in through a record of the person that no step is about, one of `MEANINGS`; None where none did.

    Parameters
    ----------
    other
        The record as it was in the snapshot, see `recon.resubscribe.snapshot_facts.Facts`.
    seen
        The record now; None where nobody can read it.
    """
    if seen is None or not seen.there or not any(seen.values):
        return None
    if not any(other.before) or seen.level != "user":
        return NEWER_OPT_OUT
    # A single user's unsubscribe stood already, and no resubscribe takes it away: it is one more that counts.
    return (
        None
        if (found := _newer(other, seen)) is None
        else NEWER_OPT_OUT
        if found == NEWER_OPT_OUT
        else "opt_out_date_unknown"
    )


def set_since(task: Task, seen: Seen, cleared_at: str | None) -> bool:
    """Whether a record that was cleared is opted out again.

    A single user's unsubscribe may have stood all the time, hidden by the account's: only one that is newer counts.
    """
    if not seen.there:
        return False
    if seen.level != "user":
        return seen.values != task.after
    then, now = _text_time(cleared_at), _second(seen.opted_out_at)
    return then is None or now is None or now >= then


def _form(address: str | None) -> str | None:
    """The address as it is compared; a text that is no address stands for itself."""
    return None if address is None else comparable(address) or address.strip()


def _person(task: Task, seen: Seen) -> str | None:
    return "user_level" if seen.level == "user" else _newer(task.step, seen)


def _newer(step: Step, seen: Seen) -> str | None:
    """Hold a person's unsubscribe against the one that the snapshot had."""
    known, now = _text_time(step.opted_out_at), _second(seen.opted_out_at)
    if known is not None and now is not None:
        return NEWER_OPT_OUT if now > known else None if now == known else "value_changed"
    if known is None and now is None and _second(seen.modified_at) == _text_time(step.modified_at):
        return None
    return "opt_out_date_unknown"


def needs_history(step: Step, seen: Seen) -> bool:
    """Whether only the history of a record in Salesforce tells if it was opted out anew since the snapshot: it was changed.

    History proves that nothing happened only for a field that is tracked: the opt-out's own date came from there.
    """
    return step.opted_out_at is not None and not _unmoved(step, seen)


def _unmoved(step: Step, seen: Seen) -> bool:
    then = _text_time(step.modified_at)
    return then is not None and then == _second(seen.modified_at)


def _record(task: Task, seen: Seen, history: Callable[[], list[Change] | None]) -> str | None:
    if _unmoved(task.step, seen):
        return None
    changes = history() if needs_history(task.step, seen) else None
    if changes is None:
        return "opt_out_date_unknown"
    return NEWER_OPT_OUT if opted_out_since(task.step, changes) else None


def opted_out_since(step: Step, changes: Sequence[Change] | None, looked_at: str | None = None) -> bool:
    """Whether a record's history tells of an opt-out that is newer than the one that the plan knew of.

    Parameters
    ----------
    looked_at
        When the record was looked at last, by the system's own clock. Where the plan knew of no date, an opt-out since then is a newer one.
    """
    known, looked = _text_time(step.opted_out_at), _text_time(looked_at)
    outs = [change.at.replace(microsecond=0) for change in changes or () if change.value is not False]
    if known is None:
        return looked is not None and any(at >= looked for at in outs)
    return any(at > known for at in outs)


def slipped_in(task: Task, seen: Seen | None, state: State, salesforce: LiveSalesforce | None) -> bool:
    """Whether somebody opted a record out between the last look at it and the write, and the write passed all the same.

    A precondition compares whole seconds, so it can't see that where the record was changed before in the same second. History tells then.
    Of a record that nobody changed since the snapshot it need not be asked: any change gives that another second.

    Parameters
    ----------
    task
        What was written.
    seen
        The record as it was seen just before; None where it was found written.
    state
        What the ledger says about the task.
    salesforce
        Reads the history.

    Raises
    ------
    SourceError
        If the history can't be read, or not any more.
    """
    step = task.step
    if step.system != "salesforce" or not task.clears or salesforce is None:
        return False
    unmoved = seen is not None and seen.modified_at is not None and iso(seen.modified_at) == step.modified_at
    if unmoved and state.attempts == 1:
        return False
    changes = salesforce.history(step)
    if changes is None and not unmoved and step.opted_out_at is not None:
        raise SourceError("its history, which the plan was made by, can't be read any more.")
    return opted_out_since(step, changes, state.system_at)


def _second(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(microsecond=0)


def _text_time(text: str | None) -> datetime | None:
    """A time of the plan, which has whole seconds."""
    return None if text is None else datetime.fromisoformat(text).replace(microsecond=0)
