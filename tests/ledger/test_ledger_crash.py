"""Killed at any moment, the ledger holds every entry that was acknowledged, whole, and at most one that wasn't; and goes on."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recon.ledger import Ledger, kinds, verify
from recon.ledger.checkpoint import read

if TYPE_CHECKING:
    from recon.clock import SetClock

CHILD = Path(__file__).with_name("ledger_child.py")
STRACE = shutil.which("strace")
#: What SQLite and the ledger change files with. strace counts each call on its own.
CALLS = ("pwrite64", "write", "fdatasync", "fsync", "ftruncate", "link", "rename", "unlink")


def child(
    folder: Path, what: str, number: int = 1, *, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, str(CHILD), str(folder), what, str(number)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def sound(folder: Path, clock: SetClock, acknowledged: int) -> int:
    """Hold the ledger together, then write to it as if nothing had happened; returns how many entries were there."""
    size = 0
    if (folder / "ledger.db").exists() and (folder / "ledger.db").stat().st_size:
        found = verify(folder)
        assert found.findings == (), found.lines()
        assert found.notes == ()
        size = found.size
    assert acknowledged <= size <= acknowledged + 1, (acknowledged, size)
    with Ledger.open(folder, clock=clock, durable=False) as ledger:
        assert all(ledger.personal(entry) is not None for entry in ledger.entries(kinds.VERDICT))
        assert ledger.append(kinds.RUN, {"run_id": "again", "job": "apply"}).seq == size + 1
    after = verify(folder)
    assert (after.findings, after.size) == ((), size + 1)
    return size


def start(folder: Path, clock: SetClock) -> None:
    with Ledger.open(folder, clock=clock, durable=False) as ledger:
        ledger.append(kinds.RUN, {"run_id": "before", "job": "apply"})


def test_killed_within_any_step_of_the_transaction(tmp_path: Path, clock: SetClock) -> None:
    sizes = set()
    when, stride = 1, 61
    while True:
        folder = tmp_path / str(when)
        start(folder, clock)
        ended = child(folder, "steps", when)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        sizes.add(sound(folder, clock, 1 + len(ended.stdout.split())))
        when += stride
    assert when > 3 * stride
    assert sizes == {1}  # killed before the commit has ended: nothing of it is there


def traced(folder: Path, what: str, call: str, when: int) -> subprocess.CompletedProcess[str]:
    """Run the child and kill it as it makes the n-th call of a kind that touches the ledger's files."""
    names = ("", "ledger.db", "ledger.db-journal", "pseudonyms-hk1.key", "checkpoints.jsonl")
    where = [f"--trace-path={folder / name}" for name in names] if call != "write" else []
    inject = ("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}")
    return child(folder, what, before=(str(STRACE), "-qq", "-o", "/dev/null", *inject, *where))


def can_trace() -> bool:
    return (
        STRACE is not None
        and subprocess.run([STRACE, "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0
    )


needs_strace = pytest.mark.skipif(not can_trace(), reason="needs strace, with the right to use it")


@needs_strace
@pytest.mark.parametrize(
    ("what", "stride"),
    [
        # The first opening writes some fifty pages before its first commit: every seventeenth will do.
        pytest.param("new", 17, id="new"),
        pytest.param("append", 1, id="append"),
        pytest.param("checkpoint", 5, id="checkpoint"),
    ],
)
def test_killed_at_every_system_call(tmp_path: Path, clock: SetClock, what: str, stride: int) -> None:
    start(tmp_path / "start", clock)
    sizes, kills = set(), 0
    for call in CALLS:
        when = 1
        while True:
            folder = tmp_path / f"{call}{when}"
            if what == "new":
                folder.mkdir()
            else:
                shutil.copytree(tmp_path / "start", folder)
            ended = traced(folder, "checkpoint" if what == "checkpoint" else "synced", call, when)
            if ended.returncode == 0:
                break
            assert "Error" not in ended.stderr, ended.stderr
            kills += 1
            sizes.add(sound(folder, clock, (what != "new") + (ended.stdout.count("\n") if what != "checkpoint" else 0)))
            if (folder / "checkpoints.jsonl").exists():  # whole, and never of an entry that isn't there
                assert read(folder / "checkpoints.jsonl")[0].size == 2
                assert verify(folder, [folder / "checkpoints.jsonl"]).exit_code == 0
            when += stride if call == "pwrite64" else 1
    assert kills > 5
    assert sizes == ({0, 1} if what == "new" else {1, 2})


def test_killed_at_random_while_it_appends(folder: Path, clock: SetClock) -> None:
    total = 0
    for round_ in range(8):
        with subprocess.Popen(
            [sys.executable, str(CHILD), str(folder), "append", "100000"], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(round_ * 3 + 1):
                total = int(process.stdout.readline())
            process.kill()
            rest = process.stdout.read().splitlines()
        # The last line may have been cut off with the process.
        total = max([total, *(int(line) for line in rest if line.isdigit() and int(line) <= total + len(rest))])
        total = sound(folder, clock, total) + 1
    with Ledger.open(folder, clock=clock) as ledger:
        assert [entry.seq for entry in ledger.entries()] == list(range(1, total + 1))
