"""Checkpoints: where the chain stood at a time, kept where whoever may change the ledger can't change them.

A chain alone shows that an entry was edited, but not that the end was cut off or that all of it was computed anew. A checkpoint that left
the machine in time (in a report, a ticket, a mail, a write-once store) shows both. A signature with a key that the analyst doesn't
hold also shows that the checkpoint itself is the one that was issued.

A file of checkpoints has one JSON object a line, the oldest first: `{"head", "size", "time", "tool"}` and, where signed, `"signature"`.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recon.disk import sync_folder
from recon.errors import UsageError
from recon.ledger import kinds
from recon.ledger.canonical import NotCanonical, canonical, parse
from recon.ledger.chain import GENESIS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_DOMAIN = b"recon-checkpoint/v1\0"
_ALGORITHM = "Ed25519"


class Unreadable(ValueError):
    """A file, or a line of it, that is no checkpoint."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a chain stood.

    Attributes
    ----------
    size, head
        How many entries, and the last one's hash.
    time
        When, UTC.
    tool
        The version that wrote it.
    signature
        64 bytes of Ed25519 over all of the above, or None.
    """

    size: int
    head: str
    time: str
    tool: str
    signature: bytes | None = None

    def signed_text(self) -> bytes:
        """What a signature is over."""
        return _DOMAIN + canonical(self._claim())

    def as_json(self) -> dict[str, Any]:
        """The checkpoint as it stands in a file."""
        if self.signature is None:
            return self._claim()
        value = base64.b64encode(self.signature).decode()
        return self._claim() | {"signature": {"algorithm": _ALGORITHM, "value": value}}

    def line(self) -> str:
        """The checkpoint as one line of a file."""
        return canonical(self.as_json()).decode()

    def lines(self) -> list[str]:
        """The checkpoint for people: for a report's footer, a ticket, a mail."""
        signed = "signed" if self.signature is not None else "not signed"
        return [f"Ledger checkpoint of {self.time}: {self.size} entries, head {self.head} ({signed}, {self.tool})."]

    def _claim(self) -> dict[str, Any]:
        return {"head": self.head, "size": self.size, "time": self.time, "tool": self.tool}


def from_json(value: Any) -> Checkpoint:
    """A checkpoint from its JSON.

    Raises
    ------
    Unreadable
        If it is none.
    """
    if not isinstance(value, dict) or not {"head", "size", "time", "tool"} <= set(value):
        raise Unreadable("no checkpoint")
    found: dict[str, Any] = value
    head, size, time, tool = (found[key] for key in ("head", "size", "time", "tool"))
    signed = found.get("signature")
    if not (kinds.HASH.fits(head) and kinds.COUNT.fits(size) and kinds.WHEN.fits(time) and isinstance(tool, str)):
        raise Unreadable("no checkpoint")
    if (size == 0) != (head == GENESIS):
        raise Unreadable("no checkpoint")
    if signed is None:
        return Checkpoint(size, head, time, tool)
    try:
        if signed["algorithm"] != _ALGORITHM:
            raise Unreadable("a signature of another kind")
        return Checkpoint(size, head, time, tool, base64.b64decode(signed["value"], validate=True))
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise Unreadable("no signature") from None


def read(path: Path) -> list[Checkpoint]:
    """Read a file of checkpoints.

    Raises
    ------
    UsageError
        If there is no such file.
    Unreadable
        If a line of it is no checkpoint, or there is none in it.
    """
    try:
        text = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UsageError(
            f"there is no checkpoint file {path}.", hint="Name the file that a run wrote its checkpoint to."
        ) from None
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise Unreadable("the file is empty")
    try:
        return [from_json(parse(line)) for line in lines]
    except NotCanonical:
        raise Unreadable("a line is no checkpoint") from None


def write(path: Path, checkpoints: Sequence[Checkpoint]) -> None:
    """Write a file of checkpoints, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        with unfinished.open("x", encoding="utf-8") as out:
            out.writelines(point.line() + "\n" for point in checkpoints)
            out.flush()
            os.fsync(out.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sign(point: Checkpoint, key: Path | bytes, password: bytes | None = None) -> Checkpoint:
    """The checkpoint with a signature.

    Parameters
    ----------
    point
        What to sign.
    key
        A PEM file with an Ed25519 private key, or what such a file holds.
    password
        The key's password, where it has one.

    Raises
    ------
    UsageError
        If there is no such key in it.
    """
    signature = _private(key, password).sign(point.signed_text())
    return Checkpoint(point.size, point.head, point.time, point.tool, signature)


def signature_holds(point: Checkpoint, key: Ed25519PublicKey) -> bool:
    """Tell whether a checkpoint was signed with the private half of a key."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(point.signature or b"", point.signed_text())
    except InvalidSignature:
        return False
    return True


def public_key(path: Path) -> Ed25519PublicKey:
    """Read an Ed25519 public key from a PEM file.

    Raises
    ------
    UsageError
        If the file holds no such key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(
            f"{path} holds no Ed25519 public key.", hint="Ask whoever signs the checkpoints for the public key (PEM)."
        )
    return key


def _private(source: Path | bytes, password: bytes | None) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(source if isinstance(source, bytes) else source.read_bytes(), password)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(
            f"{'the signing key' if isinstance(source, bytes) else source} holds no Ed25519 private key that can be read.",
            hint="Make one with: openssl genpkey -algorithm ed25519 -out signing.pem",
        )
    return key


def new_key_pair(private: Path, public: Path) -> None:
    """Make a key pair to sign checkpoints with. Keep the private half away from who runs recon.

    Parameters
    ----------
    private, public
        PEM files that don't exist yet; the private one is readable by its owner only.
    """
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    handle = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()))
    with public.open("xb") as out:
        out.write(key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo))
