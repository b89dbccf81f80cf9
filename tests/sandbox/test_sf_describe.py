from __future__ import annotations

import json
from typing import Any

import pytest

from recon.sandbox.salesforce.objects import CUSTOM_FIELD, visible_objects
from recon.sandbox.salesforce.records import insert_contact, insert_lead
from tests.sandbox.sf_server import CSV, Server

FLAG = "HasOptedOutOfEmail"


def fields(sf: Server, sobject: str) -> dict[str, dict[str, Any]]:
    answer = sf.call("GET", f"/sobjects/{sobject}/describe")
    assert answer.status_code == 200
    return {field["name"]: field for field in answer.json()["fields"]}


@pytest.mark.parametrize(("sobject", "prefix"), [("Lead", "00Q"), ("Contact", "003")])
def test_what_recon_needs_to_know_of_leads_and_contacts(sf: Server, sobject: str, prefix: str) -> None:
    found = fields(sf, sobject)
    assert {"Id", "IsDeleted", "MasterRecordId", "Email", FLAG, CUSTOM_FIELD, "SystemModstamp"} <= found.keys()
    flag = found[FLAG]
    assert (flag["type"], flag["updateable"], flag["nillable"], flag["label"]) == (
        "boolean",
        True,
        False,
        "Email Opt Out",
    )
    assert (found[CUSTOM_FIELD]["custom"], found[CUSTOM_FIELD]["label"]) == (True, "Marketo Sales Opt Out")
    assert not any(found[name]["updateable"] for name in ("Id", "IsDeleted", "SystemModstamp", "LastModifiedDate"))
    assert found["Email"]["length"] == 80
    whole = sf.call("GET", f"/sobjects/{sobject}/describe").json()
    assert (whole["keyPrefix"], whole["updateable"], whole["queryable"]) == (prefix, True, True)
    assert ("IsConverted" in found) is (sobject == "Lead")
    assert ("AccountId" in found) is (sobject == "Contact")


def test_the_list_names_every_object_and_where_it_is(sf: Server) -> None:
    answer = sf.call("GET", "/sobjects").json()
    names = [item["name"] for item in answer["sobjects"]]
    assert names == [
        "Lead",
        "Contact",
        "Account",
        "LeadHistory",
        "ContactHistory",
        "AccountHistory",
        "Individual",
        "ContactPointTypeConsent",
    ]
    for item in answer["sobjects"]:
        path = item["urls"]["describe"].removeprefix("/services/data/v62.0")
        described = sf.call("GET", path).json()
        assert described["name"] == item["name"]
        assert {key: described[key] for key in item} == item
    assert sf.call("GET", "/sobjects/Lead").json()["objectDescribe"] == answer["sobjects"][0]


def test_names_are_taken_in_any_case(sf: Server) -> None:
    assert sf.call("GET", "/sobjects/lEAD/describe").json()["name"] == "Lead"


def test_all_described_fields_can_be_selected(sf: Server) -> None:
    for item in visible_objects(sf.store):
        names = fields(sf, item.name)
        assert sf.rows(f"SELECT {', '.join(names)} FROM {item.name}") == []


