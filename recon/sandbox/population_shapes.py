"""Odd shapes, planted: what real extracts hold and what breaks programs that never met it.

Every function plants one shape `number` times and returns the `system:id` of the records that have it. Most agree with each other; where
flags differ it says so. Addresses are shared with nothing outside the shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon.sandbox.population_cases import idn_pair, person_uid, record_uid
from recon.sandbox.population_rows import Name, OptOut

if TYPE_CHECKING:
    from collections.abc import Callable

    from recon.sandbox.population_rows import Rows

#: More than the records an address may join before recon reports it, with the defaults.
SHARED_PEOPLE, SHARED_RECORDS = 12, 42

_UNUSABLE_ADDRESSES = ("n/a", "foo@", "a b@c.de", "@example.com", "none", "x@@example.org")
_UNUSABLE_IDS = ("abc", "00Q5e01", "n/a", "0035e0100000zzzAA", "00Q5e0100000zz-")
_HOSTILE_NAMES = (
    Name("<script>alert(1)</script>", "<img src=x onerror=alert(2)>", "</td></table>"),
    Name('=HYPERLINK("https://evil.example","Click")', "=1+1", "@SUM(1+1)"),
    Name("\u202egnitset", "\u202eelba\u202c", "\u2066x\u2069"),
    Name("{{ 7*7 }}", "${7*7}", "{% raw %}"),
    Name("Robert'); DROP TABLE person;--", "'; --", "\\"),
)
_HOSTILE_LOCALS = ("=1+1", "+cmd", "-2+3", "<script>alert(1)</script>", "ab\u202ecd")
_NULL_WORDS = ("Null", "None", "NaN", "NA", "True", "0")
_CSV_NAMES = ('O"Brien, Jr.', "Line\nbreak", "Semi;colon\tTab", " Padded ", "Carriage\r\nReturn")


def case_and_blanks(rows: Rows, number: int) -> list[str]:
    """One address, written with capitals and blanks on one side."""
    found = []
    for n in range(number):
        name = rows.name()
        theirs = rows.address(name)
        ours = (theirs.upper(), f"  {theirs}", f"{theirs.title()} ")[n % 3]
        record = rows.record("Lead", theirs, name=name)
        found.append(person_uid(rows.person(ours, record if n % 2 else None, name=name)))
    return found


def idn(rows: Rows, number: int) -> list[str]:
    """One address in two scripts, opted out on both sides."""
    found = []
    for n in range(number):
        ours, theirs = idn_pair(rows, n)
        person_out, record_out = rows.both_sides(rows.settled())
        rows.record("Contact", theirs, record_out)
        found.append(person_uid(rows.person(ours, None, person_out)))
    return found


def no_address(rows: Rows, number: int) -> list[str]:
    """No address on either side. Every second one is opted out: they must not be taken for one person."""
    found = []
    for n in range(number):
        out = OptOut(rows.settled()) if n % 2 else None
        found += [person_uid(rows.person(None, None, out)), record_uid(rows.record("Lead", None, out))]
    return found


def unusable_address(rows: Rows, number: int) -> list[str]:
    """What stands in an address column and is none. Flags differ: they must not be taken for one person."""
    found = []
    for n in range(number):
        text = _UNUSABLE_ADDRESSES[n % len(_UNUSABLE_ADDRESSES)]
        found.append(person_uid(rows.person(text, None, OptOut(rows.settled()))))
        found.append(record_uid(rows.record("Contact", text)))
    return found


def empty_text(rows: Rows, number: int) -> list[str]:
    """Empty texts where others have nothing."""
    return [person_uid(rows.person("", "", OptOut(rows.settled()) if n % 2 else None)) for n in range(number)]


def unusable_id(rows: Rows, number: int) -> list[str]:
    """A Salesforce ID that can't be one."""
    return [person_uid(rows.person(rows.address(), _UNUSABLE_IDS[n % len(_UNUSABLE_IDS)])) for n in range(number)]


