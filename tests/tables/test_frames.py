"""What goes in comes out: the user's own frames, with missing text that stays missing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recon.errors import UsageError
from recon.reconcile import reconcile
from recon.settings import Settings
from recon.summary import summary, unusable
from recon.tables import ACTIONS, MERGED

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


def test_missing_text_joins_nothing() -> None:
    """Two people without an address and without an id: the trap that makes one person `nan` of them."""
    frame = people(email=[None, None], salesforce_id=[None, np.nan])
    for email in (None, np.nan, "", " "):
        result = reconcile(frame, records(email=[email]))
        assert result.merged["cluster"].nunique() == 3
        assert result.actions.empty


def test_the_frames_are_left_as_they_were() -> None:
    one, two = people(), records()
    reconcile(one, two)
    pd.testing.assert_frame_equal(one, people())
    pd.testing.assert_frame_equal(two, records())


def test_an_index_and_other_columns_do_not_matter() -> None:
    frame = people(extra=[1, 2]).set_index(pd.Index([7, 7]))
    assert reconcile(frame, records()).actions["id"].tolist() == [RECORD]


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (people().drop(columns="unsubscribed"), "unsubscribed"),
        (people(unsubscribed=[True, None]), "1 nulls in the required column"),
        (people(person_id=["1", "1"]), "1 rows repeat a person_id"),
        (people(person_id=[1, 2]), "'person_id' isn't all strings"),
        (people(unsubscribed_at=["soon", None]), "people"),
    ],
)
def test_a_frame_that_can_not_be_used_is_refused(frame: pd.DataFrame, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        reconcile(frame, records())


def test_a_frame_of_no_engine_is_refused() -> None:
    with pytest.raises(UsageError, match="list"):
        reconcile([], [])


def test_times_without_a_zone_and_in_nanoseconds_are_taken() -> None:
    at = pd.to_datetime(pd.Series(["2026-11-02T12:00:00.000000001", None]))
    result = reconcile(people(unsubscribed_at=at), records())
    assert result.actions["due_by"].astype(str).tolist() == ["2026-11-16"]


def test_nothing_at_all_is_fine(engine: Engine) -> None:
    none = people().iloc[:0], records().iloc[:0]
    result = reconcile(*none, engine=engine.own())
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


def test_summary_adds_up_over_a_population() -> None:
    from recon.clock import SetClock
    from recon.sandbox.population import populate
    from recon.sandbox.sales_connect import list_people
    from recon.sandbox.store import Store
    from recon.tables import PEOPLE, RECORDS

    store = Store(None, SetClock(NOW))
    populate(store, 300)
    rows, _, _ = list_people(store, after=None, limit=10_000)
    frame = pd.DataFrame(rows)
    for name in ("unsubscribed_at", "resubscribed_at", "updated_at"):
        frame[name] = pd.to_datetime(frame[name])
    parts = []
    with store.transaction() as db:
        for table, sobject in (("lead", "Lead"), ("contact", "Contact")):
            parts += [
                {
                    "record_id": row["Id"],
                    "object": sobject,
                    "email": row["Email"],
                    "opted_out": bool(row["HasOptedOutOfEmail"]),
                    "is_converted": sobject == "Lead" and bool(row["IsConverted"]),
                    "converted_contact_id": row["ConvertedContactId"] if sobject == "Lead" else None,
                    "is_deleted": bool(row["IsDeleted"]),
                }
                for row in db.execute(f"SELECT * FROM {table}").fetchall()
            ]
    store.close()
    result = reconcile(
        frame, pa.Table.from_pylist(parts, schema=RECORDS.conform(pa.Table.from_pylist(parts)).schema).to_pandas()
    )
    counted = summary(result, Settings(), NOW)
    merged, actions = result.merged, result.actions
    people_rows = merged[merged["system"] == "sales_connect"]
    assert sum(counted["coverage"]["people"].values()) == len(people_rows) == len(frame)
    assert sum(counted["coverage"]["records"].values()) == len(merged) - len(people_rows)
    assert counted["coverage"]["people"]["broken_link"] == actions["categories"].str.contains("broken_link").sum()
    assert counted["coverage"]["people"]["stale_link"] == actions["categories"].str.contains("stale_link").sum()
    assert counted["clusters"] == merged["cluster"].nunique()
    assert counted["opted_out"]["clusters"] == merged.loc[merged["opted_out"], "cluster"].nunique()
    assert counted["actions"] == len(actions) == sum(counted["fix"].values())
    assert {name: count["primary"] for name, count in counted["categories"].items() if count["primary"]} == (
        actions["category"].value_counts().to_dict()
    )
    mailed = counted["could_be_mailed"]
    assert mailed["total"] == mailed["tonight"] + mailed["toolkit"] + mailed["admin"] + mailed["nobody"]
    changed = merged[merged["predicted_opted_out"] & ~merged["opted_out"]]
    assert counted["tonight"]["people_set"] == (changed["system"] == "sales_connect").sum()
    assert counted["tonight"]["records_set"] == (changed["system"] == "salesforce").sum()
    sizes = merged["cluster"].value_counts()
    assert [each["size"] for each in counted["large_clusters"]] == sorted(sizes[sizes > 50], reverse=True)
    assert PEOPLE.names[0] == "person_id"
