"""Clocks: the machine's, one that stands still, one that can be moved while it runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from recon import clock
from recon.clock import SetClock, ShiftedClock, SystemClock, from_environment, iso
from recon.errors import SettingsError

AT = datetime(2026, 11, 24, 18, tzinfo=UTC)
EAST = timezone(timedelta(hours=5, minutes=30))


def test_the_machines_clock_is_in_utc_and_goes_on() -> None:
    system = SystemClock()
    first, second = system.now(), system.now()
    assert first.tzinfo is UTC
    assert first <= second


def test_a_set_clock_stands_still_until_it_is_moved() -> None:
    still = SetClock(AT)
    assert still.now() == still.now() == AT
    assert still.advance(timedelta(hours=2)) == still.now() == datetime(2026, 11, 24, 20, tzinfo=UTC)
    still.set(AT - timedelta(days=1))
    assert still.now() == datetime(2026, 11, 23, 18, tzinfo=UTC)


def test_a_set_clock_tells_utc_whatever_zone_it_was_given() -> None:
    still = SetClock(datetime(2026, 11, 24, 23, 30, tzinfo=EAST))
    assert still.now() == AT
    assert still.now().tzinfo is UTC


@pytest.mark.parametrize("moved", [SetClock(AT), ShiftedClock()])
def test_a_moment_without_a_zone_is_refused_and_nothing_moves(moved: SetClock | ShiftedClock) -> None:
    before = moved.now()
    with pytest.raises(ValueError, match="time zone"):
        moved.set(datetime(2026, 11, 24, 18))  # noqa: DTZ001 - the case
    assert before <= moved.now() < before + timedelta(minutes=1)


def test_a_set_clock_needs_a_zone_from_the_start() -> None:
    with pytest.raises(ValueError, match="time zone"):
        SetClock(datetime(2026, 11, 24))  # noqa: DTZ001 - the case


class TestShifted:
    """The machine's clock is held still here: what is tested is the shift, not the machine."""

    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch: pytest.MonkeyPatch) -> SetClock:
        machine = SetClock(AT)

        class Still(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
                assert tz is UTC
                return machine.now()

        monkeypatch.setattr(clock, "datetime", Still)
        return machine

    def test_it_is_the_machines_at_first(self, machine: SetClock) -> None:
        assert ShiftedClock().now() == machine.now()

    def test_it_can_start_shifted(self, machine: SetClock) -> None:
        assert ShiftedClock(timedelta(days=-3)).now() == AT - timedelta(days=3)

    def test_moved_it_goes_on_from_there(self, machine: SetClock) -> None:
        moved = ShiftedClock()
        moved.set(datetime(2027, 1, 1, 5, 30, tzinfo=EAST))
        assert moved.now() == datetime(2027, 1, 1, tzinfo=UTC)
        machine.advance(timedelta(seconds=7))
        assert moved.now() == datetime(2027, 1, 1, 0, 0, 7, tzinfo=UTC)
        assert moved.advance(timedelta(days=1)) == moved.now() == datetime(2027, 1, 2, 0, 0, 7, tzinfo=UTC)
        assert moved.shift == datetime(2027, 1, 2, tzinfo=UTC) - AT


class TestFromEnvironment:
    @pytest.mark.parametrize("environ", [{}, {"RECON_NOW": ""}, {"RECON_NOW": "  "}, {"OTHER": "2026-11-24T18:00:00Z"}])
    def test_unset_or_blank_is_the_machines_clock(self, environ: dict[str, str]) -> None:
        assert isinstance(from_environment(environ), SystemClock)

    @pytest.mark.parametrize(
        "text",
        [
            "2026-11-24T18:00:00Z",
            " 2026-11-24T18:00:00Z\n",
            "2026-11-24T23:30:00+05:30",
            "2026-11-24 18:00:00.000+00:00",
            "20261124T180000Z",
        ],
    )
    def test_a_moment_with_a_zone_sets_it(self, text: str) -> None:
        set_clock = from_environment({"RECON_NOW": text})
        assert isinstance(set_clock, SetClock)
        assert set_clock.now() == AT

    @pytest.mark.parametrize(
        "text",
        [
            "2026-11-24T18:00:00",  # whose 6 pm?
            "2026-11-24",
            "tomorrow",
            "1764000000",
            "2026-13-01T00:00:00Z",
            "0001-01-01T00:00:00+14:00",  # before the first moment there is
            "x" * 10_000,
        ],
    )
    def test_anything_else_is_a_settings_error_that_says_what_to_write(self, text: str) -> None:
        with pytest.raises(SettingsError) as caught:
            from_environment({"RECON_NOW": text})
        assert caught.value.exit_code == 2
        assert "RECON_NOW" in caught.value.message
        assert "2026-11-24T18:00:00Z" in str(caught.value.hint)
        assert len(str(caught.value)) < 300

    def test_the_process_environment_is_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RECON_NOW", "2026-11-24T18:00:00Z")
        assert from_environment().now() == AT
        monkeypatch.delenv("RECON_NOW")
        assert isinstance(from_environment(), SystemClock)


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (AT, "2026-11-24T18:00:00Z"),
        (datetime(2026, 11, 24, 23, 30, 59, 999_999, EAST), "2026-11-24T18:00:59Z"),
        (datetime(2026, 1, 1, 2, tzinfo=EAST), "2025-12-31T20:30:00Z"),
    ],
)
def test_iso_is_utc_in_whole_seconds(at: datetime, text: str) -> None:
    assert iso(at) == text
