"""A consent that was given again, as a record in the terms of W3C DPV 2.3 and ISO/IEC TS 27560.

JSON-LD with its context inline, so that reading it fetches nothing. Sources: W3C DPV 2.3 and its guide "consent-27560" (Final Community
Group Report, 15 February 2026; not a W3C standard). What 27560 lacks, the effect in the two systems, has names of our own (`recon:`).

Our reading, which no source decides: after a withdrawal a new record with `dpv:ConsentGiven` is written, and names the one that it
replaces. An opt-out is `dpv:ConsentWithdrawn` only where the person's own act is on record; where somebody else ended it,
`dpv:ConsentRevoked`; where a sync or a field is all that is known, `dpv:ConsentUnknown`.

The place in the ledger is not in the record, as a record can't contain its own hash: `recon.ledger.export` puts both side by side.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from recon.ledger.chain import Entry

PROFILE = "https://w3id.org/dpv/schema/dpv-27560#record"
PROFILE_GDPR = f"{PROFILE}-eu-gdpr"

#: Where the GDPR applies: the European Union, and the EEA by its Joint Committee Decision 154/2018.
GDPR_COUNTRIES = frozenset(
    [
        "AT",
        "BE",
        "BG",
        "CY",
        "CZ",
        "DE",
        "DK",
        "EE",
        "ES",
        "FI",
        "FR",
        "GR",
        "HR",
        "HU",
        "IE",
        "IT",
        "LT",
        "LU",
        "LV",
        "MT",
        "NL",
        "PL",
        "PT",
        "RO",
        "SE",
        "SI",
        "SK",
        "IS",
        "LI",
        "NO",
    ]
)

_IDS = [
    "dct:conformsTo",
    "dct:replaces",
    "dpv:hasJurisdiction",
    "dpv:hasApplicableLaw",
    "dpv:hasPurpose",
    "dpv:hasLegalBasis",
    "dpv:hasPersonalData",
    "dpv:hasRecipient",
    "dpv:hasDataProcessor",
    "dpv:hasLocation",
    "dpv:isIndicatedBy",
    "dpv:isExercisedAt",
    "dpv:isImplementedByEntity",
]

CONTEXT: dict[str, Any] = {
    "dpv": "https://w3id.org/dpv#",
    "pd": "https://w3id.org/dpv/pd#",
    "loc": "https://w3id.org/dpv/loc#",
    "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#",
    "legal-eu": "https://w3id.org/dpv/legal/eu#",
    "dct": "http://purl.org/dc/terms/",
    "dcat": "http://www.w3.org/ns/dcat#",
    "spdx": "http://spdx.org/rdf/terms#",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "recon": "https://example.org/ns/recon#",
    "dct:created": {"@type": "xsd:dateTime"},
    "dct:date": {"@type": "xsd:date"},
    "dpv:isIndicatedAtTime": {"@type": "xsd:dateTime"},
    **{name: {"@type": "@id"} for name in _IDS},
}

_GB = {"legal-gb": "https://w3id.org/dpv/legal/gb#"}

_RECORDS = uuid.uuid5(uuid.NAMESPACE_URL, "https://example.org/ns/recon#consent-record")
_WITHDRAWN = {"clicked_link": "Clicked unsubscribe link (Sales Connect)"}
_REVOKED = {"manual": "Set by hand (Sales Connect)"}
_UNKNOWN = {
    "salesforce_sync": "Set by the sync with Salesforce",
    "salesforce": "Opt-out field in Salesforce",
    "bounce": "Bounce",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """What people were told when they consented.

    Attributes
    ----------
    url
        Where the notice stands; also its id.
    date
        Since when, `2026-09-01`.
    language
        Like `en`.
    sha256
        Of its text, in hex.
    """

    url: str
    date: str | None = None
    language: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What every record says alike: who answers for the data, and how consent is withdrawn. ISO 27560 asks for all of it.

    Attributes
    ----------
    name, identifier, address, contact
        The controller: its name, its number in a register, its postal address, and a `mailto:` or web address.
    withdraw_at
        Where people withdraw their consent.
    notices
        The notices by the code that verdicts name them with.
    processors
        Who processes the data for the controller.
    locations
        Countries in which it is stored, like `DE`.
    """

    name: str
    identifier: str
    address: str
    contact: str
    withdraw_at: str
    notices: Mapping[str, Notice] = field(default_factory=dict)
    processors: tuple[str, ...] = ("adobe-sales-connect", "salesforce")
    locations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """What the ledger holds about one consent.

    Attributes
    ----------
    verdict
        The accepted verdict.
    said
        Its personal part; empty where it was erased.
    outcomes
        The changes that were made on its strength, in order.
    verifications
        What was found after the nightly run, in order.
    """

    verdict: Entry
    said: Mapping[str, Any]
    outcomes: Sequence[Entry] = ()
    verifications: Sequence[Entry] = ()


