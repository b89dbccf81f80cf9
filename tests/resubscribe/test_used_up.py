"""Which approved rows are used up, and what the evidence says about where an opt-out came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

from recon import settings
from recon.evidence import open_ledger
from recon.ledger import kinds
from recon.resubscribe.apply import apply
from recon.resubscribe.evidence import applied_digests
from recon.resubscribe.undo import undo
from recon.sandbox import sales_connect
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
