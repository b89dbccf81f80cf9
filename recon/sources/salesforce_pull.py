"""A pull of Leads and Contacts: everything, or what changed on top of a snapshot; to disk, in a bounded part of memory.

Proof that all of it arrived: the records are counted before and after, with and without deleted ones; every page holds what Salesforce
says it holds; ids are unique; a flag that is neither true nor false refuses the pull. Where records come or go during the pull, what
changed since its beginning is read on top of it, once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from recon.clock import iso
from recon.errors import AccessRefused, IncompletePull, InputRefused, UsageError
from recon.sources.calls import charged
from recon.sources.discovery import STANDARD_FIELD, discover, on_account
from recon.sources.history import NONE_THERE, History, query, read_history
from recon.sources.increments import HARD_DELETES, MisfitError, begin_at, unfit
from recon.sources.object_read import REST_PAGE, Counts, Means, ObjectRead, begin, calls_expected, rows_of
from recon.sources.parallel import Halt, run_all
from recon.sources.quota import Quota
from recon.sources.rest_query import count, count_where, rest_pages
from recon.sources.runs import merged, merged_runs, newest, read_parquet, read_run, repeated, write_run
from recon.tables import RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from recon.clock import Clock
    from recon.progress import Progress
    from recon.settings import SalesforceSettings, SyncSettings
    from recon.sources.bulk_state import JobState, States
    from recon.sources.discovery import ObjectFields
    from recon.sources.increments import Base
    from recon.sources.salesforce_session import Connection

log = logging.getLogger(__name__)

#: How often records are read at most, where their number changes meanwhile.
_ROUNDS = 2
_QUIETER = "Pull again at a quieter time."


@dataclass(slots=True)
class ObjectRows:
    """What is known of one object once all of it is read.

    Attributes
    ----------
    file
        A run of all its rows, in the shape of `recon.tables.RECORDS`, without dates.
    read
        The last read that made it.
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


