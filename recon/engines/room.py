"""No room left in memory or on the disk: said as a sentence that names the setting, in place of an engine's own error."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from recon.errors import NoRoom

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recon.settings import RunSettings

#: DuckDB says it in words only.
_DISK_IS_FULL = ("No space left on device", "max_temp_directory_size")


@contextmanager
def enough_room(run: RunSettings, engine: str) -> Iterator[None]:
    """Compute with an engine; nothing that it holds is in what is said where there is no room.

    Parameters
    ----------
    run
        `memory` and `spill` are named in the error.
    engine
        The engine's name. Only DuckDB goes by these settings.

    Raises
    ------
    NoRoom
        If the memory that the engine may use, or the disk that it spills to, isn't enough.
    """
    try:
        yield
    except MemoryError:
        raise NoRoom(*_of_memory(run, engine)) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise NoRoom(*_of_disk(run)) from None
    except Exception as error:
        import duckdb

        if isinstance(error, duckdb.Error) and any(words in str(error) for words in _DISK_IS_FULL):
            raise NoRoom(*_of_disk(run)) from None
        if isinstance(error, duckdb.OutOfMemoryException):
            raise NoRoom(*_of_memory(run, engine)) from None
        raise


def _of_memory(run: RunSettings, engine: str) -> tuple[str, str]:
    if engine != "duckdb":
        return (
            f"the data don't fit in memory with the engine {engine!r}.",
            "Take the engine auto: it spills to the disk what doesn't fit.",
        )
    limit = "80 % of this machine's" if run.memory is None else f"run.memory = {run.memory!r}"
    return (
        f"the memory that the engine may use ({limit}) isn't enough for these data.",
        "Set run.memory in recon.toml to more, or reconcile on a machine that has more. Nothing was written.",
    )


def _of_disk(run: RunSettings) -> tuple[str, str]:
    where = "the system's folder for temporary files" if run.spill is None else f"{run.spill}"
    return (
        f"a disk is full: that of the run, or that of {where}, where the engine puts what doesn't fit in memory.",
        "Make room, set run.spill in recon.toml to a folder that has more, or run.memory to more. Nothing was written.",
    )
