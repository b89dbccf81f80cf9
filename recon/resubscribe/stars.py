"""The records that a plan cleared, read again, each with those that the nightly sync joins to it.

What the sync joins is a record of Salesforce and the people that hold its id. Who holds it can be asked of no system record by record, so
the snapshots tell; whether it is still so, the records themselves.

What was read is kept in a spool: a plan may have more records than there is memory for.
"""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from datetime import datetime
from functools import cached_property
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Self

from recon import snapshot
from recon.errors import UsageError
from recon.progress import Progress
from recon.resubscribe.rereading import Extracted, Links, LivePeople, LiveRecords, Now
from recon.sources.calls import cost
from recon.sources.quota import day

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from recon.progress import Task
    from recon.resubscribe.plan_file import Plan
    from recon.resubscribe.spool import Spool
    from recon.settings import Settings
    from recon.snapshot import Snapshot
    from recon.sources.gateway_client import GatewayClient
    from recon.sources.salesforce_session import Connection

_SALESFORCE, _SALES_CONNECT = "salesforce", "sales_connect"
#: Records that are read together: a multiple of those that one call asks for, so that no call asks for fewer.
_AT_A_TIME = 10_000
#: Records whose stars are put together at once. The links are looked through for each such part.
STARS = 5000


class Reading:
    """Reads both systems: live where they can be, else the newest snapshot. A context manager.

    Parameters
    ----------
    plan
        The plan; its fields are the ones that are looked at.
    loaded
        The settings.
    now
        The moment.
    environ
        Holds the secrets.
    progress
        Shows how far it is.
    spool
        Where it is kept what was read.

    Raises
    ------
    SourceError
        If a system can't be reached.
    """

    def __init__(
        self,
        plan: Plan,
        loaded: Settings,
        now: datetime,
        environ: Mapping[str, str],
        progress: Progress,
        spool: Spool,
    ) -> None:
        self._plan, self._loaded, self._now = plan, loaded, now
        self._progress = progress
        self._snapshots = _snapshots(plan, loaded)
        self._known = _Known(spool)
        self._connection: Connection | None = None
        self._client: GatewayClient | None = None
        with ExitStack() as opened:
            self._readers = self._open(environ, opened)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def cost(self) -> dict[str, Any]:
        """The calls so far, for a file: by system and kind, and what Salesforce says of the day's."""
        return {"api_calls_by_kind": cost(self._connection, self._client), "api_quota": day(self._connection)}

    def read(self, looked_at: Iterable[str]) -> None:
        """Read records, by `system:id`, and those that the sync joins to them. Raises SourceError."""
        self._known.want(looked_at, asked=True)
        self._more()
        for uids in self._known.asked():
            _, around = self._around(uids)
            self._known.want(uid for each in around.values() for uid in each)
        self._more()

    def stars(self, looked_at: Sequence[str]) -> dict[str, tuple[Now, list[Now]]]:
        """Some of the records that were read: each as it is now, and those that the sync joins to it. What can't be read is left out.

        Parameters
        ----------
        looked_at
            Some of what `read` was given.
        """
        centres, around = self._around(looked_at)
        read = self._known.of({*looked_at, *(uid for uids in around.values() for uid in uids)})
        return {uid: (read[uid], _joined(read, centres[uid], around[uid])) for uid in looked_at if uid in read}

    def _around(self, looked_at: Sequence[str]) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
        """Of each record the ids in Salesforce by which the sync joins others to it, and those others, by `system:id`."""
        people = [uid for uid in looked_at if uid.startswith(f"{_SALES_CONNECT}:")]
        linked = self._links.records_of(_ids(_SALES_CONNECT, people))
        read = self._known.of(people)
        centres: dict[str, set[str]] = {uid: {uid.partition(":")[2]} for uid in looked_at}
        for uid in people:
            now = read.get(uid)
            centres[uid] = linked.get(uid.partition(":")[2], set())
            if now is not None:
                centres[uid] = set() if now.link is None else {now.link}
        ids = {one for centre in centres.values() for one in centre}
        holders = self._links.people_of(ids)
        # People who were linked to it since the snapshots, and are looked at themselves.
        since = self._known.asked_with(ids)
        around: dict[str, set[str]] = {}
        for uid, centre in centres.items():
            joined = {f"{_SALES_CONNECT}:{each}" for one in centre for each in holders.get(one, ())}
            joined.update(each for one in centre for each in since.get(one, ()))
            around[uid] = ({f"{_SALESFORCE}:{one}" for one in centre} | joined) - {uid}
        return centres, around

    @cached_property
    def _links(self) -> Links:
        return Links(self._snapshots)

    def _more(self) -> None:
        """Read what is wanted and wasn't read yet."""
        for system, read in self._readers.items():
            total = self._known.unread(system)
            if not total:
                continue
            with ExitStack() as shown:
                progress = _AsOne(self._progress, total, shown)
                for ids in self._known.each_unread(system):
                    self._known.add(read(ids, progress).values())

    def _open(
        self, environ: Mapping[str, str], opened: ExitStack
    ) -> dict[str, Callable[[Iterable[str], Progress], dict[str, Now]]]:
        from recon.sources.discovery import discover
        from recon.sources.gateway_client import GatewayClient
        from recon.sources.salesforce_session import connect

        extracted = Extracted(self._snapshots[0]) if self._snapshots else None
        readers: dict[str, Callable[[Iterable[str], Progress], dict[str, Now]]] = {}
        if extracted is not None:
            readers = {_SALESFORCE: extracted.records, _SALES_CONNECT: extracted.people}
        if self._loaded.salesforce.instance_url is not None:
            self._connection = connection = connect(self._loaded.salesforce, environ=environ)
            opened.callback(connection.close)
            targets: dict[str, tuple[str, ...]] = {}
            lead, contact = discover(connection, self._loaded.salesforce)
            targets.update((each.object, each.targets) for each in (lead, contact))
            # A person account is read as the Contact that it is.
            own = (step for step in self._plan.steps if step.system == _SALESFORCE and step.account is None)
            targets.update((step.object, step.fields) for step in own)
            readers[_SALESFORCE] = LiveRecords(connection, targets, self._now, contact.person_targets).read
        side = self._loaded.sales_connect
        if side.gateway.url is not None:
            self._client = client = GatewayClient(side.gateway, environ)
            opened.callback(client.close)
            readers[_SALES_CONNECT] = LivePeople(client, side.columns, self._now).read
        return readers


