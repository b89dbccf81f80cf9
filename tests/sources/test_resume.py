"""A pull that broke off goes on with the page it broke off at, where the job is still there and still fits."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from recon.errors import IncompletePull, SourceError
from recon.pulls import WORKING
from recon.sandbox.salesforce import records
from tests.sources.test_increments import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from recon.snapshot import Snapshot
    from tests.sources.conftest import Acme, Answer

LEADS = 27


@pytest.fixture
def folder(acme: Acme, tmp_path: Path) -> Workspace:
    """An org of 27 Leads, which are seven pages, and five Contacts."""
    for n in range(LEADS):
        records.insert_lead(acme.store, LastName=f"Lead {n}", Company="Acme", Email=f"lead{n}@acme.example")
    for n in range(5):
        records.insert_contact(acme.store, LastName=f"Contact {n}")
    return Workspace(acme, tmp_path, bulk_above=0)


def break_off(folder: Workspace, page: int = 7) -> None:
    """Let a pull fail on a page of the Leads."""
    asked = [0]

    def alter(_method: str, target: str, answer: Answer) -> None:
        if "/results" in target:
            asked[0] += 1
            if asked[0] == page:
                answer.status = 400
                answer.set_json([{"errorCode": "UNKNOWN_EXCEPTION", "message": "x"}])

    folder.acme.wire.alter = alter
    with pytest.raises(SourceError, match="UNKNOWN_EXCEPTION"):
        folder.pull()
    folder.acme.wire.alter = lambda *_: None
    folder.acme.wire.asked.clear()


def working(folder: Workspace) -> list[str]:
    """What lies in the working folder but the lock."""
    return [path.name for path in (folder.folder / "snapshots" / WORKING).iterdir() if "lock" not in path.name]


def earlier(kept: Snapshot) -> list[Any]:
    return [part["details"].get("pages_of_an_earlier_pull") for part in kept.manifest["inputs"][1:]]


def test_it_goes_on_with_the_page_it_broke_off_at(folder: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    break_off(folder)
    assert sum(name.endswith(".run") for name in working(folder)) == 6
    if os.name != "nt":  # what was read is personal data
        assert stat.S_IMODE((folder.folder / "snapshots" / WORKING).stat().st_mode) == 0o700
    folder.acme.clock.advance(timedelta(hours=1))
    records.insert_lead(folder.acme.store, LastName="Later", Company="Acme")
    kept = folder.pull(overlap_minutes=1)
    # Page seven of the Leads; both of the Contacts, whose job was made too; and what changed meanwhile.
    jobs = [part["details"]["job_id"] for part in kept.manifest["inputs"][1:]]
    assert [folder.acme.asked("GET", f"/jobs/query/{job}/results") for job in jobs] == [1, 2]
    assert earlier(kept) == [6, 0]
    assert "goes on with the Bulk query" in caplog.text
    folder.same_as_full(kept)
    leads = kept.manifest["inputs"][1]
    assert leads["started_at"] == "2026-11-24T12:00:00Z"
    assert leads["rows"] == LEADS + 1
    assert working(folder) == []
    assert folder.acme.connect().get("the jobs", "jobs/query")["records"] == []


def test_who_opted_out_since_the_pull_broke_off_is_seen(folder: Workspace) -> None:
    """No record came or went, so the counts tell nothing."""
    store = folder.acme.store
    lead = records.insert_lead(store, LastName="First of all", Company="Acme")
    break_off(folder)
    folder.acme.clock.advance(timedelta(hours=1))
    records.update_record(store, "Lead", lead, {"HasOptedOutOfEmail": True})
    kept = folder.pull()
    assert earlier(kept) == [6, 0]
    assert {row["record_id"]: row["opted_out"] for row in pq.read_table(kept.records).to_pylist()}[lead] is True
    folder.same_as_full(kept)


def test_a_page_that_was_cut_short_is_asked_for_again_by_the_next_pull(folder: Workspace) -> None:
    cut = [True]

    def alter(_method: str, target: str, answer: Answer) -> None:
        if "/results" in target and "locator" in target and cut[0]:
            cut[0] = False
            answer.body = b"".join(answer.body.splitlines(keepends=True)[:-1])

    folder.acme.wire.alter = alter
    with pytest.raises(IncompletePull, match="holds 3 rows, but Salesforce said 4"):
        folder.pull()
    kept = folder.pull()
    assert earlier(kept) == [1, 0]
    folder.same_as_full(kept)


CHILD = """
    import json, os, resource, sys
    from datetime import datetime
    from recon import pulls
    from recon.clock import SetClock
    from recon.settings import Settings

    given = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_FSIZE, (given["bytes"], resource.RLIM_INFINITY))
    pulls.pull(
        Settings.model_validate(given["settings"]),
        environ=given["environ"],
        clock=SetClock(datetime.fromisoformat(given["now"])),
        sleep=lambda seconds: None,
    )
