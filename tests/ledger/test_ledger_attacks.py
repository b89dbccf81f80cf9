"""What an attacker at the file can do, and what shows: by the chain alone, and against a checkpoint that was kept elsewhere."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from recon.errors import UsageError
from recon.ledger import Ledger, LedgerBroken, LedgerError, Result, kinds, new_key_pair, verify
from recon.ledger.canonical import canonical, parse
from recon.ledger.chain import GENESIS, chained
from recon.ledger.schema import TRIGGERS
from tests.ledger.ledger_world import run_entry, verdict

if TYPE_CHECKING:
    from pathlib import Path

    from recon.clock import SetClock

SIZE = 40


@pytest.fixture
def kept(tmp_path: Path, ledger: Ledger, clock: SetClock) -> Path:
    """A ledger of 40 entries (the last is the checkpoint's), and its checkpoint in a place of its own."""
    for number in range(SIZE - 1):
        clock.advance(timedelta(minutes=1))
        verdict(ledger, f"p{number}@example.com", number + 2)
    path = tmp_path / "kept" / "checkpoint.jsonl"
    assert ledger.checkpoint(path).size == SIZE
    ledger.close()
    return path


def attack(folder: Path, *statements: str) -> None:
    """What somebody with the file and SQLite can do."""
    with closing(sqlite3.connect(folder / "ledger.db")) as db:
        db.execute("PRAGMA synchronous = OFF")
        for trigger in TRIGGERS:
            db.execute(f"DROP TRIGGER {trigger}")
        for index in ("kind", "plan", "file", "intent"):
            db.execute(f"DROP INDEX chain_{index}")
        db.execute("PRAGMA ignore_check_constraints = ON")
        for statement in statements:
            db.execute(statement)
        db.commit()


def recompute(folder: Path, statement: str) -> None:
    """Change entries, then compute every hash anew and mend the index: a consistent ledger with another past."""
    with closing(sqlite3.connect(folder / "ledger.db")) as db:
        db.execute("PRAGMA synchronous = OFF")
        guards = [sql for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'")]
        for trigger in TRIGGERS:
            db.execute(f"DROP TRIGGER {trigger}")
        db.execute(statement)
        rows = db.execute("SELECT body FROM chain ORDER BY seq").fetchall()
        db.execute("DELETE FROM chain")
        db.execute("DELETE FROM mention")
        db.execute("DELETE FROM personal")
        prev = GENESIS
        for seq, (text,) in enumerate(rows, start=1):
            body = parse(text.encode()) | {"seq": seq}
            body.pop("personal", None)
            own = chained(prev, canonical(body))
            db.execute("INSERT INTO chain VALUES (?, ?, ?, ?)", (seq, prev, own, canonical(body).decode()))
            if "subject" in body["data"]:
                db.execute("INSERT INTO mention VALUES (?, ?, 1)", (body["data"]["subject"], seq))
            prev = own
        for sql in guards:
            db.execute(sql)
        db.commit()


def test_untouched(folder: Path, kept: Path) -> None:
    found = verify(folder, [kept])
    assert (found.result, found.exit_code, found.first_bad, found.notes) == (Result.OK, 0, None, ())
    assert (
        found.lines()[0]
        == "The ledger is unbroken since checkpoint checkpoint.jsonl of 2026-11-24T18:39:00Z (unsigned)."
    )
    assert found.kinds == {"checkpoint": 1, "verdict": SIZE - 1}
    assert "proof" not in " ".join(found.lines())


def test_untouched_without_a_checkpoint(folder: Path, kept: Path) -> None:
    found = verify(folder)
    assert (found.result, found.exit_code, found.first_bad) == (Result.NO_CHECKPOINT, 5, None)
    assert "NO CHECKPOINT" in found.lines()[0]


def test_entries_after_the_checkpoint_are_told(folder: Path, kept: Path, clock: SetClock) -> None:
    with Ledger.open(folder, clock=clock, durable=False) as ledger:
        run_entry(ledger)
    found = verify(folder, [kept])
    assert found.exit_code == 0
    assert "Entry 41 came after that checkpoint: the next one will cover it." in found.lines()


@pytest.mark.parametrize("with_checkpoint", [False, True])
@pytest.mark.parametrize(
    ("statements", "first"),
    [
        pytest.param(["UPDATE chain SET body = replace(body, 'accepted', 'rejected') WHERE seq = 7"], 7, id="edit"),
        pytest.param(["UPDATE chain SET body = body || ' ' WHERE seq = 7"], 7, id="edit a blank"),
        pytest.param(["UPDATE chain SET body = X'00FF' WHERE seq = 7"], 7, id="bytes for text"),
        pytest.param(
            ["UPDATE chain SET body = CAST(X'FFFE7B' AS TEXT) WHERE seq = 7"],
            7,
            id="no text",
        ),
        pytest.param([f"UPDATE chain SET hash = '{'0' * 64}' WHERE seq = 7"], 7, id="edit a hash"),
        pytest.param([f"UPDATE chain SET prev = '{'1' * 64}' WHERE seq = 7"], 7, id="edit a previous hash"),
        pytest.param(["DELETE FROM chain WHERE seq = 7"], 7, id="delete"),
        pytest.param(["DELETE FROM chain WHERE seq = 1"], 1, id="delete the first"),
        pytest.param(
            ["DELETE FROM chain WHERE seq = 7", "UPDATE chain SET seq = seq - 1 WHERE seq > 7"],
            7,
            id="delete and close up",
        ),
        pytest.param(
            [
                "UPDATE chain SET seq = 999 WHERE seq = 7",
                "UPDATE chain SET seq = 7 WHERE seq = 8",
                "UPDATE chain SET seq = 8 WHERE seq = 999",
            ],
            7,
            id="swap",
        ),
        pytest.param(
            [
                "UPDATE chain SET body = CASE seq WHEN 7 THEN (SELECT body FROM chain WHERE seq = 8) ELSE (SELECT body FROM chain WHERE seq = 7) END WHERE seq IN (7, 8)"
            ],
            7,
            id="swap bodies",
        ),
        pytest.param(
            ["UPDATE personal SET body = replace(body, 'phone', 'x') WHERE seq = 7"], 7, id="edit the personal part"
        ),
        pytest.param(["DELETE FROM personal WHERE seq = 7"], 7, id="delete the personal part"),
        pytest.param(["DELETE FROM mention WHERE seq = 7"], 7, id="hide a story"),
        pytest.param(["UPDATE mention SET joins = 0 WHERE seq = 7"], 7, id="take a story apart"),
        pytest.param([f"INSERT INTO mention VALUES ('hk1:{'0' * 32}', 999, 1)"], 999, id="point nowhere"),
        pytest.param(["INSERT INTO personal VALUES ('x', 1, '{}')"], None, id="add a personal part"),
        pytest.param(["DROP TABLE mention"], 1, id="drop a table"),
        pytest.param(["PRAGMA application_id = 1"], 1, id="another file"),
    ],
)
def test_detected(folder: Path, kept: Path, statements: list[str], first: int | None, with_checkpoint: bool) -> None:
    attack(folder, *statements)
    found = verify(folder, [kept] if with_checkpoint else [])
    assert (found.result, found.exit_code, found.first_bad) == (Result.BROKEN, 1, first)
    assert found.lines()[0].startswith("The ledger is BROKEN.")
    if first is not None:
        assert f"First bad entry: {first}." in found.lines()[0]
    assert "example.com" not in "\n".join(found.lines())
    json.dumps(found.as_json())


@pytest.mark.parametrize("part", ["accepted", "prev of 20", "personal", "header", "page"])
def test_bytes_changed_in_the_file(folder: Path, kept: Path, part: str) -> None:
    path = folder / "ledger.db"
    content = bytearray(path.read_bytes())
    if part == "accepted":
        at = content.index(b'"verdict":"accepted"') + len('"verdict":"')
    elif part == "prev of 20":
        with closing(sqlite3.connect(path)) as db:
            at = content.index(db.execute("SELECT prev || hash FROM chain WHERE seq = 20").fetchone()[0].encode())
    elif part == "personal":
        at = content.index(b"asked on the phone")
    else:
        at = {"header": 0, "page": len(content) - 4096}[part]
    for place in range(at, at + (1 if part != "page" else 64)):
        content[place] ^= 0x01
    path.write_bytes(content)
    for checkpoints in ([], [kept]):
        found = verify(folder, checkpoints)
        assert (found.result, found.exit_code) == (Result.BROKEN, 1), found.lines()


def test_every_changed_byte_of_an_entry_is_detected(folder: Path, kept: Path) -> None:
    path = folder / "ledger.db"
    sound = path.read_bytes()
    with closing(sqlite3.connect(path)) as db:
        row = db.execute("SELECT prev || hash || body FROM chain WHERE seq = 20").fetchone()[0].encode()
    start = sound.index(row)
    for place in range(start, start + len(row), 7):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0x01]) + sound[place + 1 :])
        found = verify(folder, [kept])
        assert found.result is Result.BROKEN
        assert found.first_bad == 20
    path.write_bytes(sound)
    assert verify(folder, [kept]).result is Result.OK


