"""Whatever an approved file holds: a verdict for every row, in order, and no resubscribe that the consent doesn't carry."""

from __future__ import annotations

import csv
import importlib
import io
import tempfile
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.errors import InputRefused
from recon.resubscribe.approved import Approved, ApprovedRow, read_approved
from recon.resubscribe.codes import BY_NAME
from recon.resubscribe.policy import AUTHORIZATIONS, PolicySettings
from recon.resubscribe.verdicts import check
from recon.tables import APPROVED
from tests.resubscribe.world import ADMIN, GOOD, NOW, World, codes, contact, person, record_id, verdicts

NAMES = 16
START = datetime(2026, 10, 1, tzinfo=UTC)
POLICY = PolicySettings(admins=[ADMIN])


@cache
def world() -> World:
    """People of all sorts: plain pairs, pairs and chains over several addresses, a bounce, one user's unsubscribe, no date, no opt-out."""
    people, records = [], []
    odd: dict[int, dict[str, Any]] = {
        12: {"unsubscribe_source": "bounce"},
        13: {"unsubscribe_level": "user"},
        14: {"unsubscribed_at": None},
        15: {"out": False},
    }
    for n in range(NAMES):
        when = START + timedelta(hours=37 * n, minutes=n % 3)
        values = {"unsubscribed_at": when} | odd.get(n, {})
        # 6 and 7 share a Contact of 8's address; 9 is linked to a Contact of 10's address.
        to = {6: 8, 7: 8, 9: 10}.get(n, n)
        people.append(person(n, f"p{n}@buyer.example", salesforce_id=record_id(to), **values))
        if n < 12:
            out = n % 3 != 0
            at = when + timedelta(days=n % 4, hours=1) if out else None
            records.append(contact(n, f"p{n}@buyer.example", out=out, opted_out_at=at))
    return World(people, records)


DATES = st.one_of(
    st.sampled_from([None, "10/11/2026", "2026-11-31", "soon"]),
    st.dates(START.date(), NOW.date() + timedelta(days=2)).map(str),
    st.datetimes(START.replace(tzinfo=None), NOW.replace(tzinfo=None)).map(lambda at: f"{at.isoformat()}Z"),
)
WORD = st.one_of(st.none(), st.text(max_size=8))
EMAILS = st.integers(0, NAMES).map(lambda n: f"p{n}@buyer.example")
FAULTS: dict[str, st.SearchStrategy[Any]] = {
    "email": EMAILS.map(lambda email: f" '{email.upper()}") | WORD,
    "reason": st.none(),
    "authorization": st.sampled_from(AUTHORIZATIONS) | WORD,
    "consent_date": DATES,
    "purpose": st.none(),
    "evidence": st.none(),
    "initiated_by": st.sampled_from(["sender", None, "x"]),
    "approved_by": st.sampled_from(["Ida Admin", "rob", None]),
    "approved_at": DATES,
    "kind": st.just("correction"),
    "person_id": st.sampled_from(["1", "2", "99"]),
    "requested_by": st.sampled_from([None, "ida@seller.example"]),
    "scope": st.sampled_from(["sales", None, "x"]),
    "country": st.sampled_from(["US", "AU", "FR"]),
    "note": WORD,
}


@st.composite
def spoiled(draw: st.DrawFn) -> ApprovedRow:
    """A good row for somebody, with up to two cells changed."""
    dates = st.sampled_from(["2026-11-20", "2026-11-05", "2026-10-12T08:00:00Z"])
    good = replace(GOOD, email=draw(EMAILS), consent_date=draw(dates), approved_at="2026-11-23")
    names = draw(st.lists(st.sampled_from(sorted(FAULTS)), max_size=2))
    return replace(good, **{name: draw(FAULTS[name]) for name in names})


ROWS = st.lists(spoiled(), max_size=12).map(
    lambda rows: [replace(row, line=line) for line, row in enumerate(rows, start=2)]
)


