"""pandas."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import pyarrow as pa
import pyarrow.compute as pc

from recon.engines.shape import fit, from_pandas, plain, to_pandas

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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

    def read_parquet(self, path: Path, table: Table) -> Frame:
        """A Parquet file, by way of Arrow."""
        import pyarrow.parquet as pq

        return self.bring(table.conform(pq.read_table(path)))

    def number(self, frame: Frame, by: list[str], name: str) -> Frame:
        """Number the rows in an order, from 0."""
        native = _sorted(frame.collect().to_native(), by)
        native.insert(0, name, _column(pa.array(range(len(native)), pa.int64())))
        numbered: Frame = nw.from_native(native).lazy()
        return self.hold(numbered)

    def sort(self, frame: Frame, by: str) -> Frame:
        """The same rows, held in an order."""
        return self.hold(frame.sort(by))

    def hold(self, frame: Frame) -> Frame:
        """The same frame (pandas computes at once); columns that pandas made by itself get Arrow's types."""
        import pandas as pd

        native = frame.collect().to_native()
        own = [name for name, kind in native.dtypes.items() if not isinstance(kind, pd.ArrowDtype)]
        if not own:
            return frame
        told = {name: pd.Series(_column(_arrow(native[name])), native.index) for name in own}
        held: Frame = nw.from_native(native.assign(**told)).lazy()
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
        import pandas as pd

        one = left.collect().to_native().reset_index(drop=True)
        other = _sorted(right.collect().to_native(), [on])
        if not one[on].equals(other[on]):
            raise AssertionError("rows out of order")
        both: Frame = nw.from_native(pd.concat([one, other.drop(columns=on)], axis=1)).lazy()
        return both

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


def _sorted(native: Any, by: list[str]) -> Any:
    """The rows in the order of these columns, sorted by Arrow: it compares texts by their bytes, and makes no objects of them."""
    keys = pa.table({name: pa.Array.from_pandas(native[name]) for name in by})
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in by])
    return native.take(order.to_numpy()).reset_index(drop=True)


def _column(values: pa.Array) -> Any:
    import pandas as pd

    return pd.arrays.ArrowExtensionArray(values)


def _arrow(series: Any) -> pa.Array:
    """A pandas column as an Arrow one: what is all missing in it can only be text."""
    array = pa.Array.from_pandas(series)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return array.cast(pa.string()) if pa.types.is_null(array.type) or pa.types.is_large_string(array.type) else array
