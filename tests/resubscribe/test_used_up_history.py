"""Which rows are used up and which opt-outs are answered, over any history: as by the plain rule, in memory that the history doesn't enlarge."""

from __future__ import annotations

import tempfile
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, event, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from recon.clock import SetClock
from recon.ledger import Draft, Ledger, erase, kinds
from recon.resubscribe.answered import _said
from recon.resubscribe.evidence import applied_digests
from recon.resubscribe.steps_evidence import NEWER_OPT_OUT
from recon.resubscribe.used_up import standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from recon.ledger import Entry

CLOCK = SetClock(datetime(2026, 11, 24, 18, tzinfo=UTC))
KEYS = {1: b"k" * 32}
PEOPLE = ("ada", "bob")
SYSTEMS = (("salesforce", "HasOptedOutOfEmail"), ("sales_connect", "unsubscribed"))


# The plain rule, as it reads best: all of the ledger in memory.


def plain_standing(ledger: Ledger) -> set[int]:
    """The verdicts under which a clear was done that no undo took back."""
    undoes = {
        entry.data["plan"]: entry.data["undoes"]
        for entry in ledger.entries(kinds.PLAN)
        if entry.data["purpose"] == "undo" and entry.data.get("undoes") is not None
    }
    allowed_by = {
        entry.seq: entry.data["verdict"]
        for entry in ledger.entries(kinds.INTENT)
        if entry.data.get("verdict") is not None
    }
    left: dict[tuple[str, str], int] = {}
    for outcome in ledger.entries(kinds.OUTCOME):
        plan, record = outcome.data["plan"], outcome.data["record"]
        if outcome.data["result"] != "done":
            continue
        if outcome.data["intent"] in allowed_by:
            left[plan, record] = allowed_by[outcome.data["intent"]]
        elif plan in undoes:
            left.pop((undoes[plan], record), None)
    return set(left.values())


def plain_in_part(ledger: Ledger) -> set[int]:
    """The verdicts under which a clear was tried and not done, but for those whose person opted out anew."""
    verdicts: dict[int, int] = {}
    put_back: set[tuple[str, str]] = set()
    for intent in ledger.entries(kinds.INTENT):
        if intent.data.get("verdict") is not None:
            verdicts[intent.seq] = intent.data["verdict"]
        elif str(intent.data["step"]).endswith(".resuppress"):
            put_back.add((intent.data["plan"], intent.data["record"]))
    last: dict[tuple[str, str], tuple[int, str]] = {}
    anew: set[int] = set()
    for outcome in ledger.entries(kinds.OUTCOME):
        verdict = verdicts.get(outcome.data["intent"])
        if verdict is None:
            continue
        record = outcome.data["plan"], outcome.data["record"]
        last[record] = verdict, outcome.data["result"]
        if record in put_back or outcome.data.get("code") == NEWER_OPT_OUT:
            anew.add(verdict)
    return {verdict for verdict, result in last.values() if result != "done"} - anew


def plain_digests(ledger: Ledger) -> set[str]:
    carried = plain_standing(ledger) - plain_in_part(ledger)
    said = [ledger.personal(entry) for entry in ledger.entries(kinds.VERDICT) if entry.seq in carried]
    return {each["digest"] for each in said if each and "digest" in each}


def plain_said(ledger: Ledger, record: str) -> set[int]:
    stand, names = plain_standing(ledger), ledger.names.of(f"salesforce:{record}")
    return {
        entry.seq
        for entry in ledger.entries(kinds.VERDICT)
        if entry.seq in stand and not names.isdisjoint(entry.data.get("records", ()))
    }


# Histories.


def record_of(person: str, system: str) -> str:
    return f"00Q{person:>012}AAA".replace(" ", "0") if system == "salesforce" else f"{person} 7"


