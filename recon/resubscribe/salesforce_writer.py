"""One record of Salesforce, written by one PATCH that is refused if anybody changed the record since it was read.

Source: REST API Developer Guide, "Conditional Requests" (If-Unmodified-Since compares LastModifiedDate, in whole seconds). The request is
sent as it is and once: simple-salesforce would repeat it after a login without its precondition.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import format_datetime
from typing import TYPE_CHECKING

import requests

from recon.resubscribe.answers import Answer, json_of, no_answer, of_status
from recon.sources.salesforce_session import error_code

if TYPE_CHECKING:
    from datetime import datetime

    from recon.resubscribe.live import Seen
    from recon.resubscribe.steps_evidence import Task
    from recon.sources.salesforce_session import Connection


class SalesforceWriter:
    """Writes the opt-out fields of records that are there: it creates nothing and finds nothing by address.

    Parameters
    ----------
    connection
        A session with Salesforce.
    """

    way = "rest"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def write(self, task: Task, seen: Seen) -> Answer:
        """Write a task's values, unless the record was changed since it was seen."""
        step = task.step
        name, record_id = step.written
        seen_at = seen.modified_at if step.account is None else seen.account_modified_at
        assert seen_at is not None
        unmodified = format_datetime(seen_at.astimezone(UTC).replace(microsecond=0), usegmt=True)
        try:
            response = self._connection.write_once(
                "PATCH",
                f"sobjects/{name}/{record_id}",
                headers={"If-Unmodified-Since": unmodified},
                json=dict(zip(step.fields, task.after, strict=True)),
            )
        except requests.RequestException as error:
            return no_answer(error)
        answer = of_status(response, error_code(json_of(response)))
        if answer.done and response.status_code != requests.codes.no_content:
            return Answer(retry=True, unknown=True, code=f"HTTP_{response.status_code}")
        return answer

    @property
    def server_time(self) -> datetime | None:
        """See `recon.resubscribe.systems.Writer`."""
        return self._connection.server_time

    def renew(self) -> None:
        """Log in again.

        Raises
        ------
        SourceError
            If Salesforce refuses.
        """
        self._connection.log_in()
