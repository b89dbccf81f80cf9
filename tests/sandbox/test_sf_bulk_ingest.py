from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from recon.sandbox.salesforce import records
from recon.sandbox.salesforce.auth import Org
from recon.sandbox.salesforce.objects import CUSTOM_FIELD
from tests.sandbox.sf_server import CSV, read_csv

if TYPE_CHECKING:
    from tests.sandbox.sf_server import Server

FLAG = "HasOptedOutOfEmail"
KINDS = ("successfulResults", "failedResults", "unprocessedrecords")


def create(sf: Server, sobject: str = "Contact", **more: Any) -> str:
    answer = sf.call("POST", "/jobs/ingest", json={"object": sobject, "operation": "update"} | more)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def upload(sf: Server, job: str, content: bytes | str, **headers: str) -> None:
    body = content.encode() if isinstance(content, str) else content
    answer = sf.call("PUT", f"/jobs/ingest/{job}/batches", data=body, headers=CSV | headers)
    assert (answer.status_code, answer.content) == (201, b""), answer.text


def set_state(sf: Server, job: str, state: str) -> Any:
    answer = sf.call("PATCH", f"/jobs/ingest/{job}", json={"state": state})
    assert answer.status_code == 200, answer.text
    return answer.json()


def look(sf: Server, job: str) -> Any:
    return sf.call("GET", f"/jobs/ingest/{job}").json()


def finish(sf: Server, content: bytes | str, sobject: str = "Contact", **more: Any) -> str:
    """Run a job to its end, by looking at it until it is there."""
    job = create(sf, sobject, **more)
    upload(sf, job, content)
    set_state(sf, job, "UploadComplete")
    for _ in range(3):
        look(sf, job)
    return job


