"""Excel and Parquet."""

from __future__ import annotations

import hashlib
import importlib
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recon.errors import InputRefused
from recon.sources.files import read_leads, read_people

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

NO_ZONE = datetime(2026, 11, 24, 4, tzinfo=UTC).replace(tzinfo=None)  # Excel has no other
HEAD = ["person_id", "unsubscribed", "updated_at", "last_name"]


def workbook(folder: Path, **sheets: Sequence[Sequence[Any]]) -> Path:
    book = importlib.import_module("openpyxl").Workbook()  # it has no types
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    path = folder / "people.xlsx"
    book.save(path)
    return path


def parquet(folder: Path, columns: dict[str, Any]) -> Path:
    path = folder / "people.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def refused(path: Path, read: Callable[..., object] = read_people) -> list[tuple[int | None, str | None, str]]:
    with pytest.raises(InputRefused) as caught:
        read(path)
    return [(problem.line, problem.column, problem.message) for problem in caught.value.problems]


def test_typed_cells_of_a_workbook(tmp_path: Path) -> None:
    rows: list[list[Any]] = [
        HEAD,
        [1234.0, True, NO_ZONE, 7],
        [],
        ["x-1", "FALSE", date(2026, 11, 24), " Lee "],
        [12, True, "2026-11-24T00:00:00Z", None],
        [0.5, True, None, 1.25],
    ]
    path = workbook(tmp_path, empty=[], People=rows)
    extract = read_people(path)
    assert extract.table.column("person_id").to_pylist() == ["1234", "x-1", "12", "0.5"]
    assert extract.table.column("unsubscribed").to_pylist() == [True, False, True, True]
    assert extract.table.column("last_name").to_pylist() == ["7", " Lee ", None, "1.25"]
    assert extract.table.column("updated_at").to_pylist() == [
        datetime(2026, 11, 24, 4, tzinfo=UTC),
        datetime(2026, 11, 24, tzinfo=UTC),
        datetime(2026, 11, 24, tzinfo=UTC),
        None,
    ]
    (source,) = extract.inputs
    assert (source.kind, source.rows, source.details["sheet"]) == ("excel", 4, "People")
    assert source.details["times_without_zone"] == 2
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_rows_of_a_sheet_are_named_as_excel_counts_them(tmp_path: Path) -> None:
    path = workbook(tmp_path, People=[[], HEAD, ["1", "yes"], [], ["1", None], [12345678901234567890, "yes"]])
    assert refused(path) == [
        (5, "person_id", "the id is the same as in line 3."),
        (5, "unsubscribed", "the flag is blank."),
        (6, "person_id", "the id is written as a rounded number: a spreadsheet has lost its last digits."),
    ]


def test_numbers_and_flags_in_one_column_are_a_mixture(tmp_path: Path) -> None:
    path = workbook(tmp_path, People=[HEAD, ["1", True], ["2", 0]])
    assert refused(path) == [
        (
            3,
            "unsubscribed",
            "the column mixes spellings of its flags: 'TRUE' first in line 2, '0' first in line 3.",
        )
    ]


def test_sheets(tmp_path: Path) -> None:
    two = workbook(tmp_path, A=[HEAD, ["1", True]], B=[["note"]])
    assert refused(two) == [(None, None, "2 sheets hold data: 'A', 'B'.")]
    assert refused(workbook(tmp_path, A=[], B=[])) == [(None, None, "the workbook holds no data.")]
    assert refused(workbook(tmp_path, A=[HEAD])) == [(None, None, "the sheet has a header but no rows.")]


def test_a_workbook_that_was_cut_short(tmp_path: Path) -> None:
    path = workbook(tmp_path, A=[HEAD, ["1", True]])
    path.write_bytes(path.read_bytes()[:-200])
    ((line, column, message),) = refused(path)
    assert (line, column) == (None, None)
    assert message.startswith("the workbook can't be opened")
    moved = path.rename(tmp_path / "people.csv")
    assert "damaged zip archive" in refused(moved)[0][2]


def test_a_workbook_under_another_name(tmp_path: Path) -> None:
    path = workbook(tmp_path, A=[HEAD, ["1", True]]).rename(tmp_path / "people.xls")
    assert refused(path) == [
        (
            None,
            None,
            "the file is named like an old Excel workbook (.xls) but its content looks like an Excel workbook (.xlsx).",
        )
    ]


