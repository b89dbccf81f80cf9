"""Reading Leads and Contacts over real HTTP: both ways give the same rows, and what isn't provably everything is refused."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from recon.errors import AccessRefused, IncompletePull, SourceError
from recon.sandbox.salesforce import records
from recon.tables import RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sources.conftest import Acme, Answer

LEADS = 11
CUSTOM = "Marketo_Sales_Opt_Out__c"


@pytest.fixture
def org(acme: Acme) -> Acme:
    """Eleven Leads (numbers 0, 3, 6, 9 opted out by the standard field, 0 and 5 by the custom one; 1 converted, 2 deleted) and four Contacts."""
    odd = {4: 'two\nlines, "quoted"', 5: "café \u2028 Zoë", 6: "#N/A", 7: "null", 8: " blank "}
    leads = [
        records.insert_lead(
            acme.store,
            FirstName=odd.get(n),
            LastName=f"Lead {n}",
            Company="Acme",
            Email=None if n == 10 else f"lead{n}@acme.example",
            HasOptedOutOfEmail=n % 3 == 0,
            Marketo_Sales_Opt_Out__c=n % 5 == 0 and n < 10,
        )
        for n in range(LEADS)
    ]
    for n in range(3):
        records.insert_contact(acme.store, LastName=f"Contact {n}", Email=f"c{n}@acme.example")
    acme.clock.advance(timedelta(minutes=5))
    records.convert_lead(acme.store, leads[1])
    records.delete_record(acme.store, "Lead", leads[2])
    return acme


def rows(org: Acme, **values: Any) -> dict[str, dict[str, Any]]:
    return {row["last_name"] + row["object"]: row for row in org.pull(**values).table.to_pylist()}


def bulk(org: Acme) -> Any:
    return org.pull(bulk_above=0)


def rest(org: Acme) -> Any:
    return org.pull()


def each_answer(org: Acme, part: str, change: Callable[[Answer, int], None]) -> None:
    """Change the answers to GETs whose address has this part; the change is told the answer's number, from 1."""
    number = [0]

    def alter(method: str, target: str, answer: Answer) -> None:
        if method == "GET" and part in target:
            number[0] += 1
            change(answer, number[0])

    org.wire.alter = alter


def test_both_ways_give_the_same_rows(org: Acme) -> None:
    one, other = rest(org), bulk(org)
    assert one.table.schema == RECORDS.schema
    assert one.table.num_rows == LEADS + 4
    assert one.table.equals(other.table)
    assert [part.kind for part in one.inputs] == ["salesforce-rest"] * 2
    assert [part.kind for part in other.inputs] == ["salesforce-bulk"] * 2
    assert [part.sha256 for part in one.inputs] == [part.sha256 for part in other.inputs]
    assert [(part.name, part.rows) for part in other.inputs] == [("leads", LEADS), ("contacts", 4)]
    assert [part.details["pages"] for part in other.inputs] == [3, 1]


def test_rows_are_what_the_org_holds(org: Acme) -> None:
    found = rows(org, bulk_above=0)
    converted, deleted = found["Lead 1Lead"], found["Lead 2Lead"]
    assert converted["is_converted"]
    assert converted["converted_contact_id"] == found["Lead 1Contact"]["record_id"]
    assert (deleted["is_deleted"], deleted["is_converted"]) == (True, False)
    assert sum(row["is_deleted"] for row in found.values()) == 1
    assert found["Lead 4Lead"]["first_name"] == 'two\nlines, "quoted"'
    assert found["Lead 5Lead"]["first_name"] == "café \u2028 Zoë"
    assert found["Lead 6Lead"]["first_name"] == "#N/A"
    assert found["Lead 7Lead"]["first_name"] == "null"
    assert found["Lead 8Lead"]["first_name"] == " blank "
    assert found["Lead 10Lead"]["email"] is None
    assert found["Lead 0Lead"]["modified_at"] == datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert deleted["modified_at"] == datetime(2026, 11, 24, 12, 5, tzinfo=UTC)
    assert all(len(row["record_id"]) == 18 for row in found.values())


