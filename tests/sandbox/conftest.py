"""A Salesforce for each test, all on one port."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from recon.sandbox.salesforce.auth import Org
from tests.sandbox.sf_server import Server, Slot, serve

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def sf_slot() -> Iterator[Slot]:
    """The server; see `sf`."""
    slot = Slot()
    yield slot
    slot.serving.stop()


@pytest.fixture
def org() -> Org:
    """The org that `sf` serves: a test that needs another one parametrizes or overrides this."""
    return Org()


@pytest.fixture
def sf(sf_slot: Slot, org: Org) -> Iterator[Server]:
    """A Salesforce without records, with an open session."""
    with serve(sf_slot, org) as server:
        yield server
