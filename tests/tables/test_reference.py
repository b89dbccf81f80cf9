"""The reference, held to the design: every rule and every category with its answer written out by hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest

from recon.categories import CATEGORIES
from recon.settings import Settings
from recon.tables import ACTIONS, MERGED
from tests.tables import reference

if TYPE_CHECKING:
    from tests.tables.reference import Row

# Two Leads, two Contacts, and an id that no record has. The 15 characters before the checksum name the record.
L1, L2 = "00Q5e00000AAAAAEA5", "00Q5e00000BBBBBEA5"
C1, C2 = "0035e00000AAAAAAA5", "0035e00000BBBBBAA5"
GONE = "0035e00000ZZZZZAA5"

FRIDAY = datetime(2026, 11, 20, 12, tzinfo=UTC)
SATURDAY = datetime(2026, 11, 21, 12, tzinfo=UTC)
TUESDAY = datetime(2026, 11, 24, 12, tzinfo=UTC)


def person(
    number: str, email: str | None = None, link: str | None = None, *, out: str | None = None, **more: Any
) -> Row:
    """`out`: manual, bounce and so on at account level; user; or unknown, for no level and no source."""
    row: Row = {"person_id": number, "email": email, "salesforce_id": link, "unsubscribed": out is not None}
    row["unsubscribe_level"] = None if out in (None, "unknown") else "user" if out == "user" else "account"
    row["unsubscribe_source"] = None if out in (None, "unknown") else "manual" if out == "user" else out
    return row | {"unsubscribed_at": None, "resubscribed_at": None} | more


def record(record_id: str, email: str | None = None, *, out: bool = False, into: str | None = None, **more: Any) -> Row:
    row: Row = {"record_id": record_id, "email": email, "opted_out": out, "is_converted": into is not None}
    row |= {"object": "Lead" if record_id.startswith("00Q") else "Contact", "converted_contact_id": into}
    row |= {"has_opted_out_of_email": out, "sales_opt_out": out, "opted_out_at": None, "resubscribed_at": None}
    return row | {"is_deleted": False} | more


@dataclass
class Said:
    """The answer, by uid."""

    merged: dict[str, Row]
    actions: dict[str, Row]

    def clusters(self) -> set[frozenset[str]]:
        return self._groups("cluster")

    def components(self) -> set[frozenset[str]]:
        return self._groups("sync_component")

    def _groups(self, column: str) -> set[frozenset[str]]:
        groups: dict[str, set[str]] = {}
        for uid, row in self.merged.items():
            groups.setdefault(row[column], set()).add(uid)
        return {frozenset(members) for members in groups.values() if len(members) > 1}

    def categories(self) -> dict[str, str]:
        return {uid: row["categories"] for uid, row in self.actions.items()}

    def of(self, column: str) -> dict[str, Any]:
        return {uid: row[column] for uid, row in (self.actions if column in _EXTRA else self.merged).items()}


_EXTRA = set(ACTIONS.names) - set(MERGED.names)


def ask(*rows: Row, **options: dict[str, Any]) -> Said:
    people = [row for row in rows if "person_id" in row]
    records = [row for row in rows if "record_id" in row]
    merged, actions = reference.reconcile(people, records, Settings().with_values(**options))
    by_uid = ({f"{row['system']}:{row['id']}": row for row in table} for table in (merged, actions))
    return Said(*by_uid)


def p(number: str) -> str:
    return f"sales_connect:{number}"


def s(record_id: str) -> str:
    return f"salesforce:{record_id}"


OFF = {"sync": {"enabled": False}}
BOTH = {"salesforce": {"opt_out_field": "both"}}


def test_it_speaks_of_the_same_columns_and_categories() -> None:
    said = ask(person("1", "a@x.example", out="manual"), person("2", "a@x.example"))
    assert set(said.merged[p("1")]) == set(MERGED.names)
    assert set(said.actions[p("2")]) == set(ACTIONS.names) - {"explanation"}
    assert tuple(category.name for category in CATEGORIES) == reference.CATEGORIES


# Keys


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ada@x.example", "ada@x.example"),
        (" \u00a0Ada@X.Example\t\n", "ada@x.example"),
        ("a.d.a+tag@x.example", "a.d.a+tag@x.example"),
        ("ada@M\u00fcller.example", "ada@xn--mller-kva.example"),
        ("ADA@M\u00dcLLER.EXAMPLE", "ada@xn--mller-kva.example"),
        ("ada@mu\u0308ller.example", "ada@xn--mller-kva.example"),
        ("ada@xn--mller-kva.example", "ada@xn--mller-kva.example"),
        ("ada@XN--MLLER-KVA.example", "ada@xn--mller-kva.example"),
        ("Stra\u00dfe@x.example", "strasse@x.example"),
        ("ada@stra\u00dfe.example", "ada@strasse.example"),
        ("\u0394\u0399\u039f\u03a3@x.example", "\u03b4\u03b9\u03bf\u03c3@x.example"),
        ("\u03b4\u03b9\u03bf\u03c2@x.example", "\u03b4\u03b9\u03bf\u03c3@x.example"),
        ("\u0130@x.example", "i\u0307@x.example"),
        ("ada@\uff58.example", "ada@x.example"),
        ("ada@x\u3002example", "ada@x.example"),
        ("ada@localhost", "ada@localhost"),
        ("ada@a_b.example", "ada@a_b.example"),
        ("!#$%&'*+/=?^_`{|}~-.@x.example", "!#$%&'*+/=?^_`{|}~-.@x.example"),
        (f"{'a' * 64}@x.example", f"{'a' * 64}@x.example"),
        (f"a@{'x' * 63}.example", f"a@{'x' * 63}.example"),
    ],
)
def test_an_address(text: str, found: str) -> None:
    assert reference.address(text) == found
    # Made comparable once is made comparable for good.
    assert reference.address(found) == found


@pytest.mark.parametrize(
    "text",
    [
        *(
            None,
            "",
            "  ",
            "n/a",
            "nan",
            "@",
            "ada@",
            "@x.example",
            "a@b@x.example",
            "ada@@x.example",
            "ada x@x.example",
        ),
        *("ada@x example", "ada@.x.example", "ada@x..example", "ada@x.example.", "ada@-x.example", "ada@x-.example"),
        *(
            "<ada@x.example>",
            "ada,b@x.example",
            '"ada"@x.example',
            "ada@x.example;b",
            "ada(b)@x.example",
            "ada@[127.0.0.1]",
        ),
        *(
            "\u202eada@x.example",
            "ada@\u202ex.example",
            "a\u200bda@x.example",
            "ada@m\u00fc ller.example",
            "ada@m\u00fc_ller.example",
        ),
        *(
            f"{'a' * 65}@x.example",
            f"a@{'x' * 64}.example",
            f"a@{'.'.join(['x' * 62] * 4)}.example",
            "\ud83d\udc4b@x.example",
        ),
    ],
)
def test_no_address(text: str | None) -> None:
    assert reference.address(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # From Salesforce's own documents.
        ("001D000000IqhSL", "001D000000IqhSLIAZ"),
        ("001D000000IqhSLIAZ", "001D000000IqhSLIAZ"),
        (" 001D000000IqhSL\t", "001D000000IqhSLIAZ"),
        ("001D000000IqhSLiaz", "001D000000IqhSLIAZ"),
        # The case was lost; the checksum tells it.
        ("001d000000iqhsliaz", "001D000000IqhSLIAZ"),
        ("001D000000IQHSLIAZ", "001D000000IqhSLIAZ"),
        ("001d000000iqhslIAZ", "001D000000IqhSLIAZ"),
        # Fifteen characters can't lose their case without becoming another id.
        ("001d000000iqhsl", "001d000000iqhslAAA"),
        ("000000000000000AAA", "000000000000000AAA"),
        # The checksum says otherwise: not an id.
        ("001D000000IqhSLIAA", None),
        ("001D000000iqhSLIAZ", None),
        ("000000000000000BAA", None),
        ("001D000000IqhSLIA9", None),
        ("001D000000IqhS", None),
        ("001D000000IqhSL0", None),
        ("001D000000Iqh-L", None),
        ("00\u0660D000000IqhSL", None),
        ("", None),
        (None, None),
    ],
)
def test_an_id(text: str | None, found: str | None) -> None:
    assert reference.id_18(text) == found


# What merged means, exactly


def test_merged_row_by_row() -> None:
    """One person: a linked pair, and a Lead with the same address in capitals. The Contact is opted out."""
    said = ask(
        person("7", " Ada@X.example", C1[:15]),
        record(C1, "other@x.example", out=True, opted_out_at=FRIDAY),
        record(L1, "ADA@X.EXAMPLE"),
    )
    shared = {"cluster": p("7"), "merged_opted_out": True, "caused_by": s(C1), "opted_out_at": FRIDAY}
    assert list(said.merged.values()) == [
        {
            "system": "sales_connect",
            "id": "7",
            "object": "Person",
            "email": " Ada@X.example",
            "address": "ada@x.example",
        }
        | {"opted_out": False, "sync_component": p("7"), "predicted_opted_out": True}
        | shared,
        {
            "system": "salesforce",
            "id": C1,
            "object": "Contact",
            "email": "other@x.example",
            "address": "other@x.example",
        }
        | {"opted_out": True, "sync_component": p("7"), "predicted_opted_out": True}
        | shared,
        {"system": "salesforce", "id": L1, "object": "Lead", "email": "ADA@X.EXAMPLE", "address": "ada@x.example"}
        | {"opted_out": False, "sync_component": s(L1), "predicted_opted_out": False}
        | shared,
    ]


def test_merged_is_sorted_by_system_and_id() -> None:
    said = ask(*(person(number) for number in ("2", "10", "1", "\u00e9", "Z", "a")), record(L1), record(C1))
    assert list(said.merged) == [*map(p, ("1", "10", "2", "Z", "a", "\u00e9")), s(C1), s(L1)]


def test_no_rows() -> None:
    assert reference.reconcile([], [], Settings()) == ([], [])


def test_alone_everyone_is_a_cluster_and_a_component() -> None:
    said = ask(person("1", "a@x.example"), person("2", "b@x.example"), record(C1, "c@x.example"), record(L1))
    assert all(row["cluster"] == row["sync_component"] == uid for uid, row in said.merged.items())


def test_equal_addresses_join_a_cluster_and_not_a_component() -> None:
    said = ask(
        person("1", "a@X.example"), person("2", "A@x.example "), record(C1, "a@x.example"), record(L1, "b@x.example")
    )
    assert said.clusters() == {frozenset({p("1"), p("2"), s(C1)})}
    assert said.components() == set()


def test_no_providers_tricks() -> None:
    said = ask(person("1", "a.b@x.example"), person("2", "ab@x.example"), person("3", "ab+news@x.example"))
    assert said.clusters() == set()


@pytest.mark.parametrize("missing", [None, "", " ", "\t", "n/a", "nan", "a@", "@x.example", "a@@x.example"])
def test_a_missing_or_unusable_address_joins_nothing(missing: str | None) -> None:
    said = ask(person("1", missing, out="manual"), person("2", missing), record(C1, missing), record(L1, missing))
    assert said.clusters() == set()
    assert not said.actions
    assert set(said.of("email").values()) == {missing if missing and missing.strip() else None}
    assert set(said.of("address").values()) == {None}


@pytest.mark.parametrize("missing", ["", " ", None])
def test_a_blank_id_is_no_link(missing: str | None) -> None:
    said = ask(person("1", link=missing), person("2", link=missing), record(C1))
    assert said.clusters() == set()
    assert not said.actions


@pytest.mark.parametrize("unusable", ["abc", "nan", GONE, C1[:15] + "AAA"])
def test_an_unusable_id_joins_nothing_and_is_broken(unusable: str) -> None:
    said = ask(person("1", link=unusable), person("2", link=unusable), record(C1))
    assert said.clusters() == set()
    assert said.categories() == {p("1"): "broken_link", p("2"): "broken_link"}


@pytest.mark.parametrize(
    "link", [C1, C1[:15], C1.lower(), C1.upper(), f" {C1} ", C1[:15] + C1[15:].lower(), C1[:15].lower() + C1[15:]]
)
def test_an_id_link_joins_both_however_it_is_written(link: str) -> None:
    said = ask(person("1", link=link), record(C1), record("0035e00000aaaaaAAA"))
    assert said.clusters() == said.components() == {frozenset({p("1"), s(C1)})}


def test_several_people_may_hold_one_id() -> None:
    said = ask(person("1", link=L1), person("2", link=L1[:15]), record(L1), record(L2))
    assert said.components() == {frozenset({p("1"), p("2"), s(L1)})}


def test_a_converted_lead_joins_its_contact_and_does_not_sync() -> None:
    said = ask(person("1", link=L1), record(L1, into=C1), record(C1))
    assert said.clusters() == {frozenset({p("1"), s(L1), s(C1)})}
    assert said.components() == set()


def test_a_lead_is_joined_by_its_contacts_id_even_if_the_extract_does_not_say_converted() -> None:
    """The design joins by the id; an export without IsConverted has false there."""
    said = ask(record(L1, into=C1, is_converted=False), record(C1))
    assert said.clusters() == {frozenset({s(L1), s(C1)})}


@pytest.mark.parametrize("into", [None, GONE, L2])
def test_a_conversion_into_no_contact_that_is_there_joins_nothing(into: str | None) -> None:
    said = ask(record(L1, into=into, is_converted=True), record(L2), record(C1))
    assert said.clusters() == set()
    assert not said.actions


def test_deleted_records_take_no_part() -> None:
    """Not in merged, their flags and addresses count nowhere, nor does what they joined; a link to one is broken."""
    said = ask(
        person("1", "a@x.example", C1),
        person("2", "b@x.example"),
        record(C1, "b@x.example", out=True, is_deleted=True),
        record(L1, "b@x.example", into=C2, is_deleted=True),
        record(C2, out=True),
        record(L2, into=C1),
    )
    assert set(said.merged) == {p("1"), p("2"), s(C2), s(L2)}
    assert said.clusters() == set()
    assert said.categories() == {p("1"): "broken_link"}


def test_clusters_reach_over_many_joins() -> None:
    """a: person 1 - C1: b: person 2 - L1, which became C2: c: person 3."""
    said = ask(
        person("3", "c@x.example"),
        person("1", "a@x.example", C1),
        record(C1, "b@x.example"),
        person("2", "B@x.example", L1),
        record(L1, into=C2),
        record(C2, "c@x.example"),
    )
    assert said.clusters() == {frozenset({p("1"), p("2"), p("3"), s(C1), s(L1), s(C2)})}
    assert said.components() == {frozenset({p("1"), s(C1)})}
    assert set(said.of("cluster").values()) == {p("1")}


def test_a_group_bears_its_smallest_members_name() -> None:
    """People come before records, as "sales_" before "salesf", and ids in the order of their characters."""
    said = ask(person("9", "a@x.example", C2), person("10", "a@x.example"), record(C2), record(C1, "a@x.example"))
    assert set(said.of("cluster").values()) == {p("10")}
    assert said.of("sync_component") == {p("9"): p("9"), s(C2): p("9"), p("10"): p("10"), s(C1): s(C1)}


def test_addresses_that_never_join_are_shown_all_the_same() -> None:
    rows = (person("1", "Info@x.example"), person("2", "info@x.example", C1), record(C1), person("3", "a@x.example"))
    said = ask(*rows, clusters={"never_join": [" INFO@X.example", "n/a"]})
    assert said.clusters() == {frozenset({p("2"), s(C1)})}
    assert said.merged[p("1")]["address"] == "info@x.example"


def test_any_members_opt_out_is_the_clusters_for_whatever_reason_and_at_whatever_level() -> None:
    for row in (
        *(person("1", "a@x.example", out=kind) for kind in ("manual", "user", "bounce", "salesforce_sync", "unknown")),
        record(L1, "a@x.example", out=True),
    ):
        said = ask(row, person("2", "a@x.example"), record(C1, "a@x.example"), record(C2, "b@x.example"))
        assert [uid for uid, merged in said.merged.items() if not merged["merged_opted_out"]] == [s(C2)]


def test_opted_out_at_is_the_newest_known_date_of_the_opted_out() -> None:
    said = ask(
        person("1", "a@x.example", out="manual", unsubscribed_at=FRIDAY),
        person("2", "a@x.example", out="user", unsubscribed_at=SATURDAY),
        person("3", "a@x.example", out="manual"),
        # Not opted out: its date is an old one's.
        person("4", "a@x.example", unsubscribed_at=TUESDAY),
        record(C1, "a@x.example", opted_out_at=TUESDAY),
        person("5", "b@x.example", out="manual"),
    )
    dates = said.of("opted_out_at")
    assert dates.pop(p("5")) is None
    assert set(dates.values()) == {SATURDAY}


def test_caused_by_names_three_and_counts_the_rest() -> None:
    out = [person(number, "a@x.example", out="manual") for number in ("5", "4", "3")]
    assert ask(*out, person("1", "a@x.example")).merged[p("1")]["caused_by"] == f"{p('3')}; {p('4')}; {p('5')}"
    more = [*out, person("2", "a@x.example", out="user"), record(C1, "a@x.example", out=True)]
    said = ask(*more, person("1", "a@x.example"), person("6"))
    assert said.merged[p("1")]["caused_by"] == f"{p('2')}; {p('3')}; {p('4')} (+2 more)"
    assert said.merged[p("6")]["caused_by"] is None


# The prediction


@pytest.mark.parametrize(
    ("kind", "carried"),
    [
        ("manual", True),
        ("clicked_link", True),
        ("bounce", True),
        ("salesforce_sync", True),
        ("unknown", True),
        ("user", False),
    ],
)
def test_the_sync_carries_what_holds_for_the_account(kind: str, carried: bool) -> None:
    said = ask(person("1", link=C1, out=kind), record(C1), person("2", link=C1))
    assert said.of("predicted_opted_out") == {p("1"): True, s(C1): carried, p("2"): carried}


def test_a_user_level_bounce_is_not_carried() -> None:
    said = ask(person("1", link=C1, out="user", unsubscribe_source="bounce"), record(C1))
    assert said.of("predicted_opted_out") == {p("1"): True, s(C1): False}
    assert said.categories() == {s(C1): "user_level_only"}


def test_the_sync_reaches_neither_addresses_nor_stale_nor_broken_links() -> None:
    said = ask(
        person("1", "a@x.example", out="manual"),
        record(C1, "a@x.example"),
        person("2", link=L1, out="manual"),
        record(L1, into=C2),
        record(C2, out=True),
        person("3", link=GONE),
    )
    assert {uid for uid, out in said.of("predicted_opted_out").items() if out} == {p("1"), p("2"), s(C2)}


def test_without_the_sync_everyone_keeps_the_flag() -> None:
    said = ask(person("1", link=C1, out="manual"), record(C1), **OFF)
    assert said.of("predicted_opted_out") == {p("1"): True, s(C1): False}
    assert said.components() == {frozenset({p("1"), s(C1)})}


# The categories


@pytest.mark.parametrize(("standard", "custom"), [(True, False), (False, True)])
def test_field_disagrees(standard: bool, custom: bool) -> None:
    fields = {"has_opted_out_of_email": standard, "sales_opt_out": custom, "opted_out_at": TUESDAY}
    row = record(C1, out=True) | fields
    said = ask(row, **BOTH)
    assert said.categories() == {s(C1): "field_disagrees"}
    assert said.of("fix") == {s(C1): "toolkit"}
    assert said.of("due_by") == {s(C1): date(2026, 12, 8)}
    assert said.of("path") == {s(C1): None}
    assert not ask(row).actions
    assert not ask(row | {"sales_opt_out": None}, **BOTH).actions
    assert not ask(row | {"sales_opt_out": standard, "has_opted_out_of_email": standard}, **BOTH).actions
    lead = record(L1, out=True, into=GONE) | fields
    assert ask(lead, **BOTH).of("fix") == {s(L1): "nobody"}


@pytest.mark.parametrize("out", [None, "manual"])
def test_broken_link(out: str | None) -> None:
    said = ask(person("1", "a@x.example", GONE, out=out, unsubscribed_at=TUESDAY))
    assert said.categories() == {p("1"): "broken_link"}
    assert said.of("fix") == {p("1"): "admin"}
    assert said.of("due_by") == said.of("path") == {p("1"): None}


def test_broken_link_and_an_opt_out_to_set() -> None:
    said = ask(person("1", "a@x.example", GONE), record(C1, "a@x.example", out=True, opted_out_at=TUESDAY))
    assert said.categories() == {p("1"): "broken_link;unlinked_match"}
    assert said.of("fix") == {p("1"): "admin"}
    assert said.of("due_by") == {p("1"): date(2026, 12, 8)}
    assert said.of("path") == {p("1"): f"{s(C1)} -[address]-> {p('1')}"}


def test_stale_link() -> None:
    """For the toolkit where a flag is missing, for the admin where only the link is to be mended."""
    calm = ask(person("1", link=L1), record(L1, into=C1), record(C1))
    assert calm.categories() == {p("1"): "stale_link"}
    assert calm.of("fix") == {p("1"): "admin"}
    out = ask(person("1", link=L1), record(L1, into=C1, out=True), record(C1, out=True, opted_out_at=TUESDAY))
    assert out.categories() == {p("1"): "stale_link;unlinked_match"}
    assert out.of("fix") == {p("1"): "toolkit"}
    assert out.of("due_by") == {p("1"): date(2026, 12, 8)}
    assert out.of("path") == {p("1"): f"{s(L1)} -[id]-> {p('1')}"}


def test_stale_link_of_one_who_is_opted_out() -> None:
    """The Lead can't be changed; its Contact gets the opt-out over it."""
    said = ask(person("1", link=L1, out="manual"), record(L1, into=C1), record(C1))
    assert said.categories() == {p("1"): "stale_link", s(L1): "unlinked_match", s(C1): "unlinked_match"}
    assert said.of("fix") == {p("1"): "admin", s(L1): "nobody", s(C1): "toolkit"}
    assert said.of("path") == {
        p("1"): None,
        s(L1): f"{p('1')} -[id]-> {s(L1)}",
        s(C1): f"{p('1')} -[id]-> {s(L1)} -[converted]-> {s(C1)}",
    }


