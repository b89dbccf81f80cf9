"""Every verdict code, provoked alone by one fault in a row that is right otherwise; and what the rows of one file mean for each other."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from recon.errors import UsageError
from recon.resubscribe.codes import BY_NAME, CODES
from recon.resubscribe.policy import PolicySettings
from recon.tables import VERDICTS
from tests.resubscribe.world import (
    ADMIN,
    ANN,
    ANN_CONTACT,
    GOOD,
    NOW,
    OUT,
    World,
    at,
    codes,
    contact,
    person,
    record_id,
    row,
    verdicts,
)

SHA = "ab" * 32


def pair(number: int, name: str, of_person: dict[str, Any], of_contact: dict[str, Any] | None = None) -> None:
    """A person, and the linked Contact where there is one."""
    linked = None if of_contact is None else record_id(number)
    PEOPLE.append(person(number, f"{name}@buyer.example", salesforce_id=linked, **of_person))
    if of_contact is not None:
        RECORDS.append(contact(number, of_contact.pop("email", f"{name}@buyer.example"), **of_contact))


PEOPLE: list[dict[str, Any]] = [ANN]
RECORDS: list[dict[str, Any]] = [ANN_CONTACT]
LATER = at("2026-11-12T08:00")
pair(2, "bea", {"out": False})
pair(3, "bob", {"unsubscribe_source": "bounce"})
pair(4, "cy", {"unsubscribe_level": "user"})
pair(5, "dan", {"unsubscribed_at": None, "updated_at": at("2026-11-05")})
pair(6, "eve", {"unsubscribe_source": "clicked_link"})
pair(7, "o'fay", {})
pair(8, "gil", {}, {"email": "gil@home.example"})
pair(9, "hal", {}, {"opted_out_at": LATER})
pair(10, "ian", {"unsubscribed_at": LATER}, {})
pair(11, "jo", {}, {})
RECORDS.append(contact(111, "jo@buyer.example", lead=True, opted_out_at=LATER))
pair(12, "kim", {"unsubscribed_at": at("2026-11-10")})
pair(13, "lee", {"unsubscribed_at": at("2026-11-09T20:00")})
pair(14, "max", {}, {"opted_out_at": None, "modified_at": at("2026-11-05T01:00")})
pair(15, "ned", {}, {"opted_out_at": None})
pair(16, "pat", {"unsubscribed_at": at("2026-11-20T10:00")})
pair(17, "quin", {"unsubscribe_source": "bounce"}, {})
pair(18, "ray", {"unsubscribe_level": "user"}, {})
pair(19, "sam", {}, {"email": "info@buyer.example"})
pair(20, "tom", {}, {"email": "info@buyer.example"})
pair(21, "ula", {}, {"email": "ula@home.example"})
PEOPLE.append(person(121, None, salesforce_id=record_id(21)))
pair(22, "vic", {}, {})
RECORDS.append(contact(122, "vic@buyer.example", lead=True, is_converted=True, converted_contact_id=record_id(22)))
RECORDS.append(contact(23, "wes@buyer.example", is_deleted=True))
pair(24, "xia", {})
pair(25, "'xia", {})
pair(26, "'yan", {})


@pytest.fixture(scope="module")
def world() -> World:
    return World(PEOPLE, RECORDS, clusters={"never_join": ["info@buyer.example"]})


def policy(**values: Any) -> PolicySettings:
    return PolicySettings(admins=[ADMIN], **values)


def only(
    world: World, *, rules: PolicySettings | None = None, options: dict[str, Any] | None = None, **values: Any
) -> list[str]:
    """The codes of one row."""
    [found] = codes(world.check([row(**values)], rules, **(options or {})))
    return found


def test_a_good_row_is_accepted_with_the_records_it_clears(world: World) -> None:
    checked = world.check([GOOD])
    assert checked.verdicts.schema == VERDICTS.schema
    assert checked.verdicts.to_pylist() == [
        {
            "row": 2,
            "email": "ann@buyer.example",
            "verdict": "accepted",
            "codes": None,
            "message": "2 records would be cleared.",
            "records": 2,
        }
    ]
    [accepted] = checked.accepted
    assert accepted.clusters == ("sales_connect:1",)
    assert [member.uid for member in accepted.clears] == ["sales_connect:1", "salesforce:003000000000001AAA"]
    assert accepted.newest_opt_out == OUT
    assert accepted.opt_out_dates_known
    assert (checked.rejected, checked.no_op, accepted.row.kind) == (0, 0, "consent")


ONE_FAULT: list[tuple[str, dict[str, Any]]] = [
    ("bad_email", {"email": None}),
    ("bad_email", {"email": "Ann Buyer"}),
    ("bad_email", {"email": "Ann <ann@buyer.example>"}),
    ("bad_email", {"email": "=HYPERLINK(1)"}),
    ("unknown_person", {"email": "nobody@buyer.example"}),
    ("identity_mismatch", {"person_id": "2"}),
    ("identity_mismatch", {"person_id": "4711"}),
    ("not_opted_out", {"email": "bea@buyer.example"}),
    ("reason_missing", {"reason": None}),
    ("authorization_missing", {"authorization": None}),
    ("authorization_missing", {"authorization": "Other"}),
    ("authorization_missing", {"authorization": "Other: "}),
    ("authorization_not_allowed", {"authorization": "Because"}),
    ("authorization_not_allowed", {"authorization": "Legitimate Interest", "country": "US"}),
    ("consent_date_missing", {"consent_date": None}),
    ("consent_date_missing", {"consent_date": None, "authorization": "Legitimate Interest"}),
    ("bad_date", {"consent_date": "10/11/2026"}),
    ("bad_date", {"consent_date": "25/12/2026"}),
    ("bad_date", {"consent_date": "46336"}),
    ("bad_date", {"consent_date": "2026-02-30"}),
    ("bad_date", {"approved_at": "yesterday"}),
    ("bad_date", {"approved_at": None}),
    ("bad_date", {"approved_at": "2026-11-25"}),
    ("consent_before_opt_out", {"consent_date": "2026-11-01"}),
    ("consent_before_opt_out", {"consent_date": "2026-11-02"}),
    ("consent_before_opt_out", {"consent_date": "2026-11-02T15:30:00Z"}),
    ("opt_out_date_unknown", {"email": "dan@buyer.example"}),
    ("purpose_missing", {"purpose": None}),
    ("evidence_missing", {"evidence": None}),
    ("evidence_missing", {"evidence_sha256": "ab"}),
    ("approver_missing", {"approved_by": None}),
    ("approver_not_admin", {"approved_by": "eve@seller.example"}),
    ("self_approved", {"requested_by": "IDA@seller.example"}),
    ("self_approved", {"requested_by": "ida  admin"}),
    ("approval_before_consent", {"approved_at": "2026-11-09"}),
    ("approval_before_consent", {"consent_date": "2026-11-10T12:00Z", "approved_at": "2026-11-10T11:59Z"}),
    ("initiated_by_missing", {"initiated_by": None}),
    ("initiated_by_missing", {"initiated_by": "both"}),
    ("asked_by_sender", {"initiated_by": "Sender"}),
    ("bounced", {"email": "bob@buyer.example"}),
    ("user_level_only", {"email": "cy@buyer.example"}),
    ("scope_missing", {"scope": None}),
    ("scope_missing", {"scope": "all"}),
    ("scope_too_narrow", {"scope": "sales"}),
    ("linked_address_not_approved", {"email": "gil@buyer.example"}),
]


@pytest.mark.parametrize(("code", "values"), ONE_FAULT)
def test_one_fault_is_one_code(world: World, code: str, values: dict[str, Any]) -> None:
    checked = world.check([row(**values)])
    assert codes(checked) == [[code]]
    assert verdicts(checked) == ["no_op" if code == "not_opted_out" else "rejected"]
    [message] = checked.verdicts.column("message").to_pylist()
    assert message.endswith(BY_NAME[code].remedy)
    assert "@" not in message
    assert not checked.accepted
    assert checked.verdicts.column("records").to_pylist() == [0]


SAME: list[dict[str, Any]] = [
    {"email": "'ann@buyer.example"},
    {"email": "ANN@Buyer.Example"},
    {"authorization": "consent"},
    {"authorization": "Legitimate Interest"},
    {"authorization": "other: a letter"},
    {"authorization": "Other", "note": "a letter"},
    {"authorization": "Public Interest / Official  Authority"},
    {"consent_date": "2026-11-02T15:30:01Z"},
    {"consent_date": "2026-11-02T16:30:00.000001+01:00"},
    {"consent_date": "2026-11-03"},
    {"approved_at": "2026-11-10"},
    {"approved_by": "Ida Admin"},
    {"evidence_sha256": SHA.upper()},
    {"initiated_by": "PERSON"},
    {"scope": "Marketing + Sales"},
    {"person_id": "1"},
    {"requested_by": None},
    {"reason": "=cmd|' /C calc'!A0"},
    {"note": "<script>alert(1)</script>"},
    {"purpose": None, "authorization": "Legitimate Interest"},
]


@pytest.mark.parametrize("values", SAME)
def test_other_spellings_of_a_good_row_are_accepted(world: World, values: dict[str, Any]) -> None:
    assert only(world, **values) == []


def test_all_codes_of_a_row_are_named_in_order(world: World) -> None:
    needed = (
        "reason",
        "authorization",
        "consent_date",
        "purpose",
        "evidence",
        "initiated_by",
        "approved_by",
        "approved_at",
    )
    blank: dict[str, Any] = dict.fromkeys((*needed, "scope"))
    bare = row(**blank)
    [found] = codes(world.check([bare]))
    assert found == [
        *("reason_missing", "authorization_missing", "consent_date_missing", "bad_date", "purpose_missing"),
        *("evidence_missing", "approver_missing", "initiated_by_missing", "scope_missing"),
    ]


def test_codes_that_depend_on_the_moment(world: World) -> None:
    early = {"now": at("2026-11-09T23:59:59")}
    assert only(world, approved_at="2026-11-08", options=early) == ["consent_in_future", "approval_before_consent"]
    assert only(world, options={"now": NOW + timedelta(days=40)}) == ["approval_expired"]
    late = only(world, options={"now": NOW + timedelta(days=740)}, approved_at="2028-11-20")
    assert late == ["consent_too_old"]


def test_codes_that_depend_on_the_policy(world: World) -> None:
    listed = policy(allowed_reasons=["The person asked", "Wrong person’s request"])
    assert only(world, rules=listed) == ["reason_not_allowed"]
    assert only(world, rules=listed, reason="the person  ASKED") == []
    assert only(world, rules=listed, reason="Wrong person's request") == []
    hashed = policy(require_evidence="reference_and_hash")
    assert only(world, rules=hashed) == ["evidence_missing"]
    assert only(world, rules=hashed, evidence_sha256=SHA) == []
    assert only(world, rules=policy(require_evidence="no"), evidence=None) == []
    assert only(world, rules=policy(require_requester=True), requested_by=None) == ["self_approved"]
    assert only(world, rules=policy(approvers=["eve@seller.example"]), approved_by="eve@seller.example") == []
    assert only(world, rules=PolicySettings()) == ["approver_not_admin"]
    assert only(world, rules=policy(date_format="DD/MM/YYYY"), consent_date="10/11/2026") == []
    assert only(world, rules=policy(date_format="MM/DD/YYYY"), consent_date="10/11/2026") == ["consent_before_opt_out"]
    assert only(world, rules=policy(approval_valid_days=3)) == ["approval_expired"]
    assert only(world, rules=policy(marketo_engage=False), scope="sales") == []
    assert only(world, rules=policy(marketo_engage=False), scope=None) == []
    wide = policy(marketo_engage=False, minimum_scope="sales+marketing")
    assert only(world, rules=wide, scope="sales") == ["scope_too_narrow"]


def test_the_approver_is_not_the_person(world: World) -> None:
    listed = PolicySettings(admins=["ann@buyer.example", "Ann Buyer", "Ida"])
    assert only(world, rules=listed, approved_by="Ann@buyer.example") == ["self_approved"]
    assert only(world, rules=listed, approved_by="ann  buyer") == ["self_approved"]
    namesake = PolicySettings(admins=["Ann Buyer <ann@seller.example>"])
    assert only(world, rules=namesake, approved_by="Ann Buyer") == []


def test_the_custom_field_reaches_sales_alone(world: World) -> None:
    custom = copy(world)
    custom.settings = world.settings.with_values(salesforce={"opt_out_field": "custom"})
    assert only(custom, scope=None) == []
    assert only(custom, scope="sales") == []
    custom.settings = world.settings.with_values(salesforce={"opt_out_field": "both"})
    assert only(custom, scope="sales") == ["scope_too_narrow"]


@pytest.mark.parametrize("name", ["hal", "ian", "jo"])
def test_the_newest_opt_out_of_the_whole_cluster_counts_on_either_side(world: World, name: str) -> None:
    email = f"{name}@buyer.example"
    checked = world.check([row(email=email)])
    assert codes(checked) == [["consent_before_opt_out"]]
    assert "2026-11-12T08:00:00Z" in checked.verdicts.column("message").to_pylist()[0]
    assert only(world, email=email, consent_date="2026-11-13") == []


def test_a_date_that_was_kept_as_midnight_is_the_whole_day(world: World) -> None:
    email = "kim@buyer.example"
    assert only(world, email=email, consent_date="2026-11-10T20:00:00Z") == ["consent_before_opt_out"]
    assert only(world, email=email, consent_date="2026-11-11") == []


def test_a_country_far_in_the_east_begins_its_day_earlier(world: World) -> None:
    email = "lee@buyer.example"
    assert only(world, email=email, consent_date="2026-11-10") == []
    assert only(world, email=email, consent_date="2026-11-10", country="AU") == ["consent_before_opt_out"]
    assert only(world, email=email, consent_date="2026-11-10T08:00+11:00", country="AU") == []


def test_an_opt_out_of_unknown_date_rejects_unless_the_policy_says_otherwise(world: World) -> None:
    mixed, undated = row(email="max@buyer.example"), row(email="ned@buyer.example")
    assert codes(world.check([mixed, undated])) == [["opt_out_date_unknown"], ["opt_out_date_unknown"]]
    checked = world.check([mixed, undated], policy(unknown_opt_out_date="accept"))
    assert verdicts(checked) == ["accepted", "accepted"]
    assert codes(checked) == [["opt_out_date_unknown"], ["opt_out_date_unknown"]]
    assert [accepted.warnings for accepted in checked.accepted] == [("opt_out_date_unknown",)] * 2
    assert [accepted.opt_out_dates_known for accepted in checked.accepted] == [False, False]
    assert "Only a warning: " in checked.verdicts.column("message").to_pylist()[0]
    bound = policy(unknown_opt_out_date="bound")
    assert verdicts(world.check([mixed, undated], bound)) == ["accepted", "rejected"]
    assert verdicts(world.check([replace(mixed, consent_date="2026-11-05")], bound)) == ["rejected"]


def test_where_no_consent_date_is_wanted_the_approval_has_to_be_newer(world: World) -> None:
    rules = policy(consent_date_for=["Consent"])
    values: dict[str, Any] = {"authorization": "Legitimate Interest", "consent_date": None}
    assert only(world, rules=rules, **values) == []
    assert only(world, rules=rules, **values, email="pat@buyer.example") == ["consent_before_opt_out"]
    assert only(world, rules=rules, **values | {"consent_date": "2026-11-01"}) == ["consent_before_opt_out"]


def test_a_correction_needs_evidence_and_a_note_and_no_consent(world: World) -> None:
    values: dict[str, Any] = {"kind": "correction", "note": "Import of the wrong file", "initiated_by": None}
    blank: dict[str, Any] = dict.fromkeys(("authorization", "consent_date", "purpose"))
    checked = world.check([row(**values | blank)])
    assert verdicts(checked) == ["accepted"]
    assert [each.row.kind for each in checked.accepted] == ["correction"]
    assert only(world, **values | blank | {"note": None}) == ["evidence_missing"]
    assert only(world, rules=policy(require_evidence="no"), **values | blank | {"evidence": None}) == [
        "evidence_missing"
    ]
    assert only(world, **values | blank | {"approved_at": "2026-11-01"}) == ["consent_before_opt_out"]
    assert only(world, **values | {"initiated_by": "sender"}) == ["asked_by_sender"]
    assert only(world, **values | {"email": "eve@buyer.example"}) == ["reason_not_allowed"]
    assert only(world, rules=policy(corrections_of_clicks=True), **values | {"email": "eve@buyer.example"}) == []
    assert only(world, email="eve@buyer.example") == []


def test_a_bounce_on_the_person_is_not_cured_by_another_cause(world: World) -> None:
    assert only(world, email="quin@buyer.example") == ["bounced"]
    assert only(world, email="ray@buyer.example") == []


def test_the_same_row_twice_is_a_duplicate_the_second_time(world: World) -> None:
    checked = world.check([row(line=2), row(line=3, email=" ANN@buyer.example"), row(line=5)])
    assert codes(checked) == [[], ["duplicate_row"], ["duplicate_row"]]
    assert "It repeats line 2." in checked.verdicts.column("message").to_pylist()[1]
    assert verdicts(checked) == ["accepted", "rejected", "rejected"]


def test_rows_that_contradict_each_other_are_all_rejected(world: World) -> None:
    checked = world.check([row(line=2), row(line=3, reason="Another"), row(line=4)])
    assert codes(checked) == [["conflicting_rows"], ["conflicting_rows"], ["duplicate_row", "conflicting_rows"]]
    assert "lines 2, 3, 4" in checked.verdicts.column("message").to_pylist()[0]


def test_a_linked_address_needs_a_row_that_is_accepted(world: World) -> None:
    one, other = row(email="gil@buyer.example"), row(email="gil@home.example", line=3)
    checked = world.check([one, other])
    assert verdicts(checked) == ["accepted", "accepted"]
    assert [[member.uid for member in accepted.clears] for accepted in checked.accepted] == [
        ["sales_connect:8"],
        [f"salesforce:{record_id(8)}"],
    ]
    checked = world.check([one, replace(other, evidence=None)])
    assert codes(checked) == [["linked_address_not_approved"], ["evidence_missing"]]
    assert f"salesforce:{record_id(8)}" in checked.verdicts.column("message").to_pylist()[0]
    assert codes(world.check([one, replace(other, reason=None), replace(other, line=4)]))[0] == [
        "linked_address_not_approved"
    ]


def test_an_address_that_joins_nothing_still_needs_its_own_row(world: World) -> None:
    one, info, other = (
        row(email=f"{name}@buyer.example", line=line) for line, name in enumerate(["sam", "info", "tom"])
    )
    assert codes(world.check([one, info])) == [["linked_address_not_approved"], ["linked_address_not_approved"]]
    checked = world.check([one, info, other])
    assert verdicts(checked) == ["accepted"] * 3
    assert [len(accepted.clears) for accepted in checked.accepted] == [1, 2, 1]
    assert len(checked.accepted[1].clusters) == 2


def test_records_without_an_address_go_with_the_smallest_address_of_the_cluster(world: World) -> None:
    rows = [row(email="ula@home.example"), row(email="ula@buyer.example", line=3)]
    for order in (rows, rows[::-1]):
        cleared = {a.address: [m.uid for m in a.clears] for a in world.check(order).accepted}
        assert cleared == {
            "ula@home.example": [f"salesforce:{record_id(21)}"],
            "ula@buyer.example": ["sales_connect:121", "sales_connect:21"],
        }


def test_a_converted_lead_stays_and_is_said(world: World) -> None:
    checked = world.check([row(email="vic@buyer.example")])
    [accepted] = checked.accepted
    assert len(accepted.clears) == 2
    assert [member.uid for member in accepted.stays] == [f"salesforce:{record_id(122, lead=True)}"]
    [verdict] = checked.verdicts.to_pylist()
    assert verdict["records"] == 2
    assert record_id(122, lead=True) in verdict["message"]


def test_a_deleted_record_is_nobody(world: World) -> None:
    assert only(world, email="wes@buyer.example") == ["unknown_person"]


def test_an_apostrophe_is_told_by_the_known_addresses(world: World) -> None:
    assert only(world, email="o’fay@buyer.example") == []
    assert only(world, email="'xia@buyer.example") == ["bad_email"]
    assert only(world, email="xia@buyer.example") == []
    assert only(world, email="'yan@buyer.example") == []


def test_a_consent_object_that_says_no_blocks(world: World) -> None:
    blocked = {f"salesforce:{record_id(1)}": "Individual.HasOptedOutSolicit"}
    checked = world.check([GOOD], blocked_by_consent=blocked)
    assert codes(checked) == [["blocked_by_consent_object"]]
    assert "Individual.HasOptedOutSolicit" in checked.verdicts.column("message").to_pylist()[0]


def test_a_row_is_carried_out_once(world: World) -> None:
    digest = world.check([GOOD]).accepted[0].digest
    again = world.check([row(line=77)], already_applied={digest})
    assert (verdicts(again), codes(again)) == (["no_op"], [["already_applied"]])
    assert verdicts(world.check([row(note="another")], already_applied={digest})) == ["accepted"]
    done = row(email="bea@buyer.example")
    later = world.check([done], already_applied={done.digest(done.email)}, now=NOW + timedelta(days=100))
    assert verdicts(later) == ["no_op"]
    assert codes(later) == [["not_opted_out", "approval_expired", "already_applied"]]
    anew = row(email="pat@buyer.example")
    opted_out_again = world.check([anew], already_applied={anew.digest(anew.email)})
    assert verdicts(opted_out_again) == ["rejected"]
    assert codes(opted_out_again) == [["consent_before_opt_out", "already_applied"]]


def test_severities_of_the_policy_hold_per_country(world: World) -> None:
    rules = policy(
        severities={"purpose_missing": "warn"}, countries={"FR": {"severities": {"purpose_missing": "reject"}}}
    )
    checked = world.check([row(purpose=None)], rules)
    assert (verdicts(checked), codes(checked)) == (["accepted"], [["purpose_missing"]])
    assert verdicts(world.check([row(purpose=None, country="FR")], rules)) == ["rejected"]
    assert only(world, rules=policy(severities={"purpose_missing": "off"}), purpose=None) == []
    assert verdicts(world.check([row(email="bea@buyer.example")], policy(severities={"not_opted_out": "reject"}))) == [
        "rejected"
    ]


def test_a_row_without_a_country_gets_one_from_the_policy(world: World) -> None:
    values: dict[str, Any] = {"authorization": "Legitimate Interest"}
    assert only(world, **values) == []
    assert only(world, rules=policy(default_country="US"), **values) == ["authorization_not_allowed"]
    by_domain = policy(country_by_domain={"example": "FR", "buyer.example": "GB"})
    assert only(world, rules=by_domain, **values) == ["authorization_not_allowed"]
    assert only(world, rules=by_domain, **values, country="FR") == []


def test_implied_consent_in_canada_lapses_where_a_policy_allows_it(world: World) -> None:
    rules = policy(countries={"CA": {"allowed_authorizations": ["Consent", "Legitimate Interest"]}})
    values: dict[str, Any] = {"authorization": "Legitimate Interest", "country": "CA", "approved_at": "2027-05-20"}
    assert only(world, rules=rules, options={"now": at("2027-05-10")}, **values | {"approved_at": "2027-05-09"}) == []
    assert only(world, rules=rules, options={"now": at("2027-05-21")}, **values) == ["consent_too_old"]
    assert only(world, rules=rules, options={"now": at("2027-05-21")}, **values | {"authorization": "Consent"}) == []


def test_tables_of_two_snapshots_are_refused(world: World) -> None:
    other = copy(world)
    other.records = world.records.slice(1)
    with pytest.raises(UsageError, match="one snapshot"):
        other.check([GOOD])


def test_a_check_needs_a_moment_with_a_zone(world: World) -> None:
    with pytest.raises(ValueError, match="time zone"):
        world.check([GOOD], now=NOW.replace(tzinfo=None))


def test_a_file_of_no_rows_has_no_verdicts(world: World) -> None:
    assert world.check([]).verdicts.num_rows == 0


def test_every_code_is_provoked_here() -> None:
    provoked = {code for code, _ in ONE_FAULT} | {
        *("duplicate_row", "conflicting_rows", "reason_not_allowed", "consent_in_future", "consent_too_old"),
        *("approval_expired", "blocked_by_consent_object", "already_applied"),
    }
    assert provoked == {code.name for code in CODES}
