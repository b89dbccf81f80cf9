"""The policy: which rules a resubscribe has to meet, per country, each with its source. Section [policy] of recon.toml.

The defaults are the strict reading of the law gathered for this project. They are settings, and no legal advice: a company's own counsel
decides. What guards an invariant can't be loosened, see `recon.resubscribe.codes`.
"""

from __future__ import annotations

from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from recon.resubscribe.codes import BY_NAME, Severity
from recon.resubscribe.countries import country_code
from recon.resubscribe.moments import check_format

Authorization = Literal[
    "Consent",
    "Legitimate Interest",
    "Performance of a Contract",
    "Compliance with Legal Obligation",
    "Protection of Vital Interests",
    "Public Interest/Official Authority",
    "Other",
]
AUTHORIZATIONS: tuple[Authorization, ...] = (
    "Consent",
    "Legitimate Interest",
    "Performance of a Contract",
    "Compliance with Legal Obligation",
    "Protection of Vital Interests",
    "Public Interest/Official Authority",
    "Other",
)
Scope = Literal["sales", "sales+marketing"]


class Rules(BaseModel):
    """The rules that a country may have of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    source: str = Field(
        "The strict reading of all regimes gathered, for rows without a country and for countries without rules of their own",
        description="Where a country's rules come from.",
    )
    severities: dict[str, Severity] = Field(
        default_factory=dict,
        description="What a verdict code does where it isn't its default: reject, warn or off (not_opted_out and already_applied: no_op or reject). "
        "Codes that guard an invariant always reject.",
    )
    allowed_reasons: list[str] = Field(
        default_factory=list,
        description="Reasons that count, as Sales Connect's Remove Unsubscribe dialog offers them; case and blanks don't matter. "
        "Empty: any reason that isn't blank, kept word for word. Source: Adobe documents the dialog by a picture only, so the list is the account's.",
    )
    allowed_authorizations: list[Authorization] = Field(
        [*AUTHORIZATIONS],
        description="Authorization types that count. Source: AdobeDocs, sales-connect-and-gdpr-compliance (the Compliance Card's seven types).",
    )
    consent_date_for: list[Authorization] = Field(
        [*AUTHORIZATIONS],
        description="Authorization types that need a consent_date; for others approved_at has to be newer than the opt-out. "
        "Source: 15 USC 7704(a)(4)(B), only consent subsequent to the opt-out lifts it; the Compliance Card wants it with Consent alone.",
    )
    purpose_for: list[Authorization] = Field(
        ["Consent"],
        description="Authorization types that need a purpose. Source: the Compliance Card; GDPR recital 42; CASL s.10(1).",
    )
    consent_max_age_days: int = Field(
        730,
        ge=0,
        le=36_500,
        description="Days that a consent counts; 0: without end. Source: no law names a limit for express consent; North Rhine-Westphalia's authority "
        "says two years, EDPB 05/2020 says refresh at appropriate intervals.",
    )
    max_age_by_authorization: dict[Authorization, int] = Field(
        default_factory=dict,
        description="Shorter limits in days for single authorization types, like implied consent's; the shorter limit holds. Source: CASL s.10(10).",
    )
    approval_valid_days: int = Field(
        30,
        ge=1,
        le=36_500,
        description="Days that an approval counts. Source: recon's rule; an approval is given for the state of its time.",
    )
    require_evidence: Literal["no", "reference", "reference_and_hash"] = Field(
        "reference",
        description="What a row has to hold as evidence: nothing, where it lies, or also its SHA-256. Source: GDPR Art. 7(1), CASL s.13, ACMA "
        "('up to you to prove').",
    )
    require_requester: bool = Field(
        False,
        description="Must requested_by be filled in, so that it can be told from the approver? Source: recon's rule of four eyes.",
    )
    unknown_opt_out_date: Literal["reject", "bound", "accept"] = Field(
        "reject",
        description="An opt-out of unknown date: reject the row; bound: take the record's last change, the latest that it can have been; or accept the "
        "row. The last two mark it with a warning. Source: 15 USC 7704(a)(4)(B), subsequent to the request.",
    )
    minimum_scope: Scope = Field(
        "sales",
        description="The least scope an approval needs, even where the opt-out field doesn't ask for more. Source: AdobeDocs, durable-unsubscribe.",
    )
    corrections_of_clicks: bool = Field(
        False,
        description="May a row of the kind 'correction' lift an opt-out whose source is a click of the person on the unsubscribe link? Source: a correction "
        "needs proof that the person did not act.",
    )
    approvers: list[str] = Field(
        default_factory=list,
        description="People who may approve without being admins, like a privacy officer. Written as admins are.",
    )
    time_zone: str = Field(
        "UTC",
        description="Zone of dates, and of times that state none: a consent dated the 24th counts from the 24th's first moment there. Source: 15 USC 7704(a)(4)(B).",
    )

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no time zone; write one like America/Los_Angeles") from error
        return value

    @field_validator("severities")
    @classmethod
    def _allowed_severities(cls, value: dict[str, Severity]) -> dict[str, Severity]:
        for name, severity in value.items():
            if name not in BY_NAME:
                raise ValueError(f"there is no verdict code {name!r}")
            allowed = BY_NAME[name].allowed
            if severity not in allowed:
                raise ValueError(f"{name} can't be {severity!r}; it may be: {', '.join(allowed)}")
        return value

    @field_validator("max_age_by_authorization")
    @classmethod
    def _positive(cls, value: dict[Authorization, int]) -> dict[Authorization, int]:
        if not all(1 <= days <= 36_500 for days in value.values()):
            raise ValueError("a limit lies between 1 and 36500 days")
        return value

    def severity(self, code: str) -> Severity:
        """What a verdict code does under these rules."""
        if code == "opt_out_date_unknown" and self.unknown_opt_out_date == "accept":
            return "warn"
        return self.severities.get(code, BY_NAME[code].severity)

    def max_age_days(self, authorization: Authorization | None) -> int | None:
        """Days that a consent of this authorization type counts; None: without end."""
        limits = [self.consent_max_age_days] if self.consent_max_age_days else []
        if authorization in self.max_age_by_authorization:
            limits.append(self.max_age_by_authorization[authorization])
        return min(limits, default=None)


#: Rules by country, over the general ones. Only what the gathered sources say of that country.
COUNTRY_DEFAULTS: dict[str, dict[str, Any]] = {
    "AU": {
        "allowed_authorizations": ["Consent"],
        "time_zone": "Australia/Sydney",
        "source": "Spam Act 2003 Sch. 2, ACMA: express consent with who, when and how; inferred consent only from a provable ongoing relationship. "
        "Dates count from the day's first moment in the east.",
    },
    "CA": {
        "allowed_authorizations": ["Consent"],
        "max_age_by_authorization": {"Performance of a Contract": 730, "Legitimate Interest": 181},
        "source": "CASL s.10, 13: express consent, the sender has to prove it; the statute is silent on implied consent after an unsubscribe. Where a policy "
        "allows it: 2 years from a purchase or contract, 6 months (181 days, the shortest) from an inquiry, s.10(10).",
    },
    "DE": {
        "allowed_authorizations": ["Consent"],
        "time_zone": "Europe/Berlin",
        "source": "GDPR Art. 7(1), 7(3), recital 42; the two years of consent_max_age_days are North Rhine-Westphalia's authority's.",
    },
    "GB": {
        "allowed_authorizations": ["Consent"],
        "time_zone": "Europe/London",
        "source": "PECR reg. 22(2): consents for the time being; ICO: keep when, how and what they were told.",
    },
    "US": {
        "allowed_authorizations": ["Consent"],
        "source": "CAN-SPAM, 15 USC 7704(a)(4)(B) and 7702(1): affirmative consent subsequent to the request.",
    },
}


class PolicySettings(Rules):
    """Which rules a resubscribe has to meet: the general ones here, a country's own under [policy.countries.XX]."""

    admins: list[str] = Field(
        default_factory=list,
        description="Who has admin rights in Sales Connect: a name, an address, or both as 'Ann Lee <ann@example.com>'. Empty: nobody, so no row is "
        "accepted. Source: AdobeDocs, resubscribing-an-unsubscribe (admin rights are needed).",
    )
    date_format: str | None = Field(
        None,
        description="How the approved file writes dates, like DD.MM.YYYY or MM/DD/YYYY; ISO 8601 is always read. Unset: only ISO 8601.",
    )
    marketo_engage: bool = Field(
        True,
        description="Is Marketo Engage connected? Then clearing the standard opt-out field resubscribes for marketing mail too, and a row needs the scope "
        "sales+marketing. True is the strict reading. Source: AdobeDocs, durable-unsubscribe.",
    )
    default_country: str | None = Field(
        None, description="Whose rules apply to rows without a country. Unset: the general ones."
    )
    country_by_domain: dict[str, str] = Field(
        default_factory=dict,
        description='Whose rules apply to rows without a country, by the end of the address\'s domain, like "de" = "DE"; the longest end wins.',
    )
    countries: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="A country's own rules, over the general ones; what isn't given here keeps recon's default for that country (AU, CA, DE, GB, US).",
    )

    @field_validator("date_format")
    @classmethod
    def _readable_format(cls, value: str | None) -> str | None:
        return None if value is None else check_format(value)

    @field_validator("default_country")
    @classmethod
    def _known_default(cls, value: str | None) -> str | None:
        return None if value is None else _country(value)

    @field_validator("country_by_domain")
    @classmethod
    def _known_countries(cls, value: dict[str, str]) -> dict[str, str]:
        return {domain.casefold().strip("@. "): _country(country) for domain, country in value.items()}

    @field_validator("countries")
    @classmethod
    def _over_the_defaults(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        given: dict[str, dict[str, Any]] = {}
        for name, rules in value.items():
            code = _country(name)
            if code in given:
                raise ValueError(f"{code} stands there twice")
            given[code] = rules
        codes = sorted({*COUNTRY_DEFAULTS, *given})
        return {code: {"source": "recon.toml"} | COUNTRY_DEFAULTS.get(code, {}) | given.get(code, {}) for code in codes}

    @model_validator(mode="after")
    def _countries_hold(self) -> PolicySettings:
        for code in self.countries:
            try:
                self.rules(code)
            except ValidationError as error:
                said = error.errors(include_url=False, include_input=False)[0]
                path = ".".join(str(part) for part in said["loc"])
                text = (
                    "there is no such setting for a country" if said["type"] == "extra_forbidden" else said["msg"]
                ).removeprefix("Value error, ")
                raise ValueError(f"countries.{code}.{path}: {text}") from None
        return self

    def country_of(self, country: str | None, address: str | None) -> str | None:
        """Whose rules apply: the row's country, else the one of the address's domain, else the default."""
        if country is not None:
            return country
        labels = address.rpartition("@")[2].split(".") if address is not None else []
        for start in range(len(labels)):
            found = self.country_by_domain.get(".".join(labels[start:]))
            if found is not None:
                return found
        return self.default_country

    def rules(self, country: str | None) -> Rules:
        """The rules in force for a country: its own over the general ones; None gives the general ones."""
        general = {name: getattr(self, name) for name in Rules.model_fields}
        own = dict(self.countries.get(country or "", {}))
        if isinstance(own.get("severities"), dict):
            own["severities"] = self.severities | own["severities"]
        return Rules.model_validate(general | own)


def _country(text: str) -> str:
    code = country_code(text)
    if code is None:
        raise ValueError(f"{text!r} is no country code; write two letters, like DE")
    return code


def policy_lines(policy: PolicySettings) -> list[str]:
    """The policy in force, as `recon policy` prints it: every setting and code with its source, then each country's differences."""
    lines = ["General rules"]
    for name, field in PolicySettings.model_fields.items():
        if name in ("severities", "countries", "source"):
            continue
        lines += [f"  {name} = {_shown(getattr(policy, name))}", f"      {field.description}"]
    lines += ["", "Verdict codes (* differs from recon's default)"]
    general = policy.rules(None)
    for code in BY_NAME.values():
        severity = general.severity(code.name)
        star = "*" if severity != code.severity else " "
        fixed = ", fixed" if len(code.allowed) == 1 else ""
        lines += [f"{star} {code.name}: {severity}{fixed}", f"      {code.meaning} Source: {code.source}."]
    for country in policy.countries:
        rules = policy.rules(country)
        lines += ["", f"{country}: {rules.source}"]
        lines += [
            f"  {name} = {_shown(getattr(rules, name))}"
            for name in Rules.model_fields
            if name not in ("source", "severities") and getattr(rules, name) != getattr(general, name)
        ]
        lines += [
            f"  {code}: {rules.severity(code)}" for code in BY_NAME if rules.severity(code) != general.severity(code)
        ]
    return lines


def _shown(value: object) -> str:
    if value is None:
        return "(unset)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "(none)"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items()) or "(none)"
    return str(value)
