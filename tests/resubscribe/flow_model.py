"""An independent judge of the resubscribe flow: it reads the sandbox's own tables, looks at every request that recon sends, and knows the rows.

It uses nothing of `recon.resubscribe` but the plan's steps. What belongs to one person comes from `tests.tables.reference`.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import requests
from requests.adapters import HTTPAdapter

from recon.ledger import Ledger
from tests.tables.reference import World, address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pytest

    from recon.resubscribe.outcomes import Outcome
    from recon.resubscribe.plan_file import Plan, Step
    from recon.sandbox.store import Store

ADMIN = "Ines Admin"
STANDARD, CUSTOM = "HasOptedOutOfEmail", "Marketo_Sales_Opt_Out__c"
FIELDS = {"standard": (STANDARD,), "custom": (CUSTOM,), "both": (STANDARD, CUSTOM)}
#: The gateway's request after which Sales Connect by itself passes an opt-out on to Salesforce.
PUSHED = "/unsubscribe"
FOREVER = datetime.max.replace(tzinfo=UTC)
_KEYS = {
    "lead": ("Id",),
    "contact": ("Id",),
    "individual": ("Id",),
    "contactpointtypeconsent": ("Id",),
    "person": ("person_id",),
    "unsubscribe": ("person_id", "level", "user_name"),
}
_TABLES = (*_KEYS, "history", "unsubscribe_history", "nightly_run", "config")
_STAMPS = {"LastModifiedDate", "LastModifiedById", "SystemModstamp", "updated_at"}

#: Table and key -> the row.
State = dict[tuple[str, ...], dict[str, Any]]


class Killed(BaseException):
    """The process is gone, as far as it can be told inside of one."""


class Broken(Exception):
    """Something that nobody expects went wrong."""


# The rows of an approved file


@dataclass(frozen=True)
class Row:
    """A row of an approved file, and what the test knows of it.

    Attributes
    ----------
    cells
        Its text.
    basis
        What has to be newer than every opt-out.
    fault
        The code of what was made wrong with it; None where nothing was.
    """

    cells: dict[str, str]
    basis: datetime
    fault: str | None = None

    @property
    def correction(self) -> bool:
        return self.cells.get("kind") == "correction"


def stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def good_row(email: str, now: datetime, hours: float) -> Row:
    """A row whose consent is so many hours old; the approval came a little later."""
    consent = (now - timedelta(hours=hours)).replace(microsecond=0)
    cells = {
        "email": email,
        "reason": "Asked to get mail again",
        "authorization": "Consent",
        "consent_date": stamp(consent),
        "purpose": "Sales mail about our products",
        "evidence": "form submission 83141",
        "initiated_by": "person",
        "approved_by": ADMIN,
        "approved_at": stamp(min(consent + timedelta(minutes=5), now)),
        "requested_by": "Kofi Mensah",
        "scope": "sales",
    }
    return Row(cells, consent)


def day_row(row: Row) -> Row:
    """The same, the consent by its day alone: it may be of that day's first moment."""
    day = row.basis.date()
    cells = row.cells | {"consent_date": day.isoformat()}
    return Row(cells, datetime(day.year, day.month, day.day, tzinfo=UTC))


def correction_row(row: Row) -> Row:
    """A correction: the approval has to be newer than the opt-out."""
    cells = row.cells | {"kind": "correction", "note": "The import ticked it.", "consent_date": ""}
    return Row(cells, datetime.fromisoformat(row.cells["approved_at"]))


