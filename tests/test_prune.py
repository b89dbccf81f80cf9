"""Pruning: what is too old goes, and nothing that is still needed, whatever the settings say."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from recon import evidence, jobs, lock, settings
from recon.clock import SetClock, iso
from recon.errors import ReconError
from recon.ledger import kinds
from recon.prune import Pruned, prune
from recon.resubscribe.apply import apply
from recon.resubscribe.undo import undo
from recon.resubscribe.verify import verify
from tests.resubscribe.cli import here
from tests.resubscribe.rig import ADMIN, Rig, new_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
CLOCK = SetClock(NOW)


def workspace(folder: Path, text: str = "") -> Path:
    (folder / settings.FILE_NAME).write_text(text)
    return folder


def put_run(folder: Path, days: float, *, snapshot: str | None = None, name: str | None = None) -> str:
    """A run's folder as old as that."""
    at = NOW - timedelta(days=days)
    run = folder / "reports" / (name or at.strftime("%Y%m%dT%H%M%SZ"))
    run.mkdir(parents=True)
    said = None if snapshot is None else {"id": snapshot}
    (run / "manifest.json").write_text(json.dumps({"created_at": iso(at), "snapshot": said}))
    (run / "merged.parquet").write_bytes(b"x" * 1000)
    return run.name


def put_snapshot(folder: Path, days: float, **more: Any) -> str:
    at = NOW - timedelta(days=days)
    name = f"{at:%Y%m%dT%H%M%SZ}-{int(days * 10):08x}"
    kept = folder / "snapshots" / name
    kept.mkdir(parents=True)
    (kept / "manifest.json").write_text(json.dumps({"id": name, **more}))
    return name


def names(folder: Path, place: str) -> set[str]:
    return {path.name for path in (folder / place).iterdir()}


def reasons(done: Pruned) -> dict[str, str]:
    return {item.name: item.reason for item in done.kept}


