"""The history that a pull of records reads beside them: the changes of the opt-out fields, of each object and of person accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon.errors import AccessRefused
from recon.sources.calls import charged
from recon.sources.discovery import STANDARD_FIELD, on_account
from recon.sources.history import NONE_THERE, query, read_history
from recon.sources.object_read import REST_PAGE
from recon.sources.rest_query import count_where

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from recon.progress import Progress
    from recon.sources.discovery import ObjectFields
    from recon.sources.history import History
    from recon.sources.pulled_rows import ObjectRows
    from recon.sources.salesforce_session import Connection


class HistoryReads:
    """Makes the tasks that read history; each adds what it read to a list.

    Parameters
    ----------
    folder
        Where the runs go.
    pace
        Called before every further page; ends the read by an exception.
    """

    def __init__(self, connection: Connection, folder: Path, progress: Progress, pace: Callable[[], None]) -> None:
        self._connection, self._folder, self._progress, self._pace = connection, folder, progress, pace

    def of_records(self, fields: ObjectFields, into: list[History], since: str | None) -> Callable[[], None]:
        """A task that reads the history of Leads or Contacts: all of it, or what changed since a moment."""
        return self._task(fields, fields.object, _named(fields), into, since)

    def of_person_accounts(self, fields: ObjectFields, into: list[History], since: str | None) -> Callable[[], None]:
        """The same of person accounts, by their Accounts."""
        return self._task(fields, "Account", _on_account(fields), into, since)

    def top_up(self, found: Iterable[ObjectRows], since: Mapping[str, str | None]) -> list[Callable[[], None]]:
        """Tasks that read what changed since a moment, by object; of history that couldn't be read before, none."""
        tasks = []
        for rows in found:
            begin = since[rows.fields.object]
            if all(each.readable for each in rows.history):
                tasks.append(self.of_records(rows.fields, rows.history, begin))
            if rows.fields.person_targets and all(each.readable for each in rows.person_accounts):
                tasks.append(self.of_person_accounts(rows.fields, rows.person_accounts, begin))
        return tasks

    def pages(self, fields: ObjectFields) -> int:
        """How many further pages an object's history has; 0 where there is none that the user sees."""
        try:
            with charged(fields.object):
                changes = count_where(self._connection, query(fields.object, _named(fields)), f"{fields.object}History")
        except AccessRefused as error:
            if error.code not in NONE_THERE:
                raise
            return 0
        return changes // REST_PAGE

    def _task(
        self, fields: ObjectFields, of: str, names: Mapping[str, str], into: list[History], since: str | None
    ) -> Callable[[], None]:
        def task() -> None:
            place = self._folder / f"{of}-history-{len(into) + 1}"
            with charged(fields.object):
                into.append(
                    read_history(self._connection, of, names, place, self._progress, since=since, pace=self._pace)
                )

        return task


def _named(fields: ObjectFields) -> dict[str, str]:
    """The opt-out fields that count, and which of `recon.sources.history.FIELDS` each is."""
    return {name: "standard" if name == STANDARD_FIELD else "custom" for name in fields.targets}


def _on_account(fields: ObjectFields) -> dict[str, str]:
    """The same of a person account's Account: by both names, as it isn't documented which one its history has.

    Salesforce Help, Track Object Field History, says that it leaves out what was changed on the person's Contact: where neither history has a
    row, the date is unknown, as for any record.
    """
    named = _named(fields)
    return {on_account(name): of for name, of in named.items()} | named
