"""Will a resubscribe stick? The nightly model, run on both datasets as the plan would leave them.

A resubscribe sticks only if, after it, no record in its sync component is opted out (domain: the sync sets flags and never clears
them). Whether that is so isn't reasoned out here once more: the tables are changed as planned and reconciled again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import narwhals.stable.v2 as nw

from recon.reconcile import reconcile
from recon.tables import PEOPLE, RECORDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from recon.engine import Engine, Frame
    from recon.settings import Settings

_FLAGS = ("opted_out", "has_opted_out_of_email", "sales_opt_out")


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


def planned_state(people: Frame, records: Frame, cleared: Frame) -> tuple[Frame, Frame]:
    """Both tables as a plan would leave them.

    Parameters
    ----------
    people, records
        `recon.tables.PEOPLE` and `RECORDS`.
    cleared
        `system` and `id` of the records whose opt-out is taken back, each once. On people a clearing takes back the account-level unsubscribe; one of a
        single user stays.
    """
    of_people, of_records = (
        cleared.filter(nw.col("system") == system).select(nw.col("id").alias(key), _clear=nw.lit(value=True))
        for system, key in (("sales_connect", "person_id"), ("salesforce", "record_id"))
    )
    people = people.join(of_people, on="person_id", how="left")
    user = (nw.col("unsubscribe_level") == "user").fill_null(value=False)
    clear = nw.col("_clear").fill_null(value=False)
    people = people.with_columns(unsubscribed=nw.col("unsubscribed") & ~(clear & ~user))
    # A field that isn't known stays unknown.
    records = records.join(of_records, on="record_id", how="left").with_columns(
        *(
            nw.when(clear & ~nw.col(name).is_null()).then(nw.lit(value=False)).otherwise(nw.col(name)).alias(name)
            for name in _FLAGS
        )
    )
    return people.select(*PEOPLE.names), records.select(*RECORDS.names)


def reverting(
    people: Frame, records: Frame, cleared: pa.Table, settings: Settings, engine: Engine
) -> Mapping[str, Reverts]:
    """Those of the cleared records that the next nightly run would opt out again, by `system:id`.

    Parameters
    ----------
    people, records
        As `planned_state`, in the engine.
    cleared
        `system` and `id`, in memory.
    """
    if not cleared.num_rows:
        return {}
    with engine.apart():
        marks = engine.bring(cleared)
        # What is merged is let go of with all that it is made of: the marks are needed once more.
        result = reconcile(*planned_state(people, records, engine.bring(cleared)), settings, engine=engine)
        actions = result.actions_frame.filter(nw.col("predicted_opted_out")).select("system", "id", "path")
        undone = engine.collect(actions.join(marks, on=["system", "id"], how="inner").select("system", "id", "path"))
    found = {}
    for row in undone.to_pylist():
        uid = f"{row['system']}:{row['id']}"
        found[uid] = Reverts(uid, row["path"] or uid)
    return found
