"""One person's whole story, from any of their addresses or ids; and what is left of it when it is erased."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from recon.ledger import Ledger, erase, kinds, story, verify
from tests.ledger.ledger_world import FILE, LEAD, PLAN, resubscribe, run_entry, verdict

if TYPE_CHECKING:
    from pathlib import Path

    from recon.clock import SetClock

CONTACT = "003000000000001AAA"


@pytest.fixture
def people(ledger: Ledger, clock: SetClock) -> dict[str, list[int]]:
    """Ada with two addresses and three records, and Bob, from one file and one plan, approved by Grace."""
    run_entry(ledger)
    names = ledger.names
    file = ledger.append(kinds.APPROVED_FILE, {"file": FILE, "rows": 3})
    plan = ledger.append(kinds.PLAN, {"plan": PLAN, "file": FILE})
    ada = resubscribe(ledger, clock, "ada@example.com", 2, "7", LEAD)
    bob = resubscribe(ledger, clock, "bob@example.com", 3, "8", "00Q0000000008AA")
    both = [names.record("sales_connect", "7"), names.record("salesforce", CONTACT)]
    old = verdict(ledger, "lovelace@example.org", 4, records=both, verdict="rejected", codes=["bad_date"])
    wrong = ledger.append(kinds.CORRECTION, {"corrects": old.seq, "code": "wrong_row"}, {"note": "was her old address"})
    return {
        "ada": [entry.seq for entry in [*ada, old, wrong]],
        "bob": [entry.seq for entry in bob],
        "context": [file.seq, plan.seq],
    }


@pytest.mark.parametrize(
    "of",
    [
        "ada@example.com",
        " ADA@Example.COM ",
        "lovelace@example.org",
        "7",
        "sales_connect:7",
        LEAD,
        LEAD[:15],
        LEAD.lower(),
        f"salesforce:{LEAD}",
        CONTACT,
        "pseudonym",
    ],
)
def test_any_address_or_id_leads_to_the_whole(ledger: Ledger, people: dict[str, list[int]], of: str) -> None:
    found = story(ledger, ledger.names.address("ada@example.com") if of == "pseudonym" else of)
    assert [step.entry.seq for step in found.steps if not step.context] == people["ada"]
    assert [step.entry.seq for step in found.steps if step.context] == people["context"]
    assert len(found.names) == 5
    assert list(found.actors.values()) == ["Grace"]


def test_nobody_elses_words_are_in_it(ledger: Ledger, people: dict[str, list[int]]) -> None:
    text = "\n".join(story(ledger, "bob@example.com").lines(full=True))
    assert "bob@example.com" in text
    assert "approved_by Grace" in text
    assert "ada" not in text
    assert "lovelace" not in text


def test_addresses_are_masked_unless_asked_for(ledger: Ledger, people: dict[str, list[int]]) -> None:
    masked = "\n".join(story(ledger, "7").lines())
    assert "ada@example.com" not in masked
    assert "a***@e***.com" in masked
    assert "asked on the phone" in masked
    assert "ada@example.com" in "\n".join(story(ledger, "7").lines(full=True))


def test_hostile_text_stays_on_its_line(ledger: Ledger) -> None:
    verdict(ledger, "eve@example.com", 2, {"reason": "x\n2026-01-01 accepted\x1b[2J\u202e" + "y" * 1000})
    lines = story(ledger, "eve@example.com").lines()
    assert len(lines) == 2
    assert all(line.isprintable() and len(line) < 400 for line in lines)


def test_who_acted_finds_what_they_did_and_not_what_was_said_about_others(
    ledger: Ledger, people: dict[str, list[int]]
) -> None:
    found = story(ledger, "grace")
    assert [step.entry.seq for step in found.steps] == [people["ada"][0], people["bob"][0]]
    assert all(step.context and step.personal is None and not step.erased for step in found.steps)
    assert found.names == frozenset()


def test_who_undid_it_is_not_made_one_with_the_person(ledger: Ledger, people: dict[str, list[int]]) -> None:
    other = ledger.names.record("salesforce", "003000000000009AAA")
    entry = ledger.entry(people["bob"][-1])
    undone = ledger.append(kinds.VERIFICATION, entry.data | {"result": "reverted", "caused_by": other, "through": "id"})
    assert undone.seq in [step.entry.seq for step in story(ledger, "bob@example.com").steps]
    alone = story(ledger, "003000000000009AAA")
    assert [step.entry.seq for step in alone.steps] == [undone.seq]


def test_nobody(ledger: Ledger, people: dict[str, list[int]]) -> None:
    assert story(ledger, "nobody@example.com").lines() == ["The ledger holds nothing about this person."]


def test_erasing_leaves_the_chain_whole_and_the_words_nowhere(
    tmp_path: Path, ledger: Ledger, folder: Path, people: dict[str, list[int]]
) -> None:
    checkpoint = tmp_path / "checkpoint.jsonl"
    ledger.checkpoint(checkpoint)
    assert b"ada@example.com" in (folder / "ledger.db").read_bytes()
    done = erase(ledger, LEAD, "request", actor="Grace")
    assert (done.parts, done.actors) == (3, 0)
    assert done.entry is not None
    assert done.entry.data["ground"] == "request"
    assert "still lead to the person" in " ".join(done.lines())
    left = b"".join(path.read_bytes() for path in folder.iterdir())
    for word in (b"ada@example.com", b"lovelace", b"was her old address"):
        assert word not in left
    assert b"bob@example.com" in left
    found = verify(folder, [checkpoint])
    assert (found.exit_code, found.findings, found.erased) == (0, (), 3)
    told = story(ledger, "ada@example.com")
    assert [step.entry.seq for step in told.steps if step.erased] == [people["ada"][0], *people["ada"][-2:]]
    assert told.steps[-1].entry == done.entry
    assert "personal part: erased" in "\n".join(told.lines())


def test_erasing_twice_writes_once(ledger: Ledger, people: dict[str, list[int]]) -> None:
    erase(ledger, "ada@example.com", "request")
    size = ledger.head().size
    again = erase(ledger, "ada@example.com", "request")
    assert (again.entry, again.lines()) == (None, ["There was nothing to erase."])
    assert erase(ledger, "nobody@example.com", "request").entry is None
    assert ledger.head().size == size


def test_what_is_said_after_an_erasure_can_be_erased_too(ledger: Ledger, folder: Path) -> None:
    verdict(ledger, "ada@example.com", 2)
    erase(ledger, "ada@example.com", "request")
    verdict(ledger, "ada@example.com", 3)
    assert erase(ledger, "ada@example.com", "request").parts == 1
    assert verify(folder).findings == ()


def test_a_name_of_who_acted_can_be_erased(ledger: Ledger, folder: Path, people: dict[str, list[int]]) -> None:
    name = ledger.names.actor("Grace")
    done = erase(ledger, "grace", "left_company")
    assert (done.parts, done.actors) == (0, 1)
    assert ledger.actor_name(name) is None
    assert b"Grace" not in (folder / "ledger.db").read_bytes()
    assert ledger.personal(ledger.entry(people["ada"][0])) is not None
    assert verify(folder).findings == ()


def test_a_part_that_came_back_is_found(ledger: Ledger, folder: Path, people: dict[str, list[int]]) -> None:
    with ledger.writing() as db:
        row = db.execute("SELECT * FROM personal WHERE seq = ?", (people["ada"][0],)).fetchone()
    erase(ledger, "ada@example.com", "request")
    with ledger.writing() as db:
        db.execute("INSERT INTO personal VALUES (?, ?, ?)", row)
    assert verify(folder).first_bad == people["ada"][0]


def test_everything_can_be_written_as_json(ledger: Ledger, people: dict[str, list[int]]) -> None:
    value = story(ledger, "bob@example.com").as_json()
    assert [step["entry"]["seq"] for step in value["steps"]] == people["context"] + people["bob"]
    assert value["steps"][2]["personal"] == {"email": "bob@example.com", "reason": "asked on the phone"}
