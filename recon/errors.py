"""What can go wrong, as sentences.

::

    ReconError                 exit code 1
    ├── UsageError             exit code 2: the command or a setting is wrong
    │   └── SettingsError      recon.toml or the environment
    ├── InputRefused           exit code 2: a file can't be used, with every problem found in it
    ├── NoRoom                 exit code 1: the memory that may be used, or a disk, isn't enough
    └── SourceError            exit code 1: one of the two systems didn't answer as it must
        ├── AccessRefused      logged in, but a right, object or field is missing
        ├── IncompletePull     fewer or other rows than the server said there are
        └── StraddlingPull     the two sides lie on different sides of a nightly run

Everything that recon raises on purpose is a `ReconError`, so a script writes::

    try:
        recon.jobs.reconcile(...)
    except recon.errors.ReconError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How many problems of one file are spelled out; the rest is counted.
PROBLEMS_SHOWN = 20


class ReconError(Exception):
    """Anything recon stops for. `str(error)` is the whole text for the user.

    Parameters
    ----------
    message
        One sentence: what is wrong and where.
    hint
        One sentence: what to do about it. Shown on its own line.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  What to do: {self.hint}"


class UsageError(ReconError):
    """The command was called in a way that can't work."""

    exit_code = 2


class SettingsError(UsageError):
    """recon.toml or the environment holds something that can't be used."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file.

    Attributes
    ----------
    file
        The file's name as the user gave it.
    message
        What is wrong there. Holds no e-mail address: the line leads to it.
    remedy
        What to do about it.
    line
        The line in the file, counted from 1 with the header as line 1; for Parquet and Excel the row; None for the file as a whole.
    column
        The header as it stands in the file, or None.
    """

    file: str
    message: str
    remedy: str
    line: int | None = None
    column: str | None = None

    def __str__(self) -> str:
        where = self.file
        if self.line is not None:
            where += f", line {self.line}"
        if self.column is not None:
            where += f", column {self.column!r}"
        return f"{where}: {self.message} {self.remedy}"


class InputRefused(ReconError):
    """A file can't be used. Nothing of it was used and nothing was written.

    Parameters
    ----------
    problems
        All that was found, at least one, in the order of the file.
    """

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        if not problems:
            raise ValueError("InputRefused needs at least one problem")
        self.problems = tuple(problems)
        shown = [str(problem) for problem in self.problems[:PROBLEMS_SHOWN]]
        if len(self.problems) > PROBLEMS_SHOWN:
            shown.append(f"... and {len(self.problems) - PROBLEMS_SHOWN} more of this kind.")
        super().__init__("\n".join(shown))


class NoRoom(ReconError):
    """Memory or disk isn't enough.

    Parameters
    ----------
    message, hint
        As in `ReconError`.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message, hint=hint)


class SourceError(ReconError):
    """A system didn't answer as it must. The text holds no response body and no address.

    Parameters
    ----------
    message, hint
        As in `ReconError`.
    status
        The HTTP status it answered with, where it answered.
    code
        Its own error code, like INVALID_FIELD, where it gave one.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, status: int | None = None, code: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code


class AccessRefused(SourceError):
    """Logged in, but an object, a field or a right is missing."""


class IncompletePull(SourceError):
    """The rows that arrived are not the rows that the server said there are."""


class StraddlingPull(SourceError):
    """A nightly run lies, or may lie, between the two sides of the pull."""
