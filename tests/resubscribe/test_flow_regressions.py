"""What `test_state_machine` found, each as the short story that it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from recon.ledger import Ledger, kinds
from recon.resubscribe.apply import apply
from recon.sandbox import sales_connect
from recon.sandbox.salesforce import records
from tests.resubscribe.rig import ADMIN, Rig, new_rig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from recon.ledger import Draft, Entry
    from recon.resubscribe.jobs import PlanResult
    from recon.resubscribe.outcomes import Applied
    from recon.sandbox.sales_connect import Level


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = new_rig(tmp_path)
    yield made
    made.sandbox.close()


def applied(rig: Rig, planned: PlanResult) -> Applied:
    environ: dict[str, Any] = rig.sandbox.environment()
    return apply(rig.folder, planned.path, actor=ADMIN, clock=rig.clock, environ=environ, sleep=lambda _: None)


def said(result: Applied) -> list[tuple[str, str | None]]:
    return [(each.outcome, each.code) for each in result.outcomes]


def test_one_users_unsubscribe_stays_and_keeps_nothing_else_back(rig: Rig) -> None:
    """It was planned to be cleared, met at apply, and held the whole person back for ever."""
    person, record = rig.pair("ada@buyer.example")
    other = sales_connect.add_person(rig.sandbox.store, email="ada@buyer.example")
    sales_connect.unsubscribe(rig.sandbox.store, other, level="user", user_name="Sam Seller")
    rig.days(1)
    rig.pull()
    rig.approve("ada@buyer.example")
    planned = rig.plan()
    (verdict,) = planned.check.checked.verdicts.to_pylist()
    assert (verdict["verdict"], verdict["records"]) == ("accepted", 2)
    assert (
        f"Stays unsubscribed from a single user, who alone can remove that: sales_connect:{other}."
        in verdict["message"]
    )
    assert {step.key for step in planned.plan.steps} == {f"sales_connect:{person}", f"salesforce:{record}"}
    assert said(applied(rig, planned)) == [("done", None)] * 2
    rig.night()
    assert not rig.flag(f"salesforce:{record}")
    assert not rig.flag(f"sales_connect:{person}")
    assert rig.flag(f"sales_connect:{other}")


@pytest.mark.parametrize("level", ["account", "user"])
def test_a_click_of_somebody_whom_a_single_user_had_unsubscribed_stops_the_plan(rig: Rig, level: Level) -> None:
    """Of a person's records those that no step is about were looked at where they weren't opted out, but not where only a single user had done it."""
    person, record = rig.pair("ada@buyer.example")
    other = sales_connect.add_person(rig.sandbox.store, email="ada@buyer.example")
    sales_connect.unsubscribe(rig.sandbox.store, other, level="user", user_name="Sam Seller")
    rig.days(1)
    rig.pull()
    rig.approve("ada@buyer.example")
    planned = rig.plan()
    rig.days(0.01)
    sales_connect.unsubscribe(rig.sandbox.store, other, level=level, source="clicked_link", user_name="Kim Seller")
    assert said(applied(rig, planned)) == [("stale", "newer_opt_out")] * 2
    assert rig.flag(f"salesforce:{record}")
    assert rig.flag(f"sales_connect:{person}")


def test_a_click_in_sales_connect_stops_a_plan_that_is_about_salesforce_alone(rig: Rig) -> None:
    """Sales Connect was not looked at where no step was about it."""
    person, record = rig.pair("ada@buyer.example", out=False)
    store = rig.sandbox.store
    records.update_record(store, "Contact", record, {"HasOptedOutOfEmail": True})
    rig.days(1)
    rig.pull()
    rig.approve("ada@buyer.example")
    planned = rig.plan()
    assert [step.key for step in planned.plan.steps] == [f"salesforce:{record}"]
    store.configure(push_enabled="false")
    rig.days(0.01)
    sales_connect.unsubscribe(store, person, source="clicked_link")
    assert said(applied(rig, planned)) == [("stale", "newer_opt_out")]
    assert rig.flag(f"salesforce:{record}")


def test_a_tick_in_salesforce_stops_a_plan_that_is_about_sales_connect_alone(rig: Rig) -> None:
    """The same the other way round."""
    store = rig.sandbox.store
    store.configure(push_enabled="false")
    person, record = rig.pair("ada@buyer.example")
    rig.days(1)
    rig.pull()
    rig.approve("ada@buyer.example")
    planned = rig.plan()
    assert [step.key for step in planned.plan.steps] == [f"sales_connect:{person}"]
    rig.days(0.01)
    records.update_record(store, "Contact", record, {"HasOptedOutOfEmail": True})
    assert said(applied(rig, planned)) == [("stale", "newer_opt_out")]
    assert rig.flag(f"sales_connect:{person}")


def test_one_users_unsubscribe_is_not_taken_for_the_accounts(rig: Rig) -> None:
    """Both stand, so the account's hides the user's: it is not met as a new one, and does not do for the account's when that is put back."""
    person, record = rig.pair("ada@buyer.example")
    store = rig.sandbox.store
    other = sales_connect.add_person(store, email="ada@buyer.example")
    sales_connect.unsubscribe(store, other)
    first, second = sorted((person, other))
    sales_connect.unsubscribe(store, first, level="user", user_name="Sam Seller")
    rig.days(1)
    rig.pull()
    rig.approve("ada@buyer.example")
    planned = rig.plan()
    assert [step.id for step in planned.plan.steps] == [record, first, second]
    with pytest.MonkeyPatch.context() as patch:
        after_outcomes(patch, 2, _stop)
        with pytest.raises(KeyboardInterrupt):
            applied(rig, planned)
    assert not account_unsubscribed(rig, first)
    # The user's own was there before: nothing is put back for it, and the rest is done.
    assert said(applied(rig, planned)) == [("skipped_done", None), ("skipped_done", None), ("done", None)]

    sales_connect.unsubscribe(store, first)
    sales_connect.unsubscribe(store, second)
    rig.days(1)
    rig.pull()
    rig.rows.clear()
    rig.approve("ada@buyer.example")
    planned = rig.plan()
    assert [step.id for step in planned.plan.steps] == [record, first, second]

    def click() -> None:
        rig.days(0.01)
        sales_connect.unsubscribe(store, second, source="clicked_link")

    with pytest.MonkeyPatch.context() as patch:
        after_outcomes(patch, 2, click)
        assert said(applied(rig, planned)) == [("stale", "newer_opt_out")] * 3
    assert account_unsubscribed(rig, first)
    assert account_unsubscribed(rig, second)


