"""Dates: ISO 8601 or one declared format, each the stretch of time that it can mean; nothing else is a date."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon.resubscribe.moments import check_format, reader, whole_day_if_midnight

TICK = timedelta(microseconds=1)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("text", "zone", "earliest", "latest"),
    [
        ("2026-11-24", "UTC", utc(2026, 11, 24), utc(2026, 11, 25) - TICK),
        ("2026-11-24", "Australia/Sydney", utc(2026, 11, 23, 13), utc(2026, 11, 24, 13) - TICK),
        # The day that clocks go back has 25 hours.
        ("2026-10-25", "Europe/Berlin", utc(2026, 10, 24, 22), utc(2026, 10, 25, 23) - TICK),
        ("2026-11-24T09:30", "Europe/Berlin", utc(2026, 11, 24, 8, 30), utc(2026, 11, 24, 8, 30)),
        ("2026-10-25 02:30", "Europe/Berlin", utc(2026, 10, 25, 0, 30), utc(2026, 10, 25, 1, 30)),
        (
            "2026-11-24t09:30:01.5z",
            "Europe/Berlin",
            utc(2026, 11, 24, 9, 30, 1, 500000),
            utc(2026, 11, 24, 9, 30, 1, 500000),
        ),
        (
            "2026-11-24 09:30:01,1234567 +0530",
            "UTC",
            utc(2026, 11, 24, 4, 0, 1, 123456),
            utc(2026, 11, 24, 4, 0, 1, 123456),
        ),
        ("2026-11-24T09:30-08", "UTC", utc(2026, 11, 24, 17, 30), utc(2026, 11, 24, 17, 30)),
    ],
)
def test_iso(text: str, zone: str, earliest: datetime, latest: datetime) -> None:
    moment = reader(None, zone)(text)
    assert moment is not None
    assert (moment.earliest, moment.latest) == (earliest, latest)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "10/11/2026",
            "25.12.2026",
            "2026/11/10",
            "20261110",
            "2026-11-31",
            "2026-1-1",
            "2026-11-24T24:00",
            "2026-11",
        ),
        *(
            "2026-11-24T09:30+25:00",
            "46336",
            "",
            "-",
            "2026-11-24 9:30 AM",
            "٢٠٢٦-١١-٢٤",
            "24 Nov 2026",
            "0026-11-24",
            "2026-W48-2",
        ),
    ],
)
def test_nothing_else_is_a_date(text: str) -> None:
    assert reader(None, "UTC")(text) is None


@pytest.mark.parametrize(
    ("declared", "text", "day"),
    [
        ("DD.MM.YYYY", "10.11.2026", utc(2026, 11, 10)),
        ("DD.MM.YYYY", "1.2.2026", utc(2026, 2, 1)),
        ("MM/DD/YYYY", "10/11/2026", utc(2026, 10, 11)),
        ("MM/DD/YYYY", "2026-10-11", utc(2026, 10, 11)),
        ("YYYY/MM/DD", "2026/10/11 08:00", utc(2026, 10, 11, 8)),
        ("DD-MM-YYYY", "11-10-2026T08:00Z", utc(2026, 10, 11, 8)),
    ],
)
def test_one_declared_format(declared: str, text: str, day: datetime) -> None:
    moment = reader(declared, "UTC")(text)
    assert moment is not None
    assert moment.earliest == day


@pytest.mark.parametrize("text", ["13/13/2026", "25/12/2026", "10.11.2026", "10/11/26", "10/11-2026"])
def test_a_declared_format_reads_only_itself(text: str) -> None:
    assert reader("MM/DD/YYYY", "UTC")(text) is None


@pytest.mark.parametrize(
    "pattern", ["", "DD/MM/YY", "DD/DD/YYYY", "DD/MM.YYYY", "YYYY-DD-MM", "%d.%m.%Y", "dd.mm.yyyy"]
)
def test_formats_that_are_none(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"format|looks like ISO"):
        check_format(pattern)


def test_midnight_of_a_system_is_a_day() -> None:
    assert whole_day_if_midnight(utc(2026, 11, 10)).latest == utc(2026, 11, 11) - TICK
    assert whole_day_if_midnight(utc(2026, 11, 10, 0, 0, 1)).latest == utc(2026, 11, 10, 0, 0, 1)


@given(st.text(max_size=30) | st.from_regex(r"[0-9./ -]{6,12}([T ][0-9:]{4,8})?[Zz+0-9:-]*", fullmatch=True))
def test_any_text_is_a_moment_or_none(text: str) -> None:
    for declared in (None, "DD.MM.YYYY", "MM/DD/YYYY"):
        moment = reader(declared, "Australia/Sydney")(text)
        assert moment is None or moment.earliest <= moment.latest


@given(st.datetimes(datetime(1000, 1, 2), datetime(2999, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001
def test_what_is_written_as_iso_comes_back(at: datetime) -> None:
    moment = reader("DD.MM.YYYY", "Europe/Berlin")(at.isoformat())
    assert moment is not None
    assert moment.earliest == moment.latest == at
    day = reader(None, "UTC")(at.date().isoformat())
    assert day is not None
    assert day.earliest <= at <= day.latest
