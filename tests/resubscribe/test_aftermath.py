"""Which record undid a resubscribe: every shape of a star, without any system."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recon.ledger import Entry
from recon.resubscribe.aftermath import Fate, fate
from recon.resubscribe.plan_file import Step
from recon.resubscribe.rereading import Now
from recon.resubscribe.standing import Cleared

CLEARED = datetime(2026, 11, 5, 18, tzinfo=UTC)
RUN = datetime(2026, 11, 6, 4, tzinfo=UTC)
CLOSES = datetime(2026, 11, 6, 6, tzinfo=UTC)
MORNING = datetime(2026, 11, 6, 18, tzinfo=UTC)
BEFORE, AFTER = CLEARED - timedelta(days=3), CLEARED + timedelta(hours=3)
RECORD = "003000000000001AAA"
R, P, Q = f"salesforce:{RECORD}", "sales_connect:1", "sales_connect:2"


def person(uid: str = P, **values: Any) -> Now:
    given: dict[str, Any] = {"out": False, "carries": values.get("out", False), "link": RECORD}
    return Now(uid, **{"as_of": MORNING} | given | values)


def record(**values: Any) -> Now:
    return Now(R, **{"as_of": MORNING, "carries": values.get("out", False)} | values)


def judge(now: Now, *star: Now, closes: datetime | None = CLOSES) -> Fate:
    target: dict[str, Any] = {
        "system": "salesforce",
        "object": "Contact",
        "id": RECORD,
        "fields": ["HasOptedOutOfEmail"],
    }
    values: dict[str, Any] = {"before": [True], "after": [False], "direction": "clear", "because": "Approved."}
    step = Step(number=1, person=P, **target, **values)
    intent = Entry.__new__(Entry)
    return fate(Cleared(step, "done", intent, CLEARED, CLEARED), now, star, closes)


def said(found: Fate) -> tuple[str, str | None, str | None, datetime | None]:
    return found.state, found.caused_by, found.through, found.changed_at


def test_nothing_happened() -> None:
    assert said(judge(record(), person())) == ("stuck", None, None, None)
    assert said(judge(person(), record())) == ("stuck", None, None, None)


def test_before_the_run_is_over_it_is_too_early_but_what_happened_already_is_told() -> None:
    early = CLOSES - timedelta(seconds=1)
    assert judge(record(as_of=early), person()).state == "too_early"
    assert judge(record(as_of=CLOSES), person()).state == "stuck"
    assert judge(record(as_of=early, out=True, at=AFTER), person()).state == "reverted"
    assert judge(record(as_of=early), person(), closes=None).state == "stuck"


def test_a_click_after_the_clear_wins_on_every_record_of_the_star() -> None:
    clicked = person(out=True, at=AFTER, source="clicked_link")
    pushed = record(out=True, at=AFTER, author="005000000000001AAA")
    assert said(judge(clicked, pushed)) == ("unsubscribed_anew", P, None, AFTER)
    assert said(judge(pushed, clicked)) == ("unsubscribed_anew", P, "id", AFTER)
    other = person(Q, out=True, at=RUN, source="salesforce_sync")
    assert said(judge(other, pushed, clicked)) == ("unsubscribed_anew", P, "id", AFTER)


def test_a_click_wins_over_an_edit_that_came_first() -> None:
    clicked = person(out=True, at=RUN, source="clicked_link")
    assert judge(record(out=True, at=AFTER), clicked).state == "unsubscribed_anew"


def test_a_click_in_the_second_of_the_clear_is_a_new_one() -> None:
    assert judge(person(out=True, at=CLEARED, source="manual")).state == "unsubscribed_anew"
    assert judge(person(out=True, at=CLEARED - timedelta(seconds=1), source="manual")).state == "reverted"


def test_an_edit_in_salesforce_undoes_both_sides() -> None:
    edited = record(out=True, at=AFTER, author="005000000000001AAA")
    synced = person(out=True, at=RUN, source="salesforce_sync")
    on_record, on_person = judge(edited, synced), judge(synced, edited)
    assert said(on_record) == ("reverted", R, None, AFTER)
    assert said(on_person) == ("reverted", R, "id", RUN)
    assert "by the user 005000000000001AAA at 2026-11-05T21:00:00Z" in on_record.message
    assert R in on_person.message


def test_without_history_the_record_is_named_without_a_date() -> None:
    found = judge(record(out=True), person(out=True, at=RUN, source="salesforce_sync"))
    assert said(found) == ("reverted", R, None, None)
    assert "no field history tells" in found.message


def test_a_person_who_was_linked_meanwhile_and_stayed_opted_out_is_named() -> None:
    stayed = person(Q, out=True, at=BEFORE, source="clicked_link")
    carried = record(out=True, at=RUN)
    synced = person(out=True, at=RUN, source="salesforce_sync")
    assert said(judge(carried, synced, stayed)) == ("reverted", Q, "id", RUN)
    assert said(judge(synced, carried, stayed)) == ("reverted", Q, "id", RUN)


def test_an_unsubscribe_that_was_never_taken_away() -> None:
    stands = person(out=True, at=BEFORE, source="manual")
    assert said(judge(stands, record())) == ("reverted", P, None, BEFORE)
    assert said(judge(record(out=True, at=RUN), stands)) == ("reverted", P, "id", RUN)


def test_a_bounce_is_no_act_of_the_person() -> None:
    bounced = person(out=True, at=AFTER, source="bounce")
    assert said(judge(bounced, record())) == ("reverted", P, None, AFTER)
    found = judge(record(out=True, at=RUN), bounced)
    assert said(found) == ("reverted", P, "id", RUN)
    assert "bounced" in judge(bounced).message
    assert "bounced" in found.message


def test_one_user_s_unsubscribe_from_before_stands_beside() -> None:
    beside = person(out=True, carries=False, at=BEFORE, source="manual")
    found = judge(beside, record())
    assert (found.state, "one sales user" in found.message) == ("stuck", True)
    anew = person(out=True, carries=False, at=AFTER, source="manual")
    assert judge(anew, record()).state == "unsubscribed_anew"
    # The sync doesn't carry it, so it undid nothing on the record.
    assert said(judge(record(out=True, at=RUN), anew)) == ("reverted", R, None, RUN)


def test_where_the_source_is_unknown_who_was_first_did_not_get_it_from_the_other() -> None:
    late, early = person(out=True, at=RUN), person(out=True, at=AFTER)
    assert judge(late, record(out=True, at=AFTER)).state == "reverted"
    assert said(judge(early, record(out=True, at=RUN))) == ("unsubscribed_anew", P, None, AFTER)
    assert judge(late, record(out=True)).state == "reverted"
    assert judge(late, record()).state == "unsubscribed_anew"
    assert judge(person(out=True, at=RUN, link=None)).state == "unsubscribed_anew"


def test_a_cause_that_is_gone_again() -> None:
    found = judge(person(out=True, at=RUN, source="salesforce_sync"), record())
    assert said(found) == ("reverted", None, None, RUN)


def test_an_opt_out_that_came_after_the_run_is_told_beforehand() -> None:
    found = judge(person(), record(out=True, at=MORNING))
    assert found.state == "stuck"
    assert f"{R} is opted out, so the next nightly run will opt this record out again" in found.message
    assert "nightly" not in judge(person(), record(out=True, at=MORNING), closes=None).message


@pytest.mark.parametrize("gone", ["deleted", "merged", "missing", "converted"])
def test_what_is_gone(gone: str) -> None:
    found = judge(record(out=True, carries=False, gone=gone, became="003000000000009AAA"))
    assert found.state == "gone"
    assert ("003000000000009AAA" in found.message) == (gone == "converted")
