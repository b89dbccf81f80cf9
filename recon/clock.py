"""Where the time comes from, so that a run can be repeated and a test needs no clock."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from recon.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The environment variable that sets the clock, for rehearsals and tests.
VARIABLE = "RECON_NOW"


class Clock(Protocol):
    """Anything that tells the time, in UTC."""

    def now(self) -> datetime:
        """The present moment, with time zone UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present moment, with time zone UTC."""
        return datetime.now(UTC)


class SetClock:
    """A clock that stands still until it is moved: for the sandbox, rehearsals and tests.

    Parameters
    ----------
    at
        The first moment; must carry a time zone.
    """

    def __init__(self, at: datetime) -> None:
        self.set(at)

    def now(self) -> datetime:
        """The moment that was set last."""
        return self._at

    def set(self, at: datetime) -> None:
        """Move the clock to a moment, forwards or backwards.

        Raises
        ------
        ValueError
            If the moment has no time zone.
        """
        if at.tzinfo is None:
            raise ValueError("a clock needs a time zone")
        self._at = at.astimezone(UTC)

    def advance(self, by: timedelta) -> datetime:
        """Move the clock by a duration and return the new moment."""
        self.set(self._at + by)
        return self._at


class ShiftedClock:
    """The machine's clock and a shift: it goes on by itself and can be moved. For a sandbox that is served for a while.

    Parameters
    ----------
    shift
        How far it is ahead of the machine's clock.
    """

    def __init__(self, shift: timedelta = timedelta(0)) -> None:
        self.shift = shift

    def now(self) -> datetime:
        """The machine's moment, shifted."""
        return datetime.now(UTC) + self.shift

    def set(self, at: datetime) -> None:
        """Move the clock to a moment, forwards or backwards; from there it goes on.

        Raises
        ------
        ValueError
            If the moment has no time zone.
        """
        if at.tzinfo is None:
            raise ValueError("a clock needs a time zone")
        self.shift = at - datetime.now(UTC)

    def advance(self, by: timedelta) -> datetime:
        """Move the clock by a duration and return the new moment."""
        self.shift += by
        return self.now()


def from_environment(environ: Mapping[str, str] = os.environ) -> Clock:
    """The machine's clock, or one that stands at RECON_NOW where that is set.

    Parameters
    ----------
    environ
        RECON_NOW holds a moment with its time zone, like `2026-11-24T18:00:00Z`. Blank is as good as not set.

    Raises
    ------
    SettingsError
        If RECON_NOW is no such moment.
    """
    text = environ.get(VARIABLE, "").strip()
    if not text:
        return SystemClock()
    try:
        return SetClock(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise SettingsError(
            f"the environment variable {VARIABLE} holds {text[:40]!r}, which is no moment with a time zone.",
            hint=f"Write it like 2026-11-24T18:00:00Z, or unset {VARIABLE} to go by the machine's clock.",
        ) from error


def iso(at: datetime) -> str:
    """A moment as recon writes it everywhere: UTC, seconds, `2026-11-24T04:00:00Z`."""
    return at.astimezone(UTC).isoformat(timespec="seconds")[:19] + "Z"