class RecordsPull:
    """One pull.

    Parameters
    ----------
    sync
        The nightly run, for the check whether an earlier pull's job may be gone on with; None with files on the other side.
    states
        Its working folder.
    """

    def __init__(
        self,
        connection: Connection,
        settings: SalesforceSettings,
        *,
        sync: SyncSettings | None,
        clock: Clock,
        progress: Progress,
        sleep: Callable[[float], None],
        states: States,
    ) -> None:
        self.connection, self.settings, self.clock, self.progress = connection, settings, clock, progress
        self.folder = states.folder
        self._halt = Halt()
        self.quota = Quota(connection, settings)
        self._means = Means(connection, settings, sync, clock, progress, sleep, states, self._pace)
        self.objects = discover(connection, settings)
        self.base: Base | None = None
        self.why_full: str | None = None
        self.done: dict[str, ObjectRows] = {}

    def _pace(self) -> None:
        self._halt.check()
        self.quota.look()

    def run(self, bases: Sequence[Base], *, strict: bool = False) -> None:
        """Read both objects and their history; `done` holds them then.

        Parameters
        ----------
        bases
            Snapshots, the newest first: what changed is read on top of the first that fits. Where none does, everything is read, and
            `why_full` says why.
        strict
            Everything is not what was asked for: refuse then.

        Raises
        ------
        UsageError
            If nothing can be built on any of them, where nothing else will do.
        """
        base = self._fitting(bases)
        if base is not None:
            try:
                self._increment(base)
            except MisfitError as misfit:
                self.why_full = str(misfit)
                self.done.clear()
            else:
                self.base = base
                return
        if self.why_full is not None:
            if strict:
                raise UsageError(f"{self.why_full}.", hint="Run `recon pull --full`, or name another snapshot.")
            log.warning("All records are read, as %s.", self.why_full)
        self._full()

    def _fitting(self, bases: Sequence[Base]) -> Base | None:
        for base in bases:
            why = unfit(base.pull, self.connection, self.settings, self.objects, self.clock.now())
            if why is None:
                try:
                    base.verify()
                except InputRefused:
                    why = "the snapshot was damaged, or another recon wrote it"
            if why is None:
                return base
            self.why_full = self.why_full or f"nothing can be built on {base.id}: {why}"
        return None

    def remove_job(self, left: JobState) -> None:
        """Remove the job of a read that nobody goes on with."""
        self._means.bulk.remove(left.job_id, running=True)

    # -- everything ----------------------------------------------------------------------------------------------------------

    def _full(self) -> None:
        before = self._count()
        history: dict[str, list[History]] = {fields.object: [] for fields in self.objects}
        people: dict[str, list[History]] = {fields.object: [] for fields in self.objects}
        reads = [begin(self._means, fields, before[fields.object], None, None) for fields in self.objects]
        self._expect(reads, whole=True)
        tasks = [self._rows_task(read) for read in reads]
        for fields in self.objects:
            tasks.append(self._history_task(fields, history[fields.object], None))
            if fields.person_targets:
                tasks.append(self._person_task(fields, people[fields.object], None))
        self._run(reads, tasks)
        after = self._count()
        for read in reads:
            rows = self._whole(read)
            rows.history, rows.person_accounts = history[read.fields.object], people[read.fields.object]
            self.done[read.fields.object] = rows
        counted: dict[str, Counts] = {read.fields.object: read.counted for read in reads}
        if counted != after or any(read.resumed for read in reads):
            self._catch_up(counted, after)
        else:
            for name, rows in self.done.items():
                _arrived(name, rows.counts, after[name])
        self._top_up_history({name: rows.first.read_to for name, rows in self.done.items()})

    def _whole(self, read: ObjectRead) -> ObjectRows:
        """All rows of a read as one run, each id once."""
        name = read.fields.object
        file = self.folder / f"{name}-all.run"
        twice: list[int] = []
        counter = _Counter()
        stream = merged_runs(read.files, "record_id", RECORDS.schema, self.folder)
        write_run(file, counter.over(repeated(stream, "record_id", twice.append)), RECORDS.schema)
        if twice[0]:
            if read.state is not None:
                self._means.bulk.give_up(read.state)
            raise IncompletePull(f"{twice[0]} Ids of {name} arrived more than once.", hint="Pull again.")
        return ObjectRows(file, read.fields, counter.counts, read, read, read.started_at)

    def _catch_up(self, before: Mapping[str, Counts], after: Mapping[str, Counts]) -> None:
        """Read what changed since the pull's beginning on top of what was read."""
        if before != after:
            log.warning(
                "Records came or went during the pull, so it is repeated once for what changed meanwhile. %s.",
                _moved(before, after),
            )
        over = {
            name: (_again(rows.file), begin_at(rows.first.read_to, self.settings), rows.first.read_to)
            for name, rows in self.done.items()
        }
        first = dict(self.done)
        try:
            self._changes(over, done=1)
        except MisfitError as misfit:
            raise IncompletePull(f"records came or went during the pull: {misfit}.", hint=_QUIETER) from None
        for name, rows in self.done.items():
            before_it = first[name]
            rows.first, rows.started_at = before_it.first, before_it.started_at
            rows.history, rows.person_accounts = before_it.history, before_it.person_accounts

    # -- what changed --------------------------------------------------------------------------------------------------------

    def _increment(self, base: Base) -> None:
        def stream(name: str) -> Callable[[], Iterator[pa.Table]]:
            def of_object() -> Iterator[pa.Table]:
                for block in read_parquet(base.records, RECORDS.schema):
                    yield block.filter(pc.equal(block.column("object"), name))

            return of_object

        names: list[str] = [fields.object for fields in self.objects]
        over = {name: (stream(name), begin_at(base.read_to(name), self.settings), base.read_to(name)) for name in names}
        self._changes(over, done=0)
        self._top_up_history({name: base.read_to(name) for name in names})
        for name, rows in self.done.items():
            told = [*rows.history, *rows.person_accounts]
            if any(each.readable != base.readable(name) for each in told):
                raise MisfitError(f"the history of {name} could be read for one of the two, and not for the other")

    def _changes(
        self, over: Mapping[str, tuple[Callable[[], Iterator[pa.Table]], str | None, str | None]], *, done: int
    ) -> None:
        """Read what changed and lay it over what is known; `done` rounds of reading were made before."""
        for number in range(done + 1, _ROUNDS + 1):
            before = self._count()
            reads = [
                begin(self._means, fields, before[fields.object], *over[fields.object][1:]) for fields in self.objects
            ]
            self._expect(reads, whole=False)
            self._run(reads, [self._rows_task(read) for read in reads])
            after = self._count()
            if before == after:
                break
            if number == _ROUNDS:
                raise IncompletePull(
                    f"records came or went during the pull, and during its repetition as well. {_moved(before, after)}.",
                    hint=_QUIETER,
                )
            log.warning(
                "Records came or went during the pull, so all of it is repeated once. %s.", _moved(before, after)
            )
        for read in reads:
            name = read.fields.object
            rows = self._laid_over(read, over[name][0], after[name])
            rows.rounds = number
            self.done[name] = rows

    def _laid_over(self, read: ObjectRead, under: Callable[[], Iterator[pa.Table]], counted: Counts) -> ObjectRows:
        """The rows of before, with those that changed in their place."""
        name = read.fields.object
        file = self.folder / f"{name}-new.run"

        def write(keep: Callable[[pa.Table], pa.Table]) -> Counts:
            counter = _Counter()
            changed = merged_runs(read.files, "record_id", RECORDS.schema, self.folder)
            stream = newest(merged([under(), changed], "record_id"), "record_id")
            write_run(file, counter.over(keep(block) for block in stream), RECORDS.schema)
            return counter.counts

        found = write(lambda block: block)
        purged = 0
        if found.live == counted.live and found.total > counted.total:
            in_the_bin = self._deleted_ids(name)

            def still_there(block: pa.Table) -> pa.Table:
                gone = pc.and_not(block.column("is_deleted"), pc.is_in(block.column("record_id"), in_the_bin))
                return block.filter(pc.invert(gone))

            total = found.total
            found = write(still_there)
            purged = total - found.total
        if found != counted:
            raise MisfitError(
                f"what changed and what was known before give {found} of {name}, and Salesforce counts {counted}: "
                "some may have been deleted for good"
            )
        final = self.folder / f"{name}-all.run"
        file.replace(final)
        return ObjectRows(final, read.fields, found, read, read, read.started_at, purged)

    def _deleted_ids(self, name: str) -> pa.Array:
        """The records in the recycle bin."""
        soql = f"SELECT Id FROM {name} WHERE IsDeleted = true"  # noqa: S608 - Lead or Contact
        ids = pa.array([], pa.string())
        with charged(name):
            for page in rest_pages(self.connection, soql, ("Id",), f"{name}, deleted", self._pace):
                ids = pa.concat_arrays([ids, pa.array([record["Id"] for record in page], pa.string())])
        return ids

    # -- history -------------------------------------------------------------------------------------------------------------

    def _top_up_history(self, read_to: Mapping[str, str | None]) -> None:
        """Read the history of what changed since the records were read, or since the base."""
        tasks = []
        for name, rows in self.done.items():
            since = begin_at(read_to[name], self.settings)
            if all(each.readable for each in rows.history):
                tasks.append(self._history_task(rows.fields, rows.history, since))
            if rows.fields.person_targets and all(each.readable for each in rows.person_accounts):
                tasks.append(self._person_task(rows.fields, rows.person_accounts, since))
        run_all(tasks, self.settings.parallel_reads, self._halt)

    def _history_task(self, fields: ObjectFields, into: list[History], since: str | None) -> Callable[[], None]:
        return self._read_history(fields, fields.object, _named(fields), into, since)

    def _person_task(self, fields: ObjectFields, into: list[History], since: str | None) -> Callable[[], None]:
        return self._read_history(fields, "Account", _on_account(fields), into, since)

    def _read_history(
        self, fields: ObjectFields, of: str, names: Mapping[str, str], into: list[History], since: str | None
    ) -> Callable[[], None]:
        def task() -> None:
            place = self.folder / f"{of}-history-{len(into) + 1}"
            with charged(fields.object):
                into.append(
                    read_history(self.connection, of, names, place, self.progress, since=since, pace=self._pace)
                )

        return task

    def _run(self, reads: Sequence[ObjectRead], tasks: Sequence[Callable[[], None]]) -> None:
        """Read, so many at once. Jobs of reads that broke off stay where the next pull finds their pages; else they are removed."""
        try:
            run_all(tasks, self.settings.parallel_reads, self._halt)
        except BaseException:
            if not self._means.states.lasting:
                for read in reads:
                    if read.state is not None and not read.state.removed:
                        read.state.removed = self._means.bulk.remove(read.state.job_id, running=not read.state.pages)
            raise

    # -- counts --------------------------------------------------------------------------------------------------------------

    def _rows_task(self, read: ObjectRead) -> Callable[[], None]:
        return lambda: rows_of(self._means, read)

    def _count(self) -> dict[str, Counts]:
        counts: dict[str, Counts] = {}
        for fields in self.objects:
            with charged(fields.object):
                counts[fields.object] = Counts(
                    total=count(self.connection, fields.object, include_deleted=True),
                    live=count(self.connection, fields.object, include_deleted=False),
                )
        return counts

    def _expect(self, reads: Sequence[ObjectRead], *, whole: bool) -> None:
        """Hold what is to come against the quota: the rows, their history, the counts after."""
        calls = sum(calls_expected(read, self.settings) for read in reads) + 4 * len(reads)
        if whole:
            calls += sum(self._history_pages(read.fields) for read in reads if read.state is not None)
        self.quota.expect(calls, "the pull")

    def _history_pages(self, fields: ObjectFields) -> int:
        try:
            with charged(fields.object):
                changes = count_where(self.connection, query(fields.object, _named(fields)), f"{fields.object}History")
        except AccessRefused as error:
            if error.code not in NONE_THERE:
                raise
            return 0
        return changes // REST_PAGE

    def as_json(self) -> dict[str, Any]:
        """What the manifest says of the pull, under `pull`."""
        made = iso(min(rows.started_at for rows in self.done.values()))
        base = self.base
        return {
            "way": "full" if base is None else "since",
            "why_full": self.why_full,
            "base": None if base is None else base.id,
            "chain": 0 if base is None else int(base.pull["chain"]) + 1,
            "full_at": made if base is None else base.pull["full_at"],
            "overlap_minutes": self.settings.overlap_minutes,
            "identity": self.connection.identity,
            "api_version": self.settings.api_version,
            "history_readable": {
                name: all(each.readable for each in [*rows.history, *rows.person_accounts])
                for name, rows in self.done.items()
            },
            "objects": {
                name: {
                    "query": rows.fields.query,
                    "targets": list(rows.fields.targets),
                    "since": None if base is None else rows.read.since,
                    "read_to": rows.read.read_to,
                    "rows_read": rows.read.rows if rows.read is rows.first else rows.read.rows + rows.first.rows,
                    "merged_away_read": rows.read.merged_away,
                    "purged": rows.purged,
                }
                for name, rows in self.done.items()
            },
            "hard_deletes": None if base is None else HARD_DELETES,
        }


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


def _again(file: Path) -> Callable[[], Iterator[pa.Table]]:
    return lambda: read_run(file)


def _named(fields: ObjectFields) -> dict[str, str]:
    """The opt-out fields that count, and which of `recon.sources.history.FIELDS` each is."""
    return {name: "standard" if name == STANDARD_FIELD else "custom" for name in fields.targets}


def _on_account(fields: ObjectFields) -> dict[str, str]:
    """The same of a person account's Account: by both names, as it isn't documented which one its history has."""
    named = _named(fields)
    return {on_account(name): of for name, of in named.items()} | named


def _moved(before: Mapping[str, Counts], after: Mapping[str, Counts]) -> str:
    return "; ".join(
        f"{name}: {before[name]} before, {after[name]} after" for name in before if before[name] != after[name]
    )


def _arrived(name: str, arrived: Counts, counted: Counts) -> None:
    """Hold the rows against the counts, which are the same before and after."""
    if arrived != counted:
        raise IncompletePull(
            f"{name}: Salesforce counted {counted}, before the pull and after it, but what arrived is {arrived}.",
            hint="Rows are missing, or records came and went again meanwhile. Pull again.",
        )
