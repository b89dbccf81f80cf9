"""Verify, end to end: checked, planned and applied on the sandbox over HTTP, then a night with everything that can happen."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from recon import jobs, settings
from recon.errors import InputRefused, SettingsError, SourceError, UsageError
from recon.evidence import open_ledger
from recon.ledger import Ledger, kinds
from recon.ledger import verify as verify_ledger
from recon.resubscribe.apply import apply
from recon.resubscribe.plan_file import read_plan
from recon.resubscribe.steps_evidence import StepsEvidence, Task
from recon.resubscribe.verify import Verified, verify
from recon.sandbox import sales_connect
from recon.sandbox.salesforce import records
from tests.resubscribe.apply_world import ApplyWorld, Fault, Workspace
from tests.resubscribe.rig import ADMIN, Rig, new_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLAG = "HasOptedOutOfEmail"


def carry_out(rig: Rig) -> Path:
    """Pull, plan and apply what was approved."""
    rig.pull()
    planned = rig.plan()
    done = apply(rig.folder, planned.path, actor=ADMIN, clock=rig.clock, environ=rig.sandbox.environment())
    assert done.complete, done.lines()
    return planned.folder


def look(rig: Rig, **options: Any) -> Verified:
    return verify(rig.folder, clock=rig.clock, environ=rig.sandbox.environment(), **options)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = new_rig(tmp_path)
    yield made
    made.sandbox.close()


@dataclass
class Night:
    """One person a story, and what verify said in the morning after."""

    rig: Rig
    folder: Path
    verified: Verified
    early: Verified
    pairs: dict[str, tuple[str, str]]
    other: str

    def told(self, name: str) -> dict[str, tuple[str, str | None, str | None]]:
        """State, cause and link of a story's person and record."""
        person, record = self.pairs[name]
        rows = {row.key: row for row in self.verified.rows}
        keys = {"person": f"sales_connect:{person}", "record": f"salesforce:{record}"}
        return {
            which: (rows[key].state, rows[key].caused_by, rows[key].through)
            for which, key in keys.items()
            if key in rows
        }

    def message(self, name: str, which: int) -> str:
        system = ("sales_connect", "salesforce")[which]
        key = f"{system}:{self.pairs[name][which]}"
        return next(row.message for row in self.verified.rows if row.key == key)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    rig = new_rig(tmp_path_factory.mktemp("night"))
    store = rig.sandbox.store
    names = ("calm", "click", "edit", "sibling", "relink", "bounce", "deleted", "converted", "cleared")
    pairs = {
        name: rig.pair(f"{name}@example.com", sobject="Lead" if name == "converted" else "Contact") for name in names
    }
    # Somebody else with an opted-out record of his own, whom nobody resubscribes.
    other, other_record = rig.pair("other@example.com")
    rig.days(3)
    for name in names:
        rig.approve(f"{name}@example.com")
    folder = carry_out(rig)
    early = look(rig)
    rig.clock.advance(timedelta(hours=1))
    sales_connect.unsubscribe(store, pairs["click"][0], source="clicked_link")
    records.update_record(store, "Contact", pairs["edit"][1], {FLAG: True})
    # People whose link was changed after the snapshot: only the next pull shows it.
    sales_connect.link_person(store, other, pairs["sibling"][1])
    sales_connect.link_person(store, pairs["relink"][0], other_record)
    sales_connect.unsubscribe(store, pairs["bounce"][0], source="bounce")
    records.delete_record(store, "Contact", pairs["deleted"][1])
    records.convert_lead(store, pairs["converted"][1])
    rig.clock.advance(timedelta(hours=1))
    rig.pull()
    rig.night()
    # What undid it was mended in Salesforce alone, after the night.
    sales_connect.unsubscribe(store, pairs["cleared"][0], source="salesforce_sync")
    records.update_record(store, "Contact", pairs["cleared"][1], {FLAG: False})
    yield Night(rig, folder, look(rig), early, pairs, other)
    rig.sandbox.close()


