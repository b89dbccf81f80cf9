"""The ledger: evidence that shows when it was touched.

One append-only table of entries, each tied to the one before by its hash; what is said about people in a part of its own that can be
erased. Never "tamper-proof": `verify` says since which checkpoint the ledger is unbroken, and `recon.ledger.verify` says what can't show.

    with Ledger.open(folder, clock=clock) as ledger:
        entry = ledger.append(kinds.RUN, {"run_id": run_id, "job": "pull"})
        checkpoint = ledger.checkpoint(folder / "checkpoints.jsonl")
    verify(folder, [folder / "checkpoints.jsonl"]).exit_code
"""

from __future__ import annotations

from recon.ledger import kinds
from recon.ledger.chain import Entry, Head
from recon.ledger.checkpoint import Checkpoint, new_key_pair
from recon.ledger.consent_record import Notice, Terms
from recon.ledger.errors import LedgerBroken, LedgerBusy, LedgerError
from recon.ledger.export import Export, check_export, export
from recon.ledger.pseudonym import Pseudonyms
from recon.ledger.store import Draft, Ledger, replace_key
from recon.ledger.story import Erasure, Step, Story, erase, story
from recon.ledger.verify import Result, Verification, verify

__all__ = [
    "Checkpoint",
    "Draft",
    "Entry",
    "Erasure",
    "Export",
    "Head",
    "Ledger",
    "LedgerBroken",
    "LedgerBusy",
    "LedgerError",
    "Notice",
    "Pseudonyms",
    "Result",
    "Step",
    "Story",
    "Terms",
    "Verification",
    "check_export",
    "erase",
    "export",
    "kinds",
    "new_key_pair",
    "replace_key",
    "story",
    "verify",
]