def results(sf: Server, job: str, kind: str, delimiter: str = ",") -> list[dict[str, str]]:
    answer = sf.call("GET", f"/jobs/ingest/{job}/{kind}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/csv; charset=UTF-8"
    return read_csv(answer.content, delimiter)


def errors(sf: Server, job: str) -> list[str]:
    return sorted(row["sf__Error"] for row in results(sf, job, "failedResults"))


def failure(sf: Server, job: str) -> str:
    info = look(sf, job)
    assert (info["state"], info["numberRecordsProcessed"], info["numberRecordsFailed"]) == ("Failed", 0, 0)
    return str(info["errorMessage"])


def opted_out(sf: Server) -> set[str]:
    return {str(row["Id"]) for row in sf.rows(f"SELECT Id FROM Contact WHERE {FLAG} = true")}


def fill(sf: Server, many: int, **columns: Any) -> list[str]:
    with sf.store.transaction():
        return [records.insert_contact(sf.store, **{"LastName": f"Person {n:04d}"} | columns) for n in range(many)]


def sheet(ids: list[str], value: str = "true") -> str:
    return f"Id,{FLAG}\n" + "".join(f"{one},{value}\n" for one in ids)


def test_a_job_from_open_to_complete(sf: Server) -> None:
    (contact,) = fill(sf, 1)
    body = {
        "object": "contact",
        "operation": "update",
        "contentType": "CSV",
        "lineEnding": "LF",
        "columnDelimiter": "COMMA",
    }
    created = sf.call("POST", "/jobs/ingest", json=body).json()
    job = created["id"]
    now = "2026-11-24T04:00:00.000+0000"
    assert created == {
        "id": job,
        "operation": "update",
        "object": "Contact",
        "createdById": sf.org.user_id,
        "createdDate": now,
        "systemModstamp": now,
        "state": "Open",
        "concurrencyMode": "Parallel",
        "contentType": "CSV",
        "apiVersion": 62.0,
        "contentUrl": f"services/data/v62.0/jobs/ingest/{job}/batches",
        "lineEnding": "LF",
        "columnDelimiter": "COMMA",
    }
    assert look(sf, job)["state"] == "Open"
    upload(sf, job, sheet([contact]))
    assert (look(sf, job)["state"], opted_out(sf)) == ("Open", set())
    sf.clock.advance(timedelta(minutes=1))
    closed = set_state(sf, job, "UploadComplete")
    assert (closed["state"], closed["systemModstamp"]) == ("UploadComplete", "2026-11-24T04:01:00.000+0000")
    assert "contentUrl" not in closed
    assert opted_out(sf) == set()
    looks = [look(sf, job) for _ in range(3)]
    assert [one["state"] for one in looks] == ["InProgress", "JobComplete", "JobComplete"]
    assert looks[2]["jobType"] == "V2Ingest"
    assert (looks[2]["numberRecordsProcessed"], looks[2]["numberRecordsFailed"]) == (1, 0)
    assert "errorMessage" not in looks[2]
    assert opted_out(sf) == {contact}
    (listed,) = sf.call("GET", "/jobs/ingest").json()["records"]
    assert (listed["id"], listed["state"]) == (job, "JobComplete")


def test_a_change_has_an_author_a_time_and_history(sf: Server) -> None:
    (contact,) = fill(sf, 1)
    sf.clock.advance(timedelta(minutes=7))
    finish(sf, sheet([contact]))
    (row,) = sf.rows("SELECT LastModifiedById, SystemModstamp FROM Contact")
    assert row == {"LastModifiedById": sf.org.user_id, "SystemModstamp": "2026-11-24T04:07:00.000+0000"}
    assert sf.rows("SELECT ContactId, Field, NewValue FROM ContactHistory") == [
        {"ContactId": contact, "Field": FLAG, "NewValue": True}
    ]


class TestResults:
    def test_every_row_has_one_outcome(self, sf: Server) -> None:
        good, short, deleted, other = fill(sf, 4)
        records.delete_record(sf.store, "Contact", deleted)
        missing = records.new_id(sf.store, "003")
        rows = [
            (good, "true"),
            (short[:15], "yes"),
            (deleted, "true"),
            (missing, "true"),
            ("", "true"),
            ("nonsense", "true"),
            (other, "maybe"),
        ]
        job = finish(sf, f"Id,{FLAG}\n" + "".join(f"{one},{value}\n" for one, value in rows))
        info = look(sf, job)
        assert (info["state"], info["numberRecordsProcessed"], info["numberRecordsFailed"]) == ("JobComplete", 7, 5)
        successes = results(sf, job, "successfulResults")
        assert sorted(successes, key=lambda row: row["sf__Id"]) == [
            {"sf__Id": good, "sf__Created": "false", "Id": good, FLAG: "true"},
            {"sf__Id": short, "sf__Created": "false", "Id": short[:15], FLAG: "yes"},
        ]
        failed = {row["Id"]: row for row in results(sf, job, "failedResults")}
        assert {one: row["sf__Error"] for one, row in failed.items()} == {
            deleted: "ENTITY_IS_DELETED:entity is deleted:--",
            missing: "INVALID_CROSS_REFERENCE_KEY:invalid cross reference id:--",
            "": "MISSING_ARGUMENT:Id not specified in an update call:--",
            "nonsense": "MALFORMED_ID:Id: id value of incorrect type: nonsense:Id --",
            other: f"INVALID_TYPE_ON_FIELD_IN_RECORD:Email Opt Out: value not of required type: maybe:{FLAG} --",
        }
        assert list(failed[other]) == ["sf__Id", "sf__Error", "Id", FLAG]
        assert failed[other]["sf__Id"] == other
        assert results(sf, job, "unprocessedrecords") == []
        assert opted_out(sf) == {good, short}

    def test_their_order_is_another_than_the_uploads(self, sf: Server) -> None:
        ids = fill(sf, 50)
        missing = [records.new_id(sf.store, "003") for _ in range(50)]
        job = finish(sf, sheet(ids + missing))
        ok = [row["Id"] for row in results(sf, job, "successfulResults")]
        failed = [row["Id"] for row in results(sf, job, "failedResults")]
        assert ok != ids
        assert sorted(ok) == sorted(ids)
        assert failed != missing
        assert sorted(failed) == sorted(missing)
        assert [row["Id"] for row in results(sf, job, "successfulResults")] == ok

    @pytest.mark.parametrize("kind", ["SUCCESSFULRESULTS", "failedresults", "unprocessedRecords"])
    def test_their_names_are_taken_in_any_case(self, sf: Server, kind: str) -> None:
        job = finish(sf, sheet(fill(sf, 1)))
        same = next(name for name in KINDS if name.lower() == kind.lower())
        assert (
            sf.call("GET", f"/jobs/ingest/{job}/{kind}").content == sf.call("GET", f"/jobs/ingest/{job}/{same}").content
        )

    def test_another_name_leads_nowhere(self, sf: Server) -> None:
        sf.refused(404, "NOT_FOUND", "GET", f"/jobs/ingest/{finish(sf, sheet(fill(sf, 1)))}/results")

    def test_empty_ones_have_a_header(self, sf: Server) -> None:
        job = finish(sf, sheet([]))
        assert [sf.call("GET", f"/jobs/ingest/{job}/{kind}").text for kind in KINDS] == [
            f'"sf__Id","sf__Created","Id","{FLAG}"\n',
            f'"sf__Id","sf__Error","Id","{FLAG}"\n',
            f'"Id","{FLAG}"\n',
        ]

    def test_values_come_back_as_they_were_sent(self, sf: Server) -> None:
        (contact,) = fill(sf, 1)
        name = 'é "x",\u2028\U0001f600\nline two\r\n =1+1 '
        quoted = name.replace('"', '""')
        job = finish(sf, f'LastName,Id\n"{quoted}",{contact}\n')
        (row,) = results(sf, job, "successfulResults")
        assert (row["LastName"], row["sf__Id"]) == (name, contact)
        assert sf.rows("SELECT LastName FROM Contact") == [{"LastName": name}]


class TestValues:
    @pytest.mark.parametrize("word", ["true", "TRUE", "True", "yes", "Y", "on", "1"])
    def test_true(self, sf: Server, word: str) -> None:
        (contact,) = fill(sf, 1)
        finish(sf, sheet([contact], word))
        assert opted_out(sf) == {contact}

    @pytest.mark.parametrize("word", ["false", "FALSE", "no", "n", "Off", "0", '"false"'])
    def test_false(self, sf: Server, word: str) -> None:
        (contact,) = fill(sf, 1, HasOptedOutOfEmail=True)
        job = finish(sf, sheet([contact], word))
        assert (opted_out(sf), look(sf, job)["numberRecordsFailed"]) == (set(), 0)

    @pytest.mark.parametrize("word", ["2", "t", "f", "wahr", " true", "true ", "null", "01", "ＴＲＵＥ", "#N/A"])
    def test_anything_else_fails_the_row(self, sf: Server, word: str) -> None:
        (contact,) = fill(sf, 1)
        job = finish(sf, sheet([contact], word))
        (error,) = errors(sf, job)
        assert error.startswith("INVALID_TYPE_ON_FIELD_IN_RECORD:Email Opt Out: value not of required type:")
        assert opted_out(sf) == set()

    def test_an_empty_cell_is_ignored_and_the_row_succeeds(self, sf: Server) -> None:
        (contact,) = fill(sf, 1, FirstName="Ada", HasOptedOutOfEmail=True)
        job = finish(sf, f'Id,FirstName,{FLAG},LastName\n{contact},,"",King\n')
        assert len(results(sf, job, "successfulResults")) == 1
        assert sf.rows(f"SELECT FirstName, LastName, {FLAG} FROM Contact") == [
            {"FirstName": "Ada", "LastName": "King", FLAG: True}
        ]

    def test_not_applicable_empties_a_field(self, sf: Server) -> None:
        first, second = fill(sf, 2, FirstName="Ada", Email="ada@example.com")
        job = finish(sf, f"Id,FirstName,LastName\n{first},#N/A,King\n{second},#N/A,#N/A\n")
        assert errors(sf, job) == ["REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --"]
        names = {row["Id"]: row["FirstName"] for row in sf.rows("SELECT Id, FirstName FROM Contact")}
        assert names == {first: None, second: "Ada"}

    def test_nothing_is_trimmed(self, sf: Server) -> None:
        (contact,) = fill(sf, 1)
        finish(sf, f"Id,FirstName,LastName\n{contact}, #N/A,  King \n")
        assert sf.rows("SELECT FirstName, LastName FROM Contact") == [{"FirstName": " #N/A", "LastName": "  King "}]

    @pytest.mark.parametrize("record_id", [" {}", "{} "])
    def test_not_even_an_id(self, sf: Server, record_id: str) -> None:
        (contact,) = fill(sf, 1)
        (error,) = errors(sf, finish(sf, sheet([record_id.format(contact)])))
        assert error.startswith("MALFORMED_ID:")

    def test_columns_are_found_in_any_case_and_order(self, sf: Server) -> None:
        (contact,) = fill(sf, 1)
        job = finish(sf, f"{FLAG.upper()},id\ntrue,{contact}\n")
        assert opted_out(sf) == {contact}
        assert list(results(sf, job, "successfulResults")[0]) == ["sf__Id", "sf__Created", FLAG.upper(), "id"]

    def test_a_converted_lead_fails_and_the_next_row_goes_on(self, sf: Server) -> None:
        converted, lead = (records.insert_lead(sf.store, LastName="L", Company="C") for _ in range(2))
        records.convert_lead(sf.store, converted)
        job = finish(sf, sheet([converted, lead]), "Lead")
        assert errors(sf, job) == ["CANNOT_UPDATE_CONVERTED_LEAD:cannot reference converted lead:--"]
        assert sf.rows(f"SELECT Id FROM Lead WHERE {FLAG} = true") == [{"Id": lead}]

    def test_a_field_that_cant_be_edited_fails_each_row(self, sf: Server) -> None:
        (contact,) = fill(sf, 1)
        sf.store.configure(fls=json.dumps({f"Contact.{FLAG}": "read_only"}))
        (error,) = errors(sf, finish(sf, sheet([contact])))
        assert error.startswith(f"INVALID_FIELD_FOR_INSERT_UPDATE:Unable to create/update fields: {FLAG}.")
        assert error.endswith(f":{FLAG} --")

    def test_an_upload_without_ids_changes_nothing(self, sf: Server) -> None:
        fill(sf, 1)
        job = finish(sf, f"{FLAG}\ntrue\ntrue\n")
        assert errors(sf, job) == ["MISSING_ARGUMENT:Id not specified in an update call:--"] * 2
        assert opted_out(sf) == set()


class TestTheFile:
    @pytest.mark.parametrize(
        ("delimiter", "sign"),
        [("BACKQUOTE", "`"), ("CARET", "^"), ("COMMA", ","), ("PIPE", "|"), ("SEMICOLON", ";"), ("TAB", "\t")],
    )
    @pytest.mark.parametrize(("ending", "end"), [("LF", "\n"), ("CRLF", "\r\n")])
    def test_delimiters_and_line_endings(self, sf: Server, delimiter: str, sign: str, ending: str, end: str) -> None:
        (contact,) = fill(sf, 1)
        content = end.join([f"Id{sign}{FLAG}", f"{contact}{sign}true", ""])
        job = finish(sf, content, columnDelimiter=delimiter, lineEnding=ending)
        assert opted_out(sf) == {contact}
        answer = sf.call("GET", f"/jobs/ingest/{job}/successfulResults")
        assert answer.content.decode().count(end) == 2
        assert read_csv(answer.content, sign)[0]["sf__Id"] == contact

    @pytest.mark.parametrize(
        ("ending", "content"),
        [
            ("LF", f"Id,{FLAG}\r\n{{}},true\r\n"),
            ("CRLF", f"Id,{FLAG}\n{{}},true\n"),
            ("LF", f"Id,{FLAG}\n{{}},true\r\n"),
            ("CRLF", f"Id,{FLAG}\r\n{{}},true\n"),
            ("LF", f"Id,{FLAG}\r{{}},true\r"),
            ("LF", f'Id,"{FLAG}"\n"{{}}","true"\r\n'),
        ],
    )
    def test_a_line_that_ends_otherwise_fails_the_job(self, sf: Server, ending: str, content: str) -> None:
        (contact,) = fill(sf, 1)
        job = finish(sf, content.format(contact), lineEnding=ending)
        words = f"ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {ending}"
        assert failure(sf, job) == words
        assert opted_out(sf) == set()

    def test_a_column_that_is_not_there_fails_the_job(self, sf: Server) -> None:
        ids = fill(sf, 3)
        content = f"Id,{FLAG},Nope__c\n" + "".join(f"{one},true,x\n" for one in ids)
        job = finish(sf, content)
        assert failure(sf, job) == "InvalidBatch : Field name not found : Nope__c"
        assert opted_out(sf) == set()
        assert results(sf, job, "successfulResults") == results(sf, job, "failedResults") == []
        assert sorted(row["Id"] for row in results(sf, job, "unprocessedrecords")) == sorted(ids)

    def test_the_custom_field_may_be_missing(self, sf: Server) -> None:
        sf.store.configure(custom_field_installed="false")
        job = finish(sf, f"Id,{CUSTOM_FIELD}\n{fill(sf, 1)[0]},false\n")
        assert failure(sf, job) == f"InvalidBatch : Field name not found : {CUSTOM_FIELD}"

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"Id,LastName\n003,caf\xe9\n", "ClientInputError : The data is not valid UTF-8"),
            ("Id,LastName\n".encode("utf-16"), "ClientInputError : The data is not valid UTF-8"),
            (b"\xef\xbb\xbfId,LastName\n", "InvalidBatch : Field name not found : \ufeffId"),
            (b"", "InvalidBatch : Failed to parse CSV header"),
            (b"\nId\n", "InvalidBatch : Failed to parse CSV header"),
            (b"Id,LastName\n1,2,3\n", "InvalidBatch : Record 1 has 3 fields, the header has 2"),
            (b"Id,LastName\n1,2\n1\n", "InvalidBatch : Record 2 has 1 fields, the header has 2"),
            (b'Id,LastName\n1,"2\n', "InvalidBatch : Failed to parse CSV"),
            (b'Id,LastName\n1,"2"x\n', "InvalidBatch : Failed to parse CSV"),
            (b"Id,ID,LastName\n", "InvalidBatch : Duplicate field name : ID"),
            (b"Id,LastName,lastname\n", "InvalidBatch : Duplicate field name : lastname"),
            (b"Id,,LastName\n", "InvalidBatch : Field name not found : "),
            (b"Id;LastName\n", "InvalidBatch : Field name not found : Id;LastName"),
            (b"Id, LastName\n", "InvalidBatch : Field name not found :  LastName"),
        ],
    )
    def test_a_file_that_cant_be_read_fails_the_job(self, sf: Server, content: bytes, words: str) -> None:
        assert failure(sf, finish(sf, content)).startswith(words)

    def test_the_last_line_needs_no_end_and_empty_lines_are_none(self, sf: Server) -> None:
        first, second = fill(sf, 2)
        job = finish(sf, f"Id,{FLAG}\n{first},true\n\n{second},true")
        assert look(sf, job)["numberRecordsProcessed"] == 2
        assert opted_out(sf) == {first, second}

    def test_a_line_break_in_quotes_is_part_of_the_value(self, sf: Server) -> None:
        (contact,) = fill(sf, 1)
        finish(sf, f'Id,LastName\n{contact},"a\r\nb"\n')
        assert sf.rows("SELECT LastName FROM Contact") == [{"LastName": "a\r\nb"}]


