"""The canonical form agrees with RFC 8785, and refuses what it leaves out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from recon.ledger.canonical import DEEPEST, LARGEST, NotCanonical, canonical, clean, parse

any_text = st.text(st.characters(categories=["Cc", "Cf", "Lu", "Ll", "Lo", "Mn", "Nd", "Po", "So", "Zs", "Zl", "Co"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-LARGEST, LARGEST) | any_text.map(clean),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=8), inner, max_size=5)
    ),
    max_leaves=20,
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(values)
def test_agrees_with_rfc_8785(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(values)
def test_reads_what_it_writes(value: Any) -> None:
    assert parse(canonical(value)) == value


@given(anything)
def test_refuses_or_agrees(value: Any) -> None:
    try:
        text = canonical(value)
    except NotCanonical:
        return
    assert text == rfc8785.dumps(value)


@given(st.text())
def test_cleaned_text_can_be_written(text: str) -> None:
    assert canonical(clean(text)) == rfc8785.dumps(clean(text))
    assert clean(clean(text)) == clean(text)


@given(st.binary())
def test_reading_bytes_never_fails_in_another_way(text: bytes) -> None:
    try:
        value = parse(text)
    except NotCanonical:
        return
    assert canonical(value) == text


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        math.nan,
        math.inf,
        2**53,
        -(2**53),
        "e\u0301",
        "\ud800",
        "\ufdd0",
        "\U0001ffff",
        {"é": 1},
        {1: 1},
        b"x",
        {1, 2},
        ...,
    ],
    ids=repr,
)
def test_refuses(value: Any) -> None:
    with pytest.raises(NotCanonical):
        canonical([value])


def test_refuses_what_is_nested_too_deep() -> None:
    value: Any = 1
    for _ in range(DEEPEST):
        value = [value]
    canonical(value)
    with pytest.raises(NotCanonical):
        canonical([value])


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b"1.0",
        b"1e3",
        b"-0",
        b'"\\u00e9"',
        b'"e\xcc\x81"',
        b"NaN",
        b"\xff",
        b"",
        b"[" * 100_000,
        b"9" * 5000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_refuses_other_ways_to_write(text: bytes) -> None:
    with pytest.raises(NotCanonical):
        parse(text)


def test_says_where_and_never_what() -> None:
    with pytest.raises(NotCanonical, match=r"^\$\.a\[1\]: ") as caught:
        canonical({"a": ["ada@example.com", "ada@example.com\ud800"]})
    assert "ada" not in str(caught.value)
