"""What every reader of a file kind hands over: the used columns, and where each row stands in the file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from recon.sources.base import InputKind

Details = dict[str, str | int | bool | list[str] | None]


@dataclass(frozen=True, slots=True)
class Rows:
    """The used columns of a file.

    Attributes
    ----------
    columns
        By the column's place in the file: text, or a flag, time or date where the file has such types.
    lines
        The line (Excel, Parquet: the row) that each row starts in, counted from 1.
    sha256, size
        Of the file's bytes.
    details
        What the reader did: encoding, delimiter, sheet, footer.
    """

    columns: dict[int, pa.ChunkedArray]
    lines: NDArray[np.int64]
    sha256: str
    size: int
    details: Details = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.lines)

    def without_last(self, footer: int) -> Rows:
        """The rows without the last ones, which are a footer; they are counted in the details."""
        kept = self.count - footer
        before = self.details.get("footer_rows")
        details = self.details | {"footer_rows": footer + (before if isinstance(before, int) else 0)}
        columns = {place: column.slice(0, kept) for place, column in self.columns.items()}
        return replace(self, columns=columns, lines=self.lines[:kept], details=details)


class Reader(Protocol):
    """A file whose headers are known and whose columns can be read."""

    @property
    def kind(self) -> InputKind:
        """What the file is."""
        ...

    @property
    def headers(self) -> list[str]:
        """The headers, as they stand in the file."""
        ...

    def read(self, wanted: Sequence[int], *, report: bool) -> Rows:
        """Read the columns at these places.

        Parameters
        ----------
        wanted
            Places of the columns in the header.
        report
            Is it a Salesforce report export, which may have a footer?

        Raises
        ------
        InputRefused
            If the file is damaged, truncated or without rows.
        """
        ...