class TestRules:
    @pytest.mark.parametrize(
        ("keep_days", "keep_runs", "left"),
        [
            (90, 1, [0, 30, 89, 90]),
            (30, 1, [0, 30]),
            (0, 1, [0]),
            (0, 3, [0, 30, 89]),
            (0, 100, [0, 30, 89, 90, 91, 400]),
            (91, 2, [0, 30, 89, 90, 91]),
        ],
    )
    def test_a_run_goes_when_it_is_too_old_and_not_among_the_newest(
        self, tmp_path: Path, keep_days: int, keep_runs: int, left: list[int]
    ) -> None:
        workspace(tmp_path)
        made = {days: put_run(tmp_path, days) for days in (0, 30, 89, 90, 91, 400)}
        before = names(tmp_path, "reports")
        told = prune(tmp_path, keep_days=keep_days, keep_runs=keep_runs, dry_run=True, clock=CLOCK)
        assert names(tmp_path, "reports") == before
        done = prune(tmp_path, keep_days=keep_days, keep_runs=keep_runs, clock=CLOCK)
        assert names(tmp_path, "reports") == {made[days] for days in left}
        assert (told.items, told.dry_run, done.dry_run) == (done.items, True, False)
        assert {item.name for item in done.kept} == {made[days] for days in left}
        assert prune(tmp_path, keep_days=keep_days, keep_runs=keep_runs, clock=CLOCK).deleted == ()

    def test_the_settings_say_how_long(self, tmp_path: Path) -> None:
        workspace(tmp_path, "[retention]\nkeep_days = 10\nkeep_runs = 2\n")
        old = [put_run(tmp_path, days) for days in (9, 11, 12)]
        assert [item.name for item in prune(tmp_path, clock=CLOCK).deleted] == [old[2]]

    def test_snapshots_stay_as_long_as_a_run_that_was_made_from_them(self, tmp_path: Path) -> None:
        workspace(tmp_path)
        used, unused, gone, newest = (put_snapshot(tmp_path, days) for days in (50, 40, 60, 30))
        put_run(tmp_path, 60, snapshot=gone)
        run = put_run(tmp_path, 49, snapshot=used)
        done = prune(tmp_path, keep_days=20, keep_runs=1, clock=CLOCK)
        assert names(tmp_path, "snapshots") == {used, newest}
        assert names(tmp_path, "reports") == {run}
        assert reasons(done)[used] == "a run that is kept was made from it"
        assert reasons(done)[newest] == "the newest snapshot"
        assert unused in {item.name for item in done.deleted}

    @pytest.mark.parametrize("form", ["text", "table", "list"])
    def test_what_an_incremental_pull_is_built_on_stays(self, tmp_path: Path, form: str) -> None:
        workspace(tmp_path)
        ground = put_snapshot(tmp_path, 400)
        other = put_snapshot(tmp_path, 399)
        wanted: dict[str, Any] = {"text": ground, "table": {"id": ground}, "list": [{"base": f"snapshots/{ground}"}]}
        middle = put_snapshot(tmp_path, 300, base=wanted[form])
        newest = put_snapshot(tmp_path, 200, incremental={"base": {"id": middle}})
        done = prune(tmp_path, keep_days=1, clock=CLOCK)
        assert names(tmp_path, "snapshots") == {ground, middle, newest}
        assert [item.name for item in done.deleted] == [other]
        assert reasons(done)[ground] == f"the snapshot {middle} is built on it"

    def test_a_run_that_failed_early_goes_by_the_time_in_its_name(self, tmp_path: Path) -> None:
        workspace(tmp_path)
        put_run(tmp_path, 0)
        for name in ("20200101T000000Z", "nightly"):
            (tmp_path / "reports" / name / "notebooks").mkdir(parents=True)
        done = prune(tmp_path, keep_runs=1, clock=CLOCK)
        assert [item.name for item in done.deleted] == ["20200101T000000Z"]

    def test_what_is_not_recons_stays(self, tmp_path: Path) -> None:
        workspace(tmp_path)
        put_run(tmp_path, 0)
        put_snapshot(tmp_path, 0)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "manifest.json").write_text(json.dumps({"created_at": "2001-01-01T00:00:00Z"}))
        (tmp_path / "reports" / "20010101T000000Z").symlink_to(elsewhere, target_is_directory=True)
        (tmp_path / "reports" / "sample").mkdir()
        (tmp_path / "reports" / "notes.txt").write_text("mine")
        (tmp_path / "snapshots" / "mine").mkdir()
        assert prune(tmp_path, keep_days=0, keep_runs=1, clock=CLOCK).deleted == ()

    @pytest.mark.parametrize(
        "text", ["{", "[]", '{"created_at": 5}', '{"created_at": "2001-01-01T00:00:00Z", "snapshot": 7}']
    )
    def test_what_cannot_be_read_stays_and_is_told(self, tmp_path: Path, text: str) -> None:
        workspace(tmp_path)
        put_run(tmp_path, 0)
        put_snapshot(tmp_path, 0)
        for folder in (
            tmp_path / "reports" / put_run(tmp_path, 400),
            tmp_path / "snapshots" / put_snapshot(tmp_path, 400),
        ):
            (folder / "manifest.json").write_text(text if "snapshots" not in str(folder) else "{")
        done = prune(tmp_path, keep_days=0, keep_runs=1, clock=CLOCK)
        assert done.deleted == ()
        assert sum("can't be read" in item.reason for item in done.kept) == 2
        assert "can't be read" in "\n".join(done.lines())

    def test_what_was_interrupted_goes_when_nobody_can_go_on_with_it(self, tmp_path: Path) -> None:
        workspace(tmp_path)
        for name, days in ((".unfinished-a", 9), (".unfinished-b", 1), (".pruned-c", 0)):
            (tmp_path / "snapshots" / name).mkdir(parents=True)
            at = (NOW - timedelta(days=days)).timestamp()
            os.utime(tmp_path / "snapshots" / name, (at, at))
        prune(tmp_path, clock=CLOCK)
        assert names(tmp_path, "snapshots") == {".unfinished-b"}

    def test_a_folder_that_holds_the_ledger_is_never_deleted(self, tmp_path: Path) -> None:
        put_run(tmp_path, 0)
        old = put_run(tmp_path, 400)
        workspace(tmp_path, f'[run]\nledger = "reports/{old}/ledger"\n')
        with pytest.raises(ReconError, match="lies within it"):
            prune(tmp_path, keep_runs=1, clock=CLOCK)
        assert old in names(tmp_path, "reports")

    def test_nothing_is_deleted_while_a_run_is_at_work(self, tmp_path: Path) -> None:
        workspace(tmp_path)
        put_run(tmp_path, 0)
        old = put_run(tmp_path, 400)
        with lock.held(tmp_path, "run x", CLOCK):
            with pytest.raises(ReconError, match="another run is at work"):
                prune(tmp_path, keep_runs=1, clock=CLOCK)
            told = prune(tmp_path, keep_runs=1, dry_run=True, clock=CLOCK)
        assert [item.name for item in told.deleted] == [old]
        assert old in names(tmp_path, "reports")

    def test_an_empty_workspace_has_nothing_to_prune(self, tmp_path: Path) -> None:
        assert prune(workspace(tmp_path), clock=CLOCK).lines() == ["deleted 0 runs and 0 snapshots, 0.0 MB"]


@dataclass
class Story:
    """A workspace with a plan in every state that a prune has to respect; what a prune long after each step would keep, and why."""

    rig: Rig
    old: str
    run: str
    snapshot: str
    stages: dict[str, dict[str, str]]


