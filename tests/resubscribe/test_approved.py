"""Approved files as people make them: read as they are meant, or refused with line and column."""

from __future__ import annotations

import hashlib
import importlib
import io
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recon.errors import InputRefused, UsageError
from recon.resubscribe.approved import ApprovedRow, read_approved
from recon.resubscribe.countries import country_code
from recon.tables import APPROVED

if TYPE_CHECKING:
    from pathlib import Path

workbook = importlib.import_module("openpyxl").Workbook  # it has no types
NEEDED = APPROVED.names[:9]
HEADER = ",".join(NEEDED)
LINE = "ann@buyer.example,Asked,Consent,2026-11-10,Mail,Call 4711,person,ida,2026-11-20"


def write(folder: Path, content: str | bytes, name: str = "approved.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path: Path, **options: Any) -> list[tuple[int | None, str | None, str]]:
    with pytest.raises(InputRefused) as caught:
        read_approved(path, **options)
    assert caught.value.exit_code == 2
    assert all(problem.file == str(path) and problem.remedy for problem in caught.value.problems)
    assert "@" not in str(caught.value)
    return [(problem.line, problem.column, problem.message) for problem in caught.value.problems]


WANTED = ApprovedRow(
    line=2,
    email="ann@buyer.example",
    reason="Asked",
    authorization="Consent",
    consent_date="2026-11-10",
    purpose="Mail",
    evidence="Call 4711",
    initiated_by="person",
    approved_by="ida",
    approved_at="2026-11-20",
)


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\n{LINE}\n",
        f"{HEADER}\n{LINE}",
        f"\ufeff{HEADER}\r\n{LINE}\r\n",
        f"{HEADER}\n{LINE}\n".replace(",", ";"),
        f"{HEADER}\n{LINE}\n".replace(",", "\t"),
        f"{HEADER}\n{LINE}\n".replace("consent_date", "Consent Date").replace("email", "E-Mail"),
        f"{HEADER}\n{LINE}\n".replace("approved_at", " APPROVED-AT ").replace("reason", "“Reason”"),
        f"{HEADER}\n{LINE}\n".replace("ann@buyer.example", " “ann@buyer.example” "),
        f"{HEADER}\n{LINE}\n".replace("2026-11-10", "'2026-11-10").replace("Consent,", "“Consent”,"),
        f"{HEADER},,\n{LINE},,\n",
    ],
)
def test_one_row_in_many_guises(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, content)
    approved = read_approved(path)
    assert list(approved.rows) == [WANTED]
    assert approved.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (approved.source.name, approved.source.origin, approved.source.rows) == ("approved", "approved.csv", 1)


def test_columns_in_any_order_and_others_left_out(tmp_path: Path) -> None:
    names = [*reversed(NEEDED), "Ticket", "me@seller.example"]
    cells = [*reversed(LINE.split(",")), "T-1", "x"]
    approved = read_approved(write(tmp_path, ",".join(names) + "\n" + ",".join(cells)))
    assert list(approved.rows) == [WANTED]
    assert approved.source.details["columns_ignored"] == ["Ticket"]


def test_blank_lines_are_counted_and_every_row_keeps_its_line(tmp_path: Path) -> None:
    quoted = LINE.replace("Asked", '"Asked\nby phone"')
    content = f"{HEADER}\n\n{quoted}\n\n , ,,,,,,,\n{LINE}\n\n"
    approved = read_approved(write(tmp_path, content))
    assert [(row.line, row.reason) for row in approved.rows] == [(3, "Asked\nby phone"), (7, "Asked")]
    assert approved.blank_lines == (6,)
    assert approved.source.details["blank_rows"] == 1


