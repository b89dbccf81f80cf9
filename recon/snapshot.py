"""A snapshot: both sides as they were between two nightly runs, kept with the proof of where they came from.

A folder `<snapshots>/<id>/` with `people.parquet`, `records.parquet` and `manifest.json`; and, where Salesforce was read by API,
`history.parquet`, the newest changes of the opt-out fields, on which the next pull of what changed is built. It appears whole or not at all: everything is
written to a hidden folder beside it, which is then renamed. The id is the time (UTC) and the first digits of a hash over the manifest,
which in turn holds the files' hashes; so a changed file or a changed manifest is noticed when the snapshot is read. It holds personal data:
its folder is for its owner alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recon import __version__
from recon.clock import iso
from recon.disk import sha256, sync_folder
from recon.errors import InputRefused, Problem, ReconError, UsageError
from recon.settings import PLACES
from recon.sources.history import NEWEST
from recon.sources.increments import Base
from recon.sources.runs import read_parquet
from recon.sources.stored import Stored, store
from recon.tables import PEOPLE, RECORDS, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recon.clock import Clock
    from recon.settings import Settings
    from recon.sources.pulling import Pulled, PulledFiles

#: The manifest's version: a snapshot of another one is refused.
SCHEMA = 1
MANIFEST = "manifest.json"

_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
_SORTED_BY = {PEOPLE.name: "person_id", RECORDS.name: "record_id"}
_HISTORY = "history"
_AGAIN = "Use another snapshot, or run `recon pull` for a new one."


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Both sides, and where they came from.

    Attributes
    ----------
    id
        The folder's name: time and short hash, `20261124T180000Z-1a2b3c4d`.
    folder
        The snapshot's folder.
    people, records
        The Parquet files of the two tables, in the shapes of `recon.tables`, sorted by id.
    manifest
        What `manifest.json` holds.
    history
        The Parquet file of the newest changes of the opt-out fields; None where it has none.
    """

    id: str
    folder: Path
    people: Path
    records: Path
    manifest: dict[str, Any]
    history: Path | None = None


def write(folder: Path, pulled: Pulled | PulledFiles, settings: Settings, *, clock: Clock) -> Snapshot:
    """Write a snapshot.

    Parameters
    ----------
    folder
        The folder of snapshots; made where it is missing.
    pulled
        Both sides. Files are moved to their place.
    settings
        They go into the manifest, all but the paths; they hold no secrets, only the names of the variables that do.
    clock
        Tells the snapshot's time.

    Returns
    -------
    Snapshot
        As `read` gives it.

    Raises
    ------
    ReconError
        If it can't be written; nothing is left then.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Hidden, so that nobody takes it for a snapshot; in the same folder, so that the rename is one step.
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder))
        try:
            final = folder / _fill(unfinished, pulled, settings, clock)
            if not final.exists():  # else the same content of the same second: it is there already
                unfinished.rename(final)
                sync_folder(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return read(final)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ReconError(
            f"the snapshot can't be written to {folder}: {error.strerror}.",
            hint="Make room or give yourself the right to write there, or set another folder: snapshots under [run].",
        ) from error


def _fill(unfinished: Path, pulled: Pulled | PulledFiles, settings: Settings, clock: Clock) -> str:
    """Write the files and return the snapshot's id."""
    kept = {
        shape.name: _placed(shape, part, _file(unfinished, shape))
        for shape, part in ((PEOPLE, pulled.people), (RECORDS, pulled.records))
    }
    history = getattr(pulled, "history", None)
    if history is not None:
        kept[_HISTORY] = _moved(history, unfinished / f"{_HISTORY}.parquet")
    tables = {
        name: {
            "file": each.file.name,
            "rows": each.rows,
            "bytes": each.file.stat().st_size,
            "sha256": each.sha256,
        }
        for name, each in kept.items()
    }
    manifest = {
        "schema": SCHEMA,
        "created_at": iso(clock.now()),
        "tool": {"recon": __version__, "python": platform.python_version(), "pyarrow": pa.__version__},
        # Without the paths of [run]: they say where a workspace lies, not what was done.
        "settings": settings.model_dump(mode="json", exclude=PLACES),
        "straddles": pulled.straddles,
        "inputs": [part.as_json() for part in pulled.inputs],
        "rows": _counts(kept),
        "tables": tables,
    } | getattr(pulled, "about", {})
    manifest["id"] = _identity(manifest)
    with (unfinished / MANIFEST).open("w", encoding="utf-8", newline="\n") as out:
        out.write(_json(manifest))
        out.flush()
        os.fsync(out.fileno())
    return str(manifest["id"])


def _placed(shape: Table, part: pa.Table | Stored, file: Path) -> Stored:
    if isinstance(part, Stored):
        return _moved(part, file)
    conformed = shape.conform(part)
    rows = conformed.take(pc.sort_indices(conformed, sort_keys=[(_SORTED_BY[shape.name], "ascending")]))
    return store(file, [rows], shape.schema)


