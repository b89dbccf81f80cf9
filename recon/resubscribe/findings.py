"""What one approved row gives rise to: each verdict code that applies, with the sentence that says why.

`recon.resubscribe.codes` has each code's condition; the functions here are those conditions, in the same order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from recon.clock import iso
from recon.resubscribe.moments import whole_day_if_midnight
from recon.resubscribe.policy import AUTHORIZATIONS

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence
    from datetime import datetime

    from recon.resubscribe.approved import ApprovedRow
    from recon.resubscribe.clusters import Member
    from recon.resubscribe.codes import Severity
    from recon.resubscribe.moments import Moment
    from recon.resubscribe.parties import Parties
    from recon.resubscribe.policy import Authorization, Rules, Scope

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_SCOPES: Mapping[str, Scope] = {
    "sales": "sales",
    "sales+marketing": "sales+marketing",
    "marketing+sales": "sales+marketing",
}
_BY_NAME: Mapping[str, Authorization] = {name.casefold(): name for name in AUTHORIZATIONS}
#: Words that are remembered, of each kind.
_REMEMBERED = 4096
#: Records that a sentence names; the rest is counted.
_NAMED = 3
_MINIMUM_SCOPE = "the policy asks for sales+marketing (minimum_scope)"


class Finding(NamedTuple):
    """A code that applies; `severity` and `remedy` only where this finding's differ from the code's."""

    code: str
    why: str
    severity: Severity | None = None
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One row, and all that its verdict rests on but for the other rows of its file.

    Attributes
    ----------
    row
        The row.
    address
        Its address, made comparable; None where it is none.
    members
        All records of the address's cluster.
    rules
        The rules in force for its country.
    consent, approved
        Its dates; None where the cell is blank or can't be read.
    needed_scope
        What the consent has to be for: what clearing the opt-out field reaches, or what the policy asks for.
    reaches_marketing
        Does clearing the opt-out field resubscribe for marketing mail too?
    parties
        Who may approve.
    people
        The address of each person whose person_id stands in the file.
    blocked
        What a Salesforce consent object says against a record, by `system:id`.
    applied
        Digests of the rows that were carried out before.
    now
        The moment of the check.
    """

    row: ApprovedRow
    address: str | None
    members: tuple[Member, ...]
    rules: Rules
    consent: Moment | None
    approved: Moment | None
    needed_scope: Scope
    reaches_marketing: bool
    parties: Parties
    people: Mapping[str, str | None]
    blocked: Mapping[str, str]
    applied: Container[str]
    now: datetime

    @property
    def correction(self) -> bool:
        """Whether the row corrects a wrongly recorded opt-out."""
        return self.row.kind == "correction"

    @property
    def opted_out(self) -> list[Member]:
        """The records that opt the cluster out."""
        return [member for member in self.members if member.opted_out]

    @property
    def authorization(self) -> Authorization | None:
        """The row's authorization type, whatever its case and blanks."""
        return authorization(self.row.authorization)

    @property
    def wants_consent_date(self) -> bool:
        """Whether the row needs a consent date; one whose authorization can't be told does."""
        kind = self.authorization
        return not self.correction and (kind is None or kind in self.rules.consent_date_for)

    @property
    def basis(self) -> Moment | None:
        """What has to be newer than the opt-out: the consent; the approval, where no consent date is wanted."""
        if self.correction:
            return self.approved
        if self.row.consent_date is not None:
            return self.consent
        if self.wants_consent_date and self.rules.severity("consent_date_missing") == "reject":
            return None
        return self.approved


# The same words stand in most rows.
@lru_cache(maxsize=_REMEMBERED)
def authorization(text: str | None) -> Authorization | None:
    """The authorization type that a cell names; None where it names none."""
    plain = re.sub(r"\s*/\s*", "/", " ".join((text or "").casefold().split()))
    return "Other" if plain.startswith("other:") else _BY_NAME.get(plain)


@lru_cache(maxsize=_REMEMBERED)
def scope(text: str | None) -> Scope | None:
    """The scope that a cell names; None where it names none."""
    return _SCOPES.get("".join((text or "").casefold().split()))


def findings(case: Case) -> Iterator[Finding]:
    """All that the row gives rise to by itself, in no particular order."""
    yield from _identity(case)
    yield from _reason(case)
    yield from _authorization(case)
    yield from _dates(case)
    yield from _consent(case)
    yield from _evidence(case)
    yield from _approval(case)
    yield from _initiative(case)
    yield from _scope(case)
    if case.members:
        yield from _state(case) if case.opted_out else [Finding("not_opted_out", "")]
        yield from _blocked(case)
    if case.row.digest(case.address) in case.applied:
        yield Finding("already_applied", "")