def identifier(verdict: Entry) -> str:
    """The record's id: the same for the same row of the same file, however often it is checked or exported."""
    return str(uuid.uuid5(_RECORDS, f"{verdict.data['file']}:{verdict.data['row']}"))


def consent_record(case: Case, terms: Terms, *, replaces: str | None = None, full: bool = False) -> dict[str, Any]:
    """The record of a consent.

    Parameters
    ----------
    case
        What the ledger holds.
    terms
        What every record says.
    replaces
        The id of the same person's record before this one.
    full
        Leave addresses within free texts as they are; without, they are masked.
    """
    data = case.verdict.data
    country = str(data["country"]) if "country" in data else None
    gdpr = country in GDPR_COUNTRIES
    own = identifier(case.verdict)
    effects = [_effect(entry) for entry in case.outcomes]
    record: dict[str, Any] = {
        "@context": CONTEXT | _GB if country == "GB" else CONTEXT,
        "@id": f"urn:uuid:{own}",
        "@type": "dpv:ConsentRecord",
        "dct:identifier": own,
        "dct:conformsTo": PROFILE_GDPR if gdpr else PROFILE,
        "dct:created": max([case.verdict.at, *(entry.at for entry in case.outcomes)]),
    }
    if replaces is not None:
        record["dct:replaces"] = f"urn:uuid:{replaces}"
    record |= {
        "dpv:hasDataSubject": {"@id": f"urn:recon:subject:{data['subject']}", "@type": "dpv:DataSubject"},
        "dpv:hasDataController": _controller(terms),
        "dpv:hasDataProcessor": _parties(terms),
    }
    if country is not None:
        record["dpv:hasJurisdiction"] = f"loc:{country}"
    if gdpr or country == "GB":
        record["dpv:hasApplicableLaw"] = "legal-eu:law-GDPR" if gdpr else "legal-gb:law-GDPR"
    record |= {
        "dpv:hasProcess": [_process(terms, gdpr=gdpr)],
        "dpv:hasConsentControl": {
            "@type": ["dpv:WithdrawConsent", "dpv:ReaffirmConsent"],
            "dpv:isExercisedAt": terms.withdraw_at,
        },
        "dpv:hasRight": {
            "@type": ["dpv:DataSubjectRight", "eu-gdpr:A7-3"] if gdpr else "dpv:DataSubjectRight",
            "dct:title": "Right to withdraw consent",
            "dpv:isExercisedAt": terms.withdraw_at,
        },
    }
    notice = _notice(data, case.said, terms, full=full)
    if notice is not None:
        record["dpv:hasNotice"] = notice
    record["dpv:hasConsentStatus"] = [
        _ended(data),
        _given(data, case.said, full=full),
        *(_withdrawn_anew(entry) for entry in case.verifications if entry.data["result"] == "unsubscribed_anew"),
    ]
    source = _source(case.said, full=full)
    if source is not None:
        record["dct:source"] = source
    if "approved_by" in data:
        record["dpv:hasOrganisationalMeasure"] = _approval(data)
    return record | {"recon:effectedIn": effects}


def _controller(terms: Terms) -> dict[str, Any]:
    return {
        "@id": "urn:recon:party:controller",
        "@type": ["dpv:Organisation", "dpv:DataController"],
        "dct:identifier": terms.identifier,
        "dpv:hasName": terms.name,
        "dpv:hasAddress": terms.address,
        "dpv:hasContact": terms.contact,
    }


def _parties(terms: Terms) -> list[str]:
    return [f"urn:recon:party:{party}" for party in terms.processors]


def _until(event: str) -> dict[str, Any]:
    return {"@type": "dpv:UntilEventDuration", "rdf:value": event}


def _process(terms: Terms, *, gdpr: bool) -> dict[str, Any]:
    storage: list[dict[str, Any]] = []
    if terms.locations:
        where = [f"loc:{place}" for place in terms.locations]
        storage.append({"@type": "dpv:StorageLocation", "dpv:hasLocation": where})
    storage.append({"@type": "dpv:StorageDuration", "dpv:hasDuration": _until("withdrawal of consent")})
    return {
        "@type": "dpv:Process",
        "dpv:hasPurpose": "dpv:DirectMarketing",
        "dpv:hasLegalBasis": "eu-gdpr:A6-1-a" if gdpr else "dpv:Consent",
        "dpv:hasPersonalData": "pd:EmailAddress",
        "dpv:hasRecipient": _parties(terms),
        "dpv:hasStorageCondition": storage,
    }


