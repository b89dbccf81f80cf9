"""DuckDB."""

from __future__ import annotations

import itertools
import re
import shutil
import sys
import tempfile
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import pyarrow as pa

from recon.engines.deferred import deferred, held
from recon.engines.shape import fit, from_pandas, not_strings, plain, unfit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb

    from recon.engine import Frame
    from recon.tables import Column, Table

#: Rows that stream out at once.
_BATCH_ROWS = 122_880

_TYPES = {
    "string": "VARCHAR",
    "flag": "BOOLEAN",
    "time": "TIMESTAMPTZ",
    "date": "DATE",
    "count": "BIGINT",
}
#: What a thread needs at least. Source: DuckDB's documentation, OOM errors and limits: 125 MB of memory for every thread.
_THREAD_BYTES = 125_000_000
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_HELD = re.compile(r"\bheld_\w+\b")
_NUMBERS = ("INT", "FLOAT", "DOUBLE", "DECIMAL")


class DuckDB:
    """DuckDB in one connection of its own: larger than memory, spilling to a folder.

    Parameters
    ----------
    memory
        How much memory it may use, like "2GB", with as many threads as that is enough for; None leaves DuckDB's own limit (80 % of the machine's).
    spill
        Folder for what doesn't fit: a folder of its own is made there, for its owner alone, and removed with the connection. None: the
        system's folder for temporary files.
    """

    name = "duckdb"

    def __init__(self, *, memory: str | None = None, spill: Path | None = None) -> None:
        import duckdb

        self.connection: duckdb.DuckDBPyConnection = duckdb.connect(":memory:")
        self.connection.execute("SET TimeZone = 'UTC'")
        self.connection.execute("SET preserve_insertion_order = false")
        # In Jupyter without ipywidgets the bar is off, and can't even be switched off.
        with suppress(duckdb.InvalidInputException):
            self.connection.execute("SET enable_progress_bar = false")
        if memory is not None:
            self.connection.execute("SET memory_limit = $memory", {"memory": memory})
            threads = max(1, _bytes(memory) // _THREAD_BYTES)
            self.connection.execute(f"SET threads = least({threads}, current_setting('threads'))")
        if spill is not None:
            spill.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix="recon-", dir=spill)
        weakref.finalize(self.connection, shutil.rmtree, folder, ignore_errors=True)
        self.connection.execute("SET temp_directory = $folder", {"folder": folder})
        self._numbers = itertools.count(1)
        self._held: dict[str, duckdb.DuckDBPyRelation] = {}

    def take(self, native: Any, table: Table) -> Frame:
        """A DuckDB relation of any connection, an Arrow table or reader, or a pandas frame."""
        if isinstance(native, nw.LazyFrame):
            native = native.to_native()
        if isinstance(native, pa.Table):
            relation = self.connection.from_arrow(fit(native, table))
        elif isinstance(native, pa.RecordBatchReader):
            # It can be read once.
            relation = self._keep(self.connection.from_arrow(native))
        elif hasattr(native, "to_arrow_reader"):
            # The relation may belong to another connection: its rows stream into this one.
            reader = native.to_arrow_reader()
            relation = self._keep(self.connection.from_arrow(reader))
        else:
            relation = self.connection.from_arrow(from_pandas(native, table))
        return self.conform(relation, table)

    def conform(self, relation: duckdb.DuckDBPyRelation, table: Table) -> Frame:
        """A relation of this connection, brought to a table's shape.

        Raises
        ------
        UsageError
            If a required column is absent, or a value can't be cast.
        """
        return self._framed(self._conformed(relation, table))

    def _conformed(self, relation: duckdb.DuckDBPyRelation, table: Table) -> duckdb.DuckDBPyRelation:
        kinds = dict(zip(relation.columns, relation.types, strict=True))
        parts = []
        for column in table:
            if column.name in kinds:
                parts.append(f'{_cast(relation, str(kinds[column.name]), column, table)} AS "{column.name}"')
            elif column.required:
                raise unfit(table, ValueError(f"{table.name}: the required column {column.name!r} is absent"))
            else:
                parts.append(f'CAST(NULL AS {_TYPES[column.kind]}) AS "{column.name}"')
        return relation.project(", ".join(parts))

    def bring(self, table: pa.Table) -> Frame:
        """An Arrow table as a table of the connection."""
        return self._framed(self._keep(self.connection.from_arrow(table)))

    def read_parquet(self, path: Path, table: Table) -> Frame:
        """A Parquet file, read anew by every query and never whole in memory."""
        # In brackets no sign of a path is a pattern for several files.
        exact = "".join(f"[{sign}]" if sign in "*?[" else sign for sign in str(path))
        return self.conform(self.connection.read_parquet(exact, hive_partitioning=False), table)

    def number(self, frame: Frame, by: list[str], name: str) -> Frame:
        """Number the rows in an order, from 0.

        Rows of a table that was written in an order know their place in it; a window over all rows would be slower by half.
        """
        kept = self._keep_in_order(frame.to_native(), by)
        numbered = self._framed(self.connection.table(kept).project(f'rowid AS "{name}", *'))
        self._held[kept] = numbered.to_native()
        return numbered

    def sort(self, frame: Frame, by: str) -> Frame:
        """The same rows as a table in an order."""
        return self._framed(self._held[self._keep_in_order(frame.to_native(), [by])])

    def hold(self, frame: Frame) -> Frame:
        """The same rows as a table of the connection."""
        return self._framed(self._keep(frame.to_native()))

    def release(self, *keep: Frame) -> None:
        """Drop the tables of all held frames but these."""
        kept = [frame.to_native() for frame in keep]
        for name, relation in list(self._held.items()):
            if not any(relation is each for each in kept):
                del self._held[name]
                self.connection.execute(f"DROP TABLE {name}")

    def drop(self, *frames: Frame) -> None:
        """Drop the tables that these frames are made of; frames of other connections, and what isn't held here, stay."""
        for frame in frames:
            for name in set(_HELD.findall(frame.to_native().sql_query())) & self._held.keys():
                del self._held[name]
                self.connection.execute(f"DROP TABLE {name}")

    def adopt(self, name: str) -> None:
        """Hold a table of the connection that a reader has made under a name that begins with "held_"."""
        self._held[name] = self.connection.table(name)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Drop at the end what was held within."""
        before = set(self._held)
        try:
            yield
        finally:
            for name in [name for name in self._held if name not in before]:
                del self._held[name]
                self.connection.execute(f"DROP TABLE {name}")

    def beside(self, left: Frame, right: Frame, on: str) -> Frame:
        """Rows side by side: both are tables in the order of their numbers, so no join is needed to bring them together."""
        kept = self._keep_in_order(right.to_native(), [on])
        same = f'CASE WHEN l."{on}" = r."{on}" THEN l."{on}" ELSE error(\'rows out of order\') END AS "{on}"'
        relation = self.connection.sql(
            f'SELECT {same}, l.* EXCLUDE ("{on}"), r.* EXCLUDE ("{on}") '  # noqa: S608 - names of our own
            f"FROM ({left.to_native().sql_query()}) AS l POSITIONAL JOIN {kept} AS r"
        )
        return self._framed(relation)

    def collect(self, frame: Frame) -> pa.Table:
        """The rows as an Arrow table."""
        return plain(frame.to_native().to_arrow_table())

    def batches(self, frame: Frame, table: Table) -> Iterator[pa.RecordBatch]:
        """The rows, streamed."""
        self.connection.execute("SET preserve_insertion_order = true")
        for batch in frame.to_native().to_arrow_reader(_BATCH_ROWS):
            yield from table.conform(plain(pa.Table.from_batches([batch]))).to_batches()
        self.connection.execute("SET preserve_insertion_order = false")

    def give(self, frame: Frame, table: Table) -> Any:
        """A relation; it keeps the connection alive."""
        return self._conformed(frame.to_native(), table)

    def _framed(self, relation: duckdb.DuckDBPyRelation) -> Frame:
        frame: Frame = nw.from_native(deferred(self.connection, relation))
        return frame

    def _keep_in_order(self, relation: duckdb.DuckDBPyRelation, by: list[str]) -> str:
        """A table whose rows stand in this order."""
        name = f"held_{next(self._numbers)}"
        self.connection.execute("SET preserve_insertion_order = true")
        try:
            self._held[name] = held(self.connection, relation, name, by)
        finally:
            self.connection.execute("SET preserve_insertion_order = false")
        return name

    def _keep(self, relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        name = f"held_{next(self._numbers)}"
        self._held[name] = held(self.connection, relation, name)
        return self._held[name]


def _bytes(memory: str) -> int:
    """A size like 1.5 GB, roughly: KiB count as KB. What isn't one DuckDB has refused."""
    found = re.fullmatch(r"([0-9.]+) *([KMGT]?)i?B", memory.strip(), re.IGNORECASE)
    return sys.maxsize if found is None else int(float(found[1]) * _UNITS[found[2].upper()])


