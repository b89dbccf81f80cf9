"""A pull holds a page and a few blocks in memory, however many records there are."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

from recon.sandbox.salesforce import records
from tests.sources.test_increments import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sources.conftest import Acme

# Blocks are as small against these few records as they are in truth against millions.
CHILD = """
    import json, sys
    from datetime import datetime
    import pyarrow as pa
    from recon import pulls
    from recon.clock import SetClock
    from recon.settings import Settings
    from recon.sources import history, runs, stored

    runs.BLOCK, runs.FAN_IN, stored.ROW_GROUP, history._GATHERED = 50, 4, 100, 50
    given = json.load(sys.stdin)
    kept = pulls.pull(
        Settings.model_validate(given["settings"]),
        environ=given["environ"],
        clock=SetClock(datetime.fromisoformat(given["now"])),
        sleep=lambda seconds: None,
    )
    print(kept.manifest["rows"]["leads"], pa.default_memory_pool().max_memory())
"""


def peak(folder: Workspace) -> tuple[int, int]:
    """Pull in a process of its own; returns the Leads and the most bytes that tables took."""
    given = {
        "settings": folder.settings.model_dump(mode="json"),
        "environ": folder.acme.environ,
        "now": folder.acme.clock.now().isoformat(),
    }
    command = [sys.executable, "-c", textwrap.dedent(CHILD)]
    done = subprocess.run(command, input=json.dumps(given), text=True, capture_output=True, check=True)
    leads, most = done.stdout.split()
    return int(leads), int(most)


def test_ten_times_the_records_take_hardly_more_memory(acme: Acme, tmp_path: Path) -> None:
    folder = Workspace(acme, tmp_path, bulk_above=0, page_rows=50)

    def insert(leads: int) -> None:
        with acme.store.transaction():
            for n in range(leads):
                records.insert_lead(acme.store, LastName=f"Lead {n}", Company="Acme", Email=f"lead{n}@acme.example")

    insert(200)
    few, little = peak(folder)
    insert(1800)
    many, more = peak(folder)
    assert (few, many) == (200, 2000)
    assert more < 1.1 * little
