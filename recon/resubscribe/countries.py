"""Countries, as two letters: whose rules apply."""

from __future__ import annotations

import re

#: Names that stand for a two-letter code; every other country is written in two letters.
_NAMES = {
    "uk": "GB",
    "united kingdom": "GB",
    "great britain": "GB",
    "usa": "US",
    "united states": "US",
    "united states of america": "US",
    "canada": "CA",
    "australia": "AU",
    "germany": "DE",
    "deutschland": "DE",
}


def country_code(text: str) -> str | None:
    """A country's two letters (ISO 3166), in capitals; None where the text is neither two letters nor a name that recon knows.

    Examples
    --------
    >>> country_code(" de "), country_code("United Kingdom"), country_code("Narnia")
    ('DE', 'GB', None)
    """
    plain = re.sub(r"[\s._-]+", " ", text.casefold()).strip()
    return _NAMES.get(plain) or (plain.upper() if re.fullmatch(r"[a-z]{2}", plain) else None)
