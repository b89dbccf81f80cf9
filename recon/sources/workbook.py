"""Excel workbooks: the one sheet that holds data, its typed cells as the text that a CSV would hold."""

from __future__ import annotations

import hashlib
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetTypeEnum

from recon.sources.report_export import padded_footer
from recon.sources.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from recon.sources.base import InputKind
    from recon.sources.refusal import Refusal
    from recon.sources.rows import Details

#: Excel keeps 15 significant digits; of a longer number it has lost the last ones.
_EXACT_BELOW = 10**15


class Workbook:
    """A workbook whose data sheet and headers are known.

    Raises
    ------
    InputRefused
        If it can't be opened, or not exactly one sheet holds data.
    """

    kind: InputKind = "excel"

    def __init__(self, path: Path, refusal: Refusal) -> None:
        self._refusal = refusal
        with path.open("rb") as stream:
            self._sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        self._size = path.stat().st_size
        try:
            with CalamineWorkbook.from_path(str(path)) as workbook:
                names = [sheet.name for sheet in workbook.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet]
                sheets = {name: list(workbook.get_sheet_by_name(name).iter_rows()) for name in names}
        except PasswordError:
            raise refusal.refuse("the workbook is protected by a password.", "Save it without one.") from None
        except (CalamineError, OSError) as error:
            raise refusal.refuse(
                f"the workbook can't be opened ({type(error).__name__}): it is damaged, cut short, or no workbook.",
                "Export it again.",
            ) from None
        self._sheet, rows = self._only(sheets)
        _, header = rows[0]
        self.headers = [_text(cell) or "" for cell in header]
        self._rows = rows[1:]

    def _only(self, sheets: Mapping[str, Sequence[Sequence[object]]]) -> tuple[str, list[tuple[int, Sequence[object]]]]:
        """The one sheet with data, and its rows that aren't empty, with their numbers."""
        full: dict[str, list[tuple[int, Sequence[object]]]] = {}
        for name, rows in sheets.items():
            numbered = [(number, row) for number, row in enumerate(rows, start=1) if any(cell != "" for cell in row)]
            if numbered:
                full[name] = numbered
        if not full:
            raise self._refusal.refuse("the workbook holds no data.", "Export it again.")
        if len(full) > 1:
            names = ", ".join(repr(name) for name in full)
            raise self._refusal.refuse(
                f"{len(full)} sheets hold data: {names}.", "Keep the one with the rows and save the workbook again."
            )
        return next(iter(full.items()))

    def read(self, wanted: Sequence[int], *, report: bool) -> Rows:
        """Read the columns at these places; see `rows.Reader`."""
        rows = self._rows
        details: Details = {"sheet": self._sheet}
        if report:
            footer = padded_footer([[_text(cell) for cell in row] for _, row in rows[-20:]])
            rows = rows[: len(rows) - footer]
            details["footer_rows"] = footer
        if not rows:
            raise self._refusal.refuse(
                "the sheet has a header but no rows.",
                "Export it again; if there is nothing to export, leave the file out.",
            )
        columns = {
            place: pa.chunked_array([pa.array((_text(row[place]) for _, row in rows), type=pa.string())])
            for place in wanted
        }
        lines = np.array([number for number, _ in rows], dtype=np.int64)
        return Rows(columns, lines, self._sha256, self._size, details)


def _text(cell: object) -> str | None:
    """A typed cell as text: flags as Excel shows them, whole numbers without a point, times in ISO 8601."""
    if cell is None or cell == "":
        return None
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float):
        if cell.is_integer() and abs(cell) < _EXACT_BELOW:
            return str(int(cell))
        return repr(cell) if abs(cell) < _EXACT_BELOW else format(cell, "E")
    if isinstance(cell, int):
        return str(cell) if abs(cell) < _EXACT_BELOW else format(cell, "E")
    if isinstance(cell, datetime | date | time):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return str(cell)
    raise TypeError(f"a cell of the type {type(cell).__name__}")
