from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from recon.sandbox.salesforce import records

if TYPE_CHECKING:
    from tests.sandbox.sf_server import Server

FLAG = "HasOptedOutOfEmail"


def row(record_id: str | None, values: dict[str, Any] | None = None, kind: str = "Contact") -> dict[str, Any]:
    given = {} if record_id is None else {"id": record_id}
    return {"attributes": {"type": kind}, **given, **({FLAG: True} if values is None else values)}


def update(sf: Server, rows: list[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
    answer = sf.call("PATCH", "/composite/sobjects", json={"records": rows} | more)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    assert len(found) == len(rows)
    return found


def codes(entries: list[dict[str, Any]]) -> list[str]:
    return ["" if entry["success"] else str(entry["errors"][0]["statusCode"]) for entry in entries]


def opted_out(sf: Server) -> set[str]:
    return {
        str(found["Id"])
        for sobject in ("Contact", "Lead")
        for found in sf.rows(f"SELECT Id FROM {sobject} WHERE {FLAG} = true")
    }


@pytest.fixture
def contacts(sf: Server) -> list[str]:
    return [records.insert_contact(sf.store, LastName=f"P{n}") for n in range(4)]


def test_answers_come_in_the_order_of_the_records(sf: Server, contacts: list[str]) -> None:
    lead = records.insert_lead(sf.store, LastName="L", Company="C")
    order = [contacts[2], contacts[0], lead, contacts[3]]
    rows = [row(one, kind="Lead" if one == lead else "cONTACT") for one in order]
    rows[1]["Id"] = rows[1].pop("id")[:15]
    found = update(sf, rows)
    assert found == [{"id": one, "success": True, "errors": []} for one in order]
    assert opted_out(sf) == set(order)


def test_each_record_has_its_own_outcome(sf: Server, contacts: list[str]) -> None:
    deleted = records.insert_contact(sf.store, LastName="gone")
    records.delete_record(sf.store, "Contact", deleted)
    converted = records.insert_lead(sf.store, LastName="L", Company="C")
    records.convert_lead(sf.store, converted)
    found = update(
        sf,
        [
            row(contacts[0]),
            row(contacts[1], {FLAG: "true"}),
            row(None),
            row("", {}),
            row(deleted),
            row(records.new_id(sf.store, "003")),
            row("nonsense"),
            row(contacts[1], kind="Lead"),
            row(converted, kind="Lead"),
            row(contacts[1], {"Nope": 1}),
            row(contacts[1], {"IsDeleted": True}),
            row(contacts[1], {"Email": "x", FLAG: True}),
            row(contacts[1], kind="Opportunity"),
            {"id": contacts[1], FLAG: True},
            {"attributes": "Contact", "id": contacts[1], FLAG: True},
            row(contacts[3]),
        ],
    )
    assert codes(found) == [
        "",
        "JSON_PARSER_ERROR",
        "MISSING_ARGUMENT",
        "MISSING_ARGUMENT",
        "ENTITY_IS_DELETED",
        "INVALID_CROSS_REFERENCE_KEY",
        "MALFORMED_ID",
        "MALFORMED_ID",
        "CANNOT_UPDATE_CONVERTED_LEAD",
        "INVALID_FIELD",
        "INVALID_FIELD_FOR_INSERT_UPDATE",
        "INVALID_EMAIL_ADDRESS",
        "INVALID_TYPE",
        "INVALID_TYPE",
        "INVALID_TYPE",
        "",
    ]
    assert opted_out(sf) == {contacts[0], contacts[3]}
    assert found[11] == {
        "success": False,
        "errors": [
            {"statusCode": "INVALID_EMAIL_ADDRESS", "message": "Email: invalid email address: x", "fields": ["Email"]}
        ],
    }


def test_all_or_none_undoes_all_of_it(sf: Server, contacts: list[str]) -> None:
    rows = [row(contacts[0]), row(contacts[1], {FLAG: None}), row(contacts[2])]
    found = update(sf, rows, allOrNone=True)
    rolled_back = "ALL_OR_NONE_OPERATION_ROLLED_BACK"
    assert codes(found) == [rolled_back, "INVALID_TYPE_ON_FIELD_IN_RECORD", rolled_back]
    assert opted_out(sf) == set()
    assert sf.rows("SELECT Id FROM ContactHistory") == []
    assert codes(update(sf, rows, allOrNone=False)) == ["", "INVALID_TYPE_ON_FIELD_IN_RECORD", ""]
    assert codes(update(sf, [row(contacts[1]), row(contacts[3])], allOrNone=True)) == ["", ""]
    assert opted_out(sf) == set(contacts)


def test_a_precondition_is_not_known_here(sf: Server, contacts: list[str]) -> None:
    """The header is documented for single rows only: a collection writes in spite of it."""
    headers = {"If-Unmodified-Since": "Mon, 01 Jan 2024 00:00:00 GMT"}
    sf.call("PATCH", "/composite/sobjects", json={"records": [row(contacts[0])]}, headers=headers)
    assert opted_out(sf) == {contacts[0]}


def test_200_records_and_no_more(sf: Server, contacts: list[str]) -> None:
    rows = [row(contacts[n % 4]) for n in range(201)]
    message = sf.refused(400, "EXCEEDED_ID_LIMIT", "PATCH", "/composite/sobjects", json={"records": rows})
    assert message == "record limit reached. cannot submit more than 200 records into this call"
    assert opted_out(sf) == set()
    assert codes(update(sf, rows[:200])) == [""] * 200


def test_ten_runs_of_a_kind_and_no_more(sf: Server, contacts: list[str]) -> None:
    lead = records.insert_lead(sf.store, LastName="L", Company="C")
    mixed = [row(contacts[0]), row(lead, kind="Lead")] * 5
    assert codes(update(sf, mixed)) == [""] * 10
    sf.refused(400, "LIMIT_EXCEEDED", "PATCH", "/composite/sobjects", json={"records": [*mixed, row(contacts[1])]})
    assert opted_out(sf) == {contacts[0], lead}
    ordered = sorted(mixed * 2, key=lambda one: str(one["attributes"]))
    assert codes(update(sf, ordered)) == [""] * 20


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"records": None},
        {"records": {}},
        {"records": "x"},
        {"records": [1]},
        {"records": [None]},
        {"records": [], "allOrNone": "true"},
        {"records": [], "allOrNone": None},
    ],
)
def test_a_body_of_another_form(sf: Server, body: dict[str, Any]) -> None:
    sf.refused(400, "JSON_PARSER_ERROR", "PATCH", "/composite/sobjects", data=json.dumps(body))
