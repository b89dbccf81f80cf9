"""The CSV of a Bulk 2.0 ingest job, read as Salesforce reads it.

UTF-8; an empty cell changes nothing, ``#N/A`` empties a field; nothing is trimmed; the line ending must be the job's.
Source: Bulk API 2.0 Developer Guide, Prepare CSV Files.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recon.sandbox.salesforce.bulk_query import DELIMITERS, LINE_ENDINGS
from recon.sandbox.salesforce.errors import RecordFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from recon.sandbox.salesforce.objects import Field, SObject

_TRUE = ("yes", "y", "true", "on", "1")
_FALSE = ("no", "n", "false", "off", "0")
_NO_VALUE = "#N/A"
_QUOTED = re.compile(r'"[^"]*"')


@dataclass(frozen=True, slots=True)
class Sheet:
    """An upload: its header, the field of each column (None for Id), where Id stands, and the rows."""

    header: list[str]
    fields: list[Field | None]
    id_column: int | None
    rows: list[list[str]]


class JobFailed(Exception):
    """The whole job fails.

    Parameters
    ----------
    message
        The job's errorMessage.
    sheet
        What could be read: all of its rows are unprocessed.
    """

    def __init__(self, message: str, sheet: Sheet | None = None) -> None:
        super().__init__(message)
        self.sheet = sheet


def read_sheet(content: bytes, sobject: SObject, delimiter: str, line_ending: str) -> Sheet:
    """Read an upload.

    Parameters
    ----------
    delimiter, line_ending
        By their names in a job, like ``COMMA`` and ``LF``.

    Raises
    ------
    JobFailed
        If it can't be read, or a column is no field that the user sees.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise JobFailed("ClientInputError : The data is not valid UTF-8") from None
    if _strange_ends(text, line_ending):
        raise JobFailed(
            f"ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {line_ending}"
        )
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=DELIMITERS[delimiter], strict=True))
    except csv.Error as error:
        raise JobFailed(f"InvalidBatch : Failed to parse CSV: {error}") from None
    if not lines or not lines[0]:
        raise JobFailed("InvalidBatch : Failed to parse CSV header")
    header, rows = lines[0], [line for line in lines[1:] if line]
    unread = Sheet(header, [], None, rows)
    fields, id_column = _columns(unread, sobject)
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise JobFailed(
                f"InvalidBatch : Record {number} has {len(row)} fields, the header has {len(header)}", unread
            )
    return Sheet(header, fields, id_column, rows)


def _strange_ends(text: str, line_ending: str) -> bool:
    """Whether a line ends in another way than the job says; a line break in quotes is part of a value."""
    bare = _QUOTED.sub("", text)
    if line_ending == "CRLF":
        bare = bare.replace("\r\n", "")
        return "\n" in bare or "\r" in bare
    return "\r" in bare


def _columns(sheet: Sheet, sobject: SObject) -> tuple[list[Field | None], int | None]:
    fields: list[Field | None] = []
    id_column = None
    for n, name in enumerate(sheet.header):
        field = sobject.field(name)
        if field is None:
            raise JobFailed(f"InvalidBatch : Field name not found : {name}", sheet)
        if any(other is not None and other.name == field.name for other in fields) or (
            field.name == "Id" and id_column is not None
        ):
            raise JobFailed(f"InvalidBatch : Duplicate field name : {name}", sheet)
        if field.name == "Id":
            id_column = n
            fields.append(None)
        else:
            fields.append(field)
    return fields, id_column


def row_values(sheet: Sheet, row: Sequence[str]) -> dict[str, Any]:
    """What a row changes, by field: flags as booleans, everything else as text or None.

    Raises
    ------
    RecordFault
        If a flag's cell is none of Salesforce's words for true and false.
    """
    values: dict[str, Any] = {}
    for field, cell in zip(sheet.fields, row, strict=True):
        if field is None or not cell:
            continue
        if cell == _NO_VALUE:
            values[field.name] = None
        elif field.type == "boolean":
            values[field.name] = _flag(field, cell)
        else:
            values[field.name] = cell
    return values


def _flag(field: Field, cell: str) -> bool:
    word = cell.lower()
    if word not in _TRUE + _FALSE:
        message = f"{field.label}: value not of required type: {cell}"
        raise RecordFault(400, "INVALID_TYPE_ON_FIELD_IN_RECORD", message, [field.name])
    return word in _TRUE


def write_sheet(header: Sequence[str], rows: Iterable[Sequence[str]], delimiter: str, line_ending: str) -> bytes:
    """A result file: every cell quoted."""
    text = io.StringIO(newline="")
    writer = csv.writer(
        text, delimiter=DELIMITERS[delimiter], lineterminator=LINE_ENDINGS[line_ending], quoting=csv.QUOTE_ALL
    )
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()