@pytest.mark.parametrize(
    ("field", "out", "custom"),
    [
        ("standard", {0, 3, 6, 9}, None),
        ("custom", {0, 5}, {0, 5}),
        ("both", {0, 3, 5, 6, 9}, {0, 5}),
    ],
)
def test_the_setting_says_which_field_counts(org: Acme, field: str, out: set[int], custom: set[int] | None) -> None:
    found = rows(org, opt_out_field=field)
    leads = {int(row["last_name"].split()[1]): row for row in found.values() if row["object"] == "Lead"}
    assert {number for number, row in leads.items() if row["opted_out"]} == out
    assert {number for number, row in leads.items() if row["has_opted_out_of_email"]} == {0, 3, 6, 9}
    if custom is None:
        assert {row["sales_opt_out"] for row in leads.values()} == {None}
    else:
        assert {number for number, row in leads.items() if row["sales_opt_out"]} == custom


def test_the_calls_are_counted(org: Acme) -> None:
    for way, each in ((rest, 4 + 1 + 1), (bulk, 4 + 1 + 2)):
        asked = len(org.wire.asked)
        leads, contacts = way(org).inputs
        assert leads.details["api_calls_in_all"] == len(org.wire.asked) - asked
        assert leads.details["api_usage"]
        # Two counts before and two after, the rows, the history; a login, the limits and two describes belong to neither.
        calls = [part.details["api_calls"] for part in (leads, contacts)]
        assert all(isinstance(number, int) and number >= each for number in calls)
        assert sum(calls) + 4 == leads.details["api_calls_in_all"]


def test_an_org_without_records(acme: Acme) -> None:
    for values in ({}, {"bulk_above": 0}):
        assert acme.pull(**values).table.equals(RECORDS.empty())


def test_the_manifest_holds_no_secret(org: Acme) -> None:
    text = json.dumps([part.as_json() for part in bulk(org).inputs])
    for private in ("sandbox-consumer-secret", "3MVGsandbox", "@acme.example", "00D5e000000Acme"):
        assert private not in text


# -- what the user may see ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["Lead.HasOptedOutOfEmail", "Contact.HasOptedOutOfEmail", "Lead.Email"])
def test_a_hidden_field_is_said_with_the_remedy(org: Acme, field: str) -> None:
    org.store.configure(fls=json.dumps({field: "hidden"}))
    text = org.refused(AccessRefused, lambda: rest(org))
    assert field in text
    assert "field-level security" in text
    assert "Set Field-Level Security" in text


def test_where_the_custom_field_alone_counts_the_standard_one_may_be_hidden(org: Acme) -> None:
    seen = org.pull(opt_out_field="custom")
    assert seen.inputs[0].details["standard_field_visible"] is True
    org.store.configure(fls=json.dumps({"Lead.HasOptedOutOfEmail": "hidden"}))
    hidden = org.pull(opt_out_field="custom")
    assert [part.details["standard_field_visible"] for part in hidden.inputs] == [False, True]
    assert hidden.table.column("opted_out").equals(seen.table.column("opted_out"))
    leads = [row for row in hidden.table.to_pylist() if row["object"] == "Lead"]
    assert {row["has_opted_out_of_email"] for row in leads} == {None}
    assert "Lead.HasOptedOutOfEmail" in org.refused(AccessRefused, lambda: org.pull(opt_out_field="both"))


def test_a_field_that_cannot_be_written_is_noted(org: Acme) -> None:
    org.store.configure(fls=json.dumps({"Lead.HasOptedOutOfEmail": "read_only"}))
    noted = [part.details["opt_out_fields_read_only"] for part in rest(org).inputs]
    assert noted == [["HasOptedOutOfEmail"], []]


def test_a_hidden_object_is_said(org: Acme) -> None:
    def hide(answer: Answer, _number: int) -> None:
        answer.status = 404
        answer.set_json([{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}])

    each_answer(org, "/sobjects/Contact/describe", hide)
    assert "the object Contact is hidden" in org.refused(AccessRefused, lambda: rest(org))


