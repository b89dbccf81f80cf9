"""What of a person's data a reader sees: masked addresses, and text in which nothing is hidden."""

from __future__ import annotations

import re
import unicodedata

#: Shown in the place of an address where a record has none.
NO_ADDRESS = "no address"

_STARS = "***"
_TOP_LEVEL = re.compile(r"[a-z][a-z0-9-]{0,22}[a-z0-9]", re.IGNORECASE | re.ASCII)
# A word within a sentence or a path, which may be an address: what stands around it there (blanks, colons, brackets, double quotes,
# commas) is no part of it. Whole words, so that the time taken grows with the text and no faster.
_WORD = re.compile(r"""[^\s:;,<>()\[\]"]+""")
# A local part in quotes or brackets ends in one of them; what follows still names the host.
_HOST = re.compile(r"""(?<=["')\]>])@([^\s@])[^\s@:;,]*""")
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")

# Invisible although Unicode doesn't file them under format characters: grapheme joiner, Hangul fillers, Khmer inherent vowels,
# Mongolian and other variation selectors, noncharacters at the end of the first plane.
_INVISIBLE = frozenset(
    chr(code)
    for first, last in (
        (0x034F, 0x034F),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0F),
        (0xFFA0, 0xFFA0),
        (0xFFFE, 0xFFFF),
        (0xE0100, 0xE01EF),
    )
    for code in range(first, last + 1)
)
_HIDING = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp", "Zs"})


def mask_address(text: str | None) -> str:
    """An address of which only the first letters and the top-level domain stay.

    What isn't an address keeps its first character alone; None and blank give `no address`. Masking twice changes nothing more.
    A masked address is still personal data: next to a company's name it may identify a person.

    Examples
    --------
    >>> mask_address("ann.lee@mail.example.com")
    'a***@m***.com'
    """
    value = (text or "").strip()
    if not value:
        return NO_ADDRESS
    local, at, domain = value.partition("@")
    if not at or not domain or "@" in domain or len(value.split()) > 1:
        return value[0] + _STARS
    host, dot, top = domain.rpartition(".")
    shown = f".{top}" if dot and host and _TOP_LEVEL.fullmatch(top) else ""
    # Nothing before the @, or stars of an earlier masking, give stars alone.
    return f"{local[:1].strip('*')}{_STARS}@{domain[0]}{_STARS}{shown}"


def mask_within(text: str) -> str:
    """The text with every address in it masked, and user names and passwords in web addresses taken out."""
    if "@" not in text:
        return text
    shown = _WORD.sub(_masked_word, _USER_INFO.sub(_STARS, text))
    return _HOST.sub(rf"@\1{_STARS}", shown)


def _masked_word(found: re.Match[str]) -> str:
    word = found.group()
    return mask_address(word) if "@" in word.strip("@") else word


def visible(text: str) -> str:
    """Replace every character that a reader can't see, or that moves others, by its code point: `⟨U+202E⟩`.

    That is: control and format characters (NUL, line breaks, tabs, text direction overrides, zero width), lone surrogates, private
    use, and every blank but the plain one. Doing it twice changes nothing more.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"⟨U+{ord(char):04X}⟩"
        if char != " " and (char in _INVISIBLE or unicodedata.category(char) in _HIDING)
        else char
        for char in text
    )


def cut(text: str, limit: int) -> str:
    """The text, or its first characters and `…` where it is longer than `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


class Veil:
    """How data is shown: masked or in full, and never without an end.

    Parameters
    ----------
    masked
        Mask addresses, also within ids, sentences, paths and file names.
    """

    def __init__(self, *, masked: bool) -> None:
        self.masked = masked

    def address(self, address: str | None, raw: str | None) -> str:
        """An address for a cell: the comparable one, or else what stands in its place."""
        value = raw if address is None else address
        if self.masked:
            return mask_address(value)
        return cut((value or "").strip() or NO_ADDRESS, 120)

    def text(self, text: str, limit: int = 120) -> str:
        """Ids, sentences and paths: they should hold no address, but an id of unknown origin may be one."""
        return cut(mask_within(text) if self.masked else text, limit)
