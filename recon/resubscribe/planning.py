"""Plan: from accepted rows to the exact changes, in both systems, that make these people mailable and nobody else.

Only records that an accepted row names are cleared. What would not stick is left out and said so. Opt-outs that the diff lists for the
toolkit go through the same plan where that is asked for.
"""

from __future__ import annotations

from itertools import count, islice
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recon import __version__
from recon.clock import iso
from recon.errors import UsageError
from recon.resubscribe.guards import guards
from recon.resubscribe.plan_file import (
    Approval,
    Approved,
    Blocked,
    Plan,
    Step,
    packed,
    unpacked_approval,
    unpacked_step,
)
from recon.resubscribe.spool import Row
from recon.sources.discovery import on_contact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from recon.engine import Engine, Frame
    from recon.resubscribe.approved import Approved as ApprovedFile
    from recon.resubscribe.approved import Numbers
    from recon.resubscribe.clusters import Member
    from recon.resubscribe.moments import Moment
    from recon.resubscribe.spool import Picked, Spool
    from recon.resubscribe.sticking import Reverts
    from recon.resubscribe.verdicts import AcceptedRow, Checked
    from recon.settings import Settings

_STANDARD = "HasOptedOutOfEmail"
_UNSUBSCRIBED = "unsubscribed"
#: Rows that are turned into Python's own values together.
_AT_A_TIME = 1000

#: Whoever is first can fail without harm: until both are done, the sync can only opt the person out again. Salesforce comes first, as
#: its write is refused where somebody changed the record meanwhile.
_ORDER = {"salesforce": 0, "sales_connect": 1}


def make_plan(
    checked: Checked,
    approved: ApprovedFile,
    *,
    undone_by: Callable[[pa.Table], Mapping[str, Reverts]],
    opted_out_people: int,
    opt_outs: Callable[[pa.Array], pa.Table] | None = None,
    settings: Settings,
    targets: Mapping[str, tuple[str, ...]],
    snapshot: Mapping[str, str],
    hashes: Mapping[str, str],
    run_id: str,
    created_at: datetime,
    created_by: str | None = None,
    spool: Spool,
) -> Plan:
    """Make the plan for an approved file that was checked.

    Parameters
    ----------
    checked, approved
        The verdicts, and the file they are about.
    undone_by
        Tells which of some records, `system` and `id`, the next nightly run would opt out again, see `recon.resubscribe.sticking.reverting`.
    opted_out_people
        How many people are opted out in the snapshot.
    opt_outs
        Gives the records that the toolkit is to opt out, but for those of these clusters, see `wanted_opt_outs`; None plans no opt-outs.
    targets
        The opt-out fields of each object, from `target_fields`; under Account those of person accounts.
    snapshot
        `id` and `manifest_sha256`.
    hashes
        `settings_sha256` and `policy_sha256`.
    run_id, created_at, created_by
        The run, the moment (UTC) and, where it is known, who made it.
    spool
        Where the steps and the approvals are kept.

    Returns
    -------
    Plan
        Sealed. `applicable` is false where there is nothing to do or a guard stops it. Its steps and approvals are read from the spool whenever they are
        asked for.
    """
    accepted, cleared, blocked = _sticking(checked.accepted, undone_by)
    steps: Row[Step] = Row(spool, packed, unpacked_step)
    approvals: Row[Approval] = Row(spool, packed, unpacked_approval)
    numbers, fields = count(1), _Fields(targets)
    for row in accepted:
        approvals.append(_approval(row))
        for step in _clears(row, fields, numbers):
            steps.append(step)
    clears = len(steps)
    if opt_outs is not None:
        for step in _opt_outs(opt_outs(cleared), fields, numbers):
            steps.append(step)
    bounds = guards(
        settings.guards,
        resubscribes=len(cleared),
        opted_out_people=opted_out_people,
        opt_outs=len(steps) - clears,
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
        blocked=tuple(blocked),
        guards=bounds,
        applicable=bool(steps) and all(guard.passed for guard in bounds),
    )
    return plan.model_copy(update={"approvals": approvals or (), "steps": steps or ()}).sealed()


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


