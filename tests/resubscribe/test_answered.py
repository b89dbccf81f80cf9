"""After a resubscribe: the opt-out of a converted Lead, which nobody can take back, is no reason to opt the person out again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from recon import explore, jobs, settings, snapshot
from recon.ledger.schema import FILE
from recon.resubscribe.answered import answered_leads
from recon.resubscribe.apply import apply
from recon.resubscribe.undo import undo
from recon.sandbox import sales_connect
from recon.sandbox.salesforce import records
from tests.resubscribe.rig import ADMIN, Rig, new_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from recon.resubscribe.jobs import PlanResult


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = new_rig(tmp_path)
    yield made
    made.sandbox.close()


def converted(rig: Rig) -> tuple[str, str, str]:
    """A person whose Lead was opted out and converted; Sales Connect keeps the Lead's id, and the Contact has the same address."""
    person, lead = rig.pair("ada@buyer.example", sobject="Lead")
    rig.days(1)
    contact = records.insert_contact(rig.sandbox.store, LastName="Lovelace", Email="ada@buyer.example")
    records.convert_lead(rig.sandbox.store, lead, contact)
    records.update_record(rig.sandbox.store, "Contact", contact, {"HasOptedOutOfEmail": True})
    rig.days(1)
    return person, lead, contact


def resubscribed(rig: Rig) -> PlanResult:
    rig.pull()
    rig.rows.clear()
    rig.approve("ada@buyer.example")
    planned = rig.plan()
    carry_out(rig, planned.path)
    return planned


def carry_out(rig: Rig, path: Path) -> None:
    environ = rig.sandbox.environment()
    assert apply(rig.folder, path, actor=ADMIN, clock=rig.clock, environ=environ, sleep=lambda _: None).complete


def answered(rig: Rig) -> list[str]:
    loaded = settings.load(rig.folder)
    table = pq.read_table(snapshot.newest(loaded.run.snapshots).records)
    return answered_leads(loaded, table, rig.clock)


def actions(rig: Rig, engine: str = "duckdb", **options: Any) -> dict[str, tuple[str, str, bool, str]]:
    """By `system:id`: category, fix, has it a due date, and the sentence."""
    rig.days(0.01)
    found = jobs.reconcile(rig.folder, engine=engine, clock=rig.clock, **options).actions()
    return {
        f"{row['system']}:{row['id']}": (
            row["category"],
            row["fix"],
            isinstance(row["due_by"], str),
            row["explanation"],
        )
        for row in found.to_dict("records")
    }


def asked_for_them(rig: Rig, found: dict[str, tuple[str, str, bool, str]]) -> None:
    """Who asks why hears what actions.csv says."""
    (person,) = explore.why(rig.folder, "ada@buyer.example", clock=rig.clock).persons
    told = {record.uid: (record.category, record.fix) for record in person.records if record.category}
    assert told == {uid: (category, fix) for uid, (category, fix, *_) in found.items()}
    for record in person.records:
        assert record.explanation is None or record.explanation == found[record.uid][3]


def test_who_asks_is_told_that_the_ledger_can_not_be_read(rig: Rig) -> None:
    converted(rig)
    resubscribed(rig)
    (settings.load(rig.folder).run.ledger / FILE).write_bytes(b"no database")
    why = explore.why(rig.folder, "ada@buyer.example", clock=rig.clock)
    assert why.person is not None
    assert "The ledger could not be read" in str(why)


def test_the_toolkit_does_not_propose_to_opt_out_whom_it_resubscribed(rig: Rig) -> None:
    person, lead, contact = converted(rig)
    planned = resubscribed(rig)
    assert {step.key for step in planned.plan.steps} == {f"sales_connect:{person}", f"salesforce:{contact}"}
    rig.night()
    rig.pull()
    assert answered(rig) == [lead]
    found = actions(rig)
    assert actions(rig, "pandas") == found
    asked_for_them(rig, found)
    assert found.keys() == {f"sales_connect:{person}", f"salesforce:{contact}"}
    # The link leads to a Lead that is no more: that is the admin's, as ever.
    assert found[f"sales_connect:{person}"][:3] == ("stale_link", "admin", False)
    assert found[f"salesforce:{contact}"][:3] == ("lost_on_conversion", "nobody", False)
    for *_, sentence in found.values():
        assert sentence.endswith("don't opt the person out again.")
    rig.rows.clear()
    rig.approve("nobody@buyer.example")
    assert rig.plan(with_opt_outs=True, run_id="opt-outs").plan.steps == ()


def test_a_new_opt_out_is_proposed_as_ever(rig: Rig) -> None:
    person, lead, contact = converted(rig)
    resubscribed(rig)
    rig.days(1)
    sales_connect.unsubscribe(rig.sandbox.store, person, source="clicked_link")
    rig.pull()
    assert answered(rig) == [lead]
    assert actions(rig)[f"salesforce:{contact}"][:3] == ("lost_on_conversion", "toolkit", True)


def test_a_newer_tick_on_the_lead_counts(rig: Rig) -> None:
    """Somebody with the right to edit converted Leads took the opt-out away and set it again."""
    _, lead, contact = converted(rig)
    resubscribed(rig)
    rig.days(1)
    store = rig.sandbox.store
    with store.transaction() as db:
        db.execute("UPDATE lead SET IsConverted = 0 WHERE Id = ?", (lead,))
    for value in (False, True):
        records.update_record(store, "Lead", lead, {"HasOptedOutOfEmail": value})
        rig.days(0.01)
    with store.transaction() as db:
        db.execute("UPDATE lead SET IsConverted = 1 WHERE Id = ?", (lead,))
    rig.pull()
    assert answered(rig) == []
    assert actions(rig)[f"salesforce:{contact}"][:3] == ("lost_on_conversion", "toolkit", True)


def test_what_was_undone_is_answered_no_more(rig: Rig) -> None:
    converted(rig)
    planned = resubscribed(rig)
    rig.days(0.1)
    carry_out(rig, undo(rig.folder, planned.folder.name, clock=rig.clock, environ={}).path)
    assert answered(rig) == []


def test_one_users_unsubscribe_is_left_to_the_admin(rig: Rig) -> None:
    person, lead, contact = converted(rig)
    other = sales_connect.add_person(rig.sandbox.store, email="ada@buyer.example")
    sales_connect.unsubscribe(rig.sandbox.store, other, level="user", user_name="Sam Seller")
    rig.days(1)
    resubscribed(rig)
    rig.days(1)
    rig.pull()
    assert answered(rig) == [lead]
    found = actions(rig)
    assert found[f"salesforce:{contact}"][:3] == ("lost_on_conversion", "admin", False)
    assert found[f"sales_connect:{person}"][1] == "admin"


def test_without_a_ledger_nothing_is_answered(rig: Rig) -> None:
    _, _, contact = converted(rig)
    records.update_record(rig.sandbox.store, "Contact", contact, {"HasOptedOutOfEmail": False})
    rig.pull()
    assert answered(rig) == []
    assert not (rig.folder / "ledger").exists()
    assert actions(rig)[f"salesforce:{contact}"][:2] == ("lost_on_conversion", "toolkit")