def test_an_ambiguous_custom_field_is_said_with_the_setting(org: Acme) -> None:
    more = [{"object": "Contact", "name": "MSE_Opt_Out__c", "label": "MSE - Opt Out"}]
    org.store.configure(extra_fields=json.dumps(more))
    text = org.refused(AccessRefused, lambda: org.pull(opt_out_field="both"))
    assert "Contact has 2 custom checkboxes" in text
    assert f"MSE_Opt_Out__c, {CUSTOM}" in text
    assert "custom_field = " in text
    assert org.pull(opt_out_field="both", custom_field=CUSTOM).table.num_rows == LEADS + 4
    assert rest(org).table.num_rows == LEADS + 4  # with the standard field alone the others don't matter


def test_a_missing_custom_field_is_said(org: Acme) -> None:
    org.store.configure(custom_field_installed="false")
    text = org.refused(AccessRefused, lambda: org.pull(opt_out_field="custom"))
    assert "Lead has no checkbox labelled 'Marketo Sales Opt Out'" in text
    text = org.refused(AccessRefused, lambda: org.pull(opt_out_field="custom", custom_field=CUSTOM))
    assert f"Lead.{CUSTOM}" in text
    assert "field-level security" in text


def test_a_named_field_must_be_a_custom_checkbox(org: Acme) -> None:
    text = org.refused(AccessRefused, lambda: org.pull(opt_out_field="custom", custom_field="LastName"))
    assert "Lead.LastName" in text
    assert "not a custom checkbox" in text


# -- counted before and after ------------------------------------------------------------------------------------------------


def add_a_lead(org: Acme) -> None:
    records.insert_lead(org.store, LastName="New", Company="Acme")


def delete_a_contact(org: Acme) -> None:
    with org.store.transaction() as db:
        record_id = db.execute("SELECT Id FROM contact WHERE NOT IsDeleted LIMIT 1").fetchone()["Id"]
    records.delete_record(org.store, "Contact", record_id)


def meanwhile(org: Acme, change: Callable[[Acme], None], times: int) -> None:
    """Change the org after the first counts (two for each object) of so many pulls."""
    counted = [0]
    done = [0]

    def before(_method: str, target: str) -> None:
        if "COUNT" in target:
            counted[0] += 1
        elif done[0] < times and counted[0] >= 8 * done[0] + 4:
            done[0] += 1
            change(org)

    org.wire.before = before


@pytest.mark.parametrize("way", [rest, bulk])
@pytest.mark.parametrize("change", [add_a_lead, delete_a_contact])
def test_what_comes_or_goes_once_has_the_pull_repeated(
    org: Acme, caplog: pytest.LogCaptureFixture, way: Callable[[Acme], Any], change: Callable[[Acme], None]
) -> None:
    meanwhile(org, change, times=1)
    extract = way(org)
    assert [part.details["pulls"] for part in extract.inputs] == [2, 2]
    assert "repeated once" in caplog.text
    org.wire.before = lambda *_: None
    assert extract.table.equals(way(org).table)


@pytest.mark.parametrize("way", [rest, bulk])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            add_a_lead,
            "Lead: 12 records, 11 of them not deleted before, 13 records, 12 of them not deleted after.",
        ),
        (
            delete_a_contact,
            "Contact: 4 records, 3 of them not deleted before, 4 records, 2 of them not deleted after.",
        ),
    ],
)
def test_what_comes_or_goes_twice_is_refused_with_the_numbers(
    org: Acme, way: Callable[[Acme], Any], change: Callable[[Acme], None], words: str
) -> None:
    meanwhile(org, change, times=2)
    text = org.refused(IncompletePull, lambda: way(org))
    assert words in text
    assert "at a quieter time" in text
    assert sum("COUNT" in target and "WHERE" not in target for _, target in org.wire.asked) == 16