def test_lost_on_conversion() -> None:
    said = ask(record(L1, "a@x.example", out=True, into=C1, opted_out_at=TUESDAY), record(C1, "b@x.example"))
    assert said.categories() == {s(C1): "lost_on_conversion"}
    assert said.of("fix") == {s(C1): "toolkit"}
    assert said.of("due_by") == {s(C1): date(2026, 12, 8)}
    assert said.of("path") == {s(C1): f"{s(L1)} -[converted]-> {s(C1)}"}
    same = ask(record(L1, "a@x.example", out=True, into=C1), record(C1, "a@x.example"))
    assert same.categories() == {s(C1): "lost_on_conversion;duplicate_disagrees"}


def test_a_contact_that_is_opted_out_lost_nothing() -> None:
    """The converted Lead that isn't opted out can't be changed."""
    said = ask(record(L1, "a@x.example", into=C1), record(C1, out=True))
    assert said.categories() == {s(L1): "duplicate_disagrees"}
    assert said.of("fix") == {s(L1): "nobody"}


def test_awaiting_sync_both_ways() -> None:
    said = ask(
        person("1", link=C1, out="manual", unsubscribed_at=TUESDAY),
        record(C1),
        person("2", link=L1),
        record(L1, out=True),
    )
    assert said.categories() == {s(C1): "awaiting_sync", p("2"): "awaiting_sync"}
    assert set(said.of("fix").values()) == {"nobody"}
    assert said.of("due_by") == {s(C1): date(2026, 12, 8), p("2"): None}
    assert said.of("path") == {s(C1): f"{p('1')} -[id]-> {s(C1)}", p("2"): f"{s(L1)} -[id]-> {p('2')}"}


