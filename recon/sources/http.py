"""HTTP as the live sources need it: a time-out on every call, bounded retries of reads, verified TLS, no secret in a message.

simple-salesforce sets no time-out and retries nothing (its version 1.12), so both are the session's business.
"""

from __future__ import annotations

import ipaddress
import os
import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError
from urllib3.util import Retry

from recon.errors import SettingsError, SourceError
from recon.sandbox.transport import LoopbackAdapter
from recon.secrets import missing, remember
from recon.sources.calls import Tally, plain_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path
    from typing import Self

    from urllib3 import BaseHTTPResponse

#: Answers after which a read is worth another try.
BUSY = (429, 500, 502, 503, 504)
#: A system may ask for hours in Retry-After; a pull doesn't wait longer than this between two tries.
LONGEST_WAIT = 120


def is_loopback(url: str) -> bool:
    """Whether it is an address of this very machine: 127.0.0.0/8, [::1] or localhost."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_address(url: str, *, setting: str) -> str:
    """A base address that a secret may be sent to, without a slash at its end.

    Raises
    ------
    SettingsError
        If it is no https address (http is for loopback alone), or holds a user name, a query or a fragment.
    """
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or parts.username is not None or parts.query or parts.fragment:
        raise SettingsError(f"{setting} is no address.", hint=f"Write {setting} like https://host.example.com.")
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(url)):
        return url.rstrip("/")
    raise SettingsError(
        f"{setting} does not start with https://, and recon sends secrets only over TLS.",
        hint="Write the https address; http is for a system on this machine (127.0.0.1, [::1], localhost).",
    )


def secret(environ: Mapping[str, str], variable: str, *, setting: str, holds: str) -> str:
    """A secret by the name that a setting gives, from wherever `environ` knows it (see `recon.secrets`).

    Raises
    ------
    SettingsError
        If it is nowhere; the text says where it was looked for.
    """
    value = environ.get(variable, "").strip()
    if not value:
        raise missing(environ, variable, setting=setting, holds=holds)
    remember(value)
    return value


class _Retry(Retry):
    """urllib3's retries, with a limit on what Retry-After may ask for, and pauses that a caller makes."""

    pause: Callable[[float], None] = staticmethod(time.sleep)

    def new(self, **options: Any) -> Self:
        made = super().new(**options)
        made.pause = self.pause
        return made

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        asked = None if response is None else self.get_retry_after(response)
        seconds = asked or self.get_backoff_time()
        if seconds > 0:
            self.pause(seconds)

    def get_backoff_time(self) -> float:
        # urllib3's own makes the first further try at once: too soon for a system that is busy.
        return float(min(self.backoff_max, self.backoff_factor * 2 ** (len(self.history) - 1))) if self.history else 0.0

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        asked = super().get_retry_after(response)
        return None if asked is None else min(asked, LONGEST_WAIT)


