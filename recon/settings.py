"""Settings: recon.toml and the environment, validated once, at the edge.

Every setting is a field here with its default, its meaning and, where a rule comes from a document, its source. `recon init` writes
recon.toml from these definitions, so the file and the code can't drift apart. Secrets are not settings: recon.toml says where
one is (`recon.secrets`), never what it is, and a value that looks like one is refused.
"""

from __future__ import annotations

import re
import tomllib
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from recon import secret_looks
from recon.errors import SettingsError
from recon.resubscribe.policy import PolicySettings

FILE_NAME = "recon.toml"

OptOutField = Literal["standard", "custom", "both"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


def _without_zone(value: time) -> time:
    if value.tzinfo is not None:
        raise ValueError("the zone is time_zone's business; write the time alone, like 20:00:00")
    return value


_S = TypeVar("_S", bound=_Section)
_LocalTime = Annotated[time, AfterValidator(_without_zone)]


_SECRET = re.compile(r"secret|password|passphrase|token|api_?key|private_?key", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def _variable(value: str) -> str:
    # The text must not repeat the value: it may be a secret that stands in the wrong place.
    if not _NAME.fullmatch(value):
        raise ValueError("this is no name of an environment variable; the secret itself doesn't belong here")
    return value


_Variable = Annotated[str, AfterValidator(_variable)]


class SyncSettings(_Section):
    """The nightly unsubscribe sync between Sales Connect and Salesforce."""

    enabled: bool = Field(
        True, description="Is the unsubscribe sync switched on? (Sales Connect: Admin > Salesforce > Sync Settings.)"
    )
    time_zone: str = Field(
        "America/Los_Angeles", description="The zone of the times below. The vendor states Pacific time."
    )
    run_at: _LocalTime = Field(
        time(20, 0), description="When the nightly run starts: around 8 pm; an older page says between 8 and 9 pm."
    )
    guard_start: _LocalTime = Field(
        time(19, 0), description="From here to guard_end a pull or a change may meet the run: both are refused."
    )
    guard_end: _LocalTime = Field(time(22, 0), description="See guard_start.")

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no time zone; write one like America/Los_Angeles") from error
        return value

    @model_validator(mode="after")
    def _window_holds_the_run(self) -> SyncSettings:
        if not self.guard_start <= self.run_at <= self.guard_end:
            raise ValueError("run_at must lie between guard_start and guard_end, all on one day")
        return self


class SalesforceSettings(_Section):
    """Where Salesforce is, how to log in, and which field is the opt-out."""

    opt_out_field: OptOutField = Field(
        "standard",
        description="What the sync writes: 'standard' (HasOptedOutOfEmail), 'custom' (Marketo Sales Opt Out) or 'both'.",
    )
    custom_field: str | None = Field(
        None,
        description="API name of the custom opt-out checkbox, like Marketo_Sales_Opt_Out__c. "
        "Unset: found by its label; it must be the only match on Lead and on Contact.",
    )
    instance_url: str | None = Field(None, description="The org's address, like https://acme.my.salesforce.com.")
    login: Literal["client_credentials", "jwt", "password", "soap"] = Field(
        "client_credentials",
        description="How to log in. Prefer client_credentials or jwt. 'soap' (user name and password) ends on 1 June 2027 with Salesforce's Summer '27 "
        "release, and is off in new orgs: only where nothing else is possible.",
    )
    username: str | None = Field(None, description="User name, for jwt, password and soap.")
    consumer_key_env: _Variable = Field(
        "RECON_SF_CONSUMER_KEY", description="Environment variable that holds the connected app's consumer key."
    )
    consumer_secret_env: _Variable = Field(
        "RECON_SF_CONSUMER_SECRET", description="Environment variable that holds the consumer secret."
    )
    private_key_file_env: _Variable = Field(
        "RECON_SF_PRIVATE_KEY_FILE",
        description="Environment variable with the path of the private key (PEM, mode 600, outside the workspace), or the key itself; for jwt.",
    )
    private_key_passphrase_env: _Variable = Field(
        "RECON_SF_PRIVATE_KEY_PASSPHRASE",
        description="Environment variable that holds the private key's passphrase, where it has one.",
    )
    password_env: _Variable = Field(
        "RECON_SF_PASSWORD", description="Environment variable that holds the password, for password and soap."
    )
    security_token_env: _Variable = Field(
        "RECON_SF_SECURITY_TOKEN", description="Environment variable that holds the security token."
    )
    ca_file: Path | None = Field(
        None,
        description="PEM file with the authorities that Salesforce's certificate is held against, behind a proxy that opens TLS. Unset: the usual ones, or "
        "REQUESTS_CA_BUNDLE.",
    )
    api_version: str = Field("62.0", pattern=r"^\d\d\.0$", description="Version of Salesforce's API.")
    bulk_above: int = Field(
        2000, ge=0, description="Above this many rows an object is read through Bulk API 2.0, below it by REST queries."
    )
    page_rows: int = Field(50_000, ge=1, le=1_000_000, description="Rows a page of Bulk results.")
    bulk_job_rows: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Rows of one job at most, which are read again together just before and after it. Salesforce works through them by 10,000.",
    )
    bulk_updates_above: int = Field(
        200,
        ge=0,
        description="Above this many records a plan is written through Bulk API 2.0, which knows no precondition on a row; below it row by row "
        "with If-Unmodified-Since.",
    )
    connect_timeout: float = Field(10.0, gt=0, description="Seconds to wait for a connection.")
    read_timeout: float = Field(120.0, gt=0, description="Seconds to wait for an answer.")
    retries: int = Field(
        4,
        ge=0,
        le=10,
        description="How often a read is tried again when the system is busy (429, 500, 502, 503, 504), and a write after its record was read again.",
    )
    backoff_seconds: float = Field(
        0.5, ge=0, le=60, description="Seconds before the first further try; each next one waits twice as long."
    )
    poll_seconds: float = Field(5.0, gt=0, description="Seconds between two looks at a Bulk job.")
    job_timeout: float = Field(3600.0, gt=0, description="Seconds to wait for a Bulk job.")
    parallel_reads: int = Field(
        4,
        ge=1,
        le=8,
        description="How many reads a pull has under way at once: Leads, Contacts, and the field history of both.",
    )
    pull: Literal["full", "since"] = Field(
        "full",
        description="What `recon pull` reads: 'full' everything, 'since' what changed since the newest snapshot of the same org, user, fields and API "
        "version. --full and --since say otherwise for one pull.",
    )
    full_every_days: int = Field(
        7,
        ge=1,
        le=365,
        description="A pull of what changed is built on a full one that is no older than this many days; else a full one is made.",
    )
    overlap_minutes: int = Field(
        60,
        ge=1,
        le=10080,
        description="So much further back than the last pull a pull of what changed begins: records that a long transaction changed before may have come "
        "to light after it.",
    )
    max_share_of_daily_calls: float = Field(
        80.0,
        gt=0,
        le=100,
        description="A pull stops before the org's API calls of the last 24 hours, everybody's together, are used up to more than this share, in percent.",
    )


class GatewaySettings(_Section):
    """An HTTP gateway in front of Sales Connect, where an account has one of its own. Paths are the gateway's."""

    url: str | None = Field(None, description="The gateway's base address. Unset: people come from a file.")
    token_env: _Variable = Field("RECON_GATEWAY_TOKEN", description="Environment variable that holds the bearer token.")
    ca_file: Path | None = Field(
        None,
        description="PEM file with the authorities that the gateway's certificate is held against, like your company's own. Unset: the usual ones, or "
        "REQUESTS_CA_BUNDLE.",
    )
    list_path: str = Field("/people", description="Lists people, a page at a time.")
    person_path: str = Field("/people/{person_id}", description="Reads one person; before every change.")
    unsubscribe_path: str = Field("/people/{person_id}/unsubscribe", description="Unsubscribes a person.")
    resubscribe_path: str = Field(
        "/people/{person_id}/remove-unsubscribe", description="Removes a person's unsubscribe, with a reason."
    )
    items_key: str = Field("people", description="Where in the answer the list of people stands.")
    next_key: str = Field("next", description="Where in the answer the next page's cursor stands; null at the end.")
    total_key: str = Field("total", description="Where in the answer the number of all people stands.")
    cursor_parameter: str = Field("cursor", description="Query parameter that takes the cursor.")
    page_parameter: str = Field("limit", description="Query parameter that takes the page's size.")
    page_size: int = Field(500, ge=1, description="People a page.")
    connect_timeout: float = Field(10.0, gt=0, description="Seconds to wait for a connection.")
    read_timeout: float = Field(60.0, gt=0, description="Seconds to wait for an answer.")
    retries: int = Field(
        4,
        ge=0,
        le=10,
        description="How often a read is tried again when the gateway is busy (429, 500, 502, 503, 504), and a change after its person was read again.",
    )
    backoff_seconds: float = Field(
        0.5, ge=0, le=60, description="Seconds before the first further try; each next one waits twice as long."
    )


class SalesConnectSettings(_Section):
    """Where the people come from: a file of unknown origin, or a gateway."""

    columns: dict[str, str] = Field(
        default_factory=dict,
        description='Which header of your file (or key of a person in the gateway\'s answer) is which column, like unsubscribed = "Opted out?". Canonical names need no line.',
    )
    encoding: str = Field("utf-8-sig", description="Encoding of CSV files. Never guessed.")
    gateway: GatewaySettings = GatewaySettings()


class ActionSettings(_Section):
    """When an opt-out has to be effective everywhere."""

    limit_business_days: int = Field(
        10,
        ge=0,
        le=365,
        description="Business days from an opt-out to its being effective everywhere. 10: CAN-SPAM, 15 USC 7704(a)(4); CASL s.11(3). Australia: 5.",
    )
    holidays: list[date] = Field(
        default_factory=list,
        description="Days that are no business days. None listed: weekends only, the strict reading.",
    )


class ClusterSettings(_Section):
    """Hazards of joining by address."""

    report_above: int = Field(
        50,
        ge=2,
        description="Clusters of more records than this are reported with the address or link that joins them.",
    )
    never_join: list[str] = Field(
        default_factory=list, description="Addresses that join nothing, like info@example.com or test@test.com."
    )


class RunSettings(_Section):
    """Where runs read and leave things. Relative paths start at recon.toml's folder."""

    people: Path | None = Field(None, description="People extract to pull from, where there is no gateway.")
    leads: Path | None = Field(None, description="Lead extract, where Salesforce is not read by API.")
    contacts: Path | None = Field(None, description="Contact extract, where Salesforce is not read by API.")
    snapshots: Path = Field(Path("snapshots"), description="Folder of the snapshots.")
    reports: Path = Field(Path("reports"), description="Folder of the runs' reports.")
    ledger: Path = Field(Path("ledger"), description="Folder of the ledger, the evidence of what was done.")
    inbox: Path = Field(Path("inbox"), description="Folder for extracts and approved CSVs.")
    memory: str | None = Field(
        None,
        pattern=r"^[0-9]+(\.[0-9]+)? ?[KMGT]i?B$",
        description="How much memory DuckDB may use, like 2GB; what needs more is spilled. Unset: 80 % of the machine's.",
    )
    edges: int = Field(
        5_000_000,
        ge=0,
        description="So many links between different addresses are taken into recon's own memory at once, about 300 bytes each; of more, the engine "
        "contracts them first.",
    )
    spill: Path | None = Field(
        None,
        description="Folder for what doesn't fit in memory, personal data too; emptied at the end. Unset: the system's for temporary files.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _somewhere(cls, value: object) -> object:
        # An empty path is the folder itself, which nobody means.
        if isinstance(value, str) and not value.strip():
            raise ValueError("the path is empty; leave the line out for the default")
        return value


class ReportSettings(_Section):
    """What the report shows."""

    title: str = Field("Opt-out reconciliation", description="The report's title.")
    organisation: str = Field("", description="Whose records these are; stands under the title.")
    mask: bool = Field(
        True, description="Mask addresses. False shows them in full: then the report is personal data as it stands."
    )
    rows: int = Field(1000, ge=1, description="Actions shown in the report; all of them are in actions.csv.")


class GuardSettings(_Section):
    """Bounds on what one plan may do. A plan beyond one can't be applied at all: never only the first part of it."""

    max_resubscribes: int = Field(500, ge=0, description="People that one plan may resubscribe.")
    max_share_percent: float = Field(
        5.0, ge=0, le=100, description="The share of all opted-out people that one plan may resubscribe, in percent."
    )
    min_counted: int = Field(
        20,
        ge=0,
        description="Up to this many resubscribes the share isn't looked at: of few people every share is large.",
    )
    max_opt_outs: int = Field(100_000, ge=0, description="Records that one plan may opt out.")


class NoticeSettings(_Section):
    """What people were told when they consented: one notice, under the code that approved files name it with."""

    url: str = Field("", description="Where the notice stands.")
    date: str | None = Field(None, description="Since when it stands there, like 2026-09-01.")
    language: str | None = Field(None, description="Its language, like en.")
    sha256: str | None = Field(None, description="SHA-256 of its text.")


class EvidenceSettings(_Section):
    """The ledger, and what every consent record says alike (ISO/IEC TS 27560, W3C DPV)."""

    keys: Path | None = Field(
        None,
        description="Folder of the keys of the ledger's pseudonyms, kept apart from it. Unset: the ledger's own folder.",
    )
    keys_env: _Variable = Field(
        "RECON_LEDGER_KEYS",
        description="Environment variable that holds keys of the pseudonyms, in place of files: hk1=64 hexadecimal digits, further ones after a blank. "
        "Not set there: the files in the folder keys.",
    )
    signing_key_env: _Variable = Field(
        "RECON_LEDGER_SIGNING_KEY",
        description="Environment variable with the path of an Ed25519 private key (PEM, mode 600, outside the workspace) that signs checkpoints, or the "
        "key itself. Not set there: not signed.",
    )
    signing_key_passphrase_env: _Variable = Field(
        "RECON_LEDGER_SIGNING_KEY_PASSPHRASE",
        description="Environment variable that holds the signing key's passphrase, where it has one.",
    )
    controller_name: str = Field("", description="Who is the controller: the company's name.")
    controller_identifier: str = Field("", description="Its number in a register.")
    controller_address: str = Field("", description="Its postal address.")
    controller_contact: str = Field("", description="How it is reached about privacy: a mailto: or web address.")
    withdraw_at: str = Field("", description="Where people withdraw their consent: a web address.")
    locations: list[str] = Field(default_factory=list, description="Countries in which the data is stored, like DE.")
    notices: dict[str, NoticeSettings] = Field(
        default_factory=dict, description="Notices by their code, each a table [evidence.notices.CODE]."
    )


class SecretsSettings(_Section):
    """Where secrets are looked for, under the names that the settings ending in _env give. The first place that has one counts:
    1. the environment variable of that name; 2. the file of that name, where [secrets.files] or `folder` leads to one; 3. the system's
    keyring, where `keyring` is set. Files lie outside the workspace and can be read by their owner alone (mode 600); any other is refused.
    No secret ever stands in recon.toml.
    """  # noqa: D205 - it is one paragraph of recon.toml

    folder: Path | None = Field(
        None,
        description="Folder outside the workspace with a file a secret, named like the variable: /etc/recon/RECON_GATEWAY_TOKEN holds what the variable "
        "RECON_GATEWAY_TOKEN would. Unset: none is looked for.",
    )
    keyring: str | None = Field(
        None,
        min_length=1,
        description="Service in the system's keyring (macOS Keychain, Windows Credential Locker, Secret Service) that holds secrets; the user there is the "
        "variable's name: `keyring set recon RECON_GATEWAY_TOKEN` stores one for the service recon. Unset: the keyring isn't asked.",
    )
    files: dict[str, Path] = Field(
        default_factory=dict,
        description='Single files elsewhere, a line a secret: RECON_GATEWAY_TOKEN = "/run/secrets/gateway". They come before `folder`.',
    )


class RetentionSettings(_Section):
    """How long `recon prune` keeps runs and snapshots. The ledger, and what a plan or worklist that isn't over needs, always stay."""

    keep_days: int = Field(
        90,
        ge=0,
        le=36_500,
        description="Days that runs and snapshots are kept: they hold personal data, so no longer than needed (GDPR Art. 5(1)(e)).",
    )
    keep_runs: int = Field(30, ge=1, description="So many of the newest runs are kept, however old they are.")


class Settings(_Section):
    """All settings of a workspace."""

    sync: SyncSettings = SyncSettings()
    salesforce: SalesforceSettings = SalesforceSettings()
    sales_connect: SalesConnectSettings = SalesConnectSettings()
    actions: ActionSettings = ActionSettings()
    clusters: ClusterSettings = ClusterSettings()
    policy: PolicySettings = PolicySettings()
    guards: GuardSettings = GuardSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    secrets: SecretsSettings = SecretsSettings()
    run: RunSettings = RunSettings()
    report: ReportSettings = ReportSettings()
    retention: RetentionSettings = RetentionSettings()

    def with_values(self, **sections: dict[str, Any]) -> Settings:
        """A copy with single settings replaced, validated anew: `settings.with_values(sync={"enabled": False})`.

        A section within a section is gone into, `sales_connect={"gateway": {"page_size": 5}}`; a list or a map is replaced whole.

        Raises
        ------
        SettingsError
            If a section, a setting or a value isn't valid.
        """
        for section in sections:
            if section not in type(self).model_fields:
                raise SettingsError(f"there is no section [{section}] in recon's settings")
        return _validated(_replaced(self, sections), where="the settings")


#: The settings that say where things lie on a machine and how long, not what is done; for model_dump's `exclude`.
PLACES: Any = {
    "run": True,
    "secrets": True,
    "retention": True,
    "evidence": {"keys"},
    "salesforce": {"ca_file"},
    "sales_connect": {"gateway": {"ca_file"}},
}


def load(folder: Path) -> Settings:
    """Read `recon.toml` in a folder; without the file, the defaults.

    Parameters
    ----------
    folder
        The workspace. Relative paths of [run] are taken from here.

    Raises
    ------
    SettingsError
        If the file isn't TOML, or holds an unknown setting or a value that can't be used; the text names every one.
    """
    file = folder / FILE_NAME
    raw: dict[str, Any] = {}
    try:
        # Editors on Windows put a byte order mark before the first line.
        raw = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SettingsError(
            f"{file}: can't be read: {error.strerror}.", hint="It has to be a file that you may read."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(
            f"{file}: not valid TOML: {error}",
            hint="Mend that line; `recon init` writes a valid file to compare with.",
        ) from error
    _refuse_secrets(raw, where=str(file))
    return _placed(_validated(raw, where=str(file)), folder)


def _refuse_secrets(raw: dict[str, Any], *, where: str) -> None:
    lines = [f"{where}: {path}: this looks like {words}" for path, words in secret_looks.found(raw)]
    if lines:
        raise SettingsError(
            "\n".join(lines),
            hint="Secrets don't belong in recon.toml: take it out, have it changed if others could read the file, and see [secrets] for the places that it may be in.",
        )


def _placed(settings: Settings, folder: Path) -> Settings:
    """The settings with relative paths as they are from a folder."""

    def section(of: _S) -> _S:
        paths = {name: folder / value.expanduser() for name, value in of if isinstance(value, Path)}
        return of.model_copy(update=paths)

    connect = settings.sales_connect
    secrets = section(settings.secrets)
    files = {name: folder / file.expanduser() for name, file in secrets.files.items()}
    return settings.model_copy(
        update={
            "run": section(settings.run),
            "evidence": section(settings.evidence),
            "salesforce": section(settings.salesforce),
            "sales_connect": connect.model_copy(update={"gateway": section(connect.gateway)}),
            "secrets": secrets.model_copy(update={"files": files}),
        }
    )


def _replaced(section: _Section, values: dict[str, Any]) -> dict[str, Any]:
    merged = section.model_dump()
    for name, value in values.items():
        part = getattr(section, name, None)
        merged[name] = _replaced(part, value) if isinstance(part, _Section) and isinstance(value, dict) else value
    return merged


def _validated(raw: dict[str, Any], *, where: str) -> Settings:
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False, include_input=False):
            path = ".".join(str(part) for part in problem["loc"])
            text = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                secret = " and secrets don't belong here, see [secrets]" if _SECRET.search(path) else ""
                text = f"there is no such setting{',' if secret else ''}{secret}"
            lines.append(f"{where}: {path}: {text}")
        raise SettingsError(
            "\n".join(lines), hint="See the settings and their meaning in a file that `recon init` writes."
        ) from error
