"""Secrets: where they may come from, in which order, what is refused, and how they are taken out of a text."""

from __future__ import annotations

import base64
import json
import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

import keyring
import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from keyring.backend import KeyringBackend
from keyring.backends import fail
from keyring.errors import KeyringLocked

from recon import evidence, secret_looks, secrets, settings
from recon.clock import SetClock
from recon.errors import SettingsError
from recon.ledger.errors import LedgerError
from recon.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "RECON_GATEWAY_TOKEN"
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")


def put(file: Path, text: str | bytes = "from-the-file\n", mode: int = 0o600) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(mode)
    return file


def resolver(environ: dict[str, str] | None = None, **where: Any) -> secrets.Secrets:
    return secrets.resolver(Settings().with_values(secrets=where), environ or {})


class Ring(KeyringBackend):
    """A keyring of one's own, for the length of a test."""

    priority: ClassVar[float] = 1
    held: ClassVar[dict[tuple[str, str], str]] = {}
    locked: ClassVar[bool] = False

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise KeyringLocked("planted-text-of-the-backend")
        return self.held.get((service, username))


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Ring]]:
    before = keyring.get_keyring()
    keyring.set_keyring(Ring())  # type: ignore[no-untyped-call]
    monkeypatch.setattr(Ring, "held", {("recon", NAME): "from-the-keyring"})
    yield Ring
    keyring.set_keyring(before)


class TestOrder:
    def test_the_environment_comes_first_then_the_file_then_the_keyring(self, tmp_path: Path, ring: type[Ring]) -> None:
        file = put(tmp_path / "keys" / NAME)
        everywhere: dict[str, Any] = {"folder": file.parent, "keyring": "recon"}
        assert resolver({NAME: "from-the-environment"}, **everywhere)[NAME] == "from-the-environment"
        assert resolver({NAME: " "}, **everywhere)[NAME] == "from-the-file"
        file.unlink()
        assert resolver(**everywhere)[NAME] == "from-the-keyring"
        assert resolver(folder=file.parent).get(NAME) is None

    def test_a_file_that_is_named_itself_comes_before_the_folder(self, tmp_path: Path) -> None:
        put(tmp_path / "keys" / NAME)
        own = put(tmp_path / "own", "from-its-own-file")
        found = resolver(folder=tmp_path / "keys", files={NAME: own})
        assert found.found(NAME) == ("from-its-own-file", f"the file {own}")
        own.unlink()
        with pytest.raises(SettingsError, match="No such file"):
            found.get(NAME)

    def test_what_is_no_secret_comes_from_the_environment_alone(self, tmp_path: Path) -> None:
        put(tmp_path / "HOME", "x")
        found = resolver({"PATH": "/bin"}, folder=tmp_path)
        assert (found["PATH"], found.get("HOME"), dict(found)) == ("/bin", None, {"PATH": "/bin"})

    def test_settings_give_the_names_and_places_relative_to_the_workspace(self, tmp_path: Path) -> None:
        put(tmp_path / "keys" / "OURS", "ours-of-the-file")
        (tmp_path / "ws").mkdir()
        (tmp_path / "ws" / "recon.toml").write_text(
            '[sales_connect.gateway]\ntoken_env = "OURS"\n[secrets]\nfolder = "../keys"\n'
        )
        loaded = settings.load(tmp_path / "ws")
        found = secrets.resolver(loaded, {})
        assert found["OURS"] == "ours-of-the-file"
        assert secrets.resolver(loaded, found) is found
        assert NAME not in found.names

    def test_where_it_was_looked_for_is_told(self, tmp_path: Path) -> None:
        error = secrets.missing(
            resolver(folder=tmp_path, keyring="recon"), NAME, setting="x.token_env", holds="the gateway's bearer token"
        )
        assert str(tmp_path / NAME) in str(error)
        assert f"the keyring (service recon, user {NAME})" in str(error)
        plain = secrets.missing({}, NAME, setting="x.token_env", holds="the gateway's bearer token")
        assert (
            plain.message == f"the environment variable {NAME} is not set; it has to hold the gateway's bearer token."
        )


class TestKeyring:
    def test_no_backend_is_told_in_a_sentence(self, ring: type[Ring]) -> None:
        keyring.set_keyring(fail.Keyring())  # type: ignore[no-untyped-call]
        with pytest.raises(SettingsError, match="this machine has none that recon can use") as caught:
            resolver(keyring="recon").get(NAME)
        assert "Install a backend" in str(caught.value)

    def test_a_locked_one_is_told_without_its_text(self, ring: type[Ring], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Ring, "locked", True)
        with pytest.raises(SettingsError, match="KeyringLocked") as caught:
            resolver(keyring="recon").get(NAME)
        assert "planted" not in str(caught.value)

    def test_it_is_asked_only_where_a_service_is_set(self, ring: type[Ring], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Ring, "locked", True)
        assert resolver().get(NAME) is None


