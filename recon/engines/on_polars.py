"""Polars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import pyarrow as pa

from recon.engines.shape import fit, from_pandas, numbered, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recon.engine import Frame
    from recon.tables import Table


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
            known = native.collect_schema().names()
            native = native.select(name for name in table.names if name in known).collect()
        if isinstance(native, pl.DataFrame):
            native = native.to_arrow()
        return self.bring(fit(native, table) if isinstance(native, pa.Table) else from_pandas(native, table))

    def bring(self, table: pa.Table) -> Frame:
        """An Arrow table; its buffers are shared where Polars can."""
        import polars as pl

        frame: Frame = nw.from_native(pl.DataFrame(table).lazy())
        return frame

    def number(self, frame: Frame, by: list[str], name: str) -> Frame:
        """Number the rows in an order, from 0."""
        return numbered(frame, by, name)

    def hold(self, frame: Frame) -> Frame:
        """The same rows, computed."""
        held: Frame = nw.from_native(frame.to_native().collect().lazy())
        return held

    def release(self, *keep: Frame) -> None:
        """Nothing: what nobody refers to is gone."""

    def drop(self, *frames: Frame) -> None:
        """Nothing: what nobody refers to is gone."""

    def beside(self, left: Frame, right: Frame, on: str) -> Frame:
        """Rows side by side, in the order of their numbers."""
        return left.join(right, on=on, how="left").sort(on)

    def collect(self, frame: Frame) -> pa.Table:
        """The rows as an Arrow table."""
        return plain(frame.to_native().collect().to_arrow())

    def batches(self, frame: Frame, table: Table) -> Iterator[pa.RecordBatch]:
        """The rows, out of memory."""
        yield from table.conform(self.collect(frame)).to_batches()

    def give(self, frame: Frame, table: Table) -> Any:
        """A DataFrame, or a LazyFrame where such came in; times in microseconds UTC."""
        import polars as pl

        given = pl.DataFrame(table.conform(self.collect(frame)))
        return given.lazy() if self._lazy else given
