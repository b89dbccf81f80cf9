"""A run's tables, read by an engine that has them in memory only in part: a run may hold more records than fit."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv as pacsv

from recon.engine import engine_named
from recon.errors import ReconError, UsageError
from recon.tables import ACTIONS, MERGED, Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from recon.engine import Engine, Frame
    from recon.settings import RunSettings

AGAIN = "Run `recon diff` again and report on its folder; an edited file is no evidence."

#: The actions, each with its row in actions.csv.
_NUMBERED = Table(ACTIONS.name, ACTIONS.row_is, (Column("row", "count", "", required=True), *ACTIONS.columns))
#: A spreadsheet counts from 1, and the header is row 1.
_FIRST_ROW = 2
_BLOCK = 16 << 20


@dataclass(frozen=True, slots=True)
class RunTables:
    """The tables that a report is made of.

    Attributes
    ----------
    merged
        In the shape of `recon.tables.MERGED`.
    actions
        In the shape of `recon.tables.ACTIONS`, and `row`, its row in actions.csv as a spreadsheet counts them.
    engine
        Where they live.
    """

    merged: Frame
    actions: Frame
    engine: Engine

    def rows(self, frame: Frame) -> list[dict[str, Any]]:
        """The rows of a small frame over these tables."""
        found: list[dict[str, Any]] = self.engine.collect(frame).to_pylist()
        return found


def open_tables(run: Path, settings: RunSettings) -> RunTables:
    """Read merged.parquet and actions.csv of a run's folder.

    Parameters
    ----------
    settings
        `memory` and `spill` bound what of them is in memory.

    Raises
    ------
    ReconError
        If a file isn't such a table.
    """
    engine = engine_named("auto", memory=settings.memory, spill=settings.spill)
    return RunTables(_merged(run / "merged.parquet", engine), _actions(run / "actions.csv", engine), engine)


def _merged(file: Path, engine: Engine) -> Frame:
    with _a_table(file, "merged records"):
        return engine.read_parquet(file, MERGED)


def _actions(file: Path, engine: Engine) -> Frame:
    with _a_table(file, "actions"):
        return engine.hold(engine.take(pa.RecordBatchReader.from_batches(_NUMBERED.schema, _batches(file)), _NUMBERED))


@contextmanager
def _a_table(file: Path, of: str) -> Iterator[None]:
    """Refuse a file that can't be read as what it should be."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except (UsageError, ValueError, pa.ArrowException, duckdb.Error) as error:
        raise ReconError(f"{file}: not a table of {of}.", hint=AGAIN) from error


def _batches(file: Path) -> Iterator[pa.RecordBatch]:
    """The rows of actions.csv with their numbers."""
    convert = pacsv.ConvertOptions(
        column_types={column.name: column.arrow for column in ACTIONS},
        null_values=[""],
        strings_can_be_null=True,
        true_values=["true"],
        false_values=["false"],
    )
    reading = pacsv.ReadOptions(block_size=_BLOCK)
    parsing = pacsv.ParseOptions(newlines_in_values=True)
    row = _FIRST_ROW
    with pacsv.open_csv(file, read_options=reading, parse_options=parsing, convert_options=convert) as reader:
        for batch in reader:
            numbers = pa.array(range(row, row + batch.num_rows), pa.int64())
            table = pa.Table.from_batches([batch]).append_column("row", numbers)
            yield from _NUMBERED.conform(table).to_batches()
            row += batch.num_rows
