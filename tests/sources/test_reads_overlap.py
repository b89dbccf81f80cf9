"""Several reads of a pull really are under way at once: no answer comes before the other reads have asked."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

import pytest

from recon.sandbox.salesforce import records

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tests.sources.conftest import Acme, Serve

#: Seconds that a read waits for the others. Only a pull that reads one after the other waits that long, and its test fails.
PATIENCE = 20.0
RECORDS = r"SELECT Id, .* FROM (Lead|Contact)\b"
RECORDS_AND_HISTORY = r"SELECT (Lead|Contact)?Id, .* FROM (Lead|Contact)(History)?\b"
CHANGED_MEANWHILE = r"FROM (Lead|Contact)History .* AND CreatedDate >= "
PAGES = r"/jobs/query/\w+/results"


class Meeting:
    """Holds the first answer to each read back until so many of them have been asked for.

    Attributes
    ----------
    most
        How many of them were under way at once at most.
    alone
        Reads that nobody came to.
    """

    def __init__(self, app: ASGIApp, reads: str, together: int) -> None:
        self._app, self._reads, self._together = app, re.compile(reads), together
        self._came: set[str] = set()
        self._under_way = 0
        self._all = asyncio.Event()
        self.most = 0
        self.alone: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        met = self._reads.search(scope["path"] + "?" + unquote_plus(scope["query_string"].decode()))
        if met is None or met[0] in self._came:
            await self._app(scope, receive, send)
            return
        self._came.add(met[0])
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        if len(self._came) == self._together:
            self._all.set()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._all.wait()
        except TimeoutError:
            self.alone.append(met[0])
            self._all.set()

        async def answer(message: Message) -> None:
            # Before the client can have the answer, and ask for more.
            self._under_way -= message["type"] == "http.response.start"
            await send(message)

        await self._app(scope, receive, answer)


@pytest.fixture
def org(acme: Acme) -> Acme:
    for number in range(3):
        records.insert_lead(acme.store, LastName=f"Lead {number}", Company="Acme")
        records.insert_contact(acme.store, LastName=f"Contact {number}")
    return acme


@pytest.mark.parametrize(
    ("reads", "together", "values"),
    [
        (RECORDS, 2, {"parallel_reads": 2}),
        (RECORDS_AND_HISTORY, 4, {"parallel_reads": 4}),
        (RECORDS_AND_HISTORY, 4, {"parallel_reads": 8}),
        (CHANGED_MEANWHILE, 2, {"parallel_reads": 2}),
        (PAGES, 2, {"parallel_reads": 2, "bulk_above": 0}),
        # No more than the setting says: the fourth read begins where one of the three has ended.
        (RECORDS_AND_HISTORY, 3, {"parallel_reads": 3}),
        (RECORDS_AND_HISTORY, 1, {"parallel_reads": 1}),
    ],
)
def test_both_objects_and_their_histories_are_read_at_once(
    org: Acme, serve: Serve, reads: str, together: int, values: dict[str, int]
) -> None:
    meeting = Meeting(org.wire, reads, together)
    org.url = serve(meeting)
    extract = org.pull(**values)
    assert (meeting.alone, meeting.most) == ([], together)
    assert extract.table.num_rows == 6