def test_words_of_a_person_are_kept_and_neutralised_ones_restored(tmp_path: Path) -> None:
    cells = ["'+ann@buyer.example", "'=cmd|' /C calc'!A0", "Consent", "2026-11-10", "<b>“Mail”</b>", "'tis true"]
    cells += ["'person", "'@ida", "2026-11-20"]
    [row] = read_approved(write(tmp_path, HEADER + "\n" + ",".join(cells))).rows
    assert row.email == "'+ann@buyer.example"  # which address it is, the known ones tell
    assert row.reason == "=cmd|' /C calc'!A0"
    assert row.purpose == "<b>“Mail”</b>"
    assert row.evidence == "'tis true"
    assert (row.initiated_by, row.approved_by) == ("person", "@ida")


def test_the_optional_columns(tmp_path: Path) -> None:
    optional = APPROVED.names[9:]
    cells = ["Correction", "'0017", "rob", "sales", " uk ", "Notice 7", "ab" * 32, "Wrong import"]
    [row] = read_approved(write(tmp_path, ",".join([HEADER, *optional]) + "\n" + ",".join([LINE, *cells]))).rows
    assert [getattr(row, name) for name in optional] == [
        *("correction", "0017", "rob", "sales", "GB", "Notice 7", "ab" * 32, "Wrong import")
    ]


def test_a_workbook_gives_typed_dates_and_its_row_numbers(tmp_path: Path) -> None:
    book = workbook()
    sheet = book.active
    sheet.append([*NEEDED, "person_id"])
    sheet.append([])
    cells: list[Any] = [*LINE.split(","), 17]
    sheet.append([*cells[:3], date(2026, 11, 10), *cells[4:8], datetime(2026, 11, 20, 9, 30), 17])  # noqa: DTZ001
    sheet.append([*cells[:3], 46336, *cells[4:]])
    book.save(tmp_path / "approved.xlsx")
    first, second = read_approved(tmp_path / "approved.xlsx").rows
    assert (first.line, first.consent_date, first.approved_at, first.person_id) == (
        *(3, "2026-11-10", "2026-11-20T09:30:00", "17"),
    )
    # A serial number in a cell that is no date is a number: the verdict says that it can't be read.
    assert (second.line, second.consent_date) == (4, "46336")


def test_a_parquet_file(tmp_path: Path) -> None:
    cells = dict(zip(NEEDED, ([cell] for cell in LINE.split(",")), strict=True))
    pq.write_table(pa.table(cells | {"consent_date": pa.array([date(2026, 11, 10)])}), tmp_path / "approved.parquet")
    [row] = read_approved(tmp_path / "approved.parquet").rows
    assert (row.line, row.email, row.consent_date) == (1, "ann@buyer.example", "2026-11-10")


@pytest.mark.parametrize("missing", NEEDED)
def test_a_missing_column_refuses_the_file(tmp_path: Path, missing: str) -> None:
    place = NEEDED.index(missing)
    header, cells = list(NEEDED), LINE.split(",")
    del header[place], cells[place]
    found = refused(write(tmp_path, ",".join(header) + "\n" + ",".join(cells)))
    assert found == [(1, missing, f"there is no column {missing!r}.")]


def test_a_misspelt_header_is_named_and_never_guessed(tmp_path: Path) -> None:
    found = refused(write(tmp_path, f"{HEADER},contry\n{LINE},US".replace("evidence", "evidense")))
    assert found == [
        (1, "evidence", "there is no column 'evidence'. Is 'evidense' meant?"),
        (1, "contry", "the header 'contry' looks like the column 'country', and it can't be told surely."),
    ]


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    found = refused(write(tmp_path, f"{HEADER},E-mail\n{LINE},x"))
    assert found == [(1, "email", "the column is there more than once: 'email' (column 1) and 'E-mail' (column 10).")]


def test_a_file_without_a_header_shows_no_address(tmp_path: Path) -> None:
    assert len(refused(write(tmp_path, f"{LINE}\n{LINE}\n"))) >= len(NEEDED)


def test_text_without_a_header_refuses_the_file(tmp_path: Path) -> None:
    found = refused(write(tmp_path, f"{HEADER},\n{LINE},\n{LINE},x\n"))
    assert found == [(3, None, "there is text in column 10, which has no header.")]


