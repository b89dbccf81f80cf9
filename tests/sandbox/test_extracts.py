"""The sandbox's files, read back by recon's own readers and held against the store."""

from __future__ import annotations

import csv
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from recon.clock import SetClock
from recon.errors import InputRefused
from recon.sandbox import sales_connect
from recon.sandbox.extracts import FOREIGN_HEADERS, leave_extracts, write_extract, write_salesforce_files
from recon.sandbox.population import populate
from recon.sandbox.salesforce import records
from recon.sandbox.store import Store
from recon.sources.files import read_contacts, read_leads, read_people
from recon.tables import PEOPLE, RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
OBJECTS = {"Lead": read_leads, "Contact": read_contacts}


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """For the tests that only look."""
    with closing(Store(None, SetClock(NOW))) as store:
        populate(store, 300, 4)
        yield store


@pytest.fixture
def empty() -> Iterator[Store]:
    with closing(Store(None, SetClock(NOW))) as store:
        yield store


def query(store: Store, sql: str) -> list[dict[str, Any]]:
    with store.transaction() as db:
        return [dict(row) for row in db.execute(sql)]


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def as_read(text: str | None) -> str | None:
    """What a file can't keep: blank text is nothing."""
    return text if (text or "").strip() else None


class TestPeople:
    @pytest.mark.parametrize("flavour", ["canonical", "foreign"])
    def test_everybody_comes_back_as_the_store_has_them(self, store: Store, tmp_path: Path, flavour: str) -> None:
        path = tmp_path / "people.csv"
        count = write_extract(store, path, flavour)  # type: ignore[arg-type] # one of the two
        table = read_people(path, columns=FOREIGN_HEADERS if flavour == "foreign" else {}).table
        assert table.schema == PEOPLE.schema
        rows = table.to_pylist()
        expected, after = [], None
        while page := sales_connect.list_people(store, after=after, limit=50)[0]:
            expected += page
            after = page[-1]["person_id"]
        assert len(rows) == count == len(expected) == 300
        for row, person in zip(rows, expected, strict=True):
            for name in PEOPLE.names:
                value = person[name]
                if name.endswith("_at"):
                    value = moment(value)
                elif isinstance(value, str):
                    value = as_read(value)
                if name == "salesforce_id" and value is not None:
                    assert row[name].strip() == value
                else:
                    assert row[name] == value, name

    def test_the_list_of_people_is_the_unsubscribes_of_the_store(self, store: Store, tmp_path: Path) -> None:
        """The readers' rows against plain SQL, not against the gateway's list."""
        path = tmp_path / "people.csv"
        write_extract(store, path)
        rows = {row["person_id"]: row for row in read_people(path).table.to_pylist()}
        standing = query(store, "SELECT person_id, level, at, source FROM unsubscribe")
        assert {row["person_id"] for row in standing} == {key for key, row in rows.items() if row["unsubscribed"]}
        for each in standing:
            row = rows[each["person_id"]]
            if each["level"] == "account":
                assert row["unsubscribe_level"] == "account"
                assert (row["unsubscribed_at"], row["unsubscribe_source"]) == (moment(each["at"]), each["source"])
        removed = query(
            store,
            "SELECT person_id, max(at) AS at FROM unsubscribe_history WHERE details = 'Resubscribe' GROUP BY person_id",
        )
        assert {row["person_id"]: moment(row["at"]) for row in removed} == {
            key: row["resubscribed_at"] for key, row in rows.items() if row["resubscribed_at"]
        }

    def test_the_foreign_one_is_refused_without_its_column_map(self, store: Store, tmp_path: Path) -> None:
        path = tmp_path / "people.csv"
        write_extract(store, path, "foreign")
        with pytest.raises(InputRefused, match="there is no column 'person_id'"):
            read_people(path)

    def test_the_foreign_one_is_as_a_spreadsheet_saves_it(self, store: Store, tmp_path: Path) -> None:
        path = tmp_path / "people.csv"
        write_extract(store, path, "foreign")
        content = path.read_bytes()
        assert content.startswith(b"\xef\xbb\xbfPerson ID,Email ID,Salesforce ID,")
        assert content.endswith(b"\r\n")
        with path.open(encoding="utf-8-sig", newline="") as file:
            flags = {row["Unsubscribed"] for row in csv.DictReader(file)}
        assert flags == {"TRUE", "FALSE"}

    def test_the_canonical_one_has_the_tables_columns(self, store: Store, tmp_path: Path) -> None:
        path = tmp_path / "people.csv"
        write_extract(store, path)
        content = path.read_bytes()
        assert content.partition(b"\n")[0].decode().split(",") == PEOPLE.names
        assert not content.startswith(b"\xef\xbb\xbf")

    def test_nobody(self, empty: Store, tmp_path: Path) -> None:
        path = tmp_path / "people.csv"
        assert write_extract(empty, path) == 0
        assert path.read_text() == ",".join(PEOPLE.names) + "\n"

    def test_it_is_of_one_moment(self, empty: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Somebody who comes while it is written waits until it is."""
        from recon.sandbox import extracts

        sales_connect.add_person(empty, person_id="1")
        seen = []

        def listed(store: Store, **options: Any) -> Any:
            with store.transaction() as db:
                seen.append(db.in_transaction)
            return sales_connect.list_people(store, **options)

        monkeypatch.setattr(extracts, "list_people", listed)
        write_extract(empty, tmp_path / "people.csv")
        assert seen == [True]

    def test_a_second_file_replaces_the_first(self, empty: Store, tmp_path: Path) -> None:
        path = tmp_path / "people.csv"
        path.write_text("x" * 10_000)
        sales_connect.add_person(empty, email="=1+1@example.com")
        assert write_extract(empty, path) == 1
        assert len(path.read_text().splitlines()) == 2
        assert "=1+1@example.com" in path.read_text()  # as it is: an extract is a system's, not ours


class TestDataLoader:
    @pytest.mark.parametrize("name", OBJECTS)
    @pytest.mark.parametrize("field", ["standard", "custom", "both"])
    def test_every_record_comes_back_deleted_ones_too(
        self, store: Store, tmp_path: Path, name: str, field: str
    ) -> None:
        paths = write_salesforce_files(store, tmp_path / "new" / "folder")
        assert [path.name for path in paths] == ["leads.csv", "contacts.csv"]
        table = OBJECTS[name](paths[0 if name == "Lead" else 1], opt_out_field=field).table  # type: ignore[arg-type]
        assert table.schema == RECORDS.schema
        stored = query(store, f"SELECT * FROM {name} ORDER BY Id")
        rows = table.to_pylist()
        assert len(rows) == len(stored)
        assert any(row["is_deleted"] for row in rows)
        for row, record in zip(rows, stored, strict=True):
            standard, custom = bool(record["HasOptedOutOfEmail"]), bool(record["Marketo_Sales_Opt_Out__c"])
            out = {"standard": standard, "custom": custom, "both": standard or custom}[field]
            assert row == {
                "record_id": record["Id"],
                "object": name,
                "email": record["Email"],
                "opted_out": out,
                "has_opted_out_of_email": standard,
                "sales_opt_out": custom,
                "opted_out_at": None,
                "resubscribed_at": None,
                "is_converted": bool(name == "Lead" and record["IsConverted"]),
                "converted_contact_id": record["ConvertedContactId"] if name == "Lead" else None,
                "is_deleted": bool(record["IsDeleted"]),
                "first_name": as_read(record["FirstName"]),
                "last_name": as_read(record["LastName"]),
                "modified_at": moment(record["LastModifiedDate"]),
                "account_id": None,
            }

    def test_leads_are_not_taken_for_contacts(self, store: Store, tmp_path: Path) -> None:
        leads, contacts = write_salesforce_files(store, tmp_path)
        with pytest.raises(InputRefused):
            read_contacts(leads)
        with pytest.raises(InputRefused):
            read_leads(contacts)

    @pytest.mark.parametrize("flavour", ["data_loader", "report"])
    def test_a_custom_field_that_is_not_installed_is_no_column(
        self, empty: Store, tmp_path: Path, flavour: str
    ) -> None:
        empty.configure(custom_field_installed="false")
        records.insert_lead(empty, LastName="Lee", Company="Acme")
        leads, contacts = write_salesforce_files(empty, tmp_path, flavour)  # type: ignore[arg-type] # one of the two
        for path in (leads, contacts):
            header = path.read_text(encoding="iso-8859-1").partition("\n")[0]
            assert "Opt Out" in header or "HasOptedOutOfEmail" in header
            assert "Marketo" not in header
        assert read_leads(leads).table.to_pylist()[0]["sales_opt_out"] is None


class TestReport:
    @pytest.mark.parametrize("name", OBJECTS)
    def test_every_live_record_comes_back_as_far_as_a_report_goes(
        self, store: Store, tmp_path: Path, name: str
    ) -> None:
        paths = write_salesforce_files(store, tmp_path, "report")
        extract = OBJECTS[name](paths[0 if name == "Lead" else 1])
        assert extract.inputs[0].details["report_export"] is True
        assert extract.inputs[0].details["encoding"] == "iso8859-1"
        stored = query(store, f"SELECT * FROM {name} WHERE NOT IsDeleted ORDER BY Id")
        rows = extract.table.to_pylist()
        assert [row["record_id"] for row in rows] == [record["Id"] for record in stored]  # 18 again, out of 15
        for row, record in zip(rows, stored, strict=True):
            assert row["email"] == latin(record["Email"])
            assert row["last_name"] == as_read(latin(record["LastName"]))
            assert row["opted_out"] == bool(record["HasOptedOutOfEmail"])
            assert row["sales_opt_out"] == bool(record["Marketo_Sales_Opt_Out__c"])
            assert row["is_converted"] == bool(name == "Lead" and record["IsConverted"])
            assert row["converted_contact_id"] is None
            assert row["is_deleted"] is False

    def test_it_looks_like_one(self, store: Store, tmp_path: Path) -> None:
        leads, _ = write_salesforce_files(store, tmp_path, "report")
        text = leads.read_text(encoding="iso-8859-1")
        lines = text.splitlines()
        assert lines[0].startswith('"Lead ID","First Name",')
        assert '"Confidential Information - Do Not Distribute"' in lines[-4:]
        with leads.open(encoding="iso-8859-1", newline="") as file:
            ids = [row["Lead ID"] for row in csv.DictReader(file)]
        assert {len(text) for text in ids[:50]} == {15}


def latin(text: str | None) -> str | None:
    return None if text is None else text.encode("iso-8859-1", "replace").decode("iso-8859-1")


def test_files_to_try_recon_on(tmp_path: Path) -> None:
    at = datetime(2026, 11, 24, 18, tzinfo=UTC)
    first = leave_extracts(tmp_path / "a", people=200, at=at)
    assert [path.name for path in first] == ["people.csv", "leads.csv", "contacts.csv"]
    again = leave_extracts(tmp_path / "b", people=200, at=at)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
