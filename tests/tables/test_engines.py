"""What every engine must do alike: bring in what is missing as missing, keep times, give back what came in, and write the same bytes."""

from __future__ import annotations

import itertools
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import recon
from recon import engine as engines
from recon import outputs
from recon.engine import engine_for, engine_named
from recon.errors import UsageError
from recon.reconcile import reconcile
from recon.settings import Settings
from recon.sources.ids import salesforce_id_18
from recon.summary import summary
from recon.tables import ACTIONS, MERGED, PEOPLE, RECORDS, Column, Table
from tests.tables.engines import ENGINES, Watched, rows_of, table_of
from tests.tables.strategies import Case
from tests.tables.test_every_small_world import FAMILIES, Maker

if TYPE_CHECKING:
    from tests.tables.engines import Engine

RECORD = "0035e00000AAAAAAA4"
AT = datetime(2026, 11, 2, 23, 59, 59, 999_999, tzinfo=UTC)
NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
TABLE_LOGIC = (
    *("identity", "rows", "merge", "nightly", "diff", "paths", "spread", "explain", "categories"),
    *("components", "contraction", "summary"),
)
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
    ids = [RECORD, *(str(salesforce_id_18(f"0035e00000AAAA{sign}")) for sign in "BCD")]
    several = pd.concat([records()] * len(ids), ignore_index=True).assign(
        record_id=ids, email=pd.Series([None, np.nan, "", " \t"], dtype="str")
    )
    result = reconcile(engine.from_pandas(people()), engine.from_pandas(several))
    merged = rows_of(engine.receive(result.merged), MERGED)
    assert {row["cluster"] for row in merged} == {
        *("sales_connect:1", "sales_connect:2", "sales_connect:3"),
        *(f"salesforce:{each}" for each in ids),
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


def test_what_is_dropped_is_gone_and_nothing_else(engine: Engine) -> None:
    """Twice is no harm."""
    own = engine.own()
    one, two = (own.hold(own.bring(pa.table({"x": [number]}))) for number in (1, 2))
    own.drop(one)
    own.drop(one)
    assert own.collect(two).to_pylist() == [{"x": 2}]
    own.release()


def test_rows_side_by_side_are_those_of_the_same_number(engine: Engine) -> None:
    """Whatever the order of the right ones; and what comes of it is in the order of the numbers."""
    own, size = engine.own(), 500
    names = [f"{number:04}" for number in range(size)]
    left = own.number(own.bring(pa.table({"x": names[::-1]})), ["x"], "n")
    right = own.sort(left.select("n", y=nw.col("x")), "n").sort("n", descending=True)
    both = own.beside(left, own.hold(right), "n")
    rows = own.collect(both.select("n", "x", "y").sort("n")).to_pylist()
    assert [(row["x"], row["y"]) for row in rows] == [(name, name) for name in names]
    assert [row["n"] for row in rows] == sorted({row["n"] for row in rows})


def test_what_was_sorted_is_written_in_its_order(engine: Engine) -> None:
    own, size = engine.own(), 300_000
    numbers = np.random.default_rng(1).permutation(size)
    texts = pa.array(numbers.astype("str"))
    frame = own.sort(own.bring(pa.table({"n": numbers, "system": texts, "id": texts})), "n").drop("n")
    shape = Table("some", "one row", (Column("system", "string", "a text"), Column("id", "string", "the same")))
    found = pa.Table.from_batches(own.batches(frame, shape))
    assert found.column("id").to_pylist() == found.column("system").to_pylist() == [str(n) for n in range(size)]
    own.release()


def test_numbers_are_in_the_order_of_code_points(engine: Engine) -> None:
    names = ["\U0001f600", "\uffee", "a", "Z", "10", "9", "\u00e9"]
    own = engine.own()
    found = own.collect(own.number(own.bring(pa.table({"x": names})), ["x"], "n").sort("n"))
    assert found.column("x").to_pylist() == sorted(names)
    assert found.column("n").to_pylist() == [*range(len(names))]
    assert found.schema.field("n").type == pa.int64()


def test_polars_frames_in_the_same_kind_out() -> None:
    one, two = pl.from_pandas(people()), pl.from_pandas(records())
    assert isinstance(reconcile(one, two).merged, pl.DataFrame)
    lazy = reconcile(one.lazy(), two.lazy()).merged
    assert isinstance(lazy, pl.LazyFrame)
    assert lazy.collect_schema()["opted_out_at"] == pl.Datetime("us", "UTC")
    assert lazy.collect().columns == MERGED.names


def linked_pairs(pairs: int) -> tuple[pa.Table, pa.Table]:
    """People and the Contacts that they are linked to, of other addresses: an edge each. Every other person is unsubscribed."""
    numbers = range(pairs)
    ids = [f"0035e{number:010d}" for number in numbers]
    one: dict[str, Any] = {
        "person_id": [str(number) for number in numbers],
        "email": [f"p{number}@a.example" for number in numbers],
        "salesforce_id": ids,
    }
    one |= {"unsubscribed": [number % 2 == 1 for number in numbers], "unsubscribed_at": [AT] * pairs}
    other: dict[str, Any] = {
        "record_id": [salesforce_id_18(each) for each in ids],
        "email": [f"r{number}@a.example" for number in numbers],
    }
    other |= {name: [value] * pairs for name, value in (("object", "Contact"), *((flag, False) for flag in FLAGS))}
    return pa.table(one), pa.table(other)


def test_only_edges_and_counts_come_to_the_driver(local_engine: Engine) -> None:
    """Rows of either side never do, however many need action; nor for the summary. On Spark, see `test_frames_in_frames_out`."""
    pairs = 1000
    own: Any = Watched(local_engine.own())
    result = reconcile(*map(local_engine.send, linked_pairs(pairs)), engine=own)
    assert pairs <= own.collected < pairs + 50
    counted = summary(result, Settings(), NOW)
    assert (counted["actions"], counted["tonight"]["records_set"]) == (pairs // 2, pairs // 2)
    assert own.collected < pairs + 150


@pytest.mark.parametrize("module", TABLE_LOGIC)
def test_no_engine_is_named_in_the_table_logic(module: str) -> None:
    text = (Path(recon.__file__).parent / f"{module}.py").read_text("utf-8")
    assert not re.findall(r"(?i)pandas|polars|duckdb|spark", text)


@pytest.mark.parametrize("module", [*TABLE_LOGIC, "reconcile", "explore/what_if", "explore/find"])
def test_the_table_logic_takes_rows_out_by_its_engine_alone(module: str) -> None:
    """What `test_only_edges_and_counts_come_to_the_driver` counts is all there is."""
    text = (Path(recon.__file__).parent / f"{module}.py").read_text("utf-8")
    # `lent` is an engine of somebody else's, see `recon.explore.borrowed`.
    assert not re.findall(r"(?<!engine)(?<!lent)\.collect\(|\.to_native\(|\.to_arrow\(|nw\.to_native", text)


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
