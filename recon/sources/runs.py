"""Sorted runs on disk, and their merge: tables of any size in a bounded part of memory.

A run is a file of rows sorted by one column, read a block at a time. Merging takes from every run what lies at or below the smallest last
value of all blocks at hand: what comes after can only be greater. So no more than a block of every run is in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import ipc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

#: Rows of a block.
BLOCK = 1 << 12
#: How many runs are merged at once; of more, groups are merged into longer runs first.
FAN_IN = 32


def write_run(file: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> int:
    """Write tables, which are sorted one after the other, as a run; returns its rows."""
    rows = 0
    options = ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(file), "wb") as sink, ipc.new_file(sink, schema, options=options) as writer:
        for table in tables:
            rows += table.num_rows
            writer.write_table(table.combine_chunks(), max_chunksize=BLOCK)
    return rows


def read_run(file: Path) -> Iterator[pa.Table]:
    """A run's rows, a block at a time."""
    # Not mapped into memory: what was read would count as the process's own until the system takes it back.
    with pa.OSFile(str(file)) as source:
        reader = ipc.open_file(source)
        for number in range(reader.num_record_batches):
            yield pa.Table.from_batches([reader.get_batch(number)])


def read_parquet(file: Path, schema: pa.Schema) -> Iterator[pa.Table]:
    """A Parquet file's rows, a block at a time."""
    with pq.ParquetFile(file, pre_buffer=False) as source:
        for batch in source.iter_batches(batch_size=BLOCK, use_threads=False):
            yield pa.Table.from_batches([batch]).replace_schema_metadata(None).cast(schema)


class _Stream:
    """Sorted tables one after the other, and what of them is at hand."""

    def __init__(self, tables: Iterable[pa.Table], key: str) -> None:
        self._tables = iter(tables)
        self._key = key
        self._rest: pa.Table | None = None
        self.last: str = ""

    def fill(self) -> bool:
        """Have rows at hand; False at the end."""
        while self._rest is None or not self._rest.num_rows:
            self._rest = next(self._tables, None)
            if self._rest is None:
                return False
            if self._rest.num_rows:
                self.last = self._rest.column(self._key)[-1].as_py()
        return True

    def through(self, most: str) -> pa.Table:
        """Take the rows up to a value, itself included."""
        assert self._rest is not None
        keys = self._rest.column(self._key)
        if self.last <= most:
            rows = len(keys)
        elif keys[0].as_py() > most:
            rows = 0
        else:
            rows = pc.sum(pc.less_equal(keys, most)).as_py()
        taken, self._rest = self._rest.slice(0, rows), self._rest.slice(rows)
        return taken


def merged(streams: Iterable[Iterable[pa.Table]], key: str) -> Iterator[pa.Table]:
    """Sorted streams as one. Of rows with the same value those of an earlier stream come first, and all of them in one table.

    (The latter where no stream has a value more than once.)
    """
    at_hand = [stream for stream in (_Stream(tables, key) for tables in streams) if stream.fill()]
    while at_hand:
        most = min(stream.last for stream in at_hand)
        parts = [part for part in (stream.through(most) for stream in at_hand) if part.num_rows]
        at_hand = [stream for stream in at_hand if stream.fill()]
        yield parts[0] if len(parts) == 1 else pa.concat_tables(parts).sort_by(key)


def merged_runs(files: Sequence[Path], key: str, schema: pa.Schema, folder: Path) -> Iterator[pa.Table]:
    """Any number of runs as one stream; longer runs that are needed on the way are written to a folder."""
    left, number = list(files), 0
    while len(left) > FAN_IN:
        group, left = left[:FAN_IN], left[FAN_IN:]
        number += 1
        longer = folder / f"{group[0].stem}-merged-{number}.run"
        write_run(longer, merged([read_run(file) for file in group], key), schema)
        left.append(longer)
    yield from merged([read_run(file) for file in left], key)


def newest(tables: Iterable[pa.Table], key: str) -> Iterator[pa.Table]:
    """Of rows with the same value the last one; for what `merged` gives of streams in which each value is there once."""
    for table in tables:
        keys = table.column(key).combine_chunks()
        last = pa.concat_arrays([pc.not_equal(keys[:-1], keys[1:]), pa.array([True])])
        yield table if pc.all(last).as_py() else table.filter(last)


def repeated(tables: Iterable[pa.Table], key: str, tell: Callable[[int], None]) -> Iterator[pa.Table]:
    """Pass a sorted stream on, and tell at its end how many values were there before."""
    twice, before = 0, None
    for table in tables:
        keys = table.column(key).combine_chunks()
        twice += pc.sum(pc.equal(keys[:-1], keys[1:]), min_count=0).as_py() + (keys[0].as_py() == before)
        before = keys[-1].as_py()
        yield table
    tell(twice)


def in_blocks(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of exactly so many rows; the last may have fewer."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        rest = table
        while count + rest.num_rows >= rows:
            part = rest.slice(0, rows - count)
            rest = rest.slice(rows - count)
            yield pa.concat_tables([*waiting, part]).combine_chunks()
            waiting, count = [], 0
        if rest.num_rows:
            waiting.append(rest)
            count += rest.num_rows
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()
