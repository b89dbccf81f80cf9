"""What of SOQL the sandbox answers, and that it refuses the rest instead of passing it over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon.sandbox.salesforce import records
from recon.sandbox.salesforce.errors import Fault
from recon.sandbox.salesforce.soql import compile_query, prepare
from recon.sandbox.salesforce.soql_parse import parse
from tests.sandbox.sf_server import Server, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sandbox.sf_server import Slot

PEOPLE = (
    {
        "LastName": "Ada",
        "Email": "ada@example.com",
        "HasOptedOutOfEmail": True,
        "CreatedDate": "2026-01-01T00:00:00.000Z",
    },
    {"LastName": "bob", "Email": "BOB@example.com", "CreatedDate": "2026-02-01T00:00:00.000Z", "Company": "O'Neil"},
    {
        "LastName": "Çelik",
        "Email": "celik@example.com",
        "CreatedDate": "2026-03-01T00:00:00.250Z",
        "Company": "50% off_",
    },
    {"LastName": "Dee", "Email": None, "CreatedDate": "2026-04-01T00:00:00.000Z", "Company": "back\\slash"},
    {"LastName": "Eve", "Email": "eve@example.org", "IsDeleted": True, "CreatedDate": "2026-05-01T00:00:00.000Z"},
)


@pytest.fixture(scope="module")
def people(sf_slot: Slot) -> Iterator[Server]:
    """Four live leads and a deleted one, read only by these tests; each test reaches them over HTTP anew."""
    with serve(sf_slot) as server:
        for person in PEOPLE:
            records.insert_lead(server.store, **{"Company": "C"} | person)
        yield server


def last_names(sf: Server, rest: str, resource: str = "query") -> list[str]:
    return [str(row["LastName"]) for row in sf.rows(f"SELECT LastName FROM Lead {rest}", resource)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("LastName = 'ADA'", "Ada"),
        ("LastName = 'çelik'", "Çelik"),
        ("LastName != 'ada'", "bob Çelik Dee"),
        ("LastName <> 'ada'", "bob Çelik Dee"),
        ("Email != 'ada@example.com'", "bob Çelik Dee"),
        ("Email = null", "Dee"),
        ("Email = ''", "Dee"),
        ("Email != null", "Ada bob Çelik"),
        ("Email IN ('bob@EXAMPLE.com', 'x', null)", "bob Dee"),
        ("Email NOT IN ('bob@example.com', 'ada@example.com')", "Çelik Dee"),
        ("Email not in ('bob@example.com', null)", "Ada Çelik"),
        ("LastName > 'b'", "bob Çelik Dee"),
        ("LastName < 'b'", "Ada"),
        ("Email > null", ""),
        ("HasOptedOutOfEmail = true", "Ada"),
        ("HasOptedOutOfEmail != TRUE", "bob Çelik Dee"),
        ("HasOptedOutOfEmail IN (true, false)", "Ada bob Çelik Dee"),
        ("HasOptedOutOfEmail NOT IN (false)", "Ada"),
        ("CreatedDate >= 2026-03-01T00:00:00Z", "Çelik Dee"),
        ("CreatedDate > 2026-03-01T00:00:00.250Z", "Dee"),
        ("CreatedDate = 2026-03-01T01:00:00.250+01:00", "Çelik"),
        ("CreatedDate < 2026-02-01T00:00:00+0000", "Ada"),
        ("LastName LIKE '%E%'", "Çelik Dee"),
        ("LastName LIKE 'ÇEL%'", "Çelik"),
        ("LastName LIKE '_e_'", "Dee"),
        ("Company LIKE '50\\% off\\_'", "Çelik"),
        ("Company LIKE '50_ off%'", "Çelik"),
        ("Company LIKE '5\\%%'", ""),
        ("Company = 'O\\'Neil'", "bob"),
        ("Company = 'back\\\\slash'", "Dee"),
        ("Company LIKE 'back\\\\%'", "Dee"),
        ("NOT Email LIKE '%example.com'", "Dee"),
        ("NOT (LastName = 'Ada' OR LastName = 'Dee')", "bob Çelik"),
        ("(NOT LastName = 'Ada') AND Email != null", "bob Çelik"),
        ("LastName = 'Ada' OR LastName = 'Dee' OR LastName = 'bob'", "Ada bob Dee"),
        ("Email != null AND (LastName = 'Ada' OR LastName = 'Dee')", "Ada"),
        ("(((Email = null)))", "Dee"),
        ("hasoptedoutofemail = TrUe", "Ada"),
        ("IsDeleted = false", "Ada bob Çelik Dee"),
        ("IsDeleted = true", ""),
        ("ConvertedContactId = null", "Ada bob Çelik Dee"),
        ("Id > '00Q5e0000000001' AND LastName = 'Dee'", "Dee"),
    ],
)
def test_filters(people: Server, where: str, expected: str) -> None:
    assert last_names(people, f"WHERE {where} ORDER BY CreatedDate") == expected.split()


def test_ids_are_compared_by_case_in_both_forms(people: Server) -> None:
    ids = [row["Id"] for row in people.rows("SELECT Id FROM Lead ORDER BY CreatedDate")]
    quoted = ", ".join(f"'{record_id[:15]}'" for record_id in ids[:2])
    assert last_names(people, f"WHERE Id IN ({quoted}) ORDER BY LastName") == ["Ada", "bob"]
    assert last_names(people, f"WHERE Id = '{ids[3]}'") == ["Dee"]
    assert last_names(people, f"WHERE Id = '{ids[3][:15].swapcase()}'") == []


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("LastName", "Ada bob Dee Çelik"),
        ("LastName ASC", "Ada bob Dee Çelik"),
        ("LastName desc", "Çelik Dee bob Ada"),
        ("Email", "Dee Ada bob Çelik"),
        ("Email NULLS LAST", "Ada bob Çelik Dee"),
        ("Email DESC NULLS FIRST", "Dee Çelik bob Ada"),
        ("HasOptedOutOfEmail DESC, CreatedDate DESC", "Ada Dee Çelik bob"),
        ("CreatedDate LIMIT 2", "Ada bob"),
        ("CreatedDate LIMIT 2 OFFSET 1", "bob Çelik"),
        ("CreatedDate OFFSET 3", "Dee"),
        ("CreatedDate LIMIT 0", ""),
    ],
)
def test_order_and_window(people: Server, order: str, expected: str) -> None:
    assert last_names(people, f"ORDER BY {order}") == expected.split()


def test_without_an_order_it_is_the_same_each_time(people: Server) -> None:
    assert last_names(people, "") == last_names(people, "") == last_names(people, "ORDER BY Id")


def test_query_all_sees_the_recycle_bin(people: Server) -> None:
    assert last_names(people, "WHERE IsDeleted = true", "queryAll") == ["Eve"]
    assert len(last_names(people, "", "queryAll")) == 5


@pytest.mark.parametrize(
    ("select", "rest", "expected"),
    [
        ("COUNT()", "", 4),
        ("count()", "WHERE Email != null", 3),
        ("COUNT()", "LIMIT 2", 2),
    ],
)
def test_count(people: Server, select: str, rest: str, expected: int) -> None:
    answer = people.soql(f"SELECT {select} FROM Lead {rest}")
    assert answer == {"totalSize": expected, "done": True, "records": []}


def test_count_of_a_field_is_of_those_that_have_a_value(people: Server) -> None:
    answer = people.soql("SELECT COUNT(Email) FROM Lead")
    aggregate = {"attributes": {"type": "AggregateResult"}, "expr0": 3}
    assert answer == {"totalSize": 1, "done": True, "records": [aggregate]}
    assert people.soql("SELECT COUNT(Id) n FROM Lead")["records"][0]["n"] == 4


def test_names_answer_as_the_org_writes_them_and_in_the_order_of_select(people: Server) -> None:
    (row,) = people.soql("select HASOPTEDOUTOFEMAIL, lastname, iD from lEAD where LASTNAME='ada'")["records"]
    assert list(row) == ["attributes", "HasOptedOutOfEmail", "LastName", "Id"]
    assert row["attributes"] == {"type": "Lead", "url": f"/services/data/v62.0/sobjects/Lead/{row['Id']}"}


def test_white_space_is_free(people: Server) -> None:
    assert len(people.rows("\n SELECT\tLastName ,Id\r\nFROM Lead\nWHERE(LastName='Ada')\n")) == 1


def test_a_field_may_bear_a_keywords_name() -> None:
    assert parse("SELECT Count FROM Lead").fields[0].parts == ("Count",)


@pytest.mark.parametrize(
    "query",
    [
        "",
        " ",
        "SELECT",
        "SELECT FROM Lead",
        "SELECT Id",
        "SELECT Id FROM",
        "SELECT Id, FROM Lead",
        "SELECT * FROM Lead",
        "UPDATE Lead SET LastName = 'x'",
        "SELECT Id FROM Lead;",
        "SELECT Id FROM Lead; DROP TABLE lead",
        "SELECT Id FROM Lead -- comment",
        "SELECT Id FROM Lead /* comment */",
        "SELECT Id FROM Lead l",
        "SELECT l.Id FROM Lead AS l",
        "SELECT Id FROM Lead, Contact",
        "SELECT Id FROM Account.Contacts",
        "SELECT Id, (SELECT Id FROM Histories) FROM Lead",
        "SELECT TYPEOF Owner WHEN User THEN Id END FROM Lead",
        "SELECT FIELDS(ALL) FROM Lead LIMIT 200",
        "SELECT toLabel(Company) FROM Lead",
        "SELECT FORMAT(CreatedDate) FROM Lead",
        "SELECT Id a FROM Lead",
        "SELECT MAX(CreatedDate) FROM Lead",
        "SELECT COUNT_DISTINCT(Email) FROM Lead",
        "SELECT COUNT(Email), Company FROM Lead",
        "SELECT Company, COUNT(Id) FROM Lead GROUP BY Company",
        "SELECT Company FROM Lead GROUP BY Company",
        "SELECT Id FROM Lead HAVING COUNT(Id) > 1",
        "SELECT Id FROM Lead USING SCOPE mine",
        "SELECT Id FROM Lead WITH SECURITY_ENFORCED",
        "SELECT Id FROM Lead WITH USER_MODE",
        "SELECT Id FROM Lead FOR UPDATE",
        "SELECT Id FROM Lead FOR VIEW",
        "SELECT Id FROM Lead ALL ROWS",
        "SELECT Id FROM Lead LIMIT 1 LIMIT 1",
        "SELECT Id FROM Lead LIMIT",
        "SELECT Id FROM Lead LIMIT -1",
        "SELECT Id FROM Lead LIMIT 1.5",
        "SELECT Id FROM Lead LIMIT :n",
        "SELECT Id FROM Lead LIMIT 12345678901",
        "SELECT Id FROM Lead OFFSET 1 LIMIT 1",
        "SELECT Id FROM Lead LIMIT 1 ORDER BY Id",
        "SELECT Id FROM Lead ORDER BY Id WHERE Id != null",
        "SELECT Id FROM Lead ORDER Id",
        "SELECT Id FROM Lead ORDER BY",
        "SELECT Id FROM Lead ORDER BY Id UP",
        "SELECT Id FROM Lead ORDER BY Id NULLS",
        "SELECT Id FROM Lead ORDER BY Id,",
        "SELECT Id FROM Lead WHERE",
        "SELECT Id FROM Lead WHERE LastName",
        "SELECT Id FROM Lead WHERE LastName =",
        "SELECT Id FROM Lead WHERE LastName == 'x'",
        'SELECT Id FROM Lead WHERE LastName = "x"',
        "SELECT Id FROM Lead WHERE LastName = x",
        "SELECT Id FROM Lead WHERE LastName = 'x",
        "SELECT Id FROM Lead WHERE LastName = 'a' 'b'",
        "SELECT Id FROM Lead WHERE LastName = '\\q'",
        "SELECT Id FROM Lead WHERE LastName = '\\u0041'",
        "SELECT Id FROM Lead WHERE 'x' = LastName",
        "SELECT Id FROM Lead WHERE LastName IS NULL",
        "SELECT Id FROM Lead WHERE LastName BETWEEN 'a' AND 'b'",
        "SELECT Id FROM Lead WHERE LastName IN ()",
        "SELECT Id FROM Lead WHERE LastName IN 'x'",
        "SELECT Id FROM Lead WHERE LastName IN ('x'",
        "SELECT Id FROM Lead WHERE LastName IN ('x',)",
        "SELECT Id FROM Lead WHERE LastName IN :names",
        "SELECT Id FROM Lead WHERE LastName INCLUDES ('x')",
        "SELECT Id FROM Lead WHERE Id IN (SELECT LeadId FROM LeadHistory)",
        "SELECT Id FROM Lead WHERE LastName LIKE ('x')",
        "SELECT Id FROM Lead WHERE LastName LIKE null",
        "SELECT Id FROM Lead WHERE LastName NOT LIKE 'x'",
        "SELECT Id FROM Lead WHERE (LastName = 'x'",
        "SELECT Id FROM Lead WHERE LastName = 'x')",
        "SELECT Id FROM Lead WHERE NOT LastName = 'x' AND LastName = 'y'",
        "SELECT Id FROM Lead WHERE LastName = 'x' AND NOT LastName = 'y'",
        "SELECT Id FROM Lead WHERE LastName = 'x' AND LastName = 'y' OR LastName = 'z'",
        "SELECT Id FROM Lead WHERE LastName = 'x' OR LastName = 'y' AND LastName = 'z'",
        "SELECT Id FROM Lead WHERE LastName = 'x' LastName = 'y'",
        "SELECT Id FROM Lead WHERE CreatedDate = TODAY",
        "SELECT Id FROM Lead WHERE CreatedDate = LAST_N_DAYS:3",
        "SELECT Id FROM Lead WHERE CreatedDate > 2026-13-01T00:00:00Z",
        "SELECT Id FROM Lead WHERE CreatedDate > 2026-01-01T00:00:00",
        "SELECT Id FROM Lead WHERE CreatedDate > 2026-02-30",
        "SELECT Id FROM Lead WHERE CALENDAR_YEAR(CreatedDate) = 2026",
        "SELECT Id FROM Lead WHERE DISTANCE(x, y, 'mi') < 20",
        "SELECT Id FROM Lead WHERE " + "(" * 60 + "Id = null" + ")" * 60,
        "SELECT Id, Id FROM Lead",
        "SELECT Id, iD FROM Lead",
        "SELECT COUNT() FROM Lead ORDER BY Id",
        "SELECT COUNT() FROM Lead OFFSET 1",
        "SELECT OldValue FROM LeadHistory ORDER BY OldValue",
        "SELECT Id FROM Lead WHERE LastName = 'é' é",
        "SELECT Id\x00 FROM Lead",
        "SELECT Id FROM Lead UPDATE TRACKING",
    ],
)
def test_everything_else_is_refused_as_malformed(people: Server, query: str) -> None:
    answer = people.call("GET", "/query", params={"q": query})
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "MALFORMED_QUERY"), answer.text


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("SELECT Nope FROM Lead", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE Nope__c = true", "INVALID_FIELD"),
        ("SELECT Id FROM Lead ORDER BY Nope", "INVALID_FIELD"),
        ("SELECT COUNT(Nope) FROM Lead", "INVALID_FIELD"),
        ("SELECT AccountId FROM Lead", "INVALID_FIELD"),
        ("SELECT Account.PersonEmail FROM Contact", "INVALID_FIELD"),
        ("SELECT Owner.Name FROM Lead", "INVALID_FIELD"),
        ("SELECT Individual.Nope FROM Lead", "INVALID_FIELD"),
        ("SELECT ConvertedContact.Individual.Id FROM Lead", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE HasOptedOutOfEmail = 'true'", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE HasOptedOutOfEmail = null", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE HasOptedOutOfEmail = 1", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE LastName = 5", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE LastName = true", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE CreatedDate > '2026-01-01T00:00:00Z'", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE CreatedDate > 2026-01-01", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE ConvertedDate > 2026-01-01T00:00:00Z", "INVALID_FIELD"),
        ("SELECT Id FROM LeadHistory WHERE NewValue = 'true'", "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE HasOptedOutOfEmail > true", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT Id FROM Lead WHERE HasOptedOutOfEmail LIKE 'true'", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT Id FROM Lead WHERE CreatedDate LIKE '2026%'", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT Id FROM Lead WHERE Id LIKE '00Q%'", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT Id FROM Lead WHERE Id = 'x'", "INVALID_QUERY_FILTER_OPERATOR"),
        (
            "SELECT Id FROM Lead WHERE Id IN ('00Q5e0000000001AAA', '00Q5e0000000001ZZZ')",
            "INVALID_QUERY_FILTER_OPERATOR",
        ),
        ("SELECT Id FROM Opportunity", "INVALID_TYPE"),
        ("SELECT Id FROM sqlite_master", "INVALID_TYPE"),
        ("SELECT Id FROM person", "INVALID_TYPE"),
        ("SELECT Id FROM Lead OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE"),
    ],
)
def test_what_the_org_does_not_have_is_refused(people: Server, query: str, code: str) -> None:
    for resource in ("/query", "/queryAll"):
        people.refused(400, code, "GET", resource, params={"q": query})


def test_a_refusal_shows_the_place(people: Server) -> None:
    message = people.refused(400, "INVALID_FIELD", "GET", "/query", params={"q": "SELECT Id,\nNope FROM Lead"})
    assert "\nSELECT Id, Nope FROM Lead\n           ^\nERROR at Row:2:Column:1\nNo such column 'Nope'" in message


def test_a_query_without_q_or_too_long(people: Server) -> None:
    people.refused(400, "MALFORMED_QUERY", "GET", "/query")
    with pytest.raises(Fault, match="longer than 100000"):
        parse("SELECT Id FROM Lead WHERE Id = null" + " " * 100_000)


def test_a_thousand_ids_and_conditions(people: Server) -> None:
    ids = ", ".join(f"'{records.new_id(people.store, '00Q')}'" for _ in range(3000))
    compiled = compile_query(people.store, f"SELECT Id FROM Lead WHERE Id IN ({ids})")
    many = " OR ".join(f"LastName = 'x{n}'" for n in range(4000))
    wide = compile_query(people.store, f"SELECT Id FROM Lead WHERE {many} OR LastName = 'Ada'")
    with people.store.transaction() as db:
        prepare(db)
        assert compiled.ids(db) == []
        assert len(wide.ids(db)) == 1


_WORDS = (
    "SELECT FROM WHERE ORDER BY LIMIT OFFSET AND OR NOT IN LIKE NULLS FIRST LAST ASC DESC null true false COUNT ( ) , = != < >= "
    "Id Lead LastName Email HasOptedOutOfEmail CreatedDate LeadHistory 'x' '' 'é%' 1 2026-01-01 2026-01-01T00:00:00Z . : * -"
)

_CODES = {
    "MALFORMED_QUERY",
    "INVALID_FIELD",
    "INVALID_TYPE",
    "INVALID_QUERY_FILTER_OPERATOR",
    "NUMBER_OUTSIDE_VALID_RANGE",
}


def _refusal(sf: Server, query: str) -> str | None:
    try:
        compile_query(sf.store, query)
    except Fault as fault:
        return fault.code
    return None


@given(st.lists(st.sampled_from(_WORDS.split()), max_size=14).map(" ".join), st.text(max_size=6), st.integers(0, 60))
def test_any_text_is_answered_or_refused(people: Server, words: str, noise: str, at: int) -> None:
    text = "SELECT Id FROM Lead WHERE LastName = 'x' AND " + words
    text = text[:at] + noise + text[at:] if at < 60 else text
    code = _refusal(people, text)
    if code is not None:
        assert code in _CODES
        return
    compiled = compile_query(people.store, text)
    with people.store.transaction() as db:
        prepare(db)
        compiled.ids(db)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_text_can_be_looked_for(people: Server, text: str) -> None:
    """An escaped literal finds exactly its own text, with = and with LIKE."""
    literal = text.replace("\\", "\\\\").replace("'", "\\'")
    pattern = literal.replace("%", "\\%").replace("_", "\\_")
    with people.store.transaction() as db:
        prepare(db)
        lead = records.insert_lead(people.store, LastName=text, Company="any text")
        try:
            for condition in (f"LastName = '{literal}'", f"LastName LIKE '{pattern}'"):
                query = compile_query(people.store, f"SELECT Id FROM Lead WHERE Company = 'any text' AND {condition}")
                assert query.ids(db) == [lead]
        finally:
            db.execute("DELETE FROM lead WHERE Id = ?", (lead,))
