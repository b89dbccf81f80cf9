"""Several processes at one ledger: one chain, every entry in it, and who waits too long is told."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from recon.ledger import Ledger, kinds, verify
from tests.ledger.ledger_world import run_entry

if TYPE_CHECKING:
    from recon.clock import SetClock

CHILD = Path(__file__).with_name("ledger_child.py")


def begin(folder: Path, what: str, number: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, str(CHILD), str(folder), what, str(number)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_many_processes_make_one_chain(folder: Path, clock: SetClock) -> None:
    """They begin at once, so that making the ledger and its key are part of it."""
    running = [begin(folder, "append", 25) for _ in range(4)]
    ended = [process.communicate(timeout=120) for process in running]
    assert [error for _, error in ended] == [""] * 4
    seqs = [int(line) for out, _ in ended for line in out.split()]
    assert sorted(seqs) == list(range(1, 101))
    found = verify(folder)
    assert (found.findings, found.size) == ((), 100)
    with Ledger.open(folder, clock=clock) as ledger:
        by_process = Counter((ledger.personal(entry) or {})["process"] for entry in ledger.entries())
    assert sorted(by_process.values()) == [25, 25, 25, 25]


def test_processes_that_open_at_once_have_one_key(folder: Path) -> None:
    running = [begin(folder, "open") for _ in range(5)]
    ended = [process.communicate(timeout=120) for process in running]
    assert [error for _, error in ended] == [""] * 5
    assert len({out for out, _ in ended}) == 1
    assert sorted(path.name for path in folder.glob("*.key")) == ["pseudonyms-hk1.key"]


def test_checkpoints_at_once_are_all_kept(folder: Path, clock: SetClock) -> None:
    with Ledger.open(folder, clock=clock, durable=False) as ledger:
        run_entry(ledger)
    running = [begin(folder, "checkpoint") for _ in range(4)]
    assert [process.communicate(timeout=120)[1] for process in running] == [""] * 4
    path = folder / "checkpoints.jsonl"
    assert len(path.read_text().splitlines()) == 4
    assert verify(folder, [path]).exit_code == 0


def test_who_waits_too_long_is_refused_with_a_sentence(folder: Path, clock: SetClock) -> None:
    holder = begin(folder, "hold")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    out, error = begin(folder, "impatient").communicate(timeout=60)
    assert error == ""
    assert out.splitlines() == [
        f"the ledger {folder / 'ledger.db'} has been in use by another process for 0.05 seconds; nothing was written to it.",
        "  What to do: Wait until the other run has ended, then run this again.",
    ]
    holder.communicate("", timeout=60)
    again = begin(folder, "impatient")
    assert (again.communicate(timeout=60)[0], again.returncode) == ("1\n", 0)


def test_who_was_killed_holds_nobody_up(folder: Path, clock: SetClock) -> None:
    holder = begin(folder, "hold")
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.kill()
    holder.communicate()
    with Ledger.open(folder, clock=clock, timeout=0.0, durable=False) as ledger:
        assert run_entry(ledger).seq == 1


def test_threads_share_a_ledger(ledger: Ledger, folder: Path) -> None:
    threads = [threading.Thread(target=lambda: [run_entry(ledger) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.seq for entry in ledger.entries(kinds.RUN)] == list(range(1, 81))
    assert verify(folder).findings == ()
