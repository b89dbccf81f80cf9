"""Leads and Contacts from Salesforce, all of them, or an error.

Proof that all of it arrived: the records are counted before and after, with and without deleted ones; every page holds what Salesforce
says it holds; ids are unique; a flag that is neither true nor false refuses the pull. Where records come or go during the pull it is
repeated once, whole.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from recon.errors import IncompletePull
from recon.sources.base import Extract, Input
from recon.sources.bulk_query import bulk_query
from recon.sources.content import content_hash
from recon.sources.discovery import STANDARD_FIELD, ObjectFields, discover, on_account
from recon.sources.history import History, opt_out_dates, read_history, with_person_accounts
from recon.sources.ids import to_18
from recon.sources.rest_query import count, rest_pages
from recon.sources.salesforce_session import connect
from recon.tables import RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    import requests

    from recon.clock import Clock
    from recon.progress import Progress, Task
    from recon.settings import SalesforceSettings
    from recon.sources.base import InputKind
    from recon.sources.rows import Details
    from recon.sources.salesforce_session import Connection

log = logging.getLogger(__name__)

_AGAIN = "Pull again."
#: How often all records are read at most, where their number changes meanwhile.
_PULLS = 2
_TIME = pa.timestamp("us", tz="UTC")
_TIME_FORM = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)$"


@dataclass(frozen=True, slots=True)
class _Counts:
    """Records of one object: all, deleted ones included, and those that are not deleted."""

    total: int
    live: int

    def __str__(self) -> str:
        return f"{self.total} records, {self.live} of them not deleted"


@dataclass(frozen=True, slots=True)
class _Received:
    """One object's rows, typed, under Salesforce's own field names, and how they came."""

    rows: pa.Table
    kind: InputKind
    size: int | None
    started_at: datetime
    counted: _Counts
    details: Details


def read_salesforce(
    settings: SalesforceSettings,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    progress: Progress,
    session: requests.Session | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Extract:
    """Log in to Salesforce and read all Leads and Contacts, deleted ones included, with the dates of their opt-outs.

    Parameters
    ----------
    settings
        Where Salesforce is, how to log in, which field is the opt-out, and above how many rows an object is read through Bulk API 2.0.
    environ
        Holds the secrets, under the names that the settings give.
    clock
        Tells when the pull began and ended.
    progress
        Shows how far it is.
    session
        A session to use, see `recon.sources.salesforce_session.connect`.
    sleep
        Waits between two looks at a Bulk job.

    Returns
    -------
    Extract
        A table in the shape of `recon.tables.RECORDS`, sorted by `record_id`; inputs `leads` and `contacts`.

    Raises
    ------
    SettingsError
        If the address or a secret is missing or can't be used.
    AccessRefused
        If an object or field is hidden, or the custom opt-out field isn't unambiguous.
    IncompletePull
        If what arrived isn't provably everything, or records came or went during both pulls.
    SourceError
        If Salesforce can't be read.
    """
    connection = connect(settings, environ=environ, sleep=sleep, session=session)
    try:
        return read_records(connection, settings, clock=clock, progress=progress, sleep=sleep)
    finally:
        connection.close()


def read_records(
    connection: Connection,
    settings: SalesforceSettings,
    *,
    clock: Clock,
    progress: Progress,
    sleep: Callable[[float], None] = time.sleep,
) -> Extract:
    """Read all Leads and Contacts through a connection that is open; see `read_salesforce`."""
    objects = discover(connection, settings)
    pull = _Pull(connection, settings, clock, progress, sleep)
    received = pull.all_of(objects)
    tables, inputs = [], []
    for fields in objects:
        part = received[fields.object]
        with pull.counting(fields.object):
            history = read_history(connection, fields.object, fields.targets, progress)
            accounts = _person_accounts(fields, part.rows)
            if accounts and fields.person_targets:
                names = {on_account(field): field for field in fields.targets}
                history = with_person_accounts(connection, history, accounts, names, progress)
        tables.append(_records(fields, part.rows, history))
        inputs.append(pull.input(fields, part, history))
    table = pa.concat_tables(tables).sort_by("record_id")
    calls: Details = {"api_calls_in_all": connection.calls, "api_usage": connection.api_usage}
    return Extract(RECORDS.conform(table), tuple(replace(part, details=part.details | calls) for part in inputs))


class _Pull:
    """One pull of all records, and the calls that each object cost."""

    def __init__(
        self,
        connection: Connection,
        settings: SalesforceSettings,
        clock: Clock,
        progress: Progress,
        sleep: Callable[[float], None],
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._clock = clock
        self._progress = progress
        self._sleep = sleep
        self._calls: Counter[str] = Counter()
        self._pulls = 0

    @contextmanager
    def counting(self, name: str) -> Iterator[None]:
        """Put the calls made in the `with` block on an object's account."""
        before = self._connection.calls
        try:
            yield
        finally:
            self._calls[name] += self._connection.calls - before

    def all_of(self, objects: Sequence[ObjectFields]) -> dict[str, _Received]:
        """The rows of every object, counted before and after."""
        while True:
            self._pulls += 1
            before = self._count(objects)
            received: dict[str, _Received] = {
                fields.object: self._receive(fields, before[fields.object]) for fields in objects
            }
            after = self._count(objects)
            if before == after:
                for name, part in received.items():
                    _arrived(name, part)
                return received
            moved = "; ".join(
                f"{name}: {before[name]} before, {after[name]} after" for name in before if before[name] != after[name]
            )
            if self._pulls == _PULLS:
                raise IncompletePull(
                    f"records came or went during the pull, and during its repetition as well. {moved}.",
                    hint="Pull again at a quieter time.",
                )
            log.warning("Records came or went during the pull, so all of it is repeated once. %s.", moved)

    def _count(self, objects: Sequence[ObjectFields]) -> dict[str, _Counts]:
        counts: dict[str, _Counts] = {}
        for fields in objects:
            with self.counting(fields.object):
                counts[fields.object] = _Counts(
                    total=count(self._connection, fields.object, include_deleted=True),
                    live=count(self._connection, fields.object, include_deleted=False),
                )
        return counts

    def _receive(self, fields: ObjectFields, counted: _Counts) -> _Received:
        started_at = self._clock.now()
        with self.counting(fields.object), self._progress.task(f"{fields.object}s", counted.total, "rows") as task:
            if counted.total > self._settings.bulk_above:
                bulk = bulk_query(self._connection, fields.query, fields.select, self._settings, task, self._sleep)
                details: Details = {"job_id": bulk.job_id, "pages": bulk.pages, "job_deleted": bulk.deleted}
                return _Received(_typed(fields, bulk.table), "salesforce-bulk", bulk.size, started_at, counted, details)
            texts = _by_rest(self._connection, fields, task)
            return _Received(_typed(fields, texts), "salesforce-rest", None, started_at, counted, {})

    def input(self, fields: ObjectFields, part: _Received, history: History) -> Input:
        """Where an object's rows came from, once all of it is read."""
        return Input(
            name="leads" if fields.object == "Lead" else "contacts",
            origin=f"{self._connection.host}: queryAll {fields.object}",
            kind=part.kind,
            rows=part.rows.num_rows,
            sha256=content_hash(part.rows),
            size=part.size,
            started_at=part.started_at,
            finished_at=self._clock.now(),
            details={
                "query": fields.query,
                "api_version": self._settings.api_version,
                "api_calls": self._calls[fields.object],
                "counted": part.counted.total,
                "counted_not_deleted": part.counted.live,
                "pulls": self._pulls,
                "opt_out_field": self._settings.opt_out_field,
                "opt_out_fields": list(fields.targets),
                "opt_out_fields_read_only": list(fields.read_only),
                "standard_field_visible": fields.standard_visible,
                "history": history.note,
                **_person_details(fields, part.rows),
                **part.details,
            },
        )


