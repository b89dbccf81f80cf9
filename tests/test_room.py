"""No room in memory or on a disk: a sentence that names the setting, and nothing half done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest

from recon import jobs
from recon.engines.on_duckdb import DuckDB
from recon.engines.room import enough_room
from recon.errors import NoRoom
from recon.explore import what_if, why
from recon.resubscribe.jobs import check, plan
from recon.settings import RunSettings

if TYPE_CHECKING:
    from recon.results import RunResult

ROWS = 30_000


def _workspace(folder: Path, memory: str) -> dict[str, Path]:
    (folder / "recon.toml").write_text(f'[run]\nmemory = "{memory}"\n', "utf-8")
    files = {name: folder / f"{name}.csv" for name in ("people", "contacts")}
    people = "".join(f"{n},p{n}@example.org,{_flag(n % 7 == 0)}\n" for n in range(ROWS))
    contacts = "".join(f"0035e00000{n:05d}AAA,p{n}@example.org,{_flag(n % 5 == 0)},false\n" for n in range(ROWS))
    files["people"].write_text("person_id,email,unsubscribed\n" + people, "utf-8")
    files["contacts"].write_text("Id,Email,HasOptedOutOfEmail,IsDeleted\n" + contacts, "utf-8")
    return files


def _flag(yes: bool) -> str:
    return "true" if yes else "false"


def _reconciled(folder: Path, files: dict[str, Path], out: str) -> RunResult:
    people, contacts = files["people"], files["contacts"]
    return jobs.reconcile(folder, people=people, contacts=contacts, out=folder / out, run_id="r")


def test_too_little_memory_is_named_with_its_setting(tmp_path: Path) -> None:
    files = _workspace(tmp_path, "1MB")
    with pytest.raises(NoRoom) as refused:
        _reconciled(tmp_path, files, "out")
    assert "run.memory = '1MB'" in str(refused.value)
    assert refused.value.exit_code == 1
    assert "@" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_what_is_just_enough_gives_the_same_as_plenty(tmp_path: Path) -> None:
    files = _workspace(tmp_path, "2GB")
    plenty = _reconciled(tmp_path, files, "plenty")
    _workspace(tmp_path, "100MB")
    little = _reconciled(tmp_path, files, "little")
    assert little.manifest["outputs"] == plenty.manifest["outputs"]


@pytest.mark.parametrize(("memory", "most"), [("60MB", 1), ("0.3GB", 2), ("1500 MiB", 12), ("1TB", 8000)])
def test_threads_are_as_many_as_the_memory_is_enough_for(memory: str, most: int) -> None:
    with duckdb.connect() as connection:
        usual = connection.execute("SELECT current_setting('threads')").fetchone()
    threads = DuckDB(memory=memory).connection.execute("SELECT current_setting('threads')").fetchone()
    assert usual is not None
    assert threads == (min(most, usual[0]),)


def test_a_disk_that_is_full_is_named() -> None:
    with (
        pytest.raises(NoRoom, match="disk is full"),
        enough_room(RunSettings(), "duckdb"),
        Path("/dev/full").open("w") as full,
    ):
        full.write("x" * 100_000)


def test_what_the_engine_may_spill_is_named(tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    with duckdb.connect() as connection:
        connection.execute(
            f"SET memory_limit = '10MB'; SET temp_directory = '{spill}'; SET max_temp_directory_size = '1MB'"
        )
        with pytest.raises(NoRoom, match=str(spill)) as refused, enough_room(RunSettings(spill=spill), "duckdb"):
            connection.execute(
                "CREATE TABLE t AS SELECT n, hash(n)::VARCHAR AS h FROM range(3000000) AS r(n) ORDER BY h"
            )
    assert "run.spill" in str(refused.value)


def test_other_engines_are_told_of_the_one_that_spills() -> None:
    with pytest.raises(NoRoom, match="pandas") as refused, enough_room(RunSettings(), "pandas"):
        bytearray(1 << 60)
    assert "auto" in str(refused.value)


def test_anything_else_stays_what_it_is() -> None:
    with pytest.raises(duckdb.BinderException), enough_room(RunSettings(), "duckdb"), duckdb.connect() as connection:
        connection.execute("SELECT nothing")
    with pytest.raises(FileNotFoundError), enough_room(RunSettings(), "duckdb"):
        Path("/nowhere/at/all").read_text("utf-8")


def test_a_pull_and_a_question_need_room_too(tmp_path: Path) -> None:
    sources = "".join(f'{name} = "{path}"\n' for name, path in _workspace(tmp_path, "1MB").items())
    too_little = f'[run]\nmemory = "1MB"\n{sources}'
    (tmp_path / "recon.toml").write_text(too_little, "utf-8")
    with pytest.raises(NoRoom, match=r"run\.memory"):
        jobs.pull(tmp_path)
    (tmp_path / "recon.toml").write_text(too_little.replace("1MB", "100MB"), "utf-8")
    jobs.pull(tmp_path)
    (tmp_path / "recon.toml").write_text(too_little, "utf-8")
    with pytest.raises(NoRoom, match=r"run\.memory"):
        why(tmp_path, "12")
    with pytest.raises(NoRoom, match=r"run\.memory"):
        what_if(tmp_path, sync_enabled=False)


def test_a_plan_needs_room_too(tmp_path: Path) -> None:
    sources = "".join(f'{name} = "{path}"\n' for name, path in _workspace(tmp_path, "100MB").items())
    (tmp_path / "recon.toml").write_text(f'[run]\nmemory = "100MB"\n{sources}', "utf-8")
    jobs.pull(tmp_path)
    (tmp_path / "recon.toml").write_text(f'[run]\nmemory = "1MB"\n{sources}', "utf-8")
    head = "email,reason,authorization,consent_date,purpose,evidence,initiated_by,approved_by,approved_at\n"
    (tmp_path / "approved.csv").write_text(head + "p7@example.org,asked,,2026-11-20,,,,,\n", "utf-8")
    for asked in (check, plan):
        with pytest.raises(NoRoom, match=r"run\.memory"):
            asked(tmp_path, tmp_path / "approved.csv")
    assert not [*tmp_path.glob("reports/*/plan.json")]
