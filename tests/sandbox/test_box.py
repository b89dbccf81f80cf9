"""The whole sandbox over HTTP on loopback, as the live sources meet it."""

from __future__ import annotations

import socket
import sqlite3
import stat
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests

from recon.clock import SetClock
from recon.errors import ReconError, UsageError
from recon.progress import SILENT
from recon.sandbox import sales_connect
from recon.sandbox.box import DEFAULT_AT, Sandbox
from recon.settings import Settings
from recon.sources.gateway import read_gateway
from recon.sources.salesforce import read_records, read_salesforce
from recon.sources.salesforce_session import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    """One for the tests that only look."""
    with Sandbox() as sandbox:
        sandbox.populate(people=200, seed=3)
        yield sandbox


def pull(box: Sandbox, **values: Any) -> tuple[pa.Table, pa.Table]:
    settings = Settings().with_values(**box.settings()).with_values(**values)
    live: dict[str, Any] = {"environ": box.environment(), "clock": box.clock, "progress": SILENT}
    people = read_gateway(settings.sales_connect.gateway, **live)
    return people.table, read_salesforce(settings.salesforce, **live).table


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("sandbox ")}


def test_the_default_clock_stands_in_the_pacific_morning(box: Sandbox) -> None:
    assert box.clock.now() == DEFAULT_AT == datetime(2026, 11, 24, 18, tzinfo=UTC)
    assert box.store.now() == "2026-11-24T18:00:00.000Z"


def test_both_systems_are_read_whole_with_its_settings_and_environment(box: Sandbox) -> None:
    people, records = pull(box)
    with box.store.transaction() as db:
        persons = [tuple(row) for row in db.execute("SELECT person_id, email FROM person ORDER BY person_id")]
        rows = [
            tuple(row)
            for row in db.execute(
                "SELECT Id, HasOptedOutOfEmail, IsDeleted FROM lead UNION ALL "
                "SELECT Id, HasOptedOutOfEmail, IsDeleted FROM contact ORDER BY Id"
            )
        ]
    assert [(row["person_id"], row["email"] or None) for row in people.to_pylist()] == [
        (person_id, email or None) for person_id, email in persons
    ]
    assert [(row["record_id"], row["opted_out"], row["is_deleted"]) for row in records.to_pylist()] == rows


def test_bulk_and_rest_give_the_same_records(box: Sandbox) -> None:
    assert pull(box, salesforce={"bulk_above": 0})[1].equals(pull(box, salesforce={"bulk_above": 100_000})[1])


@pytest.mark.parametrize("login", ["client_credentials", "password", "soap"])
def test_every_login_with_a_secret_opens_a_session(box: Sandbox, login: str) -> None:
    settings = Settings().with_values(**box.settings()).with_values(salesforce={"login": login})
    connect(settings.salesforce, environ=box.environment()).close()


def test_it_listens_on_loopback_alone_and_asks_for_its_secrets(box: Sandbox) -> None:
    assert box.salesforce_url.startswith("http://127.0.0.1:")
    assert box.gateway_url.startswith("http://127.0.0.1:")
    assert requests.get(f"{box.gateway_url}/people", timeout=5).status_code == 401
    assert requests.get(f"{box.gateway_url}/sandbox/state", timeout=5).status_code == 401
    assert requests.get(f"{box.salesforce_url}/services/data/v62.0/limits", timeout=5).status_code == 401


def test_every_sandbox_has_secrets_of_its_own(box: Sandbox) -> None:
    with Sandbox() as other:
        mine, others = box.environment(), other.environment()
        assert mine.keys() == others.keys()
        assert not set(mine.values()) & set(others.values())
        assert len(set(mine.values())) == len(mine)
        token = others["RECON_GATEWAY_TOKEN"]
        answer = requests.get(f"{box.gateway_url}/people", headers={"Authorization": f"Bearer {token}"}, timeout=5)
        assert answer.status_code == 403


def test_the_settings_follow_the_sandboxs_configuration() -> None:
    with Sandbox() as box:
        box.store.configure(sync_enabled="false", opt_out_field="both")
        settings = Settings().with_values(**box.settings())
        assert (settings.sync.enabled, settings.salesforce.opt_out_field) == (False, "both")
        assert box.nightly().ran is False


