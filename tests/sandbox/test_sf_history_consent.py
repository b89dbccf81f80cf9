"""Field history, Individuals and consent records: read only."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from recon.sandbox.salesforce import records
from recon.sandbox.salesforce.objects import CUSTOM_FIELD

if TYPE_CHECKING:
    from tests.sandbox.sf_server import Server

FLAG = "HasOptedOutOfEmail"
OTHER = "0055e000002OtherAA"


def test_every_hand_that_changes_a_tracked_field_leaves_its_name(sf: Server) -> None:
    lead = records.insert_lead(sf.store, LastName="L", Company="C", Email="old@example.com")
    sf.clock.advance(timedelta(minutes=30))
    records.update_record(sf.store, "Lead", lead, {FLAG: True, CUSTOM_FIELD: True, "LastName": "M"}, OTHER)
    sf.clock.advance(timedelta(minutes=30))
    sf.call("PATCH", f"/sobjects/Lead/{lead}", json={FLAG: False, "Email": None})
    found = sf.rows("SELECT LeadId, Field, OldValue, NewValue, CreatedById, CreatedDate FROM LeadHistory")
    assert {row["LeadId"] for row in found} == {lead}
    changes = {
        (row["Field"], row["OldValue"], row["NewValue"], row["CreatedById"], row["CreatedDate"][11:16]) for row in found
    }
    assert changes == {
        (FLAG, False, True, OTHER, "04:30"),
        (CUSTOM_FIELD, False, True, OTHER, "04:30"),
        (FLAG, True, False, records.ADMIN, "05:00"),
        ("Email", "old@example.com", None, records.ADMIN, "05:00"),
    }


def test_leads_and_contacts_have_their_own_history(sf: Server) -> None:
    lead = records.insert_lead(sf.store, LastName="L", Company="C")
    contact = records.insert_contact(sf.store, LastName="L")
    records.update_record(sf.store, "Lead", lead, {FLAG: True})
    records.update_record(sf.store, "Contact", contact, {FLAG: True})
    assert [row["LeadId"] for row in sf.rows("SELECT LeadId FROM LeadHistory")] == [lead]
    (row,) = sf.rows("SELECT Id, ContactId, Contact.LastName FROM ContactHistory")
    assert (row["ContactId"], row["Contact"]["LastName"]) == (contact, "L")
    sf.refused(404, "NOT_FOUND", "GET", f"/sobjects/LeadHistory/{row['Id']}")
    answer = sf.call("GET", f"/sobjects/ContactHistory/{row['Id']}")
    assert answer.json()["NewValue"] is True
    assert "Last-Modified" not in answer.headers


def test_history_is_filtered_by_record_field_and_time(sf: Server) -> None:
    contacts = [records.insert_contact(sf.store, LastName="L") for _ in range(3)]
    for contact in contacts:
        sf.clock.advance(timedelta(days=1))
        records.update_record(sf.store, "Contact", contact, {FLAG: True, CUSTOM_FIELD: True})
    sf.login()
    where = (
        f"Field = '{FLAG}' AND CreatedDate >= 2026-11-26T04:00:00Z AND ContactId IN ('{contacts[1]}', '{contacts[0]}')"
    )
    assert sf.rows(f"SELECT ContactId FROM ContactHistory WHERE {where}") == [{"ContactId": contacts[1]}]


def test_the_past_can_be_made_without_a_trace(sf: Server) -> None:
    contact = records.insert_contact(sf.store, LastName="L", LastModifiedDate="2020-01-01T00:00:00.000Z")
    records.update_record(sf.store, "Contact", contact, {FLAG: True}, bump=False)
    assert sf.rows(f"SELECT {FLAG}, LastModifiedDate FROM Contact") == [
        {FLAG: True, "LastModifiedDate": "2020-01-01T00:00:00.000+0000"}
    ]
    assert sf.rows("SELECT Id FROM ContactHistory") == []


def test_an_individual_and_its_consent(sf: Server) -> None:
    individual = records.insert_individual(sf.store, FirstName="Ada", LastName="Lovelace", ShouldForget=True)
    records.insert_consent(
        sf.store,
        Name="E-mail",
        PartyId=individual,
        ContactPointType="Email",
        PrivacyConsentStatus="OptOut",
        CaptureDate="2026-03-01T10:00:00.000Z",
        CaptureSource="Web",
    )
    assert sf.rows("SELECT Name, HasOptedOutSolicit, HasOptedOutProcessing, ShouldForget FROM Individual") == [
        {"Name": "Ada Lovelace", "HasOptedOutSolicit": False, "HasOptedOutProcessing": False, "ShouldForget": True}
    ]
    query = (
        "SELECT PartyId, CaptureDate, EffectiveTo, Party.ShouldForget FROM ContactPointTypeConsent "
        "WHERE ContactPointType = 'email' AND PrivacyConsentStatus = 'OptOut'"
    )
    (row,) = sf.rows(query)
    assert (row["PartyId"], row["CaptureDate"]) == (individual, "2026-03-01T10:00:00.000+0000")
    assert (row["EffectiveTo"], row["Party"]["ShouldForget"]) == (None, True)


@pytest.mark.parametrize("sobject", ["LeadHistory", "ContactHistory", "Individual", "ContactPointTypeConsent"])
def test_none_of_it_can_be_written(sf: Server, sobject: str) -> None:
    described = sf.call("GET", f"/sobjects/{sobject}/describe").json()
    assert described["updateable"] is described["createable"] is described["deletable"] is False
    assert not any(field["updateable"] or field["createable"] for field in described["fields"])
    row = {"attributes": {"type": sobject}, "id": records.new_id(sf.store, described["keyPrefix"])}
    (entry,) = sf.call("PATCH", "/composite/sobjects", json={"records": [row]}).json()
    assert entry["errors"][0]["statusCode"] == "INVALID_TYPE"
    job = {"object": sobject, "operation": "update"}
    sf.refused(400, "INVALIDENTITY", "POST", "/jobs/ingest", json=job)
