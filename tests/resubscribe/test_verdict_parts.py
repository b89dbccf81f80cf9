"""An approved file is judged some rows at a time: the verdicts don't depend on how many, and the memory doesn't grow with the file."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.resubscribe import approved, planning, spool
from recon.resubscribe.approved import Approved, ApprovedRow, ApprovedRows
from recon.resubscribe.planning import make_plan
from recon.resubscribe.policy import PolicySettings
from recon.resubscribe.spool import Spool
from recon.resubscribe.sticking import Reverts
from recon.resubscribe.verdicts import Checked, check
from recon.settings import Settings
from recon.sources.base import Input
from recon.tables import MERGED, PEOPLE, RECORDS
from tests.resubscribe.test_verdict_properties import spoiled
from tests.resubscribe.world import ADMIN, GOOD, NOW, OUT, World, contact, person, record_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pytest

    from recon.resubscribe.plan_file import Plan

POLICY = PolicySettings(admins=[ADMIN])
DESK = "desk@buyer.example"
TARGETS = {"Lead": ("HasOptedOutOfEmail",), "Contact": ("HasOptedOutOfEmail",)}


@cache
def world() -> World:
    """Pairs, chains over several addresses, records without an address, and a shared mailbox that joins nothing."""
    people, records = [], []
    for n in range(16):
        # 6 and 7 share a Contact of 8's address; 9 is linked to a Contact of 10's address; 12 to a Contact without one.
        to = {6: 8, 7: 8, 9: 10, 13: 12}.get(n, n)
        people.append(person(n, f"p{n}@buyer.example", salesforce_id=record_id(to)))
        records.append(contact(n, None if n == 12 else f"p{n}@buyer.example", out=n % 3 != 0))
    people += [person(20 + n, DESK, salesforce_id=record_id(20 + n), out=n != 1) for n in range(3)]
    records += [contact(20 + n, DESK if n else "p3@buyer.example") for n in range(3)]
    return World(people, records, clusters={"never_join": [DESK]})


def _for_desk(row: ApprovedRow) -> ApprovedRow:
    return replace(row, email=DESK)


ROWS = st.lists(spoiled() | spoiled().map(_for_desk), max_size=14).map(
    lambda rows: [replace(row, line=line) for line, row in enumerate(rows, start=2)]
)


@settings(deadline=None, max_examples=150)
@given(rows=ROWS, at_a_time=st.integers(1, 6))
def test_the_verdicts_are_the_same_however_many_rows_are_judged_together(
    rows: list[ApprovedRow], at_a_time: int
) -> None:
    together, apart = (world().check(rows, POLICY, at_a_time=number) for number in (1000, at_a_time))
    assert apart.verdicts.equals(together.verdicts)
    assert list(apart.accepted) == list(together.accepted)
    assert (apart.rejected, apart.no_op) == (together.rejected, together.no_op)


def test_what_was_accepted_comes_back_from_the_spool_as_it_was_and_in_the_order_of_the_file() -> None:
    # The first and the last row name one person, so they are judged before those between.
    names = ["p8@buyer.example", "p1@buyer.example", "p2@buyer.example", "p7@buyer.example", "p6@buyer.example"]
    rows = [replace(GOOD, line=n + 2, email=name) for n, name in enumerate(names)]
    checked = world().check(rows, POLICY, at_a_time=1)
    assert [accepted.row for accepted in checked.accepted] == rows
    assert checked.verdicts.column("row").to_pylist() == [row.line for row in rows]
    last = checked.accepted[-1]
    assert (last.address, last.newest_opt_out, last.opt_out_dates_known) == ("p6@buyer.example", OUT, True)
    assert [(member.uid, member.opted_out_at, member.flag) for member in last.clears] == [
        ("sales_connect:6", OUT, True)
    ]
    assert [accepted.row.line for accepted in checked.accepted[1:3]] == [3, 4]


def planned(
    checked: Checked, rows: ApprovedRows, undone_by: Callable[[pa.Table], Mapping[str, Reverts]], place: Spool
) -> Plan:
    return make_plan(
        checked,
        Approved(rows, Input("approved", "approved.csv", "csv", len(rows))),
        undone_by=undone_by,
        opted_out_people=100,
        settings=Settings(),
        targets=TARGETS,
        snapshot={"id": "s", "manifest_sha256": "0"},
        hashes={"settings_sha256": "0", "policy_sha256": "0"},
        run_id="r",
        created_at=NOW,
        spool=place,
    )


def test_who_would_not_stick_is_left_out_with_all_rows_of_the_person_until_the_rest_sticks() -> None:
    names = ["p8", "p1", "p2", "p7", "p6", "p4"]
    rows = [replace(GOOD, line=n + 2, email=f"{name}@buyer.example") for n, name in enumerate(names)]
    asked: list[set[str]] = []
    answers = [{"sales_connect:1": "a"}, {"sales_connect:7": "b", f"salesforce:{record_id(8)}": "c"}, {}]

    def undone_by(cleared: pa.Table) -> dict[str, Reverts]:
        asked.append({f"{row['system']}:{row['id']}" for row in cleared.to_pylist()})
        return {uid: Reverts(uid, path) for uid, path in answers[len(asked) - 1].items()}

    plan = planned(world().check(rows, POLICY), ApprovedRows.of(rows), undone_by, Spool())
    assert [(each.row, each.path, "see the row" in each.reason) for each in plan.blocked] == [
        (2, "c", False),
        (3, "a", False),
        (5, "b", False),
        (6, None, True),
    ]
    kept = {"sales_connect:2", f"salesforce:{record_id(2)}", "sales_connect:4", f"salesforce:{record_id(4)}"}
    assert [kept <= each for each in asked] == [True] * 3
    assert asked[2] == kept
    assert asked[0] - asked[1] == {"sales_connect:1", f"salesforce:{record_id(1)}"}
    assert {step.key for step in plan.steps} == kept
    assert [(step.number, step.row) for step in plan.steps] == [(1, 4), (2, 4), (3, 7), (4, 7)]
    assert [each.row for each in plan.approvals] == [4, 7]


def test_one_persons_rows_stand_together_in_the_plan() -> None:
    names = ["p7", "p1", "p8", "p2", "p6"]
    rows = [replace(GOOD, line=n + 2, email=f"{name}@buyer.example") for n, name in enumerate(names)]
    plan = planned(world().check(rows, POLICY, at_a_time=1), ApprovedRows.of(rows), lambda _: {}, Spool())
    assert [each.row for each in plan.approvals] == [2, 4, 6, 3, 5]
    assert [step.number for step in plan.steps] == list(range(1, len(plan.steps) + 1))


def tables(count: int) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Merged, people and records of so many opted-out Contacts that nobody is linked to."""
    ids = [record_id(n) for n in range(count)]
    emails = [f"p{n}@buyer.example" for n in range(count)]
    common: dict[str, Any] = {"email": emails, "object": ["Contact"] * count, "opted_out": [True] * count}
    uid = [f"salesforce:{each}" for each in ids]
    dates = {"opted_out_at": pa.array([OUT] * count, pa.timestamp("us", tz="UTC"))}
    merged = common | dates | {"system": ["salesforce"] * count, "id": ids, "address": emails, "cluster": uid}
    merged |= {name: [True] * count for name in ("merged_opted_out", "predicted_opted_out")}
    merged |= {name: uid for name in ("caused_by", "component") if name in MERGED.names}
    for column in MERGED:
        if column.required and column.name not in merged:
            merged[column.name] = pa.array([{"string": "none", "flag": False, "count": 1}[column.kind]] * count)
    records = common | dates | {"record_id": ids, "has_opted_out_of_email": [True] * count}
    records |= {"is_converted": [False] * count, "is_deleted": [False] * count}
    return MERGED.conform(pa.table(merged)), PEOPLE.empty(), RECORDS.conform(pa.table(records))


