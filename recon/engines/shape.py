"""What all engines share: frames brought to a table's shape, and Arrow tables made plain.

The trap is missing text. What everyone writes (row by row out of pandas, where a missing text is NaN) makes the text "nan" of it, and
people without an id are then joined with each other. So everything comes in by way of Arrow, or by the engine's own casts.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from recon.engines.arrow_alone import know_pandas
from recon.errors import UsageError

if TYPE_CHECKING:
    from recon.tables import Table

_MICROSECONDS = pa.timestamp("us", tz="UTC")


def fit(table: pa.Table, shape: Table) -> pa.Table:
    """An Arrow table of a user's, in the shape of one of ours.

    Ids that were read as numbers are refused: leading zeros are lost there, and large ones may be wrong. A time without a zone is taken
    as UTC, and what is finer than a microsecond is cut off.

    Raises
    ------
    UsageError
        If a required column is absent or holds nulls, or a value can't be cast.
    """
    columns = {}
    for column in shape:
        if column.name not in table.column_names:
            continue
        if table.column_names.count(column.name) > 1:
            raise unfit(shape, ValueError(f"{shape.name}: the column {column.name!r} is there more than once"))
        values = table.column(column.name)
        if column.kind == "string" and not _is_text(values):
            raise unfit(shape, ValueError(not_strings(shape, column.name)))
        columns[column.name] = _utc(values) if pa.types.is_timestamp(values.type) else values
    try:
        return shape.conform(pa.table(columns) if columns else table.select([]))
    except (ValueError, pa.ArrowInvalid) as error:
        raise unfit(shape, error) from error


def from_pandas(frame: Any, shape: Table) -> pa.Table:
    """A pandas frame as an Arrow table in a table's shape: NaN in a column of text becomes null, never the text 'nan'.

    Raises
    ------
    UsageError
        As `fit`.
    """
    know_pandas()
    columns = {}
    for column in shape:
        if column.name not in frame.columns:
            continue
        try:
            values = frame[column.name]
            # Arrow would take every number but 0 for true.
            number = column.kind == "flag" and values.dtype.kind in "iuf"
            columns[column.name] = pa.Array.from_pandas(values, type=None if number else column.arrow)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            # Types that are near: times without a zone or in other units.
            if column.kind == "string":
                raise unfit(shape, ValueError(not_strings(shape, column.name))) from None
            columns[column.name] = pa.Array.from_pandas(frame[column.name])
    return fit(pa.table(columns), shape)


def not_strings(shape: Table, name: str) -> str:
    """What is said of a column of ids that holds something else."""
    return f"{shape.name}: the column {name!r} isn't all strings"


def unfit(shape: Table, error: Exception) -> UsageError:
    """The error of a frame that isn't of a table's shape."""
    return UsageError(
        f"the frame can't be used as {shape.name}: {error}",
        hint=f"The columns are {', '.join(shape.names)}; see recon.tables.",
    )


def plain(table: pa.Table) -> pa.Table:
    """The same rows with plain types: strings not large or viewed, times in microseconds UTC (a time without a zone is UTC)."""
    fields = []
    for each in table.schema:
        kind = each.type
        if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            kind = pa.string()
        elif pa.types.is_timestamp(kind):
            kind = _MICROSECONDS
        fields.append(pa.field(each.name, kind))
    return table.cast(pa.schema(fields))


def is_installed(package: str) -> bool:
    """Whether a package is there; it isn't loaded."""
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # marked as not to be had
        return False


def to_pandas(table: pa.Table) -> Any:
    """An Arrow table as a pandas frame with pandas' usual types: str for strings, bool where no flag is null, UTC times, dates."""
    import pandas as pd

    def usual(kind: pa.DataType) -> Any:
        if pa.types.is_string(kind):
            return pd.StringDtype(na_value=float("nan"))
        if pa.types.is_date(kind):
            return pd.ArrowDtype(kind)
        return None

    return table.to_pandas(types_mapper=usual)


def _is_text(values: pa.ChunkedArray) -> bool:
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return bool(text or values.null_count == len(values) or _all_nan(values))


def _all_nan(values: pa.ChunkedArray) -> bool:
    """A column without any text may have become numbers that are none."""
    return pa.types.is_floating(values.type) and bool(pc.all(pc.is_null(values, nan_is_null=True)).as_py())


def _utc(times: pa.ChunkedArray) -> pa.ChunkedArray:
    zone = times.type.tz
    times = pc.cast(times, pa.timestamp("us", tz=zone), safe=False)
    return pc.assume_timezone(times, "UTC") if zone is None else times.cast(_MICROSECONDS)
