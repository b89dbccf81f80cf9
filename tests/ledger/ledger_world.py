"""What the ledger's tests write: one whole resubscribe, from the file to the state after the nightly run."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from recon.ledger import kinds

if TYPE_CHECKING:
    from recon.clock import SetClock
    from recon.ledger import Entry, Ledger

FILE = "f" * 64
PLAN = "a" * 64
LEAD = "00Q000000000ABCEA2"


def run_entry(ledger: Ledger, run_id: str = "r1") -> Entry:
    return ledger.append(kinds.RUN, {"run_id": run_id, "job": "pull"})


def step(ledger: Ledger, number: int, system: str, record: str, field: str) -> dict[str, Any]:
    return {
        "plan": PLAN,
        "step": number,
        "record": ledger.names.record(system, record),
        "system": system,
        "field": field,
    }


def verdict(ledger: Ledger, email: str, row: int, personal: dict[str, Any] | None = None, **more: Any) -> Entry:
    body = {
        "file": FILE,
        "row": row,
        "subject": ledger.names.address(email),
        "verdict": "accepted",
        "codes": [],
        "kind": "consent",
    }
    said = {"email": email, "reason": "asked on the phone"} if personal is None else personal
    return ledger.append(kinds.VERDICT, body | more, said)


def resubscribe(ledger: Ledger, clock: SetClock, email: str, row: int, person: str, lead: str) -> list[Entry]:
    """One person made mailable on both sides; returns the entries about the person."""
    names = ledger.names
    records = [names.record("sales_connect", person), names.record("salesforce", lead)]
    accepted = verdict(
        ledger, email, row, records=records, approved_by=ledger.actor("Grace"), opted_out_at="2026-06-02T07:31:00Z"
    )
    made = [accepted]
    for number, (system, record, field) in enumerate(
        [("salesforce", lead, "HasOptedOutOfEmail"), ("sales_connect", person, "unsubscribed")]
    ):
        where = step(ledger, row * 10 + number, system, record, field) | {"subject": accepted.data["subject"]}
        intent = ledger.append(kinds.INTENT, where | {"from": True, "to": False, "verdict": accepted.seq})
        clock.advance(timedelta(seconds=1))
        done = {"intent": intent.seq, "result": "done", "from": True, "to": False}
        outcome = ledger.append(kinds.OUTCOME, where | done)
        found = ledger.append(kinds.VERIFICATION, where | {"result": "stuck", "value": False})
        made += [intent, outcome, found]
    return made
