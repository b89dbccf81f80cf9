"""A workspace on a sandbox of its own, for the flow from the approved file to the state after the nightly run."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from recon import jobs
from recon.clock import SetClock
from recon.nightly import next_run
from recon.resubscribe import jobs as flow
from recon.sandbox import sales_connect
from recon.sandbox.box import Sandbox
from recon.sandbox.salesforce import records
from recon.sandbox.served import write_settings
from recon.settings import SyncSettings
from recon.tables import APPROVED

if TYPE_CHECKING:
    from pathlib import Path

    from recon.resubscribe.jobs import CheckResult, PlanResult

START = datetime(2026, 11, 2, 18, tzinfo=UTC)
ADMIN = "Ines Admin"
POLICY = f"""
[policy]
admins = ["{ADMIN}"]
marketo_engage = false
"""


@dataclass
class Rig:
    """A sandbox, its clock, and a workspace that leads to it."""

    folder: Path
    clock: SetClock
    sandbox: Sandbox
    rows: list[dict[str, str]] = field(default_factory=list)

    def pair(
        self, email: str | None, *, sobject: str = "Contact", link: bool = True, out: bool = True, **columns: Any
    ) -> tuple[str, str]:
        """A person and a record; opted out on both sides as it happens for real: in Sales Connect, and pushed."""
        store = self.sandbox.store
        insert = records.insert_contact if sobject == "Contact" else records.insert_lead
        more = {} if sobject == "Contact" else {"Company": "Acme"}
        record = insert(store, LastName="Lovelace", Email=email, **more, **columns)
        person = sales_connect.add_person(
            store, email=email, salesforce_id=record if link else None, last_name="Lovelace"
        )
        if out:
            sales_connect.unsubscribe(store, person, source="clicked_link")
        return person, record

    def approve(self, email: str, **values: str) -> None:
        """A row of the approved file that the strict policy accepts, with some values replaced."""
        now = self.clock.now()
        row = {
            "email": email,
            "reason": "Asked to get mail again",
            "authorization": "Consent",
            "consent_date": (now - timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "purpose": "Sales mail about our products",
            "evidence": "form submission 83141",
            "initiated_by": "person",
            "approved_by": ADMIN,
            "approved_at": (now - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "requested_by": "Kofi Mensah",
            "scope": "sales",
        }
        self.rows.append(row | values)

    def approved(self, name: str = "approved.csv") -> Path:
        """The approved file."""
        path = self.folder / name
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, APPROVED.names, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        return path

    def pull(self) -> None:
        jobs.pull(self.folder, clock=self.clock, environ=self.sandbox.environment())

    def check(self) -> CheckResult:
        return flow.check(self.folder, self.approved(), clock=self.clock, environ=self.sandbox.environment())

    def plan(self, **options: Any) -> PlanResult:
        given: dict[str, Any] = {
            "clock": self.clock,
            "environ": self.sandbox.environment(),
            "created_by": "Dana Analyst",
        } | options
        return flow.plan(self.folder, self.approved(), **given)

    def days(self, number: float) -> None:
        """Let time pass."""
        self.clock.advance(timedelta(days=number))

    def night(self) -> None:
        """The next nightly run, and on to the next morning."""
        self.clock.set(next_run(self.clock.now(), SyncSettings()))
        self.sandbox.nightly()
        self.clock.advance(timedelta(hours=14))

    def flag(self, uid: str) -> bool:
        """Is a record opted out now, by `system:id`?"""
        system, _, identity = uid.partition(":")
        store = self.sandbox.store
        if system == "sales_connect":
            return bool(sales_connect.get_person(store, identity)["unsubscribed"])
        name = "Lead" if identity.startswith("00Q") else "Contact"
        return bool(records.read_record(store, name, identity)["HasOptedOutOfEmail"])


def new_rig(folder: Path, policy: str = POLICY) -> Rig:
    """A rig in an empty folder; close its sandbox afterwards."""
    clock = SetClock(START)
    sandbox = Sandbox(clock=clock)
    write_settings(folder, sandbox.settings(), None)
    with (folder / "recon.toml").open("a", encoding="utf-8") as stream:
        stream.write(policy)
    return Rig(folder, clock, sandbox)
