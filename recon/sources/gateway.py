"""People from an HTTP gateway in front of Sales Connect, where an account has one of its own.

Sales Connect has no documented public API, so paths, parameters and keys are settings. All pages are read or none: the gateway's own
total is held against the rows, before and after. They go to disk as they come, so that memory doesn't grow with the number of people.
"""

from __future__ import annotations

import re
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from recon.errors import IncompletePull, SettingsError, SourceError
from recon.sources.base import Extract, Input
from recon.sources.content import stream_hash
from recon.sources.gateway_client import GatewayClient
from recon.sources.runs import merged_runs, read_parquet, repeated, write_run
from recon.sources.stored import Stored, store
from recon.sources.vocabulary import LEVELS, SOURCES, STATUS_PAIRS
from recon.tables import PEOPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from recon.clock import Clock
    from recon.progress import Progress
    from recon.settings import GatewaySettings

_AGAIN = "Pull again; people may have been added or removed meanwhile."
_KEYS = "Compare the keys in [sales_connect.gateway] and [sales_connect.columns] with the gateway's answer."
_MISSING = object()
#: People that are gathered before they are written as a run (`recon.sources.runs`).
_GATHERED = 50_000
_NO_COLUMNS: Mapping[str, str] = MappingProxyType({})
_FLAGS = {word: (pair, word == pair[0]) for pair in STATUS_PAIRS for word in pair}
_JSON_FLAGS = ("JSON true", "JSON false")
_TIME = pa.timestamp("us", tz="UTC")
# A time without a zone could be anybody's: it is refused, as the date of an opt-out decides.
_TIME_FORM = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d(:?\d\d)?)$"


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
            hint=f"{_AGAIN} If it stays, check next_key, cursor_parameter and total_key in [sales_connect.gateway].",
        )
    twice: list[int] = []
    stream = repeated(merged_runs(files, "person_id", PEOPLE.schema, folder), "person_id", twice.append)
    kept = store(folder / "people.parquet", stream, PEOPLE.schema)
    if twice[0]:
        raise IncompletePull(f"{twice[0]} people came with an id that was there before, on another page.", hint=_AGAIN)
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
                "api_calls": client.calls,
                "vocabulary": [f"unsubscribed: {'/'.join(pages.flags)}"] if pages.flags else [],
                "unknown_unsubscribe_sources": pages.unknown_sources,
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


def column_keys(mapped: Mapping[str, str]) -> dict[str, str]:
    """Which key of a person is which column of `recon.tables.PEOPLE`.

    Raises
    ------
    SettingsError
        If a column that doesn't exist is mapped.
    """
    if unknown := sorted(set(mapped) - set(PEOPLE.names)):
        raise SettingsError(
            f"sales_connect.columns maps columns that people don't have: {', '.join(unknown)}.",
            hint=f"The columns are {', '.join(PEOPLE.names)}.",
        )
    return {name: mapped.get(name, name) for name in PEOPLE.names}


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
    items = _at(client.page(None, most), client.settings.items_key)
    if not isinstance(items, list):
        raise SourceError(f"the gateway's answer has no list at {client.settings.items_key!r}.", hint=_KEYS)
    return [row["person_id"] for row in _take(items[:most], keys, _Pages())]


def person_row(item: object, keys: Mapping[str, str]) -> dict[str, Any]:
    """One person of the gateway as a row of `recon.tables.PEOPLE`.

    Parameters
    ----------
    item
        What the gateway answered.
    keys
        From `column_keys`.

    Raises
    ------
    IncompletePull, SourceError
        As `read_gateway`.
    """
    row: dict[str, Any] = _table(_take([item], keys, _Pages())).to_pylist()[0]
    return row


@dataclass(slots=True)
class _Pages:
    """What was seen so far."""

    arrived: int = 0
    cursors: set[str] = field(default_factory=set)
    flags: tuple[str, str] | None = None
    unknown_sources: int = 0
    count: int = 0
    total: int = 0


def _all_people(
    client: GatewayClient, settings: GatewaySettings, keys: Mapping[str, str], progress: Progress, seen: _Pages
) -> Iterator[pa.Table]:
    """Everybody, page after page, in the shape of `recon.tables.PEOPLE`."""
    answer = client.page(None, settings.page_size)
    seen.total = _total(answer, settings, "before the pull")
    with progress.task("People", seen.total, "people") as task:
        while True:
            seen.count += 1
            items = _at(answer, settings.items_key)
            if not isinstance(items, list):
                raise SourceError(
                    f"page {seen.count} of the gateway has no list at {settings.items_key!r}.", hint=_KEYS
                )
            yield _table(_take(items, keys, seen))
            task.advance(len(items))
            cursor = _at(answer, settings.next_key)
            # However the gateway says that this was the last page: whether it was, the total tells.
            if cursor is None or cursor == "" or cursor is _MISSING:
                return
            answer = client.page(_next(cursor, items, settings, seen), settings.page_size)
            if (now := _total(answer, settings, f"on page {seen.count + 1}")) != seen.total:
                raise IncompletePull(
                    f"the gateway counted {seen.total} people at first and {now} on page {seen.count + 1}.", hint=_AGAIN
                )


