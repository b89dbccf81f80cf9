"""Walks over a delimited file's bytes to see that it is whole, and where each row starts.

The fast parser that reads the values is lenient: it closes a quote that nobody closed, and it knows no line numbers. So the bytes are
walked once before, and what this walk counts is what the parser must find.
"""

from __future__ import annotations

import codecs
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

    Positions = NDArray[np.intp]
    Flags = NDArray[np.bool_]
    Bytes = NDArray[np.uint8]

_BLOCK = 8 << 20
_LF, _CR, _QUOTE = 10, 13, 34
_BOM = b"\xef\xbb\xbf"


class NotInEncoding(Exception):
    """The bytes are no text in the encoding; internal, the reader makes a sentence of it."""

    def __init__(self, line: int, byte: int) -> None:
        super().__init__(line, byte)
        self.line = line
        self.byte = byte


@dataclass(slots=True)
class Scan:
    """What the walk over a delimited file found. The header counts as a row here; blank lines don't.

    Attributes
    ----------
    lines
        The line that each row starts in, counted from 1.
    cells
        The cells of each row whose number differs from the first row's, by the row's place.
    misplaced_quote
        The line of the first row with a quote inside a cell that isn't quoted, or with text after a closing quote.
    unclosed_quote
        The line of the row whose last quote is never closed.
    lone_cr
        The first line that holds a carriage return without a line feed, outside quotes.
    longest
        Bytes of the longest row.
    newlines_in_values
        Does any quoted cell hold a line end?
    blank_lines
        Lines without anything on them.
    final_line_end
        Does the file end with a line end?
    """

    sha256: str = ""
    size: int = 0
    lines: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    cells: dict[int, int] = field(default_factory=dict)
    expected: int | None = None
    misplaced_quote: int | None = None
    unclosed_quote: int | None = None
    lone_cr: int | None = None
    longest: int = 0
    newlines_in_values: bool = False
    blank_lines: int = 0
    final_line_end: bool = True


def is_utf8(encoding: str) -> bool:
    """Tell whether this is a name of UTF-8, with or without a mark at the start."""
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def scan(path: Path, encoding: str, delimiter: str) -> Scan:
    """Walk over a delimited file once.

    Raises
    ------
    NotInEncoding
        At the first bytes that are no text in the encoding.
    """
    walk = _Walk(ord(delimiter))
    digest = hashlib.sha256()
    rest = b""
    with path.open("rb") as stream:
        for block in _as_utf8(stream, encoding, walk.found, digest.update):
            data = rest + block if rest else block
            cut = data.rfind(b"\n") + 1
            rest = data[cut:]
            if cut:
                walk.over(np.frombuffer(data, dtype=np.uint8, count=cut))
    walk.found.final_line_end = not rest
    if rest:
        walk.over(np.frombuffer(rest + b"\n", dtype=np.uint8))
    walk.found.sha256 = digest.hexdigest()
    return walk.done()


def _as_utf8(stream: BinaryIO, encoding: str, found: Scan, hashed: Callable[[bytes], object]) -> Iterator[bytes]:
    """The file's text as UTF-8, block by block, without a mark at the start; strictly decoded."""
    plain = is_utf8(encoding)
    decoder = codecs.getincrementaldecoder("utf-8" if plain else encoding)("strict")
    lines = 0
    while True:
        raw = stream.read(_BLOCK)
        hashed(raw)
        first = found.size == 0
        body = raw.removeprefix(_BOM) if plain and first else raw
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(body, final=not raw)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(encoding, errors="ignore")
            offset = found.size + len(raw) - len(body) - pending + error.start
            raise NotInEncoding(lines + before.count("\n") + 1, offset + 1) from None
        except UnicodeError:  # UTF-16 or UTF-32 without the mark that these need
            raise NotInEncoding(1, 1) from None
        found.size += len(raw)
        if not raw:
            return
        lines += text.count("\n")
        yield body if plain else (text.removeprefix("\ufeff") if first else text).encode()


