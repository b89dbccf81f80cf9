"""What an answer to a write means: done, to be tried again, stale, or failed with something to mend."""

from __future__ import annotations

import re
from dataclasses import dataclass

import requests

from recon.sources.http import asked_wait, is_web_page

#: Salesforce's codes after which the same write may succeed.
RETRYABLE = frozenset({
    "UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE", "REQUEST_RUNNING_TOO_LONG", "PRECONDITION_FAILED", "INVALID_SESSION_ID",
    "REQUEST_LIMIT_EXCEEDED", "UNKNOWN_EXCEPTION",
})  # fmt: skip
#: Codes which say that the record isn't what it was: our own word for it.
STALE = {
    "CANNOT_UPDATE_CONVERTED_LEAD": "converted",
    "ENTITY_IS_DELETED": "gone",
    "NOT_FOUND": "gone",
    "INVALID_CROSS_REFERENCE_KEY": "gone",
}
#: Codes after which no other record is tried either.
STOPPING = frozenset({"REQUEST_LIMIT_EXCEEDED", "API_DISABLED_FOR_ORG", "GATEWAY_TOKEN_REFUSED"})

_REMEDIES = {
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": "A validation rule of the org forbids it: have an admin look at the rule, then plan again.",
    "FIELD_FILTER_VALIDATION_EXCEPTION": "A lookup filter of the org forbids it: have an admin look at the record, then plan again.",
    "INVALID_FIELD_FOR_INSERT_UPDATE": "The user may not write the field: make it editable (field-level security), then plan again.",
    "INVALID_FIELD": "The user can't see the field: make it visible and editable (field-level security), then plan again.",
    "ENTITY_IS_LOCKED": "An approval process holds the record: have it released, then plan again.",
    "REQUEST_LIMIT_EXCEEDED": "The org's API calls of the last 24 hours are used up: apply the same plan again later.",
    "HTTP_404": "The address of the change leads nowhere: check resubscribe_path and unsubscribe_path in [sales_connect.gateway].",
    "GATEWAY_TOKEN_REFUSED": "Check the gateway's token and what it may change, then plan again.",
}
_AGAIN = "Apply the same plan again: it reads the record first."
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]{1,59}")
# See `leaves_open`: our own codes, and Salesforce's own of 429 and 5xx.
_OPEN = re.compile(
    "TIMEOUT|NO_ANSWER|WEB_PAGE|HTTP_(2..|408|429|5..)|TOO_MANY_REQUESTS|SERVER_UNAVAILABLE|UNKNOWN_EXCEPTION",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back of a write.

    Attributes
    ----------
    done
        The system says that it is done.
    retry
        The write may be tried again, after its record was read again.
    unknown
        Nobody knows whether it was made: the record tells.
    code
        The system's code, or ours.
    renew
        The session has ended: log in first.
    wait
        Seconds that the system asks for.
    """

    done: bool = False
    retry: bool = False
    unknown: bool = False
    code: str | None = None
    renew: bool = False
    wait: float = 0.0

    @property
    def stale(self) -> str | None:
        """Our word for what happened to the record, where the code says that."""
        return STALE.get(self.code or "")


DONE = Answer(done=True)


def no_answer(error: requests.RequestException) -> Answer:
    """A write without a whole answer: it may have been made."""
    code = "TIMEOUT" if isinstance(error, requests.exceptions.Timeout) else "NO_ANSWER"
    return Answer(retry=True, unknown=True, code=code)


def of_status(response: requests.Response, code: str | None) -> Answer:
    """What an answer means by its status and its code; only the code decides where there is one that is known."""
    status = response.status_code
    if 200 <= status < 300:
        # A proxy's login page is not the system's word: the record tells.
        return Answer(retry=True, unknown=True, code="WEB_PAGE") if is_web_page(response) else DONE
    if code in STALE:
        return Answer(code=code)
    wait = asked_wait(response.headers)
    named = code or f"HTTP_{status}"
    if status == requests.codes.unauthorized:
        return Answer(retry=True, renew=True, code=named)
    if status >= 500:
        return Answer(retry=True, unknown=True, code=named, wait=wait)
    retry = code in RETRYABLE or status in (408, 409, 412, 429)
    # Neither system promises that it counts a call before it carries it out, and what counts may stand in between: the record tells.
    return Answer(retry=retry, unknown=status in (408, 429), code=named, wait=wait)


def json_of(response: requests.Response) -> object:
    """The body as JSON; None where it is none."""
    try:
        return response.json()
    except ValueError:
        return None


def plain_code(value: object) -> str | None:
    """A code of the other side that may be shown and kept: a word, nothing else."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) else None


def leaves_open(code: str | None) -> bool:
    """Whether a write that ended with this code may have been made all the same, and be it after its record was looked at."""
    return code is not None and _OPEN.fullmatch(code) is not None


def remedy(code: str | None, *, retryable: bool) -> str:
    """What to do about a code, in one sentence."""
    if code in _REMEDIES:
        return _REMEDIES[code]
    if retryable:
        return _AGAIN
    if code is not None and code.startswith("INSUFFICIENT_ACCESS"):
        return "The user may not change this record: give it edit rights (sharing, record type, field-level security), then plan again."
    return "Look the code up, mend its cause, then plan again."
