"""What the quick reader has DuckDB do with a cell: the same as `recon.sources.cells` does, or an error for what isn't plain.

Cells are text, `''` where they are empty; those of Parquet files may be flags and times. A cell that may be wrong, or is only unusual, calls `error(...)`, and DuckDB stops.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pyarrow as pa

from recon.identity import BLANKS
from recon.sources.vocabulary import LEVELS, SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from recon.sources.parquet_file import ParquetFile
    from recon.tables import Table

TYPES = {"string": "VARCHAR", "flag": "BOOLEAN", "time": "TIMESTAMPTZ"}

#: Columns of flags, in the order in which the careful reader tells of their spellings.
FLAGS = ("unsubscribed", "has_opted_out_of_email", "sales_opt_out", "is_converted", "is_deleted")

_ODD = "error('not plain')"
_ZONED = ("____-__-__T__:__:__Z", "____-__-__T__:__:__.___Z", "____-__-__T__:__:__.___+0000")
_UNZONED = ("____-__-__", "____-__-__T__:__:__", "____-__-__ __:__:__")
_NULL_IDS = ("0" * 15, "0" * 15 + "AAA")


def literal(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def csv_source(path: Path, delimiter: str, columns: int) -> str:
    """A CSV file as a table with the columns c0, c1, ...; nothing is guessed, no cell is null."""
    names = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(columns))
    return (
        f"read_csv({literal(_no_pattern(path))}, auto_detect = false, header = true, delim = {literal(delimiter)}, "
        f"quote = '\"', escape = '\"', columns = {{{names}}}, strict_mode = true, compression = 'none', max_line_size = {16 << 20}, "
        # A text that can stand in no file: else a cell that holds just this would be null.
        f"nullstr = '{secrets.token_hex(16)}')"
    )


def parquet_source(file: ParquetFile, found: Mapping[str, int]) -> str:
    """A Parquet file's columns as c0, c1, ...: flags, times and dates as they are, all else as text that is never null."""
    cells = []
    for place in sorted(set(found.values())):
        name = '"' + file.headers[place].replace('"', '""') + '"'
        kind = file.schema.field(place).type
        cell = name if _type_of_cell(kind) is not None else f"coalesce(CAST({name} AS VARCHAR), '')"
        cells.append(f"{cell} AS c{place}")
    listed = ", ".join(cells)
    return f"(SELECT {listed} FROM read_parquet({literal(_no_pattern(file.path))}, hive_partitioning = false))"


def types_of_cells(file: ParquetFile, found: Mapping[str, int], table: Table) -> dict[str, str] | None:
    """The kinds of a Parquet file's columns that hold no text, by canonical name; None where a column isn't of a plain type."""
    # DuckDB doesn't tell capitals in names.
    names = [header.casefold() for header in file.headers]
    kinds = {column.name: column.kind for column in table}
    told = {}
    for name, place in found.items():
        kind = file.schema.field(place).type
        cell = _type_of_cell(kind)
        if names.count(names[place]) > 1 or (cell is None and not _is_text(kind)):
            return None
        if cell is not None:
            if kinds[name] != ("flag" if cell == "flag" else "time"):
                return None
            told[name] = cell
    return told


def _type_of_cell(kind: pa.DataType) -> str | None:
    """Of columns that hold no text: flag, zoned or unzoned; None for all others."""
    if pa.types.is_boolean(kind):
        return "flag"
    if pa.types.is_timestamp(kind) and kind.unit in ("us", "ms"):
        return "unzoned" if kind.tz is None else "zoned"
    return "unzoned" if pa.types.is_date32(kind) else None


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(text or (pa.types.is_integer(kind) and not pa.types.is_uint64(kind)))


def typed(cell: str, kind: str) -> str:
    """A cell that is a flag or a time already: a flag is never blank."""
    return f"CASE WHEN {cell} IS NULL THEN {_ODD} ELSE {cell} END" if kind == "flag" else f"CAST({cell} AS TIMESTAMPTZ)"


def is_unzoned_of(cell: str, kind: str) -> str:
    """1 where such a time states no zone, else 0."""
    return f"CASE WHEN {cell} IS NULL THEN 0 ELSE 1 END" if kind == "unzoned" else "0"


def _no_pattern(path: Path) -> str:
    """A path in which DuckDB sees no pattern for several files."""
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in str(path))