def test_awaiting_sync_over_the_record() -> None:
    said = ask(person("1", link=C1, out="bounce"), record(C1), person("2", link=C1))
    assert said.categories() == {s(C1): "awaiting_sync", p("2"): "awaiting_sync"}
    assert said.actions[p("2")]["path"] == f"{p('1')} -[id]-> {s(C1)} -[id]-> {p('2')}"


def test_sync_off() -> None:
    said = ask(person("1", link=C1, out="manual"), record(C1), person("2", link=C1, resubscribed_at=TUESDAY), **OFF)
    assert said.categories() == {s(C1): "sync_off", p("2"): "sync_off"}
    assert set(said.of("fix").values()) == {"toolkit"}


def test_sync_off_does_not_change_what_addresses_join() -> None:
    said = ask(person("1", "a@x.example", out="manual"), record(C1, "a@x.example"), **OFF)
    assert said.categories() == {s(C1): "unlinked_match"}


@pytest.mark.parametrize("person_out", [True, False])
def test_unlinked_match(person_out: bool) -> None:
    said = ask(
        person(
            "1", "a@x.example", out="manual" if person_out else None, unsubscribed_at=TUESDAY if person_out else None
        ),
        record(L1, "A@x.example", out=not person_out, opted_out_at=None if person_out else TUESDAY),
    )
    source, target = (p("1"), s(L1)) if person_out else (s(L1), p("1"))
    assert said.categories() == {target: "unlinked_match"}
    assert said.of("fix") == {target: "toolkit"}
    assert said.of("due_by") == {target: date(2026, 12, 8)}
    assert said.of("path") == {target: f"{source} -[address]-> {target}"}


