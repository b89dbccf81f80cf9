"""Names for persons on the page: a pseudonym with the run's own key, and the file that tells who each is.

The key is a hash over merged.parquet, which holds every address of the run: whoever has the run's files can compute a pseudonym again, and
whoever has only the page can't guess addresses against it. Runs on other data give other pseudonyms, so pages can't be linked by
them. Pseudonyms are personal data all the same. Source: HMAC with a key apart from the report, at least 96 bits shown (EDPB 01/2025; AEPD
and EDPS on hashing, 2019).
"""

from __future__ import annotations

import hashlib
import hmac
from operator import itemgetter
from typing import TYPE_CHECKING

import narwhals.stable.v2 as nw

if TYPE_CHECKING:
    from pathlib import Path

    from recon.report.run_tables import RunTables

PERSONS_FILE = "persons.csv"
_PURPOSE = b"recon-persons-1"
#: Bytes of a pseudonym; 96 bits.
_LENGTH = 12
#: Rows of actions.csv that are named for one person.
_ROWS = 50


def run_key(merged: Path) -> bytes:
    """The key of a run's pseudonyms, from its merged.parquet. It isn't the file's SHA-256, which stands on the page."""
    digest = hashlib.blake2b(person=_PURPOSE, digest_size=32)
    with merged.open("rb") as stream:
        while part := stream.read(1 << 20):
            digest.update(part)
    return digest.digest()


def pseudonym(cluster: str, key: bytes) -> str:
    """A person's name on the page: `p` and 24 hexadecimal digits; `cluster` as in merged.parquet.

    Examples
    --------
    >>> pseudonym("sales_connect:17", bytes(32))
    'pc026cc0909d33a4ba2a12c73'
    """
    return "p" + hmac.digest(key, cluster.encode(), "sha256")[:_LENGTH].hex()


class Persons:
    """The persons of one page: asked for a name, it remembers whom it named.

    Parameters
    ----------
    key
        From `run_key`.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._named: dict[str, str] = {}

    def name(self, cluster: str) -> str:
        """A person's pseudonym."""
        return self._named.setdefault(cluster, pseudonym(cluster, self._key))

    def write(self, tables: RunTables, path: Path) -> None:
        """Write who was named: pseudonym, cluster, and the rows in actions.csv as a spreadsheet counts them, the header being row 1.

        Parameters
        ----------
        tables
            The run's.
        path
            The file, for people.
        """
        from recon.resubscribe.outcomes import write_rows

        # No cluster has an empty name; a list without any isn't taken by every engine.
        named = tables.actions.select("cluster", "row").filter(nw.col("cluster").is_in(sorted(self._named) or [""]))
        rows: dict[str, list[int]] = {}
        for each in sorted(tables.rows(named), key=itemgetter("row")):
            rows.setdefault(each["cluster"], []).append(each["row"])
        table = sorted((name, cluster) for cluster, name in self._named.items())
        write_rows(
            path,
            ("person", "cluster", "rows"),
            [(name, cluster, _listed(rows.get(cluster, []))) for name, cluster in table],
        )


def _listed(rows: list[int]) -> str:
    more = f" (+{len(rows) - _ROWS} more)" if len(rows) > _ROWS else ""
    return " ".join(map(str, rows[:_ROWS])) + more
