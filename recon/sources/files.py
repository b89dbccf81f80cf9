"""People, Leads and Contacts from files: CSV, Parquet or Excel.

A file is used whole or not at all. Everything that is wrong with it is found before anything is said, and each fault names its line, its
column and what to do. What a file can't say surely (an encoding, a delimiter, a blank flag, a day and a month in figures) is never guessed.
"""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

from recon.sources import report_export, salesforce_columns
from recon.sources.base import Extract, Input
from recon.sources.cells import Cells
from recon.sources.delimited import DelimitedFile
from recon.sources.headers import did_you_mean, only, places, suggestion
from recon.sources.kinds import tell
from recon.sources.parquet_file import ParquetFile
from recon.sources.refusal import Refusal
from recon.sources.vocabulary import STATUS_PAIRS, text
from recon.sources.workbook import Workbook
from recon.tables import PEOPLE, RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from recon.settings import OptOutField
    from recon.sources.cells import ObjectName
    from recon.sources.quick import Loaded, Quick
    from recon.sources.rows import Details, Reader, Rows

_NO_COLUMNS: Mapping[str, str] = MappingProxyType({})
_REQUIRED_OF_PEOPLE = ("person_id", "unsubscribed")


def read_people(
    path: Path,
    *,
    columns: Mapping[str, str] = _NO_COLUMNS,
    encoding: str = "utf-8-sig",
    quick: Quick | None = None,
) -> Extract:
    """Read the people of Sales Connect from a file of unknown origin.

    Parameters
    ----------
    path
        CSV, Parquet or Excel.
    columns
        Which header of the file is which column: canonical name -> header. Canonical headers need no entry.
    encoding
        Of a CSV file. Decoded strictly, never guessed.
    quick
        Reads a file that is plainly in order straight into an engine: then the table is that engine's frame.

    Returns
    -------
    Extract
        A table in the shape of `recon.tables.PEOPLE` and one Input, named people.

    Raises
    ------
    InputRefused
        If the file can't be used as a whole, with all that is wrong with it: no status column, a blank or ambiguous flag,
        duplicate ids, rows of another length than the header, a quote that isn't closed, another kind or encoding.
    UsageError
        If there is no such encoding.
    """
    refusal = Refusal(str(path))
    names = {column.name: (columns.get(column.name, column.name),) for column in PEOPLE}

    def fits(headers: list[str]) -> bool:
        return all(places(headers, names[name]) for name in _REQUIRED_OF_PEOPLE)

    reader = open_reader(path, encoding, refusal, fits=fits, reports=False)
    found = _people_columns(reader.headers, columns, refusal)
    refusal.stop()
    if quick is not None and (loaded := quick.read(path, reader, found, PEOPLE, {})) is not None:
        return _loaded("people", path, reader, found, loaded)
    rows = reader.read(list(dict.fromkeys(found.values())), report=False)
    refusal.know_lines(rows.lines)
    cells = Cells(reader.headers, found, rows, refusal)
    table = {
        "person_id": cells.key("person_id"),
        "email": cells.text("email"),
        "salesforce_id": cells.id_text("salesforce_id"),
        "unsubscribed": cells.flag("unsubscribed", pairs=STATUS_PAIRS),
        "unsubscribe_level": cells.level("unsubscribe_level"),
        "unsubscribed_at": cells.time("unsubscribed_at"),
        "unsubscribe_source": cells.source("unsubscribe_source"),
        "resubscribed_at": cells.time("resubscribed_at"),
        "first_name": cells.text("first_name"),
        "last_name": cells.text("last_name"),
        "updated_at": cells.time("updated_at"),
    }
    refusal.stop()
    given = {name: values for name, values in table.items() if values is not None}
    return _extract("people", path, reader, rows, cells, PEOPLE.conform(pa.table(given)))


