"""What the commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from recon.progress import Progress

#: Exit code: done, and something needs action.
NEEDS_ACTION = 3

existing_file = click.Path(path_type=Path)
a_folder = click.Path(file_okay=False, path_type=Path)

workspace = click.option(
    "--workspace", "-w", type=a_folder, default=Path(), help="Folder with recon.toml; this one by default."
)


def is_quiet() -> bool:
    """Whether `--quiet` was given."""
    context = click.get_current_context(silent=True)
    return bool(context and context.find_root().params.get("quiet"))


def say(text: str) -> None:
    """Print what a command did, unless it is to be quiet."""
    if not is_quiet():
        click.echo(text)


def progress() -> Progress:
    """Where progress is shown."""
    from recon.progress import SILENT, Progress

    return SILENT if is_quiet() else Progress()
