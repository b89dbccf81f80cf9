"""The doctor's checks of the two systems: login, API version, calls left, fields, field history, gateway, clocks. They only read."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import requests

from recon.doctor_check import Check, failed, ok
from recon.errors import ReconError, SourceError
from recon.sources.discovery import ObjectFields, discover
from recon.sources.gateway_client import GatewayClient
from recon.sources.http import told_time
from recon.sources.salesforce_session import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recon.clock import Clock
    from recon.secrets import Secrets
    from recon.settings import GatewaySettings, SalesforceSettings
    from recon.sources.salesforce_session import Connection

#: A doctor tells soon: one more try is enough.
_RETRIES = 1
#: A JWT login is good for three minutes, and what was changed when is told by these clocks.
_SKEW_WARNED, _SKEW_REFUSED = timedelta(seconds=5), timedelta(minutes=2)
_LEAST_CALLS_PERCENT = 20


class _Dates:
    """How far this machine's clock is from a server's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.ahead: timedelta | None = None

    def note(self, response: requests.Response, *_args: object, **_kwargs: object) -> None:
        """Look at the Date of an answer."""
        date = told_time(response.headers)
        if date is None:
            return
        # Half a second: Date leaves fractions out. Half the way: it was written before it arrived.
        self.ahead = self._clock.now() - date - timedelta(seconds=0.5) - response.elapsed / 2

    def check(self, system: str) -> Check:
        """The clocks, compared."""
        name = "clock"
        if self.ahead is None:
            return Check(
                name,
                "warning",
                f"{system} doesn't say what time it is.",
                "See that this machine's clock is set by NTP.",
            )
        seconds = self.ahead.total_seconds()
        said = f"this machine's clock is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} {system}'s."
        todo = "Have this machine's clock set by NTP: logins and the comparison of times depend on it."
        if abs(self.ahead) > _SKEW_REFUSED:
            return Check(name, "fault", said, todo)
        if abs(self.ahead) > _SKEW_WARNED:
            return Check(name, "warning", said, todo)
        return ok(name, f"this machine's and {system}'s agree.")


def salesforce(settings: SalesforceSettings, known: Secrets, clock: Clock) -> Iterator[Check]:
    """The checks of Salesforce."""
    quick = settings.model_copy(update={"retries": min(settings.retries, _RETRIES)})
    dates = _Dates(clock)
    with requests.Session() as session:
        session.hooks["response"].append(dates.note)
        try:
            connection = connect(quick, environ=known, session=session)
        except ReconError as error:
            yield failed("login", error)
            if dates.ahead is not None:
                yield dates.check("Salesforce")
            return
        try:
            yield _login(settings, connection)
            yield from _answers(settings, connection, session)
            yield dates.check("Salesforce")
        finally:
            connection.close()


def _login(settings: SalesforceSettings, connection: Connection) -> Check:
    said = f"logged in to {connection.host} ({settings.login})."
    if settings.login == "soap":
        todo = "Set salesforce.login to client_credentials or jwt before then."
        return Check("login", "warning", f"{said} SOAP login ends on 1 June 2027.", todo)
    return ok("login", said)


def _answers(settings: SalesforceSettings, connection: Connection, session: requests.Session) -> Iterator[Check]:
    for check in (_version, _calls):
        try:
            yield check(settings, connection, session)
        except ReconError as error:
            yield failed(check.__name__.strip("_"), error)
    try:
        fields = discover(connection, settings)
    except ReconError as error:
        yield failed("fields", error)
        return
    for each in fields:
        yield _field_access(each)
        yield _history(connection, each)