def _checksum(sha256: str) -> dict[str, Any]:
    return {
        "@type": "spdx:Checksum",
        "spdx:algorithm": {"@id": "spdx:checksumAlgorithm_sha256"},
        "spdx:checksumValue": sha256,
    }


def _notice(data: Mapping[str, Any], said: Mapping[str, Any], terms: Terms, *, full: bool) -> dict[str, Any] | None:
    known = terms.notices.get(str(data.get("notice")))
    if known is None:
        told = _shown(said.get("notice"), full=full)
        return None if told is None else {"@type": "dpv:ConsentNotice", "dct:title": told}
    found: dict[str, Any] = {"@id": known.url, "@type": "dpv:ConsentNotice"}
    if known.date is not None:
        found["dct:date"] = known.date
    if known.language is not None:
        found["dct:language"] = known.language
    if known.sha256 is not None:
        found["spdx:checksum"] = _checksum(known.sha256)
    return found


def _ended(data: Mapping[str, Any]) -> dict[str, Any]:
    """The opt-out that the consent follows."""
    source = str(data.get("opt_out_source"))
    state: dict[str, Any]
    if source in _WITHDRAWN:
        state = {"@type": "dpv:ConsentWithdrawn", "dpv:isIndicatedBy": "dpv:DataSubject"}
    else:
        state = {"@type": "dpv:ConsentRevoked" if source in _REVOKED else "dpv:ConsentUnknown"}
    method = (_WITHDRAWN | _REVOKED | _UNKNOWN).get(source)
    if method is not None:
        state["dpv:hasIndicationMethod"] = method
    if "opted_out_at" in data:
        state |= _at(data["opted_out_at"])
    return state | {"dpv:hasDuration": _until("new consent given by the data subject")}


def _given(data: Mapping[str, Any], said: Mapping[str, Any], *, full: bool) -> dict[str, Any]:
    state: dict[str, Any] = {
        "@type": ["dpv:ConsentGiven", "dpv:ExplicitlyExpressedConsent"],
        "dpv:isIndicatedBy": "dpv:DataSubject",
    }
    method = _shown(said.get("method") or said.get("authorization"), full=full)
    if method is not None:
        state["dpv:hasIndicationMethod"] = method
    if "consent_at" in data:
        state |= _at(data["consent_at"])
    state["dpv:hasDuration"] = _until("withdrawal of consent")
    if data.get("initiated_by") == "person":
        state["dpv:hasJustification"] = "SUBJECT_REQUEST"
    return state


def _withdrawn_anew(entry: Entry) -> dict[str, Any]:
    return {
        "@type": "dpv:ConsentWithdrawn",
        "dpv:isIndicatedBy": "dpv:DataSubject",
        **_at(entry.data.get("changed_at", entry.at)),
    }


def _source(said: Mapping[str, Any], *, full: bool) -> dict[str, Any] | None:
    title = _shown(said.get("evidence"), full=full)
    if title is None:
        return None
    found: dict[str, Any] = {"@type": "dcat:Distribution", "dct:title": title}
    if said.get("evidence_sha256"):
        found["spdx:checksum"] = _checksum(str(said["evidence_sha256"]))
    return found


def _approval(data: Mapping[str, Any]) -> dict[str, Any]:
    found = {"@type": "dpv:ApprovalProcedure", "dpv:isImplementedByEntity": f"urn:recon:user:{data['approved_by']}"}
    if "approved_at" in data:
        found |= _at(data["approved_at"])
    return found | {"dct:title": "Four-eyes approval of resubscribe request"}


def _effect(outcome: Entry) -> dict[str, Any]:
    data = outcome.data
    return {
        "recon:system": str(data["system"]).replace("_", "-"),
        "recon:field": data["field"],
        **{f"recon:{end}": data[end] for end in ("from", "to") if end in data},
        **_at(data.get("effective_at", outcome.at)),
    }


def _at(when: str) -> dict[str, Any]:
    """A moment; a day on its own says so, as the context's type is a time."""
    if "T" in when:
        return {"dpv:isIndicatedAtTime": when}
    return {"dpv:isIndicatedAtTime": {"@type": "xsd:date", "@value": when}}


def _shown(value: Any, *, full: bool) -> str | None:
    if value is None or not str(value).strip():
        return None
    from recon.report.mask import mask_within  # brings the whole report along, and most of the ledger needs none

    return str(value) if full else mask_within(str(value))
