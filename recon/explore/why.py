"""The answer to "why is this record opted out?", as a page in a notebook, as lines, and as JSON."""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from recon.clock import iso
from recon.explore.find import MOST_PERSONS
from recon.report.mask import Veil, visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recon.explore.person import Person, Record
    from recon.ledger import Story

#: Of a person with very many records these are shown, those that were asked about and those that are opted out before others.
MOST_RECORDS = 25

_SYSTEMS = {"sales_connect": "Sales Connect", "salesforce": "Salesforce"}
_COLUMNS = (
    "record",
    "address",
    "opted out",
    "since",
    "how",
    "after the next run",
    "needs action",
    "who mends it",
    "due by",
)


@dataclass(frozen=True, slots=True)
class Why:
    """What is known about an address or an id. A notebook shows it as a page; printing it gives lines.

    Attributes
    ----------
    query
        What was asked for.
    persons
        The persons that it leads to, one nearly always: an address in `clusters.never_join` joins nothing, so it may lead to many.
    found
        How many persons it leads to; `persons` holds `recon.explore.find.MOST_PERSONS` of them at most.
    deleted
        Ids of deleted Salesforce records that it names; they take no part.
    snapshot, taken_at
        The snapshot that was read, and when it was taken.
    ledger
        What the ledger says about the person; None where there is no ledger.
    note
        Why the ledger couldn't be read, where it couldn't.
    show_addresses
        Are addresses shown in full?
    """

    query: str
    persons: tuple[Person, ...]
    found: int
    deleted: tuple[str, ...]
    snapshot: str
    taken_at: str
    ledger: Story | None = None
    note: str | None = None
    show_addresses: bool = False

    @property
    def person(self) -> Person | None:
        """The person, or the first of several; None where nobody was found."""
        return self.persons[0] if self.persons else None

    def lines(self) -> list[str]:
        """The answer for people, in lines."""
        told = [self._headline()]
        for person in self.persons:
            told += ["", self._about(person)]
            for record in _first(person):
                told += [
                    f"  {'*' if record.asked else ' '} {self._text(record.uid)}  {self._address(record)}",
                    *self._details(record),
                ]
            told += _rest(person)
            events = [
                f"    {iso(each.at)}  {self._text(each.uid)}: {self._text(each.what)}" for each in person.events()
            ]
            told += ["  What happened, as far as both systems know:", *events[-MOST_RECORDS:]] if events else []
        return [*told, *self._gone(), *self._evidence()]

    def _details(self, record: Record) -> list[str]:
        state = "opted out" if record.opted_out else "not opted out"
        after = (
            ""
            if record.opted_out
            else ", the next nightly run opts it out"
            if record.predicted
            else ", the next nightly run leaves it"
        )
        told = [f"      {state}{after}", f"      {self._text(record.origin, 600)}"]
        if record.way:
            told.append(f"      way: {self._text(record.way, 600)}")
        if record.category:
            due = f", due by {record.due_by}" if record.due_by else ""
            told.append(f"      {record.category}, to be mended by: {record.fix}{due}")
        return told

    def as_json(self) -> dict[str, Any]:
        """The answer for machines; addresses are masked unless `show_addresses`."""
        return {
            "query": self._asked(),
            "snapshot": self.snapshot,
            "taken_at": self.taken_at,
            "persons_found": self.found,
            "persons": [self._person_json(person) for person in self.persons],
            "deleted": list(self.deleted),
            "ledger": None if self.ledger is None else self._story(),
            "note": self.note,
        }

    def _person_json(self, person: Person) -> dict[str, Any]:
        return {
            "cluster": person.cluster,
            "records": [self._record_json(record) for record in person.records],
            "links": [asdict(link) for link in person.links],
            "addresses": {
                self._veil().address(address, address): list(uids) for address, uids in person.addresses.items()
            }
            if self.show_addresses
            else [list(uids) for uids in person.addresses.values()],
            "events": [{"at": iso(each.at), "record": each.uid, "what": each.what} for each in person.events()],
        }

    def _record_json(self, record: Record) -> dict[str, Any]:
        told = asdict(record)
        for name in ("since", "resubscribed_at"):
            told[name] = None if told[name] is None else iso(told[name])
        told["due_by"] = None if record.due_by is None else record.due_by.isoformat()
        told["email"] = None if record.email is None else self._veil().address(None, record.email)
        return told

    def _headline(self) -> str:
        where = f"snapshot {self.snapshot}, taken {self.taken_at}"
        if not self.persons:
            return f"No record has {self._asked()} ({where})."
        several = "" if self.found == 1 else f" and leads to {self.found:,} persons"
        if self.found > MOST_PERSONS:
            several += f", of whom the first {MOST_PERSONS} are shown"
        asked = sum(len(person.asked) for person in self.persons)
        return f"{self._asked()} names {_records(asked)}{several} ({where})."

    def _about(self, person: Person) -> str:
        out = sum(record.opted_out for record in person.records)
        return f"One person with {_records(len(person.records))}, {out:,} of them opted out:"

    def _asked(self) -> str:
        text = self.query.strip()
        return self._veil().address(None, text) if "@" in text else self._text(text)

    def _address(self, record: Record) -> str:
        return visible(self._veil().address(None, record.email))

    def _text(self, text: str, limit: int = 120) -> str:
        return visible(self._veil().text(text, limit))

    def _veil(self) -> Veil:
        return Veil(masked=not self.show_addresses)

    def _gone(self) -> list[str]:
        return [
            f"Salesforce record {each} is in the recycle bin or was merged away: it takes no part, and a link to it is broken."
            for each in self.deleted
        ]

    def _story(self) -> list[str]:
        return [] if self.ledger is None else self.ledger.lines(full=self.show_addresses)

    def _evidence(self) -> list[str]:
        if self.note is not None:
            return ["", f"The ledger could not be read: {self.note}"]
        return ["", "The ledger:", *(f"  {line}" for line in self._story())] if self.ledger is not None else []

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        parts = [_element("p", self._headline())]
        for person in self.persons:
            parts += [_element("h4", self._about(person)), self._answers(person), self._table(person)]
            parts += [_element("p", line.strip()) for line in _rest(person)]
        parts += [_element("p", line) for line in self._gone()]
        if self.note is not None:
            parts += [_element("p", line) for line in self._evidence() if line]
        return f'<div class="recon-why">{"".join(parts)}</div>'

    def _answers(self, person: Person) -> str:
        """A sentence for every record that was asked about."""
        told = []
        for record in _first(person):
            if record.asked:
                way = f"<br><code>{_escaped(self._text(record.way, 600))}</code>" if record.way else ""
                told.append(
                    f"<li><b>{_escaped(self._text(record.uid))}</b>: {_escaped(self._text(record.origin, 600))}{way}</li>"
                )
        return f"<ul>{''.join(told)}</ul>"

    def _table(self, person: Person) -> str:
        head = "".join(f'<th scope="col" style="text-align:left">{name}</th>' for name in _COLUMNS)
        rows = "".join(self._row(record) for record in _first(person))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def _row(self, record: Record) -> str:
        how = " ".join(
            filter(None, [(record.how or "").replace("_", " "), "(one user)" if record.level == "user" else ""])
        )
        cells = [
            f"{_SYSTEMS[record.system]} {record.object} {self._text(record.id)}",
            self._address(record),
            "yes" if record.opted_out else "no",
            f"{record.since:%Y-%m-%d %H:%M} UTC" if record.since else "unknown" if record.opted_out else "",
            self._text(how),
            "opted out" if record.predicted else "not opted out",
            record.category or "",
            record.fix or "",
            str(record.due_by or ""),
        ]
        mark = "font-weight:bold;" if record.asked else ""
        when = (cells[3], cells[8])
        kept = ("white-space:nowrap;" if cell in when else "" for cell in cells)
        told = (
            f'<td style="text-align:left;{mark}{one_line}">{_escaped(cell)}</td>'
            for cell, one_line in zip(cells, kept, strict=True)
        )
        return f"<tr>{''.join(told)}</tr>"


def _first(person: Person) -> tuple[Record, ...]:
    """The records that are shown, in their order."""
    ranked = sorted(person.records, key=lambda record: (not record.asked, not record.opted_out))
    shown = {record.uid for record in ranked[:MOST_RECORDS]}
    return tuple(record for record in person.records if record.uid in shown)


def _rest(person: Person) -> list[str]:
    more = len(person.records) - MOST_RECORDS
    return [f"  … and {_records(more)} more of this person."] if more > 0 else []


def _records(number: int) -> str:
    return f"{number:,} record{'' if number == 1 else 's'}"


def _element(name: str, text: str) -> str:
    return f"<{name}>{_escaped(text)}</{name}>"


def _escaped(text: str) -> str:
    return html.escape(text)


def uids(persons: Iterable[Person]) -> list[str]:
    """The `system:id` of all records of some persons, those that were asked about first."""
    found = [record for person in persons for record in person.records]
    return [record.uid for record in sorted(found, key=lambda record: not record.asked)]
