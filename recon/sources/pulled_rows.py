"""The rows of one object, from the runs that a pull wrote: each id once, changed rows in the place of old ones, held against the counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from recon.errors import IncompletePull
from recon.sources.calls import charged
from recon.sources.increments import MisfitError
from recon.sources.object_read import Counts
from recon.sources.rest_query import rest_pages
from recon.sources.runs import merged, merged_runs, newest, read_run, repeated, write_run
from recon.tables import RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from recon.sources.discovery import ObjectFields
    from recon.sources.history import History
    from recon.sources.object_read import Means, ObjectRead

_BY = "record_id"


@dataclass(slots=True)
class ObjectRows:
    """What is known of one object once all of it is read.

    Attributes
    ----------
    file
        A run of all its rows, in the shape of `recon.tables.RECORDS`, without dates.
    first, read
        The first and the last read that made it.
    purged
        Deleted records that had left the recycle bin meanwhile.
    rounds
        How often it was read.
    history, person_accounts
        The changes of its opt-out fields, those of person accounts by themselves.
    """

    file: Path
    fields: ObjectFields
    counts: Counts
    first: ObjectRead
    read: ObjectRead
    started_at: datetime
    purged: int = 0
    rounds: int = 1
    history: list[History] = field(default_factory=list)
    person_accounts: list[History] = field(default_factory=list)


def whole(means: Means, read: ObjectRead, folder: Path) -> ObjectRows:
    """All rows of a read as one run.

    Raises
    ------
    IncompletePull
        If an id arrived more than once.
    """
    name = read.fields.object
    file = folder / f"{name}-all.run"
    twice: list[int] = []
    counter = _Counter()
    stream = merged_runs(read.files, _BY, RECORDS.schema, folder)
    write_run(file, counter.over(repeated(stream, _BY, twice.append)), RECORDS.schema)
    if twice[0]:
        if read.state is not None:
            means.bulk.give_up(read.state)
        raise IncompletePull(f"{twice[0]} Ids of {name} arrived more than once.", hint="Pull again.")
    return ObjectRows(file, read.fields, counter.counts, read, read, read.started_at)


def laid_over(
    means: Means, read: ObjectRead, under: Callable[[], Iterator[pa.Table]], counted: Counts, folder: Path
) -> ObjectRows:
    """The rows of before, with those that changed in their place.

    Raises
    ------
    MisfitError
        If that isn't what Salesforce counts.
    """
    name = read.fields.object
    file = folder / f"{name}-new.run"

    def write(keep: Callable[[pa.Table], pa.Table]) -> Counts:
        counter = _Counter()
        changed = merged_runs(read.files, _BY, RECORDS.schema, folder)
        stream = newest(merged([under(), changed], _BY), _BY)
        write_run(file, counter.over(keep(block) for block in stream), RECORDS.schema)
        return counter.counts

    found = write(lambda block: block)
    purged = 0
    if found.live == counted.live and found.total > counted.total:
        in_the_bin = _deleted_ids(means, name)

        def still_there(block: pa.Table) -> pa.Table:
            gone = pc.and_not(block.column("is_deleted"), pc.is_in(block.column(_BY), in_the_bin))
            return block.filter(pc.invert(gone))

        total = found.total
        found = write(still_there)
        purged = total - found.total
    if found != counted:
        raise MisfitError(
            f"what changed and what was known before give {found} of {name}, and Salesforce counts {counted}: "
            "some may have been deleted for good"
        )
    final = folder / f"{name}-all.run"
    file.replace(final)
    return ObjectRows(final, read.fields, found, read, read, read.started_at, purged)


def again(file: Path) -> Callable[[], Iterator[pa.Table]]:
    """Reads a run, as often as it is asked to."""
    return lambda: read_run(file)


def moved(before: Mapping[str, Counts], after: Mapping[str, Counts]) -> str:
    """How counts differ, for a sentence."""
    return "; ".join(
        f"{name}: {before[name]} before, {after[name]} after" for name in before if before[name] != after[name]
    )


def refuse_missing(name: str, arrived: Counts, counted: Counts) -> None:
    """Hold the rows against the counts, which are the same before and after.

    Raises
    ------
    IncompletePull
        If they differ.
    """
    if arrived != counted:
        raise IncompletePull(
            f"{name}: Salesforce counted {counted}, before the pull and after it, but what arrived is {arrived}.",
            hint="Rows are missing, or records came and went again meanwhile. Pull again.",
        )


def _deleted_ids(means: Means, name: str) -> pa.Array:
    """The records in the recycle bin."""
    soql = f"SELECT Id FROM {name} WHERE IsDeleted = true"  # noqa: S608 - Lead or Contact
    ids = pa.array([], pa.string())
    with charged(name):
        for page in rest_pages(means.connection, soql, ("Id",), f"{name}, deleted", means.pace):
            ids = pa.concat_arrays([ids, pa.array([record["Id"] for record in page], pa.string())])
    return ids


@dataclass(slots=True)
class _Counter:
    """Counts what goes through."""

    total: int = 0
    deleted: int = 0

    def over(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            self.total += table.num_rows
            self.deleted += pc.sum(table.column("is_deleted"), min_count=0).as_py()
            yield table

    @property
    def counts(self) -> Counts:
        return Counts(self.total, self.total - self.deleted)
