"""Both datasets, each from where the settings say, between the same two nightly runs."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from recon.engine import engine_named
from recon.errors import SettingsError
from recon.progress import SILENT
from recon.sources.bulk_state import States
from recon.sources.files import read_contacts, read_leads, read_people
from recon.sources.gateway import pull_gateway
from recon.sources.guard import refuse_straddling
from recon.sources.loading import in_order, quick_of, together
from recon.sources.matching import refuse_unmatchable
from recon.sources.salesforce import RecordsPulled, pull_records
from recon.sources.salesforce_session import connect
from recon.sources.stored import Stored, store
from recon.tables import PEOPLE, RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from recon.clock import Clock
    from recon.engine import Engine
    from recon.progress import Progress
    from recon.settings import Settings
    from recon.sources.base import Input
    from recon.sources.increments import Base


@dataclass(frozen=True, slots=True)
class Pulled:
    """Both sides, complete.

    Attributes
    ----------
    people, records
        In the shapes of `recon.tables.PEOPLE` and `recon.tables.RECORDS`.
    inputs
        Where each part came from: people, leads, contacts.
    straddles
        May a nightly run lie between the two sides? False: none does. None: a file is among the inputs, and nobody knows when it
        was extracted. (Never True: such a pull is refused.)
    """

    people: pa.Table
    records: pa.Table
    inputs: tuple[Input, ...]
    straddles: bool | None


@dataclass(frozen=True, slots=True)
class PulledFiles:
    """Both sides, complete, on disk: Parquet files in the same shapes, sorted by id.

    Attributes
    ----------
    history
        The newest changes of the opt-out fields, where Salesforce was read by API; the next pull of what changed builds on them.
    about
        For the snapshot's manifest: `pull` (how Salesforce was read), `api_calls` by system and kind, `api_quota`.
    """

    people: Stored
    records: Stored
    history: Stored | None
    inputs: tuple[Input, ...]
    straddles: bool | None
    about: dict[str, Any] = field(default_factory=dict)


def pull(
    settings: Settings,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    progress: Progress = SILENT,
    sleep: Callable[[float], None] = time.sleep,
) -> Pulled:
    """Read people and records, all of them, into memory; see `pull_to`, which doesn't need it."""
    with tempfile.TemporaryDirectory(prefix="recon-pull-") as name:
        states = States(Path(name), lasting=False)
        found = pull_to(settings, states=states, environ=environ, clock=clock, progress=progress, sleep=sleep)
        people = pq.read_table(found.people.file, schema=PEOPLE.schema)
        records = pq.read_table(found.records.file, schema=RECORDS.schema)
        return Pulled(people, records, found.inputs, found.straddles)


def pull_to(
    settings: Settings,
    *,
    states: States,
    bases: Sequence[Base] = (),
    strict: bool = False,
    environ: Mapping[str, str],
    clock: Clock,
    progress: Progress = SILENT,
    sleep: Callable[[float], None] = time.sleep,
) -> PulledFiles:
    """Read people and records to disk.

    People come from the gateway where `sales_connect.gateway.url` is set, else from the file `run.people`. Leads and Contacts come from
    Salesforce where `salesforce.instance_url` is set, else from the files `run.leads` and `run.contacts`; one of the two is enough, for an
    org that has only such records. People are always read whole: a gateway doesn't say what changed.

    Parameters
    ----------
    settings
        Says all of that.
    states
        The working folder. Where it lasts, what a pull that failed had read by Bulk queries is gone on with.
    bases
        Snapshots, the newest first: of Salesforce, what changed is read on top of the first that fits. None: everything is read.
    strict
        Nothing else will do: where no base fits, the pull is refused.
    environ
        Holds the secrets, under the names that the settings give.
    clock
        Tells when what was read, for the check against the nightly run.
    progress
        Shows how far it is.
    sleep
        Waits between two looks at a Bulk job, and before something is asked for again.

    Raises
    ------
    SettingsError
        If a side has neither a live source nor a file, or an address or a secret is missing.
    UsageError
        If no base fits, where nothing else will do.
    StraddlingPull
        If a live side is read inside a guard window, or one lies in between.
    InputRefused
        If a file can't be used.
    SourceError
        If a live source can't be read whole, or the pull would use more than its share of the org's daily calls.
    """
    _both_sides(settings)
    started_at = clock.now()

    def clear_of_the_run(inputs: tuple[Input, ...]) -> None:
        if _live(inputs):
            # A clock may be set back; a Bulk query of an earlier pull began before this one.
            first = min([started_at, *(part.started_at for part in inputs if part.started_at)])
            refuse_straddling(first, max(started_at, clock.now()), settings.sync)

    if settings.sales_connect.gateway.url is not None or settings.salesforce.instance_url is not None:
        refuse_straddling(started_at, started_at, settings.sync)  # before anything is read for nothing
    kept, of_people = _people(settings, states.folder, environ, clock, progress, sleep)
    clear_of_the_run(of_people)
    records = _records(settings, states, bases, strict, environ, clock, progress, sleep)
    clear_of_the_run(records.inputs)
    refuse_unmatchable(of_people[0], records.inputs)
    inputs = (*of_people, *records.inputs)
    known = all(part.started_at for part in inputs) or not settings.sync.enabled
    about = dict(records.about)
    if _live(of_people):
        calls = of_people[0].details["api_calls"]
        about["api_calls"] = about.get("api_calls", {}) | {"sales_connect": {"read": calls, "total": calls}}
    return PulledFiles(kept, records.records, records.history, inputs, False if known else None, about)


