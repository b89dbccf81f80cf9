"""The whole sandbox: a Salesforce and a Sales Connect over one store, both served on loopback by threads of this process."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from recon.clock import SetClock, SystemClock
from recon.sandbox import gateway
from recon.sandbox.faults import Faults
from recon.sandbox.faults_wire import Faulty
from recon.sandbox.levers import lever_routes
from recon.sandbox.nightly import NightlyResult, run_nightly
from recon.sandbox.population import Population, populate
from recon.sandbox.salesforce.app import create_app
from recon.sandbox.salesforce.auth import Org
from recon.sandbox.serving import Dated, Serving
from recon.sandbox.store import Store
from recon.settings import GatewaySettings, SalesforceSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from recon.clock import Clock

#: Ten in the morning, Pacific time: far from the nightly run.
DEFAULT_AT = datetime(2026, 11, 24, 18, tzinfo=UTC)

_USUAL: Mapping[str, int] = MappingProxyType({})
#: Where the store keeps the throw-away secrets, so that a sandbox that is gone on with takes the same ones.
_SECRETS = ("consumer_key", "consumer_secret", "password", "security_token", "gateway_token")


class Sandbox:
    """A Salesforce and a Sales Connect of one's own. Use it as a context manager, or call `close`.

    Both listen on 127.0.0.1 alone. The secrets are made up for each sandbox and kept in its store; they open nothing else.

    Parameters
    ----------
    path
        The SQLite file that holds the state, made if it isn't there; None keeps it in memory.
    clock
        Tells both systems the time; by default it stands at `DEFAULT_AT`.
    salesforce_port, gateway_port
        0 takes a free one.
    sizes
        Sizes of Salesforce that are to be other than usual, by the name that `recon.sandbox.salesforce.auth.Org` gives them.

    Attributes
    ----------
    store
        The state of both systems.
    clock
        What both systems take for the time.
    salesforce_url, gateway_url
        Where they listen, like ``http://127.0.0.1:40123``.
    org
        Salesforce's user, connected app and sizes.
    faults
        The switchboard: what goes wrong with which requests, see `recon.sandbox.faults`.

    Raises
    ------
    ReconError
        If the file is no sandbox's, a port can't be used, or a server doesn't start. Nothing stays open then.

    Examples
    --------
    >>> with Sandbox() as sandbox:
    ...     made = sandbox.populate(people=200)
    ...     night = sandbox.nightly()
    >>> len(made.cases), night.ran
    (10, True)
    """

    store: Store
    clock: Clock
    salesforce_url: str
    gateway_url: str
    org: Org
    faults: Faults

    def __init__(
        self,
        *,
        path: Path | None = None,
        clock: Clock | None = None,
        salesforce_port: int = 0,
        gateway_port: int = 0,
        sizes: Mapping[str, int] = _USUAL,
    ) -> None:
        self.clock = clock or SetClock(DEFAULT_AT)
        with ExitStack() as opened:
            self.store = Store(path, self.clock)
            opened.callback(self.store.close)
            own = _secrets(self.store)
            self._gateway_token = own["gateway_token"]
            self.org = Org(
                consumer_key=own["consumer_key"],
                consumer_secret=own["consumer_secret"],
                password=own["password"],
                security_token=own["security_token"],
                # Clients sign JWT logins by their machine's clock, whatever the time in the sandbox.
                jwt_clock=SystemClock(),
                **sizes,  # type: ignore[arg-type] # those of Org that are numbers
            )
            people = gateway.create_app(self.store, token=self._gateway_token, extra_routes=lever_routes(self.store))
            org_app = create_app(self.store, self.org)
            self.faults, self.end_sessions = Faults(), org_app.state.login.end_sessions
            self._salesforce = Serving(
                Faulty(Dated(org_app, self.clock), self.faults, "salesforce", self.store, self.end_sessions),
                salesforce_port,
            )
            opened.callback(self._salesforce.stop)
            self._gateway = Serving(Faulty(Dated(people, self.clock), self.faults, "gateway", self.store), gateway_port)
            opened.callback(self._gateway.stop)
            self.salesforce_url, self.gateway_url = self._salesforce.url, self._gateway.url
            self._opened = opened.pop_all()

    def populate(self, people: int = 1000, seed: int = 1) -> Population:
        """Fill an empty sandbox; see `recon.sandbox.population.populate`."""
        return populate(self.store, people, seed)

    def nightly(self) -> NightlyResult:
        """Run the nightly sync now; see `recon.sandbox.nightly.run_nightly`."""
        return run_nightly(self.store)

    def settings(self) -> dict[str, dict[str, Any]]:
        """The settings that lead recon here, for `Settings.with_values` or recon.toml."""
        return {
            "salesforce": {
                "instance_url": self.salesforce_url,
                "login": "client_credentials",
                "username": self.org.username,
                "opt_out_field": self.store.config("opt_out_field"),
                # A Bulk job here is done at once.
                "poll_seconds": 0.1,
            },
            "sales_connect": {"gateway": {"url": self.gateway_url}},
            "sync": {"enabled": self.store.config("sync_enabled") == "true"},
        }

    def environment(self) -> dict[str, str]:
        """The sandbox's throw-away secrets, under the names that the settings give their environment variables."""
        salesforce, people = SalesforceSettings(), GatewaySettings()
        return {
            salesforce.consumer_key_env: self.org.consumer_key,
            salesforce.consumer_secret_env: self.org.consumer_secret,
            salesforce.password_env: self.org.password,
            salesforce.security_token_env: self.org.security_token,
            people.token_env: self._gateway_token,
        }

    def close(self) -> None:
        """Stop both servers and close the store. A second call does nothing."""
        # Both are told before either is waited for, so that they stop at the same time.
        self._salesforce.ask_to_stop()
        self._gateway.ask_to_stop()
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _secrets(store: Store) -> dict[str, str]:
    """The sandbox's secrets: those of its store, or new ones that are put there."""
    with store.transaction() as db:
        kept = {row["key"]: row["value"] for row in db.execute("SELECT key, value FROM config")}
        own = {name: kept.get(f"secret_{name}") or secrets.token_urlsafe(24) for name in _SECRETS}
        store.configure(**{f"secret_{name}": value for name, value in own.items()})
    return own