class TestFiles:
    @posix
    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o666, 0o610])
    def test_one_that_others_can_read_is_refused(self, tmp_path: Path, mode: int) -> None:
        file = put(tmp_path / NAME, "planted-secret", mode)
        with pytest.raises(SettingsError, match="can be read by others") as caught:
            resolver(folder=tmp_path).get(NAME)
        assert f"chmod 600 {file}" in str(caught.value)
        assert "planted" not in str(caught.value)

    @posix
    def test_one_of_another_user_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = put(tmp_path / NAME, "planted-secret")
        if os.geteuid() == 0:
            os.chown(file, 4711, -1)
        found, owner = resolver(folder=tmp_path), file.stat().st_uid
        monkeypatch.setattr(os, "geteuid", lambda: owner)
        assert found.get(NAME) == "planted-secret"
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
        with pytest.raises(SettingsError, match=f"belongs to another user .number {owner}") as caught:
            found.get(NAME)
        assert "planted" not in str(caught.value)
        assert found.at_hand() == ()

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root makes files of root")
    def test_one_of_root_that_is_readable_is_taken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put(tmp_path / NAME)
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        assert resolver(folder=tmp_path).get(NAME) == "from-the-file"

    @pytest.mark.parametrize("how", ["plain", "deep", "linked into", "linked out of"])
    def test_one_in_a_workspace_is_refused(self, tmp_path: Path, how: str) -> None:
        home = tmp_path / "ws"
        file = put(home / "deep" / "er" / NAME if how == "deep" else home / NAME)
        (home / "recon.toml").write_text("")
        if how == "linked into":
            (tmp_path / "link").symlink_to(file)
            file = tmp_path / "link"
        elif how == "linked out of":
            file.unlink()
            file.symlink_to(put(tmp_path / "outside"))
        with pytest.raises(SettingsError, match="lies within the workspace"):
            resolver(files={NAME: file}).get(NAME)

    @pytest.mark.parametrize(("content", "said"), [(" \n", "is empty"), (b"x" * 70_000, "too large")])
    def test_one_that_holds_no_secret_is_refused(self, tmp_path: Path, content: str | bytes, said: str) -> None:
        put(tmp_path / NAME, content)
        with pytest.raises(SettingsError, match=said):
            resolver(folder=tmp_path).get(NAME)

    def test_a_folder_in_its_place_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / NAME).mkdir()
        with pytest.raises(SettingsError, match="is no file"):
            resolver(folder=tmp_path).get(NAME)


def pem(key: Any, passphrase: str | None = None) -> bytes:
    how = form.BestAvailableEncryption(passphrase.encode()) if passphrase else form.NoEncryption()
    text: bytes = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, how)
    return text


class TestKeys:
    def opened(self, said: str, **environ: str) -> bytes | None:
        return evidence.signing_key(Settings(), {"RECON_LEDGER_SIGNING_KEY": said, **environ})

    def test_a_key_comes_as_a_path_or_as_itself_with_a_passphrase_or_without(self, tmp_path: Path) -> None:
        key = ed25519.Ed25519PrivateKey.generate()
        plain, locked = pem(key), pem(key, "a passphrase")
        given = {"RECON_LEDGER_SIGNING_KEY_PASSPHRASE": "a passphrase"}
        assert self.opened(str(put(tmp_path / "plain.pem", plain))) == plain
        assert self.opened(plain.decode()) == plain
        assert self.opened(str(put(tmp_path / "locked.pem", locked)), **given) == plain
        assert self.opened(locked.decode(), **given) == plain
        assert self.opened(plain.decode(), **given) == plain
        assert evidence.signing_key(Settings(), {}) is None

    @pytest.mark.parametrize(
        ("passphrase", "said"), [("", "PASSPHRASE is not set"), ("planted-wrong", "its passphrase is wrong")]
    )
    def test_a_passphrase_that_is_missing_or_wrong_is_told(self, tmp_path: Path, passphrase: str, said: str) -> None:
        file = put(tmp_path / "locked.pem", pem(ec.generate_private_key(ec.SECP256R1()), "a passphrase"))
        with pytest.raises(SettingsError, match=said) as caught:
            self.opened(str(file), RECON_LEDGER_SIGNING_KEY_PASSPHRASE=passphrase)
        assert "planted" not in str(caught.value)

    @posix
    def test_a_key_file_that_others_can_read_is_refused(self, tmp_path: Path) -> None:
        file = put(tmp_path / "key.pem", pem(ed25519.Ed25519PrivateKey.generate()), 0o644)
        with pytest.raises(SettingsError, match="can be read by others"):
            self.opened(str(file))

    def test_what_is_no_key_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="no private key in PEM form"):
            self.opened(str(put(tmp_path / "key.pem", "planted")))


