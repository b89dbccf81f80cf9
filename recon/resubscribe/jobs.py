"""The jobs of the resubscribe flow: check, plan, and for the notebook both with apply."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon import jobs, secrets, settings
from recon.clock import from_environment
from recon.engines.room import enough_room
from recon.errors import UsageError
from recon.evidence import open_ledger, take_checkpoint
from recon.progress import SILENT
from recon.resubscribe import evidence
from recon.resubscribe.approved import read_approved
from recon.resubscribe.plan_file import Plan, write_plan
from recon.resubscribe.planning import make_plan, target_fields, wanted_opt_outs
from recon.resubscribe.spool import Spool, room_for
from recon.resubscribe.sticking import reverting
from recon.resubscribe.verdicts import Checked
from recon.resubscribe.verdicts import check as hold_against_policy

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from contextlib import AbstractContextManager

    import pyarrow as pa

    from recon.clock import Clock
    from recon.engine import Engine
    from recon.progress import Progress
    from recon.reconcile import Reconciliation
    from recon.resubscribe.approved import Approved
    from recon.resubscribe.outcomes import Applied
    from recon.settings import Settings
    from recon.sources.consent_objects import ConsentObjects

VERDICTS_FILE, PLAN_FILE = "verdicts.csv", "plan.json"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Every row's verdict.

    Attributes
    ----------
    approved
        The file.
    checked
        The verdicts.
    notes
        What could not be looked at, see `recon.sources.consent_objects`.
    """

    approved: Approved
    checked: Checked
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The verdicts in lines: line number, verdict, codes, and what to do. Holds no address: the line leads to it."""
        file = self.approved.source
        lines = [
            f"{file.origin} (SHA-256 {str(file.sha256)[:16]}): {len(self.approved.rows)} rows, {len(self.checked.accepted)} accepted, "
            f"{self.checked.rejected} rejected, {self.checked.no_op} with nothing to do"
        ]
        for row in self.checked.verdicts.to_pylist():
            codes = f" [{row['codes']}]" if row["codes"] else ""
            lines.append(f"  line {row['row']}: {row['verdict']}{codes} {row['message']}")
        return [*lines, *(f"  note: {note}" for note in self.notes)]


@dataclass(frozen=True, slots=True)
class PlanResult:
    """A plan that was made, and the run folder it is in."""

    plan: Plan
    path: Path
    folder: Path
    check: CheckResult


@dataclass(frozen=True, slots=True)
class Resubscribed:
    """A plan that was made, and what came of it.

    Attributes
    ----------
    planned
        The plan, with the verdicts.
    applied
        The outcomes; None where it was not to be applied, or there was nothing to apply.
    """

    planned: PlanResult
    applied: Applied | None

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.planned.folder

    def summary(self) -> str:
        """What was done, in lines for people. Holds no address and none of the approvals' words."""
        from recon.resubscribe.show import summary_lines

        lines = summary_lines(self.planned.plan)
        if self.applied is not None:
            lines.append(f"Applied: {self.applied.lines()[0]}")
        elif self.planned.plan.steps:
            lines.append("Not applied: nothing was changed in either system.")
        return "\n".join(lines)


