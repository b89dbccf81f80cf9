from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from recon.errors import InputRefused, UsageError
from recon.sources.files import read_people
from recon.tables import PEOPLE

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, content: str | bytes, name: str = "people.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(path: Path, **options: Any) -> list[dict[str, Any]]:
    table = read_people(path, **options).table
    assert table.schema == PEOPLE.schema
    return table.to_pylist()  # type: ignore[no-any-return]


def refused(path: Path, **options: Any) -> InputRefused:
    with pytest.raises(InputRefused) as caught:
        read_people(path, **options)
    assert caught.value.exit_code == 2
    assert all(problem.file == str(path) for problem in caught.value.problems)
    assert all(problem.message.endswith((".", "?")) and problem.remedy for problem in caught.value.problems)
    assert "@" not in str(caught.value)
    return caught.value


def found(error: InputRefused) -> list[tuple[int | None, str | None, str]]:
    return [(problem.line, problem.column, problem.message) for problem in error.problems]


FULL = (
    "person_id,email,salesforce_id,unsubscribed,unsubscribe_level,unsubscribed_at,unsubscribe_source,"
    "resubscribed_at,first_name,last_name,updated_at\n"
    '1, Ann@Example.com ,00Q000000000ABC,true,Block,2026-11-01T10:00:00Z,Clicked Link,,Ann,"O\'Neil, Jr",2026-11-02\n'
    "2,,,false,,,,2026-11-03T01:02:03.5+02:00,NULL,nan,2026-11-02 10:00\n"
)


def test_every_column(tmp_path: Path) -> None:
    path = write(tmp_path, FULL)
    extract = read_people(path)
    first, second = extract.table.to_pylist()
    assert first == {
        "person_id": "1",
        "email": " Ann@Example.com ",
        "salesforce_id": "00Q000000000ABC",
        "unsubscribed": True,
        "unsubscribe_level": "account",
        "unsubscribed_at": datetime(2026, 11, 1, 10, tzinfo=UTC),
        "unsubscribe_source": "clicked_link",
        "resubscribed_at": None,
        "first_name": "Ann",
        "last_name": "O'Neil, Jr",
        "updated_at": datetime(2026, 11, 2, tzinfo=UTC),
    }
    assert second["email"] is None
    assert second["salesforce_id"] is None
    assert second["unsubscribed"] is False
    assert (second["first_name"], second["last_name"]) == ("NULL", "nan")  # text stays text
    assert second["resubscribed_at"] == datetime(2026, 11, 2, 23, 2, 3, 500000, tzinfo=UTC)
    (source,) = extract.inputs
    assert (source.name, source.kind, source.origin, source.rows) == ("people", "csv", "people.csv", 2)
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert source.size == path.stat().st_size
    assert source.started_at is None
    assert source.details["encoding"] == "utf-8"
    assert source.details["delimiter"] == "comma"
    assert source.details["vocabulary"] == ["unsubscribed: true/false"]
    assert source.details["times_without_zone"] == 2


@pytest.mark.parametrize(("sign", "name"), [(",", "comma"), (";", "semicolon"), ("\t", "tab")])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_delimiters_and_line_ends(tmp_path: Path, sign: str, name: str, end: str, last: bool) -> None:
    lines = [["person_id", "unsubscribed", "last_name"], ["1", "1", '"a\nb"'], ["2", "0", '""']]
    text = end.join(sign.join(line) for line in lines) + (end if last else "")
    path = write(tmp_path, text)
    assert [(row["unsubscribed"], row["last_name"]) for row in rows(path)] == [(True, "a\nb"), (False, None)]
    assert read_people(path).inputs[0].details["delimiter"] == name


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    path = write(tmp_path, "person_id,unsubscribed\r\n\r\n1,yes\n\n\n2,no\n\n")
    assert [row["unsubscribed"] for row in rows(path)] == [True, False]
    path = write(tmp_path, "person_id,unsubscribed\r\n\r\n1,yes\n\n\n2,\n\n")
    assert found(refused(path)) == [(6, "unsubscribed", "the flag is blank.")]


