"""The rows that the report shows, out of the run's tables: only these become Python objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw

from recon.categories import CATEGORIES
from recon.report.context import ActionRow, Change
from recon.report.words import SYSTEMS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from recon.report.mask import Veil
    from recon.report.persons import Persons
    from recon.report.run_tables import RunTables

#: Longest sentence or path.
SENTENCE = 600


def action_rows(tables: RunTables, limit: int, today: date, veil: Veil, persons: Persons) -> tuple[ActionRow, ...]:
    """The first actions: overdue ones, then by due date; those without a date last.

    Parameters
    ----------
    limit
        How many at most.
    today
        What is overdue is judged on this day.
    veil, persons
        Mask addresses, and name persons.
    """
    rank = nw.lit(len(CATEGORIES), nw.Int64)
    for place, category in enumerate(CATEGORIES):
        rank = nw.when(nw.col("category") == category.name).then(nw.lit(place, nw.Int64)).otherwise(rank)
    order = ("_undated", "due_by", "_rank", "row")
    ordered = tables.actions.with_columns(_rank=rank, _undated=nw.col("due_by").is_null()).sort(*order)
    return tuple(_action(row, today, veil, persons) for row in tables.rows(ordered.head(limit)))


def _action(row: Mapping[str, Any], today: date, veil: Veil, persons: Persons) -> ActionRow:
    due: date | None = row["due_by"]
    return ActionRow(
        row=row["row"],
        due_by=due,
        overdue_days=max((today - due).days, 0) if due else 0,
        address=veil.address(row["address"], row["email"]),
        person=persons.name(row["cluster"]),
        record=_record(row, veil),
        id=veil.text(row["id"]),
        category=row["category"],
        also=", ".join(name for name in row["categories"].split(";") if name != row["category"]),
        fix=row["fix"],
        explanation=veil.text(row["explanation"], SENTENCE),
        path=None if row["path"] is None else veil.text(row["path"], SENTENCE),
    )


def change_rows(tables: RunTables, limit: int, veil: Veil, persons: Persons) -> tuple[Change, ...]:
    """The first records that the next nightly run will set, by system and id."""
    changed = tables.merged.filter(nw.col("predicted_opted_out") & ~nw.col("opted_out"))
    return tuple(
        Change(
            record=_record(row, veil),
            id=veil.text(row["id"]),
            address=veil.address(row["address"], row["email"]),
            person=persons.name(row["cluster"]),
            caused_by=veil.text(row["caused_by"] or "unknown", SENTENCE),
        )
        for row in tables.rows(changed.sort("system", "id").head(limit))
    )


def _record(row: Mapping[str, Any], veil: Veil) -> str:
    return f"{SYSTEMS.get(row['system'], veil.text(row['system']))} {veil.text(row['object'])}"