class History:
    """What is done to a ledger, at random: as much of it as the ledger takes."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.verdicts: list[tuple[Entry, str]] = []
        self.plans: list[str] = []
        self.open: list[Entry] = []
        self.cleared: list[Entry] = []
        self.digests: list[str] = []

    def verdict(self, pick: Callable[[int], int]) -> None:
        person, other = PEOPLE[pick(2)], PEOPLE[pick(2)]
        names, number = self.ledger.names, len(self.verdicts)
        accepted = pick(5) > 0
        # The same row may be handed in again; one may come without a digest, as rejected ones do, or name another's record as well.
        digest = f"digest of {person} {pick(3)}"
        self.digests.append(digest)
        data = {
            "file": f"{pick(2):064}",
            "row": number + 2,
            "subject": names.address(f"{person}@buyer.example"),
            "verdict": "accepted" if accepted else "rejected",
            "codes": [],
            "records": [
                names.record(system, record_of(whose, system))
                for whose in dict.fromkeys((person, other))
                for system, _ in SYSTEMS[: 1 + pick(2)]
            ]
            if pick(4)
            else [],
        }
        said = ({"digest": digest, "email": f"{person}@buyer.example"}, {"email": person}, None)[max(0, pick(5) - 2)]
        entry = self.ledger.append(kinds.VERDICT, data, said)
        if accepted:
            self.verdicts.append((entry, person))

    def plan(self, pick: Callable[[int], int]) -> None:
        plan = f"{len(self.plans):x}".rjust(64, "a")
        undoes = self.plans[pick(len(self.plans))] if self.plans and pick(2) else None
        purpose = "resubscribe" if undoes is None else ("undo", "undo", "undo", "mixed")[pick(4)]
        self.ledger.append(kinds.PLAN, {"plan": plan, "purpose": purpose, "undoes": undoes})
        self.plans.append(plan)

    def step(self, person: str, side: int, plan: str, step: int | str) -> dict[str, Any]:
        names, (system, field) = self.ledger.names, SYSTEMS[side]
        return {
            "plan": plan,
            "step": step,
            "subject": names.address(f"{person}@buyer.example"),
            "record": names.record(system, record_of(person, system)),
            "system": system,
            "field": field,
        }

    def clear(self, pick: Callable[[int], int]) -> None:
        if not self.verdicts or not self.plans:
            return
        entry, person = self.verdicts[-1 - pick(min(4, len(self.verdicts)))]
        step = self.step(person, pick(2), self.plans[-1 - pick(min(3, len(self.plans)))], pick(4))
        self.open.append(self.ledger.append(kinds.INTENT, step | {"from": True, "to": False, "verdict": entry.seq}))
        self.cleared.append(self.open[-1])
        if pick(3):
            self.conclude(pick)

    def put_back(self, pick: Callable[[int], int]) -> None:
        """What a step took away is put back at once, by the same plan; or set by another plan, which may be an undo."""
        if not self.cleared or not self.plans:
            return
        done = self.cleared[-1 - pick(min(4, len(self.cleared)))]
        where = {name: done.data[name] for name in ("plan", "step", "subject", "record", "system", "field")}
        if pick(3):
            where |= {"plan": self.plans[-1 - pick(min(3, len(self.plans)))]}
        else:
            where |= {"step": f"{where['step']}.resuppress"}
        self.open.append(self.ledger.append(kinds.INTENT, where | {"from": False, "to": True}))
        if pick(4):
            self.conclude(pick)

    def conclude(self, pick: Callable[[int], int]) -> None:
        if not self.open:
            return
        intent = self.open.pop(-1 - pick(min(2, len(self.open))))
        result = ("done", "done", "done", "failed", "stale", "unprocessed")[pick(6)]
        code = None if result == "done" and pick(4) else (None, NEWER_OPT_OUT, "UNABLE_TO_LOCK_ROW")[pick(3)]
        where = {name: intent.data[name] for name in ("plan", "step", "subject", "record", "system", "field")}
        self.ledger.append(kinds.OUTCOME, where | {"intent": intent.seq, "result": result, "code": code})

    def erase(self, pick: Callable[[int], int]) -> None:
        if not pick(3):
            erase(self.ledger, f"{PEOPLE[pick(2)]}@buyer.example", "request")

    def play(self, numbers: Iterator[int]) -> None:
        def pick(below: int) -> int:
            return next(numbers, 0) % below

        for number in numbers:
            (
                self.clear, self.clear, self.clear, self.put_back, self.put_back,
                self.conclude, self.verdict, self.plan, self.plan, self.erase,
            )[number % 10](pick)  # fmt: skip


@examples(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 59), min_size=40, max_size=250))
def test_any_history_comes_to_what_the_plain_rule_says(numbers: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with Ledger.open(Path(folder), clock=CLOCK, given=KEYS, durable=False) as ledger:
            history = History(ledger)
            history.verdict(lambda below: 1 % below)
            history.plan(lambda _: 0)
            history.play(iter(numbers))
            expected = plain_digests(ledger)
            digests = applied_digests(ledger)
            for person in PEOPLE:
                lead = record_of(person, "salesforce")
                stand = {entry.seq for entry in standing(ledger, _said(ledger, lead))}
                assert stand == plain_said(ledger, lead)
                event(f"a verdict stands: {bool(stand)}")
            event(f"a verdict was carried out in part: {bool(plain_in_part(ledger))}")
        event(f"rows are used up: {bool(expected)}")
        # The ledger is closed by now.
        assert digests == expected
        assert len(digests) == len(expected)
        assert {digest for digest in history.digests if digest in digests} == expected
        assert None not in digests


# Memory.


def grown(folder: Path, persons: int) -> Ledger:
    """A ledger with so many people made mailable, in five plans; each tenth taken back, each seventh left in part."""
    ledger = Ledger.open(folder, clock=CLOCK, given=KEYS, durable=False)
    history = History(ledger)
    of_plan = persons // 5
    for start in range(0, persons, of_plan):
        ledger.append_each(
            Draft(
                kinds.VERDICT,
                {
                    "file": f"{start:064}",
                    "row": row,
                    "subject": ledger.names.address(f"{row}@buyer.example"),
                    "verdict": "accepted",
                    "codes": [],
                    "records": [ledger.names.record("salesforce", record_of(str(row), "salesforce"))],
                },
                {"digest": f"digest of {row}"},
            )
            for row in range(start, start + of_plan)
        )
        seqs = range(ledger.head().size - of_plan + 1, ledger.head().size + 1)
        plan = f"{start:x}".rjust(64, "b")
        for row, seq in zip(range(start, start + of_plan), seqs, strict=True):
            where = history.step(str(row), 0, plan, row)
            (intent,) = ledger.append_all([Draft(kinds.INTENT, where | {"from": True, "to": False, "verdict": seq})])
            ledger.append(kinds.OUTCOME, where | {"intent": intent.seq, "result": "done" if row % 7 else "failed"})
        undo = f"{start:x}".rjust(64, "c")
        ledger.append(kinds.PLAN, {"plan": undo, "purpose": "undo", "undoes": plan})
        for row in range(start, start + of_plan, 10):
            where = history.step(str(row), 0, undo, row)
            intent = ledger.append(kinds.INTENT, where | {"from": False, "to": True})
            ledger.append(kinds.OUTCOME, where | {"intent": intent.seq, "result": "done"})
    return ledger


def peak(task: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        task()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_four_times_the_history_takes_no_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is read together is bounded: a small bound shows with few entries what a larger one does with many.
    monkeypatch.setattr("recon.ledger.store._PAGE", 5)
    lead = record_of("1", "salesforce")
    few: list[int] = []
    many: list[int] = []
    plain = []
    warm: list[int] = []
    for size, into in ((50, warm), (100, few), (400, many)):
        with grown(tmp_path / str(size), size) as ledger:
            expected = plain_digests(ledger)
            into += [
                peak(lambda: applied_digests(ledger)),
                peak(lambda: list(standing(ledger, _said(ledger, lead)))),
            ]
            plain.append(peak(lambda: plain_digests(ledger)))
            assert applied_digests(ledger) == expected
            assert len(expected) == sum(1 for row in range(size) if row % 7 and row % 10)
            assert plain_said(ledger, lead) == {entry.seq for entry in standing(ledger, _said(ledger, lead))} != set()
    assert plain[2] > 1.8 * plain[1], "what the memory would be, were everything in it"
    for one, four in zip(few, many, strict=True):
        assert four < 1.25 * one
