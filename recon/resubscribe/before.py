"""The values before: saved, and on the disk, before the first write, so that what was changed can be told and put back."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from recon.clock import iso
from recon.disk import sync_folder
from recon.errors import InputRefused, Problem
from recon.outputs import write_json
from recon.resubscribe.outcomes import write_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from recon.resubscribe.live import Seen
    from recon.resubscribe.plan_file import Plan, Step

BEFORE_JSON, BEFORE_CSV = "before.json", "before.csv"
_COLUMNS = ("step", "system", "object", "id", "field", "value", "modified_at", "opted_out_at", "gone")


def saved_before(plan: Plan, folder: Path) -> dict[str, Any] | None:
    """The values that an earlier run of the same plan saved; None where none did.

    Raises
    ------
    InputRefused
        If the folder holds another plan's.
    """
    file = folder / BEFORE_JSON
    try:
        document = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputRefused(
            [Problem(str(file), "the saved values can't be read.", "Look what became of the file.")]
        ) from error
    if not isinstance(document, dict) or document.get("plan") != plan.hash:
        raise InputRefused(
            [
                Problem(
                    str(file), "these are the values before another plan.", "Keep each plan in the folder of its run."
                )
            ]
        )
    return document


def save_before(plan: Plan, seen: Mapping[str, Seen], folder: Path, at: datetime) -> None:
    """Write before.json (for programs) and before.csv (for people), each whole, and wait until both are on the disk.

    Parameters
    ----------
    plan
        The plan.
    seen
        The records as they were read, by `Step.key`; a person that nobody could read is missing there.
    folder
        The run's folder.
    at
        When they were read.
    """
    records = [_record(step, seen.get(step.key)) for step in plan.steps]
    rows = [
        [
            each["step"],
            each["system"],
            each["object"],
            each["id"],
            name,
            _text(value),
            each["modified_at"],
            each["opted_out_at"],
            each["gone"],
        ]
        for each in records
        for name, value in each["values"].items()
    ]
    write_rows(folder / BEFORE_CSV, _COLUMNS, rows)
    _sync(folder / BEFORE_CSV)
    write_json({"schema": 1, "plan": plan.hash, "read_at": iso(at), "records": records}, folder / BEFORE_JSON)
    _sync(folder / BEFORE_JSON)
    sync_folder(folder)


def _record(step: Step, seen: Seen | None) -> dict[str, Any]:
    known = seen is not None and seen.there
    values = seen.values if seen is not None and known else (None,) * len(step.fields)
    return {
        "step": step.number,
        "system": step.system,
        "object": step.object,
        "id": step.id,
        "values": dict(zip(step.fields, values, strict=True)),
        "modified_at": _time(seen.modified_at) if seen is not None else None,
        "opted_out_at": _time(seen.opted_out_at) if seen is not None else None,
        "gone": seen.gone if seen is not None else None,
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else iso(at)


def _text(value: bool | None) -> str | None:  # noqa: FBT001 - a value of a record
    return None if value is None else str(value).lower()


def _sync(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
