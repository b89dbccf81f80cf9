"""Names that only the holder of a key can tell: HMAC-SHA-256 of addresses, record ids and actors.

A plain hash of an address hides nothing: addresses can be guessed by the million. With a random key of 32 bytes, guessing needs the key.
The key lies in a file of its own that only its owner can read, and a pseudonym names the version of its key: `hk1:` and 128 bits in hex.
Pseudonyms are still personal data; with the key they lead to the person. To forget what an old key named, destroy its file.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
from types import MappingProxyType
from typing import TYPE_CHECKING

from recon.disk import of_a_stranger, sync_folder
from recon.ledger.errors import LedgerError
from recon.ledger.kinds import PSEUDONYM

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from pathlib import Path

KEY_BYTES = 32

_DOMAIN = b"recon-pseudonym/v1\0"
_KEY_FILE = re.compile(r"pseudonyms-hk([1-9][0-9]{0,5})\.key", re.ASCII)
_KEY_SAID = re.compile(r"hk([1-9][0-9]{0,5})=([0-9a-f]{64})", re.ASCII)
_KEY_TEXT = re.compile(r"[0-9a-f]{64}\n?", re.ASCII)
_HEX_SHOWN = 32

ADDRESS, TEXT, RECORD, ACTOR = "address", "text", "record", "actor"


class Pseudonyms:
    """The keys of a ledger, and the names that they make.

    Parameters
    ----------
    keys
        Key bytes by version; the highest version names what is new.
    """

    def __init__(self, keys: dict[int, bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys.values()):
            raise ValueError(f"pseudonyms need keys of {KEY_BYTES} bytes")
        self._keys = dict(sorted(keys.items()))

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions whose keys are there."""
        return tuple(self._keys)

    def address(self, email: str) -> str:
        """The pseudonym of an address, by the form in which addresses are compared; a text that is no address has one too."""
        return self._named(*_address(email))

    def record(self, system: str, record_id: str) -> str:
        """The pseudonym of a record: `sales_connect` or `salesforce`, and its id there (15 or 18 characters)."""
        return self._named(RECORD, _uid(system, record_id))

    def actor(self, who: str) -> str:
        """The pseudonym of somebody who acts: an admin, an approver, a requester."""
        return self._named(ACTOR, who.strip().casefold())

    def of(self, text: str) -> set[str]:
        """Every pseudonym that a text may have, under every key that is there.

        Parameters
        ----------
        text
            An address, `system:id`, a bare id of either system, an actor, or a pseudonym.
        """
        text = text.strip()
        if PSEUDONYM.fullmatch(text):
            return {text}
        system, colon, record_id = text.partition(":")
        known = colon and system in ("sales_connect", "salesforce")
        uids = [_uid(system, record_id)] if known else [_uid("sales_connect", text), _uid("salesforce", text)]
        forms = [_address(text), (ACTOR, text.casefold()), *((RECORD, uid) for uid in uids)]
        return {self._named(*form, version=version) for form in forms for version in self._keys}

    def fingerprint(self, version: int) -> str:
        """What tells a key from another one without telling the key."""
        return hmac.digest(self._keys[version], _DOMAIN + b"fingerprint", "sha256").hex()[:16]

    def _named(self, space: str, text: str, *, version: int | None = None) -> str:
        version = max(self._keys) if version is None else version
        message = _DOMAIN + space.encode() + b"\0" + text.encode(errors="surrogatepass")
        return f"hk{version}:{hmac.digest(self._keys[version], message, 'sha256').hex()[:_HEX_SHOWN]}"


def _address(email: str) -> tuple[str, str]:
    from recon.identity import address  # brings the table libraries along, and most of the ledger needs none

    comparable = address(email)
    return (TEXT, email.strip().casefold()) if comparable is None else (ADDRESS, comparable)


def _uid(system: str, record_id: str) -> str:
    record_id = record_id.strip()
    if system == "salesforce":
        from recon.sources.ids import salesforce_id_18

        record_id = salesforce_id_18(record_id) or record_id
    return f"{system}:{record_id}"


