"""pandas frames, computed by DuckDB.

A join or a grouping by text takes pandas several times as long as DuckDB, which reads a frame's columns by way of Arrow: a reconciliation
of frames of 750,000 rows took pandas' own engine 16 s of processor time, and this one 8 s with both conversions. So frames that come
in without a word about the engine are computed here; `recon.engine.ArrowPandas` computes with pandas alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recon.engines.on_duckdb import DuckDB
from recon.engines.shape import to_pandas

if TYPE_CHECKING:
    from recon.engine import Frame
    from recon.tables import Table


class PandasOnDuckDB(DuckDB):
    """DuckDB, whose results are pandas frames."""

    def give(self, frame: Frame, table: Table) -> Any:
        """A pandas frame with pandas' usual types: str, bool, UTC times."""
        return to_pandas(table.conform(self.collect(frame)))
