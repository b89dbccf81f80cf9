"""A table as HTML for a notebook: every text in full and as text, hidden characters visible, words to the left, numbers to the right."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

from recon.report.mask import visible

if TYPE_CHECKING:
    import pandas as pd

_LEFT, _RIGHT = "text-align:left", "text-align:right"
#: A date or a time: it stays on one line.
_WHEN = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\S+)?(?: UTC)?\Z", re.ASCII)
#: Sentences get room, where the other columns would leave them none.
_LONG, _ROOM = 60, ";min-width:18em"


def table_html(frame: pd.DataFrame, *, index: bool = False) -> str:
    """Render a table.

    Parameters
    ----------
    frame
        Whatever stands in it is escaped. Missing values are blank, flags are yes or no, whole numbers have their thousands parted.
    index
        Show the rows' names as first column.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    sides = [_RIGHT if is_numeric_dtype(kind) and not is_bool_dtype(kind) else _LEFT for kind in frame.dtypes]
    head = [_cell("th", name, side, ' scope="col"') for name, side in zip(frame.columns, sides, strict=True)]
    rows = []
    sides = [
        side + _ROOM if any(isinstance(value, str) and len(value) > _LONG for value in frame.iloc[:, place]) else side
        for place, side in enumerate(sides)
    ]
    columns = [frame.iloc[:, place].tolist() for place in range(frame.shape[1])]
    for number, name in enumerate(frame.index):
        cells = [_cell("th", name, _LEFT, ' scope="row"')] if index else []
        cells += [_cell("td", column[number], side) for column, side in zip(columns, sides, strict=True)]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    corner = ["<td></td>"] if index else []
    return f"<table><thead><tr>{''.join([*corner, *head])}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _cell(name: str, value: Any, side: str, more: str = "") -> str:
    text = _text(value)
    style = f"{side};white-space:nowrap" if _WHEN.match(text) else side
    return f'<{name}{more} style="{style}">{html.escape(text)}</{name}>'


def _text(value: Any) -> str:
    import pandas as pd

    if pd.isna(value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else visible(str(value))
