"""simple-salesforce, as it comes, against the sandbox: only the transport is turned to loopback."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import pytest
from simple_salesforce import api, login
from simple_salesforce.exceptions import (
    SalesforceAuthenticationFailed,
    SalesforceExpiredSession,
    SalesforceGeneralError,
    SalesforceMalformedRequest,
    SalesforceOperationError,
    SalesforceRefusedRequest,
    SalesforceResourceNotFound,
)

from recon.clock import SystemClock
from recon.sandbox.salesforce import records
from recon.sandbox.salesforce.auth import Org
from recon.sandbox.salesforce.wire import API_LIMIT
from tests.sandbox.sf_server import Server, Slot, loopback_session, serve
from tests.sandbox.test_sf_auth import key_pair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import requests

# Its annotations say that Contact could be an object of Bulk, of Bulk 2.0 or of REST, wherever it stands.
Salesforce: Any = api.Salesforce
SalesforceLogin: Any = login.SalesforceLogin

FLAG = "HasOptedOutOfEmail"


@pytest.fixture
def session(sf: Server) -> Iterator[requests.Session]:
    with loopback_session(sf) as session:
        yield session


@pytest.fixture
def client(sf: Server, session: requests.Session) -> Any:
    """A client with client credentials, at the org's own domain."""
    return Salesforce(
        consumer_key=sf.org.consumer_key,
        consumer_secret=sf.org.consumer_secret,
        domain="acme.my",
        session=session,
        version="62.0",
    )


def fill(sf: Server, many: int, **columns: Any) -> list[str]:
    with sf.store.transaction():
        return [records.insert_contact(sf.store, **{"LastName": f"Person {n:04d}"} | columns) for n in range(many)]


def opted_out(sf: Server) -> set[str]:
    return {str(row["Id"]) for row in sf.rows(f"SELECT Id FROM Contact WHERE {FLAG} = true")}


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


class TestLogins:
    @pytest.fixture
    def org(self) -> Org:
        # simple-salesforce signs by the machine's clock.
        return Org(jwt_public_key=key_pair()[1], jwt_clock=SystemClock())

    def works(self, client: Any, host: str) -> None:
        assert client.sf_instance == host
        assert client.query("SELECT COUNT() FROM Lead")["totalSize"] == 0

    def test_client_credentials(self, client: Any) -> None:
        self.works(client, "acme.my.salesforce.com")
        assert client.auth_type == "client-credentials"

    def test_user_and_password_by_oauth(self, sf: Server, session: requests.Session) -> None:
        client = Salesforce(
            username=sf.org.username,
            password=sf.org.password + sf.org.security_token,
            consumer_key=sf.org.consumer_key,
            consumer_secret=sf.org.consumer_secret,
            session=session,
            version="62.0",
        )
        self.works(client, "login.salesforce.com")

    def test_jwt(self, sf: Server, session: requests.Session, tmp_path: Path) -> None:
        private = tmp_path / "key.pem"
        private.write_text(key_pair()[0])
        common = {"username": sf.org.username, "consumer_key": sf.org.consumer_key, "session": session}
        self.works(Salesforce(privatekey=key_pair()[0], **common), "login.salesforce.com")
        by_file = Salesforce(privatekey_file=str(private), instance_url="acme.my", **common)
        self.works(by_file, "acme.my.salesforce.com")

    def test_soap(self, sf: Server, session: requests.Session) -> None:
        client = Salesforce(
            username=sf.org.username,
            password=sf.org.password,
            security_token=sf.org.security_token,
            domain="test",
            session=session,
        )
        self.works(client, "test.salesforce.com")

    def test_a_session_that_is_there(self, sf: Server, client: Any, session: requests.Session) -> None:
        direct = Salesforce(
            session_id=client.session_id, instance_url="https://acme.my.salesforce.com", session=session, version="62.0"
        )
        self.works(direct, "acme.my.salesforce.com")

    @pytest.mark.parametrize(
        "given",
        [
            {"username": "admin@acme.example", "password": "wrong", "security_token": ""},
            {"username": "a", "password": "b", "consumer_key": "3MVGsandboxconsumerkey", "consumer_secret": "c"},
            {"consumer_key": "3MVGsandboxconsumerkey", "consumer_secret": "wrong", "domain": "acme.my"},
            {"consumer_key": "unknown", "consumer_secret": "wrong", "domain": "acme.my"},
        ],
    )
    def test_what_is_refused(self, session: requests.Session, given: dict[str, str]) -> None:
        with pytest.raises(SalesforceAuthenticationFailed):
            SalesforceLogin(session=session, **given)

    def test_soap_from_65_on_is_refused(self, sf: Server, session: requests.Session) -> None:
        with pytest.raises(SalesforceAuthenticationFailed, match="UNSUPPORTED_API_VERSION"):
            SalesforceLogin(
                username=sf.org.username,
                password=sf.org.password,
                security_token=sf.org.security_token,
                session=session,
                sf_version="65.0",
            )


