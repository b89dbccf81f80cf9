"""plan.json: exactly what is to be changed, and nothing else; hashed, so that what was approved is what is carried out.

The file holds record ids and the approval's own words, no addresses and no names of the people concerned. The same snapshot, approved
file, settings and moment give the same bytes.

A plan may have a hundred thousand steps: the file is written, hashed and read a step at a time, and they can be kept on the disk meanwhile. Where
they are in memory, as for showing a plan, a step has no dictionary of its own, and what many steps share is there once.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from recon.errors import InputRefused, Problem
from recon.outputs import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

T = TypeVar("T")

SCHEMA = 1

System = Literal["sales_connect", "salesforce"]
Direction = Literal["clear", "set"]

_SHARED: dict[tuple[object, ...], tuple[Any, ...]] = {}


def _once(values: tuple[T, ...]) -> tuple[T, ...]:
    """The same values, there once for all steps: there are few such tuples."""
    return _SHARED.setdefault((*map(type, values), *values), values)


def _interned(text: str) -> str:
    """The same text, there once as long as anybody has it."""
    return sys.intern(text)


Fields = Annotated[tuple[str, ...], AfterValidator(_once)]
Before = Annotated[tuple[bool | None, ...], AfterValidator(_once)]
After = Annotated[tuple[bool, ...], AfterValidator(_once)]
Repeated = Annotated[str, AfterValidator(_interned)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Step:
    """One record to change, in one system.

    Attributes
    ----------
    number
        From 1, in the order of carrying out: all steps of one person together.
    person
        The cluster: `system:id`.
    system, object, id
        The record.
    direction
        clear: the opt-out is taken back, under an approval. set: the opt-out is set.
    fields
        Salesforce's API names of the fields that change (one, or two for the setting `both`); on people `unsubscribed`.
    before, after
        The fields' values as they were in the snapshot, and as they are to be.
    modified_at, opted_out_at
        LastModifiedDate (on people updated_at) and the opt-out's own date in the snapshot, UTC; None where unknown.
    row
        The approved file's line that allows a clear; None for a set.
    reason
        The admin's words, verbatim; None for a set that comes from a disagreement.
    because
        Why, in one sentence without an address: the action's explanation, or the approval.
    path
        The link by which the opt-out came here, as in `recon.tables.ACTIONS`; None on the record where it stands itself.
    account
        Of a person account's Contact: the Account through which it is written; `fields` are that one's then. It stands in the file only there.
    """

    number: int = Field(ge=1)
    person: str
    system: System
    object: Literal["Person", "Lead", "Contact"]
    id: str
    direction: Direction
    fields: Fields
    before: Before
    after: After
    modified_at: Repeated | None = None
    opted_out_at: Repeated | None = None
    row: int | None = None
    reason: Repeated | None = None
    because: str
    path: str | None = None
    account: str | None = None

    @property
    def written(self) -> tuple[str, str]:
        """The object and the id that are written: a person account's Contact through its Account."""
        return (self.object, self.id) if self.account is None else ("Account", self.account)

    @property
    def key(self) -> str:
        """The record over both systems: a plan changes each record once."""
        return f"{self.system}:{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Approval:
    """The approved row that allows a person's clears, without the address.

    Attributes
    ----------
    row, digest
        The line in the file, and the SHA-256 over the row's content.
    person
        The cluster.
    kind
        consent, or correction.
    consent_at, approved_at
        UTC times or dates as the file says them; `consent_at` None for a correction.
    newest_opt_out
        The newest opt-out of the cluster that the consent was held against, UTC; None where unknown.
    opt_out_dates_known
        False: the policy accepted an opt-out of unknown date.
    """

    row: int
    digest: str
    person: str
    kind: Literal["consent", "correction"]
    authorization: Repeated | None = None
    scope: Repeated
    country: Repeated | None = None
    consent_at: Repeated | None = None
    approved_at: Repeated | None = None
    newest_opt_out: Repeated | None = None
    opt_out_dates_known: bool = True
    warnings: Fields = ()


class Blocked(_Part):
    """An accepted row that is left out, and why: the resubscribe would not stick."""

    row: int
    person: str
    reason: str
    path: str | None = None


