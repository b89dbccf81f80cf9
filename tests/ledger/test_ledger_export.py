"""Consent records: the shape of DPV and ISO 27560, read by a JSON-LD processor without network, with the proof beside."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from pyld import jsonld

from recon.ledger import Ledger, Notice, Terms, check_export, erase, export, kinds
from recon.ledger.consent_record import identifier
from tests.ledger.ledger_world import LEAD, step, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recon.clock import SetClock

SAMPLE = json.loads(Path(__file__).with_name("consent_record.json").read_text(encoding="utf-8"))
TERMS = Terms(
    name="Example GmbH",
    identifier="HRB-000000",
    address="Musterstrasse 1, 10115 Berlin, DE",
    contact="mailto:privacy@example.com",
    withdraw_at="https://example.com/preferences",
    notices={
        "v7": Notice(
            "https://example.com/notices/marketing-consent/v7",
            "2026-09-01",
            "en",
            "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        )
    },
    locations=("DE", "US"),
)
SAID = {
    "email": "ada@example.com",
    "method": "Web form https://example.com/subscribe, box unticked by default, confirmed by link",
    "evidence": "form submission 83141 (stored by controller)",
    "evidence_sha256": "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9",
}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def consent(ledger: Ledger, clock: SetClock, row: int = 2, said: dict[str, Any] | None = None, **more: Any) -> int:
    """One consent that is accepted and takes effect on both sides, as in the sample record."""
    clock.set(at("2026-11-23T09:12:00+00:00"))
    body: dict[str, Any] = {
        "country": "DE",
        "opted_out_at": "2026-06-02T07:31:00Z",
        "opt_out_source": "clicked_link",
        "consent_at": "2026-11-20T16:02:44Z",
        "initiated_by": "person",
        "approved_by": ledger.actor("approver-2"),
        "approved_at": "2026-11-23T09:10:00Z",
        "notice": "v7",
    }
    accepted = verdict(ledger, "ada@example.com", row, SAID if said is None else said, **(body | more))
    for number, (system, record, field, when) in enumerate(
        [
            ("salesforce", LEAD, "HasOptedOutOfEmail", "2026-11-23T09:13:58Z"),
            ("sales_connect", "7", "unsubscribe", "2026-11-23T09:14:01Z"),
        ]
    ):
        where = step(ledger, row * 10 + number, system, record, field) | {"subject": accepted.data["subject"]}
        values = {"from": True, "to": False}
        intent = ledger.append(kinds.INTENT, where | values | {"verdict": accepted.seq})
        clock.set(at("2026-11-23T09:14:05+00:00"))
        ledger.append(kinds.OUTCOME, where | values | {"intent": intent.seq, "result": "done", "effective_at": when})
    return accepted.seq


def refuse(url: str, options: dict[str, Any]) -> NoReturn:
    raise AssertionError(f"the record made the reader fetch {url}")


@pytest.fixture(autouse=True)
def no_network() -> Iterator[None]:
    jsonld.set_document_loader(refuse)
    yield
    jsonld.set_document_loader(None)


def triples(record: dict[str, Any]) -> list[str]:
    text = jsonld.normalize(record, {"algorithm": "URDNA2015", "format": "application/n-quads"})
    return sorted(text.splitlines())


def only(records: Any) -> dict[str, Any]:
    (found,) = records
    record: dict[str, Any] = found["record"]
    return record


def test_is_the_sample_record(ledger: Ledger, clock: SetClock) -> None:
    accepted = ledger.entry(consent(ledger, clock))
    record = only(export(ledger, TERMS).records)
    own = identifier(accepted)
    expected = SAMPLE | {"@id": f"urn:uuid:{own}", "dct:identifier": own}
    del expected["dct:replaces"]
    expected["dpv:hasDataSubject"]["@id"] = f"urn:recon:subject:{accepted.data['subject']}"
    expected["dpv:hasOrganisationalMeasure"]["dpv:isImplementedByEntity"] = (
        f"urn:recon:user:{accepted.data['approved_by']}"
    )
    assert record == expected


def test_expands_without_network_and_loses_nothing(ledger: Ledger, clock: SetClock) -> None:
    consent(ledger, clock)
    record = only(export(ledger, TERMS).records)
    (expanded,) = jsonld.expand(record)
    text = json.dumps(expanded)
    assert all(key.startswith(("http", "@")) for key in expanded)
    for prefix in ("dpv:", "dct:", "loc:", "recon:eff", "eu-gdpr:", "spdx:"):
        assert f'"{prefix}' not in text
    assert len(triples(record)) == len(triples(SAMPLE)) - 1 == 92


def test_a_later_consent_replaces_the_earlier_one(ledger: Ledger, clock: SetClock) -> None:
    consent(ledger, clock)
    consent(ledger, clock, 3, opted_out_at="2026-11-22T00:00:00Z")
    first, second = (part["record"] for part in export(ledger, TERMS).records)
    assert "dct:replaces" not in first
    assert second["dct:replaces"] == first["@id"]
    assert len(triples(second)) == 93


@pytest.mark.parametrize(
    ("country", "profile", "law", "basis"),
    [
        ("FR", "#record-eu-gdpr", "legal-eu:law-GDPR", "eu-gdpr:A6-1-a"),
        ("NO", "#record-eu-gdpr", "legal-eu:law-GDPR", "eu-gdpr:A6-1-a"),
        ("GB", "#record", "legal-gb:law-GDPR", "dpv:Consent"),
        ("US", "#record", None, "dpv:Consent"),
        (None, "#record", None, "dpv:Consent"),
    ],
)
def test_the_law_is_the_countrys(
    ledger: Ledger, clock: SetClock, country: str | None, profile: str, law: str | None, basis: str
) -> None:
    consent(ledger, clock, country=country)
    record = only(export(ledger, TERMS).records)
    assert record["dct:conformsTo"].endswith(f"dpv-27560{profile}")
    assert record.get("dpv:hasApplicableLaw") == law
    assert record.get("dpv:hasJurisdiction") == (None if country is None else f"loc:{country}")
    assert record["dpv:hasProcess"][0]["dpv:hasLegalBasis"] == basis
    (expanded,) = jsonld.expand(record)
    if law is not None:
        (applicable,) = expanded["https://w3id.org/dpv#hasApplicableLaw"]
        assert applicable["@id"].startswith("https://w3id.org/dpv/legal/")


@pytest.mark.parametrize(
    ("source", "state"),
    [
        ("clicked_link", "dpv:ConsentWithdrawn"),
        ("manual", "dpv:ConsentRevoked"),
        ("salesforce_sync", "dpv:ConsentUnknown"),
        ("salesforce", "dpv:ConsentUnknown"),
        (None, "dpv:ConsentUnknown"),
    ],
)
def test_withdrawn_is_only_what_the_person_did(ledger: Ledger, clock: SetClock, source: str | None, state: str) -> None:
    consent(ledger, clock, opt_out_source=source)
    ended = only(export(ledger, TERMS).records)["dpv:hasConsentStatus"][0]
    assert ended["@type"] == state
    assert ("dpv:isIndicatedBy" in ended) == (state == "dpv:ConsentWithdrawn")


def test_who_unsubscribed_again_has_withdrawn(ledger: Ledger, clock: SetClock) -> None:
    consent(ledger, clock)
    where = step(ledger, 20, "salesforce", LEAD, "HasOptedOutOfEmail")
    ledger.append(kinds.VERIFICATION, where | {"result": "unsubscribed_anew", "changed_at": "2026-11-23T20:00:00Z"})
    (part,) = export(ledger, TERMS).records
    assert part["record"]["dpv:hasConsentStatus"][-1] == {
        "@type": "dpv:ConsentWithdrawn",
        "dpv:isIndicatedBy": "dpv:DataSubject",
        "dpv:isIndicatedAtTime": "2026-11-23T20:00:00Z",
    }
    assert [entry["body"]["kind"] for entry in part["ledger"]] == [
        "verdict",
        "intent",
        "outcome",
        "intent",
        "outcome",
        "verification",
    ]


def test_an_opt_out_that_was_put_back_is_told(ledger: Ledger, clock: SetClock) -> None:
    consent(ledger, clock)
    where = step(ledger, 20, "salesforce", LEAD, "HasOptedOutOfEmail") | {"step": "20.resuppress"}
    intent = ledger.append(kinds.INTENT, where | {"from": False, "to": True})
    ledger.append(kinds.OUTCOME, where | {"intent": intent.seq, "result": "done", "from": False, "to": True})
    (part,) = export(ledger, TERMS).records
    effects = [(effect["recon:system"], effect["recon:to"]) for effect in part["record"]["recon:effectedIn"]]
    assert effects == [("salesforce", False), ("sales-connect", False), ("salesforce", True)]
    assert part["ledger"][-1]["seq"] == intent.seq + 1


def test_a_day_is_written_as_a_day(ledger: Ledger, clock: SetClock) -> None:
    consent(ledger, clock, consent_at="2026-11-20")
    record = only(export(ledger, TERMS).records)
    assert any('"2026-11-20"^^<http://www.w3.org/2001/XMLSchema#date>' in line for line in triples(record))


def test_addresses_in_free_text_are_masked(ledger: Ledger, clock: SetClock) -> None:
    consent(ledger, clock, said=SAID | {"evidence": "mail from ada@example.com of 3 May"})
    assert only(export(ledger, TERMS).records)["dct:source"]["dct:title"] == "mail from a***@e***.com of 3 May"
    assert "ada@example.com" not in export(ledger, TERMS, chain=True).text()
    assert "ada@example.com" in export(ledger, TERMS, full=True).text()


def test_what_failed_has_no_effect_and_what_was_rejected_is_no_consent(ledger: Ledger, clock: SetClock) -> None:
    clock.set(at("2026-11-23T09:12:00+00:00"))
    accepted = verdict(ledger, "ada@example.com", 2)
    where = step(ledger, 1, "salesforce", LEAD, "HasOptedOutOfEmail") | {"subject": accepted.data["subject"]}
    intent = ledger.append(kinds.INTENT, where | {"to": False, "verdict": accepted.seq})
    ledger.append(kinds.OUTCOME, where | {"intent": intent.seq, "result": "stale"})
    verdict(ledger, "bob@example.com", 3, verdict="rejected", codes=["evidence_missing"])
    verdict(ledger, "cy@example.com", 4)
    verdict(ledger, "cy@example.com", 4, verdict="rejected", codes=["approval_expired"])
    record = only(export(ledger, TERMS).records)
    assert record["recon:effectedIn"] == []
    assert "dct:source" not in record
    jsonld.expand(record)


def test_a_row_that_was_checked_twice_is_one_record(ledger: Ledger, clock: SetClock) -> None:
    consent(ledger, clock)
    before = only(export(ledger, TERMS).records)
    verdict(ledger, "ada@example.com", 2, verdict="no_op", codes=["already_applied"])
    assert only(export(ledger, TERMS).records) == before


def test_a_correction_is_no_consent(ledger: Ledger, clock: SetClock) -> None:
    consent(ledger, clock, kind="correction")
    found = export(ledger, TERMS)
    assert (len(found.records), len(found.corrections)) == (0, 1)
    assert len(found.corrections[0]["ledger"]) == 5
    assert found.lines() == ["0 consent records and 1 correction, with their entries; no checkpoint."]


def test_one_persons_records(ledger: Ledger, clock: SetClock) -> None:
    consent(ledger, clock)
    verdict(ledger, "bob@example.com", 3)
    assert len(export(ledger, TERMS).records) == 2
    for of in ("ada@example.com", LEAD, "7"):
        assert len(export(ledger, TERMS, of=of).records) == 1
    assert export(ledger, TERMS, of="nobody@example.com").records == ()


def test_after_an_erasure_the_record_has_no_words_left(ledger: Ledger, clock: SetClock) -> None:
    consent(ledger, clock)
    erase(ledger, "ada@example.com", "request")
    (part,) = export(ledger, TERMS, full=True).records
    assert part["personal"] == "erased"
    assert "dct:source" not in part["record"]
    assert len(part["record"]["recon:effectedIn"]) == 2
    jsonld.expand(part["record"])


@pytest.fixture
def document(tmp_path: Path, ledger: Ledger, clock: SetClock) -> dict[str, Any]:
    consent(ledger, clock)
    point = ledger.checkpoint(tmp_path / "checkpoint.jsonl")
    verdict(ledger, "bob@example.com", 3, verdict="rejected", codes=["bad_date"])
    loaded: dict[str, Any] = json.loads(export(ledger, TERMS, checkpoint=point, chain=True).text())
    return loaded


def test_the_export_proves_itself(document: dict[str, Any]) -> None:
    assert check_export(document) == []
    assert len(document["chain"]) == document["checkpoint"]["size"] == 6
    assert {entry["seq"] for entry in document["records"][0]["ledger"]} == {1, 2, 3, 4, 5}
    without = document | {"chain": None}
    assert check_export(without) == []


def test_a_changed_export_shows(document: dict[str, Any]) -> None:
    def changed(*path: Any, to: Any) -> list[str]:
        copy = json.loads(json.dumps(document))
        place = copy
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to
        return check_export(copy)

    assert changed("format", to="x") == ["This is no export of consent records."]
    assert changed("records", 0, "ledger", 0, "body", "data", "country", to="US") == [
        "Entry 1 is not as it was written."
    ]
    assert "not as it was written" in changed("chain", 2, "body", "at", to="2020-01-01T00:00:00Z")[0]
    assert changed("chain", 2, "body", to={"x": 1.5})
    assert changed("checkpoint", "head", to="0" * 63 + "1") == [
        "The chain doesn't lead to the checkpoint of 2026-11-23T09:14:05Z."
    ]
    assert changed("checkpoint", "head", to="x") == ["The checkpoint can't be read."]
    assert changed("chain", to=document["chain"][:-1])
    swapped = [document["chain"][1], document["chain"][0], *document["chain"][2:]]
    assert changed("chain", to=swapped)


def test_the_ids_stay(ledger: Ledger, clock: SetClock) -> None:
    seq = consent(ledger, clock)
    assert export(ledger, TERMS).text() == export(ledger, TERMS).text()
    assert identifier(ledger.entry(seq)) == identifier(ledger.entry(seq))