def test_a_report_in_a_workbook(tmp_path: Path) -> None:
    rows: list[list[Any]] = [
        ["Lead ID", "Email Opt Out", "Last Name"],
        ["00Q000000000001", 1, "Lee"],
        ["00Q000000000002", 0, "Bo"],
        [],
        ["Opted-out Leads"],
        ["Copyright (c) 2000-2026 salesforce.com, inc. All rights reserved."],
    ]
    extract = read_leads(workbook(tmp_path, Report=rows))
    assert extract.table.column("opted_out").to_pylist() == [True, False]
    assert extract.inputs[0].details["footer_rows"] == 2


def test_typed_columns_of_a_parquet_file(tmp_path: Path) -> None:
    at = datetime(2026, 11, 24, 4, tzinfo=UTC)
    path = parquet(
        tmp_path,
        {
            "person_id": pa.array([1.0, 2.0, 3.5]),
            "unsubscribed": pa.array([True, False, True]),
            "salesforce_id": pa.array(["", None, " x "]).dictionary_encode(),
            "email": pa.array(["a", " ", None], type=pa.large_string()),
            "first_name": pa.array([None, Decimal(7), None]),
            "last_name": pa.array([float("nan"), 7.0, None]),
            "unsubscribed_at": pa.array([at, None, at], type=pa.timestamp("ns", tz="America/Los_Angeles")),
            "updated_at": pa.array([NO_ZONE, None, None], type=pa.timestamp("ms")),
            "resubscribed_at": pa.array([None, None, date(2026, 11, 24)]),
            "unused": pa.array([[1], [2], [3]]),
        },
    )
    extract = read_people(path)
    first, second, third = extract.table.to_pylist()
    assert [first["person_id"], second["person_id"], third["person_id"]] == ["1", "2", "3.5"]
    assert [first["unsubscribed"], second["unsubscribed"]] == [True, False]
    assert [row["salesforce_id"] for row in (first, second, third)] == [None, None, "x"]
    assert [row["email"] for row in (first, second, third)] == ["a", None, None]
    assert [row["first_name"] for row in (first, second, third)] == [None, "7", None]
    assert [row["last_name"] for row in (first, second, third)] == [None, "7", None]
    assert [first["unsubscribed_at"], first["updated_at"]] == [at, at]
    assert third["resubscribed_at"] == datetime(2026, 11, 24, tzinfo=UTC)
    (source,) = extract.inputs
    assert (source.kind, source.rows, source.details["times_without_zone"]) == ("parquet", 3, 2)
    assert source.details["vocabulary"] == ["unsubscribed: boolean"]


def test_text_columns_of_a_parquet_file_are_read_as_those_of_a_csv(tmp_path: Path) -> None:
    columns = {"person_id": ["1", "1", None], "unsubscribed": ["1", "true", None], "updated_at": ["x", None, None]}
    assert refused(parquet(tmp_path, columns)) == [
        (1, "updated_at", "this is no time that can be read in one way only."),
        (2, "person_id", "the id is the same as in line 1."),
        (
            2,
            "unsubscribed",
            "the column mixes spellings of its flags: '1' first in line 1, 'true' first in line 2.",
        ),
        (3, "person_id", "the id is blank."),
        (3, "unsubscribed", "the flag is blank."),
    ]


def test_a_null_flag_of_a_parquet_file_is_blank(tmp_path: Path) -> None:
    path = parquet(tmp_path, {"person_id": [1, 2], "unsubscribed": [True, None]})
    assert refused(path) == [(2, "unsubscribed", "the flag is blank.")]


def test_parquet_files_that_cannot_be_used(tmp_path: Path) -> None:
    path = parquet(tmp_path, {"person_id": [1], "unsubscribed": [True]})
    path.write_bytes(path.read_bytes()[:-20])
    assert refused(path) == [(None, None, "the Parquet file can't be read: it is damaged or cut short.")]
    path = parquet(tmp_path, {"person_id": pa.array([], pa.string()), "unsubscribed": pa.array([], pa.bool_())})
    assert refused(path) == [(None, None, "the file has columns but no rows.")]
    path = parquet(tmp_path, {"person_id": [[1]], "unsubscribed": [True]})
    assert refused(path)[0][1:] == ("person_id", "the column is of the type list<element: int64>.")
    path = parquet(tmp_path, {"person_id": [b"\xff"], "unsubscribed": [True]})
    assert refused(path)[0][1:] == ("person_id", "the column is of the type binary, and its values are no text.")
