"""The benchmarks of the table logic, each as a ratio inside one run; prints a table and keeps what was measured.

    python benchmarks/engines.py                     the floor, recon and datacompy at 500,000 records
    python benchmarks/engines.py --rows 5M           as docs/benchmarks.md has them
    python benchmarks/engines.py --rows 100M --only diff --memory 8GiB
    python benchmarks/engines.py --only spark,start

Every row runs in a process of its own, so that its peak memory is its own. Of what such a process starts, like Spark's Java, time and memory count, too, and
are told apart; the peak is the sum of the peaks, whether they fall on one moment or not. What a row measured is kept in FOLDER/results.json and not measured
again, unless `--again`; so a long run can be broken off and resumed. Needs Linux. The rows:

    floor      the least that any tool must do, by hand in DuckDB: read the same columns of the same files, one join by id, one grouping by
               address, the records that disagree written as CSV
    diff       recon diff: CSV files in, merged.parquet, actions.csv and all else out
    polars     the same with --engine polars, where Polars is installed; `pandas` likewise
    datacompy  datacompy compares one flag on one key (people's Salesforce ID with the records' Id) of the same files; installed into FOLDER/datacompy-venv,
               as its pins clash with recon's
    frames     the Python API on pandas frames in memory
    merge      plain pandas doing the same by hand on these frames: merge by id, groupby by address, flags and causes
    spark      recon diff --engine spark, where PySpark and Java are; its start-up is told apart
    start      recon --help, and recon diff on 1,000 rows
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import venv
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
ROWS = ("floor", "diff", "polars", "pandas", "datacompy", "frames", "merge", "spark", "start")
USUAL = ("floor", "diff", "datacompy", "frames", "merge", "start")
DIFF_SCRIPT = "from recon.cli import main; main()"


def number(text: str) -> int:
    """Read 500k, 5M or 5000000."""
    units = {"k": 1_000, "M": 1_000_000}
    return int(float(text.rstrip("kM")) * units.get(text[-1], 1))


def measured(command: list[str], **options: Any) -> dict[str, float]:
    """Run a process; its wall and CPU seconds and its peak memory in GB, and what of these is Java's where it started any."""
    started = time.monotonic()
    found: dict[str, float] = {"cpu": 0.0, "peak_gb": 0.0}
    adopt_orphans()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, **options)
        for pid, name, status, used in ended():
            if pid == process.pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                found["wall"] = time.monotonic() - started
            parts = {"cpu": used.ru_utime + used.ru_stime, "peak_gb": used.ru_maxrss * 1024 / 1e9}
            for part, value in parts.items():
                found[part] += value
                if name == "java":
                    found[f"java_{part}"] = found.get(f"java_{part}", 0.0) + value
        said.seek(0)
        told = said.read().decode(errors="replace")
    if process.returncode:
        sys.exit(f"{' '.join(command[:4])} ... failed:\n{told[-3000:]}")
    last = told.strip().rpartition("\n")[2]
    if last.startswith("{"):
        found |= json.loads(last)
    return found


def adopt_orphans() -> None:
    """Become the parent of what a child leaves behind: Java ends when the Python that started it has ended, and nobody else would wait for it."""
    set_child_subreaper = 36
    if ctypes.CDLL(None, use_errno=True).prctl(set_child_subreaper, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def ended() -> Iterator[tuple[int, str, int, resource.struct_rusage]]:
    """Every child when it has ended, adopted ones too, until there is none: its number, its name, its status, and what it and its own children used."""
    while True:
        try:
            child = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            return
        assert child is not None
        # As long as nobody has waited for it, its name can be asked for.
        name = Path(f"/proc/{child.si_pid}/comm").read_text("utf-8").strip()
        _, status, used = os.wait4(child.si_pid, 0)
        yield child.si_pid, name, status, used


class Bench:
    """One size of data.

    Parameters
    ----------
    folder
        Where data, results and datacompy's environment are.
    records
        Leads and Contacts together.
    memory
        DuckDB's limit, for the floor and for recon.
    """

    def __init__(self, folder: Path, records: int, memory: str) -> None:
        self.folder, self.records, self.memory = folder, records, memory
        self.data = folder / f"data-{records}"
        self.workspace = folder / "workspace"
        self.out = folder / "out"

    def prepare(self) -> None:
        """Generate the files, and a workspace whose recon.toml holds the memory limit."""
        from data import generate

        generate(self.data, self.records)
        self.workspace.mkdir(exist_ok=True)
        spill = self.folder / "spill"
        (self.workspace / "recon.toml").write_text(f'[run]\nmemory = "{self.memory}"\nspill = "{spill}"\n', "utf-8")

    def run(self, row: str) -> dict[str, float]:
        """Measure one row."""
        return getattr(self, f"_{row}")()  # type: ignore[no-any-return]

    def _script(self, name: str) -> dict[str, float]:
        arguments = [str(self.data), str(self.out), self.memory]
        return measured([sys.executable, str(HERE / "by_hand.py"), name, *arguments])

    def _floor(self) -> dict[str, float]:
        return self._script("floor")

    def _frames(self) -> dict[str, float]:
        return self._script("frames")

    def _merge(self) -> dict[str, float]:
        return self._script("merge")

    def _diff(self, engine: str = "auto") -> dict[str, float]:
        files = [part for name in ("people", "leads", "contacts") for part in (f"--{name}", f"{self.data / name}.csv")]
        command = [sys.executable, "-c", DIFF_SCRIPT, "--quiet", "diff", "-w", str(self.workspace), *files]
        return measured([*command, "--out", str(self.out), "--engine", engine])

    def _polars(self) -> dict[str, float]:
        return self._diff("polars")

    def _pandas(self) -> dict[str, float]:
        return self._diff("pandas")

    def _spark(self) -> dict[str, float]:
        start = measured(
            [sys.executable, str(HERE / "by_hand.py"), "spark-start", str(self.data), str(self.out), self.memory]
        )
        found = self._diff("spark")
        if "java_cpu" not in found:
            sys.exit("Java's time and memory were not seen: the Python that started it has waited for it.")
        return found | {f"start_{part}": start[part] for part in ("wall", "cpu")}

    def _datacompy(self) -> dict[str, float]:
        home = self.folder / "datacompy-venv"
        python = home / "bin" / "python"
        if not (home / "installed").exists():
            venv.create(home, with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "-q", "datacompy", "pyarrow"], check=True)
            (home / "installed").touch()
        return measured([str(python), str(HERE / "with_datacompy.py"), str(self.data)])

    def _start(self) -> dict[str, float]:
        from data import generate

        small = self.folder / "data-1000"
        generate(small, 1000)
        files = [part for name in ("people", "leads", "contacts") for part in (f"--{name}", f"{small / name}.csv")]
        with tempfile.TemporaryDirectory() as folder:
            diff = [sys.executable, "-c", DIFF_SCRIPT, "--quiet", "diff", "-w", folder, *files, "--out", folder]
            best: dict[str, float] = {}
            for _ in range(5):
                for name, command in (("help", [sys.executable, "-c", DIFF_SCRIPT, "--help"]), ("small", diff)):
                    took = measured(command)
                    best[f"{name}_cpu"] = min(best.get(f"{name}_cpu", 1e9), took["cpu"])
                    best[f"{name}_wall"] = min(best.get(f"{name}_wall", 1e9), took["wall"])
        return best


