"""recon.toml as `recon init` writes it: every setting with its meaning, type and default, made from their definitions."""

from __future__ import annotations

import json
import re
import textwrap
import types
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel

from recon.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

_WIDTH = 110

_HEAD = """\
# recon.toml: the settings of this workspace.
#
# Every setting stands here with its default: change what differs for you; what doesn't may be left out.
# A line that begins with `# name =` is a setting without a value: take the # away to give it one.
# Secrets don't belong here: the settings that end in _env give their names, [secrets] says where they are.
"""

_PLAIN = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    time: "time of day, like 20:00:00",
    date: "date, like 2026-12-25",
}
# What a setting without a default might look like, by its type's words.
_EXAMPLES = {"text": '""', "path": '"inbox/file.csv"'}


def default_text() -> str:
    """The whole file, with every setting at its default: loading it gives exactly the defaults."""
    return "\n".join([_HEAD.rstrip("\n"), *_sections(Settings, "")]) + "\n"


def _sections(model: type[BaseModel], path: str) -> Iterator[str]:
    """The lines of a section: its settings first, then the tables within it, because TOML wants it so."""
    fields = model.model_fields.items()
    tables = [(name, field) for name, field in fields if _is_table(field)]
    for name, field in fields:
        if not _is_table(field):
            yield from _setting(name, field)
    for name, field in tables:
        inner = f"{path}.{name}" if path else name
        section = _section_of(field)
        yield from ("", "")
        if section is None:
            yield from _comment(field.description or "")
            yield from _comment(_type_and_default(field))
            yield f"[{inner}]"
            yield from _entries(field.get_default(call_default_factory=True))
            entry = _entry_of(field)
            if entry is not None:
                yield from _example(entry, inner, field.description or "")
        else:
            yield from _comment(section.__doc__ or "")
            yield f"[{inner}]"
            yield from _sections(section, inner)


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _entry_of(field: FieldInfo) -> type[BaseModel] | None:
    """What an entry of a table is, where it is a section of its own."""
    arguments = get_args(field.annotation) if get_origin(field.annotation) is dict else ()
    kind = arguments[1] if arguments else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _example(entry: type[BaseModel], path: str, description: str) -> Iterator[str]:
    """An entry of a table, as lines to take the # away from: every setting that it may have."""
    named = re.search(rf"\[{re.escape(path)}\.(\w+)\]", description)
    yield ""
    yield from _comment(entry.__doc__ or "")
    yield f"# [{path}.{named[1] if named else 'NAME'}]"
    for line in _sections(entry, ""):
        yield line if line.startswith("#") or not line else f"# {line}"


def _is_table(field: FieldInfo) -> bool:
    return _section_of(field) is not None or get_origin(field.annotation) is dict


def _setting(name: str, field: FieldInfo) -> Iterator[str]:
    yield ""
    yield from _comment(field.description or "")
    yield from _comment(_type_and_default(field))
    default = field.get_default(call_default_factory=True)
    if default is None:
        yield f"# {name} = {_EXAMPLES.get(_words(field.annotation), '...')}"
    else:
        yield f"{name} = {literal(default)}"


def _entries(values: dict[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        yield f"{literal(key)} = {literal(value)}"


def _comment(text: str) -> list[str]:
    return [
        f"# {line}"
        for line in textwrap.wrap(" ".join(text.split()), _WIDTH, break_long_words=False, break_on_hyphens=False)
    ]


def _type_and_default(field: FieldInfo) -> str:
    words = ", ".join([_words(field.annotation), *_bounds(field)])
    default = field.get_default(call_default_factory=True)
    if default is None:
        shown = "unset"
    elif default in ([], {}):
        shown = "empty"
    elif get_origin(field.annotation) is list and default == list(get_args(get_args(field.annotation)[0])):
        shown = "all of them"
    else:
        shown = literal(default)
    return f"({words[0].upper()}{words[1:]}. Default: {shown})"


def _words(kind: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _words(next(each for each in arguments if each is not type(None)))
    if origin is Literal:
        return f"one of {', '.join(literal(each) for each in arguments)}"
    if origin in (list, tuple, set, frozenset):
        return f"list; an entry is {_words(arguments[0])}"
    if origin is dict:
        return "table, a line an entry"
    return _PLAIN[kind]


def _bounds(field: FieldInfo) -> Iterator[str]:
    for bound in field.metadata:
        if isinstance(bound, annotated_types.Ge):
            yield f"at least {bound.ge}"
        elif isinstance(bound, annotated_types.Gt):
            yield f"more than {bound.gt}"
        elif isinstance(bound, annotated_types.Le):
            yield f"at most {bound.le}"


def literal(value: Any) -> str:
    """A value as TOML writes it.

    Examples
    --------
    >>> literal(["a", True, 0.5])
    '["a", true, 0.5]'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, Path):
        return literal(value.as_posix())
    if isinstance(value, (time, date)):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(literal(each) for each in value)}]"
    if isinstance(value, (set, frozenset)):
        return literal(sorted(value))
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(key)} = {literal(each)}' for key, each in value.items())}}}"
    if isinstance(value, (int, float)):
        return repr(value)
    raise TypeError(f"TOML has no {type(value).__name__}")
