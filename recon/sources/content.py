"""The hash of rows, for sources that are no file."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import csv

if TYPE_CHECKING:
    from collections.abc import Iterable
    from hashlib import _Hash


class _HashSink:
    """A file that keeps nothing but the hash of what was written."""

    def __init__(self) -> None:
        self.hash: _Hash = hashlib.sha256()
        self.closed = False

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self.closed = True


def stream_hash(tables: Iterable[pa.Table], schema: pa.Schema) -> str:
    """SHA-256 of tables one after the other, written as CSV, in the rows' order; nulls are empty, times UTC.

    Where the tables are cut makes no difference.
    """
    sink = _HashSink()
    with pa.PythonFile(sink, mode="w") as file:
        csv.write_csv(schema.empty_table(), file, csv.WriteOptions(quoting_style="needed"))
        for table in tables:
            csv.write_csv(table, file, csv.WriteOptions(quoting_style="needed", include_header=False))
    return sink.hash.hexdigest()
