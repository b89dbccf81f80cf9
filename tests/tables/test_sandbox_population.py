"""The sandbox's population, by way of the files that people bring: every planted case is found, and the night comes as predicted."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from recon.clock import SetClock
from recon.sandbox.extracts import write_extract, write_salesforce_files
from recon.sandbox.nightly import run_nightly
from recon.sandbox.population import populate
from recon.sandbox.store import Store
from recon.settings import Settings
from recon.sources.files import read_contacts, read_leads, read_people
from recon.summary import summary
from tests.tables import reference
from tests.tables.engines import Engine, reconciled, run, told

if TYPE_CHECKING:
    from recon.reconcile import Reconciliation
    from recon.sandbox.nightly import NightlyResult
    from recon.sandbox.population import Population
    from recon.settings import OptOutField
    from tests.tables.reference import Row

NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
PEOPLE = 250
#: The sync, and its field in Salesforce.
SET_UPS = (("on", "standard"), ("off", "standard"), ("on", "both"))
#: Shapes of which every record agrees with the others: nothing is to be done about them.
CALM = (
    *("case_and_blanks", "idn", "no_address", "unusable_address", "empty_text", "lost_case_id", "leading_zeros"),
    *("duplicates", "converted", "words_for_nothing", "csv_specials", "both_levels", "resubscribed"),
)


@dataclass
class Night:
    """A population before and after one nightly run, each as rows of people and records."""

    settings: Settings
    population: Population
    people: list[Row]
    records: list[Row]
    done: NightlyResult
    people_after: list[Row]
    records_after: list[Row]

    @cached_property
    def world(self) -> reference.World:
        return reference.World(self.people, self.records, self.settings)

    @cached_property
    def expected(self) -> tuple[dict[str, Row], ...]:
        """What the reference says, by uid."""
        return by_uid(*reference.reconcile(self.people, self.records, self.settings))


@cache
def pass_a_night(sync: str, field: OptOutField) -> Night:
    settings = Settings().with_values(sync={"enabled": sync == "on"}, salesforce={"opt_out_field": field})
    with closing(Store(None, SetClock(NOW))) as store, TemporaryDirectory() as folder:
        store.configure(sync_enabled="true" if sync == "on" else "false", opt_out_field=field)
        population = populate(store, PEOPLE, seed=3)
        before = extracts(store, settings, Path(folder))
        done = run_nightly(store)
        return Night(settings, population, *before, done, *extracts(store, settings, Path(folder)))


@pytest.fixture(scope="module", params=SET_UPS, ids="-".join)
def night(request: pytest.FixtureRequest) -> Night:
    return pass_a_night(*request.param)


def extracts(store: Store, settings: Settings, folder: Path) -> tuple[list[Row], list[Row]]:
    """People and records as they come out of the files, with the dates that field history has and files lack."""
    write_extract(store, folder / "people.csv")
    leads, contacts = write_salesforce_files(store, folder)
    field = settings.salesforce.opt_out_field
    people: list[Row] = read_people(folder / "people.csv").table.to_pylist()
    read = [
        reader(path, opt_out_field=field).table for reader, path in ((read_leads, leads), (read_contacts, contacts))
    ]
    records: list[Row] = pa.concat_tables(read).to_pylist()
    names = ["HasOptedOutOfEmail"] + (["Marketo_Sales_Opt_Out__c"] if field == "both" else [])
    with store.transaction() as db:
        changes = db.execute("SELECT Parent, Field, NewValue, CreatedDate FROM history ORDER BY CreatedDate").fetchall()
    for record in records:
        own = [row for row in changes if row["Parent"] == record["record_id"] and row["Field"] in names]
        dates: dict[str, datetime | None] = dict.fromkeys(("true", "false"))
        for row in own:
            dates[row["NewValue"]] = datetime.fromisoformat(row["CreatedDate"])
        record |= {"opted_out_at": dates["true"] if record["opted_out"] else None, "resubscribed_at": dates["false"]}
    return people, records


@pytest.fixture(scope="module")
def result(engine: Engine, night: Night) -> Reconciliation:
    return reconciled(engine, night.people, night.records, night.settings)


@pytest.fixture(scope="module")
def found(engine: Engine, result: Reconciliation) -> tuple[dict[str, Row], ...]:
    """`merged` and `actions` by uid."""
    return by_uid(*told(engine, result))


def by_uid(*tables: list[Row]) -> tuple[dict[str, Row], ...]:
    return tuple({f"{row['system']}:{row['id']}": row for row in table} for table in tables)


def expected_category(name: str, settings: Settings) -> str | None:
    """What a planted case is with these settings; the population's names hold with the sync on and the standard field."""
    if name in ("awaiting_sync", "will_revert") and not settings.sync.enabled:
        return "sync_off"
    if name == "field_disagrees" and settings.salesforce.opt_out_field != "both":
        return None
    return name


