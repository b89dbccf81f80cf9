"""What is asked of a ledger needs no more memory when its history is longer."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from recon.clock import SetClock
from recon.ledger import Draft, Ledger, Result, Terms, export, kinds, verify
from recon.ledger.store import _Beside
from tests.ledger.ledger_world import FILE, resubscribe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

CLOCK = SetClock(datetime(2026, 11, 24, 18, tzinfo=UTC))
KEYS = {1: b"k" * 32}
TERMS = Terms("Example GmbH", "HRB-1", "Berlin", "mailto:privacy@example.com", "https://example.com/preferences")


def opened(folder: Path) -> Ledger:
    return Ledger.open(folder, clock=CLOCK, given=KEYS, durable=False)


def peak(task: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        task()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def verdicts(ledger: Ledger, count: int) -> list[Draft]:
    return [
        Draft(
            kinds.VERDICT,
            {
                "file": FILE,
                "row": row,
                "subject": ledger.names.address(f"p{row}@example.com"),
                "verdict": "rejected",
                "codes": [],
            },
            {"reason": f"{row} asked", "email": f"p{row}@example.com"},
        )
        for row in range(count)
    ]


def test_to_verify_a_longer_ledger_takes_no_more(tmp_path: Path) -> None:
    found = {}
    for size in (50, 250, 1000):
        with opened(tmp_path / str(size)) as ledger:
            ledger.append_all(verdicts(ledger, size))
        checked = []
        found[size] = peak(lambda: checked.append(verify(tmp_path / str(size))))  # noqa: B023 - called at once
        assert [(each.result, each.size, each.findings) for each in checked] == [(Result.NO_CHECKPOINT, size, ())]
    assert found[1000] < 1.25 * found[250]


def test_to_add_more_at_once_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recon.ledger.store._TOGETHER", 50)
    found = {}
    for size in (50, 250, 1000):
        with opened(tmp_path / str(size)) as ledger:
            drafts = verdicts(ledger, size)
            found[size] = peak(lambda: ledger.append_each(iter(drafts)))  # noqa: B023 - called at once
            assert ledger.head().size == size
    # Kept, they would be some 3,000 bytes each.
    assert found[1000] < 1.5 * found[250]


def test_to_export_one_person_of_a_longer_ledger_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recon.ledger.store._PAGE", 20)
    found = {}
    for size in (10, 50, 200):
        with opened(tmp_path / str(size)) as ledger:
            for row in range(size):
                resubscribe(ledger, CLOCK, f"p{row}@example.com", row, str(row), f"00Q{row:012d}")
            ledger.append_all(verdicts(ledger, 2))
            made = []
            found[size] = peak(lambda: made.append(export(ledger, TERMS, of="p7@example.com")))  # noqa: B023 - called at once
            ((record,), everything) = made[0].records, export(ledger, TERMS).records
            assert record == everything[7]
            assert len(record["ledger"]) == 7
    assert found[200] < 1.25 * found[50]


def test_what_is_kept_beside_is_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recon.ledger.store._TOGETHER", 7)
    writes, real = [], _Beside.write

    def write(beside: _Beside) -> None:
        writes.append(len(beside._personal))
        real(beside)

    monkeypatch.setattr(_Beside, "write", write)
    with opened(tmp_path) as ledger:
        made = ledger.append_all(verdicts(ledger, 20))
        assert [ledger.personal(entry) for entry in made] == [draft.personal for draft in verdicts(ledger, 20)]
        assert [ledger.mentioning(entry.data["subject"]) for entry in made] == [[(entry.seq, True)] for entry in made]
    assert writes == [7, 7, 6]
    assert verify(tmp_path).findings == ()