def test_the_night_runs_by_the_sandboxs_clock_and_both_systems_show_it() -> None:
    clock = SetClock(DEFAULT_AT)
    with Sandbox(clock=clock) as box:
        made = box.populate(people=200)
        assert box.clock is clock
        waiting = set(made.cases["awaiting_sync"])
        clock.set(datetime(2026, 11, 25, 4, tzinfo=UTC))
        night = box.nightly()
        assert night.at == "2026-11-25T04:00:00.000Z"
        people, records = pull(box)
        out = {f"sales_connect:{row['person_id']}" for row in people.to_pylist() if row["unsubscribed"]}
        out |= {f"salesforce:{row['record_id']}" for row in records.to_pylist() if row["opted_out"]}
        assert waiting <= out
        assert box.nightly().people_set == box.nightly().records_set == ()


def test_a_session_ends_by_the_sandboxs_clock_and_the_client_logs_in_again() -> None:
    clock = SetClock(DEFAULT_AT)
    with Sandbox(clock=clock) as box:
        settings = Settings().with_values(**box.settings())
        connection = connect(settings.salesforce, environ=box.environment())
        try:
            clock.advance(timedelta(days=1))
            assert read_records(connection, settings.salesforce, clock=clock, progress=SILENT).table.num_rows == 0
        finally:
            connection.close()


def test_a_sandbox_in_a_file_is_gone_on_with(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    with Sandbox(path=file) as box:
        made = box.populate(people=200)
        secrets = box.environment()
        person = made.cases["bounce"][0]
        before = pull(box)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with Sandbox(path=file) as box:
        assert box.environment() == secrets
        after = pull(box)
        assert after[0].equals(before[0])
        assert after[1].equals(before[1])
        with pytest.raises(UsageError, match="populated already"):
            box.populate()
        new = sales_connect.add_person(box.store)
        assert new not in before[0].column("person_id").to_pylist()
    assert person.startswith("salesforce:")


def test_closing_stops_both_servers_and_leaves_no_thread() -> None:
    before = threads()
    box = Sandbox()
    assert len(threads() - before) == 2
    box.close()
    box.close()
    assert threads() == before
    for url in (box.salesforce_url, box.gateway_url):
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=5)
    with pytest.raises(sqlite3.ProgrammingError):
        box.store.now() and box.store.config("sync_enabled")


def test_ports_can_be_chosen_and_taken_again() -> None:
    with Sandbox() as box:
        ports = [int(url.rpartition(":")[2]) for url in (box.salesforce_url, box.gateway_url)]
    with Sandbox(salesforce_port=ports[0], gateway_port=ports[1]) as box:
        assert box.salesforce_url == f"http://127.0.0.1:{ports[0]}"
        assert box.gateway_url == f"http://127.0.0.1:{ports[1]}"


@pytest.mark.parametrize("which", ["salesforce_port", "gateway_port"])
def test_a_taken_port_is_told_and_nothing_stays_open(which: str, tmp_path: Path) -> None:
    before = threads()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ReconError, match=f"port {port} on 127.0.0.1") as caught:
            Sandbox(path=tmp_path / "state.sqlite", **{which: port})
    assert "0 for a free one" in str(caught.value)
    assert threads() == before


@pytest.mark.parametrize("content", [b"person_id,email\n1,ann@example.com\n" * 50, None], ids=["text", "other tables"])
def test_a_file_that_is_no_sandboxs_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "mine"
    if content is None:
        with sqlite3.connect(file) as db:
            db.execute("CREATE TABLE invoices (id INTEGER)")
        db.close()
    else:
        file.write_bytes(content)
    before = file.read_bytes()
    with pytest.raises(ReconError, match="can't be used as a sandbox's state") as caught:
        Sandbox(path=file)
    assert caught.value.hint
    assert file.read_bytes() == before


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReconError, match="can't be used as a sandbox's state"):
        Sandbox(path=tmp_path / "none" / "state.sqlite")