def read_leads(
    path: Path,
    *,
    opt_out_field: OptOutField = "standard",
    custom_field: str | None = None,
    encoding: str = "utf-8-sig",
    quick: Quick | None = None,
) -> Extract:
    """Read the Leads from a file with Salesforce's API names as headers, or from a report export.

    Parameters
    ----------
    path
        CSV, Parquet or Excel.
    opt_out_field
        The field that is the sync's target: standard, custom, or both (then either field opts out).
    custom_field
        API name of the custom opt-out checkbox; without it, the one header that has a known name or label.
    encoding
        Of a CSV file. Decoded strictly, never guessed; only a report export that isn't UTF-8 is read as ISO-8859-1.
    quick
        As in `read_people`.

    Returns
    -------
    Extract
        A table in the shape of `recon.tables.RECORDS` and one Input, named leads.

    Raises
    ------
    InputRefused
        If the file can't be used as a whole, with all that is wrong with it; also if it holds Contacts.
    UsageError
        If there is no such encoding.
    """
    return _read_records(path, "Lead", opt_out_field, custom_field, encoding, quick)


def read_contacts(
    path: Path,
    *,
    opt_out_field: OptOutField = "standard",
    custom_field: str | None = None,
    encoding: str = "utf-8-sig",
    quick: Quick | None = None,
) -> Extract:
    """Read the Contacts from a file; see `read_leads`."""
    return _read_records(path, "Contact", opt_out_field, custom_field, encoding, quick)


def open_reader(
    path: Path, encoding: str, refusal: Refusal, *, fits: Callable[[list[str]], bool], reports: bool
) -> Reader:
    """Open a file of any kind that recon reads; its headers are known then, its rows not yet read.

    Parameters
    ----------
    path, encoding
        As in `read_people`.
    refusal
        Takes what is wrong with it.
    fits, reports
        As in `DelimitedFile`.

    Raises
    ------
    InputRefused
        If it can't be opened.
    UsageError
        If there is no such encoding.
    """
    kind = tell(path, refusal)
    if kind == "parquet":
        return ParquetFile(path, refusal)
    if kind in ("xlsx", "xls"):
        return Workbook(path, refusal)
    return DelimitedFile(path, encoding, refusal, fits=fits, reports=reports)


def _people_columns(headers: list[str], columns: Mapping[str, str], refusal: Refusal) -> dict[str, int]:
    """Where each column stands; what is missing or twice there is noted."""
    for name in columns:
        if name not in PEOPLE.names:
            refusal.add(
                f"the column map names {name!r}, which is no column of people.{did_you_mean(PEOPLE.names, name)}",
                f"The columns are: {', '.join(PEOPLE.names)}.",
            )
    found: dict[str, int] = {}
    for name in PEOPLE.names:
        mapped = columns.get(name)
        place = only(headers, (mapped or name,), refusal)
        if place is not None:
            found[name] = place
        elif mapped is not None and not places(headers, (mapped,)):
            refusal.add(
                f"the column map says that {name} is {mapped!r}, but there is no such header.{did_you_mean(headers, mapped)}",
                f'Mend the map: --column {name}=HEADER, or {name} = "HEADER" under [sales_connect.columns].',
            )
        elif name in _REQUIRED_OF_PEOPLE and not places(headers, (name,)):
            what = "the unsubscribed status" if name == "unsubscribed" else "the person's id"
            close = suggestion(headers, name)
            header = "HEADER" if close is None else f'"{close}"'
            refusal.add(
                f"there is no column {name!r} ({what}).",
                f'Say which header it is: --column {name}={header}, or {name} = "{close or "HEADER"}" under [sales_connect.columns].',
            )
    return found


