"""Plan: from accepted rows to the exact changes, in both systems, that make these people mailable and nobody else.

Only records that an accepted row names are cleared. What would not stick is left out and said so. Opt-outs that the diff lists for the
toolkit go through the same plan where that is asked for.
"""

from __future__ import annotations

from itertools import chain, count
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from recon import __version__
from recon.clock import iso
from recon.errors import UsageError
from recon.resubscribe.guards import guards
from recon.resubscribe.plan_file import Approval, Approved, Blocked, Plan, Step
from recon.resubscribe.sticking import reverting
from recon.sources.discovery import on_contact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from recon.resubscribe.approved import Approved as ApprovedFile
    from recon.resubscribe.clusters import Member
    from recon.resubscribe.moments import Moment
    from recon.resubscribe.verdicts import AcceptedRow, Checked
    from recon.settings import Settings

_STANDARD = "HasOptedOutOfEmail"
_UNSUBSCRIBED = "unsubscribed"
#: What a step tells of its record in the snapshot.
_OF_PEOPLE = (_UNSUBSCRIBED, "updated_at")
_OF_RECORDS = ("has_opted_out_of_email", "sales_opt_out", "modified_at", "account_id")

#: Whoever is first can fail without harm: until both are done, the sync can only opt the person out again. Salesforce comes first, as
#: its write is refused where somebody changed the record meanwhile.
_ORDER = {"salesforce": 0, "sales_connect": 1}


def make_plan(
    checked: Checked,
    approved: ApprovedFile,
    *,
    merged: pa.Table,
    people: pa.Table,
    records: pa.Table,
    actions: pa.Table | None = None,
    settings: Settings,
    targets: Mapping[str, tuple[str, ...]],
    snapshot: Mapping[str, str],
    hashes: Mapping[str, str],
    run_id: str,
    created_at: datetime,
    created_by: str | None = None,
) -> Plan:
    """Make the plan for an approved file that was checked.

    Parameters
    ----------
    checked, approved
        The verdicts, and the file they are about.
    merged, people, records
        `recon.tables.MERGED`, `PEOPLE`, `RECORDS` of the snapshot that was checked against.
    actions
        `recon.tables.ACTIONS` of it, to opt out what the toolkit is to mend; None plans no opt-outs.
    targets
        The opt-out fields of each object, from `target_fields`; under Account those of person accounts.
    snapshot
        `id` and `manifest_sha256`.
    hashes
        `settings_sha256` and `policy_sha256`.
    run_id, created_at, created_by
        The run, the moment (UTC) and, where it is known, who made it.

    Returns
    -------
    Plan
        Sealed. `applicable` is false where there is nothing to do or a guard stops it.
    """
    accepted, blocked = _sticking(checked.accepted, people, records, settings)
    cleared_clusters = {name for row in accepted for name in row.clusters}
    opt_outs = [] if actions is None else _wanted(actions, cleared_clusters)
    clears = ((member.system, member.id) for row in accepted for member in row.clears)
    tables = _Before(people, records, targets, (*clears, *((each["system"], each["id"]) for each in opt_outs)))
    numbers = count(1)
    numbered = tuple(
        chain(
            (step for row in accepted for step in _clears(row, tables, numbers)), _opt_outs(opt_outs, tables, numbers)
        )
    )
    out = pc.unique(merged.column("cluster").filter(merged.column("opted_out")))
    bounds = guards(
        settings.guards,
        resubscribes=len(cleared_clusters),
        opted_out_people=len(out),
        opt_outs=sum(step.direction == "set" for step in numbered),
    )
    plan = Plan(
        schema=1,
        kind="resubscribe",
        recon=__version__,
        run_id=run_id,
        created_at=iso(created_at),
        created_by=created_by,
        settings_sha256=hashes["settings_sha256"],
        policy_sha256=hashes["policy_sha256"],
        snapshot=snapshot["id"],
        snapshot_manifest_sha256=snapshot["manifest_sha256"],
        approved=Approved(
            name=approved.source.origin,
            sha256=str(approved.source.sha256),
            rows=len(approved.rows),
            accepted=len(checked.accepted),
            rejected=checked.rejected,
            no_op=checked.no_op,
        ),
        approvals=tuple(_approval(row) for row in accepted),
        steps=numbered,
        blocked=tuple(blocked),
        guards=bounds,
        applicable=bool(numbered) and all(guard.passed for guard in bounds),
    )
    return plan.sealed()


