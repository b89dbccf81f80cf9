"""Parquet files: flags and times keep their types, everything else becomes text."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recon.sources.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from recon.sources.base import InputKind
    from recon.sources.refusal import Refusal

_EXPORT_AGAIN = "Write the file again."


class ParquetFile:
    """A Parquet file whose columns' names are known.

    Attributes
    ----------
    path, headers, schema
        The file, its columns' names and their types.
    sha256, size
        Of its bytes.
    stamp
        Its size and its time of change (nanoseconds) before these were read.

    Raises
    ------
    InputRefused
        If it can't be opened.
    """

    kind: InputKind = "parquet"

    def __init__(self, path: Path, refusal: Refusal) -> None:
        self.path = path
        self._refusal = refusal
        self.stamp = stamp(path)
        with path.open("rb") as stream:
            self.sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        self.size = path.stat().st_size
        try:
            with pq.ParquetFile(path) as file:
                self.schema = file.schema_arrow
            self.headers: list[str] = list(self.schema.names)
        except (pa.ArrowException, OSError, UnicodeDecodeError):
            raise self._damaged() from None

    def _damaged(self) -> Exception:
        return self._refusal.refuse("the Parquet file can't be read: it is damaged or cut short.", _EXPORT_AGAIN)

    def read(self, wanted: Sequence[int], *, report: bool) -> Rows:
        """Read the columns at these places; see `rows.Reader`. Parquet has no footer rows."""
        del report
        for place in wanted:
            kind = self.schema.field(place).type
            if pa.types.is_nested(kind):
                self._refusal.add(f"the column is of the type {kind}.", "Write it as text.", column=self.headers[place])
            if self.headers.count(self.headers[place]) > 1:
                self._refusal.add("the column is there more than once.", "Write each once.", column=self.headers[place])
        self._refusal.stop()
        try:
            with pq.ParquetFile(self.path) as file:
                table = file.read(columns=[self.headers[place] for place in wanted])
                table.validate(full=True)  # damaged pages may read as text that isn't UTF-8
                count = file.metadata.num_rows
        except (pa.ArrowException, OSError):
            raise self._damaged() from None
        if table.num_rows != count:
            raise self._damaged()
        if not count:
            raise self._refusal.refuse(
                "the file has columns but no rows.",
                "Export it again; if there is nothing to export, leave the file out.",
            )
        columns = {place: self._plain(table.column(self.headers[place]), place) for place in wanted}
        self._refusal.stop()
        lines = np.arange(1, count + 1, dtype=np.int64)
        return Rows(columns, lines, self.sha256, self.size)

    def _plain(self, column: pa.ChunkedArray, place: int) -> pa.ChunkedArray:
        kind = column.type
        if pa.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
            kind = column.type
        if pa.types.is_boolean(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return column
        if pa.types.is_floating(kind):
            return _whole_numbers(column.cast(pa.float64()))
        try:
            return column.cast(pa.string())
        except pa.ArrowException:
            self._refusal.add(
                f"the column is of the type {kind}, and its values are no text.",
                "Write it as text.",
                column=self.headers[place],
            )
            return pa.chunked_array([pa.nulls(len(column), pa.string())])


def stamp(path: Path) -> tuple[int, int]:
    """A file's size and the time of its last change, in nanoseconds."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _whole_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers with a point as text; whole ones without it, as an id that met a missing value has become 1234.0."""
    column = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    whole = pc.and_(pc.equal(column, pc.floor(column)), pc.less(pc.abs(column), 2.0**53))
    counted = pc.if_else(whole, column, pa.scalar(None, pa.float64())).cast(pa.int64()).cast(pa.string())
    return pc.coalesce(counted, column.cast(pa.string()))
