"""Adding and reading: whole entries, one chain, pointers that hold."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from recon.ledger import Draft, Ledger, LedgerBroken, LedgerBusy, LedgerError, kinds, verify
from recon.ledger.chain import GENESIS
from tests.ledger.ledger_world import FILE, PLAN, resubscribe, run_entry, step, verdict

if TYPE_CHECKING:
    from pathlib import Path

    from recon.clock import SetClock


def test_an_empty_ledger(ledger: Ledger) -> None:
    assert (ledger.head().size, ledger.head().hash) == (0, GENESIS)
    assert list(ledger.entries()) == []
    assert ledger.append_all([]) == []


def test_the_hash_is_what_the_format_says(ledger: Ledger) -> None:
    first, second = run_entry(ledger), run_entry(ledger, "r2")
    for entry, prev in ((first, GENESIS), (second, first.hash)):
        body = json.dumps(json.loads(entry.text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert body == entry.text
        assert json.loads(body) == {
            "at": "2026-11-24T18:00:00Z",
            "data": entry.data,
            "kind": "run",
            "seq": entry.seq,
            "tool": "recon 0.1.0",
        }
        expected = hashlib.sha256(b"recon-ledger/v1\0" + bytes.fromhex(prev) + body.encode()).hexdigest()
        assert (entry.prev, entry.hash) == (prev, expected)
    assert (ledger.head().size, ledger.head().hash) == (2, second.hash)


def test_times_come_from_the_clock(ledger: Ledger, clock: SetClock) -> None:
    clock.advance(timedelta(days=1))
    assert run_entry(ledger).at == "2026-11-25T18:00:00Z"


def test_reads_back_what_was_added(ledger: Ledger, folder: Path, clock: SetClock) -> None:
    made = resubscribe(ledger, clock, "ada@example.com", 2, "7", "00Q000000000ABC")
    ledger.close()
    with Ledger.open(folder, clock=clock) as again:
        assert list(again.entries()) == made
        assert list(again.entries(kinds.OUTCOME)) == [entry for entry in made if entry.kind == kinds.OUTCOME]
        assert list(again.entries(after=made[-2].seq)) == made[-1:]
        assert again.of_plan(PLAN) == made[1:]
        assert again.of_file(FILE) == made[:1]
        assert again.entry(3) == made[2]
        with pytest.raises(KeyError):
            again.entry(99)
        assert again.personal(made[0]) == {"email": "ada@example.com", "reason": "asked on the phone"}
        assert again.personal(made[1]) is None
        assert again.actor_name(made[0].data["approved_by"]) == "Grace"


def test_reads_in_pages(ledger: Ledger) -> None:
    made = ledger.append_all(Draft(kinds.RUN, {"run_id": f"r{n}", "job": "pull"}) for n in range(2001))
    assert list(ledger.entries()) == made
    assert list(ledger.entries(kinds.RUN, after=1000)) == made[1000:]


def test_several_at_once_are_all_or_none(ledger: Ledger) -> None:
    good = Draft(kinds.RUN, {"run_id": "r1", "job": "pull"})
    with pytest.raises(ValueError, match="job"):
        ledger.append_all([good, Draft(kinds.RUN, {"run_id": "r2"})])
    with pytest.raises(LedgerError, match="there is none"):
        ledger.append_all([good, Draft(kinds.CORRECTION, {"corrects": 7, "code": "x"})])
    assert ledger.head().size == 0
    assert [
        entry.seq for entry in ledger.append_all([good, Draft(kinds.CORRECTION, {"corrects": 1, "code": "x"})])
    ] == [1, 2]


def test_the_personal_part_takes_any_text(ledger: Ledger, folder: Path) -> None:
    said = {"reason": "e\u0301 \ud800 <b>=1+1\x00", "list": ["a", 1, None, True], "long": "x" * 100_000}
    entry = verdict(ledger, "not an address", 2, said)
    assert ledger.personal(entry) == {
        "reason": "é \ufffd <b>=1+1\x00",
        "list": ["a", 1, None, True],
        "long": "x" * 100_000,
    }
    assert verify(folder).findings == ()


def test_salted_hashes_hide_and_prove(ledger: Ledger) -> None:
    one = verdict(ledger, "ada@example.com", 2, {"reason": "phone", "evidence": "ticket 1"})
    two = verdict(ledger, "ada@example.com", 3, {"reason": "phone", "evidence": "ticket 1"})
    assert set(one.sealed()) == {"reason", "evidence"}
    assert len({*one.sealed().values(), *two.sealed().values()}) == 4


def test_intents_without_outcome(ledger: Ledger, clock: SetClock) -> None:
    resubscribe(ledger, clock, "ada@example.com", 2, "7", "00Q000000000ABC")
    assert ledger.intents_without_outcome(PLAN) == []
    where = step(ledger, 90, "salesforce", "003000000000001", "HasOptedOutOfEmail")
    one = ledger.append(kinds.INTENT, where | {"from": False, "to": True})
    two = ledger.append(kinds.INTENT, where | {"step": 91, "from": False, "to": True})
    other = ledger.append(kinds.INTENT, where | {"plan": "b" * 64, "from": False, "to": True})
    assert ledger.intents_without_outcome(PLAN) == [one, two]
    ledger.append(kinds.OUTCOME, where | {"intent": one.seq, "result": "failed", "code": "UNABLE_TO_LOCK_ROW"})
    assert ledger.intents_without_outcome(PLAN) == [two]
    assert ledger.intents_without_outcome("b" * 64) == [other]
    assert ledger.intents_without_outcome("c" * 64) == []


def test_an_intent_has_one_outcome(ledger: Ledger) -> None:
    where = step(ledger, 1, "sales_connect", "7", "unsubscribed")
    intent = ledger.append(kinds.INTENT, where | {"to": True})
    ledger.append(kinds.OUTCOME, where | {"intent": intent.seq, "result": "done"})
    with pytest.raises(LedgerError, match="its outcome already, in entry 2"):
        ledger.append(kinds.OUTCOME, where | {"intent": intent.seq, "result": "failed"})
    with pytest.raises(LedgerError, match="there is none"):
        ledger.append(kinds.OUTCOME, where | {"intent": 9, "result": "done"})
    with pytest.raises(LedgerError, match="no intent of this step"):
        ledger.append(kinds.OUTCOME, where | {"intent": 2, "result": "done"})
    again = ledger.append(kinds.INTENT, where | {"to": True, "attempt": 2})
    with pytest.raises(LedgerError, match="no intent of this step"):
        ledger.append(kinds.OUTCOME, where | {"step": 2, "intent": again.seq, "result": "done"})
    assert ledger.head().size == 3


def test_a_flag_is_cleared_on_the_strength_of_an_accepted_verdict_on_the_person_only(ledger: Ledger) -> None:
    where = step(ledger, 1, "sales_connect", "7", "unsubscribed")
    ada = {"subject": ledger.names.address("ada@example.com")}
    with pytest.raises(LedgerError, match="the intent names none"):
        ledger.append(kinds.INTENT, where | ada | {"to": False})
    with pytest.raises(LedgerError, match="there is none"):
        ledger.append(kinds.INTENT, where | ada | {"to": False, "verdict": 1})
    run_entry(ledger)
    rejected = verdict(ledger, "ada@example.com", 2, verdict="rejected", codes=["self_approved"])
    other = verdict(ledger, "bob@example.com", 3)
    for wrong in (1, rejected.seq, other.seq):
        with pytest.raises(LedgerError, match="no accepted verdict on the intent's person"):
            ledger.append(kinds.INTENT, where | ada | {"to": False, "verdict": wrong})
    with pytest.raises(LedgerError, match="no accepted verdict on the intent's person"):
        ledger.append(kinds.INTENT, where | {"to": False, "verdict": other.seq})
    accepted = verdict(ledger, "ada@example.com", 2)
    assert ledger.append(kinds.INTENT, where | ada | {"to": False, "verdict": accepted.seq}).seq == 5
    # A record without an address is allowed by the verdict that lists it.
    with_records = verdict(ledger, "cy@example.com", 4, records=[where["record"]])
    assert ledger.append(kinds.INTENT, where | {"to": False, "verdict": with_records.seq}).seq == 7


def test_the_newest_verdict_on_a_row_counts(ledger: Ledger) -> None:
    first = verdict(ledger, "ada@example.com", 2)
    assert ledger.accepted_verdict(FILE, 2) == first
    second = verdict(ledger, "ada@example.com", 2)
    assert ledger.accepted_verdict(FILE, 2) == second
    verdict(ledger, "ada@example.com", 2, verdict="rejected", codes=["consent_before_opt_out"])
    assert ledger.accepted_verdict(FILE, 2) is None
    assert ledger.accepted_verdict(FILE, 3) is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE chain SET body = '{}' WHERE seq = 1",
        "DELETE FROM chain WHERE seq = 2",
        "INSERT OR REPLACE INTO chain SELECT 1, prev, hash, body FROM chain WHERE seq = 2",
        "INSERT INTO chain SELECT seq + 5, hash, prev, body FROM chain WHERE seq = 2",
        "INSERT OR REPLACE INTO chain SELECT 3, hash, (SELECT hash FROM chain WHERE seq = 1), body FROM chain WHERE seq = 2",
        "UPDATE mention SET seq = 9",
        "DELETE FROM mention",
        "UPDATE personal SET body = '{}'",
        "DELETE FROM personal",
        "INSERT OR REPLACE INTO personal SELECT id, seq, '{}' FROM personal",
        "DELETE FROM actor",
        "UPDATE actor SET said = 'Mallory'",
        "UPDATE key SET fingerprint = ''",
        "DELETE FROM key",
        "DELETE FROM erased",
    ],
)
def test_plain_sql_changes_nothing(ledger: Ledger, folder: Path, statement: str) -> None:
    verdict(ledger, "ada@example.com", 2, approved_by=ledger.actor("Grace"))
    verdict(ledger, "bob@example.com", 3)
    with closing(sqlite3.connect(folder / "ledger.db")) as db:
        if "erased" in statement:
            db.execute("INSERT INTO erased VALUES ('x', 1)")
        with pytest.raises(sqlite3.IntegrityError):
            db.execute(statement)
        db.rollback()
    assert verify(folder).findings == ()


def test_nothing_is_built_upon_a_changed_end(ledger: Ledger, folder: Path) -> None:
    run_entry(ledger)
    with closing(sqlite3.connect(folder / "ledger.db")) as db:
        db.execute("DROP TRIGGER chain_no_update")
        db.execute("UPDATE chain SET body = replace(body, 'r1', 'r9')")
        db.commit()
    with pytest.raises(LedgerBroken, match="number 1, was changed") as caught:
        run_entry(ledger)
    assert "ledger verify" in str(caught.value)
    assert ledger.head().size == 1


def test_who_waits_too_long_is_refused(ledger: Ledger, folder: Path, clock: SetClock) -> None:
    with Ledger.open(folder, clock=clock, timeout=0.0) as other, ledger.writing():
        with pytest.raises(LedgerBusy, match="in use by another process for 0 seconds; nothing was written") as caught:
            run_entry(other)
        assert caught.value.exit_code == 1
        assert other.head().size == 0  # reading goes on
    assert run_entry(ledger).seq == 1


def test_a_reader_that_holds_up_the_commit_leaves_nothing_half_done(
    ledger: Ledger, folder: Path, clock: SetClock
) -> None:
    run_entry(ledger)
    with Ledger.open(folder, clock=clock, timeout=0.0) as other, closing(sqlite3.connect(folder / "ledger.db")) as db:
        db.execute("BEGIN")
        db.execute("SELECT * FROM chain").fetchall()
        with pytest.raises(LedgerBusy):
            run_entry(other)
        db.rollback()
        assert run_entry(other).seq == 2


def test_another_database_is_refused_and_left_alone(folder: Path) -> None:
    folder.mkdir()
    with closing(sqlite3.connect(folder / "ledger.db")) as db:
        db.execute("CREATE TABLE mine (x)")
    with pytest.raises(LedgerError, match="no ledger"):
        Ledger.open(folder)
    assert [path.name for path in folder.iterdir()] == ["ledger.db"]


def test_a_file_that_is_no_database_is_refused(folder: Path) -> None:
    folder.mkdir()
    (folder / "ledger.db").write_bytes(b"hello " * 1000)
    with pytest.raises(LedgerBroken, match="damaged"):
        Ledger.open(folder)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="rights don't bind here")
def test_a_ledger_that_can_t_be_written_says_so(ledger: Ledger, folder: Path) -> None:
    run_entry(ledger)
    (folder / "ledger.db").chmod(0o400)
    with Ledger.open(folder) as other, pytest.raises(LedgerError, match="can't be written"):
        run_entry(other)


def test_actors_are_named_once(ledger: Ledger) -> None:
    assert ledger.actor("Ada ") == ledger.actor("ada")
    assert ledger.actor_name(ledger.actor("ADA")) == "Ada"
    assert ledger.actor_name("hk1:" + "0" * 32) is None


def test_the_database_is_synced_and_single(folder: Path) -> None:
    with Ledger.open(folder) as ledger:
        run_entry(ledger)
        with ledger.writing() as db:
            assert db.execute("PRAGMA synchronous").fetchone() == (2,)
            assert db.execute("PRAGMA journal_mode").fetchone() == ("truncate",)
            assert db.execute("PRAGMA secure_delete").fetchone() == (1,)
        assert (folder / "ledger.db-journal").stat().st_size == 0
        copy = (folder / "ledger.db").read_bytes()
    (folder / "copy").mkdir()
    (folder / "copy" / "ledger.db").write_bytes(copy)
    assert verify(folder / "copy").size == 1
