"""The demo's second half: an approved file, its verdicts, the plan, both systems cleared, the night, and the proof."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from recon import jobs, nightly, settings, snapshot
from recon.clock import iso
from recon.errors import ReconError
from recon.evidence import checkpoint_files
from recon.ledger import verify as compute
from recon.resubscribe import jobs as flow
from recon.resubscribe.apply import apply
from recon.resubscribe.show import summary_lines
from recon.resubscribe.verify import verify
from recon.sandbox import sales_connect
from recon.sandbox.salesforce import records
from recon.tables import APPROVED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    import pandas as pd

    from recon.clock import SetClock
    from recon.progress import Progress
    from recon.results import PullResult
    from recon.sandbox.box import Sandbox

ADMIN, ANALYST = "Ines Admin", "Dana Analyst"

#: What the demo's recon.toml says beside where the two systems are.
SETTINGS: dict[str, dict[str, Any]] = {
    "policy": {"admins": [ADMIN], "marketo_engage": False},
    "evidence": {
        "controller_name": "Seller Inc",
        "controller_identifier": "HRB 4711",
        "controller_address": "1 Seller Street",
        "controller_contact": "mailto:privacy@seller.example",
        "withdraw_at": "https://seller.example/unsubscribe",
    },
}

Flags = dict[str, bool]


@dataclass(frozen=True, slots=True)
class Pair:
    """A linked person and record that are opted out on both sides and can be resubscribed; `at` is the newest opt-out."""

    person: str
    record: str
    email: str
    at: datetime

    @property
    def uids(self) -> tuple[str, str]:
        """Both, as `system:id`."""
        return f"sales_connect:{self.person}", f"salesforce:{self.record}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A row of the demo's approved file, and what has to come of it.

    Attributes
    ----------
    email, values
        The address, and the columns that differ from a row that is accepted.
    code
        The verdict code that has to stop it; None where it has to be accepted.
    then
        What happens between apply and the night: nothing, an edit on one side, or the person clicks again.
    """

    email: str
    code: str | None
    pair: Pair | None = None
    then: str = "nothing"
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """What verify has to find."""
        return {"nothing": "stuck", "edited": "reverted", "clicked": "unsubscribed_anew"}[self.then]


def flags(pulled: PullResult) -> Flags:
    """Who is opted out, by `system:id`, as a pull found it."""
    import pyarrow.parquet as pq

    kept = snapshot.read(pulled.folder)
    found: Flags = {}
    for system, path, key, flag in (
        ("sales_connect", kept.people, "person_id", "unsubscribed"),
        ("salesforce", kept.records, "record_id", "opted_out"),
    ):
        table = pq.read_table(path, columns=[key, flag])
        ids, values = table.column(key).to_pylist(), table.column(flag).to_pylist()
        found |= {f"{system}:{identity}": value for identity, value in zip(ids, values, strict=True)}
    return found


def tell(
    folder: Path,
    sandbox: Sandbox,
    clock: SetClock,
    morning: PullResult,
    *,
    say: Callable[[str], None],
    progress: Progress,
) -> Path:
    """Resubscribe people of the sandbox with proof, from the approved file to the report after the next nightly run.

    Parameters
    ----------
    folder
        The demo's workspace.
    sandbox, clock
        The two systems and their time.
    morning
        What was pulled last.
    say, progress
        As for `recon.demo.run`.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    ReconError
        If a verdict, a flag on either side, or the evidence is not what it has to be.
    """
    secrets, now = sandbox.environment(), clock.now()
    asked = list(_asked(morning))
    approved = _write(asked, folder / "inbox" / "approved.csv", now)
    planned = flow.plan(folder, approved, created_by=ANALYST, clock=clock, environ=secrets, progress=progress)
    say(_verdicts(asked, planned.check))
    say("\n".join(summary_lines(planned.plan)))

    applied = apply(folder, planned.path, actor=ADMIN, clock=clock, environ=secrets, progress=progress)
    accepted = [each for each in asked if each.code is None]
    if applied.counts != {"done": 2 * len(accepted)}:
        raise ReconError(f"{len(accepted)} people were to be cleared on both sides, but: {applied.lines()[0]}")
    say(f"Applied by {ADMIN}: {applied.lines()[0]}, each record read again just before.")

    clock.advance(timedelta(hours=2))
    for each in accepted:
        _meanwhile(sandbox, each, say)
    evening = clock.now()
    clock.set(nightly.next_run(evening, settings.load(folder).sync))
    sandbox.nightly()
    clock.set(evening + timedelta(days=1))
    say("The next nightly run is over.")

    verified = verify(folder, run_id=planned.plan.run_id, clock=clock, environ=secrets, progress=progress)
    _as_meant(accepted, {row.key: (row.state, row.caused_by) for row in verified.rows})
    say("\n".join(verified.lines()[:-1]))
    after = jobs.pull(folder, clock=clock, environ=secrets, progress=progress)
    say(_nobody_else(accepted, flags(morning), flags(after)))

    report = jobs.report(folder, run_id=planned.plan.run_id, clock=clock)
    loaded = settings.load(folder)
    evidence = compute(loaded.run.ledger, checkpoint_files(loaded))
    if evidence.exit_code:
        raise ReconError("\n".join(evidence.lines()))
    say("\n".join(evidence.lines()))
    say(f"One person's whole story: recon ledger show -w {folder} {accepted[0].email}")
    return report.path


