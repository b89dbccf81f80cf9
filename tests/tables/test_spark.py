"""What only Spark has: a session of the user's, executors that keep rows, and Java."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import pyarrow as pa
import pytest

from recon import jobs, outputs, paths
from recon.clock import SetClock
from recon.reconcile import reconcile
from recon.sandbox.extracts import write_extract, write_salesforce_files
from recon.sandbox.population import populate
from recon.sandbox.store import Store
from recon.settings import Settings
from recon.summary import summary
from tests.tables.engines import ENGINES, run
from tests.tables.test_engines import AT, linked_pairs
from tests.tables.test_every_small_world import Maker, chains

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.spark


def test_frames_in_frames_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same session, whose zone is left as it was; times are instants, as Spark's users have them; only edges come to the driver."""
    session = ENGINES["spark"].session  # type: ignore[attr-defined]
    zone = session.conf.get("spark.sql.session.timeZone")
    pairs = 1000
    frames = [session.createDataFrame(each) for each in linked_pairs(pairs)]
    came: list[int] = []
    for name in ("toArrow", "collect", "toPandas"):
        monkeypatch.setattr(type(frames[0]), name, counting(getattr(type(frames[0]), name), came))
    for name in ("toLocalIterator", "tail", "foreach", "mapInPandas", "mapInArrow", "rdd"):
        monkeypatch.delattr(type(frames[0]), name)
    result = reconcile(*frames)
    merged, actions = result.merged, result.actions
    # The edges, each once, and some counts: no row of either side.
    assert pairs <= sum(came) < pairs + 50
    counted = summary(result, Settings(), datetime(2026, 11, 24, 18, tzinfo=UTC))
    assert (counted["actions"], counted["tonight"]["records_set"]) == (pairs // 2, pairs // 2)
    assert sum(came) < pairs + 150
    monkeypatch.undo()
    assert dict(merged.dtypes)["opted_out_at"] == "timestamp"
    assert merged.sparkSession is actions.sparkSession is session
    assert (merged.count(), actions.count()) == (2 * pairs, pairs // 2)
    found = merged.where("id = '1'").selectExpr("unix_micros(opted_out_at) AS at").collect()
    assert found[0]["at"] == int(AT.timestamp()) * 1_000_000 + 999_999
    assert session.conf.get("spark.sql.session.timeZone") == zone


def counting(way: Callable[..., Any], came: list[int]) -> Callable[..., Any]:
    """A way of rows to the driver that notes how many come."""

    def counted(frame: Any) -> Any:
        rows = way(frame)
        came.append(len(rows))
        return rows

    return counted


def test_what_is_dropped_or_released_takes_no_room() -> None:
    own = ENGINES["spark"].own()
    before = kept_by_spark()
    one, two, three = (own.hold(own.bring(pa.table({"x": [number]}))) for number in range(3))
    assert len(kept_by_spark() - before) == 3
    own.drop(one)
    assert len(kept_by_spark() - before) == 2
    beside = own.beside(two, own.hold(three.rename({"x": "x"})), "x")
    own.release(beside)
    assert len(kept_by_spark() - before) == 1
    assert own.collect(beside).to_pylist() == [{"x": 1}]
    own.release()
    assert not kept_by_spark() - before


def kept_by_spark() -> set[int]:
    """The numbers of what the executors keep; what earlier tests left there goes whenever Python and Java let go of it."""
    return set(ENGINES["spark"].session.sparkContext._jsc.getPersistentRDDs().keySet())  # type: ignore[attr-defined]


def test_numbers_have_no_gaps_between_partitions() -> None:
    """As on all engines: who takes the rows by their numbers in parts must not lose any."""
    own, size = ENGINES["spark"].own(), 500
    before = kept_by_spark()
    with ENGINES["spark"].in_partitions(3):  # type: ignore[attr-defined]
        rows = own.bring(pa.table({"x": [f"{number:04}" for number in range(size)][::-1]}))
        numbered = own.number(rows, ["x"], "n")
        parts = numbered.to_native().selectExpr("spark_partition_id() AS part").distinct().count()
        found = own.collect(numbered.filter(nw.col("n") < size).sort("n"))
    assert parts == 3
    assert found.column("n").to_pylist() == [*range(size)]
    assert found.column("x").to_pylist() == [f"{number:04}" for number in range(size)]
    own.release(numbered)
    assert len(kept_by_spark() - before) == 1
    own.drop(numbered)
    assert not kept_by_spark() - before


def test_clusters_walked_some_at_a_time_are_all_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    """In several partitions, in which numbers might not be those of rows."""
    worlds = [*chains(Maker(number) for number in itertools.count(1))]
    rows = [row for world in worlds for row in world.people], [row for world in worlds for row in world.records]
    wanted = run(ENGINES["duckdb"], *rows, Settings())
    monkeypatch.setattr(paths, "WALKED_AT_ONCE", 150)
    with ENGINES["spark"].in_partitions(3):  # type: ignore[attr-defined]
        assert run(ENGINES["spark"], *rows, Settings()) == wanted


def test_files_in_the_same_files_out(tmp_path: Path) -> None:
    """As `recon diff --engine spark` does it, with Spark's own settings: plans compiled, and changed while they run."""
    store = Store(None, SetClock(datetime(2026, 11, 24, 18, tzinfo=UTC)))
    populate(store, 300)
    write_extract(store, tmp_path / "people.csv")
    leads, contacts = write_salesforce_files(store, tmp_path)
    store.close()
    clock = SetClock(datetime(2026, 11, 24, 18, tzinfo=UTC))
    files: dict[str, Any] = {"people": tmp_path / "people.csv", "leads": leads, "contacts": contacts, "clock": clock}
    before = kept_by_spark()
    with ENGINES["spark"].as_users_have_it():  # type: ignore[attr-defined]
        found = jobs.reconcile(tmp_path, engine="spark", out=tmp_path / "spark", **files)
    assert not kept_by_spark() - before
    wanted = jobs.reconcile(tmp_path, engine="auto", out=tmp_path / "auto", **files)
    for name in (outputs.MERGED_FILE, outputs.ACTIONS_FILE, outputs.UNUSABLE_FILE):
        assert (tmp_path / "spark" / name).read_bytes() == (tmp_path / "auto" / name).read_bytes()
    tools = found.manifest["tool"], wanted.manifest["tool"]
    assert tools[0] == tools[1] | {"pyspark": version("pyspark")}
    assert found.manifest | {"tool": None, "engine": None} == wanted.manifest | {"tool": None, "engine": None}
    assert (found.manifest["engine"], wanted.manifest["engine"]) == ("spark", "duckdb")


@pytest.mark.parametrize(
    ("java", "said"),
    [(None, "neither on the PATH nor in JAVA_HOME"), ("#!/bin/sh\nexit 1\n", "Java didn't start")],
    ids=["missing", "of no use"],
)
def test_without_java_spark_is_refused(java: str | None, said: str, tmp_path: Path) -> None:
    """In a process of its own: this one's Java may be running."""
    if java is not None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "java").write_text(java)
        (tmp_path / "bin" / "java").chmod(0o755)
    # Spark's own scripts need a shell; where there is a Java, it is hidden from them.
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "sh", "dirname", "env"):
        (tools / name).symlink_to(str(shutil.which(name)))
    environ = {name: value for name, value in os.environ.items() if name not in ("JAVA_HOME", "SPARK_SUBMIT_OPTS")}
    environ |= {"PATH": str(tools)} | ({"JAVA_HOME": str(tmp_path)} if java is not None else {})
    (tmp_path / "people.csv").write_text("person_id,email,unsubscribed\n1,a@example.com,false\n")
    (tmp_path / "leads.csv").write_text("Id,Email,HasOptedOutOfEmail\n00Q5e00000AAAAAEA5,a@example.com,false\n")
    command = [sys.executable, "-m", "recon", "diff", "--people", "people.csv", "--leads", "leads.csv", "--out", "out"]
    done = subprocess.run(
        [*command, "--engine", "spark"], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
