"""Arrow without pandas, for commands that need none.

At the first value that it converts Arrow loads pandas where that is installed, to know its types if it meets them: a third of a second, in which a
small run is half done. Told once that pandas isn't there, Arrow leaves it alone, and looks again when a frame is asked of it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME = "pandas"


class _NotNow:
    """Says of pandas that it isn't there."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> None:  # noqa: ARG002 - a finder's
        if name == _NAME:
            raise ModuleNotFoundError(f"{_NAME} isn't needed now", name=_NAME)


def leave_pandas_out() -> None:
    """Let Arrow do without pandas from here on, unless pandas is loaded already: for a process of our own that takes no frames in."""
    if _NAME in sys.modules:
        return
    import pyarrow as pa

    finder = _NotNow()
    sys.meta_path.insert(0, finder)
    try:
        pa.scalar(0)
    finally:
        sys.meta_path.remove(finder)


def know_pandas() -> None:
    """Let Arrow look for pandas, before a frame is taken in."""
    import pyarrow as pa

    pa.nulls(0).to_pandas()