class _Fields:
    """Which fields of a record are written, and what stands in them."""

    def __init__(self, targets: Mapping[str, tuple[str, ...]]) -> None:
        self._targets = targets

    def of(self, system: str, sobject: str, identity: str, account: str | None) -> tuple[str, ...]:
        if system == "sales_connect":
            return (_UNSUBSCRIBED,)
        if account is not None:
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

    def values(self, fields: tuple[str, ...], flags: tuple[bool | None, bool | None]) -> tuple[bool | None, ...]:
        flag, custom = flags
        return tuple(flag if name == _UNSUBSCRIBED or on_contact(name) == _STANDARD else custom for name in fields)


def _sticking(
    accepted: Picked[AcceptedRow], undone_by: Callable[[pa.Table], Mapping[str, Reverts]]
) -> tuple[Picked[AcceptedRow], pa.Array, list[Blocked]]:
    """Leave out the rows that would not stick, until all that are left do.

    Returns the rows that are left, one person's together; the clusters that they clear; and those that are left out.
    """
    clears, clusters = _told(accepted)
    blocked: list[Blocked] = []
    while undone := undone_by(clears.select(["system", "id"])):
        uid = pc.binary_join_element_wise(clears.column("system"), clears.column("id"), ":")
        hit = clears.append_column("uid", uid).filter(pc.is_in(uid, value_set=pa.array(sorted(undone), pa.string())))
        why: dict[int, Reverts] = {}
        for row in hit.select(["row", "uid"]).to_pylist():
            why.setdefault(row["row"], undone[row["uid"]])
        # What one address of a person can't get, the others of the same person don't get either.
        of_why = pc.is_in(clusters.column("row"), value_set=pa.array(sorted(why), pa.int64()))
        persons = pc.unique(clusters.column("cluster").filter(of_why))
        theirs = pc.is_in(clusters.column("cluster"), value_set=persons)
        out = pc.unique(clusters.column("row").filter(theirs))
        for place in out.to_pylist():
            row, reverts = accepted[place], why.get(place)
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
        clears, clusters = (
            table.filter(pc.invert(pc.is_in(table.column("row"), value_set=out))) for table in (clears, clusters)
        )
    blocked.sort(key=lambda each: each.row)
    return accepted.pick(_by_person(clusters)), pc.unique(clusters.column("cluster")), blocked


def _told(rows: Iterable[AcceptedRow]) -> tuple[pa.Table, pa.Table]:
    """Of accepted rows the records that they clear (`system`, `id`) and the clusters (`cluster`), with the row's place."""
    clears = pa.schema([("system", pa.string()), ("id", pa.string()), ("row", pa.int64())])
    clusters = pa.schema([("cluster", pa.string()), ("row", pa.int64())])
    parts: tuple[list[pa.RecordBatch], list[pa.RecordBatch]] = ([], [])
    numbered = enumerate(rows)
    while some := list(islice(numbered, _AT_A_TIME)):
        members = [(member.system, member.id, place) for place, row in some for member in row.clears]
        names = [(name, place) for place, row in some for name in row.clusters]
        parts[0].append(pa.RecordBatch.from_arrays(_columns(members, clears), schema=clears))
        parts[1].append(pa.RecordBatch.from_arrays(_columns(names, clusters), schema=clusters))
    return pa.Table.from_batches(parts[0], clears), pa.Table.from_batches(parts[1], clusters)


