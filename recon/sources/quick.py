"""The quick way from a CSV or Parquet file into DuckDB: for files that are plainly in order, which nearly all are.

The careful readers hold every cell in memory and can name the line and column of whatever is wrong. This one lets DuckDB read, convert
and check the cells where the table will live, and knows only one fault: that something isn't plain. Then the careful reader reads the
file again, and either reads it after all or says what is wrong and where. So both must give the same rows for what this one takes; what
it may not take, it can leave.
"""

from __future__ import annotations

import csv
import io
import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import pyarrow as pa
import pyarrow.compute as pc

from recon.engines.deferred import deferred
from recon.sources import quick_sql as sql
from recon.sources.cells import CONTROL, DIGITS_LOST, PREFIX
from recon.sources.delimited import DELIMITERS, DelimitedFile
from recon.sources.ids import are_whole
from recon.sources.parquet_file import ParquetFile, stamp
from recon.sources.quick_scan import quick_scan
from recon.sources.scan import is_utf8
from recon.sources.vocabulary import FLAG_PAIRS, STATUS_PAIRS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    import duckdb

    from recon.sources.cells import ObjectName
    from recon.sources.quick_scan import Sound
    from recon.sources.rows import Details, Reader
    from recon.tables import Table

#: Bytes that are looked at to tell how flags are spelt.
_SAMPLE_BYTES = 1 << 17
#: Rows of a Parquet file that are looked at for the same.
_SAMPLE_ROWS = 2_048
#: Rows that are checked at once.
_BATCH_ROWS = 1 << 17
_NAMES = ("first_name", "last_name")
_KEYS = ("person_id", "record_id")
_ALL_TEXT: Mapping[str, str] = MappingProxyType({})


class _NotPlainError(Exception):
    """The file is left to the careful reader; never leaves this module."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file whose rows are in DuckDB.

    Attributes
    ----------
    frame
        In the shape of its table.
    rows, sha256, size, details
        As in `recon.sources.base.Input`.
    """

    frame: nw.LazyFrame[Any]
    rows: int
    sha256: str
    size: int
    details: Details


