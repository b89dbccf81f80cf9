"""Every verdict code provoked through `recon check`: one file whose rows are right but for what their case says, and one more policy.

Opt-outs are of 2026-11-02T18:00:00Z unless a case says otherwise, a right row's consent is of the 4th, 10:00, and the check is on the 5th, 18:00.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from recon.resubscribe.apply import apply
from recon.resubscribe.codes import BY_NAME, CODES
from recon.sandbox import sales_connect
from recon.sandbox.salesforce import records
from tests.resubscribe.cli import here, recon
from tests.resubscribe.rig import ADMIN, START, new_rig

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

LONG_AGO = datetime(2023, 11, 2, 18, tzinfo=UTC)
CHECKED_AT = datetime(2026, 11, 5, 18, tzinfo=UTC)
STRICT = f'\n[policy]\nadmins = ["{ADMIN}"]\n'
OTHER = f"""
[policy]
admins = ["{ADMIN}"]
approvers = ["Olga Officer"]
date_format = "DD/MM/YYYY"
marketo_engage = false
minimum_scope = "sales+marketing"
allowed_reasons = ["Asked us by phone"]
require_evidence = "reference_and_hash"
require_requester = true
unknown_opt_out_date = "accept"
consent_max_age_days = 90
approval_valid_days = 1
[policy.severities]
purpose_missing = "warn"
initiated_by_missing = "off"
not_opted_out = "reject"
already_applied = "reject"
[policy.countries.FR]
source = "Our counsel, 2026-03-01"
severities = {{ purpose_missing = "reject" }}
"""
RIGHT = {
    "consent_date": "2026-11-04T10:00:00Z",
    "approved_at": "2026-11-04T12:00:00Z",
    "scope": "sales+marketing",
}
#: What the other policy wants besides.
RIGHT_THERE = {"reason": "Asked us  by PHONE", "evidence_sha256": "ab" * 32, "approved_at": "05/11/2026"}
ENGAGE = "scope is 'sales', but clearing the standard field with Marketo Engage connected resubscribes for marketing mail too."
CORRECTION = {"kind": "correction", "authorization": "", "consent_date": "", "purpose": "", "initiated_by": ""}


@dataclass
class Case:
    """A row, and the verdict that it has to get.

    Attributes
    ----------
    email, values
        The row: right but for these values.
    codes
        Each code with why it applies; an empty text stands for the code's own meaning.
    verdict, said
        The verdict, and what its message says before the codes' sentences.
    remedy
        What is to be done, where that isn't the code's own remedy.
    """

    email: str
    codes: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    verdict: str = "rejected"
    said: str = ""
    warned: tuple[str, ...] = ()
    line: int = 0
    remedy: str = ""

    def message(self) -> str:
        sentences = [self.said] if self.said else []
        for code, why in self.codes.items():
            warning = "Only a warning: " if code in self.warned else ""
            sentences.append(f"{warning}{why or BY_NAME[code].meaning} {self.remedy or BY_NAME[code].remedy}")
        return " ".join(sentences)


def accepted(email: str, records_cleared: int = 2, **values: Any) -> Case:
    said = f"{records_cleared} record{'s' if records_cleared > 1 else ''} would be cleared."
    return Case(email, values=values, verdict="accepted", said=said)


class World:
    """The rig with everybody whom the cases need; a row was applied already."""

    def __init__(self, folder: Path) -> None:
        self.rig = rig = new_rig(folder, STRICT)
        store = rig.sandbox.store
        rig.clock.set(LONG_AGO)
        for name in ("too-old", "expired"):
            rig.pair(f"{name}@buyer.example")
        rig.clock.set(START)
        pairs = {name: rig.pair(f"{name}@buyer.example") for name in PAIRS}
        self.people = {name: f"sales_connect:{person}" for name, (person, _) in pairs.items()}
        self.contacts = {name: f"salesforce:{record}" for name, (_, record) in pairs.items()}
        rig.pair("calm@buyer.example", out=False)
        for name, options in ALONE.items():
            person = sales_connect.add_person(store, email=f"{name}@buyer.example")
            sales_connect.unsubscribe(store, person, **options)
        self.undated = records.insert_contact(
            store, LastName="U", Email="undated@buyer.example", HasOptedOutOfEmail=True
        )
        self.elsewhere = records.insert_contact(store, LastName="E", Email="at-home@buyer.example")
        linked = sales_connect.add_person(store, email="at-work@buyer.example", salesforce_id=self.elsewhere)
        sales_connect.unsubscribe(store, linked)
        against = records.insert_individual(store, LastName="I", HasOptedOutSolicit=True)
        self.blocked = rig.pair("blocked@buyer.example", IndividualId=against)[1]
        self._apply_two()
        rig.clock.set(CHECKED_AT)
        rig.pull()

    def _apply_two(self) -> None:
        """What was applied: of two rows, one of which the person has taken back since."""
        rig, store = self.rig, self.rig.sandbox.store
        rig.clock.set(datetime(2026, 11, 4, 18, tzinfo=UTC))
        rig.pull()
        for name in ("applied", "again"):
            rig.approve(f"{name}@buyer.example", **RIGHT)
        plan = rig.plan()
        done = apply(rig.folder, plan.path, actor=ADMIN, clock=rig.clock, environ=rig.sandbox.environment())
        assert done.counts == {"done": 4}
        rig.days(0.5)
        again = self.people["again"].removeprefix("sales_connect:")
        sales_connect.unsubscribe(store, again, source="clicked_link")
        rig.rows.clear()

    def file(self, cases: list[Case], right: dict[str, str], name: str) -> Path:
        """The approved file of some cases, each of which learns its line."""
        self.rig.rows.clear()
        line = 2
        for case in cases:
            self.rig.approve(case.email, **(right | case.values))
            case.line = line
            line += 1 + sum(value.count("\n") for value in case.values.values())
        return self.rig.approved(name)


#: Linked pairs, opted out by a click.
PAIRS = (
    *("ada", "mia", "twice", "differs", "reason", "clicked", "auth", "interest", "undecided", "slashes", "tomorrow"),
    *("at-once", "purpose", "evidence", "sha", "approver", "stranger", "self", "early", "late", "who", "asked"),
    *("scope", "narrow", "mixed", "applied", "again", "undone", "hostile", "bare"),
)
ALONE: dict[str, dict[str, Any]] = {
    "bounced": {"source": "bounce"},
    "one-user": {"level": "user", "user_name": "Rob Seller"},
    "mistake": {},
}


def strict_cases(world: World) -> list[Case]:
    """One case a code at least, under the policy as it comes, with nobody but the admin named."""
    people, contacts = world.people, world.contacts
    return [
        accepted("Ada@Buyer.Example", note="over\ntwo\nlines"),
        Case("", {"bad_email": "The e-mail cell is blank."}),
        Case("=HYPERLINK(1)", {"bad_email": "This can't be read as one address."}),
        Case("nobody@buyer.example", {"unknown_person": ""}),
        Case(
            "mia@buyer.example",
            {"identity_mismatch": "The person with this person_id has another address."},
            {"person_id": people["ada"].removeprefix("sales_connect:")},
        ),
        accepted("twice@buyer.example"),
        Case("TWICE@buyer.example", {"duplicate_row": "It repeats line 9."}),
        Case("differs@buyer.example", {"conflicting_rows": "The rows with this address are in lines 11, 12."}),
        Case(
            "differs@buyer.example",
            {"conflicting_rows": "The rows with this address are in lines 11, 12."},
            {"reason": "Another one"},
        ),
        Case("calm@buyer.example", {"not_opted_out": ""}, verdict="no_op"),
        Case("reason@buyer.example", {"reason_missing": ""}, {"reason": " "}),
        Case(
            "clicked@buyer.example",
            {
                "reason_not_allowed": f"The person clicked the unsubscribe link ({people['clicked']}): "
                "that is no wrongly recorded opt-out."
            },
            CORRECTION | {"note": "The wrong list was imported"},
            remedy="Get a consent that is newer, and have a row of the kind consent approved.",
        ),
        accepted("mistake@buyer.example", 1, **CORRECTION, note="The wrong list was imported"),
        Case("auth@buyer.example", {"authorization_missing": ""}, {"authorization": ""}),
        Case(
            "interest@buyer.example",
            {"authorization_not_allowed": "What counts here is: Consent."},
            {"authorization": "Legitimate Interest", "country": "US"},
        ),
        Case("undecided@buyer.example", {"consent_date_missing": ""}, {"consent_date": ""}),
        Case(
            "slashes@buyer.example",
            {"bad_date": "consent_date can't be read in one way only."},
            {"consent_date": "04/11/2026"},
        ),
        Case(
            "tomorrow@buyer.example",
            {"consent_in_future": "consent_date is 2026-11-05T20:00:00Z, and now it is 2026-11-05T18:00:00Z."},
            {"consent_date": "2026-11-05T21:00:00+01:00", "approved_at": "2026-11-05"},
        ),
        Case(
            "at-once@buyer.example",
            {
                "consent_before_opt_out": "The consent (2026-11-02T18:00:00Z) isn't provably newer than the newest opt-out "
                f"(2026-11-02T18:00:00Z, {contacts['at-once']})."
            },
            {"consent_date": "2026-11-02T18:00:00Z"},
        ),
        Case(
            "undated@buyer.example",
            {"opt_out_date_unknown": f"Opted out, and nobody knows since when: salesforce:{world.undated}."},
        ),
        Case(
            "too-old@buyer.example",
            {"consent_too_old": "The consent is of 2024-11-04; the limit is 730 days."},
            {"consent_date": "2024-11-04"},
        ),
        Case("purpose@buyer.example", {"purpose_missing": ""}, {"purpose": ""}),
        Case("evidence@buyer.example", {"evidence_missing": "evidence is blank."}, {"evidence": ""}),
        Case(
            "sha@buyer.example",
            {"evidence_missing": "evidence_sha256 is no SHA-256 (64 hexadecimal digits)."},
            {"evidence_sha256": "4711"},
        ),
        Case("approver@buyer.example", {"approver_missing": ""}, {"approved_by": ""}),
        Case(
            "stranger@buyer.example",
            {"approver_not_admin": "The approver isn't listed in the policy."},
            {"approved_by": "Olga Officer"},
        ),
        Case(
            "self@buyer.example",
            {"self_approved": "approved_by and requested_by are one person."},
            {"requested_by": ADMIN.upper()},
        ),
        Case(
            "early@buyer.example",
            {"approval_before_consent": "Approved 2026-11-04T09:00:00Z, before the consent of 2026-11-04T10:00:00Z."},
            {"approved_at": "2026-11-04T09:00:00Z"},
        ),
        Case(
            "expired@buyer.example",
            {"approval_expired": "The approval is of 2026-10-06 and counts for 30 days."},
            {"consent_date": "2026-10-01", "approved_at": "2026-10-06"},
        ),
        Case("who@buyer.example", {"initiated_by_missing": "initiated_by is blank."}, {"initiated_by": ""}),
        Case("asked@buyer.example", {"asked_by_sender": ""}, {"initiated_by": "sender"}),
        Case("bounced@buyer.example", {"bounced": ""}),
        Case(
            "scope@buyer.example",
            {"scope_missing": "scope is blank, and clearing the opt-out here reaches marketing mail too."},
            {"scope": ""},
        ),
        Case("narrow@buyer.example", {"scope_too_narrow": ENGAGE}, {"scope": "sales"}),
        Case(
            "at-work@buyer.example",
            {"linked_address_not_approved": f"Not approved: salesforce:{world.elsewhere}."},
        ),
        Case("one-user@buyer.example", {"user_level_only": ""}),
        Case(
            "blocked@buyer.example",
            {"blocked_by_consent_object": f"salesforce:{world.blocked}: Individual.HasOptedOutSolicit."},
        ),
        Case("applied@buyer.example", {"not_opted_out": "", "already_applied": ""}, verdict="no_op"),
        Case(
            "again@buyer.example",
            {
                "consent_before_opt_out": "The consent (2026-11-04T10:00:00Z) isn't provably newer than the newest opt-out "
                f"(2026-11-05T06:00:00Z, {contacts['again']}).",
                "already_applied": "",
            },
        ),
        Case(
            "bare@buyer.example",
            {
                "reason_missing": "",
                "authorization_missing": "",
                "consent_date_missing": "",
                "bad_date": "approved_at is blank.",
                "purpose_missing": "",
                "evidence_missing": "evidence is blank.",
                "approver_missing": "",
                "initiated_by_missing": "initiated_by is blank.",
                "scope_missing": "scope is blank, and clearing the opt-out here reaches marketing mail too.",
            },
            dict.fromkeys(
                ("reason", "authorization", "consent_date", "purpose", "evidence", "approved_by", "approved_at"), ""
            )
            | {"initiated_by": "", "scope": ""},
        ),
        accepted(
            "hostile@buyer.example", reason="=cmd|' /C calc'!A0", note="<script>alert(1)</script>", evidence='"; DROP--'
        ),
        Case(
            "late@buyer.example",
            {"bad_date": "approved_at (2026-11-06) lies in the future."},
            {"approved_at": "2026-11-06"},
        ),
        Case("mixed@buyer.example", {"asked_by_sender": "", "scope_too_narrow": ENGAGE}, {"initiated_by": "SENDER", "scope": "sales"}),
    ]  # fmt: skip


def other_cases(world: World) -> list[Case]:
    """What the other policy makes of rows."""
    warned = ("opt_out_date_unknown",)
    return [
        accepted("ada@buyer.example", consent_date="04/11/2026"),
        accepted("stranger@buyer.example", approved_by="Olga Officer"),
        accepted("who@buyer.example", initiated_by=""),
        Case(
            "reason@buyer.example",
            {"reason_not_allowed": "The policy's reasons are: Asked us by phone."},
            {"reason": "Asked us by fax"},
        ),
        Case("sha@buyer.example", {"evidence_missing": "evidence_sha256 is blank."}, {"evidence_sha256": ""}),
        Case(
            "self@buyer.example",
            {"self_approved": "requested_by is blank, so nobody can tell that it was somebody else."},
            {"requested_by": ""},
        ),
        Case(
            "late@buyer.example",
            {"approval_expired": "The approval is of 2026-11-04 and counts for 1 day."},
            {"approved_at": "04/11/2026"},
        ),
        Case(
            "too-old@buyer.example",
            {"consent_too_old": "The consent is of 2026-08-07; the limit is 90 days."},
            {"consent_date": "07/08/2026"},
        ),
        Case(
            "narrow@buyer.example",
            {"scope_too_narrow": "scope is 'sales', but the policy asks for sales+marketing (minimum_scope)."},
            {"scope": "sales"},
            remedy="Get a consent for sales+marketing.",
        ),
        Case("calm@buyer.example", {"not_opted_out": ""}),
        Case(
            "undated@buyer.example",
            {"opt_out_date_unknown": f"Opted out, and nobody knows since when: salesforce:{world.undated}."},
            verdict="accepted",
            said="1 record would be cleared.",
            warned=warned,
        ),
        Case(
            "purpose@buyer.example",
            {"purpose_missing": ""},
            {"purpose": ""},
            verdict="accepted",
            said="2 records would be cleared.",
            warned=("purpose_missing",),
        ),
        Case("mia@buyer.example", {"purpose_missing": ""}, {"purpose": "", "country": "FR"}),
        Case("asked@buyer.example", {"asked_by_sender": ""}, {"initiated_by": "sender"}),
        Case(
            "applied@buyer.example",
            {
                "not_opted_out": "",
                "reason_not_allowed": "The policy's reasons are: Asked us by phone.",
                "evidence_missing": "evidence_sha256 is blank.",
                "approval_expired": "The approval is of 2026-11-04T12:00:00Z and counts for 1 day.",
                "already_applied": "",
            },
            RIGHT | {"reason": "Asked to get mail again", "evidence_sha256": ""},
        ),
    ]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("codes"))
    yield made
    made.rig.sandbox.close()


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The verdicts that a check printed."""
    _, *told = done.stdout.splitlines()
    found = []
    for text in told:
        match = re.fullmatch(r"  line (\d+): (\w+)(?: \[(.+?)\])? (.*)", text)
        assert match, text
        row, verdict, codes, message = match.groups()
        found.append({"row": int(row), "verdict": verdict, "codes": codes, "message": message})
    return found


