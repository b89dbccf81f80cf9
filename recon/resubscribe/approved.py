"""The approved CSV, as people make it: read whole or not at all, every row with its line.

What a spreadsheet does to a cell is undone where that is sure (an apostrophe before a formula, typographic quotes around a word) and told
nowhere else. What a cell may mean is for the verdicts to say; only what decides which rules apply to a row (its kind, its country) and
can't be read refuses the file. Formulas and HTML are text like any other.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, TypeAlias, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recon.identity import address as comparable
from recon.resubscribe.countries import country_code
from recon.sources import vocabulary
from recon.sources.base import Input
from recon.sources.cells import Cells
from recon.sources.files import open_reader
from recon.sources.headers import suggestion
from recon.sources.refusal import Refusal
from recon.tables import APPROVED

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike

    from recon.sources.rows import Rows

Numbers: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.int64]]"

KINDS = {"consent": "consent", "correction": "correction"}

_REQUIRED = (
    *("email", "reason", "authorization", "consent_date", "purpose", "evidence"),
    *("initiated_by", "approved_by", "approved_at"),
)
#: What a person wrote in their own words; kept as it is.
_PROSE = ("reason", "purpose", "evidence", "notice", "note")
# Spreadsheets and recon's own CSVs put an apostrophe before what would run as a formula (OWASP, CSV Injection).
_NEUTRALISED = re.compile(r"'(?=[=+\-@\t\r\n])")
_QUOTES = '"“”„‟«»'
_BARE = re.compile(r"[^0-9a-z]+")
#: Rows that are objects at once, while all are gone through.
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class ApprovedRow:
    """One row: the line it starts in, and `recon.tables.APPROVED` as text; blank is None."""

    line: int
    email: str | None = None
    reason: str | None = None
    authorization: str | None = None
    consent_date: str | None = None
    purpose: str | None = None
    evidence: str | None = None
    initiated_by: str | None = None
    approved_by: str | None = None
    approved_at: str | None = None
    kind: str = "consent"
    person_id: str | None = None
    requested_by: str | None = None
    scope: str | None = None
    country: str | None = None
    notice: str | None = None
    evidence_sha256: str | None = None
    note: str | None = None

    def content(self, address: str | None) -> tuple[str | None, ...]:
        """All that the row says, but for its line, with the address made comparable."""
        return (address, *_said(self))

    def digest(self, address: str | None) -> str:
        """SHA-256 over the content: the same row in another file, or on another line, has the same."""
        return hashlib.sha256(json.dumps(self.content(address), ensure_ascii=False).encode()).hexdigest()


_said = attrgetter(*(field.name for field in fields(ApprovedRow) if field.name not in ("line", "email")))
_CELLS = [field.name for field in fields(ApprovedRow) if field.name != "line"]


class ApprovedRows(Sequence[ApprovedRow]):
    """The rows of an approved file, kept as columns: as objects, all at once, they would take many times the room.

    Parameters
    ----------
    lines
        The line that each row starts in.
    columns
        The columns of `recon.tables.APPROVED` as text; blank is null.
    """

    def __init__(self, lines: ArrayLike, columns: dict[str, pa.Array]) -> None:
        self._lines = np.asarray(lines, dtype=np.int64)
        self._cells = {name: _Column(columns[name]) for name in _CELLS}

    @classmethod
    def of(cls, rows: Iterable[ApprovedRow]) -> ApprovedRows:
        """The same rows as columns."""
        given = list(rows)
        columns = {name: pa.array([getattr(row, name) for row in given], pa.string()) for name in _CELLS}
        return cls([row.line for row in given], columns)

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[ApprovedRow]:
        for start in range(0, len(self), _PAGE):
            yield from self[start : start + _PAGE]

    @overload
    def __getitem__(self, place: int) -> ApprovedRow: ...
    @overload
    def __getitem__(self, place: slice) -> list[ApprovedRow]: ...
    def __getitem__(self, place: int | slice) -> ApprovedRow | list[ApprovedRow]:
        if isinstance(place, slice):
            return self.at(np.arange(len(self))[place])
        return self.at(np.arange(len(self))[[place]])[0]

    def at(self, places: Numbers) -> list[ApprovedRow]:
        """The rows at these places, counted from 0, in this order."""
        cells = [column.at(places) for column in self._cells.values()]
        return [ApprovedRow(*row) for row in zip(self._lines[places].tolist(), *cells, strict=True)]

    @cached_property
    def readings(self) -> pa.ListArray:
        """For each row the addresses that its e-mail cell can mean, see `address_readings`."""
        emails, kind = self._cells["email"], pa.list_(pa.string())
        parts = [
            pa.array([address_readings(email) for email in emails.at(places)], kind)
            for places in np.array_split(np.arange(len(self)), range(_PAGE, len(self), _PAGE))
        ]
        return pa.concat_arrays(parts)

    @property
    def person_ids(self) -> pa.Array:
        """The ids of Sales Connect that stand in the rows, each once, sorted."""
        return self._cells["person_id"].distinct()


class _Column:
    """One column's cells. Most (reasons, names, dates) stand in many rows: each text is there once then."""

    def __init__(self, cells: pa.Array) -> None:
        encoded = cells.dictionary_encode()
        self._cells, self._texts, self._codes = cells, None, None
        if 2 * len(encoded.dictionary) < len(cells):
            # The last text stands for cells without any.
            self._texts = [*encoded.dictionary.to_pylist(), None]
            self._codes = pc.fill_null(encoded.indices, len(encoded.dictionary)).to_numpy()
            self._cells = encoded.dictionary

    def at(self, places: Numbers) -> list[str | None]:
        if self._texts is None or self._codes is None:
            found: list[str | None] = self._cells.take(pa.array(places, pa.int64())).to_pylist()
            return found
        texts = self._texts
        return [texts[code] for code in self._codes[places].tolist()]

    def distinct(self) -> pa.Array:
        texts = pc.unique(self._cells).drop_null()
        return texts.take(pc.sort_indices(texts))