class _Known:
    """The records that are to be read, and as they were read, in a spool."""

    def __init__(self, spool: Spool) -> None:
        self._db = spool.db
        self._table = spool.table("uid PRIMARY KEY NOT NULL, asked NOT NULL, link, now")
        # One that is looked at, by what it is linked to.
        self._db.execute(f"CREATE INDEX {self._table}_link ON {self._table} (link) WHERE link IS NOT NULL")

    def want(self, uids: Iterable[str], *, asked: bool = False) -> None:
        """Have records read, unless they were; `asked`: they are looked at themselves."""
        insert = f"INSERT OR IGNORE INTO {self._table} VALUES (?, ?, NULL, NULL)"  # noqa: S608 - a name of `Spool.table`
        self._db.executemany(insert, ((uid, asked) for uid in uids))

    def add(self, read: Iterable[Now]) -> None:
        """Keep records as they were read."""
        insert = (
            f"INSERT INTO {self._table} VALUES (?, FALSE, ?, ?) "  # noqa: S608 - as above
            "ON CONFLICT (uid) DO UPDATE SET link = excluded.link, now = excluded.now"
        )
        self._db.executemany(insert, ((now.uid, now.link, _packed(now)) for now in read))

    def of(self, uids: Iterable[str]) -> dict[str, Now]:
        """Some of them as they were read, those left out that weren't."""
        where = f"SELECT uid, now FROM {self._table} WHERE now IS NOT NULL AND uid IN (SELECT value FROM json_each(?))"  # noqa: S608 - as above
        return {uid: _unpacked(text) for uid, text in self._db.execute(where, (json.dumps(list(uids)),))}

    def asked(self) -> Iterator[list[str]]:
        """Those that are looked at, some at a time."""
        return _parts(self._each("asked"), STARS)

    def asked_with(self, links: Iterable[str]) -> dict[str, list[str]]:
        """Id of a record -> those that are looked at and linked to it."""
        where = f"SELECT link, uid FROM {self._table} WHERE asked AND link IN (SELECT value FROM json_each(?))"  # noqa: S608 - as above
        found: dict[str, list[str]] = {}
        for link, uid in self._db.execute(where, (json.dumps(list(links)),)):
            found.setdefault(link, []).append(uid)
        return found

    def unread(self, system: str) -> int:
        """How many of a system are wanted and weren't read."""
        count = f"SELECT count(*) FROM {self._table} WHERE now IS NULL AND uid > ? AND uid < ?"  # noqa: S608 - as above
        (found,) = self._db.execute(count, _range(system)).fetchone()
        return int(found)

    def each_unread(self, system: str) -> Iterator[list[str]]:
        """Their ids, some at a time, and those of one object apart: so there are as many calls as if all were read together."""
        own = len(_SALESFORCE) + 4 if system == _SALESFORCE else 0
        for _, uids in groupby(self._each("now IS NULL", *_range(system)), key=lambda uid: uid[:own]):
            for part in _parts(uids, _AT_A_TIME):
                yield _ids(system, part)

    def _each(self, where: str, after: str = "", before: str = "\x7f") -> Iterator[str]:
        page = f"SELECT uid FROM {self._table} WHERE {where} AND uid > ? AND uid < ? ORDER BY uid LIMIT ?"  # noqa: S608 - as above, and our own condition
        while rows := self._db.execute(page, (after, before, _AT_A_TIME)).fetchall():
            yield from (uid for (uid,) in rows)
            (after,) = rows[-1]