"""


def of_a_child(folder: Workspace, most: int = 1 << 30) -> str:
    """What a child is given that pulls; its files may have so many bytes."""
    return json.dumps(
        {
            "settings": folder.settings.model_dump(mode="json"),
            "environ": folder.acme.environ,
            "now": folder.acme.clock.now().isoformat(),
            "bytes": most,
        }
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_pull_that_was_killed_is_gone_on_with(folder: Workspace) -> None:
    acme = folder.acme
    child: list[subprocess.Popen[str]] = []

    def before(_method: str, target: str) -> None:
        if "/results" in target and acme.asked("GET", "/results") == 5:
            child[0].send_signal(signal.SIGKILL)

    acme.wire.before = before
    command = [sys.executable, "-c", textwrap.dedent(CHILD)]
    child.append(subprocess.Popen(command, stdin=subprocess.PIPE, text=True))
    child[0].communicate(of_a_child(folder))
    assert child[0].returncode == -signal.SIGKILL
    acme.wire.before = lambda *_: None
    kept = folder.pull()
    assert earlier(kept) == [4, 0]
    folder.same_as_full(kept)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
@pytest.mark.parametrize("most", [1, 4000])
def test_a_disk_without_room_is_a_sentence_and_costs_nothing_that_was_read(folder: Workspace, most: int) -> None:
    command = [sys.executable, "-c", textwrap.dedent(CHILD)]
    child = subprocess.run(command, input=of_a_child(folder, most), text=True, capture_output=True, check=False)
    last = [line for line in child.stderr.splitlines() if line][-2:]
    assert "ReconError" in last[0], child.stderr
    assert WORKING in last[0]
    assert "File too large" in last[0]
    folder.same_as_full(folder.pull())


def job_gone(folder: Workspace) -> dict[str, Any]:
    connection = folder.acme.connect()
    for job in connection.get("the jobs", "jobs/query")["records"]:
        if job["state"] not in ("JobComplete", "Aborted"):
            connection.request("the end", "PATCH", f"jobs/query/{job['id']}", json={"state": "Aborted"})
        connection.request("the removal", "DELETE", f"jobs/query/{job['id']}")
    connection.close()
    return {}


def another_version(_folder: Workspace) -> dict[str, Any]:
    return {"api_version": "61.0"}


def damaged_page(folder: Workspace) -> dict[str, Any]:
    page = min((folder.folder / "snapshots" / WORKING).glob("*.run"))
    page.write_bytes(page.read_bytes()[:-1])
    return {}


def damaged_notes(folder: Workspace) -> dict[str, Any]:
    for file in (folder.folder / "snapshots" / WORKING).glob("*.job.json"):
        file.write_text("{}")
    return {}


def a_night(folder: Workspace) -> dict[str, Any]:
    folder.settings = folder.settings.with_values(sync={"enabled": True})
    folder.acme.clock.advance(timedelta(hours=24))
    return {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (job_gone, "is not there any more, so the read starts anew"),
        (another_version, "another user, API version"),
        (damaged_page, "missing or damaged"),
        (damaged_notes, "can't be read"),
        (a_night, "a nightly run lies, or may lie, between"),
    ],
)
def test_what_does_not_fit_any_more_is_read_anew(
    folder: Workspace,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Workspace], dict[str, Any]],
    words: str,
) -> None:
    break_off(folder)
    values = change(folder)
    kept = folder.pull(**values)
    assert earlier(kept)[0] is None
    assert words in caplog.text
    folder.same_as_full(kept)
    assert working(folder) == []


def test_rows_that_can_not_be_right_are_not_kept(folder: Workspace) -> None:
    def alter(_method: str, target: str, answer: Answer) -> None:
        if "/results" in target and "locator" in target:
            answer.body = answer.body.replace(b'"false"', b'""', 1)

    folder.acme.wire.alter = alter
    with pytest.raises(IncompletePull, match="neither true nor false"):
        folder.pull()
    folder.acme.wire.alter = lambda *_: None
    kept = folder.pull()
    assert earlier(kept) == [None, 0]
    folder.same_as_full(kept)


def test_two_pulls_at_once_are_kept_apart(folder: Workspace) -> None:
    refused: list[str] = []

    def before(_method: str, target: str) -> None:
        if "/results" in target and not refused:
            refused.append("")
            with pytest.raises(Exception, match="another run is at work") as caught:
                folder.pull()
            refused[0] = str(caught.value)

    folder.acme.wire.before = before
    folder.pull()
    assert WORKING in refused[0]


def test_several_reads_at_once_give_the_same(folder: Workspace) -> None:
    one = folder.pull("full")
    at_once = folder.pull("full", parallel_reads=4)
    assert [part["sha256"] for part in one.manifest["inputs"]] == [
        part["sha256"] for part in at_once.manifest["inputs"]
    ]
    assert one.manifest["tables"] == at_once.manifest["tables"]


@pytest.mark.parametrize("part", ["LeadHistory", "/results", "FROM+Contact"])
def test_where_one_of_several_reads_fails_all_end(folder: Workspace, part: str) -> None:
    def alter(_method: str, target: str, answer: Answer) -> None:
        if part in target:
            answer.status = 400
            answer.set_json([{"errorCode": "UNKNOWN_EXCEPTION", "message": "x"}])

    folder.acme.wire.alter = alter
    with pytest.raises(SourceError, match="UNKNOWN_EXCEPTION"):
        folder.pull(parallel_reads=4)
    folder.acme.wire.alter = lambda *_: None
    folder.same_as_full(folder.pull(parallel_reads=4))
