"""What became of a record whose opt-out was taken away: did that stick, and if not, which record undid it, and how.

The sync joins a record of Salesforce and the people that hold its id, and carries every opt-out among them to all of them. So whatever
opted a record out again stands in that star: an act of the person (a click, or an unsubscribe that was made by hand), an opt-out that was
ticked in Salesforce, or one that was never taken away. The person's own act wins and is no failure; anything else is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from recon.clock import iso

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from recon.resubscribe.rereading import Now
    from recon.resubscribe.standing import Cleared

State = Literal["stuck", "reverted", "unsubscribed_anew", "undone", "worklist_open", "gone", "too_early", "unknown"]

STUCK = "Still not opted out."
#: Ways to unsubscribe that somebody chose.
_OWN_ACTS = frozenset({"clicked_link", "manual"})
_ITS_WISH = (
    "If that was the person's wish it stands; else have the opt-out there looked at, then approve and plan again."
)
_GONE = {
    "deleted": "The record was deleted.",
    "merged": "The record was merged into another one: look at that one.",
    "missing": "The record isn't there any more.",
}


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a record.

    Attributes
    ----------
    state
        The state.
    message
        What happened and what to do. Holds no address.
    caused_by, through
        The record that undid it, as `system:id`, and the link; `through` None where it happened on the record itself.
    changed_at
        When, where that is known.
    """

    state: State
    message: str
    caused_by: str | None = None
    through: str | None = None
    changed_at: datetime | None = None


def fate(case: Cleared, now: Now, star: Sequence[Now], closes: datetime | None) -> Fate:
    """Judge one record.

    Parameters
    ----------
    case
        The clear that was made.
    now
        The record now.
    star
        The records that the sync joins to it, now.
    closes
        When the guard window around the next nightly run after the clear is over; None with the sync switched off.
    """
    if now.gone == "converted":
        contact = f" into the Contact {now.became}" if now.became else ""
        return Fate("gone", f"The Lead was converted{contact}: look at that one.")
    if now.gone is not None:
        return Fate("gone", _GONE[now.gone])
    # Whole seconds: what happened in the second of the write counts as after it.
    since = (case.since or case.began_at).replace(microsecond=0)
    if now.out and not (now.is_person and not now.carries and now.at is not None and now.at < since):
        return _undone(now, star, since)
    more = " An unsubscribe of one sales user stands, which is that user's to remove." if now.out else ""
    threat = next((each for each in star if each.carries), None)
    if threat is not None and closes is not None:
        more += f" But {threat.uid} is opted out, so the next nightly run will opt this record out again."
    if closes is not None and now.as_of < closes:
        return Fate("too_early", f"Not opted out so far; the nightly run is over at {iso(closes)}: verify then.{more}")
    return Fate("stuck", f"{STUCK}{more}")


def _undone(now: Now, star: Sequence[Now], since: datetime) -> Fate:
    """Find what opted a record out again."""
    record = next((each for each in (now, *star) if not each.is_person), None)
    people = [each for each in (now, *star) if each.is_person and each.out and (each.carries or each is now)]
    acts = [(each.at, each) for each in people if each.at is not None and _own_act(each, record, since)]
    if acts:
        at, act = min(acts, key=lambda found: (found[1] is not now, found[0], found[1].uid))
        if act is now:
            return Fate(
                "unsubscribed_anew", f"The person unsubscribed again at {iso(at)}. That wins.", act.uid, None, at
            )
        text = f"{act.uid} was unsubscribed again at {iso(at)}, and the sync carried it here. That wins."
        return Fate("unsubscribed_anew", text, act.uid, "id", at)
    if now.is_person and now.source != "salesforce_sync":
        if now.source == "bounce" and (now.at is None or now.at >= since):
            text = "Mail to the person bounced. Consent doesn't cure a dead address: get another one."
            return Fate("reverted", text, now.uid, None, now.at)
        if now.at is not None and now.at < since:
            text = f"An unsubscribe of {iso(now.at)}, from before the resubscribe, stands in Sales Connect. Remove it there, or plan again."
            return Fate("reverted", text, now.uid, None, now.at)
    stayed = [each for each in people if each is not now and not _synced(each, since)]
    if stayed:
        cause = min(stayed, key=lambda each: each.uid)
        text = (
            f"{cause.uid} is linked to it and is opted out; the sync carried that here. Approve and plan that one, too."
        )
        if cause.source == "bounce":
            text = f"Mail to {cause.uid} bounced, and the sync carried that here. Consent doesn't cure a dead address: get another one."
        return Fate("reverted", text, cause.uid, "id", now.at)
    if not now.is_person:
        return Fate("reverted", f"It was opted out in Salesforce{_by(now)}. {_ITS_WISH}", now.uid, None, now.at)
    if record is not None and record.out:
        text = f"{record.uid} was opted out in Salesforce{_by(record)}, and the sync carried it here. {_ITS_WISH}"
        return Fate("reverted", text, record.uid, "id", now.at)
    text = "It is unsubscribed again, and no linked record is opted out any more that could tell why. Pull, and look at the person's history."
    return Fate("reverted", text, changed_at=now.at)


def _own_act(each: Now, record: Now | None, since: datetime) -> bool:
    """Whether somebody chose this unsubscribe, after the clear."""
    if each.at is None or each.at < since:
        return False
    if each.source in _OWN_ACTS:
        return True
    # Where nothing tells how it came about, whoever was first didn't get it from the other one; in doubt it is the sync's.
    if each.source is not None:
        return False
    if record is None:
        return each.link is None
    return not record.out or (record.at is not None and each.at < record.at)


def _synced(each: Now, since: datetime) -> bool:
    """Whether the sync may have brought this unsubscribe, after the clear."""
    return each.source in (None, "salesforce_sync") and (each.at is None or each.at >= since)


def _by(record: Now) -> str:
    if record.at is None:
        return ", and no field history tells when and by whom"
    user = f" by the user {record.author}" if record.author else ""
    return f"{user} at {iso(record.at)}"