def _next(cursor: object, items: list[Any], settings: GatewaySettings, seen: _Pages) -> str:
    """The next page's cursor, or an error where following it would never end or can't be right."""
    if not isinstance(cursor, str | int) or isinstance(cursor, bool):
        raise SourceError(
            f"page {seen.count} of the gateway has no usable cursor at {settings.next_key!r}.", hint=_KEYS
        )
    if not items or seen.arrived > seen.total:
        raise IncompletePull(
            f"page {seen.count} of the gateway names a next page, with {len(items)} people on it and {seen.arrived} of {seen.total} read.",
            hint=_AGAIN,
        )
    if str(cursor) in seen.cursors:
        raise IncompletePull(f"page {seen.count} of the gateway leads back to a page that was read.", hint=_AGAIN)
    seen.cursors.add(str(cursor))
    return str(cursor)


def _take(items: list[Any], keys: Mapping[str, str], seen: _Pages) -> list[dict[str, Any]]:
    """A page's people, checked; what is known of all pages so far is added to."""
    rows: list[dict[str, Any]] = []
    ids: set[str] = set()
    for position, item in enumerate(items, start=1):
        where = f"page {seen.count} of the gateway, person {position}"
        if not isinstance(item, dict):
            raise SourceError(f"{where}: not an object.", hint=_KEYS)
        row = {name: _at(item, key) for name, key in keys.items()}
        row["unsubscribed"] = _flag(row["unsubscribed"], where, keys["unsubscribed"], seen)
        for column in PEOPLE:
            if column.kind in ("string", "time"):
                row[column.name] = _text(row[column.name], where, keys[column.name])
            if column.kind == "time" and row[column.name] is not None and not re.match(_TIME_FORM, row[column.name]):
                raise SourceError(
                    f"{where}: {keys[column.name]!r} is no time with a zone, like 2026-11-24T04:00:00Z.", hint=_KEYS
                )
        for name in ("person_id", "salesforce_id"):
            row[name] = None if row[name] is None else row[name].strip()
        if row["person_id"] is None:
            raise IncompletePull(f"{where}: no id at {keys['person_id']!r}.", hint=_KEYS)
        if row["person_id"] in ids:
            raise IncompletePull(f"{where}: an id that was there before.", hint=_AGAIN)
        row["unsubscribe_level"] = _level(row["unsubscribe_level"], where, keys["unsubscribe_level"])
        source = row["unsubscribe_source"]
        row["unsubscribe_source"] = None if source is None else SOURCES.get(_plain(source))
        seen.unknown_sources += source is not None and row["unsubscribe_source"] is None
        ids.add(row["person_id"])
        rows.append(row)
    seen.arrived += len(rows)
    return rows


def _flag(value: object, where: str, key: str, seen: _Pages) -> bool:
    """Yes or no, by JSON's own flags or by the words that a file may have, in one vocabulary for all people."""
    if isinstance(value, bool):
        pair, flag = _JSON_FLAGS, value
    else:
        word = str(value).strip().casefold() if isinstance(value, str | int) else ""
        if word not in _FLAGS:
            raise IncompletePull(
                f"{where}: {key!r} is missing, blank or neither yes nor no. Unknown is not 'may be mailed'.", hint=_KEYS
            )
        pair, flag = _FLAGS[word]
    if seen.flags is not None and seen.flags != pair:
        raise IncompletePull(
            f"{where}: {key!r} is written in another vocabulary ({'/'.join(pair)}) than those before it ({'/'.join(seen.flags)}).",
            hint="Two sources may be mixed behind the gateway: one of them may mean something else.",
        )
    seen.flags = pair
    return flag


def _level(text: str | None, where: str, key: str) -> str | None:
    if text is None:
        return None
    if _plain(text) not in LEVELS:
        raise SourceError(f"{where}: {key!r} is none of {', '.join(LEVELS)}.", hint=_KEYS)
    return LEVELS[_plain(text)]


def _plain(text: str) -> str:
    """A word however it is spelled on screen ("Clicked Link")."""
    return re.sub(r"[\s_-]+", "_", text.strip().casefold())


def _text(value: object, where: str, key: str) -> str | None:
    if value is _MISSING or value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise SourceError(f"{where}: {key!r} is no text.", hint=_KEYS)


def _total(answer: Any, settings: GatewaySettings, when: str) -> int:
    total = _at(answer, settings.total_key)
    if not isinstance(total, int) or isinstance(total, bool):
        raise IncompletePull(
            f"the gateway doesn't say {when} how many people there are: no number at {settings.total_key!r}.",
            hint=_KEYS,
        )
    return total


def _at(value: Any, path: str) -> Any:
    """What stands at a dotted path, or _MISSING."""
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return _MISSING
        value = value[key]
    return value


def _table(people: list[dict[str, Any]]) -> pa.Table:
    columns = {}
    for column in PEOPLE:
        values = [person[column.name] for person in people]
        if column.kind != "time":
            columns[column.name] = pa.array(values, column.arrow)
            continue
        try:
            columns[column.name] = pa.array(values, pa.string()).cast(_TIME)
        except pa.ArrowInvalid:
            raise SourceError(f"the gateway gave a time in {column.name} that doesn't exist.", hint=_KEYS) from None
    return PEOPLE.conform(pa.table(columns))
