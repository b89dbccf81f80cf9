"""When an opt-out was set or cleared in Salesforce: LeadHistory and ContactHistory.

History is there only for fields that are tracked, from the day tracking was turned on, and for 18 to 24 months; a value that a record was
created with leaves no row. So a date found here is a fact, and none found proves nothing.
Source: Salesforce, "Field History Tracking".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from recon.errors import AccessRefused, SourceError
from recon.sources.ids import to_18
from recon.sources.rest_query import rest_pages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from recon.progress import Progress
    from recon.sources.salesforce_session import Connection

TIME = pa.timestamp("us", tz="UTC")
_SCHEMA = pa.schema([("parent", pa.string()), ("field", pa.string()), ("value", pa.bool_()), ("at", TIME)])
#: Codes that mean the org has no such history, or keeps it from the user.
_NONE_THERE = frozenset({"INVALID_TYPE", "NOT_FOUND", "INSUFFICIENT_ACCESS", "INSUFFICIENT_ACCESS_OR_READONLY"})


@dataclass(frozen=True, slots=True)
class History:
    """The changes of the opt-out fields of one object.

    Attributes
    ----------
    rows
        `parent` (18 characters), `field`, `value` (the value after; null where the row doesn't say), `at` (UTC).
    note
        What was found, for the manifest.
    """

    rows: pa.Table
    note: str


def read_history(connection: Connection, name: str, fields: Sequence[str], progress: Progress) -> History:
    """Read all changes of some checkboxes of Lead, Contact or Account, deleted records' included.

    Raises
    ------
    IncompletePull, SourceError
        If it can't be read to its end. An object that has no history is no error.
    """
    history = f"{name}History"
    parent = f"{name}Id"
    quoted = ", ".join(f"'{field}'" for field in fields)
    soql = f"SELECT {parent}, Field, NewValue, CreatedDate FROM {history} WHERE Field IN ({quoted})"  # noqa: S608 - names that describe gave
    tables = [_SCHEMA.empty_table()]
    try:
        with progress.task(history, None, "changes") as task:
            for page in rest_pages(connection, soql, (parent, "Field", "NewValue", "CreatedDate"), history):
                tables.append(_page(page, parent, history))
                task.advance(len(page))
    except AccessRefused as error:
        if error.code not in _NONE_THERE:
            raise
        return History(_SCHEMA.empty_table(), f"not readable ({error.code}): opt-out dates are unknown")
    rows = pa.concat_tables(tables)
    without = sorted(set(fields) - set(rows.column("field").unique().to_pylist()))
    note = f"{rows.num_rows} changes"
    if without:
        note += f"; none of {', '.join(without)}, which may not be tracked"
    return History(rows, note)


def with_person_accounts(
    connection: Connection,
    contacts: History,
    accounts: Mapping[str, str],
    fields: Mapping[str, str],
    progress: Progress,
) -> History:
    """Add what the history of person accounts says to that of the Contacts that they are.

    Salesforce doesn't document where a change of a person account's opt-out stands. It is looked for under both records, and on the Account by
    both names of the field.

    Parameters
    ----------
    accounts
        Account -> Contact, 18 characters.
    fields
        The Account's name of each field -> the Contact's.
    """
    read = read_history(connection, "Account", [*fields, *fields.values()], progress)
    parents = [accounts.get(parent) for parent in read.rows.column("parent").to_pylist()]
    names = [fields.get(field, field) for field in read.rows.column("field").to_pylist()]
    rows = pa.table(
        [
            pa.array(parents, pa.string()),
            pa.array(names, pa.string()),
            read.rows.column("value"),
            read.rows.column("at"),
        ],
        schema=_SCHEMA,
    )
    rows = rows.filter(pc.is_valid(rows.column("parent")))
    told = f"{rows.num_rows} changes" if read.rows.num_rows or "not readable" not in read.note else read.note
    return History(pa.concat_tables([contacts.rows, rows]), f"{contacts.note}; of person accounts {told}")


def _page(rows: Sequence[Mapping[str, Any]], parent: str, history: str) -> pa.Table:
    raw = pa.chunked_array([[row[parent] for row in rows]], type=pa.string())
    ids, _ = to_18(raw)
    try:
        at = pa.array([row["CreatedDate"] for row in rows], pa.string()).cast(TIME)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        at = None
    if ids.null_count or at is None or at.null_count:
        raise SourceError(f"{history} holds a row without a usable id or date.", hint="Pull again.")
    values = [_flag(row["NewValue"]) for row in rows]
    fields = pa.array([row["Field"] for row in rows], pa.string())
    return pa.table([ids, fields, pa.array(values, pa.bool_()), at], schema=_SCHEMA)


def _flag(value: object) -> bool | None:
    """A history row's value: any type on the wire. One that can't be told makes the record's date unknown, see `opt_out_dates`."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(str(value).casefold())


def opt_out_dates(
    ids: pa.ChunkedArray, flags: Mapping[str, pa.ChunkedArray], rows: pa.Table
) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """When each opted-out record was opted out last, and when an opt-out of a record was last cleared.

    A date is given only where it can't be too early, as a consent must be newer than it: every opt-out field that stands needs a newest change
    that set it. A standing field without one (set before tracking began, or not tracked) may have been set later than the other, so
    the record's date is unknown then. Of two fields the newest date counts.

    Parameters
    ----------
    ids
        The records, 18 characters.
    flags
        The present value of every field that counts as the opt-out.
    rows
        `History.rows`.

    Returns
    -------
    tuple
        `opted_out_at` and `resubscribed_at`, null where unknown.
    """
    opted_out_at = resubscribed_at = pa.chunked_array([pa.nulls(len(ids), TIME)])
    known = pc.is_valid(ids)
    stands = pc.is_null(ids)
    for field, flag in flags.items():
        changes = rows.filter(pc.equal(rows.column("field"), field))
        value = changes.column("value")
        set_at = _newest(ids, changes.filter(pc.fill_null(value, fill_value=False)))
        cleared_at = _newest(ids, changes.filter(pc.fill_null(pc.invert(value), fill_value=False)))
        untold_at = _newest(ids, changes.filter(pc.is_null(value)))
        # Seconds are the finest that history tells: set and cleared in the same second and standing now means set last.
        set_last = pc.and_(
            pc.fill_null(pc.greater_equal(set_at, cleared_at), fill_value=True),
            pc.fill_null(pc.greater(set_at, untold_at), fill_value=True),
        )
        known = pc.and_(known, pc.or_(pc.invert(flag), pc.and_(pc.is_valid(set_at), set_last)))
        stands = pc.or_(stands, flag)
        opted_out_at = _later(opted_out_at, set_at)
        resubscribed_at = _later(resubscribed_at, cleared_at)
    return pc.if_else(pc.and_(stands, known), opted_out_at, pa.scalar(None, TIME)), resubscribed_at


def _later(one: pa.ChunkedArray, other: pa.ChunkedArray) -> pa.ChunkedArray:
    """The later of two times, row by row; the known one where one is null."""
    return pc.if_else(pc.coalesce(pc.greater(one, other), pc.is_valid(one)), one, other)


def _newest(ids: pa.ChunkedArray, changes: pa.Table) -> pa.ChunkedArray:
    """The newest change of every record, null where there is none."""
    newest = changes.group_by("parent").aggregate([("at", "max")])
    found = pc.index_in(ids, value_set=newest.column("parent").combine_chunks())
    return pc.take(newest.column("at_max"), found)
