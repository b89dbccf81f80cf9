"""A sandbox with a handful of people, a workspace that pulled them, and plans by hand, for tests of apply."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from starlette.responses import JSONResponse, Response

from recon import jobs, settings
from recon.clock import SetClock, iso
from recon.ledger import Draft, Ledger, kinds
from recon.resubscribe.apply import apply
from recon.resubscribe.plan_file import Approval, Approved, Plan, Step, write_plan
from recon.sandbox import gateway, sales_connect
from recon.sandbox.box import DEFAULT_AT, Sandbox
from recon.sandbox.salesforce import records
from recon.sandbox.salesforce.app import create_app
from recon.sandbox.serving import Serving
from recon.sandbox.store import text_time
from recon.settings_file import literal
from recon.snapshot import newest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from recon.resubscribe.outcomes import Applied

STANDARD = "HasOptedOutOfEmail"
OUT = datetime(2026, 11, 2, 15, 30, tzinfo=UTC)
ACTOR = "Ida Admin"
FILE = "a" * 64
_MERGED = pa.schema(
    [*((name, pa.string()) for name in ("system", "id", "object", "cluster")), ("opted_out", pa.bool_())]
)
_TABLES = ("lead", "contact", "history", "person", "unsubscribe", "unsubscribe_history")


@dataclass
class Fault:
    """What goes wrong with requests whose method and path match.

    Attributes
    ----------
    kind
        refuse: the answer is `status` and nothing happens; lose: it happens and the answer is `status`; drop: it happens, and the
        connection breaks before the answer is whole; act: only `action` is done, before it happens; alter: the answer's body is
        changed by `alter`; upload: the request's body is.
    skip, times
        How many matching requests go well first, and how many are then spoiled.
    """

    method: str
    path: str
    kind: str
    status: int = 503
    code: str = "SERVER_UNAVAILABLE"
    skip: int = 0
    times: int = 1
    action: Callable[[], object] | None = None
    alter: Callable[[bytes], bytes] = bytes

    def meets(self, scope: Scope) -> bool:
        if scope["method"] != self.method or self.path not in scope["path"] or not self.times:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Faulty:
    """An application with faults."""

    app: ASGIApp
    faults: list[Fault] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(
            (scope["method"], scope["path"], {name.decode(): value.decode() for name, value in scope["headers"]})
        )
        fault = next((each for each in self.faults if each.meets(scope)), None)
        if fault is None:
            await self.app(scope, receive, send)
            return
        if fault.action is not None:
            fault.action()
        if fault.kind == "act":
            await self.app(scope, receive, send)
            return
        if fault.kind == "upload":
            await self.app(scope, _altered(receive, fault.alter), send)
            return
        if fault.kind == "alter":
            await self._alter(scope, receive, send, fault.alter)
            return
        if fault.kind != "refuse":
            await self.app(scope, receive, _nowhere)
        if fault.kind == "drop":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"99")]})
            return
        body = [{"message": "spoiled", "errorCode": fault.code}]
        await JSONResponse(body, fault.status)(scope, receive, send)

    async def _alter(self, scope: Scope, receive: Receive, send: Send, alter: Callable[[bytes], bytes]) -> None:
        status, content = 0, b""

        async def keep(message: Message) -> None:
            nonlocal status, content
            status = message.get("status", status)
            content += message.get("body", b"")

        await self.app(scope, receive, keep)
        await Response(alter(content), status, media_type="text/csv")(scope, receive, send)

    def writes(self) -> list[str]:
        return [
            path
            for method, path, _ in self.asked
            if method in ("PATCH", "PUT") or (method == "POST" and "/people/" in path)
        ]


def _altered(receive: Receive, alter: Callable[[bytes], bytes]) -> Receive:
    """The request's body, changed whole."""

    async def changed() -> Message:
        message = await receive()
        content = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            content += message.get("body", b"")
        return {"type": "http.request", "body": alter(content), "more_body": False}

    return changed


async def _nowhere(message: object) -> None:
    """Sends nothing."""