def _moved(part: Stored, file: Path) -> Stored:
    shutil.move(part.file, file)
    return Stored(file, part.rows, part.sha256)


def _counts(kept: dict[str, Stored]) -> dict[str, int]:
    counts = {"people": kept[PEOPLE.name].rows, "leads": 0, "contacts": 0, "deleted": 0}
    for block in read_parquet(kept[RECORDS.name].file, RECORDS.schema):
        leads = pc.sum(pc.equal(block.column("object"), "Lead"), min_count=0).as_py()
        counts["leads"] += leads
        counts["contacts"] += block.num_rows - leads
        counts["deleted"] += pc.sum(block.column("is_deleted"), min_count=0).as_py()
    return counts


def newest(folder: Path) -> Snapshot:
    """Read the newest snapshot of a folder; what was never finished doesn't count.

    Raises
    ------
    UsageError
        If there is none.
    InputRefused
        If it was damaged, see `read`. An older one is not taken in its place: it would be other data than the user expects.
    """
    ids = _ids(folder)
    if not ids:
        raise UsageError(f"there is no snapshot in {folder}.", hint="Run `recon pull` first.")
    return read(folder / ids[-1])


def _ids(folder: Path) -> list[str]:
    """The snapshots of a folder, the oldest first."""
    return sorted(path.name for path in folder.iterdir() if _ID.fullmatch(path.name)) if folder.is_dir() else []


def bases(folder: Path, wanted: str | None = None) -> list[Base]:
    """The snapshots that a pull of what changed may be built on, the newest first; their files are not looked at yet.

    Parameters
    ----------
    wanted
        Only the one with this id.

    Raises
    ------
    UsageError
        If it isn't there.
    """
    ids = _ids(folder)
    if wanted is not None and wanted not in ids:
        raise UsageError(f"there is no snapshot {wanted!r} in {folder}.", hint="Name one that is there, or none.")
    found = []
    for name in reversed(ids if wanted is None else [wanted]):
        path = folder / name
        try:
            manifest = _manifest(path)
        except InputRefused:
            continue
        history = path / f"{_HISTORY}.parquet" if _HISTORY in manifest["tables"] else None
        found.append(Base(name, _file(path, RECORDS), history, manifest.get("pull") or {}, partial(read, path)))
    return found


def read(path: Path) -> Snapshot:
    """Open a snapshot and hold it against its manifest.

    Parameters
    ----------
    path
        The snapshot's folder.

    Raises
    ------
    InputRefused
        If a file is missing, was changed since it was written, or is of another version of recon; with all that is wrong.
    """
    manifest = _manifest(path)
    problems = []
    for shape in (PEOPLE, RECORDS):
        file = _file(path, shape)
        fault = _fault(file, shape.schema, manifest["tables"][shape.name])
        if fault is not None:
            problems.append(Problem(str(file), fault, _AGAIN))
    history = path / f"{_HISTORY}.parquet" if _HISTORY in manifest["tables"] else None
    if history is not None and (fault := _fault(history, NEWEST, manifest["tables"][_HISTORY])) is not None:
        problems.append(Problem(str(history), fault, _AGAIN))
    if problems:
        raise InputRefused(problems)
    return Snapshot(path.name, path, _file(path, PEOPLE), _file(path, RECORDS), manifest, history)


def _file(folder: Path, shape: Table) -> Path:
    return folder / f"{shape.name}.parquet"


def _fault(file: Path, schema: pa.Schema, said: dict[str, Any]) -> str | None:
    try:
        if sha256(file) != said["sha256"]:
            return "the file was changed after it was written, or is damaged."
    except FileNotFoundError:
        return "the file is missing: the snapshot is incomplete."
    except OSError as error:
        return f"the file can't be read: {error.strerror}."
    found = pq.read_metadata(file)
    if found.schema.to_arrow_schema().remove_metadata() != schema or found.num_rows != said["rows"]:
        return "the file has other columns or rows than this recon expects: another version wrote it."
    return None


def _manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST

    def refused(message: str) -> InputRefused:
        return InputRefused([Problem(str(file), message, _AGAIN)])

    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise refused("the file is missing: this is no snapshot, or an incomplete one.") from None
    except OSError as error:
        raise refused(f"the file can't be read: {error.strerror}.") from None
    except ValueError:
        raise refused("the file is not JSON any more: it is damaged or cut short.") from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise refused(f"this recon reads snapshots of version {SCHEMA}, and this one is of another.")
    if manifest.get("id") != path.name or _identity(manifest) != path.name:
        raise refused("the file or the folder's name was changed after it was written.")
    return manifest


def _identity(manifest: dict[str, Any]) -> str:
    """The snapshot's id: its time and a hash of all that the manifest holds but the id."""
    content = {key: value for key, value in manifest.items() if key != "id"}
    at = re.sub(r"[-:]", "", str(content.get("created_at")))
    return f"{at}-{hashlib.sha256(_json(content).encode()).hexdigest()[:8]}"


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
