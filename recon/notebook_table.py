"""A table as HTML for a notebook: every text in full and as text, words to the left, numbers to the right."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_LEFT, _RIGHT = "text-align:left", "text-align:right"


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
    columns = [frame.iloc[:, place].tolist() for place in range(frame.shape[1])]
    for number, name in enumerate(frame.index):
        cells = [_cell("th", name, _LEFT, ' scope="row"')] if index else []
        cells += [_cell("td", column[number], side) for column, side in zip(columns, sides, strict=True)]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    corner = ["<td></td>"] if index else []
    return f"<table><thead><tr>{''.join([*corner, *head])}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _cell(name: str, value: Any, side: str, more: str = "") -> str:
    return f'<{name}{more} style="{side}">{html.escape(_text(value))}</{name}>'


def _text(value: Any) -> str:
    import pandas as pd

    if pd.isna(value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