def _live(inputs: tuple[Input, ...]) -> bool:
    return any(part.started_at for part in inputs)


def _both_sides(settings: Settings) -> None:
    missing = []
    if settings.sales_connect.gateway.url is None and settings.run.people is None:
        missing.append(
            "the people come from nowhere: write people (an extract) under [run], or url under [sales_connect.gateway]"
        )
    run = settings.run
    if settings.salesforce.instance_url is None and run.leads is None and run.contacts is None:
        missing.append(
            "Leads and Contacts come from nowhere: write instance_url under [salesforce], or leads and contacts (exports) under [run]"
        )
    if missing:
        raise SettingsError(
            f"{'; '.join(missing)}.",
            hint="Write them into recon.toml; `recon init` writes one in which every setting is explained.",
        )


def _people(
    settings: Settings,
    folder: Path,
    environ: Mapping[str, str],
    clock: Clock,
    progress: Progress,
    sleep: Callable[[float], None],
) -> tuple[Stored, tuple[Input, ...]]:
    side = settings.sales_connect
    if side.gateway.url is not None:
        found = pull_gateway(
            side.gateway,
            folder,
            environ=environ,
            clock=clock,
            progress=progress,
            columns=side.columns,
            sleep=sleep,
        )
        return found.people, (found.source,)
    assert settings.run.people is not None  # see _both_sides
    engine = _engine(settings)
    quick = quick_of(engine, names=True)
    extract = read_people(settings.run.people, columns=side.columns, encoding=side.encoding, quick=quick)
    parts = in_order(extract.table, engine, PEOPLE, "person_id")
    return store(folder / "people.parquet", parts, PEOPLE.schema), extract.inputs


def _engine(settings: Settings) -> Engine:
    """Where files are read and sorted."""
    return engine_named("auto", memory=settings.run.memory, spill=settings.run.spill)


def _records(
    settings: Settings,
    states: States,
    bases: Sequence[Base],
    strict: bool,  # noqa: FBT001 - handed on
    environ: Mapping[str, str],
    clock: Clock,
    progress: Progress,
    sleep: Callable[[float], None],
) -> RecordsPulled:
    side = settings.salesforce
    if side.instance_url is not None:
        connection = connect(side, environ=environ, sleep=sleep)
        try:
            return pull_records(
                connection,
                side,
                sync=settings.sync,
                clock=clock,
                progress=progress,
                sleep=sleep,
                states=states,
                bases=bases,
                strict=strict,
            )
        finally:
            connection.close()
    engine = _engine(settings)
    quick = quick_of(engine, names=True)
    parts = [
        read(path, opt_out_field=side.opt_out_field, custom_field=side.custom_field, quick=quick)
        for read, path in ((read_leads, settings.run.leads), (read_contacts, settings.run.contacts))
        if path is not None
    ]
    table = together([part.table for part in parts], engine, RECORDS)
    kept = store(states.folder / "records.parquet", in_order(table, engine, RECORDS, "record_id"), RECORDS.schema)
    return RecordsPulled(kept, None, tuple(source for part in parts for source in part.inputs), {})
