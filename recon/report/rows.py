"""The rows that the report shows, out of the run's tables: only these become Python objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from recon.categories import CATEGORIES
from recon.report.context import ActionRow, Change
from recon.report.words import SYSTEMS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from recon.report.mask import Veil
    from recon.report.persons import Persons

#: Longest sentence or path.
SENTENCE = 600


def action_rows(actions: pa.Table, limit: int, today: date, veil: Veil, persons: Persons) -> tuple[ActionRow, ...]:
    """The first actions: overdue ones, then by due date; those without a date last.

    Parameters
    ----------
    actions
        In the shape of `recon.tables.ACTIONS`, in the order of actions.csv.
    limit
        How many at most.
    today
        What is overdue is judged on this day.
    veil, persons
        Mask addresses, and name persons.
    """
    numbered = actions.append_column("row", pa.array(range(2, actions.num_rows + 2), pa.int64()))
    rank = pc.index_in(actions["category"], value_set=pa.array([category.name for category in CATEGORIES]))
    keys = pa.table({"due_by": actions["due_by"], "rank": rank, "row": numbered["row"]})
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending", "at_end") for name in ("due_by", "rank", "row")])
    return tuple(_action(row, today, veil, persons) for row in numbered.take(order[:limit]).to_pylist())


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


def change_rows(merged: pa.Table, limit: int, veil: Veil, persons: Persons) -> tuple[Change, ...]:
    """The first records that the next nightly run will set, by system and id."""
    changed = merged.filter(pc.and_not(merged["predicted_opted_out"], merged["opted_out"]))
    return tuple(
        Change(
            record=_record(row, veil),
            id=veil.text(row["id"]),
            address=veil.address(row["address"], row["email"]),
            person=persons.name(row["cluster"]),
            caused_by=veil.text(row["caused_by"] or "unknown", SENTENCE),
        )
        for row in changed.slice(0, limit).to_pylist()
    )


def _record(row: Mapping[str, Any], veil: Veil) -> str:
    return f"{SYSTEMS.get(row['system'], veil.text(row['system']))} {veil.text(row['object'])}"