def account_unsubscribed(rig: Rig, person: str) -> bool:
    with rig.sandbox.store.transaction() as db:
        sql = "SELECT 1 FROM unsubscribe WHERE person_id = ? AND level = 'account'"
        return db.execute(sql, (person,)).fetchone() is not None


def _stop() -> None:
    raise KeyboardInterrupt


def after_outcomes(patch: pytest.MonkeyPatch, number: int, action: Callable[[], None]) -> None:
    """Let something happen once so many writes are done and in the ledger."""
    real, seen = Ledger.append_all, 0

    def append_all(ledger: Ledger, drafts: Iterable[Draft]) -> list[Entry]:
        nonlocal seen
        made = real(ledger, drafts)
        if (made[0].kind, made[0].data.get("result")) == (kinds.OUTCOME, "done"):
            seen += 1
            if seen == number:
                action()
        return made

    patch.setattr(Ledger, "append_all", append_all)


def test_an_opt_out_that_cannot_be_put_back_is_not_said_to_be(rig: Rig) -> None:
    """The Lead was cleared and converted, and then the person clicked, all before Sales Connect's turn."""
    person, record = rig.pair("ada@buyer.example", sobject="Lead")
    rig.days(1)
    rig.pull()
    rig.approve("ada@buyer.example")
    planned = rig.plan()
    store = rig.sandbox.store

    def convert_and_click() -> None:
        rig.days(0.01)
        records.convert_lead(store, record)
        sales_connect.unsubscribe(store, person, source="clicked_link")

    with pytest.MonkeyPatch.context() as patch:
        after_outcomes(patch, 1, convert_and_click)
        result = applied(rig, planned)
    assert said(result) == [("failed", "converted"), ("stale", "newer_opt_out")]
    assert "can't be put back" in result.outcomes[0].message
    assert rig.flag(f"sales_connect:{person}")
