"""The population, judged by plain SQL and Python: every case and shape is in the store as its docstring says.

Nothing of recon's own merge, prediction or ids is used here.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import idna
import pytest

from recon.clock import SetClock
from recon.errors import UsageError
from recon.sandbox import population_cases, population_shapes
from recon.sandbox.nightly import run_nightly
from recon.sandbox.population import Population, populate
from recon.sandbox.population_rows import run_after
from recon.sandbox.sales_connect import SYNC_USER
from recon.sandbox.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
LAST_RUN = "2026-11-24T04:00:00.000Z"
DAY_BEFORE_LAST_RUN = "2026-11-23T04:00:00.000Z"
PEOPLE = 400

TABLES = ("person", "unsubscribe", "unsubscribe_history", "lead", "contact", "history")
RESERVED = re.compile(r"@(example\.(com|org|net)|.+\.(example|test|invalid))$")


def made(people: int = PEOPLE, seed: int = 1, now: datetime = NOW) -> tuple[Store, Population]:
    store = Store(None, SetClock(now))
    return store, populate(store, people, seed)


def dump(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    with store.transaction() as db:
        return {table: [tuple(row) for row in db.execute(f"SELECT * FROM {table} ORDER BY 1, 2")] for table in TABLES}


@dataclass
class Row:
    """One live record or person, for the judge."""

    uid: str
    object: str
    email: str | None
    out: bool
    link: str | None = None
    converted: bool = False
    contact: str | None = None
    deleted: bool = False
    master: str | None = None
    raw: Any = None


def address(text: str | None) -> str | None:
    """An address made comparable, for the addresses that the population has."""
    local, at, domain = (text or "").strip().casefold().rpartition("@")
    if not at or not local or not domain or re.search(r"[@\s()<>,;:\u202e]", local):
        return None
    return f"{local}@{idna.encode(domain, uts46=True).decode()}"


class World:
    """Everything in a store, linked in the plainest way."""

    def __init__(self, store: Store, population: Population) -> None:
        self.population = population
        self.rows: dict[str, Row] = {}
        self.standing: dict[str, list[Any]] = defaultdict(list)
        self.card: dict[str, list[Any]] = defaultdict(list)
        self.changes: dict[str, list[Any]] = defaultdict(list)
        with store.transaction() as db:
            for row in db.execute("SELECT * FROM unsubscribe ORDER BY person_id, at"):
                self.standing[f"sales_connect:{row['person_id']}"].append(row)
            for row in db.execute("SELECT * FROM unsubscribe_history ORDER BY person_id, at"):
                self.card[f"sales_connect:{row['person_id']}"].append(row)
            for row in db.execute("SELECT * FROM history ORDER BY Parent, CreatedDate"):
                self.changes[f"salesforce:{row['Parent']}"].append(row)
            for name in ("Lead", "Contact"):
                for row in db.execute(f"SELECT * FROM {name}"):
                    uid = f"salesforce:{row['Id']}"
                    lead = name == "Lead"
                    self.rows[uid] = Row(
                        uid,
                        name,
                        row["Email"],
                        bool(row["HasOptedOutOfEmail"]),
                        converted=bool(lead and row["IsConverted"]),
                        contact=row["ConvertedContactId"] if lead else None,
                        deleted=bool(row["IsDeleted"]),
                        master=row["MasterRecordId"],
                        raw=row,
                    )
            by_15 = {uid.partition(":")[2][:15]: uid for uid in self.rows}
            by_folded = {uid.partition(":")[2].lower(): uid for uid in self.rows}
            for row in db.execute("SELECT * FROM person"):
                uid = f"sales_connect:{row['person_id']}"
                link = row["salesforce_id"] or ""
                linked = by_15.get(link) if len(link) == 15 else by_folded.get(link.lower())
                self.rows[uid] = Row(uid, "Person", row["email"], bool(self.standing[uid]), link=linked, raw=row)
        self.people = [row for row in self.rows.values() if row.object == "Person"]
        self.live = [row for row in self.rows.values() if not row.deleted]
        self.at: dict[str, list[Row]] = defaultdict(list)
        for row in self.live:
            if found := address(row.email):
                self.at[found].append(row)
        self.linked_by: dict[str, list[Row]] = defaultdict(list)
        for person in self.people:
            if person.link:
                self.linked_by[person.link].append(person)
        self.became = {row.contact: row for row in self.live if row.contact}

    def others(self, row: Row) -> list[Row]:
        """The other rows with the same address."""
        found = address(row.email)
        return [] if found is None else [other for other in self.at[found] if other is not row]

    def case(self, name: str) -> list[Row]:
        return [self.rows[uid] for uid in self.population.cases[name]]

    def shape(self, name: str) -> list[Row]:
        return [self.rows[uid] for uid in self.population.shapes[name]]

    def newest(self, row: Row) -> str:
        """When the standing opt-out of a person, or the last change of a record, was."""
        return str(self.standing[row.uid][-1]["at"] if row.object == "Person" else row.raw["LastModifiedDate"])

    def cluster(self, start: Row) -> set[str]:
        """All that is joined to a row by links, conversions and addresses: a plain walk."""
        seen, ahead = {start.uid}, [start]
        while ahead:
            row = ahead.pop()
            near = self.others(row)
            if row.link and not self.rows[row.link].deleted:
                near = [*near, self.rows[row.link]]
            near = [*near, *self.linked_by[row.uid]]
            bare = row.uid.partition(":")[2]
            if row.contact:
                near = [*near, self.rows[f"salesforce:{row.contact}"]]
            if row.object == "Contact" and bare in self.became:
                near = [*near, self.became[bare]]
            for other in near:
                if other.uid not in seen and not other.deleted:
                    seen.add(other.uid)
                    ahead.append(other)
        return seen


@pytest.fixture(scope="module", params=[1, 2, 77])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    store, population = made(seed=request.param)
    with closing(store):
        yield World(store, population)


class TestWhole:
    def test_the_same_number_seed_and_clock_give_the_same_rows(self) -> None:
        (first, one), (second, two) = made(), made()
        with closing(first), closing(second):
            assert dump(first) == dump(second)
            assert one == two

    def test_another_seed_or_clock_gives_others(self) -> None:
        stores = [made(200)[0], made(200, seed=2)[0], made(200, now=NOW + timedelta(days=1))[0]]
        dumps = [dump(store) for store in stores]
        for store in stores:
            store.close()
        for table in ("person", "lead", "contact"):
            assert dumps[0][table] != dumps[1][table]
            assert dumps[0][table] != dumps[2][table]

    def test_no_order_of_a_set_or_dictionary_gets_in(self) -> None:
        script = (
            "import hashlib, sys; sys.path[:0] = ['.']\n"
            "from datetime import UTC, datetime\n"
            "from recon.clock import SetClock; from recon.sandbox.store import Store; from recon.sandbox.population import populate\n"
            "store = Store(None, SetClock(datetime(2026, 11, 24, 18, tzinfo=UTC))); made = populate(store, 200, 1)\n"
            "rows = [tuple(row) for table in ('person', 'lead', 'contact', 'history', 'unsubscribe') "
            "for row in store._db.execute(f'SELECT * FROM {table} ORDER BY 1, 2')]\n"
            "print(hashlib.sha256(repr((rows, made)).encode()).hexdigest())"
        )
        printed = {
            subprocess.run(
                [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
            ).stdout
            for seed in ("1", "2")
        }
        assert len(printed) == 1

    @pytest.mark.parametrize("people", [300, 1000])
    def test_as_many_people_as_asked_for_and_about_as_many_records(self, people: int) -> None:
        store, population = made(people)
        with closing(store):
            counted = {table: len(rows) for table, rows in dump(store).items()}
        assert counted == population.counts
        assert counted["person"] == people
        assert 0.8 * people < counted["lead"] + counted["contact"] < 1.5 * people

    @pytest.mark.parametrize("people", [0, 1, 50])
    def test_the_least_is_some_two_hundred(self, people: int) -> None:
        store, population = made(people)
        with closing(store):
            assert 150 < population.counts["person"] <= 200
        assert all(population.cases.values())
        assert all(population.shapes.values())

    def test_later_people_and_records_get_ids_of_their_own(self) -> None:
        from recon.sandbox import sales_connect
        from recon.sandbox.salesforce import records

        store, _ = made(200)
        with closing(store):
            for _ in range(50):
                sales_connect.add_person(store)
                records.insert_lead(store, LastName="New", Company="New")
                records.insert_contact(store, LastName="New")

    def test_a_store_that_is_not_empty_is_left_as_it_is(self) -> None:
        store, _ = made(200)
        with closing(store):
            before = dump(store)
            with pytest.raises(UsageError, match="populated already"):
                populate(store, 10, 2)
            assert dump(store) == before

    def test_the_share_of_a_case_grows_with_the_people(self) -> None:
        store, population = made(3000)
        store.close()
        for name, _, share, least in population_cases.CASES:
            extra = len(population.shapes["hostile"]) if name == "awaiting_sync" else 0
            assert len(population.cases[name]) == max(least, round(3000 * share)) + extra

    def test_every_case_and_shape_is_there(self, world: World) -> None:
        assert list(world.population.cases) == [name for name, *_ in population_cases.CASES]
        assert list(world.population.shapes) == [name for name, *_ in population_shapes.SHAPES]
        planted = [uid for uids in world.population.cases.values() for uid in uids]
        assert len(planted) == len(set(planted))
        assert set(planted) <= world.rows.keys()

    def test_every_address_is_reserved_for_examples_or_is_none(self, world: World) -> None:
        unusable = {"n/a", "foo@", "a b@c.de", "@example.com", "none", "x@@example.org", ""}
        for row in world.rows.values():
            if row.email is not None and row.email not in unusable:
                assert RESERVED.search(row.email.strip().lower()), row.email

    def test_nothing_lies_in_the_future_and_everything_in_order(self, world: World) -> None:
        now = "2026-11-24T18:00:00.000Z"
        for row in world.rows.values():
            person = row.object == "Person"
            created = row.raw["created_at" if person else "CreatedDate"]
            changed = row.raw["updated_at" if person else "LastModifiedDate"]
            assert created <= changed <= now
            for event in world.card[row.uid]:
                assert created < event["at"] <= changed
            for event in world.changes[row.uid]:
                assert created < event["CreatedDate"] <= changed
            if row.converted:
                assert created < row.raw["ConvertedDate"] <= LAST_RUN

    def test_field_history_goes_back_eighteen_months_and_tells_the_standing_flags(self, world: World) -> None:
        oldest = (NOW - timedelta(days=548)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        without = 0
        for row in world.rows.values():
            if row.object == "Person":
                continue
            for field in ("HasOptedOutOfEmail", "Marketo_Sales_Opt_Out__c"):
                changes = [change for change in world.changes[row.uid] if change["Field"] == field]
                assert all(change["CreatedDate"] >= oldest for change in changes)
                if changes:
                    assert changes[-1]["NewValue"] == ("true" if row.raw[field] else "false")
                elif row.raw[field]:
                    without += 1
        assert without  # opt-outs whose date nobody knows have to be there, too

    def test_the_card_tells_what_stands(self, world: World) -> None:
        for person in world.people:
            account = [event for event in world.card[person.uid] if event["level"] == "account"]
            standing = [row for row in world.standing[person.uid] if row["level"] == "account"]
            assert bool(standing) == bool(account and account[-1]["details"] == "Unsubscribe")

    def test_what_was_planted_apart_is_joined_to_nothing_else(self, world: World) -> None:
        names: dict[str, str] = {}
        for name, uids in (world.population.shapes | world.population.cases).items():
            names |= dict.fromkeys(uids, name)
        names |= dict.fromkeys(world.population.shapes["hostile"], "hostile")
        for uid, name in names.items():
            if not world.rows[uid].deleted:
                assert {names.get(other, name) for other in world.cluster(world.rows[uid])} == {name}

    def test_ordinary_people_disagree_with_nobody(self, world: World) -> None:
        planted: set[str] = set()
        for uids in (world.population.shapes | world.population.cases).values():
            for uid in uids:
                planted |= {uid} if world.rows[uid].deleted else world.cluster(world.rows[uid])
        ordinary = [row for row in world.live if row.uid not in planted]
        assert len(ordinary) > PEOPLE / 3
        for row in ordinary:
            # A deleted or merged record's partners stand here, too; they agree with each other all the same.
            assert len({world.rows[uid].out for uid in world.cluster(row)}) == 1, row.uid


class TestCases:
    def test_awaiting_sync(self, world: World) -> None:
        seen: Counter[tuple[str, str]] = Counter()
        for row in world.case("awaiting_sync"):
            assert row.out is False
            person, record = _pair(world, row)
            assert person.out != record.out
            cause = person if person.out else record
            assert world.newest(cause) > LAST_RUN
            assert all(each["level"] == "account" for each in world.standing[person.uid])
            same = "same" if address(person.email) == address(record.email) else "none" if not person.email else "other"
            seen[row.object, same] += 1
        assert {key[0] for key in seen} == {"Person", "Lead", "Contact"}
        assert {key[1] for key in seen} == {"same", "other", "none"}
        causes = {
            row["source"] for each in world.case("awaiting_sync") for row in world.standing[_pair(world, each)[0].uid]
        }
        assert causes == {"manual", "clicked_link", "bounce"}

    def test_will_revert(self, world: World) -> None:
        assert {row.object == "Person" for row in world.case("will_revert")} == {True, False}
        for row in world.case("will_revert"):
            assert row.out is False
            person, record = _pair(world, row)
            other = record if row is person else person
            assert other.out is True
            if row is person:
                *_, cleared = world.card[row.uid]
                assert cleared["details"] == "Resubscribe"
                assert cleared["reason"]
                assert cleared["at"] > LAST_RUN
            else:
                change = world.changes[row.uid][-1]
                assert (change["OldValue"], change["NewValue"]) == ("true", "false")
                assert change["CreatedDate"] > LAST_RUN
            assert world.newest(other) < DAY_BEFORE_LAST_RUN

    def test_unlinked_match(self, world: World) -> None:
        written: set[bool] = set()
        scripts: set[bool] = set()
        for row in world.case("unlinked_match"):
            (other,) = world.others(row)
            assert (row.out, other.out) == (False, True)
            assert "Person" in (row.object, other.object)
            assert row.object != other.object
            assert world.cluster(row) == {row.uid, other.uid}
            person = row if row.object == "Person" else other
            assert person.raw["salesforce_id"] is None
            written.add(row.email == other.email)
            scripts.add(str(row.email).isascii() == str(other.email).isascii())
        assert written == {True, False}
        assert scripts == {True, False}

    def test_duplicate_disagrees(self, world: World) -> None:
        pairs = set()
        for row in world.case("duplicate_disagrees"):
            (other,) = world.others(row)
            assert (row.out, other.out) == (False, True)
            assert (row.object == "Person") == (other.object == "Person")
            assert world.cluster(row) == {row.uid, other.uid}
            pairs.add("-".join(sorted((row.object, other.object))))
        assert pairs == {"Person-Person", "Lead-Lead", "Contact-Contact", "Contact-Lead"}

    def test_user_level_only(self, world: World) -> None:
        linked = set()
        for row in world.case("user_level_only"):
            (person,) = world.others(row)
            assert (row.object != "Person", row.out) == (True, False)
            (standing,) = world.standing[person.uid]
            assert (standing["level"], bool(standing["user_name"])) == ("user", True)
            linked.add(person.link == row.uid)
        assert linked == {True, False}

    def test_bounce(self, world: World) -> None:
        for row in world.case("bounce"):
            (person,) = world.others(row)
            assert (row.object != "Person", row.out) == (True, False)
            (standing,) = world.standing[person.uid]
            assert (standing["level"], standing["source"]) == ("account", "bounce")
            assert person.raw["salesforce_id"] is None

    def test_lost_on_conversion(self, world: World) -> None:
        same = set()
        for row in world.case("lost_on_conversion"):
            lead = world.became[row.uid.partition(":")[2]]
            assert (row.object, row.out, lead.object, lead.out, lead.converted) == (
                "Contact",
                False,
                "Lead",
                True,
                True,
            )
            assert not world.linked_by[row.uid]
            assert not world.linked_by[lead.uid]
            same.add(address(row.email) == address(lead.email))
            (*_, change) = world.changes[lead.uid] or [{"CreatedDate": ""}]
            assert change["CreatedDate"] < lead.raw["ConvertedDate"]
        assert same == {True, False}

    def test_stale_link(self, world: World) -> None:
        outs = set()
        for row in world.case("stale_link"):
            assert row.link is not None
            lead = world.rows[row.link]
            contact = world.rows[f"salesforce:{lead.contact}"]
            assert (row.object, lead.converted, lead.deleted, contact.deleted) == ("Person", True, False, False)
            outs.add((row.out, contact.out))
            assert lead.out == (row.out and contact.out)
        assert outs == {(False, False), (False, True), (True, False), (True, True)}

    def test_broken_link(self, world: World) -> None:
        kinds: Counter[str] = Counter()
        for row in world.case("broken_link"):
            assert row.object == "Person"
            assert row.raw["salesforce_id"]
            if row.link is None:
                kinds["nowhere, and one with this address" if world.others(row) else "nowhere"] += 1
                continue
            record = world.rows[row.link]
            assert record.deleted
            kinds["merged away" if record.master else "deleted"] += 1
            if record.master:
                assert record.master[:15] in {other.uid.partition(":")[2][:15] for other in world.others(row)}
        assert kinds.keys() == {"nowhere", "nowhere, and one with this address", "deleted", "merged away"}
        assert {row.out for row in world.case("broken_link")} == {True, False}

    def test_field_disagrees(self, world: World) -> None:
        kinds = set()
        for row in world.case("field_disagrees"):
            standard, custom = row.raw["HasOptedOutOfEmail"], row.raw["Marketo_Sales_Opt_Out__c"]
            assert standard != custom
            assert all(person.out == bool(standard) for person in world.linked_by[row.uid])
            kinds.add((row.object, standard, bool(world.linked_by[row.uid])))
        assert {kind[1] for kind in kinds} == {0, 1}
        assert {kind[2] for kind in kinds} == {True, False}
        others = [row for row in world.live if row.object != "Person" and row not in world.case("field_disagrees")]
        assert all(row.raw["HasOptedOutOfEmail"] == row.raw["Marketo_Sales_Opt_Out__c"] for row in others)


class TestShapes:
    def test_case_and_blanks(self, world: World) -> None:
        for row in world.shape("case_and_blanks"):
            (other,) = world.others(row)
            assert row.email != other.email
            assert str(row.email).strip().lower() == other.email

    def test_idn(self, world: World) -> None:
        for row in world.shape("idn"):
            (other,) = world.others(row)
            assert not str(row.email).isascii()
            assert "@xn--" in str(other.email)
            assert row.out is other.out is True

    def test_no_address(self, world: World) -> None:
        rows = world.shape("no_address")
        assert all(row.email is None and row.raw[2 if row.object == "Person" else "Email"] is None for row in rows)
        assert {row.object for row in rows} == {"Person", "Lead"}
        assert {row.out for row in rows} == {True, False}

    def test_unusable_address(self, world: World) -> None:
        rows = world.shape("unusable_address")
        assert all(address(row.email) is None for row in rows)
        by_text: dict[str | None, set[bool]] = defaultdict(set)
        for row in rows:
            by_text[row.email].add(row.out)
        assert set(by_text) == {"n/a", "foo@", "a b@c.de", "@example.com", "none", "x@@example.org"}
        assert all(outs == {True, False} for outs in by_text.values())

    def test_empty_text(self, world: World) -> None:
        rows = world.shape("empty_text")
        assert all((row.raw["email"], row.raw["salesforce_id"]) == ("", "") for row in rows)
        assert {row.out for row in rows} == {True, False}

    def test_unusable_id(self, world: World) -> None:
        ids = {row.raw["salesforce_id"] for row in world.shape("unusable_id")}
        assert len(ids) == 5
        assert not [text for text in ids if re.fullmatch("[0-9A-Za-z]{15}|[0-9A-Za-z]{18}", text)]

    def test_lost_case_id(self, world: World) -> None:
        forms = set()
        for row in world.shape("lost_case_id"):
            text = row.raw["salesforce_id"]
            assert row.link is not None
            assert text != row.link.partition(":")[2]
            assert row.out is world.rows[row.link].out is True
            forms.add((text.isupper(), text.islower()))
        assert forms == {(True, False), (False, True)}

    def test_leading_zeros(self, world: World) -> None:
        ids = {row.raw["person_id"] for row in world.shape("leading_zeros")}
        assert any(text.startswith("0") for text in ids)
        assert any(re.fullmatch(r"\d+e\d", text) for text in ids)

    def test_duplicates(self, world: World) -> None:
        outs = set()
        for row in world.shape("duplicates"):
            others = world.others(row)
            assert Counter(each.object for each in (row, *others)) == {"Person": 2, "Contact": 2}
            assert {other.out for other in others} == {row.out}
            outs.add(row.out)
        assert outs == {True, False}

    def test_chain(self, world: World) -> None:
        ends: Counter[str] = Counter()
        rows = world.shape("chain")
        for start in range(0, len(rows), 5):
            a, b, c, contact, lead = rows[start : start + 5]
            assert (a.link, b.link, c.raw["salesforce_id"]) == (contact.uid, lead.uid, None)
            assert address(contact.email) == address(b.email)
            assert address(lead.email) == address(c.email)
            assert len({address(row.email) for row in (a, b, c)}) == 3
            (out,) = [row for row in (a, b, c, contact, lead) if row.out]
            ends[out.object] += 1
            assert len(world.cluster(a)) == 5
        assert ends.keys() == {"Person", "Lead"}

    def test_star(self, world: World) -> None:
        rows = world.shape("star")
        for start in range(0, len(rows), 4):
            *people, record = rows[start : start + 4]
            assert {person.link for person in people} == {record.uid}
            assert [row.out for row in (*people, record)] == [False, False, True, False]
            assert world.newest(people[2]) > LAST_RUN
            assert len({address(row.email) for row in (*people, record)}) == 4

    def test_shared_mailbox(self, world: World) -> None:
        by_address: dict[str | None, list[Row]] = defaultdict(list)
        for row in world.shape("shared_mailbox"):
            by_address[address(row.email)].append(row)
        assert len(by_address) == 3
        for rows in by_address.values():
            assert len(rows) > 50  # above the default of clusters.report_above
            assert {row.object for row in rows} == {"Person", "Contact"}
        assert sorted(sum(row.out for row in rows) for rows in by_address.values()) == [0, 0, 1]

    def test_converted(self, world: World) -> None:
        outs = set()
        for lead in world.shape("converted"):
            contact = world.rows[f"salesforce:{lead.contact}"]
            (person,) = world.linked_by[contact.uid]
            assert lead.converted
            assert not world.linked_by[lead.uid]
            assert lead.out == contact.out == person.out
            outs.add(lead.out)
        assert outs == {True, False}

    def test_deleted(self, world: World) -> None:
        rows = world.shape("deleted")
        for row in rows:
            assert row.deleted
            assert row.master is None
            (person,) = world.others(row)
            assert (person.object, person.out, person.raw["salesforce_id"]) == ("Person", False, None)
        assert {row.out for row in rows} == {True, False}

    def test_merged_away(self, world: World) -> None:
        for row in world.shape("merged_away"):
            master = world.rows[f"salesforce:{row.master}"]
            (person,) = world.linked_by[master.uid]
            assert (row.deleted, row.out, master.deleted, master.out, person.out) == (True, False, False, True, True)
            assert not world.linked_by[row.uid]

    def test_hostile(self, world: World) -> None:
        rows = world.shape("hostile")
        text = "".join(
            f"{row.raw['first_name']}{row.raw['last_name']}{row.raw['company']}{row.email}\n" for row in rows
        )
        for mark in (
            "<script>",
            "onerror",
            "=HYPERLINK",
            "=1+1",
            "@SUM",
            "{{",
            "${",
            "\u202e",
            "DROP TABLE",
            "+cmd",
            "-2+3",
        ):
            assert mark in text
        for row in rows:
            assert row.link is not None
            assert (row.out, world.rows[row.link].out) == (False, True)
            assert world.rows[row.link].raw["LastModifiedDate"] > LAST_RUN
        assert set(world.population.shapes["hostile"]) <= set(world.population.cases["awaiting_sync"])

    def test_words_for_nothing(self, world: World) -> None:
        names = {
            row.raw["last_name" if row.object == "Person" else "LastName"] for row in world.shape("words_for_nothing")
        }
        assert names == {"Null", "None", "NaN", "NA", "True", "0"}
        assert {row.object for row in world.shape("words_for_nothing")} == {"Person", "Contact"}

    def test_csv_specials(self, world: World) -> None:
        names = "".join(
            str(row.raw["last_name" if row.object == "Person" else "LastName"]) for row in world.shape("csv_specials")
        )
        for char in '",\n\r;\t':
            assert char in names
        assert " Padded " in names

    def test_both_levels(self, world: World) -> None:
        for row in world.shape("both_levels"):
            assert {each["level"] for each in world.standing[row.uid]} == {"account", "user"}
            assert row.link is not None
            assert world.rows[row.link].out is True

    def test_resubscribed(self, world: World) -> None:
        for row in world.shape("resubscribed"):
            assert row.link is not None
            assert row.out is world.rows[row.link].out is False
            assert [event["details"] for event in world.card[row.uid]] == ["Unsubscribe", "Resubscribe"]
            changes = [change["NewValue"] for change in world.changes[row.link]]
            assert changes in ([], ["false", "false"], ["true", "true", "false", "false"])
        assert any(world.changes[str(row.link)] for row in world.shape("resubscribed"))


def test_the_night_sets_what_waits_for_it_and_undoes_what_reverts() -> None:
    store, population = made()
    with closing(store):
        night = run_nightly(store)
        assert run_nightly(store).people_set == ()
    done = {f"sales_connect:{each}" for each in night.people_set} | {f"salesforce:{each}" for each in night.records_set}
    assert set(population.cases["awaiting_sync"]) | set(population.cases["will_revert"]) <= done
    for name in set(population.cases) - {"awaiting_sync", "will_revert", "field_disagrees"}:
        assert not done & set(population.cases[name]), name
    # And nothing else waits, but for the shapes that say so.
    rest = done - set(population.cases["awaiting_sync"]) - set(population.cases["will_revert"])
    assert rest <= set(population.shapes["star"]) | set(population.shapes["chain"])


def test_the_sync_wrote_what_it_says_it_wrote(world: World) -> None:
    by_sync = [
        row for row in world.rows.values() if row.object != "Person" and row.raw["LastModifiedById"] == SYNC_USER
    ]
    assert by_sync
    assert all(row.out or row.raw["Marketo_Sales_Opt_Out__c"] for row in by_sync)
    assert not [row for row in by_sync if row.converted]
    synced = [each for rows in world.standing.values() for each in rows if each["source"] == "salesforce_sync"]
    assert synced
    # What came by the sync came at the time of a run: eight in the evening, Pacific time.
    assert all(re.search(r"T0[34]:00:00\.000Z$", each["at"]) for each in synced)


@pytest.mark.parametrize(
    ("at", "run"),
    [
        ("2026-11-24T18:00:00+00:00", "2026-11-25T04:00:00+00:00"),
        ("2026-11-25T03:59:59+00:00", "2026-11-25T04:00:00+00:00"),
        ("2026-11-25T04:00:00+00:00", "2026-11-26T04:00:00+00:00"),
        ("2026-07-01T00:00:00+00:00", "2026-07-01T03:00:00+00:00"),  # summer time
        ("2026-03-08T05:00:00+00:00", "2026-03-09T03:00:00+00:00"),  # the day that summer time begins
        ("2026-10-31T04:00:00+00:00", "2026-11-01T03:00:00+00:00"),
        ("2026-11-01T03:00:00+00:00", "2026-11-02T04:00:00+00:00"),  # the day that it ends
    ],
)
def test_the_run_after_a_moment_is_at_eight_in_the_evening_pacific(at: str, run: str) -> None:
    assert run_after(datetime.fromisoformat(at)) == datetime.fromisoformat(run)


def _pair(world: World, row: Row) -> tuple[Row, Row]:
    """The person and the record that an id links."""
    if row.object != "Person":
        (person,) = world.linked_by[row.uid]
        return person, row
    assert row.link is not None
    return row, world.rows[row.link]