def target_fields(inputs: Iterable[Mapping[str, Any]], settings: Settings) -> dict[str, tuple[str, ...]]:
    """The API names of the opt-out fields on each object, as the snapshot's inputs tell them.

    Parameters
    ----------
    inputs
        The snapshot's inputs, as in its manifest.
    settings
        `salesforce.opt_out_field` and `custom_field`.

    Raises
    ------
    UsageError
        If the custom field's API name isn't known: from a report export only its label is.
    """
    found: dict[str, tuple[str, ...]] = {}
    for each in inputs:
        if each["name"] not in ("leads", "contacts"):
            continue
        details = each["details"]
        told = details.get("opt_out_fields") or _from_file(details, settings)
        found["Lead" if each["name"] == "leads" else "Contact"] = tuple(told)
        if "person_account_fields" in details:
            found["Account"] = tuple(details["person_account_fields"])
    return found


def _from_file(details: Mapping[str, Any], settings: Settings) -> tuple[str, ...]:
    wanted = settings.salesforce.opt_out_field
    custom = settings.salesforce.custom_field
    for column in details.get("columns") or ():
        name, _, header = column.partition(" = ")
        if name == "sales_opt_out" and header.endswith("__c"):
            custom = custom or header
    if wanted != "standard" and custom is None:
        raise UsageError(
            "the custom opt-out field's API name isn't known, so it can't be written.",
            hint='Name it: custom_field = "API_Name__c" under [salesforce].',
        )
    return {"standard": (_STANDARD,), "custom": (str(custom),), "both": (_STANDARD, str(custom))}[wanted]


class _Before:
    """What stands in the snapshot about each of some records, `(system, id)`.

    It is kept as columns, and a row is made of them when it is asked for: a hundred thousand rows would take many times the room.
    """

    def __init__(
        self,
        people: pa.Table,
        records: pa.Table,
        targets: Mapping[str, tuple[str, ...]],
        wanted: Iterable[tuple[str, str]],
    ) -> None:
        self._targets = targets
        ids: dict[str, list[str]] = {"sales_connect": [], "salesforce": []}
        for system, identity in wanted:
            ids[system].append(identity)
        self._columns: dict[str, dict[str, pa.Array]] = {}
        self._place: dict[str, dict[str, int]] = {}
        for system, table, key, names in (
            ("sales_connect", people, "person_id", _OF_PEOPLE),
            ("salesforce", records, "record_id", _OF_RECORDS),
        ):
            these = pa.array(ids[system], pa.string())
            rows = table.select([key, *names]).filter(pc.is_in(table.column(key), value_set=these)).combine_chunks()
            self._columns[system] = {name: rows.column(name).combine_chunks() for name in names}
            at = {name: place for place, name in enumerate(rows.column(key).to_pylist())}
            self._place[system] = {identity: at[identity] for identity in ids[system]}

    def fields(self, system: str, sobject: str, identity: str, row: Mapping[str, Any]) -> tuple[str, ...]:
        if system == "sales_connect":
            return (_UNSUBSCRIBED,)
        if row.get("account_id") is not None:
            if not self._targets.get("Account"):
                raise UsageError(
                    f"the Contact {identity} is a person account, which is written through its Account, and the user who pulled can't see the "
                    "opt-out there.",
                    hint="Give the user Read and Edit on Account and on the opt-out field, then pull and plan again.",
                )
            return self._targets["Account"]
        if sobject not in self._targets:
            raise UsageError(f"the snapshot says nothing about the fields of {sobject}.", hint="Pull again.")
        return self._targets[sobject]

    def row(self, system: str, identity: str) -> dict[str, Any]:
        place = self._place[system][identity]
        return {name: column[place].as_py() for name, column in self._columns[system].items()}

    def values(self, system: str, row: Mapping[str, Any], fields: Sequence[str]) -> tuple[bool | None, ...]:
        if system == "sales_connect":
            return (row[_UNSUBSCRIBED],)
        return tuple(
            row["has_opted_out_of_email" if on_contact(name) == _STANDARD else "sales_opt_out"] for name in fields
        )


def _sticking(
    accepted: tuple[AcceptedRow, ...], people: pa.Table, records: pa.Table, settings: Settings
) -> tuple[list[AcceptedRow], list[Blocked]]:
    """Leave out the rows that would not stick, until all that are left do."""
    left: list[AcceptedRow] = list(accepted)
    blocked: list[Blocked] = []
    while undone := reverting(people, records, {member.uid for row in left for member in row.clears}, (), settings):
        why = {
            row.row.line: undone[member.uid]
            for row in reversed(left)
            for member in reversed(row.clears)
            if member.uid in undone
        }
        # What one address of a person can't get, the others of the same person don't get either.
        persons = {name for row in left if row.row.line in why for name in row.clusters}
        out = [row for row in left if persons.intersection(row.clusters)]
        for row in out:
            reverts = why.get(row.row.line)
            blocked.append(
                Blocked(
                    row=row.row.line,
                    person=row.clusters[0],
                    reason="The next nightly run would undo it: a record that is linked to the person stays opted out."
                    if reverts
                    else "Another record of the same person stays opted out, see the row that names it.",
                    path=reverts.path if reverts else None,
                )
            )
        left = [row for row in left if not persons.intersection(row.clusters)]
    return _by_person(left), sorted(blocked, key=lambda each: each.row)


