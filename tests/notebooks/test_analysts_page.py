"""What docs/analysts.md says of notebooks and tables is the code's own. That the page can be followed is tested in tests/docs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from recon.notebook_parameters import read
from recon.tables import ACTIONS, MERGED, PEOPLE, RECORDS, Table

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "analysts.md"


def notebooks() -> str:
    lines = ["| notebook | answers | parameters |", "| --- | --- | --- |"]
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        title = nbformat.read(path, as_version=4).cells[0].source  # type: ignore[no-untyped-call]
        answers = title.partition("**Answers:** ")[2].partition("\n")[0]
        parameters = ", ".join(f"`{each.name}`" for each in read(path))
        lines.append(f"| `{path.stem}` | {answers[0].upper()}{answers[1:]} | {parameters} |")
    return "\n".join(lines) + "\n"


def tables() -> str:
    parts = [_table(table, table.names) for table in (PEOPLE, RECORDS, MERGED)]
    parts.append(_table(ACTIONS, ACTIONS.names[len(MERGED.names) :], "It has the columns of `merged`, and:"))
    return "\n".join(parts)


def _table(table: Table, names: list[str], words: str = "") -> str:
    lines = [
        f"### {table.name}",
        "",
        f"One row is {table.row_is}.{f' {words}' if words else ''}",
        "",
        "| column | kind | is |",
    ]
    lines.append("| --- | --- | --- |")
    for column in table:
        if column.name in names:
            name = f"**`{column.name}`**" if column.required else f"`{column.name}`"
            lines.append(f"| {name} | {column.kind} | {column.meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("begin", "end", "made"),
    [
        ("<!-- notebooks: made from notebooks/ -->\n", "<!-- end of notebooks -->\n", notebooks),
        ("<!-- tables: made from recon/tables.py -->\n", "<!-- end of tables -->\n", tables),
    ],
    ids=["notebooks", "tables"],
)
def test_the_page_is_up_to_date(begin: str, end: str, made: object) -> None:
    assert callable(made)
    before, _, rest = PAGE.read_text("utf-8").partition(begin)
    there, _, after = rest.partition(end)
    wanted = f"\n{made()}\n"
    if there != wanted:
        PAGE.write_text(before + begin + wanted + end + after, "utf-8")
        pytest.fail("docs/analysts.md was behind the code; it is rewritten now: look at it and commit it")
