"""Large plans through Bulk jobs: every row has its outcome, jobs are found again, and nothing is written twice."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import pytest

from recon.ledger import verify
from recon.resubscribe.bulk_update import UPLOAD_BYTES, rows_at_most
from recon.sandbox.salesforce import records
from tests.resubscribe.apply_world import STANDARD, ApplyWorld, Fault, Workspace, results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DONE = [(number, "done", None) for number in range(1, 7)]
RESULTS = "/successfulResults"
SETS = ("successfulResults", "failedResults", "unprocessedrecords")


@pytest.fixture(scope="module")
def shared() -> Iterator[ApplyWorld]:
    world = ApplyWorld()
    yield world
    world.close()


@pytest.fixture(scope="module")
def template(shared: ApplyWorld, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    shared.reset()
    limits = {"bulk_updates_above": 0, "job_timeout": 0.05}
    return Workspace(shared, tmp_path_factory.mktemp("template"), salesforce=limits)


@pytest.fixture
def world(shared: ApplyWorld) -> ApplyWorld:
    shared.reset()
    return shared


@pytest.fixture
def workspace(world: ApplyWorld, template: Workspace, tmp_path: Path) -> Workspace:
    return template.copied(tmp_path)


def entries(workspace: Workspace, kind: str) -> list[dict[str, Any]]:
    return [data for found, data in workspace.entries() if found == kind]


def paths(world: ApplyWorld, method: str) -> list[str]:
    return [path for asked, path, _ in world.salesforce.asked if asked == method]


def test_both_objects_go_through_jobs_and_people_one_by_one(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    applied = workspace.apply(plan)
    assert results(applied) == DONE
    ids = world.ids
    assert [world.flag(each) for each in (ids.ann_lead, ids.ann_contact, ids.bob_lead, ids.cy_contact)] == [
        False
    ] * 3 + [True]
    assert not world.unsubscribed(ids.ann)
    assert not world.unsubscribed(ids.bob)
    jobs = {data["job"] for data in entries(workspace, "intent") if data["way"] == "bulk"}
    assert len(jobs) == 2
    assert len([path for path in paths(world, "POST") if path.endswith("/jobs/ingest")]) == 2
    assert not [path for path in paths(world, "PATCH") if "/sobjects/" in path]
    assert json.loads((applied.folder / "apply.json").read_text())["salesforce"] == "bulk"
    assert results(workspace.apply(plan)) == [(number, "skipped_done", None) for number in range(1, 7)]


def test_the_upload_is_plain_and_the_intents_come_before_it_is_closed(world: ApplyWorld, workspace: Workspace) -> None:
    sent: list[bytes] = []
    known: list[int] = []

    def keep(content: bytes) -> bytes:
        sent.append(content)
        return content

    world.salesforce.faults += [
        Fault("PUT", "/batches", "upload", times=2, alter=keep),
        Fault("PATCH", "/jobs/ingest/", "act", times=2, action=lambda: known.append(len(entries(workspace, "intent")))),
    ]
    workspace.apply(workspace.plan())
    ids = world.ids
    assert sent == [
        f"Id,{STANDARD}\n{ids.ann_contact},false\n{ids.cy_contact},true\n".encode(),
        f"Id,{STANDARD}\n{ids.ann_lead},false\n{ids.bob_lead},false\n".encode(),
    ]
    assert known == [2, 4]


def test_what_changed_before_the_job_is_not_sent(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    world.unsubscribe(world.ids.ann)
    applied = workspace.apply(plan)
    assert [each[1:] for each in results(applied)] == [
        ("stale", "person_stale"),
        ("stale", "person_stale"),
        ("stale", "newer_opt_out"),
        *[("done", None)] * 3,
    ]
    assert world.flag(world.ids.ann_contact)


def test_a_row_that_fails_is_its_own(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()

    def convert() -> None:
        records.convert_lead(world.store, world.ids.ann_lead)

    # After the last look, just before the job runs.
    world.salesforce.faults.append(Fault("PATCH", "/jobs/ingest/", "act", times=1, skip=1, action=convert))
    applied = workspace.apply(plan)
    assert results(applied) == [(1, "done", None), (2, "stale", "converted"), (3, "stale", "person_stale"), *DONE[3:]]
    assert world.unsubscribed(world.ids.ann)


def test_a_click_while_the_job_runs_wins(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    click = Fault("GET", RESULTS, "act", action=lambda: world.unsubscribe(world.ids.ann))
    world.salesforce.faults.append(click)
    applied = workspace.apply(plan)
    assert [each[1] for each in results(applied)] == ["stale"] * 3 + ["done"] * 3
    assert all(world.flag(each) for each in (world.ids.ann_lead, world.ids.ann_contact))
    assert world.unsubscribed(world.ids.ann)
    assert results(workspace.apply(plan))[:3] == results(applied)[:3]


def test_an_opt_out_that_a_job_overwrote_is_put_back(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()

    def again() -> None:
        for value in (False, True):
            world.clock.advance(timedelta(seconds=5))
            records.update_record(world.store, "Contact", world.ids.ann_contact, {STANDARD: value})
        world.clock.advance(timedelta(seconds=5))

    world.salesforce.faults.append(Fault("PATCH", "/jobs/ingest/", "act", times=1, action=again))
    applied = workspace.apply(plan)
    assert results(applied)[0] == (1, "stale", "newer_opt_out")
    assert world.flag(world.ids.ann_contact)
    assert world.flag(world.ids.ann_lead)
    assert world.unsubscribed(world.ids.ann)


@pytest.mark.parametrize("step", ["POST /jobs/ingest", "PUT /batches"])
def test_a_job_that_can_not_be_prepared_is_made_anew(world: ApplyWorld, workspace: Workspace, step: str) -> None:
    method, path = step.split()
    world.salesforce.faults.append(Fault(method, path, "drop"))
    assert results(workspace.apply(workspace.plan())) == DONE


def test_an_expired_session_before_the_upload_is_renewed(world: ApplyWorld, workspace: Workspace) -> None:
    world.salesforce.faults.append(Fault("PUT", "/batches", "act", action=world.end_sessions))
    world.salesforce.faults.append(Fault("PATCH", "/jobs/ingest/", "act", action=world.end_sessions))
    assert results(workspace.apply(workspace.plan())) == DONE


@pytest.mark.parametrize("kind", ["drop", "lose", "refuse"])
def test_a_close_without_a_good_answer_is_looked_at(world: ApplyWorld, workspace: Workspace, kind: str) -> None:
    world.salesforce.faults.append(Fault("PATCH", "/jobs/ingest/", kind))
    assert results(workspace.apply(workspace.plan())) == DONE
    assert len({data["job"] for data in entries(workspace, "intent") if data["way"] == "bulk"}) == 2


def test_a_close_that_never_succeeds_does_nothing(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    # Three tries to close each of two jobs; the fourth PATCH of each takes it back.
    world.salesforce.faults += [
        Fault("PATCH", "/jobs/ingest/", "refuse", times=3),
        Fault("PATCH", "/jobs/ingest/", "refuse", skip=1, times=3),
    ]
    applied = workspace.apply(plan)
    said = [each[1:] for each in results(applied)]
    assert said[:2] == [("unprocessed", "JOB_NOT_STARTED")] * 2
    assert said[2][0] == "unprocessed"
    assert world.flag(world.ids.ann_lead)
    assert world.unsubscribed(world.ids.ann)
    assert results(workspace.apply(plan)) == DONE


def test_looks_that_fail_never_end_a_job(world: ApplyWorld, workspace: Workspace) -> None:
    # Every look is tried three times by itself.
    world.salesforce.faults.append(Fault("GET", "/jobs/ingest/750", "refuse", times=7))
    assert results(workspace.apply(workspace.plan())) == DONE
    assert not [data for data in entries(workspace, "outcome") if data["result"] != "done"]


def test_a_job_that_takes_long_is_found_the_next_time(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    away = Fault("GET", "/jobs/ingest/750", "refuse", times=999)
    world.salesforce.faults.append(away)
    applied = workspace.apply(plan)
    assert [each[1:] for each in results(applied)[:3]] == [
        ("unprocessed", "open"),
        ("unprocessed", "open"),
        ("unprocessed", "person_failed"),
    ]
    assert world.unsubscribed(world.ids.ann)
    away.times = 0
    assert results(workspace.apply(plan)) == DONE
    assert len([path for path in paths(world, "POST") if path.endswith("/jobs/ingest")]) == 2


@pytest.mark.parametrize("kind", SETS)
def test_results_that_can_not_be_read_are_read_the_next_time(
    world: ApplyWorld, workspace: Workspace, kind: str
) -> None:
    plan = workspace.plan()
    world.salesforce.faults.append(Fault("GET", f"/{kind}", "refuse", times=3))
    assert workspace.apply(plan).exit_code == 3
    assert world.unsubscribed(world.ids.ann)
    assert results(workspace.apply(plan)) == DONE


@pytest.mark.parametrize("kind", SETS)
def test_results_that_are_no_whole_csv_are_read_back_from_the_records(
    world: ApplyWorld, workspace: Workspace, kind: str
) -> None:
    plan = workspace.plan()
    world.salesforce.faults.append(Fault("GET", f"/{kind}", "alter", alter=lambda text: text[:-4]))
    applied = workspace.apply(plan)
    assert results(applied) == DONE
    (note,) = applied.notes
    assert "are not whole CSV in UTF-8. All its records were read back." in note
    assert f"  note: {note}" in applied.lines()
    assert json.loads((applied.folder / "apply.json").read_text())["notes"] == [note]


def test_a_row_that_the_results_forget_is_looked_up(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()

    def forget(text: bytes) -> bytes:
        return b"".join(line for line in text.splitlines(keepends=True) if world.ids.ann_lead.encode() not in line)

    world.salesforce.faults.append(Fault("GET", RESULTS, "alter", times=2, alter=forget))
    applied = workspace.apply(plan)
    assert results(applied) == DONE
    (note,) = applied.notes
    assert note.endswith("2 rows: 1 are in none of its results. Those that were sent were read back.")


def test_a_row_that_the_job_never_had_is_left_for_the_next_time(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()

    def forget(text: bytes) -> bytes:
        return b"".join(line for line in text.splitlines(keepends=True) if world.ids.ann_lead.encode() not in line)

    world.salesforce.faults.append(Fault("PUT", "/batches", "upload", times=2, alter=forget))
    applied = workspace.apply(plan)
    assert results(applied)[:3] == [
        (1, "done", None),
        (2, "unprocessed", "JOB_SAYS_NOTHING"),
        (3, "unprocessed", "person_failed"),
    ]
    assert results(workspace.apply(plan))[1:3] == DONE[1:3]


def test_a_few_locked_rows_are_written_row_by_row_afterwards(world: ApplyWorld, tmp_path: Path) -> None:
    workspace = Workspace(world, tmp_path, salesforce={"bulk_updates_above": 3, "job_timeout": 0.05})
    plan = workspace.plan()
    lead = world.ids.ann_lead

    def forget(text: bytes) -> bytes:
        return b"".join(line for line in text.splitlines(keepends=True) if lead.encode() not in line)

    def locked(text: bytes) -> bytes:
        return text + f'"{lead}","UNABLE_TO_LOCK_ROW:unable to obtain exclusive access:--","{lead}","false"\n'.encode()

    world.salesforce.faults += [
        Fault("PUT", "/batches", "upload", times=2, alter=forget),
        Fault("GET", "/failedResults", "alter", skip=1, times=1, alter=locked),
    ]
    assert results(workspace.apply(plan)) == DONE
    said = [(data["result"], data.get("code")) for data in entries(workspace, "outcome") if data["step"] == 2]
    assert said == [("failed", "UNABLE_TO_LOCK_ROW"), ("done", None)]
    assert [path for path in paths(world, "PATCH") if "/sobjects/" in path] == [
        f"/services/data/v62.0/sobjects/Lead/{lead}"
    ]


class Job:
    """The job of the Leads, Ann's and Bob's, whose results can be changed."""

    def __init__(self, world: ApplyWorld) -> None:
        self.world, self.lead = world, world.ids.ann_lead

    def never_gets(self) -> None:
        """The upload loses Ann's Lead on its way, so the job can't write it."""
        self.world.salesforce.faults.append(Fault("PUT", "/batches", "upload", skip=1, alter=self._without))

    def forgets(self) -> None:
        """The job writes Ann's Lead, and no result tells."""
        self.world.salesforce.faults.append(Fault("GET", RESULTS, "alter", skip=1, alter=self._without))

    def also_says(self, kind: str, record: str, times: int = 1) -> None:
        """A result set holds a record (once more), so many times."""
        told = {"successfulResults": f'"{record}","false",', "failedResults": f'"{record}","UNABLE_TO_LOCK_ROW:x:--",'}
        row = f'{told.get(kind, "")}"{record}","false"\n'.encode()
        self.change(kind, lambda text: text + row * times)

    def change(self, kind: str, alter: Callable[[bytes], bytes]) -> None:
        """Change a result set."""
        self.world.salesforce.faults.append(Fault("GET", f"/{kind}", "alter", skip=1, alter=alter))

    def _without(self, text: bytes) -> bytes:
        return b"".join(line for line in text.splitlines(keepends=True) if self.lead.encode() not in line)


