"""This machine's clock is wrong: what the systems' own clocks say decides which unsubscribe is newer than a resubscribe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from recon import engine
from recon.clock import SetClock
from recon.ledger import Entry
from recon.nightly import next_run
from recon.resubscribe import jobs as flow
from recon.resubscribe.answered import _covers
from recon.resubscribe.apply import apply
from recon.resubscribe.standing import _Clocks
from recon.resubscribe.verify import verify
from recon.sandbox import sales_connect
from recon.sandbox.box import Sandbox
from recon.sandbox.salesforce import records
from recon.sandbox.served import write_settings
from recon.settings import SyncSettings
from recon.sources.http import told_time
from tests.resubscribe.rig import ADMIN, POLICY, START, Rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLAG = "HasOptedOutOfEmail"


class Skewed(Rig):
    """A rig whose own clock is ahead of the systems'."""

    ahead: timedelta

    def to(self, at: datetime) -> None:
        """Go on to a moment of the systems' clock."""
        assert isinstance(self.sandbox.clock, SetClock)
        self.sandbox.clock.set(at)
        self.clock.set(at + self.ahead)

    def on(self, **by: float) -> None:
        self.to(self.sandbox.clock.now() + timedelta(**by))

    def morning_after(self) -> None:
        self.to(next_run(self.sandbox.clock.now(), SyncSettings()))
        self.sandbox.nightly()
        self.on(hours=14)


@pytest.fixture(params=[25, 0, -25], ids=["ahead", "right", "behind"])
def rig(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Skewed]:
    monkeypatch.setattr(flow, "_engine", lambda _loaded: engine.Polars())
    sandbox = Sandbox(clock=SetClock(START))
    write_settings(tmp_path, sandbox.settings(), None)
    with (tmp_path / "recon.toml").open("a", encoding="utf-8") as stream:
        stream.write(POLICY)
    made = Skewed(tmp_path, SetClock(START), sandbox)
    made.ahead = timedelta(minutes=request.param)
    made.to(START)
    yield made
    sandbox.close()


def test_which_unsubscribe_is_newer_is_told_by_the_system_s_own_clock(rig: Skewed) -> None:
    store = rig.sandbox.store
    clicker, clicked_record = rig.pair("ada@buyer.example")
    stayer, stayed_record = rig.pair("bob@buyer.example")
    linked, record = rig.pair("cyd@buyer.example", sobject="Lead")
    # Opted out in Salesforce alone: Sales Connect is asked nothing about that person, and is told by the clock of the others.
    sales_connect.remove_unsubscribe(store, linked, reason="wrong person", admin=ADMIN)
    records.update_record(store, "Lead", record, {FLAG: True})
    rig.on(days=3)
    for name in ("ada", "bob", "cyd"):
        rig.approve(f"{name}@buyer.example")
    rig.pull()
    planned = rig.plan()
    rig.on(minutes=1)
    applied_at = rig.sandbox.clock.now()
    done = apply(rig.folder, planned.path, actor=ADMIN, clock=rig.clock, environ=rig.sandbox.environment())
    assert done.complete, done.lines()
    # An unsubscribe of ten minutes before comes to light again, as if it had never been taken away; two click ten minutes after.
    rig.sandbox.clock.set(applied_at - timedelta(minutes=10))  # type: ignore[attr-defined]
    sales_connect.unsubscribe(store, stayer, source="clicked_link")
    rig.to(applied_at + timedelta(minutes=10))
    sales_connect.unsubscribe(store, clicker, source="clicked_link")
    sales_connect.unsubscribe(store, linked, source="clicked_link")
    rig.morning_after()
    rig.pull()
    verified = verify(rig.folder, clock=rig.clock, environ=rig.sandbox.environment())
    found = {row.key: row.state for row in verified.rows}
    assert found == {
        f"sales_connect:{clicker}": "unsubscribed_anew",
        f"salesforce:{clicked_record}": "unsubscribed_anew",
        f"salesforce:{record}": "unsubscribed_anew",
        f"sales_connect:{stayer}": "reverted",
        f"salesforce:{stayed_record}": "reverted",
    }


def test_an_edit_of_just_now_is_told_whatever_this_machine_s_clock_says(rig: Skewed) -> None:
    _, record = rig.pair("ada@buyer.example")
    rig.on(days=3)
    rig.approve("ada@buyer.example")
    rig.pull()
    planned = rig.plan()
    rig.on(minutes=1)
    assert apply(rig.folder, planned.path, actor=ADMIN, clock=rig.clock, environ=rig.sandbox.environment()).complete
    rig.on(minutes=5)
    records.update_record(rig.sandbox.store, "Contact", record, {FLAG: True})
    verified = verify(rig.folder, clock=rig.clock, environ=rig.sandbox.environment())
    assert {row.key: row.state for row in verified.rows}[f"salesforce:{record}"] == "reverted"


def intent(seq: int, at: datetime, system: str, system_at: datetime | None = None) -> Entry:
    made = Entry.__new__(Entry)
    data = {"system": system} | ({} if system_at is None else {"system_at": f"{system_at:%Y-%m-%dT%H:%M:%SZ}"})
    for name, value in {"seq": seq, "at": f"{at:%Y-%m-%dT%H:%M:%SZ}", "data": data}.items():
        object.__setattr__(made, name, value)
    return made


def test_whose_clock_is_taken_where_sales_connect_does_not_tell() -> None:
    now, ahead, slack = datetime(2026, 11, 5, 18, tzinfo=UTC), timedelta(minutes=7), timedelta(seconds=2)
    clocks = _Clocks()
    silent = intent(1, now, "sales_connect")
    clocks.note(silent)
    assert clocks.since(silent) is None
    told = intent(2, now, "salesforce", now - ahead)
    clocks.note(told)
    assert clocks.since(told) == clocks.since(silent) == now - ahead - slack
    own = intent(3, now, "sales_connect", now + ahead)
    clocks.note(own)
    assert clocks.since(own) == now + ahead
    after = intent(4, now, "salesforce", now - ahead)
    clocks.note(after)
    assert clocks.since(after) == now + ahead - slack
    assert clocks.since(told) == now - ahead - slack


@pytest.mark.parametrize(("minutes", "covered"), [(30, False), (90, True), (-30, False)])
def test_a_lead_that_was_changed_near_a_verdict_may_have_been_changed_after_it(minutes: int, covered: bool) -> None:
    at = datetime(2026, 11, 5, 18, tzinfo=UTC)
    row = {"opted_out_at": None, "modified_at": at - timedelta(minutes=minutes)}
    assert _covers(intent(1, at, "salesforce"), row) is covered


@pytest.mark.parametrize(
    ("date", "told"),
    [
        ("Thu, 05 Nov 2026 18:00:00 GMT", datetime(2026, 11, 5, 18, tzinfo=UTC)),
        ("Thu, 05 Nov 2026 18:00:00 -0000", datetime(2026, 11, 5, 18, tzinfo=UTC)),
        ("Thu, 05 Nov 2026 20:00:00 +0200", datetime(2026, 11, 5, 18, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_a_date_that_is_none_tells_nothing(date: str | None, told: datetime | None) -> None:
    assert told_time({} if date is None else {"Date": date}) == told
