"""Entries hold codes, numbers, hashes and pseudonyms, and nothing that a person said."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon.ledger import Ledger, kinds
from recon.ledger.kinds import KINDS, conform

if TYPE_CHECKING:
    from pathlib import Path

NAME = "hk1:" + "0" * 32
GOOD: dict[str, dict[str, Any]] = {
    kinds.RUN: {"run_id": "r1", "job": "pull"},
    kinds.SNAPSHOT: {"snapshot": "20261124T180000Z-01234567", "manifest": "0" * 64},
    kinds.APPROVED_FILE: {"file": "0" * 64, "rows": 3, "verdicts": {"accepted": 1}},
    kinds.VERDICT: {"file": "0" * 64, "row": 2, "subject": NAME, "verdict": "rejected", "codes": ["bad_date"]},
    kinds.PLAN: {"plan": "0" * 64, "counts": {}},
    kinds.INTENT: {"plan": "0" * 64, "step": 0, "record": NAME, "system": "salesforce", "field": "X__c", "to": False},
    kinds.OUTCOME: {
        "plan": "0" * 64,
        "step": "a-1",
        "record": NAME,
        "system": "salesforce",
        "field": "X__c",
        "intent": 1,
        "result": "done",
        "to": None,
    },
    kinds.VERIFICATION: {
        "plan": "0" * 64,
        "step": 0,
        "record": NAME,
        "system": "salesforce",
        "field": "X__c",
        "result": "stuck",
    },
    kinds.CORRECTION: {"corrects": 1, "code": "wrong_row"},
    kinds.CHECKPOINT: {"entries": 0},
    kinds.ERASURE: {"erased": ["0" * 32], "ground": "request"},
}


def test_every_kind_has_an_example_and_a_constant() -> None:
    constants = {value for name, value in vars(kinds).items() if name.isupper() and isinstance(value, str)}
    assert set(KINDS) == set(GOOD) == constants


@pytest.mark.parametrize("kind", GOOD)
def test_accepts(kind: str) -> None:
    assert conform(kind, GOOD[kind]) == GOOD[kind]


@pytest.mark.parametrize("kind", GOOD)
def test_refuses_a_missing_and_an_unlisted_field(kind: str) -> None:
    for name, field in KINDS[kind].items():
        if field.required:
            with pytest.raises(ValueError, match=name):
                conform(kind, {key: value for key, value in GOOD[kind].items() if key != name})
    with pytest.raises(ValueError, match="email"):
        conform(kind, GOOD[kind] | {"email": "x"})


@given(
    kind=st.sampled_from(sorted(KINDS)),
    said=st.sampled_from(["ada@example.com", "Ada Lovelace", "she rang", "ö", "", "=1+1", "a\nb", "<b>", "A" * 101]),
    data=st.data(),
)
def test_no_field_takes_what_people_say(kind: str, said: str, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(sorted(KINDS[kind])))
    for value in (said, [said], {said: 1}, {"a": said}):
        with pytest.raises(ValueError, match=field) as caught:
            conform(kind, GOOD[kind] | {field: value})
        assert not said or said not in str(caught.value).replace(kind, "").replace(field, "")


@pytest.mark.parametrize("value", [1.0, -1, 2**53, True, "1", None])
def test_numbers_are_whole(value: Any) -> None:
    with pytest.raises(ValueError, match="row"):
        conform(kinds.VERDICT, GOOD[kinds.VERDICT] | {"row": value})


def test_null_is_the_same_as_absent_except_where_it_is_a_value() -> None:
    assert "country" not in conform(kinds.VERDICT, GOOD[kinds.VERDICT] | {"country": None})
    assert conform(kinds.INTENT, GOOD[kinds.INTENT] | {"from": None})["from"] is None


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="no entries of kind"):
        conform("gossip", {})


def test_a_refused_entry_leaves_no_trace(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="email"):
        ledger.append(kinds.RUN, {"run_id": "r1", "job": "pull", "email": "ada@example.com"})
    assert ledger.head().size == 0


def test_what_the_ledger_holds_of_a_person_in_the_chain_is_no_text_of_theirs(ledger: Ledger, folder: Path) -> None:
    body = GOOD[kinds.VERDICT] | {"subject": ledger.names.address("ada@example.com")}
    made = ledger.append(kinds.VERDICT, body, {"email": "ada@example.com", "name": "Ada Lovelace"})
    assert not re.search("ada|example|Lovelace", made.text)
    assert ledger.personal(made) == {"email": "ada@example.com", "name": "Ada Lovelace"}
