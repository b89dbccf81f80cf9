"""The engines that the table logic runs on: what each must be able to do beside what Narwhals gives all of them.

The table logic knows frames only. Where it has to bring a small table in, keep an intermediate result, or take a small table out, it
asks its engine. What goes in comes out: pandas frames give pandas frames, DuckDB relations give DuckDB relations.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import narwhals.stable.v2 as nw
import pyarrow as pa
import pyarrow.compute as pc

from recon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb

    from recon.tables import Table

#: What the table logic works on: lazy, of whatever engine.
Frame: TypeAlias = nw.LazyFrame[Any]

EngineName = Literal["auto", "pandas", "polars", "duckdb", "spark"]


#: Rows that stream out at once.
_BATCH_ROWS = 100_000


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

    def hold(self, frame: Frame) -> Frame:
        """The same rows, computed once, wherever they are used afterwards."""
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


class ArrowPandas:
    """pandas, with Arrow's types inside: they know null for strings and flags, where pandas' own make NaN and objects of it."""

    name = "pandas"

    def take(self, native: Any, table: Table) -> Frame:
        """A pandas frame (or an Arrow table); its index is dropped."""
        arrow = native if isinstance(native, pa.Table) else _from_pandas(native, table)
        try:
            return self.bring(table.conform(arrow))
        except (ValueError, pa.ArrowInvalid) as error:
            raise _unfit(table, error) from error

    def bring(self, table: pa.Table) -> Frame:
        """An Arrow table, without copying."""
        import pandas as pd

        frame: Frame = nw.from_native(table.to_pandas(types_mapper=pd.ArrowDtype)).lazy()
        return frame

    def hold(self, frame: Frame) -> Frame:
        """The same frame (pandas computes at once); columns that pandas made by itself get Arrow's types."""
        import pandas as pd

        native = frame.collect().to_native()
        own = [name for name, kind in native.dtypes.items() if not isinstance(kind, pd.ArrowDtype)]
        if not own:
            return frame
        told = {name: pd.Series(pd.arrays.ArrowExtensionArray(_arrow(native[name])), native.index) for name in own}
        held: Frame = nw.from_native(native.assign(**told)).lazy()
        return held

    def collect(self, frame: Frame) -> pa.Table:
        """The rows as an Arrow table."""
        table = frame.collect("pyarrow").to_native()
        # Arrow keeps a pandas index as a column of its own.
        return _plain(table.select(frame.collect_schema().names()))

    def batches(self, frame: Frame, table: Table) -> Iterator[pa.RecordBatch]:
        """The rows, out of memory."""
        yield from table.conform(self.collect(frame)).to_batches()

    def give(self, frame: Frame, table: Table) -> Any:
        """A pandas frame with pandas' usual types: str, bool, UTC times."""
        return to_pandas(table.conform(self.collect(frame)))


