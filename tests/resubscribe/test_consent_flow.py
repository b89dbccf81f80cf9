"""Check and plan hold the file against Salesforce's own consent objects, where Salesforce is read by API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from recon.errors import SettingsError, SourceError
from recon.resubscribe import jobs as flow
from recon.sandbox.salesforce import records
from tests.resubscribe.rig import Rig, new_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = new_rig(tmp_path)
    yield made
    made.sandbox.close()


def test_an_individual_that_says_no_keeps_a_row_out_of_the_plan(rig: Rig) -> None:
    store = rig.sandbox.store
    against = records.insert_individual(store, LastName="L", HasOptedOutSolicit=True)
    party = records.insert_individual(store, LastName="L")
    records.insert_consent(store, Name="C", PartyId=party, ContactPointType="Email", PrivacyConsentStatus="OptOut")
    rig.pair("ada@example.com", IndividualId=against)
    rig.pair("bob@example.com", sobject="Lead", IndividualId=party)
    _, fine = rig.pair("cyd@example.com")
    rig.days(3)
    rig.pull()
    for name in ("ada", "bob", "cyd"):
        rig.approve(f"{name}@example.com")
    result = rig.plan()
    rows = result.check.checked.verdicts.to_pylist()
    assert [(row["verdict"], row["codes"]) for row in rows] == [
        ("rejected", "blocked_by_consent_object"),
        ("rejected", "blocked_by_consent_object"),
        ("accepted", None),
    ]
    assert "Individual.HasOptedOutSolicit" in rows[0]["message"]
    assert "ContactPointTypeConsent Email OptOut" in rows[1]["message"]
    assert {step.id for step in result.plan.steps if step.system == "salesforce"} == {fine}


def test_salesforce_that_can_not_be_asked_is_an_error(rig: Rig) -> None:
    rig.pair("ada@example.com")
    rig.days(3)
    rig.pull()
    rig.approve("ada@example.com")
    file = rig.approved()
    with pytest.raises(SettingsError, match="RECON_SF_CONSUMER_KEY"):
        flow.check(rig.folder, file, clock=rig.clock, environ={})
    wrong = rig.sandbox.environment() | {"RECON_SF_CONSUMER_SECRET": "another"}
    with pytest.raises(SourceError, match="login"):
        flow.plan(rig.folder, file, clock=rig.clock, environ=wrong)
    assert not list(rig.folder.glob("reports/*/plan.json"))


def test_without_an_api_it_is_said_that_nothing_was_asked(rig: Rig) -> None:
    rig.pair("ada@example.com")
    rig.days(3)
    rig.pull()
    rig.approve("ada@example.com")
    toml = rig.folder / "recon.toml"
    lines = toml.read_text("utf-8").splitlines()
    toml.write_text("\n".join(line for line in lines if not line.startswith("instance_url")) + "\n", "utf-8")
    result = flow.check(rig.folder, rig.approved(), clock=rig.clock, environ={})
    assert result.checked.verdicts.column("verdict").to_pylist() == ["accepted"]
    assert result.lines()[-1] == "  note: Salesforce isn't read by API: its consent objects were not looked at."


def test_nobody_known_is_asked_about(rig: Rig) -> None:
    """No record of the file's addresses is there: not even a login is made."""
    rig.pair("ada@example.com")
    rig.days(3)
    rig.pull()
    rig.approve("nobody@example.com")
    result = flow.check(rig.folder, rig.approved(), clock=rig.clock, environ={})
    assert result.checked.verdicts.column("codes").to_pylist() == ["unknown_person"]
