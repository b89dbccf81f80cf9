"""When an opt-out was set or cleared in Salesforce: LeadHistory, ContactHistory, and AccountHistory for person accounts.

History is there only for fields that are tracked, from the day tracking was turned on, and for 18 to 24 months; a value that a record was
created with leaves no row. So a date found here is a fact, and none found proves nothing.
Source: Salesforce, "Field History Tracking".

Of all changes of a record only the newest of each kind matters (set, cleared, untold), so that is what is kept: one row a record, in runs
(`recon.sources.runs`). What is read twice does no harm then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from recon.errors import AccessRefused, SourceError
from recon.sources.ids import to_18
from recon.sources.rest_query import rest_pages
from recon.sources.runs import merged, write_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from recon.progress import Progress
    from recon.sources.salesforce_session import Connection

TIME = pa.timestamp("us", tz="UTC")
_SCHEMA = pa.schema([("parent", pa.string()), ("field", pa.string()), ("value", pa.bool_()), ("at", TIME)])
#: The opt-out fields, whatever they are called in an org: the column of `recon.tables.RECORDS` that holds each.
FIELDS = {"standard": "has_opted_out_of_email", "custom": "sales_opt_out"}
_KINDS = ("set_at", "cleared_at", "untold_at")
#: One row a record: its newest change of each kind.
NEWEST = pa.schema([("parent", pa.string()), *((f"{field}_{kind}", TIME) for field in FIELDS for kind in _KINDS)])
#: Codes that mean the org has no such history, or keeps it from the user.
NONE_THERE = frozenset({"INVALID_TYPE", "NOT_FOUND", "INSUFFICIENT_ACCESS", "INSUFFICIENT_ACCESS_OR_READONLY"})
#: Changes that are gathered before they are written as a run.
_GATHERED = 50_000


@dataclass(frozen=True, slots=True)
class History:
    """The changes of the opt-out fields of one object.

    Attributes
    ----------
    files
        Runs of `NEWEST` rows.
    note
        What was found, for the manifest.
    readable
        Could it be read?
    """

    files: tuple[Path, ...]
    note: str
    readable: bool


def query(name: str, fields: Iterable[str], since: str | None = None) -> str:
    """The condition that reads the changes of some fields, as it follows `FROM …History`."""
    quoted = ", ".join(f"'{field}'" for field in fields)
    newer = "" if since is None else f" AND CreatedDate >= {since}"
    return f" FROM {name}History WHERE Field IN ({quoted}){newer}"


def read_history(
    connection: Connection,
    name: str,
    fields: Mapping[str, str],
    place: Path,
    progress: Progress,
    *,
    since: str | None = None,
    pace: Callable[[], None] = lambda: None,
) -> History:
    """Read the changes of some checkboxes of Lead, Contact or Account, deleted records' included.

    Parameters
    ----------
    fields
        The checkboxes by name, and which of `FIELDS` each is.
    place
        Where the runs go: a path that a number and .run are added to.
    since
        Only what changed since this moment, as SOQL writes it; None for all.
    pace
        Called before every further page; ends the read by an exception.

    Raises
    ------
    IncompletePull, SourceError
        If it can't be read to its end. An object that has no history is no error.
    """
    history, parent = f"{name}History", f"{name}Id"
    soql = f"SELECT {parent}, Field, NewValue, CreatedDate{query(name, fields, since)}"
    files: list[Path] = []
    waiting: list[pa.Table] = []
    changes, seen = 0, set[str]()

    def gather(least: int) -> None:
        if waiting and sum(table.num_rows for table in waiting) >= least:
            files.append(place.with_name(f"{place.name}-{len(files) + 1:05d}.run"))
            write_run(files[-1], [newest_of(pa.concat_tables(waiting), fields)], NEWEST)
            waiting.clear()

    try:
        with progress.task(history, None, "changes") as task:
            columns = (parent, "Field", "NewValue", "CreatedDate")
            for page in rest_pages(connection, soql, columns, history, pace):
                waiting.append(_page(page, parent, history))
                changes += len(page)
                seen.update(row["Field"] for row in page)
                gather(_GATHERED)
                task.advance(len(page))
            gather(1)
    except AccessRefused as error:
        if error.code not in NONE_THERE:
            raise
        return History((), f"not readable ({error.code}): opt-out dates are unknown", readable=False)
    note = f"{changes} changes" + ("" if since is None else f" since {since}")
    without = sorted(set(fields) - seen)
    if without and since is None:
        note += f"; none of {', '.join(without)}, which may not be tracked"
    return History(tuple(files), note, readable=True)


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


def newest_of(changes: pa.Table, fields: Mapping[str, str]) -> pa.Table:
    """Of changes (`parent`, `field`, `value`, `at`) the newest of each kind, as `NEWEST` rows, sorted."""
    value, at, unknown = changes.column("value"), changes.column("at"), pa.scalar(None, TIME)
    columns = {"parent": changes.column("parent")}
    for name in FIELDS:
        called = pa.array([field for field, of in fields.items() if of == name], pa.string())
        those = pc.is_in(changes.column("field"), called)
        kinds = (
            pc.fill_null(value, fill_value=False),
            pc.fill_null(pc.invert(value), fill_value=False),
            pc.is_null(value),
        )
        for kind, is_kind in zip(_KINDS, kinds, strict=True):
            columns[f"{name}_{kind}"] = pc.if_else(pc.and_(those, is_kind), at, unknown)
    return _one_a_record(pa.table(columns))


def _one_a_record(rows: pa.Table) -> pa.Table:
    times = NEWEST.names[1:]
    found = rows.group_by("parent").aggregate([(name, "max") for name in times])
    return pa.table([found.column("parent"), *(found.column(f"{name}_max") for name in times)], schema=NEWEST).sort_by(
        "parent"
    )


def together(streams: Iterable[Iterable[pa.Table]]) -> Iterator[pa.Table]:
    """Several sorted streams of `NEWEST` rows as one, one row a record, however often a stream has it."""
    last = NEWEST.empty_table()
    for table in merged(streams, "parent"):
        # The last record may go on in the next table.
        rows = _one_a_record(pa.concat_tables([last, table]))
        last = rows.slice(rows.num_rows - 1).combine_chunks()
        yield rows.slice(0, rows.num_rows - 1)
    if last.num_rows:
        yield last


class Lookup:
    """A sorted stream of rows, asked for by ascending keys.

    Parameters
    ----------
    stream
        The rows.
    key
        What they are sorted by.
    schema
        Their columns.
    """

    def __init__(self, stream: Iterable[pa.Table], key: str, schema: pa.Schema) -> None:
        self._stream = iter(stream)
        self._key = key
        self._rest = schema.empty_table()
        self._last: str | None = None

    def through(self, most: str) -> pa.Table:
        """Take the rows up to a key, itself included."""
        parts = [self._rest]
        while self._last is None or self._last <= most:
            table = next(self._stream, None)
            if table is None:
                break
            if table.num_rows:
                parts.append(table)
                self._last = table.column(self._key)[-1].as_py()
        rows = pa.concat_tables(parts)
        taken = pc.sum(pc.less_equal(rows.column(self._key), most), min_count=0).as_py()
        self._rest = rows.slice(taken).combine_chunks()
        return rows.slice(0, taken)


def opt_out_dates(
    ids: pa.ChunkedArray, flags: Mapping[str, pa.ChunkedArray], newest: pa.Table
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
        The present value of every field that counts as the opt-out, by its name in `FIELDS`.
    newest
        `NEWEST` rows.

    Returns
    -------
    tuple
        `opted_out_at` and `resubscribed_at`, null where unknown.
    """
    opted_out_at = resubscribed_at = pa.chunked_array([pa.nulls(len(ids), TIME)])
    known = pc.is_valid(ids)
    stands = pc.is_null(ids)
    found = pc.index_in(ids, value_set=newest.column("parent").combine_chunks())
    for field, flag in flags.items():
        set_at, cleared_at, untold_at = (pc.take(newest.column(f"{field}_{kind}"), found) for kind in _KINDS)
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
