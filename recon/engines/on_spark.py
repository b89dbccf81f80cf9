"""Spark, for what one machine can't hold.

Times are kept without a zone, in UTC, between what comes in and what goes out: what Spark does with a TIMESTAMP (formatting it, taking its
day, making one of Arrow's or of Python's) depends on the session's time zone, and some of its hours are there twice or not at all.

Nothing comes to the driver but edges of differing keys, keys that no expression tells, clusters that have to be walked, and counts. Files
are written by the driver, to which the rows come partition by partition.
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import pyarrow as pa

from recon.engines.shape import fit, from_pandas, not_strings, plain, unfit
from recon.engines.spark_session import session_here

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from recon.engine import Frame
    from recon.tables import Column, Table

_TYPES = {"string": "STRING", "flag": "BOOLEAN", "time": "TIMESTAMP_NTZ", "date": "DATE", "count": "BIGINT"}
_EPOCH = "TIMESTAMP_NTZ'1970-01-01 00:00:00'"
#: Microseconds since 1970 as a time without a zone; 20 digits hold every 64-bit number.
_FROM_MICROSECONDS = _EPOCH + " + make_dt_interval(0, 0, 0, CAST({0} AS DECIMAL(20, 0)) / 1000000)"
_TO_INSTANT = "make_timestamp(year({0}), month({0}), day({0}), hour({0}), minute({0}), CAST(extract(SECOND FROM {0}) AS DECIMAL(16, 6)), 'UTC')"

#: So many bits of a number are the place in the partition, the others the partition. Source: Spark's documentation of monotonically_increasing_id.
_PLACE_BITS = 33


class Spark:
    """Spark on whatever master the session has.

    Parameters
    ----------
    session
        By default the active one; without one a session of recon's own, on this machine.
    """

    name = "spark"

    def __init__(self, session: Any = None) -> None:
        self.session = session if session is not None else session_here()
        #: Frames as they were given out, and what is kept for each.
        self._held: list[tuple[Any, Any]] = []

    def take(self, native: Any, table: Table) -> Frame:
        """A Spark frame, an Arrow table, or a pandas frame."""
        if isinstance(native, pa.Table):
            return self.bring(fit(native, table))
        if type(native).__module__.partition(".")[0] == "pandas":
            return self.bring(from_pandas(native, table))
        return self._conform(native, table)

    def bring(self, table: pa.Table) -> Frame:
        """An Arrow table; its rows go from the driver to the executors."""
        times = [each.name for each in table.schema if pa.types.is_timestamp(each.type)]
        table = plain(table)
        for name in times:
            place = table.column_names.index(name)
            table = table.set_column(place, name, table.column(name).cast(pa.int64()))
        native = self.session.createDataFrame(table)
        frame: Frame = nw.from_native(_with(native, {name: _FROM_MICROSECONDS.format(f"`{name}`") for name in times}))
        return frame

    def read_parquet(self, path: Path, table: Table) -> Frame:
        """A Parquet file, by way of Arrow."""
        import pyarrow.parquet as pq

        return self.bring(table.conform(pq.read_table(path)))

    def number(self, frame: Frame, by: list[str], name: str) -> Frame:
        """Number the rows in an order, from 0: each partition by itself, after those before it, so that no task sees all rows."""
        from pyspark.sql import functions

        kept = self._keep(frame.to_native().sort(*by).withColumn(name, functions.monotonically_increasing_id()))
        numbered = _without_gaps(kept, name)
        self._held.append((numbered, kept))
        held: Frame = nw.from_native(numbered)
        return held

    def sort(self, frame: Frame, by: str) -> Frame:
        """The same rows, held in an order."""
        return self.hold(frame.sort(by))

    def hold(self, frame: Frame) -> Frame:
        """The same rows, kept by the executors, or in the checkpoint folder where the session has one: they survive an executor there."""
        kept = self._keep(frame.to_native())
        self._held.append((kept, kept))
        held: Frame = nw.from_native(kept)
        return held

    def release(self, *keep: Frame) -> None:
        """Let go of all held frames but these."""
        self._let_go_but([frame.to_native() for frame in keep])

    def drop(self, *frames: Frame) -> None:
        """Let go of these held frames; others stay as they are."""
        dropped = [frame.to_native() for frame in frames]
        self._let_go_but([native for native, _ in self._held if not any(native is each for each in dropped)])

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Let go at the end of what was held within."""
        before = [native for native, _ in self._held]
        try:
            yield
        finally:
            self._let_go_but(before)

    def beside(self, left: Frame, right: Frame, on: str) -> Frame:
        """Rows side by side, in the order of their numbers; held, as the right ones may be dropped then."""
        return self.hold(left.join(right, on=on, how="left").sort(on))

    def collect(self, frame: Frame) -> pa.Table:
        """The rows as an Arrow table."""
        return plain(frame.to_native().toArrow())

    def batches(self, frame: Frame, table: Table) -> Iterator[pa.RecordBatch]:
        """The rows, one partition after the other, in Arrow's own form: the driver holds one at a time."""
        from pyspark.sql import functions

        part = functions.spark_partition_id()
        # Held anew, as its partitions are in the frame's order; the executors need no Python for this.
        kept = _without_estimate(frame.to_native().localCheckpoint())
        for row in sorted(kept.groupBy(part.alias("part")).count().collect()):
            rows = kept.where(part == row["part"]).toArrow()
            yield from table.conform(plain(rows)).to_batches()
        _unpersist(kept)

    def give(self, frame: Frame, table: Table) -> Any:
        """A Spark frame of the user's session, times as TIMESTAMP."""
        times = {column.name: _TO_INSTANT.format(f"`{column.name}`") for column in table if column.kind == "time"}
        return _with(frame.to_native(), times).select(*table.names)

    def _keep(self, native: Any) -> Any:
        return _without_estimate(native.checkpoint() if _has_folder(self.session) else native.localCheckpoint())

    def _let_go_but(self, natives: list[Any]) -> None:
        held, self._held = self._held, []
        for native, kept in held:
            if any(native is each for each in natives):
                self._held.append((native, kept))
            else:
                _unpersist(kept)

    def _conform(self, native: Any, table: Table) -> Frame:
        """A Spark frame of a user's, in a table's shape."""
        kinds = dict(native.dtypes)
        parts = []
        for column in table:
            if column.name in kinds:
                parts.append(f"{_cast(native, kinds[column.name], column, table)} AS `{column.name}`")
            elif column.required:
                raise unfit(table, ValueError(f"{table.name}: the required column {column.name!r} is absent"))
            else:
                parts.append(f"CAST(NULL AS {_TYPES[column.kind]}) AS `{column.name}`")
        frame: Frame = nw.from_native(native.selectExpr(*parts))
        return frame


