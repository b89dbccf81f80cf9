"""The org's daily API calls: a pull stops before it takes more than its share of what everybody needs.

Source: Salesforce, REST API Developer Guide, Limits (DailyApiRequests) and the header Sforce-Limit-Info, which lags behind; so recon's own calls
are counted, too. (Practice of others: Meltano's tap stops at 80 percent of the org's calls.)
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from recon.errors import AccessRefused, SourceError

if TYPE_CHECKING:
    from recon.settings import SalesforceSettings
    from recon.sources.salesforce_session import Connection

log = logging.getLogger(__name__)

_USAGE = re.compile(r"(\d{1,12})/(\d{1,12})")
_HINT = (
    "Wait: the calls of the last 24 hours count. Or pull only what changed (`recon pull --since`), "
    "or raise max_share_of_daily_calls under [salesforce]."
)


class Quota:
    """What may be used of the day's calls, by everybody together.

    Parameters
    ----------
    connection
        Its calls are watched from here on.
    settings
        The share.

    Attributes
    ----------
    daily_max
        The org's calls a day; None where Salesforce doesn't say: then nothing is held back.
    used_before
        Calls used by everybody before.
    estimate
        The calls that the work was expected to need; None before `expect`.
    """

    def __init__(self, connection: Connection, settings: SalesforceSettings) -> None:
        self._connection = connection
        self._share = settings.max_share_of_daily_calls
        self.daily_max: int | None = None
        self.used_before = 0
        self.estimate: int | None = None
        self._calls_before = connection.calls
        self._read_limits()

    def _read_limits(self) -> None:
        try:
            limits = self._connection.get("the limits", "limits")
        except AccessRefused:
            # Needs View Setup and Configuration; the header that comes with every answer needs no right.
            log.info("The user may not read the org's limits; the calls are watched by Sforce-Limit-Info.")
            self._told()
            return
        found = limits.get("DailyApiRequests") if isinstance(limits, dict) else None
        most, left = (found.get("Max"), found.get("Remaining")) if isinstance(found, dict) else (None, None)
        if isinstance(most, int) and isinstance(left, int) and most > 0:
            self.daily_max, self.used_before = most, max(most - left, 0)
            self._calls_before = self._connection.calls
        else:
            self._told()

    def _told(self) -> None:
        used, most = usage(self._connection.api_usage)
        if most:
            self.daily_max, self.used_before, self._calls_before = most, used, self._connection.calls

    @property
    def allowed(self) -> int | None:
        """How many of the day's calls may be used, by everybody together; None where no number is known, as of now."""
        if self.daily_max is None:
            self._told()
        return None if self.daily_max is None else int(self.daily_max * self._share / 100)

    def expect(self, calls: int, what: str) -> None:
        """Say beforehand how many calls some work needs.

        Raises
        ------
        SourceError
            If that is more than may be used.
        """
        self.estimate = calls
        allowed = self.allowed
        if allowed is not None and self._used() + calls > allowed:
            raise SourceError(
                f"{what} needs about {calls:,} API calls; {self._used():,} of the org's {self.daily_max:,} a day are used, "
                f"and no more than {allowed:,} ({self._share:g} percent) may be. Nothing was read.",
                hint=_HINT,
            )

    def look(self) -> None:
        """Called before every call.

        Raises
        ------
        SourceError
            If so many calls are used that no more may be.
        """
        allowed = self.allowed
        if allowed is not None and self._used() >= allowed:
            raise SourceError(
                f"{self._used():,} of the org's {self.daily_max:,} API calls a day are used, and recon stops at "
                f"{allowed:,} ({self._share:g} percent): the pull was not finished.",
                hint=f"{_HINT} What was read by Bulk queries is kept: the next pull goes on from there.",
            )

    def _used(self) -> int:
        told, _ = usage(self._connection.api_usage)
        return max(told, self.used_before + self._connection.calls - self._calls_before)

    def as_json(self) -> dict[str, Any]:
        """The day's calls before and after, for the manifest."""
        return {
            "daily_max": self.daily_max,
            "used_before": None if self.daily_max is None else self.used_before,
            "used_after": None if self.daily_max is None else self._used(),
            "max_share_percent": self._share,
            "estimate": self.estimate,
        }


def day(connection: Connection | None) -> dict[str, int | None]:
    """What Salesforce said last about the day's calls, for files: how many there are, and how many everybody together has used."""
    used, most = usage(None if connection is None else connection.api_usage)
    return {"daily_max": most or None, "used_after": used if most else None}


def usage(text: str | None) -> tuple[int, int]:
    """Used and daily calls, from what stands in Sforce-Limit-Info, like 18/15000; zeros where it says nothing."""
    found = _USAGE.fullmatch(text or "")
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)
