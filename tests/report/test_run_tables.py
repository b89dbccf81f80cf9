"""What the report reads of a run: its tables, in no more memory than is set; anything else is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from recon import jobs
from recon.errors import NoRoom, ReconError
from recon.report import build
from recon.settings import Settings
from tests.report.conftest import CLOCK
from tests.report.page import Page
from tests.report.run_folder import RunFolder, _pair, every_case

if TYPE_CHECKING:
    from pathlib import Path

#: Some 30 MB of tables.
PAIRS = 40_000


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run, `large`."""
    folder = tmp_path_factory.mktemp("large")
    rows = [row for n in range(PAIRS) for row in _pair(f"{n:07d}", f"p{n}@large.example", "unlinked_match")]
    RunFolder(folder / "reports" / "large", rows).write()
    return folder


def _report(workspace: Path, memory: str) -> tuple[bytes, ...]:
    (workspace / "recon.toml").write_text(f'[run]\nmemory = "{memory}"\n', "utf-8")
    made = jobs.report(workspace, run_id="large", clock=CLOCK)
    return tuple((made.folder / name).read_bytes() for name in ("compliance.html", "persons.csv"))


def test_little_memory_gives_the_same_page(large: Path) -> None:
    assert _report(large, "60MB") == _report(large, "4GB")


def test_too_little_is_said(large: Path) -> None:
    with pytest.raises(NoRoom, match=r"run\.memory"):
        _report(large, "1MB")


def test_a_run_without_actions_has_its_page(tmp_path: Path) -> None:
    rows = [row for row in every_case() if not row.categories and row.merged == row.opted_out == row.predicted]
    run = RunFolder(tmp_path / "run", rows).write()
    page = Page(build(run.folder, Settings(), clock=CLOCK).read_text(encoding="utf-8"))
    assert "There is nothing to do." in page.text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("merged.parquet", b"PAR1 and no more"),
        ("actions.csv", b"system,id\nsalesforce,003\n"),
        ("actions.csv", b'system,id\nsalesforce,"003\n'),
        ("actions.csv", b"\xff\xfe\x00"),
        ("actions.csv", b""),
    ],
)
def test_what_is_no_table_is_refused_by_name(run: RunFolder, name: str, content: bytes) -> None:
    (run.folder / name).write_bytes(content)
    run.save()
    with pytest.raises(ReconError, match=rf"{name}: not a table of"):
        build(run.folder, Settings(), clock=CLOCK)
