"""Where secrets come from: an environment variable, a file that only its owner can read, or the system's keyring; in this order.

Settings say *where* a secret is, never what it is. Each secret is known by the name of its environment variable, which a setting that
ends in `_env` gives; the same name is looked for in the folder `secrets.folder`, in the table [secrets.files], and in the keyring.
What was handed out is remembered, so that `redacted` can take it out of a text that goes to people.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

from recon.disk import of_a_stranger
from recon.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import BaseModel

    from recon.settings import SecretsSettings, Settings

#: Shorter values occur by chance within other words.
LEAST_LENGTH = 6

_RECON_TOML = "recon.toml"
_MOST_BYTES = 1 << 16
_PEM = "-----BEGIN "
_HIDDEN = "[secret]"

_told: set[str] = set()


class Secrets(Mapping[str, str]):
    """The environment, and for the names of secrets also the files and the keyring that the settings name.

    Parameters
    ----------
    where
        The section [secrets].
    names
        What is a secret: the values of the settings that end in `_env`.
    environ
        The environment.
    """

    def __init__(self, where: SecretsSettings, names: Iterable[str], environ: Mapping[str, str]) -> None:
        self._where, self._environ = where, environ
        self.names = frozenset(names)
        self._from_keyring: dict[str, str | None] = {}

    def __getitem__(self, name: str) -> str:
        if name not in self.names:
            return self._environ[name]
        found = self.found(name)
        if found is None:
            raise KeyError(name)
        value, _ = found
        remember(value)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)

    def found(self, name: str) -> tuple[str, str] | None:
        """A secret, and in words where it was: the first place in the order of precedence. None where it is nowhere.

        Raises
        ------
        SettingsError
            If a file can be read by others or is theirs, lies within a workspace or can't be read; or the keyring that is named can't be asked.
        """
        if value := self._environ.get(name, "").strip():
            return value, f"the environment variable {name}"
        if (file := self.file(name)) is not None:
            return read_private(file, f"the secret {name}").decode(
                "utf-8", errors="replace"
            ).strip(), f"the file {file}"
        if self._where.keyring is not None:
            if name not in self._from_keyring:
                self._from_keyring[name] = _ask_keyring(self._where.keyring, name)
            if value := (self._from_keyring[name] or "").strip():
                return value, f"the keyring, service {self._where.keyring}"
        return None

    def at_hand(self) -> tuple[str, ...]:
        """The values of all secrets that the environment and the files hold, those left out that are too short to be looked for in a text.

        A file that can't be used is passed over: who needs it is told. The keyring isn't asked.
        """
        values = set()
        for name in sorted(self.names):
            values.add(self._environ.get(name, "").strip())
            file = self.file(name)
            if file is not None and privacy_fault(file) is None:
                values.add(read_private(file, name).decode("utf-8", errors="replace").strip())
        # Most of a key is more than a path: where the variable holds a path, the path is no secret.
        return tuple(
            sorted(value for value in values if len(value) >= LEAST_LENGTH and not os.path.lexists(value[:4096]))
        )

    def places(self, name: str) -> str:
        """Where a secret may be, for a sentence that says it is nowhere."""
        places = [f"the environment variable {name}"]
        if name in self._where.files:
            places.append(f"the file {self._where.files[name]}")
        elif self._where.folder is not None:
            places.append(f"the file {self._where.folder / name}")
        if self._where.keyring is not None:
            places.append(f"the keyring (service {self._where.keyring}, user {name})")
        return ", ".join(places)

    def file(self, name: str) -> Path | None:
        """The secret's file. One that a setting names itself has to be there; one of the folder may be missing."""
        if name in self._where.files:
            return self._where.files[name]
        if self._where.folder is None:
            return None
        file = self._where.folder / name
        return file if os.path.lexists(file) else None


def resolver(loaded: Settings, environ: Mapping[str, str] | None = None) -> Secrets:
    """What `environ` arguments take: the environment (this process's own by default) and whatever else the settings name."""
    if isinstance(environ, Secrets):
        return environ
    return Secrets(loaded.secrets, names(loaded), os.environ if environ is None else environ)


def names(section: BaseModel) -> frozenset[str]:
    """The names of all secrets: what the settings that end in `_env` say."""
    return frozenset(_names(section))


def _names(section: BaseModel) -> Iterator[str]:
    for field, value in section:
        if hasattr(value, "model_fields_set"):
            yield from _names(value)
        elif field.endswith("_env"):
            yield value


def read_private(path: Path, what: str) -> bytes:
    """Read a file that holds a secret.

    Parameters
    ----------
    path
        The file.
    what
        What it holds, for messages, like "the secret RECON_GATEWAY_TOKEN".

    Raises
    ------
    SettingsError
        If it isn't a file of at most 64 KiB that only its owner can read, who runs this or is root, outside every workspace; or it is empty.
    """
    if (fault := privacy_fault(path)) is not None:
        message, hint = fault
        raise SettingsError(f"{what}: {message}", hint=hint)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{what}: {path} can't be read: {error.strerror}.", hint="See to its rights.") from None
    if not content.strip() or len(content) > _MOST_BYTES:
        said = "is empty" if not content.strip() else "is too large for a secret"
        raise SettingsError(f"{what}: the file {path} {said}.", hint="Write the secret into it, and nothing else.")
    return content


