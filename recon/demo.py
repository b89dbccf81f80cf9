"""The demo: the main job, end to end, on a Salesforce and a Sales Connect of its own, over real HTTP on loopback."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from recon import jobs, nightly, settings, snapshot
from recon.clock import SetClock
from recon.errors import ReconError
from recon.progress import SILENT
from recon.sandbox.box import DEFAULT_AT, Sandbox
from recon.sandbox.served import write_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from recon.progress import Progress
    from recon.results import PullResult, RunResult
    from recon.sandbox.population import Population


def run(
    folder: Path,
    *,
    people: int = 1000,
    seed: int = 1,
    say: Callable[[str], None],
    progress: Progress = SILENT,
) -> Path:
    """Pull, reconcile and report in the evening; let the nightly run happen; compare what is there with what was predicted.

    The clock stands where the demo sets it, so the same number and seed give the same files.

    Parameters
    ----------
    folder
        Where the demo's workspace goes; made if it isn't there.
    people, seed
        The population; see `recon.sandbox.population.populate`.
    say
        Takes what happens, a few lines a call; the report's path comes last.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    ReconError
        If the report's numbers aren't the population's, or the next morning isn't as predicted: then recon is wrong.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clock = SetClock(DEFAULT_AT)
    with Sandbox(clock=clock) as sandbox:
        population = sandbox.populate(people, seed)
        if not write_settings(folder, sandbox.settings(), None):
            # A demo was here before: its sandbox listened on other ports.
            (folder / settings.FILE_NAME).unlink()
            write_settings(folder, sandbox.settings(), None)
        counts = population.counts
        say(
            f"Two systems on this machine: a Sales Connect with {counts['person']:,} people, "
            f"a Salesforce with {counts['lead']:,} Leads and {counts['contact']:,} Contacts."
        )
        secrets = sandbox.environment()
        pulled = jobs.pull(folder, clock=clock, environ=secrets, progress=progress)
        say(pulled.summary())
        result = jobs.reconcile(folder, snapshot=pulled.snapshot_id, clock=clock, progress=progress)
        say(result.summary())
        say(_agreed(result, population))
        report = jobs.report(folder, run_id=result.run_id, clock=clock)

        loaded = settings.load(folder)
        evening = clock.now()
        clock.set(nightly.next_run(evening, loaded.sync))
        night = sandbox.nightly()
        say(
            f"The nightly run at {night.at}: {len(night.people_set)} people and {len(night.records_set)} records were opted out."
        )
        # The morning after, far from the run: the same time of day.
        clock.set(evening + timedelta(days=1))
        morning = jobs.pull(folder, clock=clock, environ=secrets, progress=progress)
        say(_as_predicted(result, morning))
    say(f"The report: {report.path}")
    return report.path


def _agreed(result: RunResult, population: Population) -> str:
    """Hold the result against what was planted."""
    actions = result.actions()
    found = dict(zip(actions["system"] + ":" + actions["id"], actions["category"], strict=True))
    planted = 0
    for category, uids in population.cases.items():
        if category == "field_disagrees":
            # With the standard field alone these two don't matter.
            continue
        missed = [uid for uid in uids if found.get(uid) != category]
        planted += len(uids)
        if missed:
            raise ReconError(
                f"{len(missed)} of {len(uids)} records planted as {category} were not found as such, like {missed[0]}"
            )
    rows, counts = result.manifest["rows"], population.counts
    for name, table in (("people", "person"), ("leads", "lead"), ("contacts", "contact")):
        if rows[name] != counts[table]:
            raise ReconError(f"{rows[name]} {name} were read, but {counts[table]} are there")
    return f"  held against the population: all rows are there, and all {planted} planted disagreements were found"


def _as_predicted(result: RunResult, morning: PullResult) -> str:
    """Hold the morning's data against the evening's prediction, record for record."""
    import pyarrow.parquet as pq

    kept = snapshot.read(morning.folder)
    flags: dict[tuple[str, str], bool] = {}
    for system, path, key, flag in (
        ("sales_connect", kept.people, "person_id", "unsubscribed"),
        ("salesforce", kept.records, "record_id", "opted_out"),
    ):
        table = pq.read_table(path, columns=[key, flag])
        ids, values = table.column(key).to_pylist(), table.column(flag).to_pylist()
        flags |= {(system, identity): value for identity, value in zip(ids, values, strict=True)}
    merged = result.merged()
    wrong = changed = 0
    for system, identity, before, after in zip(
        merged["system"], merged["id"], merged["opted_out"], merged["predicted_opted_out"], strict=True
    ):
        wrong += flags[system, identity] != after
        changed += before != after
    if wrong:
        raise ReconError(f"{wrong} of {len(merged)} records are not as predicted the next morning")
    return f"The next morning: {len(merged):,} records compared, {changed} changed, every one as predicted."
