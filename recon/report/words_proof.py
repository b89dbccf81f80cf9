"""The fixed texts about resubscribes: outcomes, states after the nightly run, sources, and which codes stopped a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon.report.words import plural
from recon.resubscribe.codes import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recon.report.context_proof import Proof, Tone

#: Outcome -> its words and tone.
OUTCOMES: dict[str, tuple[str, Tone]] = {
    "done": ("done", "ok"),
    "skipped_done": ("already so", "ok"),
    "stale": ("left as it is", "watch"),
    "failed": ("failed", "act"),
    "unprocessed": ("not tried", "watch"),
    "worklist": ("on the worklist", "watch"),
    "": ("not applied", "none"),
}

#: State after the next nightly run -> its words, tone and meaning.
STATES: dict[str, tuple[str, Tone, str]] = {
    "stuck": ("stuck", "ok", "The next nightly run is over, and the record is still not opted out."),
    "reverted": ("reverted", "act", "A record of the person opted it out again, and not by the person’s own act."),
    "unsubscribed_anew": ("unsubscribed anew", "ok", "The person opted out again. That wins, and is no failure."),
    "undone": ("taken back", "ok", "A later plan of recon put the opt-out back."),
    "worklist_open": ("worklist open", "watch", "An admin still has it to do in Sales Connect."),
    "gone": ("gone", "watch", "The record was deleted, merged or converted meanwhile."),
    "too_early": ("too early to tell", "watch", "The nightly run was still to come when it was verified."),
    "unknown": ("not known", "watch", "What was read doesn’t tell."),
}

SOURCES = {
    "manual": "set by hand in Sales Connect",
    "clicked_link": "unsubscribe link clicked",
    "salesforce_sync": "came from Salesforce by the sync",
    "bounce": "bounce",
    "user": "unsubscribed from one user",
    "choice": "in Sales Connect",
    "salesforce": "set in Salesforce",
}

LINKS = {"id": "by the link (Salesforce ID)", "converted": "by the Lead’s conversion", "address": "by the address"}

_WARNING = "Only a warning: "


def stopping(codes: Sequence[str], message: str) -> dict[str, bool]:
    """For each code of a row whether it stopped it; by the message, which says of the others that they only warn.

    Parameters
    ----------
    codes
        The row's codes, in order.
    message
        The row's message: for every code its sentences, the code's remedy last.
    """
    found, place = {}, 0
    for code in codes:
        remedy = BY_NAME[code].remedy if code in BY_NAME else ""
        end = message.find(remedy, place) if remedy else -1
        part = message[place : end + len(remedy)] if end >= 0 else message[place:]
        place = end + len(remedy) if end >= 0 else place
        found[code] = _WARNING not in part
    return found


def proof_notes(proof: Proof) -> tuple[str, ...]:
    """The banner's sentences about resubscribes: what something undid, what failed to be verified, and other runs that wait for it."""
    notes = []
    count = proof.verification.reverted
    if count:
        notes.append(
            f"{plural(count, 'resubscribed record was', 'resubscribed records were')} opted out again by another record: see “Verification”."
        )
    elif proof.applied_at and proof.verification.at is None:
        notes.append("The resubscribes of this run are not yet verified.")
    if proof.unverified_runs:
        others = plural(len(proof.unverified_runs), "other run waits", "other runs wait")
        notes.append(f"{others} for verification: see “Verification”.")
    return tuple(notes)
