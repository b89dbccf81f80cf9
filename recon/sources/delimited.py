"""CSV files: delimiter, encoding, quotes and lines, surely or not at all."""

from __future__ import annotations

import codecs
import csv
import io
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from recon.errors import UsageError
from recon.sources import report_export
from recon.sources.rows import Rows
from recon.sources.scan import NotInEncoding, Scan, is_utf8, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from recon.sources.base import InputKind
    from recon.sources.refusal import Refusal
    from recon.sources.rows import Details

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
_HEADER_BYTES = 1 << 20
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_REPORT_ENCODING = "iso-8859-1"
_EXPORT_AGAIN = "Export the file again."


class DelimitedFile:
    """A CSV file whose header is known.

    Parameters
    ----------
    path
        The file; its content was seen to be text.
    encoding
        The only encoding it is tried in. A Salesforce report export that isn't UTF-8 is ISO-8859-1, which is what reports are
        exported in; no other file is ever read in another encoding than the given one.
    fits
        Tells whether headers have what is needed; asked only when the header holds more than one sort of delimiter.
    reports
        May the file be a Salesforce report export?

    Raises
    ------
    InputRefused
        If the header can't be read.
    UsageError
        If there is no such encoding.
    """

    kind: InputKind = "csv"

    def __init__(
        self, path: Path, encoding: str, refusal: Refusal, *, fits: Callable[[list[str]], bool], reports: bool
    ) -> None:
        _known(encoding)
        self._path = path
        self.encoding = encoding
        self._refusal = refusal
        header = self._header_line()
        self.delimiter, self.headers = self._split(header, fits)
        self._may_be_latin = (
            reports and header.isascii() and is_utf8(encoding) and report_export.recognised(self.headers)
        )

    def read(self, wanted: Sequence[int], *, report: bool) -> Rows:
        """Read the columns at these places, after the whole file was seen to be sound; see `rows.Reader`."""
        before = self._path.stat()
        found = self._scan()
        footer = self._check(found, report=report)
        lines = np.delete(found.lines, [0, *footer])
        if not len(lines):
            raise self._refusal.refuse(
                "the file has a header but no rows.",
                "Export it again; if there is nothing to export, leave the file out.",
            )
        table = self._parse(wanted, found, skip_footer=bool(footer))
        after = self._path.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise self._refusal.refuse("the file changed while it was read.", "Run it again when the export is done.")
        if table.num_rows != len(lines):
            raise self._refusal.refuse(
                f"its rows can't be told apart surely: {len(lines)} by its lines, {table.num_rows} by its cells.",
                "Export it again, as comma-separated values with every cell in quotes.",
            )
        details: Details = {
            "encoding": "utf-8" if is_utf8(self.encoding) else codecs.lookup(self.encoding).name,
            "delimiter": DELIMITERS[self.delimiter],
            # Without one, the last cell of the last row may be cut short, and nobody could tell.
            "final_line_end": found.final_line_end,
        }
        if report:
            details["footer_rows"] = len(footer)
        columns = {place: table.column(number) for number, place in enumerate(wanted)}
        return Rows(columns, lines, found.sha256, found.size, details)

    def _header_line(self) -> str:
        text, undecodable = self._start()
        end, quoted = -1, False
        for place, character in enumerate(text):
            if character == '"':
                quoted = not quoted
            elif character == "\n" and not quoted:
                end = place
                break
        if end < 0 and undecodable:
            try:
                scan(self._path, self.encoding, ",")
            except NotInEncoding as fault:
                raise self._not_in_encoding(fault) from None
        if end < 0 and self._path.stat().st_size > _HEADER_BYTES:
            raise self._refusal.refuse(
                "no header line ends within the first MiB.", "A CSV file has its headers in line 1.", line=1
            )
        header = (text if end < 0 else text[:end]).removesuffix("\r")
        if "\r" in header:
            raise self._lone_cr(1)
        if "\x00" in header:
            raise self._refusal.refuse(
                "the header holds null bytes: the file is binary, or UTF-16 without a mark at its start.",
                "If it is UTF-16, say so with --encoding utf-16-le; if not, export it as CSV.",
                line=1,
            )
        if not header.strip():
            raise self._refusal.refuse("line 1 is blank.", "The headers have to stand in line 1.", line=1)
        return header

    def _start(self) -> tuple[str, bool]:
        """The file's first characters, and whether undecodable bytes end them."""
        with self._path.open("rb") as stream:
            head = stream.read(_HEADER_BYTES)
        decoder = codecs.getincrementaldecoder(decoder_name(self.encoding))("strict")
        try:
            return decoder.decode(head, final=len(head) < _HEADER_BYTES).removeprefix("\ufeff"), False
        except UnicodeDecodeError as error:
            sound = error.object[: error.start].decode(decoder_name(self.encoding))
            return sound.removeprefix("\ufeff"), True
        except UnicodeError:  # UTF-16 or UTF-32 without the mark that these need
            return "", True

    def _split(self, header: str, fits: Callable[[list[str]], bool]) -> tuple[str, list[str]]:
        outside = "".join(header.split('"')[::2])
        signs = [sign for sign in DELIMITERS if sign in outside]
        candidates = {sign: cells for sign in signs if (cells := _cells(header, sign)) is not None}
        if signs and not candidates:
            raise self._misplaced_quote(1)
        if not candidates:
            hint = " '|' is none of them." if "|" in outside else ""
            raise self._refusal.refuse(
                f"the header has no comma, semicolon or tab between its columns.{hint}",
                "Export the file with one of these between the columns.",
                line=1,
            )
        if len(candidates) > 1:
            candidates = {sign: cells for sign, cells in candidates.items() if fits(cells)} or candidates
        if len(candidates) > 1:
            names = " and ".join(DELIMITERS[sign] for sign in candidates)
            raise self._refusal.refuse(
                f"the header holds {names}: which of them parts the columns can't be told surely.",
                "Put headers that hold such a sign in quotes, or rename them.",
                line=1,
            )
        return next(iter(candidates.items()))

    def _scan(self) -> Scan:
        try:
            return scan(self._path, self.encoding, self.delimiter)
        except NotInEncoding as fault:
            if not self._may_be_latin:
                raise self._not_in_encoding(fault) from None
        self.encoding = _REPORT_ENCODING
        return scan(self._path, self.encoding, self.delimiter)

    def _not_in_encoding(self, fault: NotInEncoding) -> Exception:
        with self._path.open("rb") as stream:
            head = stream.read(4)
        remedy = "Say which encoding the file has with --encoding NAME (like windows-1252 or iso-8859-1), or save it as UTF-8."
        for mark, name in _MARKS:
            if head.startswith(mark):
                remedy = f"The file begins with the mark of {name.upper()}: say --encoding {name}, or save it as UTF-8."
                break
        return self._refusal.refuse(
            f"byte {fault.byte} of the file isn't {self.encoding.removesuffix('-sig').upper()} text.",
            remedy,
            line=fault.line,
        )

    def _misplaced_quote(self, line: int) -> Exception:
        return self._refusal.refuse(
            "a quote stands in the middle of a cell, so where the cells end can't be told.",
            'Put the whole cell in quotes and write each quote in it twice ("").',
            line=line,
        )

    def _lone_cr(self, line: int) -> Exception:
        return self._refusal.refuse(
            "lines end with a carriage return alone (an old Macintosh format).",
            "Save the file with line ends LF or CRLF.",
            line=line,
        )

    def _check(self, found: Scan, *, report: bool) -> list[int]:
        """Refuse a file that isn't whole; the places of the footer's rows otherwise."""
        if found.misplaced_quote is not None:
            raise self._misplaced_quote(found.misplaced_quote)
        if found.unclosed_quote is not None:
            raise self._refusal.refuse(
                "a quote is opened in this row and never closed: the file is cut short, or the closing quote is missing.",
                f"{_EXPORT_AGAIN} Nothing after this line can be trusted.",
                line=found.unclosed_quote,
            )
        if found.lone_cr is not None:
            raise self._lone_cr(found.lone_cr)
        footer = self._footer(found) if report else []
        ragged = {row: cells for row, cells in found.cells.items() if row not in set(footer)}
        last = len(found.lines) - 1
        expected = len(self.headers)

        def fault(row: int) -> str:
            cells = ragged[row]
            cut = " It is the last line: the file may be cut short." if row == last and cells < expected else ""
            return f"the row has {cells} cell{'s' if cells != 1 else ''}, the header has {expected}.{cut}"

        self._refusal.know_lines(found.lines)
        self._refusal.add_rows(
            np.array(sorted(ragged), dtype=np.int64),
            fault,
            f"{_EXPORT_AGAIN} A cell that holds the delimiter or a line end has to stand in quotes.",
        )
        self._refusal.stop()
        return footer

    def _footer(self, found: Scan) -> list[int]:
        """The last rows, if each has a single cell and one of them says that it is a report's footer."""
        rows: list[int] = []
        row = len(found.lines) - 1
        while found.cells.get(row) == 1 and len(rows) < report_export.FOOTER_ROWS:
            rows.append(row)
            row -= 1
        if not rows:
            return []
        rows.reverse()
        return rows if report_export.is_footer(self._texts_from(int(found.lines[rows[0]]))) else []

    def _texts_from(self, line: int) -> list[str]:
        with self._path.open(encoding=decoder_name(self.encoding), newline="\n") as stream:
            kept = [text for number, text in enumerate(stream, start=1) if number >= line]
        return [text.strip().strip('"') for text in kept]

    def _parse(self, wanted: Sequence[int], found: Scan, *, skip_footer: bool) -> pa.Table:
        names = [f"c{place}" for place in range(len(self.headers))]
        used = [names[place] for place in wanted]
        # Ragged rows were all seen by the scan: what is left of them here is the footer.
        skip = (lambda _row: "skip") if skip_footer else None
        stream = pa.OSFile(str(self._path))
        if not is_utf8(self.encoding):
            stream = pa.transcoding_input_stream(stream, self.encoding, "utf-8")
        with stream:
            try:
                return arrow_csv.read_csv(
                    stream,
                    read_options=arrow_csv.ReadOptions(
                        column_names=names,
                        skip_rows_after_names=1,
                        block_size=max(4 << 20, 2 * found.longest + 16),
                    ),
                    parse_options=arrow_csv.ParseOptions(
                        delimiter=self.delimiter,
                        newlines_in_values=found.newlines_in_values,
                        invalid_row_handler=skip,
                    ),
                    convert_options=arrow_csv.ConvertOptions(
                        check_utf8=False,  # the scan did
                        include_columns=used,
                        column_types=dict.fromkeys(used, pa.string()),
                        null_values=[],
                        strings_can_be_null=False,
                    ),
                )
            except pa.ArrowInvalid:
                # Arrow's text may quote the row; it is not passed on.
                raise self._refusal.refuse("the rows can't be parsed.", _EXPORT_AGAIN) from None


def _cells(header: str, delimiter: str) -> list[str] | None:
    """The header's cells, or None where its quotes don't go with this delimiter."""
    try:
        return next(csv.reader(io.StringIO(header, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        return None


def decoder_name(encoding: str) -> str:
    """The encoding's name for decoding: a mark at the start is no part of the text."""
    return "utf-8-sig" if is_utf8(encoding) else encoding


def _known(encoding: str) -> None:
    try:
        "".encode(encoding)
        b"".decode(encoding)
    except (LookupError, UnicodeError):
        raise UsageError(
            f"there is no text encoding named {encoding!r}.", hint="Use a name like utf-8, windows-1252 or iso-8859-1."
        ) from None
