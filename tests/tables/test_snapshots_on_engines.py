"""A snapshot's rows, read into every engine: the same rows, and what no snapshot may hold is refused there, too."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from recon import jobs, outputs, snapshot
from recon.clock import SetClock
from recon.errors import InputRefused, ReconError, UsageError
from recon.settings import Settings
from recon.sources.base import Input
from recon.sources.pulling import Pulled
from recon.tables import PEOPLE, RECORDS
from tests.tables.engines import table_of
from tests.tables.test_every_small_world import Maker

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from tests.tables.engines import Engine

NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
#: The last microsecond of a day in UTC, and an hour that is there twice in the zone of the tests.
LATE, TWICE = datetime(2026, 11, 2, 23, 59, 59, 999_999, tzinfo=UTC), datetime(2026, 4, 4, 15, 15, tzinfo=UTC)


def written(folder: Path, *, again: bool = False) -> tuple[Settings, snapshot.Snapshot]:
    """A snapshot in a folder with signs of a pattern in its name; `again`: with one person twice."""
    m = Maker(1)
    people = [
        m.person("1", "choice", "a", "C001", unsubscribed_at=LATE, resubscribed_at=TWICE),
        m.person("2", None, "b", email=None, first_name="nan"),
        m.person("3", None, "b", email=" D@M\u00dcLLER.example\t", salesforce_id=""),
    ]
    records = [
        m.record("C001", "a", False),
        m.record("L001", "a", True, "C001", opted_out_at=LATE),
        m.record("C002", "c", False, is_deleted=True, sales_opt_out=None),
    ]
    inputs = (Input("people", "people.csv", "csv", len(people)),)
    pulled = Pulled(
        table_of(people + people[:1] * again, PEOPLE), table_of(records, RECORDS), inputs=inputs, straddles=False
    )
    settings = Settings().with_values(run={"snapshots": str(folder / "snap[s]*")})
    return settings, snapshot.write(settings.run.snapshots, pulled, settings, clock=SetClock(NOW))


def test_every_engine_reads_the_rows_of_a_snapshot(engine: Engine, tmp_path: Path) -> None:
    settings, kept = written(tmp_path)
    own = engine.own()
    plain, data = jobs.from_snapshot(settings, None), jobs.from_snapshot(settings, kept.id, own)
    for shape, wanted, frame in ((PEOPLE, plain.people, data.people), (RECORDS, plain.records, data.records)):
        found = own.collect(frame)
        assert found.schema.remove_metadata() == shape.schema
        assert by_key(found, shape.names[0]) == by_key(wanted, shape.names[0])
    digest = hashlib.sha256((kept.folder / "manifest.json").read_bytes()).hexdigest()
    assert data.snapshot == plain.snapshot == {"id": kept.id, "manifest_sha256": digest}
    assert data.inputs == plain.inputs == kept.manifest["inputs"]
    assert (data.straddles, data.sizes) == (False, None)


def test_a_run_leaves_the_same_files_whatever_computes_it(local_engine: Engine, tmp_path: Path) -> None:
    """From the newest snapshot, as the batch jobs do it; on Spark, see `test_files_in_the_same_files_out`."""
    _, kept = written(tmp_path)
    (tmp_path / "recon.toml").write_text("[run]\nsnapshots = 'snap[s]*'\n", "utf-8")
    runs = [
        jobs.reconcile(tmp_path, engine=name, out=tmp_path / str(place), clock=SetClock(NOW))
        for place, name in enumerate(("auto", local_engine.name))
    ]
    for name in (outputs.MERGED_FILE, outputs.ACTIONS_FILE, outputs.UNUSABLE_FILE):
        assert len({(run.folder / name).read_bytes() for run in runs}) == 1
    usual, found = (run.manifest | {"tool": None, "engine": None} for run in runs)
    assert found == usual
    assert (runs[1].manifest["engine"], runs[1].manifest["snapshot"]["id"]) == (local_engine.name, kept.id)


def test_two_rows_of_one_person_are_refused(engine: Engine, tmp_path: Path) -> None:
    settings, _ = written(tmp_path, again=True)
    with pytest.raises(UsageError, match="people: 1 rows repeat a person_id"):
        jobs.from_snapshot(settings, None, engine.own())


def test_a_damaged_snapshot_is_refused(local_engine: Engine, tmp_path: Path) -> None:
    """Before any engine reads it."""
    settings, kept = written(tmp_path)
    table = pq.read_table(kept.people)
    pq.write_table(table.slice(1), kept.people)
    with pytest.raises(InputRefused, match="people"):
        jobs.from_snapshot(settings, None, local_engine.own())


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [
        ("20261124T180000Z-00000000", InputRefused, "this is no snapshot"),
        ("../other", UsageError, "can't be"),
        (None, UsageError, "no snapshot"),
    ],
    ids=["unknown", "no name", "none at all"],
)
def test_a_snapshot_that_there_is_not_is_refused(
    wanted: str | None, error: type[ReconError], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        jobs.from_snapshot(Settings().with_values(run={"snapshots": str(tmp_path / "none")}), wanted)


def by_key(table: pa.Table, key: str) -> list[dict[str, Any]]:
    return sorted(table.to_pylist(), key=lambda row: str(row[key]))