class TestSessionEnds:
    def test_a_client_that_may_logs_in_again(self, sf: Server, client: Any) -> None:
        before = client.session_id
        sf.app.state.login.end_sessions()
        assert client.query("SELECT COUNT() FROM Lead")["totalSize"] == 0
        assert client.session_id != before

    def test_a_client_with_a_session_alone_is_told(self, sf: Server, client: Any) -> None:
        direct = Salesforce(session_id=client.session_id, instance="acme.my.salesforce.com", session=client.session)
        sf.app.state.login.end_sessions()
        with pytest.raises(SalesforceExpiredSession) as told:
            direct.query("SELECT Id FROM Lead")
        content: Any = told.value.content
        assert content == [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]

    def test_a_guarded_write_loses_its_guard_when_the_client_logs_in_again(
        self, sf: Server, client: Salesforce
    ) -> None:
        """Why recon writes with a session of its own: the repeated request has no If-Unmodified-Since."""
        (contact,) = fill(sf, 1)
        guard = {"If-Unmodified-Since": "Mon, 01 Jan 2024 00:00:00 GMT"}
        with pytest.raises(SalesforceGeneralError):
            client.Contact.update(contact, {FLAG: True}, headers=guard)
        assert opted_out(sf) == set()
        sf.app.state.login.end_sessions()
        assert client.Contact.update(contact, {FLAG: True}, headers=guard) == 204
        sf.login()
        assert opted_out(sf) == {contact}


