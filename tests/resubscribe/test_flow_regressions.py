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
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from recon.ledger import Draft, Entry
    from recon.resubscribe.jobs import PlanResult
    from recon.resubscribe.outcomes import Applied


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


def test_an_opt_out_that_cannot_be_put_back_is_not_said_to_be(rig: Rig) -> None:
    """The Lead was cleared and converted, and then the person clicked, all before Sales Connect's turn."""
    person, record = rig.pair("ada@buyer.example", sobject="Lead")
    rig.days(1)
    rig.pull()
    rig.approve("ada@buyer.example")
    planned = rig.plan()
    store, real = rig.sandbox.store, Ledger.append_all

    def append_all(ledger: Ledger, drafts: Iterable[Draft]) -> list[Entry]:
        made = real(ledger, drafts)
        if (made[0].kind, made[0].data.get("result")) == (kinds.OUTCOME, "done") and not happened:
            happened.append(True)
            rig.days(0.01)
            records.convert_lead(store, record)
            sales_connect.unsubscribe(store, person, source="clicked_link")
        return made

    happened: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "append_all", append_all)
        result = applied(rig, planned)
    assert said(result) == [("failed", "converted"), ("stale", "newer_opt_out")]
    assert "can't be put back" in result.outcomes[0].message
    assert rig.flag(f"sales_connect:{person}")