class _AsOne(Progress):
    """Shows what is read in parts as one piece of work."""

    def __init__(self, progress: Progress, total: int, opened: ExitStack) -> None:
        super().__init__(show=progress.shown)
        self._progress, self._total, self._opened = progress, total, opened
        self._one: Task | None = None

    @contextmanager
    def task(self, name: str, total: int | None, unit: str) -> Iterator[Task]:
        """The piece of work, open until all parts are read."""
        if self._one is None:
            whole = None if total is None else self._total
            self._one = self._opened.enter_context(self._progress.task(name, whole, unit))
        yield self._one


def _joined(read: Mapping[str, Now], centre: set[str], uids: set[str]) -> list[Now]:
    """Those that are there, and are linked as they are now."""
    found = (read[each] for each in sorted(uids) if each in read)
    return [each for each in found if each.gone is None and (not each.is_person or each.link in centre)]


def _parts(uids: Iterator[str], size: int) -> Iterator[list[str]]:
    while part := list(islice(uids, size)):
        yield part


def _range(system: str) -> tuple[str, str]:
    """What the names of a system's records lie between."""
    return f"{system}:", f"{system};"


def _packed(now: Now) -> str:
    values = [getattr(now, name) for name in _FIELDS]
    return json.dumps([value.isoformat() if isinstance(value, datetime) else value for value in values])


def _unpacked(text: str) -> Now:
    said = dict(zip(_FIELDS, json.loads(text), strict=True))
    times = {name: datetime.fromisoformat(said[name]) for name in ("as_of", "at") if said[name] is not None}
    return Now(**said | times)


_FIELDS = tuple(each.name for each in fields(Now))


def _snapshots(plan: Plan, loaded: Settings) -> list[Snapshot]:
    """The newest snapshot and the plan's, as far as they are there."""
    folder = loaded.run.snapshots
    try:
        newest = snapshot.newest(folder)
    except UsageError:
        return []
    if newest.id == plan.snapshot or set(plan.snapshot) & set("/\\\0") or not (folder / plan.snapshot).is_dir():
        return [newest]
    return [newest, snapshot.read(folder / plan.snapshot)]


def _ids(system: str, uids: Iterable[str]) -> list[str]:
    """The ids of one system among `system:id` names."""
    return [uid.partition(":")[2] for uid in uids if uid.startswith(f"{system}:")]
