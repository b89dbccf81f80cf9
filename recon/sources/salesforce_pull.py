"""A pull of Leads and Contacts: everything, or what changed on top of a snapshot; to disk, in a bounded part of memory.

Proof that all of it arrived: the records are counted before and after, with and without deleted ones; every page holds what Salesforce
says it holds; ids are unique; a flag that is neither true nor false refuses the pull. Where records come or go during the pull, what
changed since its beginning is read on top of it, once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from recon.clock import iso
from recon.errors import IncompletePull, InputRefused, UsageError
from recon.sources.calls import charged
from recon.sources.discovery import discover
from recon.sources.increments import HARD_DELETES, MisfitError, begin_at, unfit
from recon.sources.object_read import Counts, Means, begin, calls_expected, rows_of
from recon.sources.parallel import Halt, run_all
from recon.sources.pulled_history import HistoryReads
from recon.sources.pulled_rows import again, laid_over, moved, refuse_missing, whole
from recon.sources.quota import Quota
from recon.sources.rest_query import count
from recon.sources.runs import read_parquet
from recon.tables import RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from recon.clock import Clock
    from recon.progress import Progress
    from recon.settings import SalesforceSettings, SyncSettings
    from recon.sources.bulk_state import JobState, States
    from recon.sources.history import History
    from recon.sources.increments import Base
    from recon.sources.object_read import ObjectRead
    from recon.sources.pulled_rows import ObjectRows
    from recon.sources.salesforce_session import Connection

log = logging.getLogger(__name__)

#: How often records are read at most, where their number changes meanwhile.
_ROUNDS = 2
_QUIETER = "Pull again at a quieter time."


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
        connection.before_read = self.quota.look
        self._means = Means(connection, settings, sync, clock, progress, sleep, states, self._halt.check)
        self._history = HistoryReads(connection, states.folder, progress, self._halt.check)
        self.objects = discover(connection, settings)
        self.base: Base | None = None
        self.why_full: str | None = None
        self.done: dict[str, ObjectRows] = {}

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
            tasks.append(self._history.of_records(fields, history[fields.object], None))
            if fields.person_targets:
                tasks.append(self._history.of_person_accounts(fields, people[fields.object], None))
        self._run(reads, tasks)
        after = self._count()
        for read in reads:
            rows = whole(self._means, read, self.folder)
            rows.history, rows.person_accounts = history[read.fields.object], people[read.fields.object]
            self.done[read.fields.object] = rows
        counted: dict[str, Counts] = {read.fields.object: read.counted for read in reads}
        if counted != after or any(read.resumed for read in reads):
            self._catch_up(counted, after)
        else:
            for name, rows in self.done.items():
                refuse_missing(name, rows.counts, after[name])
        self._top_up_history({name: rows.first.read_to for name, rows in self.done.items()})

    def _catch_up(self, before: Mapping[str, Counts], after: Mapping[str, Counts]) -> None:
        """Read what changed since the pull's beginning on top of what was read."""
        if before != after:
            log.warning(
                "Records came or went during the pull, so it is repeated once for what changed meanwhile. %s.",
                moved(before, after),
            )
        over = {
            name: (again(rows.file), begin_at(rows.first.read_to, self.settings), rows.first.read_to)
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
                    f"records came or went during the pull, and during its repetition as well. {moved(before, after)}.",
                    hint=_QUIETER,
                )
            log.warning(
                "Records came or went during the pull, so all of it is repeated once. %s.", moved(before, after)
            )
        for read in reads:
            name = read.fields.object
            rows = laid_over(self._means, read, over[name][0], after[name], self.folder)
            rows.rounds = number
            self.done[name] = rows

    # -- history -------------------------------------------------------------------------------------------------------------

    def _top_up_history(self, read_to: Mapping[str, str | None]) -> None:
        """Read the history of what changed since the records were read, or since the base."""
        since = {name: begin_at(read_to[name], self.settings) for name in self.done}
        run_all(self._history.top_up(self.done.values(), since), self.settings.parallel_reads, self._halt)

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
            calls += sum(self._history.pages(read.fields) for read in reads if read.state is not None)
        self.quota.expect(calls, "the pull")

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
