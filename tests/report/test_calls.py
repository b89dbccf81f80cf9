"""What work cost in API calls, as the files of a run tell it: counted, never believed blindly."""

from __future__ import annotations

from typing import Any

import pytest

from recon.report.calls import calls_rows
from recon.report.context import CallsRow
from recon.report.mask import Veil

VEIL = Veil(masked=True)


def test_a_row_a_system_with_kinds_and_share() -> None:
    calls = {
        "salesforce": {"login": 1, "bulk_query": 10, "describe": 0, "total": 11},
        "sales_connect": {"read": 1200, "total": 1200},
    }
    assert calls_rows("Pull", calls, {"daily_max": 15_000, "used_after": 1011}, VEIL) == (
        CallsRow(
            "Pull", "Salesforce", 11, "Bulk query 10, log-in 1", "0.07 % of 15,000; 1,011 used by everybody by then"
        ),
        CallsRow("Pull", "Sales Connect", 1200, "read 1,200", "not known"),
    )


@pytest.mark.parametrize("quota", [None, {}, {"daily_max": None}, {"daily_max": 0}, {"daily_max": "many"}, []])
def test_a_day_that_nobody_knows_is_said_to_be_unknown(quota: Any) -> None:
    (row,) = calls_rows("Pull", {"salesforce": {"total": 3}}, quota, VEIL)
    assert (row.total, row.kinds, row.share) == (3, "", "not known")


@pytest.mark.parametrize(
    "calls",
    [
        None,
        7,
        {},
        {"salesforce": 7},
        {"salesforce": {"total": "7"}},
        {"salesforce": {"total": True}},
        {"salesforce": {"total": -1}},
        {"elsewhere": {"total": 7}},
        {"salesforce": {"total": 0}},
    ],
)
def test_what_tells_of_no_calls_gives_no_row(calls: Any) -> None:
    assert calls_rows("Pull", calls, None, VEIL) == ()


def test_a_kind_that_is_no_kind_is_only_text() -> None:
    (row,) = calls_rows("Pull", {"salesforce": {"\u202eada@buyer.example": 2, "read": "x", "total": 2}}, None, VEIL)
    assert "ada@buyer.example" not in row.kinds
    assert row.kinds.endswith(" 2")