def _cast(relation: duckdb.DuckDBPyRelation, kind: str, column: Column, table: Table) -> str:
    """A column of a user's, of DuckDB's type `kind`, as an expression of ours; what can't be read is refused, not quoted."""
    name, wanted = f'"{column.name}"', _TYPES[column.kind]
    if kind == wanted or (column.kind == "time" and kind == "TIMESTAMP WITH TIME ZONE"):
        return name
    value = name
    if "FLOAT" in kind or "DOUBLE" in kind:
        value = f"CASE WHEN isnan({name}) THEN NULL ELSE {name} END"
    # A column without any value has whatever type it was given.
    if (
        column.kind == "string"
        and not kind.startswith(("VARCHAR", "ENUM"))
        and _any(relation, f"({value}) IS NOT NULL")
    ):
        raise unfit(table, ValueError(not_strings(table, column.name)))
    cast = f"TRY_CAST({value} AS {wanted})"
    if column.kind == "time" and kind == "TIMESTAMP_NS":
        # A cast would round: a moment before midnight to the next day.
        cast = f"make_timestamptz(epoch_us({value}))"
    bad = f"{cast} IS NULL"
    if column.kind == "flag" and any(number in kind for number in _NUMBERS):
        bad = f"({value}) NOT IN (0, 1)"
    if _any(relation, f"({value}) IS NOT NULL AND {bad}"):
        said = f"{table.name}: the column {column.name!r} is of type {kind}, and not all of it can be read as {wanted}"
        raise unfit(table, ValueError(said))
    return cast


def _any(relation: Any, condition: str) -> bool:
    return bool(relation.filter(condition).limit(1).fetchall())