def test_a_good_row_for_everybody_is_accepted_where_it_may_be() -> None:
    good = replace(GOOD, consent_date="2026-11-20", approved_at="2026-11-23")
    rows = [replace(good, line=n + 2, email=f"p{n}@buyer.example") for n in range(NAMES)]
    checked = world().check(rows, POLICY)
    assert verdicts(checked) == ["accepted"] * 12 + ["rejected"] * 3 + ["no_op"]
    assert codes(checked)[12:] == [["bounced"], ["user_level_only"], ["opt_out_date_unknown"], ["not_opted_out"]]


@settings(deadline=None, max_examples=150)
@given(rows=ROWS)
def test_as_many_verdicts_as_rows_in_their_order_and_no_acceptance_against_a_rule(rows: list[ApprovedRow]) -> None:
    checked = world().check(rows, POLICY)
    table = checked.verdicts.to_pylist()
    assert [(verdict["row"], verdict["email"]) for verdict in table] == [(row.line, row.email) for row in rows]
    order = list(BY_NAME)
    for row, verdict, found in zip(rows, table, codes(checked), strict=True):
        assert found == sorted(set(found), key=order.index)
        rejecting = [code for code in found if POLICY.rules(row.country).severity(code) == "reject"]
        if verdict["verdict"] == "accepted":
            assert not rejecting
            assert not found
        elif verdict["verdict"] == "rejected":
            assert rejecting
        else:
            assert set(found) & {"not_opted_out", "already_applied"}
        assert verdict["message"]
        assert verdict["records"] == 0 or verdict["verdict"] == "accepted"
    assert len(checked.accepted) + checked.rejected + checked.no_op == len(rows)


@settings(deadline=None, max_examples=150)
@given(rows=ROWS)
def test_nothing_is_cleared_without_an_approval_of_its_own_address_newer_than_every_opt_out(
    rows: list[ApprovedRow],
) -> None:
    here = world()
    checked = here.check(rows, POLICY)
    merged = {f"{row['system']}:{row['id']}": row for row in here.merged.to_pylist()}
    dates = {f"sales_connect:{row['person_id']}": row["unsubscribed_at"] for row in here.people.to_pylist()}
    dates |= {f"salesforce:{row['record_id']}": row["opted_out_at"] for row in here.records.to_pylist()}
    cleared = [member.uid for accepted in checked.accepted for member in accepted.clears]
    assert len(cleared) == len(set(cleared))
    addresses = {accepted.address for accepted in checked.accepted}
    assert len(addresses) == len(checked.accepted)
    for accepted in checked.accepted:
        basis = accepted.approved if accepted.row.kind == "correction" else accepted.consent
        assert basis is not None
        cluster = [uid for uid, row in merged.items() if row["cluster"] in accepted.clusters]
        assert {merged[uid]["address"] for uid in cluster} <= addresses | {None}
        for uid in cluster:
            if merged[uid]["opted_out"]:
                assert uid in cleared
                assert dates[uid] is not None
                assert dates[uid] < basis.earliest
    for uid in cleared:
        assert merged[uid]["opted_out"]
        assert merged[uid]["address"] in addresses


@settings(deadline=None, max_examples=60)
@given(rows=ROWS, data=st.data())
def test_the_order_of_the_rows_matters_to_duplicates_alone(rows: list[ApprovedRow], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(rows))))
    before = world().check(rows, POLICY)
    after = world().check([rows[place] for place in order], POLICY)
    was, now = (
        list(zip(verdicts(before), codes(before), strict=True)),
        list(zip(verdicts(after), codes(after), strict=True)),
    )
    for place, new in zip(order, now, strict=True):
        if "duplicate_row" not in was[place][1] and "duplicate_row" not in new[1]:
            assert new == was[place]
    assert sorted(accepted.digest for accepted in before.accepted) == sorted(
        accepted.digest for accepted in after.accepted
    )