class ReadingAdapter(HTTPAdapter):
    """Sends requests with time-outs and repeats GETs that met a busy system; nothing else is ever repeated, and no redirect followed.

    Parameters
    ----------
    connect_timeout, read_timeout
        Seconds, for every call that doesn't bring its own.
    ca_file
        PEM file with the authorities that certificates are held against; None takes the usual ones, or REQUESTS_CA_BUNDLE.
    retries, backoff_seconds
        How often a GET is repeated on 429, 500, 502, 503 and 504, a time-out or a broken connection, and the first pause between two tries.
    sleep
        Waits between two tries.
    kind_of
        Tells a call's kind by its method and address, for the count of calls.
    options
        For the next adapter in line, where this one is combined with another.

    Attributes
    ----------
    tally
        Counts the requests sent, repeated ones included.
    """

    def __init__(
        self,
        *,
        connect_timeout: float,
        read_timeout: float,
        retries: int,
        backoff_seconds: float,
        ca_file: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
        kind_of: Callable[[str, str], str] = plain_kind,
        **options: Any,
    ) -> None:
        retry = _Retry(
            total=retries,
            allowed_methods=frozenset({"GET"}),
            status_forcelist=BUSY,
            backoff_factor=backoff_seconds,
            backoff_max=LONGEST_WAIT,
            raise_on_status=False,  # the last answer is the system's own word; who asked makes a sentence of it
            respect_retry_after_header=True,
        )
        retry.pause = sleep
        self._timeout = (connect_timeout, read_timeout)
        self._ca_file = _readable(ca_file)
        self.tally = Tally(kind_of)
        super().__init__(max_retries=retry, **options)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002 - HTTPAdapter's own signature
        timeout: Any = None,
        verify: Any = True,  # noqa: FBT002 - HTTPAdapter's own signature
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send one request; see `HTTPAdapter.send`."""
        called = request.method or "", request.url or ""
        self.tally.note(*called)
        response = super().send(
            request,
            stream=stream,
            timeout=self._timeout if timeout is None else timeout,
            verify=self._authorities(verify),
            cert=cert,
            proxies=proxies,
        )
        history = getattr(getattr(response.raw, "retries", None), "history", ())
        self.tally.note(*called, times=len(history))
        if response.is_redirect:
            # It could lead a login's secrets to another host, or bring another host's data. Without this, nobody follows it.
            del response.headers["Location"]
        return response

    def _authorities(self, verify: Any) -> Any:
        if verify is False:
            raise ValueError("certificates are always verified")
        return self._ca_file or verify


def _readable(file: Path | None) -> str | None:
    if file is None:
        return None
    if not file.is_file() or not os.access(file, os.R_OK):
        raise SettingsError(
            f"the file of certificate authorities {file} is not there, or can't be read.",
            hint="Write its path as ca_file in recon.toml, or take the line out.",
        )
    return str(file)


class SandboxAdapter(ReadingAdapter, LoopbackAdapter):
    """A `ReadingAdapter` whose requests for hosts at salesforce.com go to the sandbox at `base_url` on this machine."""


def _authorised_by_header(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def new_session(adapter: ReadingAdapter, *, plain_http: str | None = None) -> requests.Session:
    """A session that reaches https addresses, and plain http only at one address on loopback, where that is given."""
    session = requests.Session()
    equip(session, adapter)
    if plain_http is not None:
        session.mount(f"http://{urlsplit(plain_http).netloc}", adapter)
        session.trust_env = False  # no proxy between this machine and itself
    return session


def equip(session: requests.Session, adapter: ReadingAdapter) -> None:
    """Let a session send by this adapter alone. Its proxies, certificates, headers and hooks stay."""
    session.adapters.clear()
    session.mount("https://", adapter)
    if session.auth is None:
        # Without an auth of its own, requests takes one from ~/.netrc and overwrites the Authorization header with it.
        session.auth = _authorised_by_header


def told_time(headers: Mapping[str, str]) -> datetime | None:
    """What time it was by the clock of the system that answered, in UTC and whole seconds; None where its answer has no usable Date."""
    try:
        at = parsedate_to_datetime(headers["Date"])
        return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def asked_wait(headers: Mapping[str, str]) -> float:
    """The seconds that Retry-After asks for, within reason; 0 where it doesn't say."""
    asked = headers.get("Retry-After", "")
    return float(min(int(asked), LONGEST_WAIT)) if asked.isascii() and asked.isdigit() and len(asked) < 7 else 0.0


def is_web_page(response: requests.Response) -> bool:
    """Whether an answer is a web page: then a proxy gave it, or a login page, and whatever its status says is not the system's own word."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml") or response.content.lstrip()[:1] == b"<"


def broke_off(error: requests.RequestException) -> bool:
    """Whether an answer began and broke off on its way, so that a read may ask once more.

    An answer that never began is the adapter's business, and was asked for often enough. Where no length tells that something is missing,
    JSON does: it begins like JSON and doesn't end, or nothing came at all.
    """
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return True
    if isinstance(error, requests.exceptions.JSONDecodeError):
        return error.doc.lstrip()[:1] in ("", "{", "[")
    # requests' word for a time-out in the middle of a body.
    return isinstance(error, requests.ConnectionError) and any(isinstance(e, ReadTimeoutError) for e in error.args)


def no_answer(error: requests.RequestException) -> bool:
    """Whether nobody answered: no connection, one that was lost, or a time-out."""
    lost = isinstance(error, requests.ConnectionError | requests.Timeout)
    return lost and not isinstance(error, requests.exceptions.SSLError)


def broken(system: str, what: str, error: requests.RequestException) -> SourceError:
    """What a transport fault means, in a sentence. requests' own text holds addresses, so it is not used."""
    hint = "Check the network and the address, then run again."
    if isinstance(error, requests.exceptions.JSONDecodeError) and not broke_off(error):
        return SourceError(
            f"{system} answered {what} with something that is not JSON: a proxy or a login page may stand in between.",
            hint="Check that the address is the API's own and that no proxy answers in its place.",
        )
    if isinstance(error, requests.exceptions.SSLError):
        reason, hint = (
            "its certificate can't be verified",
            "Check the address, and that the certificate has not expired; behind a proxy, set ca_file in recon.toml, or REQUESTS_CA_BUNDLE.",
        )
    elif isinstance(error, requests.exceptions.Timeout):
        reason = "it didn't answer in time"
    elif broke_off(error) or isinstance(error, requests.exceptions.ContentDecodingError):
        reason = "its answer broke off"
    elif isinstance(error, requests.exceptions.ConnectionError):
        reason = "no connection, or it broke off"
    else:
        reason = type(error).__name__
    return SourceError(f"{system} could not be read for {what}: {reason}.", hint=hint)
