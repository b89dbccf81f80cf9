"""A run of which every text that comes from outside is hostile: both systems' fields, and every cell of the approved file."""

from __future__ import annotations

import csv
import json
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from recon import jobs
from recon.errors import InputRefused
from recon.resubscribe.apply import apply
from recon.resubscribe.jobs import Resubscribed
from recon.resubscribe.jobs import plan as make_plan
from recon.resubscribe.verify import verify
from recon.sandbox import sales_connect
from recon.sandbox.salesforce import records
from recon.tables import APPROVED
from tests.report.run_folder import BRACES, FORMULA, LONG, MARKS, QUOTES, SCRIPT, URL
from tests.resubscribe.rig import ADMIN, POLICY, Rig, new_rig

if TYPE_CHECKING:
    from pathlib import Path

#: Each would tell the browser's tests that it ran.
RUNS = (
    "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>",
    "</style></script><svg onload=window.hacked=1>{{ window.hacked=1 }}{% raw %}",
    "]]><!--<iframe srcdoc='<script>top.hacked=1</script>'>",
)
NUL = "nul\0byte"
TEXTS = (*RUNS, FORMULA, QUOTES + URL + BRACES, MARKS + "\u202eevil\u2066", LONG, NUL, "\t=1")
#: What a Salesforce name holds at most.
_NAME = 80
#: Columns of the approved file in which nothing but a few words may stand: another one refuses the file.
REFUSING = ("kind", "country")
#: The name of the approved file; no file's name holds a slash.
FILE = "<img src=x onerror=window.hacked=1>{{7}}.csv"


@dataclass
class HostileRun:
    """The run, and the workspace it is in."""

    rig: Rig
    folder: Path
    done: Resubscribed
    emails: list[str] = field(default_factory=list)

    @property
    def html(self) -> str:
        return (self.folder / "compliance.html").read_text(encoding="utf-8")


def hostile_run(folder: Path) -> HostileRun:
    """Pull, plan, apply, a night with a careless edit, verify, report. Close its sandbox afterwards."""
    # Few rows, so that a browser has done with the page soon; enough for each kind of text.
    told = f"rows = 40\ntitle = {json.dumps(RUNS[1])}\norganisation = {json.dumps(RUNS[0])}"
    rig = new_rig(folder, f"{POLICY}\n[report]\n{told}\n")
    store, environ = rig.sandbox.store, rig.sandbox.environment()
    emails, edited = [], ""
    for number, text in enumerate(TEXTS):
        email = f"victim{number}@hostile.example"
        party = records.insert_individual(store, LastName=text[:_NAME], FirstName=text[:40])
        records.insert_consent(
            store,
            Name=text,
            PartyId=party,
            ContactPointType="Email",
            # One of them says no.
            PrivacyConsentStatus="OptOut" if text == FORMULA else "OptIn",
            CaptureSource=text,
        )
        record = records.insert_contact(
            store, LastName=text[:_NAME], FirstName=text[:40], Email=email, IndividualId=party
        )
        person = sales_connect.add_person(
            store,
            email=email,
            salesforce_id=record,
            first_name=text,
            last_name=text,
            company=text,
            title=text,
            phone=text,
        )
        sales_connect.unsubscribe(store, person, source="clicked_link")
        edited = edited or record
        emails.append(email)
        # Not opted out, hostile in its id, its address and its link: kept, and told as unusable.
        sales_connect.add_person(
            store, person_id=f"{number}{text}", email=f"{text}@x.example", salesforce_id=text, first_name=text
        )
        # Opted out on one side only, the same address on the other: an action each.
        twin = f"twin{number}@hostile.example"
        records.insert_lead(store, LastName=text[:_NAME], FirstName=text[:40], Company=text[:_NAME], Email=twin)
        other = sales_connect.add_person(store, person_id=f"twin{number} {text}", email=twin, last_name=text)
        sales_connect.unsubscribe(store, other, source="manual")
        # One sales user's unsubscribe, the user's name hostile; and one that an admin took back with a hostile reason.
        third = sales_connect.add_person(store, email=f"user{number}@hostile.example")
        sales_connect.unsubscribe(store, third, level="user", user_name=text)
        fourth = sales_connect.add_person(store, email=f"back{number}@hostile.example")
        sales_connect.unsubscribe(store, fourth)
        sales_connect.remove_unsubscribe(store, fourth, text, text)
        # Salesforce's addresses, and a person account.
        records.insert_lead(store, LastName="Alone", Company=text[:_NAME], Email=f"{text}@y.example")
        records.insert_person_account(store, LastName=text[:_NAME], FirstName=text[:40], Email=f"{text}@z.example")
    rig.days(3)
    for number, text in enumerate(TEXTS):
        if "\0" in text:
            continue  # a file with it is refused, see the tests
        words = dict.fromkeys(("reason", "purpose", "evidence", "note", "notice", "requested_by"), text)
        rig.approve(emails[number], **words)
        rig.approve(text, **words | {"scope": text, "kind": "correction", "approved_by": text})
    for number, column in enumerate(name for name in APPROVED.names if name not in REFUSING):
        rig.approve(**{"email": f"column{number}@hostile.example", column: RUNS[number % len(RUNS)]})
    rig.pull()
    made = make_plan(rig.folder, rig.approved(FILE), created_by=SCRIPT, clock=rig.clock, environ=environ)
    applied = apply(rig.folder, made.path, actor=f"{ADMIN} {RUNS[0]}", clock=rig.clock, environ=environ)
    rig.clock.advance(timedelta(hours=1))
    records.update_record(store, "Contact", edited, {"HasOptedOutOfEmail": True})
    rig.night()
    with suppress(InputRefused):
        verify(rig.folder, clock=rig.clock, environ=environ)
    jobs.report(rig.folder, run_id=made.plan.run_id, clock=rig.clock)
    return HostileRun(rig, made.folder, Resubscribed(made, applied), emails)


def without_controls(text: str) -> str:
    """What an id may hold: a control character in one is refused."""
    return "".join(char for char in text if ord(char) >= 32)


def write_extracts(folder: Path) -> dict[str, Path]:
    """The same as extract files: hostile in every column of people, Leads and Contacts, headers that nobody knows included."""
    people, contacts = folder / "people.csv", folder / "contacts.csv"
    with people.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            [
                "person_id",
                "email",
                "salesforce_id",
                "unsubscribed",
                "first_name",
                "last_name",
                "title",
                RUNS[0],
                FORMULA,
            ]
        )
        for number, text in enumerate(TEXTS):
            if "\0" not in text:
                own = without_controls(text)
                writer.writerow([f"{own}{number}", f"victim{number}@hostile.example", own, "true", *[text] * 5])
    with contacts.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["Id", "Email", "HasOptedOutOfEmail", "FirstName", "LastName", "Title", RUNS[1]])
        for number, text in enumerate(TEXTS):
            if "\0" not in text:
                writer.writerow([f"003000000{number:06}", f"victim{number}@hostile.example", "false", *[text] * 4])
    return {"people": people, "contacts": contacts}


def write_approved(folder: Path, text: str) -> Path:
    """An approved file of one row with a text in every cell."""
    path = folder / "hostile.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(APPROVED.names)
        writer.writerow([text] * len(APPROVED.names))
    return path