def test_a_linked_pair_of_one_address_is_no_unlinked_match() -> None:
    said = ask(person("1", "a@x.example", C1, out="manual"), record(C1, "a@x.example"))
    assert said.categories() == {s(C1): "awaiting_sync"}


def test_linked_to_one_record_and_matching_another() -> None:
    said = ask(person("1", "a@x.example", C1), record(C1), record(L1, "a@x.example", out=True))
    assert said.categories() == {
        p("1"): "unlinked_match",
        # Over the person only: by way of other records, in its own system.
        s(C1): "duplicate_disagrees",
    }
    assert said.actions[s(C1)]["path"] == f"{s(L1)} -[address]-> {p('1')} -[id]-> {s(C1)}"


@pytest.mark.parametrize("out", ["manual", "unknown", "salesforce_sync"])
def test_duplicate_disagrees_among_people(out: str) -> None:
    said = ask(person("1", "a@x.example", out=out), person("2", "a@x.example"))
    assert said.categories() == {p("2"): "duplicate_disagrees"}
    assert said.of("fix") == {p("2"): "toolkit"}


def test_duplicate_disagrees_among_records() -> None:
    said = ask(record(C1, "a@x.example", out=True), record(L1, "a@x.example"), record(C2, "a@x.example"))
    assert said.categories() == {s(L1): "duplicate_disagrees", s(C2): "duplicate_disagrees"}