class TestUpload:
    @pytest.fixture
    def org(self) -> Org:
        return Org(max_upload=1000)

    def test_it_has_a_largest_size(self, sf: Server) -> None:
        job = create(sf)
        path = f"/jobs/ingest/{job}/batches"
        sf.refused(413, "REQUEST_ENTITY_TOO_LARGE", "PUT", path, data=b"x" * 1001, headers=CSV)
        upload(sf, job, b"x" * 1000)

    def test_chunked_too(self, sf: Server) -> None:
        job = create(sf)
        path = f"/jobs/ingest/{job}/batches"
        sf.refused(413, "REQUEST_ENTITY_TOO_LARGE", "PUT", path, data=iter([b"x" * 600] * 2), headers=CSV)
        (contact,) = fill(sf, 1)
        answer = sf.call("PUT", path, data=iter([b"Id,LastName\n", f"{contact},Kin".encode(), b"g\n"]), headers=CSV)
        assert answer.status_code == 201

    @pytest.mark.parametrize("kind", ["application/json", "text/plain", ""])
    def test_it_must_be_csv(self, sf: Server, kind: str) -> None:
        path = f"/jobs/ingest/{create(sf)}/batches"
        sf.refused(415, "UNSUPPORTED_MEDIA_TYPE", "PUT", path, data=b"Id\n", headers={"Content-Type": kind})

    def test_there_is_one_for_a_job(self, sf: Server) -> None:
        job = create(sf)
        upload(sf, job, b"Id,LastName\n")
        path = f"/jobs/ingest/{job}/batches"
        message = sf.refused(400, "CLIENTINPUTERROR", "PUT", path, data=b"Id\n", headers=CSV)
        assert message.startswith(f"Found multiple contents for job: <{job}>")

    @pytest.mark.parametrize("state", ["UploadComplete", "Aborted"])
    def test_not_after_the_job_was_closed(self, sf: Server, state: str) -> None:
        job = create(sf)
        upload(sf, job, b"Id,LastName\n")
        set_state(sf, job, state)
        sf.refused(400, "INVALIDJOBSTATE", "PUT", f"/jobs/ingest/{job}/batches", data=b"Id\n", headers=CSV)

    def test_not_to_a_job_that_is_not_there(self, sf: Server) -> None:
        path = "/jobs/ingest/7505e0000000009AAA/batches"
        sf.refused(404, "NOT_FOUND", "PUT", path, data=b"Id\n", headers=CSV)


