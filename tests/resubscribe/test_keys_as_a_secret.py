"""The ledger's keys as a secret: every command of the flow takes them from where secrets come from, and makes no key file of its own."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from recon import engine
from recon.clock import SetClock
from recon.ledger.errors import LedgerError
from recon.prune import prune
from recon.resubscribe import jobs as flow
from recon.resubscribe.apply import apply
from recon.resubscribe.undo import undo
from recon.resubscribe.verify import verify
from tests.resubscribe.cli import here
from tests.resubscribe.rig import ADMIN, Rig, new_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "RECON_LEDGER_KEYS"
KEYS = f"hk1={'5e' * 32}"


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    (tmp_path / "ws").mkdir()
    made = new_rig(tmp_path / "ws")
    # The fastest for a handful of rows.
    monkeypatch.setattr(flow, "_engine", lambda _loaded: engine.Polars())
    yield made
    made.sandbox.close()


def test_every_command_finds_them(rig: Rig, tmp_path: Path) -> None:
    """Handed over first, then in a file: a command that looked elsewhere would make a key of its own, or miss the one that is used."""
    given = rig.sandbox.environment() | {NAME: KEYS}
    rig.pair("ada@buyer.example")
    rig.days(3)
    rig.approve("ada@buyer.example")
    rig.pull()
    planned = rig.plan(environ=given)
    done = apply(rig.folder, planned.path, actor=ADMIN, clock=rig.clock, environ=given, sleep=lambda _: None)
    assert done.exit_code == 0
    assert flow.check(rig.folder, rig.approved(), clock=rig.clock, environ=given).checked.no_op == 1
    verify(rig.folder, clock=rig.clock, environ=given)
    undo(rig.folder, planned.folder.name, clock=rig.clock, environ=given)

    with pytest.raises(LedgerError, match="is not in"):
        rig.plan()
    with (rig.folder / "recon.toml").open("a", encoding="utf-8") as stream:
        stream.write('\n[secrets]\nfolder = "../secrets"\n')
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / NAME).write_text(KEYS)
    (tmp_path / "secrets" / NAME).chmod(0o600)
    rig.days(1)
    rig.pull()
    run = rig.plan().folder
    assert here(rig, "check", rig.approved()).returncode in (0, 3)
    assert here(rig, "undo", planned.folder.name).returncode == 0
    assert here(rig, "verify", "--run", planned.folder.name).returncode == 0
    assert here(rig, "report", "--run", run.name).returncode == 0
    assert here(rig, "ledger", "show", "ada@buyer.example").returncode == 0
    later = SetClock(rig.clock.now() + timedelta(days=400))
    assert prune(rig.folder, keep_runs=1, clock=later, environ=rig.sandbox.environment()).deleted
    assert not list(tmp_path.rglob("*.key"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("place", ["folder", "beside"])
def test_a_file_that_belongs_to_another_user_is_refused(rig: Rig, tmp_path: Path, place: str) -> None:
    if place == "folder":
        with (rig.folder / "recon.toml").open("a", encoding="utf-8") as stream:
            stream.write('\n[secrets]\nfolder = "../secrets"\n')
        file = tmp_path / "secrets" / NAME
        text = KEYS
    else:
        file = rig.folder / "ledger" / "pseudonyms-hk1.key"
        text = "5e" * 32
    file.parent.mkdir()
    file.write_text(text)
    file.chmod(0o600)
    os.chown(file, 12345, -1)
    rig.pair("ada@buyer.example")
    rig.days(3)
    rig.approve("ada@buyer.example")
    rig.pull()
    told = here(rig, "plan", rig.approved())
    assert told.returncode != 0
    assert "belongs to another user (number 12345)" in told.stderr
    assert "5e5e" not in told.stderr + told.stdout
