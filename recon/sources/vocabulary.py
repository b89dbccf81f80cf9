"""Closed vocabularies: flags, levels and sources as words. Nothing is guessed, a blank is not "no"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from recon.sources.refusal import Refusal

#: Pairs of words, yes first.
FLAG_PAIRS: tuple[tuple[str, str], ...] = (("true", "false"), ("1", "0"), ("yes", "no"), ("y", "n"), ("t", "f"))
STATUS_PAIRS: tuple[tuple[str, str], ...] = (*FLAG_PAIRS, ("unsubscribed", "subscribed"))

#: Account is what older versions called a block.
LEVELS = {"account": "account", "user": "user", "block": "account", "blocked": "account"}
SOURCES = {name: name for name in ("manual", "clicked_link", "salesforce_sync", "bounce")}

# Words that may be shown in an error's text: they name nobody.
_HARMLESS = re.compile(
    r"[-+.0-9?/*# ]{1,12}|n/?a|nan|null|none|unknown|maybe|on|off|x|team|global|all|group|pending|bounced|active|inactive"
    r"|deleted|opted[ -]?(out|in)|opt[ -]?(out|in)|ja|nein|oui|non|si|wahr|falsch|vrai|faux|verdadero|falso",
    re.IGNORECASE,
)


def trimmed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text without blanks around it; null where nothing is left."""
    text = pc.utf8_trim_whitespace(_as_text(column))
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text as it stands in the file; null where it is blank."""
    column = _as_text(column)
    blank = pc.equal(pc.utf8_trim_whitespace(column), "")
    return pc.if_else(blank, pa.scalar(None, pa.string()), column)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column if column.type == pa.string() else column.cast(pa.string())


def rows_where(mask: pa.ChunkedArray) -> NDArray[np.int64]:
    """The rows where a flag is true (null is not true)."""
    filled = pc.fill_null(mask, fill_value=False)
    return np.flatnonzero(filled.to_numpy()).astype(np.int64)


def naming(column: pa.ChunkedArray, sentence: str) -> Callable[[int], str]:
    """A message for each row, `{word}` in it replaced by the row's word where that can't be anyone's name."""

    def message(row: int) -> str:
        word = column[row].as_py() or ""
        if len(word) <= 12 and _HARMLESS.fullmatch(word):
            return sentence.format(word=repr(word))
        return sentence.format(word=f"a text of {len(word)} characters")

    return message


def flags(
    column: pa.ChunkedArray, header: str, refusal: Refusal, *, pairs: Sequence[tuple[str, str]] = FLAG_PAIRS
) -> tuple[pa.ChunkedArray, str]:
    """Read a column of flags, all in one vocabulary and one spelling.

    Returns
    -------
    tuple
        The flags, and the spelling: `TRUE/FALSE`. Where a problem was noted the flags are not to be used.
    """
    remedy = "A blank is not taken for 'no': fill it in, or export the file again."
    if pa.types.is_boolean(column.type):
        refusal.add_rows(rows_where(pc.is_null(column)), "the flag is blank.", remedy, column=header)
        return column, "boolean"
    words = trimmed(column)
    refusal.add_rows(rows_where(pc.is_null(words)), "the flag is blank.", remedy, column=header)
    meanings = {word: (pair, word == pair[0]) for pair in pairs for word in pair}
    spellings = [word for word in pc.unique(words).to_pylist() if word is not None and word.casefold() in meanings]
    known = pa.array(spellings, type=pa.string())
    unknown = pc.and_(pc.is_valid(words), pc.invert(pc.is_in(words, value_set=known)))
    allowed = ", ".join("/".join(pair) for pair in pairs)
    refusal.add_rows(
        rows_where(unknown),
        naming(words, "{word} is no flag."),
        f"Write one of the pairs {allowed}, the same in every row.",
        column=header,
    )
    pairs_used = {meanings[word.casefold()][0] for word in spellings}
    if len(pairs_used) > 1 or (spellings and not set.intersection(*map(_styles, spellings))):
        firsts = [(refusal.line(pc.index(words, word).as_py()), word) for word in spellings]
        first, *others = sorted(firsts)
        said = ", ".join(f"{word!r} first in line {line}" for line, word in (first, *others))
        refusal.add(
            f"the column mixes spellings of its flags: {said}.",
            "Two sources may have been stitched together: write one pair in one spelling.",
            line=_first_other(first[1], others, meanings),
            column=header,
        )
    yes = pa.array([word for word in spellings if meanings[word.casefold()][1]], type=pa.string())
    pair = next(iter(pairs_used), ("", ""))
    seen = {word.casefold(): word for word in spellings}
    return pc.is_in(words, value_set=yes), "/".join(seen.get(word, word) for word in pair)


def _first_other(
    first: str, others: Sequence[tuple[int, str]], meanings: Mapping[str, tuple[tuple[str, str], bool]]
) -> int:
    """The line of the first spelling that doesn't go with the first one."""
    pair, styles = meanings[first.casefold()][0], _styles(first)
    for line, word in others:
        styles &= _styles(word)
        if meanings[word.casefold()][0] != pair or not styles:
            return line
    raise AssertionError("spellings that all go together are no mixture")


def _styles(word: str) -> set[str]:
    """The ways of writing that a spelling belongs to; digits and single capitals belong to several."""
    ways = {"lower": word.lower(), "upper": word.upper(), "title": word.capitalize()}
    return {name for name, way in ways.items() if way == word} or {f"odd {word}"}


def closed(column: pa.ChunkedArray, meanings: Mapping[str, str], header: str, refusal: Refusal) -> pa.ChunkedArray:
    """Read a column of words; blank is null, any other word than the known ones is a problem."""
    words = trimmed(column)
    values = _looked_up(words, meanings)
    refusal.add_rows(
        rows_where(pc.and_(pc.is_valid(words), pc.is_null(values))),
        naming(words, "{word} is none of the words known here."),
        f"Write one of: {', '.join(meanings)}; or leave the cell empty.",
        column=header,
    )
    return values


def loose(column: pa.ChunkedArray, meanings: Mapping[str, str]) -> tuple[pa.ChunkedArray, int]:
    """Read a column of words; unknown words become null and are counted."""
    words = trimmed(column)
    values = _looked_up(words, meanings)
    return values, values.null_count - words.null_count


def _looked_up(words: pa.ChunkedArray, meanings: Mapping[str, str]) -> pa.ChunkedArray:
    """What each word means, whatever its case, with blanks and hyphens for underscores."""
    plain = pc.replace_substring_regex(pc.utf8_lower(words), r"[\s_-]+", "_")
    place = pc.index_in(plain, value_set=pa.array(list(meanings), type=pa.string()))
    return pc.take(pa.array(list(meanings.values()), type=pa.string()), place)
