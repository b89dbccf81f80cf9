"""The categories of disagreement, planted: for each the records that have to change, with addresses that nothing else has.

Every function plants one category `number` times, going through its variants in turn, and returns the `system:id` of the records that
have it as their primary category with the sync enabled and the standard field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon.sandbox.population_rows import OptOut

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from recon.sandbox.population_rows import Rows, SObject
    from recon.sandbox.sales_connect import Source

_COLLECTED: tuple[Source, ...] = ("manual", "clicked_link", "bounce")
_TWINS: tuple[tuple[SObject, SObject], ...] = (("Lead", "Lead"), ("Contact", "Contact"), ("Lead", "Contact"))


def person_uid(person_id: str) -> str:
    """A person as oracles and tables name it."""
    return f"sales_connect:{person_id}"


def record_uid(record_id: str) -> str:
    """A Salesforce record as oracles and tables name it."""
    return f"salesforce:{record_id}"


def _sobject(n: int) -> SObject:
    return "Lead" if n % 2 else "Contact"


def awaiting_sync(rows: Rows, number: int) -> list[str]:
    """A linked pair differs since the last run; bounces are account level, so the sync carries them too."""
    found = []
    for n in range(number):
        sobject, at = _sobject(n), rows.since_last_run()
        name = rows.name()
        theirs: str | None = rows.address(name)
        # Linked pairs need no equal address: now and then another one, or none.
        ours = (theirs, theirs, rows.address(name), None)[n % 4]
        if n // 2 % 2:
            out = OptOut(at, _COLLECTED[n % 3])
            record = rows.record(sobject, theirs, name=name)
            rows.person(ours, rows.link(record), out, name=name)
            found.append(record_uid(record))
        else:
            record = rows.record(sobject, theirs, OptOut(at), name=name)
            found.append(person_uid(rows.person(ours, rows.link(record), name=name)))
    return found


def will_revert(rows: Rows, number: int) -> list[str]:
    """Opted out on both sides once, taken back on one side since the last run."""
    found = []
    for n in range(number):
        ours, theirs = rows.both_sides(_lately(rows))
        name = rows.name()
        address = rows.address(name)
        cleared = rows.since_last_run()
        if n // 2 % 2:
            record = rows.record(_sobject(n), address, theirs.cleared(cleared), name=name)
            rows.person(address, rows.link(record), ours, name=name)
            found.append(record_uid(record))
        else:
            record = rows.record(_sobject(n), address, theirs, name=name)
            found.append(person_uid(rows.person(address, rows.link(record), ours.cleared(cleared), name=name)))
    return found


def unlinked_match(rows: Rows, number: int) -> list[str]:
    """The same address on both sides, written differently now and then, and no id."""
    spellings: tuple[Callable[[str], str], ...] = (str, str.upper, lambda text: f" {text.title()} ", str)
    found = []
    for n in range(number):
        name = rows.name()
        if n % 8 == 7:
            ours, theirs = idn_pair(rows, n)
        else:
            theirs = rows.address(name)
            ours = spellings[n % 4](theirs)
        out = OptOut(rows.settled(), _COLLECTED[n % 2])
        if n // 2 % 2:
            record = rows.record(_sobject(n), theirs, name=name)
            rows.person(ours, None, out, name=name)
            found.append(record_uid(record))
        else:
            rows.record(_sobject(n), theirs, out, name=name)
            found.append(person_uid(rows.person(ours, name=name)))
    return found


def duplicate_disagrees(rows: Rows, number: int) -> list[str]:
    """The same address twice in one system: two people, two Leads, two Contacts, a Lead and a Contact."""
    found = []
    for n in range(number):
        name = rows.name()
        address = rows.address(name)
        out = OptOut(rows.settled(), _COLLECTED[n % 2])
        if n % 2:
            rows.person(address, None, out, name=name)
            found.append(person_uid(rows.person(address, name=name)))
        else:
            first, second = _TWINS[n // 2 % len(_TWINS)]
            rows.record(first, address, out, name=name)
            found.append(record_uid(rows.record(second, address, name=name)))
    return found


def user_level_only(rows: Rows, number: int) -> list[str]:
    """Unsubscribed from one sales user; the record is linked, or only has the same address."""
    found = []
    for n in range(number):
        name = rows.name()
        address = rows.address(name)
        record = rows.record(_sobject(n), address, name=name)
        out = OptOut(rows.settled(), _COLLECTED[n % 2], "user")
        rows.person(address, rows.link(record) if n // 2 % 2 else None, out, name=name)
        found.append(record_uid(record))
    return found


def bounce(rows: Rows, number: int) -> list[str]:
    """Unsubscribed by a bounce; the record only has the same address (were it linked, the sync would carry it)."""
    found = []
    for n in range(number):
        name = rows.name()
        address = rows.address(name)
        found.append(record_uid(rows.record(_sobject(n), address, name=name)))
        rows.person(address, None, OptOut(rows.settled(), "bounce"), name=name)
    return found


def lost_on_conversion(rows: Rows, number: int) -> list[str]:
    """An opted-out Lead became a Contact that isn't, at the same or another address."""
    found = []
    for n in range(number):
        name = rows.name()
        address = rows.address(name)
        contact = rows.record("Contact", address if n % 2 else rows.address(name), name=name)
        out = OptOut(rows.settled())
        converted = out.at + (rows.last_run - out.at) * rows.rng.random()
        rows.record("Lead", address, out, name=name, converted_to=contact, converted_at=converted)
        found.append(record_uid(contact))
    return found


