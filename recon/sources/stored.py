"""A table of any size, written to a Parquet file so that the same rows give the same bytes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from recon.disk import sha256
from recon.sources.runs import in_blocks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: Rows of a row group, which is as much as is held in memory.
ROW_GROUP = 1 << 16


@dataclass(frozen=True, slots=True)
class Stored:
    """A Parquet file, its rows and its SHA-256."""

    file: Path
    rows: int
    sha256: str


def store(file: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> Stored:
    """Write tables one after the other; row groups are as long, however the tables are cut."""
    rows = 0
    with file.open("wb") as out:
        with pq.ParquetWriter(out, schema, compression="zstd", version="2.6") as writer:
            for block in in_blocks(tables, ROW_GROUP):
                rows += block.num_rows
                writer.write_table(block.replace_schema_metadata(None), row_group_size=ROW_GROUP)
        out.flush()
        os.fsync(out.fileno())
    return Stored(file, rows, sha256(file))
