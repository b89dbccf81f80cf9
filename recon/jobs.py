"""The batch jobs: what the notebooks and the command line call. Each takes a workspace, does one step, and leaves files.

A workspace is a folder with a recon.toml (see `recon init`). Without one, the defaults hold.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import platform
import tempfile
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recon import __version__, settings
from recon.clock import SystemClock, from_environment, iso
from recon.errors import InputRefused, UsageError
from recon.progress import SILENT
from recon.results import PullResult, ReportResult, RunResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from recon.clock import Clock
    from recon.engine import Engine
    from recon.errors import Problem
    from recon.progress import Progress
    from recon.reconcile import Reconciliation
    from recon.settings import Settings
    from recon.sources.base import Extract

MANIFEST_SCHEMA = 1
_LIBRARIES = ("duckdb", "narwhals", "pandas", "pyarrow")
#: What an engine is made of beside these.
_LIBRARIES_OF = {"polars": ("polars",), "spark": ("pyspark",)}


def new_run_id(clock: Clock) -> str:
    """A run's id, from the time: `20261124T180000Z`."""
    return clock.now().strftime("%Y%m%dT%H%M%SZ")


def pull(
    workspace: str | Path = ".",
    *,
    clock: Clock | None = None,
    progress: Progress | None = None,
    environ: Mapping[str, str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    way: Literal["full", "since"] | None = None,
    since: str | None = None,
) -> PullResult:
    """Pull both datasets into a snapshot.

    Parameters
    ----------
    workspace
        Where recon.toml says what the sources are: the gateway and Salesforce's API, or the files of [run].
    clock, progress, environ
        The time, where progress is shown, and the environment that holds the secrets; by default the machine's own and silence.
    sleep
        Waits before something is tried again.
    way
        "full" reads everything; "since" of Salesforce what changed since the newest snapshot that fits, and everything where none does. None: as
        `salesforce.pull` says.
    since
        The snapshot to build on, by its id: then nothing else will do.

    Raises
    ------
    SettingsError
        If recon.toml or the environment can't be used, or names no source.
    SourceError
        If a system doesn't answer as it must; nothing is kept then.
    InputRefused
        If a file can't be used.
    NoRoom
        If the memory that the engine may use, or a disk, isn't enough.
    """
    from recon import pulls, secrets
    from recon.engines.room import enough_room

    clock = clock or from_environment()
    loaded = settings.load(Path(workspace))
    with enough_room(loaded.run, "duckdb"):
        kept = pulls.pull(
            loaded,
            way=way,
            since=since,
            environ=secrets.resolver(loaded, environ),
            clock=clock,
            progress=progress or SILENT,
            sleep=sleep,
        )
    inputs: list[dict[str, Any]] = kept.manifest["inputs"]
    rows = {each["name"]: each["rows"] for each in inputs}
    return PullResult(kept.id, kept.folder, rows, inputs, kept.manifest)


@dataclass(frozen=True, slots=True)
class Data:
    """What a reconciliation is made of.

    Attributes
    ----------
    people, records
        `recon.tables.PEOPLE` and `RECORDS`; as frames of the engine, where they were read straight into it.
    inputs
        Where they came from, as in the manifest.
    snapshot
        `id` and `manifest_sha256` of the snapshot, and what it cost where systems were read: `api_calls`, `api_quota`; None for files.
    straddles
        May a nightly run lie between the two sides? None: nobody knows.
    sizes
        How many people there are, how many records of each object, and how many of those are deleted, where that was counted.
    """

    people: Any
    records: Any
    inputs: list[dict[str, Any]]
    snapshot: dict[str, Any] | None
    straddles: bool | None
    sizes: tuple[int, dict[str, int], int] | None = None


def reconcile(
    workspace: str | Path = ".",
    *,
    people: str | Path | None = None,
    leads: str | Path | None = None,
    contacts: str | Path | None = None,
    snapshot: str | None = None,
    columns: Mapping[str, str] | None = None,
    engine: str = "auto",
    out: str | Path | None = None,
    run_id: str | None = None,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Merge both datasets, predict the next nightly run, list the records that need action, and leave the run's files.

    Parameters
    ----------
    workspace
        Where recon.toml and the snapshots are.
    people, leads, contacts
        Files to read instead of a snapshot: people, and Leads or Contacts or both.
    snapshot
        A snapshot's id; by default the newest one.
    columns
        Headers of the people file, canonical name -> header; added to those of recon.toml.
    engine
        auto (DuckDB), pandas, polars, duckdb or spark.
    out
        Folder for the files; by default `reports/<run_id>` in the workspace.
    run_id
        By default made from the time.

    Returns
    -------
    RunResult
        The run. Its folder holds merged.parquet, actions.csv, unusable.csv and manifest.json.

    Raises
    ------
    InputRefused
        If a file can't be used, with everything that is wrong with it; nothing is written then.
    UsageError
        If the arguments contradict each other, or there is no such snapshot.
    NoRoom
        If the memory that the engine may use, or a disk, isn't enough; nothing is written then.
    """
    from recon.engine import engine_named
    from recon.engines.room import enough_room
    from recon.reconcile import reconcile as compute
    from recon.resubscribe.answered import answered_leads

    clock = clock or from_environment()
    run_id = run_id or new_run_id(clock)
    loaded = settings.load(Path(workspace))
    folder = Path(out) if out is not None else run_folder(loaded, run_id)
    chosen: Engine = engine_named(engine, memory=loaded.run.memory, spill=loaded.run.spill)
    with (progress or SILENT).task("Reconcile", 3, "steps") as task, enough_room(loaded.run, chosen.name):
        if people or leads or contacts:
            if snapshot:
                raise UsageError("a snapshot and files can't be reconciled at once.", hint="Give one or the other.")
            data = _from_files(loaded, people, leads, contacts, columns or {}, chosen)
        else:
            data = from_snapshot(loaded, snapshot, chosen)
        # What was read is let go of when it is merged.
        data = replace(data, sizes=_sizes(data, chosen))
        task.advance(1)
        answered = answered_leads(loaded, stuck(data.records, chosen), clock)
        result = compute(data.people, data.records, loaded, engine=chosen, answered=answered)
        task.advance(1)
        run = leave_run(result, data, loaded, run_id=run_id, folder=folder, clock=clock)
        # The session of an engine may outlive this run; what the run held in it must not.
        chosen.release()
        task.advance(1)
    return run


def leave_run(
    result: Reconciliation,
    data: Data,
    loaded: Settings,
    *,
    run_id: str,
    folder: Path,
    clock: Clock,
    ledger: dict[str, Any] | None = None,
) -> RunResult:
    """Write a reconciliation's files into a run's folder: merged.parquet, actions.csv, unusable.csv, manifest.json.

    Parameters
    ----------
    ledger
        The ledger's checkpoint, for the manifest; None where the run is in no ledger.
    """
    manifest = {
        "schema": MANIFEST_SCHEMA,
        "run_id": run_id,
        "created_at": iso(clock.now()),
        "clock": "system" if isinstance(clock, SystemClock) else "set",
        "tool": {"recon": __version__, "python": platform.python_version()}
        | {name: version(name) for name in (*_LIBRARIES, *_LIBRARIES_OF.get(result.engine.name, ()))},
        "engine": result.engine.name,
        **settings_in_force(loaded),
        "snapshot": data.snapshot,
        "inputs": data.inputs,
        "straddles": data.straddles,
        "ledger": ledger,
        **_counted(result, data, loaded, clock),
    }
    manifest["outputs"] = _write(result, manifest, folder)
    return RunResult(run_id, folder, manifest)


def run_folder(loaded: Settings, run_id: str) -> Path:
    """The folder of a new run.

    Raises
    ------
    UsageError
        If the id can't be a folder's name.
    """
    return loaded.run.reports / _plain_name(run_id)


def report(workspace: str | Path = ".", *, run_id: str | None = None, clock: Clock | None = None) -> ReportResult:
    """Write a run's compliance.html.

    Parameters
    ----------
    workspace
        Where recon.toml and the runs are.
    run_id
        The run, or its folder; by default the newest one.

    Raises
    ------
    UsageError
        If there is no such run.
    ReconError
        If the run's files contradict each other.
    NoRoom
        If the memory that the engine may use, or a disk, isn't enough.
    """
    from recon.engines.room import enough_room
    from recon.report import build

    loaded = settings.load(Path(workspace))
    folder = _run_folder(loaded, run_id)
    with enough_room(loaded.run, "duckdb"):
        path = build(folder, loaded, clock=clock or from_environment())
    return ReportResult(folder.name, path)


def _run_folder(loaded: Settings, run_id: str | None) -> Path:
    if run_id is not None:
        for folder in (loaded.run.reports / run_id, Path(run_id)):
            if (folder / "manifest.json").is_file():
                return folder
        raise UsageError(f"there is no run {run_id!r} in {loaded.run.reports}.", hint="Run `recon diff` first.")
    runs = sorted(path.parent for path in loaded.run.reports.glob("*/manifest.json"))
    if not runs:
        raise UsageError(f"there is no run in {loaded.run.reports}.", hint="Run `recon diff` first.")
    return max(
        runs, key=lambda folder: (json.loads((folder / "manifest.json").read_text("utf-8"))["created_at"], folder.name)
    )


def _plain_name(run_id: str) -> str:
    if not run_id or run_id.startswith(".") or set(run_id) & set('/\\:\0{}<>"|?*'):
        raise UsageError(f"{run_id!r} can't be a run's id.", hint="Use letters, digits, '-' and '_'.")
    return run_id


def _from_files(
    loaded: Settings,
    people: str | Path | None,
    leads: str | Path | None,
    contacts: str | Path | None,
    columns: Mapping[str, str],
    engine: Engine,
) -> Data:
    from recon.sources import files
    from recon.sources.loading import quick_of, together
    from recon.sources.matching import refuse_unmatchable
    from recon.tables import RECORDS

    if people is None or (leads is None and contacts is None):
        missing = "--people" if people is None else "--leads or --contacts"
        raise UsageError(
            f"both sides are needed: {missing} is missing.",
            hint="Give --people FILE and --leads FILE or --contacts FILE, or both; without any, the newest snapshot is used.",
        )
    connect, salesforce = loaded.sales_connect, loaded.salesforce
    problems: list[Problem] = []
    extracts: list[Extract] = []
    quick = quick_of(engine)
    targets = {"opt_out_field": salesforce.opt_out_field, "custom_field": salesforce.custom_field, "quick": quick}

    def read(reader: Any, path: str | Path, **options: Any) -> None:
        # Every file is looked at before any is refused: one round of mending for all of them.
        try:
            extracts.append(reader(Path(path), **options))
        except InputRefused as refused:
            problems.extend(refused.problems)

    read(files.read_people, people, columns=connect.columns | dict(columns), encoding=connect.encoding, quick=quick)
    if leads is not None:
        read(files.read_leads, leads, **targets)
    if contacts is not None:
        read(files.read_contacts, contacts, **targets)
    if problems:
        raise InputRefused(problems)
    refuse_unmatchable(extracts[0].inputs[0], [each.inputs[0] for each in extracts[1:]])
    first, *rest = extracts
    inputs = [source.as_json() for extract in extracts for source in extract.inputs]
    return Data(first.table, together([each.table for each in rest], engine, RECORDS), inputs, None, None)


def stuck(records: Any, engine: Engine) -> pa.Table:
    """Of a frame, the opted-out converted Leads alone: what `answered_leads` asks for; tables as they are."""
    import narwhals.stable.v2 as nw

    if not isinstance(records, nw.LazyFrame):
        return records
    stuck = records.filter(nw.col("is_converted") & nw.col("opted_out") & ~nw.col("is_deleted"))
    return engine.collect(stuck)


def from_snapshot(loaded: Settings, wanted: str | None, engine: Engine | None = None) -> Data:
    """The data of a snapshot, by default of the newest one.

    Parameters
    ----------
    engine
        Where the rows are to be; None for tables in memory.

    Raises
    ------
    UsageError
        If there is none at all.
    InputRefused
        If there is no such snapshot, or it was damaged.
    """
    import pyarrow.parquet as pq

    from recon import snapshot
    from recon.reconcile import check
    from recon.tables import PEOPLE, RECORDS

    folder = loaded.run.snapshots
    found = snapshot.newest(folder) if wanted is None else snapshot.read(folder / _plain_name(wanted))
    digest = hashlib.sha256((found.folder / "manifest.json").read_bytes()).hexdigest()
    people: Any
    records: Any
    if engine is None:
        people, records = pq.read_table(found.people), pq.read_table(found.records)
    else:
        people, records = engine.read_parquet(found.people, PEOPLE), engine.read_parquet(found.records, RECORDS)
        check(people, PEOPLE, "person_id", engine)
        check(records, RECORDS, "record_id", engine)
    return Data(
        people,
        records,
        found.manifest["inputs"],
        {"id": found.id, "manifest_sha256": digest}
        | {name: found.manifest[name] for name in ("api_calls", "api_quota") if name in found.manifest},
        found.manifest["straddles"],
    )


def settings_in_force(loaded: Settings) -> dict[str, Any]:
    """The settings as JSON, and their hash. Paths are left out: they say where a workspace lies, not what was done."""
    values = loaded.model_dump(mode="json", exclude=settings.PLACES)
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return {"settings": values, "settings_sha256": hashlib.sha256(text.encode()).hexdigest()}


def _counted(result: Reconciliation, data: Data, loaded: Settings, clock: Clock) -> dict[str, Any]:
    from recon.summary import summary

    counts = summary(result, loaded, clock.now())
    people, objects, deleted = data.sizes or _sizes(data, result.engine)
    rows = {
        "people": people,
        "leads": objects.get("Lead", 0),
        "contacts": objects.get("Contact", 0),
        "deleted": deleted,
        "merged": people + sum(objects.values()) - deleted,
        "clusters": counts.pop("clusters"),
        "actions": counts.pop("actions"),
    }
    return {"rows": rows, **counts}


def _sizes(data: Data, engine: Engine) -> tuple[int, dict[str, int], int]:
    """How many people there are, how many records of each object, and how many of those are deleted."""
    import narwhals.stable.v2 as nw
    import pyarrow.compute as pc

    if isinstance(data.people, nw.LazyFrame):
        people = engine.collect(data.people.select(rows=nw.len())).to_pylist()[0]["rows"]
    else:
        people = data.people.num_rows
    if isinstance(data.records, nw.LazyFrame):
        counted = engine.collect(data.records.group_by("object", "is_deleted").agg(rows=nw.len())).to_pylist()
        objects: dict[str, int] = {}
        for row in counted:
            objects[row["object"]] = objects.get(row["object"], 0) + row["rows"]
        return people, objects, sum(row["rows"] for row in counted if row["is_deleted"])
    values = pc.value_counts(data.records.column("object")).to_pylist()
    deleted = pc.sum(data.records.column("is_deleted")).as_py() or 0
    return people, {row["values"]: row["counts"] for row in values}, deleted


def _write(result: Reconciliation, manifest: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write the run's files into a hidden folder, and move them to their place when all are whole; the manifest comes last."""
    from recon import disk, outputs
    from recon.summary import UNUSABLE, unusable
    from recon.tables import ACTIONS, MERGED

    engine = result.engine
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as name:
        draft = Path(name)
        merged = itertools.chain.from_iterable(engine.batches(side.drop("n"), MERGED) for side in result.sides)
        actions = engine.batches(result.actions_frame.drop("n"), ACTIONS)
        odd = unusable(result)
        written = {
            outputs.MERGED_FILE: outputs.write_parquet(merged, MERGED, draft / outputs.MERGED_FILE),
            outputs.ACTIONS_FILE: outputs.write_csv(actions, ACTIONS, draft / outputs.ACTIONS_FILE),
            outputs.UNUSABLE_FILE: outputs.write_csv(odd.to_batches(), UNUSABLE, draft / outputs.UNUSABLE_FILE),
        }
        columns = odd.column("column").to_pylist()
        manifest["unusable"] = {"addresses": columns.count("email"), "ids": columns.count("salesforce_id")}
        manifest["outputs"] = {
            file: {"for": outputs.told(file)[0], "rows": rows, "sha256": disk.sha256(draft / file)}
            for file, rows in written.items()
        }
        outputs.write_json(manifest, draft / outputs.MANIFEST_FILE)
        for file in (*written, outputs.MANIFEST_FILE):
            (draft / file).replace(folder / file)
    done: dict[str, Any] = manifest["outputs"]
    return done