#: What can be wrong with a row, by the code that says so.
FAULTS: dict[str, Callable[[datetime, datetime], dict[str, str]]] = {
    "bad_email": lambda now, at: {"email": "nobody at all"},
    "unknown_person": lambda now, at: {"email": "zoe@nowhere.example"},
    "identity_mismatch": lambda now, at: {"person_id": "999999"},
    "reason_missing": lambda now, at: {"reason": " "},
    "authorization_missing": lambda now, at: {"authorization": ""},
    "authorization_not_allowed": lambda now, at: {"authorization": "Because"},
    "consent_date_missing": lambda now, at: {"consent_date": ""},
    "bad_date": lambda now, at: {"consent_date": "03/04/26"},
    "consent_in_future": lambda now, at: {"consent_date": stamp(now + timedelta(days=4000))},
    "consent_too_old": lambda now, at: {"consent_date": stamp(now - timedelta(days=800))},
    "purpose_missing": lambda now, at: {"purpose": ""},
    "evidence_missing": lambda now, at: {"evidence": ""},
    "approver_missing": lambda now, at: {"approved_by": ""},
    "approver_not_admin": lambda now, at: {"approved_by": "Bob Nobody"},
    "self_approved": lambda now, at: {"requested_by": ADMIN},
    "approval_before_consent": lambda now, at: {"approved_at": stamp(at - timedelta(hours=2))},
    "approval_expired": lambda now, at: {
        "consent_date": stamp(now - timedelta(days=41)),
        "approved_at": stamp(now - timedelta(days=40)),
    },
    "initiated_by_missing": lambda now, at: {"initiated_by": ""},
    "asked_by_sender": lambda now, at: {"initiated_by": "sender"},
    "scope_missing": lambda now, at: {"scope": "everything"},
}


def spoiled(row: Row, fault: str, now: datetime) -> Row:
    """The row with one fault."""
    return Row(row.cells | FAULTS[fault](now, row.basis), row.basis, fault)


# What the sandbox holds


class Books:
    """The sandbox's tables, read directly."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.fields: tuple[str, ...] = (STANDARD,)
        self._first = self._whole()

    def _whole(self) -> dict[str, list[tuple[Any, ...]]]:
        with self.store.transaction() as db:
            return {name: [tuple(row) for row in db.execute(f"SELECT * FROM {name}")] for name in _TABLES}

    def reset(self) -> None:
        """Everything as it was at first; the same ids come again."""
        with self.store.transaction() as db:
            for name in ("unsubscribe", *(each for each in reversed(_TABLES) if each != "unsubscribe")):
                db.execute(f"DELETE FROM {name}")
            for name, rows in self._first.items():
                if rows:
                    db.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)

    def state(self) -> State:
        """Both systems' records and the standing unsubscribes."""
        found: State = {}
        with self.store.transaction() as db:
            for name, key in _KEYS.items():
                for row in db.execute(f"SELECT * FROM {name}"):
                    found[name, *(row[column] for column in key)] = dict(row)
        return found

    def records(self, *, live: bool = True) -> list[tuple[str, str]]:
        """Object and id of the records; live: that can be changed."""
        with self.store.transaction() as db:
            leads = db.execute("SELECT Id, IsDeleted OR IsConverted AS dead FROM lead ORDER BY Id").fetchall()
            contacts = db.execute("SELECT Id, IsDeleted AS dead FROM contact ORDER BY Id").fetchall()
        both = [("Lead", row) for row in leads] + [("Contact", row) for row in contacts]
        return [(name, row["Id"]) for name, row in both if not (live and row["dead"])]

    def people(self) -> list[str]:
        with self.store.transaction() as db:
            return [row["person_id"] for row in db.execute("SELECT person_id FROM person ORDER BY person_id")]

    def values(self, step: Step) -> tuple[bool, ...] | None:
        """The values of a step's fields now; None where the record isn't there. On people the account's unsubscribe counts."""
        return self.flags(self.state(), step.key, step.fields)

    def flags(self, state: State, uid: str, fields: Iterable[str]) -> tuple[bool, ...] | None:
        system, _, identity = uid.partition(":")
        if system == "sales_connect":
            return (("unsubscribe", identity, "account", "") in state,)
        row = state.get(("lead", identity)) or state.get(("contact", identity))
        return None if row is None or row["IsDeleted"] else tuple(bool(row[name]) for name in fields)

    def standing(self, uid: str) -> datetime | None:
        """The newest opt-out event of a record that is opted out now; FOREVER where no table tells; None where it isn't, or isn't there."""
        system, _, identity = uid.partition(":")
        with self.store.transaction() as db:
            if system == "sales_connect":
                levels = {
                    row["level"] for row in db.execute("SELECT level FROM unsubscribe WHERE person_id = ?", (identity,))
                }
                # What Sales Connect shows: the account's hides those of single users.
                level = "account" if "account" in levels else "user"
                newest = db.execute(
                    "SELECT max(at) FROM unsubscribe_history WHERE person_id = ? AND level = ? AND details = 'Unsubscribe'",
                    (identity, level),
                ).fetchone()[0]
                return self._moment(newest) if levels else None
            table = "lead" if identity.startswith("00Q") else "contact"
            row = db.execute(f"SELECT * FROM {table} WHERE Id = ? AND NOT IsDeleted", (identity,)).fetchone()
            out = [name for name in self.fields if row is not None and row[name]]
            if not out:
                return None
            marks = ", ".join("?" * len(out))
            newest = db.execute(
                f"SELECT max(CreatedDate) FROM history WHERE Parent = ? AND NewValue = 'true' AND Field IN ({marks})",
                (identity, *out),
            ).fetchone()[0]
            return self._moment(newest)

    def clicked(self, uid: str) -> bool:
        """Whether a person's account unsubscribe is a click of the person."""
        with self.store.transaction() as db:
            sql = "SELECT source FROM unsubscribe WHERE person_id = ? AND level = 'account'"
            row = db.execute(sql, (uid.partition(":")[2],)).fetchone()
        return row is not None and row["source"] == "clicked_link"

    def _moment(self, text: str | None) -> datetime:
        return FOREVER if text is None else datetime.fromisoformat(text)


