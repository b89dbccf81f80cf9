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

if TYPE_CHECKING:
    from pathlib import Path

    from recon.resubscribe.plan_file import Plan


@dataclass(frozen=True, slots=True)
class Facts:
    """What was known of the records when the plan was made, by `system:id`.

    Attributes
    ----------
    addresses
        Their addresses, as the systems have them.
    names
        First and last name of the people.
    """

    addresses: dict[str, str | None]
    names: dict[str, str]


def snapshot_facts(plan: Plan, snapshots: Path) -> Facts:
    """Read them.

    Parameters
    ----------
    plan
        The plan.
    snapshots
        The folder of the snapshots.

    Raises
    ------
    InputRefused
        If the snapshot is gone, was changed, is another one, or doesn't hold a record of the plan.
    """
    folder = snapshots / plan.snapshot
    if not plan.snapshot or set(plan.snapshot) & set("/\\\0") or not folder.is_dir():
        raise InputRefused([Problem(str(folder), "the plan's snapshot isn't there.", "Pull and plan again.")])
    found = snapshot.read(folder)
    manifest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    if manifest != plan.snapshot_manifest_sha256:
        raise InputRefused(
            [Problem(str(folder), "this isn't the snapshot that the plan was made from.", "Plan again.")]
        )
    people = _rows(plan, "sales_connect", found.people, "person_id", ("first_name", "last_name"))
    records = _rows(plan, "salesforce", found.records, "record_id", ())
    known = {**people, **records}
    missing = [step.number for step in plan.steps if step.key not in known]
    if missing:
        text = f"the snapshot doesn't hold the record of step {missing[0]}."
        raise InputRefused([Problem(str(folder), text, "Plan again.")])
    names = {key: " ".join(filter(None, (row["first_name"], row["last_name"]))) for key, row in people.items()}
    return Facts({key: row["email"] for key, row in known.items()}, names)


def _rows(plan: Plan, system: str, file: Path, key: str, more: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    ids = pa.array([step.id for step in plan.steps if step.system == system], pa.string())
    table = pq.read_table(file, columns=[key, "email", *more])
    return {f"{system}:{row[key]}": row for row in table.filter(pc.is_in(table.column(key), value_set=ids)).to_pylist()}