def test_all_that_apply_are_listed_and_the_first_counts() -> None:
    said = ask(
        person("1", "a@x.example", C1, out="manual"),
        person("2", "a@x.example"),
        record(C1, "b@x.example"),
        record(L1, "b@x.example", out=True, into=C1),
    )
    assert said.categories() == {
        s(C1): "lost_on_conversion;awaiting_sync;duplicate_disagrees",
        p("2"): "duplicate_disagrees",
    }
    assert said.actions[s(C1)]["category"] == "lost_on_conversion"
    assert said.actions[s(C1)]["fix"] == "toolkit"


@pytest.mark.parametrize("link", [C1, None])
def test_user_level_only(link: str | None) -> None:
    said = ask(person("1", "a@x.example", link, out="user", unsubscribed_at=TUESDAY), record(C1, "a@x.example"))
    assert said.categories() == {s(C1): "user_level_only"}
    assert said.of("fix") == {s(C1): "admin"}
    assert said.of("due_by") == {s(C1): None}
    kind = "id" if link else "address"
    assert said.of("path") == {s(C1): f"{p('1')} -[{kind}]-> {s(C1)}"}


def test_bounce() -> None:
    said = ask(
        person("1", "a@x.example", out="bounce", unsubscribed_at=TUESDAY),
        record(C1, "a@x.example"),
        person("2", "a@x.example"),
    )
    assert said.categories() == {s(C1): "bounce", p("2"): "bounce"}
    assert set(said.of("fix").values()) == {"nobody"}
    assert set(said.of("due_by").values()) == {None}