@pytest.fixture
def job(world: ApplyWorld) -> Job:
    return Job(world)


def test_a_row_that_the_job_did_not_come_to_is_no_riddle(job: Job, workspace: Workspace) -> None:
    plan = workspace.plan()
    job.never_gets()
    job.also_says("unprocessedrecords", job.lead)
    applied = workspace.apply(plan)
    assert (results(applied)[1], applied.notes) == ((2, "unprocessed", "unprocessed"), ())
    assert applied.outcomes[1].retryable
    assert "did not come to it" in applied.outcomes[1].message
    assert results(workspace.apply(plan))[1:3] == DONE[1:3]


@pytest.mark.parametrize(("one", "other"), [*combinations_with_replacement(SETS, 2)])
def test_a_record_that_is_named_twice_and_was_not_written_is_unprocessed(
    job: Job, workspace: Workspace, one: str, other: str
) -> None:
    plan = workspace.plan()
    job.never_gets()
    if one == other:
        job.also_says(one, job.lead, 2)
    else:
        job.also_says(one, job.lead)
        job.also_says(other, job.lead)
    applied = workspace.apply(plan)
    assert results(applied)[1] == (2, "unprocessed", "JOB_CONTRADICTS_ITSELF")
    assert results(applied)[3] == DONE[3]
    (note,) = applied.notes
    assert note.endswith("2 rows: 1 are in more than one. Those that were sent were read back.")
    assert job.world.flag(job.lead)
    assert results(workspace.apply(plan)) == [(n, "done" if n in (2, 3) else "skipped_done", None) for n in range(1, 7)]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("kind", SETS)
