"""A small sandbox that is put back for every fault, with workspaces that pulled it and planned on it, made once."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from recon import engine, jobs
from recon.clock import SetClock
from recon.errors import ReconError
from recon.resubscribe.apply import apply
from recon.resubscribe.plan_file import read_plan
from recon.sandbox import sales_connect
from recon.sandbox.box import Sandbox
from recon.sandbox.salesforce import records
from recon.settings_file import literal
from recon.snapshot import newest
from tests.resubscribe.rig import ADMIN, POLICY, START, Rig

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from recon.resubscribe.outcomes import Applied
    from recon.resubscribe.plan_file import Plan, Step
    from recon.sandbox.faults import Fault

FLAG = "HasOptedOutOfEmail"
SECRETS = ("RECON_SF_CONSUMER_SECRET", "RECON_GATEWAY_TOKEN")


@dataclass(frozen=True)
class Template:
    """A workspace that pulled and planned, and what comes of the plan where nothing goes wrong."""

    folder: Path
    plan: Path
    store: bytes
    before: dict[str, bool]
    after: dict[str, bool]


@dataclass
class Said:
    """What a user gets: the exit code and the text."""

    exit: int
    text: str
    applied: Applied | None = None


@dataclass
class World:
    """One sandbox, both clocks, and the ids of those who live in it.

    Ann (a Lead, a Contact, a person) and Bob (a Contact, a person) are opted out and approved; Cy is unsubscribed and has a Contact that is
    not linked and not opted out, so an opt-out is set; Eve is opted out and nobody approved anything; the others are just there.
    """

    root: Path
    clock: SetClock = field(default_factory=lambda: SetClock(START))
    server_clock: SetClock = field(default_factory=lambda: SetClock(START))
    slept: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Small pages, so that there is a second one of everything.
        self.sandbox = Sandbox(clock=self.server_clock, sizes={"query_rows": 3, "ingest_batch": 1})
        self.store, self.faults = self.sandbox.store, self.sandbox.faults
        self._templates: dict[tuple[str, bool], Template] = {}
        self.rig = Rig(self.root, self.clock, self.sandbox)
        self.ids = self._people()
        self._advance(timedelta(days=3))
        for name in ("ann", "bob"):
            self.rig.approve(f"{name}@buyer.example")
        self._beginning = self.store.saved()
        self._began = self.clock.now()

    def _people(self) -> dict[str, str]:
        rig, ids = self.rig, {}
        ids["ann"], ids["ann_lead"] = rig.pair("ann@buyer.example", sobject="Lead", FirstName="Zoë")
        ids["ann_contact"] = records.insert_contact(self.store, LastName="Lovelace", Email="ann@buyer.example")
        records.update_record(self.store, "Contact", ids["ann_contact"], {FLAG: True})
        ids["bob"], ids["bob_contact"] = rig.pair("bob@buyer.example", FirstName="Bøb")
        ids["eve"], ids["eve_contact"] = rig.pair("eve@buyer.example")
        ids["cy"], _ = rig.pair("cy@buyer.example", out=False, sobject="Lead")
        sales_connect.link_person(self.store, ids["cy"], None)
        sales_connect.unsubscribe(self.store, ids["cy"], source="clicked_link")
        for name in ("dan", "fay", "gus"):
            ids[name], ids[f"{name}_contact"] = rig.pair(f"{name}@buyer.example", out=False, FirstName="Ünal")
            ids[f"{name}_lead"] = records.insert_lead(
                self.store, LastName="Lead", Company="Acme", Email=f"{name}2@buyer.example"
            )
        return ids

    def _advance(self, by: timedelta) -> None:
        self.clock.advance(by)
        self.server_clock.advance(by)

    def close(self) -> None:
        self.sandbox.close()

    # --- templates

    def template(self, way: str, *, hasty: bool) -> Template:
        """A workspace that reads and writes by rest or bulk; a hasty one waits for an answer only shortly."""
        if (way, hasty) not in self._templates:
            self._templates[way, hasty] = self._made(way, hasty=hasty)
        return self._templates[way, hasty]

    def _made(self, way: str, *, hasty: bool) -> Template:
        self.faults.clear()
        self.store.restore(self._beginning)
        self._at(self._began)
        folder = self.root / f"{way}-{hasty}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self._write_settings(folder, way, hasty=hasty)
        self.pull(folder)
        self._advance(timedelta(minutes=1))
        plan = self._plan(folder)
        template = Template(folder, plan, self.store.saved(), self.flags(), {})
        copy = self.root / f"{way}-{hasty}-undisturbed"
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        done = self.apply(copy / plan.relative_to(folder))
        assert done.exit == 0, done.text
        return Template(folder, plan, template.store, template.before, self.flags())

    def _write_settings(self, folder: Path, way: str, *, hasty: bool) -> None:
        values = self.sandbox.settings()
        above = 0 if way == "bulk" else 10_000
        timing = {"retries": 2, "backoff_seconds": 0.5, "read_timeout": 0.8 if hasty else 30.0}
        values["salesforce"] |= timing | {
            "bulk_above": above,
            "bulk_updates_above": above,
            "page_rows": 3,
            "poll_seconds": 1.0,
            "parallel_reads": 1,  # so that the faults meet the same requests every time
            "job_timeout": 5.0,
        }
        values["sales_connect"]["gateway"] |= timing | {"page_size": 3}
        lines: list[str] = []
        for section, entries in values.items():
            lines += [f"[{section}]", *(f"{k} = {literal(v)}" for k, v in entries.items() if not isinstance(v, dict))]
            for name, inner in entries.items():
                if isinstance(inner, dict):
                    lines += [f"[{section}.{name}]", *(f"{key} = {literal(value)}" for key, value in inner.items())]
        (folder / "recon.toml").write_text("\n".join(lines) + "\n" + POLICY, encoding="utf-8")

    def _at(self, moment: Any) -> None:
        self.clock.set(moment)
        self.server_clock.set(moment)

    # --- one case

    def begin(self, template: Template, folder: Path) -> Path:
        """Put everything back, and copy the workspace; returns the copy's plan."""
        self.faults.clear()
        self.slept.clear()
        self.store.restore(template.store)
        self._at(self._began + timedelta(minutes=10))
        shutil.copytree(template.folder, folder, dirs_exist_ok=True)
        return folder / template.plan.relative_to(template.folder)

    def inject(self, *faults: Fault) -> None:
        """Declare faults, with `<name>` in their texts for an id."""
        for fault in faults:
            texts = {
                name: self.named(value)
                for name in ("path", "query", "body", "record", "into")
                if isinstance(value := getattr(fault, name), str)
            }
            self.faults.add(fault.model_copy(update=texts))

    def named(self, text: str) -> str:
        """A text with ids in the places of names."""
        for name, value in self.ids.items():
            text = text.replace(f"<{name}>", value)
        return text

    def calm(self) -> None:
        """End all faults, and what they did to the org's rights; both clocks are right again, an hour later."""
        self.faults.clear()
        self.store.configure(fls="{}")
        later = max(self.clock.now(), self.server_clock.now()) + timedelta(hours=1)
        self._at(later)

    def pull(self, folder: Path) -> Said:
        """Pull, as the command does."""
        return self._said(
            lambda: jobs.pull(
                folder, clock=self.clock, environ=self.sandbox.environment(), sleep=self.slept.append
            ).summary()
        )

    def apply(self, plan: Path) -> Said:
        """Apply, as the command does."""
        held: list[Applied] = []

        def carry_out() -> str:
            done = apply(
                plan.parents[2],
                plan,
                actor=ADMIN,
                clock=self.clock,
                environ=self.sandbox.environment(),
                sleep=self.slept.append,
            )
            held.append(done)
            return "\n".join(done.lines())

        said = self._said(carry_out)
        if held:
            said.exit, said.applied = held[0].exit_code, held[0]
        return said

    def plan_again(self, folder: Path) -> Path:
        """Pull and plan what is left of the approved file."""
        said = self.pull(folder)
        assert said.exit == 0, said.text
        self._advance(timedelta(minutes=1))
        return self._plan(folder)

    def _plan(self, folder: Path) -> Path:
        rig = Rig(folder, self.clock, self.sandbox, self.rig.rows)
        with pytest.MonkeyPatch.context() as patch:
            # Any engine makes the same plan; of a handful of rows this one makes it five times as fast as the batch jobs' own.
            patch.setattr(engine, "engine_named", lambda *_args, **_options: engine.Polars())
            return rig.plan(with_opt_outs=True).path

    def _said(self, call: Any) -> Said:
        try:
            said = Said(0, call())
        except ReconError as error:
            said = Said(error.exit_code, str(error))
        assert "@" not in said.text
        secrets = self.sandbox.environment()
        assert not any(secrets[name] in said.text for name in SECRETS)
        return said

    # --- what is there

    def flags(self) -> dict[str, bool]:
        """Who is opted out, by `system:id`."""
        with self.store.transaction() as db:
            found = {
                f"salesforce:{row['Id']}": bool(row[FLAG])
                for name in ("lead", "contact")
                for row in db.execute(f"SELECT Id, {FLAG} FROM {name}")
            }
            out = {row["person_id"] for row in db.execute("SELECT person_id FROM unsubscribe")}
            people = [row["person_id"] for row in db.execute("SELECT person_id FROM person")]
        return found | {f"sales_connect:{one}": one in out for one in people}

    def steps(self, plan: Path) -> tuple[Step, ...]:
        loaded: Plan = read_plan(plan)
        return loaded.steps


def tables(folder: Path) -> tuple[pa.Table, pa.Table]:
    """What the newest snapshot of a workspace holds."""
    found = newest(folder / "snapshots")
    return pq.read_table(found.people), pq.read_table(found.records)
