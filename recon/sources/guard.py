"""The guard window around the nightly run: when a pull may have met it.

The run starts around 8 pm Pacific time and nobody says how long it takes, so a window around it counts. Both sides of a comparison must lie
between the same two runs, or differences appear that nobody made.
Source: AdobeDocs, "Syncing Unsubscribes with Salesforce" (about 8 pm Pacific; an older page: between 8 and 9 pm).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from recon.clock import iso
from recon.errors import StraddlingPull

if TYPE_CHECKING:
    from datetime import date

    from recon.settings import SyncSettings


def window(day: date, sync: SyncSettings) -> tuple[datetime, datetime]:
    """The guard window of one local day, in UTC: it opens at the first moment and is over at the second.

    Where clocks are changed inside it, the window is the longer of the two readings.
    """
    zone = ZoneInfo(sync.time_zone)
    opens = min(_readings(datetime.combine(day, sync.guard_start), zone))
    closes = max(_readings(datetime.combine(day, sync.guard_end), zone))
    return opens, closes


def _readings(local: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return first, second


def window_met(started: datetime, finished: datetime, sync: SyncSettings) -> tuple[datetime, datetime] | None:
    """The last guard window that a span of time touches, or None.

    Parameters
    ----------
    started, finished
        The first and the last moment, with time zones; both belong to the span.
    sync
        The window. With the sync switched off there is no run to meet.

    Raises
    ------
    ValueError
        If a moment has no time zone, or the end is before the start.
    """
    if started.tzinfo is None or finished.tzinfo is None:
        raise ValueError("a pull's times need a time zone")
    if finished < started:
        raise ValueError("a pull can't end before it starts")
    if not sync.enabled:
        return None
    zone = ZoneInfo(sync.time_zone)
    first = started.astimezone(zone).date() - timedelta(days=1)
    # A window of the day after can't be met, but a day's date in another zone may differ by one.
    day = finished.astimezone(zone).date() + timedelta(days=1)
    while day >= first:
        opens, closes = window(day, sync)
        if started < closes and finished >= opens:
            return opens, closes
        day -= timedelta(days=1)
    return None


def refuse_straddling(started: datetime, finished: datetime, sync: SyncSettings) -> None:
    """Refuse a live pull that starts or ends in a guard window, or has one in between.

    Raises
    ------
    StraddlingPull
        Says which window it met, and from when on to pull again.
    """
    met = window_met(started, finished, sync)
    if met is None:
        return
    zone = ZoneInfo(sync.time_zone)
    span = f"at {iso(started)}" if started == finished else f"from {iso(started)} to {iso(finished)}"
    closes = met[1]
    raise StraddlingPull(
        f"the pull ({span}) meets the guard window around the nightly run, {sync.guard_start:%H:%M} to {sync.guard_end:%H:%M} "
        f"{sync.time_zone}: the two sides could lie on different sides of the run.",
        hint=f"Pull again from {iso(closes)} on ({closes.astimezone(zone):%Y-%m-%d %H:%M} there). Nothing was kept.",
    )