def test_cut_tail(folder: Path, kept: Path) -> None:
    attack(folder, *(f"DELETE FROM {table} WHERE seq > 30" for table in ("chain", "mention", "personal")))
    missed = verify(folder)
    assert (missed.result, missed.first_bad) == (Result.NO_CHECKPOINT, None)
    found = verify(folder, [kept])
    assert (found.result, found.exit_code, found.first_bad) == (Result.TRUNCATED, 4, 31)
    assert found.lines()[0] == "The ledger is TRUNCATED: entries are missing at its end. First bad entry: 31."
    assert any("counts 40 entries, and 30 are there" in line for line in found.lines())


def test_everything_deleted(folder: Path, kept: Path) -> None:
    attack(folder, *(f"DELETE FROM {table}" for table in ("chain", "mention", "personal")))
    assert verify(folder, [kept]).exit_code == 4
    (folder / "ledger.db").unlink()
    found = verify(folder, [kept])
    assert (found.exit_code, found.first_bad) == (4, 1)
    with pytest.raises(UsageError, match="there is no ledger"):
        verify(folder)


def test_the_file_cut_short(folder: Path, kept: Path) -> None:
    path = folder / "ledger.db"
    path.write_bytes(path.read_bytes()[:8192])
    assert verify(folder, [kept]).exit_code == 1
    path.write_bytes(b"")
    assert verify(folder, [kept]).exit_code == 4


