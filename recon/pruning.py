"""What there is to prune: the runs and snapshots of a workspace, how old they are, and what each is still needed for."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from recon.clock import iso
from recon.errors import InputRefused, ReconError
from recon.resubscribe import refusals
from recon.resubscribe.plan_file import read_plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from recon.resubscribe.plan_file import Plan
    from recon.settings import Settings

_SNAPSHOT = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
_TIME = re.compile(r"(\d{8}T\d{6})Z")
#: What tells that a folder is a run's.
_MARKS = ("manifest.json", "plan.json", "notebooks")
#: States of a verification that are not the last word.
_NOT_OVER = ("too_early", "unknown", "worklist_open")
#: An interrupted pull may be gone on with as long as Salesforce keeps its jobs.
_LEFTOVER_DAYS = 8


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run's folder.

    Attributes
    ----------
    name, at, size
        The folder's name, when the run was made (None where nothing tells) and its bytes.
    snapshots
        The snapshots that it was made from.
    plan_hash, undoes
        Its plan, and the plan that this one takes back.
    open
        Why something still needs it, as the rest of a sentence; None where nothing does.
    fault
        Why nobody can tell, likewise.
    """

    name: str
    at: datetime | None
    size: int
    snapshots: frozenset[str] = frozenset()
    plan_hash: str | None = None
    undoes: str | None = None
    open: str | None = None
    fault: str | None = None

    @property
    def created(self) -> str | None:
        """When it was made, as recon writes times."""
        return None if self.at is None else iso(self.at)


@dataclass(frozen=True, slots=True)
class FoundSnapshot:
    """A snapshot's folder; `bases` are the snapshots that it is built on."""

    name: str
    at: datetime | None
    size: int
    bases: frozenset[str] = frozenset()
    fault: str | None = None

    @property
    def created(self) -> str | None:
        """When it was made, as recon writes times."""
        return None if self.at is None else iso(self.at)


def runs(loaded: Settings, now: datetime) -> list[FoundRun]:
    """The runs of a workspace, the oldest first. What recon didn't make isn't among them."""
    found = [_run(folder, loaded, now) for folder in _folders(loaded.run.reports) if _is_run(folder)]
    return sorted(found, key=lambda run: (run.at or datetime.max.replace(tzinfo=UTC), run.name))


def snapshots(loaded: Settings) -> list[FoundSnapshot]:
    """The snapshots of a workspace, the oldest first."""
    folders = [folder for folder in _folders(loaded.run.snapshots) if _SNAPSHOT.fullmatch(folder.name)]
    return [_snapshot(folder) for folder in sorted(folders, key=lambda folder: folder.name)]


def unfinished(loaded: Settings, now: datetime) -> Iterator[tuple[Path, int]]:
    """What interrupted pulls and prunes have left, and its bytes."""
    for place in (loaded.run.snapshots, loaded.run.reports):
        for folder in _folders(place):
            old = now.timestamp() - folder.stat().st_mtime > timedelta(days=_LEFTOVER_DAYS).total_seconds()
            if folder.name.startswith(".pruned-") or (folder.name.startswith(".unfinished-") and old):
                yield folder, _size(folder)


def _folders(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    # A link leads elsewhere: what is there is not ours to delete.
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.is_symlink())


def _is_run(folder: Path) -> bool:
    return not folder.name.startswith(".") and any((folder / mark).exists() for mark in _MARKS)


def _run(folder: Path, loaded: Settings, now: datetime) -> FoundRun:
    size = _size(folder)
    at = _named_time(folder.name)
    made_from: set[str] = set()
    plan: Plan | None = None
    try:
        manifest = _document(folder / "manifest.json")
        if manifest is not None:
            at = _moment(manifest["created_at"])
            if (said := manifest.get("snapshot")) is not None:
                made_from.add(said["id"])
        if (folder / "plan.json").exists():
            plan = read_plan(folder / "plan.json")
            at = at or _moment(plan.created_at)
            made_from.add(plan.snapshot)
        open_ = None if plan is None else _open(plan, folder, loaded, now)
    except (InputRefused, OSError, ValueError, KeyError, TypeError, AttributeError):
        return FoundRun(folder.name, at, size, fault="its files can't be read, so nobody knows what still needs it")
    if at is None:
        at = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
    found = FoundRun(folder.name, at, size, frozenset(made_from), open=open_)
    return found if plan is None else replace(found, plan_hash=plan.hash, undoes=plan.undoes)


def _open(plan: Plan, folder: Path, loaded: Settings, now: datetime) -> str | None:
    """Why a plan isn't over."""
    applied = _document(folder / "apply.json")
    if applied is None:
        if (folder / "before.json").exists():
            return "its plan was begun and not finished (apply the same plan again)"
        return "its plan may still be applied" if _can_be_applied(plan, loaded, now) else None
    counts = applied["counts"]
    if counts.get("worklist"):
        return "its worklist is open (hand the ticked one back with `recon apply --worklist`)"
    if (counts.get("failed") or counts.get("unprocessed")) and _can_be_applied(plan, loaded, now):
        return "its plan isn't complete (apply the same plan again)"
    if not any(step.direction == "clear" for step in plan.steps):
        return None
    verified = _document(folder / "verification.json")
    if verified is None or any(verified["counts"].get(state) for state in _NOT_OVER):
        return f"its plan isn't verified (`recon verify --run {folder.name}`)"
    return None


def _can_be_applied(plan: Plan, loaded: Settings, now: datetime) -> bool:
    if not plan.applicable or not plan.steps:
        return False
    rows = {step.row for step in plan.steps if step.row is not None}
    try:
        refusals.refuse_expired(plan, rows, loaded, now)
    except ReconError:
        return False
    return True


def _snapshot(folder: Path) -> FoundSnapshot:
    size, at = _size(folder), _named_time(folder.name)
    try:
        manifest = _document(folder / "manifest.json")
    except (OSError, ValueError):
        manifest = None
    if manifest is None:
        return FoundSnapshot(folder.name, at, size, fault="its manifest can't be read, so nobody knows what it is")
    return FoundSnapshot(folder.name, at, size, frozenset(_named_snapshots(manifest)) - {folder.name})


def _named_snapshots(value: Any) -> Iterator[str]:
    """Every snapshot's id that stands anywhere in a manifest: what it is built on stays, wherever it is named."""
    if isinstance(value, dict):
        for each in value.values():
            yield from _named_snapshots(each)
    elif isinstance(value, list):
        for each in value:
            yield from _named_snapshots(each)
    elif isinstance(value, str):
        yield from _SNAPSHOT.findall(value)


def _document(file: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is no such file."""
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _named_time(name: str) -> datetime | None:
    """The time that recon puts into names, like 20261124T180000Z."""
    found = _TIME.match(name)
    try:
        return None if found is None else datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
