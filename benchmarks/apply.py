"""Apply of many updates against the sandbox, which runs in a process of its own: records a second, API calls, peak memory.

The client's alone, and its CPU seconds, start-up included: they tell more than the clock where others use the machine, too.

    python benchmarks/apply.py [--updates 10000 100000] [--out FILE]          (make bench runs it, too)

Half are Leads and half Contacts, each opted out, approved by a row of its own, and in Salesforce alone: what is measured is Bulk API 2.0 with
the looks before and after it, and the ledger. Pull and plan are timed beside it, each in a process of its own, too.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
_MIB = 1 << 20
_ADMIN = "Ines Admin"
_SETTINGS = f"""
[policy]
admins = ["{_ADMIN}"]
marketo_engage = false

[guards]
max_resubscribes = 1000000
max_share_percent = 100.0
"""


def serve(folder: Path, updates: int) -> None:
    """Serve a sandbox with so many opted-out records until the input ends."""
    from recon.clock import SetClock
    from recon.sandbox.box import Sandbox
    from recon.sandbox.salesforce.records import ADMIN, to_18
    from recon.sandbox.served import write_settings
    from recon.sandbox.store import text_time

    at, then = text_time(NOW - timedelta(days=30)), text_time(NOW - timedelta(days=400))
    with Sandbox(clock=SetClock(NOW)) as box:
        rows: dict[str, list[tuple[Any, ...]]] = {"lead": [], "contact": [], "history": []}
        for number in range(updates):
            name, prefix = ("lead", "00Q") if number % 2 else ("contact", "003")
            record = to_18(f"{prefix}9e00{number:08d}")
            rows[name].append(
                (record, f"Last {number}", f"user{number}@buyer{number % 997}.example", then, at, ADMIN, at)
            )
            history = to_18(f"0179e00{number:08d}")
            rows["history"].append(
                (history, name.capitalize(), record, "HasOptedOutOfEmail", "false", "true", ADMIN, at)
            )
        with box.store.transaction() as db:
            for name in ("lead", "contact"):
                db.executemany(
                    f"INSERT INTO {name} (Id, LastName, Email, HasOptedOutOfEmail, CreatedDate, LastModifiedDate, LastModifiedById, "
                    "SystemModstamp) VALUES (?, ?, ?, 1, ?, ?, ?, ?)",
                    rows[name],
                )
            db.executemany("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows["history"])
        own = box.settings()
        own["salesforce"] |= {"poll_seconds": 0.05}
        write_settings(folder, own, None)
        with (folder / "recon.toml").open("a", encoding="utf-8") as stream:
            stream.write(_SETTINGS)
        (folder / "environ.json").write_text(json.dumps(box.environment()), "utf-8")
        print("ready", flush=True)
        sys.stdin.read()


def approve(folder: Path, updates: int) -> None:
    """Write the approved file."""
    from recon.tables import APPROVED

    consent, approved = ((NOW - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ") for hours in (3, 1))
    common = {
        "reason": "Asked to get mail again",
        "authorization": "Consent",
        "consent_date": consent,
        "purpose": "Sales mail",
        "evidence": "form",
        "initiated_by": "person",
        "approved_by": _ADMIN,
        "approved_at": approved,
        "requested_by": "Kofi Mensah",
        "scope": "sales",
    }
    with (folder / "approved.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, APPROVED.names, restval="")
        writer.writeheader()
        for number in range(updates):
            writer.writerow({"email": f"user{number}@buyer{number % 997}.example", **common})


def step(folder: Path, what: str) -> None:
    """One step of the flow, timed; prints its figures as JSON."""
    from recon import jobs
    from recon.clock import SetClock
    from recon.resubscribe import jobs as flow
    from recon.resubscribe.apply import apply

    clock = SetClock(NOW)
    environ = json.loads((folder / "environ.json").read_text("utf-8"))
    begun = time.perf_counter()
    told: dict[str, Any] = {}
    if what == "pull":
        kept = jobs.pull(folder, clock=clock, environ=environ)
        told["kinds"] = kept.manifest["api_calls"]["salesforce"]
        told["api_calls"] = told["kinds"]["total"]
    elif what == "plan":
        made = flow.plan(folder, folder / "approved.csv", run_id="bench", clock=clock, environ=environ)
        told["steps"] = len(made.plan.steps)
    else:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        done = apply(folder, folder / "reports" / "bench" / "plan.json", actor=_ADMIN, clock=clock, environ=environ)
        about = json.loads((done.folder / "apply.json").read_text("utf-8"))
        told |= {"counts": done.counts, "api_calls": about["api_calls"]["salesforce"], "way": about["salesforce"]}
        told["kinds"] = about["api_calls_by_kind"]["salesforce"]
        told["mib_before"] = round(before * 1024 / _MIB)
    told["seconds"] = round(time.perf_counter() - begun, 1)
    used = resource.getrusage(resource.RUSAGE_SELF)
    told |= {"cpu": round(used.ru_utime + used.ru_stime, 1), "peak_mib": round(used.ru_maxrss * 1024 / _MIB)}
    print(json.dumps(told))


def measure(updates: int) -> dict[str, Any]:
    """Figures of pull, plan and apply of so many updates."""
    own = [sys.executable, __file__]
    with tempfile.TemporaryDirectory(prefix="recon-bench-") as place:
        folder = Path(place)
        server = subprocess.Popen(
            [*own, "--serve", place, "--updates", str(updates)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            if server.stdout.readline() != "ready\n":
                raise SystemExit("the sandbox didn't start")
            approve(folder, updates)
            found: dict[str, Any] = {"updates": updates}
            for what in ("pull", "plan", "apply"):
                done = subprocess.run([*own, "--step", what, place], capture_output=True, text=True, check=False)
                if done.returncode:
                    raise SystemExit(f"{what} failed:\n{done.stderr}")
                found[what] = json.loads(done.stdout.splitlines()[-1])
                print(f"{updates:>9,} {what:<6} {found[what]}", file=sys.stderr, flush=True)
        finally:
            server.communicate("")
    found["apply"]["records_a_second"] = round(updates / found["apply"]["seconds"])
    return found


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--out", type=Path, help="Write the figures there, as JSON.")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        serve(given.serve, given.updates[0])
        return
    if given.step is not None:
        step(Path(given.step[1]), given.step[0])
        return
    found = [measure(updates) for updates in given.updates]
    head = f"{'updates':>9} {'step':<6} {'seconds':>8} {'CPU s':>7} {'records/s':>10} {'API calls':>10} {'peak MiB':>9}"
    print(f"{head}  by kind; machine: {os.cpu_count()} cores")
    for each in found:
        for what in ("pull", "plan", "apply"):
            told = each[what]
            row = (
                told["seconds"],
                told["cpu"],
                round(each["updates"] / told["seconds"]),
                told.get("api_calls", ""),
                told["peak_mib"],
            )
            kinds = ", ".join(f"{name} {count}" for name, count in told.get("kinds", {}).items() if name != "total")
            print(f"{each['updates']:>9,} {what:<6} " + "{:>8} {:>7} {:>10,} {:>10} {:>9,}".format(*row) + f"  {kinds}")
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
