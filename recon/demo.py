"""The demo: everything, end to end, on a Salesforce and a Sales Connect of its own, over real HTTP on loopback."""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import TYPE_CHECKING

from recon import demo_story, jobs, nightly, settings
from recon.clock import SetClock
from recon.errors import ReconError, UsageError
from recon.progress import SILENT
from recon.sandbox.box import DEFAULT_AT, Sandbox
from recon.sandbox.served import write_settings

#: A file that says whose the folder is.
MARK = "DEMO.txt"

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
    ports: tuple[int, int] = (0, 0),
    afterwards: Callable[[Sandbox, SetClock], None] | None = None,
) -> Path:
    """Pull, reconcile and report; let the nightly run happen; compare what is there with what was predicted.

    Then resubscribe people with proof: check, plan, apply, another nightly run, verify, report, and the ledger.

    The clock stands where the demo sets it, so the same number and seed give the same people, verdicts and changes.

    Parameters
    ----------
    folder
        Where the demo's workspace goes; made if it isn't there. What an earlier demo left there is replaced.
    people, seed
        The population; see `recon.sandbox.population.populate`.
    say
        Takes what happens, a few lines a call; the report's path comes last.
    progress
        Where progress is shown.
    ports
        Of the Salesforce and the gateway; 0 takes a free one.
    afterwards
        Called at the end, while the two systems still run.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    ReconError
        If the report's numbers aren't the population's, the next morning isn't as predicted, or a resubscribe isn't as it has to be: then
        recon is wrong.
    UsageError
        If the folder holds a workspace that no demo made.
    """
    _make_room(folder)
    clock = SetClock(DEFAULT_AT)
    with Sandbox(clock=clock, salesforce_port=ports[0], gateway_port=ports[1]) as sandbox:
        population = sandbox.populate(people, seed)
        write_settings(folder, sandbox.settings() | demo_story.SETTINGS, None)
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
        jobs.report(folder, run_id=result.run_id, clock=clock)

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
        report = demo_story.tell(folder, sandbox, clock, morning, say=say, progress=progress)
        if afterwards is not None:
            afterwards(sandbox, clock)
    say(f"The report: {report}")
    return report


def _make_room(folder: Path) -> None:
    """Take away what an earlier demo left: its evidence is of people that this demo makes anew."""
    if (folder / settings.FILE_NAME).exists() and not (folder / MARK).exists():
        raise UsageError(
            f"{folder} holds a workspace that no demo made.", hint="Name another folder: recon demo --dir DIR."
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text(
        "This folder was made by `recon demo`; the next demo replaces what is in it.\n", encoding="utf-8"
    )
    for name in ("snapshots", "reports", "ledger", "inbox"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / settings.FILE_NAME).unlink(missing_ok=True)


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
    flags = demo_story.flags(morning)
    merged = result.merged()
    wrong = changed = 0
    for system, identity, before, after in zip(
        merged["system"], merged["id"], merged["opted_out"], merged["predicted_opted_out"], strict=True
    ):
        wrong += flags[f"{system}:{identity}"] != after
        changed += before != after
    if wrong:
        raise ReconError(f"{wrong} of {len(merged)} records are not as predicted the next morning")
    return f"The next morning: {len(merged):,} records compared, {changed} changed, every one as predicted."
