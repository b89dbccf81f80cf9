"""The quick reader and the careful one: the same rows and the same words about them, or the quick one leaves the file alone."""

from __future__ import annotations

import csv
import io
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recon.errors import InputRefused
from recon.identity import BLANKS
from recon.sources import quick_scan as quick_scanning
from recon.sources.files import read_contacts, read_leads, read_people
from recon.sources.ids import are_whole, to_18
from recon.sources.quick import Quick
from recon.sources.quick_scan import quick_scan
from recon.sources.scan import NotInEncoding, scan
from recon.tables import PEOPLE, RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from recon.sources.base import Extract
    from recon.tables import Table

NASTY = st.text(st.sampled_from('",;\t\n\r ab\u00e9\u2028\x00\x01\x85\ufeff\u0130'), max_size=6)
PEOPLE_HEADER = (
    *("person_id", "email", "salesforce_id", "unsubscribed", "unsubscribe_level", "unsubscribed_at"),
    *("unsubscribe_source", "first_name", "updated_at"),
)
MOMENTS = (
    *("", "2026-11-24T18:00:00Z", "2026-11-24T18:00:00.123Z", "2026-11-24T18:00:00.000+0000", "2026-11-24"),
    *("2026-11-24 18:00:00", "2026-11-24T18:00:00", "2026-11-24T18:00:00+02:00", "2026-02-30", "2026-11-24T24:00:00Z"),
    *(
        "2026-11-24T18:00:60Z",
        "2026-11-24T18:60:00Z",
        "0999-11-24T18:00:00Z",
        "3026-11-24",
        " 2026-11-24",
        "2026-11-24T1:00:00 Z",
    ),
    *(
        "12026-1-24T18:00:00Z",
        "2026-1--24T18:00:00Z",
        "2026-11-24t18:00:00z",
        "11/24/2026",
        "2026-11-24T18:00Z",
        "2026-00-10",
    ),
    *(
        "2026-11-24T18:00:00.1234567Z",
        "2026-11-24T-1:00:00Z",
        "2026-11-24T18:00:+1Z",
        "\u0662026-11-24",
        "2026-11-24T18:00:00.+12Z",
    ),
)
BODY = "0035e00000Ab"


@pytest.fixture(scope="module")
def quick() -> Iterator[Quick]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield Quick(connection)


