"""A workspace's ledger: opened, checkpointed after every run that changes something, and handed out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recon import secrets
from recon.errors import UsageError
from recon.ledger import Ledger, Notice, Terms
from recon.ledger.checkpoint import Unreadable
from recon.ledger.checkpoint import read as read_checkpoints
from recon.ledger.pseudonym import keys_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from recon.clock import Clock
    from recon.ledger import Checkpoint
    from recon.settings import Settings

#: Beside the ledger: enough to notice an accident. Against somebody who may write here, copies have to leave the machine.
CHECKPOINTS = "checkpoints.jsonl"


def open_ledger(loaded: Settings, clock: Clock, environ: Mapping[str, str] | None = None) -> Ledger:
    """Open the workspace's ledger; the first time, make it. Its keys are files, or a secret (`evidence.keys_env`)."""
    given = keys_of(secrets.resolver(loaded, environ).get(loaded.evidence.keys_env, ""))
    return Ledger.open(loaded.run.ledger, clock=clock, keys=loaded.evidence.keys, given=given)


def take_checkpoint(
    ledger: Ledger, loaded: Settings, folder: Path | None, environ: Mapping[str, str] | None = None
) -> Checkpoint:
    """Record where the ledger stands, beside it and in a run's folder.

    Parameters
    ----------
    folder
        The run's folder; None writes the workspace's file alone.
    environ
        Names the signing key, see the setting `evidence.signing_key_env`.
    """
    key = signing_key(loaded, environ)
    point = ledger.checkpoint(loaded.run.ledger / CHECKPOINTS, key)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        ledger.checkpoint(folder / CHECKPOINTS, key)
    return point


def signing_key(loaded: Settings, environ: Mapping[str, str] | None = None) -> bytes | None:
    """The key that checkpoints are signed with (PEM, without a passphrase); None where there is none.

    Raises
    ------
    SettingsError
        If its file can be read by others or lies in the workspace, or it can't be read with its passphrase.
    """
    said = loaded.evidence
    return secrets.private_key(
        secrets.resolver(loaded, environ),
        said.signing_key_env,
        said.signing_key_passphrase_env,
        setting="evidence.signing_key_env",
        holds="the key that signs checkpoints",
        optional=True,
    )


def cover(ledger: Ledger, loaded: Settings, folder: Path, environ: Mapping[str, str] | None = None) -> None:
    """Take a checkpoint as `take_checkpoint` does, unless the newest one beside the ledger covers all of it."""
    file = loaded.run.ledger / CHECKPOINTS
    try:
        newest = read_checkpoints(file)[-1].size if file.is_file() else 0
    except Unreadable:
        newest = -1  # taking one tells what is wrong with the file
    if newest != ledger.head().size:
        take_checkpoint(ledger, loaded, folder, environ)


def head(point: Checkpoint) -> dict[str, Any]:
    """A checkpoint as it stands in a run's manifest."""
    return point.as_json()


def pruned_checkpoints(loaded: Settings, run_id: str) -> Path:
    """Where the checkpoints of a run's folder go when the run is pruned."""
    return loaded.run.ledger / "checkpoints" / f"{run_id}.jsonl"


def checkpoint_files(loaded: Settings) -> list[Path]:
    """The checkpoints that the workspace itself holds: beside the ledger, and in the runs' folders, pruned ones too."""
    pruned = pruned_checkpoints(loaded, "*")
    found = [
        loaded.run.ledger / CHECKPOINTS,
        *sorted(loaded.run.reports.glob(f"*/{CHECKPOINTS}")),
        *sorted(pruned.parent.glob(pruned.name)),
    ]
    return [path for path in found if path.is_file()]


def terms(loaded: Settings) -> Terms:
    """What every consent record says alike.

    Raises
    ------
    UsageError
        If the settings don't say who the controller is: a consent record without it is none (ISO 27560).
    """
    said = loaded.evidence
    needed = ("controller_name", "controller_identifier", "controller_address", "controller_contact", "withdraw_at")
    missing = [name for name in needed if not getattr(said, name)]
    if missing:
        raise UsageError(
            f"consent records need to say who answers for the data: {', '.join(missing)} under [evidence].",
            hint="Write them in recon.toml.",
        )
    return Terms(
        name=said.controller_name,
        identifier=said.controller_identifier,
        address=said.controller_address,
        contact=said.controller_contact,
        withdraw_at=said.withdraw_at,
        notices={
            code: Notice(url=each.url, date=each.date, language=each.language, sha256=each.sha256)
            for code, each in said.notices.items()
        },
        locations=tuple(said.locations),
    )
