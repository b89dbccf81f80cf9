"""From a run's manifest and tables to the report's data."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from recon import outputs
from recon.categories import CATEGORIES
from recon.report import counts, rows
from recon.report.calls import calls_rows
from recon.report.charts import bar_chart
from recon.report.context import (
    Categories,
    CategoryRow,
    Count,
    Coverage,
    CoverageRow,
    Figure,
    FileRow,
    InputRow,
    Inputs,
    LargeCluster,
    Limit,
    OptOuts,
    Report,
    Tonight,
    Trend,
)
from recon.report.mask import Veil
from recon.report.settings_rows import setting_groups, shown_value
from recon.report.words import TITLES, banner, plural, verdict
from recon.report.words_proof import proof_notes
from recon.settings import ActionSettings, ClusterSettings, Settings, SyncSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime

    from recon.report.context import ActionRow
    from recon.report.context_proof import Proof
    from recon.report.manifest import Manifest
    from recon.report.persons import Persons
    from recon.report.run_tables import RunTables

#: Rows of the lists that only illustrate; the run's files hold all of them.
EXAMPLES = 50

_SOURCES = {
    "manual": ("set by hand", "A user or an admin marked the person."),
    "clicked_link": ("link clicked", "The person clicked the unsubscribe link."),
    "salesforce_sync": ("sync from Salesforce", "The nightly run copied it from Salesforce."),
    "bounce": ("bounce", "A message bounced; the person did not choose."),
    "unknown": ("unknown", "The data doesn't say."),
}


def gather(
    manifest: Manifest,
    tables: RunTables,
    proof: Proof,
    persons: Persons,
    trend: Trend,
    *,
    others: Mapping[str, str],
    settings: Settings,
    at: datetime,
) -> Report:
    """Gather everything the report says.

    Parameters
    ----------
    manifest
        The run's manifest.
    tables
        The run's tables.
    proof
        What the run's folder and the ledger say about resubscribes.
    persons
        Names persons, and remembers whom.
    trend
        The workspace's runs.
    others
        SHA-256 of the folder's files that the manifest doesn't name, manifest.json among them.
    settings
        How to show it: `settings.report` is used. What was in force is what the manifest says.
    at
        When the report is made.

    Raises
    ------
    ReconError
        If the tables and the manifest contradict each other.
    """
    counts.must_agree(manifest, tables)
    veil = Veil(masked=settings.report.mask)
    today = manifest.created_at.astimezone(UTC).date()
    shown = rows.action_rows(tables, settings.report.rows, today, veil, persons)
    overdue_rows = (
        shown[:EXAMPLES] if len(shown) >= EXAMPLES else rows.action_rows(tables, EXAMPLES, today, veil, persons)
    )
    mailable = manifest.could_be_mailed
    to_act = mailable.toolkit + mailable.admin
    return Report(
        title=settings.report.title,
        organisation=settings.report.organisation,
        run_id=veil.text(manifest.run_id),
        created_at=manifest.created_at.astimezone(UTC),
        generated_at=at.astimezone(UTC),
        tool=tuple(sorted((veil.text(name), veil.text(version)) for name, version in manifest.tool.items())),
        engine=veil.text(manifest.engine),
        settings_sha256=manifest.settings_sha256,
        masked=settings.report.mask,
        report_above=_in_force(manifest, "clusters", ClusterSettings()).report_above,
        banner=banner(
            verdict=verdict(manifest),
            proof=proof.state,
            resubscribes=proof_notes(proof),
            to_act=to_act,
            overdue=manifest.overdue,
            actions=manifest.rows.actions,
            mailable=mailable.total,
            straddles=manifest.straddles,
            rehearsal=manifest.clock == "set",
        ),
        figures=_figures(manifest, to_act),
        inputs=_inputs(manifest, veil),
        coverage=_coverage(manifest),
        opt_outs=_opt_outs(manifest, tables),
        limit=_limit(manifest, tables, today, overdue_rows),
        categories=_categories(manifest, counts.by_category(tables, today)),
        actions=shown,
        tonight=_tonight(manifest, rows.change_rows(tables, EXAMPLES, veil, persons)),
        proof=proof,
        large_clusters=_large_clusters(manifest, veil, persons),
        large_clusters_total=len(manifest.large_clusters),
        trend=trend,
        settings=setting_groups(manifest.settings, veil),
        files=_file_rows(manifest, others, veil),
    )


def _file_rows(manifest: Manifest, others: Mapping[str, str], veil: Veil) -> tuple[FileRow, ...]:
    rows: dict[str, tuple[int | None, str]] = {
        name: (output.rows, output.sha256) for name, output in manifest.outputs.items()
    }
    rows |= {name: (None, digest) for name, digest in others.items()}
    found = []
    for name, (count, digest) in sorted(rows.items()):
        audience, what = outputs.told(name)
        found.append(FileRow(veil.text(name), what, audience, count, digest))
    return tuple(found)


def _in_force(manifest: Manifest, section: str, default: Any) -> Any:
    """A section of the settings that were in force, as the manifest has it."""
    values = manifest.settings.get(section, {})
    return type(default).model_validate(
        {name: value for name, value in values.items() if name in type(default).model_fields}
    )


def _figures(manifest: Manifest, to_act: int) -> tuple[Figure, ...]:
    mailable, told = manifest.could_be_mailed, manifest.opted_out
    return (
        Figure(manifest.rows.merged, "records compared", f"of {plural(manifest.rows.clusters, 'person', 'people')}"),
        Figure(told.sales_connect + told.salesforce, "are opted out now", "by the record's own flag"),
        Figure(
            mailable.total,
            "records could be mailed",
            "although the person opted out",
            "act" if to_act else "watch" if mailable.total else "ok",
        ),
        Figure(mailable.tonight, "of them tonight's sync mends", "if it does its work"),
        Figure(to_act, "of them need you", "no sync will mend them", "act" if to_act else "ok"),
        Figure(manifest.overdue, "actions are overdue", "past their due date", "act" if manifest.overdue else "ok"),
    )


def _inputs(manifest: Manifest, veil: Veil) -> Inputs:
    sync = _in_force(manifest, "sync", SyncSettings())
    return Inputs(
        rows=tuple(
            InputRow(
                name=veil.text(row.name),
                origin=veil.text(row.origin, 300),
                kind=veil.text(row.kind),
                rows=row.rows,
                size=row.size,
                sha256=row.sha256,
                started_at=row.started_at,
                finished_at=row.finished_at,
                details=tuple(
                    (veil.text(name), veil.text(shown_value(value), 300)) for name, value in sorted(row.details.items())
                ),
            )
            for row in manifest.inputs
        ),
        snapshot=None if manifest.snapshot is None else veil.text(manifest.snapshot.id),
        snapshot_sha256=None if manifest.snapshot is None else manifest.snapshot.manifest_sha256,
        straddles=manifest.straddles,
        guard=f"{sync.guard_start:%H:%M} to {sync.guard_end:%H:%M} {sync.time_zone}",
        people=manifest.rows.people,
        leads=manifest.rows.leads,
        contacts=manifest.rows.contacts,
        deleted=manifest.rows.deleted,
        calls=()
        if manifest.snapshot is None
        else calls_rows("Pull", manifest.snapshot.api_calls, manifest.snapshot.api_quota, veil),
    )


def _coverage(manifest: Manifest) -> Coverage:
    people, records = manifest.coverage.people, manifest.coverage.records
    table = (
        CoverageRow("Linked", "Joined by a link that the nightly sync uses.", people.linked, records.linked),
        CoverageRow(
            "Stale link",
            "The link leads to a converted Lead. What the sync does with it is not documented; it is taken not to work.",
            people.stale_link,
            None,
        ),
        CoverageRow(
            "Broken link",
            "The Salesforce ID is in no record that is there, or in a deleted one.",
            people.broken_link,
            None,
        ),
        CoverageRow(
            "Matched by address only",
            "The same address stands on the other side without a link. The sync carries nothing.",
            people.address_only,
            records.address_only,
        ),
        CoverageRow("Unmatched", "No counterpart was found on the other side.", people.unmatched, records.unmatched),
    )
    people_total, records_total = sum(dict(people).values()), sum(dict(records).values())
    return Coverage(
        rows=table,
        people=people_total,
        records=records_total,
        clusters=manifest.rows.clusters,
        charts=(
            bar_chart(
                "coverage-people",
                "People in Sales Connect",
                [(row.label, row.people) for row in table if row.people is not None],
                whole=people_total,
            ),
            bar_chart(
                "coverage-records",
                "Leads and Contacts in Salesforce",
                [(row.label, row.records) for row in table if row.records is not None],
                whole=records_total,
            ),
        ),
        unusable_addresses=manifest.unusable.addresses,
        unusable_ids=manifest.unusable.ids,
    )


def _opt_outs(manifest: Manifest, tables: RunTables) -> OptOuts:
    told = manifest.opted_out
    ages = counts.by_age(tables, manifest.created_at)
    sources = None
    if told.sources is not None:
        known = {name: told.sources.get(name, 0) for name in _SOURCES}
        known["unknown"] += sum(count for name, count in told.sources.items() if name not in _SOURCES)
        sources = tuple(Count(_SOURCES[name][0], count, _SOURCES[name][1]) for name, count in known.items())
    return OptOuts(
        systems=counts.by_object(tables),
        clusters=told.clusters,
        agreement=(
            Count("Opted out on both sides", told.both_sides, "The two systems agree that the person opted out."),
            Count("In Sales Connect only", told.sales_connect_only, "No record in Salesforce is opted out."),
            Count("In Salesforce only", told.salesforce_only, "No person in Sales Connect is opted out."),
        ),
        sources=sources,
        source_chart=None
        if sources is None
        else bar_chart(
            "source-chart",
            "Unsubscribed people in Sales Connect, by source",
            [(source.label, source.count) for source in sources],
        ),
        ages=ages,
        age_chart=bar_chart(
            "age", "People opted out, by the age of the newest opt-out", [(age.label, age.total) for age in ages]
        ),
    )


def _limit(manifest: Manifest, tables: RunTables, today: date, first: tuple[ActionRow, ...]) -> Limit:
    limit = _in_force(manifest, "actions", ActionSettings())
    within_a_week, later, undated = counts.by_due_date(tables, today + timedelta(days=7))
    counted = (
        Count("Overdue", manifest.overdue, f"Due before {today}."),
        Count(
            "Due within 7 days", within_a_week - manifest.overdue, f"Due from {today} to {today + timedelta(days=6)}."
        ),
        Count("Due later", later, "After that."),
        Count("Without a date", undated, "The opt-out's date is unknown, or there is nothing to set."),
    )
    effect = _effect(manifest, limit.limit_business_days)
    charts = [] if effect is None else [("effect-chart", "Time to effect, of opt-outs that are whole", effect)]
    charts.append(("due-chart", "Actions by due date", counted))
    return Limit(
        business_days=limit.limit_business_days,
        holidays=len(limit.holidays),
        effect=effect,
        charts=tuple(bar_chart(key, title, [(row.label, row.count) for row in rows]) for key, title, rows in charts),
        counts=counted,
        overdue=manifest.overdue,
        overdue_rows=tuple(row for row in first if row.overdue_days),
        oldest_days=max((row.overdue_days for row in first), default=0),
    )


def _effect(manifest: Manifest, days: int) -> tuple[Count, ...] | None:
    took = manifest.time_to_effect
    if took is None:
        return None
    limit = plural(days, "business day", "business days")
    return (
        Count("Same day", took.same_day, "All records of the person were opted out on one day (UTC)."),
        Count(
            "Within 2 days", took.within_2_days, "The service target of the large mailbox providers for bulk senders."
        ),
        Count(f"Within {limit}", took.within_limit, "Within the limit in force, and later than 2 days."),
        Count("Later than the limit", took.late, f"The last record followed after more than {limit}."),
        Count("Not known", took.unknown, "Of some record nobody knows since when it is opted out."),
    )


def _categories(manifest: Manifest, counted: dict[str, dict[str, int]]) -> Categories:
    table = tuple(
        CategoryRow(
            name=category.name,
            title=TITLES[category.name],
            meaning=category.meaning,
            to_do=category.to_do,
            fixed_by=category.fix,
            primary=manifest.categories[category.name].primary,
            all=manifest.categories[category.name].all,
            overdue=counted[category.name]["overdue"],
        )
        for category in CATEGORIES
    )
    return Categories(
        rows=table,
        total=manifest.rows.actions,
        toolkit=manifest.fix.toolkit,
        admin=manifest.fix.admin,
        nobody=manifest.fix.nobody,
        chart=bar_chart(
            "categories-chart", "Records by category", [(row.title, row.primary) for row in table if row.primary]
        )
        if manifest.rows.actions
        else None,
    )


def _tonight(manifest: Manifest, changes: tuple[Any, ...]) -> Tonight:
    zone = _in_force(manifest, "sync", SyncSettings()).time_zone
    run_at = manifest.tonight.run_at
    return Tonight(
        enabled=manifest.tonight.enabled,
        run_at=run_at and run_at.astimezone(UTC),
        run_at_local=run_at and run_at.astimezone(ZoneInfo(zone)),
        time_zone=zone,
        people=manifest.tonight.people_set,
        records=manifest.tonight.records_set,
        rows=changes,
    )


def _large_clusters(manifest: Manifest, veil: Veil, persons: Persons) -> tuple[LargeCluster, ...]:
    ordered = sorted(manifest.large_clusters, key=lambda cluster: (-cluster.size, cluster.cluster))
    return tuple(
        LargeCluster(
            cluster=veil.text(cluster.cluster),
            person=persons.name(cluster.cluster),
            size=cluster.size,
            members=cluster.members,
            joined_by=cluster.joined_by,
            value=veil.text((cluster.value_masked if cluster.joined_by == "address" else cluster.uid) or "unknown"),
        )
        for cluster in ordered[:EXAMPLES]
    )