def test_a_record_that_is_named_twice_and_was_written_is_done(
    job: Job, workspace: Workspace, kind: str, times: int
) -> None:
    plan = workspace.plan()
    job.also_says(kind, job.lead, times)
    applied = workspace.apply(plan)
    assert results(applied) == DONE
    (note,) = applied.notes
    assert note.endswith("2 rows: 1 are in more than one. Those that were sent were read back.")
    assert not verify(workspace.folder / "ledger").findings


@pytest.mark.parametrize("kind", SETS)
def test_a_result_about_a_record_that_was_not_sent_is_noted(job: Job, workspace: Workspace, kind: str) -> None:
    plan = workspace.plan()
    job.also_says(kind, "003000000000001AAA", 2)
    applied = workspace.apply(plan)
    assert results(applied) == DONE
    (note,) = applied.notes
    assert note.endswith("2 rows: 2 of its results are about records that weren't sent.")


def test_a_record_that_no_result_names_and_that_is_gone_is_not_taken_for_done(job: Job, workspace: Workspace) -> None:
    plan = workspace.plan()
    job.forgets()
    delete = Fault(
        "GET",
        "/unprocessedrecords",
        "act",
        skip=1,
        action=lambda: records.delete_record(job.world.store, "Lead", job.lead),
    )
    job.world.salesforce.faults.append(delete)
    assert results(workspace.apply(plan))[1] == (2, "unprocessed", "JOB_SAYS_NOTHING")
    assert results(workspace.apply(plan))[1] == (2, "stale", "gone")


