"""The short ways of writing and reading come to what the long ones come to."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon.ledger import canonical as module
from recon.ledger import chain, kinds
from recon.ledger.canonical import DEEPEST, LARGEST, NotCanonical, canonical, parse
from recon.ledger.chain import Head, make, seal
from tests.ledger.test_ledger_canonical import any_text, anything, values

if TYPE_CHECKING:
    from collections.abc import Callable

hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)
ids = st.binary(min_size=16, max_size=16).map(bytes.hex)
codes = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:+/-]{0,9}", fullmatch=True)
counts = st.integers(0, LARGEST)
of_form: dict[str, st.SearchStrategy[Any]] = {
    "HASH": hashes,
    "NAME": ids.map(lambda text: f"hk1:{text}"),
    "CODE": codes,
    "WHEN": st.dates(date(2000, 1, 1)).flatmap(lambda day: st.sampled_from([f"{day}", f"{day}T18:07:59Z"])),
    "COUNT": counts,
    "SEQ": st.integers(1, LARGEST),
    "FLAG": st.booleans(),
    "VALUE": st.none() | st.booleans() | codes,
    "STEP": counts | codes,
    "NAMES": st.lists(ids.map(lambda text: f"hk2:{text}"), max_size=3) | st.just(()),
    "CODES": st.lists(codes, max_size=3).map(tuple),
    "RANDOM_IDS": st.lists(ids, max_size=3),
    "COUNTS": st.dictionaries(codes, counts, max_size=3),
    "HASHES": st.dictionaries(codes, hashes, max_size=3),
}
forms = {id(getattr(kinds, name)): strategy for name, strategy in of_form.items()}


@st.composite
def drafts(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    kind = draw(st.sampled_from(sorted(kinds.KINDS)))
    fields = kinds.KINDS[kind]
    taken = [name for name, field in fields.items() if field.required or draw(st.booleans())]
    return kind, {name: draw(forms[id(fields[name].form)]) for name in draw(st.permutations(taken))}


@given(drafts(), st.dictionaries(st.sampled_from(["reason", "note", "email"]), any_text))
def test_an_entry_is_canonical_whatever_it_says(draft: tuple[str, dict[str, Any]], said: dict[str, Any]) -> None:
    kind, data = draft
    data = kinds.conform(kind, data)
    reference, _ = seal(said)
    made = make(Head(6, "e" * 64), kind, "2026-11-24T18:00:00Z", "recon 0.1.0", data, reference)
    body = {"seq": 7, "at": made.at, "kind": kind, "tool": "recon 0.1.0", "data": data, "personal": reference}
    assert made.text.encode() == canonical(body)
    assert made.hash == hashlib.sha256(b"recon-ledger/v1\0" + bytes.fromhex("e" * 64) + canonical(body)).hexdigest()
    assert chain.entry(7, made.prev, made.hash, made.text) == made
    assert list(chain.mentions(data)) == list(plain_mentions(data))


def plain_mentions(data: dict[str, Any]) -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []
    for field in (*kinds.PERSON_FIELDS, *kinds.ACTOR_FIELDS, "caused_by", "actors"):
        value = data.get(field)
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and name not in [each for each, _ in found]:
                found.append((name, field in kinds.PERSON_FIELDS))
    return found


class Job(StrEnum):
    PULL = "pull"


@pytest.mark.parametrize("job", [Job.PULL, "pull"])
def test_what_conforms_and_is_of_another_type_is_written_as_what_it_is(job: str) -> None:
    data = kinds.conform(kinds.RUN, {"run_id": "r1", "job": job, "counts": {"rows": 1}})
    assert '"job":"pull"' in make(Head(0, chain.GENESIS), kinds.RUN, "now", "recon", data, None).text


def test_what_conforms_and_has_no_canonical_form_is_refused() -> None:
    data = kinds.conform(kinds.RUN, {"run_id": "r1", "job": "pull", "counts": MappingProxyType({"rows": 1})})
    with pytest.raises(NotCanonical, match="mappingproxy has no canonical form"):
        make(Head(0, chain.GENESIS), kinds.RUN, "now", "recon", data, None)


def outcome(read: Callable[[bytes], Any], text: bytes) -> tuple[Any, str]:
    try:
        return read(text), ""
    except NotCanonical as error:
        return None, str(error)


def nested(depth: int, most: bytes = b"") -> bytes:
    return b"[" * depth + most + b"]" * depth


def dumped(value: Any, **how: Any) -> bytes:
    return json.dumps(value, default=str, skipkeys=True, **how).encode(errors="surrogatepass")


around = st.integers(DEEPEST - 2, DEEPEST + 2)
texts = (
    (values | anything).map(lambda value: dumped(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
    | anything.map(dumped)
    | st.binary()
    | st.integers().map(lambda number: str(number).encode())
    | around.map(nested)
    | around.map(lambda depth: nested(depth, b"1"))
    | around.map(lambda many: b"[" + b",".join([b"[]"] * many) + b"]")
)


@given(texts)
def test_reading_comes_to_what_a_close_look_comes_to(text: bytes) -> None:
    assert outcome(parse, text) == outcome(module._parsed_closely, text)


@given(values)
def test_without_an_inner_writer_the_same_is_written(value: Any) -> None:
    for missing in (None, lambda: None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("json.encoder.c_make_encoder", missing)
            write = module._writer()
        assert write.__name__ == "encode", "Python's own method"
        assert write(value).encode() == canonical(value)
    assert module.written(value).encode() == canonical(value)
