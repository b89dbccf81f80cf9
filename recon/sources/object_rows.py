"""Rows of one object as Salesforce sends them, checked cell by cell and brought to the shape of `recon.tables.RECORDS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from recon.errors import IncompletePull
from recon.sources.discovery import MASTER, STANDARD_FIELD
from recon.sources.ids import to_18
from recon.tables import RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from recon.sources.discovery import ObjectFields

_AGAIN = "Pull again."
_TIME = pa.timestamp("us", tz="UTC")
_TIME_FORM = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)$"


def texts(fields: ObjectFields, records: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Records of a REST query as Bulk results write them, so that both ways give the same rows."""
    return pa.table(
        {name: pa.array([_text(record[name]) for record in records], pa.string()) for name in fields.select}
    )


def _text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def as_records(fields: ObjectFields, page: pa.Table) -> tuple[pa.Table, int]:
    """Check every cell that decides something, and give each column its type.

    Parameters
    ----------
    fields
        What was asked for.
    page
        Some rows, every column a string.

    Returns
    -------
    tuple
        The rows in the shape of `recon.tables.RECORDS`, sorted by id, the dates of opt-outs still null; and how many of them are records that
        were merged into others.

    Raises
    ------
    IncompletePull
        If a cell can't be what it has to be; the text names the first record.
    """
    rows = _typed(fields, page)
    ids = rows.column("Id")
    flags = [rows.column(name) for name in fields.targets]
    columns: dict[str, Any] = {
        "record_id": ids,
        "object": pa.chunked_array([pa.repeat(fields.object, len(ids))]),
        "email": rows.column("Email"),
        "opted_out": _any(flags),
        "is_converted": rows.column("IsConverted") if fields.object == "Lead" else pc.is_null(ids),
        "is_deleted": rows.column("IsDeleted"),
        "first_name": rows.column("FirstName"),
        "last_name": rows.column("LastName"),
        "modified_at": rows.column("LastModifiedDate"),
    }
    if fields.standard_visible:
        columns["has_opted_out_of_email"] = rows.column(STANDARD_FIELD)
    if fields.custom_field:
        columns["sales_opt_out"] = rows.column(fields.custom_field)
    if fields.object == "Lead":
        columns["converted_contact_id"] = rows.column("ConvertedContactId")
    if fields.person_accounts:
        columns["account_id"] = pc.if_else(
            rows.column("IsPersonAccount"), rows.column("AccountId"), pa.scalar(None, pa.string())
        )
    away = len(ids) - rows.column(MASTER).null_count if MASTER in fields.select else 0
    return RECORDS.conform(pa.table(columns)).sort_by("record_id"), away


def _typed(fields: ObjectFields, page: pa.Table) -> pa.Table:
    name = fields.object
    columns: dict[str, pa.ChunkedArray] = {}
    ids, _ = to_18(page.column("Id"))
    if ids.null_count:
        raise IncompletePull(f"{ids.null_count} rows of {name} have no usable Id.", hint=_AGAIN)
    for column in page.column_names:
        values = page.column(column)
        if column == "Id":
            columns[column] = ids
        elif column in fields.flags:
            columns[column] = _flags(values, ids, f"{name}.{column}")
        elif column in ("ConvertedContactId", "AccountId", MASTER):
            columns[column] = _link(values, ids, f"{name}.{column}")
        elif column in ("LastModifiedDate", "SystemModstamp"):
            columns[column] = _times(values, ids, f"{name}.{column}")
        else:
            columns[column] = values
    return pa.table(columns)


def _flags(values: pa.ChunkedArray, ids: pa.ChunkedArray, column: str) -> pa.ChunkedArray:
    true = pc.equal(values, "true")
    good = pc.fill_null(pc.or_(true, pc.equal(values, "false")), fill_value=False)
    _all_good(
        good, ids, f"{column} is neither true nor false", "A blank is not false, so the pull is not used. Pull again."
    )
    return true


def _link(values: pa.ChunkedArray, ids: pa.ChunkedArray, column: str) -> pa.ChunkedArray:
    links, valid = to_18(values)
    _all_good(pc.fill_null(valid, fill_value=True), ids, f"{column} is no Salesforce id", _AGAIN)
    return links


def _times(values: pa.ChunkedArray, ids: pa.ChunkedArray, column: str) -> pa.ChunkedArray:
    good = pc.fill_null(pc.match_substring_regex(values, _TIME_FORM), fill_value=False)
    _all_good(good, ids, f"{column} is no time", "The row may have been cut short. Pull again.")
    try:
        return values.cast(_TIME)
    except pa.ArrowInvalid:  # 2026-13-45 has the form
        raise IncompletePull(f"{column} holds a time that doesn't exist.", hint=_AGAIN) from None


def _all_good(good: pa.ChunkedArray, ids: pa.ChunkedArray, fault: str, hint: str) -> None:
    if not pc.all(good, min_count=0).as_py():
        bad = ids.filter(pc.invert(good))
        raise IncompletePull(f"{fault} in {len(bad)} rows; the first is record {bad[0].as_py()}.", hint=hint)


def _any(flags: Iterable[pa.ChunkedArray]) -> pa.ChunkedArray:
    first, *others = flags
    for other in others:
        first = pc.or_(first, other)
    return first
