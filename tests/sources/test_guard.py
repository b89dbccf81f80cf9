"""The guard window around the nightly run: what meets it, what doesn't, and what clock changes do."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon.errors import StraddlingPull
from recon.settings import SyncSettings
from recon.sources.guard import refuse_straddling, window, window_met

SYNC = SyncSettings.model_validate({})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("started", "finished", "met"),
    [
        # Winter in Los Angeles: 19:00 to 22:00 is 03:00 to 06:00 UTC on the next day.
        ("2026-11-24T18:00", "2026-11-24T18:00", False),
        ("2026-11-25T02:00", "2026-11-25T02:59:59", False),
        ("2026-11-25T02:00", "2026-11-25T03:00", True),  # ends in it
        ("2026-11-25T05:59:59", "2026-11-25T06:30", True),  # starts in it
        ("2026-11-25T04:00", "2026-11-25T05:00", True),
        ("2026-11-25T02:30", "2026-11-25T06:30", True),  # spans the run
        ("2026-11-24T18:00", "2026-11-27T18:00", True),  # and three of them
        ("2026-11-25T06:00", "2026-11-26T02:59", False),  # all that lies between two windows
        # Summer: an hour earlier.
        ("2026-07-25T01:59:59", "2026-07-25T01:59:59", False),
        ("2026-07-25T02:00", "2026-07-25T02:00", True),
        ("2026-07-25T04:59:59", "2026-07-25T04:59:59", True),
        ("2026-07-25T05:00", "2026-07-25T05:00", False),
        # The two days on which clocks are changed, both sides of the change.
        ("2026-11-01T02:30", "2026-11-01T02:30", True),  # 31 October, 19:30 summer time
        ("2026-11-02T02:30", "2026-11-02T02:30", False),  # 1 November, 18:30 winter time
        ("2026-11-02T03:30", "2026-11-02T03:30", True),
        ("2026-03-08T03:30", "2026-03-08T03:30", True),  # 7 March, 19:30 winter time
        ("2026-03-09T05:30", "2026-03-09T05:30", False),  # 8 March, 22:30 summer time
    ],
)
def test_a_pull_and_the_window(started: str, finished: str, met: bool) -> None:
    assert (window_met(at(started), at(finished), SYNC) is not None) is met
    off = SyncSettings.model_validate({"enabled": False})
    assert window_met(at(started), at(finished), off) is None


def test_the_zone_of_the_moments_does_not_matter() -> None:
    tokyo = timezone(timedelta(hours=9))
    moment = at("2026-11-25T04:00").astimezone(tokyo)
    assert window_met(moment, moment, SYNC) == (at("2026-11-25T03:00"), at("2026-11-25T06:00"))


def test_a_window_in_which_clocks_are_changed_is_the_longer_one() -> None:
    early = SyncSettings.model_validate({"guard_start": "01:00", "run_at": "02:00", "guard_end": "03:00"})
    # Clocks go back at 2: from 1:00 summer time to 3:00 winter time are three hours.
    assert window(date(2026, 11, 1), early) == (at("2026-11-01T08:00"), at("2026-11-01T11:00"))
    for moment in ("2026-11-01T08:30", "2026-11-01T09:30", "2026-11-01T10:30"):
        assert window_met(at(moment), at(moment), early)
    # They go forward at 2: 2:30 is never on the clock.
    spring = SyncSettings.model_validate({"guard_start": "02:30", "run_at": "02:30", "guard_end": "03:00"})
    opens, closes = window(date(2026, 3, 8), spring)
    assert opens < closes


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu"])
def test_far_zones_have_a_window_each_day(zone: str) -> None:
    sync = SyncSettings.model_validate({"time_zone": zone})
    hours = [at("2026-11-25T00:00") + timedelta(hours=n) for n in range(24)]
    assert sum(window_met(hour, hour, sync) is not None for hour in hours) == 3


def test_the_refusal_says_when_to_pull_again_and_that_moment_is_free() -> None:
    with pytest.raises(StraddlingPull) as caught:
        refuse_straddling(at("2026-11-25T02:30"), at("2026-11-25T04:00"), SYNC)
    text = str(caught.value)
    assert "from 2026-11-25T02:30:00Z to 2026-11-25T04:00:00Z" in text
    assert "19:00 to 22:00 America/Los_Angeles" in text
    assert "Pull again from 2026-11-25T06:00:00Z on (2026-11-24 22:00 there)" in text
    refuse_straddling(at("2026-11-25T06:00"), at("2026-11-25T06:00"), SYNC)


def test_moments_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        window_met(datetime(2026, 11, 25), at("2026-11-25T04:00"), SYNC)  # noqa: DTZ001 - what is refused
    with pytest.raises(ValueError, match="before it starts"):
        window_met(at("2026-11-25T04:01"), at("2026-11-25T04:00"), SYNC)


MOMENTS = st.datetimes(datetime(2025, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive


@given(MOMENTS, st.timedeltas(timedelta(0), timedelta(hours=30)))
def test_a_span_meets_a_window_if_one_of_its_minutes_does(started: datetime, length: timedelta) -> None:
    finished = started + length
    minutes = [started + timedelta(minutes=n) for n in range(0, int(length.total_seconds() // 60) + 1, 20)]
    expected = any(window_met(minute, minute, SYNC) for minute in (*minutes, finished))
    assert (window_met(started, finished, SYNC) is not None) is expected