def test_a_byte_order_mark_is_no_part_of_the_first_header(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbf" + b"person_id,unsubscribed\n1,yes\n")
    assert len(rows(path)) == len(rows(path, encoding="utf-8")) == 1


def test_delimiters_inside_quoted_headers_do_not_count(tmp_path: Path) -> None:
    path = write(tmp_path, 'person_id;"Name, first";unsubscribed\n1;Ann;yes\n')
    assert rows(path, columns={"first_name": "Name, first"})[0]["first_name"] == "Ann"


def test_two_delimiters_in_the_header_are_told_by_what_is_needed(tmp_path: Path) -> None:
    assert len(rows(write(tmp_path, "person_id;Name, first;unsubscribed\n1;Ann;yes\n"))) == 1
    error = refused(write(tmp_path, "Who, exactly;Out\n1;yes\n"))
    assert found(error)[0][2].startswith("the header holds comma and semicolon: which of them parts the columns")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "person_id|unsubscribed",
            "the header has no comma, semicolon or tab between its columns. '|' is none of them.",
        ),
        ("unsubscribed", "the header has no comma, semicolon or tab between its columns."),
        ("", "line 1 is blank."),
        ('person_id,"unsubscribed"x', "a quote stands in the middle of a cell, so where the cells end can't be told."),
    ],
)
def test_headers_that_cannot_be_read(tmp_path: Path, header: str, message: str) -> None:
    assert found(refused(write(tmp_path, f"{header}\n1,yes\n"))) == [(1, None, message)]


# --- columns ---------------------------------------------------------------------------------------------------------


def test_mapped_and_differently_written_headers(tmp_path: Path) -> None:
    path = write(tmp_path, "Person ID, EMAIL ,Opted out?,unused,unused\n7,x,Unsubscribed,,\n8,y,Subscribed,,\n")
    extract = read_people(path, columns={"person_id": "person id", "unsubscribed": "Opted out?"})
    assert extract.table.column("unsubscribed").to_pylist() == [True, False]
    assert extract.table.column("email").to_pylist() == ["x", "y"]
    assert extract.inputs[0].details["columns"] == [
        "person_id = Person ID",
        "email =  EMAIL ",
        "unsubscribed = Opted out?",
    ]


def test_an_exact_header_goes_before_a_similar_one(tmp_path: Path) -> None:
    assert rows(write(tmp_path, "PERSON_ID,person_id,unsubscribed\n1,2,yes\n"))[0]["person_id"] == "2"


def test_missing_columns_say_how_to_map(tmp_path: Path) -> None:
    error = refused(write(tmp_path, "Person ID,Status\n1,yes\n"))
    assert found(error) == [
        (None, None, "there is no column 'person_id' (the person's id)."),
        (None, None, "there is no column 'unsubscribed' (the unsubscribed status)."),
    ]
    assert '--column person_id="Person ID"' in error.problems[0].remedy
    assert "--column unsubscribed=HEADER" in error.problems[1].remedy
    assert "[sales_connect.columns]" in error.problems[1].remedy


def test_a_map_that_does_not_fit(tmp_path: Path) -> None:
    path = write(tmp_path, "person_id,Opted out?\n1,yes\n")
    error = refused(path, columns={"unsubscribed": "Opted Out", "mail": "Email"})
    assert found(error) == [
        (None, None, "the column map names 'mail', which is no column of people. Did you mean 'email'?"),
        (
            None,
            None,
            "the column map says that unsubscribed is 'Opted Out', but there is no such header. Did you mean 'Opted out?'?",
        ),
    ]
    assert "--column unsubscribed=HEADER" in error.problems[1].remedy


def test_duplicate_headers_that_are_used(tmp_path: Path) -> None:
    error = refused(write(tmp_path, "person_id,unsubscribed,Email,EMAIL\n1,yes,,\n"))
    assert found(error) == [
        (None, "Email", "the column is there more than once: 'Email' (column 3) and 'EMAIL' (column 4).")
    ]