@dataclass
class Ids:
    """Ann: a Lead, a Contact and a person, all opted out. Bob: a Lead and a person. Cy: a person who is out, a Contact who isn't."""

    ann_lead: str
    ann_contact: str
    ann: str
    bob_lead: str
    bob: str
    cy_contact: str
    cy: str


class ApplyWorld:
    """One sandbox for many tests: `begin` puts it back to its beginning and makes a workspace."""

    def __init__(self) -> None:
        self.clock = SetClock(DEFAULT_AT)
        self.box = Sandbox(clock=self.clock)
        self.store = self.box.store
        org_app = create_app(self.store, self.box.org)
        self.end_sessions = org_app.state.login.end_sessions
        token = self.box.environment()["RECON_GATEWAY_TOKEN"]
        self.salesforce, self.gateway = Faulty(org_app), Faulty(gateway.create_app(self.store, token=token))
        self._servers = Serving(self.salesforce), Serving(self.gateway)
        self.ids = self._people()
        self.remember()

    def remember(self) -> None:
        """Take the systems as they are for their beginning."""
        with self.store.transaction() as db:
            self._rows = {name: [tuple(row) for row in db.execute(f"SELECT * FROM {name}")] for name in _TABLES}

    def _people(self) -> Ids:
        store = self.store

        def record(kind: str, address: str, out: bool) -> str:
            insert = {"Lead": records.insert_lead, "Contact": records.insert_contact}[kind]
            at = text_time(OUT)
            made = insert(store, LastName="Someone", Email=address, HasOptedOutOfEmail=out, CreatedDate=at)
            if out:
                records.insert_history(store, kind, made, STANDARD, "false", "true", at)
            return made

        def person(address: str, link: str | None) -> str:
            made = sales_connect.add_person(
                store, email=address, salesforce_id=link, first_name="Some", last_name="One"
            )
            sales_connect.unsubscribe(store, made, at=OUT)
            return made

        store.configure(push_enabled="false")
        ann_lead = record("Lead", "ann@buyer.example", True)
        ann_contact = record("Contact", "ann@buyer.example", True)
        bob_lead = record("Lead", "bob@buyer.example", True)
        cy_contact = record("Contact", "cy@buyer.example", False)
        ids = Ids(
            ann_lead,
            ann_contact,
            person("ann@buyer.example", ann_lead),
            bob_lead,
            person("bob@buyer.example", bob_lead),
            cy_contact,
            person("cy@buyer.example", None),
        )
        store.configure(push_enabled="true")
        return ids

    def reset(self) -> None:
        """The systems as they were at first."""
        for each in (self.salesforce, self.gateway):
            each.faults.clear()
            each.asked.clear()
        self.clock.set(DEFAULT_AT)
        with self.store.transaction() as db:
            for name in reversed(_TABLES):
                db.execute(f"DELETE FROM {name}")
            for name, rows in self._rows.items():
                if rows:
                    db.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)

    def state(self) -> dict[str, Any]:
        """What stands in both systems, without ids of history and their times."""
        with self.store.transaction() as db:
            flags = {
                row[0]: row[1]
                for name in ("lead", "contact")
                for row in db.execute(f"SELECT Id, {STANDARD} FROM {name}")
            }
            out = [
                tuple(row) for row in db.execute("SELECT person_id, level, source FROM unsubscribe ORDER BY 1, 2, 3")
            ]
            history = [
                tuple(row) for row in db.execute("SELECT Parent, Field, OldValue, NewValue FROM history ORDER BY Id")
            ]
            cards = [
                tuple(row)
                for row in db.execute(
                    "SELECT person_id, level, details, source, reason FROM unsubscribe_history ORDER BY seq"
                )
            ]
        return {"flags": flags, "out": out, "history": history, "cards": cards}

    def flag(self, record: str) -> bool:
        return bool(self.state()["flags"][record])

    def unsubscribed(self, person: str) -> bool:
        return any(row[0] == person for row in self.state()["out"])

    def settings(self) -> dict[str, dict[str, Any]]:
        """Those of the sandbox, led through the faults."""
        values = self.box.settings()
        salesforce, people = self._servers
        values["salesforce"]["instance_url"] = salesforce.url
        values["sales_connect"]["gateway"]["url"] = people.url
        return values

    def unsubscribe(self, person: str) -> None:
        """The person clicks, a minute later."""
        self.clock.advance(timedelta(minutes=1))
        sales_connect.unsubscribe(self.store, person, source="clicked_link")

    def close(self) -> None:
        for server in self._servers:
            server.ask_to_stop()
        self.box.close()
        for server in self._servers:
            server.stop()


