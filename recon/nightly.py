"""The model of the nightly unsubscribe sync: what tonight's run will do, before it does it.

Once a day, both directions, opt-out wins: flags are set, never cleared. A pair qualifies only if the sync is enabled and the person
has a Salesforce ID; equal addresses alone don't link. Source: AdobeDocs, Syncing Unsubscribes with Salesforce. What the sync does with
the id of a converted or deleted Lead is not documented: the model takes such a link as not syncing.

A person has one Salesforce ID, so what the sync joins is a record and the people that hold its id. In such a star the run's fixpoint is
reached at once: if any of them carries an opt-out, all have it afterwards.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import narwhals.stable.v2 as nw

if TYPE_CHECKING:
    from recon.engine import Engine, Frame
    from recon.settings import SyncSettings


def carriers(found: Frame, engine: Engine) -> Frame:
    """The sync components in which a flag stands that the sync carries.

    Parameters
    ----------
    found
        `keys` of `recon.rows.Rows`, or the opted-out ones of them.

    Returns
    -------
    Frame
        One row a component `s`: `star_at`, the newest date known of such flags (may be null), and `star_carries`, true.
    """
    flags = found.filter(nw.col("carries")).group_by("s").agg(nw.col("own_at").max().alias("star_at"))
    return engine.hold(flags.with_columns(star_carries=nw.lit(value=True)))


def predict(found: Frame, sync: SyncSettings) -> Frame:
    """Add `predicted_opted_out`, every row's flag after the next nightly run.

    Parameters
    ----------
    found
        Rows with `opted_out`, and with `star_carries` from `carriers`, joined by `s`: null where nothing is carried.
    sync
        With the sync disabled every row keeps its flag.
    """
    carried = nw.col("star_carries").fill_null(value=False) & nw.lit(sync.enabled)
    return found.with_columns(predicted_opted_out=nw.col("opted_out") | carried)


def next_run(now: datetime, sync: SyncSettings) -> datetime:
    """When the next nightly run starts, strictly after a moment; in UTC.

    Examples
    --------
    >>> from recon.settings import SyncSettings
    >>> next_run(datetime(2026, 11, 24, 18, tzinfo=UTC), SyncSettings()).isoformat()
    '2026-11-25T04:00:00+00:00'
    """
    zone = ZoneInfo(sync.time_zone)
    day = now.astimezone(zone).date()
    while True:
        run = datetime.combine(day, sync.run_at, tzinfo=zone).astimezone(UTC)
        if run > now:
            return run
        day += timedelta(days=1)
