"""The engines that the table logic runs on, for the tests: how rows get in as that engine's users hold them, and how they come back.

A missing text must come in as missing. What everyone writes (row by row out of pandas, where a missing text is NaN) makes the text
"nan" of it, and then people without an id are joined with each other. So everything goes by way of Arrow.
"""

from __future__ import annotations

import functools
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa

import recon.engine
from recon.reconcile import reconcile
from recon.tables import ACTIONS, MERGED, PEOPLE, RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from recon.engine import Frame
    from recon.reconcile import Reconciliation
    from recon.settings import Settings
    from recon.tables import Table
    from tests.tables.reference import Row


class Engine(Protocol):
    """One engine."""

    name: str

    def own(self) -> recon.engine.Engine:
        """The engine as recon has it."""
        ...

    def from_pandas(self, frame: pd.DataFrame) -> Any:
        """A frame of this engine, as its users make it of a pandas frame."""
        ...

    def send(self, table: pa.Table) -> Any:
        """Rows as a frame of this engine."""
        ...

    def receive(self, frame: Any) -> pa.Table:
        """A frame's rows; fails if it isn't a frame of this engine."""
        ...


class Pandas:
    """pandas with the types that it uses by itself: str with NaN, bool or object, UTC times."""

    name = "pandas"

    def own(self) -> recon.engine.Engine:
        return recon.engine.ArrowPandas()

    def from_pandas(self, frame: pd.DataFrame) -> Any:
        return frame

    def send(self, table: pa.Table) -> Any:
        return table.to_pandas()

    def receive(self, frame: Any) -> pa.Table:
        assert isinstance(frame, pd.DataFrame)
        return pa.Table.from_pandas(frame, preserve_index=False)


class Polars:
    """DataFrames."""

    name = "polars"

    def own(self) -> recon.engine.Engine:
        return recon.engine.Polars()

    def from_pandas(self, frame: pd.DataFrame) -> Any:
        return pl.from_pandas(frame)

    def send(self, table: pa.Table) -> Any:
        return pl.DataFrame(table)

    def receive(self, frame: Any) -> pa.Table:
        assert isinstance(frame, pl.DataFrame)
        return frame.to_arrow()


class DuckDB:
    """Relations of a connection that the caller has, in whatever time zone it is."""

    name = "duckdb"

    def __init__(self) -> None:
        self._connection = duckdb.connect(":memory:")

    def own(self) -> recon.engine.Engine:
        return recon.engine.DuckDB()

    def from_pandas(self, frame: pd.DataFrame) -> Any:
        return self._connection.from_df(frame)

    def send(self, table: pa.Table) -> Any:
        return self._connection.from_arrow(table)

    def receive(self, frame: Any) -> pa.Table:
        assert isinstance(frame, duckdb.DuckDBPyRelation)
        return frame.to_arrow_table()


#: Settings of Spark that make queries of few rows fast.
_FEW_ROWS = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.maxPlanStringLength": "0",
}


class Spark:
    """Frames of a session that the caller has: in a zone that is far from UTC and left out a day, and set up for few rows."""

    name = "spark"

    def own(self) -> recon.engine.Engine:
        return recon.engine.Spark(self.session)

    def from_pandas(self, frame: pd.DataFrame) -> Any:
        return self.send(pa.Table.from_pandas(frame, preserve_index=False))

    def send(self, table: pa.Table) -> Any:
        return self.session.createDataFrame(table)

    def receive(self, frame: Any) -> pa.Table:
        assert type(frame).__module__.startswith("pyspark.sql.")
        return frame.toArrow()

    @functools.cached_property
    def session(self) -> Any:
        # Java starts once for all tests; compiling code for queries of some rows takes longer than running them as they are, and so does
        # compiling Java's own code as well as can be.
        from pyspark.sql import SparkSession

        assert SparkSession.getActiveSession() is None
        os.environ.setdefault("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        own = recon.engine.engine_named("spark")
        session = own.session  # type: ignore[attr-defined]
        self._usual = {name: session.conf.get(name) for name in _FEW_ROWS}
        for name, value in (_FEW_ROWS | {"spark.sql.session.timeZone": "Pacific/Apia"}).items():
            session.conf.set(name, value)
        return session

    def as_users_have_it(self) -> AbstractContextManager[None]:
        """The session with the settings that recon's own has: what most tests switch off for the sake of time."""
        # What is usual is known when the session is there.
        return self._with(self.session, self._usual)

    def in_partitions(self, number: int) -> AbstractContextManager[None]:
        """The session with so many partitions after every shuffle."""
        return self._with(self.session, {"spark.sql.shuffle.partitions": str(number)})

    @contextmanager
    def _with(self, session: Any, settings: dict[str, str]) -> Iterator[None]:
        for name, value in settings.items():
            session.conf.set(name, value)
        try:
            yield
        finally:
            for name, value in _FEW_ROWS.items():
                session.conf.set(name, value)


#: Another engine is one more line here.
ENGINES: dict[str, Engine] = {engine.name: engine for engine in (Pandas(), Polars(), DuckDB(), Spark())}
#: Those that run without Java.
LOCAL: dict[str, Engine] = {name: engine for name, engine in ENGINES.items() if name != "spark"}


def run(engine: Engine, people: list[Row], records: list[Row], settings: Settings) -> tuple[list[Row], list[Row]]:
    """`merged` and `actions` as recon makes them on an engine, as dicts."""
    return told(engine, reconciled(engine, people, records, settings))


def reconciled(
    engine: Engine, people: list[Row], records: list[Row], settings: Settings, answered: Sequence[str] = ()
) -> Reconciliation:
    """What recon makes of an engine's own frames."""
    frames = engine.send(table_of(people, PEOPLE)), engine.send(table_of(records, RECORDS))
    return reconcile(*frames, settings, engine=engine.own(), answered=answered)


def told(engine: Engine, result: Reconciliation) -> tuple[list[Row], list[Row]]:
    """`merged` and `actions` as dicts."""
    return rows_of(engine.receive(result.merged), MERGED), rows_of(engine.receive(result.actions), ACTIONS)


class Watched:
    """An engine that counts what it holds, and the rows that come out of it to the driver."""

    def __init__(self, engine: recon.engine.Engine) -> None:
        self._engine = engine
        self.held = 0
        self.collected = 0

    def hold(self, frame: Frame) -> Frame:
        self.held += 1
        return self._engine.hold(frame)

    def collect(self, frame: Frame) -> pa.Table:
        table = self._engine.collect(frame)
        self.collected += table.num_rows
        return table

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def table_of(rows: list[Row], table: Table) -> pa.Table:
    """Dicts as an Arrow table."""
    return pa.Table.from_pylist(rows, schema=table.schema)


def rows_of(found: pa.Table, table: Table) -> list[Row]:
    """An Arrow table as dicts. Its columns and types must be the table's; how a string is stored is the engine's affair."""
    assert found.column_names == table.names
    for column in table:
        stored = found.schema.field(column.name).type
        if column.kind == "time":
            assert pa.types.is_timestamp(stored), column.name
            assert stored.tz is not None, column.name
        elif column.kind == "string":
            assert pa.types.is_string(stored) or pa.types.is_large_string(stored) or _all_null(found, column.name), (
                column
            )
        else:
            assert stored == column.arrow or _all_null(found, column.name), (column.name, stored)
    rows: list[Row] = table.conform(found).to_pylist()
    return rows


def _all_null(found: pa.Table, name: str) -> bool:
    """Where pandas has nothing at all it knows no type."""
    return bool(found.column(name).null_count == found.num_rows)