def test_the_whole_chain_computed_anew(folder: Path, kept: Path) -> None:
    recompute(folder, "UPDATE chain SET body = replace(body, 'accepted', 'rejected') WHERE seq = 7")
    missed = verify(folder)
    assert (missed.result, missed.findings) == (Result.NO_CHECKPOINT, ())
    found = verify(folder, [kept])
    assert (found.result, found.exit_code, found.first_bad) == (Result.BROKEN, 1, 40)
    assert any("written anew" in line for line in found.lines())


def test_an_earlier_checkpoint_tells_how_far_the_past_is_whole(
    tmp_path: Path, folder: Path, ledger: Ledger, clock: SetClock
) -> None:
    early, late = tmp_path / "early.jsonl", tmp_path / "late.jsonl"
    for number in range(3):
        verdict(ledger, f"p{number}@example.com", number)
    ledger.checkpoint(early)
    clock.advance(timedelta(days=1))
    verdict(ledger, "p9@example.com", 9)
    ledger.checkpoint(late)
    ledger.close()
    assert verify(folder, [late, early]).since == ("late.jsonl", verify(folder, [late]).since[1])  # type: ignore[index]
    attack(folder, "UPDATE chain SET body = replace(body, 'accepted', 'rejected') WHERE seq = 5")
    found = verify(folder, [early, late])
    assert found.first_bad == 5
    attack_free = [line for line in found.lines() if "are as they were" in line]
    assert attack_free == []  # the newest checkpoint that agrees is `late`, and an entry before it is bad
    assert (
        verify(folder, [early]).lines()[2]
        == "Entries 1 to 4 are as they were at checkpoint early.jsonl of 2026-11-24T18:00:00Z."
    )


