"""What a file is, told from its content; its name has to agree."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from recon.sources.refusal import Refusal

FileKind = Literal["text", "parquet", "xlsx", "xls"]

_KIND_OF_SUFFIX: dict[str, FileKind] = {
    ".csv": "text",
    ".tsv": "text",
    ".tab": "text",
    ".txt": "text",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
    ".xlsb": "xlsx",
    ".xls": "xls",
}
_NAME: dict[FileKind, str] = {
    "text": "text",
    "parquet": "a Parquet file",
    "xlsx": "an Excel workbook (.xlsx)",
    "xls": "an old Excel workbook (.xls)",
}
_SUFFIX: dict[FileKind, str] = {"text": ".csv", "parquet": ".parquet", "xlsx": ".xlsx", "xls": ".xls"}

_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"{\\rtf", "an RTF document"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"ARROW1", "an Arrow file"),
    (b"ORC", "an ORC file"),
    (b"Obj\x01", "an Avro file"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
)
_ARCHIVES = ("archive",)
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")

_SAVE_AS = "Export the rows again as CSV, Parquet or Excel (.xlsx)."


def tell(path: Path, refusal: Refusal) -> FileKind:
    """Tell a file's kind from its first bytes.

    Raises
    ------
    InputRefused
        If the file is missing, unreadable, empty, of a kind that recon doesn't read, or named like another kind.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
    except FileNotFoundError:
        raise refusal.refuse("there is no such file.", "Check the path.") from None
    except IsADirectoryError:
        raise refusal.refuse("this is a folder, not a file.", "Give the path of the file itself.") from None
    except OSError as error:
        raise refusal.refuse(f"the file can't be read: {error.strerror}.", "Check its permissions.") from None
    if not head:
        raise refusal.refuse("the file is empty (0 bytes).", "Export it again.")
    kind, name = _look(path, head)
    if kind is None:
        remedy = f"Unpack it first. {_SAVE_AS}" if name.endswith(_ARCHIVES) else _SAVE_AS
        raise refusal.refuse(f"the file looks like {name}, which recon doesn't read.", remedy)
    claimed = _KIND_OF_SUFFIX.get(path.suffix.lower())
    if claimed is not None and claimed != kind:
        raise refusal.refuse(
            f"the file is named like {_NAME[claimed]} but its content looks like {_NAME[kind]}.",
            f"If that is what it is, rename it to end in {_SUFFIX[kind]}; if not, export it again.",
        )
    return kind


def _look(path: Path, head: bytes) -> tuple[FileKind | None, str]:
    """The kind, or None and what else it looks like."""
    if head.startswith(b"PAR1"):
        return "parquet", ""
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return "xls", ""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _look_into_zip(path)
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            return None, name
    start = head
    for mark in _MARKS:
        start = start.removeprefix(mark)
    start = start.replace(b"\x00", b"").lstrip().lower()
    if start.startswith(b"<?xml") and b"<html" not in start:
        return None, "an XML document"
    if start.startswith(b"<"):
        return None, "an HTML page (some systems name such pages .xls)"
    if start.startswith((b"{", b"[")):
        return None, "JSON"
    return "text", ""


def _look_into_zip(path: Path) -> tuple[FileKind | None, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError):  # the last two: a damaged directory
        # Cut short: an .xlsx gets its own sentence from the reader of workbooks.
        if path.suffix.lower() in (".xlsx", ".xlsm", ".xlsb"):
            return "xlsx", ""
        return None, "a damaged zip archive"
    if names & {"xl/workbook.xml", "xl/workbook.bin"}:
        return "xlsx", ""
    if "word/document.xml" in names:
        return None, "a Word document"
    if "mimetype" in names and "content.xml" in names:
        return None, "an OpenDocument file"
    return None, "a zip archive"
