"""One value, one text: JSON in the form in which it is hashed.

A part of RFC 8785 (JCS) and RFC 7493 (I-JSON) that leaves out what is hard to write in one way only: no floats, whole numbers below 2^53
either side of zero, strings in Unicode's NFC form without surrogates and noncharacters, keys in ASCII. Within that part Python's own
JSON writer and RFC 8785 agree byte for byte.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

#: The largest whole number that every JSON reader keeps exact (RFC 7493, 2.2).
LARGEST = 2**53 - 1
#: How deep lists and objects may be nested.
DEEPEST = 32

#: Surrogates and noncharacters, which I-JSON doesn't allow (RFC 7493, 2.1).
_FORBIDDEN = re.compile(
    "[\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)


class NotCanonical(ValueError):
    """A value or a text outside the restricted form. Says where, never what stands there."""


def _refused(value: Any) -> NoReturn:
    raise NotCanonical(f"{type(value).__name__} has no canonical form here")


def _no_number(_text: str) -> NoReturn:
    raise NotCanonical("a number that is not whole")


def _whole(text: str) -> int:
    if len(text) > _LONGEST_NUMBER or not -LARGEST <= (value := int(text)) <= LARGEST:
        raise NotCanonical("a number of 2^53 or more")
    return value


def _writer() -> Callable[[Any], str]:
    """What writes a value. Python's own encoder makes its inner one anew for every value; where that can be had, it is made once."""
    writer = json.JSONEncoder(
        ensure_ascii=False,
        allow_nan=False,
        check_circular=False,
        separators=(",", ":"),
        sort_keys=True,
        default=_refused,
    )
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    plain = json.encoder.encode_basestring
    try:
        inner = make(None, _refused, plain, None, ":", ",", True, False, False)
        fits = "".join(inner(_SAMPLE, 0)) == writer.encode(_SAMPLE)
    except (TypeError, ValueError):  # another Python, whose encoder is made in another way
        fits = False
    return (lambda value: "".join(inner(value, 0))) if fits else writer.encode


_SAMPLE: dict[str, Any] = {"b": [1, None, True, {}], "a": '\u00e9"\n'}
_LONGEST_NUMBER = len(str(-LARGEST))
_READER = json.JSONDecoder(parse_int=_whole, parse_float=_no_number, parse_constant=_no_number)

#: The text of a value that is known to be in the restricted form, as what `recon.ledger.kinds.conform` leaves is: nothing is looked at again.
written = _writer()


def canonical(value: Any) -> bytes:
    """The canonical text of a value, in UTF-8.

    Parameters
    ----------
    value
        Strings, whole numbers, booleans, None, and lists, tuples and dicts of them.

    Raises
    ------
    NotCanonical
        If the value can't be written in the restricted form.

    Examples
    --------
    >>> canonical({"b": [1, True], "a": "é"}).decode()
    '{"a":"é","b":[1,true]}'
    """
    if not _sound(value, 0):
        _check(value, "$", 0)
    return written(value).encode()


def field_text(name: str, value: Any) -> str:
    """The text of a value that stands in a field of an object, two levels down as in a personal part.

    Raises
    ------
    NotCanonical
        As `canonical`; also where the field's name can't be written.
    """
    if type(name) is not str or not name.isascii() or not _sound(value, 2):
        _check({name: {"value": value}}, "$", 0)
    return written(value)


def parse(text: bytes) -> Any:
    """Read a canonical text; the value, written again, gives the same bytes.

    Raises
    ------
    NotCanonical
        If the text is not JSON, not in the restricted form, or is written in another way.
    """
    try:
        told = text.decode()
        value, _ = _READER.raw_decode(told)
        # What is written in the one way is told by writing it: also that no key stands twice, and nothing after the end.
        if written(value) == told and _sound_as_written(told, value):
            return value
    except (ValueError, RecursionError):
        pass
    return _parsed_closely(text)


def _sound_as_written(text: str, value: Any) -> bool:
    """Whether a value is in the restricted form, of which the text is known to be what is written of it, with whole numbers that are small enough."""
    # In ASCII there is nothing else to refuse, but for what may be nested too deep.
    if text.isascii() and text.count("[") + text.count("{") <= DEEPEST:
        return True
    return _sound(value, 0)


def _parsed_closely(text: bytes) -> Any:
    """The same for a text with which something seems to be wrong: tells what."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_object, parse_float=_no_number, parse_constant=_no_number)
    except NotCanonical:
        raise
    except (ValueError, RecursionError):
        raise NotCanonical("the text is not JSON") from None
    if canonical(value) != text:
        raise NotCanonical("the text is not in its canonical form")
    return value


def clean(value: Any) -> Any:
    """A copy whose strings can be written: in NFC form, with U+FFFD for surrogates and noncharacters.

    For text that other people typed. Numbers, keys and shapes stay as they are.
    """
    if isinstance(value, str):
        return value if value.isascii() else unicodedata.normalize("NFC", _FORBIDDEN.sub("\ufffd", value))
    if isinstance(value, list | tuple):
        return [clean(part) for part in value]
    if isinstance(value, dict):
        return {key: clean(part) for key, part in value.items()}
    return value


def _sound(value: Any, depth: int) -> bool:
    """Whether a value is surely in the restricted form, without looking where it isn't: for that there is `_check`."""
    kind = type(value)
    if kind is str:
        return bool(value.isascii()) or _is_text(value)
    if value is None or kind is bool:
        return True
    if kind is int:
        return bool(-LARGEST <= value <= LARGEST)
    if depth == DEEPEST:
        return False
    if kind is dict:
        for key, part in value.items():
            if type(key) is not str or not key.isascii() or not _sound(part, depth + 1):
                return False
        return True
    return (kind is list or kind is tuple) and all(_sound(part, depth + 1) for part in value)


def _is_text(text: str) -> bool:
    return _FORBIDDEN.search(text) is None and unicodedata.is_normalized("NFC", text)


def _check(value: Any, where: str, depth: int) -> None:
    if depth > DEEPEST:
        raise NotCanonical(f"nested deeper than {DEEPEST} levels")
    if isinstance(value, str):
        if not value.isascii():
            _check_text(value, where)
    elif value is None or isinstance(value, bool):
        return
    elif isinstance(value, int):
        if not -LARGEST <= value <= LARGEST:
            raise NotCanonical(f"{where}: a number of 2^53 or more")
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            _check(part, f"{where}[{index}]", depth + 1)
    elif isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise NotCanonical(f"{where}: a key that is not ASCII text")
            _check(part, f"{where}.{key}", depth + 1)
    else:
        raise NotCanonical(f"{where}: {type(value).__name__} has no canonical form here")


def _check_text(text: str, where: str) -> None:
    if _FORBIDDEN.search(text):
        raise NotCanonical(f"{where}: a surrogate or a noncharacter")
    if not unicodedata.is_normalized("NFC", text):
        raise NotCanonical(f"{where}: text that is not in NFC form")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotCanonical("a key that stands twice in one object")
    return found
