"""What the snapshot of a plan says about the plan's records: their addresses, and the names by which an admin finds people."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recon import snapshot
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
        By person: the records that were not opted out then, so that no step is about them. A new opt-out may come in through one.
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
    columns = ["system", "id", "object", "cluster", "opted_out"]
    wanted = (pc.field("cluster").isin(persons)) & ~pc.field("opted_out")
    found: dict[str, list[Step]] = {}
    for row in pq.read_table(merged, columns=columns, filters=wanted).to_pylist():
        written = fields[row["object"]]
        step = Step(
            number=1,
            person=row["cluster"],
            system=row["system"],
            object=row["object"],
            id=row["id"],
            direction="set",
            fields=written,
            before=(False,) * len(written),
            after=(True,) * len(written),
            because="Only looked at.",
        )
        found.setdefault(row["cluster"], []).append(step)
    return found


def _rows(plan: Plan, system: str, file: Path, key: str, more: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the snapshot has of the plan's records in one system, by `system:id`: not all of it at once."""
    ids = pa.array([step.id for step in plan.steps if step.system == system], pa.string())
    if not len(ids):
        return
    with pq.ParquetFile(file, pre_buffer=False) as source:
        for batch in source.iter_batches(_AT_A_TIME, columns=[key, "email", *more], use_threads=False):
            for row in batch.filter(pc.is_in(batch.column(key), value_set=ids)).to_pylist():
                yield f"{system}:{row[key]}", row
