"""The engine fixture: a test that asks for it runs on every engine."""

from __future__ import annotations

import pytest

from tests.tables.engines import ENGINES, Engine


@pytest.fixture(scope="session", params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    """One engine after the other."""
    return ENGINES[request.param]
