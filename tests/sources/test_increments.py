"""Pulling what changed gives what a pull of everything gives, whatever happened in between."""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recon import pulls
from recon.clock import SetClock
from recon.errors import UsageError
from recon.sandbox.salesforce import records
from recon.sandbox.salesforce.app import create_app
from recon.sandbox.salesforce.auth import Org
from recon.sandbox.store import text_time
from recon.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recon.snapshot import Snapshot
    from tests.sources.conftest import Acme, Answer, Serve

STANDARD = "HasOptedOutOfEmail"
CUSTOM = "Marketo_Sales_Opt_Out__c"
PEOPLE = "person_id,email,salesforce_id,unsubscribed\np1,,,false\n"


class Workspace:
    """A folder of snapshots of an org, and a file of people."""

    def __init__(self, acme: Acme, folder: Path, **salesforce: Any) -> None:
        self.acme = acme
        self.folder = folder
        (folder / "people.csv").write_text(PEOPLE)
        values = {"full_every_days": 300, "opt_out_field": "both", "retries": 2, "backoff_seconds": 0} | salesforce
        values |= {"instance_url": acme.url, "page_rows": values.get("page_rows", 4), "parallel_reads": 1}
        self.settings = Settings().with_values(
            salesforce=values,
            sync={"enabled": False},
            run={"people": folder / "people.csv", "snapshots": folder / "snapshots"},
        )

    def pull(
        self, way: Any = None, since: str | None = None, clock: SetClock | None = None, **salesforce: Any
    ) -> Snapshot:
        return pulls.pull(
            self.settings.with_values(salesforce=salesforce),
            way=way,
            since=since,
            environ=self.acme.environ,
            clock=clock or self.acme.clock,
            sleep=self.acme.slept.append,
        )

    def same_as_full(self, kept: Snapshot, **salesforce: Any) -> None:
        values = {"opt_out_field": "both"} | salesforce
        assert pq.read_table(kept.records).to_pylist() == self.acme.pull(**values).table.to_pylist()


@contextmanager
def workspace(acme: Acme, **salesforce: Any) -> Iterator[Workspace]:
    with tempfile.TemporaryDirectory() as folder:
        yield Workspace(acme, Path(folder), **salesforce)


class Hands:
    """What people and programs do to an org."""

    def __init__(self, acme: Acme) -> None:
        self.acme = acme
        self.made = 0

    def ids(self, name: str, condition: str = "1") -> list[str]:
        with self.acme.store.transaction() as db:
            return [row[0] for row in db.execute(f"SELECT Id FROM {name} WHERE {condition} ORDER BY Id")]

    def _one(self, name: str, condition: str, which: int) -> str | None:
        found = self.ids(name, condition)
        return found[which % len(found)] if found else None

    def _sql(self, statement: str, *values: Any) -> None:
        with self.acme.store.transaction() as db:
            db.execute(statement, values)

    def do(self, what: str, name: str, which: int) -> None:
        store, self.made = self.acme.store, self.made + 1
        live = "NOT IsDeleted AND NOT IsConverted" if name == "Lead" else "NOT IsDeleted"
        one, other = self._one(name, live, which), self._one(name, live, which + 1)
        now = text_time(self.acme.clock.now())
        if what == "new":
            extra = {"Company": "Acme"} if name == "Lead" else {}
            insert = records.insert_lead if name == "Lead" else records.insert_contact
            insert(store, LastName=f"N{self.made}", HasOptedOutOfEmail=bool(which % 2), **extra)
        elif what == "restore":
            if gone := self._one(name, "IsDeleted", which):
                self._sql(f"UPDATE {name} SET IsDeleted = 0, SystemModstamp = ? WHERE Id = ?", now, gone)
        elif what in ("purge", "hard delete"):
            gone = self._one(name, "IsDeleted" if what == "purge" else live, which)
            self._sql(f"DELETE FROM {name} WHERE Id = ?", gone)
            self._sql("DELETE FROM history WHERE Parent = ?", gone)
        elif one is None or other is None:
            return
        elif what == "edit":
            records.update_record(store, name, one, {"FirstName": f"E{self.made}"})
        elif what == "opt out":
            records.update_record(store, name, one, {STANDARD if which % 3 else CUSTOM: True})
        elif what == "opt in":
            records.update_record(store, name, one, {STANDARD if which % 3 else CUSTOM: False})
        elif what == "delete":
            records.delete_record(store, name, one)
        elif what == "merge" and one != other:
            records.delete_record(store, name, one, master_id=other)
        elif what == "convert" and name == "Lead":
            records.convert_lead(store, one, self._one("Contact", "NOT IsDeleted", which) if which % 2 else None)
        elif what == "late":
            # Changed by a long transaction: its stamp is older than the last pull, it came to light only now.
            at = text_time(self.acme.clock.now() - timedelta(minutes=which % 59))
            self._sql(
                f"UPDATE {name} SET FirstName = ?, {STANDARD} = 1, SystemModstamp = ?, LastModifiedDate = ? WHERE Id = ?",
                f"L{self.made}",
                at,
                at,
                one,
            )
            records.insert_history(store, name, one, STANDARD, "false", "true", at)