class TestOneNight:
    def test_before_the_run_it_is_too_early_and_says_so(self, night: Night) -> None:
        assert night.early.counts == {"too_early": 18}
        assert night.early.exit_code == 0
        assert "the nightly run is over at 2026-11-06T06:00:00Z: verify then" in night.early.rows[0].message

    def test_what_nobody_touched_stuck(self, night: Night) -> None:
        assert night.told("calm") == {"person": ("stuck", None, None), "record": ("stuck", None, None)}

    def test_who_clicked_again_has_unsubscribed_anew(self, night: Night) -> None:
        person, _ = night.pairs["click"]
        cause = f"sales_connect:{person}"
        assert night.told("click") == {
            "person": ("unsubscribed_anew", cause, None),
            "record": ("unsubscribed_anew", cause, "id"),
        }

    def test_a_one_sided_edit_is_named(self, night: Night) -> None:
        cause = f"salesforce:{night.pairs['edit'][1]}"
        assert night.told("edit") == {"person": ("reverted", cause, "id"), "record": ("reverted", cause, None)}
        assert f"by the user {records.ADMIN} at 2026-11-05T19:00:00Z" in night.message("edit", 1)
        assert cause in night.message("edit", 0)

    def test_a_person_who_was_linked_to_the_record_meanwhile_is_named(self, night: Night) -> None:
        cause = f"sales_connect:{night.other}"
        assert night.told("sibling") == {"person": ("reverted", cause, "id"), "record": ("reverted", cause, "id")}

    def test_a_link_to_another_record_carries_that_one_s_opt_out(self, night: Night) -> None:
        told = night.told("relink")
        assert told["record"] == ("stuck", None, None)
        state, cause, through = told["person"]
        assert (state, through) == ("reverted", "id")
        assert cause is not None
        assert cause.startswith("salesforce:003")
        assert cause not in {f"salesforce:{record}" for _, record in night.pairs.values()}

    def test_a_bounce_is_told_as_one(self, night: Night) -> None:
        cause = f"sales_connect:{night.pairs['bounce'][0]}"
        assert night.told("bounce") == {"person": ("reverted", cause, None), "record": ("reverted", cause, "id")}
        assert "bounced" in night.message("bounce", 0)

    def test_what_is_gone(self, night: Night) -> None:
        assert night.told("deleted") == {"person": ("stuck", None, None), "record": ("gone", None, None)}
        assert night.told("converted") == {"person": ("stuck", None, None), "record": ("gone", None, None)}
        assert "was converted into the Contact 003" in night.message("converted", 1)

    def test_a_cause_that_was_mended_since_is_not_guessed(self, night: Night) -> None:
        assert night.told("cleared") == {"person": ("reverted", None, None), "record": ("stuck", None, None)}

    def test_the_counts_and_the_exit_code(self, night: Night) -> None:
        assert night.verified.exit_code == 3
        assert night.verified.counts == {"gone": 2, "reverted": 8, "stuck": 6, "unsubscribed_anew": 2}
        text = "\n".join(night.verified.lines())
        assert "18 records cleared: 2 gone, 8 reverted, 6 stuck, 2 unsubscribed anew" in text
        assert "example.com" not in text

    def test_the_files(self, night: Night) -> None:
        with (night.folder / "verification.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        said = json.loads((night.folder / "verification.json").read_text("utf-8"))
        assert list(rows[0]) == ["step", "row", "record", "state", "caused_by", "through", "changed_at", "message"]
        assert [row["state"] for row in rows] == [row.state for row in night.verified.rows]
        assert [row["state"] for row in said["rows"]] == [row.state for row in night.verified.rows]
        assert (said["run_id"], said["plan"]) == (night.verified.run_id, night.verified.plan)
        assert said["counts"] == night.verified.counts
        assert "example.com" not in json.dumps([rows, said])
        assert (night.folder / "verification.csv").stat().st_mode & 0o077 == 0

    def test_the_ledger_holds_an_entry_for_all_that_is_known(self, night: Night) -> None:
        folder = settings.load(night.rig.folder).run.ledger
        with Ledger.open(folder, clock=night.rig.clock) as ledger:
            entries = list(ledger.entries(kinds.VERIFICATION))
            names = ledger.names
            record = night.pairs["edit"][1]
            edited = [each for each in entries if each.data["record"] == names.record("salesforce", record)]
            intents = {each.data["record"]: each for each in ledger.entries(kinds.INTENT)}
            runs = [each.data["job"] for each in ledger.entries(kinds.RUN)]
            assert [each.data["result"] for each in edited] == ["reverted"]
            assert edited[0].data["caused_by"] == names.record("salesforce", record)
        assert len(entries) == 18
        assert runs == ["plan", "apply", "verify", "verify"]
        assert edited[0].data["changed_at"] == "2026-11-05T19:00:00Z"
        assert edited[0].data["sync_run_at"] == "2026-11-06T04:00:00Z"
        assert edited[0].data["value"] is True
        assert edited[0].data["subject"] == intents[edited[0].data["record"]].data["subject"]
        assert verify_ledger(folder, [folder / "checkpoints.jsonl"]).exit_code == 0

    def test_nothing_was_written_to_either_system(self, night: Night) -> None:
        rig = night.rig
        with rig.sandbox.store.transaction() as db:
            before = [tuple(row) for row in db.execute("SELECT * FROM history")]
            stamps = [tuple(row) for row in db.execute("SELECT Id, SystemModstamp FROM contact")]
        again = look(rig, run_id=night.verified.run_id)
        assert again.rows == night.verified.rows
        with rig.sandbox.store.transaction() as db:
            assert [tuple(row) for row in db.execute("SELECT * FROM history")] == before
            assert [tuple(row) for row in db.execute("SELECT Id, SystemModstamp FROM contact")] == stamps

    def test_the_links_of_older_snapshots_serve_where_the_plan_s_own_is_gone(
        self, night: Night, tmp_path: Path
    ) -> None:
        snapshots = settings.load(night.rig.folder).run.snapshots
        plan = json.loads((night.folder / "plan.json").read_text("utf-8"))
        moved = (snapshots / plan["snapshot"]).rename(tmp_path / "away")
        try:
            assert look(night.rig).rows == night.verified.rows
        finally:
            moved.rename(snapshots / plan["snapshot"])


def test_what_happened_already_is_told_before_the_run(rig: Rig) -> None:
    person, record = rig.pair("ada@example.com")
    rig.days(3)
    rig.approve("ada@example.com")
    carry_out(rig)
    rig.clock.advance(timedelta(minutes=5))
    records.update_record(rig.sandbox.store, "Contact", record, {FLAG: True})
    found = {row.key: row for row in look(rig).rows}
    assert found[f"salesforce:{record}"].state == "reverted"
    assert found[f"sales_connect:{person}"].state == "too_early"
    assert f"salesforce:{record} is opted out, so the next nightly run" in found[f"sales_connect:{person}"].message


def test_where_neither_system_can_be_asked_a_fresh_snapshot_tells(rig: Rig) -> None:
    ada, bob = rig.pair("ada@example.com"), rig.pair("bob@example.com")
    cyd, dan = rig.pair("cyd@example.com", sobject="Lead"), rig.pair("dan@example.com")
    rig.days(3)
    for name in ("ada", "bob", "cyd", "dan"):
        rig.approve(f"{name}@example.com")
    carry_out(rig)
    live = (rig.folder / "recon.toml").read_text("utf-8")
    without = [line for line in live.splitlines() if not line.startswith(("instance_url", "url"))]
    toml = rig.folder / "recon.toml"
    toml.write_text("\n".join(without) + "\n", "utf-8")
    early = verify(rig.folder, clock=rig.clock, environ={})
    assert "pull a fresh extract then" in early.rows[0].message
    assert early.counts == {"too_early": 8}
    records.update_record(rig.sandbox.store, "Contact", bob[1], {FLAG: True})
    records.convert_lead(rig.sandbox.store, cyd[1])
    records.delete_record(rig.sandbox.store, "Contact", dan[1])
    rig.night()
    assert verify(rig.folder, clock=rig.clock, environ={}).counts == {"unknown": 8}
    toml.write_text(live, "utf-8")
    rig.pull()
    toml.write_text("\n".join(without) + "\n", "utf-8")
    found = {row.key: (row.state, row.caused_by) for row in verify(rig.folder, clock=rig.clock, environ={}).rows}
    cause = f"salesforce:{bob[1]}"
    assert found == {
        f"sales_connect:{ada[0]}": ("stuck", None),
        f"salesforce:{ada[1]}": ("stuck", None),
        f"sales_connect:{bob[0]}": ("reverted", cause),
        cause: ("reverted", cause),
        f"sales_connect:{cyd[0]}": ("stuck", None),
        f"salesforce:{cyd[1]}": ("gone", None),
        f"sales_connect:{dan[0]}": ("stuck", None),
        f"salesforce:{dan[1]}": ("gone", None),
    }


def test_a_system_that_can_not_be_read_is_an_error(rig: Rig) -> None:
    rig.pair("ada@example.com")
    rig.days(3)
    rig.approve("ada@example.com")
    folder = carry_out(rig)
    rig.night()
    with pytest.raises(SettingsError, match="RECON_SF_CONSUMER_KEY"):
        verify(rig.folder, clock=rig.clock, environ={})
    environ = rig.sandbox.environment() | {"RECON_GATEWAY_TOKEN": "another"}
    with pytest.raises(SourceError, match="refused a person"):
        verify(rig.folder, clock=rig.clock, environ=environ)
    assert not (folder / "verification.json").exists()
    rig.sandbox.store.configure(fls=json.dumps({"Contact.HasOptedOutOfEmail": "hidden"}))
    with pytest.raises(SourceError, match="can't be seen"):
        look(rig)


def test_without_anything_applied(rig: Rig) -> None:
    with pytest.raises(UsageError, match="no plan was applied"):
        look(rig)
    rig.pair("ada@example.com")
    rig.days(3)
    rig.pull()
    rig.approve("ada@example.com")
    planned = rig.plan()
    with pytest.raises(UsageError, match="no plan was applied"):
        look(rig)
    named = look(rig, run_id=planned.plan.run_id)
    assert (named.rows, named.exit_code) == ((), 0)
    assert "nothing to verify" in named.lines()[0]
    with pytest.raises(UsageError, match="no plan in the run"):
        look(rig, run_id="20200101T000000Z")
    with pytest.raises(UsageError, match="can't be a run's id"):
        look(rig, run_id="../elsewhere")
    text = planned.path.read_text("utf-8")
    planned.path.write_text(text.replace('"clear"', '"set"'), "utf-8")
    with pytest.raises(InputRefused, match="changed after it was made"):
        look(rig, run_id=planned.plan.run_id)


def test_with_the_sync_switched_off_no_run_is_waited_for(tmp_path: Path) -> None:
    rig = new_rig(tmp_path)
    toml = rig.folder / "recon.toml"
    toml.write_text(toml.read_text("utf-8").replace("enabled = true", "enabled = false"), "utf-8")
    try:
        rig.pair("ada@example.com")
        rig.days(3)
        rig.approve("ada@example.com")
        carry_out(rig)
        assert look(rig).counts == {"stuck": 2}
    finally:
        rig.sandbox.close()


@pytest.fixture(scope="module")
def world() -> Iterator[ApplyWorld]:
    made = ApplyWorld()
    yield made
    made.close()


class TestWithoutGateway:
    """People come from files, and an admin clicks."""

    @pytest.fixture
    def workspace(self, world: ApplyWorld, tmp_path: Path) -> Workspace:
        world.reset()
        return Workspace(world, tmp_path, gateway=False)

    def look(self, workspace: Workspace) -> Verified:
        world = workspace.world
        return verify(workspace.folder, clock=world.clock, environ=world.box.environment())

    def pull(self, workspace: Workspace) -> None:
        """A new extract: what the gateway would say, as a file."""
        world, toml = workspace.world, workspace.folder / "recon.toml"
        before = toml.read_text("utf-8")
        with_gateway = Workspace(world, workspace.folder / "other")
        toml.write_text(before.replace(str(workspace.snapshot.people), str(with_gateway.snapshot.people)), "utf-8")
        jobs.pull(workspace.folder, clock=world.clock, environ=world.box.environment())
        toml.write_text(before, "utf-8")

    def states(self, found: Verified) -> dict[str, str]:
        return {row.key: row.state for row in found.rows}

    def test_the_worklist_is_open_until_it_is_handed_back_and_then_an_extract_tells(self, workspace: Workspace) -> None:
        world, ids = workspace.world, workspace.world.ids
        plan = workspace.plan()
        applied = workspace.apply(plan)
        ann, bob = f"sales_connect:{ids.ann}", f"sales_connect:{ids.bob}"
        first = self.look(workspace)
        assert {key: state for key, state in self.states(first).items() if key in (ann, bob)} == dict.fromkeys(
            (ann, bob), "worklist_open"
        )
        assert set(self.states(first).values()) == {"worklist_open", "too_early"}
        world.clock.advance(timedelta(minutes=30))
        for each in (ids.ann, ids.bob):
            sales_connect.remove_unsubscribe(world.store, each, "Asked by phone", "Ida Admin")
        self.pull(workspace)
        assert next(row.message for row in self.look(workspace).rows if row.key == ann).startswith(
            "It seems to be done"
        )
        with (applied.folder / "worklist.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        ticked = applied.folder / "ticked.csv"
        with ticked.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows([row | {"done": "x", "done_by": "Ida", "done_at": "2026-11-24"} for row in rows])
        assert workspace.apply(plan, worklist=ticked).complete
        assert set(self.states(self.look(workspace)).values()) == {"too_early"}
        # The next morning: the records are read live, the people's extract is from before the night.
        world.clock.advance(timedelta(days=1))
        morning = self.look(workspace)
        assert {state for key, state in self.states(morning).items() if key.startswith("salesforce:")} == {"stuck"}
        assert self.states(morning)[ann] == self.states(morning)[bob] == "unknown"
        assert {row.message for row in morning.rows if row.state == "stuck"} == {"Still not opted out."}
        sales_connect.unsubscribe(world.store, ids.bob, source="clicked_link")
        # The push is seen, but not what is behind it.
        pushed = next(row for row in self.look(workspace).rows if row.key == f"salesforce:{ids.bob_lead}")
        assert (pushed.state, pushed.caused_by) == ("unknown", None)
        assert "It is opted out again" in pushed.message
        world.clock.advance(timedelta(minutes=1))
        self.pull(workspace)
        after = self.states(self.look(workspace))
        assert (after[ann], after[bob]) == ("stuck", "unsubscribed_anew")
        assert after[f"salesforce:{ids.bob_lead}"] == "unsubscribed_anew"


class TestAfterAnInterruption:
    def test_a_clear_that_was_put_back_is_the_persons_own_act(self, world: ApplyWorld, tmp_path: Path) -> None:
        world.reset()
        workspace = Workspace(world, tmp_path)
        steps = [each for each in workspace.all_steps() if each.row == 3]
        plan = workspace.plan(steps)
        # Bob clicks between the two writes: after Salesforce was cleared, before Sales Connect is.
        world.gateway.faults.append(
            Fault("GET", f"/people/{world.ids.bob}", "act", skip=2, action=lambda: world.unsubscribe(world.ids.bob))
        )
        workspace.apply(plan)
        world.clock.advance(timedelta(days=1))
        found = verify(workspace.folder, clock=world.clock, environ=world.box.environment())
        assert {row.key: row.state for row in found.rows} == {f"salesforce:{world.ids.bob_lead}": "unsubscribed_anew"}
        assert "the opt-out was put back" in found.rows[0].message
        assert found.exit_code == 0

    def test_what_was_begun_and_never_concluded_is_unknown(self, world: ApplyWorld, tmp_path: Path) -> None:
        world.reset()
        workspace = Workspace(world, tmp_path)
        plan = read_plan(workspace.plan())
        loaded = settings.load(workspace.folder)
        with open_ledger(loaded, world.clock) as ledger:
            evidence = StepsEvidence(ledger, plan, actor="Ida", addresses={}, clock=world.clock)
            evidence.run({})
            evidence.intend(Task(plan.steps[0]), "rest")
        found = verify(workspace.folder, clock=world.clock, environ={})
        assert [(row.key, row.state) for row in found.rows] == [(plan.steps[0].key, "unknown")]
        assert "apply the same plan again" in found.rows[0].message
