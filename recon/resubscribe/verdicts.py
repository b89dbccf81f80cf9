"""Check: a verdict for every row of an approved file, with all the codes that apply.

Nothing is changed and nothing is asked of the outside: tables in, verdicts out. The same file, snapshot, policy and moment give the same
verdicts, and the order of the rows matters to duplicates alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - read by pydantic
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter

from recon.resubscribe import moments
from recon.resubscribe.approved import ApprovedRow  # noqa: TC001 - read by pydantic
from recon.resubscribe.clusters import Facts, Member
from recon.resubscribe.codes import BY_NAME
from recon.resubscribe.findings import Case, Finding, authorization, findings, named, scope
from recon.resubscribe.moments import Moment  # noqa: TC001 - read by pydantic
from recon.resubscribe.parties import Parties
from recon.resubscribe.policy import Authorization, Scope  # noqa: TC001 - read by pydantic
from recon.resubscribe.spool import Picked, Row, Spool
from recon.tables import VERDICTS

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from recon.resubscribe.approved import Approved
    from recon.resubscribe.clusters import Known
    from recon.resubscribe.codes import Severity
    from recon.resubscribe.policy import PolicySettings, Rules
    from recon.settings import Settings

#: Rows that are judged together, about: what is known of them is in memory, some kilobytes a row.
ROWS_AT_A_TIME = 2000
_NO_BLOCKS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class AcceptedRow:
    """A row that may be carried out.

    Attributes
    ----------
    row
        As it stands in the file; `row.kind` tells a consent from a correction.
    digest
        SHA-256 over its content, see `ApprovedRow.digest`: what `already_applied` takes when it has been carried out.
    address
        The address, made comparable.
    country
        Whose rules were applied; None for the general ones.
    authorization, scope
        As the row gives them; a blank scope is sales.
    consent, approved
        Its dates; consent is None for a correction, and where none is wanted and none was given.
    clusters
        The address's clusters; more than one only for an address that is set to join nothing.
    clears
        The records whose opt-out it clears, sorted by system and id. Each record is cleared by one row: the one with its address; one without
        an address, by the row with the cluster's smallest.
    stays
        Records among them that stay opted out: converted Leads, which Salesforce lets nobody change, and people of whom only an unsubscribe of
        a single user stands, which is that user's to remove and doesn't sync.
    newest_opt_out
        The newest known opt-out of the clusters.
    opt_out_dates_known
        False where the policy accepted an opt-out of unknown date; the evidence is to be marked so.
    warnings
        Codes that apply and only warn.
    """

    row: ApprovedRow
    digest: str
    address: str
    country: str | None
    authorization: Authorization | None
    scope: Scope
    consent: Moment | None
    approved: Moment | None
    clusters: tuple[str, ...]
    clears: tuple[Member, ...]
    stays: tuple[Member, ...]
    newest_opt_out: datetime | None
    opt_out_dates_known: bool
    warnings: tuple[str, ...]


_ROW = TypeAdapter(AcceptedRow)


def _packed(row: AcceptedRow) -> str:
    return _ROW.dump_json(row).decode()


@dataclass(frozen=True, slots=True)
class Checked:
    """The result.

    Attributes
    ----------
    verdicts
        `recon.tables.VERDICTS`, as many rows as the file has, in its order.
    accepted
        The rows that may be carried out, in the order of the file; they are read from the spool whenever they are asked for.
    rejected, no_op
        How many rows have these verdicts.
    """

    verdicts: pa.Table
    accepted: Picked[AcceptedRow]
    rejected: int
    no_op: int


def check(
    approved: Approved,
    merged: pa.Table,
    people: pa.Table,
    records: pa.Table,
    settings: Settings,
    policy: PolicySettings,
    *,
    now: datetime,
    blocked_by_consent: Mapping[str, str] = _NO_BLOCKS,
    already_applied: Container[str] = (),
    spool: Spool | None = None,
    at_a_time: int = ROWS_AT_A_TIME,
) -> Checked:
    """Give every row of an approved file its verdict.

    Parameters
    ----------
    approved
        What `recon.resubscribe.approved.read_approved` read.
    merged, people, records
        `recon.tables.MERGED`, `PEOPLE` and `RECORDS`, of one snapshot: all of it, or what `recon.resubscribe.clusters.Facts` asks for.
    settings
        `salesforce.opt_out_field` is used: it decides how far a clearing reaches.
    policy
        The rules.
    now
        The moment of the check, with a time zone.
    blocked_by_consent
        What a Salesforce consent object says against a record: `salesforce:<record_id>` -> a few words, like `Individual.HasOptedOutSolicit`.
    already_applied
        Digests of the rows that were carried out before, see `AcceptedRow.digest`; only asked whether it holds one.
    spool
        Where the accepted rows are kept; by default in memory.
    at_a_time
        Rows that are judged together, about; the verdicts are the same whatever it is.

    Raises
    ------
    UsageError
        If the tables aren't of one snapshot.
    ValueError
        If `now` has no time zone.
    """
    if now.tzinfo is None:
        raise ValueError("the moment of a check needs a time zone")
    facts = Facts(approved.rows, merged, people, records)
    prepared = _Preparation(settings, policy)
    outside = _Outside(blocked_by_consent, already_applied, now)
    accepted: Row[AcceptedRow] = Row(spool or Spool(), _packed, _ROW.validate_json)
    places: list[int] = []
    tables, order, said = [], [], {"rejected": 0, "no_op": 0, "accepted": 0}
    for part, known in facts.parts(at_a_time):
        readings = approved.rows.readings.take(pa.array(part)).to_pylist()
        cases = [
            prepared.case(row, _the_one(addresses, known), known, outside)
            for row, addresses in zip(approved.rows.at(part), readings, strict=True)
        ]
        found = [[*findings(case), *again] for case, again in zip(cases, _repeated(cases), strict=True)]
        _link(cases, found)
        judged = [_judge(case, these) for case, these in zip(cases, found, strict=True)]
        table, rows = _result(cases, judged, known, policy)
        tables.append(table)
        order.append(part)
        for place, verdict, row in zip(part.tolist(), judged, rows, strict=True):
            said[verdict.verdict] += 1
            if row is not None:
                accepted.append(row)
                places.append(place)
    verdicts = pa.concat_tables([VERDICTS.empty(), *tables])
    if tables:
        verdicts = verdicts.take(pa.array(np.argsort(np.concatenate(order))))
    return Checked(
        verdicts.combine_chunks(),
        Picked(accepted, np.argsort(np.array(places, dtype=np.int64))),
        rejected=said["rejected"],
        no_op=said["no_op"],
    )


@dataclass(frozen=True, slots=True)
class _Outside:
    """What is known beside the snapshot."""

    blocked: Mapping[str, str]
    applied: Container[str]
    now: datetime


class _Preparation:
    """What depends on the country alone, made once for each."""

    def __init__(self, settings: Settings, policy: PolicySettings) -> None:
        self._policy = policy
        # The custom field is for sales alone; the standard one carries to marketing by address where Marketo Engage is connected.
        self.reaches_marketing = policy.marketo_engage and settings.salesforce.opt_out_field != "custom"
        self._made: dict[str | None, tuple[Rules, Parties, moments.Reader]] = {}

    def of(self, country: str | None) -> tuple[Rules, Parties, moments.Reader]:
        if country not in self._made:
            rules = self._policy.rules(country)
            parties = Parties([*self._policy.admins, *rules.approvers])
            self._made[country] = rules, parties, moments.reader(self._policy.date_format, rules.time_zone)
        return self._made[country]

    def case(self, row: ApprovedRow, address: str | None, known: Known, outside: _Outside) -> Case:
        rules, parties, read = self.of(self._policy.country_of(row.country, address))
        return Case(
            row=row,
            address=address,
            members=() if address is None else known.of(address),
            rules=rules,
            consent=None if row.consent_date is None else read(row.consent_date),
            approved=None if row.approved_at is None else read(row.approved_at),
            needed_scope="sales+marketing" if self.reaches_marketing else rules.minimum_scope,
            reaches_marketing=self.reaches_marketing,
            parties=parties,
            people=known.people,
            blocked=outside.blocked,
            applied=outside.applied,
            now=outside.now,
        )


def _the_one(addresses: Sequence[str], known: Known) -> str | None:
    """The address that is known; where none is, the plainest; None where several are."""
    there = [address for address in addresses if address in known.clusters]
    if len(there) > 1:
        return None
    return there[0] if there else addresses[-1] if addresses else None


def _repeated(cases: Sequence[Case]) -> list[list[Finding]]:
    """For each row, whether its address stands in another row too."""
    by_address: dict[str, list[int]] = {}
    for place, case in enumerate(cases):
        if case.address is not None:
            by_address.setdefault(case.address, []).append(place)
    found: list[list[Finding]] = [[] for _ in cases]
    for address, places in by_address.items():
        firsts: dict[tuple[str | None, ...], int] = {}
        for place in places:
            first = firsts.setdefault(cases[place].row.content(address), place)
            if first != place:
                found[place].append(Finding("duplicate_row", f"It repeats line {cases[first].row.line}."))
        if len(firsts) > 1:
            lines = ", ".join(str(cases[place].row.line) for place in places)
            for place in places:
                found[place].append(Finding("conflicting_rows", f"The rows with this address are in lines {lines}."))
    return found


def _link(cases: Sequence[Case], found: Sequence[list[Finding]]) -> None:
    """Add what other addresses of a cluster mean for a row: each needs a row of its own that would be accepted.

    A row that is acceptable by itself is so only while the others are; one that isn't is held against the others' own rows alone, or
    each would be told that the other one isn't approved.
    """
    others: dict[str, dict[str, Member]] = {}
    by_itself: set[str] = set()
    for case, these in zip(cases, found, strict=True):
        if case.address is None or not case.opted_out:
            continue
        elsewhere = (member for member in case.members if member.address not in (None, case.address))
        others[case.address] = {str(member.address): member for member in elsewhere}
        if not any(_severity(case, finding) == "reject" for finding in these):
            by_itself.add(case.address)
    approved = set(by_itself)
    while dropped := {address for address in approved if others[address].keys() - approved}:
        approved -= dropped
    for case, these in zip(cases, found, strict=True):
        if case.address not in others:
            continue
        lacking = others[case.address].keys() - (approved if case.address in by_itself else by_itself)
        if lacking:
            members = sorted((others[case.address][address] for address in lacking), key=lambda member: member.uid)
            these.append(Finding("linked_address_not_approved", f"Not approved: {named(members)}."))


def _severity(case: Case, finding: Finding) -> Severity:
    return finding.severity or case.rules.severity(finding.code)


@dataclass(frozen=True, slots=True)
class _Judged:
    verdict: str
    codes: tuple[str, ...]
    warnings: tuple[str, ...]
    message: str


def _judge(case: Case, these: Iterable[Finding]) -> _Judged:
    by_code: dict[str, list[Finding]] = {}
    for finding in these:
        if _severity(case, finding) != "off":
            by_code.setdefault(finding.code, []).append(finding)
    codes = tuple(name for name in BY_NAME if name in by_code)
    severities = {code: _severity(case, by_code[code][0]) for code in codes}
    verdict = "accepted"
    if severities.get("already_applied") == severities.get("not_opted_out") == "no_op":
        # It was done, and it holds: what has expired since is no fault.
        verdict = "no_op"
    elif "reject" in severities.values():
        verdict = "rejected"
    elif "no_op" in severities.values():
        verdict = "no_op"
    sentences = []
    for code in codes:
        whys = " ".join(dict.fromkeys(finding.why for finding in by_code[code] if finding.why)) or BY_NAME[code].meaning
        warning = "Only a warning: " if severities[code] == "warn" else ""
        remedies = " ".join(dict.fromkeys(finding.remedy or BY_NAME[code].remedy for finding in by_code[code]))
        sentences.append(f"{warning}{whys} {remedies}")
    warnings = tuple(code for code in codes if severities[code] == "warn")
    return _Judged(verdict, codes, warnings, " ".join(sentences))


def _result(
    cases: Sequence[Case], judged: Sequence[_Judged], known: Known, policy: PolicySettings
) -> tuple[pa.Table, list[AcceptedRow | None]]:
    """The verdicts, and the rows that are accepted, None for the others."""
    owners: dict[str, str] = {}
    for case, verdict in zip(cases, judged, strict=True):
        if verdict.verdict == "accepted" and case.address is not None:
            for member in case.members:
                owner = member.address or min(case.address, owners.get(member.uid, case.address))
                owners[member.uid] = owner
    rows: list[AcceptedRow | None] = []
    columns = {name: [] for name in VERDICTS.names}  # type: ignore[var-annotated]
    for case, verdict in zip(cases, judged, strict=True):
        message, row = verdict.message, None
        if verdict.verdict == "accepted":
            row = _accepted(case, policy.country_of(case.row.country, case.address), verdict, known, owners)
            message = " ".join(filter(None, [_said(row), message]))
        rows.append(row)
        cleared = 0 if row is None else len(row.clears)
        values = (case.row.line, case.row.email, verdict.verdict, ";".join(verdict.codes) or None, message, cleared)
        for name, value in zip(VERDICTS.names, values, strict=True):
            columns[name].append(value)
    return pa.table(columns, schema=VERDICTS.schema), rows


def _accepted(
    case: Case, country: str | None, verdict: _Judged, known: Known, owners: Mapping[str, str]
) -> AcceptedRow:
    assert case.address is not None
    own = [member for member in case.opted_out if owners[member.uid] == case.address]
    dates = [member.opted_out_at for member in case.opted_out]
    return AcceptedRow(
        row=case.row,
        digest=case.row.digest(case.address),
        address=case.address,
        country=country,
        authorization=authorization(case.row.authorization),
        scope=scope(case.row.scope) or "sales",
        consent=None if case.correction else case.consent,
        approved=case.approved,
        clusters=known.clusters[case.address],
        clears=tuple(member for member in own if not _stays(member)),
        stays=tuple(member for member in own if _stays(member)),
        newest_opt_out=max((date for date in dates if date is not None), default=None),
        opt_out_dates_known=None not in dates,
        warnings=verdict.warnings,
    )


def _stays(member: Member) -> bool:
    return member.converted or member.cause == "user"


def _said(row: AcceptedRow) -> str:
    count = len(row.clears)
    text = f"{count} record{'s' if count != 1 else ''} would be cleared."
    converted = [member for member in row.stays if member.converted]
    of_users = [member for member in row.stays if not member.converted]
    if converted:
        text += f" Stays opted out, as Salesforce lets nobody change a converted Lead: {named(converted)}."
    if of_users:
        text += f" Stays unsubscribed from a single user, who alone can remove that: {named(of_users)}."
    return text