class TestInBatches:
    @pytest.fixture
    def org(self) -> Org:
        return Org(ingest_batch=2)

    def started(self, sf: Server, many: int) -> tuple[str, list[str]]:
        """A job in progress whose first batch of two has been written."""
        ids = fill(sf, many)
        job = create(sf)
        upload(sf, job, sheet(ids))
        set_state(sf, job, "UploadComplete")
        info = look(sf, job)
        assert (info["state"], info["numberRecordsProcessed"]) == ("InProgress", min(2, many))
        return job, ids

    def test_the_second_look_completes_it(self, sf: Server) -> None:
        job, ids = self.started(sf, 5)
        assert opted_out(sf) == set(ids[:2])
        info = look(sf, job)
        assert (info["state"], info["numberRecordsProcessed"]) == ("JobComplete", 5)
        assert opted_out(sf) == set(ids)

    def test_an_aborted_job_keeps_what_it_has_written(self, sf: Server) -> None:
        job, ids = self.started(sf, 5)
        assert set_state(sf, job, "Aborted")["state"] == "Aborted"
        info = look(sf, job)
        assert (info["state"], info["numberRecordsProcessed"], info["numberRecordsFailed"]) == ("Aborted", 2, 0)
        assert {row["Id"] for row in results(sf, job, "successfulResults")} == set(ids[:2])
        assert results(sf, job, "failedResults") == []
        assert {row["Id"] for row in results(sf, job, "unprocessedrecords")} == set(ids[2:])
        assert opted_out(sf) == set(ids[:2])

    def test_a_record_that_changes_in_between_is_written_over(self, sf: Server) -> None:
        """There is no precondition in Bulk: what was written between two batches is lost."""
        job, ids = self.started(sf, 3)
        records.update_record(sf.store, "Contact", ids[2], {FLAG: False})
        look(sf, job)
        assert opted_out(sf) == set(ids)

    def test_a_record_deleted_in_between_fails_by_itself(self, sf: Server) -> None:
        job, ids = self.started(sf, 4)
        records.delete_record(sf.store, "Contact", ids[2])
        look(sf, job)
        assert errors(sf, job) == ["ENTITY_IS_DELETED:entity is deleted:--"]
        assert opted_out(sf) == {ids[0], ids[1], ids[3]}


