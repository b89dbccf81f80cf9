from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from recon.sandbox.salesforce import records
from recon.sandbox.salesforce.auth import Org
from tests.sandbox.sf_server import read_csv, serve

if TYPE_CHECKING:
    import requests

    from tests.sandbox.sf_server import Server, Slot

BY_NAME = "SELECT Id, LastName FROM Contact ORDER BY LastName"


def create(sf: Server, query: str, operation: str = "query", **more: Any) -> str:
    answer = sf.call("POST", "/jobs/query", json={"operation": operation, "query": query} | more)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def finish(sf: Server, query: str, operation: str = "query", **more: Any) -> str:
    job = create(sf, query, operation, **more)
    assert [sf.call("GET", f"/jobs/query/{job}").json()["state"] for _ in range(2)] == ["InProgress", "JobComplete"]
    return job


def results(sf: Server, job: str, **params: Any) -> requests.Response:
    answer = sf.call("GET", f"/jobs/query/{job}/results", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/csv; charset=UTF-8"
    return answer


def fill(sf: Server, many: int) -> list[str]:
    with sf.store.transaction():
        return [records.insert_contact(sf.store, LastName=f"Person {n:04d}") for n in range(many)]


def test_a_job_moves_on_with_every_look(sf: Server) -> None:
    fill(sf, 3)
    answer = sf.call("POST", "/jobs/query", json={"operation": "query", "query": BY_NAME, "contentType": "CSV"})
    job = answer.json()["id"]
    now = "2026-11-24T04:00:00.000+0000"
    brief = {
        "id": job,
        "operation": "query",
        "object": "Contact",
        "createdById": sf.org.user_id,
        "createdDate": now,
        "systemModstamp": now,
        "state": "UploadComplete",
        "concurrencyMode": "Parallel",
        "contentType": "CSV",
        "apiVersion": 62.0,
        "lineEnding": "LF",
        "columnDelimiter": "COMMA",
    }
    assert answer.json() == brief
    assert job.startswith("750")
    looks = [sf.call("GET", f"/jobs/query/{job}").json() for _ in range(3)]
    assert [(look["state"], look["numberRecordsProcessed"]) for look in looks] == [
        ("InProgress", 0),
        ("JobComplete", 3),
        ("JobComplete", 3),
    ]
    assert {name: value for name, value in looks[2].items() if name in brief} == brief | {"state": "JobComplete"}
    assert looks[2]["jobType"] == "V2Query"


def test_pages_repeat_the_header_and_hold_every_row_once(sf: Server) -> None:
    ids = fill(sf, 7)
    job = finish(sf, BY_NAME)
    first = results(sf, job, maxRecords=3)
    second = results(sf, job, maxRecords=3, locator=first.headers["Sforce-Locator"])
    third = results(sf, job, maxRecords=3, locator=second.headers["Sforce-Locator"])
    pages = [first, second, third]
    assert [page.headers["Sforce-NumberOfRecords"] for page in pages] == ["3", "3", "1"]
    assert third.headers["Sforce-Locator"] == "null"
    assert all(page.text.startswith('"Id","LastName"\n') for page in pages)
    assert [row["Id"] for page in pages for row in read_csv(page.content)] == ids


def test_a_locator_stays_good_whatever_happens_to_the_records(sf: Server) -> None:
    ids = fill(sf, 5)
    job = finish(sf, BY_NAME)
    locator = results(sf, job, maxRecords=2).headers["Sforce-Locator"]
    before = results(sf, job, maxRecords=2, locator=locator).content
    records.delete_record(sf.store, "Contact", ids[2])
    records.update_record(sf.store, "Contact", ids[3], {"LastName": "Changed"})
    assert results(sf, job, maxRecords=2, locator=locator).content == before
    assert results(sf, job, maxRecords=2, locator=locator).content == before


def test_the_rows_are_those_of_the_moment_it_ran(sf: Server) -> None:
    (contact,) = fill(sf, 1)
    job = create(sf, BY_NAME)
    records.update_record(sf.store, "Contact", contact, {"LastName": "Before"})
    sf.call("GET", f"/jobs/query/{job}")
    records.update_record(sf.store, "Contact", contact, {"LastName": "After"})
    sf.call("GET", f"/jobs/query/{job}")
    assert read_csv(results(sf, job).content) == [{"Id": contact, "LastName": "Before"}]


def test_values_as_text(sf: Server) -> None:
    name = 'one\ntwo\r\n"three", =cmd é\u2028\U0001f600 '
    contact = records.insert_contact(sf.store, LastName=name, HasOptedOutOfEmail=True)
    columns = "LastName, HasOptedOutOfEmail, IsDeleted, Email, SystemModstamp, Individual.ShouldForget, Id"
    job = finish(sf, f"SELECT {columns} FROM Contact")
    text = results(sf, job).content.decode()
    header, row = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert ", ".join(header) == columns
    assert row == [name, "true", "false", "", "2026-11-24T04:00:00.000Z", "", contact]
    assert text.endswith(f',"","2026-11-24T04:00:00.000Z","","{contact}"\n')


def test_without_rows_there_is_a_header(sf: Server) -> None:
    answer = results(sf, finish(sf, BY_NAME))
    assert answer.text == '"Id","LastName"\n'
    assert (answer.headers["Sforce-NumberOfRecords"], answer.headers["Sforce-Locator"]) == ("0", "null")


@pytest.mark.parametrize(
    ("delimiter", "sign"),
    [("BACKQUOTE", "`"), ("CARET", "^"), ("COMMA", ","), ("PIPE", "|"), ("SEMICOLON", ";"), ("TAB", "\t")],
)
@pytest.mark.parametrize(("ending", "end"), [("LF", "\n"), ("CRLF", "\r\n")])
def test_delimiters_and_line_endings(sf: Server, delimiter: str, sign: str, ending: str, end: str) -> None:
    name = f"a{sign}b"
    contact = records.insert_contact(sf.store, LastName=name)
    job = finish(sf, BY_NAME, columnDelimiter=delimiter, lineEnding=ending)
    assert results(sf, job).content.decode() == f'"Id"{sign}"LastName"{end}"{contact}"{sign}"{name}"{end}'


def test_query_all_reads_the_recycle_bin(sf: Server) -> None:
    live, deleted = fill(sf, 2)
    records.delete_record(sf.store, "Contact", deleted, master_id=live)
    query = "SELECT Id, IsDeleted, MasterRecordId FROM Contact"
    assert [row["Id"] for row in read_csv(results(sf, finish(sf, query)).content)] == [live]
    rows = read_csv(results(sf, finish(sf, query, "queryAll")).content)
    assert {row["Id"]: (row["IsDeleted"], row["MasterRecordId"]) for row in rows} == {
        live: ("false", ""),
        deleted: ("true", live),
    }


def test_pages_without_a_number_have_the_orgs_size(sf_slot: Slot) -> None:
    with serve(sf_slot, Org(page_rows=2)) as sf:
        fill(sf, 3)
        answer = results(sf, finish(sf, BY_NAME))
        assert answer.headers["Sforce-NumberOfRecords"] == "2"
        assert results(sf, finish(sf, BY_NAME), maxRecords=3).headers["Sforce-Locator"] == "null"


@pytest.mark.parametrize("locator", ["x", "null", "MTAw", "MA==", "LTE", "\xb2", "Mg=="])
def test_a_locator_that_leads_nowhere(sf: Server, locator: str) -> None:
    fill(sf, 3)
    path = f"/jobs/query/{finish(sf, BY_NAME)}/results"
    sf.refused(400, "INVALID_QUERY_LOCATOR", "GET", path, params={"locator": locator})


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "x", "", "\xb2", "9" * 5000])
def test_a_number_of_rows_that_is_none(sf: Server, number: str) -> None:
    path = f"/jobs/query/{finish(sf, BY_NAME)}/results"
    sf.refused(400, "INVALID_ARGUMENT", "GET", path, params={"maxRecords": number})


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "INVALIDJOB"),
        ({"operation": "insert", "query": BY_NAME}, "INVALIDJOB"),
        ({"operation": ["query"], "query": BY_NAME}, "INVALIDJOB"),
        ({"operation": "query"}, "INVALIDJOB"),
        ({"operation": "query", "query": 1}, "INVALIDJOB"),
        ({"operation": "query", "query": BY_NAME, "object": "Contact"}, "INVALIDJOB"),
        ({"operation": "query", "query": BY_NAME, "lineEnding": "CR"}, "INVALIDJOB"),
        ({"operation": "query", "query": BY_NAME, "lineEnding": ["LF"]}, "INVALIDJOB"),
        ({"operation": "query", "query": BY_NAME, "columnDelimiter": ","}, "INVALIDJOB"),
        ({"operation": "query", "query": BY_NAME, "contentType": "JSON"}, "INVALIDJOB"),
        ({"operation": "query", "query": ""}, "MALFORMED_QUERY"),
        ({"operation": "query", "query": "SELECT Nope FROM Contact"}, "INVALID_FIELD"),
        ({"operation": "query", "query": "SELECT Id FROM Opportunity"}, "INVALID_TYPE"),
        ({"operation": "query", "query": "SELECT COUNT() FROM Contact"}, "API_ERROR"),
        ({"operation": "query", "query": "SELECT COUNT(Id) FROM Contact"}, "API_ERROR"),
        ({"operation": "query", "query": "SELECT Id FROM Contact OFFSET 1"}, "API_ERROR"),
        ({"operation": "query", "query": "SELECT Id, (SELECT Id FROM Histories) FROM Contact"}, "MALFORMED_QUERY"),
        ({"operation": "query", "query": "SELECT Company, COUNT(Id) FROM Lead GROUP BY Company"}, "MALFORMED_QUERY"),
        ({"operation": "query", "query": "SELECT Id FROM ContactHistory"}, "INVALIDENTITY"),
    ],
)
def test_jobs_that_are_refused(sf: Server, body: dict[str, Any], code: str) -> None:
    sf.refused(400, code, "POST", "/jobs/query", data=json.dumps(body))
    assert sf.call("GET", "/jobs/query").json()["records"] == []


