"""What a notebook asks of a snapshot, on every engine: what other settings would change, and whom a question is about.

The notebooks ask DuckDB; nothing in the answers may depend on it.
"""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from recon.explore.find import example, find, joined
from recon.explore.what_if import compare
from recon.jobs import Data
from recon.settings import Settings
from recon.tables import PEOPLE, RECORDS
from tests.tables.engines import table_of
from tests.tables.test_every_small_world import FAMILIES, Maker

if TYPE_CHECKING:
    from recon.explore.what_if import WhatIf
    from tests.tables.engines import Engine


@pytest.fixture(scope="module")
def data() -> Data:
    numbers = (Maker(number) for number in itertools.count(1))
    worlds = [world for family in FAMILIES for world in itertools.islice(family(numbers), 0, 80, 2)]
    people = [row for world in worlds for row in world.people]
    records = [row for world in worlds for row in world.records]
    return Data(table_of(people, PEOPLE), table_of(records, RECORDS), [], None, None)


def ask(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on this engine is asked in place of the usual one."""
    for asking in (compare, find):
        monkeypatch.setattr(sys.modules[asking.__module__], "engine_named", lambda name, **options: engine.own())


def test_what_other_settings_would_change(engine: Engine, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> WhatIf:
        return compare(data, Settings(), sync_enabled=False, opt_out_field=None, show_addresses=True)

    wanted = asked()
    ask(engine, monkeypatch)
    found = asked()
    assert found.changed_records == wanted.changed_records > 20
    assert found.changed_predictions == wanted.changed_predictions > 20
    for name in ("categories", "totals", "changed"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(wanted, name))


def test_whom_a_question_is_about(engine: Engine, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = joined(data, Settings())
    ask(engine, monkeypatch)
    among = joined(data, Settings())
    assert example(among) == example(usual) is not None
    person, record = data.people.to_pylist()[7], data.records.to_pylist()[3]
    for query in (person["email"].upper(), f" {person['person_id']}", record["record_id"][:15]):
        found = find(among, query)
        assert found == find(usual, query)
        assert len(found.asked) == found.persons == 1
    assert find(among, "nobody@x.example").persons == 0