def stale_link(rows: Rows, number: int) -> list[str]:
    """The person still holds the id of the Lead: the Contact opted out or not, the person opted out or not."""
    found = []
    for n in range(number):
        person_out, contact_out = bool(n & 1), bool(n & 2)
        name = rows.name()
        address = rows.address(name)
        ours, theirs = rows.both_sides(rows.settled())
        contact = rows.record("Contact", address, theirs if contact_out else None, name=name)
        # Opted out with both of them, or the Lead would disagree with them; alone it would be lost on conversion.
        lead_out = theirs if person_out and contact_out else None
        lead = rows.record("Lead", address, lead_out, name=name, converted_to=contact)
        found.append(person_uid(rows.person(address, rows.link(lead), ours if person_out else None, name=name)))
    return found


def broken_link(rows: Rows, number: int) -> list[str]:
    """The id exists nowhere, or its record is deleted or merged away; the person opted out or not."""
    found = []
    for n in range(number):
        name = rows.name()
        address = rows.address(name)
        ours, theirs = rows.both_sides(rows.settled())
        sobject = _sobject(n)
        out: OptOut | None = None
        match n % 5:
            case 0:
                record, out = rows.missing_id(sobject), ours
            case 1:
                record = rows.missing_id(sobject)
            case 2:
                # A deleted record's opt-out counts nowhere.
                record = rows.record(sobject, address, theirs, name=name, deleted=True)
            case 3:
                master = rows.record(sobject, address, theirs, name=name)
                record = rows.record(sobject, address, name=name, deleted=True, master=master)
                out = ours
            case _:
                # An opted-out record with the same address is there, and the id leads elsewhere.
                rows.record(sobject, address, theirs, name=name)
                record = rows.missing_id(sobject)
        found.append(person_uid(rows.person(address, rows.link(record), out, name=name)))
    return found


def field_disagrees(rows: Rows, number: int) -> list[str]:
    """The standard and the custom field differ. With the standard field as target nothing is to do: its people agree with that one."""
    found = []
    for n in range(number):
        standard = bool(n % 2)
        name = rows.name()
        address = rows.address(name)
        ours, theirs = rows.both_sides(rows.settled())
        record = rows.record(_sobject(n // 2), address, theirs, name=name, fields=(standard, not standard))
        if n // 2 % 2:
            rows.person(address, rows.link(record), ours if standard else None, name=name)
        found.append(record_uid(record))
    return found


def idn_pair(rows: Rows, n: int) -> tuple[str, str]:
    """One address twice: its domain in another script, and in the ASCII form of it."""
    domain = ("müller.example", "bücher.test", "παράδειγμα.example", "例え.invalid")[n % 4]
    address = rows.address(domain=domain)
    local = address.partition("@")[0]
    return address, f"{local}@{domain.encode('idna').decode()}"


def _lately(rows: Rows) -> datetime:
    """A settled moment within the last year, so that field history has it."""
    return rows.last_run - (rows.last_run - rows.settled()) / 2


#: The category, how it is planted, the share of the people, and the least number (its variants at least once).
CASES: tuple[tuple[str, Callable[[Rows, int], list[str]], float, int], ...] = (
    ("field_disagrees", field_disagrees, 0.004, 4),
    ("broken_link", broken_link, 0.008, 5),
    ("stale_link", stale_link, 0.008, 4),
    ("lost_on_conversion", lost_on_conversion, 0.005, 3),
    ("awaiting_sync", awaiting_sync, 0.02, 12),
    ("unlinked_match", unlinked_match, 0.015, 8),
    ("duplicate_disagrees", duplicate_disagrees, 0.01, 6),
    ("user_level_only", user_level_only, 0.006, 4),
    ("bounce", bounce, 0.006, 3),
    ("will_revert", will_revert, 0.006, 4),
)