def changes(before: State, after: State) -> Iterator[tuple[tuple[str, ...], str | None, Any, Any]]:
    """Key of the row, column, old and new value; column None where a row came (old None) or went (new None)."""
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old is None or new is None:
            yield key, None, old, new
            continue
        for column, value in new.items():
            if old[column] != value:
                yield key, column, old[column], value


# Every request that recon sends


@dataclass
class Incident:
    """What happens at a request or an addition to the ledger.

    Attributes
    ----------
    at
        Its number in the run, from 1.
    kind
        before, after: the process is gone then (`error` says how); refuse: it isn't done and no answer comes; lose: it is done and no
        answer comes; busy, session, limit: Salesforce or the gateway answers so and does nothing; act: only `action`, before it.
    """

    at: int
    kind: str
    error: type[BaseException] = Killed
    action: Callable[[], None] | None = None


_ANSWERS = {
    "busy": (503, "SERVER_UNAVAILABLE"),
    "lock": (400, "UNABLE_TO_LOCK_ROW"),
    "session": (401, "INVALID_SESSION_ID"),
    "limit": (403, "REQUEST_LIMIT_EXCEEDED"),
    "rule": (400, "FIELD_CUSTOM_VALIDATION_EXCEPTION"),
    "late": (412, "PRECONDITION_FAILED"),
}


class Watch:
    """Sits between recon and the wire, and between recon and its ledger."""

    def __init__(self, books: Books, patch: pytest.MonkeyPatch) -> None:
        self.books = books
        self.incidents: list[Incident] = []
        self.count = 0
        self.writes = 0
        #: Incidents that came about.
        self.met = 0
        self.asked = ""
        self.on_change: Callable[[State, State], None] = self._nothing_may_change
        self.on_read: Callable[[str], None] = lambda url: None
        real_send, real_append, real_each = HTTPAdapter.send, Ledger.append_all, Ledger.append_each

        def send(adapter: HTTPAdapter, request: requests.PreparedRequest, *args: Any, **options: Any) -> Any:
            return self._send(request, lambda: real_send(adapter, request, *args, **options))

        def append_all(ledger: Ledger, drafts: Any) -> Any:
            return self._append(lambda: real_append(ledger, drafts))

        def append_each(ledger: Ledger, drafts: Any) -> Any:
            return self._append(lambda: real_each(ledger, drafts))

        patch.setattr(HTTPAdapter, "send", send)
        patch.setattr(Ledger, "append_all", append_all)
        patch.setattr(Ledger, "append_each", append_each)

    def begin(self, *incidents: Incident) -> None:
        """A new run: nothing of it was seen."""
        self.incidents = list(incidents)
        self.count = self.writes = self.met = 0
        self.on_change, self.on_read = self._nothing_may_change, lambda url: None

    def _nothing_may_change(self, before: State, after: State) -> None:
        assert before == after, list(changes(before, after))

    def _meet(self, *kinds: str) -> Incident | None:
        for incident in self.incidents:
            if incident.at == self.count and incident.kind in kinds:
                self.incidents.remove(incident)
                self.met += 1
                return incident
        return None

    def _append(self, done: Callable[[], Any]) -> Any:
        self.count += 1
        if met := self._meet("before"):
            raise met.error
        made = done()
        if met := self._meet("after"):
            raise met.error
        return made

    def _send(self, request: requests.PreparedRequest, done: Callable[[], Any]) -> Any:
        if "/oauth2/" in (request.url or ""):
            return done()
        self.count += 1
        self._act()
        if met := self._meet("before"):
            raise met.error
        if self._meet("refuse"):
            raise requests.exceptions.ConnectionError("refused")
        if (met := self._meet(*_ANSWERS)) and request.method != "GET":
            return _answer(request, *_ANSWERS[met.kind])
        before = self.books.state()
        self.asked = f"{request.method} {request.url}"
        self.writes += request.method != "GET"
        response = done()
        after = self.books.state()
        if before != after:
            self.on_change(before, after)
        if request.method == "GET":
            self.on_read(unquote_plus(request.url or ""))
        if met := self._meet("after"):
            response.close()
            raise met.error
        if self._meet("lose"):
            response.close()
            raise requests.exceptions.ReadTimeout("lost")
        return response

    def _act(self) -> None:
        met = self._meet("act")
        if met is not None and met.action is not None:
            met.action()


