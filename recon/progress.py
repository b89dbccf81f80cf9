"""Progress of long work: a bar on stderr where somebody is looking, silence otherwise."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tqdm import tqdm


class Task:
    """One piece of work under way.

    Attributes
    ----------
    done
        Units done so far.
    """

    def __init__(self, bar: tqdm[NoReturn] | None = None) -> None:
        self._bar = bar
        self.done = 0

    def advance(self, units: int) -> None:
        """Say that so many more units are done."""
        self.done += units
        if self._bar is not None:
            self._bar.update(units)


class Progress:
    """Shows how far long work is.

    Parameters
    ----------
    show
        True shows it, False doesn't, None shows it where the stream is a terminal.
    stream
        Where to; stderr by default, so that what a command prints stays clean.

    Examples
    --------
    >>> with Progress(show=False).task("Leads", 2, "rows") as task:
    ...     task.advance(2)
    >>> task.done
    2
    """

    def __init__(self, *, show: bool | None = None, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self.shown = self._stream.isatty() if show is None else show

    @contextmanager
    def task(self, name: str, total: int | None, unit: str) -> Iterator[Task]:
        """Open a piece of work, closed at the end of the `with` block however it ends.

        Parameters
        ----------
        name
            What is done, like "Leads".
        total
            How many units there are, None where that isn't known.
        unit
            What is counted, like "rows".
        """
        if not self.shown:
            yield Task()
            return
        from tqdm import tqdm

        bar: tqdm[NoReturn] = tqdm(total=total, desc=name, unit=f" {unit}", file=self._stream, unit_scale=True)
        with bar:
            yield Task(bar)


SILENT = Progress(show=False)
