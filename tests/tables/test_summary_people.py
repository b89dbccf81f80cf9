"""The people behind the numbers: who could be mailed, each once, and how long an opt-out took until it was whole, on every engine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from recon.engine import engine_named
from recon.reconcile import reconcile
from recon.settings import Settings
from recon.summary import summary
from recon.tables import PEOPLE, RECORDS

NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
FIRST = datetime(2026, 11, 2, 23, 30, tzinfo=UTC)  # a Monday


def _at(day: int, hour: int = 9) -> datetime:
    return datetime(2026, 11, day, hour, tzinfo=UTC)


def _tables(pairs: list[dict[str, Any]]) -> tuple[pa.Table, pa.Table]:
    """A person and a Contact each, with the same address; linked only where the pair says so."""
    people, records = [], []
    for number, pair in enumerate(pairs):
        record = f"003{number:012}AAA"
        people.append(
            {
                "person_id": str(number),
                "email": f"p{number}@example.com",
                "unsubscribed": pair.get("person", True),
                "unsubscribed_at": pair.get("person_at"),
                "unsubscribe_source": pair.get("source"),
                "salesforce_id": record if pair.get("linked") else None,
            }
        )
        records += [
            {
                "record_id": record if not copy else f"003{number:011}{'wxyz'[copy]}AAA",
                "object": "Contact",
                "email": f"p{number}@example.com",
                "opted_out": pair.get("record", True),
                "opted_out_at": pair.get("record_at"),
                "is_converted": False,
                "is_deleted": False,
            }
            for copy in range(pair.get("copies", 1))
        ]
    return (
        PEOPLE.conform(pa.Table.from_pylist(people, PEOPLE.schema)),
        RECORDS.conform(pa.Table.from_pylist(records, RECORDS.schema)),
    )


@pytest.mark.parametrize("engine", ["pandas", "duckdb", "polars"])
def test_time_to_effect_counts_by_date_and_by_the_limit(engine: str) -> None:
    pairs: list[dict[str, Any]] = [
        {"person_at": FIRST, "record_at": FIRST},
        {"person_at": FIRST, "record_at": _at(4)},  # two dates on
        {"person_at": _at(5), "record_at": FIRST},  # three, whichever was first
        {"person_at": FIRST, "record_at": _at(16)},  # ten business days: on the limit
        {"person_at": FIRST, "record_at": _at(17)},
        {"person_at": FIRST},
        {"person_at": FIRST, "record": False},  # not whole: an action
        {"person": False, "record": False},
    ]
    people, records = _tables(pairs)
    result = reconcile(people, records, Settings(), engine=engine_named(engine))
    assert summary(result, Settings(), NOW)["time_to_effect"] == {
        "same_day": 1,
        "within_2_days": 1,
        "within_limit": 2,
        "late": 1,
        "unknown": 1,
    }


@pytest.mark.parametrize("engine", ["pandas", "duckdb", "polars"])
def test_people_who_could_be_mailed_are_counted_once(engine: str) -> None:
    pairs: list[dict[str, Any]] = [
        {"record": False, "copies": 3},  # three records of one person: somebody has to
        {"record": False, "linked": True},  # tonight's
        {"record": False, "linked": True, "copies": 2},  # one tonight, one by somebody: somebody has to
        {"record": False, "source": "bounce"},
        {"record": True},
    ]
    people, records = _tables(pairs)
    result = reconcile(people, records, Settings(), engine=engine_named(engine))
    mailed = summary(result, Settings(), NOW)["could_be_mailed"]
    assert mailed["people"] == {"total": 4, "you": 2, "tonight": 1, "nobody": 1}
    assert mailed["total"] == 7
