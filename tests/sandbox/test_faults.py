"""The switchboard: every kind of fault over real HTTP, counted as it is declared."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import pytest
import requests
from pydantic import ValidationError

from recon.sandbox.box import DEFAULT_AT, Sandbox
from recon.sandbox.faults import Fault
from recon.sandbox.salesforce import records

if TYPE_CHECKING:
    from collections.abc import Iterator

API = "/services/data/v62.0"


class Asker:
    """Both systems as a client meets them."""

    def __init__(self, box: Sandbox) -> None:
        self.box = box
        self.http = requests.Session()
        self.http.trust_env = False
        self.leads = [
            records.insert_lead(box.store, LastName=f"Größe {n}", Company="x", Email=f"l{n}@x.example") for n in "abc"
        ]

    def log_in(self) -> str:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.box.org.consumer_key,
            "client_secret": self.box.org.consumer_secret,
        }
        url = f"{self.box.salesforce_url}/services/oauth2/token"
        return str(self.http.post(url, data=form, timeout=5).json()["access_token"])

    def people(self, timeout: float = 5, **options: Any) -> requests.Response:
        token = {"Authorization": f"Bearer {self.box.environment()['RECON_GATEWAY_TOKEN']}"}
        return self.http.get(f"{self.box.gateway_url}/people", headers=token, timeout=timeout, **options)

    def ask(self, method: str, path: str, *, session: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {session}"} | options.pop("headers", {})
        url = f"{self.box.salesforce_url}{API}{path}"
        return self.http.request(method, url, headers=headers, timeout=5, **options)

    def job(self, rows: list[str], session: str) -> str:
        body = {"object": "Lead", "operation": "update", "contentType": "CSV", "lineEnding": "LF"}
        made = str(self.ask("POST", "/jobs/ingest", session=session, json=body).json()["id"])
        sheet = "Id,HasOptedOutOfEmail\n" + "".join(f"{row},true\n" for row in rows)
        kind = {"Content-Type": "text/csv"}
        self.ask("PUT", f"/jobs/ingest/{made}/batches", session=session, data=sheet, headers=kind)
        self.ask("PATCH", f"/jobs/ingest/{made}", session=session, json={"state": "UploadComplete"})
        return made


@pytest.fixture(scope="module")
def shared() -> Iterator[Asker]:
    with Sandbox() as box:
        box.populate(people=20)
        asker = Asker(box)
        yield asker
        asker.http.close()


@pytest.fixture
def asker(shared: Asker) -> Asker:
    shared.box.faults.clear()
    return shared


def fired(asker: Asker) -> list[tuple[int, str, str]]:
    return [(each.number, each.fault.kind, each.asked.method) for each in asker.box.faults.fired]


def test_nothing_declared_is_nothing_spoiled(asker: Asker) -> None:
    assert asker.people().status_code == 200
    assert fired(asker) == []
    assert [each.path for each in asker.box.faults.asked] == ["/people"]


def test_the_first_go_well_and_the_next_are_spoiled(asker: Asker) -> None:
    asker.box.faults.add(Fault(kind="status", status=500, path="^/people$", after=2, times=2))
    assert [asker.people().status_code for _ in range(6)] == [200, 200, 500, 500, 200, 200]
    assert fired(asker) == [(1, "status", "GET")] * 2


def test_a_request_that_one_fault_spoils_is_not_counted_by_the_next(asker: Asker) -> None:
    asker.box.faults.add(
        Fault(kind="status", status=500), Fault(kind="status", status=429, times=1), Fault(kind="drop", after=1)
    )
    assert [asker.people().status_code for _ in range(3)] == [500, 429, 200]
    with pytest.raises(requests.ConnectionError):
        asker.people()
    assert fired(asker) == [(1, "status", "GET"), (2, "status", "GET"), (3, "drop", "GET")]


@pytest.mark.parametrize(
    ("pattern", "meets"),
    [
        ({"system": "gateway"}, True),
        ({"system": "salesforce"}, False),
        ({"method": "POST"}, False),
        ({"path": "^/peo"}, True),
        ({"path": "^/person"}, False),
        ({"query": "limit=3"}, True),
        ({"query": "cursor"}, False),
        ({"body": "nothing"}, False),
        ({"body": "^$", "query": "limit", "method": "GET"}, True),
    ],
    ids=str,
)
def test_a_fault_is_met_by_its_pattern_alone(asker: Asker, pattern: dict[str, Any], meets: bool) -> None:
    asker.box.faults.add(Fault(kind="status", status=503, times="always", **pattern))
    assert asker.people(params={"limit": "3"}).status_code == (503 if meets else 200)


def test_bodies_are_matched_and_still_arrive(asker: Asker) -> None:
    session = asker.log_in()
    asker.box.faults.add(Fault(kind="status", status=503, method="PATCH", body='"FirstName": "No'))
    path = f"/sobjects/Lead/{asker.leads[0]}"
    said = [asker.ask("PATCH", path, session=session, json={"FirstName": name}).status_code for name in ("Yes", "No")]
    assert said == [204, 503]
    assert records.read_record(asker.box.store, "Lead", asker.leads[0])["FirstName"] == "Yes"


def test_errors_have_each_systems_own_form(asker: Asker) -> None:
    session = asker.log_in()
    asker.box.faults.add(
        Fault(kind="status", status=403),
        Fault(kind="status", status=429, headers={"Retry-After": "7"}),
        Fault(kind="status", status=502),
        Fault(kind="status", status=401, content="<p>Sign in</p>"),
        Fault(kind="status", status=503, system="gateway"),
    )
    said = [asker.ask("GET", "/limits", session=session) for _ in range(4)]
    assert said[0].json() == [{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}]
    assert said[1].headers["Retry-After"] == "7"
    assert "Bad Gateway" in said[2].text
    assert (said[3].status_code, said[3].text) == (401, "<p>Sign in</p>")
    assert asker.people().json() == {"error": {"code": "server_unavailable", "message": "spoiled"}}


@pytest.mark.parametrize("kind", ["status", "drop", "late"])
@pytest.mark.parametrize("carried_out", [False, True], ids=["before", "after"])
def test_a_lost_answer_says_nothing_about_what_was_done(asker: Asker, kind: str, carried_out: bool) -> None:
    session, lead = asker.log_in(), asker.leads[1]
    records.update_record(asker.box.store, "Lead", lead, {"FirstName": None})
    more = {"status": 503} if kind == "status" else {}
    asker.box.faults.add(Fault.model_validate({"kind": kind, "method": "PATCH", "carried_out": carried_out} | more))
    url = f"{asker.box.salesforce_url}{API}/sobjects/Lead/{lead}"
    headers = {"Authorization": f"Bearer {session}"}
    if kind == "status":
        assert asker.http.patch(url, json={"FirstName": "Ada"}, headers=headers, timeout=5).status_code == 503
    else:
        wanted = requests.ConnectionError if kind == "drop" else requests.ReadTimeout
        with pytest.raises(wanted):
            asker.http.patch(url, json={"FirstName": "Ada"}, headers=headers, timeout=0.1)
    assert records.read_record(asker.box.store, "Lead", lead)["FirstName"] == ("Ada" if carried_out else None)


def test_a_late_answer_comes_to_who_waits(asker: Asker) -> None:
    whole = asker.people().json()
    asker.box.faults.add(Fault(kind="late", seconds=0.01), Fault(kind="late", seconds=0.01, carried_out=True))
    assert [asker.people().json() for _ in range(2)] == [whole, whole]


def test_a_cut_is_seen_where_a_length_or_chunks_tell(asker: Asker) -> None:
    whole = asker.people().content
    asker.box.faults.add(
        Fault(kind="cut"), Fault(kind="cut", framing="chunked"), Fault(kind="cut", framing="none", keep=0.25)
    )
    for _ in range(2):
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            asker.people()
    # Nothing tells: this is what a proxy makes of an answer that breaks off.
    assert asker.people().content == whole[: len(whole) // 4]


def test_headers_are_set_and_taken_away(asker: Asker) -> None:
    asker.box.faults.add(
        Fault(kind="headers", headers={"Content-Type": "text/csv", "Sforce-NumberOfRecords": "9"}),
        Fault(kind="headers", remove=("Content-Type",)),
    )
    first, second = asker.people(), asker.people()
    assert (first.headers["content-type"], first.headers["Sforce-NumberOfRecords"]) == ("text/csv", "9")
    assert "content-type" not in second.headers
    assert first.content == second.content


def test_rows_come_in_another_order(asker: Asker) -> None:
    whole = asker.people().json()
    asker.box.faults.add(Fault(kind="order"))
    other = asker.people().json()
    assert other["people"] == whole["people"][::-1] != whole["people"]
    assert other["total"] == whole["total"]


def test_sessions_end_for_good(asker: Asker) -> None:
    session = asker.log_in()
    asker.box.faults.add(Fault(kind="session", path="/limits"))
    assert [asker.ask("GET", "/limits", session=session).status_code for _ in range(2)] == [401, 401]
    assert asker.ask("GET", "/limits", session=asker.log_in()).status_code == 200


def sheet(asker: Asker, job: str, kind: str, session: str) -> list[dict[str, str]]:
    text = asker.ask("GET", f"/jobs/ingest/{job}/{kind}", session=session).content.decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_row_is_refused_however_it_comes(asker: Asker) -> None:
    session, lead = asker.log_in(), asker.leads[2]
    lock = Fault(kind="row", code="UNABLE_TO_LOCK_ROW", path=f"/sobjects/Lead/{lead}$", times=2)
    rule = Fault(kind="row", code="FIELD_CUSTOM_VALIDATION_EXCEPTION", message="No.", fields=("Email",), path=lead)
    asker.box.faults.add(lock, rule)
    path = f"/sobjects/Lead/{lead}"
    answer = asker.ask("PATCH", path, session=session, json={"FirstName": "Ada"})
    assert answer.status_code == 400
    assert answer.json()[0]["errorCode"] == "UNABLE_TO_LOCK_ROW"
    job = asker.job([asker.leads[0], lead], session)
    for _ in range(2):
        asker.ask("GET", f"/jobs/ingest/{job}", session=session)
    assert [row["Id"] for row in sheet(asker, job, "successfulResults", session)] == [asker.leads[0]]
    failed = sheet(asker, job, "failedResults", session)
    assert [row["sf__Error"].partition(":")[0] for row in failed] == ["UNABLE_TO_LOCK_ROW"]
    body = {"records": [{"attributes": {"type": "Lead"}, "id": lead, "FirstName": "Ada"}]}
    said = asker.ask("PATCH", "/composite/sobjects", session=session, json=body).json()[0]
    expected = {"statusCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "message": "No.", "fields": ["Email"]}
    assert said == {"success": False, "errors": [expected]}
    assert asker.ask("PATCH", path, session=session, json={"FirstName": "Ada"}).status_code == 204


@pytest.mark.parametrize("state", ["Failed", "Aborted"])
def test_a_job_ends_after_it_has_written_a_part(asker: Asker, state: str) -> None:
    session = asker.log_in()
    asker.box.faults.add(Fault.model_validate({"kind": "job", "path": "/ingest/", "state": state, "rows": 1}))
    job = asker.job(asker.leads, session)
    said = asker.ask("GET", f"/jobs/ingest/{job}", session=session).json()
    assert (said["state"], said["numberRecordsProcessed"]) == (state, 1)
    assert ("errorMessage" in said) is (state == "Failed")
    sets = [len(sheet(asker, job, kind, session)) for kind in ("successfulResults", "failedResults")]
    assert sets == [1, 0]
    assert len(sheet(asker, job, "unprocessedrecords", session)) == 2


def test_a_query_job_ends_too(asker: Asker) -> None:
    session = asker.log_in()
    asker.box.faults.add(Fault(kind="job", path="/jobs/query/750"))
    body = {"operation": "query", "query": "SELECT Id FROM Lead"}
    job = asker.ask("POST", "/jobs/query", session=session, json=body).json()["id"]
    said = asker.ask("GET", f"/jobs/query/{job}", session=session).json()
    assert (said["state"], said["errorMessage"][:19]) == ("Failed", "InternalServerError")


def test_somebody_changes_something_just_before(asker: Asker) -> None:
    box, store = asker.box, asker.box.store
    session = asker.log_in()
    made = [records.insert_lead(store, LastName=n, Company="x", Email=f"{n}@x.example") for n in "pqrstu"]
    changes = [
        Fault(kind="change", change="delete", path=made[0]),
        Fault(kind="change", change="merge", into=made[5], path=made[1]),
        Fault(kind="change", change="convert", path=made[2]),
        Fault(kind="change", change="edit", path=made[3]),
        Fault(kind="change", change="opt_out", path=made[3], after=1),
        Fault(kind="change", change="clear", path=made[3], after=2),
    ]
    box.faults.add(*changes)
    codes = [asker.ask("GET", f"/sobjects/Lead/{each}", session=session).status_code for each in made[:3]]
    assert codes == [404, 404, 200]
    flags = [asker.ask("GET", f"/sobjects/Lead/{made[3]}", session=session).json() for _ in range(3)]
    assert [each["HasOptedOutOfEmail"] for each in flags] == [False, True, False]
    assert flags[0]["FirstName"] == "Edited"
    with store.transaction() as db:
        found = {row["Id"]: tuple(row) for row in db.execute("SELECT Id, MasterRecordId, IsConverted FROM lead")}
    assert [found[each][1:] for each in made[:3]] == [(None, 0), (made[5], 0), (None, 1)]


def test_a_person_unsubscribes_or_goes(asker: Asker) -> None:
    token = {"Authorization": f"Bearer {asker.box.environment()['RECON_GATEWAY_TOKEN']}"}
    person = next(each for each in asker.people().json()["people"] if not each["unsubscribed"])["person_id"]
    asker.box.faults.add(
        Fault(kind="change", change="unsubscribe", path=f"/people/{person}"),
        Fault(kind="change", change="remove", path=f"/people/{person}", after=1),
    )
    url = f"{asker.box.gateway_url}/people/{person}"
    assert asker.http.get(url, headers=token, timeout=5).json()["unsubscribed"]
    assert asker.http.get(url, headers=token, timeout=5).status_code == 404


def test_fields_are_hidden_locked_and_opened(asker: Asker) -> None:
    session, name = asker.log_in(), "Lead.HasOptedOutOfEmail"
    asker.box.faults.add(
        Fault(kind="change", change="hide_field", field=name, path="/describe"),
        Fault(kind="change", change="lock_field", field=name, path="/describe", after=1),
        Fault(kind="change", change="open_field", field=name, path="/describe", after=2),
    )
    seen = []
    for _ in range(3):
        fields = asker.ask("GET", "/sobjects/Lead/describe", session=session).json()["fields"]
        seen.append(next((each["updateable"] for each in fields if each["name"] == "HasOptedOutOfEmail"), None))
    assert seen == [None, False, True]


def test_a_change_that_can_not_be_made_says_so(asker: Asker) -> None:
    asker.box.faults.add(Fault(kind="change", change="convert", path="/people"))
    answer = asker.people()
    assert answer.status_code == 500
    assert "is no Lead" in answer.json()["the fault can't be made"]


def test_the_clock_moves_and_tests_call_what_they_like(asker: Asker) -> None:
    said: list[str] = []
    asker.box.faults.add(Fault(kind="clock", seconds=-90), Fault(kind="call", action=lambda: said.append("now")))
    asker.people()
    assert (asker.box.clock.now() - DEFAULT_AT).total_seconds() == -90
    assert said == ["now"]
    asker.box.faults.add(Fault(kind="clock", seconds=90))
    asker.people()
    assert asker.box.clock.now() == DEFAULT_AT


def test_whoever_wants_is_told(asker: Asker) -> None:
    said: list[int] = []
    asker.box.faults.told = lambda each: said.append(each.number)
    try:
        asker.box.faults.add(Fault(kind="headers", remove=("Date",)), Fault(kind="headers", remove=("Date",)))
        asker.people()
        asker.people()
    finally:
        asker.box.faults.told = None
    assert said == [1, 2]


def test_levers_have_no_faults(asker: Asker) -> None:
    asker.box.faults.add(Fault(kind="drop", times="always"))
    token = {"Authorization": f"Bearer {asker.box.environment()['RECON_GATEWAY_TOKEN']}"}
    assert asker.http.get(f"{asker.box.gateway_url}/sandbox/clock", headers=token, timeout=5).status_code == 200


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "flood"}, "Input should be"),
        ({"kind": "drop", "status": 500}, "status means nothing for the kind drop"),
        ({"kind": "status"}, "the kind status needs status"),
        ({"kind": "row"}, "the kind row needs code"),
        ({"kind": "drop", "times": 0}, "from 1 on"),
        ({"kind": "drop", "path": "("}, "no regular expression"),
        ({"kind": "headers", "headers": {"X": "a\nb"}}, "can't stand in an HTTP header"),
        ({"kind": "late", "seconds": 0}, "more than 0 seconds"),
        ({"kind": "change", "change": "merge"}, "needs into"),
        ({"kind": "change", "change": "hide_field"}, "field is for"),
        ({"kind": "change", "change": "edit", "field": "Lead.Email"}, "field is for"),
        ({"kind": "session", "system": "gateway"}, "knows no session"),
        ({"kind": "drop", "statu": 1}, "Extra inputs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Fault.model_validate(values)
