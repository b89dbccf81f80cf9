"""Collects what is wrong with one file, so that all of it is said at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recon.errors import InputRefused, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

#: Rows with one and the same fault that get a problem of their own; the others are counted in one more.
ROWS_SPELLED = 1000


class Refusal:
    """The problems of one file.

    Parameters
    ----------
    file
        The file's name as the user gave it.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self._problems: list[Problem] = []
        self._lines: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def know_lines(self, lines: NDArray[np.int64]) -> None:
        """Take the line in the file that each row starts in, once the rows are read."""
        self._lines = lines

    def line(self, row: int) -> int:
        """The line in the file that a row starts in."""
        return int(self._lines[row])

    def add(self, message: str, remedy: str, *, line: int | None = None, column: str | None = None) -> None:
        """Note a problem of the file or of one of its lines."""
        self._problems.append(Problem(self.file, message, remedy, line=line, column=column))

    def add_rows(
        self,
        rows: NDArray[np.int64],
        message: str | Callable[[int], str],
        remedy: str,
        *,
        column: str | None = None,
    ) -> None:
        """Note the same problem for many rows, each with its line."""
        for row in rows[:ROWS_SPELLED].tolist():
            text = message if isinstance(message, str) else message(row)
            self.add(text, remedy, line=self.line(row), column=column)
        rest = len(rows) - ROWS_SPELLED
        if rest > 0:
            row = int(rows[ROWS_SPELLED])
            self.add(f"from here on {rest} more rows have this fault.", remedy, line=self.line(row), column=column)

    def stop(self) -> None:
        """Refuse the file if there is any problem.

        Raises
        ------
        InputRefused
            With all problems, in the order of the file.
        """
        if self._problems:
            raise InputRefused(sorted(self._problems, key=lambda problem: problem.line or 0))

    def refuse(self, message: str, remedy: str, *, line: int | None = None, column: str | None = None) -> InputRefused:
        """The refusal, with this problem added, for faults that leave nothing more to look at; to be raised."""
        self.add(message, remedy, line=line, column=column)
        return InputRefused(sorted(self._problems, key=lambda problem: problem.line or 0))