def both(
    quick: Quick, read: Callable[..., Extract], content: bytes, table: Table, name: str = "file.csv", **options: Any
) -> str:
    """Read with both and compare; tells what became of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        careful: Extract | list[str]
        try:
            careful = read(path, **options)
        except InputRefused as refused:
            careful = [str(problem) for problem in refused.problems]
        if isinstance(careful, list):
            with pytest.raises(InputRefused) as caught:
                read(path, quick=quick, **options)
            assert careful == [str(problem) for problem in caught.value.problems]
            return "refused"
        found = read(path, quick=quick, **options)
        assert found.inputs == careful.inputs
        if isinstance(found.table, pa.Table):
            assert found.table.equals(careful.table)
            return "careful"
        rows = table.conform(found.table.to_native().to_arrow_table())
    names = [name for name in table.names if name not in ("first_name", "last_name")]
    key = [(names[0], "ascending")]
    assert rows.select(names).sort_by(key).to_pylist() == careful.table.select(names).sort_by(key).to_pylist()
    return "quick"


def written(header: tuple[str, ...], rows: list[list[str]], end: str = "\n", quoting: Any = csv.QUOTE_MINIMAL) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator=end, quoting=quoting).writerows([header, *rows])
    return out.getvalue()


ROW = st.tuples(
    NASTY,
    st.sampled_from(["", "0035e0000000001AAA", "0035e0000000001", " 0035e0000000001AAA", "x\x01y", "1.2E+17", "a-b"]),
    st.sampled_from(["yes", "no"]),
    st.sampled_from(["", "account", "user", "Block", "blocked", "USER "]),
    st.sampled_from(MOMENTS[:9]),
    st.sampled_from(
        ["", "manual", "Clicked Link", "salesforce-sync", "bounce", "Ada", " ", "\u00e9", "cl\u0130cked_link"]
    ),
    NASTY,
    st.sampled_from(MOMENTS[:4]),
)


@settings(deadline=None)
@given(
    rows=st.lists(ROW, min_size=1, max_size=12),
    end=st.sampled_from(["\n", "\r\n"]),
    quote_all=st.booleans(),
    mark=st.booleans(),
    keep_end=st.booleans(),
    block=st.sampled_from([7, 64, 1 << 19]),
)
def test_people_are_the_same(
    quick: Quick, rows: list[tuple[str, ...]], end: str, quote_all: bool, mark: bool, keep_end: bool, block: int
) -> None:
    table = [[str(number), *row] for number, row in enumerate(rows)]
    text = written(PEOPLE_HEADER, table, end, csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
    text = text if keep_end else text.removesuffix(end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quick_scanning, "_BLOCK", block)
        both(quick, read_people, (b"\xef\xbb\xbf" if mark else b"") + text.encode(), PEOPLE)


@settings(deadline=None)
@given(content=st.binary(max_size=60) | st.text(st.sampled_from('",\n\r a1\u00e9\x00'), max_size=60).map(str.encode))
@example(content=b'1,yes,"a\n')
@example(content=b'1,yes, "a"\n')
@example(content=b'1,yes,a"b"\n')
@example(content=b"1,yes,a\n\n2,no,b")
@example(content=b"1,yes,a\r2,no,b\n")
@example(content=b"1,yes,a,\n")
@example(content=b"1,yes\n")
@example(content=b"1,yes,\xff\n")
@example(content=b'1,yes,"' + b"x" * 100_000 + b'"\n')
@example(content=b'1,yes,"a\n\n\r\nb"\r\n2,no,c\r\n')
def test_whatever_the_bytes_are(quick: Quick, content: bytes) -> None:
    both(quick, read_people, b"person_id,unsubscribed,first_name\n" + content, PEOPLE)


@settings(deadline=None)
@given(
    content=st.lists(st.sampled_from(['"', '""', ",", "\n", "\r\n", "\r", "a", "\u00e9", " "]), max_size=30).map(
        "".join
    ),
    block=st.sampled_from([1, 3, 8, 1 << 19]),
)
def test_the_quick_walk_takes_only_what_the_careful_walk_takes(content: str, block: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "file.csv"
        path.write_bytes(content.encode())
        patch.setattr(quick_scanning, "_BLOCK", block)
        quick = quick_scan(path, ",")
        try:
            careful = scan(path, "utf-8-sig", ",")
        except NotInEncoding:
            assert quick is None
            return
    if quick is not None:
        assert careful.misplaced_quote is careful.unclosed_quote is careful.lone_cr is None
        assert (quick.sha256, quick.size) == (careful.sha256, careful.size)
        assert quick.rows == len(careful.lines)
        assert not content or quick.final_line_end == careful.final_line_end


@pytest.mark.parametrize("number", range(len(MOMENTS)))
def test_a_time_is_read_alike(quick: Quick, number: int) -> None:
    text = written(("person_id", "unsubscribed", "updated_at"), [["1", "yes", ""], ["2", "no", MOMENTS[number]]])
    both(quick, read_people, text.encode(), PEOPLE)


@settings(deadline=None)
@given(
    st.from_regex(
        r"\A[12][0-9]{3}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{3})?(Z|\+0000)?)?\Z"
    )
)
def test_any_time_is_read_alike(quick: Quick, moment: str) -> None:
    text = written(("person_id", "unsubscribed", "updated_at"), [["1", "yes", moment]])
    both(quick, read_people, text.encode(), PEOPLE)


@pytest.mark.parametrize(
    ("words", "became"),
    [
        (("yes", "no"), "quick"),
        (("Unsubscribed", "Subscribed"), "quick"),
        (("T", "T"), "quick"),
        (("0", "0"), "quick"),
        (("yes", "No"), "refused"),
        (("true", "0"), "refused"),
        ((" yes", "no"), "careful"),
        (("tRUE", "tRUE"), "careful"),
        (("yes", ""), "refused"),
        (("yes", "maybe"), "refused"),
    ],
)
def test_flags_are_read_alike(quick: Quick, words: tuple[str, str], became: str) -> None:
    rows = [[str(number), word] for number, word in enumerate(words)]
    text = written(("person_id", "unsubscribed"), rows)
    assert both(quick, read_people, text.encode(), PEOPLE) == became


def test_a_spelling_that_changes_behind_the_sample_is_seen(quick: Quick) -> None:
    rows = [[str(number), "no"] for number in range(3000)] + [["x", "YES"]]
    assert both(quick, read_people, written(("person_id", "unsubscribed"), rows).encode(), PEOPLE) == "refused"


RECORDS_HEADER = (
    "Id",
    "Email",
    "HasOptedOutOfEmail",
    "IsDeleted",
    "Marketo_Sales_Opt_Out__c",
    "OptedOutAt",
    "LastModifiedDate",
)


@pytest.mark.parametrize("field", ["standard", "custom", "both"])
def test_records_are_the_same(quick: Quick, field: str) -> None:
    ids, _ = to_18(pa.chunked_array([[f"{BODY}{number:03d}" for number in range(50)]]))
    rows = [
        [
            one,
            f" A{n}@x.example" if n % 3 else "",
            str(n % 2),
            str(n % 5 // 4),
            str(n % 3 % 2),
            MOMENTS[n % 5],
            MOMENTS[1],
        ]
        for n, one in enumerate(ids.to_pylist())
    ]
    text = written(RECORDS_HEADER, rows)
    assert both(quick, read_contacts, text.encode(), RECORDS, opt_out_field=field) == "quick"
    assert both(quick, read_leads, text.encode(), RECORDS, opt_out_field=field) == "refused"
    assert both(quick, read_contacts, (text + text.split("\n", 1)[1]).encode(), RECORDS) == "refused"
    short = written(RECORDS_HEADER, [[row[0][:15], *row[1:]] for row in rows])
    assert both(quick, read_contacts, short.encode(), RECORDS) == "careful"


@pytest.mark.parametrize("contact", ["", "0" * 15, "0" * 15 + "AAA", "0035e00000Ab001", "00Q5e00000Ab001AAA", "nobody"])
def test_what_a_lead_became_is_the_same(quick: Quick, contact: str) -> None:
    ids, _ = to_18(pa.chunked_array([["00Q5e00000Ab001"]]))
    whole, _ = to_18(pa.chunked_array([["0035e00000Ab001"]]))
    header = ("Id", "HasOptedOutOfEmail", "IsConverted", "ConvertedContactId")
    for last in (contact, whole[0].as_py()):
        both(quick, read_leads, written(header, [[ids[0].as_py(), "true", "true", last]]).encode(), RECORDS)


@given(st.lists(st.text(st.sampled_from("0aAzZ9-\u00e9"), min_size=13, max_size=16), max_size=5))
def test_whole_ids_are_those_that_need_no_change(bodies: list[str]) -> None:
    done, _ = to_18(pa.chunked_array([bodies], type=pa.string()))
    known = done.drop_null().combine_chunks()
    texts = pa.concat_arrays([known, pa.array(bodies, pa.string())])
    for text in texts:
        same, _ = to_18(pa.chunked_array([[text.as_py()]], type=pa.string()))
        assert are_whole(pa.array([text.as_py()], pa.string()), "") == (same[0].as_py() == text.as_py())


def test_blanks_are_the_same_for_arrow_python_and_here() -> None:
    signs = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    trimmed = pc.utf8_trim_whitespace(pa.array(signs)).to_pylist()
    assert {sign for sign, left in zip(signs, trimmed, strict=True) if not left} == set(BLANKS)
    assert {sign for sign in signs if not sign.strip()} == set(BLANKS)


@pytest.mark.parametrize("name", ["pe[o]ple.csv", "a*b.csv", "it's.csv", "\u00fc b.csv"])
def test_a_name_is_no_pattern(quick: Quick, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("person_id,unsubscribed\n1,yes\n")
    (tmp_path / "peaple.csv").write_text("person_id,unsubscribed\n2,yes\n")
    (tmp_path / "a1b.csv").write_text("person_id,unsubscribed\n2,yes\n")
    read = read_people(tmp_path / name, quick=quick).table
    assert not isinstance(read, pa.Table)
    assert read.to_native().project("person_id").fetchall() == [("1",)]
