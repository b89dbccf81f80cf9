"""What Salesforce doesn't document about person accounts, either way: does the Contact take a write, and where does field history stand?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from recon import engine, settings, snapshot
from recon.resubscribe import jobs as flow
from recon.resubscribe.apply import apply
from recon.resubscribe.verify import verify
from recon.sandbox import sales_connect
from recon.sandbox.salesforce import records
from tests.resubscribe.rig import ADMIN, POLICY, Rig, new_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from recon.resubscribe.jobs import PlanResult
    from recon.resubscribe.outcomes import Applied

FLAG = "HasOptedOutOfEmail"
LENIENT = POLICY + 'unknown_opt_out_date = "accept"\n'


@pytest.fixture(params=[("refuses", "account"), ("takes", "contact"), ("takes", "none")], ids="-".join)
def org(request: pytest.FixtureRequest) -> tuple[str, str]:
    contact, history = request.param
    return contact, history


@pytest.fixture
def place(org: tuple[str, str]) -> str:
    """Where history stands."""
    return org[1]


@pytest.fixture
def rig(org: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(flow, "_engine", lambda _loaded: engine.Polars())
    made = new_rig(tmp_path, LENIENT)
    made.sandbox.store.configure(person_contact=org[0], person_history=org[1])
    yield made
    made.sandbox.close()


def person_account(rig: Rig) -> tuple[str, str]:
    """Ada, opted out by a click: the person, and the Contact."""
    store = rig.sandbox.store
    contact = records.insert_person_account(store, FirstName="Ada", LastName="Lovelace", Email="ada@buyer.example")
    person = sales_connect.add_person(store, email="ada@buyer.example", salesforce_id=contact)
    sales_connect.unsubscribe(store, person, source="clicked_link")
    return person, contact


def planned(rig: Rig) -> PlanResult:
    rig.days(1)
    rig.pull()
    rig.approve("ada@buyer.example")
    return rig.plan()


def carry_out(rig: Rig, made: PlanResult) -> Applied:
    environ = rig.sandbox.environment()
    return apply(rig.folder, made.path, actor=ADMIN, clock=rig.clock, environ=environ, sleep=lambda _: None)


def test_an_opt_out_has_a_date_where_history_has_it_and_sticks_either_way(rig: Rig, place: str) -> None:
    person, contact = person_account(rig)
    made = planned(rig)
    (row,) = pq.read_table(snapshot.newest(settings.load(rig.folder).run.snapshots).records).to_pylist()
    assert (row["opted_out_at"] is None) is (place == "none")
    assert carry_out(rig, made).complete
    assert not rig.flag(f"salesforce:{contact}")
    rig.night()
    rig.pull()
    verified = verify(rig.folder, clock=rig.clock, environ=rig.sandbox.environment())
    assert verified.counts == {"stuck": 2}
    assert not rig.flag(f"sales_connect:{person}")


@pytest.mark.parametrize("by", ["the Account", "the Contact"])
def test_a_newer_opt_out_is_never_cleared(rig: Rig, place: str, by: str) -> None:
    person, contact = person_account(rig)
    made = planned(rig)
    rig.days(0.01)
    store = rig.sandbox.store
    account = records.read_record(store, "Contact", contact)["AccountId"]
    for value in (False, True):
        if by == "the Account":
            records.update_record(store, "Account", account, {f"Person{FLAG}": value})
        else:
            records.update_record(store, "Contact", contact, {FLAG: value})
    done = carry_out(rig, made)
    code = "opt_out_date_unknown" if place == "none" else "newer_opt_out"
    assert [(each.outcome, each.code) for each in done.outcomes] == [("stale", code), ("stale", "person_stale")]
    assert rig.flag(f"salesforce:{contact}")
    assert rig.flag(f"sales_connect:{person}")


def test_by_default_an_opt_out_without_a_date_is_not_taken_back(rig: Rig, place: str) -> None:
    text = (rig.folder / "recon.toml").read_text("utf-8")
    (rig.folder / "recon.toml").write_text(text.replace('unknown_opt_out_date = "accept"\n', ""), "utf-8")
    person_account(rig)
    made = planned(rig)
    assert made.plan.applicable is (place != "none")
    assert bool(made.check.checked.rejected) is (place == "none")
