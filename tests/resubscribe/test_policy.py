"""The policy: strict by default, merged by country, and never loose where an invariant hangs on it."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from pydantic import ValidationError

from recon.resubscribe.codes import BY_NAME, CODES
from recon.resubscribe.policy import COUNTRY_DEFAULTS, PolicySettings, Rules, policy_lines

DESIGN = (
    "bad_email unknown_person identity_mismatch duplicate_row conflicting_rows not_opted_out reason_missing reason_not_allowed "
    "authorization_missing authorization_not_allowed consent_date_missing bad_date consent_in_future consent_before_opt_out "
    "opt_out_date_unknown consent_too_old purpose_missing evidence_missing approver_missing approver_not_admin self_approved "
    "approval_before_consent approval_expired initiated_by_missing asked_by_sender bounced scope_missing scope_too_narrow "
    "linked_address_not_approved user_level_only blocked_by_consent_object already_applied"
)


def test_the_codes_in_their_order_each_with_all_that_is_said_of_one() -> None:
    assert [code.name for code in CODES] == DESIGN.split()
    for code in CODES:
        assert code.severity in code.allowed
        assert code.meaning.endswith(".")
        assert code.remedy.endswith(".")
        assert code.source


def test_by_default_everything_rejects() -> None:
    rules = PolicySettings().rules(None)
    no_op = {code.name for code in CODES if rules.severity(code.name) == "no_op"}
    assert no_op == {"not_opted_out", "already_applied"}
    assert all(rules.severity(code.name) == "reject" for code in CODES if code.name not in no_op)


def test_every_setting_says_what_it_is_and_every_rule_where_it_comes_from() -> None:
    plain = {"date_format", "default_country", "country_by_domain", "countries", "severities", "source", "approvers"}
    for name, field in PolicySettings.model_fields.items():
        assert field.description
        assert name in plain or "Source: " in field.description
    assert all(rules["source"] for rules in COUNTRY_DEFAULTS.values())


def test_a_country_s_rules_over_the_general_ones_over_the_defaults() -> None:
    policy = PolicySettings.model_validate(
        tomllib.loads("""
            consent_max_age_days = 400
            approval_valid_days = 10
            severities = { purpose_missing = "warn", bounced = "warn" }
            [countries.uk]
            approval_valid_days = 5
            severities = { bounced = "reject" }
            [countries.FR]
            time_zone = "Europe/Paris"
        """)
    )
    assert sorted(policy.countries) == ["AU", "CA", "DE", "FR", "GB", "US"]
    britain, france, nowhere = policy.rules("GB"), policy.rules("FR"), policy.rules("ZZ")
    assert (britain.approval_valid_days, france.approval_valid_days, nowhere.approval_valid_days) == (5, 10, 10)
    assert britain.consent_max_age_days == 400
    assert (britain.time_zone, france.time_zone, nowhere.time_zone) == ("Europe/London", "Europe/Paris", "UTC")
    assert britain.allowed_authorizations == ["Consent"]
    assert len(nowhere.allowed_authorizations) == 7
    assert (britain.severity("purpose_missing"), britain.severity("bounced")) == ("warn", "reject")
    assert (france.severity("bounced"), france.source) == ("warn", "recon.toml")
    assert policy.rules(None) == nowhere


def test_a_policy_survives_being_written_and_read() -> None:
    policy = PolicySettings(admins=["Ida"], countries={"FR": {"approval_valid_days": 3}}, date_format="DD.MM.YYYY")
    assert PolicySettings.model_validate(policy.model_dump()) == policy
    assert PolicySettings.model_validate_json(policy.model_dump_json()) == policy


def test_whose_rules_apply() -> None:
    policy = PolicySettings(default_country="us", country_by_domain={"@De": "DE", "co.uk": "GB", "kiosk.co.uk": "AU"})
    assert policy.country_of("FR", "a@b.de") == "FR"
    assert policy.country_of(None, "a@b.de") == "DE"
    assert policy.country_of(None, "a@shop.co.uk") == "GB"
    assert policy.country_of(None, "a@kiosk.co.uk") == "AU"
    assert policy.country_of(None, "a@made.example") == "US"
    assert policy.country_of(None, None) == "US"
    assert PolicySettings().country_of(None, "a@b.de") is None


def test_the_shortest_age_limit_holds() -> None:
    canada = PolicySettings().rules("CA")
    assert (canada.max_age_days("Legitimate Interest"), canada.max_age_days("Consent"), canada.max_age_days(None)) == (
        181,
        730,
        730,
    )
    endless = PolicySettings(consent_max_age_days=0)
    assert endless.rules(None).max_age_days("Consent") is None
    assert endless.rules("CA").max_age_days("Legitimate Interest") == 181


FIXED = [code.name for code in CODES if code.allowed == ("reject",)]


def test_what_guards_an_invariant_is_fixed() -> None:
    assert set(FIXED) == {
        *("bad_email", "unknown_person", "identity_mismatch", "duplicate_row", "conflicting_rows", "bad_date"),
        *("consent_in_future", "consent_before_opt_out", "asked_by_sender", "linked_address_not_approved"),
    }


@pytest.mark.parametrize(
    ("values", "said"),
    [
        *[({"severities": {name: "warn"}}, f"{name} can't be 'warn'") for name in FIXED],
        ({"severities": {"consent_before_opt_out": "off"}}, "can't be 'off'"),
        ({"severities": {"opt_out_date_unknown": "off"}}, "can't be 'off'"),
        ({"severities": {"not_opted_out": "off"}}, "can't be 'off'"),
        ({"severities": {"no_such": "off"}}, "no verdict code 'no_such'"),
        ({"severities": {"bounced": "maybe"}}, "severities.bounced"),
        (
            {"countries": {"FR": {"severities": {"asked_by_sender": "off"}}}},
            "countries.FR.severities: asked_by_sender can't",
        ),
        ({"countries": {"FR": {"admins": ["x"]}}}, "countries.FR.admins: there is no such setting for a country"),
        ({"countries": {"FR": {"severities": 7}}}, "countries.FR.severities"),
        ({"countries": {"Narnia": {}}}, "no country code"),
        ({"countries": {"GB": {}, "uk": {}}}, "GB stands there twice"),
        ({"default_country": "Narnia"}, "no country code"),
        ({"country_by_domain": {"de": "D"}}, "no country code"),
        ({"date_format": "DD/MM/YY"}, "no date format"),
        ({"time_zone": "Nowhere/At_All"}, "no time zone"),
        ({"allowed_authorizations": ["Because"]}, "allowed_authorizations"),
        ({"max_age_by_authorization": {"Consent": 0}}, "between 1 and"),
        ({"approval_valid_days": 10**12}, "approval_valid_days"),
        ({"no_such": 1}, "no_such"),
    ],
)
def test_what_cannot_be(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        PolicySettings.model_validate(values)
    assert said in str(caught.value)


def test_the_lines_say_what_is_in_force_and_why() -> None:
    policy = PolicySettings(admins=["Ida"], severities={"bounced": "off"}, countries={"FR": {"approval_valid_days": 3}})
    lines = policy_lines(policy)
    text = "\n".join(lines)
    assert "  admins = Ida" in lines
    assert "  date_format = (unset)" in lines
    assert "* bounced: off" in lines
    assert "  consent_before_opt_out: reject, fixed" in lines
    assert "FR: recon.toml" in lines
    assert "  approval_valid_days = 3" in lines[lines.index("FR: recon.toml") :]
    for name in PolicySettings.model_fields.keys() - {"severities", "countries", "source"}:
        assert f"  {name} = " in text
    assert all(name in text for name in BY_NAME)
    assert all(rules["source"] in text for rules in COUNTRY_DEFAULTS.values())
    assert "15 USC 7704(a)(4)(B)" in text
    assert set(Rules.model_fields) <= set(PolicySettings.model_fields)
