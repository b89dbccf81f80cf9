"""Pages of /query and /queryAll."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from recon.sandbox.salesforce import records

if TYPE_CHECKING:
    from tests.sandbox.sf_server import Server

BASE = "/services/data/v62.0"


def fill(sf: Server, many: int) -> list[str]:
    with sf.store.transaction():
        return [records.insert_contact(sf.store, LastName=f"Person {n:04d}") for n in range(many)]


def page(sf: Server, url: str, size: int | None = None, **options: Any) -> Any:
    headers = {} if size is None else {"Sforce-Query-Options": f"batchSize={size}"}
    answer = sf.call("GET", url.removeprefix(BASE), headers=headers, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_pages_hold_every_row_once_in_order(sf: Server) -> None:
    ids = fill(sf, 501)
    query = {"q": "SELECT Id FROM Contact ORDER BY LastName"}
    answer = page(sf, "/query", 200, params=query)
    found = []
    sizes = []
    while True:
        assert answer["totalSize"] == 501
        sizes.append(len(answer["records"]))
        found += [row["Id"] for row in answer["records"]]
        if answer["done"]:
            break
        assert answer["nextRecordsUrl"].startswith(f"{BASE}/query/01g")
        answer = page(sf, answer["nextRecordsUrl"], 200)
    assert sizes == [200, 200, 101]
    assert "nextRecordsUrl" not in answer
    assert found == ids


@pytest.mark.parametrize(
    ("option", "size"),
    [
        (None, 2000),
        ("batchSize=1", 200),
        ("batchSize=199", 200),
        ("batchSize=250", 250),
        ("BATCHSIZE = 300", 300),
        ("x=1, batchSize=400", 400),
        ("batchSize=99999", 2000),
        ("batchSize=" + "9" * 5000, 2000),
        ("batchSize=x", 2000),
        ("batchSize=\xb2", 2000),
        ("batchSize", 2000),
    ],
)
def test_the_size_of_a_page(sf: Server, option: str | None, size: int) -> None:
    fill(sf, 2001)
    headers = {} if option is None else {"Sforce-Query-Options": option.encode("latin-1")}
    answer = sf.call("GET", "/query", params={"q": "SELECT Id FROM Contact"}, headers=headers).json()
    assert len(answer["records"]) == size
    assert answer["nextRecordsUrl"].endswith(f"-{size}")


def test_a_page_can_be_read_again_and_a_cursor_keeps_the_set_of_rows(sf: Server) -> None:
    ids = fill(sf, 450)
    first = page(sf, "/query", 200, params={"q": "SELECT Id, LastName FROM Contact ORDER BY LastName"})
    records.insert_contact(sf.store, LastName="Person 0300 new")
    records.update_record(sf.store, "Contact", ids[449], {"LastName": "Aa, first now"})
    second = page(sf, first["nextRecordsUrl"], 200)
    assert page(sf, first["nextRecordsUrl"], 200) == second
    third = page(sf, second["nextRecordsUrl"], 200)
    assert [row["Id"] for row in second["records"] + third["records"]] == ids[200:]
    assert third["records"][-1]["LastName"] == "Aa, first now"
    assert third["totalSize"] == 450


def test_query_all_pages_through_the_recycle_bin(sf: Server) -> None:
    ids = fill(sf, 401)
    for contact in ids[:201]:
        records.delete_record(sf.store, "Contact", contact)
    query = {"q": "SELECT Id FROM Contact"}
    assert page(sf, "/query", 200, params=query)["totalSize"] == 200
    first = page(sf, "/queryAll", 200, params=query)
    second = page(sf, first["nextRecordsUrl"].replace("/query/", "/queryAll/"), 200)
    third = page(sf, second["nextRecordsUrl"], 200)
    assert (first["totalSize"], len(third["records"]), third["done"]) == (401, 1, True)


@pytest.mark.parametrize("locator", ["01g5e0000000001AAA-200", "x", "-", "{key}-201", "{key}-²", "{key}-", "{key}"])
def test_a_locator_that_leads_nowhere(sf: Server, locator: str) -> None:
    fill(sf, 201)
    first = page(sf, "/query", 200, params={"q": "SELECT Id FROM Contact"})
    key = first["nextRecordsUrl"].rpartition("/")[2].partition("-")[0]
    message = sf.refused(400, "INVALID_QUERY_LOCATOR", "GET", f"/query/{locator.format(key=key)}")
    assert message == "invalid query locator"


def test_the_oldest_of_more_than_ten_cursors_is_closed(sf: Server) -> None:
    fill(sf, 201)
    urls = [page(sf, "/query", 200, params={"q": "SELECT Id FROM Contact"})["nextRecordsUrl"] for _ in range(11)]
    sf.refused(400, "INVALID_QUERY_LOCATOR", "GET", urls[0].removeprefix(BASE))
    assert all(page(sf, url, 200)["done"] for url in urls[1:])


def test_a_parents_fields(sf: Server) -> None:
    individual = records.insert_individual(sf.store, LastName="Lovelace", HasOptedOutSolicit=True)
    records.insert_contact(sf.store, LastName="A", IndividualId=individual)
    records.insert_contact(sf.store, LastName="B")
    query = "SELECT LastName, Individual.HasOptedOutSolicit, Individual.Id FROM Contact ORDER BY LastName"
    with_one, without = sf.rows(query)
    assert with_one["Individual"] == {
        "attributes": {"type": "Individual", "url": f"{BASE}/sobjects/Individual/{individual}"},
        "HasOptedOutSolicit": True,
        "Id": individual,
    }
    assert without == {"LastName": "B", "Individual": None}
    by_parent = "SELECT LastName FROM Contact WHERE Individual.HasOptedOutSolicit = true"
    assert sf.rows(by_parent) == [{"LastName": "A"}]