def test_a_user_and_a_bounce() -> None:
    said = ask(
        person("1", "a@x.example", out="bounce"), person("2", "a@x.example", out="user"), record(C1, "a@x.example")
    )
    assert said.categories() == {s(C1): "user_level_only;bounce"}


def test_a_choice_anywhere_in_the_cluster_outweighs_both() -> None:
    said = ask(
        person("1", "a@x.example", out="bounce"),
        person("2", "a@x.example", C1, out="user"),
        person("3", "b@x.example", C1),
        record(C1, "a@x.example"),
        record(L1, "b@x.example", out=True),
    )
    assert said.categories() == {p("3"): "unlinked_match", s(C1): "duplicate_disagrees"}
    # Only the choice is a source.
    assert said.actions[s(C1)]["path"] == f"{s(L1)} -[address]-> {p('3')} -[id]-> {s(C1)}"


def test_a_linked_bounce_is_carried() -> None:
    """It's the account's, so tonight's run sets the record."""
    said = ask(person("1", "a@x.example", C1, out="bounce"), record(C1, "a@x.example"), person("2", "a@x.example"))
    assert said.categories() == {s(C1): "awaiting_sync", p("2"): "bounce"}


@pytest.mark.parametrize(
    ("opted_out_at", "reverts"),
    [(FRIDAY, True), (SATURDAY, True), (None, True), (TUESDAY, False)],
)
def test_will_revert(opted_out_at: datetime | None, reverts: bool) -> None:
    """Resubscribed on Saturday. What opted out anew after that is carried rightly; an unknown date is no newer one."""
    category = "will_revert" if reverts else "awaiting_sync"
    said = ask(person("1", link=C1, resubscribed_at=SATURDAY), record(C1, out=True, opted_out_at=opted_out_at))
    assert said.categories() == {p("1"): category}
    assert said.of("fix") == {p("1"): "toolkit" if reverts else "nobody"}
    said = ask(person("1", link=C1, out="manual", unsubscribed_at=opted_out_at), record(C1, resubscribed_at=SATURDAY))
    assert said.categories() == {s(C1): category}


