"""What check and plan leave in the ledger: the run, the file, every verdict, the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recon.identity import address as comparable
from recon.ledger import Draft, kinds
from recon.resubscribe.used_up import used_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from recon.ledger import Entry, Ledger
    from recon.resubscribe.approved import Approved, ApprovedRow
    from recon.resubscribe.clusters import Member
    from recon.resubscribe.plan_file import Plan
    from recon.resubscribe.verdicts import AcceptedRow, Checked

#: What a row says about its person in words: kept beside the chain.
_SAID = (
    *("email", "reason", "authorization", "purpose", "evidence", "evidence_sha256", "notice", "note"),
    *("person_id", "approved_by", "requested_by"),
)

#: Verdicts that are turned into Python's own values together.
_AT_A_TIME = 10_000

#: Where an opt-out came from, of one second the last one counts: what is done in Sales Connect is pushed to Salesforce within it, and what the
#: sync brought came from there.
_FIRST = (None, "salesforce_sync", "salesforce", "bounce", "manual", "clicked_link")


def write_check_and_plan(
    ledger: Ledger,
    *,
    checked: Checked,
    approved: Approved,
    plan: Plan,
    actor: str | None,
) -> None:
    """Add the run, the approved file, a verdict for each of its rows that names an address, and the plan: all or none.

    Parameters
    ----------
    checked, approved
        The verdicts, and the file they are about.
    plan
        The plan that was made of them.
    actor
        Who made it, where that is known.
    """
    who = None if actor is None else ledger.actor(actor)
    common = {"policy": plan.policy_sha256, "run_id": plan.run_id}
    file = str(approved.source.sha256)
    # An actor is an entry of its own beside the chain, so all are there before the transaction begins.
    named = dict.fromkeys(name for row in approved.rows for name in (row.approved_by, row.requested_by) if name)
    actors = {name: ledger.actor(name) for name in named}

    def drafts() -> Iterator[Draft]:
        yield Draft(
            kinds.RUN,
            {
                "run_id": plan.run_id,
                "job": "plan",
                "actor": who,
                "settings": plan.settings_sha256,
                "snapshot": plan.snapshot,
            },
        )
        yield Draft(
            kinds.APPROVED_FILE,
            {
                "file": file,
                "rows": len(approved.rows),
                "verdicts": {
                    "accepted": len(checked.accepted),
                    "rejected": checked.rejected,
                    "no_op": checked.no_op,
                },
                "snapshot": plan.snapshot,
                "actor": who,
                **common,
            },
        )
        accepted = iter(checked.accepted)
        for row, verdict in zip(approved.rows, _verdicts(checked), strict=True):
            # The accepted rows stand in the file's order, too.
            taken = next(accepted) if verdict["verdict"] == "accepted" else None
            yield _verdict(ledger, file, row, verdict, taken, common, actors)
        yield _plan(plan, who)

    ledger.append_each(drafts())


def _verdicts(checked: Checked) -> Iterator[dict[str, Any]]:
    for batch in checked.verdicts.to_batches(max_chunksize=_AT_A_TIME):
        yield from batch.to_pylist()


def _verdict(
    ledger: Ledger,
    file: str,
    row: ApprovedRow,
    verdict: Mapping[str, Any],
    accepted: AcceptedRow | None,
    common: Mapping[str, Any],
    actors: Mapping[str, str],
) -> Draft:
    names = ledger.names
    # A row whose address is none is somebody all the same: the text itself stands for the person.
    subject = names.address(accepted.address if accepted else comparable(row.email) or row.email or f"line {row.line}")
    data: dict[str, Any] = {
        "file": file,
        "row": row.line,
        "subject": subject,
        "verdict": verdict["verdict"],
        "codes": [code for code in (verdict["codes"] or "").split(";") if code],
        "kind": row.kind,
        "initiated_by": row.initiated_by if row.initiated_by in ("person", "sender") else None,
        "approved_by": actors[row.approved_by] if row.approved_by else None,
        "requested_by": actors[row.requested_by] if row.requested_by else None,
        **common,
    }
    said = {name: value for name in _SAID if (value := getattr(row, name)) is not None}
    if accepted is not None:
        data |= _of_accepted(ledger, accepted)
        said["digest"] = accepted.digest
    return Draft(kinds.VERDICT, data, said)


def _of_accepted(ledger: Ledger, accepted: AcceptedRow) -> dict[str, Any]:
    names = ledger.names
    dated = ((member.opted_out_at, member) for member in accepted.clears if member.opted_out_at is not None)
    _, newest = max(
        dated,
        key=lambda pair: (pair[0].replace(microsecond=0), _FIRST.index(_source(pair[1])), pair[1].uid),
        default=(None, None),
    )
    addresses = sorted({member.address for member in accepted.clears if member.address} - {accepted.address})
    return {
        "addresses": [names.address(each) for each in addresses],
        "records": [names.record(member.system, member.id) for member in (*accepted.clears, *accepted.stays)],
        "country": accepted.country,
        "scope": accepted.scope,
        "opted_out_at": None if accepted.newest_opt_out is None else _when(accepted.newest_opt_out),
        "opt_out_source": None if newest is None else _source(newest),
        "consent_at": None if accepted.consent is None else accepted.consent.text,
        "approved_at": None if accepted.approved is None else accepted.approved.text,
    }


def _source(member: Member) -> str | None:
    source = "salesforce" if member.system == "salesforce" else member.source
    return source if source in _FIRST else None


def _plan(plan: Plan, who: str | None) -> Draft:
    sets = sum(step.direction == "set" for step in plan.steps)
    clears = len(plan.steps) - sets
    purpose = "undo" if plan.kind == "undo" else "mixed" if sets and clears else "opt_out" if sets else "resubscribe"
    return Draft(
        kinds.PLAN,
        {
            "plan": plan.hash,
            "purpose": purpose,
            "file": plan.approved.sha256 if plan.approved else None,
            "undoes": plan.undoes,
            "snapshot": plan.snapshot,
            "settings": plan.settings_sha256,
            "counts": {"clear": clears, "set": sets, "blocked": len(plan.blocked)},
            "run_id": plan.run_id,
            "actor": who,
        },
    )


def write_plan_entry(ledger: Ledger, plan: Plan, actor: str | None) -> Entry:
    """Add the entry of a plan that comes from no approved file."""
    return ledger.append_all([_plan(plan, None if actor is None else ledger.actor(actor))])[0]


def applied_digests(ledger: Ledger) -> AbstractSet[str]:
    """Digests of the approved rows that are used up: of each, a clear was done under its verdict and wasn't taken back by an undo.

    An undo takes back what should not have been done, so a row of which nothing is left was not carried out: it may be handed in again, and is
    held against the opt-outs as they are then, those that the undo put back included. A clear that was put back because the person opted out
    anew stays done: that consent is spent. A row whose personal part was erased is not among them.

    Nor is one of which a part could not be done, because a rule of the org forbade it or a Lead was converted meanwhile: what is left of it may
    be planned again once that is mended, and is held against the opt-outs as they are then.

    They are kept on the disk, not in memory, and stay usable when the ledger is closed.
    """
    return used_up(ledger)


def _when(at: Any) -> str:
    from recon.clock import iso

    return iso(at)
