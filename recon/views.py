"""Small tables for people to look at, in the notebooks: from what a job returned, without anybody's address in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from recon.report.mask import mask_address, mask_within

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from recon.jobs import RunResult

_FIXES = {
    "toolkit": "the toolkit can set it",
    "admin": "an admin has to decide or to mend a link",
    "nobody": "nothing to do: the sync mends it, or nothing can",
}
_FILES = {
    "compliance.html": "the report, for readers and auditors",
    "actions.csv": "every record that needs action (personal data)",
    "merged.parquet": "every record of both systems, with what the sync will do (personal data)",
    "unusable.csv": "addresses and ids that join nothing",
    "manifest.json": "where the data came from, settings, counts, hashes",
    "people.parquet": "the people, as they were pulled (personal data)",
    "records.parquet": "Leads and Contacts, as they were pulled (personal data)",
}


def inputs(given: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Where the data came from: one row an input of a manifest."""
    columns = ["name", "origin", "kind", "rows", "sha256"]
    return pd.DataFrame([{name: each[name] for name in columns} for each in given], columns=columns)


def fixes(manifest: Mapping[str, Any]) -> pd.DataFrame:
    """Who has to mend how many records, and how many of them could be mailed although the person opted out."""
    rows = [
        {
            "fix": fix,
            "records": manifest["fix"][fix],
            "could be mailed": manifest["could_be_mailed"][fix],
            "means": words,
        }
        for fix, words in _FIXES.items()
    ]
    return pd.DataFrame(rows)


def night(manifest: Mapping[str, Any]) -> pd.DataFrame:
    """What the next run of the nightly sync will do."""
    tonight = manifest["tonight"]
    rows = {
        "sync": "switched on" if tonight["enabled"] else "switched off: nothing will be set",
        "next run": tonight["run_at"] or "none",
        "people that it opts out": f"{tonight['people_set']:,}",
        "Leads and Contacts that it opts out": f"{tonight['records_set']:,}",
        "records that could be mailed until then, and no longer": f"{manifest['could_be_mailed']['tonight']:,}",
        "actions that are overdue": f"{manifest['overdue']:,}",
    }
    return pd.DataFrame({"nightly sync": rows.keys(), "": rows.values()})


def first_actions(run: RunResult, rows: int = 20) -> pd.DataFrame:
    """The first records that need action, addresses masked; all of them, in full, are in actions.csv."""
    columns = ["system", "id", "address", "category", "fix", "due_by", "explanation"]
    frame = pd.read_csv(run.actions_path, dtype="str", keep_default_na=False, nrows=rows, usecols=columns)[columns]
    frame["address"] = frame["address"].map(mask_address)
    for column in ("id", "explanation"):
        frame[column] = frame[column].map(mask_within)
    return frame


def files(folder: Path) -> pd.DataFrame:
    """What a run or a snapshot has left: one row a file."""
    found = [path for name in _FILES if (path := folder / name).is_file()]
    rows = [{"file": str(path), "is": _FILES[path.name], "bytes": path.stat().st_size} for path in found]
    return pd.DataFrame(rows, columns=["file", "is", "bytes"])
