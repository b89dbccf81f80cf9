"""What an entry may point at: evidence that names other evidence must name what is there, and what allows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recon.ledger import kinds
from recon.ledger.chain import mentions
from recon.ledger.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from recon.ledger.chain import Entry

#: The field with the number of another entry.
_POINTERS = {kinds.INTENT: "verdict", kinds.OUTCOME: "intent", kinds.CORRECTION: "corrects"}


def check(kind: str, data: Mapping[str, Any], select: Callable[..., list[Entry]]) -> None:
    """Hold an entry to be against those that are there.

    A flag is cleared on the strength of an accepted verdict on the same person only; an outcome answers an intent of its step that has
    none yet; a correction points at an entry.

    Parameters
    ----------
    kind, data
        The entry to be.
    select
        Finds entries: the end of a SELECT on the chain, and its values.

    Raises
    ------
    LedgerError
        If it can't be written.
    """
    seq = data.get(_POINTERS.get(kind, ""))
    if seq is None:
        if kind == kinds.INTENT and data["to"] is False:
            raise LedgerError("a flag is cleared on the strength of an accepted verdict only: the intent names none.")
        return
    found = select("WHERE seq = ?", seq)
    if not found:
        raise LedgerError(f"a ledger entry can't point at entry {seq}: there is none.")
    if kind == kinds.INTENT:
        _check_intent(data, found[0])
    elif kind == kinds.OUTCOME:
        _check_outcome(data, found[0], select)


def _check_intent(data: Mapping[str, Any], verdict: Entry) -> None:
    allowed = verdict.kind == kinds.VERDICT and verdict.data["verdict"] == "accepted"
    # The record may be without an address, or carry another one that was approved with it.
    if not allowed or _own(verdict.data).isdisjoint(_own(data)):
        raise LedgerError(
            f"entry {verdict.seq} is no accepted verdict on the intent's person: the intent was not written."
        )


def _own(data: Mapping[str, Any]) -> set[str]:
    return {name for name, own in mentions(data) if own}


def _check_outcome(data: Mapping[str, Any], intent: Entry, select: Callable[..., list[Entry]]) -> None:
    if intent.kind != kinds.INTENT or any(intent.data[key] != data[key] for key in ("plan", "step")):
        raise LedgerError(f"entry {intent.seq} is no intent of this step of the plan: the outcome was not written.")
    answered = select("WHERE json_extract(body, '$.data.intent') = ?", intent.seq)
    if answered:
        raise LedgerError(f"the intent {intent.seq} has its outcome already, in entry {answered[0].seq}.")
