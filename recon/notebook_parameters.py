"""What a notebook can be told: its parameters cell, read without running it, and what is given for it, held against that.

Papermill itself only warns of a parameter that no cell knows and runs on with the default, and it guesses types on its command line
(`007` becomes 7). So both are settled here, before anything runs.
"""

from __future__ import annotations

import ast
import difflib
import io
import math
import re
import tokenize
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import nbformat

from recon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Kind = Literal["str", "int", "float", "bool"]
Value = str | int | float | bool | None

TAG = "parameters"

_FORM = "Write each line as `name: type = literal  # what it means`, with the type str, int, float or bool, and `| None` where it may be None."
_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
}
_SECRET = re.compile(
    r"(^|_)(pass(word|wd|phrase|code)?|pwd|secrets?|tokens?|credentials?|bearer|(api|private|access|consumer|secret|signing|auth)_?keys?)(_|$)"
)


class Text(str):
    """A value as somebody typed it: it becomes what the notebook declares, never what it looks like."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One line of a parameters cell.

    Attributes
    ----------
    name
        The variable.
    kind
        Its type's name.
    optional
        May it be None?
    default
        The literal that stands there.
    help
        The comment behind it.
    """

    name: str
    kind: Kind
    optional: bool
    default: Value
    help: str

    @property
    def wanted(self) -> str:
        """What a value has to be, in words."""
        return _WORDS[self.kind] + (", or None" if self.optional else "")


def read(path: Path) -> tuple[Parameter, ...]:
    """Read a notebook's parameters, in order; none where no cell is tagged `parameters`.

    Raises
    ------
    UsageError
        If the file is no notebook, or a line of the cell isn't `name: type = literal`, or asks for a secret.
    """
    try:
        notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.") from error
    except (ValueError, KeyError, AttributeError, nbformat.ValidationError) as error:
        # nbformat's own text quotes the cell at length.
        raise UsageError(
            f"{path} is no notebook of nbformat 4: {type(error).__name__}.", hint="Take a fresh copy of the notebook."
        ) from error
    cells = [cell for cell in notebook.cells if TAG in cell.metadata.get("tags", [])]
    if not cells:
        return ()
    if len(cells) > 1 or cells[0].cell_type != "code":
        raise UsageError(f"{path}: one code cell may be tagged `{TAG}`, and only one.")
    return _parsed(cells[0].source, path)


def _parsed(source: str, path: Path) -> tuple[Parameter, ...]:
    def refused(line: int | None, what: str) -> UsageError:
        return UsageError(f"{path}, parameters cell, line {line}: {what}", hint=_FORM)

    try:
        statements = ast.parse(source).body
        comments = {
            token.start[0]: token.string.lstrip("# ").rstrip()
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }
    except (SyntaxError, tokenize.TokenError) as error:
        raise refused(getattr(error, "lineno", None), "this is not Python.") from error
    found: dict[str, Parameter] = {}
    for statement in statements:
        line = statement.lineno
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            raise refused(line, "this sets no parameter with a type.")
        name = statement.target.id
        kind, optional = _kind(statement.annotation)
        if kind is None:
            raise refused(line, f"the type of {name} is none of those that a parameter can have.")
        default: Any = ...
        if statement.value is not None:
            with suppress(ValueError):
                default = ast.literal_eval(statement.value)
        parameter = Parameter(name, kind, optional, default, comments.get(statement.end_lineno or line, ""))
        if problem := _misfit(parameter, default):
            raise refused(line, f"the default of {name} {problem}.")
        if name in found:
            raise refused(line, f"{name} is set twice.")
        if is_secret(name):
            raise refused(line, f"{name} looks like a secret, and parameters are stored in the executed notebook.")
        found[name] = parameter
    return tuple(found.values())


def _kind(annotation: ast.expr) -> tuple[Kind | None, bool]:
    """The type's name, and whether None is allowed; no name for any other annotation."""
    optional = False
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        sides = [annotation.left, annotation.right]
        rest = [side for side in sides if not (isinstance(side, ast.Constant) and side.value is None)]
        if len(rest) != 1:
            return None, False
        optional, annotation = True, rest[0]
    if isinstance(annotation, ast.Name):
        for kind in get_args(Kind):
            if annotation.id == kind:
                return kind, optional
    return None, False


