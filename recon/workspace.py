"""A workspace: the folder that recon works in. `recon init` makes one, with every setting explained."""

from __future__ import annotations

import difflib
import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING

from recon import settings, settings_file
from recon.errors import ReconError, UsageError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

#: Folders for data: readable by their owner alone, and never part of a repository.
DATA_FOLDERS = ("reports", "inbox", "snapshots")

_GITIGNORE = """\
# Extracts, snapshots and what runs leave behind hold personal data, the ledger is evidence: they never go into a repository.
/inbox/
/ledger/
/reports/
/snapshots/
/.recon*.lock
.ipynb_checkpoints/
"""

_README = """\
# Opt-out reconciliation: a workspace of recon

| here | is |
|---|---|
| `recon.toml` | every setting, its meaning and its default; secrets stay outside, where it says |
| `notebooks/` | the batch job: pull, reconcile, report; `04_resubscribe`, for approved files; `05_explore`, for questions; they can be opened in Jupyter, too |
| `inbox/` | where extracts of Sales Connect and Salesforce go |
| `snapshots/` | both datasets as they were pulled |
| `reports/` | one folder a run: `compliance.html`, `actions.csv`, `merged.parquet`, `manifest.json`, executed notebooks |

    recon pull     both datasets into a snapshot
    recon diff     what needs action, from the newest snapshot
    recon report   compliance.html of the newest run
    recon run      all three through the notebooks, with executed copies kept
    recon doctor   is everything ready for a run, and what to do where it isn't
    recon prune    deletes old runs and snapshots, never the ledger

`inbox/`, `snapshots/` and `reports/` hold personal data: keep them out of repositories and shared drives.
"""


def init(folder: Path, *, force: bool = False) -> list[Path]:
    """Make a workspace. No recon.toml is ever overwritten.

    Parameters
    ----------
    folder
        Made where it isn't there. It may hold other things.
    force
        Bring an existing workspace up to date: recon.toml stays as it is, the notebooks are replaced by this version's.

    Returns
    -------
    list of Path
        What was made, folders included.

    Raises
    ------
    UsageError
        If there is a workspace already, or notebooks of these names that say something else; nothing is written then.
    """
    toml = folder / settings.FILE_NAME
    notebooks = {folder / "notebooks" / each.name: each.read_bytes() for each in _notebooks()}
    try:
        if not force:
            _refuse_existing(toml, notebooks)
        made = [*_folders(folder), *_texts(folder), *_written(notebooks)]
        if not toml.exists():
            # Last, so that an interrupted init can be repeated; and never over another one ("x").
            with toml.open("x", encoding="utf-8", newline="\n") as file:
                file.write(settings_file.default_text())
            made.append(toml)
    except OSError as error:
        raise ReconError(
            f"{error.filename or folder} can't be written: {error.strerror}.",
            hint="Name a folder where files can be written.",
        ) from error
    return made


def _refuse_existing(toml: Path, notebooks: dict[Path, bytes]) -> None:
    if toml.exists() or toml.is_symlink():
        raise UsageError(
            f"there is a workspace already: {toml}.", hint="It stays as it is. Edit it, or name another folder."
        )
    other = [path for path, content in notebooks.items() if path.exists() and path.read_bytes() != content]
    if other:
        raise UsageError(
            f"there are other notebooks already: {', '.join(map(str, other))}.",
            hint="They stay as they are. Move them away, or name another folder.",
        )


def _folders(folder: Path) -> list[Path]:
    made = []
    for path in (folder, folder / "notebooks", *(folder / name for name in DATA_FOLDERS)):
        if not path.is_dir():
            path.mkdir(parents=True, mode=0o700 if path.name in DATA_FOLDERS else 0o777)
            made.append(path)
    return made


def _texts(folder: Path) -> list[Path]:
    """The small files, where the folder has none of its own."""
    # A folder that ignores all of itself stays out of a repository whose .gitignore doesn't know it.
    texts = {folder / name / ".gitignore": "*\n" for name in DATA_FOLDERS}
    texts |= {folder / ".gitignore": _GITIGNORE, folder / "README.md": _README}
    return _written({path: text.encode() for path, text in texts.items() if not path.exists()})


def _written(files: dict[Path, bytes]) -> list[Path]:
    changed = [path for path, content in files.items() if not path.exists() or path.read_bytes() != content]
    for path in changed:
        path.write_bytes(files[path])
    return changed


def find(start: str | Path = ".") -> Path:
    """The workspace that a folder lies in: itself, or the nearest one above it with a recon.toml.

    Raises
    ------
    UsageError
        If there is none.
    """
    folder = Path(start).absolute()
    for each in (folder, *folder.parents):
        if (each / settings.FILE_NAME).is_file():
            return each
    raise UsageError(
        f"there is no {settings.FILE_NAME} in {folder} or above it.", hint="`recon init DIR` makes a workspace."
    )


def existing(folder: Path) -> Path:
    """The folder as an absolute path, where it is a workspace.

    Raises
    ------
    UsageError
        If it holds no recon.toml.
    """
    if not (folder / settings.FILE_NAME).is_file():
        raise UsageError(
            f"there is no {settings.FILE_NAME} in {folder.absolute()}.", hint="`recon init DIR` makes a workspace."
        )
    return folder.absolute()


def notebook_source(folder: Path, name: str) -> Traversable:
    """A notebook by its name: the workspace's own, or the one that came with recon.

    Raises
    ------
    UsageError
        If there is none of this name.
    """
    own = folder / "notebooks" / f"{name}.ipynb"
    if own.is_file():
        return own
    shipped = {each.name.removesuffix(".ipynb"): each for each in _notebooks()}
    if name in shipped:
        return shipped[name]
    names = sorted({*shipped, *(path.stem for path in (folder / "notebooks").glob("*.ipynb"))})
    close = difflib.get_close_matches(name, names, n=1)
    raise UsageError(
        f"there is no notebook {name!r} in {folder / 'notebooks'}"
        + (f"; did you mean {close[0]}?" if close else f"; there are {', '.join(names)}.")
    )


def _notebooks() -> list[Traversable]:
    """The notebooks that came with recon: within an installed package, beside it in a checkout."""
    package = importlib.resources.files("recon")
    folder: Traversable = package / "_notebooks"
    if not folder.is_dir():
        folder = Path(str(package)).parent / "notebooks"
    found = [each for each in folder.iterdir() if each.name.endswith(".ipynb")] if folder.is_dir() else []
    return sorted(found, key=lambda each: each.name)
