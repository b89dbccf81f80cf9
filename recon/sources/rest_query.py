"""A SOQL query over REST, page by page, with proof that all of it arrived."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from recon.clock import iso
from recon.errors import IncompletePull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from recon.sources.salesforce_session import Connection

AGAIN = "Pull again."


def count(connection: Connection, name: str, *, include_deleted: bool, where: str = "") -> int:
    """How many records an object has that the user can see.

    Parameters
    ----------
    where
        A condition, like ` WHERE IsDeleted = true`.

    Raises
    ------
    SourceError
        If Salesforce doesn't say.
    """
    return count_where(connection, f" FROM {name}{where}", f"{name} records", include_deleted=include_deleted)


def count_where(connection: Connection, condition: str, of: str, *, include_deleted: bool = True) -> int:
    """How many rows a query has; the condition begins with ` FROM`. Errors as `count`."""
    what = f"the number of {of}"
    soql = f"SELECT COUNT(){condition}"
    answer = connection.read(what, lambda client: client.query(soql, include_deleted=include_deleted))
    return _total(answer, what)


def newest_stamp(connection: Connection, name: str, where: str) -> str | None:
    """When a record of an object was changed last, by Salesforce's clock, deleted ones included; None where there is none.

    Raises
    ------
    SourceError
        If Salesforce doesn't say.
    """
    soql = f"SELECT SystemModstamp FROM {name}{where} ORDER BY SystemModstamp DESC LIMIT 1"  # noqa: S608 - names that describe gave, times
    for page in rest_pages(connection, soql, ("SystemModstamp",), f"the newest {name}"):
        for record in page:
            return stamp(record["SystemModstamp"], f"the newest {name}")
    return None


def stamp(text: object, what: str) -> str:
    """A moment of Salesforce as SOQL takes it: UTC, whole seconds, rounded down.

    Raises
    ------
    IncompletePull
        If it is none.
    """
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise IncompletePull(f"Salesforce's answer for {what} holds no time.", hint=AGAIN)
    return iso(moment)


def rest_pages(
    connection: Connection,
    soql: str,
    columns: Sequence[str],
    name: str,
    pace: Callable[[], None] = lambda: None,
) -> Iterator[list[dict[str, Any]]]:
    """Run a query, deleted records included, and give its records a page at a time.

    Parameters
    ----------
    columns
        The fields that every record must have.
    name
        What is read, for messages.
    pace
        Called before every further page; ends the read by an exception.

    Raises
    ------
    IncompletePull
        If the pages hold another number of records than Salesforce said, or a record lacks a field.
    SourceError
        As `Connection.read`.
    """
    what = f"the records of {name}"
    answer = connection.read(what, lambda client: client.query(soql, include_deleted=True))
    total = _total(answer, what)
    seen: set[str] = set()
    rows = 0
    while True:
        records = answer.get("records")
        if not isinstance(records, list) or any(
            not isinstance(record, dict) or not record.keys() >= set(columns) for record in records
        ):
            raise IncompletePull(f"an answer to {what} lacks records or fields that were asked for.", hint=AGAIN)
        rows += len(records)
        yield records
        if answer.get("done") is True:
            break
        following = answer.get("nextRecordsUrl")
        # The client appends this to the host; anything but a path of the API would lead somewhere else.
        if not isinstance(following, str) or not following.startswith("/services/data/") or following in seen:
            raise IncompletePull(f"an answer to {what} doesn't say where the next records are.", hint=AGAIN)
        seen.add(following)
        pace()
        answer = _more(connection, what, following)
    if rows != total:
        raise IncompletePull(f"Salesforce said there are {total} rows of {name}, but {rows} arrived.", hint=AGAIN)


def _more(connection: Connection, what: str, following: str) -> Any:
    answer = connection.read(what, lambda client: client.query_more(following, identifier_is_url=True))
    _total(answer, what)
    return answer


def _total(answer: Any, what: str) -> int:
    total = answer.get("totalSize") if isinstance(answer, dict) else None
    if not isinstance(total, int) or isinstance(total, bool):
        raise IncompletePull(f"Salesforce's answer for {what} doesn't say how many there are.", hint=AGAIN)
    return total
