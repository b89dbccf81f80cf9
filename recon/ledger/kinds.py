"""What entries say: the kinds, and for each kind every field with its form and meaning.

A field that isn't listed, or has another form, is refused before anything is written. That is what keeps personal data out of the
chain: there is no form into which an address or a sentence fits. People are in it as keyed pseudonyms (`recon.ledger.pseudonym`),
and what was said about them is in the personal part, of which the chain holds salted hashes only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from recon.ledger.canonical import LARGEST

RUN = "run"
SNAPSHOT = "snapshot"
APPROVED_FILE = "approved_file"
VERDICT = "verdict"
PLAN = "plan"
INTENT = "intent"
OUTCOME = "outcome"
VERIFICATION = "verification"
CORRECTION = "correction"
CHECKPOINT = "checkpoint"
ERASURE = "erasure"

#: Fields whose pseudonyms are one person's: an entry that holds several says that they belong together.
PERSON_FIELDS = ("subject", "addresses", "record", "records")
#: Fields whose pseudonyms are of those who acted; they join nothing.
ACTOR_FIELDS = ("actor", "approved_by", "requested_by")

PSEUDONYM = re.compile(r"hk[1-9][0-9]{0,5}:[0-9a-f]{32}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_RANDOM_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+/-]{0,99}", re.ASCII)
_WHEN = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{1,6})?Z)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Form:
    """How a field's value may look.

    Attributes
    ----------
    told
        The form in words.
    fits
        Tells whether a value has it.
    """

    told: str
    fits: Callable[[Any], bool]


def _text(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    match = pattern.fullmatch
    return lambda value: isinstance(value, str) and match(value) is not None


def _several(form: Form) -> Form:
    fits = form.fits
    return Form(f"a list, each {form.told}", lambda value: isinstance(value, (list, tuple)) and all(map(fits, value)))


def _by_code(form: Form) -> Form:
    return Form(
        f"an object, each value {form.told}",
        lambda value: isinstance(value, Mapping) and all(map(CODE.fits, value)) and all(map(form.fits, value.values())),
    )


def _whole(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= LARGEST


HASH = Form("a SHA-256 in hex", _text(_HASH))
NAME = Form("a pseudonym", _text(PSEUDONYM))
CODE = Form("a code of letters, digits and _.:+/-", _text(_CODE))
WHEN = Form("a date, or a time in UTC like 2026-11-24T18:00:00Z", _text(_WHEN))
COUNT = Form("a whole number", _whole(0))
SEQ = Form("an entry's number", _whole(1))
FLAG = Form("true or false", lambda value: isinstance(value, bool))
VALUE = Form("true, false, null or a code", lambda value: value is None or isinstance(value, bool) or CODE.fits(value))
STEP = Form("a whole number or a code", lambda value: COUNT.fits(value) or CODE.fits(value))
NAMES, CODES = _several(NAME), _several(CODE)
RANDOM_IDS = _several(Form("a random id", _text(_RANDOM_ID)))
COUNTS, HASHES = _by_code(COUNT), _by_code(HASH)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a kind: its form, its meaning, and whether it has to be there."""

    form: Form
    meaning: str
    required: bool = False


def _must(form: Form, meaning: str) -> Field:
    return Field(form, meaning, required=True)


def _may(form: Form, meaning: str) -> Field:
    return Field(form, meaning)


_STEP_FIELDS = {
    "plan": _must(HASH, "the plan's hash"),
    "step": _must(STEP, "which step of the plan"),
    "subject": _may(NAME, "the person's address"),
    "record": _must(NAME, "the record that is written"),
    "system": _must(CODE, "sales_connect or salesforce"),
    "field": _must(CODE, "the field that is written"),
}

