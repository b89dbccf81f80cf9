"""Leads and Contacts from Salesforce, all of them, or an error. How it is proven that all arrived: see `recon.sources.salesforce_pull`."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from recon.sources.base import Extract, Input
from recon.sources.bulk_state import States
from recon.sources.content import stream_hash
from recon.sources.dating import dated, of_person_accounts
from recon.sources.discovery import STANDARD_FIELD
from recon.sources.history import NEWEST, together
from recon.sources.runs import merged, merged_runs, read_parquet, read_run
from recon.sources.salesforce_pull import RecordsPull
from recon.sources.salesforce_session import connect
from recon.sources.stored import Stored, store
from recon.tables import RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa
    import requests

    from recon.clock import Clock
    from recon.progress import Progress
    from recon.settings import SalesforceSettings, SyncSettings
    from recon.sources.increments import Base
    from recon.sources.pulled_rows import ObjectRows
    from recon.sources.rows import Details
    from recon.sources.salesforce_session import Connection


@dataclass(frozen=True, slots=True)
class RecordsPulled:
    """Leads and Contacts, complete, on disk.

    Attributes
    ----------
    records
        A Parquet file in the shape of `recon.tables.RECORDS`, sorted by `record_id`.
    history
        A Parquet file of `recon.sources.history.NEWEST` rows, which the next pull of what changed builds on; None where files were read.
    inputs
        `leads` and `contacts`.
    about
        For the snapshot's manifest: `pull`, `api_calls`, `api_quota`.
    """

    records: Stored
    history: Stored | None
    inputs: tuple[Input, ...]
    about: dict[str, Any]


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
        If Salesforce can't be read, or the pull would use more than its share of the daily calls.
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
    with tempfile.TemporaryDirectory(prefix="recon-pull-") as name:
        states = States(Path(name), lasting=False)
        found = pull_records(
            connection, settings, sync=None, clock=clock, progress=progress, sleep=sleep, states=states
        )
        return Extract(pq.read_table(found.records.file, schema=RECORDS.schema), found.inputs)


def pull_records(
    connection: Connection,
    settings: SalesforceSettings,
    *,
    sync: SyncSettings | None,
    clock: Clock,
    progress: Progress,
    sleep: Callable[[float], None],
    states: States,
    bases: Sequence[Base] = (),
    strict: bool = False,
) -> RecordsPulled:
    """Read all Leads and Contacts to disk, or what changed on top of a snapshot, in a bounded part of memory.

    Parameters
    ----------
    sync
        The nightly run: the Bulk job of an earlier pull is gone on with only where no run lies between it and now.
    states
        The working folder. Where it lasts, what a pull that failed had read by Bulk queries is gone on with.
    bases
        Snapshots, the newest first: what changed is read on top of the first that fits; where none does, everything is read.
    strict
        Nothing else will do: where none fits, the pull is refused.

    Raises
    ------
    UsageError
        If none fits, where nothing else will do.
    SourceError
        As `read_salesforce`.
    """
    pull = RecordsPull(connection, settings, sync=sync, clock=clock, progress=progress, sleep=sleep, states=states)
    pull.run(bases, strict=strict)
    folder = states.folder
    history = store(folder / "history.parquet", _history(pull, folder), NEWEST)
    counting = ["standard" if name == STANDARD_FIELD else "custom" for name in pull.objects[0].targets]
    rows = dated(_records(pull), _of_records(pull, history, folder), counting)
    records = store(folder / "records.parquet", rows, RECORDS.schema)
    for left in states.left():
        if not left.removed:
            pull.remove_job(left)
    inputs = tuple(_input(pull, part) for part in pull.done.values())
    about = {
        "pull": pull.as_json(),
        "api_calls": {"salesforce": connection.calls_by_kind},
        "api_quota": pull.quota.as_json(),
    }
    return RecordsPulled(records, history, _with_calls(inputs, connection), about)


def _records(pull: RecordsPull) -> Iterator[pa.Table]:
    return merged([read_run(part.file) for part in pull.done.values()], "record_id")


def _history(pull: RecordsPull, folder: Path) -> Iterator[pa.Table]:
    """The newest changes of all records, and of the Accounts of person accounts, as they were read and as the base has them."""
    read = [each for part in pull.done.values() for each in [*part.history, *part.person_accounts]]
    streams = [merged_runs([file for each in read for file in each.files], "parent", NEWEST, folder)]
    if pull.base is not None and pull.base.history is not None:
        streams.append(read_parquet(pull.base.history, NEWEST))
    return together(streams)


def _of_records(pull: RecordsPull, history: Stored, folder: Path) -> Iterator[pa.Table]:
    def stream() -> Iterator[pa.Table]:
        return read_parquet(history.file, NEWEST)

    if not any(part.person_accounts for part in pull.done.values()):
        return stream()
    accounts = of_person_accounts(lambda: _records(pull), stream(), folder)
    return together([stream(), accounts])


def _with_calls(inputs: tuple[Input, ...], connection: Connection) -> tuple[Input, ...]:
    calls: Details = {"api_calls_in_all": connection.calls, "api_usage": connection.api_usage}
    return tuple(replace(part, details=part.details | calls) for part in inputs)


def _input(pull: RecordsPull, part: ObjectRows) -> Input:
    """Where an object's rows came from."""
    fields, connection, settings = part.fields, pull.connection, pull.settings
    notes = [each.note for each in part.history]
    history = notes[0] if len(notes) == 1 or pull.base is None else "; ".join(notes)
    if part.person_accounts:
        history += f"; of person accounts {part.person_accounts[0].note}"
    origin = f"{connection.host}: queryAll {fields.object}"
    if pull.base is not None:
        origin += f", what changed since snapshot {pull.base.id}"
    return Input(
        name="leads" if fields.object == "Lead" else "contacts",
        origin=origin,
        kind=part.first.kind,
        rows=part.counts.total,
        sha256=stream_hash(read_run(part.file), RECORDS.schema),
        size=part.first.size,
        started_at=part.started_at,
        finished_at=pull.clock.now(),
        details={
            "query": part.first.query,
            "api_version": settings.api_version,
            "api_calls": connection.calls_of(fields.object),
            "counted": part.counts.total,
            "counted_not_deleted": part.counts.live,
            "pulls": part.rounds,
            "opt_out_field": settings.opt_out_field,
            "opt_out_fields": list(fields.targets),
            "opt_out_fields_read_only": list(fields.read_only),
            "standard_field_visible": fields.standard_visible,
            "history": history,
            "rows_read": part.first.rows if part.first is part.read else part.first.rows + part.read.rows,
            "merged_away": part.first.merged_away,
            **({} if pull.base is None else {"base": pull.base.id, "purged": part.purged}),
            **_person_details(part),
            **part.first.details,
        },
    )


def _person_details(part: ObjectRows) -> Details:
    """What the manifest says about person accounts, in an org that has them."""
    if not part.fields.person_accounts:
        return {}
    return {
        "person_accounts": sum(block.num_rows - block.column("account_id").null_count for block in read_run(part.file)),
        "person_account_fields": list(part.fields.person_targets),
        "person_account_fields_read_only": list(part.fields.person_read_only),
    }
