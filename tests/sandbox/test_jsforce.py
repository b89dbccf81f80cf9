"""jsforce, the client beneath Salesforce's own command line, against the sandbox: another reading of the API than recon's."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from recon.clock import SystemClock
from recon.sandbox.salesforce import records
from recon.sandbox.salesforce.auth import Org
from recon.sandbox.salesforce.wire import API_LIMIT
from tests.sandbox.sf_server import Server, Slot, serve
from tests.sandbox.test_sf_auth import key_pair

NODE, NPM = shutil.which("node"), shutil.which("npm")

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(NODE is None or NPM is None, reason="Node.js and npm are not installed"),
]

HERE = Path(__file__).parent / "jsforce"
FLAG = "HasOptedOutOfEmail"


@pytest.fixture(scope="session")
def jsforce(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in pytest's cache that holds jsforce, in the versions of the lock file; npm fills it once."""
    lock = (HERE / "package-lock.json").read_bytes()
    cache: pytest.Cache | None = getattr(request.config, "cache", None)  # it can be switched off
    parent = tmp_path_factory.mktemp("jsforce") if cache is None else cache.mkdir("jsforce")
    folder = parent / hashlib.sha256(lock).hexdigest()[:16]
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=parent) as made:
            fresh = Path(made) / "fresh"
            fresh.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, fresh)
            command = [str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            done = subprocess.run(command, cwd=fresh, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, done.stderr
            with suppress(OSError):  # another worker was faster
                fresh.rename(folder)
    return folder


class Client:
    """Calls of jsforce/client.cjs, each in a Node.js of its own."""

    def __init__(self, folder: Path, sf: Server) -> None:
        self.folder = folder
        self.sf = sf

    def run(self, call: str, **given: Any) -> dict[str, Any]:
        session = str(self.sf.http.headers["Authorization"]).partition(" ")[2]
        common = {"instanceUrl": self.sf.url, "loginUrl": self.sf.url, "accessToken": session, "version": "62.0"}
        done = subprocess.run(
            [str(NODE), str(HERE / "client.cjs"), str(self.folder), call],
            input=json.dumps(common | given),
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
            env={name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT") if name in os.environ},
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def __call__(self, call: str, **given: Any) -> Any:
        """What the call gave."""
        answer = self.run(call, **given)
        assert "given" in answer, answer
        return answer["given"]

    def refused(self, call: str, **given: Any) -> dict[str, str]:
        """Code and message of the call's failure."""
        answer = self.run(call, **given)
        assert "failed" in answer, answer
        failed: dict[str, str] = answer["failed"]
        return failed


@pytest.fixture
def client(jsforce: Path, sf: Server) -> Client:
    return Client(jsforce, sf)


def fill(sf: Server, many: int, **columns: Any) -> list[str]:
    with sf.store.transaction():
        return [records.insert_contact(sf.store, **{"LastName": f"Person {n:04d}"} | columns) for n in range(many)]


def opted_out(sf: Server) -> set[str]:
    return {str(row["Id"]) for row in sf.rows(f"SELECT Id FROM Contact WHERE {FLAG} = true")}


class TestLogins:
    @pytest.fixture
    def org(self) -> Org:
        return Org(jwt_public_key=key_pair()[1], jwt_clock=SystemClock())

    def test_soap(self, sf: Server, client: Client) -> None:
        password = sf.org.password + sf.org.security_token
        given = client("login", username=sf.org.username, password=password)
        assert given == {
            "user": {
                "id": sf.org.user_id,
                "organizationId": sf.org.org_id,
                "url": f"{sf.url}/id/{sf.org.org_id}/{sf.org.user_id}",
            },
            "totalSize": 0,
            "instanceUrl": sf.url,
        }
        assert "INVALID_LOGIN" in client.refused("login", username=sf.org.username, password="x")["message"]

    @pytest.mark.parametrize("grant", ["client_credentials", "jwt"])
    def test_oauth(self, sf: Server, client: Client, grant: str) -> None:
        app = {"clientId": sf.org.consumer_key, "clientSecret": sf.org.consumer_secret}
        form = {"grant_type": grant}
        if grant == "jwt":
            claims = {
                "iss": sf.org.consumer_key,
                "sub": sf.org.username,
                "aud": "https://login.salesforce.com",
                "exp": datetime.now(UTC) + timedelta(minutes=3),
            }
            form = {
                "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                "assertion": jwt.encode(claims, key_pair()[0], algorithm="RS256"),
            }
        assert client("authorize", grant=form, **app) == {"totalSize": 0, "instanceUrl": sf.url}


def test_describe(client: Client) -> None:
    fields = {field["name"]: field for field in client("describe")}
    assert fields[FLAG] == {"name": FLAG, "type": "boolean", "updateable": True}


def test_query_follows_the_pages_and_reads_the_limits(sf: Server, client: Client) -> None:
    ids = fill(sf, 2_500)
    records.delete_record(sf.store, "Contact", ids[7])
    given = client("query", soql="SELECT Id FROM Contact ORDER BY LastName", scanAll=True)
    assert (given["ids"], given["totalSize"]) == (ids, 2_500)
    assert given["limits"]["apiUsage"]["limit"] == API_LIMIT


def test_collections(sf: Server, client: Client) -> None:
    good, deleted = fill(sf, 2)
    records.delete_record(sf.store, "Contact", deleted)
    rows = [{"Id": deleted, FLAG: True}, {"Id": good, FLAG: True}]
    first, second = client("collection", records=rows, allOrNone=False)
    assert (first["success"], first["errors"][0]["statusCode"]) == (False, "ENTITY_IS_DELETED")
    assert second == {"id": good, "success": True, "errors": []}
    assert opted_out(sf) == {good}


def test_an_ended_session_is_told(sf: Server, client: Client) -> None:
    sf.app.state.login.end_sessions()
    assert client.refused("describe")["code"] == "INVALID_SESSION_ID"


class TestBulkQuery:
    def test_rows(self, sf: Server, client: Client) -> None:
        name = 'a "b",\nc é\u2028\U0001f600'
        (contact,) = fill(sf, 1, LastName=name, HasOptedOutOfEmail=True)
        given = client("bulkQuery", soql=f"SELECT Id, LastName, {FLAG}, Email FROM Contact")
        assert given == [{"Id": contact, "LastName": name, FLAG: "true", "Email": ""}]

    def test_the_recycle_bin(self, sf: Server, client: Client) -> None:
        live, deleted = fill(sf, 2)
        records.delete_record(sf.store, "Contact", deleted)
        query = "SELECT Id FROM Contact ORDER BY LastName"
        assert client("bulkQuery", soql=query) == [{"Id": live}]
        options = {"scanAll": True, "columnDelimiter": "COMMA", "lineEnding": "LF"}
        assert client("bulkQuery", soql=query, options=options) == [{"Id": live}, {"Id": deleted}]

    def test_a_query_that_is_refused(self, client: Client) -> None:
        assert client.refused("bulkQuery", soql="SELECT Nope FROM Contact")["code"] == "INVALID_FIELD"


class TestBulkUpdate:
    def test_records(self, sf: Server, client: Client) -> None:
        first, second, deleted = fill(sf, 3, FirstName="Ada", HasOptedOutOfEmail=True)
        records.delete_record(sf.store, "Contact", deleted)
        rows = [{"Id": one, FLAG: False, "FirstName": None} for one in (first, second, deleted)]
        given = client("bulkUpdate", records=rows)
        assert {row["sf__Id"] for row in given["successfulResults"]} == {first, second}
        assert all(row["sf__Created"] == "false" for row in given["successfulResults"])
        (failed,) = given["failedResults"]
        assert (failed["Id"], failed["sf__Error"]) == (deleted, "ENTITY_IS_DELETED:entity is deleted:--")
        assert given["unprocessedRecords"] == []
        # jsforce writes null as #N/A.
        assert sf.rows(f"SELECT FirstName, {FLAG} FROM Contact") == [{"FirstName": None, FLAG: False}] * 2

    def test_a_file(self, sf: Server, client: Client) -> None:
        (contact,) = fill(sf, 1)
        given = client(
            "bulkUpdate",
            csv=f'Id;LastName\r\n{contact};"Ç ""é"""\r\n',
            options={"columnDelimiter": "SEMICOLON", "lineEnding": "CRLF"},
        )
        # jsforce reads results as comma-separated whatever the job's delimiter: only what the org holds can be compared.
        assert len(given["successfulResults"]) == 1
        assert sf.rows("SELECT LastName FROM Contact") == [{"LastName": 'Ç "é"'}]

    def test_many_rows(self, sf: Server, client: Client) -> None:
        ids = fill(sf, 3_000)
        given = client("bulkUpdate", csv=f"Id,{FLAG}\n" + "".join(f"{one},true\n" for one in ids))
        assert sorted(row["Id"] for row in given["successfulResults"]) == sorted(ids)
        assert sf.soql(f"SELECT COUNT() FROM Contact WHERE {FLAG} = true")["totalSize"] == 3_000

    def test_a_failed_job_is_told(self, sf: Server, client: Client) -> None:
        (contact,) = fill(sf, 1)
        failed = client.refused("bulkUpdate", records=[{"Id": contact, "Nope__c": "x"}])
        assert failed["message"].endswith("InvalidBatch : Field name not found : Nope__c")

    def test_another_operation_is_refused(self, sf: Server, client: Client) -> None:
        (contact,) = fill(sf, 1)
        failed = client.refused("bulkUpdate", operation="delete", records=[{"Id": contact}])
        assert failed["code"] == "FEATURENOTENABLED"
        assert sf.rows("SELECT Id FROM Contact") == [{"Id": contact}]

    def test_step_by_step_and_aborted_half_way(self, jsforce: Path, sf_slot: Slot) -> None:
        with serve(sf_slot, Org(ingest_batch=1)) as sf:
            first, second = fill(sf, 2)
            content = f"Id,{FLAG}\n{first},true\n{second},true\n"
            given = Client(jsforce, sf)("bulkSteps", csv=content)
            assert given["states"] == ["Open", "Open", "UploadComplete", "InProgress", "Aborted"]
            results = given["results"]
            assert [row["Id"] for row in results["successfulResults"]] == [first]
            assert [row["Id"] for row in results["unprocessedRecords"]] == [second]
            assert opted_out(sf) == {first}
            assert sf.call("GET", "/jobs/ingest").json()["records"] == []
