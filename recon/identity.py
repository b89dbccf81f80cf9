"""E-mail addresses and Salesforce ids, made comparable.

What an address is: blanks around it dropped, case-folded, the domain in its ASCII form; no provider's tricks (dots and plus tags stay).
An address that is none compares with nothing. Almost all addresses are short and ASCII, and those are told by expressions that every
engine runs itself; the odd ones are few, and are told on the driver, each distinct one once.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

import idna
import narwhals.stable.v2 as nw
import pyarrow as pa

from recon.sources.ids import to_18

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recon.engine import Engine, Frame

#: What Python's str.strip() takes off.
BLANKS = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)

_LOCAL = r"A-Za-z0-9.!#$%&'*+/=?^_`{|}~-"
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_PLAIN = rf"^[{_LOCAL}]+@{_DOMAIN}$"
_DOMAIN_ONLY = re.compile(_DOMAIN)
_LOCAL_MARKS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.!#$%&'*+/=?^_`{|}~-")

# RFC 5321, 4.5.3.1: a local part has 64 characters at most, a domain 255 octets with its length bytes; RFC 1035: a label has 63.
_LOCAL_MOST, _DOMAIN_MOST, _LABEL_MOST = 64, 253, 63
#: Up to here no part can be too long, so an expression without counting tells an address.
_SHORT = 63
_NOT_ASCII = r"[^\x00-\x7F]"

_ID_BODY, _ID_WHOLE = 15, 18


def address(text: str | None) -> str | None:
    """An address in the form in which addresses are compared, or None where the text is none.

    Parameters
    ----------
    text
        As a system has it.

    Examples
    --------
    >>> address("  Ada@Müller.example ")
    'ada@xn--mller-kva.example'
    >>> address("n/a") is None
    True
    """
    if text is None:
        return None
    local, at, domain = text.strip().casefold().partition("@")
    if not at or "@" in domain or not 1 <= len(local) <= _LOCAL_MOST or not all(map(_in_local, local)):
        return None
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode().lower()
        except (idna.IDNAError, UnicodeError):
            return None
    good = len(domain) <= _DOMAIN_MOST and _DOMAIN_ONLY.fullmatch(domain)
    if not good or any(len(label) > _LABEL_MOST for label in domain.split(".")):
        return None
    return f"{local}@{domain}"


def _in_local(character: str) -> bool:
    if character.isascii():
        return character in _LOCAL_MARKS
    return character.isalnum() or unicodedata.category(character).startswith("M")


def not_blank(name: str) -> nw.Expr:
    """A text column as it stands, null where it holds nothing but blanks.

    Taking blanks off is dear on some engines (every character is looked up), and hardly any text begins with one.
    """
    text = nw.col(name)
    return nw.when(_visible(text)).then(text).otherwise(nw.when(text.str.strip_chars(BLANKS) != "").then(text))


def _visible(text: nw.Expr) -> nw.Expr:
    """Whether the first character is one of ASCII and no blank."""
    return (text >= "!") & (text < "\x7f")


def address_form(name: str) -> nw.Expr:
    """How a column's text becomes comparable, as far as every engine can tell by itself: short ASCII addresses.

    Parameters
    ----------
    name
        A string column.

    Returns
    -------
    narwhals.Expr
        1 where the text in small letters is the address, 2 where blanks must be taken off, too, 0 for all others. See `written_address`.
    """
    text = nw.col(name)
    # Of the text as it stands: the small letters of signs that aren't ASCII may be ASCII, and not every engine agrees which.
    plain = (text.str.len_chars() <= _SHORT) & text.str.contains(_PLAIN)
    trimmed = text.str.strip_chars(BLANKS)
    closer = (trimmed.str.len_chars() <= _SHORT) & trimmed.str.contains(_PLAIN)
    # Nearly all match as they stand; only what doesn't is trimmed and looked at closer.
    other = nw.when(closer.fill_null(value=False)).then(nw.lit(2, nw.Int8)).otherwise(nw.lit(0, nw.Int8))
    return nw.when(plain.fill_null(value=False)).then(nw.lit(1, nw.Int8)).otherwise(other)


def written_address(name: str, form: str) -> nw.Expr:
    """The address that a text is, by the form that `address_form` told of it; null where that is 0."""
    lower = nw.col(name).str.to_lowercase()
    trimmed = nw.when(nw.col(form) == 2).then(lower.str.strip_chars(BLANKS))
    return nw.when(nw.col(form) == 1).then(lower).otherwise(trimmed)


def odd_addresses(frame: Frame, engine: Engine) -> Frame | None:
    """Tell the addresses that `address_form` leaves out, each distinct one once, on the driver.

    Parameters
    ----------
    frame
        `n`, `email`, and `_form` as `address_form` tells it.
    engine
        Where the frame lives.

    Returns
    -------
    Frame
        `n` and `_told` of the rows that have an address after all; None where no row is odd.
    """
    text = nw.col("email")
    long = text.str.len_chars() > _SHORT
    rows = frame.filter(~text.is_null() & (nw.col("_form") == 0)).filter(text.str.contains(_NOT_ASCII) | long)
    rows = engine.hold(rows.select("n", "email"))
    texts = engine.collect(rows.select("email").unique()).column("email")
    if not len(texts):
        return None
    told = [address(text) for text in texts.to_pylist()]
    known = engine.bring(pa.table({"email": texts, "_told": pa.array(told, pa.string())}))
    found = rows.join(known.filter(~nw.col("_told").is_null()), on="email", how="inner")
    return engine.hold(found.select("n", "_told"))


def comparable(addresses: Iterable[str]) -> list[str]:
    """A list of addresses made comparable, sorted, without those that are none."""
    return sorted({told for text in addresses if (told := address(text)) is not None})


def with_id_parts(frame: Frame, engine: Engine) -> Frame:
    """Add the columns `id_body` and `id_check`: a person's Salesforce ID, taken apart to be compared.

    An id's first 15 characters name the record, and their case matters; three more, where they are there, tell the case. Two ids are
    one if the bodies are equal and the check characters, where there are any, are the record's.

    Parameters
    ----------
    frame
        With a string column `salesforce_id`: 15 or 18 characters. An 18-character id whose first 15 are in one case gets
        its case back.
    engine
        Where the frame lives.
    """
    text = nw.col("salesforce_id")
    last = (
        nw.when(text.str.len_chars() == _ID_WHOLE)
        .then(text.str.slice(_ID_WHOLE - 1, 1))
        .otherwise(text.str.slice(_ID_BODY - 1, 1))
    )
    as_it_is = text.str.len_chars().is_in([_ID_BODY, _ID_WHOLE]) & _visible(text) & _visible(last)
    trimmed = text.str.strip_chars(BLANKS)
    frame = frame.with_columns(_text=nw.when(as_it_is).then(text).otherwise(nw.when(trimmed != "").then(trimmed)))
    long = nw.col("_text").str.len_chars() == _ID_WHOLE
    body = nw.col("_text").str.slice(0, _ID_BODY)
    one_case = (body == body.str.to_uppercase()) | (body == body.str.to_lowercase())
    frame = frame.with_columns(
        _long=long.fill_null(value=False),
        _short=(nw.col("_text").str.len_chars() == _ID_BODY).fill_null(value=False),
    ).with_columns(_one_case=nw.col("_long") & one_case.fill_null(value=False))
    texts = engine.collect(frame.filter(nw.col("_one_case")).select("_text").unique()).column("_text")
    if len(texts):
        restored, _ = to_18(texts)
        known = engine.bring(pa.table({"_text": texts, "_restored": restored}))
        frame = frame.join(known, on="_text", how="left")
        whole = nw.when(nw.col("_one_case")).then(nw.col("_restored")).otherwise(nw.col("_text"))
        frame = frame.with_columns(_text=whole).drop("_restored")
    body = nw.when(nw.col("_long") | nw.col("_short")).then(body)
    check = nw.when(nw.col("_long")).then(nw.col("_text").str.slice(_ID_BODY, 3).str.to_uppercase())
    return frame.with_columns(id_body=body, id_check=check).drop("_text", "_long", "_short", "_one_case")