def lost_case_id(rows: Rows, number: int) -> list[str]:
    """An 18-character id in capitals or small letters only; its last three characters tell what it was. Both sides are opted out."""
    found = []
    for n in range(number):
        name = rows.name()
        address = rows.address(name)
        person_out, record_out = rows.both_sides(rows.settled())
        record = rows.record("Lead", address, record_out, name=name)
        link = record.upper() if n % 2 else record.lower()
        found.append(person_uid(rows.person(address, link, person_out, name=name)))
    return found


def leading_zeros(rows: Rows, number: int) -> list[str]:
    """Person ids that a careless reader takes for numbers."""
    ids = [f"{n + 1:07d}" if n % 2 else f"{n + 1}e5" for n in range(number)]
    return [person_uid(rows.person(rows.address(), person_id=person_id)) for person_id in ids]


def duplicates(rows: Rows, number: int) -> list[str]:
    """The same person twice in each system, all of one mind."""
    found = []
    for n in range(number):
        name = rows.name()
        address = rows.address(name)
        person_out, record_out = rows.both_sides(rows.settled()) if n % 2 else (None, None)
        for _ in range(2):
            record = rows.record("Contact", address, record_out, name=name)
            found += [person_uid(rows.person(address, record, person_out, name=name)), record_uid(record)]
    return found


def chain(rows: Rows, number: int) -> list[str]:
    """Through several addresses: person a - Contact b, person b - Lead c, person c. Only the far end is opted out."""
    found = []
    for n in range(number):
        a, b, c = (rows.address() for _ in range(3))
        lead = rows.record("Lead", c, OptOut(rows.settled()) if n % 2 else None)
        contact = rows.record("Contact", b)
        people = [rows.person(a, contact), rows.person(b, lead)]
        people.append(rows.person(c, None, None if n % 2 else OptOut(rows.settled())))
        found += [*map(person_uid, people), record_uid(contact), record_uid(lead)]
    return found


def star(rows: Rows, number: int) -> list[str]:
    """Several people linked to one record, one of them unsubscribed since the last run: the sync reaches the others over the record."""
    found = []
    for n in range(number):
        record = rows.record("Contact" if n % 2 else "Lead", rows.address())
        people = [rows.person(rows.address(), rows.link(record)) for _ in range(2)]
        people.append(rows.person(rows.address(), rows.link(record), OptOut(rows.since_last_run())))
        found += [*map(person_uid, people), record_uid(record)]
    return found


def shared_mailbox(rows: Rows, number: int) -> list[str]:
    """One address on very many records of different people; on every third mailbox one of them is opted out."""
    found = []
    for n in range(number):
        address = f"info@shared-{n + 1}.example"
        people = [rows.person(address) for _ in range(SHARED_PEOPLE)]
        out = OptOut(rows.settled()) if n % 3 == 2 else None
        contacts = [rows.record("Contact", address, out if m == 0 else None) for m in range(SHARED_RECORDS)]
        found += [*map(person_uid, people), *map(record_uid, contacts)]
    return found


def converted(rows: Rows, number: int) -> list[str]:
    """A Lead that became a Contact as it should: one flag everywhere, and the person holds the Contact's id."""
    found = []
    for n in range(number):
        name = rows.name()
        address = rows.address(name)
        person_out, record_out = rows.both_sides(rows.settled()) if n % 2 else (None, None)
        contact = rows.record("Contact", address, record_out, name=name)
        lead = rows.record("Lead", address, record_out, name=name, converted_to=contact)
        rows.person(address, contact, person_out, name=name)
        found.append(record_uid(lead))
    return found


def deleted(rows: Rows, number: int) -> list[str]:
    """In the recycle bin, opted out or not; a person with the same address isn't."""
    found = []
    for n in range(number):
        address = rows.address()
        record = rows.record(
            "Lead" if n % 2 else "Contact", address, OptOut(rows.settled()) if n % 3 else None, deleted=True
        )
        rows.person(address)
        found.append(record_uid(record))
    return found


def merged_away(rows: Rows, number: int) -> list[str]:
    """Merged into another record, to which the person is linked."""
    found = []
    for _ in range(number):
        name = rows.name()
        address = rows.address(name)
        person_out, record_out = rows.both_sides(rows.settled())
        master = rows.record("Contact", address, record_out, name=name)
        record = rows.record("Contact", address, name=name, deleted=True, master=master)
        rows.person(address, master, person_out, name=name)
        found.append(record_uid(record))
    return found


