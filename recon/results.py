"""What the batch jobs hand back: where the files are, tables to look at, and a summary for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


@dataclass(frozen=True, slots=True)
class PullResult:
    """A snapshot that was pulled.

    Attributes
    ----------
    snapshot_id, folder
        The snapshot.
    rows
        Rows by input: people, leads, contacts.
    inputs
        Where they came from, as in the manifest.
    manifest
        What the snapshot's manifest.json holds.
    """

    snapshot_id: str
    folder: Path
    rows: dict[str, int]
    inputs: list[dict[str, Any]]
    manifest: dict[str, Any] = field(default_factory=dict)

    def summary(self) -> str:
        """What was pulled, in lines for people."""
        lines = [f"Snapshot {self.snapshot_id}"]
        lines += [f"  {each['name']}: {each['rows']:,} rows from {each['origin']}" for each in self.inputs]
        lines += [f"  {line}" for line in (self._way(), self._calls()) if line]
        return "\n".join([*lines, f"  kept in {self.folder}"])

    def _way(self) -> str:
        how = self.manifest.get("pull")
        if not how:
            return ""
        if how["way"] == "full":
            return f"everything was read: {how['why_full']}" if how["why_full"] else ""
        changed = sum(each["rows_read"] for each in how["objects"].values())
        return f"Salesforce: what changed since snapshot {how['base']}, {changed:,} records; the last full pull is of {how['full_at']}"

    def _calls(self) -> str:
        calls = self.manifest.get("api_calls", {})
        told = [
            f"{each['total']:,} of {name}"
            for name, each in (
                ("Salesforce's API", calls.get("salesforce")),
                ("the gateway", calls.get("sales_connect")),
            )
            if each
        ]
        quota = self.manifest.get("api_quota") or {}
        used = (
            f"; {quota['used_after']:,} of the org's {quota['daily_max']:,} a day are used"
            if quota.get("daily_max")
            else ""
        )
        return f"calls: {', '.join(told)}{used}" if told else ""


@dataclass(frozen=True, slots=True)
class RunResult:
    """A reconciliation that was made, and the files it left.

    Attributes
    ----------
    run_id
        The run.
    folder
        Where its files are.
    manifest
        What manifest.json holds.
    """

    run_id: str
    folder: Path
    manifest: dict[str, Any]

    @property
    def merged_path(self) -> Path:
        """The file merged.parquet."""
        return self.folder / "merged.parquet"

    @property
    def actions_path(self) -> Path:
        """The file actions.csv."""
        return self.folder / "actions.csv"

    def merged(self) -> pd.DataFrame:
        """The table `recon.tables.MERGED`, with pandas' usual types. Holds addresses."""
        import pyarrow.parquet as pq

        from recon.engine import to_pandas

        frame: pd.DataFrame = to_pandas(pq.read_table(self.merged_path))
        return frame

    def actions(self) -> pd.DataFrame:
        """The table `recon.tables.ACTIONS` as it stands in actions.csv: all text. Holds addresses."""
        import pandas as pd

        return pd.read_csv(self.actions_path, dtype="str", keep_default_na=False, na_values=[""])

    def categories(self) -> pd.DataFrame:
        """One row a category that was found: how many records, what it means, who mends it, what to do."""
        import pandas as pd

        from recon.categories import CATEGORIES

        counted = self.manifest["categories"]
        rows = [
            {
                "category": each.name,
                "records": counted[each.name]["primary"],
                "also": counted[each.name]["all"] - counted[each.name]["primary"],
                "meaning": each.meaning,
                "fix": each.fix,
                "to do": each.to_do,
            }
            for each in CATEGORIES
            if counted[each.name]["all"]
        ]
        return pd.DataFrame(rows, columns=["category", "records", "also", "meaning", "fix", "to do"])

    def coverage(self) -> pd.DataFrame:
        """How the records of each side are tied to the other one: one row a kind of tie."""
        import pandas as pd

        frame = pd.DataFrame(self.manifest["coverage"]).rename(
            columns={"people": "Sales Connect people", "records": "Salesforce records"}
        )
        return frame.astype("Int64")

    def summary(self) -> str:
        """What was found, in lines for people."""
        return "\n".join(_summary_lines(self.manifest, self.folder))


@dataclass(frozen=True, slots=True)
class ReportResult:
    """A report that was written."""

    run_id: str
    path: Path

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.path.parent

    @property
    def manifest(self) -> dict[str, Any]:
        """What manifest.json holds."""
        import json

        found: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text("utf-8"))
        return found


def _summary_lines(manifest: dict[str, Any], folder: Path) -> list[str]:
    rows, mailed, tonight = manifest["rows"], manifest["could_be_mailed"], manifest["tonight"]
    lines = [
        f"Run {manifest['run_id']}",
        f"  {rows['people']:,} people, {rows['leads']:,} Leads, {rows['contacts']:,} Contacts ({rows['deleted']:,} deleted): "
        f"{rows['clusters']:,} persons, {manifest['opted_out']['clusters']:,} of them opted out somewhere",
        f"  {mailed['total']:,} records could be mailed although the person opted out; "
        f"{mailed['tonight']:,} of them the next nightly run will mend"
        + (f" ({tonight['run_at']})" if tonight["enabled"] else " (the sync is switched off)"),
        f"  {rows['actions']:,} records need action: toolkit {manifest['fix']['toolkit']:,}, admin {manifest['fix']['admin']:,}, "
        f"nobody {manifest['fix']['nobody']:,}; {manifest['overdue']:,} overdue",
    ]
    lines += [
        f"    {name:<20} {count['primary']:>9,}" for name, count in manifest["categories"].items() if count["primary"]
    ]
    odd = manifest["unusable"]
    if odd["addresses"] or odd["ids"]:
        lines.append(
            f"  kept but unusable: {odd['addresses']:,} addresses, {odd['ids']:,} Salesforce ids (unusable.csv)"
        )
    if manifest["large_clusters"]:
        lines.append(f"  {len(manifest['large_clusters']):,} clusters are suspiciously large: see the report")
    return [*lines, f"  files in {folder}"]