class TestRest:
    def test_describe_and_limits(self, client: Any) -> None:
        names = {field["name"]: field for field in client.Contact.describe()["fields"]}
        assert names[FLAG]["updateable"] is True
        assert {item["name"] for item in client.describe()["sobjects"]} >= {"Lead", "Contact"}
        assert client.limits()["DailyApiRequests"]["Max"] == API_LIMIT

    def test_the_usage_is_understood(self, client: Any) -> None:
        client.query("SELECT Id FROM Lead")
        usage = client.api_usage["api-usage"]
        assert (usage.used, usage.total) == (1, API_LIMIT)

    def test_rows(self, sf: Server, client: Any) -> None:
        made = client.Contact.create({"LastName": "Lovelace", "Email": "ada@example.com"})
        assert made["success"] is True
        row = client.Contact.get(made["id"])
        assert (row["LastName"], row[FLAG]) == ("Lovelace", False)
        assert client.Contact.update(made["id"], {FLAG: True}) == 204
        assert opted_out(sf) == {made["id"]}
        assert client.Contact.delete(made["id"]) == 204
        with pytest.raises(SalesforceResourceNotFound) as gone:
            client.Contact.get(made["id"])
        content: Any = gone.value.content
        assert content[0]["errorCode"] == "ENTITY_IS_DELETED"

    @pytest.mark.parametrize(
        ("since", "works"), [("Tue, 24 Nov 2026 04:00:00 GMT", True), ("Tue, 24 Nov 2026 03:59:59 GMT", False)]
    )
    def test_a_guarded_write(self, sf: Server, client: Any, since: str, works: bool) -> None:
        (contact,) = fill(sf, 1)
        guard = {"If-Unmodified-Since": since}
        if works:
            client.Contact.update(contact, {FLAG: True}, headers=guard)
        else:
            with pytest.raises(SalesforceGeneralError) as refused:
                client.Contact.update(contact, {FLAG: True}, headers=guard)
            assert refused.value.status == 412
        assert opted_out(sf) == ({contact} if works else set())

    def test_query_all_iter_follows_the_pages(self, sf: Server, client: Any) -> None:
        ids = fill(sf, 4_001)
        query = "SELECT Id FROM Contact ORDER BY LastName"
        assert [row["Id"] for row in client.query_all_iter(query)] == ids
        assert len(client.query_all(query)["records"]) == 4_001
        records.delete_record(sf.store, "Contact", ids[0])
        assert len(list(client.query_all_iter(query))) == 4_000
        assert len(list(client.query_all_iter(query, include_deleted=True))) == 4_001
        first = client.query(query)
        more = client.query_more(first["nextRecordsUrl"], identifier_is_url=True)
        assert (len(first["records"]), len(more["records"]), more["done"]) == (2_000, 2_000, True)

    def test_collections_by_restful(self, sf: Server, client: Any) -> None:
        good, deleted = fill(sf, 2)
        records.delete_record(sf.store, "Contact", deleted)
        body = {
            "allOrNone": False,
            "records": [{"attributes": {"type": "Contact"}, "id": one, FLAG: True} for one in (deleted, good)],
        }
        answer = client.restful("composite/sobjects", method="PATCH", json=body)
        assert [entry["success"] for entry in answer] == [False, True]
        assert answer[0]["errors"][0]["statusCode"] == "ENTITY_IS_DELETED"
        assert opted_out(sf) == {good}

    def test_refusals_are_understood(self, sf: Server, client: Any) -> None:
        with pytest.raises(SalesforceMalformedRequest, match="MALFORMED_QUERY"):
            client.query("SELECT Id FROM Lead GROUP BY Id")
        with pytest.raises(SalesforceResourceNotFound):
            client.restful("nowhere")
        with pytest.raises(SalesforceGeneralError, match="METHOD_NOT_ALLOWED"):
            client.restful("limits", method="DELETE")
        sf.store.configure(api_usage=str(API_LIMIT))
        with pytest.raises(SalesforceRefusedRequest, match="REQUEST_LIMIT_EXCEEDED"):
            client.query("SELECT Id FROM Lead")