def hostile(rows: Rows, number: int) -> list[str]:
    """Markup, formulas and right-to-left marks in names and addresses. Opted out in Salesforce since the last run: the people need action."""
    found = []
    for n in range(number):
        name = _HOSTILE_NAMES[n % len(_HOSTILE_NAMES)]
        address = f"{_HOSTILE_LOCALS[n % len(_HOSTILE_LOCALS)]}{n}@example.com"
        record = rows.record("Lead", address, OptOut(rows.since_last_run()), name=name)
        found.append(person_uid(rows.person(address, record, name=name)))
    return found


def words_for_nothing(rows: Rows, number: int) -> list[str]:
    """Last names that programs take for nothing, for flags or for numbers."""
    found = []
    for n in range(number):
        name = Name(rows.name().first, _NULL_WORDS[n % len(_NULL_WORDS)], rows.name().company)
        record = rows.record("Contact", rows.address(name), name=name)
        found += [person_uid(rows.person(rows.address(name), record, name=name)), record_uid(record)]
    return found


def csv_specials(rows: Rows, number: int) -> list[str]:
    """Quotes, separators, blanks and line breaks in names."""
    found = []
    for n in range(number):
        name = Name(_CSV_NAMES[n % len(_CSV_NAMES)], _CSV_NAMES[(n + 1) % len(_CSV_NAMES)], rows.name().company)
        address = rows.address()
        record = rows.record("Lead", address, name=name)
        found += [person_uid(rows.person(address, record, name=name)), record_uid(record)]
    return found


def both_levels(rows: Rows, number: int) -> list[str]:
    """Unsubscribed at account level and from a sales user besides, later or earlier; the record is opted out."""
    found = []
    for n in range(number):
        address = rows.address()
        person_out, record_out = rows.both_sides(rows.settled())
        record = rows.record("Contact", address, record_out)
        also = OptOut(rows.settled() if n % 2 else person_out.at, "manual", "user")
        found.append(person_uid(rows.person(address, record, person_out, also=also)))
    return found


def resubscribed(rows: Rows, number: int) -> list[str]:
    """Opted out once and resubscribed on both sides, as it should be done: nothing disagrees, and the history tells."""
    found = []
    for _ in range(number):
        name = rows.name()
        address = rows.address(name)
        ours, theirs = rows.both_sides(rows.settled())
        start = max(ours.at, theirs.at)
        cleared = start + (rows.last_run - start) * rows.rng.random()
        record = rows.record("Lead", address, theirs.cleared(cleared), name=name)
        found.append(person_uid(rows.person(address, record, ours.cleared(cleared), name=name)))
    return found


#: The shape, how it is planted, the share of the people, and the least number (its variants at least once).
SHAPES: tuple[tuple[str, Callable[[Rows, int], list[str]], float, int], ...] = (
    ("case_and_blanks", case_and_blanks, 0.005, 3),
    ("idn", idn, 0.002, 4),
    ("no_address", no_address, 0.004, 4),
    ("unusable_address", unusable_address, 0.003, len(_UNUSABLE_ADDRESSES)),
    ("empty_text", empty_text, 0.001, 3),
    ("unusable_id", unusable_id, 0.002, len(_UNUSABLE_IDS)),
    ("lost_case_id", lost_case_id, 0.001, 3),
    ("leading_zeros", leading_zeros, 0.001, 3),
    ("duplicates", duplicates, 0.004, 3),
    ("chain", chain, 0.002, 3),
    ("star", star, 0.002, 3),
    ("shared_mailbox", shared_mailbox, 0.00005, 3),
    ("converted", converted, 0.01, 3),
    ("deleted", deleted, 0.005, 3),
    ("merged_away", merged_away, 0.003, 3),
    ("hostile", hostile, 0.0005, len(_HOSTILE_NAMES)),
    ("words_for_nothing", words_for_nothing, 0.0005, len(_NULL_WORDS)),
    ("csv_specials", csv_specials, 0.0005, len(_CSV_NAMES)),
    ("both_levels", both_levels, 0.002, 3),
    ("resubscribed", resubscribed, 0.008, 3),
)
