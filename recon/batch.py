"""The whole batch job: the notebooks, one after the other, through papermill; executed copies stay with the run.

Everything that can be refused is refused before anything runs: a notebook that isn't there, a parameter that no notebook knows or that
doesn't fit. Then one run at a time works in a workspace.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import as_file
from types import MappingProxyType
from typing import TYPE_CHECKING

from recon import lock, secrets, settings
from recon.clock import VARIABLE, SystemClock, iso
from recon.errors import ReconError, UsageError
from recon.notebook_parameters import from_text, read, settled
from recon.notebook_run import Limits, code_cells, execute
from recon.progress import SILENT
from recon.workspace import existing, notebook_source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from recon.clock import Clock
    from recon.notebook_parameters import Value
    from recon.progress import Progress

__all__ = ["NOTEBOOKS", "BatchResult", "Executed", "Limits", "from_text", "run"]

#: The batch job's notebooks, in order.
NOTEBOOKS = ("01_pull", "02_reconcile", "03_report")

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Executed:
    """One notebook that was executed.

    Attributes
    ----------
    name
        Its name, without .ipynb.
    path
        The executed copy.
    parameters
        What it was told.
    seconds
        How long it took.
    """

    name: str
    path: Path
    parameters: dict[str, Value]
    seconds: float


@dataclass(frozen=True, slots=True)
class BatchResult:
    """A batch job that went through.

    Attributes
    ----------
    run_id, folder
        The run, and where its files are.
    notebooks
        What was executed, in order.
    """

    run_id: str
    folder: Path
    notebooks: tuple[Executed, ...]


@dataclass(frozen=True, slots=True)
class _Job:
    """One notebook to execute."""

    name: str
    source: Path
    copy: Path
    parameters: dict[str, Value]


def run(
    workspace: Path,
    *,
    run_id: str,
    notebooks: Sequence[str] = NOTEBOOKS,
    parameters: Mapping[str, object] = MappingProxyType({}),
    clock: Clock,
    progress: Progress = SILENT,
    say: Callable[[str], None] = lambda _: None,
    environ: Mapping[str, str] | None = None,
    limits: Limits | None = None,
) -> BatchResult:
    """Execute notebooks in a workspace, one after the other; the first that fails is the last.

    Parameters
    ----------
    workspace
        A folder with a recon.toml. Its own notebooks/NAME.ipynb are taken, and where one isn't there, recon's.
    run_id
        The run's id and its folder's name in reports; the notebooks get it as `run_id`.
    notebooks
        Names, in order.
    parameters
        Name -> value: text, numbers, true or false, None; or what `from_text` makes of what somebody typed. Each goes to every
        notebook that knows it.
    clock
        The time. Any but the machine's is handed on to the notebooks as it stands, in RECON_NOW.
    progress
        Where progress is shown, in cells.
    say
        Takes one line a notebook: done or failed, how long it took, and why it failed in one sentence.
    environ
        The notebooks' environment, secrets included; by default that of this process.
    limits
        How long things may take.

    Raises
    ------
    UsageError
        If a notebook, a parameter or the run's id can't be used (nothing has run then), or a notebook stopped because recon refused
        settings or input.
    ReconError
        If another run is at work in the workspace, or a notebook failed. Its executed copy is kept.
    """
    workspace = existing(workspace)
    loaded = settings.load(workspace)
    environment = dict(os.environ if environ is None else environ)
    if not isinstance(clock, SystemClock):
        environment[VARIABLE] = iso(clock.now())
    if not _PLAIN.fullmatch(run_id):
        raise UsageError(f"{run_id!r} can't be a run's id.", hint="Use letters, digits, '-', '_' and '.'.")
    target = loaded.run.reports / run_id
    with ExitStack() as files:
        sources = {name: files.enter_context(as_file(notebook_source(workspace, name))) for name in _names(notebooks)}
        hidden = secrets.resolver(loaded, environment).at_hand()
        told = _told(sources, parameters, {"workspace": str(workspace), "run_id": run_id}, hidden)
        jobs = [_Job(name, sources[name], target / "notebooks" / f"{name}.ipynb", told[name]) for name in sources]
        word = lock.new_word()
        with lock.held(workspace, f"run {run_id}", clock, word=word, environ=environment) as former:
            # The notebooks are parts of this run: one of them may apply a plan.
            environment[lock.WITHIN] = word
            if former is not None:
                say(f"An earlier run ended without a word: {former}. This one takes over.")
            for job in jobs:
                if job.copy.exists():
                    raise UsageError(
                        f"the run {run_id} has executed {job.name} already: {job.copy}.",
                        hint="Take another run id; what a run has left stays as it is.",
                    )
            _private(target / "notebooks")
            one = _One(environment, limits or Limits(), progress, say, hidden)
            done: list[Executed] = []
            try:
                for job in jobs:
                    done.append(one.executed(job, f"{len(done) + 1} of {len(jobs)}"))
            finally:
                if left := [job.name for job in jobs[len(done) + 1 :]]:
                    say(f"not run: {', '.join(left)}")
    return BatchResult(run_id, target, tuple(done))


@dataclass(frozen=True, slots=True)
class _One:
    """Executes one notebook after the other."""

    environ: Mapping[str, str]
    limits: Limits
    progress: Progress
    say: Callable[[str], None]
    hidden: tuple[str, ...]

    def executed(self, job: _Job, place: str) -> Executed:
        begun = time.monotonic()
        # papermill adds a cell for the parameters
        cells = code_cells(job.source) + bool(job.parameters)
        with self.progress.task(f"{job.name} ({place})", cells, "cells") as task:
            try:
                execute(
                    job.source,
                    job.copy,
                    job.parameters,
                    environ=self.environ,
                    limits=self.limits,
                    hidden=self.hidden,
                    cell_done=lambda: task.advance(1),
                )
            except ReconError as error:
                first = error.message.splitlines()[0]
                self.say(f"{job.name}: failed after {time.monotonic() - begun:.1f} s ({place}): {first}")
                self.say(f"  what it did is in {job.copy}")
                raise
        seconds = time.monotonic() - begun
        self.say(f"{job.name}: done in {seconds:.1f} s ({place})")
        return Executed(job.name, job.copy, job.parameters, seconds)


def _names(notebooks: Sequence[str]) -> Sequence[str]:
    if not notebooks:
        raise UsageError("a run needs at least one notebook.")
    for name in notebooks:
        if not _PLAIN.fullmatch(name) or notebooks.count(name) > 1:
            raise UsageError(
                f"{name!r} can't be a notebook of this run.",
                hint=f"Name notebooks of the folder notebooks/, without .ipynb, each once, like {', '.join(NOTEBOOKS)}.",
            )
    return notebooks


def _told(
    sources: Mapping[str, Path], given: Mapping[str, object], own: Mapping[str, str], hidden: tuple[str, ...]
) -> dict[str, dict[str, Value]]:
    """What each notebook is told: what was given for it, and what the run itself sets."""
    known = {name: read(path) for name, path in sources.items()}
    told = settled(known, given, own=own, secrets=hidden)
    for name, parameters in known.items():
        told[name] |= {each.name: own[each.name] for each in parameters if each.name in own}
    return told


def _private(folder: Path) -> None:
    """Make a folder that only its owner may look into."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ReconError(
            f"{folder} can't be made: {error.strerror}.", hint="See to the rights of its folder."
        ) from error