def _answer(request: requests.PreparedRequest, status: int, code: str) -> requests.Response:
    response = requests.Response()
    response.status_code, response.request, response.url = status, request, str(request.url)
    body = {"error": {"code": code}} if "/people/" in str(request.url) else [{"errorCode": code, "message": "no"}]
    response._content = json.dumps(body).encode()
    return response


# A plan, and the judgement on what is done by it


@dataclass
class Planned:
    """A plan with all that the judge knows about it.

    Attributes
    ----------
    rows
        The approved file, by line.
    world
        What belonged together in the plan's snapshot.
    writers
        By record: the plan that wrote it last, of all plans.
    left
        By record: the values that this plan left there when it last wrote it.
    """

    plan: Plan
    path: Any
    rows: dict[int, Row]
    world: World
    writers: dict[str, str]
    left: dict[str, tuple[bool, ...]] = field(default_factory=dict)
    runs: int = 0

    @property
    def steps(self) -> dict[str, Step]:
        return {step.key: step for step in self.plan.steps}

    def mates(self, uid: str) -> list[str]:
        """The records of one person."""
        return [row["uid"] for row in self.world.mates(self.world.rows[uid])]

    def basis(self, uid: str) -> datetime:
        """The oldest of the approvals that a person's records rest on: every address has one, without a fault."""
        found = []
        for mail in {self.world.rows[mate]["address"] for mate in self.mates(uid)} - {None}:
            rows = [row for row in self.rows.values() if row.fault is None and address(row.cells["email"]) == mail]
            assert rows, f"{uid}: nobody approved one of the person's addresses"
            found.append(max(row.basis for row in rows))
        return min(found)


