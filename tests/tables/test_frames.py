"""What goes in comes out: the user's own frames, with missing text that stays missing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from recon.errors import UsageError
from recon.reconcile import reconcile
from recon.settings import Settings
from recon.summary import summary, unusable
from recon.tables import ACTIONS, MERGED, PEOPLE
from tests.tables.engines import ENGINES

if TYPE_CHECKING:
    from tests.tables.engines import Engine

RECORD = "0035e00000AAAAAAA4"
NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)


def people(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {"person_id": ["1", "2"], "email": ["a@example.com", None], "unsubscribed": [True, False]} | columns
    )


def records(**columns: Any) -> pd.DataFrame:
    fixed = {"record_id": [RECORD], "object": ["Contact"], "email": ["A@example.com"], "opted_out": [False]}
    return pd.DataFrame(fixed | {"is_converted": [False], "is_deleted": [False]} | columns)


def test_pandas_in_pandas_out() -> None:
    result = reconcile(people(), records())
    assert list(result.merged.columns) == MERGED.names
    assert list(result.actions.columns) == ACTIONS.names
    assert result.merged["opted_out"].dtype == np.dtype(bool)
    assert isinstance(result.merged["email"].dtype, pd.StringDtype)
    assert str(result.merged["opted_out_at"].dtype) == "datetime64[us, UTC]"
    assert result.actions["category"].tolist() == ["unlinked_match"]
    assert result.merged["email"].isna().tolist() == [False, True, False]


def test_a_duckdb_relation_in_a_relation_out() -> None:
    with duckdb.connect() as connection:
        connection.register("people_frame", people())
        connection.register("records_frame", records())
        result = reconcile(connection.table("people_frame"), connection.table("records_frame"))
    assert result.merged.columns == MERGED.names
    assert [row[0] for row in result.actions.project("category").fetchall()] == ["unlinked_match"]


def test_the_frames_are_left_as_they_were() -> None:
    one, two = people(), records()
    reconcile(one, two)
    pd.testing.assert_frame_equal(one, people())
    pd.testing.assert_frame_equal(two, records())


def test_an_index_does_not_matter() -> None:
    frame = people().set_index(pd.Index([7, 7]))
    assert reconcile(frame, records()).actions["id"].tolist() == [RECORD]


def test_other_columns_are_left_out(engine: Engine) -> None:
    own = engine.own()
    taken = own.take(engine.from_pandas(people(extra=[1, 2], cluster=["a", "b"])), PEOPLE)
    assert own.collect(taken).column_names == PEOPLE.names


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        # Some frames can't hold what another one counts.
        (people(unsubscribed=[True, None]), "1 nulls in the required column|1 rows have no unsubscribed"),
        (people(person_id=["1", "1"]), "1 rows repeat a person_id"),
        (people(person_id=[1, 2]), "'person_id' isn't all strings"),
        (people(unsubscribed_at=["soon", None]), "people"),
    ],
    ids=["unknown flag", "twice", "number for an id", "no time"],
)
def test_a_frame_that_can_not_be_used_is_refused(engine: Engine, frame: pd.DataFrame, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        reconcile(engine.from_pandas(frame), engine.from_pandas(records()), engine=engine.own())


def test_a_frame_of_no_engine_is_refused() -> None:
    with pytest.raises(UsageError, match="list"):
        reconcile([], [])


def test_times_without_a_zone_and_in_nanoseconds_are_taken() -> None:
    at = pd.to_datetime(pd.Series(["2026-11-02T12:00:00.000000001", None]))
    result = reconcile(people(unsubscribed_at=at), records())
    assert result.actions["due_by"].astype(str).tolist() == ["2026-11-16"]


def test_times_of_any_zone_are_the_same_moment_on_every_engine(engine: Engine) -> None:
    """Of an hour that is there twice where they were written."""
    twice = pd.Series([datetime(2026, 4, 4, 15, 15, 0, 999_999, tzinfo=UTC), None])
    own = engine.own()
    frame = people(unsubscribed_at=twice.dt.tz_convert("Australia/Lord_Howe"), updated_at=twice)
    taken = own.collect(own.take(engine.from_pandas(frame), PEOPLE))
    for name in ("unsubscribed_at", "updated_at"):
        assert taken.column(name).to_pylist() == [datetime(2026, 4, 4, 15, 15, 0, 999_999, tzinfo=UTC), None]


def test_times_without_a_zone_are_utc_on_every_engine(local_engine: Engine) -> None:
    own = local_engine.own()
    bare = pd.Series(["2026-11-02T12:00:00.000000999", None], dtype="datetime64[ns]")
    taken = own.collect(own.take(local_engine.from_pandas(people(unsubscribed_at=bare)), PEOPLE))
    assert taken.column("unsubscribed_at").to_pylist() == [datetime(2026, 11, 2, 12, tzinfo=UTC), None]


@pytest.mark.spark
def test_times_without_a_zone_are_utc_on_spark() -> None:
    """There they are of a type of their own; what Spark makes of Arrow's and of pandas' is a moment in the session's zone."""
    own = ENGINES["spark"].own()
    at = "TIMESTAMP_NTZ'2026-11-02 12:00:00.000001' AS unsubscribed_at"
    frame = own.session.sql(f"SELECT '1' AS person_id, true AS unsubscribed, {at}")  # type: ignore[attr-defined]
    taken = own.collect(own.take(frame, PEOPLE))
    assert taken.column("unsubscribed_at").to_pylist() == [datetime(2026, 11, 2, 12, 0, 0, 1, tzinfo=UTC)]


def test_nothing_at_all_is_fine(engine: Engine) -> None:
    none = people().iloc[:0], records().iloc[:0]
    result = reconcile(*none, engine=engine.own())
    assert [table.num_rows for table in map(result.engine.collect, (result.merged_frame, result.actions_frame))] == [
        *(0, 0)
    ]
    counted = summary(result, Settings(), NOW)
    assert counted["clusters"] == counted["actions"] == counted["could_be_mailed"]["total"] == 0
    assert unusable(result).num_rows == 0


def test_a_chain_of_two_thousand_is_walked(engine: Engine) -> None:
    """Person n shares an address with record n and holds the id of record n + 1: one cluster, one opt-out at its end."""
    from recon.sandbox.salesforce.records import to_18

    size = 1000
    ids = [to_18(f"0035e00000{number:05d}") for number in range(size)]
    chain = pd.DataFrame(
        {
            "person_id": [f"p{number:04d}" for number in range(size)],
            "email": [f"n{number}@example.com" for number in range(size)],
            "salesforce_id": [*ids[1:], None],
            "unsubscribed": [number == 0 for number in range(size)],
        }
    )
    targets = pd.DataFrame(
        {
            "record_id": ids,
            "object": "Contact",
            "email": [f"n{number}@example.com" for number in range(size)],
            "opted_out": False,
            "is_converted": False,
            "is_deleted": False,
        }
    )
    result = reconcile(chain, targets, engine=engine.own())
    rows = result.engine.collect(result.merged_frame)
    assert set(rows.column("cluster").to_pylist()) == {"sales_connect:p0000"}
    actions = {row["id"]: row for row in result.engine.collect(result.actions_frame).to_pylist()}
    assert len(actions) == 2 * size - 1
    assert f"({2 * size - 2 - 20} more)" in actions["p0999"]["path"]
    assert actions["p0999"]["path"].startswith("sales_connect:p0000 -[id]-> salesforce:")