def test_a_kind_or_country_that_cannot_be_told_refuses_the_file(tmp_path: Path) -> None:
    content = f"{HEADER},kind,country\n{LINE},corection,\n{LINE},,Narnia\n{LINE},consent,de\n"
    found = refused(write(tmp_path, content))
    assert found == [
        (2, "kind", "a text of 9 characters is none of the words known here."),
        (3, "country", "this is no country code, so whose rules apply can't be told."),
    ]


def test_an_id_that_a_spreadsheet_has_rounded(tmp_path: Path) -> None:
    found = refused(write(tmp_path, f"{HEADER},person_id\n{LINE},1.23E+17\n"))
    assert [(line, column) for line, column, _ in found] == [(2, "person_id")]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (f"{HEADER}\n{LINE},more\n", 2),
        (f'{HEADER}\n{LINE}\n"{LINE}\n', 3),
        (f"{HEADER}\n{LINE}".encode() + b"\xff\n", 2),
        (f"\n{HEADER}\n{LINE}\n", 1),
        (HEADER, None),
        (f"{HEADER}\n,,,,,,,,\n", None),
        ("", None),
        (b"PK\x03\x04rest", None),
    ],
)
def test_what_cannot_be_read_surely_is_refused(tmp_path: Path, content: str | bytes, line: int | None) -> None:
    found = refused(write(tmp_path, content))
    assert [at for at, _, _ in found] == [line]


def test_no_file_and_no_encoding(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere.csv")
    with pytest.raises(UsageError, match="encoding"):
        read_approved(write(tmp_path, f"{HEADER}\n{LINE}\n"), encoding="utf-99")
    latin = write(tmp_path, f"{HEADER}\n{LINE}\n".replace("Asked", "Gefragt für").encode("windows-1252"))
    assert read_approved(latin, encoding="windows-1252").rows[0].reason == "Gefragt für"


def test_parquet_with_a_damaged_text_or_twice_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "approved.parquet"
    table = pa.table([["x"]] * 11, names=[*NEEDED, "", ""])
    pq.write_table(table, path)
    assert {message for _, _, message in refused(path)} == {"the column is there more than once."}
    out = io.BytesIO()
    pq.write_table(pa.table({name: ["Zebrafish"] for name in NEEDED}), out, compression="none", use_dictionary=False)
    path.write_bytes(out.getvalue().replace(b"Zebrafish", b"Zebra\xffish"))
    assert [message for _, _, message in refused(path)] == [
        "the Parquet file can't be read: it is damaged or cut short."
    ]
    path.write_bytes(out.getvalue().replace(b"evidence", b"eviden\xffe"))
    assert [message for _, _, message in refused(path)] == [
        "the Parquet file can't be read: it is damaged or cut short."
    ]


def test_a_workbook_whose_directory_is_damaged(tmp_path: Path) -> None:
    out = io.BytesIO()
    workbook().save(out)
    content = bytearray(out.getvalue())
    directory = content.index(b"PK\x01\x02")
    content[directory + 6] = 200  # the zip version needed to extract
    refused(write(tmp_path, bytes(content), "approved.xlsx"))


def test_the_digest_tells_the_content_and_not_the_place() -> None:
    other = ApprovedRow(line=9, email="Ann@buyer.example", reason="Asked")
    same = ApprovedRow(line=2, email="'ann@buyer.example", reason="Asked")
    assert other.digest("ann@buyer.example") == same.digest("ann@buyer.example")
    assert other.digest("ann@buyer.example") != other.digest("bea@buyer.example")
    assert other.digest(None) != ApprovedRow(line=9, purpose="Asked").digest(None)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (" de ", "DE"),
        ("U.S.A", None),
        ("USA", "US"),
        ("United  Kingdom", "GB"),
        ("D", None),
        ("1a", None),
        ("ÄÖ", None),
    ],
)
def test_countries(text: str, code: str | None) -> None:
    assert country_code(text) == code