def check(
    workspace: str | Path,
    approved: str | Path,
    *,
    snapshot: str | None = None,
    out: str | Path | None = None,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> CheckResult:
    """Give every row of an approved file its verdict, against a snapshot. Nothing is written but `out`, where it is given.

    Where Salesforce is read by API, its consent objects are looked up for the records of the addresses in the file.

    Parameters
    ----------
    workspace
        Where recon.toml, its policy, the snapshots and the ledger are.
    approved
        The approved file: CSV, Excel or Parquet.
    snapshot
        By default the newest one.
    out
        A file for the verdicts as CSV.
    clock, environ, progress
        The time, the environment that holds the secrets, and where progress is shown; by default the machine's own and silence.

    Raises
    ------
    InputRefused
        If the approved file can't be used.
    UsageError
        If there is no snapshot.
    SourceError
        If Salesforce can't be read: a consent that can't be looked up isn't taken for none.
    NoRoom
        If the memory that the engine may use, or a disk, isn't enough.
    """
    clock = clock or from_environment()
    loaded = settings.load(Path(workspace))
    if out is not None and not Path(out).parent.is_dir():
        raise UsageError(
            f"there is no folder {Path(out).parent}.", hint="Make it first, or write the verdicts elsewhere."
        )
    given = read_approved(Path(approved))
    applied = _already_applied(loaded, clock, environ)
    with enough_room(loaded.run, "duckdb"), _room(loaded):
        engine = _engine(loaded)
        data = jobs.from_snapshot(loaded, snapshot, engine)
        result = _reconciled(data, loaded, engine, clock, environ)
        checked, notes = _checked(given, data, result, loaded, clock, applied, environ, progress, _spool(loaded))
    if out is not None:
        _write_verdicts(checked, Path(out))
    return CheckResult(given, checked, notes)


def plan(
    workspace: str | Path,
    approved: str | Path,
    *,
    with_opt_outs: bool = False,
    created_by: str | None = None,
    snapshot: str | None = None,
    run_id: str | None = None,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> PlanResult:
    """Check an approved file and make the plan of what it allows; both go into a run folder and into the ledger.

    Parameters
    ----------
    workspace, approved, snapshot
        As for `check`.
    with_opt_outs
        Also plan the opt-outs that the diff lists for the toolkit.
    created_by
        Who makes the plan.
    run_id
        By default made from the time.
    clock, environ, progress
        As for `check`.

    Returns
    -------
    PlanResult
        The plan; `plan.applicable` tells whether it can be applied.

    Raises
    ------
    InputRefused, UsageError, SourceError
        As `check`.
    """
    clock = clock or from_environment()
    workspace = Path(workspace)
    loaded = settings.load(workspace)
    given = read_approved(Path(approved))
    run_id = run_id or jobs.new_run_id(clock)
    folder = jobs.run_folder(loaded, run_id)
    in_force = jobs.settings_in_force(loaded)
    applied = _already_applied(loaded, clock, environ)
    with enough_room(loaded.run, "duckdb"), _room(loaded):
        engine = _engine(loaded)
        data = jobs.from_snapshot(loaded, snapshot, engine)
        result = _reconciled(data, loaded, engine, clock, environ)
        spool = _spool(loaded)
        checked, notes = _checked(given, data, result, loaded, clock, applied, environ, progress, spool)
        made = make_plan(
            checked,
            given,
            undone_by=lambda cleared: reverting(data.people, data.records, cleared, loaded, engine),
            opted_out_people=_opted_out_people(result),
            opt_outs=wanted_opt_outs(result.actions_frame, data.people, data.records, engine)
            if with_opt_outs
            else None,
            settings=loaded,
            targets=target_fields(data.inputs, loaded),
            snapshot=data.snapshot or {},
            hashes={"settings_sha256": in_force["settings_sha256"], "policy_sha256": _policy_hash(loaded)},
            run_id=run_id,
            created_at=clock.now(),
            created_by=created_by,
            spool=spool,
        )
    # The evidence comes first: a plan that nobody can look up is never there to be applied.
    with open_ledger(loaded, clock, environ) as ledger:
        evidence.write_check_and_plan(ledger, checked=checked, approved=given, plan=made, actor=created_by)
        point = take_checkpoint(ledger, loaded, folder, environ)
    jobs.leave_run(result, data, loaded, run_id=run_id, folder=folder, clock=clock, ledger=point.as_json())
    _write_verdicts(checked, folder / VERDICTS_FILE)
    write_plan(made, folder / PLAN_FILE)
    return PlanResult(made, folder / PLAN_FILE, folder, CheckResult(given, checked, notes))


def resubscribe(
    workspace: str | Path = ".",
    *,
    approved: str | Path = "inbox/approved.csv",
    with_opt_outs: bool = False,
    created_by: str | None = None,
    snapshot: str | None = None,
    run_id: str | None = None,
    apply: bool = False,
    actor: str | None = None,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Resubscribed:
    """Make the plan of what an approved file allows and, only where that is asked for, carry it out.

    Parameters
    ----------
    workspace
        As for `check`.
    approved
        The approved file; a relative path is taken from the workspace.
    with_opt_outs, created_by, snapshot, run_id
        As for `plan`.
    apply
        Carry the plan out at once, without anybody having looked at it.
    actor
        Who carries it out, see `recon.resubscribe.apply.apply`.
    clock, environ, progress
        As for `check`.

    Raises
    ------
    UsageError
        If it is to be applied and nobody is named who does; nothing is written then.
    ReconError
        As `plan` and `recon.resubscribe.apply.apply`.
    """
    from recon.resubscribe.apply import apply as carry_out

    who = (actor or "").strip()
    if apply and not who:
        raise UsageError("nobody is named who applies the plan.", hint="Name the admin in the parameter actor.")
    workspace, clock = Path(workspace), clock or from_environment()
    planned = plan(
        workspace,
        workspace / approved,
        with_opt_outs=with_opt_outs,
        created_by=created_by,
        snapshot=snapshot,
        run_id=run_id,
        clock=clock,
        environ=environ,
        progress=progress,
    )
    if not apply or not planned.plan.steps:
        return Resubscribed(planned, None)
    return Resubscribed(
        planned, carry_out(workspace, planned.path, actor=who, clock=clock, environ=environ, progress=progress)
    )


def _engine(loaded: Settings) -> Engine:
    from recon.engine import engine_named

    return engine_named("auto", memory=loaded.run.memory, spill=loaded.run.spill)


def _spool(loaded: Settings) -> Spool:
    """Where what is known of the file's rows lies: beside what the engine has no memory for."""
    return Spool(_spill(loaded))


def _spill(loaded: Settings) -> Path:
    return loaded.run.spill or Path(tempfile.gettempdir())


def _room(loaded: Settings) -> AbstractContextManager[None]:
    remedy = "Make room there, or set run.spill in recon.toml to a folder that has more, then do it again: nothing was written."
    return room_for(_spill(loaded), "the file's rows", remedy)


def _reconciled(
    data: jobs.Data, loaded: Settings, engine: Engine, clock: Clock, environ: Mapping[str, str] | None
) -> Reconciliation:
    from recon.reconcile import reconcile
    from recon.resubscribe.answered import answered_leads

    answered = answered_leads(loaded, jobs.stuck(data.records, engine), clock, environ)
    return reconcile(data.people, data.records, loaded, engine=engine, answered=answered)


def _opted_out_people(result: Reconciliation) -> int:
    """How many people are opted out anywhere."""
    import narwhals.stable.v2 as nw

    told: int = result.engine.collect(result.deciding.select(people=nw.len())).to_pylist()[0]["people"]
    return told


def _known(given: Approved, data: jobs.Data, result: Reconciliation) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Of the merged table, people and records what `recon.resubscribe.clusters.Facts` asks for."""
    import narwhals.stable.v2 as nw
    import pyarrow as pa
    import pyarrow.compute as pc

    from recon.resubscribe.clusters import OF_MERGED, OF_PEOPLE, OF_RECORDS

    engine = result.engine
    with engine.apart():
        asked = engine.bring(pa.table({"address": pc.unique(given.rows.readings.flatten())}))
        named = engine.bring(pa.table({"id": given.rows.person_ids}))
        merged = result.merged_frame.select(*OF_MERGED)
        clusters = engine.hold(merged.join(asked, on="address", how="inner").select("cluster").unique())
        theirs = engine.hold(merged.join(clusters, on="cluster", how="inner"))
        by_id = result.sides[0].select(*OF_MERGED).join(named, on="id", how="inner")
        by_id = by_id.join(clusters.with_columns(_there=nw.lit(value=True)), on="cluster", how="left")
        by_id = by_id.filter(nw.col("_there").is_null()).select(*OF_MERGED)
        both = pa.concat_tables([engine.collect(theirs), engine.collect(by_id)])
        people, records = (
            engine.collect(
                frame.select(*columns).join(
                    theirs.filter(nw.col("system") == system).select(nw.col("id").alias(key)), on=key, how="inner"
                )
            )
            for frame, columns, key, system in (
                (data.people, OF_PEOPLE, "person_id", "sales_connect"),
                (data.records, OF_RECORDS, "record_id", "salesforce"),
            )
        )
    return both.sort_by([("system", "ascending"), ("id", "ascending")]), people, records


def _consents(
    given: Approved,
    merged: pa.Table,
    loaded: Settings,
    clock: Clock,
    environ: Mapping[str, str] | None,
    progress: Progress | None,
) -> ConsentObjects:
    """What Salesforce's consent objects say about the people in the file, all records of theirs."""
    import pyarrow.compute as pc

    from recon.sources.consent_objects import ConsentObjects, blocked_by_consent
    from recon.sources.salesforce_session import connect

    if loaded.salesforce.instance_url is None:
        return ConsentObjects(notes=("Salesforce isn't read by API: its consent objects were not looked at.",))
    of_file = pc.is_in(merged.column("address"), value_set=pc.unique(given.rows.readings.flatten()))
    clusters = pc.unique(merged.column("cluster").filter(of_file))
    theirs = merged.filter(
        pc.and_(pc.equal(merged.column("system"), "salesforce"), pc.is_in(merged.column("cluster"), value_set=clusters))
    )
    ids = {
        name: theirs.column("id").filter(pc.equal(theirs.column("object"), name)).to_pylist()
        for name in ("Lead", "Contact")
    }
    if not any(ids.values()):
        return ConsentObjects()
    connection = connect(loaded.salesforce, environ=secrets.resolver(loaded, environ))
    try:
        return blocked_by_consent(connection, ids, now=clock.now(), progress=progress or SILENT)
    finally:
        connection.close()


def _checked(
    given: Approved,
    data: jobs.Data,
    result: Reconciliation,
    loaded: Settings,
    clock: Clock,
    applied: Container[str],
    environ: Mapping[str, str] | None,
    progress: Progress | None,
    spool: Spool,
) -> tuple[Checked, tuple[str, ...]]:
    """The verdicts, and what could not be looked at."""
    merged, people, records = _known(given, data, result)
    consents = _consents(given, merged, loaded, clock, environ, progress)
    checked = hold_against_policy(
        given,
        merged,
        people,
        records,
        loaded,
        loaded.policy,
        now=clock.now(),
        blocked_by_consent=consents.blocked,
        already_applied=applied,
        spool=spool,
    )
    return checked, consents.notes


def _already_applied(loaded: Settings, clock: Clock, environ: Mapping[str, str] | None) -> Container[str]:
    # A check writes nothing: where there is no ledger yet, none is made.
    if not loaded.run.ledger.is_dir():
        return set()
    with open_ledger(loaded, clock, environ) as ledger:
        return evidence.applied_digests(ledger)


def _policy_hash(loaded: Settings) -> str:
    text = json.dumps(loaded.policy.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _write_verdicts(checked: Checked, path: Path) -> None:
    from recon.outputs import write_csv
    from recon.tables import VERDICTS

    write_csv(checked.verdicts.to_batches(), VERDICTS, path)


def as_json(result: CheckResult) -> dict[str, Any]:
    """A check for machines: the file, and every row's verdict."""
    source = result.approved.source
    return {
        "file": source.origin,
        "sha256": source.sha256,
        "rows": len(result.approved.rows),
        "accepted": len(result.checked.accepted),
        "rejected": result.checked.rejected,
        "no_op": result.checked.no_op,
        "notes": list(result.notes),
        "verdicts": result.checked.verdicts.to_pylist(),
    }