def _asked(morning: PullResult) -> Iterator[Asked]:
    """The rows of the approved file: what is accepted, and what is refused for one reason each.

    A small population hasn't people for every row; the first ones are the story's main line.
    """
    people, found = _tables(morning)
    pairs = iter(_pairs(people, found))
    rows: tuple[tuple[str | None, str, Callable[[Pair], dict[str, str]]], ...] = (
        (None, "nothing", lambda _: {}),
        (None, "edited", lambda _: {"evidence": "call recording 2210"}),
        ("consent_before_opt_out", "nothing", lambda pair: {"consent_date": iso(pair.at - timedelta(days=30))}),
        ("asked_by_sender", "nothing", lambda _: {"initiated_by": "sender"}),
        (None, "clicked", lambda _: {"evidence": "chat log 17"}),
        ("evidence_missing", "nothing", lambda _: {"evidence": ""}),
        (None, "nothing", lambda _: {"country": "DE", "evidence_sha256": "5d" * 32, "notice": "web form 4"}),
        ("self_approved", "nothing", lambda _: {"requested_by": ADMIN}),
        (None, "nothing", lambda _: {"reason": "Signed up again at the fair", "evidence": "paper form 7, scanned"}),
        ("approver_not_admin", "nothing", lambda _: {"approved_by": "Sam Sales"}),
    )
    for code, then, values in rows:
        pair = next(pairs, None)
        if pair is not None:
            yield Asked(pair.email, code, pair, then, values(pair))
    yield Asked("nobody@nowhere.example", "unknown_person")
    bounced = people[(people["unsubscribe_source"] == "bounce") & people["email"].notna()]
    yield from (Asked(email, "bounced") for email in sorted(bounced["email"])[:1])
    addresses = people[~people["unsubscribed"] & people["email"].notna()]["email"]
    opted_out = set(people[people["unsubscribed"]]["email"]) | set(found[found["opted_out"]]["email"])
    yield from (Asked(email, "not_opted_out") for email in sorted(set(addresses) - opted_out)[-1:])
    manual = (pair for pair in pairs if _source(people, pair) == "manual")
    for pair in manual:
        yield Asked(
            pair.email,
            None,
            pair,
            values={
                "kind": "correction",
                "reason": "The opt-out was recorded on the wrong person",
                "evidence": "ticket 4471",
                "note": "A colleague of the same name had asked; the import of 3 March took the wrong row",
            },
        )
        break


def _tables(morning: PullResult) -> tuple[pd.DataFrame, pd.DataFrame]:
    import pandas as pd

    kept = snapshot.read(morning.folder)
    return pd.read_parquet(kept.people), pd.read_parquet(kept.records)


