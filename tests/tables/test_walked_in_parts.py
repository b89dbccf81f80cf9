"""Clusters that are walked some at a time: the same paths as all at once, and never more on the driver than was said."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from recon import paths
from recon.reconcile import reconcile
from recon.settings import Settings
from recon.tables import PEOPLE, RECORDS
from tests.tables.engines import ENGINES, Watched, run, table_of
from tests.tables.test_every_small_world import Maker, chains

if TYPE_CHECKING:
    import pyarrow as pa

    from tests.tables.engines import Engine
    from tests.tables.reference import Row


@pytest.fixture(scope="module")
def rows() -> tuple[list[Row], list[Row]]:
    worlds = [*chains(Maker(number) for number in itertools.count(1))]
    return [row for world in worlds for row in world.people], [row for world in worlds for row in world.records]


@pytest.mark.parametrize("at_once", [1, 7, 40])
def test_the_paths_are_the_same(
    local_engine: Engine, rows: tuple[list[Row], list[Row]], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings()
    wanted = run(local_engine, *rows, settings)
    monkeypatch.setattr(paths, "WALKED_AT_ONCE", at_once)
    assert run(local_engine, *rows, settings) == wanted
    far = [row for row in wanted[1] if row["path"] is not None and row["path"].count("]->") > 2]
    assert len(far) > 10


def test_no_more_is_walked_at_once(rows: tuple[list[Row], list[Row]], monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[int] = []
    whole = paths._walked

    def noted(told: pa.Table) -> pa.Table:
        walked.append(told.num_rows)
        return whole(told)

    monkeypatch.setattr(paths, "_walked", noted)
    monkeypatch.setattr(paths, "WALKED_AT_ONCE", 40)
    engine = Watched(ENGINES["duckdb"].own())
    people, records = (table_of(part, shape) for part, shape in zip(rows, (PEOPLE, RECORDS), strict=True))
    assert len(reconcile(people, records, Settings(), engine=engine).actions)
    assert len(walked) > 3
    assert max(walked) <= 40
