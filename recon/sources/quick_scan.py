"""A quick walk over a CSV file's bytes: is it plainly whole, and how many rows has it.

Says less than `recon.sources.scan` and in a tenth of the time: only whether all quotes stand where they may, all bytes are UTF-8 text,
lines end in one way, and how many rows there are. Where the answer isn't a plain yes, the careful walk has to tell what is wrong.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

#: Small enough that what is made of it stays in the processor's cache.
_BLOCK = 1 << 19
_LF, _CR, _QUOTE = 10, 13, 34
#: Bytes that the quick reader takes a row of.
_ROW_MOST = 16 << 20
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Sound:
    """What is known of a file that is plainly whole.

    Attributes
    ----------
    sha256, size
        Of its bytes.
    rows
        Rows that aren't blank, the header included.
    crlf
        Do lines end in CRLF.
    final_line_end
        Does the file end with a line end.
    """

    sha256: str
    size: int
    rows: int
    crlf: bool
    final_line_end: bool


def quick_scan(path: Path, delimiter: str) -> Sound | None:
    """Walk over a file once; None where it isn't plain: it may be sound all the same."""
    digest = hashlib.sha256()
    walk = _Walk(ord(delimiter))
    size, rest = 0, b""
    with path.open("rb") as stream:
        while raw := stream.read(_BLOCK):
            digest.update(raw)
            body = raw.removeprefix(_BOM) if size == 0 else raw
            size += len(raw)
            data = rest + body if rest else body
            cut = data.rfind(b"\n") + 1
            rest = data[cut:]
            if len(rest) > _ROW_MOST or (cut and not walk.over(data[:cut])):
                return None
    if rest and not walk.over(rest + b"\n"):
        return None
    if walk.inside or (walk.crlf and walk.lf):
        return None
    return Sound(digest.hexdigest(), size, walk.rows, walk.crlf, not rest)


class _Walk:
    """What is carried from one stretch of whole lines to the next."""

    def __init__(self, delimiter: int) -> None:
        self.delimiter = delimiter
        self.inside = False
        self.rows = 0
        self.crlf = self.lf = False
        self._row_length = 0

    def over(self, data: bytes) -> bool:
        """Walk over whole lines; tells whether they are plain."""
        if not _is_text(data):
            return False
        view = np.frombuffer(data, dtype=np.uint8)
        quotes = np.flatnonzero(view == _QUOTE)
        ends = np.flatnonzero(view == _LF)
        row_ends = ends
        if len(quotes) or self.inside:
            # A quote opens where an even number of quotes stands before it.
            row_ends = ends[(np.searchsorted(quotes, ends) + self.inside) % 2 == 0]
            if not self._quotes_are_plain(view, quotes):
                return False
            self.inside = bool((len(quotes) + self.inside) % 2)
        returns = int(np.count_nonzero(view == _CR))
        before = view[row_ends - 1] == _CR
        before[row_ends == 0] = False
        if returns != int(np.count_nonzero(before)):
            return False  # one stands in a cell, or ends a line alone
        self.crlf |= bool(returns)
        self.lf |= returns < len(row_ends)
        lengths = np.diff(row_ends, prepend=-1) - 1 - before
        if len(lengths):
            lengths[0] += self._row_length
            self._row_length = 0
        self.rows += int(np.count_nonzero(lengths))
        self._row_length += len(view) - 1 - (int(row_ends[-1]) if len(row_ends) else -1)
        return True

    def _quotes_are_plain(self, view: Bytes, quotes: NDArray[np.intp]) -> bool:
        """Does each quote open a cell at its beginning, close one at its end, or stand twice."""
        if not len(quotes):
            return True
        first = 1 if self.inside else 0
        opening, closing = quotes[first::2], quotes[1 - first :: 2]
        before = view[opening - 1]
        if len(opening) and opening[0] == 0:
            before[0] = _LF
        # The last byte is a line feed, so a byte stands behind each quote.
        behind = view[closing + 1]
        good_open = (before == self.delimiter) | (before == _LF) | (before == _QUOTE)
        good_close = (behind == self.delimiter) | (behind == _LF) | (behind == _CR) | (behind == _QUOTE)
        return bool(good_open.all() and good_close.all())


def _is_text(data: bytes) -> bool:
    """Are these bytes UTF-8."""
    if data.isascii():
        return True
    offsets = np.array([0, len(data)], dtype=np.int32)
    try:
        pa.StringArray.from_buffers(1, pa.py_buffer(offsets), pa.py_buffer(data)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