DEEDS = (
    ["new", "edit", "delete", "merge", "restore", "purge", "convert", "late"]
    + ["opt out"] * 3
    + ["opt in"] * 2
    + ["hard delete"]
)  # fmt: skip
deed = st.tuples(st.sampled_from(DEEDS), st.sampled_from(["Lead", "Contact"]), st.integers(0, 60))
late_first = st.sampled_from([0, 0, 1, 600])
stage = st.tuples(late_first, st.lists(st.tuples(deed, st.sampled_from([0, 1, 59])), max_size=7), st.booleans())


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(stages=st.lists(stage, min_size=1, max_size=3))
def test_what_changed_gives_what_everything_gives(acme: Acme, stages: list[Any]) -> None:
    with acme.store.transaction() as db:
        for table in ("lead", "contact", "history"):
            db.execute(f"DELETE FROM {table}")
    hands = Hands(acme)
    for number in range(6):
        hands.do("new", "Lead" if number % 3 else "Contact", number)
    with workspace(acme) as folder:
        kept = folder.pull("full")
        for seconds, deeds, bulk in stages:
            known = pq.read_table(kept.records, filters=[("is_deleted", "==", False)]).column("record_id").to_pylist()
            # Nought: the next edits come within the second of the pull.
            acme.clock.advance(timedelta(seconds=seconds))
            for (what, name, which), wait in deeds:
                # Late ones come first: what they changed is older than the pull, by no more than the overlap.
                if what != "late" or seconds <= 1:
                    hands.do(what, name, which)
                acme.clock.advance(timedelta(seconds=wait))
            kept = folder.pull("since", bulk_above=0 if bulk else 2000)
            folder.same_as_full(kept)
            # What was there, and went without being seen in the recycle bin, left nothing to read: then everything is read, and only then.
            there = {*hands.ids("Lead"), *hands.ids("Contact")}
            assert kept.manifest["pull"]["way"] == ("since" if there.issuperset(known) else "full")


@pytest.fixture
def small(acme: Acme, tmp_path: Path) -> tuple[Workspace, Hands]:
    """An org of six records, pulled once."""
    hands = Hands(acme)
    for number in range(6):
        hands.do("new", "Lead" if number % 3 else "Contact", number)
    folder = Workspace(acme, tmp_path)
    folder.pull("full")
    acme.clock.advance(timedelta(hours=5))
    return folder, hands


