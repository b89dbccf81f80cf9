"""The report: compliance.html, what an auditor or a privacy officer reads.

`build` reads a run folder and writes one HTML file into it, which needs no network and is readable without its one script: a folder in, a page out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recon.report.folder import build

__all__ = ["build"]


def __getattr__(name: str) -> Any:
    # Others use `mask` and `csv_safe` alone: they don't wait for templates and tables.
    if name == "build":
        from recon.report.folder import build

        return build
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