def privacy_fault(path: Path) -> tuple[str, str] | None:
    """Why a file may not hold a secret: what is wrong and what to do; None where all is well."""
    try:
        said = path.stat()
        real = path.resolve(strict=True)
    except OSError as error:
        return f"{path} can't be used: {error.strerror}.", "Write the path of the file that holds it."
    if not stat.S_ISREG(said.st_mode):
        return f"{path} is no file.", "Write the path of the file that holds it."
    # As it is written, without its "..", and as it is.
    for each in (Path(os.path.abspath(path)), real):  # noqa: PTH100 - resolve() would follow links
        for folder in each.parents:
            if (folder / _RECON_TOML).exists():
                return (
                    f"{path} lies within the workspace {folder}, which is copied, mailed and put into repositories.",
                    "Move it out of the workspace, for instance to a folder of your own with mode 700.",
                )
    if of_a_stranger(said):
        return (
            f"{path} belongs to another user (number {said.st_uid}), who can read and change it.",
            "Find out whose it is and change the secret if need be; then write it into a file of your own with mode 600.",
        )
    if os.name != "nt" and stat.S_IMODE(said.st_mode) & 0o077:
        return (
            f"{path} can be read by others than its owner (mode {stat.S_IMODE(said.st_mode):03o}).",
            f"Find out who could read it and change the secret if need be; then run: chmod 600 {path}",
        )
    return None


def private_key(
    environ: Mapping[str, str], variable: str, passphrase: str, *, setting: str, holds: str, optional: bool = False
) -> bytes | None:
    """A private key in PEM form without a passphrase, for use in memory.

    The secret is either the key itself (PEM) or the path of a file with it.

    Parameters
    ----------
    environ
        Holds the secrets.
    variable, passphrase
        The names of the key and of its passphrase.
    setting, holds
        The setting that gives the name, and what the key is, for messages.
    optional
        None instead of an error where there is no key at all.

    Raises
    ------
    SettingsError
        If there is no key, its file isn't private, or it can't be read with the passphrase.
    """
    said = environ.get(variable, "").strip()
    if not said:
        if optional:
            return None
        raise missing(environ, variable, setting=setting, holds=holds)
    pem = said.encode() if said.startswith(_PEM) else read_private(Path(said).expanduser(), f"{holds} ({variable})")
    return _opened(pem, environ.get(passphrase, "").strip(), f"{holds} ({variable})", passphrase)


def _opened(pem: bytes, passphrase: str, what: str, variable: str) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form

    encrypted = b"ENCRYPTED" in pem
    try:
        key = form.load_pem_private_key(pem, passphrase.encode() if encrypted and passphrase else None)
    except TypeError:
        raise SettingsError(
            f"{what} has a passphrase, and {variable} is not set.", hint=f"Set {variable}, or use a key without one."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        said = (
            "its passphrase is wrong, or it is no private key in PEM form"
            if encrypted
            else "it is no private key in PEM form"
        )
        raise SettingsError(
            f"{what} can't be used: {said}.", hint="Check the key, and its passphrase if it has one."
        ) from None
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())


def missing(environ: Mapping[str, str], variable: str, *, setting: str, holds: str) -> SettingsError:
    """The sentence that a secret is nowhere."""
    if isinstance(environ, Secrets) and variable in environ.names and environ.places(variable).count(", "):
        text = f"{holds} is nowhere to be found: neither in {environ.places(variable)}."
    else:
        text = f"the environment variable {variable} is not set; it has to hold {holds}."
    return SettingsError(
        text, hint=f"Set {variable}, name another variable in {setting}, or use a file or the keyring ([secrets])."
    )


def _ask_keyring(service: str, name: str) -> str | None:
    import keyring
    from keyring.errors import KeyringError, NoKeyringError

    hint = "Unlock it, or set secrets.keyring to nothing and use an environment variable or a file."
    try:
        return keyring.get_password(service, name)
    except NoKeyringError:
        raise SettingsError(
            f"the secret {name} was to come from the system's keyring, and this machine has none that recon can use.",
            hint="Install a backend for the package keyring, or take the line secrets.keyring out and use an environment variable or a file.",
        ) from None
    except (KeyringError, RuntimeError, OSError) as error:
        # The text of a backend may hold anything.
        raise SettingsError(
            f"the system's keyring couldn't be asked for the secret {name}: {type(error).__name__}.", hint=hint
        ) from None


def remember(value: str) -> None:
    """Have a secret taken out of every text that `redacted` is given."""
    if len(value) >= LEAST_LENGTH:
        _told.add(value)


def redacted(text: str, more: Iterable[str] = ()) -> str:
    """A text without the secrets that were handed out in this process, in the forms in which they go over the wire.

    Parameters
    ----------
    text
        Like a traceback that is about to be printed.
    more
        Further secrets.
    """
    known = {form for value in {*_told, *more} if len(value) >= LEAST_LENGTH for form in _forms(value)}
    if not known:
        return text
    return re.sub("|".join(map(re.escape, sorted(known, key=len, reverse=True))), _HIDDEN, text)


def _forms(value: str) -> set[str]:
    encoded = base64.b64encode(value.encode()).decode()
    lines = value.splitlines() if value.startswith(_PEM) else []
    body = {line for line in lines if len(line) > LEAST_LENGTH and not line.startswith("-")}
    written = {repr(value)[1:-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    return {value, quote(value, safe=""), quote_plus(value), encoded, *written, *body}
