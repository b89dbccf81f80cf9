"""Which approved rows are used up, and what the evidence says about where an opt-out came from."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import pytest

from recon import settings
from recon.evidence import open_ledger
from recon.ledger import kinds
from recon.resubscribe.apply import apply
from recon.resubscribe.evidence import applied_digests
from recon.resubscribe.undo import undo
from recon.sandbox import sales_connect
from recon.sandbox.faults import Fault
from recon.sandbox.salesforce import records
from tests.resubscribe.rig import ADMIN, Rig, new_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CORRECTION = {"kind": "correction", "authorization": "", "consent_date": "", "purpose": "", "initiated_by": ""}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = new_rig(tmp_path)
    yield made
    made.sandbox.close()


def carry_out(rig: Rig, path: Path) -> None:
    environ = rig.sandbox.environment()
    assert apply(rig.folder, path, actor=ADMIN, clock=rig.clock, environ=environ, sleep=lambda _: None).complete


def codes(rig: Rig) -> list[tuple[str, str | None]]:
    return [(row["verdict"], row["codes"]) for row in rig.check().checked.verdicts.to_pylist()]


def digests(rig: Rig) -> int:
    with open_ledger(settings.load(rig.folder), rig.clock) as ledger:
        return len(applied_digests(ledger))


def verdict(rig: Rig) -> dict[str, Any]:
    """The last verdict's entry."""
    with open_ledger(settings.load(rig.folder), rig.clock) as ledger:
        return [entry.data for entry in ledger.entries(kinds.VERDICT)][-1]


def test_what_an_undo_took_back_may_be_handed_in_again(rig: Rig) -> None:
    person, record = rig.pair("ada@buyer.example")
    rig.days(1)
    rig.pull()
    rig.approve("ada@buyer.example")
    planned = rig.plan(run_id="first")
    carry_out(rig, planned.path)
    assert codes(rig) == [("no_op", "already_applied")]
    rig.days(0.1)
    back = undo(rig.folder, "first", clock=rig.clock, environ={})
    assert digests(rig) == 1, "a plan has changed nothing yet"
    carry_out(rig, back.path)
    assert rig.flag(f"sales_connect:{person}")
    assert rig.flag(f"salesforce:{record}")
    assert digests(rig) == 0
    # Held against the opt-outs as they were, it would do; those that were put back are opt-outs like any others, and newer.
    assert codes(rig) == [("accepted", None)]
    rig.pull()
    assert codes(rig) == [("rejected", "consent_before_opt_out")]
    # Should the undo have been the mistake, that is what a correction says.
    rig.days(0.1)
    rig.rows.clear()
    rig.approve("ada@buyer.example", **CORRECTION, note="The run was taken back by mistake.")
    assert codes(rig) == [("accepted", None)]
    carry_out(rig, rig.plan(run_id="second").path)
    assert not rig.flag(f"sales_connect:{person}")
    assert codes(rig)[0][1] == "already_applied"


def test_what_an_undo_took_back_in_part_stays_used_up(rig: Rig) -> None:
    _, record = rig.pair("ada@buyer.example")
    rig.days(1)
    rig.pull()
    rig.approve("ada@buyer.example")
    carry_out(rig, rig.plan(run_id="first").path)
    rig.days(0.1)
    # Somebody else opts the record out again, so the undo has nothing to put back there.
    records.update_record(rig.sandbox.store, "Contact", record, {"HasOptedOutOfEmail": True})
    back = undo(rig.folder, "first", clock=rig.clock, environ={})
    environ = rig.sandbox.environment()
    done = apply(rig.folder, back.path, actor=ADMIN, clock=rig.clock, environ=environ, sleep=lambda _: None)
    assert [(each.outcome, each.code) for each in done.outcomes] == [("skipped_done", "already_so"), ("done", None)]
    assert digests(rig) == 1


@pytest.mark.parametrize("source", ["clicked_link", "manual"])
def test_of_one_second_sales_connect_is_the_source(rig: Rig, source: Literal["clicked_link", "manual"]) -> None:
    """A click is pushed to Salesforce at once; the record's history says so in the same second."""
    person, _ = rig.pair("ada@buyer.example", out=False)
    sales_connect.unsubscribe(rig.sandbox.store, person, source=source)
    rig.days(1)
    rig.pull()
    rig.approve("ada@buyer.example")
    rig.plan()
    assert verdict(rig)["opt_out_source"] == source


def test_what_the_sync_brought_came_from_salesforce(rig: Rig) -> None:
    person, record = rig.pair("ada@buyer.example", out=False)
    store = rig.sandbox.store
    records.update_record(store, "Contact", record, {"HasOptedOutOfEmail": True})
    sales_connect.unsubscribe(store, person, source="salesforce_sync")
    rig.days(1)
    rig.pull()
    rig.approve("ada@buyer.example")
    rig.plan()
    assert verdict(rig)["opt_out_source"] == "salesforce"


def test_what_a_rule_of_the_org_stopped_may_be_planned_again(rig: Rig) -> None:
    """A part of the row was done; that part and the rest are one person's, and the consent is as good as it was."""
    person, record = rig.pair("ada@buyer.example")
    rig.days(1)
    rig.pull()
    rig.approve("ada@buyer.example")
    second = records.insert_contact(rig.sandbox.store, LastName="Byron", Email="ada@buyer.example")
    records.update_record(rig.sandbox.store, "Contact", second, {"HasOptedOutOfEmail": True})
    rig.rows[0] |= {"consent_date": "2026-11-03T19:00:00Z", "approved_at": "2026-11-03T19:30:00Z"}
    rig.clock.advance(timedelta(hours=2))
    rig.pull()
    planned = rig.plan(run_id="first")
    rule = {"kind": "row", "code": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "path": f"Contact/{second}"}
    rig.sandbox.faults.add(Fault.model_validate(rule | {"times": "always"}))
    environ = rig.sandbox.environment()
    done = apply(rig.folder, planned.path, actor=ADMIN, clock=rig.clock, environ=environ, sleep=lambda _: None)
    assert [(each.outcome, each.code) for each in done.outcomes] == [
        ("done", None),
        ("failed", "FIELD_CUSTOM_VALIDATION_EXCEPTION"),
        ("unprocessed", "person_failed"),
    ]
    assert digests(rig) == 0
    rig.sandbox.faults.clear()
    rig.clock.advance(timedelta(minutes=5))
    rig.pull()
    assert codes(rig) == [("accepted", None)]
    carry_out(rig, rig.plan(run_id="second").path)
    assert not any(rig.flag(uid) for uid in (f"sales_connect:{person}", f"salesforce:{record}", f"salesforce:{second}"))
    assert digests(rig) == 1


def test_whoever_opted_out_anew_has_used_the_row_up(rig: Rig) -> None:
    person, record = rig.pair("ada@buyer.example")
    rig.days(1)
    rig.pull()
    rig.approve("ada@buyer.example")
    planned = rig.plan(run_id="first")
    rig.sandbox.faults.add(
        Fault(kind="clock", seconds=60, method="PATCH"),
        Fault(kind="change", change="unsubscribe", record=person, method="PATCH"),
    )
    environ = rig.sandbox.environment()
    done = apply(rig.folder, planned.path, actor=ADMIN, clock=rig.clock, environ=environ, sleep=lambda _: None)
    assert {each.code for each in done.outcomes} == {"newer_opt_out"}
    assert rig.flag(f"salesforce:{record}")
    assert rig.flag(f"sales_connect:{person}")
    assert digests(rig) == 1