def test_a_back_dated_entry_is_told_as_a_note(folder: Path, kept: Path, clock: SetClock) -> None:
    clock.advance(timedelta(days=-30))
    with Ledger.open(folder, clock=clock, durable=False) as ledger:
        run_entry(ledger)
    found = verify(folder, [kept])
    assert found.result is Result.OK
    assert found.notes == ("Entry 41 is dated before the one that it follows: a clock was wrong.",)


def test_removed_guards_are_told_as_a_note(folder: Path, kept: Path) -> None:
    attack(folder)
    found = verify(folder, [kept])
    assert found.result is Result.OK
    assert "chain_no_delete" in found.notes[0]


def signed(tmp_path: Path, ledger: Ledger) -> tuple[Path, Path]:
    private, public, path = tmp_path / "private.pem", tmp_path / "public.pem", tmp_path / "signed.jsonl"
    new_key_pair(private, public)
    run_entry(ledger)
    ledger.checkpoint(path, private)
    return path, public


def test_a_signed_checkpoint(tmp_path: Path, folder: Path, ledger: Ledger) -> None:
    path, public = signed(tmp_path, ledger)
    assert (tmp_path / "private.pem").stat().st_mode & 0o777 == 0o600
    found = verify(folder, [path], public)
    assert (found.exit_code, found.signed) == (0, True)
    assert "its signature holds" in found.lines()[0]
    assert "its signature was not checked" in verify(folder, [path]).lines()[0]


@pytest.mark.parametrize("field", ["size", "head", "time", "tool", "value"])
def test_a_changed_signed_checkpoint(tmp_path: Path, folder: Path, ledger: Ledger, field: str) -> None:
    path, public = signed(tmp_path, ledger)
    run_entry(ledger)
    point = json.loads(path.read_text())
    new = {
        "size": 3,
        "head": ledger.head().hash,
        "time": "2027-01-01T00:00:00Z",
        "tool": "recon 9",
        "value": None,
    }[field]
    if field == "value":
        point["signature"]["value"] = "AAAA" + point["signature"]["value"][4:]
    else:
        point[field] = new
    path.write_bytes(canonical(point))
    found = verify(folder, [path], public)
    assert (found.result, found.exit_code) == (Result.BAD_SIGNATURE, 6)
    assert "BAD SIGNATURE" in found.lines()[0]


def test_a_checkpoint_signed_by_another_or_by_nobody(tmp_path: Path, folder: Path, ledger: Ledger) -> None:
    path, _ = signed(tmp_path, ledger)
    new_key_pair(tmp_path / "other.pem", tmp_path / "other.pub")
    assert verify(folder, [path], tmp_path / "other.pub").exit_code == 6
    ledger.checkpoint(tmp_path / "unsigned.jsonl")
    found = verify(folder, [tmp_path / "unsigned.jsonl"], tmp_path / "public.pem")
    assert found.exit_code == 6
    assert any("is not signed" in line for line in found.lines())


def test_broken_comes_before_a_bad_signature_and_a_bad_one_beside_a_good_one_counts(
    tmp_path: Path, folder: Path, ledger: Ledger
) -> None:
    path, public = signed(tmp_path, ledger)
    ledger.checkpoint(tmp_path / "unsigned.jsonl")
    assert verify(folder, [path, tmp_path / "unsigned.jsonl"], public).exit_code == 6
    attack(folder, "UPDATE chain SET body = replace(body, 'pull', 'push') WHERE seq = 1")
    assert verify(folder, [path, tmp_path / "unsigned.jsonl"], public).exit_code == 1