class Approved(_Part):
    """The approved file."""

    name: str
    sha256: str
    rows: int
    accepted: int
    rejected: int
    no_op: int


class Guard(_Part):
    """A bound on what one plan may do: a plan beyond it can't be applied."""

    name: str
    limit: float
    value: float
    passed: bool


class Plan(_Part):
    """The plan. `hash` is the SHA-256 over everything else, see `Plan.computed_hash`."""

    schema_: int = Field(SCHEMA, alias="schema")
    kind: Literal["resubscribe", "undo"]
    recon: str
    run_id: str
    created_at: str
    created_by: str | None = None
    settings_sha256: str
    policy_sha256: str | None = None
    snapshot: str
    snapshot_manifest_sha256: str
    undoes: str | None = None
    approved: Approved | None = None
    approvals: tuple[Approval, ...] = ()
    steps: tuple[Step, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    guards: tuple[Guard, ...] = ()
    applicable: bool
    hash: str = ""

    def as_json(self) -> dict[str, Any]:
        """The plan as it stands in the file."""
        return self.head() | {name: list(parts) for name, parts in self.lists().items()}

    def computed_hash(self) -> str:
        """SHA-256 over the plan without its own hash, as JSON with sorted keys and no blanks."""
        head, long = self.head(), self.lists()
        digest = hashlib.sha256()
        between = b"{"
        for name in sorted((head.keys() | long.keys()) - {"hash"}):
            digest.update(between + json.dumps(name).encode() + b":")
            between = b","
            if name in head:
                digest.update(_canonical(head[name]))
                continue
            digest.update(b"[")
            for place, part in enumerate(long[name]):
                digest.update((b"," if place else b"") + _canonical(part))
            digest.update(b"]")
        digest.update(b"}")
        return digest.hexdigest()

    def head(self) -> dict[str, Any]:
        """All but what `lists` gives."""
        return self.model_dump(mode="json", by_alias=True, exclude={"steps", "approvals"})

    def lists(self) -> dict[str, Iterator[dict[str, Any]]]:
        """The lists that are as long as the approved file, a part at a time."""
        return {
            "approvals": (_APPROVAL.dump_python(each, mode="json") for each in self.approvals),
            "steps": (_step_json(each) for each in self.steps),
        }

    def sealed(self) -> Plan:
        """The same plan with its hash."""
        return self.model_copy(update={"hash": self.computed_hash()})


_STEP, _APPROVAL = TypeAdapter(Step), TypeAdapter(Approval)
#: The lists of a plan that are as long as the approved file.
_LONG: dict[str, TypeAdapter[Any]] = {"approvals": _APPROVAL, "steps": _STEP}


def packed(part: Step | Approval) -> str:
    """A step or an approval as short text, for keeping it elsewhere than in memory."""
    kind: TypeAdapter[Any] = _STEP if isinstance(part, Step) else _APPROVAL
    return kind.dump_json(part).decode()


def unpacked_step(text: str) -> Step:
    """The step that `packed` made the text of."""
    return _STEP.validate_json(text)


def unpacked_approval(text: str) -> Approval:
    """The approval that `packed` made the text of."""
    return _APPROVAL.validate_json(text)


def _step_json(step: Step) -> dict[str, Any]:
    """A step as it stands in the file: `account` only where there is one."""
    found: dict[str, Any] = _STEP.dump_python(step, mode="json")
    if found["account"] is None:
        del found["account"]
    return found


_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _canonical(value: object) -> bytes:
    return _ENCODER.encode(value).encode()


def write_plan(plan: Plan, path: Path) -> None:
    """Write a sealed plan, whole or not at all, readable by its owner alone."""
    head, long = plan.head(), plan.lists()
    with whole(path) as draft, draft.open("w", encoding="utf-8") as out:
        # By hand what `recon.outputs.write_json` would write, so that not all of it is text at once.
        between = "{\n"
        for name in sorted(head.keys() | long.keys()):
            out.write(f"{between}  {json.dumps(name)}: ")
            between = ",\n"
            if name in head:
                out.write(_indented(head[name], 2))
            else:
                _write_list(long[name], out.write)
        out.write("\n}\n")


def _write_list(parts: Iterable[dict[str, Any]], write: Callable[[str], object]) -> None:
    between = "[\n"
    for part in parts:
        write(f"{between}    {_indented(part, 4)}")
        between = ",\n"
    write("[]" if between == "[\n" else "\n  ]")


def _indented(value: object, by: int) -> str:
    """A value's text as `json.dumps` lays it out with an indent of 2, each line but the first moved in: Python's own is many times slower."""
    line = "\n" + " " * (by + 2)
    if isinstance(value, dict) and value:
        parts = (f"{_ENCODER.encode(name)}: {_indented(each, by + 2)}" for name, each in sorted(value.items()))
        return "{" + line + f",{line}".join(parts) + line[:-2] + "}"
    if isinstance(value, list) and value:
        return "[" + line + f",{line}".join(_indented(each, by + 2) for each in value) + line[:-2] + "]"
    return _ENCODER.encode(value)


class Kept(Protocol):
    """Where the steps or the approvals of a plan that is read go, one after the other."""

    def append(self, part: Any, /) -> object:
        """Keep one more."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """All of them, in order."""
        ...


def read_plan(path: Path, keep: Callable[[str], Kept] | None = None) -> Plan:
    """Read a plan and check its hash, over what was read and kept.

    Parameters
    ----------
    path
        The plan.json.
    keep
        Makes an empty place for the plan's `steps` and one for its `approvals`; they stand in the plan as they are then. By default they
        are tuples, in memory.

    Raises
    ------
    InputRefused
        If the file can't be read, is no plan of this schema, or was changed after it was made.
    """
    name = str(path)
    again = "Make the plan again with `recon plan`."
    try:
        plan = _by_parts(path, keep or (lambda _: []))
        if plan is None:
            plan = _as_one(path, keep)
    except OSError as error:
        raise InputRefused([Problem(name, f"the file can't be read: {error.strerror}.", "Check the path.")]) from error
    except UnicodeDecodeError as error:
        raise InputRefused([Problem(name, "this is no JSON.", again)]) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise InputRefused([Problem(name, "this is no JSON.", again)]) from error
        where = ".".join(map(str, first["loc"]))
        raise InputRefused([Problem(name, f"this is no plan: {where}: {first['msg']}.", again)]) from error
    if plan.schema_ != SCHEMA:
        raise InputRefused([Problem(name, f"the plan has schema {plan.schema_}, this recon knows {SCHEMA}.", again)])
    if plan.hash != plan.computed_hash():
        raise InputRefused([Problem(name, "the plan was changed after it was made: its hash doesn't fit.", again)])
    return plan


def _as_one(path: Path, keep: Callable[[str], Kept] | None) -> Plan:
    """A plan that is laid out in any way."""
    plan = Plan.model_validate_json(path.read_text("utf-8"))
    if keep is None:
        return plan
    return _with(plan, {name: keep(name) for name in _LONG})


def _with(plan: Plan, found: Mapping[str, Kept]) -> Plan:
    """A plan with the parts that were kept, to which those come that it has itself. Every part was validated."""
    for name, kept in found.items():
        for part in getattr(plan, name):
            kept.append(part)
    return plan.model_copy(
        update={name: tuple(kept) if isinstance(kept, list) else kept for name, kept in found.items()}
    )


def _by_parts(path: Path, keep: Callable[[str], Kept]) -> Plan | None:
    """A plan as `write_plan` lays it out, read without having all of its text at once; None where it is laid out otherwise."""
    head: list[str] = []
    try:
        with path.open(encoding="utf-8", newline="\n") as lines:
            found = {name: keep(name) for name in _LONG}
            kinds = {f'  "{name}": [\n': (kind, found[name]) for name, kind in _LONG.items()}
            for line in lines:
                head.append(line)
                if line not in kinds:
                    continue
                kind, into = kinds[line]
                part: list[str] = []
                for inner in lines:
                    if inner.startswith("  ]"):
                        head.append(inner)
                        break
                    part.append(inner)
                    if inner.startswith("    }"):
                        into.append(kind.validate_json("".join(part).rstrip(",\n")))
                        part.clear()
                if part:
                    return None
        return _with(Plan.model_validate_json("".join(head)), found)
    except (ValueError, TypeError):  # whatever it is: read as a whole, it is told
        return None