def wanted(cases: list[Case]) -> list[dict[str, Any]]:
    return [
        {"row": case.line, "verdict": case.verdict, "codes": ";".join(case.codes) or None, "message": case.message()}
        for case in cases
    ]


def tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_code_has_its_line(world: World) -> None:
    cases = strict_cases(world)
    world.file(cases, RIGHT, "approved.csv")
    before = tree(world.rig.folder)
    done = recon(world.rig, "check", "approved.csv")
    assert (done.returncode, done.stderr) == (3, "")
    assert lines(done) == wanted(cases)
    assert {code for case in cases for code in case.codes} == {code.name for code in CODES}
    counted = [sum(case.verdict == verdict for case in cases) for verdict in ("accepted", "rejected", "no_op")]
    said = "{} rows, {} accepted, {} rejected, {} with nothing to do".format(len(cases), *counted)
    assert done.stdout.splitlines()[0].endswith(said)
    assert "@" not in done.stdout
    assert tree(world.rig.folder) == before


def test_as_json_and_as_a_file(world: World) -> None:
    cases = strict_cases(world)
    world.file(cases, RIGHT, "approved.csv")
    done = recon(world.rig, "check", "approved.csv", "--json", "--out", "verdicts.csv")
    assert (done.returncode, done.stderr) == (3, "")
    told = json.loads(done.stdout)
    counts = {"rows": 43, "accepted": 4, "rejected": 37, "no_op": 2}
    assert {name: told[name] for name in counts} == counts
    assert (told["file"], told["notes"]) == ("approved.csv", [])
    assert [{name: row[name] for name in ("row", "verdict", "codes", "message")} for row in told["verdicts"]] == wanted(
        cases
    )
    assert [row["email"] for row in told["verdicts"]] == [case.email or None for case in cases]
    assert sum(row["records"] for row in told["verdicts"]) == 7
    with (world.rig.folder / "verdicts.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row, of_json in zip(rows, told["verdicts"], strict=True):
        # What a spreadsheet could take for a formula is neutralised for people, and exact for machines.
        email = of_json["email"] or ""
        exact = of_json | {"email": f"'{email}" if email.startswith("=") else email, "codes": of_json["codes"] or ""}
        assert row == {name: str(value) for name, value in exact.items()}
    assert (world.rig.folder / "verdicts.csv").stat().st_mode & 0o077 == 0


@pytest.fixture(scope="module")
def other(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the same snapshots and ledger, and another policy."""
    folder = tmp_path_factory.mktemp("other") / "workspace"
    shutil.copytree(world.rig.folder, folder)
    toml = folder / "recon.toml"
    toml.write_text(toml.read_text("utf-8").replace(STRICT, OTHER), "utf-8")
    return folder


def test_another_policy_gives_other_verdicts(world: World, other: Path) -> None:
    cases = other_cases(world)
    shutil.copy(world.file(cases, RIGHT | RIGHT_THERE, "other.csv"), other)
    done = here(world.rig, "check", "other.csv", folder=other)
    assert (done.returncode, done.stderr) == (3, "")
    assert lines(done) == wanted(cases)


def test_nothing_rejected_is_0(world: World) -> None:
    cases = [accepted("ada@buyer.example"), Case("calm@buyer.example", {"not_opted_out": ""}, verdict="no_op")]
    world.file(cases, RIGHT, "calm.csv")
    done = here(world.rig, "check", "calm.csv")
    assert (done.returncode, lines(done)) == (0, wanted(cases))
    quiet = here(world.rig, "--quiet", "check", "calm.csv")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


HEADER = "email,reason,authorization,consent_date,purpose,evidence,initiated_by,approved_by,approved_at,kind,country"
REFUSED: dict[str, tuple[str | bytes, list[str]]] = {
    "header.csv": (
        "email,reason,authorization,consent date,purpose,initiated_by,approved_by,approved_at,knd\n",
        [
            "header.csv, line 1, column 'evidence': there is no column 'evidence'.",
            "header.csv, line 1, column 'knd': the header 'knd' looks like the column 'kind'",
        ],
    ),
    "cells.csv": (
        f'{HEADER}\nann@buyer.example,"two\nlines",,,,,,,,consent,DE\nbob@buyer.example,,,,,,,,,maybe,\ncy@buyer.example,,,,,,,,,,Narnia\n',
        [
            "cells.csv, line 4, column 'kind': ",
            "cells.csv, line 5, column 'country': this is no country code",
        ],
    ),
    "blank.csv": (f"{HEADER}\n,,,,,,,,,,\n", ["blank.csv: the file has a header but all of its rows are blank."]),
    "empty.csv": ("", ["empty.csv: the file is empty"]),
    "latin.csv": (b"email,reason\n\xff\xfe\xe9,x\n", ["latin.csv"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_read_surely_is_refused(world: World, name: str) -> None:
    content, said = REFUSED[name]
    (world.rig.folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    done = here(world.rig, "check", name, "--out", "refused.csv")
    assert (done.returncode, done.stdout) == (2, "")
    for text in said:
        assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert "@" not in done.stderr
    assert not (world.rig.folder / "refused.csv").exists()


def test_what_is_not_there_is_told(world: World) -> None:
    missing = here(world.rig, "check", "nowhere.csv")
    assert (missing.returncode, missing.stderr) == (2, "recon: nowhere.csv: there is no such file. Check the path.\n")
    world.file([accepted("ada@buyer.example")], RIGHT, "fine.csv")
    nowhere = here(world.rig, "check", "fine.csv", "--out", "no/such/verdicts.csv")
    assert (nowhere.returncode, nowhere.stdout) == (2, "")
    assert "there is no folder no/such" in nowhere.stderr
    snapshot = here(world.rig, "check", "fine.csv", "--snapshot", "20200101T000000Z-00000000")
    assert snapshot.returncode == 2
    assert "20200101T000000Z-00000000" in snapshot.stderr


def test_the_policy_is_printed_with_its_sources(world: World, other: Path) -> None:
    strict = here(world.rig, "policy")
    assert (strict.returncode, strict.stderr) == (0, "")
    for code in CODES:
        fixed = ", fixed" if len(code.allowed) == 1 else ""
        assert f"\n  {code.name}: {code.severity}{fixed}\n" in strict.stdout
        assert code.source in strict.stdout
    assert f"  admins = {ADMIN}\n" in strict.stdout
    for country in ("AU", "CA", "DE", "GB", "US"):
        assert f"\n{country}: " in strict.stdout
    changed = here(world.rig, "policy", folder=other).stdout
    for text in (
        "* purpose_missing: warn\n",
        "* initiated_by_missing: off\n",
        "* opt_out_date_unknown: warn\n",
        "* not_opted_out: reject\n",
        "\nFR: Our counsel, 2026-03-01\n  purpose_missing: reject\n",
        "  allowed_reasons = Asked us by phone\n",
        "  marketo_engage = false\n",
    ):
        assert text in changed
    loosened = other / "recon.toml"
    loosened.write_text(loosened.read_text("utf-8").replace("purpose_missing = ", "asked_by_sender = ", 1), "utf-8")
    refused = here(world.rig, "policy", folder=other)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "asked_by_sender can't be 'warn'; it may be: reject" in refused.stderr