class TestStates:
    def test_there_are_no_results_before_the_end(self, sf: Server) -> None:
        job = create(sf)
        upload(sf, job, sheet(fill(sf, 1)))
        for step in ("", "UploadComplete"):
            if step:
                set_state(sf, job, step)
            for kind in KINDS:
                sf.refused(400, "INVALIDJOBSTATE", "GET", f"/jobs/ingest/{job}/{kind}")
        look(sf, job)
        sf.refused(400, "INVALIDJOBSTATE", "GET", f"/jobs/ingest/{job}/successfulResults")
        look(sf, job)
        assert len(results(sf, job, "successfulResults")) == 1

    def test_an_aborted_upload_is_unprocessed(self, sf: Server) -> None:
        ids = fill(sf, 2)
        job = create(sf)
        upload(sf, job, sheet(ids))
        set_state(sf, job, "Aborted")
        assert look(sf, job)["state"] == "Aborted"
        assert {row["Id"] for row in results(sf, job, "unprocessedrecords")} == set(ids)
        assert results(sf, job, "successfulResults") == results(sf, job, "failedResults") == []
        assert opted_out(sf) == set()

    @pytest.mark.parametrize("content", [None, b"\xff", b"Nope__c\n1\n"])
    def test_a_job_is_aborted_whatever_was_uploaded(self, sf: Server, content: bytes | None) -> None:
        job = create(sf)
        if content is not None:
            upload(sf, job, content)
        assert set_state(sf, job, "Aborted")["state"] == "Aborted"
        info = look(sf, job)
        assert info["state"] == "Aborted"
        assert "errorMessage" not in info
        assert [results(sf, job, kind) for kind in KINDS] == [[], [], []]

    def test_closing_needs_an_upload_and_an_open_job(self, sf: Server) -> None:
        job = create(sf)
        path = f"/jobs/ingest/{job}"
        sf.refused(400, "INVALIDJOBSTATE", "PATCH", path, json={"state": "UploadComplete"})
        upload(sf, job, b"Id,LastName\n")
        set_state(sf, job, "UploadComplete")
        sf.refused(400, "INVALIDJOBSTATE", "PATCH", path, json={"state": "UploadComplete"})

    def test_an_ended_job_cant_be_aborted(self, sf: Server) -> None:
        done, failed = finish(sf, sheet(fill(sf, 1))), finish(sf, b"")
        for job in (done, failed):
            sf.refused(400, "INVALIDJOBSTATE", "PATCH", f"/jobs/ingest/{job}", json={"state": "Aborted"})
        assert look(sf, failed)["state"] == "Failed"

    @pytest.mark.parametrize(
        "body", [{}, {"state": "Open"}, {"state": "JobComplete"}, {"state": None}, {"state": ["x"]}]
    )
    def test_nothing_else_can_be_set(self, sf: Server, body: dict[str, Any]) -> None:
        sf.refused(400, "INVALIDJOBSTATE", "PATCH", f"/jobs/ingest/{create(sf)}", json=body)

    def test_a_deleted_job_is_gone_and_its_changes_stay(self, sf: Server) -> None:
        ids = fill(sf, 1)
        job = finish(sf, sheet(ids))
        other = create(sf)
        sf.refused(400, "INVALIDJOBSTATE", "DELETE", f"/jobs/ingest/{other}")
        answer = sf.call("DELETE", f"/jobs/ingest/{job}")
        assert (answer.status_code, answer.content) == (204, b"")
        for path in ("", *(f"/{kind}" for kind in KINDS)):
            sf.refused(404, "NOT_FOUND", "GET", f"/jobs/ingest/{job}{path}")
        assert opted_out(sf) == set(ids)

    def test_another_version_is_refused(self, sf: Server) -> None:
        job = finish(sf, sheet(fill(sf, 1)))
        for path in ("", "/successfulResults"):
            sf.refused(409, "API_VERSION_MISMATCH", "GET", f"/jobs/ingest/{job}{path}", version="61.0")

    def test_an_ingest_job_is_no_query_job(self, sf: Server) -> None:
        sf.refused(404, "NOT_FOUND", "GET", f"/jobs/query/{create(sf)}")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "FEATURENOTENABLED"),
        ({"object": "Contact", "operation": "insert"}, "FEATURENOTENABLED"),
        ({"object": "Contact", "operation": "upsert", "externalIdFieldName": "Id"}, "FEATURENOTENABLED"),
        ({"object": "Contact", "operation": "delete"}, "FEATURENOTENABLED"),
        ({"object": "Contact", "operation": "hardDelete"}, "FEATURENOTENABLED"),
        ({"object": "Contact", "operation": ["update"]}, "FEATURENOTENABLED"),
        ({"operation": "update"}, "INVALIDENTITY"),
        ({"object": "Opportunity", "operation": "update"}, "INVALIDENTITY"),
        ({"object": "ContactHistory", "operation": "update"}, "INVALIDENTITY"),
        ({"object": "Individual", "operation": "update"}, "INVALIDENTITY"),
        ({"object": {"x": 1}, "operation": "update"}, "INVALIDENTITY"),
        ({"object": "Contact", "operation": "update", "contentType": "XML"}, "INVALIDJOB"),
        ({"object": "Contact", "operation": "update", "lineEnding": "CR"}, "INVALIDJOB"),
        ({"object": "Contact", "operation": "update", "lineEnding": {}}, "INVALIDJOB"),
        ({"object": "Contact", "operation": "update", "columnDelimiter": ","}, "INVALIDJOB"),
        ({"object": "Contact", "operation": "update", "concurrency": "Serial"}, "INVALIDJOB"),
        ({"object": "Contact", "operation": "update", "query": "SELECT Id FROM Contact"}, "INVALIDJOB"),
    ],
)
def test_jobs_that_are_refused(sf: Server, body: dict[str, Any], code: str) -> None:
    sf.refused(400, code, "POST", "/jobs/ingest", json=body)
    assert sf.call("GET", "/jobs/ingest").json()["records"] == []


def test_a_batch_has_ten_thousand_rows(sf: Server) -> None:
    ids = fill(sf, 10_100)
    job = create(sf)
    upload(sf, job, sheet(ids))
    set_state(sf, job, "UploadComplete")
    assert [look(sf, job)["numberRecordsProcessed"] for _ in range(2)] == [10_000, 10_100]
    assert sf.soql(f"SELECT COUNT() FROM Contact WHERE {FLAG} = true")["totalSize"] == 10_100
    assert len(results(sf, job, "successfulResults")) == 10_100
