"""People as a gateway answers them, checked value by value and brought to the shape of `recon.tables.PEOPLE`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recon.errors import IncompletePull, SettingsError, SourceError
from recon.sources.vocabulary import LEVELS, SOURCES, STATUS_PAIRS
from recon.tables import PEOPLE

if TYPE_CHECKING:
    from collections.abc import Mapping

AGAIN = "Pull again; people may have been added or removed meanwhile."
KEYS = "Compare the keys in [sales_connect.gateway] and [sales_connect.columns] with the gateway's answer."
MISSING = object()
_FLAGS = {word: (pair, word == pair[0]) for pair in STATUS_PAIRS for word in pair}
_JSON_FLAGS = ("JSON true", "JSON false")
_TIME = pa.timestamp("us", tz="UTC")
# A time without a zone could be anybody's: it is refused, as the date of an opt-out decides.
_TIME_FORM = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d(:?\d\d)?)$"


@dataclass(slots=True)
class Words:
    """In which words the gateway spoke so far.

    Attributes
    ----------
    flags
        How it writes yes and no; None before the first person.
    unknown_sources
        How many sources of an unsubscribe nobody knows.
    """

    flags: tuple[str, str] | None = None
    unknown_sources: int = 0


def column_keys(mapped: Mapping[str, str]) -> dict[str, str]:
    """Which key of a person is which column of `recon.tables.PEOPLE`.

    Raises
    ------
    SettingsError
        If a column that doesn't exist is mapped.
    """
    if unknown := sorted(set(mapped) - set(PEOPLE.names)):
        raise SettingsError(
            f"sales_connect.columns maps columns that people don't have: {', '.join(unknown)}.",
            hint=f"The columns are {', '.join(PEOPLE.names)}.",
        )
    return {name: mapped.get(name, name) for name in PEOPLE.names}


def person_row(item: object, keys: Mapping[str, str]) -> dict[str, Any]:
    """One person of the gateway as a row of `recon.tables.PEOPLE`.

    Parameters
    ----------
    item
        What the gateway answered.
    keys
        From `column_keys`.

    Raises
    ------
    IncompletePull, SourceError
        As `people_rows`.
    """
    row: dict[str, Any] = people_table(people_rows([item], keys, Words(), 0)).to_pylist()[0]
    return row


def people_rows(items: list[Any], keys: Mapping[str, str], words: Words, page: int) -> list[dict[str, Any]]:
    """A page's people as rows of `recon.tables.PEOPLE`, their times as they were written.

    Parameters
    ----------
    items
        What the gateway answered.
    keys
        From `column_keys`.
    words
        What is known of the pages before; is added to.
    page
        The page's number, for messages.

    Raises
    ------
    IncompletePull
        If a person has no id or no unsubscribed flag, or comes twice.
    SourceError
        If a person has another shape.
    """
    rows: list[dict[str, Any]] = []
    ids: set[str] = set()
    for position, item in enumerate(items, start=1):
        where = f"page {page} of the gateway, person {position}"
        if not isinstance(item, dict):
            raise SourceError(f"{where}: not an object.", hint=KEYS)
        row = {name: at(item, key) for name, key in keys.items()}
        row["unsubscribed"] = _flag(row["unsubscribed"], where, keys["unsubscribed"], words)
        for column in PEOPLE:
            if column.kind in ("string", "time"):
                row[column.name] = _text(row[column.name], where, keys[column.name])
            if column.kind == "time" and row[column.name] is not None and not re.match(_TIME_FORM, row[column.name]):
                raise SourceError(
                    f"{where}: {keys[column.name]!r} is no time with a zone, like 2026-11-24T04:00:00Z.", hint=KEYS
                )
        for name in ("person_id", "salesforce_id"):
            row[name] = None if row[name] is None else row[name].strip()
        if row["person_id"] is None:
            raise IncompletePull(f"{where}: no id at {keys['person_id']!r}.", hint=KEYS)
        if row["person_id"] in ids:
            raise IncompletePull(f"{where}: an id that was there before.", hint=AGAIN)
        row["unsubscribe_level"] = _level(row["unsubscribe_level"], where, keys["unsubscribe_level"])
        source = row["unsubscribe_source"]
        row["unsubscribe_source"] = None if source is None else SOURCES.get(_plain(source))
        words.unknown_sources += source is not None and row["unsubscribe_source"] is None
        ids.add(row["person_id"])
        rows.append(row)
    return rows


def _flag(value: object, where: str, key: str, words: Words) -> bool:
    """Yes or no, by JSON's own flags or by the words that a file may have, in one vocabulary for all people."""
    if isinstance(value, bool):
        pair, flag = _JSON_FLAGS, value
    else:
        word = str(value).strip().casefold() if isinstance(value, str | int) else ""
        if word not in _FLAGS:
            raise IncompletePull(
                f"{where}: {key!r} is missing, blank or neither yes nor no. Unknown is not 'may be mailed'.", hint=KEYS
            )
        pair, flag = _FLAGS[word]
    if words.flags is not None and words.flags != pair:
        raise IncompletePull(
            f"{where}: {key!r} is written in another vocabulary ({'/'.join(pair)}) than those before it ({'/'.join(words.flags)}).",
            hint="Two sources may be mixed behind the gateway: one of them may mean something else.",
        )
    words.flags = pair
    return flag


def _level(text: str | None, where: str, key: str) -> str | None:
    if text is None:
        return None
    if _plain(text) not in LEVELS:
        raise SourceError(f"{where}: {key!r} is none of {', '.join(LEVELS)}.", hint=KEYS)
    return LEVELS[_plain(text)]


def _plain(text: str) -> str:
    """A word however it is spelled on screen ("Clicked Link")."""
    return re.sub(r"[\s_-]+", "_", text.strip().casefold())


def _text(value: object, where: str, key: str) -> str | None:
    if value is MISSING or value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise SourceError(f"{where}: {key!r} is no text.", hint=KEYS)


def people_table(people: list[dict[str, Any]]) -> pa.Table:
    """Rows of `people_rows` as a table.

    Raises
    ------
    SourceError
        If a time doesn't exist.
    """
    columns = {}
    for column in PEOPLE:
        values = [person[column.name] for person in people]
        if column.kind != "time":
            columns[column.name] = pa.array(values, column.arrow)
            continue
        try:
            columns[column.name] = pa.array(values, pa.string()).cast(_TIME)
        except pa.ArrowInvalid:
            raise SourceError(f"the gateway gave a time in {column.name} that doesn't exist.", hint=KEYS) from None
    return PEOPLE.conform(pa.table(columns))


def at(value: Any, path: str) -> Any:
    """What stands at a dotted path, or MISSING."""
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return MISSING
        value = value[key]
    return value
