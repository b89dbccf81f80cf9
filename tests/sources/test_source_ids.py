from __future__ import annotations

import string

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.sources.ids import salesforce_id_18, to_18

ALPHABET = string.ascii_uppercase + "012345"
BODIES = st.text(string.ascii_letters + string.digits, min_size=15, max_size=15)


def checksum(body: str) -> str:
    """Slow and obvious: each group's bits as a binary number, last character first."""
    groups = (body[0:5], body[5:10], body[10:15])
    return "".join(
        ALPHABET[int("".join("1" if c in string.ascii_uppercase else "0" for c in reversed(g)), 2)] for g in groups
    )


def reference(text: str | None) -> str | None:
    if text is None:
        return None
    text = text.strip()
    if len(text) not in (15, 18) or any(c not in string.ascii_letters + string.digits for c in text):
        return None
    body, given_sum = text[:15], text[15:].upper()
    if not given_sum or checksum(body) == given_sum:
        return body + checksum(body)
    if body not in (body.upper(), body.lower()):
        return None
    for choice in _cases(body, given_sum):
        return choice + given_sum
    return None


def _cases(body: str, wanted: str) -> list[str]:
    """The only spelling of a body that has the wanted checksum, if there is one: built letter by letter."""
    if any(c not in ALPHABET for c in wanted):
        return []
    spelled = ""
    for n, character in enumerate(body):
        value = ALPHABET.index(wanted[n // 5])
        spelled += character.upper() if value >> (n % 5) & 1 else character.lower()
    return [spelled] if checksum(spelled) == wanted else []


def convert(*texts: str | None) -> tuple[list[str | None], list[bool | None]]:
    ids, valid = to_18(pa.chunked_array([list(texts)], type=pa.string()))
    return ids.to_pylist(), valid.to_pylist()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        # Ids printed in Salesforce's own documentation and help.
        ("001D000000IRFma", "001D000000IRFmaIAH"),
        ("001D000000IqhSL", "001D000000IqhSLIAZ"),
        ("001D000000IqhSLIAZ", "001D000000IqhSLIAZ"),
        ("  001D000000IqhSL\t", "001D000000IqhSLIAZ"),
        ("001d000000iqhsliaz", "001D000000IqhSLIAZ"),
        ("001D000000IQHSLIAZ", "001D000000IqhSLIAZ"),
        ("001D000000IqhSLiaz", "001D000000IqhSLIAZ"),
        ("001D000000IqhSLIAA", None),
        ("001D000000Iqhsliaz", None),  # mixed case that contradicts the checksum
        ("001d000000iqhsl999", None),
        ("001D000000IqhS", None),
        ("001D000000IqhSLI", None),
        ("001D000000Iqh-L", None),
        ("001D000000Iqhé", None),  # 14 characters in 15 bytes
        ("001D000000IqhSL\x00", None),
        ("", None),
    ],
)
def test_known_ids(text: str, wanted: str | None) -> None:
    assert salesforce_id_18(text) == wanted


def test_null_is_neither_an_id_nor_a_bad_one() -> None:
    assert convert(None, "x", "001D000000IqhSL") == ([None, None, "001D000000IqhSLIAZ"], [None, False, True])


def test_no_rows() -> None:
    ids, valid = to_18(pa.chunked_array([], type=pa.string()))
    assert (len(ids), ids.type, len(valid), valid.type) == (0, pa.string(), 0, pa.bool_())


@settings(deadline=None)  # the first call warms Arrow up
@given(BODIES)
def test_15_characters_become_18_and_stay(body: str) -> None:
    done = salesforce_id_18(body)
    assert done == body + checksum(body)
    assert salesforce_id_18(done) == done
    assert salesforce_id_18(done.lower()) == done
    assert salesforce_id_18(done.upper()) == done


@settings(deadline=None)  # the first call warms Arrow up
@given(
    st.lists(
        st.none()
        | BODIES
        | st.tuples(BODIES, st.text(string.ascii_letters + string.digits, min_size=3, max_size=3)).map("".join)
        | BODIES.map(lambda b: (b + checksum(b)).swapcase())
        | BODIES.map(lambda b: b.lower() + checksum(b))
        | st.text(max_size=19).filter(lambda t: t.strip() == t),
        max_size=30,
    ),
    st.integers(0, 5),
)
def test_agrees_with_the_slow_reference(texts: list[str | None], cut: int) -> None:
    column = pa.chunked_array([texts[:cut], texts[cut:]], type=pa.string())
    ids, valid = to_18(column.slice(min(1, len(texts))))
    kept = texts[1:]
    assert ids.to_pylist() == [reference(text) for text in kept]
    assert valid.to_pylist() == [None if text is None else reference(text) is not None for text in kept]
    ids.validate(full=True)


def test_a_large_column_is_done_block_by_block() -> None:
    count = 600_000
    column = pa.chunked_array([[f"00Q{n:012d}" for n in range(count)]])
    ids, valid = to_18(column)
    assert len(ids) == count
    assert ids[-1].as_py() == f"00Q{count - 1:012d}EAA"
    assert valid.null_count == 0
    assert all(chunk.true_count == len(chunk) for chunk in valid.chunks)