def test_rows_that_do_not_fit_steady_counts_are_refused_at_once(org: Acme) -> None:
    def one_less(answer: Answer, _number: int) -> None:
        body = answer.json()
        body["records"].pop()
        answer.set_json(body | {"totalSize": body["totalSize"] - 1})

    each_answer(org, READ_LEADS, one_less)
    text = org.refused(IncompletePull, lambda: rest(org))
    assert "Salesforce counted 11 records, 10 of them not deleted, before the pull and after it" in text
    assert "what arrived is 10 records" in text
    assert org.asked("GET", "COUNT") == 8


def test_what_comes_after_the_last_count_does_not_matter(org: Acme) -> None:
    def before(_method: str, target: str) -> None:
        if "LeadHistory" in target and org.asked("GET", "COUNT") == 8:
            add_a_lead(org)

    org.wire.before = before
    assert rest(org).table.num_rows == LEADS + 4


# -- REST pages --------------------------------------------------------------------------------------------------------------

READ_LEADS = "ConvertedContactId"


def change_rest(org: Acme, change: Callable[[dict[str, Any]], object]) -> None:
    def alter(answer: Answer, _number: int) -> None:
        body = answer.json()
        change(body)
        answer.set_json(body)

    each_answer(org, READ_LEADS, alter)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda body: body["records"].pop(), "said there are 11 rows of Lead, but 10 arrived"),
        (lambda body: body.update(totalSize=12), "said there are 12 rows of Lead, but 11 arrived"),
        (lambda body: body.pop("totalSize"), "doesn't say how many"),
        (lambda body: body.pop("records"), "lacks records"),
        (lambda body: body["records"][3].pop("IsDeleted"), "lacks records or fields"),
        (lambda body: body.update(done=False), "doesn't say where the next records are"),
        (lambda body: body.update(done=False, nextRecordsUrl="@evil.example.com/x"), "doesn't say where"),
        (lambda body: body["records"][3].update(IsDeleted=None), "Lead.IsDeleted is neither true nor false in 1 rows"),
        (lambda body: body["records"][3].update(HasOptedOutOfEmail=""), "Lead.HasOptedOutOfEmail is neither"),
        (lambda body: body["records"].__setitem__(0, body["records"][1]), "1 Ids of Lead arrived more than once"),
        (lambda body: body["records"][3].update(Id="00Q"), "1 rows of Lead have no usable Id"),
        (lambda body: body["records"][3].update(ConvertedContactId="x"), "ConvertedContactId is no Salesforce id"),
        (lambda body: body["records"][3].update(SystemModstamp="2026-11-24T12:00"), "SystemModstamp is no time"),
        (lambda body: body["records"][3].update(SystemModstamp="2026-13-24T12:00:00Z"), "a time that doesn't exist"),
    ],
)
def test_a_rest_answer_that_lies_is_refused(org: Acme, change: Callable[[dict[str, Any]], object], words: str) -> None:
    change_rest(org, change)
    assert words in org.refused(IncompletePull, lambda: rest(org))


def test_rest_follows_every_page(acme: Acme) -> None:
    for n in range(2100):
        records.insert_contact(acme.store, LastName=f"C{n}")
    ended: list[bool] = []

    def before(_method: str, target: str) -> None:
        if ("/queryAll/" in target or "/query/" in target) and "?q=" not in target and not ended:
            ended.append(True)
            acme.end_sessions()

    acme.wire.before = before
    assert acme.pull(bulk_above=5000).table.num_rows == 2100
    assert ended  # and the session that ended between two pages was renewed


# -- Bulk pages --------------------------------------------------------------------------------------------------------------


def on_page(number: int, change: Callable[[Answer], object]) -> Callable[[Answer, int], None]:
    def alter(answer: Answer, asked: int) -> None:
        if asked == number:
            change(answer)

    return alter


def cut(answer: Answer) -> None:
    answer.body = answer.body[: len(answer.body) - 12]


def drop_row(answer: Answer) -> None:
    answer.body = b"".join(answer.body.splitlines(keepends=True)[:-1])


def drop_row_and_say_so(answer: Answer) -> None:
    drop_row(answer)
    answer.headers["sforce-numberofrecords"] = "2"