class DuckDB:
    """DuckDB in one connection of its own: larger than memory, spilling to a folder.

    Parameters
    ----------
    memory
        How much memory it may use, like "2GB"; None leaves DuckDB's own limit (80 % of the machine's).
    spill
        Folder for what doesn't fit; None: beside the working folder, as DuckDB does.
    """

    name = "duckdb"

    def __init__(self, *, memory: str | None = None, spill: Path | None = None) -> None:
        import duckdb

        self.connection: duckdb.DuckDBPyConnection = duckdb.connect(":memory:")
        self.connection.execute("SET TimeZone = 'UTC'")
        self.connection.execute("SET preserve_insertion_order = false")
        if memory is not None:
            self.connection.execute("SET memory_limit = $memory", {"memory": memory})
        if spill is not None:
            self.connection.execute("SET temp_directory = $folder", {"folder": str(spill)})
        self._numbers = itertools.count(1)

    def take(self, native: Any, table: Table) -> Frame:
        """A DuckDB relation of any connection, an Arrow table or reader, or a pandas frame."""
        if isinstance(native, nw.LazyFrame):
            native = native.to_native()
        if isinstance(native, pa.Table):
            relation = self.connection.from_arrow(native)
        elif hasattr(native, "to_arrow_reader"):
            # The relation may belong to another connection: its rows stream into this one.
            reader = native.to_arrow_reader()
            relation = self._keep(self.connection.from_arrow(reader))
        else:
            relation = self.connection.from_arrow(_from_pandas(native, table))
        return self.conform(relation, table)

    def conform(self, relation: duckdb.DuckDBPyRelation, table: Table) -> Frame:
        """A relation of this connection, brought to a table's shape.

        Raises
        ------
        UsageError
            If a required column is absent.
        """
        parts = []
        for column in table:
            if column.name in relation.columns:
                parts.append(f'CAST("{column.name}" AS {_DUCKDB_TYPES[column.kind]}) AS "{column.name}"')
            elif column.required:
                raise _unfit(table, ValueError(f"{table.name}: the required column {column.name!r} is absent"))
            else:
                parts.append(f'CAST(NULL AS {_DUCKDB_TYPES[column.kind]}) AS "{column.name}"')
        frame: Frame = nw.from_native(relation.project(", ".join(parts)))
        return frame

    def bring(self, table: pa.Table) -> Frame:
        """An Arrow table as a table of the connection."""
        frame: Frame = nw.from_native(self._keep(self.connection.from_arrow(table)))
        return frame

    def hold(self, frame: Frame) -> Frame:
        """The same rows as a table of the connection."""
        held: Frame = nw.from_native(self._keep(frame.to_native()))
        return held

    def collect(self, frame: Frame) -> pa.Table:
        """The rows as an Arrow table."""
        return _plain(frame.to_native().to_arrow_table())

    def batches(self, frame: Frame, table: Table) -> Iterator[pa.RecordBatch]:
        """The rows, streamed."""
        for batch in frame.to_native().to_arrow_reader(_BATCH_ROWS):
            yield from table.conform(_plain(pa.Table.from_batches([batch]))).to_batches()

    def give(self, frame: Frame, table: Table) -> Any:
        """A relation; it keeps the connection alive."""
        return self.conform(frame.to_native(), table).to_native()

    def _keep(self, relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        name = f"held_{next(self._numbers)}"
        relation.create(name)
        return self.connection.table(name)


_DUCKDB_TYPES = {
    "string": "VARCHAR",
    "flag": "BOOLEAN",
    "time": "TIMESTAMPTZ",
    "date": "DATE",
    "count": "BIGINT",
}


def engine_for(native: Any) -> Engine:
    """The engine that a frame belongs to.

    Raises
    ------
    UsageError
        If the frame is of no engine that recon runs on.
    """
    kind = type(native)
    home = kind.__module__.partition(".")[0]
    if home == "pandas":
        return ArrowPandas()
    if home in ("duckdb", "_duckdb"):
        return DuckDB()
    raise UsageError(
        f"recon doesn't run on frames of type {kind.__module__}.{kind.__qualname__}.",
        hint="Pass pandas frames or DuckDB relations.",
    )


def engine_named(name: str, *, memory: str | None = None, spill: Path | None = None) -> Engine:
    """The engine of a name; `auto` is DuckDB.

    Raises
    ------
    UsageError
        If there is no such engine here.
    """
    if name in ("auto", "duckdb"):
        return DuckDB(memory=memory, spill=spill)
    if name == "pandas":
        return ArrowPandas()
    raise UsageError(f"the engine {name!r} isn't available.", hint="Use auto, duckdb or pandas.")


def to_pandas(table: pa.Table) -> Any:
    """An Arrow table as a pandas frame with pandas' usual types: str for strings, bool where no flag is null, UTC times, dates."""
    import pandas as pd

    def usual(kind: pa.DataType) -> Any:
        if pa.types.is_string(kind):
            return pd.StringDtype(na_value=float("nan"))
        if pa.types.is_date(kind):
            return pd.ArrowDtype(kind)
        return None

    return table.to_pandas(types_mapper=usual)


def _from_pandas(frame: Any, table: Table) -> pa.Table:
    """A pandas frame by way of Arrow: NaN in a string column becomes null there, never the text 'nan'."""
    columns = {}
    for column in table:
        if column.name not in frame.columns:
            continue
        try:
            columns[column.name] = pa.Array.from_pandas(frame[column.name], type=column.arrow)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            # Types that are near: times without a zone or in other units, ids that were read as numbers are refused.
            if column.kind == "string":
                raise _unfit(table, ValueError(f"{table.name}: the column {column.name!r} isn't all strings")) from None
            values = pa.Array.from_pandas(frame[column.name])
            columns[column.name] = _utc(values) if pa.types.is_timestamp(values.type) else values
    return pa.table(columns)


def _utc(times: pa.Array) -> pa.Array:
    """Times in microseconds UTC: a time without a zone is taken as UTC, what is finer than a microsecond is cut off."""
    zone = times.type.tz
    times = pc.cast(times, pa.timestamp("us", tz=zone), safe=False)
    return pc.assume_timezone(times, "UTC") if zone is None else times.cast(pa.timestamp("us", tz="UTC"))


def _arrow(series: Any) -> pa.Array:
    """A pandas column as an Arrow one: what is all missing in it can only be text."""
    array = pa.Array.from_pandas(series)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return array.cast(pa.string()) if pa.types.is_null(array.type) or pa.types.is_large_string(array.type) else array


def _unfit(table: Table, error: Exception) -> UsageError:
    return UsageError(
        f"the frame can't be used as {table.name}: {error}",
        hint=f"The columns are {', '.join(table.names)}; see recon.tables.",
    )


def _plain(table: pa.Table) -> pa.Table:
    """The same rows with plain types: strings not large or viewed, times in microseconds UTC."""
    fields = []
    for each in table.schema:
        kind = each.type
        if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            kind = pa.string()
        elif pa.types.is_timestamp(kind) and kind.tz is not None:
            kind = pa.timestamp("us", tz="UTC")
        fields.append(pa.field(each.name, kind))
    return table.cast(pa.schema(fields))