def test_the_ledgers_keys_can_be_a_secret_in_place_of_files(tmp_path: Path) -> None:
    loaded = settings.load(tmp_path)
    clock = SetClock(datetime(2026, 11, 24, 18, tzinfo=UTC))
    given = {"RECON_LEDGER_KEYS": f"hk1={'5e' * 32}\nhk2={'7a' * 32}"}
    with evidence.open_ledger(loaded, clock, given) as opened:
        assert opened.names.versions == (1, 2)
        name = opened.names.address("ada@buyer.example")
    assert not list(tmp_path.rglob("*.key"))
    with evidence.open_ledger(loaded, clock, given) as opened:
        assert opened.names.address("ada@buyer.example") == name
    with pytest.raises(LedgerError, match="is not in"):
        evidence.open_ledger(loaded, clock, {})
    with pytest.raises(LedgerError, match="is not the one that the ledger"):
        evidence.open_ledger(loaded, clock, {"RECON_LEDGER_KEYS": f"hk2={'00' * 32}"})
    for text in ("planted", f"hk1={'5e' * 31}", f"hk1={'5e' * 32} hk1={'5e' * 32}", f"hk0={'5e' * 32}"):
        with pytest.raises(LedgerError, match="holds something else") as caught:
            evidence.open_ledger(loaded, clock, {"RECON_LEDGER_KEYS": text})
        assert text not in str(caught.value)


LOOK_LIKE_ONE = {
    "salesforce.username": "3MVG9lKcPoNINVBIPJjdw1J9LLJ82HnFVVX19KY1uA5mu0QqEWhqKpoW3svG3XHrXDiCQjK1mdgAvhCscA9GE",
    "report.title": "-----BEGIN ENCRYPTED PRIVATE KEY-----",
    "salesforce.instance_url": "https://user:hunter2secret@acme.my.salesforce.com",
    "salesforce.consumer_secret_env": "1E2D3C4B5A69788796A5B4C3D2E1F00112233445566778899AABBCCDDEEFF001",
    "sales_connect.gateway.token_env": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "report.organisation": "00D5g000004LbPq!AQEAQPlanted_session.id.of.an.org",
    "sales_connect.encoding": "Bearer abcdefgh12345678",
    "run.people": "x/9f8e7d6c5b4a39281706f5e4d3c2b1a0.csv",
}


class TestRefusedInTheFile:
    @pytest.mark.parametrize("path", LOOK_LIKE_ONE)
    def test_a_value_that_looks_like_a_secret_is_refused_and_not_repeated(self, tmp_path: Path, path: str) -> None:
        section, _, name = path.rpartition(".")
        value = LOOK_LIKE_ONE[path]
        (tmp_path / "recon.toml").write_text(f"[{section}]\n{name} = {json.dumps(value)}\n")
        with pytest.raises(SettingsError, match=f"{re.escape(path)}: this looks like ") as caught:
            settings.load(tmp_path)
        assert value[8:30] not in str(caught.value)
        assert "[secrets]" in str(caught.value)

    @pytest.mark.parametrize("value", ["hunter-2!", "my secret", "7UP", "a" * 70])
    def test_the_name_of_a_variable_has_to_be_one(self, tmp_path: Path, value: str) -> None:
        (tmp_path / "recon.toml").write_text(f'[salesforce]\npassword_env = "{value}"\n')
        with pytest.raises(SettingsError, match=r"salesforce\.password_env: this is no name") as caught:
            settings.load(tmp_path)
        assert value not in str(caught.value)

    def test_a_secret_under_a_name_of_its_own_is_told_apart_from_a_slip(self, tmp_path: Path) -> None:
        (tmp_path / "recon.toml").write_text('[salesforce]\nconsumer_secret = "short"\n')
        with pytest.raises(SettingsError, match="there is no such setting, and secrets don't belong here"):
            settings.load(tmp_path)

    @pytest.mark.parametrize(
        "value",
        [
            *("RECON_LEDGER_SIGNING_KEY_PASSPHRASE", "https://acme--uat.sandbox.my.salesforce.com:443/x?y=1"),
            *("/srv/data/2026-11-24/SalesConnect-export-20261124T180000Z.csv", "Marketo_Sales_Opt_Out__c"),
            *("integration.user@acme.example.com", "Ann Lee <ann.lee@example.com>", "003xx000004TmiQAAS"),
            *("Bearer of good news", "America/Argentina/Buenos_Aires", "20261124T180000Z-1a2b3c4d", "é" * 40, ""),
        ],
    )
    def test_what_settings_hold_otherwise_does_not(self, value: str) -> None:
        assert secret_looks.kind(value) is None

    def test_neither_do_the_defaults_nor_a_number_in_a_register(self) -> None:
        assert list(secret_looks.found(Settings().model_dump(mode="json"))) == []
        odd = {"evidence": {"controller_identifier": "529900T8BM49AURSDO55", "notices": {"a": {"sha256": "5e" * 32}}}}
        assert list(secret_looks.found(odd)) == []


def test_what_was_handed_out_is_taken_out_of_a_text_in_every_form() -> None:
    value = 'planted "1" + \\ é/&'
    assert resolver({NAME: value})[NAME] == value
    forms = [value, quote(value, safe=""), json.dumps(value), repr(value), base64.b64encode(value.encode()).decode()]
    shown = secrets.redacted("; ".join(forms))
    assert "planted" not in shown
    assert shown.count("[secret]") == len(forms)
    assert secrets.redacted("nothing here") == "nothing here"
    assert secrets.redacted("ab cd", ["ab"]) == "ab cd"  # too short to be looked for
