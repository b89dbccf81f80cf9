"""Deleting what is old: runs and snapshots beyond the settings of [retention]. Never the ledger, and never what something open still needs.

Extracts hold personal data, so they are kept no longer than needed (GDPR Art. 5(1)(e)); the evidence is the ledger, which stays. What proves
the ledger (the checkpoints in a run's folder) is moved beside it before the run goes.
"""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recon import lock, settings
from recon.clock import from_environment
from recon.errors import ReconError
from recon.evidence import CHECKPOINTS, open_ledger, pruned_checkpoints
from recon.pruning import FoundRun, FoundSnapshot, runs, snapshots, unfinished

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from recon.clock import Clock
    from recon.settings import Settings

_PRUNED = ".pruned-"
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Item:
    """A run or a snapshot, and what becomes of it.

    Attributes
    ----------
    kind
        run; snapshot; leftover: of a pull or a prune that was interrupted.
    name, path
        Its folder.
    created_at
        When it was made, as recon writes times; None where nothing tells.
    size
        Bytes on the disk.
    deleted
        Whether it was deleted, or would be in a dry run.
    reason
        Why, as the rest of a sentence.
    """

    kind: Literal["run", "snapshot", "leftover"]
    name: str
    path: Path
    created_at: str | None
    size: int
    deleted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was deleted, and what was kept and why.

    Attributes
    ----------
    items
        Runs first, then snapshots, the oldest first.
    dry_run
        Nothing was deleted: this is what would be.
    """

    items: tuple[Item, ...]
    dry_run: bool

    @property
    def deleted(self) -> tuple[Item, ...]:
        """What was deleted."""
        return tuple(item for item in self.items if item.deleted)

    @property
    def kept(self) -> tuple[Item, ...]:
        """What was kept."""
        return tuple(item for item in self.items if not item.deleted)

    def lines(self) -> list[str]:
        """What was done, for people: each that was deleted, each that is kept beyond its time, and how many others are kept and why."""
        word = "would delete" if self.dry_run else "deleted"
        size = sum(item.size for item in self.deleted) / _MEGABYTE
        counts = Counter(item.kind for item in self.deleted)
        said = " and ".join(f"{counts[kind]} {kind}{'' if counts[kind] == 1 else 's'}" for kind in ("run", "snapshot"))
        lines = [f"{word} {said}, {size:.1f} MB"]
        lines += [f"  {word} {_named(item)}: {item.reason}" for item in self.deleted]
        groups = Counter((item.kind, item.reason) for item in self.kept)
        for (kind, reason), count in groups.items():
            if count == 1:
                (one,) = (item for item in self.kept if (item.kind, item.reason) == (kind, reason))
                lines.append(f"  kept {_named(one)}: {reason}")
            else:
                lines.append(f"  kept {count} {kind}s: {reason}")
        return lines

    def as_json(self) -> dict[str, Any]:
        """The same for machines."""
        return {"dry_run": self.dry_run, "items": [asdict(item) | {"path": str(item.path)} for item in self.items]}


def _named(item: Item) -> str:
    return f"{item.kind} {item.name}" + (f" ({item.created_at})" if item.created_at else "")


def prune(
    workspace: str | Path,
    *,
    keep_days: int | None = None,
    keep_runs: int | None = None,
    dry_run: bool = False,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
) -> Pruned:
    """Delete runs and snapshots that are too old.

    A run is deleted when it is older than `keep_days`, not among the newest `keep_runs`, and nothing open needs it: a plan that may
    still be applied, isn't complete, or isn't verified; a worklist with open rows; a plan that takes this one back. A snapshot is deleted when
    it is older than `keep_days`, not the newest, no kept run was made from it, and no kept snapshot is built on it.

    Parameters
    ----------
    workspace
        A folder with a recon.toml.
    keep_days, keep_runs
        In place of those of [retention].
    dry_run
        Say what would be deleted, and delete nothing.
    clock, environ
        The time, and the environment, which holds the secrets; by default the machine's own.

    Raises
    ------
    ReconError
        If another run is at work, or something can't be deleted; what was deleted before stays so.
    """
    clock = clock or from_environment()
    folder = Path(workspace)
    loaded = settings.load(folder)
    rules = loaded.retention
    days = rules.keep_days if keep_days is None else keep_days
    number = rules.keep_runs if keep_runs is None else keep_runs
    if dry_run:
        return Pruned(tuple(_judged(loaded, clock.now(), days, number)), dry_run=True)
    with lock.held(folder, "prune", clock, environ=environ):
        items = tuple(_judged(loaded, clock.now(), days, number))
        for item in items:
            if item.deleted:
                _delete(item.path, loaded)
        _note(loaded, clock, items, environ)
    return Pruned(items, dry_run=False)


def _judged(loaded: Settings, now: datetime, days: int, number: int) -> Iterable[Item]:
    found = runs(loaded, now)
    newest = {run.name for run in found[max(0, len(found) - max(number, 1)) :]}
    undone = {run.undoes: run.name for run in found if run.open and run.undoes}
    kept: list[FoundRun] = []
    for run in found:
        reason = _why_run_stays(run, now, days, number, newest, undone)
        if reason is not None:
            kept.append(run)
        said = reason or f"older than {days} days"
        yield Item("run", run.name, loaded.run.reports / run.name, run.created, run.size, reason is None, said)
    pulled = snapshots(loaded)
    why = _why_snapshots_stay(pulled, kept, now, days)
    for each in pulled:
        stays = why.get(each.name)
        said = stays or f"older than {days} days"
        path = loaded.run.snapshots / each.name
        yield Item("snapshot", each.name, path, each.created, each.size, stays is None, said)
    for path, size in unfinished(loaded, now):
        said = "left by a pull or a prune that was interrupted"
        yield Item("leftover", path.name, path, None, size, deleted=True, reason=said)


def _why_run_stays(
    run: FoundRun, now: datetime, days: int, number: int, newest: set[str], undone: Mapping[str, str]
) -> str | None:
    if run.fault is not None:
        return run.fault
    if run.open is not None:
        return run.open
    if run.plan_hash is not None and run.plan_hash in undone:
        return f"the run {undone[run.plan_hash]} takes it back and isn't over"
    if run.name in newest:
        return "the newest run" if number <= 1 else f"among the newest {number} runs"
    if run.at is None or now - run.at <= timedelta(days=days):
        return f"not older than {days} days"
    return None


def _why_snapshots_stay(found: list[FoundSnapshot], kept: list[FoundRun], now: datetime, days: int) -> dict[str, str]:
    """The snapshots that stay, and why."""
    why: dict[str, str] = {}
    needed = {snapshot: run for run in kept for snapshot in run.snapshots}
    for each in found:
        if each.fault is not None:
            why[each.name] = each.fault
        elif each.name in needed:
            run = needed[each.name]
            why[each.name] = (
                f"the run {run.name} needs it: {run.open}" if run.open else "a run that is kept was made from it"
            )
        elif each.at is None or now - each.at <= timedelta(days=days):
            why[each.name] = f"not older than {days} days"
    if found:
        why[found[-1].name] = "the newest snapshot"
    # An incremental pull is read on top of its bases, and those on theirs.
    by_name = {each.name: each for each in found}
    waiting = [by_name[name] for name in why]
    while waiting:
        one = waiting.pop()
        for base in one.bases:
            if base in by_name and base not in why:
                why[base] = f"the snapshot {one.name} is built on it"
                waiting.append(by_name[base])
    return why


def _delete(path: Path, loaded: Settings) -> None:
    """Delete a folder: first its name goes, so that nobody ever sees half of it."""
    precious = [loaded.run.ledger, loaded.run.inbox, loaded.evidence.keys]
    for each in precious:
        if each is not None and each.absolute().is_relative_to(path.absolute()):
            raise ReconError(
                f"{path} can't be deleted: {each} lies within it.",
                hint="Move that out, and set its new place in recon.toml.",
            )
    try:
        checkpoints = path / CHECKPOINTS
        if checkpoints.is_file():
            kept = pruned_checkpoints(loaded, path.name)
            kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not kept.exists():
                checkpoints.replace(kept)
        going = path if path.name.startswith(_PRUNED) else path.with_name(f"{_PRUNED}{path.name}")
        if going != path:
            path.rename(going)
        shutil.rmtree(going)
    except OSError as error:
        raise ReconError(
            f"{error.filename or path} can't be deleted: {error.strerror}.",
            hint="See to its rights, and run `recon prune` again: it goes on where it stopped.",
        ) from error


def _note(loaded: Settings, clock: Clock, items: Iterable[Item], environ: Mapping[str, str] | None) -> None:
    """An entry in the ledger, where there is one: that runs are gone is part of the story."""
    from recon import jobs
    from recon.ledger import Draft, kinds

    counts = Counter(f"{item.kind}s" for item in items if item.deleted)
    if not counts or not loaded.run.ledger.is_dir():
        return
    data = {"run_id": jobs.new_run_id(clock), "job": "prune", "counts": dict(sorted(counts.items()))}
    with open_ledger(loaded, clock, environ) as ledger:
        ledger.append_all([Draft(kinds.RUN, data)])
