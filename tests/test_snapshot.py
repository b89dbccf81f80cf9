"""Snapshots: whole or not there, the same bytes for the same rows, and any later change is noticed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recon import snapshot
from recon.clock import SetClock
from recon.errors import InputRefused, ReconError, UsageError
from recon.settings import Settings
from recon.sources.base import Input
from recon.sources.pulling import Pulled
from recon.tables import PEOPLE, RECORDS

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
SETTINGS = Settings().with_values(
    salesforce={"instance_url": "https://acme.my.salesforce.com"}, run={"people": "/home/ann/people.csv"}
)


def pulled(*people: str, **values: Any) -> Pulled:
    rows = [{"person_id": person, "unsubscribed": False} for person in people]
    records = [
        {
            "record_id": f"00Q00000000000{n}AAA",
            "object": kind,
            "opted_out": True,
            "is_converted": False,
            "is_deleted": n > 1,
        }
        for n, kind in enumerate(("Lead", "Contact", "Lead"))
    ]
    given = {
        "people": PEOPLE.conform(pa.Table.from_pylist(rows, schema=PEOPLE.schema)),
        "records": RECORDS.conform(pa.Table.from_pylist(records, schema=RECORDS.schema)),
        "inputs": (
            Input(
                "people", "gateway.example.com: GET /people", "gateway", len(people), started_at=NOW, finished_at=NOW
            ),
        ),
        "straddles": False,
    }
    return Pulled(**(given | values))


def write(folder: Path, *people: str, at: datetime = NOW, **values: Any) -> snapshot.Snapshot:
    return snapshot.write(folder, pulled(*(people or ("p1", "p2")), **values), SETTINGS, clock=SetClock(at))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    kept = write(tmp_path / "a" / "snapshots", "p2", "p1")
    assert re.fullmatch(r"20261124T180000Z-[0-9a-f]{8}", kept.id)
    assert kept.folder == tmp_path / "a" / "snapshots" / kept.id
    assert sorted(file.name for file in kept.folder.iterdir()) == ["manifest.json", "people.parquet", "records.parquet"]
    assert pq.read_table(kept.people).column("person_id").to_pylist() == ["p1", "p2"]
    assert pq.read_schema(kept.people).remove_metadata() == PEOPLE.schema
    assert pq.read_schema(kept.records).remove_metadata() == RECORDS.schema
    assert snapshot.read(kept.folder) == kept
    assert snapshot.newest(kept.folder.parent) == kept


def test_the_manifest_says_what_is_there(tmp_path: Path) -> None:
    kept = write(tmp_path)
    text = (kept.folder / "manifest.json").read_text(encoding="utf-8")
    manifest = json.loads(text)
    assert manifest == kept.manifest
    assert text == json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert manifest["created_at"] == "2026-11-24T18:00:00Z"
    assert manifest["rows"] == {"people": 2, "leads": 2, "contacts": 1, "deleted": 1}
    assert manifest["straddles"] is False
    assert manifest["inputs"][0]["started_at"] == "2026-11-24T18:00:00Z"
    assert manifest["settings"]["salesforce"]["consumer_secret_env"] == "RECON_SF_CONSUMER_SECRET"
    assert "/home/ann" not in text
    assert set(manifest["tool"]) == {"recon", "python", "pyarrow"}
    for name, file in (("people", kept.people), ("records", kept.records)):
        said = manifest["tables"][name]
        assert said["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert (said["bytes"], said["rows"]) == (file.stat().st_size, pq.read_metadata(file).num_rows)


def test_same_rows_same_bytes(tmp_path: Path) -> None:
    one = write(tmp_path / "one", "p1", "p2")
    other = write(tmp_path / "other", "p2", "p1")
    assert one.id == other.id
    for name in ("people.parquet", "records.parquet", "manifest.json"):
        assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes()
    again = write(tmp_path / "one", "p1", "p2")
    assert again == one
    assert write(tmp_path / "one", "p1", "p3").id != one.id


@pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")
def test_it_is_for_its_owner_alone(tmp_path: Path) -> None:
    assert stat.S_IMODE(write(tmp_path).folder.stat().st_mode) == 0o700


def test_no_rows_at_all(tmp_path: Path) -> None:
    kept = snapshot.write(
        tmp_path, Pulled(PEOPLE.empty(), RECORDS.empty(), (), straddles=None), SETTINGS, clock=SetClock(NOW)
    )
    assert kept.manifest["rows"] == {"people": 0, "leads": 0, "contacts": 0, "deleted": 0}
    assert kept.manifest["straddles"] is None
    assert pq.read_table(kept.people).num_rows == 0


def test_the_newest_is_the_newest_whole_one(tmp_path: Path) -> None:
    write(tmp_path, at=NOW - timedelta(days=1))
    kept = write(tmp_path)
    write(tmp_path, at=NOW - timedelta(hours=1))
    for other in (".unfinished-abc", "20991124T180000Z-zzzzzzzz", "notes"):
        (tmp_path / other).mkdir()
    (tmp_path / ".unfinished-abc" / "people.parquet").write_bytes(b"PAR1")
    assert snapshot.newest(tmp_path) == kept


def test_without_any_it_says_what_to_do(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="recon pull"):
            snapshot.newest(folder)


@pytest.mark.parametrize("name", ["people.parquet", "records.parquet", "manifest.json"])
def test_every_damage_is_noticed(tmp_path: Path, name: str) -> None:
    kept = write(tmp_path)
    file = kept.folder / name
    whole = file.read_bytes()
    half = whole[: len(whole) // 2]
    flipped = bytes([whole[0] ^ 1]) + whole[1:]
    last = whole[:-1] + bytes([whole[-1] ^ 1])
    for damaged in (b"", half, flipped, last, whole + b" x"):
        file.write_bytes(damaged)
        with pytest.raises(InputRefused) as caught:
            snapshot.newest(tmp_path)
        assert name in str(caught.value)
        assert "recon pull" in str(caught.value)
    file.unlink()
    with pytest.raises(InputRefused, match="missing"):
        snapshot.read(kept.folder)
    file.mkdir()
    with pytest.raises(InputRefused, match="can't be read"):
        snapshot.read(kept.folder)
    file.rmdir()
    file.write_bytes(whole)
    assert snapshot.read(kept.folder) == kept


def test_both_damaged_files_are_named(tmp_path: Path) -> None:
    kept = write(tmp_path)
    kept.people.write_bytes(b"x")
    kept.records.unlink()
    with pytest.raises(InputRefused) as caught:
        snapshot.read(kept.folder)
    assert len(caught.value.problems) == 2


def test_a_changed_manifest_is_noticed(tmp_path: Path) -> None:
    kept = write(tmp_path)
    file = kept.folder / "manifest.json"

    def refused(**values: Any) -> str:
        file.write_text(json.dumps(kept.manifest | values), encoding="utf-8")
        with pytest.raises(InputRefused) as caught:
            snapshot.read(kept.folder)
        return str(caught.value)

    assert "was changed" in refused(straddles=None)
    assert "was changed" in refused(created_at="2026-11-24T18:00:01Z")
    assert "was changed" in refused(id="20261124T180000Z-00000000")
    assert "of another" in refused(schema=2)
    file.write_text("[]", encoding="utf-8")
    with pytest.raises(InputRefused, match="of another"):
        snapshot.read(kept.folder)


def test_a_renamed_folder_is_noticed(tmp_path: Path) -> None:
    kept = write(tmp_path)
    other = kept.folder.rename(tmp_path / "20261125T180000Z-00000000")
    with pytest.raises(InputRefused, match="folder's name was changed"):
        snapshot.read(other)


def test_files_of_another_version_are_refused(tmp_path: Path) -> None:
    """The hashes agree, but the columns are others: as if a later recon had written it and kept its number."""
    kept = write(tmp_path)
    pq.write_table(pq.read_table(kept.people).drop_columns(["email"]), kept.people)
    manifest = {key: value for key, value in kept.manifest.items() if key != "id"}
    manifest["tables"]["people"]["sha256"] = hashlib.sha256(kept.people.read_bytes()).hexdigest()
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    manifest["id"] = f"20261124T180000Z-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    (kept.folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(InputRefused, match="another version wrote it"):
        snapshot.read(kept.folder.rename(tmp_path / manifest["id"]))


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    broken = RECORDS.schema.empty_table().drop_columns(["record_id"])
    with pytest.raises(ValueError, match="record_id"):
        write(tmp_path, records=broken)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ReconError, match="can't be written to"):
        write(tmp_path / "file" / "snapshots")