def _cast(native: Any, kind: str, column: Column, table: Table) -> str:
    """A column of a user's, of Spark's type `kind`, as an expression of ours; what can't be read is refused, not quoted."""
    name, wanted = f"`{column.name}`", _TYPES[column.kind]
    if kind == "timestamp":
        # What it is at this moment in UTC, whatever the session's zone.
        name, kind = _FROM_MICROSECONDS.format(f"unix_micros({name})"), "timestamp_ntz"
    if kind == wanted.lower():
        return name
    if kind.startswith(("varchar", "char")) and column.kind == "string":
        return f"CAST({name} AS STRING)"
    if kind in ("float", "double"):
        name = f"nullif({name}, CAST('NaN' AS {kind}))"
    if kind == "date" and column.kind == "time":
        return f"CAST({name} AS TIMESTAMP_NTZ)"
    bad = "true"
    if column.kind == "flag" and kind.startswith(("float", "double", "decimal", *_WHOLE)):
        bad = f"{name} NOT IN (0, 1)"
    # A column without any value has whatever type it was given.
    if (
        kind != "void"
        and not native.selectExpr(f"{name} AS x").where(f"x IS NOT NULL AND ({bad.replace(name, 'x')})").isEmpty()
    ):
        said = f"{table.name}: the column {column.name!r} is of type {kind}, and not all of it can be read as {wanted}"
        raise unfit(table, ValueError(not_strings(table, column.name) if column.kind == "string" else said))
    return f"CAST({name} AS {wanted})" if bad != "true" else f"CAST(NULL AS {wanted})"


_WHOLE = ("tinyint", "smallint", "int", "bigint")


def _with(native: Any, columns: dict[str, str]) -> Any:
    """The same columns, some of them computed anew."""
    return native.selectExpr(
        *(f"{columns[name]} AS `{name}`" if name in columns else f"`{name}`" for name in native.columns)
    )


def _without_gaps(kept: Any, name: str) -> Any:
    """The numbers that Spark has given, partition by partition, as numbers from 0."""
    from pyspark.sql import functions

    part = functions.shiftright(name, _PLACE_BITS).alias("part")
    rows = {row["part"]: row["count"] for row in kept.groupBy(part).count().collect()}
    if not rows.keys() - {0}:
        return kept
    starts = itertools.accumulate((rows.get(number, 0) for number in range(max(rows))), initial=0)
    listed = ", ".join(f"{start}L" for start in starts)
    start = f"element_at(array({listed}), CAST(shiftright(`{name}`, {_PLACE_BITS}) AS INT) + 1)"
    return _with(kept, {name: f"{start} + (`{name}` & {2**_PLACE_BITS - 1}L)"})


def _has_folder(session: Any) -> bool:
    context = getattr(session, "sparkContext", None) if hasattr(session, "_jsparkSession") else None
    return context is not None and context.getCheckpointDir() is not None


def _without_estimate(kept: Any) -> Any:
    """The checkpoint without Spark's estimate of its size.

    A checkpoint keeps the estimate of the plan that it was made by, and that of a join is one side's size times the other's: in a row of joins it
    grows to numbers of millions of digits, whose product alone takes minutes. Without one Spark looks at what the parts are when they are there.
    """
    plan = _plan(kept)
    if plan is None:
        return kept
    from pyspark.sql import DataFrame

    session, frame = kept.sparkSession, kept._jdf  # noqa: SLF001 - here, too
    made = session._jsparkSession.internalCreateDataFrame(plan.rdd(), frame.schema(), False)  # noqa: SLF001 - Python has no name for it
    return DataFrame(made, session)


def _unpersist(native: Any) -> None:
    """Free what a local checkpoint holds. Elsewhere (a checkpoint folder, Spark Connect) Spark does so when the frame is gone."""
    plan = _plan(native)
    if plan is not None:
        plan.rdd().unpersist(False)


def _plan(kept: Any) -> Any:
    """What Java knows of a checkpoint; None over Spark Connect, and where nothing had to be kept, as there are no rows."""
    frame = getattr(kept, "_jdf", None)
    plan = frame.queryExecution().logical() if frame is not None else None
    return plan if plan is not None and plan.getClass().getSimpleName() == "LogicalRDD" else None
