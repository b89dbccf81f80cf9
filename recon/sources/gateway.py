"""People from an HTTP gateway in front of Sales Connect, where an account has one of its own.

Sales Connect has no documented public API, so paths, parameters and keys are settings. All pages are read or none: the gateway's own
total is held against the rows, before and after. They go to disk as they come, so that memory doesn't grow with the number of people.

A cursor that counts rows shows that: it is the number of people who were read so far. Where one of those is removed then, all that follow
move up, and the next page leaves one out; where another one is added meanwhile, the total doesn't tell. So such a page is asked for from the
last person of the page before, who must be the first one on it.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import requests

from recon.errors import IncompletePull, SettingsError, SourceError
from recon.sources.base import Extract, Input
from recon.sources.content import stream_hash
from recon.sources.gateway_client import GatewayClient
from recon.sources.gateway_rows import AGAIN, KEYS, MISSING, Words, at, column_keys, people_rows, people_table
from recon.sources.runs import merged_runs, read_parquet, repeated, write_run
from recon.sources.stored import Stored, store
from recon.tables import PEOPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from recon.clock import Clock
    from recon.progress import Progress
    from recon.settings import GatewaySettings

#: People that are gathered before they are written as a run (`recon.sources.runs`).
_GATHERED = 50_000
#: What a gateway answers that takes only cursors that it gave.
_NOT_SO = (requests.codes.bad_request, requests.codes.unprocessable)
_NO_COLUMNS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PeoplePulled:
    """Everybody, on disk.

    Attributes
    ----------
    people
        A Parquet file in the shape of `recon.tables.PEOPLE`, sorted by `person_id`.
    source
        The input `people`.
    """

    people: Stored
    source: Input


def read_gateway(
    settings: GatewaySettings,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    progress: Progress,
    columns: Mapping[str, str] = _NO_COLUMNS,
    sleep: Callable[[float], None] = time.sleep,
) -> Extract:
    """Read all people from the gateway into memory; see `pull_gateway`, which doesn't need it.

    Returns
    -------
    Extract
        A table in the shape of `recon.tables.PEOPLE`, sorted by `person_id`; one input, `people`.
    """
    with tempfile.TemporaryDirectory(prefix="recon-pull-") as name:
        found = pull_gateway(
            settings,
            Path(name),
            environ=environ,
            clock=clock,
            progress=progress,
            columns=columns,
            sleep=sleep,
        )
        return Extract(pq.read_table(found.people.file, schema=PEOPLE.schema), (found.source,))


def pull_gateway(
    settings: GatewaySettings,
    folder: Path,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    progress: Progress,
    columns: Mapping[str, str] = _NO_COLUMNS,
    sleep: Callable[[float], None] = time.sleep,
) -> PeoplePulled:
    """Read all people from the gateway to disk.

    Parameters
    ----------
    settings
        Where the gateway is, and how its answers look. Keys may be paths, like `data.people`.
    folder
        Where people.parquet goes, and what is needed on the way.
    environ
        Holds the bearer token.
    clock
        Tells when the pull began and ended.
    progress
        Shows how far it is.
    columns
        Which key of a person is which column, where it isn't the column's own name; `[sales_connect.columns]`.
    sleep
        Waits before something is asked for again.

    Raises
    ------
    SettingsError
        If the address or the token is missing, or a column that doesn't exist is mapped.
    IncompletePull
        If what arrived isn't provably everybody, or a person has no id or no unsubscribed flag.
    AccessRefused, SourceError
        If the gateway refuses, can't be reached, or answers in another shape.
    """
    if settings.url is None:
        raise SettingsError(
            "sales_connect.gateway.url is not set.",
            hint="Write the gateway's address, or name a file in run.people instead.",
        )
    keys = column_keys(columns)
    client = GatewayClient(settings, environ, sleep)
    started_at = clock.now()
    pages = _Pages()
    try:
        files = _runs(_all_people(client, settings, keys, progress, pages), folder)
        after = _total(client.page(None, 1), settings, "after the pull")
    finally:
        client.close()
    if not pages.arrived == pages.total == after:
        raise IncompletePull(
            f"the gateway counted {pages.total} people before the pull and {after} after it; {pages.arrived} arrived on {pages.count} pages.",
            hint=f"{AGAIN} If it stays, check next_key, cursor_parameter and total_key in [sales_connect.gateway].",
        )
    twice: list[int] = []
    stream = repeated(merged_runs(files, "person_id", PEOPLE.schema, folder), "person_id", twice.append)
    kept = store(folder / "people.parquet", stream, PEOPLE.schema)
    if twice[0]:
        raise IncompletePull(f"{twice[0]} people came with an id that was there before, on another page.", hint=AGAIN)
    for file in files:
        file.unlink()
    return PeoplePulled(
        kept,
        Input(
            name="people",
            origin=f"{client.host}: GET {settings.list_path}",
            kind="gateway",
            rows=kept.rows,
            sha256=stream_hash(read_parquet(kept.file, PEOPLE.schema), PEOPLE.schema),
            started_at=started_at,
            finished_at=clock.now(),
            details={
                "pages": pages.count,
                "counted": pages.total,
                "overlapping_pages": pages.overlapping,
                "api_calls": client.calls,
                "vocabulary": [f"unsubscribed: {'/'.join(pages.words.flags)}"] if pages.words.flags else [],
                "unknown_unsubscribe_sources": pages.words.unknown_sources,
                "columns": [f"{name} = {key}" for name, key in sorted(keys.items()) if name != key],
            },
        ),
    )


def _runs(tables: Iterator[pa.Table], folder: Path) -> list[Path]:
    """Write people, some thousand at a time, as sorted runs."""
    files: list[Path] = []
    waiting: list[pa.Table] = []

    def write() -> None:
        files.append(folder / f"people-{len(files) + 1:05d}.run")
        write_run(files[-1], [pa.concat_tables(waiting).sort_by("person_id")], PEOPLE.schema)
        waiting.clear()

    for table in tables:
        waiting.append(table)
        if sum(each.num_rows for each in waiting) >= _GATHERED:
            write()
    if waiting:
        write()
    return files


def listed(client: GatewayClient, keys: Mapping[str, str], most: int) -> list[str]:
    """The ids of the first people whom the gateway lists.

    Parameters
    ----------
    keys
        From `column_keys`.
    most
        How many.

    Raises
    ------
    IncompletePull, SourceError
        As `read_gateway`.
    """
    items = at(client.page(None, most), client.settings.items_key)
    if not isinstance(items, list):
        raise SourceError(f"the gateway's answer has no list at {client.settings.items_key!r}.", hint=KEYS)
    return [row["person_id"] for row in people_rows(items[:most], keys, Words(), 0)]


@dataclass(slots=True)
class _Pages:
    """What was seen so far.

    Attributes
    ----------
    last
        The last person's id.
    overlapping
        How many pages began with the last person of the page before.
    overlaps
        Whether a page may be asked for like that.
    """

    last: str | None = None
    overlapping: int = 0
    overlaps: bool = True
    arrived: int = 0
    cursors: set[str] = field(default_factory=set)
    words: Words = field(default_factory=Words)
    count: int = 0
    total: int = 0


def _all_people(
    client: GatewayClient, settings: GatewaySettings, keys: Mapping[str, str], progress: Progress, seen: _Pages
) -> Iterator[pa.Table]:
    """Everybody, page after page, in the shape of `recon.tables.PEOPLE`."""
    answer = client.page(None, settings.page_size)
    overlap = False
    seen.total = _total(answer, settings, "before the pull")
    with progress.task("People", seen.total, "people") as task:
        while True:
            seen.count += 1
            items = at(answer, settings.items_key)
            if not isinstance(items, list):
                raise SourceError(f"page {seen.count} of the gateway has no list at {settings.items_key!r}.", hint=KEYS)
            if overlap:
                items = _after_last(items, keys, seen)
            rows = people_rows(items, keys, seen.words, seen.count)
            seen.arrived += len(rows)
            seen.last = rows[-1]["person_id"] if rows else None
            yield people_table(rows)
            task.advance(len(items))
            cursor = at(answer, settings.next_key)
            # However the gateway says that this was the last page: whether it was, the total tells.
            if cursor is None or cursor == "" or cursor is MISSING:
                return
            answer, overlap = _following(client, _next(cursor, items, settings, seen), seen)
            if (now := _total(answer, settings, f"on page {seen.count + 1}")) != seen.total:
                raise IncompletePull(
                    f"the gateway counted {seen.total} people at first and {now} on page {seen.count + 1}.", hint=AGAIN
                )


def _following(client: GatewayClient, cursor: str, seen: _Pages) -> tuple[Any, bool]:
    """The next page, and whether it begins with the last person of the page before."""
    size = client.settings.page_size
    # Not the id of a person, nor (after two people) the number of the next page.
    counts = cursor == str(seen.arrived) != seen.last and seen.arrived > 2
    if counts and seen.overlaps:
        try:
            return client.page(str(seen.arrived - 1), size + 1), True
        except SourceError as error:
            if error.status not in _NOT_SO:
                raise
            seen.overlaps = False
    return client.page(cursor, size), False


def _after_last(items: list[Any], keys: Mapping[str, str], seen: _Pages) -> list[Any]:
    """A page without its first person, who was the last one of the page before."""
    first = people_rows(items[:1], keys, Words(), seen.count)
    if not first or first[0]["person_id"] != seen.last:
        raise IncompletePull(
            f"page {seen.count} of the gateway doesn't go on where page {seen.count - 1} ended: people moved from one to the other.",
            hint=AGAIN,
        )
    seen.overlapping += 1
    return items[1:]


def _next(cursor: object, items: list[Any], settings: GatewaySettings, seen: _Pages) -> str:
    """The next page's cursor, or an error where following it would never end or can't be right."""
    if not isinstance(cursor, str | int) or isinstance(cursor, bool):
        raise SourceError(f"page {seen.count} of the gateway has no usable cursor at {settings.next_key!r}.", hint=KEYS)
    if not items or seen.arrived > seen.total:
        raise IncompletePull(
            f"page {seen.count} of the gateway names a next page, with {len(items)} people on it and {seen.arrived} of {seen.total} read.",
            hint=AGAIN,
        )
    if str(cursor) in seen.cursors:
        raise IncompletePull(f"page {seen.count} of the gateway leads back to a page that was read.", hint=AGAIN)
    seen.cursors.add(str(cursor))
    return str(cursor)


def _total(answer: Any, settings: GatewaySettings, when: str) -> int:
    total = at(answer, settings.total_key)
    if not isinstance(total, int) or isinstance(total, bool):
        raise IncompletePull(
            f"the gateway doesn't say {when} how many people there are: no number at {settings.total_key!r}.",
            hint=KEYS,
        )
    return total