def _pairs(people: pd.DataFrame, found: pd.DataFrame) -> list[Pair]:
    """People who are opted out on both sides by choice, and whose address nobody else has; by person id."""
    live = found[~found["is_deleted"].fillna(value=False).astype(bool)]
    times = _occurrences(people["email"]) + _occurrences(live["email"])
    links = _occurrences(people["salesforce_id"])
    both = people.merge(live, left_on="salesforce_id", right_on="record_id", suffixes=("", "_record"))
    fit = both[
        both["unsubscribed"]
        & both["opted_out"]
        & (both["unsubscribe_level"] == "account")
        & both["unsubscribe_source"].isin(["manual", "clicked_link"])
        & both["opted_out_at"].notna()
        & both["unsubscribed_at"].notna()
        & ~both["is_converted"].fillna(value=False).astype(bool)
        & (both["email"] == both["email_record"])
        & both["email"].str.fullmatch(r"[a-z0-9.]+@[a-z.]+").fillna(value=False).astype(bool)
    ].sort_values("person_id")
    columns = (fit[name].tolist() for name in ("person_id", "record_id", "email", "opted_out_at", "unsubscribed_at"))
    return [
        Pair(person, record, email, max(ours, theirs).to_pydatetime())
        for person, record, email, theirs, ours in zip(*columns, strict=True)
        if times[email] == 2 and links[record] == 1
    ]


def _occurrences(column: pd.Series[str]) -> Counter[str]:
    """How often each value is there."""
    return Counter(column.dropna())


def _source(people: pd.DataFrame, pair: Pair) -> str:
    return str(people.set_index("person_id").loc[pair.person, "unsubscribe_source"])


def _write(asked: list[Asked], path: Path, now: datetime) -> Path:
    usual = {
        "reason": "Asked on the phone to get our mail again",
        "authorization": "Consent",
        "consent_date": iso(now - timedelta(hours=3)),
        "purpose": "Sales mail about our products",
        "evidence": "form submission 83141",
        "initiated_by": "person",
        "approved_by": ADMIN,
        "approved_at": iso(now - timedelta(hours=1)),
        "requested_by": "Kofi Mensah",
        "scope": "sales",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, APPROVED.names, restval="")
        writer.writeheader()
        writer.writerows({**usual, **each.values, "email": each.email} for each in asked)
    return path


def _verdicts(asked: list[Asked], check: flow.CheckResult) -> str:
    told = check.checked.verdicts.to_pylist()
    for each, row in zip(asked, told, strict=True):
        codes = (row["codes"] or "").split()
        wrong = row["verdict"] != "accepted" if each.code is None else codes != [each.code]
        if wrong:
            raise ReconError(
                f"line {row['row']} of the approved file: {row['verdict']} {codes}, not {each.code or 'accepted'}"
            )
    lines = check.lines()
    return "\n".join([lines[0], *(line for line in lines[1:] if ": accepted" not in line)])


def _meanwhile(sandbox: Sandbox, each: Asked, say: Callable[[str], None]) -> None:
    """What people do between the change and the night."""
    assert each.pair is not None
    if each.then == "edited":
        name = "Lead" if each.pair.record.startswith("00Q") else "Contact"
        records.update_record(sandbox.store, name, each.pair.record, {"HasOptedOutOfEmail": True})
        say(
            f"Meanwhile somebody imports an old list into Salesforce: {name} {each.pair.record} is opted out again there."
        )
    elif each.then == "clicked":
        sales_connect.unsubscribe(sandbox.store, each.pair.person, source="clicked_link")
        say(f"And person {each.pair.person} clicks the unsubscribe link of a mail, once more.")


def _as_meant(accepted: list[Asked], states: Mapping[str, tuple[str, str | None]]) -> None:
    for each in accepted:
        assert each.pair is not None
        person, record = each.pair.uids
        cause = {"nothing": None, "edited": record, "clicked": person}[each.then]
        for uid in each.pair.uids:
            if states.get(uid) != (each.state, cause):
                raise ReconError(f"{uid} was verified as {states.get(uid)}, not {(each.state, cause)}")


def _nobody_else(accepted: list[Asked], before: Flags, after: Flags) -> str:
    meant = {uid for each in accepted if each.pair is not None and each.state == "stuck" for uid in each.pair.uids}
    changed = {uid for uid in before.keys() | after.keys() if before.get(uid) != after.get(uid)}
    if changed != meant or any(after[uid] for uid in meant):
        raise ReconError(f"{len(changed ^ meant)} records changed that were not to, or didn't that were")
    persons = len(meant) // 2
    return (
        f"{len(after):,} records compared: {persons} {'person' if persons == 1 else 'people'} may be mailed again, on both sides ({len(meant)} records); "
        "nobody else changed."
    )
