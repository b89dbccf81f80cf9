"""When the next nightly run is, and until when an opt-out has to be effective."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon.diff import due_dates
from recon.nightly import next_run
from recon.settings import ActionSettings, SyncSettings

SYNC = SyncSettings()
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive


@given(MOMENTS)
def test_the_next_run_is_the_first_one_after(now: datetime) -> None:
    run = next_run(now, SYNC)
    assert now < run <= now + timedelta(hours=25)
    local = run.astimezone(ZoneInfo("America/Los_Angeles"))
    assert (local.hour, local.minute) == (20, 0)
    assert next_run(run, SYNC) > run


@pytest.mark.parametrize(
    ("now", "run"),
    [
        ("2026-11-24T18:00:00+00:00", "2026-11-25T04:00:00+00:00"),
        ("2026-11-25T04:00:00+00:00", "2026-11-26T04:00:00+00:00"),
        ("2026-03-07T12:00:00+00:00", "2026-03-08T04:00:00+00:00"),
        ("2026-03-08T12:00:00+00:00", "2026-03-09T03:00:00+00:00"),
        ("2026-11-01T12:00:00+00:00", "2026-11-02T04:00:00+00:00"),
    ],
)
def test_the_next_run_over_changes_of_the_clocks(now: str, run: str) -> None:
    assert next_run(datetime.fromisoformat(now), SYNC) == datetime.fromisoformat(run)


@given(
    st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    st.integers(0, 30),
    st.lists(st.dates(date(2020, 1, 1), date(2030, 1, 1)), max_size=5),
)
def test_due_dates_by_counting(day: date, limit: int, holidays: list[date]) -> None:
    def is_business(each: date) -> bool:
        return each.weekday() < 5 and each not in holidays

    wanted, left = day, limit
    while left:
        wanted += timedelta(days=1)
        left -= is_business(wanted)
    if not limit:
        while not is_business(wanted):
            wanted += timedelta(days=1)
    limits = ActionSettings(limit_business_days=limit, holidays=holidays)
    assert due_dates([day.isoformat()], limits).to_pylist() == [wanted]