def _read_records(
    path: Path,
    object_name: Literal["Lead", "Contact"],
    opt_out_field: OptOutField,
    custom_field: str | None,
    encoding: str,
    quick: Quick | None,
) -> Extract:
    refusal = Refusal(str(path))
    fits = partial(salesforce_columns.fits, object_name)
    reader = open_reader(path, encoding, refusal, fits=fits, reports=True)
    report = report_export.recognised(reader.headers)
    found = salesforce_columns.find(reader.headers, object_name, opt_out_field, custom_field, refusal)
    refusal.stop()
    name = "leads" if object_name == "Lead" else "contacts"
    how: Details = {"opt_out_field": opt_out_field, "report_export": report}
    if quick is not None and not report:
        told = _told_of_records(object_name, opt_out_field, found)
        if (loaded := quick.read(path, reader, found, RECORDS, told)) is not None:
            loaded.details.update(how)
            return _loaded(name, path, reader, found, loaded)
    # A report's footer can only be told from rows by all their cells.
    wanted = range(len(reader.headers)) if report else list(dict.fromkeys(found.values()))
    rows = reader.read(list(wanted), report=report)
    if report and reader.kind == "csv":
        rows = _without_padded_footer(rows)
    refusal.know_lines(rows.lines)
    cells = Cells(reader.headers, found, rows, refusal)
    standard, custom = cells.flag("has_opted_out_of_email"), cells.flag("sales_opt_out")
    table = {
        "record_id": cells.record_id("record_id", object_name),
        "email": cells.text("email"),
        "has_opted_out_of_email": standard,
        "sales_opt_out": custom,
        "opted_out_at": cells.time("opted_out_at"),
        "resubscribed_at": cells.time("resubscribed_at"),
        "is_converted": cells.flag("is_converted"),
        "converted_contact_id": cells.contact_id("converted_contact_id"),
        "is_deleted": cells.flag("is_deleted"),
        "first_name": cells.text("first_name"),
        "last_name": cells.text("last_name"),
        "modified_at": cells.time("modified_at"),
    }
    refusal.stop()
    if opt_out_field == "both":
        table["opted_out"] = pc.or_(standard, custom)
    else:
        table["opted_out"] = standard if opt_out_field == "standard" else custom
    no = pa.chunked_array([pa.repeat(pa.scalar(value=False), rows.count)])
    for flag in ("is_converted", "is_deleted"):
        table[flag] = no if table[flag] is None else table[flag]
    given = {column: values for column, values in table.items() if values is not None}
    given["object"] = pa.chunked_array([pa.repeat(object_name, rows.count)])
    rows.details.update(how)
    return _extract(name, path, reader, rows, cells, RECORDS.conform(pa.table(given)))


def _told_of_records(object_name: ObjectName, opt_out_field: OptOutField, found: Mapping[str, int]) -> dict[str, str]:
    """Columns that no cell holds, as SQL for the quick reader."""
    targets = {
        "standard": "has_opted_out_of_email",
        "custom": "sales_opt_out",
        "both": "has_opted_out_of_email OR sales_opt_out",
    }
    told = {"object": f"'{object_name}'", "opted_out": targets[opt_out_field]}
    return told | {name: "false" for name in ("is_converted", "is_deleted") if name not in found}


def _loaded(name: str, path: Path, reader: Reader, found: Mapping[str, int], loaded: Loaded) -> Extract:
    details = loaded.details | {"columns": _columns(reader, found)}
    source = Input(
        name=name,
        origin=path.name,
        kind=reader.kind,
        rows=loaded.rows,
        sha256=loaded.sha256,
        size=loaded.size,
        details=details,
    )
    return Extract(loaded.frame, (source,))


def _columns(reader: Reader, found: Mapping[str, int]) -> list[str]:
    return [f"{canonical} = {reader.headers[place]}" for canonical, place in found.items()]


def _without_padded_footer(rows: Rows) -> Rows:
    """A report that a spreadsheet saved as CSV has its footer in rows of full length."""
    tail = [column.slice(max(0, rows.count - report_export.FOOTER_ROWS)) for column in rows.columns.values()]
    footer = report_export.padded_footer(list(zip(*(text(cells).to_pylist() for cells in tail), strict=True)))
    if not footer:
        return rows
    return rows.without_last(footer)


def _extract(name: str, path: Path, reader: Reader, rows: Rows, cells: Cells, table: pa.Table) -> Extract:
    details = rows.details | cells.details
    details["columns"] = _columns(reader, cells.found)
    source = Input(
        name=name,
        origin=path.name,
        kind=reader.kind,
        rows=rows.count,
        sha256=rows.sha256,
        size=rows.size,
        details=details,
    )
    return Extract(table, (source,))
