"""A run's manifest.json as typed data, checked when it is read."""

from __future__ import annotations

import json
from datetime import datetime  # noqa: TC003 - pydantic reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recon.categories import CATEGORIES
from recon.errors import ReconError

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "manifest.json"

Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    # Later versions may say more; what the report reads has to be there and of its kind.
    model_config = ConfigDict(extra="ignore", frozen=True)


class InputPart(_Part):
    """One input, as `recon.sources.base.Input.as_json` writes it."""

    name: str
    origin: str
    kind: str
    rows: Count
    sha256: str | None
    size: Count | None = Field(None, alias="bytes")
    started_at: datetime | None
    finished_at: datetime | None
    details: dict[str, Any]


class SnapshotPart(_Part):
    """The snapshot that the run read, and what it cost to pull it, where systems were read by their APIs."""

    id: str
    manifest_sha256: str
    api_calls: dict[str, Any] | None = None
    api_quota: dict[str, Any] | None = None


class RowsPart(_Part):
    """How many rows went in and came out."""

    people: Count
    leads: Count
    contacts: Count
    deleted: Count
    merged: Count
    clusters: Count
    actions: Count


class PeopleCoverage(_Part):
    """How the people are joined to Salesforce; the parts add up to all people."""

    linked: Count
    stale_link: Count
    broken_link: Count
    address_only: Count
    unmatched: Count


class RecordsCoverage(_Part):
    """How the records that aren't deleted are joined to Sales Connect."""

    linked: Count
    address_only: Count
    unmatched: Count


class CoveragePart(_Part):
    """Both sides' coverage."""

    people: PeopleCoverage
    records: RecordsCoverage


class OptedOutPart(_Part):
    """Opt-outs by system, and by agreement of the clusters with members on both sides.

    `sources` is how the people came to be unsubscribed, where the run counted it.
    """

    sales_connect: Count
    salesforce: Count
    clusters: Count
    both_sides: Count
    sales_connect_only: Count
    salesforce_only: Count
    sources: dict[str, Count] | None = None


class CategoryPart(_Part):
    """Records whose primary category it is, and records that it applies to."""

    primary: Count
    all: Count


class FixPart(_Part):
    """Actions by who mends them."""

    toolkit: Count
    admin: Count
    nobody: Count


class MailablePeople(_Part):
    """The persons behind them, each counted once: who needs somebody comes before who waits for the sync."""

    total: Count
    you: Count
    tonight: Count
    nobody: Count


class MailablePart(_Part):
    """Records that aren't opted out although their cluster is: what the next run sets, and the rest by who mends it.

    `people` are None where the run didn't count them.
    """

    total: Count
    tonight: Count
    toolkit: Count
    admin: Count
    nobody: Count
    people: MailablePeople | None = None


class EffectPart(_Part):
    """Persons on both sides whose records are all opted out, by how long that took."""

    same_day: Count
    within_2_days: Count
    within_limit: Count
    late: Count
    unknown: Count


class TonightPart(_Part):
    """What the next nightly run sets, and when it is; `run_at` is None with the sync switched off."""

    enabled: bool
    run_at: datetime | None
    people_set: Count
    records_set: Count


class UnusablePart(_Part):
    """What stands in the data and can't be used for matching."""

    addresses: Count
    ids: Count


class LargeClusterPart(_Part):
    """A cluster above the setting's size, and what joins most of it: an address, or the record that links lead to."""

    cluster: str
    size: Count
    members: Count | None = None
    joined_by: Literal["address", "link"]
    value_masked: str | None = None
    uid: str | None = None


class OutputPart(_Part):
    """A file that the run wrote."""

    sha256: str
    rows: Count


class Manifest(_Part):
    """A run's manifest."""

    run_id: str
    created_at: datetime
    clock: Literal["system", "set"]
    tool: dict[str, str]
    engine: str
    settings: dict[str, Any]
    settings_sha256: str
    snapshot: SnapshotPart | None
    inputs: list[InputPart]
    straddles: bool | None
    rows: RowsPart
    coverage: CoveragePart
    opted_out: OptedOutPart
    categories: dict[str, CategoryPart]
    fix: FixPart
    could_be_mailed: MailablePart
    overdue: Count
    time_to_effect: EffectPart | None = None
    tonight: TonightPart
    unusable: UnusablePart
    large_clusters: list[LargeClusterPart]
    outputs: dict[str, OutputPart]
    ledger: dict[str, Any] | None = None


def read_manifest(file: Path) -> Manifest:
    """Read and check a manifest.

    Raises
    ------
    ReconError
        If the file can't be read, is of another version, or lacks something; the text names every key.
    """
    again = "Run `recon diff` again and report on its folder."
    try:
        raw = json.loads(file.read_bytes())
    except OSError as error:
        raise ReconError(f"{file}: can't be read: {error.strerror}.", hint="Give the folder of a run.") from error
    except ValueError as error:
        raise ReconError(f"{file}: not valid JSON.", hint=again) from error
    if not isinstance(raw, dict) or raw.get("schema") != 1:
        raise ReconError(
            f"{file}: not a manifest of version 1.", hint="Use the version of recon that made the run, or run again."
        )
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        wrong = [
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        ]
        raise ReconError(f"{file}: " + "; ".join(wrong) + ".", hint=again) from error
    names = {category.name for category in CATEGORIES}
    if set(manifest.categories) != names:
        odd = ", ".join(sorted(names ^ set(manifest.categories)))
        raise ReconError(f"{file}: categories: missing or unknown: {odd}.", hint=again)
    run_at = manifest.tonight.run_at
    if manifest.tonight.enabled and run_at is None:
        raise ReconError(f"{file}: tonight.run_at is missing although the sync is on.", hint=again)
    if any(at is not None and at.tzinfo is None for at in (manifest.created_at, run_at)):
        raise ReconError(f"{file}: created_at and tonight.run_at need a time zone.", hint=again)
    return manifest