def test_the_manifest_says_what_it_is_built_on(small: tuple[Workspace, Hands]) -> None:
    folder, hands = small
    acme = folder.acme
    first = folder.pull("full").manifest
    assert (first["pull"]["way"], first["pull"]["base"], first["pull"]["chain"]) == ("full", None, 0)
    assert first["pull"]["hard_deletes"] is None
    acme.clock.advance(timedelta(hours=1))
    hands.do("opt out", "Lead", 1)
    asked = len(acme.wire.asked)
    one = folder.pull("since")
    told = one.manifest["pull"]
    assert (told["way"], told["base"], told["chain"], told["why_full"]) == ("since", first["id"], 1, None)
    assert told["full_at"] == first["created_at"]
    assert told["overlap_minutes"] == 60
    lead = told["objects"]["Lead"]
    assert (lead["since"], lead["read_to"], lead["rows_read"]) == ("2026-11-24T11:00:00Z", "2026-11-24T18:00:00Z", 4)
    assert "deleted for good" in told["hard_deletes"]
    assert one.manifest["api_calls"]["salesforce"]["total"] == len(acme.wire.asked) - asked
    assert one.manifest["tables"]["history"]["rows"] == 1
    two = folder.pull("since")
    assert (two.manifest["pull"]["base"], two.manifest["pull"]["chain"]) == (one.id, 2)
    assert two.manifest["pull"]["objects"]["Lead"]["rows_read"] == 1  # the overlap reaches back to the edit
    again = folder.pull("since", since=first["id"])
    assert (again.manifest["pull"]["base"], again.manifest["pull"]["chain"]) == (first["id"], 1)


def test_the_setting_decides_where_nothing_is_said(small: tuple[Workspace, Hands]) -> None:
    folder, _ = small
    assert folder.pull().manifest["pull"]["way"] == "full"
    assert folder.pull(pull="since").manifest["pull"]["way"] == "since"
    assert folder.pull("full", pull="since").manifest["pull"]["way"] == "full"


def test_what_is_deleted_for_good_is_seen_by_the_count(
    small: tuple[Workspace, Hands], caplog: pytest.LogCaptureFixture
) -> None:
    folder, hands = small
    hands.do("delete", "Contact", 0)
    folder.pull("since")
    hands.do("purge", "Contact", 0)
    kept = folder.pull("since")
    assert kept.manifest["pull"]["objects"]["Contact"]["purged"] == 1
    folder.same_as_full(kept)
    hands.do("hard delete", "Lead", 0)
    kept = folder.pull("since")
    assert kept.manifest["pull"]["way"] == "full"
    assert "deleted for good" in kept.manifest["pull"]["why_full"]
    assert "All records are read" in caplog.text
    folder.same_as_full(kept)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"api_version": "61.0"}, "another API version"),
        ({"opt_out_field": "standard"}, "other fields of Lead"),
        ({"full_every_days": 1}, "not of the last 1 days"),
        ({"login": "password", "username": "admin@acme.example"}, None),
    ],
)
def test_only_what_fits_is_built_on(small: tuple[Workspace, Hands], values: dict[str, Any], words: str | None) -> None:
    folder, _ = small
    folder.acme.clock.advance(timedelta(hours=20))
    base = max(path.name for path in (folder.folder / "snapshots").iterdir())
    told = folder.pull("since", **values).manifest["pull"]
    if words is None:
        assert told["way"] == "since"
        return
    assert told["way"] == "full"
    assert words in told["why_full"]
    with pytest.raises(UsageError, match="recon pull --full") as refused:
        folder.pull("since", since=base, **values)
    assert words in str(refused.value)


def test_what_another_user_read_is_not_built_on(small: tuple[Workspace, Hands], serve: Serve) -> None:
    """Another user may see other records."""
    folder, _ = small
    other = serve(create_app(folder.acme.store, Org(user_id="0055e0000000BobAAA")))
    told = folder.pull("since", instance_url=other).manifest["pull"]
    assert told["way"] == "full"
    assert "as another user" in told["why_full"]


