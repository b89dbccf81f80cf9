"""What the snapshot of a plan says about the plan's records: their addresses, and the names by which an admin finds people."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recon import snapshot
from recon.clock import iso
from recon.errors import InputRefused, Problem
from recon.outputs import MERGED_FILE
from recon.resubscribe.plan_file import Step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from recon.resubscribe.plan_file import Plan
    from recon.settings import Settings
    from recon.snapshot import Snapshot

# The fields to look at, where no step of the plan is about such an object: Lead and Contact have the same ones.
_OWN = {"Person": ("unsubscribed",)}
#: Rows of the snapshot that are read together.
_AT_A_TIME = 1 << 16


@dataclass(frozen=True, slots=True)
class Facts:
    """What was known of the records when the plan was made, by `system:id`.

    Attributes
    ----------
    addresses
        Their addresses, as the systems have them.
    names
        First and last name of the people.
    others
        By person: the records that no step is about, because they were not opted out then, or, on people, by a single user only. A new opt-out may come
        in through one. `before` tells which of the two, `opted_out_at` and `modified_at` since when.
    """

    addresses: dict[str, str | None]
    names: dict[str, str]
    others: dict[str, list[Step]]


def snapshot_facts(plan: Plan, loaded: Settings, run: Path) -> Facts:
    """Read them.

    Parameters
    ----------
    plan
        The plan.
    loaded
        Tell where the snapshots are, and which field is the opt-out.
    run
        The run's folder, whose merged.parquet tells which records are one person's.

    Raises
    ------
    InputRefused
        If the snapshot or the run's merged.parquet is gone, was changed, is another one, or doesn't hold a record of the plan.
    """
    folder = loaded.run.snapshots / plan.snapshot
    if not plan.snapshot or set(plan.snapshot) & set("/\\\0") or not folder.is_dir():
        raise InputRefused([Problem(str(folder), "the plan's snapshot isn't there.", "Pull and plan again.")])
    found = snapshot.read(folder)
    manifest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    if manifest != plan.snapshot_manifest_sha256:
        raise InputRefused(
            [Problem(str(folder), "this isn't the snapshot that the plan was made from.", "Plan again.")]
        )
    addresses: dict[str, str | None] = {}
    names: dict[str, str] = {}
    for key, row in _rows(plan, "salesforce", found.records, "record_id", ()):
        addresses[key] = row["email"]
    for key, row in _rows(plan, "sales_connect", found.people, "person_id", ("first_name", "last_name")):
        addresses[key] = row["email"]
        names[key] = " ".join(filter(None, (row["first_name"], row["last_name"])))
    missing = next((step.number for step in plan.steps if step.key not in addresses), None)
    if missing is not None:
        text = f"the snapshot doesn't hold the record of step {missing}."
        raise InputRefused([Problem(str(folder), text, "Plan again.")])
    return Facts(addresses, names, _others(plan, run / MERGED_FILE, found, loaded))


def _others(plan: Plan, merged: Path, taken: Snapshot, loaded: Settings) -> dict[str, list[Step]]:
    persons = sorted({step.person for step in plan.steps if step.direction == "clear"})
    if not persons:
        return {}
    if not merged.is_file():
        text = "the file isn't there, and it tells which other records belong to the people in the plan."
        raise InputRefused([Problem(str(merged), text, "Plan again.")])
    from recon.resubscribe.planning import target_fields

    fields = target_fields(taken.manifest["inputs"], loaded) | _OWN
    of_these = pc.field("cluster").isin(persons)
    columns = ["system", "id", "object", "cluster"]
    found: dict[str, list[Step]] = {}
    for row in pq.read_table(merged, columns=columns, filters=of_these & ~pc.field("opted_out")).to_pylist():
        found.setdefault(row["cluster"], []).append(_look(row, fields[row["object"]]))
    for row in _of_single_users(merged, of_these, taken):
        found.setdefault(row["cluster"], []).append(_look(row, fields["Person"], out=True))
    return found


def _of_single_users(merged: Path, of_these: pc.Expression, taken: Snapshot) -> list[dict[str, Any]]:
    """The people of these clusters who were unsubscribed by a single user only, with the dates of that."""
    out = of_these & (pc.field("system") == "sales_connect") & pc.field("opted_out")
    cluster = {
        row["id"]: row["cluster"] for row in pq.read_table(merged, columns=["id", "cluster"], filters=out).to_pylist()
    }
    if not cluster:
        return []
    told = pq.read_table(
        taken.people,
        columns=["person_id", "unsubscribed_at", "updated_at"],
        filters=pc.field("person_id").isin(list(cluster)) & (pc.field("unsubscribe_level") == "user"),
    )
    return [
        {"system": "sales_connect", "object": "Person", "id": row["person_id"], "cluster": cluster[row["person_id"]]}
        | row
        for row in told.to_pylist()
    ]


def _look(row: dict[str, Any], fields: tuple[str, ...], *, out: bool = False) -> Step:
    """A record that is only looked at, as a step."""
    times = (row.get(name) for name in ("unsubscribed_at", "updated_at"))
    opted_out_at, modified_at = (None if at is None else iso(at) for at in times)
    return Step(
        number=1,
        person=row["cluster"],
        system=row["system"],
        object=row["object"],
        id=row["id"],
        direction="set",
        fields=fields,
        before=(out,) * len(fields),
        after=(True,) * len(fields),
        modified_at=modified_at,
        opted_out_at=opted_out_at,
        because="Only looked at.",
    )


def _rows(plan: Plan, system: str, file: Path, key: str, more: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the snapshot has of the plan's records in one system, by `system:id`: not all of it at once."""
    ids = pa.array([step.id for step in plan.steps if step.system == system], pa.string())
    if not len(ids):
        return
    with pq.ParquetFile(file, pre_buffer=False) as source:
        for batch in source.iter_batches(_AT_A_TIME, columns=[key, "email", *more], use_threads=False):
            for row in batch.filter(pc.is_in(batch.column(key), value_set=ids)).to_pylist():
                yield f"{system}:{row[key]}", row