def _version(settings: SalesforceSettings, connection: Connection, session: requests.Session) -> Check:
    answer = connection.read(
        "the API versions",
        lambda client: session.get(
            f"https://{client.sf_instance}/services/data", timeout=(settings.connect_timeout, settings.read_timeout)
        ).json(),
    )
    versions = (
        [str(each.get("version")) for each in answer if isinstance(each, dict)] if isinstance(answer, list) else []
    )
    if settings.api_version not in versions:
        newest = f" It serves {versions[0]} to {versions[-1]}." if versions else ""
        text = f"Salesforce doesn't serve version {settings.api_version} of its API.{newest}"
        return Check("version", "fault", text, "Set salesforce.api_version to one that it serves.")
    return ok("version", f"Salesforce serves version {settings.api_version} of its API, up to {versions[-1]}.")


def _calls(_settings: SalesforceSettings, connection: Connection, _session: requests.Session) -> Check:
    found: Any = connection.get("the limits", "limits")
    daily = found.get("DailyApiRequests") if isinstance(found, dict) else None
    if (
        not isinstance(daily, dict)
        or not isinstance(daily.get("Max"), int)
        or not isinstance(daily.get("Remaining"), int)
    ):
        return Check(
            "calls",
            "warning",
            "Salesforce doesn't say how many API calls are left.",
            "Look in Setup > System Overview.",
        )
    share = 100 * daily["Remaining"] // max(1, daily["Max"])
    said = f"{daily['Remaining']} of {daily['Max']} API calls are left in these 24 hours."
    if share < _LEAST_CALLS_PERCENT:
        return Check("calls", "warning", said, "Find out what uses them up before a large pull or apply.")
    return ok("calls", said)


def _field_access(fields: ObjectFields) -> Check:
    targets = ", ".join(f"{fields.object}.{name}" for name in fields.targets)
    if fields.read_only:
        shut = ", ".join(f"{fields.object}.{name}" for name in fields.read_only)
        todo = f"Give Edit by field-level security: Setup > Object Manager > {fields.object} > Fields & Relationships > the field."
        return Check(
            "fields", "warning", f"{shut} can be read, but not written: pulls work, apply and undo don't.", todo
        )
    return ok("fields", f"{targets} can be read and written.")


def _history(connection: Connection, fields: ObjectFields) -> Check:
    name = f"{fields.object}History"
    quoted = ", ".join(f"'{field}'" for field in fields.targets)
    todo = f"Track the field: Setup > Object Manager > {fields.object} > Fields & Relationships > Set History Tracking. It holds from then on."
    text = "Without it opt-outs have no date, and the policy refuses such resubscribes."
    try:
        found = connection.get(name, "query", {"q": f"SELECT Id FROM {name} WHERE Field IN ({quoted}) LIMIT 1"})  # noqa: S608 - names that describe gave
    except ReconError as error:
        code = f" ({error.code})" if isinstance(error, SourceError) and error.code else ""
        return Check("history", "warning", f"{name} can't be read{code}. {text}", todo)
    if not found.get("records"):
        return Check(
            "history",
            "warning",
            f"{name} holds no change of {', '.join(fields.targets)}: it may not be tracked. {text}",
            todo,
        )
    return ok("history", f"{name} holds changes of {', '.join(fields.targets)}.")


def gateway(settings: GatewaySettings, known: Secrets, clock: Clock) -> Iterator[Check]:
    """The checks of the gateway."""
    quick = settings.model_copy(update={"retries": min(settings.retries, _RETRIES)})
    dates = _Dates(clock)
    try:
        client = GatewayClient(quick, known)
    except ReconError as error:
        yield failed("gateway", error)
        return
    client.on_answer(dates.note)
    try:
        answer = client.page(None, 1)
    except ReconError as error:
        yield failed("gateway", error)
        if dates.ahead is not None:
            yield dates.check("the gateway")
        return
    finally:
        client.close()
    people: Any = answer
    for key in settings.items_key.split("."):
        people = people.get(key) if isinstance(people, dict) else None
    if isinstance(people, list):
        yield ok("gateway", f"{client.host} lists people.")
    else:
        todo = "Check list_path and items_key under [sales_connect.gateway]."
        yield Check(
            "gateway", "fault", f"{client.host} answers, but its answer holds no list {settings.items_key!r}.", todo
        )
    yield dates.check("the gateway")
