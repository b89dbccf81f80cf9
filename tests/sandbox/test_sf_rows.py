from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from recon.sandbox.salesforce import records
from recon.sandbox.salesforce.errors import RecordFault
from recon.sandbox.salesforce.objects import CUSTOM_FIELD
from tests.sandbox.sf_server import START, Server

FLAG = "HasOptedOutOfEmail"
ADMIN = records.ADMIN


@pytest.fixture
def contact(sf: Server) -> str:
    return records.insert_contact(sf.store, FirstName="Ada", LastName="Lovelace", Email="ada@example.com")


@pytest.fixture
def lead(sf: Server) -> str:
    return records.insert_lead(sf.store, LastName="Lovelace", Company="Engines", HasOptedOutOfEmail=True)


def http_date(seconds: int = 0) -> str:
    return (START + timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")


class TestGet:
    def test_a_record_with_all_its_fields(self, sf: Server, contact: str) -> None:
        answer = sf.call("GET", f"/sobjects/Contact/{contact}")
        row = answer.json()
        assert answer.headers["Last-Modified"] == "Tue, 24 Nov 2026 04:00:00 GMT"
        assert row.pop("attributes") == {
            "type": "Contact",
            "url": f"/services/data/v62.0/sobjects/Contact/{contact}",
        }
        now = "2026-11-24T04:00:00.000+0000"
        assert row == {
            "Id": contact,
            "IsDeleted": False,
            "MasterRecordId": None,
            "AccountId": None,
            "LastName": "Lovelace",
            "FirstName": "Ada",
            "Name": "Ada Lovelace",
            "Email": "ada@example.com",
            FLAG: False,
            "IndividualId": None,
            "LastModifiedById": ADMIN,
            "CreatedDate": now,
            "LastModifiedDate": now,
            "SystemModstamp": now,
            CUSTOM_FIELD: False,
        }

    def test_some_fields(self, sf: Server, contact: str) -> None:
        row = sf.call("GET", f"/sobjects/Contact/{contact}", params={"fields": "email, lastname"}).json()
        del row["attributes"]
        assert row == {"Id": contact, "Email": "ada@example.com", "LastName": "Lovelace"}
        for names in ("Nope", "", "Email,", "Email,Nope"):
            sf.refused(400, "INVALID_FIELD", "GET", f"/sobjects/Contact/{contact}", params={"fields": names})

    def test_15_characters_are_enough_and_case_counts(self, sf: Server, contact: str) -> None:
        assert sf.call("GET", f"/sobjects/Contact/{contact[:15]}").json()["Id"] == contact
        assert sf.call("GET", f"/sobjects/Contact/{contact[:15]}{contact[15:].lower()}").json()["Id"] == contact
        lowered = contact[:15].swapcase()
        assert lowered != contact[:15]
        sf.refused(404, "NOT_FOUND", "GET", f"/sobjects/Contact/{lowered}")

    def test_ids_that_lead_nowhere(self, sf: Server, contact: str, lead: str) -> None:
        sf.refused(404, "NOT_FOUND", "GET", f"/sobjects/Contact/{records.new_id(sf.store, '003')}")
        sf.refused(404, "NOT_FOUND", "GET", "/sobjects/Contact/abc")
        sf.refused(400, "MALFORMED_ID", "GET", f"/sobjects/Contact/{lead}")
        sf.refused(400, "MALFORMED_ID", "GET", f"/sobjects/Contact/{contact[:15]}ZZZ")
        sf.refused(404, "NOT_FOUND", "GET", f"/sobjects/Opportunity/{contact}")

    def test_not_modified(self, sf: Server, contact: str) -> None:
        path = f"/sobjects/Contact/{contact}"
        answer = sf.call("GET", path, headers={"If-Modified-Since": http_date()})
        assert (answer.status_code, answer.content) == (304, b"")
        assert sf.call("GET", path, headers={"If-Modified-Since": http_date(-1)}).status_code == 200


class TestPatch:
    def test_it_changes_times_author_and_history(self, sf: Server, contact: str) -> None:
        sf.clock.advance(timedelta(minutes=5, milliseconds=250))
        answer = sf.call("PATCH", f"/sobjects/Contact/{contact}", json={FLAG: True, "firstname": None})
        assert (answer.status_code, answer.content) == (204, b"")
        later = "2026-11-24T04:05:00.250+0000"
        query = f"SELECT {FLAG}, FirstName, LastName, CreatedDate, LastModifiedDate, SystemModstamp FROM Contact"
        assert sf.rows(query) == [
            {
                FLAG: True,
                "FirstName": None,
                "LastName": "Lovelace",
                "CreatedDate": "2026-11-24T04:00:00.000+0000",
                "LastModifiedDate": later,
                "SystemModstamp": later,
            }
        ]
        assert sf.rows("SELECT ContactId, Field, OldValue, NewValue, CreatedById, CreatedDate FROM ContactHistory") == [
            {
                "ContactId": contact,
                "Field": FLAG,
                "OldValue": False,
                "NewValue": True,
                "CreatedById": ADMIN,
                "CreatedDate": later,
            }
        ]

    def test_the_same_value_moves_the_times_and_leaves_no_history(self, sf: Server, contact: str) -> None:
        sf.clock.advance(timedelta(minutes=5))
        assert sf.call("PATCH", f"/sobjects/Contact/{contact}", json={FLAG: False}).status_code == 204
        assert sf.rows("SELECT LastModifiedDate FROM Contact")[0]["LastModifiedDate"].startswith("2026-11-24T04:05")
        assert sf.rows("SELECT Id FROM ContactHistory") == []

    @pytest.mark.parametrize(
        ("values", "code"),
        [
            ({FLAG: "true"}, "JSON_PARSER_ERROR"),
            ({FLAG: 1}, "JSON_PARSER_ERROR"),
            ({FLAG: None}, "INVALID_TYPE_ON_FIELD_IN_RECORD"),
            ({"LastName": ""}, "REQUIRED_FIELD_MISSING"),
            ({"LastName": None}, "REQUIRED_FIELD_MISSING"),
            ({"LastName": 5}, "JSON_PARSER_ERROR"),
            ({"LastName": ["x"]}, "JSON_PARSER_ERROR"),
            ({"LastName": {"x": 1}}, "JSON_PARSER_ERROR"),
            ({"LastName": "x" * 81}, "STRING_TOO_LONG"),
            ({"Email": "no address"}, "INVALID_EMAIL_ADDRESS"),
            ({"AccountId": "001"}, "MALFORMED_ID"),
            ({"Nope__c": True}, "INVALID_FIELD"),
            ({"Id": "x"}, "INVALID_FIELD"),
            ({"SystemModstamp": "2026-01-01T00:00:00Z"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
            ({"IsDeleted": True}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ],
    )
    def test_one_wrong_value_and_nothing_is_written(
        self, sf: Server, contact: str, values: dict[str, Any], code: str
    ) -> None:
        sf.clock.advance(timedelta(minutes=5))
        before = sf.call("GET", f"/sobjects/Contact/{contact}").json()
        answer = sf.call("PATCH", f"/sobjects/Contact/{contact}", json={CUSTOM_FIELD: True, "FirstName": "B"} | values)
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, code)
        assert sf.call("GET", f"/sobjects/Contact/{contact}").json() == before
        assert sf.rows("SELECT Id FROM ContactHistory") == []

    def test_text_is_kept_as_it_is_written(self, sf: Server, contact: str) -> None:
        name = "  =cmd|'x'!A1 <b>é\u2028\U0001f600\n\"  "
        assert sf.call("PATCH", f"/sobjects/Contact/{contact}", json={"LastName": name}).status_code == 204
        assert sf.call("GET", f"/sobjects/Contact/{contact}").json()["LastName"] == name


class TestUnmodifiedSince:
    @pytest.mark.parametrize(("seconds", "status"), [(-1, 412), (0, 204), (3600, 204)])
    def test_a_write_with_a_precondition(self, sf: Server, contact: str, seconds: int, status: int) -> None:
        answer = sf.call(
            "PATCH",
            f"/sobjects/Contact/{contact}",
            json={FLAG: True},
            headers={"If-Unmodified-Since": http_date(seconds)},
        )
        assert answer.status_code == status
        assert sf.rows(f"SELECT {FLAG} FROM Contact") == [{FLAG: status == 204}]
        if status == 412:
            assert answer.json()[0]["errorCode"] == "PRECONDITION_FAILED"

    def test_it_compares_whole_seconds_so_a_change_in_the_same_second_slips(self, sf: Server, contact: str) -> None:
        sf.clock.advance(timedelta(milliseconds=900))
        records.update_record(sf.store, "Contact", contact, {FLAG: True})
        headers = {"If-Unmodified-Since": http_date()}
        answer = sf.call("PATCH", f"/sobjects/Contact/{contact}", json={FLAG: False}, headers=headers)
        assert answer.status_code == 204

    def test_it_holds_the_last_modified_date_not_the_modstamp(self, sf: Server) -> None:
        moved = records.insert_contact(sf.store, LastName="X", SystemModstamp="2026-11-24T05:00:00.000Z")
        headers = {"If-Unmodified-Since": http_date()}
        assert sf.call("PATCH", f"/sobjects/Contact/{moved}", json={FLAG: True}, headers=headers).status_code == 204

    @pytest.mark.parametrize("value", ["", "yesterday", "2026-11-24T04:00:00Z", "Tue, 24 Nov 2026 04:00:00 +0000", "1"])
    def test_a_date_that_cant_be_read_refuses_the_write(self, sf: Server, contact: str, value: str) -> None:
        path = f"/sobjects/Contact/{contact}"
        sf.refused(400, "INVALID_HEADER", "PATCH", path, json={FLAG: True}, headers={"If-Unmodified-Since": value})
        assert sf.rows(f"SELECT {FLAG} FROM Contact") == [{FLAG: False}]

    def test_a_read_knows_it_too(self, sf: Server, contact: str) -> None:
        headers = {"If-Unmodified-Since": http_date(-1)}
        sf.refused(412, "PRECONDITION_FAILED", "GET", f"/sobjects/Contact/{contact}", headers=headers)


class TestConverted:
    def test_a_converted_lead_is_read_only(self, sf: Server, lead: str) -> None:
        contact = records.convert_lead(sf.store, lead)
        message = sf.refused(400, "CANNOT_UPDATE_CONVERTED_LEAD", "PATCH", f"/sobjects/Lead/{lead}", json={FLAG: False})
        assert message == "cannot reference converted lead"
        row = sf.call("GET", f"/sobjects/Lead/{lead}").json()
        assert (row["IsConverted"], row["ConvertedContactId"], row["ConvertedDate"]) == (True, contact, "2026-11-24")
        assert row[FLAG] is True

    def test_a_new_contact_takes_the_opt_out_over_and_an_existing_one_does_not(
        self, sf: Server, lead: str, contact: str
    ) -> None:
        other = records.insert_lead(sf.store, LastName="L", Company="E", HasOptedOutOfEmail=True)
        assert records.convert_lead(sf.store, lead, contact) == contact
        made = records.convert_lead(sf.store, other)
        flags = {row["Id"]: row[FLAG] for row in sf.rows(f"SELECT Id, {FLAG} FROM Contact")}
        assert flags == {contact: False, made: True}

    def test_it_converts_once(self, sf: Server, lead: str) -> None:
        records.convert_lead(sf.store, lead)
        with pytest.raises(RecordFault, match="CANNOT_UPDATE_CONVERTED_LEAD"):
            records.convert_lead(sf.store, lead)


class TestDeleted:
    def test_a_deleted_record_is_only_in_the_recycle_bin(self, sf: Server, contact: str) -> None:
        sf.clock.advance(timedelta(minutes=1))
        assert sf.call("DELETE", f"/sobjects/Contact/{contact}").status_code == 204
        for method, options in (("GET", {}), ("PATCH", {"json": {FLAG: True}}), ("DELETE", {})):
            message = sf.refused(404, "ENTITY_IS_DELETED", method, f"/sobjects/Contact/{contact}", **options)
            assert message == "entity is deleted"
        assert sf.rows("SELECT Id FROM Contact") == []
        (row,) = sf.rows("SELECT IsDeleted, MasterRecordId, SystemModstamp FROM Contact", "queryAll")
        assert row == {
            "IsDeleted": True,
            "MasterRecordId": None,
            "SystemModstamp": "2026-11-24T04:01:00.000+0000",
        }

    def test_a_merged_one_tells_where_it_went(self, sf: Server, contact: str) -> None:
        loser = records.insert_contact(sf.store, LastName="Lovelace")
        records.delete_record(sf.store, "Contact", loser, master_id=contact)
        rows = sf.rows("SELECT Id, MasterRecordId FROM Contact WHERE IsDeleted = true", "queryAll")
        assert rows == [{"Id": loser, "MasterRecordId": contact}]

    def test_one_that_never_was(self, sf: Server) -> None:
        sf.refused(404, "NOT_FOUND", "DELETE", f"/sobjects/Lead/{records.new_id(sf.store, '00Q')}")


class TestPost:
    def test_a_new_record(self, sf: Server) -> None:
        answer = sf.call("POST", "/sobjects/Lead", json={"LastName": "L", "Company": "C", FLAG: True})
        assert answer.status_code == 201
        made = answer.json()
        assert made == {"id": made["id"], "success": True, "errors": []}
        assert made["id"].startswith("00Q")
        assert sf.rows(f"SELECT Id, {FLAG}, LastModifiedById FROM Lead") == [
            {"Id": made["id"], FLAG: True, "LastModifiedById": ADMIN}
        ]

    def test_what_it_lacks(self, sf: Server) -> None:
        message = sf.refused(400, "REQUIRED_FIELD_MISSING", "POST", "/sobjects/Lead", json={"FirstName": "A"})
        assert message == "Required fields are missing: [LastName, Company]"
        sf.refused(400, "INVALID_FIELD", "POST", "/sobjects/Contact", json={"LastName": "A", "Company": "C"})

    @pytest.mark.parametrize("sobject", ["LeadHistory", "ContactHistory", "Individual", "ContactPointTypeConsent"])
    def test_what_can_only_be_read(self, sf: Server, sobject: str) -> None:
        sf.refused(405, "METHOD_NOT_ALLOWED", "POST", f"/sobjects/{sobject}", json={})
        sf.refused(405, "METHOD_NOT_ALLOWED", "PATCH", f"/sobjects/{sobject}/017000000000000", json={})
        sf.refused(405, "METHOD_NOT_ALLOWED", "DELETE", f"/sobjects/{sobject}/017000000000000")


@pytest.mark.parametrize(
    "full",
    # Ids of real orgs, from Salesforce's documentation.
    ["001D000000IRFmaIAH", "00530000000xqHEAAY", "a0Kx00000000001EAA", "003D000000QV9n2IAD"],
)
def test_an_id_has_a_second_form(full: str) -> None:
    assert records.to_18(full[:15]) == full
    assert records.to_18(full[:15] + full[15:].lower()) == full


@pytest.mark.parametrize(
    "text", ["", "001", "0" * 16, "0" * 19, "001D000000IRFmaIAA", "001D000000IRFm ", "００１D000000IRFma"]
)
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match="id"):
        records.to_18(text)