def later(rig: Rig, days: float = 200, **options: Any) -> Pruned:
    given: dict[str, Any] = {"keep_days": 30, "keep_runs": 1, "dry_run": True} | options
    return prune(rig.folder, clock=SetClock(rig.clock.now() + timedelta(days=days)), **given)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    rig = new_rig(tmp_path_factory.mktemp("prune"))
    environ = rig.sandbox.environment()
    stages: dict[str, dict[str, str]] = {}
    rig.pair("ada@buyer.example")
    rig.pull()
    old = jobs.reconcile(rig.folder, clock=rig.clock).run_id
    rig.days(3)
    rig.approve("ada@buyer.example")
    rig.pull()
    planned = rig.plan()
    rig.clock.advance(timedelta(minutes=1))
    # The newest run and the newest snapshot are others.
    rig.pull()
    jobs.reconcile(rig.folder, clock=rig.clock)
    stages["planned"] = reasons(later(rig, days=1, keep_days=0))
    stages["expired"] = reasons(later(rig))
    # A plan that was begun and not finished.
    (planned.folder / "before.json").write_text("{}")
    stages["begun"] = reasons(later(rig))
    (planned.folder / "before.json").unlink()
    applied = apply(rig.folder, planned.path, actor=ADMIN, clock=rig.clock, environ=environ, sleep=lambda _: None)
    assert applied.exit_code == 0
    stages["applied"] = reasons(later(rig))
    verify(rig.folder, clock=rig.clock, environ=environ)
    stages["too early"] = reasons(later(rig))
    # As it is where no gateway does it, and an admin has one person left to click for.
    said = json.loads((planned.folder / "apply.json").read_text())
    (planned.folder / "apply.json").write_text(json.dumps(said | {"counts": {"done": 1, "worklist": 1}}))
    stages["worklist"] = reasons(later(rig))
    (planned.folder / "apply.json").write_text(json.dumps(said))
    rig.night()
    verify(rig.folder, clock=rig.clock, environ=environ)
    stages["verified"] = reasons(later(rig))
    undone = undo(rig.folder, planned.folder.name, clock=rig.clock, environ=environ)
    stages["undo planned"] = reasons(later(rig))
    shutil.rmtree(undone.folder)
    yield Story(rig, old, planned.folder.name, planned.plan.snapshot, stages)
    rig.sandbox.close()


class TestOpenWork:
    @pytest.mark.parametrize(
        ("stage", "reason"),
        [
            ("planned", "its plan may still be applied"),
            ("begun", "its plan was begun and not finished"),
            ("applied", "its plan isn't verified (`recon verify --run"),
            ("too early", "its plan isn't verified"),
            ("worklist", "its worklist is open"),
            ("undo planned", "takes it back and isn't over"),
        ],
    )
    def test_a_run_that_is_not_over_stays_with_its_snapshot(self, story: Story, stage: str, reason: str) -> None:
        kept = story.stages[stage]
        assert reason in kept[story.run]
        assert story.run in kept[story.snapshot] or stage == "undo planned"
        assert story.old not in kept

    @pytest.mark.parametrize("stage", ["expired", "verified"])
    def test_a_run_that_is_over_may_go(self, story: Story, stage: str) -> None:
        assert story.run not in story.stages[stage]
        assert story.old not in story.stages[stage]

    def test_the_ledger_stays_whole_and_is_still_held_against_the_checkpoints_of_pruned_runs(
        self, story: Story, tmp_path: Path
    ) -> None:
        home = tmp_path / "home"
        shutil.copytree(story.rig.folder, home)
        proof = (home / "reports" / story.run / "checkpoints.jsonl").read_bytes()
        ledger = (home / "ledger").rglob("*.key")
        keys = {path: path.read_bytes() for path in ledger}
        clock = SetClock(story.rig.clock.now() + timedelta(days=200))
        told = here(story.rig, "prune", "--keep-runs", "1", "--dry-run", folder=home, RECON_NOW=iso(clock.now()))
        done = here(story.rig, "prune", "--keep-runs", "1", folder=home, RECON_NOW=iso(clock.now()))
        assert (told.returncode, done.returncode, done.stderr) == (0, 0, "")
        assert done.stdout.splitlines()[0].startswith("deleted 2 runs and 2 snapshots, ")
        assert told.stdout.replace("would delete", "deleted") == done.stdout
        assert f"  deleted run {story.run} (" in done.stdout
        assert "the newest run" in done.stdout
        assert not (home / "reports" / story.run).exists()
        assert (home / "ledger" / "checkpoints" / f"{story.run}.jsonl").read_bytes() == proof
        assert {path: path.read_bytes() for path in (home / "ledger").rglob("*.key")} == keys
        found = here(story.rig, "ledger", "verify", folder=home)
        assert (found.returncode, found.stderr) == (0, "")
        with evidence.open_ledger(settings.load(home), clock) as opened:
            last = list(opened.entries(kinds.RUN))[-1]
        assert (last.data["job"], last.data["counts"]) == ("prune", {"runs": 2, "snapshots": 2})
        again = here(story.rig, "prune", "--keep-runs", "1", "--json", folder=home, RECON_NOW=iso(clock.now()))
        said = json.loads(again.stdout)
        assert not said["dry_run"]
        assert not any(item["deleted"] for item in said["items"])
