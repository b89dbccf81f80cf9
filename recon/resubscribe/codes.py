"""The verdict codes: when each applies, what it does by default, and how a row gets rid of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["reject", "warn", "off", "no_op"]

_GDPR = "GDPR Art. 7(1): the controller shall be able to demonstrate consent"
_SUBSEQUENT = "15 USC 7704(a)(4)(B): only affirmative consent subsequent to the request lifts the bar"
_REMOVE = "AdobeDocs, resubscribing-an-unsubscribe: an admin removes it and can demonstrate that the authorisation is documented"
_CARD = "AdobeDocs, sales-connect-and-gdpr-compliance: the Compliance Card's fields"
_FOUR_EYES = "recon's rule: nobody approves what they asked for, or what is done to themselves"
_ONE_ROW = "recon's rule: one row an address, so that one approval stands behind a change"


@dataclass(frozen=True, slots=True)
class Code:
    """One verdict code.

    Attributes
    ----------
    name
        As it stands in the column `codes`.
    severity
        What it does unless the policy says otherwise: reject the row, warn, be off, or make the row a no_op.
    allowed
        What the policy may make of it. A code that guards an invariant (no flag is cleared without an approval of its own, none that is
        newer than the consent) can't be loosened.
    meaning
        The exact condition.
    remedy
        What to do about it.
    source
        Where the rule comes from.
    """

    name: str
    severity: Severity
    allowed: tuple[Severity, ...]
    meaning: str
    remedy: str
    source: str


_ANY: tuple[Severity, ...] = ("reject", "warn", "off")
_FIXED: tuple[Severity, ...] = ("reject",)
_NOTHING_TO_DO: tuple[Severity, ...] = ("no_op", "reject")


def _rejects(name: str, allowed: tuple[Severity, ...], meaning: str, remedy: str, source: str) -> Code:
    return Code(name, "reject", allowed, meaning, remedy, source)


#: In the order in which a row's codes are listed.
CODES = (
    _rejects(
        "bad_email",
        _FIXED,
        "The e-mail cell is blank or no address, or it can be read as two known addresses, with its leading apostrophe and without.",
        "Write the one address as the systems have it.",
        "RFC 5321; addresses are compared as everywhere in recon",
    ),
    _rejects(
        "unknown_person",
        _FIXED,
        "No live record of either system has this address.",
        "Correct the address, or pull again if the record is newer than the snapshot.",
        "recon's rule: it changes records that are there and creates none",
    ),
    _rejects(
        "identity_mismatch",
        _FIXED,
        "person_id is given, but Sales Connect has no such person, or that person has another address.",
        "Correct the person_id or the address, or leave person_id empty.",
        "recon's rule: never change a person on a contradiction",
    ),
    _rejects(
        "duplicate_row",
        _FIXED,
        "An earlier row has the same address and the same content.",
        "Delete the row; the first one counts.",
        _ONE_ROW,
    ),
    _rejects(
        "conflicting_rows",
        _FIXED,
        "Another row has the same address and another content; none of them counts.",
        "Keep the one row that is right.",
        _ONE_ROW,
    ),
    Code(
        "not_opted_out",
        "no_op",
        _NOTHING_TO_DO,
        "No record of this person is opted out on either side.",
        "Nothing is to be done.",
        "recon's rule: only what is opted out can be resubscribed",
    ),
    _rejects("reason_missing", _ANY, "reason is blank.", "Write why the person is resubscribed.", _REMOVE),
    _rejects(
        "reason_not_allowed",
        _ANY,
        "The policy lists reasons and this is none of them; or the row is a correction although the person clicked the unsubscribe link.",
        "Use a reason of the policy's list, word for word.",
        _REMOVE,
    ),
    _rejects(
        "authorization_missing",
        _ANY,
        "authorization is blank, or 'Other' without its words after a colon or in note. A correction needs none.",
        "Write the authorization type, like Consent.",
        _CARD,
    ),
    _rejects(
        "authorization_not_allowed",
        _ANY,
        "authorization is none of the policy's types for this country. A correction needs none.",
        "Ask the person for consent in a lawful way, or don't resubscribe.",
        _CARD,
    ),
    _rejects(
        "consent_date_missing",
        _ANY,
        "consent_date is blank and the policy wants it for this authorization, or the authorization can't be told. A correction needs none.",
        "Write when the person consented, like 2026-11-24 or 2026-11-24T09:30:00+01:00.",
        f"{_CARD}; {_SUBSEQUENT}",
    ),
    _rejects(
        "bad_date",
        _FIXED,
        "consent_date or approved_at is neither ISO 8601 nor in the policy's date_format, or is no day of the calendar; "
        "approved_at is blank or lies in the future.",
        "Write dates like 2026-11-24 or 2026-11-24T09:30:00+01:00, or declare date_format in the policy.",
        "recon's rule: a day and a month in figures are never guessed",
    ),
    _rejects(
        "consent_in_future",
        _FIXED,
        "consent_date lies after the moment of the check.",
        "Correct the date; nobody has consented tomorrow.",
        _GDPR,
    ),
    _rejects(
        "consent_before_opt_out",
        _FIXED,
        "The consent isn't provably newer than the newest known opt-out of the whole cluster, on either side. A date without a time counts from "
        "its first moment, an opt-out at exactly midnight UTC counts to the end of that day. For a correction, and where no consent date is wanted, "
        "approved_at stands for the consent.",
        "Only a consent given after that opt-out counts; if it was given later the same day, write its time and zone.",
        _SUBSEQUENT,
    ),
    _rejects(
        "opt_out_date_unknown",
        ("reject", "warn"),
        "A record of the cluster is opted out and nobody knows since when, so nothing can be shown to be newer.",
        "Find the date (Unsubscribe History card, field history) and pull again, or set unknown_opt_out_date in the policy.",
        _SUBSEQUENT,
    ),
    _rejects(
        "consent_too_old",
        _ANY,
        "The consent is older than the policy's limit for this country and authorization.",
        "A fresh consent is needed.",
        "EDPB 05/2020: refresh at appropriate intervals; North Rhine-Westphalia's authority: two years; CASL s.10(10) for implied consent",
    ),
    _rejects(
        "purpose_missing",
        _ANY,
        "purpose is blank and the policy wants it for this authorization, or the authorization can't be told. A correction needs none.",
        "Write what the person consented to.",
        f"{_CARD}; GDPR recital 42; CASL s.10(1)",
    ),
    _rejects(
        "evidence_missing",
        _ANY,
        "evidence is blank though the policy wants it, evidence_sha256 is wanted and blank or is no SHA-256; or a correction has no note.",
        "Say where the proof lies; for a correction, also what went wrong, in note.",
        f"{_GDPR}; CASL s.13: the onus is on the sender",
    ),
    _rejects("approver_missing", _ANY, "approved_by is blank.", "Have an admin approve the row.", _REMOVE),
    _rejects(
        "approver_not_admin",
        _ANY,
        "approved_by is listed neither under admins nor under approvers in the policy. Nobody is, by default.",
        "Have somebody approve who is listed, or list the approver in the policy.",
        _REMOVE,
    ),
    _rejects(
        "self_approved",
        _ANY,
        "approved_by is requested_by, or is the person: by address or, where approved_by is a name, by first and last name; or the "
        "policy wants requested_by and it is blank.",
        "Have somebody else approve the row; name approvers by their e-mail address if only the names are alike.",
        _FOUR_EYES,
    ),
    _rejects(
        "approval_before_consent",
        _ANY,
        "approved_at surely lies before consent_date. A date without a time counts to its last moment. A correction has no consent.",
        "Have the row approved again, with the consent at hand.",
        _GDPR,
    ),
    _rejects(
        "approval_expired",
        _ANY,
        "approved_at is longer ago than the policy's approval_valid_days.",
        "Have the row approved again.",
        "recon's rule: an approval is given for the state of things at its time",
    ),
    _rejects(
        "initiated_by_missing",
        _ANY,
        "initiated_by is neither 'person' nor 'sender'. A correction may leave it blank.",
        "Write 'person' if the person asked on their own, 'sender' if the person was asked.",
        "CASL s.1(3); ACMA: you can't send an electronic message to ask for consent",
    ),
    _rejects(
        "asked_by_sender",
        _FIXED,
        "initiated_by is 'sender': the person was asked after opting out.",
        "A consent got by asking doesn't count; wait until the person asks on their own.",
        "ICO, Flybe: asking the opted-out is marketing; CASL s.1(3); ACMA on the Spam Act 2003",
    ),
    _rejects(
        "bounced",
        _ANY,
        "All that opts the cluster out are bounces, or a person with this address is unsubscribed because of one.",
        "Find the person's working address: consent doesn't mend a dead one.",
        "AdobeDocs, unsubscribe-overview: a bounce is one way to become unsubscribed",
    ),
    _rejects(
        "scope_missing",
        _ANY,
        "scope is blank though the policy or the opt-out field needs sales+marketing, or it is none of the two scopes.",
        "Write 'sales' or 'sales+marketing', as the person consented.",
        "AdobeDocs, durable-unsubscribe: the standard field carries to marketing mail by address",
    ),
    _rejects(
        "scope_too_narrow",
        _ANY,
        "scope is 'sales', but clearing the standard field with Marketo Engage connected resubscribes for marketing mail too; or the policy asks "
        "for sales+marketing.",
        "Get a consent for sales+marketing, or use the custom opt-out field.",
        "AdobeDocs, durable-unsubscribe",
    ),
    _rejects(
        "linked_address_not_approved",
        _FIXED,
        "A record of the cluster has another address, and no row of this file for that address would be accepted.",
        "Add an approved row for that record's address, or unlink the record.",
        "AdobeDocs, resubscribing-an-unsubscribe: if either record is opted out, the sync marks the linked one",
    ),
    _rejects(
        "user_level_only",
        _ANY,
        "The person is unsubscribed from single sales users and no record of the cluster is opted out for the whole company by choice.",
        "The sales user removes the unsubscribe in Sales Connect, or decides that it holds for the company.",
        "Sales Connect: user and account unsubscribes; the sync maps the account level",
    ),
    _rejects(
        "blocked_by_consent_object",
        _ANY,
        "A Salesforce Individual or contact-point consent of one of the records says no.",
        "Settle the contradiction in Salesforce first.",
        "Salesforce object reference: Individual.HasOptedOutSolicit, HasOptedOutProcessing; ContactPointTypeConsent",
    ),
    Code(
        "already_applied",
        "no_op",
        _NOTHING_TO_DO,
        "This very row was applied before. If the person is opted out again since, the row is used up.",
        "Nothing is to be done; to resubscribe anew, have a new row approved.",
        "recon's rule: an approval is carried out once",
    ),
)

BY_NAME = {code.name: code for code in CODES}
