"""One login to Salesforce, and every later call through it.

The login is simple-salesforce's; afterwards the client works in its 'direct' mode (session id and instance), where it never logs in
again by itself. In the other modes it repeats a refused request *without the caller's headers*, so that a precondition on a write is
lost unseen (simple-salesforce 1.12, `Salesforce._call_salesforce`). An expired session is renewed here, for reads, a bounded number of times.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import requests
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceError
from simple_salesforce.util import call_salesforce

from recon.errors import AccessRefused, SettingsError, SourceError
from recon.secrets import remember
from recon.sources.calls import salesforce_kind
from recon.sources.http import (
    BUSY,
    ReadingAdapter,
    SandboxAdapter,
    asked_wait,
    broke_off,
    broken,
    checked_address,
    equip,
    is_loopback,
    new_session,
    no_answer,
    told_time,
)
from recon.sources.salesforce_login import CODE, SANDBOX_HOST, is_salesforce, log_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from recon.settings import SalesforceSettings

T = TypeVar("T")


#: How often one connection logs in at most. A session lasts at least 15 minutes, so a long run needs few.
LOGINS = 6
_CHUNK = 1 << 20

_ACCESS_CODES = frozenset({
    "INVALID_FIELD", "INVALID_TYPE", "NOT_FOUND", "INSUFFICIENT_ACCESS", "INSUFFICIENT_ACCESS_OR_READONLY", "API_DISABLED_FOR_ORG",
    "API_CURRENTLY_DISABLED", "FORBIDDEN",
})  # fmt: skip


class _Answered(threading.local):
    """How long a thread's last answer asks to wait."""

    wait = 0.0


