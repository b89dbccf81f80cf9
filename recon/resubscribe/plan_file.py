"""plan.json: exactly what is to be changed, and nothing else; hashed, so that what was approved is what is carried out.

The file holds record ids and the approval's own words, no addresses and no names of the people concerned. The same snapshot, approved
file, settings and moment give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recon.errors import InputRefused, Problem

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1

System = Literal["sales_connect", "salesforce"]
Direction = Literal["clear", "set"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Step(_Part):
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
    fields: tuple[str, ...]
    before: tuple[bool | None, ...]
    after: tuple[bool, ...]
    modified_at: str | None = None
    opted_out_at: str | None = None
    row: int | None = None
    reason: str | None = None
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


class Approval(_Part):
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
    authorization: str | None = None
    scope: str
    country: str | None = None
    consent_at: str | None = None
    approved_at: str | None = None
    newest_opt_out: str | None = None
    opt_out_dates_known: bool = True
    warnings: tuple[str, ...] = ()


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
        body = self.model_dump(mode="json", by_alias=True)
        body["steps"] = [_step_json(step) for step in body["steps"]]
        return body

    def computed_hash(self) -> str:
        """SHA-256 over the plan without its own hash, as JSON with sorted keys and no blanks."""
        body = self.model_dump(mode="json", by_alias=True, exclude={"steps", "hash"})
        digest = hashlib.sha256()
        between = b"{"
        for name in sorted([*body, "steps"]):
            digest.update(between + json.dumps(name).encode() + b":")
            between = b","
            if name != "steps":
                digest.update(_canonical(body[name]))
                continue
            # One after the other: a plan may have a hundred thousand.
            digest.update(b"[")
            for place, step in enumerate(self.steps):
                digest.update((b"," if place else b"") + _canonical(_step_json(step.model_dump(mode="json"))))
            digest.update(b"]")
        digest.update(b"}")
        return digest.hexdigest()

    def sealed(self) -> Plan:
        """The same plan with its hash."""
        return self.model_copy(update={"hash": self.computed_hash()})


def _step_json(step: dict[str, Any]) -> dict[str, Any]:
    """A step as it stands in the file: `account` only where there is one."""
    if step["account"] is None:
        del step["account"]
    return step


def _canonical(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def write_plan(plan: Plan, path: Path) -> None:
    """Write a sealed plan, whole or not at all, readable by its owner alone."""
    from recon.outputs import write_json

    write_json(plan.as_json(), path)


def read_plan(path: Path) -> Plan:
    """Read a plan and check its hash.

    Raises
    ------
    InputRefused
        If the file can't be read, is no plan of this schema, or was changed after it was made.
    """
    name = str(path)
    again = "Make the plan again with `recon plan`."
    try:
        plan = Plan.model_validate_json(path.read_text("utf-8"))
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
