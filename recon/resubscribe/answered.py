"""Opt-outs that nobody can take back and that a documented resubscribe has answered: those of converted Leads.

Salesforce lets nobody change a converted Lead, so after a resubscribe its opt-out stands for ever. The ledger tells that the person
consented after it: that opt-out is no reason to opt the person out again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from recon.clock import Clock
    from recon.ledger import Entry, Ledger
    from recon.settings import Settings

#: How far two clocks are apart at most.
_CLOCKS = timedelta(hours=1)


def answered_leads(
    loaded: Settings, records: pa.Table, clock: Clock, environ: Mapping[str, str] | None = None
) -> list[str]:
    """The converted Leads whose opt-out a resubscribe has answered: ids, sorted.

    That is so where the ledger holds an accepted verdict that names the Lead, at least one clear under it was done and stands (no undo took it
    back), and the Lead's opt-out isn't newer than those that the consent was held against. An opt-out of unknown date counts only where
    the Lead wasn't changed since the verdict. In doubt it isn't answered.

    Parameters
    ----------
    loaded
        Where the ledger is; where there is none, nothing was answered.
    records
        `recon.tables.RECORDS`.
    environ
        Holds the secrets; by default this process's own.
    """
    # Most runs have none, and the ledger takes a while to load.
    if not loaded.run.ledger.is_dir():
        return []
    from recon.evidence import open_ledger
    from recon.ledger import schema

    if not (loaded.run.ledger / schema.FILE).is_file():
        return []
    stuck = records.filter(
        pc.and_(pc.and_(records.column("is_converted"), records.column("opted_out")), pc.invert(records["is_deleted"]))
    ).select(["record_id", "opted_out_at", "modified_at"])
    if not stuck.num_rows:
        return []
    from recon.resubscribe.used_up import standing

    with open_ledger(loaded, clock, environ) as ledger:
        return sorted(
            row["record_id"]
            for row in stuck.to_pylist()
            # Whether it stands takes longer to tell than whether it would do.
            if any(standing(ledger, (verdict for verdict in _said(ledger, row["record_id"]) if _covers(verdict, row))))
        )


def _said(ledger: Ledger, lead: str) -> Iterator[Entry]:
    """The verdicts that name a Lead among the person's records."""
    from recon.ledger import kinds

    for name in ledger.names.of(f"salesforce:{lead}"):
        for seq, _ in ledger.mentioning(name):
            entry = ledger.entry(seq)
            if entry.kind == kinds.VERDICT and name in entry.data.get("records", ()):
                yield entry


def _covers(verdict: Entry, row: dict[str, Any]) -> bool:
    """Whether the verdict's consent was held against the opt-out that the Lead has now."""
    if row["opted_out_at"] is not None:
        newest = verdict.data.get("opted_out_at")
        return newest is not None and row["opted_out_at"].replace(microsecond=0) <= datetime.fromisoformat(newest)
    # The verdict's time is of this machine's clock, the Lead's of Salesforce's: in doubt it was changed afterwards.
    return row["modified_at"] is not None and row["modified_at"] <= datetime.fromisoformat(verdict.at) - _CLOCKS