# --- flags -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("yes", "no"),
    [
        ("true", "false"),
        ("TRUE", "FALSE"),
        ("True", "False"),
        ("1", "0"),
        ("Yes", "No"),
        ("Y", "N"),
        ("t", "f"),
        ("Unsubscribed", "Subscribed"),
        (" yes", "no "),
    ],
)
def test_vocabularies(tmp_path: Path, yes: str, no: str) -> None:
    path = write(tmp_path, f"person_id,unsubscribed\n1,{yes}\n2,{no}\n3,{yes}\n")
    assert [row["unsubscribed"] for row in rows(path)] == [True, False, True]
    assert read_people(path).inputs[0].details["vocabulary"] == [f"unsubscribed: {yes.strip()}/{no.strip()}"]


@pytest.mark.parametrize(
    ("words", "line", "said"),
    [
        (["true", "false", "1"], 4, "'true' first in line 2, 'false' first in line 3, '1' first in line 4"),
        (["TRUE", "TRUE", "true"], 4, "'TRUE' first in line 2, 'true' first in line 4"),
        (["TRUE", "false", "TRUE"], 3, "'TRUE' first in line 2, 'false' first in line 3"),
        (["y", "yes", "no"], 3, "'y' first in line 2, 'yes' first in line 3, 'no' first in line 4"),
        (["Y", "No", "N"], 3, "'Y' first in line 2, 'No' first in line 3, 'N' first in line 4"),
    ],
)
def test_mixed_spellings(tmp_path: Path, words: list[str], line: int, said: str) -> None:
    body = "".join(f"{number},{word}\n" for number, word in enumerate(words))
    assert found(refused(write(tmp_path, f"person_id,unsubscribed\n{body}"))) == [
        (line, "unsubscribed", f"the column mixes spellings of its flags: {said}.")
    ]


def test_blank_and_unknown_flags_are_named_line_by_line(tmp_path: Path) -> None:
    text = 'person_id,Out,last_name\n1,yes,"a\nb"\n2,,\n3,  ,\n4,maybe,\n5,ann@example.com,\n6,Alice,\n'
    error = refused(write(tmp_path, text), columns={"unsubscribed": "Out"})
    assert found(error) == [
        (4, "Out", "the flag is blank."),
        (5, "Out", "the flag is blank."),
        (6, "Out", "'maybe' is no flag."),
        (7, "Out", "a text of 15 characters is no flag."),
        (8, "Out", "a text of 5 characters is no flag."),
    ]
    assert "A blank is not taken for 'no'" in error.problems[0].remedy
    assert "true/false" in error.problems[2].remedy


def test_very_many_faults_are_counted(tmp_path: Path) -> None:
    body = "".join(f"{number},\n" for number in range(1500))
    error = refused(write(tmp_path, f"person_id,unsubscribed\n{body}"))
    assert len(error.problems) == 1001
    assert found(error)[-1] == (1002, "unsubscribed", "from here on 500 more rows have this fault.")


# --- levels, sources, times, ids -------------------------------------------------------------------------------------


def test_levels(tmp_path: Path) -> None:
    text = "person_id,unsubscribed,unsubscribe_level\n1,yes,ACCOUNT\n2,yes,user\n3,yes,blocked\n4,yes,\n"
    assert [row["unsubscribe_level"] for row in rows(write(tmp_path, text))] == ["account", "user", "account", None]
    error = refused(write(tmp_path, text + "5,yes,team\n"))
    assert found(error) == [(6, "unsubscribe_level", "'team' is none of the words known here.")]
    assert "account, user, block" in error.problems[0].remedy