def _by_person(rows: list[AcceptedRow]) -> list[AcceptedRow]:
    """The rows of one person (several addresses) together, in the order of the file otherwise."""
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(row.clusters[0], row.row.line)
    return sorted(rows, key=lambda row: (first[row.clusters[0]], row.row.line))


def _clears(row: AcceptedRow, tables: _Before, numbers: Iterator[int]) -> list[Step]:
    because = _because(row)
    members = sorted(row.clears, key=lambda member: (_ORDER[member.system], member.id))
    return [_clear(member, row, because, tables, next(numbers)) for member in members]


def _clear(member: Member, row: AcceptedRow, because: str, tables: _Before, number: int) -> Step:
    row_before = tables.row(member.system, member.id)
    fields = tables.fields(member.system, member.object, member.id, row_before)
    return Step(
        number=number,
        person=member.cluster,
        system=member.system,
        object=member.object,
        id=member.id,
        direction="clear",
        fields=fields,
        before=tables.values(member.system, row_before, fields),
        after=(False,) * len(fields),
        modified_at=_time(member.changed_at),
        opted_out_at=_time(member.opted_out_at),
        row=row.row.line,
        reason=row.row.reason,
        because=because,
        account=row_before.get("account_id"),
    )


def _because(row: AcceptedRow) -> str:
    if row.row.kind == "correction":
        text = f"Line {row.row.line} of the approved file: the opt-out was recorded wrongly."
    else:
        when = f" of {row.consent.text}" if row.consent else ""
        newest = _time(row.newest_opt_out)
        text = f"Line {row.row.line} of the approved file: consent{when}, after the newest opt-out" + (
            f" ({newest})." if newest else " (its date is unknown; the policy accepts that)."
        )
    converted = sum(member.converted for member in row.stays)
    if converted:
        text += f" {converted} converted Lead{'s' if converted > 1 else ''} stay opted out: nobody can change them."
    if len(row.stays) > converted:
        text += f" {len(row.stays) - converted} stay unsubscribed from a single user, who alone can remove that."
    return text


def _wanted(actions: pa.Table, cleared: set[str]) -> list[dict[str, Any]]:
    """The opt-outs that the toolkit is to set; not for people that are being resubscribed."""
    wanted = actions.filter(
        pc.and_(
            pc.equal(actions.column("fix"), "toolkit"),
            pc.or_(pc.invert(actions.column("opted_out")), pc.equal(actions.column("category"), "field_disagrees")),
        )
    ).select(["system", "id", "object", "cluster", "explanation", "path"])
    return [action for action in wanted.to_pylist() if action["cluster"] not in cleared]


def _opt_outs(actions: Iterable[Mapping[str, Any]], tables: _Before, numbers: Iterator[int]) -> Iterator[Step]:
    """Steps for opt-outs, all of one person together."""
    order = sorted(actions, key=lambda action: (action["cluster"], _ORDER[action["system"]], action["id"]))
    for action in order:
        system, sobject = action["system"], action["object"]
        row = tables.row(system, action["id"])
        fields = tables.fields(system, sobject, action["id"], row)
        yield Step(
            number=next(numbers),
            person=action["cluster"],
            system=system,
            object=sobject,
            id=action["id"],
            direction="set",
            fields=fields,
            before=tables.values(system, row, fields),
            after=(True,) * len(fields),
            modified_at=_time(row["updated_at" if system == "sales_connect" else "modified_at"]),
            because=action["explanation"],
            path=action["path"],
            account=row.get("account_id"),
        )


def _approval(row: AcceptedRow) -> Approval:
    return Approval(
        row=row.row.line,
        digest=row.digest,
        person=row.clusters[0],
        kind="correction" if row.row.kind == "correction" else "consent",
        authorization=row.authorization,
        scope=row.scope,
        country=row.country,
        consent_at=_shown(row.consent),
        approved_at=_shown(row.approved),
        newest_opt_out=_time(row.newest_opt_out),
        opt_out_dates_known=row.opt_out_dates_known,
        warnings=row.warnings,
    )


def _shown(moment: Moment | None) -> str | None:
    return None if moment is None else moment.text


def _time(at: datetime | None) -> str | None:
    return None if at is None else iso(at)