class Judge:
    """Judges one run of apply, write by write and at its end."""

    def __init__(self, watch: Watch, planned: Planned) -> None:
        self.books, self.watch, self.planned = watch.books, watch, planned
        #: By record of the persons in the plan: the newest opt-out when recon last could have known.
        self.known = {uid: self.books.standing(uid) for uid in self._of_persons()}
        self.began = stamp(self.books.store.clock.now())
        self.cleared: list[str] = []
        self.faults: list[str] = []
        watch.on_change, watch.on_read = self._changed, self._read

    def _of_persons(self) -> set[str]:
        return {mate for step in self.planned.plan.steps for mate in self.planned.mates(step.key)}

    def _read(self, url: str) -> None:
        for uid in self.known:
            identity = uid.partition(":")[2]
            if f"'{identity}'" in url or url.endswith(f"/people/{identity}"):
                self.known[uid] = self.books.standing(uid)

    def _changed(self, before: State, after: State) -> None:
        try:
            self._judge(before, after)
        except AssertionError as error:
            # Within a request a test's failure could be taken for one of the request.
            self.faults.append(f"{self.watch.asked}: {error}")

    def _judge(self, before: State, after: State) -> None:
        touched = set()
        for key, column, _, new in changes(before, after):
            table, identity = key[0], key[1]
            if table == "unsubscribe":
                assert column is None, f"an unsubscribe that stands was written over: {key} {column}"
                assert key[2] == "account", f"an unsubscribe of a single user was changed: {key}"
                touched.add(f"sales_connect:{identity}")
                continue
            assert column is not None, f"a row of {table} came or went: {identity}"
            if column in _STAMPS:
                continue
            assert table in ("lead", "contact"), f"{table} {identity}: {column} was written"
            uid = f"salesforce:{identity}"
            pushed = PUSHED in self.watch.asked and column in FIELDS["both"] and new
            assert column in self.books.fields or pushed, f"{table} {identity}: {column} was written"
            touched.add(uid)
        for uid in sorted(touched):
            step = self.planned.steps.get(uid)
            if PUSHED in self.watch.asked and uid.startswith("salesforce:"):
                self._pushed(before, after, uid)
                if step is None:
                    continue
            assert step is not None, f"{uid} isn't in the plan"
            was, now = (self.books.flags(state, uid, step.fields) for state in (before, after))
            assert was is not None
            assert now is not None
            if any(old and not new for old, new in zip(was, now, strict=True)):
                self._clear(step)
            elif step.direction == "clear" and not (PUSHED in self.watch.asked and step.system == "salesforce"):
                mine = self.planned.left.get(uid)
                assert mine == step.after, f"{uid} was opted out, and not because this plan had cleared it"
            self.planned.left[uid] = now
            self.planned.writers[uid] = self.planned.plan.hash

    def _pushed(self, before: State, after: State, uid: str) -> None:
        """Sales Connect passes an opt-out on to the linked record by itself, and never anything else."""
        was, now = (self.books.flags(state, uid, self.books.fields) for state in (before, after))
        assert was is not None
        assert now is not None
        assert all(new or not old for old, new in zip(was, now, strict=True)), f"{uid} was cleared by the push"

    def _clear(self, step: Step) -> None:
        uid, planned = step.key, self.planned
        assert planned.plan.kind == "resubscribe", f"{uid} was cleared by an undo"
        assert step.direction == "clear", f"{uid} was cleared by a step that sets"
        assert step.row is not None
        row = planned.rows[step.row]
        assert row.fault is None, f"{uid} was cleared by a row with the fault {row.fault}"
        basis = planned.basis(uid)
        for mate in planned.mates(uid):
            newest = self.known[mate]
            assert newest is None or newest < basis, f"{uid} was cleared against the opt-out of {mate} of {newest}"
            assert not (row.correction and self.books.clicked(mate)), f"{uid} was cleared against a click on {mate}"
        self.cleared.append(uid)

    def end(self, outcomes: Iterable[Outcome], *, disturbed: bool) -> None:
        """Hold what apply says against what there is. `disturbed`: somebody else was at work in between."""
        assert not self.faults, self.faults
        planned = self.planned
        told = {outcome.number: outcome for outcome in outcomes}
        numbers = Counter(outcome.number for outcome in told.values())
        assert numbers == Counter(step.number for step in planned.plan.steps)
        for step in planned.plan.steps:
            outcome, now, left = told[step.number], self.books.values(step), planned.left.get(step.key)
            said = f"step {step.number} {step.key} {step.direction}: {outcome}, now {now}, left {left}"
            if outcome.outcome == "done":
                assert left == step.after or now == step.after, said
                assert disturbed or now == step.after, said
            elif outcome.outcome == "skipped_done":
                assert left == step.after or outcome.code == "already_so" or now == step.after, said
            elif not outcome.retryable:
                assert outcome.outcome in ("stale", "failed"), said
                # What a plan cleared and met opted out again is as good as put back. What an earlier run met may have changed since.
                lost = (outcome.outcome, outcome.code) == ("failed", "converted")
                earlier = outcome.at is not None and outcome.at < self.began
                assert left != step.after or now != step.after or lost or earlier, said
        for uid in self.cleared:
            step = planned.steps[uid]
            newer = [
                mate
                for mate in planned.mates(uid)
                if (at := self.known[mate]) is not None and at != FOREVER and at >= planned.basis(uid)
            ]
            outcome = told[step.number]
            back = self.books.values(step) != step.after or outcome.retryable or outcome.code == "converted"
            assert not newer or back, f"{uid} stays cleared though {newer} opted out anew"
