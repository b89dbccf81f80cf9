"""Whatever rows a CSV holds, they come back as they are, and a fault is named by the line that an editor shows."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.errors import InputRefused
from recon.sources import scan as scanning
from recon.sources.files import read_people

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r") | st.sampled_from('",;\t\n\'"'), max_size=12)
WITH_RETURNS = st.text(st.sampled_from('",;\t\n\r ab"\u00e9'), max_size=12)
TABLE = st.lists(st.tuples(TEXT, WITH_RETURNS, st.booleans()), min_size=1, max_size=25)
HEADER = ["person_id", "first_name", "unsubscribed", "last_name"]


def as_csv(
    rows: list[list[str]], delimiter: str, end: str, quote_all: bool, blanks: list[int]
) -> tuple[str, list[int]]:
    """The text, and the line that each row starts in, counted the slow way."""
    out = io.StringIO()
    lines = []
    for number, row in enumerate([HEADER, *rows]):
        if number and blanks[(number - 1) % len(blanks)]:
            out.write(end * blanks[(number - 1) % len(blanks)])
        lines.append(out.getvalue().count("\n") + 1)
        csv.writer(
            out,
            delimiter=delimiter,
            lineterminator=end,
            quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL,
        ).writerow(row)
    return out.getvalue(), lines[1:]


def as_rows(table: list[tuple[str, str, bool]], quote_all: bool) -> list[list[str]]:
    """The cells. Python's writer leaves a carriage return unquoted where a line ends with LF: no reader could tell it."""
    return [
        [str(n), first, "yes" if flag else "no", last if quote_all else last.replace("\r", "")]
        for n, (first, last, flag) in enumerate(table)
    ]


def on_disk(content: bytes, use: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.csv"
        path.write_bytes(content)
        return use(path)


STYLE = {
    "delimiter": st.sampled_from([",", ";", "\t"]),
    "end": st.sampled_from(["\n", "\r\n"]),
    "quote_all": st.booleans(),
    "blanks": st.lists(st.integers(0, 2), min_size=1, max_size=4),
    "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030"]),
    "block": st.integers(4, 64),
    "keep_end": st.booleans(),
}


@settings(deadline=None)  # the first call warms Arrow up
@given(table=TABLE, **STYLE)
def test_rows_come_back_as_they_were_written(
    table: list[tuple[str, str, bool]],
    delimiter: str,
    end: str,
    quote_all: bool,
    blanks: list[int],
    encoding: str,
    block: int,
    keep_end: bool,
) -> None:
    rows = as_rows(table, quote_all)
    text, _ = as_csv(rows, delimiter, end, quote_all, blanks)
    if not keep_end:
        text = text.removesuffix(end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "_BLOCK", block)
        read = on_disk(text.encode(encoding), lambda path: read_people(path, encoding=encoding)).table
    assert read.column("person_id").to_pylist() == [row[0] for row in rows]
    assert read.column("first_name").to_pylist() == [row[1] if row[1].strip() else None for row in rows]
    assert read.column("last_name").to_pylist() == [row[3] if row[3].strip() else None for row in rows]
    assert read.column("unsubscribed").to_pylist() == [row[2] == "yes" for row in rows]


@settings(deadline=None)  # the first call warms Arrow up
@given(table=TABLE, data=st.data(), **STYLE)
def test_a_fault_is_named_by_its_line(
    table: list[tuple[str, str, bool]],
    data: st.DataObject,
    delimiter: str,
    end: str,
    quote_all: bool,
    blanks: list[int],
    encoding: str,
    block: int,
    keep_end: bool,
) -> None:
    rows = as_rows(table, quote_all)
    bad = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1), min_size=1)))
    ragged = data.draw(st.booleans())
    for row in bad:
        if ragged:
            rows[row] = [*rows[row], "x"] if row % 2 else rows[row][:2]
        else:
            rows[row][2] = ""
    text, lines = as_csv(rows, delimiter, end, quote_all, blanks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "_BLOCK", block)
        with pytest.raises(InputRefused) as caught:
            on_disk(text.encode(encoding), lambda path: read_people(path, encoding=encoding))
    named = [problem.line for problem in caught.value.problems if "mixes" not in problem.message]
    assert named == [lines[row] for row in bad]


@settings(deadline=None)  # the first call warms Arrow up
@given(table=TABLE, cut=st.floats(0, 1, exclude_max=True), block=st.integers(4, 64))
def test_a_file_cut_anywhere_is_refused_or_holds_whole_rows(
    table: list[tuple[str, str, bool]], cut: float, block: int
) -> None:
    rows = [[str(n), first, "yes" if flag else "no", f"{last}|"] for n, (first, last, flag) in enumerate(table)]
    text, _ = as_csv(rows, ",", "\n", quote_all=True, blanks=[0])
    content = text.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "_BLOCK", block)
        try:
            extract = on_disk(content[: int(len(content) * cut)], read_people)
        except InputRefused:
            return
    read, wanted = extract.table.column("last_name").to_pylist(), [row[3] for row in rows]
    if read != wanted[: len(read)]:
        # Cut behind a delimiter or between doubled quotes: all but the last cell is whole, and the input says why to doubt that one.
        assert read[:-1] == wanted[: len(read) - 1]
        assert wanted[len(read) - 1].startswith(read[-1] or "")
        assert extract.inputs[0].details["final_line_end"] is False