@pytest.mark.parametrize("above", [0, 2000], ids=["bulk", "rest"])
def test_how_far_was_read_is_told_by_salesforces_clock(small: tuple[Workspace, Hands], above: int) -> None:
    """This machine's clock is three hours ahead, three times the overlap."""
    folder, hands = small
    acme = folder.acme
    ahead = SetClock(acme.clock.now() + timedelta(hours=3))
    folder.pull("full", bulk_above=above, clock=ahead)
    acme.clock.advance(timedelta(minutes=5))
    hands.do("opt out", "Lead", 1)
    ahead.advance(timedelta(minutes=10))
    kept = folder.pull("since", bulk_above=above, clock=ahead)
    assert kept.manifest["pull"]["way"] == "since"
    folder.same_as_full(kept)


def test_a_field_that_became_visible_makes_a_full_pull(small: tuple[Workspace, Hands]) -> None:
    """The same fields count, but the rows of before lack one that is read now."""
    folder, _ = small
    folder.acme.store.configure(fls=json.dumps({f"{name}.{STANDARD}": "hidden" for name in ("Lead", "Contact")}))
    folder.pull("full", opt_out_field="custom")
    assert folder.pull("since", opt_out_field="custom").manifest["pull"]["way"] == "since"
    folder.acme.store.configure(fls="{}")
    kept = folder.pull("since", opt_out_field="custom")
    assert "other fields of Lead" in kept.manifest["pull"]["why_full"]
    folder.same_as_full(kept, opt_out_field="custom")


def test_a_damaged_base_is_not_built_on(small: tuple[Workspace, Hands]) -> None:
    folder, _ = small
    kept = folder.pull("full")
    (kept.folder / "history.parquet").write_bytes(b"PAR1")
    told = folder.pull("since").manifest["pull"]
    assert told["base"] != kept.id
    with pytest.raises(UsageError, match="damaged"):
        folder.pull("since", since=kept.id)
    with pytest.raises(UsageError, match="there is no snapshot"):
        folder.pull("since", since="20200101T000000Z-00000000")


def test_history_that_can_be_read_no_more_makes_a_full_pull(small: tuple[Workspace, Hands]) -> None:
    folder, hands = small
    hands.do("opt out", "Lead", 1)

    def hide(_method: str, target: str, answer: Answer) -> None:
        if "LeadHistory" in target:
            answer.status = 400
            answer.body = json.dumps([{"errorCode": "INVALID_TYPE", "message": "x"}]).encode()

    folder.acme.wire.alter = hide
    kept = folder.pull("since")
    assert kept.manifest["pull"]["way"] == "full"
    assert "history of Lead" in kept.manifest["pull"]["why_full"]
    assert pq.read_table(kept.records).column("opted_out_at").null_count == kept.manifest["tables"]["records"]["rows"]
    assert folder.pull("since").manifest["pull"]["way"] == "since"


def test_a_change_that_leaves_the_date_of_the_last_edit_alone_is_read(small: tuple[Workspace, Hands]) -> None:
    """A system's own change moves SystemModstamp alone, and so does an edit that keeps the dates of a migration."""
    folder, hands = small
    acme = folder.acme
    hands.do("edit", "Lead", 0)
    folder.pull("full")
    acme.clock.advance(timedelta(hours=5))
    with acme.store.transaction() as db:
        now = text_time(acme.clock.now())
        db.execute(f"UPDATE lead SET {STANDARD} = 1 - {STANDARD}, SystemModstamp = ?", (now,))
    kept = folder.pull("since")
    assert kept.manifest["pull"]["way"] == "since"
    folder.same_as_full(kept)


def test_what_comes_or_goes_meanwhile_is_read_again(small: tuple[Workspace, Hands]) -> None:
    folder, hands = small
    counted = [0]

    def before(_method: str, target: str) -> None:
        counted[0] += "COUNT" in target and "WHERE" not in target
        if counted[0] == 5:
            counted[0] += 1
            hands.do("new", "Lead", 1)

    folder.acme.wire.before = before
    kept = folder.pull("since")
    folder.acme.wire.before = lambda *_: None
    assert kept.manifest["inputs"][1]["details"]["pulls"] == 2
    folder.same_as_full(kept)
