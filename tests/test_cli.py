"""The command line, as a user calls it: in a process of its own, with its exit codes, files and sentences."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow.parquet as pq
import pytest

from recon.clock import SetClock
from recon.sandbox.extracts import FOREIGN_HEADERS, write_extract, write_salesforce_files
from recon.sandbox.population import populate
from recon.sandbox.store import Store
from recon.tables import ACTIONS, MERGED

if TYPE_CHECKING:
    from recon.sandbox.population import Population

NOW = "2026-11-24T18:00:00Z"


def recon(*arguments: str | Path, cwd: Path, now: str = NOW) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "recon", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"RECON_NOW": now},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Population]:
    folder = tmp_path_factory.mktemp("exports")
    store = Store(None, SetClock(datetime(2026, 11, 24, 18, tzinfo=UTC)))
    population = populate(store, 300)
    write_extract(store, folder / "people.csv")
    write_extract(store, folder / "foreign.csv", "foreign")
    write_salesforce_files(store, folder)
    store.close()
    return folder, population


def files(folder: Path) -> list[str]:
    return [
        "--people",
        str(folder / "people.csv"),
        "--leads",
        str(folder / "leads.csv"),
        "--contacts",
        str(folder / "contacts.csv"),
    ]


def test_diff_from_files_leaves_its_files(exports: tuple[Path, Population], tmp_path: Path) -> None:
    folder, population = exports
    done = recon("diff", *files(folder), "--out", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "actions.csv",
        "manifest.json",
        "merged.parquet",
        "unusable.csv",
    ]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    assert manifest["rows"]["people"] == population.counts["person"]
    assert manifest["rows"]["leads"] == population.counts["lead"]
    assert manifest["rows"]["contacts"] == population.counts["contact"]
    assert (manifest["created_at"], manifest["clock"], manifest["straddles"]) == (NOW, "set", None)
    for each in manifest["inputs"]:
        assert each["sha256"] == hashlib.sha256((folder / each["origin"]).read_bytes()).hexdigest()
    for name, told in manifest["outputs"].items():
        assert told["sha256"] == hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest()
    merged = pq.read_table(tmp_path / "out" / "merged.parquet")
    assert merged.schema == MERGED.schema
    assert merged.num_rows == manifest["rows"]["merged"] == manifest["outputs"]["merged.parquet"]["rows"]
    actions = pd.read_csv(tmp_path / "out" / "actions.csv", dtype=str, keep_default_na=False)
    assert list(actions.columns) == ACTIONS.names
    assert len(actions) == manifest["rows"]["actions"]
    uids = actions["system"] + ":" + actions["id"]
    assert list(uids) == sorted(uids)
    for category in ("broken_link", "stale_link", "lost_on_conversion", "awaiting_sync", "unlinked_match", "bounce"):
        planted = set(population.cases[category])
        assert planted <= set(uids[actions["category"] == category])


def test_both_engines_leave_the_same_bytes(exports: tuple[Path, Population], tmp_path: Path) -> None:
    for engine in ("pandas", "duckdb"):
        assert recon("diff", *files(exports[0]), "--out", engine, "--engine", engine, cwd=tmp_path).returncode == 0
    for name in ("merged.parquet", "actions.csv", "unusable.csv"):
        assert (tmp_path / "pandas" / name).read_bytes() == (tmp_path / "duckdb" / name).read_bytes()


def test_foreign_headers_are_mapped(exports: tuple[Path, Population], tmp_path: Path) -> None:
    folder, _ = exports
    given: list[str | Path] = [
        "--people",
        folder / "foreign.csv",
        "--leads",
        folder / "leads.csv",
        "--contacts",
        folder / "contacts.csv",
    ]
    columns = [f"--column={name}={header}" for name, header in FOREIGN_HEADERS.items()]
    assert recon("diff", *given, *columns, "--out", "mapped", cwd=tmp_path).returncode == 0
    assert recon("diff", *files(folder), "--out", "plain", cwd=tmp_path).returncode == 0
    assert (tmp_path / "mapped" / "actions.csv").read_bytes() == (tmp_path / "plain" / "actions.csv").read_bytes()
    refused = recon("diff", *given, "--out", "refused", cwd=tmp_path)
    assert refused.returncode == 2
    assert 'person_id="Person ID"' in refused.stderr
    assert not (tmp_path / "refused").exists()


def test_exit_code_says_whether_anything_needs_action(exports: tuple[Path, Population], tmp_path: Path) -> None:
    assert recon("diff", *files(exports[0]), "--out", "out", "--exit-code", cwd=tmp_path).returncode == 3
    (tmp_path / "people.csv").write_text("person_id,email,unsubscribed\n1,a@example.com,false\n")
    (tmp_path / "leads.csv").write_text("Id,Email,HasOptedOutOfEmail\n00Q5e00000AAAAAEA5,a@example.com,false\n")
    calm = ["--people", "people.csv", "--leads", "leads.csv", "--out", "calm", "--exit-code"]
    assert recon("diff", *calm, cwd=tmp_path).returncode == 0


def test_every_refused_file_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("person_id,email,unsubscribed\n1,a@example.com,true\n1,b@example.com,maybe\n")
    (tmp_path / "leads.csv").write_text("Id,Email\n00Q5e00000AAAAAEA5,a@example.com\n")
    (tmp_path / "contacts.csv").write_bytes(b"")
    done = recon("diff", *files(Path()), "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "people.csv, line 3, column 'unsubscribed'" in done.stderr
    assert "leads.csv: there is no column 'HasOptedOutOfEmail'" in done.stderr
    assert "contacts.csv: the file is empty" in done.stderr
    assert "@" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_refused_run_leaves_an_earlier_one_as_it_was(exports: tuple[Path, Population], tmp_path: Path) -> None:
    assert recon("diff", *files(exports[0]), "--out", "out", cwd=tmp_path).returncode == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "people.csv").write_text("person_id,unsubscribed\n1,\n")
    given: list[str | Path] = ["--people", "people.csv", "--leads", exports[0] / "leads.csv", "--out", "out"]
    assert recon("diff", *given, cwd=tmp_path).returncode == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["diff", "--people", "people.csv"], "--leads or --contacts is missing"),
        (["diff", "--leads", "leads.csv"], "--people is missing"),
        (["diff"], "snapshot"),
        (["diff", "--column", "unsubscribed"], "NAME=HEADER"),
        (["diff", "--engine", "abacus"], "abacus"),
        (["report"], "no run"),
        (["report", "--run", "nowhere"], "nowhere"),
        (["pull"], "[run]"),
        (["sandbox", "--at", "yesterday"], "yesterday"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = recon(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / "recon.toml").write_text("[sync]\nenabeld = true\n")
    done = recon("diff", cwd=tmp_path)
    assert done.returncode == 2
    assert "sync.enabeld" in done.stderr


def test_a_traceback_is_shown_on_request_only(tmp_path: Path) -> None:
    assert "Traceback" in recon("--debug", "report", cwd=tmp_path).stderr
    assert "Traceback" not in recon("report", cwd=tmp_path).stderr


def test_what_should_not_happen_is_told_without_values(tmp_path: Path) -> None:
    program = (
        "import recon.jobs, recon.cli\n"
        "def broken(*a, **k): raise RuntimeError('secret@example.com')\n"
        "recon.jobs.report = broken\n"
        "recon.cli.main(['report'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr
    assert "secret" not in done.stderr + done.stdout


def test_report_of_a_run_in_a_workspace(exports: tuple[Path, Population], tmp_path: Path) -> None:
    folder, _ = exports
    assert recon("diff", *files(folder), cwd=tmp_path).returncode == 0
    done = recon("report", cwd=tmp_path)
    assert done.returncode == 0
    report = tmp_path / done.stdout.strip()
    assert report.name == "compliance.html"
    assert report.parent.name == "20261124T180000Z"
    page = report.read_text("utf-8")
    addresses = pq.read_table(report.parent / "merged.parquet").column("address").drop_null().to_pylist()
    assert not [address for address in addresses if address in page]


def test_the_whole_demo(tmp_path: Path) -> None:
    done = recon("demo", "--people", "300", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    last = done.stdout.splitlines()[-1]
    assert (tmp_path / last.removeprefix("The report: ")).is_file()
    told = done.stdout
    assert "every one as predicted" in told
    codes = (
        "consent_before_opt_out",
        "asked_by_sender",
        "evidence_missing",
        "unknown_person",
        "bounced",
        "not_opted_out",
    )
    assert all(f"[{code}]" in told for code in codes)
    assert "2 reverted" in told
    assert "2 unsubscribed anew" in told
    assert "nobody else changed" in told
    assert "The ledger is unbroken since checkpoint" in told
    again = recon("demo", "--people", "300", cwd=tmp_path)
    assert again.returncode == 0
    assert len(list((tmp_path / "demo" / "reports").iterdir())) == 2


def test_a_demo_replaces_nobody_s_workspace(tmp_path: Path) -> None:
    assert recon("init", "ws", cwd=tmp_path).returncode == 0
    before = sorted(tmp_path.rglob("*"))
    done = recon("demo", "--dir", "ws", cwd=tmp_path)
    assert done.returncode == 2
    assert "a workspace that no demo made" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_help_names_every_command(tmp_path: Path) -> None:
    text = recon("--help", cwd=tmp_path).stdout
    for command in ("init", "pull", "diff", "report", "run", "demo", "sandbox"):
        assert f"  {command}" in text
        assert recon(command, "--help", cwd=tmp_path).returncode == 0
