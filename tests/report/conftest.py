from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from recon.clock import SetClock
from recon.report import build
from recon.settings import Settings
from tests.report.page import Page
from tests.report.run_folder import BRACES, CREATED, SCRIPT, RunFolder, every_case

if TYPE_CHECKING:
    from pathlib import Path

CLOCK = SetClock(CREATED)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings without a workspace take the other runs and the ledger from the folder that a test is in."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def hostile_settings() -> Settings:
    return Settings().with_values(
        report={"title": f"Opt-outs {BRACES}", "organisation": f"Example Ltd {SCRIPT}"},
        clusters={"never_join": ["sarah@never.example"]},
        salesforce={"username": "tom@user.example"},
    )


@pytest.fixture
def run(tmp_path: Path, hostile_settings: Settings) -> RunFolder:
    return RunFolder(tmp_path / "run", every_case(), hostile_settings).write()


@pytest.fixture
def html(run: RunFolder, hostile_settings: Settings) -> str:
    return build(run.folder, hostile_settings, clock=CLOCK).read_text(encoding="utf-8")


@pytest.fixture
def page(html: str) -> Page:
    return Page(html)