def replace(old: bytes, new: bytes) -> Callable[[Answer], None]:
    def change(answer: Answer) -> None:
        assert old in answer.body
        answer.body = answer.body.replace(old, new, 1)

    return change


def header(name: str, value: str | None) -> Callable[[Answer], None]:
    def change(answer: Answer) -> None:
        del answer.headers[name]
        if value is not None:
            answer.headers[name] = value

    return change


@pytest.mark.parametrize(
    ("page", "change", "words"),
    [
        (1, header("sforce-locator", "null"), "processed 11 records, but its 1 pages hold 4 rows"),
        (2, header("sforce-numberofrecords", "5"), "holds 4 rows, but Salesforce said 5"),
        (2, header("sforce-numberofrecords", None), "came without Sforce-NumberOfRecords"),
        (1, header("sforce-locator", None), "came without Sforce-NumberOfRecords or Sforce-Locator"),
        (3, drop_row, "holds 2 rows, but Salesforce said 3"),
        (3, drop_row_and_say_so, "processed 11 records, but its 3 pages hold 10 rows"),
        (3, cut, ""),
        (2, replace(b'"Id"', b'"ID"'), "page 2"),
        (2, lambda answer: setattr(answer, "body", b""), "holds 0 rows, but Salesforce said 4"),
        (1, replace(b"Lead 0", b"Lead \xe9"), "not whole CSV in UTF-8"),
        (1, replace(b'"true"', b'""'), "neither true nor false in 1 rows; the first is record 00Q"),
        (1, replace(b'"true"', b'"TRUE"'), "neither true nor false"),
    ],
)
def test_a_bulk_page_that_lies_is_refused(org: Acme, page: int, change: Callable[[Answer], object], words: str) -> None:
    each_answer(org, "/results", on_page(page, change))
    assert words in org.refused(IncompletePull, lambda: bulk(org))
    org.wire.alter = lambda *_: None
    listing = org.connect().get("the jobs", "jobs/query")
    assert listing["records"] == []  # however it ended, no job stays behind


def test_a_page_that_comes_twice_is_refused(org: Acme) -> None:
    first: list[Answer] = []

    def repeat(answer: Answer, number: int) -> None:
        if number == 1:
            first.append(answer)
        if number == 2:
            answer.body = first[0].body

    each_answer(org, "/results", repeat)
    assert "4 Ids of Lead arrived more than once" in org.refused(IncompletePull, lambda: bulk(org))

    def loop(answer: Answer, _number: int) -> None:
        answer.headers["sforce-locator"] = "NA"

    each_answer(org, "/results", loop)
    assert "names the same page twice" in org.refused(IncompletePull, lambda: bulk(org))


def test_every_end_of_the_body_is_seen(org: Acme) -> None:
    """A body cut anywhere in its last row, with headers that say nothing of it, never passes for the whole."""
    expected = rest(org).table
    let_through = []
    for missing in (*range(1, 12), *range(12, 60, 7)):
        each_answer(
            org,
            "/results",
            on_page(3, lambda answer, missing=missing: setattr(answer, "body", answer.body[:-missing])),  # type: ignore[misc]  # a default in a lambda
        )
        try:
            extract = bulk(org)
        except IncompletePull:
            continue
        let_through.append(missing)
        assert extract.table.equals(expected)
    assert let_through == [1, 2]  # the line's end and the quote before it: no value is touched


def crlf(body: bytes) -> bytes:
    return body.replace(b"\n", b"\r\n").replace(b"two\r\nlines", b"two\nlines")


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(crlf, id="CRLF"),
        pytest.param(lambda body: b"\xef\xbb\xbf" + body, id="BOM"),
        pytest.param(lambda body: b"\xef\xbb\xbf" + crlf(body), id="BOM and CRLF"),
        pytest.param(lambda body: body.rstrip(b"\n"), id="no end of the last line"),
        pytest.param(lambda body: body + b"\n\n", id="blank lines"),
    ],
)
def test_a_page_may_be_written_in_other_ways(org: Acme, written: Callable[[bytes], bytes]) -> None:
    expected = bulk(org).table
    each_answer(org, "/results", lambda answer, _number: setattr(answer, "body", written(answer.body)))
    assert bulk(org).table.equals(expected)


