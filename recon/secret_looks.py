"""What looks like a secret: so that none stands in recon.toml, where it would be copied, mailed and put into repositories."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHAPES = (
    (re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----"), "a private key"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), "a JSON web token"),
    (re.compile(r"\b00D[A-Za-z0-9]{12,15}![\w.]{10,}"), "a Salesforce session id"),
    (re.compile(r"\b3MVG9[\w.]{20,}"), "a connected app's consumer key"),
    (re.compile(r"\bbearer\s+[\w.~+/-]{8,}=*", re.IGNORECASE), "a bearer token"),
    (re.compile(r"://[^/\s:@]+:[^/\s@]+@"), "an address with a password in it"),
)
# Settings whose proper values look like chance: a hash, a number in a register.
_KNOWN = frozenset({"sha256", "controller_identifier"})
# Names and dates are made of words; what is this long without a break, of letters and digits, was made by a machine.
_PIECE = re.compile(r"[A-Za-z0-9]{20,}")
_LEAST_EACH = 3
_LEAST_BITS = 3.0


def kind(value: str) -> str | None:
    """What secret a text looks like, in words; None where it looks like none.

    Examples
    --------
    >>> kind("RECON_SF_CONSUMER_SECRET"), kind("https://acme.my.salesforce.com"), kind("inbox/people-20261124T180000Z.csv")
    (None, None, None)
    >>> kind("5f0c9a1e77b84f0e9d3c2b1a6e8f7d4c")
    'a password or key'
    """
    for shape, words in _SHAPES:
        if shape.search(value):
            return words
    return "a password or key" if any(_random(piece) for piece in _PIECE.findall(value)) else None


def found(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """The settings that look like secrets: their path, like `salesforce.username`, and what they look like."""
    for name, value in values.items():
        here = f"{path}.{name}" if path else str(name)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                yield from found(each, here)
            elif isinstance(each, str) and name not in _KNOWN and (words := kind(each)):
                yield here, words


def _random(text: str) -> bool:
    digits = sum(letter.isdigit() for letter in text)
    if digits < _LEAST_EACH or len(text) - digits < _LEAST_EACH:
        return False
    shares = [count / len(text) for count in Counter(text).values()]
    return -sum(share * math.log2(share) for share in shares) >= _LEAST_BITS
