"""The records that a plan cleared, read again, each with those that the nightly sync joins to it.

What the sync joins is a record of Salesforce and the people that hold its id. Who holds it can be asked of no system record by record, so
the snapshots tell; whether it is still so, the records themselves.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from recon import snapshot
from recon.errors import UsageError
from recon.resubscribe.rereading import Extracted, Links, LivePeople, LiveRecords
from recon.sources.calls import cost
from recon.sources.quota import day

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType

    from recon.progress import Progress
    from recon.resubscribe.plan_file import Plan
    from recon.resubscribe.rereading import Now
    from recon.settings import Settings
    from recon.snapshot import Snapshot
    from recon.sources.gateway_client import GatewayClient
    from recon.sources.salesforce_session import Connection

_SALESFORCE, _SALES_CONNECT = "salesforce", "sales_connect"


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

    Raises
    ------
    SourceError
        If a system can't be reached.
    """

    def __init__(
        self, plan: Plan, loaded: Settings, now: datetime, environ: Mapping[str, str], progress: Progress
    ) -> None:
        self._plan, self._loaded, self._now = plan, loaded, now
        self._progress = progress
        self._snapshots = _snapshots(plan, loaded)
        self._read: dict[str, Now] = {}
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

    def stars(self, looked_at: Sequence[str]) -> dict[str, tuple[Now, list[Now]]]:
        """Read records, by `system:id`: each as it is now, and those that the sync joins to it. What can't be read is left out."""
        self._more(looked_at)
        links = Links(self._snapshots)
        linked = links.records_of(_ids(_SALES_CONNECT, looked_at))
        centres: dict[str, set[str]] = {uid: {uid.partition(":")[2]} for uid in looked_at}
        for uid in looked_at:
            if uid.startswith(f"{_SALES_CONNECT}:"):
                now = self._read.get(uid)
                centres[uid] = linked.get(uid.partition(":")[2], set())
                if now is not None:
                    centres[uid] = set() if now.link is None else {now.link}
        holders = links.people_of(one for ids in centres.values() for one in ids)
        around: dict[str, set[str]] = {}
        for uid, centre in centres.items():
            people = {f"{_SALES_CONNECT}:{each}" for one in centre for each in holders.get(one, ())}
            # People who were linked to it since the snapshots, and are looked at themselves.
            people |= {each.uid for each in self._read.values() if each.link in centre}
            around[uid] = ({f"{_SALESFORCE}:{one}" for one in centre} | people) - {uid}
        self._more(uid for uids in around.values() for uid in uids)
        return {
            uid: (self._read[uid], self._joined(centres[uid], uids))
            for uid, uids in around.items()
            if uid in self._read
        }

    def _joined(self, centre: set[str], uids: set[str]) -> list[Now]:
        """Those that are there, and are linked as they are now."""
        found = (self._read[each] for each in sorted(uids) if each in self._read)
        return [each for each in found if each.gone is None and (not each.is_person or each.link in centre)]

    def _more(self, uids: Iterable[str]) -> None:
        new = sorted(set(uids) - self._read.keys())
        for system, read in self._readers.items():
            ids = _ids(system, new)
            if ids:
                self._read.update(read(ids, self._progress))

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