class TestBulk2:
    def test_query(self, sf: Server, client: Any) -> None:
        ids = fill(sf, 7, FirstName='a "b",\nc é')
        pages = list(client.bulk2.Contact.query("SELECT Id, FirstName FROM Contact ORDER BY Id", max_records=3, wait=0))
        assert [len(rows(page)) for page in pages] == [3, 3, 1]
        found = [row for page in pages for row in rows(page)]
        assert sorted(row["Id"] for row in found) == sorted(ids)
        assert {row["FirstName"] for row in found} == {'a "b",\nc é'}

    def test_query_all_and_download(self, sf: Server, client: Any, tmp_path: Path) -> None:
        ids = fill(sf, 5)
        records.delete_record(sf.store, "Contact", ids[0])
        (page,) = client.bulk2.Contact.query_all("SELECT Id, IsDeleted FROM Contact", wait=0)
        assert sorted(row["IsDeleted"] for row in rows(page)) == ["false"] * 4 + ["true"]
        files = client.bulk2.Contact.download("SELECT Id FROM Contact", path=str(tmp_path), max_records=3, wait=0)
        assert [file["number_of_records"] for file in files] == [3, 1]
        found = [row["Id"] for file in tmp_path.iterdir() for row in rows(file.read_text(encoding="utf-8"))]
        assert sorted(found) == sorted(ids[1:])

    def test_update_by_file_in_several_jobs(self, sf: Server, client: Any, tmp_path: Path) -> None:
        ids = fill(sf, 25, HasOptedOutOfEmail=True)
        missing = records.new_id(sf.store, "003")
        file = tmp_path / "update.csv"
        file.write_text(f"Id,{FLAG}\n" + "".join(f"{one},false\n" for one in [*ids[:20], missing]), encoding="utf-8")
        done = client.bulk2.Contact.update(str(file), batch_size=10, wait=0)
        assert [(job["numberRecordsProcessed"], job["numberRecordsFailed"]) for job in done] == [
            (10, 0),
            (10, 0),
            (1, 1),
        ]
        assert opted_out(sf) == set(ids[20:])
        successes = [row for job in done for row in rows(client.bulk2.Contact.get_successful_records(job["job_id"]))]
        assert sorted(row["sf__Id"] for row in successes) == sorted(ids[:20])
        (failed,) = rows(client.bulk2.Contact.get_failed_records(done[2]["job_id"]))
        assert (failed["Id"], failed["sf__Error"]) == (
            missing,
            "INVALID_CROSS_REFERENCE_KEY:invalid cross reference id:--",
        )
        assert rows(client.bulk2.Contact.get_unprocessed_records(done[2]["job_id"])) == []
        together = client.bulk2.Contact.get_all_ingest_records(done[2]["job_id"])
        assert [len(together[kind]) for kind in ("successfulRecords", "failedRecords", "unprocessedRecords")] == [
            0,
            1,
            0,
        ]

    def test_update_by_records(self, sf: Server, client: Any) -> None:
        first, second = fill(sf, 2)
        (done,) = client.bulk2.Contact.update(
            records=[
                {"Id": first, FLAG: True},
                {"Id": second, FLAG: None},
            ],  # None becomes an empty cell: it changes nothing
            wait=0,
        )
        assert (done["numberRecordsProcessed"], done["numberRecordsFailed"]) == (2, 0)
        assert opted_out(sf) == {first}

    def test_utf_8_goes_both_ways(self, sf: Server, client: Any) -> None:
        (contact,) = fill(sf, 1)
        name = 'Çelik \U0001f600, "q"'
        (done,) = client.bulk2.Contact.update(records=[{"Id": contact, "LastName": name}], wait=0)
        assert sf.rows("SELECT LastName FROM Contact") == [{"LastName": name}]
        assert rows(client.bulk2.Contact.get_successful_records(done["job_id"]))[0]["LastName"] == name

    def test_a_hidden_field_fails_the_job(self, sf: Server, client: Any) -> None:
        (contact,) = fill(sf, 1)
        with pytest.raises(SalesforceOperationError, match="InvalidBatch : Field name not found : Nope__c"):
            client.bulk2.Contact.update(records=[{"Id": contact, "Nope__c": "x"}], wait=0)

    @pytest.mark.parametrize("operation", ["insert", "delete"])
    def test_other_operations_are_refused(self, sf: Server, client: Any, operation: str) -> None:
        fill(sf, 1)
        with pytest.raises(SalesforceMalformedRequest, match="FEATURENOTENABLED"):
            getattr(client.bulk2.Contact, operation)(records=[{"Id": "003000000000000"}], wait=0)

    def test_a_query_that_bulk_cant_do(self, client: Any) -> None:
        with pytest.raises(SalesforceMalformedRequest, match="API_ERROR"):
            list(client.bulk2.Contact.query("SELECT COUNT() FROM Contact", wait=0))

    def test_an_update_in_batches_of_the_org(self, sf_slot: Slot) -> None:
        with serve(sf_slot, Org(ingest_batch=1)) as sf, loopback_session(sf) as session:
            key, secret = sf.org.consumer_key, sf.org.consumer_secret
            client = Salesforce(consumer_key=key, consumer_secret=secret, domain="acme.my", session=session)
            ids = fill(sf, 3)
            (done,) = client.bulk2.Contact.update(records=[{"Id": one, FLAG: True} for one in ids], wait=0)
            assert done["numberRecordsProcessed"] == 3
            assert opted_out(sf) == set(ids)
