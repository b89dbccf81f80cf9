"""Polars."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import pyarrow as pa

from recon.engines.shape import fit, from_pandas, plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from recon.engine import Frame
    from recon.tables import Kind, Table


class Polars:
    """Polars: lazy between the frames that are held, so that it plans each stretch as a whole.

    Parameters
    ----------
    lazy
        Are results LazyFrames, because such came in? They are computed already; what is done with them afterwards is lazy.
    """

    name = "polars"

    def __init__(self, *, lazy: bool = False) -> None:
        self._lazy = lazy

    def take(self, native: Any, table: Table) -> Frame:
        """A Polars DataFrame or LazyFrame, an Arrow table, or a pandas frame."""
        import polars as pl

        if isinstance(native, pl.LazyFrame):
            there = native.collect_schema().names()
            native = native.select(name for name in table.names if name in there).collect()
        if isinstance(native, pl.DataFrame):
            kinds = _kinds()
            absent = [column for column in table if column.name not in native.columns]
            given = native.schema
            fits = all(given.get(column.name, kinds[column.kind]) == kinds[column.kind] for column in table)
            if fits and not any(column.required for column in absent):
                nothing = [pl.lit(None, kinds[column.kind]).alias(column.name) for column in absent]
                shaped: Frame = nw.from_native(native.lazy().with_columns(nothing).select(table.names))
                return shaped
            native = native.to_arrow()
        return self.bring(fit(native, table) if isinstance(native, pa.Table) else from_pandas(native, table))

    def bring(self, table: pa.Table) -> Frame:
        """An Arrow table; its buffers are shared where Polars can."""
        import polars as pl

        frame: Frame = nw.from_native(pl.DataFrame(table).lazy())
        return frame

    def read_parquet(self, path: Path, table: Table) -> Frame:
        """A Parquet file, by way of Arrow."""
        import pyarrow.parquet as pq

        return self.bring(table.conform(pq.read_table(path)))

    def number(self, frame: Frame, by: list[str], name: str) -> Frame:
        """Number the rows in an order, from 0."""
        import polars as pl

        native = frame.to_native().sort(by).with_row_index(name).with_columns(pl.col(name).cast(pl.Int64))
        held: Frame = nw.from_native(native.collect().lazy())
        return held

    def sort(self, frame: Frame, by: str) -> Frame:
        """The same rows, held in an order."""
        return self.hold(frame.sort(by))

    def hold(self, frame: Frame) -> Frame:
        """The same rows, computed."""
        held: Frame = nw.from_native(frame.to_native().collect().lazy())
        return held

    def release(self, *keep: Frame) -> None:
        """Nothing: what nobody refers to is gone."""

    def drop(self, *frames: Frame) -> None:
        """Nothing: what nobody refers to is gone."""

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Nothing: what nobody refers to is gone."""
        yield

    def beside(self, left: Frame, right: Frame, on: str) -> Frame:
        """Rows side by side: the left ones stand in the order of their numbers, so no join is needed to bring them together."""
        import polars as pl

        one, other = left.to_native().collect(), right.to_native().sort(on).collect()
        if not one.get_column(on).equals(other.get_column(on)):
            raise AssertionError("rows out of order")
        both: Frame = nw.from_native(pl.concat([one, other.drop(on)], how="horizontal").lazy())
        return both

    def collect(self, frame: Frame) -> pa.Table:
        """The rows as an Arrow table."""
        return plain(frame.to_native().collect().to_arrow())

    def batches(self, frame: Frame, table: Table) -> Iterator[pa.RecordBatch]:
        """The rows, out of memory."""
        yield from table.conform(self.collect(frame)).to_batches()

    def give(self, frame: Frame, table: Table) -> Any:
        """A DataFrame, or a LazyFrame where such came in; times in microseconds UTC."""
        import polars as pl

        kinds = _kinds()
        shaped = frame.to_native().select(pl.col(column.name).cast(kinds[column.kind]) for column in table)
        given = shaped.collect()
        return given.lazy() if self._lazy else given


def _kinds() -> dict[Kind, Any]:
    """Polars' types for ours."""
    import polars as pl

    return {
        "string": pl.String(),
        "flag": pl.Boolean(),
        "time": pl.Datetime("us", "UTC"),
        "date": pl.Date(),
        "count": pl.Int64(),
    }
