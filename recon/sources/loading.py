"""Files straight into an engine, where it has a way of its own to read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from recon.engine import Engine
    from recon.sources.quick import Quick
    from recon.tables import Table


def quick_of(engine: Any, *, names: bool = False) -> Quick | None:
    """The engine's own way of reading files, where it has one.

    Parameters
    ----------
    names
        Are the names of persons read, too? No rule looks at them; a snapshot keeps them.
    """
    connection = getattr(engine, "connection", None)
    if connection is None:
        return None
    from recon.sources.quick import Quick

    return Quick(connection, engine.adopt, names=names)


def together(tables: Sequence[Any], engine: Engine, shape: Table) -> Any:
    """Several tables in one, or in one frame where a quick reader has read any of them.

    Parameters
    ----------
    tables
        At least one, each an Arrow table or a frame of the engine.
    shape
        Theirs.
    """
    if not any(isinstance(table, nw.LazyFrame) for table in tables):
        return pa.concat_tables([shape.conform(table) for table in tables])
    frames = [table if isinstance(table, nw.LazyFrame) else engine.hold(engine.take(table, shape)) for table in tables]
    return frames[0] if len(frames) == 1 else nw.concat(frames, how="vertical")


def in_order(table: Any, engine: Engine, shape: Table, by: str) -> Iterator[pa.Table]:
    """The rows of such a table in the order of their ids, in parts; of a frame no more than a part is in recon's own memory."""
    if not isinstance(table, nw.LazyFrame):
        yield shape.conform(table).sort_by(by)
        return
    ordered = engine.sort(table, by)
    engine.drop(table)
    for batch in engine.batches(ordered, shape):
        yield pa.Table.from_batches([batch])
    engine.drop(ordered)
