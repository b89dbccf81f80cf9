"""A personal part that is sealed: what is kept beside the chain is canonical, whatever was said, and fits its hashes."""

from __future__ import annotations

from typing import Any

import pytest

from recon.ledger.canonical import DEEPEST, NotCanonical, canonical, parse
from recon.ledger.chain import seal, seal_holds, unseal

_SAID: dict[str, Any] = {
    "reason": 'Bitte "ja"\u2028\\ – é',
    "email": "ada@example.com",
    "note": None,
    "count": 3,
    "list": [1, {"b": True, "a": "x"}],
    "": "",
    "value": {},
}


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_what_is_kept_is_canonical_and_fits_its_hashes() -> None:
    reference, kept = seal(_SAID)
    assert canonical(parse(kept)) == kept
    assert unseal(kept) == _SAID
    assert reference["hashes"].keys() == _SAID.keys()
    assert seal_holds(reference["hashes"], kept)
    assert not seal_holds(reference["hashes"], kept.replace(b"ada@", b"eve@"))


def test_nothing_said_is_kept_as_nothing() -> None:
    reference, kept = seal({})
    assert (reference["hashes"], kept) == ({}, b"{}")


def test_what_could_not_be_read_again_is_not_sealed() -> None:
    # The value stands two levels down in what is kept.
    assert unseal(seal({"note": _nested(DEEPEST - 2)})[1]) == {"note": _nested(DEEPEST - 2)}
    with pytest.raises(NotCanonical):
        seal({"note": _nested(DEEPEST - 1)})