def table(results: dict[str, dict[str, float]]) -> str:
    """What was measured, as Markdown."""
    lines = [
        "| row | wall s | CPU s | of it Java's | peak GB | of it Java's | CPU, floor = 1 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row, found in results.items():
        if row == "start":
            continue
        base = results.get("merge" if row in ("frames", "merge") else "floor", found)
        took, against = found.get("work_cpu", found["cpu"]), base.get("work_cpu", base["cpu"])
        java = [
            f"{found[part]:.{digits}f}" if part in found else ""
            for part, digits in (("java_cpu", 1), ("java_peak_gb", 2))
        ]
        lines.append(
            f"| {row} | {found['wall']:.1f} | {took:.1f} | {java[0]} | {found['peak_gb']:.2f} | {java[1]} | {took / against:.2f} |"
        )
    if "start_wall" in results.get("spark", {}):
        spark = results["spark"]
        lines += ["", f"Of spark, starting it: {spark['start_wall']:.1f} s ({spark['start_cpu']:.1f} s CPU)"]
    if "start" in results:
        start = results["start"]
        lines += [
            "",
            f"`recon --help` {start['help_wall']:.2f} s ({start['help_cpu']:.2f} s CPU), "
            f"`recon diff` on 1,500 rows {start['small_wall']:.2f} s ({start['small_cpu']:.2f} s CPU)",
        ]
    return "\n".join(lines)


def growth(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """What `recon diff` took at each size that was measured, as Markdown; empty where there is one size only."""
    sizes = sorted(
        (int(size.split()[0]), size.partition(" ")[2], rows["diff"]) for size, rows in results.items() if "diff" in rows
    )
    if len(sizes) < 2:
        return ""
    lines = ["", "| records | memory | wall s | CPU s | CPU us a record | peak GB |", "|---:|---:|---:|---:|---:|---:|"]
    for records, memory, found in sizes:
        each = found["cpu"] * 1e6 / records
        lines.append(
            f"| {records:,} | {memory} | {found['wall']:.1f} | {found['cpu']:.1f} | {each:.1f} | {found['peak_gb']:.2f} |"
        )
    return "\n".join(lines)


def machine() -> str:
    """What this was measured on, and when."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    libraries = ", ".join(f"{name} {version(name)}" for name in ("duckdb", "narwhals", "pyarrow"))
    today = datetime.now(UTC).date().isoformat()
    return f"{os.cpu_count()} cores, {memory:.0f} GB, Python {platform.python_version()}, {libraries}; {today}"


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="500k", help="Salesforce records, like 500k or 5M; half as many people")
    parser.add_argument("--only", default=",".join(USUAL), help=f"which of {', '.join(ROWS)}")
    parser.add_argument("--memory", default="1500MB", help="DuckDB's memory limit")
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/work"), help="where data and results are kept")
    parser.add_argument("--again", action="store_true", help="measure rows anew that were measured before")
    given = parser.parse_args()
    rows = given.only.split(",")
    if unknown := set(rows) - set(ROWS):
        parser.error(f"there are no rows {', '.join(sorted(unknown))}")
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "results.json"
    results = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    mine = results.setdefault(f"{number(given.rows)} {given.memory}", {})
    bench = Bench(folder, number(given.rows), given.memory)
    bench.prepare()
    for row in rows:
        if given.again or row not in mine:
            mine[row] = bench.run(row)
            kept.write_text(json.dumps(results, indent=1, sort_keys=True), "utf-8")
            print(row, {name: round(value, 2) for name, value in mine[row].items()}, flush=True)
    print(f"\n`python benchmarks/engines.py {' '.join(sys.argv[1:])}`: {machine()}")
    print(f"\n{number(given.rows):,} records, {number(given.rows) // 2:,} people, memory {given.memory}\n")
    print(table({row: mine[row] for row in ROWS if row in mine}))
    print(growth(results))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"\n{used.ru_utime + used.ru_stime:.0f} s CPU in all")


if __name__ == "__main__":
    main()
