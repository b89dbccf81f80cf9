"""The chain: what an entry is, and how its hash ties it to all that came before."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from recon.ledger import kinds
from recon.ledger.canonical import NotCanonical, canonical, clean, field_text, parse, written

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: What stands in the place of the previous hash before the first entry.
GENESIS = "0" * 64

_DOMAIN = b"recon-ledger/v1\0"
_PERSONAL_DOMAIN = b"recon-ledger/v1/personal\0"
_SALT_BYTES = 16

#: The fields that hold pseudonyms, and whether these are the person's own.
_NAMING = (
    *((name, True) for name in kinds.PERSON_FIELDS),
    *((name, False) for name in (*kinds.ACTOR_FIELDS, "caused_by", "actors")),
)


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain ends.

    Attributes
    ----------
    size
        How many entries there are.
    hash
        The last one's hash; `GENESIS` where there is none.
    """

    size: int
    hash: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry.

    Attributes
    ----------
    seq
        Its number, from 1.
    hash, prev
        Its hash and the previous entry's.
    text
        Its body as it is hashed: canonical JSON of seq, at, kind, tool, data and, where there is a personal part, personal.
    kind, at, data
        The same, taken out of the body.
    personal_id
        The random id of its personal part, or None.
    """

    seq: int
    hash: str
    prev: str
    text: str
    kind: str
    at: str
    data: dict[str, Any]
    personal_id: str | None

    def sealed(self) -> dict[str, str]:
        """The salted hashes of its personal part, by field."""
        found: dict[str, str] = parse(self.text.encode()).get("personal", {}).get("hashes", {})
        return found

    def as_json(self) -> dict[str, Any]:
        """The entry as it is handed to others: its body, canonically written after the previous hash, gives its hash."""
        return {"seq": self.seq, "prev": self.prev, "hash": self.hash, "body": parse(self.text.encode())}


def entry(seq: int, prev: str, own: str, text: str) -> Entry:
    """An entry from what is stored of it.

    Raises
    ------
    NotCanonical
        If the body isn't one.
    """
    body = parse(text.encode())
    if not isinstance(body, dict) or body.get("seq") != seq:
        raise NotCanonical("its text has another number")
    try:
        personal = body.get("personal")
        personal_id = None if personal is None else str(personal["id"])
        return Entry(seq, own, prev, text, str(body["kind"]), str(body["at"]), dict(body["data"]), personal_id)
    except (KeyError, TypeError, ValueError):
        raise NotCanonical("its text is not that of an entry") from None


def chained(prev: str, body: bytes) -> str:
    """The hash of a body that follows an entry: SHA-256 over a name of the format, a zero byte, the previous hash and the body."""
    return hashlib.sha256(_DOMAIN + bytes.fromhex(prev) + body).hexdigest()


def make(
    head: Head, kind: str, at: str, tool: str, data: Mapping[str, Any], personal: Mapping[str, Any] | None
) -> Entry:
    """The entry that follows a head.

    Parameters
    ----------
    head
        Where the chain ends.
    kind, data
        As `kinds.conform` leaves them.
    at, tool
        When, and the version that writes it.
    personal
        The reference to a personal part, from `seal`.
    """
    personal_id = None
    body: dict[str, Any] = {"seq": head.size + 1, "at": at, "kind": kind, "tool": tool, "data": dict(data)}
    if personal is not None:
        body["personal"] = dict(personal)
        personal_id = str(personal["id"])
    text = written(body)
    return Entry(head.size + 1, chained(head.hash, text.encode()), head.hash, text, kind, at, dict(data), personal_id)


def seal(personal: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Split a personal part into what the chain holds of it and what is kept beside the chain.

    Every field has a salt and a hash of its own, so one field can be shown and proved without the others, and none can be guessed from
    its hash.

    Parameters
    ----------
    personal
        Any text, whole numbers, flags, None, lists and objects.

    Returns
    -------
    tuple
        The reference for the chain (a random id and the salted hashes), and the text to keep (salts and values).
    """
    hashes, parts = {}, []
    salts = secrets.token_bytes(_SALT_BYTES * len(personal))
    for place, name in enumerate(sorted(personal)):
        # Both texts are written around the value's own: canonical, as `unseal` reads them, and the value is looked at once.
        key, salt = _name_text(name), salts[place * _SALT_BYTES : (place + 1) * _SALT_BYTES]
        text = field_text(name, clean(personal[name]))
        hashes[name] = _hashed(salt, f"{{{key}:{text}}}".encode())
        parts.append(f'{key}:{{"salt":"{salt.hex()}","value":{text}}}')
    return {"id": secrets.token_hex(16), "hashes": hashes}, f"{{{','.join(parts)}}}".encode()


@lru_cache(maxsize=256)  # the names are the code's own, and few
def _name_text(name: str) -> str:
    return canonical(name).decode()


def unseal(text: bytes) -> dict[str, Any]:
    """The values of a personal part that was kept."""
    return {name: part["value"] for name, part in parse(text).items()}


def seal_holds(hashes: Mapping[str, Any], text: bytes) -> bool:
    """Tell whether a personal part is the one that the chain holds the hashes of."""
    try:
        kept = parse(text)
        return {name: _sealed(name, part) for name, part in kept.items()} == dict(hashes)
    except (NotCanonical, AttributeError, KeyError, TypeError, ValueError):
        return False


def _sealed(name: str, part: Mapping[str, Any]) -> str:
    return _hashed(bytes.fromhex(part["salt"]), canonical({name: part["value"]}))


def _hashed(salt: bytes, field: bytes) -> str:
    return hashlib.sha256(_PERSONAL_DOMAIN + salt + field).hexdigest()


def mentions(data: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """The pseudonyms of an entry, each with whether it is one of the person's own."""
    found: dict[str, bool] = {}
    for field, joins in _NAMING:
        value = data.get(field)
        if isinstance(value, str):
            found.setdefault(value, joins)
        elif isinstance(value, list):
            for name in value:
                if isinstance(name, str):
                    found.setdefault(name, joins)
    return iter(found.items())
