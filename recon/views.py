"""Small tables for people to look at, in the notebooks: from what a job returned, without anybody's address in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from recon.clock import iso
from recon.ledger.story import told
from recon.notebook_table import table_html
from recon.report.mask import mask_address, mask_within, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from recon.explore import Why
    from recon.resubscribe.jobs import Resubscribed
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
    "verdicts.csv": "every approved row's verdict, with what to do about it (personal data)",
    "plan.json": "exactly what is to be changed, for `recon apply`",
    "before.csv": "the values before the first write",
    "success.csv": "records that were changed",
    "failed.csv": "records that were left as they are, and why",
    "unprocessed.csv": "records that were not tried, or that wait for an admin",
    "worklist.csv": "what an admin has to click in Sales Connect, to be ticked (personal data)",
    "worklist.html": "the same for paper (personal data)",
    "apply.json": "when the plan was applied, by whom, and the counts",
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
    empty
        What to say where it has no rows; without, its head is shown.
    """

    def __init__(self, frame: pd.DataFrame, empty: str = "") -> None:
        self.frame = frame
        self.empty = empty
        # Row numbers say nothing; names of rows do.
        self._index = not isinstance(frame.index, pd.RangeIndex)

    def _repr_html_(self) -> str:
        if self.empty and self.frame.empty:
            return f"<p>{self.empty}</p>"
        return table_html(self.frame, index=self._index)

    def __repr__(self) -> str:
        return self.empty if self.empty and self.frame.empty else str(self.frame.to_string(index=self._index))


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


def first_actions(run: RunResult, rows: int = 20, *, show_addresses: bool = False) -> Shown:
    """The first records that need action; all of them are in actions.csv.

    Parameters
    ----------
    rows
        How many.
    show_addresses
        Show addresses in full; by default they are masked.
    """
    columns = ["system", "id", "address", "category", "fix", "due_by", "explanation"]
    frame = pd.read_csv(run.actions_path, dtype="str", keep_default_na=False, nrows=rows, usecols=columns)[columns]
    if not show_addresses:
        frame["address"] = frame["address"].map(mask_address)
        for column in ("id", "explanation"):
            frame[column] = frame[column].map(mask_within)
    return Shown(frame)


def large_clusters(manifest: Mapping[str, Any]) -> Shown:
    """Persons with suspiciously many records, and the address or the record that joins most of them."""
    rows = [
        {
            "person": mask_within(each["cluster"]),
            "records": each["size"],
            "joined by": each["joined_by"],
            "which": each["value_masked"] or mask_within(each["uid"]),
            "joins": each["members"],
        }
        for each in manifest["large_clusters"]
    ]
    return Shown(
        pd.DataFrame(rows, columns=["person", "records", "joined by", "which", "joins"]),
        "No person has suspiciously many records.",
    )


def timeline(why: Why) -> Shown:
    """What happened to a person's records, as far as both systems and the ledger know, in order of time."""
    rows = [
        {
            "at": iso(event.at),
            "record": mask_within(visible(event.uid)),
            "what": mask_within(visible(event.what)),
            "known from": "the two systems",
        }
        for person in why.persons
        for event in person.events()
    ]
    if why.ledger is not None:
        rows += [
            {
                "at": step.entry.at,
                "record": "",
                "what": f"{step.entry.kind}: {told(step.entry, why.ledger.actors)}",
                "known from": "the ledger",
            }
            for step in why.ledger.steps
        ]
    rows.sort(key=lambda row: row["at"])
    return Shown(
        pd.DataFrame(rows, columns=["at", "record", "what", "known from"]), "Nobody knows when anything happened here."
    )


def verdicts(done: Resubscribed, *, show_addresses: bool = False) -> Shown:
    """Every approved row's verdict and what to do about it; it is in verdicts.csv, too.

    Parameters
    ----------
    show_addresses
        Show addresses in full; by default they are masked.
    """
    frame = done.planned.check.checked.verdicts.to_pandas()
    if not show_addresses:
        frame["email"] = frame["email"].map(mask_address)
        frame["message"] = frame["message"].map(mask_within)
    return Shown(frame.fillna(""))


def steps(done: Resubscribed) -> Shown:
    """What the plan changes, record by record, in its order."""
    rows = [
        {
            "step": step.number,
            "system": step.system,
            "object": step.object,
            "id": mask_within(step.id),
            "opted out": "will be" if step.direction == "set" else "no more",
            "since": step.opted_out_at or "",
            "line": "" if step.row is None else str(step.row),
            "reason": mask_within(step.reason or ""),
            "because": mask_within(step.because),
        }
        for step in done.planned.plan.steps
    ]
    columns = ["step", "system", "object", "id", "opted out", "since", "line", "reason", "because"]
    return Shown(pd.DataFrame(rows, columns=columns), "The plan changes nothing.")


def blocked(done: Resubscribed) -> Shown:
    """Accepted rows that the plan leaves out, because the opt-out would come back."""
    rows = [
        {"line": row.row, "person": mask_within(row.person), "why": mask_within(row.reason)}
        for row in done.planned.plan.blocked
    ]
    return Shown(pd.DataFrame(rows, columns=["line", "person", "why"]), "No accepted row is left out.")


def outcomes(done: Resubscribed) -> Shown:
    """What became of every step."""
    rows = [
        {
            "step": each.number,
            "record": mask_within(each.key),
            "outcome": each.outcome,
            "code": each.code or "",
            "what to do": mask_within(each.message),
        }
        for each in (() if done.applied is None else done.applied.outcomes)
    ]
    return Shown(
        pd.DataFrame(rows, columns=["step", "record", "outcome", "code", "what to do"]), "The plan was not applied."
    )


def files(folder: Path) -> Shown:
    """What a run or a snapshot has left: one row a file."""
    found = [path for name in _FILES if (path := folder / name).is_file()]
    rows = [{"file": str(path), "is": _FILES[path.name], "bytes": path.stat().st_size} for path in found]
    return Shown(pd.DataFrame(rows, columns=["file", "is", "bytes"]))
