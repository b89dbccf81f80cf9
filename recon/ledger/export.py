"""What is handed to a stranger: the consent records, and beside each the ledger's entries that prove it.

With the chain's entries up to the checkpoint (they hold no personal data) everything can be computed anew by whoever has the file and the
checkpoint, without recon: SHA-256 over `recon-ledger/v1`, a zero byte, the 32 bytes of the previous hash, and the body as canonical
JSON (RFC 8785) gives an entry's hash.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recon.ledger import kinds
from recon.ledger.canonical import NotCanonical, canonical
from recon.ledger.chain import GENESIS, chained
from recon.ledger.checkpoint import Unreadable, from_json
from recon.ledger.consent_record import Case, Terms, consent_record, identifier
from recon.ledger.store import TOOL
from recon.ledger.story import story

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from recon.ledger.chain import Entry
    from recon.ledger.checkpoint import Checkpoint
    from recon.ledger.store import Ledger

FORMAT = "recon-consent-export/v1"


@dataclass(frozen=True, slots=True)
class Export:
    """Consent records with their evidence.

    Attributes
    ----------
    records
        Each `{"record": JSON-LD, "ledger": entries, "personal": "kept" or "erased"}`.
    corrections
        Opt-outs that were recorded wrongly and taken back: no consents, so entries only.
    checkpoint
        The checkpoint that covers them, or None.
    chain
        All entries up to the checkpoint (or the end), or None.
    """

    records: tuple[dict[str, Any], ...]
    corrections: tuple[dict[str, Any], ...]
    checkpoint: Checkpoint | None
    chain: tuple[Entry, ...] | None

    def as_json(self) -> dict[str, Any]:
        """The whole, for a file."""
        return {
            "format": FORMAT,
            "tool": TOOL,
            "checkpoint": None if self.checkpoint is None else self.checkpoint.as_json(),
            "records": list(self.records),
            "corrections": list(self.corrections),
            "chain": None if self.chain is None else [entry.as_json() for entry in self.chain],
        }

    def text(self) -> str:
        """The whole, as the text of a file."""
        return json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n"

    def lines(self) -> list[str]:
        """What was exported, for people."""
        covered = "no checkpoint" if self.checkpoint is None else f"checkpoint of {self.checkpoint.time}"
        records, corrections = len(self.records), len(self.corrections)
        return [
            f"{records} consent record{'s' if records != 1 else ''} and {corrections} correction{'s' if corrections != 1 else ''}, "
            f"with their entries; {covered}."
        ]


def export(
    ledger: Ledger,
    terms: Terms,
    *,
    of: str | None = None,
    checkpoint: Checkpoint | None = None,
    chain: bool = False,
    full: bool = False,
) -> Export:
    """Export the consents that were accepted.

    Parameters
    ----------
    ledger
        Where from.
    terms
        What every record says: the controller, the notices, where consent is withdrawn.
    of
        Only this person's, as for `story`.
    checkpoint
        The checkpoint to put beside.
    chain
        Add all the entries, so that the hashes can be computed anew up to the checkpoint. They hold other people's pseudonyms.
    full
        Leave addresses within free texts as they are; without, they are masked.
    """
    if of is None:
        verdicts = list(ledger.entries(kinds.VERDICT))
    else:
        steps = story(ledger, of).steps
        verdicts = [step.entry for step in steps if step.entry.kind == kinds.VERDICT and not step.context]
    rows = _by_row(verdicts)
    answers = _answers(ledger, {verdict.seq for verdict in verdicts})
    last: dict[str, str] = {}
    records, corrections = [], []
    for same in rows:
        newest = same[-1]
        if newest.data["verdict"] != "accepted" and not any(answers.get(v.seq) for v in same):
            continue
        accepted = [v for v in same if v.data["verdict"] == "accepted"][-1]
        following = [entry for v in same for entry in answers.get(v.seq, [])]
        proof = [entry.as_json() for entry in sorted([*same, *following], key=lambda entry: entry.seq)]
        if accepted.data.get("kind") == "correction":
            corrections.append({"ledger": proof})
            continue
        said = ledger.personal(accepted)
        case = Case(
            accepted,
            said or {},
            [e for e in following if e.kind == kinds.OUTCOME and e.data["result"] == "done"],
            [e for e in following if e.kind == kinds.VERIFICATION],
        )
        subject = str(accepted.data["subject"])
        record = consent_record(case, terms, replaces=last.get(subject), full=full)
        last[subject] = identifier(accepted)
        kept = "kept" if said is not None else "erased" if accepted.personal_id is not None else "none"
        records.append({"record": record, "ledger": proof, "personal": kept})
    whole = None
    if chain:
        end = None if checkpoint is None else checkpoint.size
        whole = tuple(entry for entry in ledger.entries() if end is None or entry.seq <= end)
    return Export(tuple(records), tuple(corrections), checkpoint, whole)


def _by_row(verdicts: Iterable[Entry]) -> list[list[Entry]]:
    """Verdicts on one row of one file belong together, however often it was checked; in the order of the first."""
    rows: dict[tuple[str, int], list[Entry]] = {}
    for entry in verdicts:
        rows.setdefault((entry.data["file"], entry.data["row"]), []).append(entry)
    return list(rows.values())


def _answers(ledger: Ledger, verdicts: Container[int]) -> dict[int, list[Entry]]:
    """What was done and found on the strength of each of these verdicts: intents, outcomes and verifications."""
    found: dict[int, list[Entry]] = {}
    # What a plan did to a record and what was found on it belong together, also where an opt-out was put back.
    records: dict[tuple[str, str], int] = {}
    for entry in ledger.entries():
        if entry.kind not in (kinds.INTENT, kinds.OUTCOME, kinds.VERIFICATION):
            continue
        place = (entry.data["plan"], entry.data["record"])
        if entry.kind == kinds.INTENT and "verdict" in entry.data:
            if entry.data["verdict"] in verdicts:
                records[place] = entry.data["verdict"]
            else:
                records.pop(place, None)
        verdict = records.get(place)
        if verdict is not None:
            found.setdefault(verdict, []).append(entry)
    return found


def check_export(document: dict[str, Any]) -> list[str]:
    """Hold an exported file together: what is wrong with it, one sentence each; empty where nothing is.

    Parameters
    ----------
    document
        The JSON of an export.
    """
    if document.get("format") != FORMAT:
        return ["This is no export of consent records."]
    wrong = []
    chain = document.get("chain")
    by_seq: dict[Any, str] = {}
    head = GENESIS
    for entry in chain or []:
        seq = entry.get("seq")
        if not _entry_holds(entry) or entry["prev"] != head or seq != len(by_seq) + 1:
            wrong.append(f"Entry {seq} of the chain is not as it was written, or not in its place.")
            break
        head = by_seq[seq] = entry["hash"]
    for part in [*document.get("records", []), *document.get("corrections", [])]:
        for entry in part["ledger"]:
            if not _entry_holds(entry):
                wrong.append(f"Entry {entry.get('seq')} is not as it was written.")
            elif entry["seq"] in by_seq and by_seq[entry["seq"]] != entry["hash"]:
                wrong.append(f"Entry {entry['seq']} is not the one in the chain.")
    if document.get("checkpoint") is not None and chain is not None:
        try:
            point = from_json(document["checkpoint"])
        except Unreadable:
            return [*wrong, "The checkpoint can't be read."]
        if by_seq.get(point.size, GENESIS) != point.head:
            wrong.append(f"The chain doesn't lead to the checkpoint of {point.time}.")
    return wrong


def _entry_holds(entry: dict[str, Any]) -> bool:
    try:
        fits: bool = chained(entry["prev"], canonical(entry["body"])) == entry["hash"]
        return fits and entry["body"]["seq"] == entry["seq"]
    except (NotCanonical, KeyError, TypeError, ValueError):
        return False