@pytest.mark.parametrize("header", [bytes.upper, bytes.lower, bytes.title])
def test_a_header_may_be_written_in_any_case_and_ids_may_be_short(
    job: Job, workspace: Workspace, header: Callable[[bytes], bytes]
) -> None:
    plan = workspace.plan()

    def written(text: bytes) -> bytes:
        first, *rows = text.splitlines(keepends=True)
        return header(first) + b"".join(rows).replace(job.lead.encode(), job.lead[:15].encode())

    job.never_gets()
    row = f'"{job.lead}","UNABLE_TO_LOCK_ROW:x:--","{job.lead}","false"\n'.encode()
    job.change("successfulResults", written)
    job.change("failedResults", lambda text: written(text + row))
    job.change("unprocessedrecords", written)
    applied = workspace.apply(plan)
    assert (results(applied), applied.notes) == (DONE, ())
    said = [(data["result"], data.get("code")) for data in entries(workspace, "outcome") if data["step"] == 2]
    assert said == [("failed", "UNABLE_TO_LOCK_ROW"), ("done", None)]


def test_failures_without_a_reason_are_not_believed(job: Job, workspace: Workspace) -> None:
    plan = workspace.plan()
    job.never_gets()
    job.change("failedResults", lambda _: f'"sf__Id","Id"\n"{job.lead}","{job.lead}"\n'.encode())
    applied = workspace.apply(plan)
    assert results(applied)[1] == (2, "unprocessed", "JOB_SAYS_NOTHING")
    (note,) = applied.notes
    assert note.endswith("don't say why they failed. All its records were read back.")
    assert results(workspace.apply(plan))[1:3] == DONE[1:3]