def test_will_revert_looks_at_the_newest_of_the_star_and_at_nothing_else() -> None:
    old, new = (
        person("1", link=C1, out="manual", unsubscribed_at=FRIDAY),
        person("2", link=C1, out="manual", unsubscribed_at=TUESDAY),
    )
    back = record(C1, "a@x.example", resubscribed_at=SATURDAY)
    assert ask(old, back).categories() == {s(C1): "will_revert"}
    assert ask(old, new, back).categories() == {s(C1): "awaiting_sync"}
    # Newer, and at user level or outside the star: not carried here.
    assert ask(old, new | {"unsubscribe_level": "user"}, back).categories() == {s(C1): "will_revert"}
    beside = record(L1, "a@x.example", out=True, opted_out_at=TUESDAY)
    assert ask(old, back, beside).categories() == {s(C1): "duplicate_disagrees;will_revert"}


def test_will_revert_needs_the_sync() -> None:
    said = ask(person("1", link=C1, resubscribed_at=SATURDAY), record(C1, out=True, opted_out_at=FRIDAY), **OFF)
    assert said.categories() == {p("1"): "sync_off"}
    unlinked = ask(
        person("1", "a@x.example", resubscribed_at=SATURDAY), record(C1, "a@x.example", out=True, opted_out_at=FRIDAY)
    )
    assert unlinked.categories() == {p("1"): "unlinked_match"}


def test_over_other_records_only() -> None:
    """Nothing joins the two directly: by the system that the opt-out stands in."""
    said = ask(person("1", "a@x.example", C1), record(C1, "b@x.example"), person("2", "b@x.example", out="manual"))
    assert said.categories() == {s(C1): "unlinked_match", p("1"): "duplicate_disagrees"}
    assert said.actions[p("1")]["path"] == f"{p('2')} -[address]-> {s(C1)} -[id]-> {p('1')}"


def test_an_opted_out_row_needs_nothing_set() -> None:
    said = ask(person("1", "a@x.example", C1, out="user"), record(C1, "a@x.example", out=True))
    assert not said.actions


# Until when


