"""Which column of a file is which: headers matched to names, with a hint where one isn't found."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from recon.sources.refusal import Refusal


def places(headers: Sequence[str], names: Iterable[str]) -> list[int]:
    """Where these names stand among the headers: exact matches, or else those that differ in case or blanks only."""
    wanted = set(names)
    exact = [place for place, header in enumerate(headers) if header in wanted]
    if exact:
        return exact
    folded = {name.strip().casefold() for name in wanted}
    return [place for place, header in enumerate(headers) if header.strip().casefold() in folded]


def only(headers: Sequence[str], names: Iterable[str], refusal: Refusal) -> int | None:
    """The one place of a column, or None; several are a problem of the file."""
    found = places(headers, names)
    if len(found) > 1:
        same = " and ".join(f"{headers[place]!r} (column {place + 1})" for place in found)
        refusal.add(f"the column is there more than once: {same}.", "Keep one of them.", column=headers[found[0]])
        return None
    return found[0] if found else None


def suggestion(headers: Sequence[str], name: str) -> str | None:
    """The header that was probably meant by a name; None where none is close. Never one that holds an address."""
    shown = [header for header in headers if header.strip() and "@" not in header]
    bare = {_bare(header): header for header in reversed(shown)}
    close = difflib.get_close_matches(_bare(name), list(bare), n=1, cutoff=0.7)
    return bare[close[0]] if close else None


def did_you_mean(headers: Sequence[str], name: str) -> str:
    """' Did you mean ...?', or nothing."""
    close = suggestion(headers, name)
    return f" Did you mean {close!r}?" if close is not None else ""


def _bare(text: str) -> str:
    return re.sub(r"[^0-9a-z]+", "", text.casefold())
