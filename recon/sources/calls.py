"""How many calls were made to a system, by their kind and by what they were made for."""

from __future__ import annotations

import re
import threading
from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from recon.sources.gateway_client import GatewayClient
    from recon.sources.salesforce_session import Connection

#: On whose account a call goes, like Lead. Each thread has its own.
_ACCOUNT: ContextVar[str] = ContextVar("account", default="")
_KINDS = (
    ("login", r"/services/(oauth2|Soap)/"),
    ("limits", r"/limits($|\?)"),
    ("describe", r"/describe($|\?)"),
    ("bulk_query", r"/jobs/query"),
    ("bulk_ingest", r"/jobs/ingest"),
    ("count", r"/query(All)?/?\?.*COUNT\("),
    ("query", r"/query(All)?(/|\?|$)"),
)


def salesforce_kind(method: str, url: str) -> str:
    """The kind of a call to Salesforce: login, limits, describe, bulk_query, bulk_ingest, count, query, read or write."""
    plain = url.replace("%28", "(")
    return next((kind for kind, form in _KINDS if re.search(form, plain)), plain_kind(method, url))


def plain_kind(method: str, _url: str) -> str:
    """Read or write."""
    return "read" if method in ("GET", "HEAD") else "write"


class Tally:
    """Counts calls; threads may share it.

    Parameters
    ----------
    kind_of
        Tells a call's kind by its method and address.
    """

    def __init__(self, kind_of: Callable[[str, str], str] = plain_kind) -> None:
        self._kind_of = kind_of
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def note(self, method: str, url: str, times: int = 1) -> None:
        """Count a call that was sent so often."""
        with self._lock:
            self._counts[_ACCOUNT.get(), self._kind_of(method, url)] += times

    @property
    def total(self) -> int:
        """All calls."""
        with self._lock:
            return self._counts.total()

    def by_kind(self) -> dict[str, int]:
        """Calls by kind, and `total`."""
        with self._lock:
            kinds: Counter[str] = Counter()
            for (_, kind), times in self._counts.items():
                kinds[kind] += times
            return dict(sorted(kinds.items())) | {"total": kinds.total()}

    def of(self, account: str) -> int:
        """The calls on one account."""
        with self._lock:
            return sum(times for (name, _), times in self._counts.items() if name == account)


def cost(salesforce: Connection | None, gateway: GatewayClient | None) -> dict[str, dict[str, int]]:
    """The calls to both systems so far, by kind and in all; None stands for a system that wasn't asked."""
    none = {"total": 0}
    return {
        "salesforce": none if salesforce is None else salesforce.calls_by_kind,
        "sales_connect": none if gateway is None else gateway.calls_by_kind,
    }


@contextmanager
def charged(account: str) -> Iterator[None]:
    """Put the calls that this thread makes in the `with` block on an account."""
    token = _ACCOUNT.set(account)
    try:
        yield
    finally:
        _ACCOUNT.reset(token)
