"""Pseudonyms: the same for the same person, nothing without the key, and the key is kept well."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import pytest

from recon.ledger import Ledger, LedgerError, Pseudonyms, kinds, replace_key, story
from recon.ledger.kinds import PSEUDONYM
from recon.ledger.pseudonym import new_key, read_keys
from tests.ledger.ledger_world import LEAD, verdict

if TYPE_CHECKING:
    from pathlib import Path

    from recon.clock import SetClock

KEY = bytes(range(32))


def test_is_an_hmac_of_the_comparable_address_with_the_key_version() -> None:
    names = Pseudonyms({1: KEY})
    expected = hmac.new(KEY, b"recon-pseudonym/v1\0address\0ada@example.com", hashlib.sha256).hexdigest()
    assert names.address(" Ada@Example.com ") == f"hk1:{expected[:32]}"
    assert PSEUDONYM.fullmatch(names.address("Ada@Müller.example"))
    assert names.address("Ada@Müller.example") == names.address("ada@xn--mller-kva.example")


def test_spaces_don_t_meet() -> None:
    names = Pseudonyms({1: KEY})
    same = "7000001"
    made = {
        names.actor(same),
        names.address(same),
        names.record("sales_connect", same),
        names.record("salesforce", same),
    }
    assert len(made) == 4


def test_both_lengths_of_a_salesforce_id_are_one_record() -> None:
    names = Pseudonyms({1: KEY})
    assert names.record("salesforce", LEAD[:15]) == names.record("salesforce", LEAD)


def test_other_keys_make_other_names() -> None:
    assert Pseudonyms({1: KEY}).address("a@b.c") != Pseudonyms({1: KEY[::-1]}).address("a@b.c")
    assert Pseudonyms({1: KEY, 2: KEY[::-1]}).address("a@b.c").startswith("hk2:")


def test_surrogates_don_t_stop_it() -> None:
    assert Pseudonyms({1: KEY}).address("a\ud800")


def test_keys_have_32_bytes() -> None:
    with pytest.raises(ValueError, match="32"):
        Pseudonyms({1: b"short"})
    with pytest.raises(ValueError, match="32"):
        Pseudonyms({})


def test_the_files_are_for_their_owner_only(ledger: Ledger, folder: Path) -> None:
    ledger.append(kinds.RUN, {"run_id": "r1", "job": "pull"})
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {
        "ledger.db": "0o600",
        "ledger.db-journal": "0o600",
        "pseudonyms-hk1.key": "0o600",
    }
    (key,) = read_keys(folder).values()
    assert len(key) == 32


def test_a_key_that_others_can_read_is_refused(ledger: Ledger, folder: Path) -> None:
    key = folder / "pseudonyms-hk1.key"
    key.chmod(0o640)
    with pytest.raises(LedgerError, match="can be read by others"):
        Ledger.open(folder)


def test_a_key_is_made_once(tmp_path: Path) -> None:
    new_key(tmp_path, 1)
    first = read_keys(tmp_path)
    new_key(tmp_path, 1)
    assert read_keys(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == ["pseudonyms-hk1.key"]


def test_a_lost_key_is_not_replaced_in_silence(ledger: Ledger, folder: Path) -> None:
    key = folder / "pseudonyms-hk1.key"
    key.unlink()
    with pytest.raises(LedgerError, match="hk1"):
        Ledger.open(folder)
    assert not key.exists()


def test_another_key_is_refused(ledger: Ledger, folder: Path) -> None:
    (folder / "pseudonyms-hk1.key").write_text("00" * 32 + "\n", encoding="ascii")
    with pytest.raises(LedgerError, match="not the one"):
        Ledger.open(folder)


def test_a_file_that_holds_no_key_is_refused(ledger: Ledger, folder: Path) -> None:
    (folder / "pseudonyms-hk1.key").write_text("secret", encoding="ascii")
    with pytest.raises(LedgerError, match="holds no key") as caught:
        Ledger.open(folder)
    assert "secret" not in str(caught.value)


def test_keys_may_lie_elsewhere(tmp_path: Path, clock: SetClock) -> None:
    with Ledger.open(tmp_path / "ledger", clock=clock, keys=tmp_path / "vault", durable=False) as ledger:
        name = ledger.names.address("a@b.c")
    assert [path.name for path in (tmp_path / "vault").iterdir()] == ["pseudonyms-hk1.key"]
    assert not (tmp_path / "ledger" / "pseudonyms-hk1.key").exists()
    with Ledger.open(tmp_path / "ledger", clock=clock, keys=tmp_path / "vault") as ledger:
        assert ledger.names.address("a@b.c") == name


def test_a_new_key_names_what_comes_and_the_old_one_still_finds_what_was(
    ledger: Ledger, folder: Path, clock: SetClock
) -> None:
    old = verdict(ledger, "ada@example.com", 2)
    ledger.close()
    assert replace_key(folder) == 2
    with Ledger.open(folder, clock=clock, durable=False) as again:
        new = verdict(again, "ada@example.com", 3)
        assert (old.data["subject"][:4], new.data["subject"][:4]) == ("hk1:", "hk2:")
        assert [step.entry.seq for step in story(again, "ADA@example.com").steps] == [old.seq, new.seq]
    (folder / "pseudonyms-hk1.key").unlink()
    with Ledger.open(folder, clock=clock) as again:
        assert [step.entry.seq for step in story(again, "ada@example.com").steps] == [new.seq]
