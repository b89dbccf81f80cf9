"""The sandbox's nightly run, case by case."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from recon.clock import SetClock
from recon.sandbox import sales_connect as sc
from recon.sandbox.nightly import run_nightly
from recon.sandbox.salesforce import records
from recon.sandbox.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

NIGHT = datetime(2026, 11, 24, 4, tzinfo=UTC)
AT = "2026-11-24T04:00:00.000Z"


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(None, SetClock(NIGHT))
    store.configure(push_enabled="false")
    yield store
    store.close()


def lead(store: Store, **columns: Any) -> str:
    return records.insert_lead(store, **{"LastName": "Lovelace", "Company": "Engines"} | columns)


def contact(store: Store, **columns: Any) -> str:
    return records.insert_contact(store, **{"LastName": "Lovelace"} | columns)


def person(store: Store, link: str | None, level: sc.Level | None = None, **columns: Any) -> str:
    person_id = sc.add_person(store, salesforce_id=link, **columns)
    if level:
        sc.unsubscribe(store, person_id, level, "manual", "Dana")
    return person_id


def test_a_record_marks_its_person(store: Store) -> None:
    record = contact(store, HasOptedOutOfEmail=True)
    person_id = person(store, record)
    result = run_nightly(store)
    assert (result.ran, result.pairs, result.people_set, result.records_set) == (True, 1, (person_id,), ())
    assert sc.get_person(store, person_id) | {
        "unsubscribed": True,
        "unsubscribe_level": "account",
        "unsubscribe_source": "salesforce_sync",
        "unsubscribed_at": AT,
    } == sc.get_person(store, person_id)
    assert [(row["details"], row["source"]) for row in sc.history(store, person_id)] == [
        ("Unsubscribe", "Salesforce Sync")
    ]


@pytest.mark.parametrize("make", [lead, contact])
@pytest.mark.parametrize("width", [15, 18])
def test_a_person_marks_the_record(store: Store, make: Any, width: int) -> None:
    record = make(store)
    person(store, record[:width], "account")
    result = run_nightly(store)
    assert (result.people_set, result.records_set) == ((), (record,))
    row = records.read_record(store, "Lead" if make is lead else "Contact", record)
    assert (row["HasOptedOutOfEmail"], row["Marketo_Sales_Opt_Out__c"]) == (1, 0)
    assert (row["LastModifiedDate"], row["LastModifiedById"]) == (AT, sc.SYNC_USER)
    with store.transaction() as db:
        change = db.execute("SELECT * FROM history WHERE Parent = ?", (record,)).fetchall()
    assert [(row["Field"], row["OldValue"], row["NewValue"], row["CreatedById"]) for row in change] == [
        ("HasOptedOutOfEmail", "false", "true", sc.SYNC_USER)
    ]


def test_a_bounce_is_account_level_and_carried(store: Store) -> None:
    record = contact(store)
    sc.unsubscribe(store, sc.add_person(store, salesforce_id=record), "account", "bounce")
    assert run_nightly(store).records_set == (record,)


def test_a_flag_is_never_cleared_and_agreement_is_left_alone(store: Store) -> None:
    both, none = contact(store, HasOptedOutOfEmail=True), contact(store)
    one, other = person(store, both, "account"), person(store, none)
    before = sc.get_person(store, one), sc.get_person(store, other)
    result = run_nightly(store)
    assert (result.pairs, result.people_set, result.records_set) == (2, (), ())
    assert (sc.get_person(store, one), sc.get_person(store, other)) == before


def test_a_resubscribe_on_one_side_is_undone(store: Store) -> None:
    record = contact(store, HasOptedOutOfEmail=True)
    person_id = person(store, record, "account")
    sc.remove_unsubscribe(store, person_id, "Asked", "Ines")
    assert run_nightly(store).people_set == (person_id,)


def test_a_resubscribe_on_both_sides_sticks(store: Store) -> None:
    record = contact(store, HasOptedOutOfEmail=True)
    person_id = person(store, record, "account")
    sc.remove_unsubscribe(store, person_id, "Asked", "Ines")
    records.update_record(store, "Contact", record, {"HasOptedOutOfEmail": False})
    result = run_nightly(store)
    assert (result.people_set, result.records_set) == ((), ())


def test_equal_addresses_link_nothing(store: Store) -> None:
    contact(store, Email="ada@example.com", HasOptedOutOfEmail=True)
    person(store, None, email="ada@example.com")
    person(store, "", email="ada@example.com")
    assert run_nightly(store).pairs == 0


def test_a_users_unsubscribe_is_not_carried(store: Store) -> None:
    record = contact(store)
    person(store, record, "user")
    result = run_nightly(store)
    assert (result.pairs, result.records_set) == (1, ())


def test_a_users_unsubscribe_is_joined_by_the_accounts(store: Store) -> None:
    person_id = person(store, contact(store, HasOptedOutOfEmail=True), "user")
    assert run_nightly(store).people_set == (person_id,)
    assert sc.get_person(store, person_id)["unsubscribe_level"] == "account"


def test_stale_and_broken_links_dont_sync(store: Store) -> None:
    stale = lead(store, HasOptedOutOfEmail=True)
    records.convert_lead(store, stale)
    gone = contact(store, HasOptedOutOfEmail=True)
    records.delete_record(store, "Contact", gone)
    for link in (stale, gone, records.new_id(store, "00Q"), "abc", "00Q", "é" * 18):
        person(store, link)
        person(store, link, "account")
    result = run_nightly(store)
    assert (result.ran, result.pairs, result.people_set, result.records_set) == (True, 0, (), ())


def test_ids_that_differ_in_case_are_two_records(store: Store) -> None:
    upper, lower = records.to_18("0035e00000000AA"), records.to_18("0035e00000000aA")
    contact(store, Id=upper, HasOptedOutOfEmail=True)
    contact(store, Id=lower)
    first, second = person(store, upper[:15]), person(store, lower[:15])
    assert run_nightly(store).people_set == (first,)
    assert sc.get_person(store, second)["unsubscribed"] is False


def test_several_people_of_one_record_reach_each_other_in_one_run(store: Store) -> None:
    record = lead(store)
    people = [
        person(store, record),
        person(store, record[:15]),
        person(store, record, "account"),
        person(store, record),
    ]
    result = run_nightly(store)
    assert result.records_set == (record,)
    assert result.people_set == tuple(sorted([*people[:2], people[3]]))
    again = run_nightly(store)
    assert (again.people_set, again.records_set) == ((), ())


@pytest.mark.parametrize("config", [{"sync_enabled": "false"}, {"opt_out_field": "custom"}, {"opt_out_field": "both"}])
def test_it_runs_only_if_it_is_switched_on_and_its_field_is_there(store: Store, config: dict[str, str]) -> None:
    store.configure(custom_field_installed="false", **config)
    person(store, contact(store, HasOptedOutOfEmail=True, Marketo_Sales_Opt_Out__c=True))
    result = run_nightly(store)
    assert (result.ran, result.people_set) == (False, ())
    with store.transaction() as db:
        assert db.execute("SELECT count(*) FROM nightly_run").fetchone()[0] == 0


def test_the_standard_field_needs_no_custom_one(store: Store) -> None:
    store.configure(custom_field_installed="false")
    person_id = person(store, contact(store, HasOptedOutOfEmail=True))
    assert run_nightly(store).people_set == (person_id,)


@pytest.mark.parametrize(
    ("setting", "counts", "written"),
    [
        ("standard", {(True, False), (True, True)}, (1, 0)),
        ("custom", {(False, True), (True, True)}, (0, 1)),
        ("both", {(True, False), (False, True), (True, True)}, (1, 1)),
    ],
)
def test_the_configured_field_counts_and_is_written(
    store: Store, setting: str, counts: set[tuple[bool, bool]], written: tuple[int, int]
) -> None:
    store.configure(opt_out_field=setting)
    people = {}
    for standard in (False, True):
        for custom in (False, True):
            record = contact(store, HasOptedOutOfEmail=standard, Marketo_Sales_Opt_Out__c=custom)
            people[standard, custom] = person(store, record)
    record = contact(store)
    person(store, record, "account")
    result = run_nightly(store)
    assert set(result.people_set) == {people[fields] for fields in counts}
    assert result.records_set == (record,)
    row = records.read_record(store, "Contact", record)
    assert (row["HasOptedOutOfEmail"], row["Marketo_Sales_Opt_Out__c"]) == written


def test_a_run_leaves_a_row(store: Store) -> None:
    person(store, contact(store, HasOptedOutOfEmail=True))
    person(store, contact(store), "account")
    run_nightly(store)
    with store.transaction() as db:
        rows = [tuple(row) for row in db.execute("SELECT at, people_set, records_set FROM nightly_run")]
    assert rows == [(AT, 1, 1)]
