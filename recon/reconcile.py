"""Reconcile: both datasets in; the merge, the prediction and the records that need action out.

::

    import pandas as pd
    from recon.reconcile import reconcile

    result = reconcile(people, records)
    result.actions        # a pandas frame, because people was one
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw

from recon import diff, merge, nightly
from recon.engine import engine_for
from recon.errors import UsageError
from recon.settings import Settings
from recon.tables import ACTIONS, MERGED, PEOPLE, RECORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recon.engine import Engine, Frame
    from recon.merge import Rows
    from recon.tables import Table


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The result, as frames of the engine.

    Attributes
    ----------
    sides
        `recon.tables.MERGED` with the row number `n`: the people and then the records, each in the order of `n`.
    actions_frame
        `recon.tables.ACTIONS` with the row number `n`, held in its order where the engine keeps one.
    rows
        The rows as `recon.merge.rows` gives them, for counts.
    deciding
        What decides each opted-out cluster, as `recon.merge.causes` gives it.
    carried
        Where the sync carries a flag, as `recon.nightly.carriers` gives it.
    engine
        Where they live.
    """

    sides: tuple[Frame, Frame]
    actions_frame: Frame
    rows: Rows
    deciding: Frame
    carried: Frame
    engine: Engine

    @property
    def merged_frame(self) -> Frame:
        """`recon.tables.MERGED` with the row number `n`, not yet sorted."""
        return nw.concat(self.sides, how="vertical")

    @property
    def found(self) -> Frame:
        """All that is known of the rows, see `recon.merge.Rows`."""
        return self.rows.found

    @property
    def merged(self) -> Any:
        """`recon.tables.MERGED`, sorted by system and id, in the form of frame that came in."""
        return self.engine.give(self.merged_frame.sort("n").drop("n"), MERGED)

    @property
    def actions(self) -> Any:
        """`recon.tables.ACTIONS`, sorted by system and id, in the form of frame that came in."""
        return self.engine.give(self.actions_frame.sort("n").drop("n"), ACTIONS)


def reconcile(
    people: Any,
    records: Any,
    settings: Settings | None = None,
    *,
    engine: Engine | None = None,
    answered: Sequence[str] = (),
) -> Reconciliation:
    """Merge both datasets, predict the next nightly run, and list the records that need action.

    Parameters
    ----------
    people
        `recon.tables.PEOPLE`: a pandas, Polars or Spark frame or a DuckDB relation (or the frame that `recon.sources.quick` made in `engine`); other columns than its own are left out, absent ones are unknown.
    records
        `recon.tables.RECORDS`, in the same form: Leads and Contacts together.
    settings
        By default the defaults: sync enabled, opt-out field `standard`.
    engine
        By default the one that `people` belongs to; pandas frames are computed by DuckDB, see `recon.engines.for_pandas`.
    answered
        Converted Leads whose opt-out a documented resubscribe has answered, see `recon.resubscribe.answered`: they are no reason to opt
        the person out again. What merged means they don't change.

    Raises
    ------
    UsageError
        If a frame lacks a required column, has nulls in one, or an id stands in more than one row; or if recon doesn't run on
        frames of this kind.
    """
    settings = settings or Settings()
    engine = engine or engine_for(people)
    people_frame = _taken(people, PEOPLE, "person_id", engine)
    records_frame = _taken(records, RECORDS, "record_id", engine)
    rows = merge.rows(people_frame, records_frame, settings, engine)
    deciding = merge.causes(rows, engine)
    carried = nightly.carriers(rows.outs, engine)
    merged = merge.merged(rows, deciding, carried, settings.sync, engine)
    actions = diff.actions(rows, merged, deciding, carried, settings, engine, answered)
    return Reconciliation(merged.sides, engine.sort(actions, "n"), rows, deciding, carried, engine)


def _taken(native: Any, table: Table, key: str, engine: Engine) -> Frame:
    """A frame of the user's, checked; one that a reader has made in this engine is so already."""
    if isinstance(native, nw.LazyFrame):
        return native
    taken = engine.take(native, table)
    frame = engine.hold(taken)
    engine.drop(taken)
    check(frame, table, key, engine)
    return frame


def check(frame: Frame, table: Table, key: str, engine: Engine) -> None:
    """Refuse what no reader of ours would hand over: nulls in required columns, ids that aren't unique.

    Raises
    ------
    UsageError
        With the number of such rows.
    """
    required = [column.name for column in table if column.required]
    nulls = frame.select(*(nw.col(name).null_count().alias(name) for name in required), rows=nw.len())
    unique = frame.select(nw.col(key).n_unique().alias("unique"))
    counted = engine.collect(nulls).to_pylist()[0]
    for name in required:
        if counted[name]:
            raise UsageError(
                f"{table.name}: {counted[name]} rows have no {name}.",
                hint="Unknown is not 'no': fill it in, or leave these rows out and say so.",
            )
    # Over no rows an engine may count null.
    different = engine.collect(unique).to_pylist()[0]["unique"] or 0
    if counted["rows"] != different:
        raise UsageError(
            f"{table.name}: {counted['rows'] - different} rows repeat a {key} that another row has.",
            hint="Every record stands once: find out which of them is current.",
        )