def keys_of(text: str) -> dict[int, bytes]:
    """The keys that a secret's text holds: `hk1=64 hexadecimal digits`, further ones after a blank or a line break.

    Raises
    ------
    LedgerError
        If it holds anything else. It is not repeated.
    """
    found = {}
    for part in text.split():
        fits = _KEY_SAID.fullmatch(part)
        if fits is None or int(fits[1]) in found:
            raise LedgerError(
                "the secret with the ledger's keys holds something else, or a version twice.",
                hint="Write it like hk1=0123...: the version, and the 64 digits that the file pseudonyms-hk1.key holds.",
            )
        found[int(fits[1])] = bytes.fromhex(fits[2])
    return found


def held(
    db: sqlite3.Connection, path: Path, folder: Path, given: Mapping[int, bytes] = MappingProxyType({})
) -> Pseudonyms:
    """The pseudonyms' keys, held against those that were used before; the first time, a new one.

    Parameters
    ----------
    db, path
        The ledger.
    folder
        Where the keys' files are.
    given
        Keys that come from elsewhere; they come before a file of the same version.

    Raises
    ------
    LedgerError
        If the newest key is missing, or a key is another one.
    """
    known = dict(db.execute("SELECT version, fingerprint FROM key").fetchall())
    keys = read_keys(folder) | dict(given)
    if not known and not keys:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new_key(folder, 1)
        keys = read_keys(folder)
    newest = max(known, default=0)
    if max(keys, default=0) < newest:
        raise LedgerError(
            f"the key hk{newest} of the ledger {path} is not in {folder}: without it nobody's entries can be found.",
            hint="Put the file back from your backup. If it is lost, `recon.ledger.replace_key` begins with a new one.",
        )
    names = Pseudonyms(keys)
    for version in names.versions:
        fingerprint = names.fingerprint(version)
        if version not in known:
            db.execute("INSERT INTO key VALUES (?, ?) ON CONFLICT DO NOTHING", (version, fingerprint))
            known |= dict(db.execute("SELECT version, fingerprint FROM key WHERE version = ?", (version,)).fetchall())
        if known[version] != fingerprint:
            raise LedgerError(
                f"the key hk{version} in {folder} is not the one that the ledger {path} was written with.",
                hint="Put the right file back from your backup.",
            )
    return names


def read_keys(folder: Path) -> dict[int, bytes]:
    """The keys in a folder, by version.

    Raises
    ------
    LedgerError
        If a key file can be read by others or is theirs, or holds no key.
    """
    if not folder.is_dir():
        return {}
    files = [(int(found[1]), path) for path in folder.iterdir() if (found := _KEY_FILE.fullmatch(path.name))]
    return {version: _read_key(path) for version, path in sorted(files)}


def new_key(folder: Path, version: int) -> None:
    """Make the key file of a version, unless it is there: then that one counts, whoever made it."""
    final = folder / f"pseudonyms-hk{version}.key"
    unfinished = folder / f".{final.name}-{secrets.token_hex(8)}"
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as out:
            out.write(secrets.token_bytes(KEY_BYTES).hex() + "\n")
            out.flush()
            os.fsync(out.fileno())
        try:
            # A hard link appears whole, and only where there is nothing yet: two processes can't have two keys.
            os.link(unfinished, final)
        except FileExistsError:
            return
        sync_folder(folder)
    finally:
        unfinished.unlink()


def _read_key(path: Path) -> bytes:
    said = path.stat()
    if of_a_stranger(said):
        raise LedgerError(
            f"the key {path} belongs to another user (number {said.st_uid}): whoever has it can tell who is behind each pseudonym.",
            hint="Find out whose it is; then put the key into a file of your own with mode 600.",
        )
    if os.name != "nt" and stat.S_IMODE(said.st_mode) & 0o077:
        raise LedgerError(
            f"the key {path} can be read by others than its owner: whoever has it can tell who is behind each pseudonym.",
            hint=f"Find out who could read it, then run: chmod 600 {path}",
        )
    text = path.read_text(encoding="ascii", errors="replace")
    if not _KEY_TEXT.fullmatch(text):
        raise LedgerError(f"the file {path} holds no key of the ledger.", hint="Put the key back from your backup.")
    return bytes.fromhex(text)