def peak(count: int, folder: Path) -> tuple[int, int]:
    """Check and plan so many rows; the steps, and the most bytes that Python's own objects took beyond what there was before."""
    given = ApprovedRows.of(replace(GOOD, line=n + 2, email=f"p{n}@buyer.example") for n in range(count))
    snapshot = tables(count)
    file = Approved(given, Input("approved", "approved.csv", "csv", count))
    place = Spool(folder)
    tracemalloc.start()
    try:
        checked = check(file, *snapshot, Settings(), POLICY, now=NOW, spool=place, at_a_time=50)
        plan = planned(checked, given, lambda _: {}, place)
        steps = sum(1 for _ in plan.steps)
        return steps, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_four_times_the_rows_take_hardly_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Pages are as small against these few rows as they are in truth against a hundred thousand.
    for module in (approved, planning, spool):
        monkeypatch.setattr(module, "_AT_A_TIME" if module is planning else "_PAGE", 50)
    # Libraries remember texts, up to a number.
    peak(1200, tmp_path)
    few, little = peak(300, tmp_path)
    many, more = peak(1200, tmp_path)
    assert (few, many) == (300, 1200)
    # A row's place in the file and in its group stays, some bytes; the rows as objects take kilobytes.
    assert more - little < 200 * (many - few)