#: Every kind, with its fields. `null` in an optional field is the same as leaving it out.
KINDS: dict[str, dict[str, Field]] = {
    RUN: {
        "run_id": _must(CODE, "the run"),
        "job": _must(CODE, "what was run: pull, diff, check, plan, apply, verify, undo, report"),
        "actor": _may(NAME, "who ran it"),
        "manifest": _may(HASH, "SHA-256 of its manifest.json"),
        "settings": _may(HASH, "SHA-256 of its settings"),
        "snapshot": _may(CODE, "the snapshot it read"),
        "engine": _may(CODE, "the engine"),
        "counts": _may(COUNTS, "its numbers"),
    },
    SNAPSHOT: {
        "snapshot": _must(CODE, "the snapshot's id"),
        "manifest": _must(HASH, "SHA-256 of its manifest"),
        "rows": _may(COUNTS, "rows by table"),
        "inputs": _may(HASHES, "SHA-256 of what it was read from, by the input's name"),
        "straddle": _may(CODE, "clear or unknown: do both sides lie between the same two nightly runs?"),
    },
    APPROVED_FILE: {
        "file": _must(HASH, "SHA-256 of the approved CSV"),
        "rows": _must(COUNT, "its rows"),
        "verdicts": _may(COUNTS, "rows by verdict"),
        "policy": _may(HASH, "SHA-256 of the policy it was held against"),
        "snapshot": _may(CODE, "the snapshot it was held against"),
        "run_id": _may(CODE, "the run"),
        "actor": _may(NAME, "who handed it in"),
    },
    VERDICT: {
        "file": _must(HASH, "the approved CSV"),
        "row": _must(COUNT, "the line in it"),
        "subject": _must(NAME, "the address of the row"),
        "verdict": _must(CODE, "accepted, rejected or no_op"),
        "codes": _must(CODES, "every code, in order"),
        "kind": _may(CODE, "consent or correction"),
        "addresses": _may(NAMES, "the other addresses of the same person"),
        "records": _may(NAMES, "the person's records"),
        "country": _may(CODE, "the country whose rules were applied"),
        "scope": _may(CODE, "sales or sales+marketing"),
        "opted_out_at": _may(WHEN, "the newest opt-out of all the person's records"),
        "opt_out_source": _may(CODE, "manual, clicked_link, salesforce_sync, bounce, salesforce"),
        "consent_at": _may(WHEN, "when the person consented"),
        "initiated_by": _may(CODE, "person or sender"),
        "reason_code": _may(CODE, "the reason, as a code of the policy"),
        "authorization_code": _may(CODE, "the authorization, as a code of the policy"),
        "approved_by": _may(NAME, "who approved"),
        "approved_at": _may(WHEN, "when"),
        "requested_by": _may(NAME, "who asked for it"),
        "notice": _may(CODE, "which notice the person was shown"),
        "policy": _may(HASH, "SHA-256 of the policy"),
        "run_id": _may(CODE, "the run"),
    },
    PLAN: {
        "plan": _must(HASH, "the plan's hash"),
        "purpose": _may(CODE, "resubscribe, opt_out, mixed or undo"),
        "file": _may(HASH, "the approved CSV it was made from"),
        "undoes": _may(HASH, "the plan that it takes back"),
        "snapshot": _may(CODE, "the snapshot it was made from"),
        "settings": _may(HASH, "SHA-256 of the settings"),
        "counts": _may(COUNTS, "its numbers"),
        "run_id": _may(CODE, "the run"),
        "actor": _may(NAME, "who made it"),
    },
    INTENT: _STEP_FIELDS
    | {
        "object": _may(CODE, "Person, Lead or Contact"),
        "from": _may(VALUE, "the value that is expected to be there"),
        "to": _must(VALUE, "the value that is to be written"),
        "attempt": _may(COUNT, "which try, from 1"),
        "verdict": _may(
            SEQ, "the accepted verdict on the same person that allows it; needed to clear a flag (to = false)"
        ),
        "way": _may(CODE, "rest, bulk, gateway or worklist"),
        "job": _may(CODE, "the Bulk job"),
        "system_at": _may(WHEN, "what time it was by the system's own clock just before"),
        "run_id": _may(CODE, "the run"),
        "actor": _may(NAME, "on whose behalf"),
    },
    OUTCOME: _STEP_FIELDS
    | {
        "intent": _must(SEQ, "the intent that this answers; each has one outcome at most"),
        "result": _must(CODE, "done, stale, failed or unprocessed"),
        "object": _may(CODE, "Person, Lead or Contact"),
        "code": _may(CODE, "the system's or our own error code"),
        "retryable": _may(FLAG, "may a failed one be tried again?"),
        "from": _may(VALUE, "the value that was there"),
        "to": _may(VALUE, "the value that is there now"),
        "effective_at": _may(WHEN, "when the system says that it changed"),
        "found": _may(FLAG, "true: not written now but found written, after a crash"),
        "run_id": _may(CODE, "the run"),
    },
    VERIFICATION: _STEP_FIELDS
    | {
        "result": _must(CODE, "stuck, reverted, unsubscribed_anew, undone, on_worklist, gone or unknown"),
        "value": _may(VALUE, "the value that was found"),
        "caused_by": _may(NAME, "the record that undid it"),
        "through": _may(CODE, "the link it came through: id, converted or address"),
        "changed_at": _may(WHEN, "when it was undone"),
        "sync_run_at": _may(WHEN, "the nightly run that lies between"),
        "run_id": _may(CODE, "the run"),
    },
    CORRECTION: {
        "corrects": _must(SEQ, "the entry that is wrong; it stays as it is"),
        "code": _must(CODE, "what is wrong with it"),
        "subject": _may(NAME, "the person's address"),
        "actor": _may(NAME, "who says so"),
        "data": _may(COUNTS, "numbers that take the place of wrong ones"),
    },
    CHECKPOINT: {
        "entries": _must(COUNT, "how many entries stand before this one"),
    },
    ERASURE: {
        "erased": _must(RANDOM_IDS, "ids of the personal parts that were erased"),
        "actors": _may(NAMES, "pseudonyms whose names were erased"),
        "addresses": _may(NAMES, "whose they were"),
        "ground": _must(CODE, "why, as a code"),
        "actor": _may(NAME, "who did it"),
    },
}


#: The same, each field as its name, what tells whether a value has its form, and whether null is a value of it.
_FIELDS = {
    kind: [(name, field.form.fits, field.form is VALUE) for name, field in fields.items()]
    for kind, fields in KINDS.items()
}


def conform(kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Hold an entry's fields against its kind.

    Parameters
    ----------
    kind
        One of the constants of this module.
    data
        The fields.

    Returns
    -------
    dict
        A copy, with lists for tuples, without optional fields that are None (except values that may be null).

    Raises
    ------
    ValueError
        If the kind is unknown, a field is missing, isn't listed or has another form. The text names the field, never its value.
    """
    if kind not in KINDS:
        raise ValueError(f"the ledger has no entries of kind {kind!r}")
    fields = KINDS[kind]
    if not data.keys() <= fields.keys():
        unknown = ", ".join(sorted(data.keys() - fields.keys()))
        raise ValueError(f"{kind} entries have no field {unknown}: free text belongs in the personal part")
    found: dict[str, Any] = {}
    for name, fits, nullable in _FIELDS[kind]:
        value = data.get(name)
        if value is None and not (nullable and name in data):
            if fields[name].required:
                raise ValueError(f"a {kind} entry needs the field {name}: {fields[name].meaning}")
            continue
        if not fits(value):
            raise ValueError(f"the field {name} of a {kind} entry must be {fields[name].form.told}")
        found[name] = list(value) if isinstance(value, tuple) else value
    return found
