"""The report's fixed texts and its grammar: numbers and their nouns, names of things, and the verdict as a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon.report.context import Banner, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recon.report.manifest import Manifest

SYSTEMS = {"sales_connect": "Sales Connect", "salesforce": "Salesforce"}

#: Categories in plain words; what they mean and what to do stands in `recon.categories`.
TITLES = {
    "field_disagrees": "The two opt-out fields differ",
    "broken_link": "The link leads nowhere",
    "stale_link": "The link leads to a converted Lead",
    "lost_on_conversion": "Opt-out lost on conversion",
    "awaiting_sync": "Awaiting the nightly sync",
    "sync_off": "Linked, but the sync is off",
    "unlinked_match": "Same address, not linked",
    "duplicate_disagrees": "Duplicates differ",
    "user_level_only": "Unsubscribed from one user only",
    "bounce": "Suppressed by a bounce",
    "will_revert": "The resubscribe will be undone",
}

_WORDS: dict[State, str] = {"act": "Action needed", "watch": "Watch", "ok": "In agreement"}


def number(value: int) -> str:
    """A number with thousands set apart: `1,234,567`."""
    return f"{value:,}"


def plural(count: int, one: str, many: str) -> str:
    """A count and its noun: `1 record`, `1,200 records`."""
    return f"{number(count)} {one if count == 1 else many}"


def percent(part: int, whole: int) -> str:
    """A share as a percentage that never rounds something to nothing, or almost all to all."""
    if not whole:
        return "–"
    share = part / whole
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{share * 100:.1f} %"


def sentence(*, total: int, tonight: int, you: int, nobody: int, sync_enabled: bool, people: bool = False) -> str:
    """The verdict in one sentence.

    Parameters
    ----------
    total
        Records that aren't opted out although their person is.
    tonight
        Of these, what the next nightly run sets.
    you
        Of the rest, what toolkit or admin must mend.
    nobody
        Of the rest, what needs nothing done: bounces, and what a documented resubscribe has answered.
    sync_enabled
        Is the nightly sync on?
    people
        Are persons counted, each once, instead of records?

    Examples
    --------
    >>> sentence(total=17, tonight=12, you=5, nobody=0, sync_enabled=True)
    "17 records could be mailed although the person opted out; 12 will be mended by tonight's sync, 5 need you."
    >>> sentence(total=17, tonight=12, you=5, nobody=0, sync_enabled=True, people=True)
    "17 people could be mailed although they opted out; 12 will be mended by tonight's sync, 5 need you."
    """
    if not total:
        return (
            "Nobody could be mailed against an opt-out." if people else "No record could be mailed against an opt-out."
        )
    start = f"{plural(total, 'record', 'records')} could be mailed although the person opted out; "
    if people:
        start = f"{plural(total, 'person', 'people')} could be mailed although they opted out; "
    every = {1: "it", 2: "both"}.get(total, "all of them")
    if tonight == total:
        return f"{start}tonight's sync will mend {every}."
    parts = []
    if tonight:
        parts.append(f"{number(tonight)} will be mended by tonight's sync")
    elif not sync_enabled:
        parts.append("the sync is switched off")
    if you == total:
        parts.append("it needs you" if total == 1 else f"{every} need you")
    elif you:
        parts.append(f"{number(you)} {'needs' if you == 1 else 'need'} you")
    if nobody == total:
        parts.append(f"nobody has to do anything about {'it' if total == 1 else 'them'}")
    elif nobody:
        parts.append(f"{number(nobody)} {'needs' if nobody == 1 else 'need'} nothing done")
    return start + ", ".join(parts) + "."


def verdict(manifest: Manifest) -> str:
    """The verdict on a run: `sentence` of its persons; of its records, where the run didn't count persons."""
    mailable = manifest.could_be_mailed
    counted = mailable if mailable.people is None else mailable.people
    return sentence(
        total=counted.total,
        tonight=counted.tonight,
        you=mailable.toolkit + mailable.admin if mailable.people is None else mailable.people.you,
        nobody=counted.nobody,
        sync_enabled=manifest.tonight.enabled,
        people=mailable.people is not None,
    )


def banner(
    *,
    verdict: str,
    to_act: int,
    overdue: int,
    actions: int,
    mailable: int,
    straddles: bool | None,
    rehearsal: bool,
    proof: State | None = None,
    resubscribes: Sequence[str] = (),
) -> Banner:
    """The verdict with what qualifies it.

    Parameters
    ----------
    verdict
        From `sentence`.
    to_act
        Records that could be mailed and that the sync will not mend.
    overdue
        Actions whose due date is past.
    actions
        All actions.
    mailable
        Records that could be mailed.
    straddles
        Does a nightly run lie between the two sides; None: unknown.
    rehearsal
        Was the run's clock set by hand?
    proof, resubscribes
        The state of what was resubscribed, and sentences about it; None where nothing is to be said.
    """
    notes = []
    if actions:
        need = f"{plural(actions, 'record needs', 'records need')} attention"
        late = f", {number(overdue)} of them overdue" if overdue else ""
        notes.append(f"{need} {'in all' if mailable else 'for another reason'}{late}: see “Disagreement by category”.")
    notes += resubscribes
    if straddles:
        notes.append("Read with care: a nightly run lies between the two sides of the data.")
    elif straddles is None:
        notes.append("Read with care: it is unknown whether a nightly run lies between the two sides of the data.")
    if rehearsal:
        notes.append("Rehearsal: the clock of this run was set by hand, so its times prove nothing.")
    state: State = (
        "act" if to_act or overdue or proof == "act" else "watch" if actions or straddles or proof == "watch" else "ok"
    )
    return Banner(state=state, word=_WORDS[state], sentence=verdict, notes=tuple(notes))
