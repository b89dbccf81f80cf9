"""Where the time comes from, so that a run can be repeated and a test needs no clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol


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


def iso(at: datetime) -> str:
    """A moment as recon writes it everywhere: UTC, seconds, `2026-11-24T04:00:00Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
