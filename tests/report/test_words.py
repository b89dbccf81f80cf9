"""The verdict's grammar, and what qualifies it."""

from __future__ import annotations

import pytest

from recon.categories import CATEGORIES
from recon.report.words import TITLES, banner, percent, plural, sentence


@pytest.mark.parametrize(
    ("total", "tonight", "you", "nobody", "enabled", "said"),
    [
        (0, 0, 0, 0, True, "No record could be mailed against an opt-out."),
        (0, 0, 0, 0, False, "No record could be mailed against an opt-out."),
        (17, 12, 5, 0, True, "17 records …; 12 will be mended by tonight's sync, 5 need you."),
        (1, 1, 0, 0, True, "1 record …; tonight's sync will mend it."),
        (2, 2, 0, 0, True, "2 records …; tonight's sync will mend both."),
        (1200, 1200, 0, 0, True, "1,200 records …; tonight's sync will mend all of them."),
        (1, 0, 1, 0, True, "1 record …; it needs you."),
        (2, 0, 2, 0, True, "2 records …; both need you."),
        (3, 0, 3, 0, True, "3 records …; all of them need you."),
        (2, 1, 1, 0, True, "2 records …; 1 will be mended by tonight's sync, 1 needs you."),
        (3, 1, 1, 1, True, "3 records …; 1 will be mended by tonight's sync, 1 needs you, 1 needs nothing done."),
        (4, 0, 2, 2, True, "4 records …; 2 need you, 2 need nothing done."),
        (1, 0, 0, 1, True, "1 record …; nobody has to do anything about it."),
        (3, 0, 0, 3, True, "3 records …; nobody has to do anything about them."),
        (3, 0, 3, 0, False, "3 records …; the sync is switched off, all of them need you."),
    ],
)  # fmt: skip
def test_the_verdict_in_one_sentence(total: int, tonight: int, you: int, nobody: int, enabled: bool, said: str) -> None:
    found = sentence(total=total, tonight=tonight, you=you, nobody=nobody, sync_enabled=enabled)
    assert found == said.replace("…", "could be mailed although the person opted out")


def _banner(**said: object) -> tuple[str, tuple[str, ...]]:
    usual: dict[str, object] = {
        "verdict": "x", "to_act": 0, "overdue": 0, "actions": 0, "mailable": 0, "straddles": False, "rehearsal": False,
    }  # fmt: skip
    found = banner(**(usual | said))  # type: ignore[arg-type]
    return found.word, found.notes


def test_the_banners_state() -> None:
    assert _banner() == ("In agreement", ())
    assert _banner(actions=2) == (
        "Watch",
        ("2 records need attention for another reason: see “Disagreement by category”.",),
    )
    assert _banner(overdue=1, actions=1, mailable=1)[0] == "Action needed"
    assert _banner(overdue=1, actions=3, mailable=1)[1] == (
        "3 records need attention in all, 1 of them overdue: see “Disagreement by category”.",
    )
    assert _banner(straddles=True)[0] == "Watch"
    # Files never say when they were extracted: that alone is a caution, not an alarm.
    assert _banner(straddles=None)[0] == "In agreement"
    assert "unknown whether" in _banner(straddles=None)[1][0]


def test_every_category_has_a_title() -> None:
    assert list(TITLES) == [category.name for category in CATEGORIES]


def test_shares_never_round_something_to_nothing() -> None:
    assert [percent(part, 10_000) for part in (0, 1, 5_000, 9_999, 10_000)] == [
        "0.0 %",
        "< 0.1 %",
        "50.0 %",
        "> 99.9 %",
        "100.0 %",
    ]
    assert percent(0, 0) == "–"
    assert plural(1, "record", "records") == "1 record"