def test_sources(tmp_path: Path) -> None:
    words = ["manual", "Clicked Link", "SALESFORCE SYNC", "salesforce_sync", "Bounce", "Ann Admin", ""]
    body = "".join(f"{number},yes,{word}\n" for number, word in enumerate(words))
    extract = read_people(write(tmp_path, f"person_id,unsubscribed,unsubscribe_source\n{body}"))
    assert extract.table.column("unsubscribe_source").to_pylist() == [
        "manual",
        "clicked_link",
        "salesforce_sync",
        "salesforce_sync",
        "bounce",
        None,
        None,
    ]
    assert extract.inputs[0].details["unknown_unsubscribe_sources"] == 1


@pytest.mark.parametrize(
    ("text", "wanted", "zoned"),
    [
        ("2026-11-24T04:00:00Z", datetime(2026, 11, 24, 4, tzinfo=UTC), True),
        ("2026-11-24t04:00:00z", datetime(2026, 11, 24, 4, tzinfo=UTC), True),
        ("2026-11-24T04:00:00.000+0000", datetime(2026, 11, 24, 4, tzinfo=UTC), True),
        ("2026-11-23T20:00:00-08:00", datetime(2026, 11, 24, 4, tzinfo=UTC), True),
        ("2026-11-24 04:00:00 +00", datetime(2026, 11, 24, 4, tzinfo=UTC), True),
        ("2026-11-24T04:00:00,1234569Z", datetime(2026, 11, 24, 4, 0, 0, 123456, tzinfo=UTC), True),
        ("2026-11-24T04:00", datetime(2026, 11, 24, 4, tzinfo=UTC), False),
        ("2026-11-24 04:00:00.5", datetime(2026, 11, 24, 4, 0, 0, 500000, tzinfo=UTC), False),
        (" 2026-11-24 ", datetime(2026, 11, 24, tzinfo=UTC), False),
    ],
)
def test_times(tmp_path: Path, text: str, wanted: datetime, zoned: bool) -> None:
    path = write(tmp_path, f'person_id,unsubscribed,updated_at\n1,yes,"{text}"\n2,yes,\n3,yes,2026-01-01T00:00:00Z\n')
    extract = read_people(path)
    assert extract.table.column("updated_at").to_pylist() == [wanted, None, datetime(2026, 1, 1, tzinfo=UTC)]
    assert extract.inputs[0].details["times_without_zone"] == (0 if zoned else 1)


@pytest.mark.parametrize(
    "text",
    ["11/24/2026", "24.11.2026 10:00", "2026-02-30", "2026-11-24T25:00:00Z", "46350", "nan", "0000-00-00", "now"],
)
def test_times_that_can_be_read_in_two_ways_or_in_none(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, f"person_id,unsubscribed,updated_at\n1,yes,2026-11-24\n2,yes,{text}\n")
    error = refused(path)
    assert found(error) == [(3, "updated_at", "this is no time that can be read in one way only.")]
    assert "2026-11-24T04:00:00Z" in error.problems[0].remedy


def test_ids(tmp_path: Path) -> None:
    text = (
        "person_id,unsubscribed,salesforce_id,first_name\n"
        " 1 ,yes, 003000000000ABC ,a\x00b\n2,yes,not an id,\x07\n3,yes,,\n"
    )
    read = rows(write(tmp_path, text))
    assert [row["person_id"] for row in read] == ["1", "2", "3"]
    assert [row["salesforce_id"] for row in read] == ["003000000000ABC", "not an id", None]
    assert [row["first_name"] for row in read] == ["a\x00b", "\x07", None]


def test_ids_that_cannot_be_used(tmp_path: Path) -> None:
    text = (
        "person_id,unsubscribed,salesforce_id\n1,yes,\n,yes,\n1,no,\n3,yes,a\x00b\n4\x1f5,yes,\n1.2E+19,no,\n 1,no,\n"
    )
    assert found(refused(write(tmp_path, text))) == [
        (3, "person_id", "the id is blank."),
        (4, "person_id", "the id is the same as in line 2."),
        (5, "salesforce_id", "the id holds a control character."),
        (6, "person_id", "the id holds a control character."),
        (7, "person_id", "the id is written as a rounded number: a spreadsheet has lost its last digits."),
        (8, "person_id", "the id is the same as in line 2."),
    ]