class Quick:
    """Reads files into a connection of DuckDB, whose time zone is UTC.

    Parameters
    ----------
    connection
        Where the tables will be.
    keep
        Told the name of every table that is made.
    names
        Are the names of persons read? No rule looks at them, so they are null otherwise.
    """

    _numbers = itertools.count(1)

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, keep: Callable[[str], object] = str, *, names: bool = False
    ) -> None:
        self._connection = connection
        self._keep = keep
        self._unused = () if names else _NAMES

    def read(
        self, path: Path, reader: Reader, found: Mapping[str, int], table: Table, given: Mapping[str, str]
    ) -> Loaded | None:
        """Read a file, or leave it to the careful reader (None).

        Parameters
        ----------
        path, reader
            The file, its headers known.
        found
            Canonical name -> place of the column.
        table
            The shape that its rows come in.
        given
            Columns that are told and not read: name -> SQL over the other columns.

        Raises
        ------
        duckdb.OutOfMemoryException
            If the rows don't fit into the connection's memory and what it may spill.
        """
        if not isinstance(reader, ParquetFile) and not (isinstance(reader, DelimitedFile) and is_utf8(reader.encoding)):
            return None
        import duckdb

        name = f"held_file_{next(self._numbers)}"
        try:
            if isinstance(reader, ParquetFile):
                loaded = self._read_parquet(name, reader, found, table, given)
            else:
                loaded = self._read_delimited(name, path, reader, found, table, given)
        except duckdb.OutOfMemoryException:
            # The careful reader would need still more.
            raise
        except (_NotPlainError, duckdb.Error):
            self._connection.execute(f"DROP TABLE IF EXISTS {name}")
            return None
        self._keep(name)
        return loaded

    def _read_delimited(
        self,
        name: str,
        path: Path,
        reader: DelimitedFile,
        found: Mapping[str, int],
        table: Table,
        given: Mapping[str, str],
    ) -> Loaded:
        source = sql.csv_source(path, reader.delimiter, len(reader.headers))
        before = stamp(path)
        with ThreadPoolExecutor(1) as threads:
            # The hash and the walk over the bytes run beside the reading; neither needs Python for long.
            scanning = threads.submit(quick_scan, path, reader.delimiter)
            spellings = _spellings(path, reader.delimiter, found)
            self._load(name, source, found, table, given, spellings)
            sound: Sound | None = scanning.result()
        if sound is None or before != stamp(path):
            raise _NotPlainError
        details: Details = {
            "encoding": "utf-8",
            "delimiter": DELIMITERS[reader.delimiter],
            "final_line_end": sound.final_line_end,
        }
        return self._loaded(
            name, found, table, given, spellings, details, rows=sound.rows - 1, sha256=sound.sha256, size=sound.size
        )

    def _read_parquet(
        self, name: str, reader: ParquetFile, found: Mapping[str, int], table: Table, given: Mapping[str, str]
    ) -> Loaded:
        typed = sql.types_of_cells(reader, found, table)
        if typed is None:
            raise _NotPlainError
        source = sql.parquet_source(reader, found)
        spellings = {}
        for flag in sql.FLAGS:
            if flag in found and flag not in typed:
                words = self._connection.sql(
                    f"SELECT DISTINCT word FROM (SELECT c{found[flag]} AS word FROM {source} LIMIT {_SAMPLE_ROWS})"
                )
                spellings[flag] = _spelling(flag, (word for (word,) in words.fetchall()))
        self._load(name, source, found, table, given, spellings, typed)
        if reader.stamp != stamp(reader.path):
            raise _NotPlainError
        rows = self._connection.sql(f"SELECT count(*) FROM {source}").fetchall()[0][0]
        return self._loaded(name, found, table, given, spellings, {}, rows=rows, sha256=reader.sha256, size=reader.size)

    def _loaded(
        self,
        name: str,
        found: Mapping[str, int],
        table: Table,
        given: Mapping[str, str],
        spellings: Mapping[str, Any],
        details: Details,
        *,
        rows: int,
        sha256: str,
        size: int,
    ) -> Loaded:
        """Check what was loaded as a whole, and tell of it."""
        counted = self._counted(name, found)
        if not counted["rows"] or counted["rows"] != rows:
            raise _NotPlainError
        self._check_ids(name, found, given)
        flags = [flag for flag in sql.FLAGS if flag in found]
        if flags:
            details["vocabulary"] = [f"{flag}: {_said(counted, flag, spellings.get(flag))}" for flag in flags]
        if any(column.kind == "time" and column.name in found for column in table):
            details["times_without_zone"] = counted["unzoned"]
        if "unsubscribe_source" in found:
            details["unknown_unsubscribe_sources"] = counted["unknown"]
        shaped = self._connection.table(name).project(", ".join(f'"{column}"' for column in table.names))
        frame: nw.LazyFrame[Any] = nw.from_native(deferred(self._connection, shaped))
        return Loaded(frame, rows, sha256, size, details)

    def _load(
        self,
        name: str,
        source: str,
        found: Mapping[str, int],
        table: Table,
        given: Mapping[str, str],
        spellings: Mapping[str, Any],
        typed: Mapping[str, str] = _ALL_TEXT,
    ) -> None:
        parts, unzoned, unknown = [], ["0"], "0"
        for column in table:
            if column.name in given:
                continue
            cell = f"c{found[column.name]}" if column.name in found else None
            if cell is None or column.name in self._unused:
                value = "NULL"
            elif column.name in typed:
                value = sql.typed(cell, typed[column.name])
                if column.kind == "time":
                    unzoned.append(sql.is_unzoned_of(cell, typed[column.name]))
            elif column.kind == "flag":
                value = sql.flag(cell, *spellings[column.name][0])
            elif column.kind == "time":
                value = sql.moment(cell)
                unzoned.append(sql.is_unzoned(cell))
            else:
                value = sql.TEXTS.get(column.name, sql.text)(cell)
                if column.name == "unsubscribe_source":
                    unknown = sql.is_unknown_source(cell)
            parts.append(f'CAST({value} AS {sql.TYPES[column.kind]}) AS "{column.name}"')
        parts += [f"CAST({' + '.join(unzoned)} AS UTINYINT) AS _unzoned", f"CAST({unknown} AS UTINYINT) AS _unknown"]
        told = "".join(f', {value} AS "{column}"' for column, value in given.items())
        self._connection.execute(
            f"CREATE TABLE {name} AS SELECT *{told} FROM (SELECT {', '.join(parts)} FROM {source})"
        )

    def _counted(self, name: str, found: Mapping[str, int]) -> dict[str, Any]:
        """Counts for the details; not plain where ids repeat."""
        key = next(key for key in _KEYS if key in found)
        counts = [
            "count(*) AS rows",
            # Equal hashes of different ids: the careful reader tells them apart.
            f'count(DISTINCT hash("{key}")) AS keys',
            "sum(_unzoned)::BIGINT AS unzoned",
            "sum(_unknown)::BIGINT AS unknown",
            *(
                f'bool_or("{flag}") AS "{flag}_yes", NOT bool_and("{flag}") AS "{flag}_no"'
                for flag in sql.FLAGS
                if flag in found
            ),
        ]
        table = self._connection.table(name).aggregate(", ".join(counts)).to_arrow_table()
        counted: dict[str, Any] = table.to_pylist()[0]
        if counted["keys"] != counted["rows"]:
            raise _NotPlainError
        return counted

    def _check_ids(self, name: str, found: Mapping[str, int], given: Mapping[str, str]) -> None:
        """Check ids where that is cheap, outside SQL."""
        own: ObjectName = "Lead" if given.get("object") == "'Lead'" else "Contact"
        prefixes = {"record_id": PREFIX[own], "converted_contact_id": PREFIX["Contact"]}
        ids = [column for column in ("person_id", "salesforce_id", *prefixes) if column in found]
        rows = self._connection.sql(f"SELECT {', '.join(ids)} FROM {name}")
        for batch in rows.to_arrow_reader(_BATCH_ROWS):
            for column in ids:
                values = batch.column(column).cast(pa.string()).drop_null()
                good = are_whole(values, prefixes[column]) if column in prefixes else _plain_ids(values)
                if not good:
                    raise _NotPlainError