class Connection:
    """A session with Salesforce.

    Attributes
    ----------
    client
        simple-salesforce's client in 'direct' mode: it adds no login and no retry of its own.
    host
        The instance's host, for people to read.
    identity
        A hash that tells this org and user from others; of the host and the user's name where the login doesn't tell more.
    api_usage
        What Salesforce said last about the day's API calls, like "18/15000"; an estimate that lags behind. None before the first answer.
    server_time
        What time it was by Salesforce's clock when it answered last; None where no answer told.
    before_read
        Called before every reading call but a login; ends the work by an exception.
    """

    def __init__(
        self,
        settings: SalesforceSettings,
        environ: Mapping[str, str],
        sleep: Callable[[float], None],
        session: requests.Session | None = None,
    ) -> None:
        if settings.instance_url is None:
            raise SettingsError(
                "salesforce.instance_url is not set.",
                hint="Write the org's address, like https://acme.my.salesforce.com.",
            )
        self.settings = settings
        self._environ = environ
        self._sleep = sleep
        self._base = checked_address(settings.instance_url, setting="salesforce.instance_url")
        self._sandbox = is_loopback(self._base)
        self._adapter = _adapter(settings, self._base if self._sandbox else None, sleep)
        self._own = session is None
        if session is None:
            self._session = new_session(self._adapter)
        else:
            self._session = session
            equip(session, self._adapter)
        self._session.hooks["response"].append(self._note)
        self._logins = 0
        self._lock = threading.RLock()
        self._answered = _Answered()
        self._told_identity: str | None = None
        self.api_usage: str | None = None
        self.server_time: datetime | None = None
        self.before_read: Callable[[], None] = lambda: None
        self.client: Salesforce
        self.host: str
        try:
            self.log_in()
        except BaseException:
            self.close()
            raise

    @property
    def calls(self) -> int:
        """Requests sent so far, logins and repeated ones included."""
        return self._adapter.tally.total

    @property
    def calls_by_kind(self) -> dict[str, int]:
        """Requests sent so far, by kind (see `recon.sources.calls.salesforce_kind`), and `total`."""
        return self._adapter.tally.by_kind()

    def calls_of(self, account: str) -> int:
        """Requests sent so far on an account; see `recon.sources.calls.charged`."""
        return self._adapter.tally.of(account)

    @property
    def identity(self) -> str:
        """See above."""
        named = self._told_identity or f"{self.host} {self.settings.login} {self.settings.username or ''}"
        return hashlib.sha256(named.encode()).hexdigest()[:16]

    def close(self) -> None:
        """Close the connections; a caller's session is left open. The login itself ends by its own time-out."""
        self._session.hooks["response"].remove(self._note)
        if self._own:
            self._session.close()

    def log_in(self) -> None:
        """Log in, or log in again.

        Raises
        ------
        SettingsError
            If a secret or a setting is missing.
        SourceError
            If Salesforce refuses the login, or has been logged in to too often.
        """
        if self._logins >= LOGINS:
            raise SourceError(
                f"Salesforce ended the session {LOGINS} times in one run.",
                hint="Check the session time-out and the login policy of the connected app's user.",
            )
        self._logins += 1
        session_id, instance = log_in(self.settings, self._environ, self._session, self._sleep)
        remember(session_id)
        instance_url = f"https://{SANDBOX_HOST if self._sandbox else instance}"
        if not is_salesforce(instance_url):
            raise SourceError(
                "Salesforce's login named an instance that is not at salesforce.com; it was not used.",
                hint="Check salesforce.instance_url.",
            )
        self.host = urlsplit(self._base if self._sandbox else instance_url).netloc
        self.client = Salesforce(
            session_id=session_id,
            instance_url=instance_url,
            version=self.settings.api_version,
            session=self._session,
            object_pairs_hook=None,
        )

    def read(self, what: str, call: Callable[[Salesforce], T], *, repeatable: bool = False) -> T:
        """Make one reading call: an expired session is renewed, an answer that broke off is asked for again.

        A busy system, a time-out and a broken connection are the session's own business, see `recon.sources.http.ReadingAdapter`.

        Parameters
        ----------
        what
            What is read, for messages, like "the fields of Lead".
        call
            Makes the call on the client it is given. May run more than once.
        repeatable
            It is no GET, but does no harm when it is made twice: repeat it like one.

        Raises
        ------
        AccessRefused
            If an object, a field or a right is missing.
        SourceError
            If Salesforce can't be reached or answers with any other error.
        """
        renewed = False
        tries = 0
        while True:
            self.before_read()
            client = self.client
            self._answered.wait = 0.0
            try:
                return call(client)
            except SalesforceError as error:
                status, code = int(error.status), error_code(error.content)
                again = repeatable and status in BUSY
                if status == requests.codes.unauthorized and not renewed:
                    renewed = True
                    self._renew(client)
                    continue
                if not again or tries >= self.settings.retries:
                    raise refusal(what, status, code) from None
            except requests.RequestException as error:
                again = broke_off(error) or (repeatable and no_answer(error))
                if not again or tries >= self.settings.retries:
                    raise broken("Salesforce", what, error) from None
            self._sleep(max(self._answered.wait, self.settings.backoff_seconds * 2**tries))
            tries += 1

    def _renew(self, refused: Salesforce) -> None:
        """Log in again, unless another thread has done so since."""
        with self._lock:
            if self.client is refused:
                self.log_in()

    def get(self, what: str, path: str, params: dict[str, str] | None = None) -> Any:
        """Read a resource below /services/data/vXX.0/; returns its JSON. Errors as `read`."""
        # Not the client's restful(): of an answer that is null it raises a TypeError.
        return self.read(what, lambda client: self._send(client, "GET", path, params=params).json())

    def request(self, what: str, method: str, path: str, *, json: Any = None) -> requests.Response:
        """Make one call below /services/data/vXX.0/ that simple-salesforce has no method for. Errors as `read`.

        Made for the steps of Bulk jobs that change no record: to open a query, to look, to end, to remove. So it is repeated as a read is. A job
        that was opened twice costs nothing and goes by itself after seven days.
        """
        return self.read(what, lambda client: self._send(client, method, path, json=json), repeatable=method != "GET")

    def download(self, what: str, path: str, file: Path) -> Mapping[str, str]:
        """Read a resource into a file without holding it in memory; returns the answer's headers. Errors as `read`."""

        def call(client: Salesforce) -> Mapping[str, str]:
            with self._send(client, "GET", path, stream=True) as response, file.open("wb") as out:
                out.writelines(response.iter_content(_CHUNK))
                return response.headers

        return self.read(what, call)

    def write_once(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **content: Any
    ) -> requests.Response:
        """Send one write below /services/data/vXX.0/, once: no login, no repetition, no redirect is followed, whatever the answer.

        What it means that no answer came, only a look at what was to be written can tell.

        Parameters
        ----------
        headers
            Besides those of the session, like If-Unmodified-Since.
        content
            `json` or `data`, as requests takes them.

        Raises
        ------
        requests.RequestException
            If no whole answer came.
        """
        sent = {str(name): str(value) for name, value in self.client.headers.items()} | dict(headers or {})
        return self._session.request(
            method, self.client.base_url + path, headers=sent, allow_redirects=False, **content
        )

    def _send(self, client: Salesforce, method: str, path: str, **options: Any) -> requests.Response:
        response: requests.Response = call_salesforce(
            client.base_url + path, method, self._session, dict(client.headers), **options
        )
        return response

    def _note(self, response: requests.Response, *_args: object, **_kwargs: object) -> None:
        self.server_time = told_time(response.headers) or self.server_time
        self._answered.wait = asked_wait(response.headers)
        found = re.match(r"api-usage=(\d+/\d+)", response.headers.get("Sforce-Limit-Info", ""))
        if found:
            self.api_usage = found.group(1)
        if "/services/oauth2/token" in (response.url or "") and self._told_identity is None:
            # The address of who logged in: .../id/<org>/<user>. Source: Salesforce Help, OAuth 2.0, Identity URLs.
            who = re.search(rb'"id"\s*:\s*"[^"]*/id/(00D\w{12,15}/005\w{12,15})"', response.content[:20_000])
            self._told_identity = who.group(1).decode() if who else None


