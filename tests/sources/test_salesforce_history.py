"""Opt-out dates from field history: given only where they can't be too early."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from recon.errors import SourceError
from recon.sandbox.salesforce import records
from recon.sources.history import newest_of, opt_out_dates

if TYPE_CHECKING:
    from tests.sources.conftest import Acme, Answer

STANDARD = "HasOptedOutOfEmail"
CUSTOM = "Marketo_Sales_Opt_Out__c"
NAMES = {STANDARD: "standard", CUSTOM: "custom"}
START = datetime(2026, 1, 1, tzinfo=UTC)


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def dates(flags: dict[str, bool], *changes: tuple[str, bool | None, int]) -> tuple[datetime | None, datetime | None]:
    """The dates of one record with these flags and changes (field, value after, day)."""
    rows = pa.table(
        {
            "parent": pa.array(["r"] * len(changes), pa.string()),
            "field": pa.array([field for field, _, _ in changes], pa.string()),
            "value": pa.array([value for _, value, _ in changes], pa.bool_()),
            "at": pa.array([day(number) for _, _, number in changes], pa.timestamp("us", tz="UTC")),
        }
    )
    ids = pa.chunked_array([["other", "r"]])
    columns = {NAMES[field]: pa.chunked_array([[True, flag]]) for field, flag in flags.items()}
    out, back = opt_out_dates(ids, columns, newest_of(rows, NAMES))
    assert (out[0].as_py(), back[0].as_py()) == (None, None)
    return out[1].as_py(), back[1].as_py()


@pytest.mark.parametrize(
    ("flag", "changes", "out", "back"),
    [
        (True, [(True, 5)], 5, None),
        (True, [(True, 5), (False, 6), (True, 9)], 9, 6),
        (True, [(True, 9), (True, 5)], 9, None),
        (False, [(True, 5), (False, 6)], None, 6),
        (True, [], None, None),
        (False, [], None, None),
        # It stands although the last change that is known cleared it: set again untold, so nobody knows when.
        (True, [(True, 5), (False, 6)], None, 6),
        (True, [(False, 6)], None, 6),
        # History tells seconds: both in one second, and it stands.
        (True, [(False, 6), (True, 6)], 6, 6),
        # A change that doesn't say to what, after or with the one that does.
        (True, [(True, 5), (None, 6)], None, None),
        (True, [(True, 5), (None, 5)], None, None),
        (True, [(None, 4), (True, 5)], 5, None),
        (True, [(None, 4)], None, None),
    ],
)
def test_one_field(flag: bool, changes: list[tuple[bool | None, int]], out: int | None, back: int | None) -> None:
    expected = (None if out is None else day(out), None if back is None else day(back))
    assert dates({STANDARD: flag}, *((STANDARD, value, number) for value, number in changes)) == expected


def test_of_two_fields_the_newest_date_counts() -> None:
    both = {STANDARD: True, CUSTOM: True}
    assert dates(both, (STANDARD, True, 3), (CUSTOM, True, 7)) == (day(7), None)
    # The custom one isn't told of: it may have been set after the standard one.
    assert dates(both, (STANDARD, True, 3)) == (None, None)
    one = {STANDARD: True, CUSTOM: False}
    assert dates(one, (STANDARD, True, 3), (CUSTOM, True, 7), (CUSTOM, False, 8)) == (day(7), day(8))
    assert dates({STANDARD: True}, (STANDARD, True, 3), (CUSTOM, True, 7)) == (day(3), None)


def pulled(acme: Acme, **values: Any) -> dict[str, dict[str, Any]]:
    return {row["last_name"]: row for row in acme.pull(**values).table.to_pylist()}


def test_dates_come_with_the_pull(acme: Acme) -> None:
    lead = records.insert_lead(acme.store, LastName="set", Company="Acme")
    contact = records.insert_contact(acme.store, LastName="cleared", HasOptedOutOfEmail=True)
    records.insert_contact(acme.store, LastName="created so", HasOptedOutOfEmail=True)
    gone = records.insert_contact(acme.store, LastName="deleted")
    set_at = acme.clock.advance(timedelta(hours=1))
    records.update_record(acme.store, "Lead", lead, {STANDARD: True})
    records.update_record(acme.store, "Contact", gone, {STANDARD: True})
    records.delete_record(acme.store, "Contact", gone)
    cleared_at = acme.clock.advance(timedelta(hours=1))
    records.update_record(acme.store, "Contact", contact, {STANDARD: False})
    for values in ({}, {"bulk_above": 0}):
        found = pulled(acme, **values)
        assert (found["set"]["opted_out_at"], found["set"]["resubscribed_at"]) == (set_at, None)
        assert (found["cleared"]["opted_out_at"], found["cleared"]["resubscribed_at"]) == (None, cleared_at)
        assert found["created so"]["opted_out_at"] is None
        assert found["deleted"]["opted_out_at"] == set_at
    assert acme.pull().inputs[0].details["history"] == "1 changes"


def test_an_org_without_history_leaves_the_dates_unknown_and_says_so(acme: Acme) -> None:
    lead = records.insert_lead(acme.store, LastName="set", Company="Acme")
    records.update_record(acme.store, "Lead", lead, {STANDARD: True})

    def alter(_method: str, target: str, answer: Answer) -> None:
        if "History" in target:
            answer.status = 400
            answer.set_json([{"errorCode": "INVALID_TYPE", "message": "sObject type 'LeadHistory' is not supported"}])

    acme.wire.alter = alter
    extract = acme.pull()
    assert extract.table.column("opted_out_at").null_count == 1
    assert extract.inputs[0].details["history"] == "not readable (INVALID_TYPE): opt-out dates are unknown"


def test_a_field_without_changes_is_named(acme: Acme) -> None:
    assert acme.pull(opt_out_field="both").inputs[0].details["history"] == (
        f"0 changes; none of {STANDARD}, {CUSTOM}, which may not be tracked"
    )


def test_another_fault_of_history_fails_the_pull(acme: Acme) -> None:
    def alter(_method: str, target: str, answer: Answer) -> None:
        if "History" in target:
            answer.status = 400
            answer.set_json([{"errorCode": "MALFORMED_QUERY", "message": "x"}])

    acme.wire.alter = alter
    assert "MALFORMED_QUERY" in acme.refused(SourceError, acme.pull)


@pytest.mark.parametrize("values", [{"LeadId": "x"}, {"CreatedDate": "yesterday"}, {"CreatedDate": None}])
def test_a_row_of_history_that_cannot_be_used_fails_the_pull(acme: Acme, values: dict[str, Any]) -> None:
    lead = records.insert_lead(acme.store, LastName="set", Company="Acme")
    records.update_record(acme.store, "Lead", lead, {STANDARD: True})

    def alter(_method: str, target: str, answer: Answer) -> None:
        if "LeadHistory" in target:
            body = json.loads(answer.body)
            body["records"][0].update(values)
            answer.set_json(body)

    acme.wire.alter = alter
    assert "LeadHistory holds a row" in acme.refused(SourceError, acme.pull)
