"""docs/faults.md says what the tests of every fault hold, line by line, and its examples work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from recon.sandbox.faults import Kind
from recon.sandbox.faults_file import read_faults
from tests.faults.cases import CASES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")


def rows(width: int) -> list[list[str]]:
    """The tables of so many columns, without their heads."""
    found = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")
    ]
    return [row for row in found if len(row) == width]


def test_the_table_and_the_list_of_faults_match_both_ways() -> None:
    said = [(row[0].strip("`"), row[3], row[4], row[6], row[7]) for row in rows(8)]
    held = [
        (
            case.name,
            case.pull.says or "nothing",
            str(case.pull.exit),
            case.apply.says or "nothing",
            str(case.apply.exit),
        )
        for case in CASES
    ]
    assert said == held
    assert len({case.name for case in CASES}) == len(CASES)


def test_what_is_left_is_said() -> None:
    for case in CASES:
        for side in (case.pull, case.apply):
            assert bool(side.says) is (side.exit != 0), case.name


def test_every_kind_is_explained() -> None:
    assert {row[0].strip("`") for row in rows(3)} == set(get_args(Kind)) - {"call"}


def test_the_example_is_one(tmp_path: Path) -> None:
    file = tmp_path / "faults.toml"
    found = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    file.write_text(found.group(1), encoding="utf-8")
    assert [each.kind for each in read_faults(file)] == ["cut", "row"]


def test_the_readme_leads_here() -> None:
    assert "](docs/faults.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