def _columns(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> list[pa.Array]:
    return [pa.array([row[place] for row in rows], field.type) for place, field in enumerate(schema)]


def _by_person(clusters: pa.Table) -> Numbers:
    """The places of the rows of one person (several addresses) together, in the order of the file otherwise."""
    places = clusters.column("row").to_numpy()
    rows, own = np.unique(places, return_index=True)
    person = clusters.column("cluster").take(pa.array(own)).combine_chunks().dictionary_encode().indices.to_numpy()
    first = np.full(len(rows), len(rows))
    np.minimum.at(first, person, np.arange(len(rows)))
    ordered: Numbers = rows[np.argsort(first[person], kind="stable")]
    return ordered


def _clears(row: AcceptedRow, fields: _Fields, numbers: Iterator[int]) -> list[Step]:
    because = _because(row)
    members = sorted(row.clears, key=lambda member: (_ORDER[member.system], member.id))
    return [_clear(member, row, because, fields, next(numbers)) for member in members]


def _clear(member: Member, row: AcceptedRow, because: str, targets: _Fields, number: int) -> Step:
    fields = targets.of(member.system, member.object, member.id, member.account)
    return Step(
        number=number,
        person=member.cluster,
        system=member.system,
        object=member.object,
        id=member.id,
        direction="clear",
        fields=fields,
        before=targets.values(fields, (member.flag, member.custom)),
        after=(False,) * len(fields),
        modified_at=_time(member.changed_at),
        opted_out_at=_time(member.opted_out_at),
        row=row.row.line,
        reason=row.row.reason,
        because=because,
        account=member.account,
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


def wanted_opt_outs(actions: Frame, people: Frame, records: Frame, engine: Engine) -> Callable[[pa.Array], pa.Table]:
    """Find the opt-outs that the toolkit is to set, as `make_plan` asks for them.

    Parameters
    ----------
    actions, people, records
        `recon.tables.ACTIONS`, `PEOPLE` and `RECORDS`, in the engine.

    Returns
    -------
    Callable
        Takes clusters whose records are left out, as they are being resubscribed; gives `system`, `id`, `object`, `cluster`, `explanation`, `path` of the
        others, and what the snapshot has of them: `flag`, `custom`, `account` and `changed_at`. All of one person together.
    """

    def find(cleared: pa.Array) -> pa.Table:
        open_ = ~nw.col("opted_out") | (nw.col("category") == "field_disagrees")
        wanted = actions.filter((nw.col("fix") == "toolkit") & open_)
        wanted = wanted.select("system", "id", "object", "cluster", "explanation", "path")
        of_people = people.select(nw.col("person_id").alias("id"), flag="unsubscribed", changed_at="updated_at")
        of_records = records.select(
            nw.col("record_id").alias("id"),
            flag="has_opted_out_of_email",
            custom="sales_opt_out",
            account="account_id",
            changed_at="modified_at",
        )
        found = [
            engine.collect(wanted.filter(nw.col("system") == system).join(told, on="id", how="inner"))
            for system, told in (("sales_connect", of_people), ("salesforce", of_records))
        ]
        every = pa.concat_tables(found, promote_options="default")
        every = every.filter(pc.invert(pc.is_in(every.column("cluster"), value_set=cleared)))
        # Salesforce comes first, see `_ORDER`; it is the greater word.
        return every.sort_by([("cluster", "ascending"), ("system", "descending"), ("id", "ascending")])

    return find


def _opt_outs(wanted: pa.Table, targets: _Fields, numbers: Iterator[int]) -> Iterator[Step]:
    """Steps for opt-outs."""
    for start in range(0, wanted.num_rows, _AT_A_TIME):
        for row in wanted.slice(start, _AT_A_TIME).to_pylist():
            fields = targets.of(row["system"], row["object"], row["id"], row["account"])
            yield Step(
                number=next(numbers),
                person=row["cluster"],
                system=row["system"],
                object=row["object"],
                id=row["id"],
                direction="set",
                fields=fields,
                before=targets.values(fields, (row["flag"], row["custom"])),
                after=(True,) * len(fields),
                modified_at=_time(row["changed_at"]),
                because=row["explanation"],
                path=row["path"],
                account=row["account"],
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
