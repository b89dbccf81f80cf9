"""The engines that the table logic runs on: what each must be able to do beside what Narwhals gives all of them.

The table logic knows frames only. Where it has to bring a small table in, keep an intermediate result, or take a small table out, it
asks its engine. What goes in comes out: pandas frames give pandas frames, Polars frames give Polars
frames, DuckDB relations give DuckDB relations, Spark frames give Spark frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import narwhals.stable.v2 as nw

from recon.engines.for_pandas import PandasOnDuckDB
from recon.engines.on_duckdb import DuckDB
from recon.engines.on_pandas import ArrowPandas
from recon.engines.on_polars import Polars
from recon.engines.on_spark import Spark
from recon.engines.shape import is_installed, to_pandas
from recon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pyarrow as pa

    from recon.tables import Table

__all__ = [
    "ENGINES",
    "ArrowPandas",
    "DuckDB",
    "Engine",
    "EngineName",
    "Frame",
    "PandasOnDuckDB",
    "Polars",
    "Spark",
    "engine_for",
    "engine_named",
    "to_pandas",
]

#: What the table logic works on: lazy, of whatever engine.
Frame: TypeAlias = nw.LazyFrame[Any]

EngineName = Literal["auto", "pandas", "polars", "duckdb", "spark"]


#: The engines, in the order in which they are told of.
ENGINES: tuple[EngineName, ...] = ("auto", "pandas", "polars", "duckdb", "spark")


class Engine(Protocol):
    """Where the frames of one reconciliation live."""

    @property
    def name(self) -> str:
        """The engine's name, for the manifest."""
        ...

    def take(self, native: Any, table: Table) -> Frame:
        """A frame of the user's, in the shape of a table: columns in order, types cast, absent columns null, unknown is null.

        Raises
        ------
        UsageError
            If a required column is absent, or a value can't be cast.
        """
        ...

    def bring(self, table: pa.Table) -> Frame:
        """A small Arrow table as a frame of this engine."""
        ...

    def read_parquet(self, path: Path, table: Table) -> Frame:
        """A Parquet file of a table's shape that recon wrote."""
        ...

    def number(self, frame: Frame, by: list[str], name: str) -> Frame:
        """The same rows with a number each, in the order of these columns, which tell every row from the others."""
        ...

    def sort(self, frame: Frame, by: str) -> Frame:
        """The same rows, held in the order of a column of numbers; `batches` gives them so."""
        ...

    def hold(self, frame: Frame) -> Frame:
        """The same rows, computed once, wherever they are used afterwards."""
        ...

    def release(self, *keep: Frame) -> None:
        """Let go of all held frames but these; what was made of others and isn't held can't be used any more."""
        ...

    def drop(self, *frames: Frame) -> None:
        """Let go of held frames: of these, and, where the engine can tell, of those that they are made of."""
        ...

    def apart(self) -> AbstractContextManager[None]:
        """Let go at the end of all frames that were held within: for work of its own beside frames that are still needed."""
        ...

    def beside(self, left: Frame, right: Frame, on: str) -> Frame:
        """Rows side by side, in the order of their numbers.

        Parameters
        ----------
        left
            As `number` gives it.
        right
            A row for each of the left one's, of the same numbers, in any order.
        on
            The column of the numbers. No other column may be in both.
        """
        ...

    def collect(self, frame: Frame) -> pa.Table:
        """A small frame's rows, on the driver."""
        ...

    def batches(self, frame: Frame, table: Table) -> Iterator[pa.RecordBatch]:
        """A frame's rows in a table's shape, batch by batch and in the frame's order: for tables larger than memory."""
        ...

    def give(self, frame: Frame, table: Table) -> Any:
        """A result in the user's form of frame."""
        ...


def engine_for(native: Any) -> Engine:
    """The engine that computes a user's frame and gives back frames of its kind.

    Raises
    ------
    UsageError
        If the frame is of no engine that recon runs on.
    """
    kind = type(native)
    home = kind.__module__.partition(".")[0]
    if home == "pandas":
        return PandasOnDuckDB()
    if home == "polars" and kind.__qualname__ in ("DataFrame", "LazyFrame"):
        return Polars(lazy=kind.__qualname__ == "LazyFrame")
    if home in ("duckdb", "_duckdb"):
        return DuckDB()
    if home == "pyspark" and hasattr(native, "sparkSession"):
        return Spark(native.sparkSession)
    raise UsageError(
        f"recon doesn't run on frames of type {kind.__module__}.{kind.__qualname__}.",
        hint="Pass pandas, Polars or Spark frames or DuckDB relations.",
    )


def engine_named(name: str, *, memory: str | None = None, spill: Path | None = None) -> Engine:
    """The engine of a name; `auto` is DuckDB.

    Parameters
    ----------
    memory, spill
        See `recon.engines.on_duckdb.DuckDB`. Polars and pandas have no such bound, Spark's are its session's.

    Raises
    ------
    UsageError
        If there is no such engine, or it isn't installed.
    """
    if name in ("auto", "duckdb"):
        return DuckDB(memory=memory, spill=spill)
    if name == "pandas":
        return ArrowPandas()
    if name == "polars":
        _installed("polars", "Polars", extra="polars")
        return Polars()
    if name == "spark":
        return Spark()
    raise UsageError(f"there is no engine {name!r}.", hint=f"Use one of {', '.join(ENGINES)}.")


def _installed(package: str, said: str, *, extra: str) -> None:
    """Refuse an engine that isn't installed."""
    if not is_installed(package):
        raise UsageError(
            f"the engine {extra!r} needs {said}, which isn't installed.",
            hint=f"Install it: pip install 'recon-optout[{extra}]'; or take the engine auto.",
        )
