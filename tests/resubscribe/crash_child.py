"""A process that applies plans in children of its own, each killed at the write boundary that it is told, or never.

Started once, it imports everything once; for each line on stdin it forks. The boundaries are counted here and nowhere else: before and
after every addition to the ledger, and before and after every request that changes something.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter

from recon.clock import SetClock
from recon.ledger import Ledger
from recon.resubscribe.apply import apply
from recon.sources.ids import salesforce_id_18

if TYPE_CHECKING:
    import requests


# What apply imports when it needs it: once here, not in every child.
for _name in (
    "sources.discovery",
    "sources.salesforce_session",
    "sources.gateway_client",
    "identity",
    "ledger.store",
    "jobs",
):
    importlib.import_module(f"recon.{_name}")
salesforce_id_18("00Q000000000001AAA")


class Boundaries:
    """Counts write boundaries; at the one that is asked for, this process dies."""

    def __init__(self, deadly: int | None) -> None:
        self.deadly = deadly
        self.names: list[str] = []

    def reach(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch_ledger(self) -> None:
        real = Ledger.append_all

        def append_all(ledger: Ledger, drafts: Any) -> Any:
            ready = list(drafts)
            what = f"{ready[0].kind} {ready[0].data.get('step', '')}".strip() if ready else "nothing"
            self.reach(f"before {what}")
            made = real(ledger, ready)
            self.reach(f"after {what}")
            return made

        Ledger.append_all = append_all  # type: ignore[method-assign,assignment]

    def watch_requests(self) -> None:
        real = HTTPAdapter.send

        def send(
            adapter: HTTPAdapter, request: requests.PreparedRequest, *args: Any, **options: Any
        ) -> requests.Response:
            path = (request.path_url or "").partition("?")[0]
            if request.method == "GET" or "/oauth2/" in path:
                return real(adapter, request, *args, **options)
            what = f"{request.method} {path}"
            self.reach(f"before {what}")
            response = real(adapter, request, *args, **options)
            self.reach(f"after {what}")
            return response

        HTTPAdapter.send = send  # type: ignore[method-assign,assignment]


def child(order: dict[str, Any]) -> None:
    boundaries = Boundaries(order["deadly"])
    boundaries.watch_ledger()
    boundaries.watch_requests()
    clock = SetClock(datetime.fromisoformat(order["now"]))
    applied = apply(
        order["workspace"],
        order["plan"],
        actor=order["actor"],
        clock=clock,
        environ=order["environ"],
        sleep=lambda _: None,
    )
    outcomes = [(each.number, each.outcome, each.code) for each in applied.outcomes]
    Path(order["report"]).write_text(json.dumps({"outcomes": outcomes, "boundaries": boundaries.names}))


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                child(json.loads(line))
            except BaseException as error:  # noqa: BLE001 - told to the test
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
