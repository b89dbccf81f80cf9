"""Salesforce ids: told from other text, and brought to the 18 characters that compare safely.

An id has 15 characters, and their case matters. The 18-character form appends a checksum of the case: one character for each of
three groups of five, whose bit n is set when character n of the group is upper case, written in A-Z and 0-5.
Source: Salesforce, "ID Field Type"; held against published ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Flags = NDArray[np.bool_]

_CHECKSUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_CHECKSUM_BYTES = np.frombuffer(_CHECKSUM.encode(), dtype=np.uint8)
_BITS = np.array([1, 2, 4, 8, 16], dtype=np.uint8)
_NO_BITS = 255
_BITS_OF = np.full(256, _NO_BITS, dtype=np.uint8)
for _value, _character in enumerate(_CHECKSUM):
    _BITS_OF[ord(_character)] = _value
    _BITS_OF[ord(_character.lower())] = _value

_UPPER = 2
_KIND_OF = np.zeros(256, dtype=np.uint8)
_KIND_OF[ord("0") : ord("9") + 1] = 1
_KIND_OF[ord("A") : ord("Z") + 1] = _UPPER
_KIND_OF[ord("a") : ord("z") + 1] = 3
#: The three check characters by the case of the fifteen before them, the first one the lowest bit.
_CASES = np.arange(1 << 15)
_CHECKSUM_OF = np.stack([_CHECKSUM_BYTES[(_CASES >> place) & 31] for place in (0, 5, 10)], axis=1)

#: Rows worked on at once: keeps the matrices below some 20 MB.
_BLOCK = 1 << 18


def salesforce_id_18(text: str) -> str | None:
    """One id in its 18-character form, or None where the text is no Salesforce id.

    Parameters
    ----------
    text
        15 or 18 characters; blanks around them are ignored. The checksum may have either case. An 18-character id whose letters
        are all upper or all lower case has lost its case somewhere: the checksum restores it. One whose mixed case contradicts
        its checksum is no id.

    Examples
    --------
    >>> salesforce_id_18("00Q000000000ABC")
    '00Q000000000ABCEA2'
    >>> salesforce_id_18("00q000000000abcea2")
    '00Q000000000ABCEA2'
    >>> salesforce_id_18("00Q000000000ABCEA3") is None
    True
    """
    if len(text) == 18 and text.isascii() and text.isalnum() and _checksum(text[:15]) == text[15:]:
        return text  # as almost all are: a column of one is a hundred times slower
    if not text.strip().isascii():
        return None
    ids, _ = to_18(pa.chunked_array([[text]], type=pa.string()))
    found: str | None = ids[0].as_py()
    return found


def _checksum(body: str) -> str:
    return "".join(
        _CHECKSUM[sum(1 << place for place, char in enumerate(body[start : start + 5]) if char.isupper())]
        for start in (0, 5, 10)
    )


def to_18(ids: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Bring a column of ids to their 18-character form; `salesforce_id_18` says what counts as an id.

    Parameters
    ----------
    ids
        Strings, 15 or 18 characters each, or null.

    Returns
    -------
    tuple
        Two columns as long as `ids`: the ids in 18 characters, null where the text is no id; and whether the text is an id
        (true or false, null where `ids` is null).
    """
    chunks, valid = [], []
    for start in range(0, len(ids), _BLOCK):
        block = ids.slice(start, _BLOCK).combine_chunks()
        if isinstance(block, pa.ChunkedArray):  # how combine_chunks answers has changed between versions of pyarrow
            block = pa.concat_arrays(block.chunks)
        done = _block_to_18(block.cast(pa.string()))
        chunks.append(done)
        valid.append(pc.if_else(pc.is_null(block), pa.scalar(None, pa.bool_()), pc.is_valid(done)))
    return pa.chunked_array(chunks, type=pa.string()), pa.chunked_array(valid, type=pa.bool_())