def spelling(
    words: Iterable[str | None], pairs: Sequence[tuple[str, str]]
) -> tuple[tuple[str, str], tuple[str, str]] | None:
    """How yes and no are spelt where these words stand, and their pair in the vocabulary; None where that isn't plain."""
    said = {word for word in words if word}
    for pair in pairs:
        for write in (str.lower, str.upper, str.capitalize):
            yes, no = write(pair[0]), write(pair[1])
            if said and said <= {yes, no}:
                return (yes, no), pair
    return None


def flag(cell: str, yes: str, no: str) -> str:
    """A flag in one spelling."""
    return f"CASE {cell} WHEN {literal(yes)} THEN true WHEN {literal(no)} THEN false ELSE {_ODD} END"


def text(cell: str) -> str:
    """Text as it stands; blank is null. What begins with a visible sign of ASCII isn't looked at closer."""
    blank = f"trim({cell}, {literal(BLANKS)}) = ''"
    return f"CASE WHEN {cell} >= '!' AND {cell} < chr(127) THEN {cell} WHEN {cell} = '' OR {blank} THEN NULL ELSE {cell} END"


def moment(cell: str) -> str:
    """A time in one of the usual ways of writing, or nothing."""
    known = " OR ".join(f"{cell} LIKE '{form}'" for form in (*_ZONED, *_UNZONED))
    # What DuckDB reads beyond ISO 8601: other centuries, the hour 24.
    sane = f"{cell} >= '1' AND {cell} < '3' AND substr({cell}, 12, 2) < '24'"
    read = f"coalesce(TRY_CAST(CASE WHEN strlen({cell}) = 28 THEN substr({cell}, 1, 23) || 'Z' ELSE {cell} END AS TIMESTAMPTZ), {_ODD})"
    return f"CASE WHEN {cell} = '' THEN NULL WHEN ({known}) AND {sane} THEN {read} ELSE {_ODD} END"


def is_unzoned(cell: str) -> str:
    """1 where such a time states no zone, else 0: the ways of writing differ in their lengths."""
    return f"CASE WHEN strlen({cell}) IN (10, 19) THEN 1 ELSE 0 END"


def _key(cell: str) -> str:
    return f"CASE WHEN {cell} = '' THEN {_ODD} ELSE {cell} END"


def _optional_id(cell: str) -> str:
    return f"CASE WHEN {cell} = '' THEN NULL ELSE {cell} END"


def _record_id(cell: str) -> str:
    return f"CASE WHEN strlen({cell}) = 18 THEN {cell} ELSE {_ODD} END"


def _contact_id(cell: str) -> str:
    nothing = ", ".join(map(literal, ("", *_NULL_IDS)))
    return f"CASE WHEN {cell} IN ({nothing}) THEN NULL WHEN strlen({cell}) = 18 THEN {cell} ELSE {_ODD} END"


def _meant(word: str, meanings: Mapping[str, str], otherwise: str) -> str:
    cases = " ".join(f"WHEN {literal(each)} THEN {literal(meaning)}" for each, meaning in meanings.items())
    return f"CASE {word} {cases} ELSE {otherwise} END"


def _level(cell: str) -> str:
    return f"CASE WHEN {cell} = '' THEN NULL ELSE {_meant(f'lower({cell})', LEVELS, _ODD)} END"


def _bare(cell: str) -> str:
    return f"regexp_replace(lower(trim({cell}, {literal(BLANKS)})), '[\\s_-]+', '_', 'g')"


def _source(cell: str) -> str:
    known = ", ".join(map(literal, SOURCES))
    return f"CASE WHEN {cell} = '' THEN NULL WHEN {cell} IN ({known}) THEN {cell} ELSE {_meant(_bare(cell), SOURCES, 'NULL')} END"


def is_unknown_source(cell: str) -> str:
    """1 where a source is a word that isn't known, else 0."""
    known = ", ".join(map(literal, SOURCES))
    return f"CASE WHEN {cell} IN ('', {known}) THEN 0 WHEN {_bare(cell)} IN ('', {known}) THEN 0 ELSE 1 END"


#: Columns of text that are more than text.
TEXTS: dict[str, Callable[[str], str]] = {
    "person_id": _key,
    "salesforce_id": _optional_id,
    "record_id": _record_id,
    "converted_contact_id": _contact_id,
    "unsubscribe_level": _level,
    "unsubscribe_source": _source,
}
