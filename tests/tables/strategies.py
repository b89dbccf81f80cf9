"""Small dense populations: few addresses and few ids, so that they meet, and every odd way to write them.

One call of an engine takes as long for ten rows as for a thousand. So a case holds several *worlds*: each has addresses and ids of its own,
written in all the ways, and what is no address and no id is the same in all of them. Nothing may join two worlds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from hypothesis import strategies as st

from recon.settings import Settings
from tests.tables import reference
from tests.tables.reference import Row, id_18


@dataclass(frozen=True)
class World:
    """People and records that only each other can be joined to."""

    people: list[Row]
    records: list[Row]


@dataclass(frozen=True)
class Case:
    """Worlds and the settings that differ from the defaults."""

    worlds: list[World]
    options: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return Settings().with_values(**self.options)

    @property
    def people(self) -> list[Row]:
        return [row for world in self.worlds for row in world.people]

    @property
    def records(self) -> list[Row]:
        return [row for world in self.worlds for row in world.records]

    def expected(self) -> tuple[list[Row], list[Row]]:
        """What the reference makes of each world by itself, put together."""
        merged: list[Row] = []
        actions: list[Row] = []
        for world in self.worlds:
            found = reference.reconcile(world.people, world.records, self.settings)
            merged += found[0]
            actions += found[1]
        return sorted(merged, key=reference.place), sorted(actions, key=reference.place)


def lead_ids(world: int) -> list[str]:
    """The first two differ by case only."""
    return [_whole(f"00Q5e0000{world:02}{end}") for end in ("000a", "000A", "0Bb1", "zZzZ")]


def contact_ids(world: int) -> list[str]:
    """Their bodies are those of Leads, mostly."""
    return [_whole(f"0035e0000{world:02}{end}") for end in ("000a", "0Bb1", "0002", "Abc9")]


def _whole(body: str) -> str:
    found = id_18(body)
    assert found is not None
    return found


#: The world's number, in two digits, stands for N.
PLAIN = (
    *("a@xN.example", "A@XN.Example", " a@xN.example\t", "\u00a0a@XN.EXAMPLE", "a@xN.example"),
    *("b@xN.example", "B@xN.example", "b@XN.exampLE"),
)
ADDRESSES = (
    *PLAIN,
    *("b+tag@xN.example", "a.b@xN.example", "ab@xN.example", "c@yN.example", "c@YN.example  ", "c@yN"),
    *("d@m\u00fcllerN.example", "D@M\u00dcLLERN.example", "d@mu\u0308llerN.example"),
    *("stra\u00dfe@xN.example", "STRASSE@xN.example", "e@stra\u00dfeN.example", "e@strasseN.example"),
    *("\u0394\u03ae\u03c2@xN.example", "\u03b4\u03ae\u03c3@xN.example"),
    *(
        "a@\uff58N.example",
        "i\u0307@xN.example",
        "\u0130@xN.example",
        "=1+1@xN.example",
        "\u5c71@xN.\u4f8b\u3048.example",
    ),
    # As long as the parts may be.
    f"{'a' * 64}@xN.example",
    f"a@{'x' * 63}.xN.example",
    "a@" + ".".join(["xN"] * 63 + ["x"]),
)
NO_ADDRESSES = (
    *(None, None, None, "", " ", "\t\n", "\u00a0"),
    *(
        "n/a",
        "nan",
        "null",
        "None",
        "a@",
        "@x.example",
        "@",
        "a@@x.example",
        "a@b@x.example",
        "a b@x.example",
        "a@x y.example",
    ),
    *(
        "a@x..example",
        "a@.x.example",
        "a@x.example.",
        "a@-x.example",
        "a@x-.example",
        "\u202ea@x.example",
        "a@x.ex,ample",
    ),
    *(
        "a@\u202ex.example",
        "a@m\u00fc_ller.example",
        f"{'a' * 65}@x.example",
        f"a@{'x' * 64}.example",
        "nan@",
        "<a@x.example>",
    ),
)
NO_IDS = (
    "",
    "  ",
    "abc",
    "nan",
    "n/a",
    "None",
    "00Q5e01",
    "0035e0000009xYz",
    "00Q5e000000000-",
    "\u00e9" * 9,
    "0" * 18,
)
MISSING = _whole("0035e0000009xYz")
#: UTC midnights, a Friday, a weekend, a holiday, and a moment that is another day in Pacific time.
TIMES = (
    datetime(2026, 11, 20, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 11, 21, tzinfo=UTC),
    datetime(2026, 11, 22, 12, tzinfo=UTC),
    datetime(2026, 11, 24, 4, 30, tzinfo=UTC),
    datetime(2026, 12, 25, 9, 0, 0, 1, tzinfo=UTC),
)
HOLIDAYS = (date(2026, 11, 23), date(2026, 11, 26), date(2026, 12, 4), date(2026, 12, 25), date(2026, 11, 21))
#: No order but one: by code point. Numbers aren't numbers, and "nan" is a text.
PERSON_IDS = ("1", "10", "2", "007", "1e5", "nan", "A", "a", "\u00e9", "\uffee", "\U0001f600", "x y")

_times = st.sampled_from((None, None, *TIMES))
_flags = st.sampled_from((True, False, False, None))
_PERSON = {
    "unsubscribed": st.sampled_from((False, False, True)),
    # A person who isn't unsubscribed has no level, mostly: files hold what they hold.
    "unsubscribe_level": st.sampled_from(("account", "account", "user", None)),
    "unsubscribed_at": _times,
    "unsubscribe_source": st.sampled_from(("manual", "clicked_link", "salesforce_sync", "bounce", "bounce", None)),
    "resubscribed_at": _times,
    "first_name": st.sampled_from((None, "Ann")),
    "last_name": st.sampled_from((None, "Null")),
    "updated_at": _times,
}
_RECORD = {
    "has_opted_out_of_email": _flags,
    "sales_opt_out": _flags,
    "opted_out_at": _times,
    "resubscribed_at": _times,
    "is_deleted": st.sampled_from((False,) * 7 + (True,)),
    "first_name": st.sampled_from((None, "Ann")),
    "last_name": st.sampled_from((None, "Null")),
    "modified_at": _times,
}


def _ways_to_write(record_id: str) -> tuple[str, ...]:
    wrong = record_id[:15] + ("AAA" if record_id[15:] != "AAA" else "BBB")
    return (
        *(record_id, record_id, record_id, record_id[:15], record_id[:15], f" {record_id[:15]}\t"),
        *(record_id.upper(), record_id.lower(), record_id[:15] + record_id[15:].lower(), wrong),
        *(record_id[:15].lower() + record_id[15:], record_id[:15].upper() + record_id[15:].lower()),
        *(record_id[:15].lower(), record_id[:14]),
    )


@st.composite
def _worlds(
    draw: st.DrawFn, number: int, options: dict[str, dict[str, Any]], least: int, most: int, keys: bool
) -> World:
    """A world by its number; without keys nothing in it can be joined."""
    leads, contacts = lead_ids(number), contact_ids(number)
    there = draw(st.lists(st.sampled_from((*leads, *contacts)), unique=True, min_size=least, max_size=most))
    missing = _whole(f"0035e0000{number:02}9xYz")
    nothing = st.sampled_from(NO_ADDRESSES)
    emails: st.SearchStrategy[str | None] = nothing
    links: st.SearchStrategy[str | None] = st.sampled_from((None, *NO_IDS))
    # Converted into a Contact that is there or not; into one that the extract doesn't tell; told of a Lead that it says is none.
    conversions: st.SearchStrategy[tuple[bool, str | None]] = st.sampled_from(
        ((False, None), (True, None), (True, MISSING))
    )
    if keys:
        plain, all_of_them = ([text.replace("N", f"{number:02}") for text in texts] for texts in (PLAIN, ADDRESSES))
        usual = st.sampled_from(plain)
        emails = st.one_of(usual, usual, st.sampled_from(all_of_them), nothing)
        ways = [way for record_id in (*leads, *contacts, missing) for way in _ways_to_write(record_id)]
        good = st.sampled_from((*there, *there, *there, *leads, *contacts))
        links = st.one_of(st.none(), good, good, good, st.sampled_from(ways), links, st.none())
        into = st.sampled_from(contacts)
        odd = st.sampled_from((None, missing, leads[0], *contacts))
        conversions = st.one_of(
            conversions, st.tuples(st.just(True), into), st.tuples(st.booleans(), odd), st.just((False, None))
        )
    ids = draw(st.lists(st.sampled_from(PERSON_IDS), unique=True, min_size=least, max_size=most))
    people = [
        draw(
            st.fixed_dictionaries(
                {"person_id": st.just(f"{text}/{number:02}"), "email": emails, "salesforce_id": links} | _PERSON
            )
        )
        for text in ids
    ]
    records = []
    for record_id in there:
        row: Row = draw(st.fixed_dictionaries({"record_id": st.just(record_id), "email": emails} | _RECORD))
        out = [row["has_opted_out_of_email"]]
        if options["salesforce"]["opt_out_field"] == "both":
            out.append(row["sales_opt_out"])
        is_lead = record_id in leads
        converted = draw(conversions) if is_lead else (False, None)
        row |= {"object": "Lead" if is_lead else "Contact", "opted_out": any(out)}
        records.append(row | {"is_converted": converted[0], "converted_contact_id": converted[1]})
    return World(people, records)


_OPTIONS: st.SearchStrategy[dict[str, dict[str, Any]]] = st.fixed_dictionaries(
    {
        "sync": st.fixed_dictionaries({"enabled": st.booleans()}),
        "salesforce": st.fixed_dictionaries({"opt_out_field": st.sampled_from(("standard", "both"))}),
        "actions": st.fixed_dictionaries(
            {
                "limit_business_days": st.sampled_from((0, 1, 5, 10, 30)),
                "holidays": st.lists(st.sampled_from(HOLIDAYS), unique=True, max_size=3),
            }
        ),
        "clusters": st.fixed_dictionaries(
            {
                "never_join": st.one_of(
                    st.just([]),
                    st.lists(
                        st.sampled_from(["A@x01.example ", "b@x02.example", "D@M\u00dcLLER01.example", "n/a", ""])
                    ),
                )
            }
        ),
    }
)


@st.composite
def cases(draw: st.DrawFn, worlds: int = 1, least: int = 0, most: int = 7, keys: bool = True) -> Case:
    """Up to so many worlds, and settings. Every person and every record is there once, in any order."""
    options = draw(_OPTIONS)
    numbers = range(1, draw(st.one_of(st.integers(1, worlds), st.just(worlds))) + 1)
    return Case([draw(_worlds(number, options, least, most, keys)) for number in numbers], options)