# --- damaged files ---------------------------------------------------------------------------------------------------

HEAD = "person_id,unsubscribed,last_name\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (
            HEAD + "1,yes,A\n2,no",
            3,
            "the row has 2 cells, the header has 3. It is the last line: the file may be cut short.",
        ),
        (HEAD + "1,yes,A\n\n2\n3,no,B\n", 4, "the row has 1 cell, the header has 3."),
        (HEAD + '1,yes,"A\nA"\n2,no,B,C\n', 4, "the row has 4 cells, the header has 3."),
        (
            HEAD + "1,yes,A\n  \n",
            3,
            "the row has 1 cell, the header has 3. It is the last line: the file may be cut short.",
        ),
        (
            HEAD + '1,yes,A\n2,no,"B\n3,no,C\n4,no,D\n',
            3,
            "a quote is opened in this row and never closed: the file is cut short, or the closing quote is missing.",
        ),
        (
            HEAD + '1,yes,A\n2,no,"B\n3,no,"C"\n4,no,D\n',
            3,
            "a quote stands in the middle of a cell, so where the cells end can't be told.",
        ),
        (
            HEAD + '1,yes,"A\n\nB"\n2,no,5" pipe\n',
            5,
            "a quote stands in the middle of a cell, so where the cells end can't be told.",
        ),
        (HEAD + "1,yes,A\n2,no,B\rC\n", 3, "lines end with a carriage return alone (an old Macintosh format)."),
        (
            (HEAD + "1,yes,A\n").replace("\n", "\r"),
            1,
            "lines end with a carriage return alone (an old Macintosh format).",
        ),
        (HEAD, None, "the file has a header but no rows."),
        (HEAD + "\n\n", None, "the file has a header but no rows."),
        (HEAD.strip(), None, "the file has a header but no rows."),
    ],
)
def test_damaged_files(tmp_path: Path, text: str, line: int | None, message: str) -> None:
    assert found(refused(write(tmp_path, text))) == [(line, None, message)]


def test_everything_wrong_is_said_at_once_in_the_files_order(tmp_path: Path) -> None:
    text = "person_id,unsubscribed,unsubscribe_level,updated_at\n1,,x,y\n1,no,,\n,yes,,13/13/2026\n"
    error = refused(write(tmp_path, text))
    assert [problem.line for problem in error.problems] == [2, 2, 2, 3, 4, 4]
    path = tmp_path / "people.csv"
    assert f"{path}, line 3, column 'person_id': the id is the same as in line 2." in str(error)


# --- encodings -------------------------------------------------------------------------------------------------------


def test_another_encoding_is_refused_with_line_and_byte(tmp_path: Path) -> None:
    path = write(tmp_path, (HEAD + "1,yes,A\n2,no,Zo\u00eb\n").encode("iso-8859-1"))
    error = refused(path)
    assert found(error) == [(3, None, f"byte {len(HEAD) + 16} of the file isn't UTF-8 text.")]
    assert path.read_bytes()[len(HEAD) + 15] == 0xEB
    assert "--encoding NAME" in error.problems[0].remedy
    assert rows(path, encoding="iso-8859-1")[1]["last_name"] == "Zo\u00eb"
    assert rows(path, encoding="windows-1252")[1]["last_name"] == "Zo\u00eb"