@settings(deadline=None, max_examples=100)
@given(
    hours=st.integers(-30 * 24, 20 * 24),
    whole_day=st.booleans(),
    country=st.sampled_from([None, "AU", "DE", "US", "GB", "CA"]),
)
def test_a_consent_that_is_not_newer_is_never_accepted(hours: int, whole_day: bool, country: str | None) -> None:
    consent = datetime(2026, 11, 2, 15, 30, tzinfo=UTC) + timedelta(hours=hours)
    text = consent.date().isoformat() if whole_day else consent.isoformat()
    good = replace(GOOD, consent_date=text, country=country, approved_at="2026-11-24")
    rows = [replace(good, line=n + 2, email=f"p{n}@buyer.example") for n in range(NAMES)]
    newest: dict[str, datetime | None] = {row["address"]: row["opted_out_at"] for row in world().merged.to_pylist()}
    for accepted in world().check(rows, POLICY).accepted:
        last = newest[accepted.address]
        assert last is not None
        assert consent > last


HEADERS = APPROVED.names
CELL = st.text(max_size=10) | st.sampled_from(
    ["ann@buyer.example", "2026-11-10", '"', "“x”", "'=1+1", "consent", "DE", ";", "\t", "\r", "\n", "\x00"]
)


@settings(deadline=None, max_examples=150)
@given(
    table=st.lists(st.lists(CELL, min_size=len(HEADERS), max_size=len(HEADERS)), max_size=6),
    delimiter=st.sampled_from([",", ";", "\t"]),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
    junk=st.binary(max_size=6),
    place=st.floats(0, 1),
)
def test_any_text_is_read_and_checked_or_refused(
    table: list[list[str]], delimiter: str, end: str, encoding: str, junk: bytes, place: float
) -> None:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows([HEADERS, *table])
    content = out.getvalue().encode(encoding, errors="replace")
    at = int(len(content) * place)
    read_or_refused(content[:at] + junk + content[at:], ".csv")


@settings(deadline=None, max_examples=150)
@given(content=st.binary(max_size=400), suffix=st.sampled_from([".csv", ".xlsx", ".xls", ".parquet", ""]))
def test_any_bytes_are_read_and_checked_or_refused(content: bytes, suffix: str) -> None:
    read_or_refused(content, suffix)
    read_or_refused(b"PK\x03\x04" + content, suffix)


@cache
def whole_files() -> dict[str, bytes]:
    book = importlib.import_module("openpyxl").Workbook()  # it has no types
    sheet = book.active
    sheet.append(HEADERS)
    sheet.append(["ann@buyer.example", "x", "Consent", datetime(2026, 11, 10)])  # noqa: DTZ001
    excel, parquet = io.BytesIO(), io.BytesIO()
    book.save(excel)
    texts = {name: ["x", None] for name in HEADERS if name not in ("kind", "country")}
    typed = pa.array([datetime(2026, 11, 10), None], pa.timestamp("us"))  # noqa: DTZ001
    days = pa.array([date(2026, 11, 10), None])
    pq.write_table(pa.table(texts | {"consent_date": typed, "approved_at": days, "reason": [1.5, 2.0]}), parquet)
    return {".xlsx": excel.getvalue(), ".parquet": parquet.getvalue()}


@settings(deadline=None, max_examples=200)
@given(
    suffix=st.sampled_from([".xlsx", ".parquet"]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=5),
    cut=st.floats(0.5, 1) | st.just(1.0),
)
def test_a_damaged_workbook_or_parquet_file_is_read_and_checked_or_refused(
    suffix: str, changes: list[tuple[float, int]], cut: float
) -> None:
    content = bytearray(whole_files()[suffix])
    for where, value in changes:
        content[int(where * (len(content) - 1))] = value
    read_or_refused(bytes(content[: int(cut * len(content))]), suffix)


def read_or_refused(content: bytes, suffix: str) -> Approved | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"approved{suffix}"
        path.write_bytes(content)
        try:
            approved = read_approved(path)
        except InputRefused:
            return None
    here = world()
    checked = check(approved, here.merged, here.people, here.records, here.settings, POLICY, now=NOW)
    assert checked.verdicts.num_rows == len(approved.rows) == approved.source.rows
    return approved
