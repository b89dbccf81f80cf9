"""The columns of one file by their canonical names, each checked as it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recon.sources import vocabulary
from recon.sources.ids import to_18
from recon.sources.times import times
from recon.sources.vocabulary import FLAG_PAIRS, LEVELS, SOURCES, rows_where, trimmed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from recon.sources.refusal import Refusal
    from recon.sources.rows import Details, Rows

ObjectName = Literal["Lead", "Contact"]

PREFIX: dict[ObjectName, str] = {"Lead": "00Q", "Contact": "003"}
_GIVEN_AS: dict[ObjectName, str] = {"Lead": "--leads", "Contact": "--contacts"}
_NULL_ID = r"^0{15}(AAA)?$"
CONTROL = r"[\x00-\x1f\x7f-\x{9f}]"
DIGITS_LOST = r"^[0-9]([.,][0-9]+)?[eE]\+[0-9]+$"
_ID_REMEDY = "Ids have 15 or 18 letters and digits, and their case matters; export the file again."


class Cells:
    """Reads one file's columns; a column that the file hasn't got is None.

    Parameters
    ----------
    headers
        As they stand in the file.
    found
        Canonical name -> place of the column.
    rows
        What was read.
    refusal
        Takes what is wrong. While it holds a problem, no value may be used.

    Attributes
    ----------
    details
        What an auditor may ask: vocabularies, times without a zone, unknown words.
    """

    def __init__(self, headers: list[str], found: Mapping[str, int], rows: Rows, refusal: Refusal) -> None:
        self.found = found
        self.details: Details = {}
        self._headers = headers
        self._rows = rows
        self._refusal = refusal

    def _get(self, name: str) -> tuple[pa.ChunkedArray, str] | None:
        place = self.found.get(name)
        return None if place is None else (self._rows.columns[place], self._headers[place])

    def text(self, name: str) -> pa.ChunkedArray | None:
        """Text as it stands in the file; blank is null."""
        cell = self._get(name)
        return None if cell is None else vocabulary.text(cell[0])

    def id_text(self, name: str) -> pa.ChunkedArray | None:
        """An id of any sort, without blanks around it; blank is null."""
        cell = self._get(name)
        if cell is None:
            return None
        ids = trimmed(cell[0])
        self._refusal.add_rows(
            rows_where(pc.match_substring_regex(ids, CONTROL)),
            "the id holds a control character.",
            "Export the file again.",
            column=cell[1],
        )
        self._refusal.add_rows(
            rows_where(pc.match_substring_regex(ids, DIGITS_LOST)),
            "the id is written as a rounded number: a spreadsheet has lost its last digits.",
            "Export the file again and don't save it from a spreadsheet.",
            column=cell[1],
        )
        return ids

    def key(self, name: str) -> pa.ChunkedArray | None:
        """The id that identifies the row: in every row, and once."""
        ids, cell = self.id_text(name), self._get(name)
        if ids is None or cell is None:
            return None
        self._refusal.add_rows(
            rows_where(pc.is_null(ids)),
            "the id is blank.",
            "Every row needs its id; export the file again.",
            column=cell[1],
        )
        self._no_duplicates(ids, cell[1])
        return ids

    def record_id(self, name: str, object_name: ObjectName) -> pa.ChunkedArray | None:
        """The Salesforce ids that identify the rows, in 18 characters, all of one object."""
        cell = self._get(name)
        if cell is None:
            return None
        words = trimmed(cell[0])
        ids, _ = to_18(words)
        header = cell[1]
        self._refusal.add_rows(rows_where(pc.is_null(words)), "the id is blank.", _ID_REMEDY, column=header)
        self._refusal.add_rows(
            rows_where(pc.and_(pc.is_valid(words), pc.is_null(ids))),
            "this is no Salesforce id.",
            _ID_REMEDY,
            column=header,
        )
        prefix = pc.utf8_slice_codeunits(ids, 0, 3)
        wrong = rows_where(pc.not_equal(prefix, PREFIX[object_name]))
        for other, its_prefix in PREFIX.items():
            if other != object_name and len(wrong) and len(rows_where(pc.equal(prefix, its_prefix))) == len(ids):
                self._refusal.add(
                    f"these are {other} ids ({its_prefix}...), but the file was given as the {object_name}s.",
                    f"Give it with {_GIVEN_AS[other]}.",
                    column=header,
                )
                return ids
        self._refusal.add_rows(
            wrong,
            f"this is no id of a {object_name}: those begin with {PREFIX[object_name]}.",
            f"Give one file with the {object_name}s alone.",
            column=header,
        )
        self._no_duplicates(ids, header)
        return ids

    def contact_id(self, name: str) -> pa.ChunkedArray | None:
        """The Contact that a Lead became, in 18 characters; blank, or an id of zeros, is null."""
        cell = self._get(name)
        if cell is None:
            return None
        words = trimmed(cell[0])
        words = pc.if_else(pc.match_substring_regex(words, _NULL_ID), pa.scalar(None, pa.string()), words)
        ids, _ = to_18(words)
        good = pc.fill_null(pc.starts_with(ids, PREFIX["Contact"]), fill_value=False)
        self._refusal.add_rows(
            rows_where(pc.and_(pc.is_valid(words), pc.invert(good))),
            "this is no id of a Contact.",
            f"Contact ids begin with 003. {_ID_REMEDY}",
            column=cell[1],
        )
        return ids

    def flag(self, name: str, *, pairs: Sequence[tuple[str, str]] = FLAG_PAIRS) -> pa.ChunkedArray | None:
        """A flag, in one vocabulary and one spelling, never blank."""
        cell = self._get(name)
        if cell is None:
            return None
        values, spelling = vocabulary.flags(*cell, self._refusal, pairs=pairs)
        said = self.details.setdefault("vocabulary", [])
        assert isinstance(said, list)
        said.append(f"{name}: {spelling}")
        return values

    def time(self, name: str) -> pa.ChunkedArray | None:
        """A time in UTC; blank is null. Those without a zone are counted."""
        cell = self._get(name)
        if cell is None:
            return None
        values, without_zone = times(*cell, self._refusal)
        before = self.details.get("times_without_zone", 0)
        assert isinstance(before, int)
        self.details["times_without_zone"] = before + without_zone
        return values

    def level(self, name: str) -> pa.ChunkedArray | None:
        """Account level or user level; blank is null."""
        cell = self._get(name)
        return None if cell is None else vocabulary.closed(cell[0], LEVELS, cell[1], self._refusal)

    def source(self, name: str) -> pa.ChunkedArray | None:
        """How somebody became unsubscribed; unknown words (an admin's name, say) are null and counted."""
        cell = self._get(name)
        if cell is None:
            return None
        values, unknown = vocabulary.loose(cell[0], SOURCES)
        self.details["unknown_unsubscribe_sources"] = unknown
        return values

    def _no_duplicates(self, ids: pa.ChunkedArray, header: str) -> None:
        present = ids.drop_null()
        if pc.count_distinct(present).as_py() == len(present):
            return
        counts = pc.value_counts(present)
        twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
        rows = rows_where(pc.is_in(ids, value_set=twice))
        first: dict[str, int] = {}
        again: list[int] = []
        for row, value in zip(rows.tolist(), ids.take(pa.array(rows)).to_pylist(), strict=True):
            if first.setdefault(value, row) != row:
                again.append(row)

        def message(row: int) -> str:
            return f"the id is the same as in line {self._refusal.line(first[ids[row].as_py()])}."

        duplicates: NDArray[np.int64] = np.array(again, dtype=np.int64)
        self._refusal.add_rows(
            duplicates, message, "Each id may be there once; find out which row holds, or export again.", column=header
        )
