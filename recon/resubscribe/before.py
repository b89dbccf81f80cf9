"""The values before: saved, and on the disk, before the first write, so that what was changed can be told and put back."""

from __future__ import annotations

import csv
import json
import os
from textwrap import indent
from typing import TYPE_CHECKING, Any

from recon.clock import iso
from recon.disk import sync_folder
from recon.errors import InputRefused, Problem
from recon.outputs import whole
from recon.report.csv_safe import neutralise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from recon.resubscribe.live import Seen
    from recon.resubscribe.plan_file import Plan, Step

BEFORE_JSON, BEFORE_CSV = "before.json", "before.csv"
#: Records that are read together.
_AT_A_TIME = 10_000
_COLUMNS = ("step", "system", "object", "id", "field", "value", "modified_at", "opted_out_at", "gone")


def is_saved(plan: Plan, folder: Path) -> bool:
    """Whether an earlier run of the same plan saved the values.

    Raises
    ------
    InputRefused
        If the folder holds another plan's, or what can't be read.
    """
    file = folder / BEFORE_JSON
    try:
        saved = _plan_of(file)
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise InputRefused(
            [Problem(str(file), "the saved values can't be read.", "Look what became of the file.")]
        ) from error
    if saved != plan.hash:
        raise InputRefused(
            [
                Problem(
                    str(file), "these are the values before another plan.", "Keep each plan in the folder of its run."
                )
            ]
        )
    return True


def _plan_of(file: Path) -> str | None:
    """The plan that before.json names; all of it is read, a record at a time, as `save_before` lays them out. Raises ValueError."""
    head: list[str] = []
    record: list[str] = []
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("    "):
                head.append(line)
                continue
            record.append(line)
            if line.startswith("    }"):
                json.loads("".join(record).rstrip(",\n"))
                record.clear()
    document = json.loads("".join([*head, *record]))
    return document.get("plan") if isinstance(document, dict) else None


def save_before(plan: Plan, read: Callable[[Sequence[Step]], Mapping[str, Seen]], folder: Path, at: datetime) -> None:
    """Read the records, some thousand at a time, and write before.json (for programs) and before.csv (for people).

    Each is whole or not there, and both are on the disk when this returns.

    Parameters
    ----------
    plan
        The plan.
    read
        Reads the records of some steps: by `Step.key`; a person that nobody can read is missing there. Its errors are passed on.
    folder
        The run's folder.
    at
        When they were read.
    """
    head = {"plan": plan.hash, "read_at": iso(at)}
    with (
        whole(folder / BEFORE_JSON) as machines,
        whole(folder / BEFORE_CSV) as people,
        machines.open("w", encoding="utf-8") as document,
        people.open("w", encoding="utf-8", newline="") as sheet,
    ):
        # By hand what `recon.outputs.write_json` would write, so that the records need not all be there at once.
        document.write("{\n" + "".join(f"  {json.dumps(name)}: {json.dumps(value)},\n" for name, value in head.items()))
        document.write('  "records": [')
        rows = csv.writer(sheet, lineterminator="\n")
        rows.writerow(_COLUMNS)
        between = "\n"
        for start in range(0, len(plan.steps), _AT_A_TIME):
            steps = plan.steps[start : start + _AT_A_TIME]
            seen = read(steps)
            for step in steps:
                record = _record(step, seen.get(step.key))
                text = json.dumps(record, ensure_ascii=False, indent=2, sort_keys=True)
                document.write(between + indent(text, "    "))
                between = ",\n"
                rows.writerows(_lines(record))
        document.write('\n  ],\n  "schema": 1\n}\n')
    _sync(folder / BEFORE_CSV)
    _sync(folder / BEFORE_JSON)
    sync_folder(folder)


def _lines(record: Mapping[str, Any]) -> Iterator[list[str]]:
    """A record's lines for people, one a field; no cell is a formula."""
    first = (record["step"], record["system"], record["object"], record["id"])
    last = (record["modified_at"], record["opted_out_at"], record["gone"])
    for name, value in record["values"].items():
        cells = (*first, name, _text(value), *last)
        yield [neutralise("" if cell is None else str(cell)) for cell in cells]


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
