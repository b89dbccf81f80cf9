"""What every engine must do alike: bring in what is missing as missing, keep times, give back what came in, and write the same bytes."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import recon
from recon import engine as engines
from recon import jobs, outputs
from recon.clock import SetClock
from recon.engine import engine_for, engine_named
from recon.errors import UsageError
from recon.reconcile import reconcile
from recon.sandbox.extracts import write_extract, write_salesforce_files
from recon.sandbox.population import populate
from recon.sandbox.store import Store
from recon.sources.ids import salesforce_id_18
from recon.tables import ACTIONS, MERGED, PEOPLE, RECORDS
from tests.tables.engines import ENGINES, rows_of, table_of
from tests.tables.strategies import Case
from tests.tables.test_every_small_world import FAMILIES, Maker

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tables.engines import Engine

RECORD = "0035e00000AAAAAAA4"
AT = datetime(2026, 11, 2, 23, 59, 59, 999_999, tzinfo=UTC)
FLAGS = ("opted_out", "is_converted", "is_deleted")


def people(**columns: Any) -> pd.DataFrame:
    """Three people of whom nothing is known, the first of them unsubscribed: as pandas holds what is missing."""
    known = {
        "person_id": ["1", "2", "3"],
        "email": pd.Series([None, np.nan, None], dtype="str"),
        "salesforce_id": pd.Series([np.nan, None, None], dtype="str"),
        "unsubscribed": [True, False, False],
        "unsubscribe_level": pd.Series([None, None, None], dtype="str"),
        "unsubscribed_at": pd.Series([pd.NaT, pd.NaT, pd.NaT], dtype="datetime64[us, UTC]"),
    }
    return pd.DataFrame(known | columns)


def records(**columns: Any) -> pd.DataFrame:
    known = {
        "record_id": [RECORD],
        "object": ["Contact"],
        "email": pd.Series([np.nan], dtype="str"),
        "opted_out": [False],
        "has_opted_out_of_email": pd.Series([None], dtype="object"),
        "is_converted": [False],
        "converted_contact_id": pd.Series([None], dtype="str"),
        "is_deleted": [False],
    }
    return pd.DataFrame(known | columns)


def test_what_is_missing_joins_nobody(engine: Engine) -> None:
    """The trap: a missing text that becomes the text "nan", "None" or "" makes one person of all who have none."""
    result = reconcile(engine.from_pandas(people()), engine.from_pandas(records()))
    merged = rows_of(engine.receive(result.merged), MERGED)
    assert {row["cluster"] for row in merged} == {
        *("sales_connect:1", "sales_connect:2", "sales_connect:3", f"salesforce:{RECORD}")
    }
    assert {(row["email"], row["address"], row["opted_out_at"]) for row in merged} == {(None, None, None)}
    assert rows_of(engine.receive(result.actions), ACTIONS) == []


def test_a_pandas_frame_comes_into_every_engine(engine: Engine) -> None:
    """As the batch jobs hand rows over: floats that are NaN, flags and times that are none."""
    frame = people(email=[None, float("nan"), " "], resubscribed_at=[pd.NaT, pd.NaT, pd.NaT])
    flags = records(email=[np.nan], sales_opt_out=[np.nan], opted_out_at=[pd.NaT])
    own = engine.own()
    taken = own.collect(own.take(frame, PEOPLE)), own.collect(own.take(flags, RECORDS))
    assert taken[0].schema.equals(PEOPLE.schema)
    assert taken[1].schema.equals(RECORDS.schema)
    assert taken[0].column("email").to_pylist() == [None, None, " "]
    nothing = [
        *("salesforce_id", "unsubscribe_level", "unsubscribed_at", "resubscribed_at", "updated_at", "first_name")
    ]
    assert all(taken[0].column(name).null_count == 3 for name in nothing)
    assert all(taken[1].column(name).null_count == 1 for name in ("email", "sales_opt_out", "opted_out_at"))


def test_flags_and_times_stay_what_they_are(engine: Engine) -> None:
    """A flag that pandas made a number of for the sake of a missing one; a time at the last microsecond of a day in UTC."""
    table = pa.Table.from_pandas(records(has_opted_out_of_email=[1.0], sales_opt_out=[np.nan]), preserve_index=False)
    at = pa.array([AT], pa.timestamp("us", tz="UTC"))
    native = engine.send(table.append_column("opted_out_at", at))
    own = engine.own()
    row = own.collect(own.take(native, RECORDS)).to_pylist()[0]
    assert (row["has_opted_out_of_email"], row["sales_opt_out"]) == (True, None)
    assert row["opted_out_at"] == AT


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("email", [1, 2, 3], "'email' isn't all strings"),
        ("unsubscribed", [0, 1, 2], "'unsubscribed'"),
        ("unsubscribed", ["someone@example.com", "no", "no"], "'unsubscribed'"),
    ],
    ids=["number for text", "two for a flag", "text for a flag"],
)
def test_what_can_not_be_read_is_refused(engine: Engine, column: str, values: list[Any], said: str) -> None:
    own = engine.own()
    frame = engine.send(pa.Table.from_pandas(people(**{column: values}), preserve_index=False))
    with pytest.raises(UsageError, match=said) as refused:
        own.collect(own.take(frame, PEOPLE))
    assert "someone" not in str(refused.value)


def test_a_required_column_must_be_there(engine: Engine) -> None:
    frame = engine.from_pandas(people().drop(columns="unsubscribed"))
    with pytest.raises(UsageError, match="unsubscribed"):
        engine.own().take(frame, PEOPLE)


def test_files_are_the_same_bytes_as_duckdb_writes(engine: Engine, tmp_path: Path) -> None:
    numbers = (Maker(number) for number in itertools.count(1))
    case = Case([world for family in FAMILIES for world in itertools.islice(family(numbers), 30)])
    tables = table_of(case.people, PEOPLE), table_of(case.records, RECORDS)

    def written(own: engines.Engine) -> tuple[bytes, bytes]:
        result = reconcile(*tables, case.settings, engine=own)
        one, two = tmp_path / "merged.parquet", tmp_path / "actions.csv"
        merged, actions = (frame.sort("n").drop("n") for frame in (result.merged_frame, result.actions_frame))
        assert outputs.write_parquet(own.batches(merged, MERGED), MERGED, one) == 2 * len(case.worlds) + sum(
            len(world.people) + len(world.records) - 2 for world in case.worlds
        )
        outputs.write_csv(own.batches(actions, ACTIONS), ACTIONS, two)
        own.release()
        return one.read_bytes(), two.read_bytes()

    assert written(engine.own()) == written(ENGINES["duckdb"].own())


def test_pandas_frames_are_the_same_computed_by_pandas_or_for_it() -> None:
    """Values, types, index and order; for frames as pandas makes them."""
    numbers = (Maker(number) for number in itertools.count(1))
    case = Case([world for family in FAMILIES for world in itertools.islice(family(numbers), 10)])
    frames = table_of(case.people, PEOPLE).to_pandas(), table_of(case.records, RECORDS).to_pandas()
    usual = reconcile(*frames, case.settings)
    alone = reconcile(*frames, case.settings, engine=engines.ArrowPandas())
    assert (usual.engine.name, alone.engine.name) == ("duckdb", "pandas")
    pd.testing.assert_frame_equal(usual.merged, alone.merged)
    pd.testing.assert_frame_equal(usual.actions, alone.actions)


def test_what_is_released_is_gone_and_what_is_kept_stays(engine: Engine) -> None:
    own = engine.own()
    one, two = (own.hold(own.bring(pa.table({"x": [number]}))) for number in (1, 2))
    own.release(two)
    assert own.collect(two).to_pylist() == [{"x": 2}]
    own.release()
    del one


def test_numbers_are_in_the_order_of_code_points(engine: Engine) -> None:
    names = ["\U0001f600", "\uffee", "a", "Z", "10", "9", "\u00e9"]
    own = engine.own()
    found = own.collect(own.number(own.bring(pa.table({"x": names})), ["x"], "n").sort("n"))
    assert found.column("x").to_pylist() == sorted(names)
    assert found.schema.field("n").type == pa.int64()


def test_polars_frames_in_the_same_kind_out() -> None:
    one, two = pl.from_pandas(people()), pl.from_pandas(records())
    assert isinstance(reconcile(one, two).merged, pl.DataFrame)
    lazy = reconcile(one.lazy(), two.lazy()).merged
    assert isinstance(lazy, pl.LazyFrame)
    assert lazy.collect_schema()["opted_out_at"] == pl.Datetime("us", "UTC")
    assert lazy.collect().columns == MERGED.names


@pytest.mark.spark
def test_spark_frames_in_spark_frames_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same session, whose zone is left as it was; times are instants, as Spark's users have them; only edges come to the driver."""
    session = ENGINES["spark"].session  # type: ignore[attr-defined]
    zone = session.conf.get("spark.sql.session.timeZone")
    pairs = 1000
    numbers = range(pairs)
    ids = [f"0035e{number:010d}" for number in numbers]
    one: dict[str, Any] = {
        "person_id": [str(number) for number in numbers],
        "email": [f"p{number}@a.example" for number in numbers],
    }
    one |= {"unsubscribed": [number % 2 == 1 for number in numbers], "unsubscribed_at": [AT] * pairs}
    other: dict[str, Any] = {
        "record_id": [salesforce_id_18(each) for each in ids],
        "email": [f"r{number}@a.example" for number in numbers],
    }
    other |= {name: [value] * pairs for name, value in (("object", "Contact"), *((flag, False) for flag in FLAGS))}
    frames = [session.createDataFrame(pa.table(each)) for each in (one | {"salesforce_id": ids}, other)]
    came: list[int] = []
    for name in ("toArrow", "collect", "toPandas"):
        monkeypatch.setattr(type(frames[0]), name, counting(getattr(type(frames[0]), name), came))
    result = reconcile(*frames)
    merged, actions = result.merged, result.actions
    monkeypatch.undo()
    # The edges, each once, and some counts: no row of either side.
    assert pairs <= sum(came) < pairs + 50
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


@pytest.mark.spark
def test_what_is_dropped_or_released_takes_no_room_on_spark() -> None:
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


@pytest.mark.spark
def test_files_in_the_same_files_out_on_spark(tmp_path: Path) -> None:
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


@pytest.mark.spark
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


@pytest.mark.parametrize("module", ["identity", "merge", "nightly", "diff", "paths", "explain", "contraction"])
def test_no_engine_is_named_in_the_table_logic(module: str) -> None:
    text = (Path(recon.__file__).parent / f"{module}.py").read_text("utf-8")
    assert not re.findall(r"(?i)pandas|polars|duckdb|spark", text)


def test_auto_is_duckdb() -> None:
    assert engine_named("auto").name == "duckdb"
    assert engine_for(duckdb.connect().sql("SELECT 1")).name == "duckdb"


def test_an_engine_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="no engine 'dask'"):
        engine_named("dask")


@pytest.mark.parametrize(("name", "package"), [("polars", "polars"), ("spark", "pyspark")])
def test_an_engine_that_is_not_installed_is_refused(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # How Python itself marks a package as not to be had.
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match="isn't installed") as refused:
        engine_named(name)
    assert f"pip install 'recon-optout[{name}]'" in str(refused.value.hint)