def _identity(case: Case) -> Iterator[Finding]:
    person_id = case.row.person_id
    if case.address is None:
        yield Finding(
            "bad_email", "The e-mail cell is blank." if case.row.email is None else "This can't be read as one address."
        )
        return
    if not case.members:
        yield Finding("unknown_person", "")
    if person_id is not None and person_id not in case.people:
        yield Finding("identity_mismatch", "Sales Connect has no person with this person_id.")
    elif person_id is not None and case.people[person_id] != case.address:
        yield Finding("identity_mismatch", "The person with this person_id has another address.")


def _reason(case: Case) -> Iterator[Finding]:
    allowed = case.rules.allowed_reasons
    if case.row.reason is None:
        yield Finding("reason_missing", "")
    elif allowed and _plain(case.row.reason) not in map(_plain, allowed):
        yield Finding("reason_not_allowed", f"The policy's reasons are: {'; '.join(allowed)}.")
    if case.correction and not case.rules.corrections_of_clicks:
        clicked = [member for member in case.opted_out if member.clicked]
        if clicked:
            yield Finding(
                "reason_not_allowed",
                f"The person clicked the unsubscribe link ({named(clicked)}): that is no wrongly recorded opt-out.",
                remedy="Get a consent that is newer, and have a row of the kind consent approved.",
            )


def _authorization(case: Case) -> Iterator[Finding]:
    text, kind = case.row.authorization, case.authorization
    if case.correction:
        return
    if text is None:
        yield Finding("authorization_missing", "")
    elif kind is None or kind not in case.rules.allowed_authorizations:
        allowed = ", ".join(case.rules.allowed_authorizations)
        yield Finding("authorization_not_allowed", f"What counts here is: {allowed or 'nothing'}.")
    elif kind == "Other" and not text.partition(":")[2].strip() and case.row.note is None:
        yield Finding("authorization_missing", "'Other' says nothing without words of its own.")
    if (kind is None or kind in case.rules.purpose_for) and case.row.purpose is None:
        yield Finding("purpose_missing", "")


def _dates(case: Case) -> Iterator[Finding]:
    row = case.row
    if row.consent_date is not None and case.consent is None:
        yield Finding("bad_date", "consent_date can't be read in one way only.")
    if row.approved_at is None:
        yield Finding("bad_date", "approved_at is blank.")
    elif case.approved is None:
        yield Finding("bad_date", "approved_at can't be read in one way only.")
    elif case.approved.earliest > case.now:
        yield Finding("bad_date", f"approved_at ({case.approved.text}) lies in the future.")


def _consent(case: Case) -> Iterator[Finding]:
    if case.wants_consent_date and case.row.consent_date is None:
        yield Finding("consent_date_missing", "")
    if case.correction or case.consent is None:
        return
    if case.consent.earliest > case.now:
        yield Finding("consent_in_future", f"consent_date is {case.consent.text}, and now it is {iso(case.now)}.")
    limit = case.rules.max_age_days(case.authorization)
    if limit is not None and case.now - case.consent.earliest > timedelta(days=limit):
        yield Finding(
            "consent_too_old", f"The consent is of {case.consent.text}; the limit is {counted(limit, 'day')}."
        )


def _evidence(case: Case) -> Iterator[Finding]:
    row, wanted = case.row, case.rules.require_evidence
    faults = []
    if row.evidence is None and (case.correction or wanted != "no"):
        faults.append("evidence is blank.")
    if row.evidence_sha256 is not None and not _SHA256.fullmatch(row.evidence_sha256):
        faults.append("evidence_sha256 is no SHA-256 (64 hexadecimal digits).")
    elif row.evidence_sha256 is None and wanted == "reference_and_hash":
        faults.append("evidence_sha256 is blank.")
    if case.correction and row.note is None:
        faults.append("A correction says in note what went wrong.")
    if faults:
        yield Finding("evidence_missing", " ".join(faults))