@pytest.mark.parametrize(
    ("at", "days", "holidays", "due"),
    [
        (TUESDAY, 10, [], date(2026, 12, 8)),
        (TUESDAY, 5, [], date(2026, 12, 1)),
        (TUESDAY, 10, [date(2026, 11, 26)], date(2026, 12, 9)),
        (TUESDAY, 10, [date(2026, 11, 24)], date(2026, 12, 8)),
        (SATURDAY, 10, [], date(2026, 12, 4)),
        (FRIDAY, 10, [], date(2026, 12, 4)),
        (SATURDAY, 10, [date(2026, 11, 20)], date(2026, 12, 4)),
        (SATURDAY, 0, [], date(2026, 11, 23)),
        (SATURDAY, 0, [date(2026, 11, 23)], date(2026, 11, 24)),
        (TUESDAY, 0, [], date(2026, 11, 24)),
        # The day is the UTC one: it is Monday still in California, and Friday for a microsecond more here.
        (datetime(2026, 11, 24, 4, 30, tzinfo=UTC), 1, [], date(2026, 11, 25)),
        (datetime(2026, 11, 20, 23, 59, 59, 999_999, tzinfo=UTC), 1, [], date(2026, 11, 23)),
    ],
)
def test_due_by(at: datetime, days: int, holidays: list[date], due: date) -> None:
    rows = (person("1", "a@x.example", out="manual", unsubscribed_at=at), person("2", "a@x.example"))
    said = ask(*rows, actions={"limit_business_days": days, "holidays": holidays})
    assert said.of("due_by") == {p("2"): due}


def test_due_by_counts_from_the_clusters_newest() -> None:
    said = ask(
        person("1", "a@x.example", out="manual", unsubscribed_at=FRIDAY),
        person("2", "a@x.example", out="user", unsubscribed_at=TUESDAY),
        person("3", "a@x.example"),
    )
    assert said.of("due_by") == {p("3"): date(2026, 12, 8)}


# How it gets there


def test_an_id_comes_before_a_conversion_before_an_address() -> None:
    rows = (
        person("1", "a@x.example", out="manual"),
        record(L1, "a@x.example", out=True, into=C1),
        record(C1, "a@x.example"),
    )
    assert ask(*rows).actions[s(C1)]["path"] == f"{s(L1)} -[converted]-> {s(C1)}"
    linked = person("2", "a@x.example", C1, out="manual")
    assert ask(*rows, linked).actions[s(C1)]["path"] == f"{p('2')} -[id]-> {s(C1)}"


def test_then_the_smallest_source() -> None:
    said = ask(
        record(C1, "a@x.example", out=True),
        *(person(n, "a@x.example", out="manual") for n in ("9", "10")),
        person("1", "a@x.example"),
    )
    assert said.actions[p("1")]["path"] == f"{p('10')} -[address]-> {p('1')}"


def test_fewer_hops_come_first() -> None:
    said = ask(
        person("1", link=C1, out="manual"),
        record(C1),
        person("2", "a@x.example", C1),
        record(L1, "a@x.example", out=True),
    )
    assert said.actions[p("2")]["path"] == f"{s(L1)} -[address]-> {p('2')}"


def test_a_bounce_is_a_source_where_the_sync_carries_it_or_nobody_chose() -> None:
    bounced = person("1", "a@x.example", C1, out="bounce")
    rows = (bounced, record(C1, "a@x.example"), person("2", "a@x.example"), record(C2, "b@x.example", out=True))
    # The choice is far away, over person 3; the bounce is the star's.
    far = person("3", "b@x.example", L1)
    said = ask(*rows, far, record(L1, "a@x.example"))
    assert said.actions[s(C1)]["path"] == f"{p('1')} -[id]-> {s(C1)}"
    # Not person 2's star: the bounce is none of its sources.
    assert said.actions[p("2")]["path"] == f"{s(C2)} -[address]-> {p('3')} -[id]-> {s(L1)} -[address]-> {p('2')}"
    assert ask(*rows).actions[p("2")]["path"] == f"{p('1')} -[address]-> {p('2')}"


def test_wrong_paths_are_told() -> None:
    """What the properties lean on must be able to say no."""
    world = reference.World(
        [
            person("1", "a@x.example", C1),
            person("2", "b@x.example", out="manual"),
            person("3", "b@x.example", out="bounce"),
        ],
        [record(C1, "b@x.example"), record(C2, "a@x.example")],
        Settings(),
    )
    row = world.rows[p("1")]
    good = f"{p('2')} -[address]-> {s(C1)} -[id]-> {p('1')}"
    assert reference.path(world, row) == good
    assert reference.check_path(world, row, good) is None
    for wrong in (
        f"{p('2')} -[address]-> {s(C1)}",
        f"{p('3')} -[address]-> {s(C1)} -[id]-> {p('1')}",
        f"{p('2')} -[id]-> {s(C1)} -[id]-> {p('1')}",
        f"{p('2')} -[address]-> {p('1')}",
        f"{p('2')} -[address]-> {p('3')} -[address]-> {s(C1)} -[id]-> {p('1')}",
    ):
        assert reference.check_path(world, row, wrong) is not None
    record_row = world.rows[s(C1)]
    assert reference.check_path(world, record_row, f"{p('2')} -[address]-> {s(C1)}") is None