def address_readings(email: str | None) -> tuple[str, ...]:
    """The addresses that an e-mail cell can mean: with a leading apostrophe, which an address may have, and without."""
    if email is None:
        return ()
    texts = [email, email.replace("’", "'")]
    texts += [text[1:] for text in texts if text.startswith("'")]
    return tuple(dict.fromkeys(found for text in dict.fromkeys(texts) if (found := comparable(text)) is not None))


@dataclass(frozen=True, slots=True)
class Approved:
    """An approved file.

    Attributes
    ----------
    rows
        In the order of the file.
    source
        Where they come from; holds the SHA-256 of the file's bytes.
    blank_lines
        Lines that hold delimiters and nothing else, as spreadsheets leave them; no rows.
    """

    rows: ApprovedRows
    source: Input
    blank_lines: tuple[int, ...] = ()


def read_approved(path: Path, *, encoding: str = "utf-8-sig") -> Approved:
    """Read an approved file: CSV (comma, semicolon or tab), Excel or Parquet.

    Parameters
    ----------
    path
        The file. Its headers are those of `recon.tables.APPROVED`, in any order; case, blanks, hyphens and underscores don't matter.
    encoding
        Of a CSV file. Decoded strictly, never guessed.

    Raises
    ------
    InputRefused
        If it can't be read surely, with all that is wrong, each with line and column: a required column that is missing, a header that
        looks like a misspelt one, cells under no header, an unknown kind or country, and all that `recon.sources` refuses.
    UsageError
        If there is no such encoding.
    """
    refusal = Refusal(str(path))
    reader = open_reader(path, encoding, refusal, fits=_fits, reports=False)
    found, ignored = _columns(reader.headers, refusal)
    refusal.stop()
    nameless = [place for place, header in enumerate(reader.headers) if not _bare(header)]
    rows = reader.read(list(dict.fromkeys([*found.values(), *nameless])), report=False)
    refusal.know_lines(rows.lines)
    kept = _filled(rows)
    for place in nameless:
        refusal.add_rows(
            vocabulary.rows_where(pc.is_valid(vocabulary.text(rows.columns[place]))),
            f"there is text in column {place + 1}, which has no header.",
            "Give the column its header, or empty it; an unquoted delimiter may have moved the cells.",
        )
    cells = Cells(reader.headers, found, rows, refusal)
    columns: dict[str, pa.Array] = {}
    for name in APPROVED.names:
        values = _column(name, cells, rows.count)
        if name == "kind":
            values = _kinds(values, reader.headers, found, refusal)
        elif name == "country":
            values = _countries(values, reader.headers, found, refusal)
        columns[name] = pa.array(values, pa.string()).take(pa.array(kept))
    if not len(kept) and rows.count:
        raise refusal.refuse("the file has a header but all of its rows are blank.", "Fill it in and save it again.")
    refusal.stop()
    read = ApprovedRows(rows.lines[kept], columns)
    blank = tuple(int(line) for line in np.delete(rows.lines, kept))
    details = rows.details | cells.details
    details["columns"] = [f"{name} = {reader.headers[place]}" for name, place in found.items()]
    details["columns_ignored"] = [header for header in ignored if "@" not in header]
    details["blank_rows"] = len(blank)
    source = Input(
        name="approved",
        origin=path.name,
        kind=reader.kind,
        rows=len(read),
        sha256=rows.sha256,
        size=rows.size,
        details=details,
    )
    return Approved(read, source, blank)