class Workspace:
    """A workspace on the sandbox, with one snapshot."""

    def __init__(self, world: ApplyWorld, folder: Path, *, gateway: bool = True, **sections: dict[str, Any]) -> None:
        self.world, self.folder = world, folder
        folder.mkdir(parents=True, exist_ok=True)
        values = world.settings()
        values["salesforce"] |= {"backoff_seconds": 0.0, "retries": 2, "poll_seconds": 0.01}
        values["sales_connect"]["gateway"] |= {"backoff_seconds": 0.0, "retries": 2}
        for name, given in sections.items():
            inner = given.pop("gateway", {})
            values.setdefault(name, {}).update(given)
            if inner:
                values[name]["gateway"] |= inner
        self.write_settings(values)
        jobs.pull(folder, clock=world.clock, environ=world.box.environment())
        self.snapshot = newest(folder / "snapshots")
        if not gateway:
            values["run"] = {"people": str(self.snapshot.people)}
            del values["sales_connect"]["gateway"]["url"]
            self.write_settings(values)

    def copied(self, folder: Path) -> Workspace:
        """The same in another folder."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return self.in_folder(folder)

    def in_folder(self, folder: Path) -> Workspace:
        """A copy that was made already."""
        made = object.__new__(type(self))
        made.world, made.folder = self.world, folder
        made.snapshot = newest(folder / "snapshots")
        return made

    def write_settings(self, values: dict[str, dict[str, Any]]) -> None:
        lines: list[str] = []
        for section, entries in values.items():
            plain = {name: value for name, value in entries.items() if not isinstance(value, dict)}
            lines += [f"[{section}]", *(f"{name} = {literal(value)}" for name, value in plain.items())]
            for name, inner in entries.items():
                if isinstance(inner, dict):
                    lines += [f"[{section}.{name}]", *(f"{key} = {literal(value)}" for key, value in inner.items())]
        (self.folder / "recon.toml").write_text("\n".join(lines) + "\n")

    def step(self, identity: str, *, direction: str = "clear", person: str, row: int | None = 2, **values: Any) -> Step:
        """A step as the planner makes it, from the snapshot."""
        people = identity[:3] not in ("00Q", "003")
        table = pq.read_table(self.snapshot.people if people else self.snapshot.records)
        key = "person_id" if people else "record_id"
        found = next(each for each in table.to_pylist() if each[key] == identity)
        flag = found["unsubscribed" if people else "opted_out"]
        opted_out_at = found["unsubscribed_at" if people else "opted_out_at"]
        modified_at = found["updated_at" if people else "modified_at"]
        clear = direction == "clear"
        step: dict[str, Any] = {
            "number": 1,
            "person": person,
            "system": "sales_connect" if people else "salesforce",
            "object": "Person" if people else found["object"],
            "id": identity,
            "direction": direction,
            "fields": ("unsubscribed",) if people else (STANDARD,),
            "before": (flag,),
            "after": (not clear,),
            "modified_at": None if modified_at is None else iso(modified_at),
            "opted_out_at": None if opted_out_at is None else iso(opted_out_at),
            "row": row if clear else None,
            "reason": "Asked by phone; =1+1" if clear else None,
            "because": "Line 2 of the approved file.",
        }
        return Step(**(step | values))

    def all_steps(self) -> list[Step]:
        """Ann and Bob are resubscribed, Cy's Contact is opted out."""
        ids = self.world.ids
        ann, bob, cy = (f"sales_connect:{each}" for each in (ids.ann, ids.bob, ids.cy))
        return [
            self.step(ids.ann_contact, person=ann),
            self.step(ids.ann_lead, person=ann),
            self.step(ids.ann, person=ann),
            self.step(ids.bob_lead, person=bob, row=3),
            self.step(ids.bob, person=bob, row=3),
            self.step(ids.cy_contact, person=cy, direction="set"),
        ]

    def plan(self, steps: Sequence[Step] | None = None, *, verdicts: bool = True, **values: Any) -> Path:
        """A plan by hand, in a run folder, with its verdicts in the ledger."""
        chosen = self.all_steps() if steps is None else steps
        numbered = tuple(replace(step, number=place) for place, step in enumerate(chosen, 1))
        loaded = settings.load(self.folder)
        rows = sorted({(step.row, step.person) for step in numbered if step.row is not None})
        manifest = (self.snapshot.folder / "manifest.json").read_bytes()
        body: dict[str, Any] = {
            "schema": 1,
            "kind": "resubscribe",
            "recon": "0.1.0",
            "run_id": "20261124T180000Z",
            "created_at": iso(DEFAULT_AT),
            "settings_sha256": jobs.settings_in_force(loaded)["settings_sha256"],
            "snapshot": self.snapshot.id,
            "snapshot_manifest_sha256": hashlib.sha256(manifest).hexdigest(),
            "approved": Approved(name="approved.csv", sha256=FILE, rows=2, accepted=2, rejected=0, no_op=0),
            "approvals": tuple(
                Approval(
                    row=row or 0,
                    digest="d" * 64,
                    person=person,
                    kind="consent",
                    scope="sales+marketing",
                    consent_at="2026-11-10",
                    approved_at="2026-11-20",
                )
                for row, person in rows
            ),
            "steps": numbered,
            "applicable": True,
        }
        plan = Plan.model_validate(body | values).sealed()
        run = self.folder / "reports" / plan.run_id
        run.mkdir(parents=True, exist_ok=True)
        write_plan(plan, run / "plan.json")
        (run / "manifest.json").write_text(json.dumps(jobs.settings_in_force(loaded)))
        merged = [
            {"system": step.system, "id": step.id, "object": step.object, "cluster": step.person, "opted_out": True}
            for step in numbered
        ]
        pq.write_table(pa.Table.from_pylist(merged, schema=_MERGED), run / "merged.parquet")
        if verdicts:
            self.add_verdicts(numbered)
        return run / "plan.json"

    def add_verdicts(self, steps: Sequence[Step], verdict: str = "accepted") -> None:
        with Ledger.open(self.folder / "ledger", clock=self.world.clock) as ledger:
            names = ledger.names
            for row in sorted({step.row for step in steps if step.row is not None}):
                mine = [names.record(step.system, step.id) for step in steps if step.row == row]
                body = {
                    "file": FILE,
                    "row": row,
                    "subject": names.address(f"row{row}@buyer.example"),
                    "codes": [],
                    "records": mine,
                }
                ledger.append_all([Draft(kinds.VERDICT, body | {"verdict": verdict}, {"digest": f"digest of {row}"})])

    def apply(self, plan: Path, **options: Any) -> Applied:
        given: dict[str, Any] = {"actor": ACTOR, "clock": self.world.clock, "environ": self.world.box.environment()}
        return apply(self.folder, plan, **given | {"sleep": lambda _: None} | options)

    def entries(self) -> list[tuple[str, dict[str, Any]]]:
        """The ledger's entries from the first run of apply on, without numbers and times."""
        with Ledger.open(self.folder / "ledger", clock=self.world.clock) as ledger:
            return [
                (entry.kind, entry.data) for entry in ledger.entries() if entry.kind in ("run", "intent", "outcome")
            ]


def results(applied: Applied) -> list[tuple[int, str, str | None]]:
    return [(each.number, each.outcome, each.code) for each in applied.outcomes]
