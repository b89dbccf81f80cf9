"""Both datasets, each from where the settings say, between the same two nightly runs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from recon.errors import SettingsError
from recon.progress import SILENT
from recon.sources.base import Extract
from recon.sources.files import read_contacts, read_leads, read_people
from recon.sources.gateway import read_gateway
from recon.sources.guard import refuse_straddling
from recon.sources.salesforce import read_salesforce
from recon.tables import RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from recon.clock import Clock
    from recon.progress import Progress
    from recon.settings import Settings
    from recon.sources.base import Input


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


def pull(
    settings: Settings,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    progress: Progress = SILENT,
    sleep: Callable[[float], None] = time.sleep,
) -> Pulled:
    """Read people and records, all of them.

    People come from the gateway where `sales_connect.gateway.url` is set, else from the file `run.people`. Leads and Contacts come from
    Salesforce where `salesforce.instance_url` is set, else from the files `run.leads` and `run.contacts`; one of the two is enough, for an
    org that has only such records.

    Parameters
    ----------
    settings
        Says all of that.
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
    StraddlingPull
        If a live side is read inside a guard window, or one lies in between.
    InputRefused
        If a file can't be used.
    SourceError
        If a live source can't be read whole.
    """
    _both_sides(settings)
    started_at = clock.now()

    def clear_of_the_run(part: Extract) -> Extract:
        if _live(part.inputs):
            refuse_straddling(started_at, max(started_at, clock.now()), settings.sync)  # a clock may be set back
        return part

    if settings.sales_connect.gateway.url is not None or settings.salesforce.instance_url is not None:
        refuse_straddling(started_at, started_at, settings.sync)  # before anything is read for nothing
    people = clear_of_the_run(_people(settings, environ, clock, progress, sleep))
    records = clear_of_the_run(_records(settings, environ, clock, progress, sleep))
    inputs = (*people.inputs, *records.inputs)
    known = all(part.started_at for part in inputs) or not settings.sync.enabled
    return Pulled(people.table, records.table, inputs, straddles=False if known else None)


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
    environ: Mapping[str, str],
    clock: Clock,
    progress: Progress,
    sleep: Callable[[float], None],
) -> Extract:
    side = settings.sales_connect
    if side.gateway.url is None:
        assert settings.run.people is not None  # see _both_sides
        return read_people(settings.run.people, columns=side.columns, encoding=side.encoding)
    return read_gateway(
        side.gateway, environ=environ, clock=clock, progress=progress, columns=side.columns, sleep=sleep
    )


def _records(
    settings: Settings,
    environ: Mapping[str, str],
    clock: Clock,
    progress: Progress,
    sleep: Callable[[float], None],
) -> Extract:
    side = settings.salesforce
    if side.instance_url is not None:
        return read_salesforce(side, environ=environ, clock=clock, progress=progress, sleep=sleep)
    parts = [
        read(path, opt_out_field=side.opt_out_field, custom_field=side.custom_field)
        for read, path in ((read_leads, settings.run.leads), (read_contacts, settings.run.contacts))
        if path is not None
    ]
    table = pa.concat_tables([RECORDS.conform(part.table) for part in parts])
    return Extract(table, tuple(source for part in parts for source in part.inputs))
