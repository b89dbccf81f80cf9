"""What charts count: groups of rows in a run's or a snapshot's files, by DuckDB, which streams them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def grouped(query: str, **values: Any) -> list[tuple[Any, ...]]:
    """The rows of a query over files; `$name` stands for a value."""
    import duckdb

    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found: list[tuple[Any, ...]] = connection.execute(query, values).fetchall()
    return found


def count_actions(path: Path, *columns: str) -> list[tuple[Any, ...]]:
    """Count the rows of an actions.csv by some of its columns, as text; an empty cell is None.

    Returns
    -------
    list of tuple
        The columns' values and the number of rows, sorted.
    """
    from recon.tables import ACTIONS

    names = ", ".join(f'"{name}"' for name in columns)
    kinds = ", ".join(f"'{name}': 'VARCHAR'" for name in ACTIONS.names)
    # Nothing is guessed: cells are anybody's text, quotes and line breaks included.
    return grouped(
        f"""SELECT {names}, count(*) FROM read_csv($file, columns = {{{kinds}}}, header = true, delim = ',', quote = '"',
            escape = '"', new_line = '\\n', auto_detect = false, max_line_size = 16777216) GROUP BY ALL ORDER BY ALL""",  # noqa: S608 - names of ours
        file=str(path),
    )