def _by_rest(connection: Connection, fields: ObjectFields, task: Task) -> pa.Table:
    schema = pa.schema([(name, pa.string()) for name in fields.select])
    tables = [schema.empty_table()]
    for records in rest_pages(connection, fields.query, fields.select, fields.object):
        columns = [pa.array([_text(record[name]) for record in records], pa.string()) for name in fields.select]
        tables.append(pa.table(columns, schema=schema))
        task.advance(len(records))
    return pa.concat_tables(tables)


def _text(value: Any) -> str | None:
    """A JSON value as Bulk results write it, so that both ways give the same rows."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _typed(fields: ObjectFields, texts: pa.Table) -> pa.Table:
    """Check every cell that decides something, and give each column its type. Rows come out sorted by Id."""
    name = fields.object
    columns: dict[str, pa.ChunkedArray] = {}
    ids, _ = to_18(texts.column("Id"))
    if ids.null_count:
        raise IncompletePull(f"{ids.null_count} rows of {name} have no usable Id.", hint=_AGAIN)
    if (repeated := len(ids) - len(ids.unique())) > 0:
        raise IncompletePull(f"{repeated} Ids of {name} arrived more than once.", hint=_AGAIN)
    for column in texts.column_names:
        values = texts.column(column)
        if column == "Id":
            columns[column] = ids
        elif column in fields.flags:
            columns[column] = _flags(values, ids, f"{name}.{column}")
        elif column in ("ConvertedContactId", "AccountId"):
            columns[column] = _link(values, ids, f"{name}.{column}")
        elif column in ("LastModifiedDate", "SystemModstamp"):
            columns[column] = _times(values, ids, f"{name}.{column}")
        else:
            columns[column] = values
    return pa.table(columns).sort_by("Id")


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


def _arrived(name: str, part: _Received) -> None:
    """Hold the rows against the counts, which are the same before and after."""
    deleted = pc.sum(part.rows.column("IsDeleted"), min_count=0).as_py()
    arrived = _Counts(total=part.rows.num_rows, live=part.rows.num_rows - deleted)
    if arrived != part.counted:
        raise IncompletePull(
            f"{name}: Salesforce counted {part.counted}, before the pull and after it, but what arrived is {arrived}.",
            hint="Rows are missing, or records came and went again meanwhile. Pull again.",
        )


def _records(fields: ObjectFields, rows: pa.Table, history: History) -> pa.Table:
    ids = rows.column("Id")
    flags: Mapping[str, pa.ChunkedArray] = {name: rows.column(name) for name in fields.targets}
    opted_out_at, resubscribed_at = opt_out_dates(ids, flags, history.rows)
    never = pc.is_null(ids)
    columns = {
        "record_id": ids,
        "object": pa.chunked_array([pa.repeat(fields.object, len(ids))]),
        "email": rows.column("Email"),
        "opted_out": _any(flags.values()),
        "opted_out_at": opted_out_at,
        "resubscribed_at": resubscribed_at,
        "is_converted": rows.column("IsConverted") if fields.object == "Lead" else never,
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
    return RECORDS.conform(pa.table(columns))


def _person_accounts(fields: ObjectFields, rows: pa.Table) -> dict[str, str]:
    """Account -> Contact of the person accounts among some Contacts."""
    if not fields.person_accounts:
        return {}
    those = rows.filter(pc.and_(rows.column("IsPersonAccount"), pc.is_valid(rows.column("AccountId"))))
    return dict(zip(those.column("AccountId").to_pylist(), those.column("Id").to_pylist(), strict=True))


def _person_details(fields: ObjectFields, rows: pa.Table) -> Details:
    """What the manifest says about person accounts, in an org that has them."""
    if not fields.person_accounts:
        return {}
    return {
        "person_accounts": pc.sum(rows.column("IsPersonAccount"), min_count=0).as_py(),
        "person_account_fields": list(fields.person_targets),
        "person_account_fields_read_only": list(fields.person_read_only),
    }


def _any(flags: Iterable[pa.ChunkedArray]) -> pa.ChunkedArray:
    first, *others = flags
    for other in others:
        first = pc.or_(first, other)
    return first
