"""Calls to an HTTP gateway in front of Sales Connect: bearer token, JSON, no redirects."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import requests

from recon.errors import AccessRefused, SettingsError, SourceError
from recon.sources.http import (
    ReadingAdapter,
    broke_off,
    broken,
    checked_address,
    is_loopback,
    is_web_page,
    new_session,
    secret,
    told_time,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from recon.settings import GatewaySettings


class GatewayClient:
    """A gateway, with the token that it wants.

    Attributes
    ----------
    settings
        Where the gateway is, and how its answers look.
    host
        The gateway's host, for people to read.
    server_time
        What time it was by the gateway's clock when it answered last; None where no answer told.

    Raises
    ------
    SettingsError
        If the address or the token is missing or can't be used.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        environ: Mapping[str, str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = settings
        self._sleep = sleep
        self._base = checked_address(settings.url or "", setting="sales_connect.gateway.url")
        token = secret(
            environ, settings.token_env, setting="sales_connect.gateway.token_env", holds="the gateway's bearer token"
        )
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            raise SettingsError(
                f"the secret {settings.token_env} is no bearer token: it has blanks or control characters.",
                hint=f"Set {settings.token_env} anew.",
            )
        self.host = urlsplit(self._base).netloc
        self._adapter = ReadingAdapter(
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
            retries=settings.retries,
            backoff_seconds=settings.backoff_seconds,
            sleep=sleep,
            ca_file=settings.ca_file,
        )
        self._session = new_session(self._adapter, plain_http=self._base if is_loopback(self._base) else None)
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._session.headers["Accept"] = "application/json"
        self.server_time: datetime | None = None
        self.on_answer(self._note)

    @property
    def calls(self) -> int:
        """Requests sent so far, repeated ones included."""
        return self._adapter.tally.total

    @property
    def calls_by_kind(self) -> dict[str, int]:
        """Requests sent so far: read, write and total."""
        return self._adapter.tally.by_kind()

    def on_answer(self, look: Callable[[requests.Response], None]) -> None:
        """Have every answer looked at, like its Date."""
        self._session.hooks["response"].append(lambda response, *_args, **_kwargs: look(response))

    def _note(self, response: requests.Response) -> None:
        self.server_time = told_time(response.headers) or self.server_time

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def page(self, cursor: str | None, size: int) -> Any:
        """One page of people as the gateway answers it."""
        settings = self.settings
        params = {settings.page_parameter: str(size)}
        if cursor is not None:
            params[settings.cursor_parameter] = cursor
        return self._get("the people", settings.list_path, "list_path", params)

    def person(self, person_id: str) -> Any:
        """One person as the gateway answers it.

        Raises
        ------
        SourceError
            If the gateway refuses; with status 404 where it has no such person.
        """
        return self._get("a person", placed(self.settings.person_path, person_id), "person_path", {})

    def write_once(self, path: str, body: Mapping[str, str]) -> requests.Response:
        """Send one change, once: no repetition, no redirect is followed, whatever the answer.

        Raises
        ------
        requests.RequestException
            If no whole answer came: only a look at the person tells then whether it was made.
        """
        return self._session.post(self._address(path), json=dict(body), allow_redirects=False)

    def _address(self, path: str) -> str:
        return f"{self._base}/{path.lstrip('/')}"

    def _get(self, what: str, path: str, setting: str, params: Mapping[str, str]) -> Any:
        for attempt in range(self.settings.retries + 1):
            try:
                # A redirect could lead the token to another host; a gateway's address is set right instead.
                response = self._session.get(self._address(path), params=params, allow_redirects=False)
                if response.status_code == requests.codes.ok:
                    return response.json()
            except requests.RequestException as error:
                if attempt == self.settings.retries or not broke_off(error):
                    raise broken("the gateway", what, error) from None
            else:
                raise _refused(self.settings, what, response, setting)
            self._sleep(self.settings.backoff_seconds * 2**attempt)
        raise AssertionError("the last try returns or raises")


def placed(path: str, person_id: str) -> str:
    """A path of the settings with the person's id in its place.

    Raises
    ------
    SourceError
        If the id is one that a path can't hold: it would name another resource.
    """
    if not person_id.strip("."):
        raise SourceError("a person's id is blank or made of dots, so no path can name it.", hint="Pull again.")
    return path.replace("{person_id}", quote(person_id, safe=""))


def _refused(settings: GatewaySettings, what: str, response: requests.Response, setting: str) -> SourceError:
    status = response.status_code
    text = f"the gateway refused {what}: status {status}."
    if status in (requests.codes.not_found, requests.codes.gone) and is_web_page(response):
        # No gateway says so: its status must not be taken for its own word.
        return SourceError(
            f"{what} could not be read from the gateway: a web page came instead, with status {status}.",
            hint=f"A proxy may stand in between: check sales_connect.gateway.url and {setting}.",
        )
    if status in (requests.codes.unauthorized, requests.codes.forbidden):
        return AccessRefused(text, hint=f"Check the token in {settings.token_env} and what it may read.", status=status)
    if status == requests.codes.not_found or 300 <= status < 400:
        hint = f"Check sales_connect.gateway.url and {setting}."
    else:
        hint = "Run again later; every try that the settings allow was made."
    return SourceError(text, hint=hint, status=status)
