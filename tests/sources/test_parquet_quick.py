"""The quick reader of Parquet files and the careful one: the same rows and the same words about them, whatever the types."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon import jobs
from recon.engine import engine_named
from recon.sandbox.extracts import leave_extracts
from recon.sources.files import read_contacts, read_leads, read_people
from recon.sources.ids import to_18
from recon.tables import PEOPLE, RECORDS
from tests.sources.test_files_quick import BODY, MOMENTS, NASTY, both, quick

if TYPE_CHECKING:
    from pathlib import Path

    from recon.sources.quick import Quick

__all__ = ["quick"]

FILE = "file.parquet"
DAYS = [date(2026, 11, 24), None, date(1969, 12, 31)]
# Times without a zone, as such files hold them.
LOCAL = [datetime(2026, 11, 24, 18, 0, 0, 123_456), None, datetime(1960, 1, 1)]  # noqa: DTZ001
LONG_AGO, LATER = datetime(1900, 1, 1), datetime(2100, 1, 1)  # noqa: DTZ001
BERLIN = timezone(timedelta(hours=1))
ZONED = [datetime(2026, 11, 24, 18, tzinfo=UTC), datetime(2026, 11, 24, 18, tzinfo=BERLIN), None]


def parquet(table: pa.Table, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def people(**columns: Any) -> bytes:
    given = {"person_id": ["1", "2", "3"], "unsubscribed": [True, False, True]} | columns
    return parquet(pa.table({name: values for name, values in given.items() if values is not None}))


@pytest.mark.parametrize(
    ("columns", "became"),
    [
        ({}, "quick"),
        ({"person_id": pa.array([1, 2, 3], pa.int64())}, "quick"),
        ({"person_id": pa.array([1, 2, 3], pa.int32())}, "quick"),
        ({"person_id": pa.array([1, 2, 2**63 + 1], pa.uint64())}, "careful"),
        ({"person_id": pa.array([1.0, 2.0, 3.0])}, "careful"),
        ({"person_id": pa.array([1.5, 2.0, None])}, "refused"),
        ({"person_id": [1, 2, 2]}, "refused"),
        ({"person_id": [1, 2, None]}, "refused"),
        ({"person_id": pa.array(["1", "2", "3"], pa.large_string())}, "quick"),
        ({"person_id": pa.array(["1", "2", "3"]).dictionary_encode()}, "quick"),
        ({"person_id": pa.array([b"1", b"2", b"3"])}, "careful"),
        ({"person_id": pa.array([b"1", b"2", b"\xff"])}, "refused"),
        ({"person_id": ["a", " b", "c\x00"]}, "refused"),
        ({"unsubscribed": [True, None, False]}, "refused"),
        ({"unsubscribed": ["yes", "no", "no"]}, "quick"),
        ({"unsubscribed": ["yes", "No", "no"]}, "refused"),
        ({"unsubscribed": [1, 0, 0]}, "quick"),
        ({"unsubscribed": [1, 0, 2]}, "refused"),
        ({"unsubscribed": pa.array(["yes", "no", "no"]).dictionary_encode()}, "quick"),
        ({"email": ["", None, " Ada@x.example "]}, "quick"),
        ({"email": [True, False, None]}, "careful"),
        ({"email": LOCAL}, "careful"),
        ({"email": [[1], [2], [3]]}, "refused"),
        ({"updated_at": pa.array(LOCAL, pa.timestamp("us"))}, "quick"),
        ({"updated_at": pa.array(LOCAL, pa.timestamp("ns"))}, "careful"),
        ({"updated_at": pa.array(ZONED, pa.timestamp("ms", "UTC"))}, "quick"),
        ({"updated_at": pa.array(ZONED, pa.timestamp("us", "Europe/Berlin"))}, "quick"),
        ({"updated_at": pa.array(DAYS, pa.date32())}, "quick"),
        ({"updated_at": pa.array(DAYS, pa.date64())}, "quick"),
        ({"updated_at": pa.array([2**62, 0, None], pa.timestamp("ms"))}, "refused"),
        ({"updated_at": ["2026-11-24", None, ""]}, "quick"),
        ({"updated_at": ["2026-11-24", None, "soon"]}, "refused"),
        ({"updated_at": [20261124, None, None]}, "refused"),
        ({"Email": ["a@x.example", None, None], "email": ["b@x.example", None, None]}, "careful"),
        ({"notes": [{"a": 1}, None, None], "Notes": [1, 2, 3]}, "quick"),
        ({'a "b"': ["x", "y", "z"]}, "quick"),
    ],
)
def test_types_are_read_alike(quick: Quick, columns: dict[str, Any], became: str) -> None:
    assert both(quick, read_people, people(**columns), PEOPLE, FILE) == became


@settings(deadline=None)
@given(data=st.data())
def test_people_are_the_same(quick: Quick, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 8))

    def column(values: st.SearchStrategy[Any], kind: pa.DataType) -> pa.Array:
        return pa.array(data.draw(st.lists(st.none() | values, min_size=size, max_size=size)), kind)

    moment = st.datetimes(LONG_AGO, LATER)
    times = [
        column(st.sampled_from(MOMENTS[:9]), pa.string()),
        column(moment, pa.timestamp("us")),
        column(moment.map(lambda at: at.replace(tzinfo=UTC)), pa.timestamp("us", "UTC")),
        column(st.dates(date(1900, 1, 1), date(2100, 1, 1)), pa.date32()),
    ]
    flags = [
        pa.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size))),
        column(st.sampled_from(["yes", "no"]), pa.string()),
        column(st.integers(0, 1), pa.int8()),
    ]
    table = pa.table(
        {
            "person_id": data.draw(st.sampled_from([pa.array(range(size)), column(NASTY, pa.string())])),
            "email": column(NASTY, pa.string()),
            "unsubscribed": data.draw(st.sampled_from(flags)),
            "unsubscribed_at": data.draw(st.sampled_from(times)),
            "unsubscribe_source": column(st.sampled_from(["manual", "Clicked Link", "Ada", " "]), pa.string()),
            "updated_at": data.draw(st.sampled_from(times)),
        }
    )
    rows = data.draw(st.sampled_from([1, 3, 100]))
    both(quick, read_people, parquet(table, row_group_size=rows), PEOPLE, FILE)


@pytest.mark.parametrize("field", ["standard", "custom", "both"])
@pytest.mark.parametrize("words", [[True, False], ["true", "false"], [1, 0]])
def test_records_are_the_same(quick: Quick, field: str, words: list[Any]) -> None:
    ids, _ = to_18(pa.chunked_array([[f"{BODY}{number:03d}" for number in range(20)]]))
    table = pa.table(
        {
            "Id": ids,
            "Email": [f"A{n}@x.example" if n % 3 else None for n in range(20)],
            "HasOptedOutOfEmail": [words[n % 2] for n in range(20)],
            "IsDeleted": [words[n % 5 // 4] for n in range(20)],
            "Marketo_Sales_Opt_Out__c": [words[n % 3 % 2] for n in range(20)],
            "LastModifiedDate": pa.array([LOCAL[0]] * 20, pa.timestamp("ms"), safe=False),
        }
    )
    assert both(quick, read_contacts, parquet(table), RECORDS, FILE, opt_out_field=field) == "quick"
    assert both(quick, read_leads, parquet(table), RECORDS, FILE, opt_out_field=field) == "refused"


def test_damaged_pages_are_never_taken(quick: Quick) -> None:
    table = pa.table({"person_id": ["1", "2"], "unsubscribed": ["yes", "no"], "email": ["someone1@x.example", None]})
    whole = parquet(table, compression="none", use_dictionary=False)
    place = whole.index(b"someone1")
    assert both(quick, read_people, whole.replace(b"someone1", b"some\xffne1"), PEOPLE, FILE) == "refused"
    assert both(quick, read_people, whole[:place] + whole[place + 1 :], PEOPLE, FILE) != "quick"
    assert both(quick, read_people, whole[:-20], PEOPLE, FILE) == "refused"


def test_a_folder_or_a_name_is_no_pattern_and_no_column(quick: Quick, tmp_path: Path) -> None:
    folder = tmp_path / "email=nobody" / "a*b"
    folder.mkdir(parents=True)
    (folder / "pe[o]ple.parquet").write_bytes(people(email=["a@x.example"] * 3))
    read = read_people(folder / "pe[o]ple.parquet", quick=quick).table
    assert read.to_native().project("email").distinct().fetchall() == [("a@x.example",)]


@pytest.mark.parametrize("engine", ["duckdb", "pandas", "polars"])
def test_a_snapshots_folder_is_no_column(tmp_path: Path, engine: str) -> None:
    folder = tmp_path / "email=nobody"
    folder.mkdir()
    table = PEOPLE.conform(pa.table({"person_id": ["1"], "unsubscribed": [False], "email": ["a@x.example"]}))
    pq.write_table(table, folder / "people.parquet")
    found = engine_named(engine)
    assert found.collect(found.read_parquet(folder / "people.parquet", PEOPLE)).equals(table)


def test_a_reconciliation_of_parquet_is_that_of_csv(tmp_path: Path) -> None:
    leave_extracts(tmp_path, people=120, seed=3)
    names = ("people", "leads", "contacts")
    for name in names:
        table = pacsv.read_csv(
            tmp_path / f"{name}.csv",
            convert_options=pacsv.ConvertOptions(
                strings_can_be_null=True, null_values=[""], column_types={"person_id": pa.string()}
            ),
        )
        pq.write_table(table, tmp_path / f"{name}.parquet")

    def outputs(kind: str) -> Any:
        people, leads, contacts = (tmp_path / f"{name}.{kind}" for name in names)
        out = tmp_path / kind
        return jobs.reconcile(tmp_path, people=people, leads=leads, contacts=contacts, out=out).manifest["outputs"]

    assert outputs("csv") == outputs("parquet")


@pytest.mark.parametrize("memory", ["60MB", "2GB"])
def test_a_pull_of_files_keeps_every_cell_in_order(tmp_path: Path, memory: str) -> None:
    leave_extracts(tmp_path, people=300, seed=5)
    sources = "".join(f'{name} = "{tmp_path / name}.csv"\n' for name in ("people", "leads", "contacts"))
    (tmp_path / "recon.toml").write_text(f'[run]\nmemory = "{memory}"\n{sources}', "utf-8")
    kept = jobs.pull(tmp_path).folder
    people = read_people(tmp_path / "people.csv").table.sort_by("person_id")
    records = pa.concat_tables(
        [read_leads(tmp_path / "leads.csv").table, read_contacts(tmp_path / "contacts.csv").table]
    )
    assert pq.read_table(kept / "people.parquet").equals(people)
    assert pq.read_table(kept / "records.parquet").equals(records.sort_by("record_id"))
    assert people.column("last_name").null_count < people.num_rows
