"""Dates as people write them: ISO 8601 or the one declared format, as the stretch of time that each can mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Callable

_TICK = timedelta(microseconds=1)
#: Cells that a reader remembers.
_REMEMBERED = 4096
_CLOCK = r"(?P<clock>[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?)"
_ZONE = r"(?: ?(?P<zone>Z|[+-][0-9]{2}(?::?[0-9]{2})?))?"
_ISO = re.compile(rf"(?P<YYYY>[12][0-9]{{3}})-(?P<MM>[0-9]{{2}})-(?P<DD>[0-9]{{2}})(?:[T ]{_CLOCK}{_ZONE})?")
_PART = {"YYYY": r"(?P<YYYY>[12][0-9]{3})", "MM": r"(?P<MM>[0-9]{1,2})", "DD": r"(?P<DD>[0-9]{1,2})"}
_FORMAT = re.compile(r"(YYYY|MM|DD)([./ -])(YYYY|MM|DD)\2(YYYY|MM|DD)")


@dataclass(frozen=True, slots=True)
class Moment:
    """What a cell says about a point in time.

    Attributes
    ----------
    earliest, latest
        The first and the last moment that it can mean, UTC. Equal where a time was given.
    text
        As it stands in a message: `2026-11-24` or `2026-11-24T04:00:00Z`.
    """

    earliest: datetime
    latest: datetime
    text: str


#: Reads a cell; None where it can't be read in one way only.
Reader: TypeAlias = "Callable[[str], Moment | None]"


def check_format(pattern: str) -> str:
    """Give back a date format such as `DD.MM.YYYY` that can be read in one way only.

    Raises
    ------
    ValueError
        If it isn't one.
    """
    found = _FORMAT.fullmatch(pattern)
    parts = (found[1], found[3], found[4]) if found else ()
    if found is None or len(set(parts)) != len(parts):
        raise ValueError(
            f"{pattern!r} is no date format; write one like DD.MM.YYYY or MM/DD/YYYY, each part once, with one sign between"
        )
    if pattern == "YYYY-DD-MM":
        raise ValueError("YYYY-DD-MM looks like ISO 8601 and means something else; use another sign between the parts")
    return pattern


def reader(date_format: str | None, zone: str) -> Reader:
    """Make the function that reads a cell.

    Parameters
    ----------
    date_format
        A declared format, see `check_format`; ISO 8601 is always read.
    zone
        The time zone of dates, and of times that state none.

    Returns
    -------
    Callable
        Takes a cell's text; None where it can't be read in one way only.
    """
    patterns = [_ISO]
    if date_format is not None:
        first, sign, second, third = _FORMAT.fullmatch(check_format(date_format)).groups()  # type: ignore[union-attr]
        body = re.escape(sign).join(_PART[part] for part in (first, second, third))
        patterns.append(re.compile(rf"{body}(?:[T ]{_CLOCK}{_ZONE})?"))
    place = ZoneInfo(zone)

    # The same dates come again and again: each is read, and held, once.
    @lru_cache(maxsize=_REMEMBERED)
    def read(text: str) -> Moment | None:
        for pattern in patterns:
            found = pattern.fullmatch(text.strip().upper())
            if found is not None:
                return _moment(found, place)
        return None

    return read


def _moment(found: re.Match[str], place: ZoneInfo) -> Moment | None:
    try:
        day = date(int(found["YYYY"]), int(found["MM"]), int(found["DD"]))
        if found["clock"] is None:
            start = min(_readings(datetime.combine(day, time()), place))
            end = max(_readings(datetime.combine(day + timedelta(days=1), time()), place)) - _TICK
            return Moment(start, end, day.isoformat())
        stated = datetime.fromisoformat(f"{day.isoformat()}T{found['clock'].replace(',', '.')}{found['zone'] or ''}")
    except ValueError:
        return None
    if stated.tzinfo is not None:
        at = stated.astimezone(UTC)
        return Moment(at, at, _shown(at))
    readings = _readings(stated, place)
    return Moment(min(readings), max(readings), _shown(min(readings)))


def _readings(local: datetime, place: ZoneInfo) -> tuple[datetime, datetime]:
    """A local time in UTC, both readings: they differ in the hour when clocks are changed."""
    first, second = (local.replace(tzinfo=place, fold=fold).astimezone(UTC) for fold in (0, 1))
    return first, second


def _shown(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat() + "Z"


def whole_day_if_midnight(at: datetime) -> Moment:
    """A time of a system: one at exactly midnight UTC is what is left of a date without a time, so it can mean all of that day."""
    utc = at.astimezone(UTC)
    if utc.time() == time():
        return Moment(utc, utc + timedelta(days=1) - _TICK, utc.date().isoformat())
    return Moment(utc, utc, _shown(utc))
