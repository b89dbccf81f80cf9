"""Every page of the documentation is followed, from its first block to its last, and its tables are the code's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from recon.resubscribe.codes import CODES
from tests.docs.page import ROOT, Page, blocks, matches, steps

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
_BEGIN, _END = "<!-- verdict codes: made from recon/resubscribe/codes.py -->\n", "<!-- end of verdict codes -->\n"


@pytest.mark.parametrize("name", ["README.md", *PAGES])
def test_a_page_can_be_followed(name: str, tmp_path: Path) -> None:
    Page(ROOT / name, tmp_path).follow()


@pytest.mark.parametrize("name", ["README.md", *PAGES])
def test_every_link_leads_somewhere(name: str) -> None:
    import re

    page = ROOT / name
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text("utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def codes_table() -> str:
    """The verdict codes as the page for admins lists them."""
    lines = ["| code | by default | when | what to do | the rule |", "| --- | --- | --- | --- | --- |"]
    for code in CODES:
        default = code.severity + (", fixed" if len(code.allowed) == 1 else "")
        cells = (f"`{code.name}`", default, code.meaning, code.remedy, code.source)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def test_every_verdict_code_and_its_remedy_is_on_the_admins_page() -> None:
    page = ROOT / "docs" / "admins.md"
    before, _, rest = page.read_text("utf-8").partition(_BEGIN)
    there, _, after = rest.partition(_END)
    if there != codes_table():
        page.write_text(before + _BEGIN + codes_table() + _END + after, "utf-8")
        pytest.fail(
            "docs/admins.md was behind recon/resubscribe/codes.py; it is rewritten now: look at it and commit it"
        )


def test_a_page_s_blocks_are_told_apart(tmp_path: Path) -> None:
    text = (
        '<!-- file: a/b.txt -->\n```text\nhello\n```\n\n- item\n\n  ```console\n  $ echo a\n  > echo b\n  a\n  ...\n  $ false; echo "exit $?"\n'
        "  exit 1\n  ```\n\n<!-- not run: it installs -->\n```sh\nexit 9\n```\n\n```python\nimport pathlib\nassert pathlib.Path('a/b.txt').read_text() == 'hello\\n'\n```\n"
    )
    found = list(blocks(text))
    assert [(each.language, each.file, each.why_not) for each in found] == [
        ("text", "a/b.txt", None),
        ("console", None, None),
        ("sh", None, "it installs"),
        ("python", None, None),
    ]
    assert list(steps(found[1])) == [(9, "echo a\necho b", "a\n..."), (13, 'false; echo "exit $?"', "exit 1")]
    page = tmp_path / "page.md"
    page.write_text(text, "utf-8")
    assert [each.partition(":")[0] for each in Page(page, tmp_path).follow()] == ["9", "13", "23"]


def test_what_a_page_shows_wrongly_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for text, said in (
        ("```console\n$ echo 1\n2\n```\n", "is to print\n2\nand prints\n1"),
        ("```sh\nfalse\necho much\n```\n", "exits with 1 and prints\nmuch"),
        ("```sh\nexit 3\n```\n", "the shell ended"),
    ):
        page.write_text(text, "utf-8")
        with pytest.raises(AssertionError, match=said):
            Page(page, tmp_path).follow()
    assert matches("a ... c\n...\nz", "a b c\n1\n2\nz\n")
    assert not matches("a", "a b")


def test_the_readme_names_every_command() -> None:
    from recon.cli import main

    text = (ROOT / "README.md").read_text("utf-8")
    assert [name for name in main.commands if f"`recon {name}" not in text] == []
