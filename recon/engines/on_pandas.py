"""pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import pyarrow as pa

from recon.engines.shape import fit, from_pandas, numbered, plain, to_pandas

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recon.engine import Frame
    from recon.tables import Table


class ArrowPandas:
    """pandas, with Arrow's types inside: they know null for strings and flags, where pandas' own make NaN and objects of it."""

    name = "pandas"

    def take(self, native: Any, table: Table) -> Frame:
        """A pandas frame (or an Arrow table); its index is dropped."""
        return self.bring(fit(native, table) if isinstance(native, pa.Table) else from_pandas(native, table))

    def bring(self, table: pa.Table) -> Frame:
        """An Arrow table, without copying."""
        import pandas as pd

        frame: Frame = nw.from_native(table.to_pandas(types_mapper=pd.ArrowDtype)).lazy()
        return frame

    def number(self, frame: Frame, by: list[str], name: str) -> Frame:
        """Number the rows in an order, from 0."""
        return numbered(frame, by, name)

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

    def release(self, *keep: Frame) -> None:
        """Nothing: what nobody refers to is gone."""

    def drop(self, *frames: Frame) -> None:
        """Nothing: what nobody refers to is gone."""

    def beside(self, left: Frame, right: Frame, on: str) -> Frame:
        """Rows side by side, in the order of their numbers."""
        return left.join(right, on=on, how="left").sort(on)

    def collect(self, frame: Frame) -> pa.Table:
        """The rows as an Arrow table."""
        table = frame.collect("pyarrow").to_native()
        # Arrow keeps a pandas index as a column of its own.
        return plain(table.select(frame.collect_schema().names()))

    def batches(self, frame: Frame, table: Table) -> Iterator[pa.RecordBatch]:
        """The rows, out of memory."""
        yield from table.conform(self.collect(frame)).to_batches()

    def give(self, frame: Frame, table: Table) -> Any:
        """A pandas frame with pandas' usual types: str, bool, UTC times."""
        return to_pandas(table.conform(self.collect(frame)))


def _arrow(series: Any) -> pa.Array:
    """A pandas column as an Arrow one: what is all missing in it can only be text."""
    array = pa.Array.from_pandas(series)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return array.cast(pa.string()) if pa.types.is_null(array.type) or pa.types.is_large_string(array.type) else array
