"""Person accounts, end to end on the sandbox over HTTP: read as Contacts, written through the Account."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
import requests

from recon import jobs, settings, snapshot
from recon.errors import UsageError
from recon.resubscribe.apply import apply
from recon.resubscribe.plan_file import read_plan, write_plan
from recon.resubscribe.show import plan_lines
from recon.resubscribe.undo import undo
from recon.resubscribe.verify import verify
from recon.sandbox import sales_connect
from recon.sandbox.salesforce import records
from tests.resubscribe.rig import ADMIN, Rig, new_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from recon.resubscribe.jobs import PlanResult
    from recon.resubscribe.outcomes import Applied

STANDARD, CUSTOM = "HasOptedOutOfEmail", "Marketo_Sales_Opt_Out__c"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = new_rig(tmp_path)
    yield made
    made.sandbox.close()


def configure(rig: Rig, **values: object) -> None:
    """Other settings of Salesforce."""
    file = rig.folder / "recon.toml"
    kept = [line for line in file.read_text("utf-8").splitlines() if line.partition(" = ")[0] not in values]
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
    file.write_text("\n".join([*kept, ""]).replace("[salesforce]\n", f"[salesforce]\n{lines}"), "utf-8")


def pair(rig: Rig, email: str = "ada@buyer.example") -> tuple[str, str, str]:
    """A person and a person account, opted out by a click: person, Contact, Account."""
    store = rig.sandbox.store
    contact = records.insert_person_account(store, FirstName="Ada", LastName="Lovelace", Email=email)
    person = sales_connect.add_person(store, email=email, salesforce_id=contact)
    sales_connect.unsubscribe(store, person, source="clicked_link")
    return person, contact, str(records.read_record(store, "Contact", contact)["AccountId"])


def planned(rig: Rig, *emails: str) -> PlanResult:
    rig.days(1)
    rig.pull()
    for email in emails or ("ada@buyer.example",):
        rig.approve(email)
    return rig.plan(run_id="first")


def carry_out(rig: Rig, path: Path) -> Applied:
    environ = rig.sandbox.environment()
    return apply(rig.folder, path, actor=ADMIN, clock=rig.clock, environ=environ, sleep=lambda _: None)


def said(done: Applied) -> list[tuple[str, str | None]]:
    return [(each.outcome, each.code) for each in done.outcomes]


def flags(rig: Rig, contact: str) -> tuple[bool, bool]:
    row = records.read_record(rig.sandbox.store, "Contact", contact)
    return bool(row[STANDARD]), bool(row[CUSTOM])


def history(rig: Rig) -> list[tuple[str, str, str]]:
    with rig.sandbox.store.transaction() as db:
        rows = db.execute("SELECT Object, Field, NewValue FROM history ORDER BY CreatedDate, Id")
        return [(row["Object"], row["Field"], row["NewValue"]) for row in rows]


def asked(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the sandbox's Salesforce is asked from now on."""
    seen: list[str] = []
    real = requests.Session.send

    def send(self: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        seen.append(f"{request.method} {request.url}")
        return real(self, request, **options)

    monkeypatch.setattr(requests.Session, "send", send)
    return seen


def test_the_whole_way_of_a_person_account(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    person, contact, account = pair(rig)
    assert history(rig) == [("Account", "PersonHasOptedOutOfEmail", "true")]
    first = planned(rig)
    loaded = settings.load(rig.folder)
    (row,) = pq.read_table(snapshot.newest(loaded.run.snapshots).records).to_pylist()
    assert (row["record_id"], row["object"], row["account_id"]) == (contact, "Contact", account)
    assert row["opted_out_at"] is not None, "the Account's history tells it"
    step = first.plan.steps[0]
    assert (step.key, step.object, step.account) == (f"salesforce:{contact}", "Contact", account)
    assert (step.fields, step.before, step.after) == (("PersonHasOptedOutOfEmail",), (True,), (False,))
    text = "\n".join(plan_lines(first.plan))
    assert f"Contact {contact} (person account {account}): PersonHasOptedOutOfEmail true -> false" in text
    assert read_plan(first.path) == first.plan
    seen = asked(rig, monkeypatch)
    assert carry_out(rig, first.path).complete
    (patch,) = [each for each in seen if each.startswith("PATCH")]
    assert patch.endswith(f"/sobjects/Account/{account}")
    assert flags(rig, contact) == (False, False)
    assert not rig.flag(f"sales_connect:{person}")
    rig.night()
    rig.pull()
    verified = verify(rig.folder, run_id="first", clock=rig.clock, environ=rig.sandbox.environment())
    assert verified.counts == {"stuck": 2}
    back = undo(rig.folder, "first", clock=rig.clock, environ={})
    assert [(each.account, each.fields) for each in back.plan.steps if each.system == "salesforce"] == [
        (account, ("PersonHasOptedOutOfEmail",))
    ]
    assert carry_out(rig, back.path).complete
    assert flags(rig, contact) == (True, False)


def test_a_tick_in_salesforce_after_the_night_is_named_by_the_accounts_history(rig: Rig) -> None:
    _, contact, _ = pair(rig)
    assert carry_out(rig, planned(rig).path).complete
    rig.days(0.1)
    records.update_record(rig.sandbox.store, "Contact", contact, {STANDARD: True})
    rig.night()
    rig.pull()
    verified = verify(rig.folder, run_id="first", clock=rig.clock, environ=rig.sandbox.environment())
    assert verified.counts == {"reverted": 2}
    assert all(row.changed_at is not None for row in verified.rows)


def test_both_fields_and_by_a_job_of_their_own(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.sandbox.store.configure(opt_out_field="both")
    configure(rig, opt_out_field="both", bulk_updates_above=0)
    _, contact, account = pair(rig)
    _, ordinary = rig.pair("bob@buyer.example")
    assert flags(rig, contact) == (True, True)
    first = planned(rig, "ada@buyer.example", "bob@buyer.example")
    seen = asked(rig, monkeypatch)
    assert carry_out(rig, first.path).complete
    assert sum(each.startswith("POST") and each.endswith("/jobs/ingest") for each in seen) == 2
    assert not any("/sobjects/Account/0" in each or "/sobjects/Contact/0" in each for each in seen)
    assert (flags(rig, contact), flags(rig, ordinary)) == ((False, False), (False, False))
    assert ("Account", "Marketo_Sales_Opt_Out__pc", "false") in history(rig)
    assert {step.written for step in first.plan.steps if step.system == "salesforce"} == {
        ("Account", account),
        ("Contact", ordinary),
    }


def test_an_opt_out_that_is_newer_wins(rig: Rig) -> None:
    person, contact, _ = pair(rig)
    first = planned(rig)
    rig.days(0.01)
    store = rig.sandbox.store
    for value in (False, True):
        records.update_record(store, "Contact", contact, {STANDARD: value})
    assert said(carry_out(rig, first.path)) == [("stale", "newer_opt_out"), ("stale", "person_stale")]
    assert rig.flag(f"sales_connect:{person}")


def test_the_contact_itself_refuses_and_a_plan_that_does_not_know_says_so(rig: Rig) -> None:
    person, contact, _ = pair(rig)
    first = planned(rig)
    # As a plan from an extract would have it, which doesn't tell person accounts.
    steps = tuple(
        replace(step, account=None, fields=(STANDARD,)) if step.account else step for step in first.plan.steps
    )
    write_plan(first.plan.model_copy(update={"steps": steps}).sealed(), first.path)
    assert said(carry_out(rig, first.path)) == [("stale", "person_account"), ("stale", "person_stale")]
    assert flags(rig, contact) == (True, False)
    assert rig.flag(f"sales_connect:{person}")


@pytest.mark.parametrize(
    ("rule", "told"), [("read_only", "may not write Account.Person"), ("hidden", "can't see it there")]
)
def test_what_the_user_may_not_write_on_the_account_is_refused_before(rig: Rig, rule: str, told: str) -> None:
    _, contact, _ = pair(rig)
    first = planned(rig)
    rig.sandbox.store.configure(fls=json.dumps({"Account.PersonHasOptedOutOfEmail": rule}))
    with pytest.raises(UsageError, match=told):
        carry_out(rig, first.path)
    assert flags(rig, contact) == (True, False)


def test_the_opt_outs_of_the_diff_go_through_the_account(rig: Rig) -> None:
    store = rig.sandbox.store
    contact = records.insert_person_account(store, LastName="Lovelace", Email="ada@buyer.example")
    person = sales_connect.add_person(store, email="ada@buyer.example")
    sales_connect.unsubscribe(store, person)
    rig.days(1)
    rig.pull()
    rig.approve("nobody@buyer.example")
    made = rig.plan(with_opt_outs=True, run_id="seen")
    (step,) = made.plan.steps
    assert (step.direction, step.written[0], step.fields) == ("set", "Account", ("PersonHasOptedOutOfEmail",))
    assert carry_out(rig, made.path).complete
    assert flags(rig, contact) == (True, False)
    # What the user who pulled could not see can't be planned.
    records.update_record(store, "Contact", contact, {STANDARD: False})
    store.configure(fls=json.dumps({"Account.PersonHasOptedOutOfEmail": "hidden"}))
    rig.days(1)
    rig.pull()
    with pytest.raises(UsageError, match="written through its Account"):
        rig.plan(with_opt_outs=True, run_id="hidden")


def test_an_org_without_person_accounts_is_asked_nothing_about_them(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.pair("ada@buyer.example")
    seen = asked(rig, monkeypatch)
    first = planned(rig)
    assert carry_out(rig, first.path).complete
    assert len(seen) > 10
    # AccountId is Contact's own field.
    text = "\n".join(seen).replace("AccountId", "")
    assert "Account" not in text
    assert "account" not in json.loads(first.path.read_text("utf-8"))["steps"][0]
    manifest = json.loads(
        (snapshot.newest(settings.load(rig.folder).run.snapshots).folder / "manifest.json").read_text("utf-8")
    )
    assert not any(name.startswith("person_account") for each in manifest["inputs"] for name in each["details"])


def test_a_population_has_some_and_no_category_changes_by_that(rig: Rig) -> None:
    made = rig.sandbox.populate(people=200)
    rig.pull()
    result = jobs.reconcile(rig.folder, clock=rig.clock)
    found = result.actions()
    by_uid = {f"{row['system']}:{row['id']}": row["category"] for row in found.to_dict("records")}
    for category in ("lost_on_conversion", "unlinked_match", "duplicate_disagrees"):
        assert {by_uid[uid] for uid in made.cases[category]} == {category}
    table = pq.read_table(snapshot.newest(settings.load(rig.folder).run.snapshots).records)
    people = [row for row in table.to_pylist() if row["account_id"] is not None]
    assert len(people) == 4
    assert sum(row["opted_out"] for row in people) == 2