class TestStates:
    def test_there_are_no_results_before_the_end(self, sf: Server) -> None:
        job = create(sf, BY_NAME)
        for _ in range(2):
            sf.refused(400, "INVALIDJOBSTATE", "GET", f"/jobs/query/{job}/results")
            sf.call("GET", f"/jobs/query/{job}")
        results(sf, job)

    @pytest.mark.parametrize("looks", [0, 1])
    def test_an_aborted_job_stays_so(self, sf: Server, looks: int) -> None:
        job = create(sf, BY_NAME)
        for _ in range(looks):
            sf.call("GET", f"/jobs/query/{job}")
        sf.clock.advance(timedelta(minutes=1))
        answer = sf.call("PATCH", f"/jobs/query/{job}", json={"state": "Aborted"}).json()
        assert (answer["state"], answer["systemModstamp"]) == ("Aborted", "2026-11-24T04:01:00.000+0000")
        assert sf.call("GET", f"/jobs/query/{job}").json()["state"] == "Aborted"
        sf.refused(400, "INVALIDJOBSTATE", "GET", f"/jobs/query/{job}/results")
        sf.refused(400, "INVALIDJOBSTATE", "PATCH", f"/jobs/query/{job}", json={"state": "Aborted"})

    def test_a_complete_job_cant_be_aborted(self, sf: Server) -> None:
        job = finish(sf, BY_NAME)
        sf.refused(400, "INVALIDJOBSTATE", "PATCH", f"/jobs/query/{job}", json={"state": "Aborted"})

    @pytest.mark.parametrize("body", [{}, {"state": "UploadComplete"}, {"state": "Aborted", "x": 1}, {"state": None}])
    def test_nothing_else_can_be_set(self, sf: Server, body: dict[str, Any]) -> None:
        job = create(sf, BY_NAME)
        sf.refused(400, "INVALIDJOBSTATE", "PATCH", f"/jobs/query/{job}", json=body)

    def test_a_deleted_job_is_gone(self, sf: Server) -> None:
        job = create(sf, BY_NAME)
        sf.refused(400, "INVALIDJOBSTATE", "DELETE", f"/jobs/query/{job}")
        done = finish(sf, BY_NAME)
        answer = sf.call("DELETE", f"/jobs/query/{done}")
        assert (answer.status_code, answer.content) == (204, b"")
        for method, path in (("GET", ""), ("GET", "/results"), ("DELETE", ""), ("PATCH", "")):
            sf.refused(404, "NOT_FOUND", method, f"/jobs/query/{done}{path}", json={"state": "Aborted"})
        assert [one["id"] for one in sf.call("GET", "/jobs/query").json()["records"]] == [job]

    def test_another_version_is_refused(self, sf: Server) -> None:
        job = finish(sf, BY_NAME)
        for path in ("", "/results"):
            sf.refused(409, "API_VERSION_MISMATCH", "GET", f"/jobs/query/{job}{path}", version="61.0")

    def test_a_query_job_is_no_ingest_job(self, sf: Server) -> None:
        job = finish(sf, BY_NAME)
        sf.refused(404, "NOT_FOUND", "GET", f"/jobs/ingest/{job}")
