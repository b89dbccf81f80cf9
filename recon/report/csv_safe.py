"""Text for CSV files that people open in a spreadsheet.

A spreadsheet runs a cell that begins like a formula. Such cells get a single quote in front, which makes them text. That changes the
data (a phone number `+49…` gets one too), so these files are for people: programs read the Parquet and JSON files, which are untouched.

Source: OWASP, CSV Injection; OWASP ASVS 1.2.10 (adds NUL); CWE-1236.
"""

from __future__ import annotations

import re
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

#: Characters that begin a formula, or end a cell early, where a cell begins with them.
FORMULA = "=+-@\t\r\n\0"

#: Characters that compatibility normalisation (NFKC) turns into one of the above: full width, small, superscript, subscript, doubled.
FORMULA_LIKE = "＝﹦⁼₌⩵⩶＋﹢⁺₊﬩－﹣＠﹫"

# Blanks and invisible characters that an import may drop, so that what follows them comes first after all.
_DROPPED = r"[ \x0b\x0c\x85\x{a0}\x{ad}\x{1680}\x{2000}-\x{200f}\x{2028}-\x{202f}\x{205f}-\x{206f}\x{3000}\x{feff}]*"
_RE2 = "^" + _DROPPED + "[" + "".join(rf"\x{{{ord(char):x}}}" for char in FORMULA + FORMULA_LIKE) + "]"
# The same pattern as Python writes it, so that both functions can't come to differ.
_PYTHON = re.compile(re.sub(r"\\x\{([0-9a-f]+)\}", lambda found: rf"\u{int(found[1], 16):04x}", _RE2))


@cache
def _plain() -> pa.Array:
    # When it is needed, not on import: the first array that is made of Python's own values brings pandas along.
    return pa.array([None, b"", *(bytes([code]) for code in range(128) if chr(code).isalnum())], pa.binary())


def neutralise(text: str) -> str:
    """The text, with a single quote in front if a spreadsheet could take it for a formula."""
    return "'" + text if _PYTHON.match(text) else text


def restore(text: str) -> str:
    """What `neutralise` was given, for showing what stands in a file that recon itself wrote.

    A text that had a quote before a formula of its own loses it, too: what has to be exact is read from the files for machines.
    """
    return text[1:] if text[:1] == "'" and _PYTHON.match(text[1:]) else text


def neutralise_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same for a whole column of strings; null stays null, and the type stays.

    Raises
    ------
    TypeError
        If the column holds no strings.
    """
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise TypeError(f"only a column of strings can be made safe for a spreadsheet, not {column.type}")
    if _is_plain(column):
        return column
    quote, nothing = pa.scalar("'", column.type), pa.scalar("", column.type)
    return pc.if_else(
        pc.match_substring_regex(column, _RE2), pc.binary_join_element_wise(quote, column, nothing), column
    )


def _is_plain(column: pa.ChunkedArray) -> bool:
    """Whether every text begins with a letter or digit of ASCII, or is empty, which is told from single bytes."""
    starts = pc.binary_slice(
        column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()), 0, 1
    )
    return bool(pc.all(pc.is_in(pc.unique(starts), value_set=_plain()), min_count=0).as_py())