def _approval(case: Case) -> Iterator[Finding]:
    row = case.row
    if row.approved_by is None:
        yield Finding("approver_missing", "")
    else:
        if not case.parties.may_approve(row.approved_by):
            yield Finding("approver_not_admin", "The approver isn't listed in the policy.")
        if row.requested_by is not None and case.parties.same(row.approved_by, row.requested_by):
            yield Finding("self_approved", "approved_by and requested_by are one person.")
        elif row.requested_by is None and case.rules.require_requester:
            yield Finding("self_approved", "requested_by is blank, so nobody can tell that it was somebody else.")
        if case.parties.is_person(row.approved_by, case.members):
            yield Finding("self_approved", "The approver is the person to be resubscribed.")
    if case.approved is None:
        return
    if not case.correction and case.consent is not None and case.approved.latest < case.consent.earliest:
        yield Finding(
            "approval_before_consent", f"Approved {case.approved.text}, before the consent of {case.consent.text}."
        )
    days = case.rules.approval_valid_days
    if case.now - case.approved.earliest > timedelta(days=days):
        yield Finding(
            "approval_expired", f"The approval is of {case.approved.text} and counts for {counted(days, 'day')}."
        )


def _initiative(case: Case) -> Iterator[Finding]:
    word = case.row.initiated_by
    if word is None:
        if not case.correction:
            yield Finding("initiated_by_missing", "initiated_by is blank.")
    elif word.casefold() == "sender":
        yield Finding("asked_by_sender", "")
    elif word.casefold() != "person":
        yield Finding("initiated_by_missing", "initiated_by is neither 'person' nor 'sender'.")


def _scope(case: Case) -> Iterator[Finding]:
    given = scope(case.row.scope)
    if case.row.scope is not None and given is None:
        yield Finding("scope_missing", "scope is none of the two scopes.")
    elif given is None and case.needed_scope == "sales+marketing":
        reached = "clearing the opt-out here reaches marketing mail too" if case.reaches_marketing else _MINIMUM_SCOPE
        yield Finding("scope_missing", f"scope is blank, and {reached}.")
    elif given == "sales" and case.needed_scope == "sales+marketing":
        if case.reaches_marketing:
            why = "scope is 'sales', but clearing the standard field with Marketo Engage connected resubscribes for marketing mail too."
            yield Finding("scope_too_narrow", why)
        else:
            why = f"scope is 'sales', but {_MINIMUM_SCOPE}."
            yield Finding("scope_too_narrow", why, remedy="Get a consent for sales+marketing.")


def _state(case: Case) -> Iterator[Finding]:
    causes = {member.cause for member in case.opted_out}
    bounced = [member for member in case.opted_out if member.cause == "bounce" and member.address == case.address]
    if causes == {"bounce"} or bounced:
        yield Finding("bounced", "")
    if "user" in causes and "choice" not in causes:
        yield Finding("user_level_only", "")
    yield from _newer(case)


def _newer(case: Case) -> Iterator[Finding]:
    """Hold what the row rests on against every opt-out of the cluster: it has to be newer."""
    basis = case.basis
    dated = [(whole_day_if_midnight(member.opted_out_at), member) for member in case.opted_out if member.opted_out_at]
    undated = [member for member in case.opted_out if member.opted_out_at is None]
    what = "The approval" if basis is case.approved else "The consent"
    if dated and basis is not None:
        newest, member = max(dated, key=lambda pair: (pair[0].latest, pair[1].uid))
        if basis.earliest <= newest.latest:
            why = f"{what} ({basis.text}) isn't provably newer than the newest opt-out ({newest.text}, {member.uid})."
            yield Finding("consent_before_opt_out", why)
    if undated:
        why = f"Opted out, and nobody knows since when: {named(undated)}."
        if case.rules.unknown_opt_out_date == "bound" and basis is not None:
            if all(m.changed_at and whole_day_if_midnight(m.changed_at).latest < basis.earliest for m in undated):
                yield Finding("opt_out_date_unknown", f"{why} Their last change is older than the consent.", "warn")
                return
            why += " Their last change isn't older than the consent."
        yield Finding("opt_out_date_unknown", why)


def _blocked(case: Case) -> Iterator[Finding]:
    against = [member for member in case.members if member.uid in case.blocked]
    if against:
        said = "; ".join(dict.fromkeys(case.blocked[member.uid] for member in against))
        yield Finding("blocked_by_consent_object", f"{named(against)}: {said}.")


def counted(number: int, what: str) -> str:
    """`1 day`, `2 days`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def named(members: Sequence[Member]) -> str:
    """Some records by `system:id`; the rest is counted."""
    rest = len(members) - _NAMED
    return ", ".join(member.uid for member in members[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


@lru_cache(maxsize=_REMEMBERED)
def _plain(text: str) -> str:
    for odd, straight in (("’", "'"), ("‘", "'"), ("“", '"'), ("”", '"')):
        text = text.replace(odd, straight)
    return " ".join(text.casefold().split())