def _spellings(
    path: Path, delimiter: str, found: Mapping[str, int]
) -> dict[str, tuple[tuple[str, str], tuple[str, str]]]:
    """How yes and no are spelt in each column of flags, told from the first rows; and the words as the vocabulary has them."""
    with path.open("rb") as stream:
        start = stream.read(_SAMPLE_BYTES)
        more = bool(stream.read(1))
    try:
        text = start.removeprefix(b"\xef\xbb\xbf").decode(errors="ignore" if more else "strict")
        rows = list(itertools.islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 1, None))
    except (ValueError, csv.Error):
        raise _NotPlainError from None
    if more:
        rows = rows[:-1]  # the last one may be cut off
    return {
        name: _spelling(name, (row[found[name]] for row in rows if len(row) > found[name]))
        for name in sql.FLAGS
        if name in found
    }


def _spelling(name: str, words: Iterable[str]) -> tuple[tuple[str, str], tuple[str, str]]:
    spelt = sql.spelling(words, STATUS_PAIRS if name == "unsubscribed" else FLAG_PAIRS)
    if spelt is None:
        raise _NotPlainError
    return spelt


def _said(counted: Mapping[str, Any], flag: str, spelt: tuple[tuple[str, str], tuple[str, str]] | None) -> str:
    """The spelling of a column of flags: each word as the file has it, or as the vocabulary does where it is nowhere."""
    if spelt is None:
        return "boolean"
    (yes, no), words = spelt
    return f"{yes if counted[f'{flag}_yes'] else words[0]}/{no if counted[f'{flag}_no'] else words[1]}"


def _plain_ids(values: pa.Array) -> bool:
    """Whether the careful reader would take all these ids as they stand."""
    if pc.all(pc.ascii_is_alnum(values), min_count=0).as_py():
        return True
    odd = pc.or_(
        pc.not_equal(pc.utf8_trim_whitespace(values), values),
        pc.or_(pc.match_substring_regex(values, CONTROL), pc.match_substring_regex(values, DIGITS_LOST)),
    )
    return not pc.any(odd, min_count=0).as_py()
