"""What the report says, as plain data: every number and every text, ready to be laid out.

Texts in here may hold anything that stood in the inputs; the renderer escapes them and makes hidden characters visible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import date, datetime

    from recon.report.charts import Chart
    from recon.report.context_proof import Proof

State = Literal["act", "watch", "ok"]


@dataclass(frozen=True, slots=True)
class Banner:
    """The verdict: a state as a word, one sentence, and what qualifies it."""

    state: State
    word: str
    sentence: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number at the top of the report."""

    value: int
    label: str
    note: str
    state: State | None = None


@dataclass(frozen=True, slots=True)
class InputRow:
    """One input, as in the manifest. Times are None where unknown."""

    name: str
    origin: str
    kind: str
    rows: int
    size: int | None
    sha256: str | None
    started_at: datetime | None
    finished_at: datetime | None
    details: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CallsRow:
    """What one piece of work cost at one system: its calls in all, by kind, and their share of the day's."""

    work: str
    system: str
    total: int
    kinds: str
    share: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was read, and whether a nightly run lies between the two sides (None: unknown)."""

    rows: tuple[InputRow, ...]
    snapshot: str | None
    snapshot_sha256: str | None
    straddles: bool | None
    guard: str
    people: int
    leads: int
    contacts: int
    deleted: int
    calls: tuple[CallsRow, ...] = ()


@dataclass(frozen=True, slots=True)
class CoverageRow:
    """One way of being joined to the other system, with how many people and records are joined so; None: doesn't apply there."""

    label: str
    meaning: str
    people: int | None
    records: int | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far the two systems are joined, and what of the data can't be used for that."""

    rows: tuple[CoverageRow, ...]
    people: int
    records: int
    clusters: int
    charts: tuple[Chart, ...]
    unusable_addresses: int
    unusable_ids: int


@dataclass(frozen=True, slots=True)
class SystemRow:
    """Opt-outs of one kind of record: now, after the next nightly run, and as they should be."""

    label: str
    total: int
    now: int
    predicted: int
    should_be: int


@dataclass(frozen=True, slots=True)
class Count:
    """A number with its label and what it means."""

    label: str
    count: int
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class AgeRow:
    """Opted-out persons (clusters) by the age of their newest opt-out."""

    label: str
    whole: int
    open: int

    @property
    def total(self) -> int:
        """All of that age."""
        return self.whole + self.open


@dataclass(frozen=True, slots=True)
class OptOuts:
    """Opt-outs by system, by agreement, by source and by age. `sources` is None where the run didn't count them."""

    systems: tuple[SystemRow, ...]
    clusters: int
    agreement: tuple[Count, ...]
    sources: tuple[Count, ...] | None
    source_chart: Chart | None
    ages: tuple[AgeRow, ...]
    age_chart: Chart


@dataclass(frozen=True, slots=True)
class ActionRow:
    """One record that needs action, as shown. `overdue_days` is 0 where it is not overdue.

    `row` is its row in actions.csv as a spreadsheet counts, the header being row 1.
    """

    row: int
    due_by: date | None
    overdue_days: int
    address: str
    person: str
    record: str
    id: str
    category: str
    also: str
    fix: str
    explanation: str
    path: str | None


@dataclass(frozen=True, slots=True)
class Limit:
    """Time against the limit. `effect` is how long opt-outs took that are whole by now; None where the run didn't count that."""

    business_days: int
    holidays: int
    effect: tuple[Count, ...] | None
    charts: tuple[Chart, ...]
    counts: tuple[Count, ...]
    overdue: int
    overdue_rows: tuple[ActionRow, ...]
    oldest_days: int


@dataclass(frozen=True, slots=True)
class CategoryRow:
    """One category of disagreement and its records: those whose primary category it is, and all that it applies to."""

    name: str
    title: str
    meaning: str
    to_do: str
    fixed_by: str
    primary: int
    all: int
    overdue: int


@dataclass(frozen=True, slots=True)
class Categories:
    """All actions by category and by who mends them."""

    rows: tuple[CategoryRow, ...]
    total: int
    toolkit: int
    admin: int
    nobody: int
    chart: Chart | None


@dataclass(frozen=True, slots=True)
class Change:
    """One record that the next nightly run will set."""

    record: str
    id: str
    address: str
    person: str
    caused_by: str


@dataclass(frozen=True, slots=True)
class Tonight:
    """What the next nightly run will do, and when (None: the sync is off)."""

    enabled: bool
    run_at: datetime | None
    run_at_local: datetime | None
    time_zone: str
    people: int
    records: int
    rows: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class LargeCluster:
    """A cluster with more records than the setting allows without a word. `value` joins `members` of them, where that was counted."""

    cluster: str
    person: str
    size: int
    members: int | None
    joined_by: str
    value: str


@dataclass(frozen=True, slots=True)
class TrendRow:
    """One run of the workspace. `need_you`: of the records that could be mailed, what no sync mends."""

    run_id: str
    at: datetime
    opted_out: int
    mailable: int
    need_you: int
    overdue: int
    actions: int


@dataclass(frozen=True, slots=True)
class Trend:
    """The workspace's runs, this one last. `earlier` are all earlier ones, `unread` those that can't be read."""

    rows: tuple[TrendRow, ...]
    earlier: int
    unread: int
    chart: Chart | None
    verdict: str


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting in force."""

    name: str
    value: str
    changed: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class SettingGroup:
    """One section of recon.toml."""

    name: str
    rows: tuple[SettingRow, ...]


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file of the run. `audience` is people or machines; `rows` is None where rows aren't counted."""

    name: str
    what: str
    audience: str
    rows: int | None
    sha256: str


@dataclass(frozen=True, slots=True)
class Report:
    """The whole report."""

    title: str
    organisation: str
    run_id: str
    created_at: datetime
    generated_at: datetime
    tool: tuple[tuple[str, str], ...]
    engine: str
    settings_sha256: str
    masked: bool
    report_above: int
    banner: Banner
    figures: tuple[Figure, ...]
    inputs: Inputs
    coverage: Coverage
    opt_outs: OptOuts
    limit: Limit
    categories: Categories
    actions: tuple[ActionRow, ...]
    tonight: Tonight
    proof: Proof
    large_clusters: tuple[LargeCluster, ...]
    large_clusters_total: int
    trend: Trend
    settings: tuple[SettingGroup, ...]
    files: tuple[FileRow, ...]
