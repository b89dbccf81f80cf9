"""Where a record's opt-out came from, as far as both systems tell; and of a record that isn't opted out, what that means.

Sales Connect says how a person was unsubscribed. Salesforce says of a record no more than when, and that only where field history has it.
So whether a Salesforce record's opt-out came from Sales Connect is read from the times: Sales Connect pushes an unsubscribe at once, and the
nightly run carries it within a day. Source: AdobeDocs, "Syncing Unsubscribes with Salesforce".
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from recon.merge import SALES_CONNECT

if TYPE_CHECKING:
    from datetime import datetime

    from recon.explore.person import Person, Record

#: Two systems' clocks differ a little.
_SAME_TIME = timedelta(minutes=5)

_HOW = {
    "manual": "somebody unsubscribed the person by hand in Sales Connect",
    "clicked_link": "the person clicked the unsubscribe link in a mail",
    "bounce": "mail to the person bounced; that is no choice of the person's",
}


def origin(record: Record, person: Person) -> Record:
    """The record with `origin` and `way` filled in."""
    if not record.opted_out:
        return replace(record, origin=_not_opted_out(record, person), way=record.path)
    tell = _of_person if record.system == SALES_CONNECT else _of_record
    sentence, source = tell(record, person)
    way = None if source is None else f"{source[0].uid} -[{source[1]}]-> {record.uid}"
    return replace(record, origin=sentence, way=way)


def named(record: Record) -> str:
    """A record in a sentence: `Contact 003…`."""
    return f"{'person' if record.object == 'Person' else record.object} {record.id}"


def _not_opted_out(record: Record, person: Person) -> str:
    if record.explanation is not None:
        if record.category in ("broken_link", "stale_link") and not any(each.opted_out for each in person.records):
            return f"Not opted out, and no other record of the person is. {record.explanation}"
        return f"Not opted out. {record.explanation}"
    return "Not opted out, and no other record of the person is."


def _of_person(record: Record, person: Person) -> tuple[str, tuple[Record, str] | None]:
    on = _on(record.since)
    if record.how == "salesforce_sync":
        return _by_the_sync(record, person)
    said = _HOW.get(record.how or "")
    text = f"Unsubscribed{on}: {said}." if said else f"Unsubscribed{on}; Sales Connect doesn't tell how."
    if record.level == "user":
        text += " It holds for one sales user only, and the sync doesn't carry it."
    return text, None


def _by_the_sync(record: Record, person: Person) -> tuple[str, tuple[Record, str] | None]:
    text = f"The sync unsubscribed it{_on(record.since)}, because a linked Salesforce record was opted out."
    linked = person.linked(record)
    if not linked:
        return f"{text} No record is linked any more.", None
    other = linked[0]
    if not other.opted_out:
        return (
            f"{text} The {named(other)}, which is linked now, isn't opted out: the sync never takes an opt-out back.",
            None,
        )
    since = f" since {other.since:%Y-%m-%d}" if other.since else ", nobody knows since when"
    return f"{text} The {named(other)} is opted out{since}.", (other, "id")


def _of_record(record: Record, person: Person) -> tuple[str, tuple[Record, str] | None]:
    on = _on(record.since) or ", nobody knows since when (field history has no such change)"
    for other in person.linked(record):
        if other.carries and other.how != "salesforce_sync" and _came_first(other, record):
            since = f" since {other.since:%Y-%m-%d}" if other.since else ""
            how = f" ({other.how.replace('_', ' ')})" if other.how else ""
            told = f"Opted out{on}, most likely from Sales Connect: the linked {named(other)} is unsubscribed{since}{how}, and that is carried over."
            return told, (other, "id")
    for link in person.links:
        if link.kind == "converted" and link.end == record.uid:
            lead = person.record(link.start)
            if lead.opted_out and _came_first(lead, record):
                return (
                    f"Opted out{on}, most likely since the {named(lead)}, which is opted out, became this Contact.",
                    (lead, "converted"),
                )
    return (
        f"Opted out{on}, in Salesforce itself: by a user, an import, a form or a flow; the data doesn't tell which.",
        None,
    )


def _came_first(other: Record, record: Record) -> bool:
    return other.since is None or record.since is None or other.since <= record.since + _SAME_TIME


def _on(at: datetime | None) -> str:
    return f" on {at:%Y-%m-%d} at {at:%H:%M} UTC" if at else ""
