"""What an org's consent objects say against mailing somebody, over HTTP."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from recon.errors import SourceError
from recon.sandbox.salesforce import records
from recon.sources.consent_objects import ConsentObjects, blocked_by_consent

if TYPE_CHECKING:
    from tests.sources.conftest import Acme, Answer

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def contact(acme: Acme, individual: str | None = None) -> str:
    return records.insert_contact(acme.store, LastName="Lovelace", IndividualId=individual)


def individual(acme: Acme, **flags: Any) -> str:
    return records.insert_individual(acme.store, LastName="Lovelace", **flags)


def consent(acme: Acme, party: str, **values: Any) -> str:
    given = {"Name": "C", "PartyId": party, "ContactPointType": "Email", "PrivacyConsentStatus": "OptOut"}
    return records.insert_consent(acme.store, **given | values)


def look(acme: Acme, contacts: list[str], leads: list[str] | None = None) -> ConsentObjects:
    connection = acme.connect()
    try:
        return blocked_by_consent(connection, {"Lead": leads or [], "Contact": contacts}, now=NOW)
    finally:
        connection.close()


@pytest.mark.parametrize("flag", ["HasOptedOutSolicit", "HasOptedOutProcessing", "ShouldForget"])
def test_an_individual_says_no(acme: Acme, flag: str) -> None:
    against = contact(acme, individual(acme, **{flag: True}))
    fine = contact(acme, individual(acme))
    found = look(acme, [against, fine, contact(acme)])
    assert found == ConsentObjects({f"salesforce:{against}": f"Individual.{flag}"}, ())


def test_all_that_says_no_is_named_for_every_record_of_the_individual(acme: Acme) -> None:
    party = individual(acme, HasOptedOutSolicit=True, ShouldForget=True)
    consent(acme, party)
    consent(acme, party)
    one = contact(acme, party)
    lead = records.insert_lead(acme.store, LastName="L", Company="C", IndividualId=party)
    words = "Individual.HasOptedOutSolicit, Individual.ShouldForget, ContactPointTypeConsent Email OptOut"
    assert look(acme, [one], [lead]).blocked == {f"salesforce:{one}": words, f"salesforce:{lead}": words}


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        ({}, True),
        ({"PrivacyConsentStatus": "OptIn"}, False),
        ({"PrivacyConsentStatus": "NotSeen"}, False),
        ({"ContactPointType": "Phone"}, False),
        ({"EffectiveFrom": "2026-11-24T12:00:00.000Z"}, True),
        ({"EffectiveFrom": "2026-11-24T12:00:01.000Z"}, False),
        ({"EffectiveTo": "2026-11-24T12:00:00.000Z"}, False),
        ({"EffectiveTo": "2026-11-24T12:00:01.000Z"}, True),
        ({"EffectiveFrom": "2026-01-01T00:00:00.000Z", "EffectiveTo": "2026-12-01T00:00:00.000Z"}, True),
        ({"IsDeleted": True}, False),
    ],
)
def test_a_contact_point_consent_counts_while_it_is_in_effect(acme: Acme, values: dict[str, Any], counts: bool) -> None:
    party = individual(acme)
    consent(acme, party, **values)
    one = contact(acme, party)
    expected = {f"salesforce:{one}": "ContactPointTypeConsent Email OptOut"} if counts else {}
    assert look(acme, [one]).blocked == expected


def test_another_individual_s_consent_is_nobody_else_s(acme: Acme) -> None:
    consent(acme, individual(acme))
    assert look(acme, [contact(acme, individual(acme))]).blocked == {}


def test_no_records_no_questions(acme: Acme) -> None:
    assert look(acme, []) == ConsentObjects()
    assert acme.asked("GET", "describe") == 0


def test_many_records_are_asked_for_some_at_a_time(acme: Acme) -> None:
    party = individual(acme, ShouldForget=True)
    many = [contact(acme, party if n == 204 else None) for n in range(205)]
    assert look(acme, many).blocked == {f"salesforce:{many[204]}": "Individual.ShouldForget"}
    assert acme.asked("GET", "IndividualId") == 2


def test_what_the_org_does_not_have_is_noted(acme: Acme) -> None:
    def gone(method: str, target: str, answer: Answer) -> None:
        if "sobjects/Individual/describe" in target or "sobjects/ContactPointTypeConsent/describe" in target:
            answer.status = 404
            answer.set_json([{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}])

    one = contact(acme, individual(acme, ShouldForget=True))
    acme.wire.alter = gone
    found = look(acme, [one])
    assert found.blocked == {}
    assert [note.split()[0] for note in found.notes] == ["Individual", "ContactPointTypeConsent"]


def test_consents_are_read_where_the_individual_s_flags_are_hidden(acme: Acme) -> None:
    hidden = {f"Individual.{name}": "hidden" for name in ("HasOptedOutSolicit", "ShouldForget")}
    acme.store.configure(fls=json.dumps(hidden))
    first, second = (individual(acme, **flags) for flags in ({"ShouldForget": True}, {"HasOptedOutProcessing": True}))
    consent(acme, first)
    one, other = contact(acme, first), contact(acme, second)
    found = look(acme, [one, other])
    assert found.blocked == {
        f"salesforce:{one}": "ContactPointTypeConsent Email OptOut",
        f"salesforce:{other}": "Individual.HasOptedOutProcessing",
    }
    assert found.notes == (
        "Individual.HasOptedOutSolicit, Individual.ShouldForget can't be seen by the user: not looked at.",
    )


def test_records_without_the_field_are_noted(acme: Acme) -> None:
    acme.store.configure(fls=json.dumps({"Contact.IndividualId": "hidden"}))
    found = look(acme, [contact(acme, individual(acme, ShouldForget=True))])
    assert found == ConsentObjects({}, ("Contact.IndividualId can't be seen by the user: not looked at.",))


def test_a_refusal_for_any_other_reason_is_an_error(acme: Acme) -> None:
    def closed(method: str, target: str, answer: Answer) -> None:
        if "describe" in target:
            answer.status = 403
            answer.set_json([{"errorCode": "API_DISABLED_FOR_ORG", "message": "no"}])

    one = contact(acme)
    acme.wire.alter = closed
    assert "API_DISABLED_FOR_ORG" in acme.refused(SourceError, lambda: look(acme, [one]))


@pytest.mark.parametrize(
    "hostile",
    [
        "0035e00000000AAAAA' OR Id != '",
        "x') OR (Id != ''",
        "",
        "0035e0000000001",
        "003" + "٣" * 15,
        " 0035e0000000001 ",
    ],
)
def test_nothing_but_an_id_gets_into_a_query(acme: Acme, hostile: str) -> None:
    with pytest.raises(SourceError, match="no Salesforce id"):
        look(acme, [hostile])
    assert acme.asked("GET", "query") == 0


def test_an_individual_that_is_no_id_is_not_asked_for(acme: Acme) -> None:
    def spoil(method: str, target: str, answer: Answer) -> None:
        if "Contact" in target and "query" in target:
            body = answer.json()
            body["records"][0]["IndividualId"] = "0PK' OR Id != '000"
            answer.set_json(body)

    one = contact(acme, individual(acme))
    acme.wire.alter = spoil
    with pytest.raises(SourceError, match="no Salesforce id"):
        look(acme, [one])
