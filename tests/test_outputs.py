"""The files of a run: exact, harmless, whole, and the same bytes however the rows came."""

from __future__ import annotations

import json
import stat
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon import outputs
from recon.tables import Column, Table

if TYPE_CHECKING:
    from pathlib import Path

THINGS = Table(
    "things",
    "a thing",
    (
        Column("name", "string", "its name"),
        Column("flag", "flag", "a flag"),
        Column("at", "time", "a moment"),
        Column("day", "date", "a day"),
        Column("number", "count", "a number"),
    ),
)


def things(*rows: tuple[object, ...]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(THINGS.names, row, strict=True)) for row in rows], schema=THINGS.schema)


def test_csv_is_as_documented(tmp_path: Path) -> None:
    at = datetime(2026, 11, 24, 18, 0, 0, 999_999, tzinfo=UTC)
    table = things(("=1+1", True, at, date(2026, 12, 8), 7), ('a "b", c\nd', False, None, None, None), (None,) * 5)
    assert outputs.write_csv(table.to_batches(), THINGS, tmp_path / "t.csv") == 3
    assert (tmp_path / "t.csv").read_bytes() == (
        b'"name","flag","at","day","number"\n'
        b'"\'=1+1",true,"2026-11-24T18:00:00Z",2026-12-08,7\n'
        b'"a ""b"", c\nd",false,,,\n'
        b",,,,\n"
    )


@given(st.lists(st.text(), max_size=20))
def test_csv_read_back_by_pandas_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    table = things(*((name.encode("utf-8", "replace").decode(), True, None, None, 1) for name in names))
    outputs.write_csv(table.to_batches(), THINGS, path)
    back = pd.read_csv(path, dtype=str, keep_default_na=False, lineterminator="\n")
    assert len(back) == len(names)
    for written, read in zip(table.column("name").to_pylist(), back["name"], strict=True):
        assert read in (written, "'" + written)
        assert not read.startswith(tuple("=+-@\t\r"))


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_bytes_do_not_depend_on_the_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(outputs, "_GROUP_ROWS", 10)
    table = things(*((f"n{number}", None, None, None, number) for number in range(25)))
    outputs.write_parquet(table.to_batches(), THINGS, tmp_path / "one.parquet")
    outputs.write_parquet(table.to_batches(max_chunksize=size), THINGS, tmp_path / "many.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "many.parquet").read_bytes()
    assert pq.read_table(tmp_path / "many.parquet").equals(table)


def test_an_empty_table_has_its_header_and_schema(tmp_path: Path) -> None:
    outputs.write_csv([], THINGS, tmp_path / "t.csv")
    outputs.write_parquet([], THINGS, tmp_path / "t.parquet")
    assert (tmp_path / "t.csv").read_text() == '"name","flag","at","day","number"\n'
    assert pq.read_schema(tmp_path / "t.parquet") == THINGS.schema


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    outputs.write_json({"b": 1, "a": "ü"}, tmp_path / "t.json")
    assert stat.S_IMODE((tmp_path / "t.json").stat().st_mode) == 0o600
    assert (tmp_path / "t.json").read_text("utf-8") == '{\n  "a": "ü",\n  "b": 1\n}\n'


def test_a_failed_write_leaves_nothing_and_spares_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("before")
    with pytest.raises(TypeError):
        outputs.write_json({"a": object()}, tmp_path / "t.json")
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]
    assert (tmp_path / "t.json").read_text() == "before"
    with pytest.raises(json.JSONDecodeError):
        json.loads((tmp_path / "t.json").read_text())