def unquoted(text: str) -> str:
    """A word without the blanks and the typographic quotes around it."""
    return text.strip().strip(_QUOTES).strip()


def _bare(header: str) -> str:
    return _BARE.sub("", header.casefold())


def _named(headers: list[str]) -> dict[str, list[int]]:
    """Canonical name -> places of the headers that spell it."""
    names = {_bare(name): name for name in APPROVED.names}
    found: dict[str, list[int]] = {}
    for place, header in enumerate(headers):
        name = names.get(_bare(header))
        if name is not None:
            found.setdefault(name, []).append(place)
    return found


def _fits(headers: list[str]) -> bool:
    named = _named(headers)
    return all(name in named for name in _REQUIRED)


def _columns(headers: list[str], refusal: Refusal) -> tuple[dict[str, int], list[str]]:
    """Where each column stands, and the headers that are none of ours; what is missing, twice there or misspelt is noted."""
    named = _named(headers)
    for places in named.values():
        if len(places) > 1:
            same = " and ".join(f"{headers[place]!r} (column {place + 1})" for place in places)
            refusal.add(
                f"the column is there more than once: {same}.", "Keep one of them.", line=1, column=headers[places[0]]
            )
    taken = {place for places in named.values() for place in places}
    others = [header for place, header in enumerate(headers) if place not in taken and _bare(header)]
    for name in APPROVED.names:
        if name in named:
            continue
        close = suggestion(others, name)
        meant = "" if close is None else f" Is {close!r} meant?"
        if name in _REQUIRED:
            refusal.add(
                f"there is no column {name!r}.{meant}",
                f"The columns {', '.join(_REQUIRED)} have to be there, in any order; cells may be blank.",
                line=1,
                column=name,
            )
        elif close is not None:
            refusal.add(
                f"the header {close!r} looks like the column {name!r}, and it can't be told surely.",
                f"Write {name} if that is meant; if not, give the column another header or leave it out.",
                line=1,
                column=close,
            )
    return {name: places[0] for name, places in named.items()}, others


def _filled(rows: Rows) -> Numbers:
    """The rows with anything in a column that is ours, or that has no header."""
    filled = np.zeros(rows.count, dtype=bool)
    for column in rows.columns.values():
        filled[vocabulary.rows_where(pc.is_valid(vocabulary.text(column)))] = True
    return np.flatnonzero(filled)


def _column(name: str, cells: Cells, count: int) -> list[str | None]:
    texts = cells.id_text(name) if name == "person_id" else cells.text(name)
    if texts is None:
        return [None] * count
    clean = _prose if name in _PROSE else _address if name == "email" else _word
    return [None if text is None else clean(text) or None for text in texts.to_pylist()]


def _prose(text: str) -> str:
    return _NEUTRALISED.sub("", text.strip(), count=1) if text.strip().startswith("'") else text.strip()


def _word(text: str) -> str:
    return unquoted(unquoted(text).removeprefix("'"))


def _address(text: str) -> str:
    # An address may begin with an apostrophe of its own: which one it is, the known addresses tell.
    return unquoted(text)


def _kinds(texts: list[str | None], headers: list[str], found: dict[str, int], refusal: Refusal) -> list[str | None]:
    place = found.get("kind")
    if place is None:
        return ["consent"] * len(texts)
    column = pa.chunked_array([pa.array(texts, type=pa.string())])
    values = vocabulary.closed(column, KINDS, headers[place], refusal).to_pylist()
    return [value or "consent" for value in values]


def _countries(
    texts: list[str | None], headers: list[str], found: dict[str, int], refusal: Refusal
) -> list[str | None]:
    place = found.get("country")
    values = [None if text is None else country_code(text) for text in texts]
    if place is not None:
        wrong = [row for row, (text, value) in enumerate(zip(texts, values, strict=True)) if text and value is None]
        refusal.add_rows(
            np.array(wrong, dtype=np.int64),
            "this is no country code, so whose rules apply can't be told.",
            "Write the two letters of ISO 3166, like DE or US, or leave the cell empty.",
            column=headers[place],
        )
    return values