@pytest.mark.parametrize(
    "text",
    ["", "{}", "hello", '{"head":"x","size":1,"time":"2026-11-24","tool":"x"}', "[]", '{"a":1.5}', "\xff"],
)
def test_a_file_that_is_no_checkpoint(tmp_path: Path, folder: Path, ledger: Ledger, text: str) -> None:
    run_entry(ledger)
    path = tmp_path / "odd.jsonl"
    path.write_text(text, encoding="latin-1")
    assert verify(folder, [path]).exit_code == 6
    with pytest.raises(LedgerError, match="no file of checkpoints"):
        ledger.checkpoint(path)
    assert path.read_text(encoding="latin-1") == text


def test_named_files_have_to_be_there(tmp_path: Path, folder: Path, ledger: Ledger) -> None:
    run_entry(ledger)
    with pytest.raises(UsageError, match="no checkpoint file"):
        verify(folder, [tmp_path / "none.jsonl"])
    ledger.checkpoint(tmp_path / "one.jsonl")
    for path in (tmp_path / "none.pem", tmp_path / "one.jsonl"):
        with pytest.raises(UsageError, match="no Ed25519 public key"):
            verify(folder, [tmp_path / "one.jsonl"], path)
        with pytest.raises(UsageError, match="no Ed25519 private key"):
            ledger.checkpoint(tmp_path / "two.jsonl", path)
    assert not (tmp_path / "two.jsonl").exists()


def test_checkpoints_add_up_in_one_file(tmp_path: Path, folder: Path, ledger: Ledger, clock: SetClock) -> None:
    path = tmp_path / "all.jsonl"
    run_entry(ledger)
    first = ledger.checkpoint(path)
    clock.advance(timedelta(hours=1))
    again = ledger.checkpoint(path)
    assert (again.size, again.head) == (first.size, first.head)  # nothing new: no entry more
    run_entry(ledger)
    third = ledger.checkpoint(path)
    assert third.size == 4
    assert path.read_text() == "".join(point.line() + "\n" for point in (first, again, third))
    found = verify(folder, [path])
    assert found.result is Result.OK
    assert found.since == ("all.jsonl", third)
    assert third.lines() == [
        f"Ledger checkpoint of 2026-11-24T19:00:00Z: 4 entries, head {third.head} (not signed, recon 0.1.0)."
    ]


def test_no_new_checkpoint_covers_up_a_changed_past(folder: Path, kept: Path, clock: SetClock) -> None:
    before = kept.read_bytes()
    recompute(folder, "UPDATE chain SET body = replace(body, 'accepted', 'rejected') WHERE seq = 7")
    with (
        Ledger.open(folder, clock=clock, durable=False) as ledger,
        pytest.raises(LedgerBroken, match="contradicts the checkpoint"),
    ):
        ledger.checkpoint(kept)
    assert kept.read_bytes() == before


def test_another_workspaces_checkpoint(tmp_path: Path, folder: Path, kept: Path, clock: SetClock) -> None:
    with Ledger.open(tmp_path / "other", clock=clock, durable=False) as other:
        run_entry(other)
        other.checkpoint(tmp_path / "other.jsonl")
    found = verify(folder, [tmp_path / "other.jsonl"])
    assert found.exit_code == 1
    assert any("another ledger's" in line for line in found.lines())


def test_an_empty_ledger_has_a_checkpoint_too(tmp_path: Path, folder: Path, ledger: Ledger) -> None:
    point = ledger.checkpoint(tmp_path / "c.jsonl")
    assert point.size == 1
    assert ledger.entry(1).kind == kinds.CHECKPOINT
    assert verify(folder, [tmp_path / "c.jsonl"]).exit_code == 0


def test_verify_writes_nothing_and_needs_no_key(folder: Path, kept: Path) -> None:
    (folder / "pseudonyms-hk1.key").unlink()
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert verify(folder, [kept]).exit_code == 0
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
