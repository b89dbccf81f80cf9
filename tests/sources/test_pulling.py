"""Both sides together, from the whole sandbox over HTTP and from files, and held against the nightly run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest

from recon.clock import SetClock
from recon.errors import AccessRefused, InputRefused, SettingsError, SourceError, StraddlingPull
from recon.progress import Progress
from recon.sandbox import sales_connect
from recon.sandbox.box import Sandbox
from recon.sandbox.extracts import FOREIGN_HEADERS, write_extract, write_salesforce_files
from recon.settings import Settings
from recon.sources import pulling
from recon.tables import PEOPLE, RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

    from recon.sources.pulling import Pulled

NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    """Both systems with a population of every category and shape; the tests read only."""
    with Sandbox() as sandbox:
        sandbox.populate(people=300, seed=3)
        yield sandbox


def pull(settings: Settings, environ: dict[str, str], clock: SetClock | None = None, **options: Any) -> Pulled:
    return pulling.pull(settings, environ=environ, clock=clock or SetClock(NOW), sleep=lambda _: None, **options)


def live(box: Sandbox, **salesforce: Any) -> Settings:
    return Settings().with_values(**box.settings()).with_values(salesforce={"backoff_seconds": 0} | salesforce)


def files(box: Sandbox, folder: Path, flavour: Any = "data_loader") -> Settings:
    write_extract(box.store, folder / "people.csv")
    leads, contacts = write_salesforce_files(box.store, folder, flavour)
    return Settings().with_values(run={"people": folder / "people.csv", "leads": leads, "contacts": contacts})


def by_id(table: pa.Table, key: str) -> pa.Table:
    return table.sort_by(key)


@pytest.mark.parametrize("field", ["standard", "custom", "both"])
@pytest.mark.parametrize("bulk_above", [0, 100_000])
def test_live_sides_are_what_the_files_of_the_same_systems_say(
    box: Sandbox, tmp_path: Path, field: str, bulk_above: int
) -> None:
    environ = box.environment()
    found = pull(live(box, opt_out_field=field, bulk_above=bulk_above, page_rows=70), environ)
    said = pull(files(box, tmp_path).with_values(salesforce={"opt_out_field": field}), {})
    assert found.people.schema == PEOPLE.schema
    assert found.records.schema == RECORDS.schema
    unknown_to_files = ["opted_out_at", "resubscribed_at", "account_id"]
    if field == "standard":
        unknown_to_files.append("sales_opt_out")
    assert by_id(said.records.drop_columns(unknown_to_files), "record_id").equals(
        found.records.drop_columns(unknown_to_files)
    )
    # A file's empty text is null, as everywhere.
    assert by_id(said.people, "person_id").equals(found.people)
    assert [part.name for part in found.inputs] == ["people", "leads", "contacts"]
    assert [part.rows for part in found.inputs] == [part.rows for part in said.inputs]
    assert (found.straddles, said.straddles) == (False, None)
    private = [secret for name, secret in environ.items() if "KEY" not in name]
    text = str([part.as_json() for part in found.inputs])
    assert not any(secret in text for secret in private)
    assert "@" not in text


def test_dates_of_opt_outs_come_from_history(box: Sandbox) -> None:
    table = pull(live(box), box.environment()).records
    dated = [row for row in table.to_pylist() if row["opted_out_at"] is not None]
    assert len(dated) > 20
    assert all(row["opted_out"] and row["opted_out_at"] <= NOW for row in dated)
    cleared = [row for row in table.to_pylist() if row["resubscribed_at"] is not None]
    assert cleared


def test_every_login_reads_the_same(box: Sandbox) -> None:
    tables = [pull(live(box, login=login), box.environment()).records for login in ("client_credentials", "password")]
    assert tables[0].equals(tables[1])


def test_a_report_and_a_foreign_extract_are_a_pull_too(box: Sandbox, tmp_path: Path) -> None:
    settings = files(box, tmp_path, "report")
    write_extract(box.store, tmp_path / "people.csv", "foreign")
    mapped = settings.with_values(sales_connect={"columns": FOREIGN_HEADERS})
    found = pull(mapped, {})
    assert found.people.num_rows == pull(live(box), box.environment()).people.num_rows
    assert found.straddles is None


def test_one_side_live_and_one_from_a_file(box: Sandbox, tmp_path: Path) -> None:
    given = files(box, tmp_path)
    mixed = given.with_values(sales_connect={"gateway": {"url": box.gateway_url}})
    found = pull(mixed, box.environment())
    assert [part.kind for part in found.inputs] == ["gateway", "csv", "csv"]
    assert found.straddles is None
    only_contacts = mixed.with_values(run={"leads": None})
    assert [part.name for part in pull(only_contacts, box.environment()).inputs] == ["people", "contacts"]
    # The live side is held against the run, though nobody knows when the file was written.
    with pytest.raises(StraddlingPull):
        pull(mixed, box.environment(), SetClock(datetime(2026, 11, 25, 4, tzinfo=UTC)))
    with pytest.raises(StraddlingPull):
        pull(
            given.with_values(salesforce={"instance_url": box.salesforce_url}),
            box.environment(),
            SetClock(datetime(2026, 11, 25, 4, tzinfo=UTC)),
        )


def test_files_do_not_ask_for_the_time(box: Sandbox, tmp_path: Path) -> None:
    settings = files(box, tmp_path)
    night = SetClock(datetime(2026, 11, 25, 4, tzinfo=UTC))
    assert pull(settings, {}, night).straddles is None
    assert pull(settings.with_values(sync={"enabled": False}), {}, night).straddles is False


def test_with_the_sync_off_there_is_nothing_to_straddle(box: Sandbox) -> None:
    off = live(box).with_values(sync={"enabled": False})
    assert pull(off, box.environment(), SetClock(datetime(2026, 11, 25, 4, tzinfo=UTC))).straddles is False


class Running:
    """A clock that goes on by some time whenever it is looked at."""

    def __init__(self, at: datetime, step: timedelta) -> None:
        self._at = at
        self._step = step

    def now(self) -> datetime:
        self._at += self._step
        return self._at


@pytest.mark.parametrize(
    ("start", "step"),
    [
        (datetime(2026, 11, 25, 2, 50, tzinfo=UTC), timedelta(minutes=4)),  # ends in the window
        (datetime(2026, 11, 25, 2, 30, tzinfo=UTC), timedelta(hours=4)),  # has the run in between
        (datetime(2026, 11, 24, 18, 0, tzinfo=UTC), timedelta(hours=40)),  # and more than one
    ],
)
def test_a_pull_that_takes_too_long_is_refused(box: Sandbox, start: datetime, step: timedelta) -> None:
    with pytest.raises(StraddlingPull, match="Pull again from"):
        pulling.pull(live(box), environ=box.environment(), clock=Running(start, step))


def test_a_clock_that_is_set_back_is_no_fault(box: Sandbox) -> None:
    back = Running(NOW, -timedelta(seconds=1))
    assert pulling.pull(live(box), environ=box.environment(), clock=back).straddles is False


def test_in_the_window_nothing_is_asked(box: Sandbox) -> None:
    nowhere = live(box).with_values(
        salesforce={"instance_url": "http://127.0.0.1:9"}, sales_connect={"gateway": {"url": "http://127.0.0.1:9"}}
    )
    with pytest.raises(StraddlingPull):
        pull(nowhere, box.environment(), SetClock(datetime(2026, 11, 25, 4, tzinfo=UTC)))


def test_sides_that_come_from_nowhere_are_both_said() -> None:
    with pytest.raises(SettingsError) as caught:
        pull(Settings(), {})
    text = str(caught.value)
    for setting in ("people", "url under [sales_connect.gateway]", "instance_url under [salesforce]", "leads"):
        assert setting in text
    with pytest.raises(SettingsError) as caught:
        pull(Settings().with_values(salesforce={"instance_url": "https://acme.my.salesforce.com"}), {})
    assert "instance_url" not in str(caught.value)


def test_missing_secrets_are_named(box: Sandbox) -> None:
    for name in ("RECON_SF_CONSUMER_KEY", "RECON_SF_CONSUMER_SECRET", "RECON_GATEWAY_TOKEN"):
        environ = box.environment()
        del environ[name]
        with pytest.raises(SettingsError, match=name):
            pull(live(box), environ)


def test_wrong_secrets_are_refused_without_being_shown(box: Sandbox) -> None:
    wrong = box.environment() | {"RECON_GATEWAY_TOKEN": "wrong-and-private"}
    with pytest.raises(AccessRefused) as refused:
        pull(live(box), wrong)
    assert "wrong-and-private" not in str(refused.value)
    wrong = box.environment() | {"RECON_SF_CONSUMER_SECRET": "wrong-and-private"}
    with pytest.raises(SourceError) as failed:
        pull(live(box), wrong)
    assert "wrong-and-private" not in str(failed.value)


def test_a_file_that_is_not_there_is_refused(box: Sandbox, tmp_path: Path) -> None:
    settings = files(box, tmp_path).with_values(run={"leads": tmp_path / "none.csv"})
    with pytest.raises(InputRefused, match=r"none\.csv"):
        pull(settings, {})


def test_progress_counts_rows(box: Sandbox) -> None:
    shown = StringIO()
    pull(live(box, bulk_above=0), box.environment(), progress=Progress(show=True, stream=shown))
    text = shown.getvalue()
    for name in ("People", "Leads", "Contacts", "LeadHistory"):
        assert name in text
    assert "100%" in text


def test_a_column_map_is_of_keys_where_there_is_a_gateway(box: Sandbox) -> None:
    mapped = live(box).with_values(sales_connect={"columns": {"first_name": "last_name"}})
    table = pull(mapped, box.environment()).people
    assert table.column("first_name").equals(table.column("last_name"))


def test_a_change_on_one_side_shows_in_the_next_pull() -> None:
    with Sandbox() as own:
        person = sales_connect.add_person(own.store, email="a@example.com", first_name=None, last_name=None)
        first = pull(live(own), own.environment())
        sales_connect.unsubscribe(own.store, person)
        second = pull(live(own), own.environment())
    assert first.people.column("unsubscribed").to_pylist() == [False]
    assert second.people.column("unsubscribed").to_pylist() == [True]
    assert first.records.num_rows == second.records.num_rows == 0