def test_values_with_line_breaks_and_another_order_are_the_same_results(
    world: ApplyWorld, workspace: Workspace
) -> None:
    plan = workspace.plan()

    def other(text: bytes) -> bytes:
        header, *rows = text.splitlines(keepends=True)
        wide = [header.rstrip(b"\n") + b',"Note"\n']
        return b"".join(wide + [row.rstrip(b"\n") + ',"café\nzwei, \u2028"\n'.encode() for row in reversed(rows)])

    world.salesforce.faults.append(Fault("GET", RESULTS, "alter", times=2, alter=other))
    applied = workspace.apply(plan)
    assert (results(applied), applied.notes) == (DONE, ())


def test_a_plan_has_several_jobs_where_one_would_be_too_large(
    world: ApplyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Workspace(world, tmp_path, salesforce={"bulk_updates_above": 0, "job_timeout": 0.05, "bulk_job_rows": 1})
    plan = small.plan()
    assert results(small.apply(plan)) == DONE
    assert len([path for path in paths(world, "POST") if path.endswith("/jobs/ingest")]) == 4
    monkeypatch.setattr("recon.resubscribe.bulk_update.UPLOAD_BYTES", 60)
    assert rows_at_most((STANDARD,), 10_000) == 1
    monkeypatch.undo()
    assert rows_at_most((STANDARD,), 10_000) == 10_000
    assert rows_at_most((STANDARD,), 1_000_000_000) * len("003000000000001AAA,false\n") <= UPLOAD_BYTES


def test_contacts_of_one_account_stand_together(world: ApplyWorld, workspace: Workspace) -> None:
    store, ids = world.store, world.ids
    plan = workspace.plan()
    with store.transaction() as db:
        # Against the order of the ids.
        for contact, account in ((ids.ann_contact, "0015e000000000zAAA"), (ids.cy_contact, "0015e000000000aAAA")):
            db.execute("UPDATE contact SET AccountId = ? WHERE Id = ?", (account, contact))
    sent: list[bytes] = []

    def keep(content: bytes) -> bytes:
        sent.append(content)
        return content

    world.salesforce.faults.append(Fault("PUT", "/batches", "upload", times=2, alter=keep))
    assert results(workspace.apply(plan)) == DONE
    assert sent[0].decode().splitlines()[1:] == [f"{ids.cy_contact},true", f"{ids.ann_contact},false"]


def test_locked_rows_get_another_job_where_they_are_many(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    lead = world.ids.ann_lead
    paused: list[float] = []

    def forget(text: bytes) -> bytes:
        return b"".join(line for line in text.splitlines(keepends=True) if lead.encode() not in line)

    def locked(text: bytes) -> bytes:
        return text + f'"{lead}","UNABLE_TO_LOCK_ROW:unable to obtain exclusive access:--","{lead}","false"\n'.encode()

    world.salesforce.faults += [
        Fault("PUT", "/batches", "upload", times=2, alter=forget),
        Fault("GET", "/failedResults", "alter", skip=1, times=1, alter=locked),
    ]
    # More than none is many here.
    assert results(workspace.apply(plan, sleep=paused.append)) == DONE
    said = [(data["result"], data.get("code")) for data in entries(workspace, "outcome") if data["step"] == 2]
    assert said == [("failed", "UNABLE_TO_LOCK_ROW"), ("done", None)]
    jobs = [data["job"] for data in entries(workspace, "intent") if data["step"] == 2]
    assert len(set(jobs)) == 2
    assert not [path for path in paths(world, "PATCH") if "/sobjects/" in path]
    assert paused


def test_a_lock_that_stays_ends_with_bounded_patience(world: ApplyWorld, workspace: Workspace) -> None:
    plan = workspace.plan()
    lead = world.ids.ann_lead

    def forget(text: bytes) -> bytes:
        return b"".join(line for line in text.splitlines(keepends=True) if lead.encode() not in line)

    def locked(text: bytes) -> bytes:
        return text + f'"{lead}","UNABLE_TO_LOCK_ROW:unable to obtain exclusive access:--","{lead}","false"\n'.encode()

    world.salesforce.faults += [
        Fault("PUT", "/batches", "upload", times=99, alter=forget),
        Fault("GET", "/failedResults", "alter", skip=1, times=99, alter=locked),
        Fault("PATCH", f"/sobjects/Lead/{lead}", "refuse", times=99),
    ]
    applied = workspace.apply(plan)
    assert results(applied)[1][:2] == (2, "failed")
    assert applied.outcomes[1].retryable
    assert world.flag(lead)
    assert world.unsubscribed(world.ids.ann)
    world.salesforce.faults.clear()
    assert workspace.apply(plan).complete