def is_secret(name: str) -> bool:
    """Whether a parameter of this name looks as if it held a secret."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return _SECRET.search(snake) is not None


def _misfit(parameter: Parameter, value: object) -> str | None:
    """What is wrong with a value, as the rest of a sentence; None where it fits."""
    if value is None:
        return None if parameter.optional else f"has to be {parameter.wanted}, not None"
    kind: type = type(value)
    number = kind is int or (kind is float and math.isfinite(value))  # type: ignore[arg-type] # it is a float here
    fits = {"str": kind is str, "int": kind is int, "float": number, "bool": kind is bool}[parameter.kind]
    if not fits:
        # Not the value: it may be anything.
        return f"has to be {parameter.wanted}, not {kind.__name__ if value is not ... else 'something computed'}"
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "holds half a character, which no file can hold"
    return None


def from_text(given: Mapping[str, str]) -> dict[str, object]:
    """Parameters as somebody typed them, for `recon.batch.run`: each becomes what the notebooks declare it to be.

    Examples
    --------
    >>> parameter = Parameter("batch", "str", False, "", "")
    >>> settled({"a": (parameter,)}, from_text({"batch": "007"}))
    {'a': {'batch': '007'}}
    """
    return {name: Text(value) for name, value in given.items()}


def _converted(parameter: Parameter, text: Text) -> object:
    """The text as the parameter's type; the text itself, which then doesn't fit, where it can't be one."""
    plain = str(text)
    if parameter.optional and plain in {"", "None", "null"}:
        return None
    if parameter.kind == "bool":
        return {"true": True, "false": False}.get(plain.lower(), plain)
    if parameter.kind == "int":
        return int(plain) if re.fullmatch(r"[+-]?\d{1,18}", plain, re.ASCII) else plain
    if parameter.kind == "float":
        number = re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", plain, re.ASCII)
        return float(plain) if number else plain
    return plain


def settled(
    known: Mapping[str, tuple[Parameter, ...]],
    given: Mapping[str, object],
    *,
    own: Iterable[str] = (),
    secrets: Iterable[str] = (),
) -> dict[str, dict[str, Value]]:
    """Hand every given value to the notebooks that know it.

    Parameters
    ----------
    known
        Notebook -> its parameters, from `read`.
    given
        Name -> value, or the text that `from_text` marks.
    own
        Names that the run itself sets.
    secrets
        Values that may stand in no parameter.

    Returns
    -------
    dict
        Notebook -> name -> value, for all of `known`.

    Raises
    ------
    UsageError
        If no notebook knows a name, or a value doesn't fit; the text names every one and no value.
    """
    own, secrets = frozenset(own), tuple(secrets)
    names = sorted({parameter.name for each in known.values() for parameter in each} - own)
    problems: list[str] = []
    result: dict[str, dict[str, Value]] = {notebook: {} for notebook in known}
    for name, value in given.items():
        if is_secret(name):
            problems.append(
                f"{name}: this looks like a secret, and parameters are stored in the executed notebook; "
                "set it in the environment instead, under the name that recon.toml gives."
            )
        elif name in own:
            problems.append(f"{name}: the run sets this itself.")
        elif name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            problems.append(
                f"{name}: no notebook of this run knows this parameter"
                + (f"; did you mean {close[0]}?" if close else f"; there are {', '.join(names) or 'none'}.")
            )
        elif isinstance(value, str) and any(secret in value for secret in secrets):
            problems.append(f"{name}: this holds a secret of the environment, and parameters are stored.")
        else:
            problems += _hand_out(name, value, known, result)
    if problems:
        raise UsageError(
            "\n".join(f"parameter {problem}" for problem in dict.fromkeys(problems)),
            hint="Nothing has run. `papermill --help-notebook NOTEBOOK` prints a notebook's parameters.",
        )
    return result


def _hand_out(
    name: str, value: object, known: Mapping[str, tuple[Parameter, ...]], result: dict[str, dict[str, Value]]
) -> list[str]:
    problems = []
    for notebook, parameters in known.items():
        for parameter in parameters:
            if parameter.name != name:
                continue
            fitted = _converted(parameter, value) if isinstance(value, Text) else value
            problem = _misfit(parameter, fitted)
            if problem is not None:
                problems.append(f"{name}: the value {problem} ({notebook}).")
            else:
                result[notebook][name] = fitted  # type: ignore[assignment] # _misfit has looked
    return problems