def are_whole(ids: pa.Array, prefix: str) -> bool:
    """Tell whether all of these are ids in their 18-character form, as `to_18` would leave them, that begin with a prefix.

    Parameters
    ----------
    ids
        Strings without nulls.
    """
    if pc.any(pc.not_equal(pc.binary_length(ids), 18), min_count=0).as_py():
        return False
    matrix = _matrix(ids, 18)
    kinds = _KIND_OF[matrix]
    if not kinds.all() or (matrix[:, : len(prefix)] != np.frombuffer(prefix.encode(), dtype=np.uint8)).any():
        return False
    # The case of fifteen characters as one number, and what has to follow it.
    cases = np.packbits(kinds[:, :15] == _UPPER, axis=1, bitorder="little")
    numbers = cases[:, 0].astype(np.uint16) | (cases[:, 1].astype(np.uint16) << 8)
    return bool((_CHECKSUM_OF[numbers] == matrix[:, 15:]).all())


def _block_to_18(ids: pa.Array) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(ids)
    length = pc.binary_length(trimmed)
    result = pa.nulls(len(ids), pa.string())
    for size in (15, 18):
        mask = pc.fill_null(pc.equal(length, size), fill_value=False)
        matrix = _matrix(trimmed.filter(mask), size)
        if not len(matrix):
            continue
        done, good = _from_15(matrix) if size == 15 else _from_18(matrix)
        result = pc.replace_with_mask(result, mask, _strings(done, good))
    return result


def _matrix(texts: pa.Array, width: int) -> Bytes:
    """The bytes of texts that are all `width` bytes long, one row a text."""
    if not len(texts):
        return np.empty((0, width), dtype=np.uint8)
    _, offsets, data = texts.buffers()
    first = int(np.frombuffer(offsets, dtype=np.int32)[texts.offset])
    return np.frombuffer(data, dtype=np.uint8, count=len(texts) * width, offset=first).reshape(-1, width)


def _strings(matrix: Bytes, good: Flags) -> pa.Array:
    rows, width = matrix.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    # Rows that are no id may hold any byte: blank them, the buffer has to be valid UTF-8.
    safe = np.where(good[:, None], matrix, np.uint8(ord("0")))
    texts = pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(safe)))
    return pc.if_else(pa.array(good), texts, pa.scalar(None, pa.string()))


def _shapes(matrix: Bytes) -> tuple[Flags, Flags, Flags]:
    """Which bytes are upper-case letters, which are lower-case letters, and which rows are letters and digits throughout."""
    upper = (matrix >= ord("A")) & (matrix <= ord("Z"))
    lower = (matrix >= ord("a")) & (matrix <= ord("z"))
    digit = (matrix >= ord("0")) & (matrix <= ord("9"))
    known: Flags = upper | lower | digit
    return upper, lower, np.all(known, axis=1, keepdims=True)[:, 0]


def _case_bits(upper: Flags) -> Bytes:
    bits: Bytes = (upper.reshape(-1, 3, 5) * _BITS).sum(axis=2, dtype=np.uint8)
    return bits


def _from_15(matrix: Bytes) -> tuple[Bytes, Flags]:
    upper, _, good = _shapes(matrix)
    return np.hstack([matrix, _CHECKSUM_BYTES[_case_bits(upper)]]), good


def _from_18(matrix: Bytes) -> tuple[Bytes, Flags]:
    body = matrix[:, :15]
    upper, lower, good = _shapes(body)
    bits = _BITS_OF[matrix[:, 15:]]
    good &= (bits != _NO_BITS).all(axis=1)
    meant_upper = ((bits[:, :, None] & _BITS) != 0).reshape(-1, 15)
    agrees = (upper == meant_upper).all(axis=1)
    one_case = ~upper.any(axis=1) | ~lower.any(axis=1)
    possible = (~meant_upper | upper | lower).all(axis=1)
    good &= agrees | (one_case & possible)
    bare = np.where(upper | lower, body & np.uint8(0xDF), body)
    restored = np.where(lower | upper, np.where(meant_upper, bare, bare | np.uint8(0x20)), body)
    checksum = _CHECKSUM_BYTES[np.where(bits == _NO_BITS, 0, bits)]
    return np.hstack([restored, checksum]), good
