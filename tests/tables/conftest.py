"""The engine fixtures: a test that asks for one runs on every engine; those on Spark bear its mark, see `make test-spark`."""

from __future__ import annotations

import pytest

from tests.tables.engines import ENGINES, LOCAL, Engine


@pytest.fixture(
    scope="session",
    params=[*LOCAL, *(pytest.param(name, marks=pytest.mark.spark) for name in ENGINES if name not in LOCAL)],
)
def engine(request: pytest.FixtureRequest) -> Engine:
    """One engine after the other."""
    return ENGINES[request.param]


@pytest.fixture(scope="session", params=list(LOCAL))
def local_engine(request: pytest.FixtureRequest) -> Engine:
    """One engine after the other, without Spark: for tests of many calls."""
    return ENGINES[request.param]
