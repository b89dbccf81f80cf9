"""Pull of many records from the sandbox, which runs in a process of its own: records a second, API calls, peak memory of the client.

    python benchmarks/pull.py [--records 50000 500000] [--out FILE]          (make bench runs it, too)

Sixty percent are Leads and the rest Contacts, a tenth of them with field history; a quarter as many people come from the gateway. Three pulls
are measured, each in a process of its own: of everything, of everything page by page in smaller pages, and of what changed since (one record in
a hundred). The peak is what the system says of the whole process, Python and its libraries included, which is about what an empty pull takes.
"""

from __future__ import annotations

import argparse
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
#: Records whose opt-out was set once, and that changed since the first pull.
_OPTED_OUT_EVERY, _CHANGED_EVERY, _PERSON_EVERY = 10, 100, 4
_MIB = 1 << 20


def serve(folder: Path, records: int) -> None:
    """Serve a sandbox with so many records until the input ends; a line of it changes one record in a hundred."""
    from recon.clock import SetClock
    from recon.sandbox.box import Sandbox
    from recon.sandbox.served import write_settings
    from recon.sandbox.store import text_time

    clock = SetClock(NOW)
    with Sandbox(clock=clock) as box:
        _fill(box, records)
        write_settings(folder, box.settings(), None)
        (folder / "environment.json").write_text(json.dumps(box.environment()), "utf-8")
        print("ready", flush=True)
        if sys.stdin.readline():
            clock.advance(timedelta(minutes=30))
            now = text_time(clock.now())
            with box.store.transaction() as db:
                for table in ("lead", "contact"):
                    db.execute(
                        f"UPDATE {table} SET FirstName = 'Changed', LastModifiedDate = ?, SystemModstamp = ? "
                        f"WHERE CAST(substr(LastName, 6) AS INTEGER) % {_CHANGED_EVERY} = 0",
                        (now, now),
                    )
            print("changed", flush=True)
            sys.stdin.readline()


def _fill(box: Any, records: int) -> None:
    from recon.sandbox.salesforce.records import ADMIN, to_18
    from recon.sandbox.store import text_time

    then, at = text_time(NOW - timedelta(days=400)), text_time(NOW - timedelta(days=30))
    rows: dict[str, list[tuple[Any, ...]]] = {"lead": [], "contact": [], "history": [], "person": []}
    for number in range(records):
        name, prefix = ("lead", "00Q") if number % 5 < 3 else ("contact", "003")
        record, out = to_18(f"{prefix}9e00{number:08d}"), number % _OPTED_OUT_EVERY == 0
        address = f"user{number}@buyer{number % 997}.example"
        rows[name].append((record, f"First {number}", f"Last {number}", address, out, then, at, ADMIN, at))
        if out:
            about = to_18(f"0179e00{number:08d}"), name.capitalize(), record
            rows["history"].append((*about, "HasOptedOutOfEmail", "false", "true", ADMIN, at))
        if number % _PERSON_EVERY == 0:
            rows["person"].append((f"{8_000_000 + number}", address, record, then, at))
    columns = "Id, FirstName, LastName, Email, HasOptedOutOfEmail, CreatedDate, LastModifiedDate, LastModifiedById, SystemModstamp"
    places = ", ".join("?" * 9)
    with box.store.transaction() as db:
        db.executemany(f"INSERT INTO lead ({columns}, Company) VALUES ({places}, 'Acme')", rows["lead"])
        db.executemany(f"INSERT INTO contact ({columns}) VALUES ({places})", rows["contact"])
        db.executemany(
            "INSERT INTO history (Id, Object, Parent, Field, OldValue, NewValue, CreatedById, CreatedDate) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            rows["history"],
        )
        db.executemany(
            "INSERT INTO person (person_id, email, salesforce_id, created_at, updated_at) VALUES (?, ?, ?, ?, ?)",
            rows["person"],
        )


def step(folder: Path, way: str) -> None:
    """One pull, and what it took, as JSON."""
    from recon import pulls, settings
    from recon.clock import SetClock

    environ = json.loads((folder / "environment.json").read_text("utf-8"))
    loaded = settings.load(folder)
    at = NOW + timedelta(hours=1 if way == "since" else 0)
    if way == "small pages":
        loaded = loaded.with_values(salesforce={"page_rows": 10_000})
    began = time.monotonic()
    kept = pulls.pull(loaded, way="since" if way == "since" else "full", environ=environ, clock=SetClock(at))
    seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    scale = 1 if sys.platform == "darwin" else 1024
    told = {
        "seconds": round(seconds, 1),
        "cpu": round(used.ru_utime + used.ru_stime, 1),
        "records_a_second": round((kept.manifest["rows"]["leads"] + kept.manifest["rows"]["contacts"]) / seconds),
        "api_calls": kept.manifest["api_calls"]["salesforce"],
        "gateway_calls": kept.manifest["api_calls"]["sales_connect"]["total"],
        "peak_mib": round(used.ru_maxrss * scale / _MIB),
        "way": kept.manifest["pull"]["way"],
        "rows": kept.manifest["rows"],
    }
    print(json.dumps(told))


def measure(records: int) -> dict[str, Any]:
    """Serve so many records and pull them."""
    with tempfile.TemporaryDirectory(prefix="recon-pull-bench-") as name:
        here = [sys.executable, __file__]
        found: dict[str, Any] = {"records": records}
        server = subprocess.Popen(
            [*here, "--serve", name, "--records", str(records)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            server.stdout.readline()
            for way in ("full", "small pages", "since"):
                if way == "since":
                    server.stdin.write("change\n")
                    server.stdin.flush()
                    server.stdout.readline()
                done = subprocess.run([*here, "--step", name, way], capture_output=True, text=True, check=False)
                if done.returncode:
                    raise SystemExit(done.stderr)
                found[way] = json.loads(done.stdout)
                print(f"{records:>9,} {way:<12} {found[way]}", file=sys.stderr, flush=True)
        finally:
            server.communicate("")
    return found


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[50_000, 500_000])
    parser.add_argument("--out", type=Path, help="Write the figures there, as JSON.")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        serve(given.serve, given.records[0])
        return
    if given.step is not None:
        step(Path(given.step[0]), given.step[1])
        return
    found = [measure(records) for records in given.records]
    head = (
        f"{'records':>9} {'pull':<12} {'seconds':>8} {'CPU s':>7} {'records/s':>10} {'API calls':>10} {'peak MiB':>9}"
    )
    print(f"{head}  by kind; machine: {os.cpu_count()} cores")
    for each in found:
        for way in ("full", "small pages", "since"):
            told = each[way]
            row = (told["seconds"], told["cpu"], told["records_a_second"], told["api_calls"]["total"], told["peak_mib"])
            kinds = ", ".join(f"{name} {count}" for name, count in told["api_calls"].items() if name != "total")
            print(
                f"{each['records']:>9,} {way:<12} " + "{:>8} {:>7} {:>10,} {:>10,} {:>9,}".format(*row) + f"  {kinds}"
            )
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
