"""Lets clients that insist on https://….salesforce.com talk to the sandbox on loopback."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidURL

from recon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

    from requests import PreparedRequest, Response


class LoopbackAdapter(HTTPAdapter):
    """Sends every request for a host at salesforce.com to the sandbox instead. Other hosts are refused.

    Mount it for the prefix ``https://`` of a `requests.Session`; the address in the answer is the one that was asked for.

    Parameters
    ----------
    base_url
        The sandbox's Salesforce, like ``http://127.0.0.1:40123``.
    options
        What `requests.adapters.HTTPAdapter` takes.

    Raises
    ------
    UsageError
        If the address isn't a plain http one on loopback: what is meant for the sandbox must not leave the machine.
    """

    def __init__(self, base_url: str, **options: Any) -> None:
        self._base = _loopback(base_url)
        super().__init__(**options)

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002 - requests' own signature
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,  # noqa: ARG002, FBT001, FBT002 - requests' own signature; there is no TLS on loopback
        cert: str | bytes | tuple[str | bytes, str | bytes] | None = None,  # noqa: ARG002 - as above
        proxies: Mapping[str, str] | None = None,  # noqa: ARG002 - a proxy must never see these requests
    ) -> Response:
        """Send a request to the sandbox.

        Raises
        ------
        requests.exceptions.InvalidURL
            If the request is for a host that isn't at salesforce.com.
        """
        asked = request.url or ""
        parts = urlsplit(asked)
        host = parts.hostname or ""
        if host != "salesforce.com" and not host.endswith(".salesforce.com"):
            raise InvalidURL("this session talks to the sandbox: only hosts at salesforce.com can be asked for")
        turned = request.copy()
        turned.url = self._base + asked.removeprefix(f"{parts.scheme}://{parts.netloc}")
        turned.headers["Host"] = parts.netloc
        response = super().send(turned, stream=stream, timeout=timeout, proxies={})
        response.url = asked
        response.request = request
        return response


def _loopback(base_url: str) -> str:
    try:
        usable = _is_plain(urlsplit(base_url))
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            f"{base_url!r} is not the address of a sandbox.", hint="Give one on loopback, like http://127.0.0.1:40123."
        )
    return base_url.rstrip("/")


def _is_plain(parts: SplitResult) -> bool:
    return (
        parts.scheme == "http"
        and (parts.hostname == "localhost" or ip_address(parts.hostname or "").is_loopback)
        and parts.port is not None
        and parts.path in ("", "/")
        and not parts.query
        and not parts.fragment
        and parts.username is None
    )
