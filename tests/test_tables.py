"""The tables' shapes, and bringing data to them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from recon import tables
from recon.tables import ACTIONS, MERGED, PEOPLE, RECORDS, Column, Table

SAMPLE = Table(
    "sample",
    "one row of a test",
    (
        Column("id", "string", "the id", required=True),
        Column("flag", "flag", "a flag"),
        Column("at", "time", "a moment"),
        Column("day", "date", "a day"),
        Column("number", "count", "a number"),
    ),
)
AT = datetime(2026, 11, 24, 18, 30, 1, 5, tzinfo=UTC)


def conform(**columns: Any) -> list[dict[str, Any]]:
    table = SAMPLE.conform(pa.table({"id": ["x"]} | columns))
    assert table.schema == SAMPLE.schema
    return table.to_pylist()  # type: ignore[no-any-return]


def refused(**columns: Any) -> str:
    with pytest.raises(ValueError, match=r"^sample: ") as caught:
        SAMPLE.conform(pa.table({"id": ["x"]} | columns))
    return str(caught.value)


class TestShapes:
    @pytest.mark.parametrize("table", tables.TABLES, ids=lambda table: table.name)
    def test_every_column_is_told(self, table: Table) -> None:
        assert len(set(table.names)) == len(table.names) == len(list(table))
        assert table.row_is
        for column in table:
            assert column.meaning
            assert table.schema.field(column.name).type == column.arrow
        empty = table.empty()
        assert (empty.num_rows, empty.schema) == (0, table.schema)
        assert table.conform(empty).equals(empty)

    def test_the_names_that_others_rely_on(self) -> None:
        assert PEOPLE.names == [
            *("person_id", "email", "salesforce_id", "unsubscribed", "unsubscribe_level", "unsubscribed_at"),
            *("unsubscribe_source", "resubscribed_at", "first_name", "last_name", "updated_at"),
        ]
        assert RECORDS.names == [
            *("record_id", "object", "email", "opted_out", "has_opted_out_of_email", "sales_opt_out", "opted_out_at"),
            *("resubscribed_at", "is_converted", "converted_contact_id", "is_deleted", "first_name", "last_name"),
            *("modified_at", "account_id"),
        ]
        assert MERGED.names == [
            *("system", "id", "object", "email", "address", "opted_out", "cluster", "merged_opted_out"),
            *("sync_component", "predicted_opted_out", "caused_by", "opted_out_at"),
        ]
        assert ACTIONS.names == [
            *MERGED.names,
            *("category", "categories", "fix", "due_by", "path", "explanation"),
        ]

    def test_flags_that_decide_are_required(self) -> None:
        required = {table.name: {column.name for column in table if column.required} for table in (PEOPLE, RECORDS)}
        assert required == {
            "people": {"person_id", "unsubscribed"},
            "records": {"record_id", "object", "opted_out", "is_converted", "is_deleted"},
        }

    def test_times_are_utc_in_microseconds(self) -> None:
        assert PEOPLE.schema.field("unsubscribed_at").type == pa.timestamp("us", tz="UTC")
        assert ACTIONS.schema.field("due_by").type == pa.date32()


class TestConform:
    def test_columns_come_in_order_absent_ones_null_others_dropped(self) -> None:
        table = SAMPLE.conform(pa.table({"number": [5], "more": ["x"], "id": ["a"]}))
        assert table.to_pylist() == [{"id": "a", "flag": None, "at": None, "day": None, "number": 5}]

    @pytest.mark.parametrize(
        ("column", "values", "read"),
        [
            ("id", pa.array(["007"], pa.large_string()), "007"),
            ("id", pa.array(["x"]).dictionary_encode(), "x"),
            ("id", [7000001], "7000001"),
            ("flag", ["true"], True),
            ("flag", ["false"], False),
            ("flag", [1], True),
            ("flag", [0], False),
            ("flag", [0.0], False),
            ("flag", [1.0], True),
            ("at", pa.array([AT], pa.timestamp("us", "America/Los_Angeles")), AT),
            ("at", pa.array([AT], pa.timestamp("ns", "UTC")), AT),
            ("at", pa.array([AT.replace(tzinfo=None)], pa.timestamp("us")), AT),
            ("day", pa.array([date(2026, 12, 8)], pa.date64()), date(2026, 12, 8)),
            ("number", pa.array([7], pa.int8()), 7),
            ("number", [7.0], 7),
        ],
    )
    def test_what_says_the_same_in_another_type(self, column: str, values: Any, read: object) -> None:
        assert conform(**{column: values})[0][column] == read

    @pytest.mark.parametrize("column", ["flag", "at", "day", "number"])
    @pytest.mark.parametrize("kind", [pa.null(), pa.float64(), pa.string(), pa.int64()])
    def test_nulls_of_any_type_are_null(self, column: str, kind: pa.DataType) -> None:
        assert conform(**{column: pa.array([None], kind)})[0][column] is None

    @pytest.mark.parametrize("column", ["flag", "at", "day", "number"])
    def test_nan_is_null_and_never_a_flag_or_a_text(self, column: str) -> None:
        assert conform(**{column: [float("nan")]})[0][column] is None
        with pytest.raises(ValueError, match="1 nulls in the required column 'id'"):
            SAMPLE.conform(pa.table({"id": [float("nan")]}))

    def test_a_flag_that_is_unknown_is_refused_where_it_decides(self) -> None:
        for unknown in ([float("nan")], pa.array([None], pa.bool_()), pa.nulls(1)):
            with pytest.raises(ValueError, match="people: 1 nulls in the required column 'unsubscribed'"):
                PEOPLE.conform(pa.table({"person_id": ["1"], "unsubscribed": unknown}))

    @pytest.mark.parametrize(
        ("column", "values"),
        [
            ("flag", ["maybe"]),
            ("flag", [2]),
            ("flag", [-1]),
            ("flag", [0.5]),
            ("at", ["soon"]),
            ("at", pa.array([1], pa.timestamp("ns", "UTC"))),  # more exact than we keep
            ("day", ["2026-13-01"]),
            ("number", ["ann@example.com"]),
            ("number", [1.5]),
            ("number", [[1]]),
            ("flag", [{"a": 1}]),
        ],
    )
    def test_what_cant_be_cast_is_refused_without_its_value(self, column: str, values: Any) -> None:
        text = refused(**{column: values})
        assert f"'{column}'" in text
        assert "@" not in text
        assert "maybe" not in text

    def test_a_required_column_that_is_absent(self) -> None:
        with pytest.raises(ValueError, match="sample: the required column 'id' is absent"):
            SAMPLE.conform(pa.table({"flag": [True]}))

    def test_a_column_that_is_there_twice(self) -> None:
        twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["id", "id"])
        with pytest.raises(ValueError, match="the column 'id' is there more than once"):
            SAMPLE.conform(twice)
        others = pa.Table.from_arrays([pa.array(["a"]), pa.array([1]), pa.array([2])], names=["id", "x", "x"])
        assert SAMPLE.conform(others).column_names == SAMPLE.names

    def test_chunks_stay_and_rows_keep_their_order(self) -> None:
        table = pa.table({"id": pa.chunked_array([["b"], ["a", "c"]]), "flag": pa.chunked_array([[1, 0], [1]])})
        assert SAMPLE.conform(table).column("id").to_pylist() == ["b", "a", "c"]
        assert SAMPLE.conform(table).column("flag").to_pylist() == [True, False, True]

    def test_text_stays_as_it_is(self) -> None:
        words = ["nan", "None", " x ", "\u202e", "0"]
        assert [row["id"] for row in SAMPLE.conform(pa.table({"id": words})).to_pylist()] == words