class TestFieldLevelSecurity:
    @pytest.fixture
    def contact(self, sf: Server) -> str:
        return insert_contact(sf.store, LastName="Lovelace", HasOptedOutOfEmail=True)

    def test_a_hidden_field_is_nowhere(self, sf: Server, contact: str) -> None:
        sf.store.configure(fls=json.dumps({f"Contact.{FLAG}": "hidden"}))
        assert FLAG not in fields(sf, "Contact")
        assert FLAG in fields(sf, "Lead")
        assert FLAG not in sf.call("GET", f"/sobjects/Contact/{contact}").json()
        query = {"q": f"SELECT {FLAG} FROM Contact"}
        words = f"No such column '{FLAG}'"
        assert words in sf.refused(400, "INVALID_FIELD", "GET", "/query", params=query)
        assert words in sf.refused(400, "INVALID_FIELD", "GET", f"/sobjects/Contact/{contact}?fields={FLAG}")
        where = {"q": f"SELECT Id FROM Contact WHERE {FLAG} = true"}
        assert words in sf.refused(400, "INVALID_FIELD", "GET", "/query", params=where)
        order = {"q": f"SELECT Id FROM Contact ORDER BY {FLAG}"}
        assert words in sf.refused(400, "INVALID_FIELD", "GET", "/query", params=order)
        bulk = {"operation": "query", "query": f"SELECT {FLAG} FROM Contact"}
        assert words in sf.refused(400, "INVALID_FIELD", "POST", "/jobs/query", json=bulk)
        write = {FLAG: False}
        message = sf.refused(400, "INVALID_FIELD", "PATCH", f"/sobjects/Contact/{contact}", json=write)
        assert message == f"No such column '{FLAG}' on sobject of type Contact"
        row = {"attributes": {"type": "Contact"}, "id": contact} | write
        answer = sf.call("PATCH", "/composite/sobjects", json={"records": [row]}).json()
        assert answer[0]["errors"][0]["statusCode"] == "INVALID_FIELD"

    def test_a_hidden_field_fails_a_bulk_job(self, sf: Server, contact: str) -> None:
        sf.store.configure(fls=json.dumps({f"Contact.{FLAG}": "hidden"}))
        job = sf.call("POST", "/jobs/ingest", json={"object": "Contact", "operation": "update"}).json()["id"]
        path = f"/jobs/ingest/{job}"
        sf.call("PUT", f"{path}/batches", data=f"Id,{FLAG}\n{contact},false\n", headers=CSV)
        sf.call("PATCH", path, json={"state": "UploadComplete"})
        info = sf.call("GET", path).json()
        assert (info["state"], info["errorMessage"]) == ("Failed", f"InvalidBatch : Field name not found : {FLAG}")

    def test_a_read_only_field_is_seen_and_not_written(self, sf: Server, contact: str) -> None:
        sf.store.configure(fls=json.dumps({f"Contact.{FLAG}": "read_only"}))
        assert fields(sf, "Contact")[FLAG]["updateable"] is False
        assert sf.rows(f"SELECT {FLAG} FROM Contact") == [{FLAG: True}]
        path = f"/sobjects/Contact/{contact}"
        message = sf.refused(
            400, "INVALID_FIELD_FOR_INSERT_UPDATE", "PATCH", path, json={FLAG: False, "LastName": "King"}
        )
        assert message.startswith(f"Unable to create/update fields: {FLAG}. Please check the security settings")
        assert sf.rows(f"SELECT LastName, {FLAG} FROM Contact") == [{"LastName": "Lovelace", FLAG: True}]

    def test_the_custom_checkbox_can_be_missing(self, sf: Server) -> None:
        sf.store.configure(custom_field_installed="false")
        for sobject in ("Lead", "Contact"):
            assert CUSTOM_FIELD not in fields(sf, sobject)
            query = {"q": f"SELECT {CUSTOM_FIELD} FROM {sobject}"}
            sf.refused(400, "INVALID_FIELD", "GET", "/query", params=query)

    def test_further_custom_checkboxes(self, sf: Server) -> None:
        extra = {"object": "Lead", "name": "Do_Not_Contact__c", "label": "Do Not Contact"}
        sf.store.configure(extra_fields=json.dumps([extra]))
        insert_lead(sf.store, LastName="Lovelace", Company="Engines")
        found = fields(sf, "Lead")["Do_Not_Contact__c"]
        assert (found["type"], found["custom"], found["updateable"]) == ("boolean", True, False)
        assert "Do_Not_Contact__c" not in fields(sf, "Contact")
        assert sf.rows("SELECT Do_Not_Contact__c FROM Lead") == [{"Do_Not_Contact__c": False}]
