"""Sales Connect's own state: unsubscribes at two levels, the history card, the push."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from recon.clock import SetClock
from recon.sandbox import sales_connect as sc
from recon.sandbox.salesforce import records
from recon.sandbox.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

START = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(None, SetClock(START))
    yield store
    store.close()


def later(store: Store, hours: int = 1) -> str:
    assert isinstance(store.clock, SetClock)
    store.clock.advance(timedelta(hours=hours))
    return store.now()


def flags(store: Store, record_id: str) -> tuple[bool, bool]:
    name = "Lead" if record_id.startswith("00Q") else "Contact"
    row = records.read_record(store, name, record_id)
    return bool(row["HasOptedOutOfEmail"]), bool(row["Marketo_Sales_Opt_Out__c"])


def test_a_new_person_is_not_unsubscribed(store: Store) -> None:
    person_id = sc.add_person(store, email=" Ada@Example.COM ", first_name="Ada")
    person = sc.get_person(store, person_id)
    assert person["email"] == " Ada@Example.COM "
    assert person["unsubscribed"] is False
    assert person["unsubscribe_level"] is person["unsubscribed_at"] is person["unsubscribe_source"] is None
    assert sc.history(store, person_id) == []


def test_ids_are_handed_out_once(store: Store) -> None:
    ids = [sc.add_person(store) for _ in range(3)] + sc.reserve_person_ids(store, 2) + [sc.add_person(store)]
    assert len(set(ids)) == 6


def test_unsubscribe_and_remove_leave_the_history_card(store: Store) -> None:
    person_id = sc.add_person(store, email="ada@example.com")
    first = later(store)
    sc.unsubscribe(store, person_id, "account", "clicked_link")
    second = later(store)
    sc.remove_unsubscribe(store, person_id, "  Asked  by phone ", "Ines Admin")
    person = sc.get_person(store, person_id)
    assert (person["unsubscribed"], person["resubscribed_at"], person["updated_at"]) == (False, second, second)
    assert sc.history(store, person_id) == [
        {"date": first, "details": "Unsubscribe", "source": "Clicked Link", "level": "account", "reason": None},
        {
            "date": second,
            "details": "Resubscribe",
            "source": "Ines Admin",
            "level": "account",
            "reason": "  Asked  by phone ",
        },
    ]


def test_the_account_level_counts_before_a_users(store: Store) -> None:
    person_id = sc.add_person(store)
    sc.unsubscribe(store, person_id, "user", "manual", "Dana")
    assert sc.get_person(store, person_id)["unsubscribe_level"] == "user"
    sc.unsubscribe(store, person_id, "account", "clicked_link", at=START - timedelta(days=9))
    person = sc.get_person(store, person_id)
    assert (person["unsubscribe_level"], person["unsubscribe_source"]) == ("account", "clicked_link")
    assert person["unsubscribed_at"] == "2026-11-11T12:00:00.000Z"
    sc.remove_unsubscribe(store, person_id, "Asked", "Ines")
    assert sc.get_person(store, person_id)["unsubscribe_level"] == "user"


def test_of_several_users_the_newest_unsubscribe_is_shown_once(store: Store) -> None:
    person_id = sc.add_person(store)
    sc.unsubscribe(store, person_id, "user", "manual", "Dana")
    newest = later(store)
    sc.unsubscribe(store, person_id, "user", "clicked_link", "Kofi")
    people, total, more = sc.list_people(store, after=None, limit=10)
    assert (len(people), total, more) == (1, 1, False)
    assert (people[0]["unsubscribed_at"], people[0]["unsubscribe_source"]) == (newest, "clicked_link")


def test_saying_it_again_moves_the_date(store: Store) -> None:
    person_id = sc.add_person(store)
    sc.unsubscribe(store, person_id)
    again = later(store)
    sc.unsubscribe(store, person_id, source="clicked_link")
    assert sc.get_person(store, person_id)["unsubscribed_at"] == again
    assert len(sc.history(store, person_id)) == 2


@pytest.mark.parametrize(
    ("act", "status", "code"),
    [
        (lambda store, person: sc.unsubscribe(store, "none"), 404, "unknown_person"),
        (lambda store, person: sc.history(store, "none"), 404, "unknown_person"),
        (lambda store, person: sc.get_person(store, "none"), 404, "unknown_person"),
        (lambda store, person: sc.link_person(store, "none", None), 404, "unknown_person"),
        (lambda store, person: sc.remove_unsubscribe(store, "none", "why", "Ines"), 404, "unknown_person"),
        (lambda store, person: sc.unsubscribe(store, person, "user"), 400, "user_missing"),
        (lambda store, person: sc.remove_unsubscribe(store, person, " ", "Ines"), 400, "reason_missing"),
        (lambda store, person: sc.remove_unsubscribe(store, person, "why", ""), 400, "admin_missing"),
        (lambda store, person: sc.remove_unsubscribe(store, person, "why", "Ines"), 409, "not_unsubscribed"),
    ],
)
def test_what_is_refused(store: Store, act, status: int, code: str) -> None:  # type: ignore[no-untyped-def]  # a lambda a row
    person_id = sc.add_person(store)
    with pytest.raises(sc.SalesConnectError) as refusal:
        act(store, person_id)
    assert (refusal.value.status, refusal.value.code) == (status, code)
    assert sc.history(store, person_id) == []


def test_a_users_unsubscribe_alone_cant_be_removed_for_the_account(store: Store) -> None:
    person_id = sc.add_person(store)
    sc.unsubscribe(store, person_id, "user", "manual", "Dana")
    with pytest.raises(sc.SalesConnectError, match="No account-level"):
        sc.remove_unsubscribe(store, person_id, "why", "Ines")
    assert sc.get_person(store, person_id)["unsubscribed"] is True


class TestPush:
    @pytest.mark.parametrize("width", [15, 18])
    @pytest.mark.parametrize(
        ("setting", "expected"), [("standard", (True, False)), ("custom", (False, True)), ("both", (True, True))]
    )
    def test_an_account_unsubscribe_is_pushed_to_the_configured_field(
        self, store: Store, setting: str, expected: tuple[bool, bool], width: int
    ) -> None:
        store.configure(opt_out_field=setting)
        contact = records.insert_contact(store, LastName="Lovelace")
        person_id = sc.add_person(store, salesforce_id=contact[:width])
        now = later(store)
        sc.unsubscribe(store, person_id, source="clicked_link")
        assert flags(store, contact) == expected
        row = records.read_record(store, "Contact", contact)
        assert (row["LastModifiedDate"], row["LastModifiedById"]) == (now, sc.SYNC_USER)

    @pytest.mark.parametrize("setting", ["standard", "custom", "both"])
    def test_without_the_sync_it_goes_to_email_opt_out_all_the_same(self, store: Store, setting: str) -> None:
        store.configure(opt_out_field=setting, sync_enabled="false")
        lead = records.insert_lead(store, LastName="Lovelace", Company="Engines")
        sc.unsubscribe(store, sc.add_person(store, salesforce_id=lead))
        assert flags(store, lead) == (True, False)

    def test_an_id_that_lost_its_case_still_leads_to_the_record(self, store: Store) -> None:
        lead = records.insert_lead(store, LastName="Lovelace", Company="Engines")
        assert lead != lead.upper()
        sc.unsubscribe(store, sc.add_person(store, salesforce_id=lead.upper()))
        assert flags(store, lead) == (True, False)

    def test_a_users_unsubscribe_is_not_pushed(self, store: Store) -> None:
        contact = records.insert_contact(store, LastName="Lovelace")
        sc.unsubscribe(store, sc.add_person(store, salesforce_id=contact), "user", "manual", "Dana")
        assert flags(store, contact) == (False, False)

    def test_the_push_can_be_held_back(self, store: Store) -> None:
        store.configure(push_enabled="false")
        contact = records.insert_contact(store, LastName="Lovelace")
        sc.unsubscribe(store, sc.add_person(store, salesforce_id=contact))
        assert flags(store, contact) == (False, False)

    def test_removing_is_not_pushed(self, store: Store) -> None:
        contact = records.insert_contact(store, LastName="Lovelace")
        person_id = sc.add_person(store, salesforce_id=contact)
        sc.unsubscribe(store, person_id)
        sc.remove_unsubscribe(store, person_id, "Asked", "Ines")
        assert flags(store, contact) == (True, False)

    def test_converted_deleted_missing_and_senseless_links_take_no_push(self, store: Store) -> None:
        lead = records.insert_lead(store, LastName="Lovelace", Company="Engines")
        contact = records.convert_lead(store, lead)
        gone = records.insert_contact(store, LastName="Gone")
        records.delete_record(store, "Contact", gone)
        for link in (
            lead,
            gone,
            records.new_id(store, "003"),
            "abc",
            "",
            None,
            "ıııııııııııııııAAA",
            gone[:15] + "zzz",
        ):
            sc.unsubscribe(store, sc.add_person(store, salesforce_id=link))
        assert flags(store, contact) == (False, False)
        with store.transaction() as db:
            assert db.execute("SELECT count(*) FROM lead WHERE HasOptedOutOfEmail").fetchone()[0] == 0
            assert db.execute("SELECT count(*) FROM contact WHERE HasOptedOutOfEmail").fetchone()[0] == 0
