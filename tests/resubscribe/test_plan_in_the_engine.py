"""A plan is made over a snapshot that the engine holds: what it asks for is what the whole tables in memory would tell."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon import jobs
from recon.engine import ArrowPandas, DuckDB, Polars
from recon.reconcile import reconcile
from recon.resubscribe import jobs as flow
from recon.resubscribe.approved import Approved, ApprovedRow, ApprovedRows
from recon.resubscribe.planning import wanted_opt_outs
from recon.resubscribe.sticking import planned_state, reverting
from recon.resubscribe.verdicts import check
from recon.sources.base import Input
from recon.tables import ACTIONS, PEOPLE, RECORDS
from tests.resubscribe.test_verdict_parts import DESK, POLICY, ROWS
from tests.resubscribe.world import GOOD, NOW, World, contact, person, record_id

if TYPE_CHECKING:
    from recon.engine import Engine, Frame
    from recon.reconcile import Reconciliation

ENGINES = (DuckDB, Polars, ArrowPandas)


@cache
def world() -> World:
    """As that of the verdicts, with a single user's unsubscribe, a converted Lead, a deleted record and fields that aren't known."""
    people, records = [], []
    for n in range(16):
        to = {6: 8, 7: 8, 9: 10, 13: 12}.get(n, n)
        values = {"unsubscribe_level": "user"} if n in (3, 4) else {}
        people.append(person(n, f"p{n}@buyer.example", salesforce_id=record_id(to), out=n != 5, **values))
        known = {"sales_opt_out": n % 2 == 0 if n < 8 else None, "modified_at": NOW}
        records.append(contact(n, None if n == 12 else f"p{n}@buyer.example", out=n % 3 != 0, **known))
    records.append(contact(30, "p4@buyer.example", lead=True, is_converted=True, converted_contact_id=record_id(4)))
    records.append(contact(31, "p2@buyer.example", lead=True, is_deleted=True))
    people += [person(20 + n, DESK, salesforce_id=record_id(20 + n), out=n != 1) for n in range(3)]
    records += [contact(20 + n, DESK if n else "p3@buyer.example") for n in range(3)]
    return World(people, records, clusters={"never_join": [DESK]})


def taken(engine: Engine) -> tuple[Frame, Frame]:
    here = world()
    return engine.hold(engine.take(here.people, PEOPLE)), engine.hold(engine.take(here.records, RECORDS))


def reconciled(engine: Engine) -> tuple[jobs.Data, Reconciliation]:
    # What is merged is let go of, so what is asked for later is taken anew.
    result = reconcile(*taken(engine), world().settings, engine=engine)
    return jobs.Data(*taken(engine), [], None, None), result


@settings(deadline=None, max_examples=12)
@given(rows=ROWS)
def test_what_is_asked_of_the_engine_is_enough_for_the_same_verdicts(rows: list[ApprovedRow]) -> None:
    here, engine = world(), DuckDB()
    data, result = reconciled(engine)
    held = set(engine._held)
    given_rows = ApprovedRows.of(rows)
    file = Approved(given_rows, Input("approved", "approved.csv", "csv", len(rows)))
    merged, people, records = flow._known(file, data, result)
    assert set(engine._held) == held
    checked = check(file, merged, people, records, here.settings, POLICY, now=NOW)
    whole = here.check(rows, POLICY)
    assert checked.verdicts.equals(whole.verdicts)
    assert list(checked.accepted) == list(whole.accepted)
    out = here.merged.filter(here.merged.column("opted_out")).column("cluster")
    assert flow._opted_out_people(result) == len(pc.unique(out))
    # And no more than that: the clusters of the file's addresses, and the people that it names.
    every = here.merged.to_pylist()
    asked = {address for row in given_rows.readings.to_pylist() for address in row}
    clusters = {row["cluster"] for row in every if row["address"] in asked}
    named = {row.person_id for row in rows}
    wanted = {
        (row["system"], row["id"])
        for row in every
        if row["cluster"] in clusters or (row["system"] == "sales_connect" and row["id"] in named)
    }
    found = [(row["system"], row["id"]) for row in merged.to_pylist()]
    assert (len(found), set(found)) == (len(wanted), wanted)


UIDS = st.sets(
    st.sampled_from(
        [("sales_connect", str(n)) for n in range(16)]
        + [("salesforce", record_id(n)) for n in range(16)]
        + [("salesforce", record_id(30, lead=True))]
    )
)


def marked(cleared: set[tuple[str, str]]) -> pa.Table:
    schema = pa.schema([("system", pa.string()), ("id", pa.string())])
    return pa.Table.from_pylist([{"system": system, "id": each} for system, each in sorted(cleared)], schema)


@pytest.mark.parametrize("kind", ENGINES)
@settings(deadline=None, max_examples=8)
@given(cleared=UIDS)
def test_the_planned_state_is_the_snapshot_with_these_opt_outs_taken_back(
    kind: type[Any], cleared: set[tuple[str, str]]
) -> None:
    engine, here = kind(), world()
    people, records = planned_state(*taken(engine), engine.bring(marked(cleared)))
    wanted_people = [
        row
        | {
            "unsubscribed": row["unsubscribed"]
            and (("sales_connect", row["person_id"]) not in cleared or row["unsubscribe_level"] == "user")
        }
        for row in here.people.to_pylist()
    ]
    wanted_records = [
        row
        | {
            name: None if row[name] is None else row[name] and ("salesforce", row["record_id"]) not in cleared
            for name in ("opted_out", "has_opted_out_of_email", "sales_opt_out")
        }
        for row in here.records.to_pylist()
    ]
    for frame, table, key, wanted in (
        (people, PEOPLE, "person_id", wanted_people),
        (records, RECORDS, "record_id", wanted_records),
    ):
        found = table.conform(engine.collect(frame)).sort_by(key).to_pylist()
        assert found == sorted(wanted, key=lambda row: row[key])


@settings(deadline=None, max_examples=4)
@given(cleared=UIDS)
def test_who_would_be_opted_out_again_is_the_same_on_every_engine(cleared: set[tuple[str, str]]) -> None:
    told = []
    for kind in ENGINES:
        engine = kind()
        people, records = taken(engine)
        told.append(reverting(people, records, marked(cleared), world().settings, engine))
    assert told[0] == told[1] == told[2]
    assert told[0].keys() <= {f"{system}:{each}" for system, each in cleared}


def test_a_record_whose_mate_stays_opted_out_reverts_and_a_pair_does_not() -> None:
    engine = DuckDB()
    people, records = taken(engine)
    held = set(engine._held)
    pair = {("sales_connect", "1"), ("salesforce", record_id(1))}
    alone = {("sales_connect", "2")}
    first = reverting(people, records, marked(pair | alone), world().settings, engine)
    assert list(first) == ["sales_connect:2"]
    assert record_id(2) in first["sales_connect:2"].path
    # The snapshot is still there, and nothing else of it is.
    assert set(engine._held) <= held
    assert reverting(people, records, marked(set()), world().settings, engine) == {}


def test_opt_outs_for_the_toolkit_are_those_of_the_actions_but_for_who_is_resubscribed() -> None:
    engine, here = DuckDB(), world()
    data, result = reconciled(engine)
    find = wanted_opt_outs(result.actions_frame, data.people, data.records, engine)
    actions = ACTIONS.conform(engine.collect(result.actions_frame.drop("n"))).to_pylist()
    wanted = [
        row
        for row in actions
        if row["fix"] == "toolkit" and (not row["opted_out"] or row["category"] == "field_disagrees")
    ]
    assert len(wanted) > 2
    cleared = [wanted[0]["cluster"]]
    found = find(pa.array(cleared, pa.string())).to_pylist()
    expected = [row for row in wanted if row["cluster"] not in cleared]
    assert {(row["system"], row["id"]) for row in found} == {(row["system"], row["id"]) for row in expected}
    assert len(found) == len(expected)
    order = [(row["cluster"], row["system"] != "salesforce", row["id"]) for row in found]
    assert order == sorted(order)
    flags = {row["record_id"]: row for row in here.records.to_pylist()}
    for row in found:
        if row["system"] == "salesforce":
            record = flags[row["id"]]
            assert (row["flag"], row["custom"]) == (record["has_opted_out_of_email"], record["sales_opt_out"])
            assert row["changed_at"] == record["modified_at"]


def test_a_row_for_nobody_asks_for_nothing() -> None:
    engine = DuckDB()
    data, result = reconciled(engine)
    rows = ApprovedRows.of([replace(GOOD, email=None), replace(GOOD, line=3, email="nobody@buyer.example")])
    tables = flow._known(Approved(rows, Input("approved", "approved.csv", "csv", 2)), data, result)
    assert [table.num_rows for table in tables] == [0, 0, 0]
