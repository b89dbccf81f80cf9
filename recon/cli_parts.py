"""What the commands have in common."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from recon.progress import Progress

#: Exit code: done, and something needs action.
NEEDS_ACTION = 3


class _NewFile(click.Path):
    """A file to write: told at once where that can't work, not after the work is done."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"there is no folder {path.parent}.", param, ctx)
        return path


existing_file = click.Path(path_type=Path)
new_file = _NewFile(dir_okay=False, path_type=Path)
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
