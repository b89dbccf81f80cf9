"""Several reads at once, a bounded number of them; where one fails, the others end at their next page."""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class _HaltedError(Exception):
    """Another task failed, so this one ended."""


class Halt:
    """Tells the tasks of a group that one of them failed."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Have all tasks end."""
        self._event.set()

    def check(self) -> None:
        """Called by a task between two pages: ends it where another one failed."""
        if self._event.is_set():
            raise _HaltedError


def run_all(tasks: Sequence[Callable[[], None]], at_once: int, halt: Halt) -> None:
    """Run tasks, so many at once, and wait for all of them.

    Raises
    ------
    Exception
        What the first task that failed raised. The others have ended then.
    """
    if at_once == 1:
        for task in tasks:
            task()
        return
    with ThreadPoolExecutor(at_once, thread_name_prefix="recon-pull") as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:
            halt.set()
            pool.shutdown(cancel_futures=True)
            raise
        if any(future.exception() is not None for future in done):
            halt.set()
            for future in waiting:
                future.cancel()
            wait(futures)
        failed = [future.exception() for future in futures if not future.cancelled()]
        for error in failed:
            if error is not None and not isinstance(error, _HaltedError):
                raise error