def connect(
    settings: SalesforceSettings,
    *,
    environ: Mapping[str, str] = os.environ,
    sleep: Callable[[float], None] = time.sleep,
    session: requests.Session | None = None,
) -> Connection:
    """Log in to Salesforce.

    Parameters
    ----------
    settings
        Where, and how to log in.
    environ
        Holds the secrets, under the names that the settings give.
    sleep
        Waits before an answer that broke off is asked for again.
    session
        A session to use: its proxies, certificates and headers stay, its adapters are replaced. None makes one.

    Raises
    ------
    SettingsError
        If the address or a secret is missing or can't be used; the text names the setting or the variable.
    SourceError
        If Salesforce can't be reached or refuses the login.
    """
    return Connection(settings, environ, sleep, session)


def error_code(content: object) -> str | None:
    """Salesforce's own error code in an answer, like INVALID_FIELD; None where there is none. Nothing else of the answer is used."""
    if isinstance(content, list) and content:
        content = content[0]
    if isinstance(content, dict):
        code = content.get("errorCode")
        if isinstance(code, str) and CODE.fullmatch(code):
            return code
    return None


def refusal(what: str, status: int, code: str | None) -> SourceError:
    """An error answer as a sentence, with status and code and nothing of the body."""
    text = f"Salesforce refused {what}: status {status}{f', {code}' if code else ''}."
    kind: type[SourceError] = SourceError
    hint = "Run again; if it stays, look the code up in Salesforce's list of API errors."
    if code == "REQUEST_LIMIT_EXCEEDED":
        hint = "The org's API calls of the last 24 hours are used up: wait, or have the limit raised."
    elif status == requests.codes.unauthorized:
        hint = (
            "The session was refused twice: check the connected app's policy and the user's login hours and IP ranges."
        )
    elif status == requests.codes.forbidden or code in _ACCESS_CODES:
        kind = AccessRefused
        hint = "Give the user API Enabled, Read on Lead and Contact, and field-level security (Visible) for the fields named in the manual."
    elif 300 <= status < 400:
        hint = "Write the org's own address as salesforce.instance_url (Setup > My Domain); a proxy's login page may stand in between, too."
    elif status in BUSY:
        hint = "Salesforce is busy or in maintenance; every try that the settings allow was made. Run again later."
    return kind(text, hint=hint, status=status, code=code)


def _adapter(settings: SalesforceSettings, sandbox: str | None, sleep: Callable[[float], None]) -> ReadingAdapter:
    timing: dict[str, Any] = {
        "connect_timeout": settings.connect_timeout,
        "read_timeout": settings.read_timeout,
        "retries": settings.retries,
        "backoff_seconds": settings.backoff_seconds,
        "sleep": sleep,
        "ca_file": settings.ca_file,
        "kind_of": salesforce_kind,
    }
    return ReadingAdapter(**timing) if sandbox is None else SandboxAdapter(base_url=sandbox, **timing)