@pytest.mark.parametrize("above", [0, 5000], ids=["bulk", "rest"])
def test_a_server_in_another_time_zone_tells_the_same_moments(org: Acme, above: int) -> None:
    contact = records.insert_contact(org.store, LastName="Contact 3")
    records.update_record(org.store, "Contact", contact, {"HasOptedOutOfEmail": True})
    expected = org.pull(bulk_above=above).table
    assert any(expected.column("opted_out_at").to_pylist())
    shifted = [0]

    def there(found: re.Match[bytes]) -> bytes:
        shifted[0] += 1
        moment = datetime.fromisoformat(found.group().decode())
        return moment.astimezone(timezone(timedelta(hours=5, minutes=30))).strftime("%Y-%m-%dT%H:%M:%S.000%z").encode()

    def alter(_method: str, _target: str, answer: Answer) -> None:
        answer.body = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000(\+0000|Z)", there, answer.body)

    org.wire.alter = alter
    assert org.pull(bulk_above=above).table.equals(expected)
    assert shifted[0] > 2 * LEADS


def test_a_login_page_in_the_place_of_a_page_is_refused(org: Acme) -> None:
    each_answer(org, "/results", on_page(2, login_page))
    assert "page 2 of Bulk query" in org.refused(IncompletePull, lambda: bulk(org))


def login_page(answer: Answer) -> None:
    answer.body, answer.headers = b"<html>Sign in, ann@acme.example</html>", {"content-type": "text/html"}


def test_a_bulk_pull_outlives_its_session_and_a_busy_moment(org: Acme) -> None:
    def before(_method: str, target: str) -> None:
        if "/results" in target and "locator" in target:
            org.wire.before = lambda *_: None
            org.end_sessions()

    def busy(answer: Answer, number: int) -> None:
        if number in (1, 3):
            answer.status = 503

    org.wire.before = before
    each_answer(org, "/results", busy)
    expected = rest(org)
    assert bulk(org).table.equals(expected.table)


def change_job(org: Acme, **values: Any) -> None:
    def alter(answer: Answer, _number: int) -> None:
        body = answer.json()
        if "jobType" in body:
            answer.set_json(body | values)

    each_answer(org, "/jobs/query/", alter)


def test_a_job_that_fails_is_said(org: Acme) -> None:
    change_job(org, state="Failed", errorMessage="INVALID_FIELD: no ann@acme.example here")
    assert "ended as Failed: INVALID_FIELD." in org.refused(SourceError, lambda: bulk(org))
    change_job(org, state="Aborted")
    assert "ended as Aborted." in org.refused(SourceError, lambda: bulk(org))
    change_job(org, state="Dreaming")
    assert "a state that recon doesn't know" in org.refused(SourceError, lambda: bulk(org))
    change_job(org, state="JobComplete", numberRecordsProcessed=None)
    assert "doesn't say how many records" in org.refused(IncompletePull, lambda: bulk(org))


def test_a_job_that_is_never_done_is_given_up_and_removed(org: Acme) -> None:
    def alter(answer: Answer, _number: int) -> None:
        answer.set_json(answer.json() | {"state": "InProgress"})

    each_answer(org, "/jobs/query/", alter)
    text = org.refused(SourceError, lambda: org.pull(bulk_above=0, poll_seconds=7, job_timeout=20))
    assert "not done within 20 seconds" in text
    assert org.slept == [7, 7, 7]
    assert org.asked("DELETE", "/jobs/query/") == 2  # the Leads' and the Contacts'


def test_a_job_that_cannot_be_removed_does_not_spoil_the_pull(org: Acme, caplog: pytest.LogCaptureFixture) -> None:
    def alter(method: str, _target: str, answer: Answer) -> None:
        if method == "DELETE":
            answer.status = 500

    org.wire.alter = alter
    extract = bulk(org)
    assert [part.details["job_deleted"] for part in extract.inputs] == [False, False]
    assert "stays in Salesforce" in caplog.text
