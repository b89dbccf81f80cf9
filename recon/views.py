"""Small tables for people to look at, in the notebooks: from what a job returned, without anybody's address in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from recon.report.mask import mask_address, mask_within

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from recon.results import RunResult

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


class Shown:
    """A table as a notebook shows it: every text in full, and whatever stands in it as text, never as HTML.

    Attributes
    ----------
    frame
        The table.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        # Row numbers say nothing; names of rows do.
        self._index = not isinstance(frame.index, pd.RangeIndex)

    def _repr_html_(self) -> str:
        # pandas cuts texts off behind 50 characters: paths and explanations are longer.
        with pd.option_context("display.max_colwidth", None):
            return str(self.frame.to_html(index=self._index, escape=True, notebook=True, border=0))

    def __repr__(self) -> str:
        return str(self.frame.to_string(index=self._index))


def categories(run: RunResult) -> Shown:
    """Why records need action: one row a category that was found."""
    return Shown(run.categories())


def coverage(run: RunResult) -> Shown:
    """How the records of each side are tied to the other one."""
    return Shown(run.coverage())


def inputs(given: Iterable[Mapping[str, Any]]) -> Shown:
    """Where the data came from: one row an input of a manifest."""
    columns = ["name", "origin", "kind", "rows", "sha256"]
    return Shown(pd.DataFrame([{name: each[name] for name in columns} for each in given], columns=columns))


def fixes(manifest: Mapping[str, Any]) -> Shown:
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
    return Shown(pd.DataFrame(rows))


def night(manifest: Mapping[str, Any]) -> Shown:
    """What the next run of the nightly sync will do."""
    tonight = manifest["tonight"]
    rows = {
        "sync": "switched on" if tonight["enabled"] else "switched off: nothing will be set",
        "next run": tonight["run_at"] or "none",
        "people that it opts out": f"{tonight['people_set']:,}",
        "Leads and Contacts that it opts out": f"{tonight['records_set']:,}",
        "records that can be mailed until then, and not after": f"{manifest['could_be_mailed']['tonight']:,}",
        "actions that are overdue": f"{manifest['overdue']:,}",
    }
    return Shown(pd.DataFrame({"nightly sync": rows.keys(), "": rows.values()}))


def first_actions(run: RunResult, rows: int = 20) -> Shown:
    """The first records that need action, addresses masked; all of them, in full, are in actions.csv."""
    columns = ["system", "id", "address", "category", "fix", "due_by", "explanation"]
    frame = pd.read_csv(run.actions_path, dtype="str", keep_default_na=False, nrows=rows, usecols=columns)[columns]
    frame["address"] = frame["address"].map(mask_address)
    for column in ("id", "explanation"):
        frame[column] = frame[column].map(mask_within)
    return Shown(frame)


def files(folder: Path) -> Shown:
    """What a run or a snapshot has left: one row a file."""
    found = [path for name in _FILES if (path := folder / name).is_file()]
    rows = [{"file": str(path), "is": _FILES[path.name], "bytes": path.stat().st_size} for path in found]
    return Shown(pd.DataFrame(rows, columns=["file", "is", "bytes"]))
