"""Points in time: ISO 8601, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from recon.sources.vocabulary import rows_where, trimmed

if TYPE_CHECKING:
    from recon.sources.refusal import Refusal

UTC = pa.timestamp("us", tz="UTC")
_LOCAL = pa.timestamp("us")
_DATE = r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,9})?)?"
_ZONE = r" ?([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)"
_ZONED = f"^{_DATE}{_CLOCK}{_ZONE}$"
_UNZONED = f"^{_DATE}({_CLOCK})?$"
_REMEDY = "Write times like 2026-11-24T04:00:00Z; a day and a month in figures alone can be read in two ways."


def times(column: pa.ChunkedArray, header: str, refusal: Refusal) -> tuple[pa.ChunkedArray, int]:
    """Read a column of times; blank is null.

    Returns
    -------
    tuple
        The times in UTC, and how many of them state no zone and were taken as UTC; a date alone is its midnight.
    """
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return _typed(column, header, refusal)
    words = trimmed(column)
    zoned = pc.fill_null(pc.match_substring_regex(words, _ZONED), fill_value=False)
    unzoned = pc.fill_null(pc.match_substring_regex(words, _UNZONED), fill_value=False)
    nothing = pa.scalar(None, pa.string())
    with_zone = _cast(_tidy(pc.if_else(zoned, words, nothing)), UTC)
    without = _cast(_tidy(pc.if_else(unzoned, words, nothing)), _LOCAL)
    values = pc.coalesce(with_zone, pc.assume_timezone(without, "UTC"))
    refusal.add_rows(
        rows_where(pc.and_(pc.is_valid(words), pc.is_null(values))),
        "this is no time that can be read in one way only.",
        _REMEDY,
        column=header,
    )
    return values, len(without) - without.null_count


def _typed(column: pa.ChunkedArray, header: str, refusal: Refusal) -> tuple[pa.ChunkedArray, int]:
    try:
        if pa.types.is_timestamp(column.type) and column.type.tz is not None:
            return pc.cast(column, UTC, safe=column.type.unit != "ns"), 0
        local = pc.cast(column, _LOCAL, safe=getattr(column.type, "unit", "") != "ns")
        return pc.assume_timezone(local, "UTC"), len(column) - column.null_count
    except pa.ArrowInvalid:
        refusal.add("the column holds times that are out of range.", _REMEDY, column=header)
        return pa.chunked_array([pa.nulls(len(column), UTC)]), 0


def _tidy(words: pa.ChunkedArray) -> pa.ChunkedArray:
    """Bring what ISO 8601 allows to the forms that Arrow reads: T and Z in capitals, a point, at most six decimals."""
    odd = pc.match_substring_regex(words, r"[tz,]|[0-9] [Z+-]|[.,][0-9]{7}")
    if not pc.any(odd).as_py():
        return words
    words = pc.replace_substring(pc.utf8_upper(words), ",", ".")
    words = pc.replace_substring_regex(words, r"([.][0-9]{6})[0-9]+", r"\1")
    return pc.replace_substring_regex(words, r" ([Z+-])", r"\1")


def _cast(words: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Cast what can be cast; days that no calendar has become null."""
    try:
        return words.cast(kind)
    except pa.ArrowInvalid:
        good = []
        for word in pc.unique(words).drop_null():
            try:
                word.cast(kind)
            except pa.ArrowInvalid:
                continue
            good.append(word.as_py())
        kept = pc.is_in(words, value_set=pa.array(good, type=pa.string()))
        return pc.if_else(kept, words, pa.scalar(None, pa.string())).cast(kind)
