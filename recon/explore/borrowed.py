"""An engine that is lent to one question: what was held for it can be let go of, and what others hold in the same engine stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pyarrow as pa

    from recon.engine import Engine, Frame
    from recon.tables import Table


class Borrowed:
    """Another engine, that remembers what is held through it.

    `release` lets go of that alone. An engine's own lets go of everything, also of what another reconciliation in the same connection is made of.

    Parameters
    ----------
    engine
        Where the frames live.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._held: list[Frame] = []

    @property
    def name(self) -> str:
        """The engine's name."""
        return self._engine.name

    def take(self, native: Any, table: Table) -> Frame:
        """As the engine does."""
        return self._remembered(self._engine.take(native, table))

    def bring(self, table: pa.Table) -> Frame:
        """As the engine does."""
        return self._remembered(self._engine.bring(table))

    def read_parquet(self, path: Path, table: Table) -> Frame:
        """As the engine does; a file isn't held."""
        return self._engine.read_parquet(path, table)

    def number(self, frame: Frame, by: list[str], name: str) -> Frame:
        """As the engine does."""
        return self._remembered(self._engine.number(frame, by, name))

    def sort(self, frame: Frame, by: str) -> Frame:
        """As the engine does."""
        return self._remembered(self._engine.sort(frame, by))

    def hold(self, frame: Frame) -> Frame:
        """As the engine does."""
        return self._remembered(self._engine.hold(frame))

    def beside(self, left: Frame, right: Frame, on: str) -> Frame:
        """As the engine does."""
        return self._remembered(self._engine.beside(left, right, on))

    def release(self, *keep: Frame) -> None:
        """Let go of what was held through here, but these."""
        held, self._held = self._held, list(keep)
        self._engine.drop(*(frame for frame in held if not any(frame is each for each in keep)))

    def drop(self, *frames: Frame) -> None:
        """As the engine does."""
        self._held = [frame for frame in self._held if not any(frame is each for each in frames)]
        self._engine.drop(*frames)

    def apart(self) -> AbstractContextManager[None]:
        """As the engine does."""
        return self._engine.apart()

    def collect(self, frame: Frame) -> pa.Table:
        """As the engine does."""
        return self._engine.collect(frame)

    def batches(self, frame: Frame, table: Table) -> Iterator[pa.RecordBatch]:
        """As the engine does."""
        return self._engine.batches(frame, table)

    def give(self, frame: Frame, table: Table) -> Any:
        """As the engine does."""
        return self._engine.give(frame, table)

    def _remembered(self, frame: Frame) -> Frame:
        self._held.append(frame)
        return frame