def test_every_planted_case_is_found(night: Night, found: Any) -> None:
    actions = found[1]
    for name, uids in night.population.cases.items():
        assert uids, name
        wanted = expected_category(name, night.settings)
        assert {uid: actions[uid]["category"] if uid in actions else None for uid in uids} == dict.fromkeys(
            uids, wanted
        )


def test_shapes_are_taken_for_what_they_are(night: Night, found: Any) -> None:
    merged, actions = found
    shapes = night.population.shapes
    for name in CALM:
        assert shapes[name], name
        assert set(shapes[name]) <= set(merged), name
        assert not set(shapes[name]) & set(actions), name
    assert {actions[uid]["category"] for uid in shapes["unusable_id"]} == {"broken_link"}
    for name in ("deleted", "merged_away"):
        assert not set(shapes[name]) & set(merged), name
    for name in ("no_address", "unusable_address", "empty_text"):
        assert all(merged[uid]["cluster"] == uid for uid in shapes[name]), name


def test_actions_are_those_of_the_reference(night: Night, found: Any) -> None:
    merged, actions = night.expected
    assert found[0] == merged
    own = ("path", "explanation")
    assert {uid: {k: v for k, v in row.items() if k not in own} for uid, row in found[1].items()} == {
        uid: {k: v for k, v in row.items() if k not in own} for uid, row in actions.items()
    }
    world = night.world
    wrong = {
        uid: reference.check_path(world, world.rows[uid], row["path"])
        for uid, row in found[1].items()
        if row["path"] is not None
    }
    assert set(wrong.values()) <= {None}
    assert set(wrong) == {uid for uid, row in actions.items() if row["path"] is not None}


def test_the_night_comes_as_predicted(night: Night, found: Any) -> None:
    """Record for record."""
    after = {f"sales_connect:{row['person_id']}": row["unsubscribed"] for row in night.people_after}
    after |= {
        f"salesforce:{row['record_id']}": row["opted_out"] for row in night.records_after if not row["is_deleted"]
    }
    assert {uid: row["predicted_opted_out"] for uid, row in found[0].items()} == after
    assert night.done.ran is night.settings.sync.enabled
    told = {f"sales_connect:{number}" for number in night.done.people_set}
    told |= {f"salesforce:{number}" for number in night.done.records_set}
    # Who was unsubscribed from one sales user already was opted out before, and is for the whole company now.
    newly = {uid for uid in told if not found[0][uid]["opted_out"]}
    assert newly == {uid for uid, row in found[0].items() if row["predicted_opted_out"] and not row["opted_out"]}
    assert bool(newly) is night.settings.sync.enabled


def test_what_awaited_the_sync_is_gone_in_the_morning(engine: Engine, night: Night, found: Any) -> None:
    if not night.settings.sync.enabled:
        assert (night.people_after, night.records_after) == (night.people, night.records)
        return
    before = found[1]
    after = by_uid(*run(engine, night.people_after, night.records_after, night.settings))[1]
    carried = {"awaiting_sync", "will_revert"}
    of_the_night = {uid for uid, row in before.items() if carried & set(row["categories"].split(";"))}
    assert not of_the_night & {uid for uid, row in after.items() if row["path"] is not None}
    assert not any(carried & set(row["categories"].split(";")) for row in after.values())


def test_the_summary_adds_up(night: Night, result: Reconciliation, found: Any) -> None:
    counted = summary(result, night.settings, NOW)
    merged, actions = ([*table.values()] for table in found)
    people = [row for row in merged if row["system"] == "sales_connect"]
    assert sum(counted["coverage"]["people"].values()) == len(people) == len(night.people)
    assert sum(counted["coverage"]["records"].values()) == len(merged) - len(people)
    for name in ("broken_link", "stale_link"):
        assert counted["coverage"]["people"][name] == sum(name in row["categories"].split(";") for row in actions)
    assert counted["clusters"] == len({row["cluster"] for row in merged})
    assert counted["opted_out"]["clusters"] == len({row["cluster"] for row in merged if row["opted_out"]})
    assert counted["actions"] == len(actions) == sum(counted["fix"].values())
    assert {name: count["primary"] for name, count in counted["categories"].items() if count["primary"]} == Counter(
        row["category"] for row in actions
    )
    mailed = counted["could_be_mailed"]
    assert mailed["total"] == mailed["tonight"] + mailed["toolkit"] + mailed["admin"] + mailed["nobody"]
    assert mailed["people"]["total"] == sum(mailed["people"][name] for name in ("you", "tonight", "nobody"))
    changed = Counter(row["system"] for row in merged if row["predicted_opted_out"] and not row["opted_out"])
    assert counted["tonight"]["people_set"] == changed["sales_connect"]
    assert counted["tonight"]["records_set"] == changed["salesforce"]
    sizes = Counter(row["cluster"] for row in merged)
    large = sorted((size for size in sizes.values() if size > 50), reverse=True)
    assert [each["size"] for each in counted["large_clusters"]] == large
    assert all(sizes[each["cluster"]] == each["size"] for each in counted["large_clusters"])
