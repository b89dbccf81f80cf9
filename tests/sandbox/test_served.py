"""A sandbox that is served from a folder, used as the printed lines say."""

from __future__ import annotations

import json
import shlex
import socket
import stat
import subprocess
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests

from recon import settings
from recon.clock import SetClock, SystemClock
from recon.errors import ReconError
from recon.progress import SILENT
from recon.sandbox.salesforce import records
from recon.sandbox.served import serve, write_settings
from recon.sandbox.store import Store
from recon.sources.files import read_contacts, read_leads, read_people
from recon.sources.gateway import read_gateway
from recon.sources.salesforce import read_salesforce

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AT = datetime(2026, 11, 24, 18, tzinfo=UTC)


class Served:
    """A served sandbox as a user meets it: the folder, what was printed, and HTTP."""

    def __init__(self, folder: Path, printed: list[str]) -> None:
        self.folder = folder
        self.printed = printed
        self.settings = settings.load(folder)
        text = (folder / "environment.sh").read_text(encoding="utf-8")
        words = [shlex.split(line)[1] for line in text.splitlines() if line.startswith("export ")]
        self.environ = dict(word.split("=", 1) for word in words)
        self.gateway = str(self.settings.sales_connect.gateway.url)
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {self.environ['RECON_GATEWAY_TOKEN']}"

    def call(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        answer = self.http.request(method, f"{self.gateway}{path}", timeout=20, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    def raw(self, path: str, name: str) -> Path:
        answer = self.http.get(f"{self.gateway}{path}", timeout=20)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/csv; charset=")
        assert name in answer.headers["content-disposition"]
        file = self.folder / name
        file.write_bytes(answer.content)
        return file


def _options(given: dict[str, Any], **own: Any) -> dict[str, Any]:
    return {"people": 200, "seed": 1} | own | given


@contextmanager
def served(folder: Path, **options: Any) -> Iterator[Served]:
    """Run `serve` in a thread until the block ends; what it raises is raised here."""
    stop, ready = threading.Event(), threading.Event()
    printed: list[str] = []
    faults: list[BaseException] = []

    def echo(text: str) -> None:
        printed.append(text)
        ready.set()

    def run() -> None:
        try:
            serve(folder, **_options(options, echo=echo, stop=stop))
        except BaseException as fault:  # noqa: BLE001 - handed to the test
            faults.append(fault)
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(30)
    session = None
    try:
        if not faults:
            running = Served(folder, printed)
            session = running.http
            yield running
    finally:
        stop.set()
        thread.join(30)
        if session is not None:
            session.close()
    assert not thread.is_alive()
    if faults:
        raise faults[0]
    assert printed[-1] == "The sandbox has stopped."


def refused(folder: Path, **options: Any) -> str:
    with pytest.raises(ReconError) as caught:
        serve(folder, **_options(options, echo=lambda _: None, stop=threading.Event()))
    return str(caught.value)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One whose clock stands, for the tests that only look."""
    with served(tmp_path_factory.mktemp("shared") / "new" / "folder", at=AT) as running:
        yield running


class TestTheFolder:
    def test_it_is_a_workspace_that_leads_to_the_sandbox(self, shared: Served) -> None:
        live: dict[str, Any] = {"environ": shared.environ, "clock": SetClock(AT), "progress": SILENT}
        people = read_gateway(shared.settings.sales_connect.gateway, **live).table
        found = read_salesforce(shared.settings.salesforce, **live).table
        counts = shared.call("GET", "/sandbox/state")["counts"]
        assert people.num_rows == counts["people"] == 200
        assert found.num_rows == counts["leads"] + counts["contacts"]

    def test_the_secrets_are_for_their_owner_alone(self, shared: Served) -> None:
        for name in ("environment.sh", "sandbox.sqlite"):
            assert stat.S_IMODE((shared.folder / name).stat().st_mode) == 0o600
        own = [value for name, value in shared.environ.items() if name != "RECON_NOW"]
        shown = "\n".join(shared.printed) + (shared.folder / "recon.toml").read_text(encoding="utf-8")
        assert not [secret for secret in own if secret in shown]
        assert not [secret for secret in own if secret in json.dumps(shared.call("GET", "/sandbox/state"))]
        assert sorted(path.name for path in shared.folder.iterdir() if path.suffix != ".csv") == [
            "environment.sh",
            "recon.toml",
            "sandbox.sqlite",
        ]

    def test_a_shell_takes_the_environment(self, shared: Served) -> None:
        script = ". ./environment.sh && env"
        shown = subprocess.run(
            ["sh", "-c", script], cwd=shared.folder, env={}, capture_output=True, text=True, check=True
        )
        lines = shown.stdout.splitlines()
        assert [f"{name}={value}" for name, value in shared.environ.items() if f"{name}={value}" not in lines] == []

    def test_the_printed_lines_lead_there(self, shared: Served) -> None:
        (text,) = shared.printed
        assert shared.gateway in text
        assert str(shared.settings.salesforce.instance_url) in text
        assert str(shared.folder) in text
        assert "2026-11-24T18:00:00Z and stands still" in text
        assert len(text.splitlines()) < 20

    def test_the_commands_of_recon_go_by_the_same_clock(self, shared: Served) -> None:
        assert shared.environ["RECON_NOW"] == "2026-11-24T18:00:00Z"


class TestExtracts:
    def test_people(self, shared: Served) -> None:
        canonical = read_people(shared.raw("/sandbox/extract/people.csv", "people.csv")).table
        assert canonical.num_rows == 200
        foreign = shared.raw("/sandbox/extract/people.csv?flavour=foreign", "people.csv")
        assert foreign.read_bytes().startswith(b"\xef\xbb\xbfPerson ID,")

    @pytest.mark.parametrize("flavour", ["data_loader", "report"])
    def test_leads_and_contacts(self, shared: Served, flavour: str) -> None:
        leads = read_leads(shared.raw(f"/sandbox/extract/leads.csv?flavour={flavour}", "leads.csv"))
        contacts = read_contacts(shared.raw(f"/sandbox/extract/contacts.csv?flavour={flavour}", "contacts.csv"))
        counts = shared.call("GET", "/sandbox/state")["counts"]
        deleted = (0, 0) if flavour == "data_loader" else (counts["leads_deleted"], counts["contacts_deleted"])
        assert leads.table.num_rows == counts["leads"] - deleted[0]
        assert contacts.table.num_rows == counts["contacts"] - deleted[1]

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("/sandbox/extract/everything.csv", 404),
            ("/sandbox/extract/../people.csv", 404),
            ("/sandbox/extract/people.csv?flavour=report", 400),
            ("/sandbox/extract/leads.csv?flavour=", 400),
        ],
    )
    def test_what_is_refused(self, shared: Served, path: str, status: int) -> None:
        assert shared.call("GET", path, status)["error"]["message"]


class TestLevers:
    def test_they_need_the_token(self, shared: Served) -> None:
        for method, path in (
            ("POST", "/sandbox/nightly"),
            ("GET", "/sandbox/clock"),
            ("GET", "/sandbox/extract/people.csv"),
        ):
            assert requests.request(method, shared.gateway + path, timeout=5).status_code == 401

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"at": "2026-11-24T18:00:00Z", "advance_seconds": 1},
            {"at": "2026-11-24T18:00:00"},
            {"at": "soon"},
            {"at": "1999-12-31T23:59:59Z"},
            {"at": "2100-01-01T00:00:00Z"},
            {"advance_seconds": 1e300},
            {"advance_seconds": -1e9},
            {"advance_seconds": "NaN"},
            {"to": "2026-11-24T18:00:00Z"},
            [],
        ],
    )
    def test_a_clock_is_moved_by_a_moment_or_a_duration_and_nothing_else(self, shared: Served, body: object) -> None:
        assert shared.call("POST", "/sandbox/clock", 400, json=body)["error"]["code"] == "bad_request"
        assert shared.call("GET", "/sandbox/clock") == {"now": "2026-11-24T18:00:00Z"}

    @pytest.mark.parametrize(
        ("path", "body", "status", "code"),
        [
            ("/sandbox/configure", {"sync_enabled": "maybe"}, 400, "bad_request"),
            ("/sandbox/configure", {"secret_gateway_token": "x"}, 400, "bad_request"),
            ("/sandbox/convert-lead", {"lead_id": "abc"}, 400, "malformed_id"),
            ("/sandbox/convert-lead", {"lead_id": "00Q000000000001"}, 404, "not_found"),
            ("/sandbox/convert-lead", {}, 400, "bad_request"),
            ("/sandbox/delete-record", {"object": "Lead", "id": "00Q000000000001"}, 404, "not_found"),
            ("/sandbox/delete-record", {"object": "person", "id": "1"}, 400, "bad_request"),
            ("/sandbox/link-person", {"person_id": "none", "salesforce_id": None}, 404, "unknown_person"),
        ],
    )
    def test_what_else_is_refused(self, shared: Served, path: str, body: object, status: int, code: str) -> None:
        assert shared.call("POST", path, status, json=body)["error"]["code"] == code

    def test_a_rehearsal(self, tmp_path: Path) -> None:
        with served(tmp_path, at=AT) as box:
            assert box.call("POST", "/sandbox/clock", json={"advance_seconds": 3600}) == {"now": "2026-11-24T19:00:00Z"}
            assert box.call("POST", "/sandbox/clock", json={"at": "2026-11-24T20:00:00-08:00"}) == {
                "now": "2026-11-25T04:00:00Z"
            }
            night = box.call("POST", "/sandbox/nightly")
            assert night["at"] == "2026-11-25T04:00:00.000Z"
            assert night["ran"] is True
            assert night["people_set"]
            assert night["records_set"]
            for person_id in night["people_set"]:
                person = box.call("GET", f"/people/{person_id}")
                assert (person["unsubscribed"], person["unsubscribe_source"]) == (True, "salesforce_sync")
            again = box.call("POST", "/sandbox/nightly")
            assert again["people_set"] == again["records_set"] == []
            off = box.call("POST", "/sandbox/configure", json={"sync_enabled": False, "opt_out_field": "both"})
            assert off["config"]["sync_enabled"] == "false"
            assert off["config"]["opt_out_field"] == "both"
            assert off["config"]["push_enabled"] == "true"
            assert box.call("POST", "/sandbox/nightly")["ran"] is False

    def test_records_are_converted_merged_and_linked(self, tmp_path: Path) -> None:
        with served(tmp_path, at=AT) as box:
            store = Store(tmp_path / "sandbox.sqlite", SetClock(AT))
            try:
                lead = records.insert_lead(store, LastName="Lee", Company="Acme", Email="lee@example.com")
                twin = records.insert_lead(store, LastName="Lee", Company="Acme")
                contact = box.call("POST", "/sandbox/convert-lead", json={"lead_id": lead[:15]})["contact_id"]
                assert records.read_record(store, "Lead", lead)["ConvertedContactId"] == contact
                assert records.read_record(store, "Contact", contact)["Email"] == "lee@example.com"
                body = {"object": "Lead", "id": twin, "master_id": twin[:15]}
                assert box.call("POST", "/sandbox/delete-record", 400, json=body)["error"]["code"] == "bad_request"
                box.call("POST", "/sandbox/delete-record", json=body | {"master_id": lead})
                with store.transaction() as db:
                    row = db.execute("SELECT IsDeleted, MasterRecordId FROM lead WHERE Id = ?", (twin,)).fetchone()
                assert tuple(row) == (1, lead)
                person_id = box.call("GET", "/people?limit=1")["people"][0]["person_id"]
                box.call("POST", "/sandbox/link-person", json={"person_id": person_id, "salesforce_id": contact})
                assert box.call("GET", f"/people/{person_id}")["salesforce_id"] == contact
            finally:
                store.close()


class TestGoingOn:
    def test_records_secrets_ports_and_settings_stay(self, tmp_path: Path) -> None:
        with served(tmp_path) as box:
            before = (box.environ, box.settings, box.call("GET", "/people?limit=1000"))
            person_id = before[2]["people"][0]["person_id"]
            box.call("POST", f"/people/{person_id}/unsubscribe", json={"level": "account"})
        with served(tmp_path, people=999, seed=2) as box:
            assert (box.environ, box.settings) == before[:2]
            assert "gone on with" in box.printed[0]
            assert box.call("GET", "/sandbox/state")["counts"]["people"] == before[2]["total"]
            assert box.call("GET", f"/people/{person_id}")["unsubscribed"] is True

    def test_its_clock_runs_and_stays_where_it_was_moved_to(self, tmp_path: Path) -> None:
        with served(tmp_path) as box:
            assert "RECON_NOW" not in box.environ
            assert abs(_now(box) - SystemClock().now()) < timedelta(minutes=5)
            box.call("POST", "/sandbox/clock", json={"advance_seconds": 86400.5})
            assert abs(_now(box) - SystemClock().now() - timedelta(days=1)) < timedelta(minutes=5)
        with served(tmp_path) as box:
            assert abs(_now(box) - SystemClock().now() - timedelta(days=1)) < timedelta(minutes=5)

    def test_a_port_that_somebody_took_meanwhile_is_given_up_and_the_settings_follow(self, tmp_path: Path) -> None:
        with served(tmp_path) as box:
            before = box.gateway
        with socket.create_server(("127.0.0.1", int(before.rpartition(":")[2]))), served(tmp_path) as box:
            assert box.gateway != before
            assert box.call("GET", "/people?limit=1")["total"] == 200

    def test_settings_that_the_user_wrote_stay(self, tmp_path: Path) -> None:
        with served(tmp_path) as box:
            before = box.gateway
        file = tmp_path / "recon.toml"
        mine = file.read_text(encoding="utf-8") + '\n[report]\ntitle = "Mine"\n'
        file.write_text(mine, encoding="utf-8")
        with served(tmp_path) as box:
            assert box.settings.report.title == "Mine"
            assert "is yours" not in box.printed[0]
        with socket.create_server(("127.0.0.1", int(before.rpartition(":")[2]))):
            stop = threading.Event()
            printed: list[str] = []

            def echo(text: str) -> None:
                printed.append(text)
                stop.set()

            serve(tmp_path, people=200, seed=1, echo=echo, stop=stop)
        assert "recon.toml there is yours and leads elsewhere" in printed[0]
        assert "[sales_connect.gateway]" in printed[0]
        assert file.read_text(encoding="utf-8") == mine

    def test_it_is_not_served_twice_at_once(self, tmp_path: Path) -> None:
        with served(tmp_path) as box:
            text = refused(tmp_path)
            assert f"is served already: its Sales Connect is at {box.gateway}" in text
            assert box.call("GET", "/people?limit=1")["total"] == 200

    def test_a_start_that_broke_off_is_made_up_for(self, tmp_path: Path) -> None:
        Store(tmp_path / "sandbox.sqlite", SystemClock()).close()  # made, not populated
        with served(tmp_path) as box:
            assert box.call("GET", "/people?limit=1")["total"] == 200
            assert "gone on with" not in box.printed[0]


class TestRefusals:
    def test_a_file_where_the_folder_should_be(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.touch()
        assert f"{file} can't be made" in refused(file)

    def test_a_state_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "sandbox.sqlite").write_text("not a database, but some text" * 50)
        assert "can't be used as a sandbox's state" in refused(tmp_path)
        assert not (tmp_path / "recon.toml").exists()

    def test_a_chosen_port_that_is_taken(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            assert f"port {port} on 127.0.0.1 can't be used" in refused(tmp_path, gateway_port=port)


def test_without_a_folder_nothing_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    stop = threading.Event()
    seen: list[list[str]] = []

    def echo(text: str) -> None:
        seen.append(sorted(path.name for path in tmp_path.glob("*/*")))
        stop.set()

    serve(None, people=200, seed=1, echo=echo, stop=stop)
    assert seen[0] == ["environment.sh", "recon.toml", "sandbox.sqlite"]
    assert list(tmp_path.glob("*/*")) == []


def test_settings_are_written_as_toml_that_says_the_same(tmp_path: Path) -> None:
    own: dict[str, dict[str, Any]] = {
        "salesforce": {
            "instance_url": "http://127.0.0.1:1",
            "username": 'a"\\\u0007ü@example.com',
            "poll_seconds": 0.1,
        },
        "sales_connect": {"gateway": {"url": "http://127.0.0.1:2"}, "columns": {"email": "E mail"}},
        "sync": {"enabled": False},
    }
    assert write_settings(tmp_path, own, None) is True
    plain = settings.Settings().with_values(**own)
    assert settings.load(tmp_path) == plain.model_copy(update={"run": settings.load(tmp_path).run})
    assert write_settings(tmp_path, own, None) is True
    other = own | {"sync": {"enabled": True}}
    assert write_settings(tmp_path, other, None) is False
    (tmp_path / "recon.toml").write_text("[salesforce\n")
    assert write_settings(tmp_path, own, None) is False


def test_the_printed_lines_work_in_a_shell(tmp_path: Path) -> None:
    """The levers as printed, with curl's part played by Python: nothing in a line needs more than the environment file."""
    with served(tmp_path, at=AT) as box:
        for line in box.printed[0].splitlines():
            if "curl" not in line:
                continue
            words = shlex.split(line.partition("   (")[0])
            assert words[0] == "curl"
            assert words[words.index("-H") + 1] == "Authorization: Bearer $RECON_GATEWAY_TOKEN"
            (url,) = [word for word in words if word.startswith("http")]
            method = words[words.index("-X") + 1] if "-X" in words else "GET"
            body = words[words.index("-d") + 1] if "-d" in words else None
            answer = box.http.request(method, url, data=body, timeout=20)
            assert answer.status_code == 200, line


def _now(box: Served) -> datetime:
    return datetime.fromisoformat(box.call("GET", "/sandbox/clock")["now"])