class _Walk:
    """The state that is carried from one stretch of whole lines to the next."""

    def __init__(self, delimiter: int) -> None:
        self.delimiter = delimiter
        self.found = Scan()
        self._starts: list[NDArray[np.int64]] = []
        self._rows = 0
        self._lines_before = 0
        self._inside = False
        self._row_line = 1
        self._row_length = 0
        self._row_delimiters = 0

    def over(self, data: Bytes) -> None:
        """Walk over whole lines: the last byte is a line feed."""
        found = self.found
        ends = np.flatnonzero(data == _LF)
        outside = self._outside(data, ends)
        row_ends = ends if outside is None else ends[outside[ends]]
        self._check_returns(data, outside, ends)
        marks = data == self.delimiter
        if outside is not None:
            marks &= outside
        upto = np.searchsorted(np.flatnonzero(marks), row_ends)
        delimiters = np.diff(upto, prepend=0)
        starts = np.concatenate([[0], row_ends[:-1] + 1]).astype(np.intp) if len(row_ends) else np.empty(0, np.intp)
        lengths = row_ends - starts
        # Each row starts in the line after the one that the row before it ended in.
        ended_in = np.searchsorted(ends, row_ends) + self._lines_before + 1
        lines = np.concatenate([[self._row_line], ended_in[:-1] + 1]) if len(row_ends) else np.empty(0, np.int64)
        blank = (lengths == 0) | ((lengths == 1) & (data[np.minimum(starts, len(data) - 1)] == _CR))
        if len(row_ends):
            if self._row_length:
                blank[0] = False
            lengths[0] += self._row_length
            delimiters[0] += self._row_delimiters
            self._row_length = self._row_delimiters = 0
            self._row_line = int(ended_in[-1]) + 1
            tail = int(row_ends[-1]) + 1
        else:
            tail = 0
        self._row_length += len(data) - tail
        self._row_delimiters += int(marks[tail:].sum())
        found.blank_lines += int(blank.sum())
        found.longest = max(found.longest, int(lengths.max(initial=0)), self._row_length)
        found.newlines_in_values |= len(row_ends) != len(ends)
        self._keep(lines[~blank].astype(np.int64), delimiters[~blank] + 1)
        self._lines_before += len(ends)

    def done(self) -> Scan:
        """What was found, once all lines were walked over."""
        if self._inside and self.found.misplaced_quote is None:
            self.found.unclosed_quote = self._row_line
        if self._starts:
            self.found.lines = np.concatenate(self._starts)
        return self.found

    def _keep(self, lines: NDArray[np.int64], cells: NDArray[np.intp]) -> None:
        found = self.found
        if found.expected is None and len(cells):
            found.expected = int(cells[0])
        ragged = np.flatnonzero(cells != found.expected)
        found.cells.update(zip((ragged + self._rows).tolist(), cells[ragged].tolist(), strict=True))
        self._starts.append(lines)
        self._rows += len(lines)

    def _outside(self, data: Bytes, ends: Positions) -> Flags | None:
        """Which bytes stand outside quotes; None where all do. Notes the first quote that stands where none may."""
        quotes = data == _QUOTE
        places = np.flatnonzero(quotes)
        if not len(places) and not self._inside:
            return None
        inside = np.bitwise_xor.accumulate(quotes)
        if self._inside:
            np.logical_not(inside, out=inside)
        if self.found.misplaced_quote is None:
            self._check_quotes(data, places, inside, ends)
        self._inside = bool(inside[-1])
        outside: Flags = ~inside
        return outside

    def _check_quotes(self, data: Bytes, places: Positions, inside: Flags, ends: Positions) -> None:
        opens = inside[places]
        # The last byte is a line feed, so there is always a byte behind a quote; before the first one stands a line end.
        before = np.where(places > 0, data[places - 1], _LF)
        behind = data[places + 1]
        good_open = (before == self.delimiter) | (before == _LF) | (before == _QUOTE)
        good_close = (behind == self.delimiter) | (behind == _LF) | (behind == _CR) | (behind == _QUOTE)
        bad = places[np.where(opens, ~good_open, ~good_close)]
        if len(bad):
            row_ends = ends[~inside[ends]]
            rows_before = row_ends[row_ends < bad[0]]
            if len(rows_before):
                self.found.misplaced_quote = int(np.searchsorted(ends, rows_before[-1])) + self._lines_before + 2
            else:
                self.found.misplaced_quote = self._row_line

    def _check_returns(self, data: Bytes, outside: Flags | None, ends: Positions) -> None:
        if self.found.lone_cr is not None:
            return
        returns = data == _CR
        if outside is not None:
            returns &= outside
        places = np.flatnonzero(returns)
        lone = places[data[places + 1] != _LF]
        if len(lone):
            self.found.lone_cr = int(np.searchsorted(ends, lone[0])) + self._lines_before + 1
