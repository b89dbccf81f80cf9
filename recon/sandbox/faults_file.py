"""Faults from a file: TOML with a `[[fault]]` table each, or JSON with the same in a list. Refused whole, with everything that is wrong.

::

    [[fault]]
    system = "salesforce"
    method = "GET"
    path = "/jobs/query/.*/results"
    query = "locator="
    kind = "cut"
    framing = "none"
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from recon.errors import InputRefused, Problem
from recon.sandbox.faults import Fault

if TYPE_CHECKING:
    from pathlib import Path

_REMEDY = "See docs/faults.md."
_TABLE = re.compile(r"[ \t]*\[\[[ \t]*(?:fault|\"fault\"|'fault')[ \t]*\]\]")


def read_faults(path: Path) -> list[Fault]:
    """Read the faults that a file declares.

    Parameters
    ----------
    path
        TOML, or JSON where its name ends in .json.

    Raises
    ------
    InputRefused
        If it can't be read, or any fault in it can't be used; every problem names the fault, and in TOML its line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't UTF-8"
        raise _refused(path, f"can't be read: {reason}.", "Name a file with faults.") from error
    is_json = path.suffix.lower() == ".json"
    try:
        document = json.loads(text) if is_json else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refused(path, f"is no {'JSON' if is_json else 'TOML'}: {error}.", "Mend that place.") from error
    lines = [] if is_json else [n for n, line in enumerate(text.splitlines(), 1) if _TABLE.match(line)]
    entries = _entries(path, document)
    problems: list[Problem] = []
    found: list[Fault] = []
    for number, entry in enumerate(entries, 1):
        line = lines[number - 1] if len(lines) == len(entries) else None
        if isinstance(entry, dict) and entry.get("kind") == "call":
            problems.append(Problem(str(path), f"fault {number}: call is for tests in Python.", _REMEDY, line))
            continue
        try:
            found.append(Fault.model_validate(entry))
        except ValidationError as error:
            problems += [Problem(str(path), f"fault {number}: {text}", _REMEDY, line) for text in _wrong(error)]
    if problems:
        raise InputRefused(problems)
    return found


def _entries(path: Path, document: object) -> list[Any]:
    if isinstance(document, dict):
        if strange := sorted(document.keys() - {"fault"}):
            raise _refused(path, f"there is no such key: {', '.join(strange)}.", "Write every fault under [[fault]].")
        document = document.get("fault", [])
    if not isinstance(document, list) or not document:
        raise _refused(path, "declares no faults.", "Write every fault under [[fault]] (TOML) or into a list (JSON).")
    return document


def _wrong(error: ValidationError) -> list[str]:
    texts = []
    for fault in error.errors(include_url=False, include_input=False):
        place = ".".join(str(part) for part in fault["loc"])
        said = "there is no such key" if fault["type"] == "extra_forbidden" else fault["msg"]
        said = said.removeprefix("Value error, ")
        texts.append(f"{place}: {said}." if place else f"{said}.")
    return texts


def _refused(path: Path, message: str, remedy: str) -> InputRefused:
    return InputRefused([Problem(str(path), message, remedy)])