def test_the_faulty_byte_is_named_behind_a_mark_and_at_the_end(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbfperson_id,unsubscribed\n1,yes\xc3")
    assert found(refused(path)) == [(2, None, f"byte {path.stat().st_size} of the file isn't UTF-8 text.")]


def test_a_faulty_byte_in_the_header(tmp_path: Path) -> None:
    path = write(tmp_path, "person_id,unsubscribed,Stra\u00dfe\n1,yes,\n".encode("latin-1"))
    assert found(refused(path)) == [(1, None, "byte 28 of the file isn't UTF-8 text.")]


def test_utf_16(tmp_path: Path) -> None:
    text = HEAD + '1,yes,"Zo\u00eb\n\u4e2d"\n2,no,\U0001f600\n'
    path = write(tmp_path, text.encode("utf-16"))
    error = refused(path)
    assert found(error) == [(1, None, "byte 1 of the file isn't UTF-8 text.")]
    assert "mark of UTF-16: say --encoding utf-16" in error.problems[0].remedy
    assert [row["last_name"] for row in rows(path, encoding="utf-16")] == ["Zo\u00eb\n\u4e2d", "\U0001f600"]
    assert read_people(path, encoding="utf-16").inputs[0].details["encoding"] == "utf-16"
    bare = write(tmp_path, text.encode("utf-16-le"))
    assert "--encoding utf-16-le" in refused(bare).problems[0].remedy
    assert len(rows(bare, encoding="utf-16-le")) == 2
    cut = write(tmp_path, text.encode("utf-16")[:-1])
    assert [line for line, _, _ in found(refused(cut, encoding="utf-16"))] == [4]


def test_a_file_that_is_not_in_the_given_encoding(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "1,yes,Zo\u00eb\n")
    assert found(refused(path, encoding="ascii")) == [(2, None, f"byte {len(HEAD) + 9} of the file isn't ASCII text.")]
    assert found(refused(path, encoding="utf-16")) == [(1, None, "byte 1 of the file isn't UTF-16 text.")]


@pytest.mark.parametrize("encoding", ["latin-99", "base64", "rot13", ""])
def test_no_such_encoding(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(UsageError, match="no text encoding named"):
        read_people(write(tmp_path, HEAD + "1,yes,\n"), encoding=encoding)


# --- kinds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("people.csv", b"", "the file is empty (0 bytes)."),
        ("people.csv", b"%PDF-1.7\n", "the file looks like a PDF document, which recon doesn't read."),
        ("people.xls", b"\xef\xbb\xbf <html><table>", "the file looks like an HTML page (some systems name such pages .xls), which recon doesn't read."),
        ("people.xls", b'<?xml version="1.0"?><Workbook>', "the file looks like an XML document, which recon doesn't read."),
        ("people.csv", b' [{"person_id": 1}]', "the file looks like JSON, which recon doesn't read."),
        ("people.csv.gz", b"\x1f\x8b\x08\x00", "the file looks like a gzip archive, which recon doesn't read."),
        ("people.csv", b"PAR1abc", "the file is named like text but its content looks like a Parquet file."),
        ("people.parquet", b"person_id,unsubscribed\n", "the file is named like a Parquet file but its content looks like text."),
        ("people.xls", b"person_id\tunsubscribed\n", "the file is named like an old Excel workbook (.xls) but its content looks like text."),
        ("people.xlsx", b"PK\x03\x04 cut short", "the workbook can't be opened (ZipError): it is damaged, cut short, or no workbook."),
        ("people.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000), "the workbook can't be opened (CalamineError): it is damaged, cut short, or no workbook."),
        ("people.zip", b"PK\x03\x04 cut short", "the file looks like a damaged zip archive, which recon doesn't read."),
        ("people.parquet", b"PAR1 cut short", "the Parquet file can't be read: it is damaged or cut short."),
    ],
)  # fmt: skip
def test_other_kinds(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    assert found(refused(write(tmp_path, content, name))) == [(None, None, message)]


def test_no_file(tmp_path: Path) -> None:
    assert found(refused(tmp_path / "none.csv")) == [(None, None, "there is no such file.")]
    assert found(refused(tmp_path)) == [(None, None, "this is a folder, not a file.")]


def test_a_name_that_says_nothing_is_no_matter(tmp_path: Path) -> None:
    assert len(rows(write(tmp_path, HEAD + "1,yes,\n", "people.export"))) == 1
