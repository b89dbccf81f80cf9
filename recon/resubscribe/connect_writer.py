"""One person of Sales Connect, unsubscribed or resubscribed through the account's gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import requests

from recon.resubscribe.answers import Answer, json_of, no_answer, of_status, plain_code
from recon.sources.gateway_client import placed

if TYPE_CHECKING:
    from datetime import datetime

    from recon.resubscribe.live import Seen
    from recon.resubscribe.steps_evidence import Task
    from recon.settings import GatewaySettings
    from recon.sources.gateway_client import GatewayClient


class ConnectWriter:
    """Removes unsubscribes, with the approval's reason word for word and the admin's name, and sets them.

    Parameters
    ----------
    client, settings
        The gateway.
    admin
        On whose behalf: the history of the person shows the name.
    """

    way = "gateway"

    def __init__(self, client: GatewayClient, settings: GatewaySettings, admin: str) -> None:
        self._client, self._settings, self._admin = client, settings, admin

    def write(self, task: Task, seen: Seen) -> Answer:  # noqa: ARG002 - a gateway knows no precondition
        """Write a task's value."""
        path = self._settings.resubscribe_path if task.clears else self._settings.unsubscribe_path
        body = {"reason": task.step.reason or "", "admin": self._admin} if task.clears else {"level": "account"}
        try:
            response = self._client.write_once(placed(path, task.step.id), body)
        except requests.RequestException as error:
            return no_answer(error)
        if response.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
            return Answer(code="GATEWAY_TOKEN_REFUSED")
        if response.status_code in (requests.codes.not_found, requests.codes.gone):
            # Either the person is gone or the path is wrong: reading the person tells.
            return Answer(retry=True, code=f"HTTP_{response.status_code}")
        return of_status(response, _code(json_of(response)))

    @property
    def server_time(self) -> datetime | None:
        """See `recon.resubscribe.systems.Writer`."""
        return self._client.server_time

    def renew(self) -> None:
        """Nothing: a gateway has no session."""


def _code(body: object) -> str | None:
    error = body.get("error") if isinstance(body, dict) else None
    return plain_code(error.get("code")) if isinstance(error, dict) else None
