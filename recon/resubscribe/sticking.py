"""Will a resubscribe stick? The nightly model, run on both datasets as the plan would leave them.

A resubscribe sticks only if, after it, no record in its sync component is opted out (domain: the sync sets flags and never clears
them). Whether that is so isn't reasoned out here once more: the tables are changed as planned and reconciled again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from recon.engine import engine_named
from recon.reconcile import reconcile
from recon.tables import PEOPLE, RECORDS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from recon.settings import Settings


@dataclass(frozen=True, slots=True)
class Reverts:
    """A record whose resubscribe the next nightly run would undo.

    Attributes
    ----------
    uid
        The record.
    path
        From the record that undoes it: `record -[link]-> record`.
    """

    uid: str
    path: str


def planned_state(
    people: pa.Table, records: pa.Table, cleared: Collection[str], opted_out: Collection[str]
) -> tuple[pa.Table, pa.Table]:
    """Both tables as a plan would leave them.

    Parameters
    ----------
    people, records
        `recon.tables.PEOPLE` and `RECORDS`.
    cleared, opted_out
        The `system:id` of the records whose opt-out is taken back, and of those that are opted out. On people a clearing takes back the
        account-level unsubscribe; one of a single user stays.
    """
    clear_people, clear_records = _ids(cleared)
    out_people, out_records = _ids(opted_out)
    user = pc.fill_null(pc.equal(people.column("unsubscribe_level"), "user"), fill_value=False)
    clear = pc.and_not(pc.is_in(people.column("person_id"), value_set=clear_people), user)
    set_ = pc.is_in(people.column("person_id"), value_set=out_people)
    flag = pc.or_(pc.and_not(people.column("unsubscribed"), clear), set_)
    people = _with(people, "unsubscribed", flag)
    people = _with(people, "unsubscribe_level", pc.if_else(set_, "account", people.column("unsubscribe_level")))
    clear = pc.is_in(records.column("record_id"), value_set=clear_records)
    set_ = pc.is_in(records.column("record_id"), value_set=out_records)
    for name in ("opted_out", "has_opted_out_of_email", "sales_opt_out"):
        after = pc.if_else(clear, pa.scalar(value=False), pc.if_else(set_, pa.scalar(value=True), records.column(name)))
        # A field that isn't known stays unknown.
        after = pc.if_else(pc.is_null(records.column(name)), pa.scalar(None, pa.bool_()), after)
        records = _with(records, name, after)
    return PEOPLE.conform(people), RECORDS.conform(records)


def reverting(
    people: pa.Table, records: pa.Table, cleared: Collection[str], opted_out: Collection[str], settings: Settings
) -> Mapping[str, Reverts]:
    """Those of the cleared records that the next nightly run would opt out again, by `system:id`."""
    if not cleared:
        return {}
    engine = engine_named("auto", memory=settings.run.memory, spill=settings.run.spill)
    after = planned_state(people, records, cleared, opted_out)
    result = reconcile(*after, settings, engine=engine)
    actions = engine.collect(result.actions_frame.select("system", "id", "predicted_opted_out", "path"))
    found = {}
    for row in actions.to_pylist():
        uid = f"{row['system']}:{row['id']}"
        if row["predicted_opted_out"] and uid in cleared:
            found[uid] = Reverts(uid, row["path"] or uid)
    return found


def _ids(uids: Collection[str]) -> tuple[pa.Array, pa.Array]:
    """The ids of each system among `system:id` names."""
    split = [uid.partition(":") for uid in sorted(uids)]
    return (
        pa.array([number for system, _, number in split if system == "sales_connect"], pa.string()),
        pa.array([number for system, _, number in split if system == "salesforce"], pa.string()),
    )


def _with(table: pa.Table, name: str, values: pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)
