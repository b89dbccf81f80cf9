"""Faults of the sandbox: what goes wrong, with which requests, and how often. Declared once, for tests and for a file.

A fault is met by requests of a pattern. Of those the first `after` go well, the next `times` are spoiled, the rest goes well again. Faults
are looked at in the order in which they were added; a request that one of them spoils isn't counted by those after it.
`recon.sandbox.faults_wire` does what is declared here, `recon.sandbox.faults_file` reads declarations from a file.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable  # noqa: TC003 - pydantic reads the fields' types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

if TYPE_CHECKING:
    from collections.abc import Iterator

System = Literal["salesforce", "gateway"]
Kind = Literal["status", "session", "drop", "late", "cut", "headers", "order", "row", "job", "change", "clock", "call"]
Change = Literal[
    "delete", "merge", "convert", "edit", "opt_out", "clear", "unsubscribe", "remove", "hide_field", "lock_field",
    "open_field",
]  # fmt: skip

#: What may be said of every fault.
_ALWAYS = frozenset({"kind", "system", "method", "path", "query", "body", "after", "times"})
#: What else may be said of each kind.
_OF_KIND: dict[str, frozenset[str]] = {
    "status": frozenset({"status", "code", "message", "content", "headers", "carried_out"}),
    "session": frozenset(),
    "drop": frozenset({"carried_out"}),
    "late": frozenset({"seconds", "carried_out"}),
    "cut": frozenset({"keep", "framing"}),
    "headers": frozenset({"headers", "remove"}),
    "order": frozenset(),
    "row": frozenset({"code", "message", "fields"}),
    "job": frozenset({"state", "rows", "message"}),
    "change": frozenset({"change", "record", "into", "field"}),
    "clock": frozenset({"seconds"}),
    "call": frozenset({"action"}),
}
#: What must be said of each kind.
_NEEDED: dict[str, tuple[str, ...]] = {
    "status": ("status",),
    "change": ("change",),
    "clock": ("seconds",),
    "row": ("code",),
    "call": ("action",),
}
_MESSAGES = {
    "INVALID_SESSION_ID": "Session expired or invalid",
    "REQUEST_LIMIT_EXCEEDED": "TotalRequests Limit exceeded.",
    "UNABLE_TO_LOCK_ROW": "unable to obtain exclusive access to this record",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": "A validation rule of the org refuses this value.",
}
#: These let the request go on: something happens just before it. All others end what is done with it.
_BESIDE = frozenset({"change", "clock", "call", "session"})
#: What a job is looked at by.
_JOB = re.compile(r"/jobs/(ingest|query)/[0-9A-Za-z]{15,18}/?$")
#: How many requests are remembered.
_REMEMBERED = 10_000


class Fault(BaseModel):
    """One thing that goes wrong.

    Attributes
    ----------
    kind
        status: the answer is `status`; session: all sessions of Salesforce have ended; drop: the connection breaks without an answer;
        late: the answer is held back for `seconds`, or until the client has gone; cut: the body breaks off; headers: `headers` are set and
        `remove` are taken out of the answer; order: the rows of the answer come in another order; row: a record's change is refused with
        `code`, by REST, in a Collection and in a Bulk job alike; job: the Bulk job that is looked at ends as `state` after `rows` rows;
        change: somebody makes `change` just before; clock: the sandbox's clock moves by `seconds`; call: `action` is called (tests only).
    system
        salesforce or gateway; None: both.
    method, path, query, body
        Which requests: the method, and regular expressions that are searched for in the path, the query (decoded) and the body. A `row` is
        met as if it were a PATCH of /sobjects/{object}/{id}, however it comes.
    after, times
        How many of those go well first, and how many are spoiled then.
    status, code, message, content, headers
        The answer: an error in the system's own form, or `content` as it stands.
    carried_out
        Is the request carried out all the same, and only its answer lost?
    seconds, keep, framing, remove
        See `kind`. `keep` is the share of the body that arrives; `framing` how its end is known: by length, chunked, or none (the connection's
        end).
    fields
        The fields that a row's refusal names.
    state, rows
        How a job ends, and how many rows it has tried by then.
    change, record, into, field
        What is changed: a record or a person by its id (None: the one that the request's path names), merged or converted `into` another one,
        or a `field` like Lead.HasOptedOutOfEmail.
    action
        Called without arguments.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    kind: Kind
    system: System | None = None
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] | None = None
    path: str = ""
    query: str | None = None
    body: str | None = None
    after: int = Field(0, ge=0)
    times: int | Literal["always"] = Field(1)
    status: int = Field(503, ge=200, le=599)
    code: str | None = Field(None, pattern=r"^[A-Za-z][A-Za-z0-9_]{1,59}$")
    message: str | None = None
    content: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    carried_out: bool = False
    seconds: float = Field(3600.0, ge=-4e9, le=4e9)
    keep: float = Field(0.5, ge=0, lt=1)
    framing: Literal["length", "chunked", "none"] = "length"
    remove: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    state: Literal["Failed", "Aborted"] = "Failed"
    rows: int = Field(1, ge=0)
    change: Change | None = None
    record: str | None = None
    into: str | None = None
    field: str | None = Field(None, pattern=r"^(Lead|Contact|Account)\.\w+$")
    action: Callable[[], object] | None = None

    @field_validator("path", "query", "body")
    @classmethod
    def _is_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"this is no regular expression: {error}") from None
        return value

    @field_validator("headers", "remove")
    @classmethod
    def _is_header(cls, value: Any) -> Any:
        for name in value:
            text = name + (value[name] if isinstance(value, dict) else "")
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not re.fullmatch(r"[\x20-\x7e]*", text):
                raise ValueError(f"{name!r} can't stand in an HTTP header")
        return value

    @field_validator("times")
    @classmethod
    def _is_number(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError('write how often, from 1 on, or "always"')
        return value

    @model_validator(mode="after")
    def _fits(self) -> Fault:
        given = self.model_fields_set
        strange = sorted(given - _ALWAYS - _OF_KIND[self.kind])
        if strange:
            raise ValueError(f"{', '.join(strange)} means nothing for the kind {self.kind}")
        lacking = [name for name in _NEEDED.get(self.kind, ()) if name not in given]
        if lacking:
            raise ValueError(f"the kind {self.kind} needs {', '.join(lacking)}")
        if self.kind == "late" and self.seconds <= 0:
            raise ValueError("an answer can only be late by more than 0 seconds")
        if self.change is not None and (self.change.endswith("_field") != (self.field is not None)):
            raise ValueError("field is for hide_field, lock_field and open_field, and they need it")
        if self.change == "merge" and self.into is None:
            raise ValueError("the change merge needs into: the record that it is merged into")
        if self.kind in ("session", "job", "row") and self.system == "gateway":
            raise ValueError(f"the gateway knows no {self.kind}")
        return self


@dataclass(frozen=True, slots=True)
class Asked:
    """One request.

    Attributes
    ----------
    headers
        By name in lower case.
    """

    system: System
    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Fired:
    """One fault that was met by one request; `number` counts the faults from 1 in the order in which they were added."""

    number: int
    fault: Fault
    asked: Asked

    def line(self) -> str:
        """What happened, for people; without the query, which may hold an address."""
        return f"fault {self.number} ({self.fault.kind}): {self.asked.system}, {self.asked.method} {self.asked.path}"


@dataclass(slots=True)
class _Declared:
    """A fault, and how many requests it was met by."""

    number: int
    fault: Fault
    met: int = 0

    def meets(self, asked: Asked) -> bool:
        fault = self.fault
        if fault.kind == "job" and (asked.method != "GET" or not _JOB.search(asked.path)):
            return False
        return (
            fault.system in (None, asked.system)
            and fault.method in (None, asked.method)
            and re.search(fault.path, asked.path) is not None
            and (fault.query is None or re.search(fault.query, asked.query) is not None)
            and (fault.body is None or re.search(fault.body, asked.body.decode("utf-8", "replace")) is not None)
        )

    def due(self) -> bool:
        """Count one more request, and say whether it is to be spoiled."""
        self.met += 1
        over = self.met - self.fault.after
        return over > 0 and (self.fault.times == "always" or over <= self.fault.times)


def message_of(code: str) -> str:
    """The words that go with one of Salesforce's codes."""
    return _MESSAGES.get(code, "spoiled")


class Faults:
    """The switchboard of a sandbox: the faults that are declared, and those that were met.

    Attributes
    ----------
    told
        Called with every fault as it is met; None tells nobody.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._declared: list[_Declared] = []
        self._fired: list[Fired] = []
        self._asked: deque[Asked] = deque(maxlen=_REMEMBERED)
        self.told: Callable[[Fired], object] | None = None

    def add(self, *faults: Fault) -> None:
        """Declare faults."""
        with self._lock:
            for each in faults:
                self._declared.append(_Declared(len(self._declared) + 1, each))

    def clear(self) -> None:
        """Forget all faults and all that was met."""
        with self._lock:
            self._declared.clear()
            self._fired.clear()
            self._asked.clear()

    @property
    def fired(self) -> tuple[Fired, ...]:
        """What was injected, in order."""
        with self._lock:
            return tuple(self._fired)

    @property
    def asked(self) -> tuple[Asked, ...]:
        """The last requests, whether they were spoiled or not; without bodies, where no fault asks for one."""
        with self._lock:
            return tuple(self._asked)

    def reads_bodies(self, system: System) -> bool:
        """Whether there is a fault that looks into bodies."""
        with self._lock:
            return any(each.fault.body is not None and each.fault.system in (None, system) for each in self._declared)

    def due(self, asked: Asked) -> list[Fault]:
        """The faults that a request meets: any number that go beside it, and at most one that spoils it, which is the last."""
        with self._lock:
            self._asked.append(asked)
            met = list(self._taken(asked, lambda fault: fault.kind != "row"))
        self._tell(met)
        return [each.fault for each in met]

    def row(self, name: str, record_id: str) -> Fault | None:
        """The fault that a record's change meets.

        Parameters
        ----------
        name, record_id
            The object, and the record's 18-character id.
        """
        asked = Asked("salesforce", "PATCH", f"/sobjects/{name}/{record_id}")
        with self._lock:
            met = list(self._taken(asked, lambda fault: fault.kind == "row"))
        self._tell(met)
        return met[0].fault if met else None

    def _taken(self, asked: Asked, wanted: Callable[[Fault], bool]) -> Iterator[Fired]:
        for each in self._declared:
            if not wanted(each.fault) or not each.meets(asked) or not each.due():
                continue
            fired = Fired(each.number, each.fault, asked)
            self._fired.append(fired)
            yield fired
            if each.fault.kind not in _BESIDE:
                return

    def _tell(self, met: list[Fired]) -> None:
        if self.told is not None:
            for each in met:
                self.told(each)
