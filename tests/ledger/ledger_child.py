"""A process of its own that writes to a ledger: `python ledger_child.py FOLDER WHAT [NUMBER]`.

It prints a line for every entry that was acknowledged to it.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from recon.clock import SetClock
from recon.ledger import Ledger, LedgerBusy, kinds

NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
SUBJECT = "hk1:" + "1" * 32


def append(ledger: Ledger, row: int) -> None:
    """One entry that touches every table."""
    body = {"file": "f" * 64, "row": row, "subject": SUBJECT, "verdict": "accepted", "codes": []}
    entry = ledger.append(kinds.VERDICT, body, {"reason": "asked on the phone", "process": os.getpid()})
    print(entry.seq, flush=True)


def die_at(ledger: Ledger, when: int) -> None:
    """Have this process killed after so many steps of SQLite's machine from now on."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        if steps == when:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    ledger._db.set_progress_handler(count, 1)


def main(folder: Path, what: str, number: int) -> int:
    timeout = 0.05 if what == "impatient" else 60.0
    with Ledger.open(folder, clock=SetClock(NOW), timeout=timeout, durable=what == "synced") as ledger:
        if what == "steps":
            die_at(ledger, number)
            append(ledger, 1)
        elif what == "open":
            print(ledger.names.fingerprint(1), flush=True)
        elif what == "checkpoint":
            ledger.checkpoint(folder / "checkpoints.jsonl")
            print("checkpoint", flush=True)
        elif what == "hold":
            with ledger.writing():
                print("held", flush=True)
                sys.stdin.read()
        elif what == "impatient":
            try:
                append(ledger, 1)
            except LedgerBusy as error:
                print(error, flush=True)
                return error.exit_code
        else:
            for row in range(1, number + 1):
                append(ledger, row)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 1))
