"""Earlier runs of the workspace, by their manifests, and whether things get better."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from recon.report.charts import trend_chart
from recon.report.context import Trend, TrendRow
from recon.report.words import number
from recon.report.workspace_runs import document

if TYPE_CHECKING:
    from pathlib import Path

    from recon.report.manifest import Manifest
    from recon.report.mask import Veil

#: Runs that are shown, the newest ones, this run among them.
SHOWN = 24


def trend(reports: Path, own: Path, manifest: Manifest, veil: Veil) -> Trend:
    """The runs of a workspace up to this one, oldest first.

    Parameters
    ----------
    reports
        The folder of the runs. One whose manifest can't be read is counted, and left out.
    own, manifest
        This run's folder and manifest.
    veil
        For the runs' names.
    """
    this = TrendRow(
        run_id=veil.text(manifest.run_id),
        at=manifest.created_at.astimezone(UTC),
        opted_out=manifest.opted_out.clusters,
        mailable=manifest.could_be_mailed.total,
        need_you=manifest.could_be_mailed.toolkit + manifest.could_be_mailed.admin,
        overdue=manifest.overdue,
        actions=manifest.rows.actions,
    )
    earlier, unread = [], 0
    for file in sorted(reports.glob("*/manifest.json")):
        if file.parent.resolve() == own.resolve():
            continue
        row = _row(document(file), veil)
        if row is None:
            unread += 1
        elif row.at < this.at and row.run_id != this.run_id:
            earlier.append(row)
    earlier.sort(key=lambda row: (row.at, row.run_id))
    rows = (*earlier[-(SHOWN - 1) :], this)
    if len(rows) == 1:
        return Trend(rows, 0, unread, None, "")
    chart = trend_chart(
        "trend-chart",
        "Over the runs of this workspace",
        [f"{row.at:%Y-%m-%d}" for row in rows],
        {
            "records that could be mailed": [row.mailable for row in rows],
            "of them, need you": [row.need_you for row in rows],
            "overdue actions": [row.overdue for row in rows],
        },
    )
    return Trend(rows, len(earlier), unread, chart, _verdict(rows[-2], this))


def _row(raw: dict[str, Any] | None, veil: Veil) -> TrendRow | None:
    try:
        if raw is None or raw["schema"] != 1:
            return None
        at = datetime.fromisoformat(raw["created_at"])
        if at.tzinfo is None:
            return None
        mailed = raw["could_be_mailed"]
        numbers = (
            raw["opted_out"]["clusters"],
            mailed["total"],
            mailed["toolkit"] + mailed["admin"],
            raw["overdue"],
            raw["rows"]["actions"],
        )
        if not all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in numbers):
            return None
        return TrendRow(veil.text(str(raw["run_id"])), at.astimezone(UTC), *numbers)
    except (KeyError, TypeError, ValueError):
        return None


def _verdict(before: TrendRow, now: TrendRow) -> str:
    """Better, worse or the same as the run before, and by how much."""
    changes = [
        _change(now.mailable - before.mailable, "record that could be mailed", "records that could be mailed"),
        _change(now.overdue - before.overdue, "overdue action", "overdue actions"),
    ]
    signs = {(part > 0) - (part < 0) for part in (now.mailable - before.mailable, now.overdue - before.overdue)} - {0}
    start = "Mixed against"
    if len(signs) < 2:
        start = {-1: "Better than", 1: "Worse than", 0: "The same as"}[next(iter(signs), 0)]
    return f"{start} the run before: {', '.join(changes)}."


def _change(by: int, one: str, many: str) -> str:
    if not by:
        return f"as many {many}"
    return f"{number(abs(by))} {'more' if by > 0 else 'fewer'} {one if abs(by) == 1 else many}"
