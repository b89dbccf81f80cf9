"""One application of a plan, from the first look to the files that it leaves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from recon.clock import iso
from recon.disk import sha256
from recon.errors import AccessRefused, SourceError, UsageError
from recon.nightly import next_run
from recon.resubscribe import refusals
from recon.resubscribe.before import is_saved, save_before
from recon.resubscribe.bulk_steps import BulkSteps
from recon.resubscribe.bulk_update import BulkUpdate
from recon.resubscribe.carrying_out import Carrier
from recon.resubscribe.connect_writer import ConnectWriter
from recon.resubscribe.live import LivePeople, LiveSalesforce
from recon.resubscribe.moments import reader
from recon.resubscribe.outcomes import APPLY_FILE, Applied, packed, unpacked, write_outcomes
from recon.resubscribe.salesforce_writer import SalesforceWriter
from recon.resubscribe.spool import Row
from recon.resubscribe.steps_evidence import WORKLIST, StepsEvidence, Task
from recon.resubscribe.systems import Stopped, Systems
from recon.resubscribe.worklist import WORKLIST_CSV, Todo, read_ticked, write_worklist
from recon.sources.calls import cost
from recon.sources.guard import window, window_met
from recon.sources.quota import day

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import ExitStack
    from datetime import datetime
    from pathlib import Path

    from recon.clock import Clock
    from recon.progress import Progress
    from recon.resubscribe.kept_facts import KeptFacts
    from recon.resubscribe.live import Seen
    from recon.resubscribe.outcomes import Outcome
    from recon.resubscribe.plan_file import Step
    from recon.resubscribe.stored_plan import StoredPlan
    from recon.settings import Settings
    from recon.sources.gateway_client import GatewayClient
    from recon.sources.salesforce_session import Connection

#: After so many people in a row that couldn't be read, the rest is not tried.
_PATIENCE = 3
_NOT_IN_JOB = "The Bulk job did not come to it: apply the same plan again."
_WINDOW = "The guard window around the nightly run has begun: apply the same plan again after it."


class Run:
    """One application of a plan."""

    def __init__(
        self,
        stored: StoredPlan,
        folder: Path,
        loaded: Settings,
        evidence: StepsEvidence,
        facts: KeptFacts,
        clock: Clock,
        sleep: Callable[[float], None],
        inside_guard_window: bool,  # noqa: FBT001 - apply's own parameter
    ) -> None:
        self._stored, self._plan = stored, stored.plan
        self._folder, self._loaded = folder, loaded
        self._evidence, self._facts = evidence, facts
        self._clock, self._sleep = clock, sleep
        self._inside = inside_guard_window
        self._connection: Connection | None = None
        self._client: GatewayClient | None = None
        self._way = "rest"
        self._notes: list[str] = []
        self._resumed = evidence.resumed
        self._window: tuple[datetime | None, bool] = (None, False)

    def carry_out(self, stack: ExitStack, actor: str, environ: Mapping[str, str], progress: Progress) -> Applied:
        """Do what is left of the plan; of one that was carried out, give the outcomes back."""
        idle = self._carrier(Systems())
        if self._nothing_left(idle):
            return self._given_back(idle)
        started = self._clock.now()
        try:
            self._refuse()
        except UsageError:
            self._put_back(idle, stack, actor, environ, iso(started))
            raise
        systems = self._open(stack, actor, environ)
        carrier = self._carrier(systems)
        if not is_saved(self._plan, self._folder):
            save_before(self._plan, systems.read, self._folder, started)
        clears = self._stored.clears
        self._evidence.run({"clear": clears, "set": len(self._plan.steps) - clears})
        try:
            with progress.task("Apply", len(self._plan.steps), "records") as task:
                self._go(carrier, systems, task.advance)
        finally:
            outcomes = self._outcomes(carrier)
            self._write(outcomes, actor, iso(started))
        return Applied(outcomes, self._folder, tuple(self._notes))

    def take_back(self, file: Path, actor: str) -> Applied:
        """Take a ticked worklist back; nothing is written to any system."""
        policy, now = self._loaded.policy, self._clock.now()
        read = reader(policy.date_format, self._loaded.sync.time_zone)
        ticks = [
            tick
            for tick in read_ticked(file, self._plan, self._listed, read, now)
            if self._evidence.state(Task(tick.step)).open is not None
        ]
        if ticks:
            self._evidence.run({"ticked": len(ticks)})
        for tick in ticks:
            task = Task(tick.step)
            self._evidence.conclude(
                task,
                "done",
                was=task.before,
                now=task.after,
                effective_at=tick.at.text if tick.at else None,
                personal={"done_by": tick.by or actor, "worklist_sha256": sha256(file)},
            )
        outcomes = self._outcomes(self._carrier(Systems()))
        self._write(outcomes, actor, iso(now))
        return Applied(outcomes, self._folder)

    def _listed(self, number: int) -> Step | None:
        """A step that is or was on the worklist."""
        step = self._plan.steps[number - 1] if 0 < number <= len(self._plan.steps) else None
        return step if step is not None and self._evidence.state(Task(step)).way == WORKLIST else None

    def _put_back(self, idle: Carrier, stack: ExitStack, actor: str, environ: Mapping[str, str], started: str) -> None:
        """Put back what a run that was interrupted had to: to opt somebody out again is never refused."""
        if any(idle.owed(steps) for steps in self._stored.persons()):
            carrier = self._carrier(self._open(stack, actor, environ))
            for steps in self._stored.persons():
                carrier.put_back_owed(steps)
            self._write(self._outcomes(carrier), actor, started)

    def _carrier(self, systems: Systems) -> Carrier:
        salesforce, gateway = self._loaded.salesforce, self._loaded.sales_connect.gateway
        return Carrier(
            systems,
            self._evidence,
            facts=self._facts,
            spool=self._stored.spool,
            retries={"salesforce": salesforce.retries, "sales_connect": gateway.retries},
            backoff={"salesforce": salesforce.backoff_seconds, "sales_connect": gateway.backoff_seconds},
            sleep=self._sleep,
        )

    def _nothing_left(self, carrier: Carrier) -> bool:
        return all(carrier.at_rest(steps) for steps in self._stored.persons())

    def _given_back(self, carrier: Carrier) -> Applied:
        outcomes = self._outcomes(carrier)
        if not (self._folder / APPLY_FILE).is_file():  # it was killed after its last step, before it could say so
            self._write(outcomes, None, self._evidence.now())
        return Applied(outcomes, self._folder)

    def _refuse(self) -> None:
        refusals.refuse_changed_settings(self._plan, self._loaded, self._folder)
        waiting = {
            step.row
            for step in self._plan.steps
            if step.direction == "clear" and step.row is not None and not self._evidence.state(Task(step)).final
        }
        if not waiting:
            return
        now = self._clock.now()
        if not self._inside:
            refusals.refuse_guard_window(self._loaded.sync, now)
        refusals.refuse_expired(self._plan, waiting, self._loaded, now)

    def _open(self, stack: ExitStack, actor: str, environ: Mapping[str, str]) -> Systems:
        """Log in to what the plan needs, and look whether its fields can be written."""
        from recon.sources.discovery import discover
        from recon.sources.gateway_client import GatewayClient
        from recon.sources.salesforce_session import connect

        systems = Systems()
        needed = self._facts.looked_at | self._stored.systems
        connect_settings = self._loaded.sales_connect
        if "salesforce" in needed:
            connection = connect(self._loaded.salesforce, environ=environ, sleep=self._sleep)
            stack.callback(connection.close)
            self._connection = connection
            described = discover(connection, self._loaded.salesforce)
            _, contact = described
            refusals.refuse_other_fields(
                self._plan,
                {each.object: each.targets for each in described} | {"Account": contact.person_targets},
                [
                    *(f"{each.object}.{name}" for each in described for name in each.read_only),
                    *(f"Account.{name}" for name in contact.person_read_only),
                ],
            )
            systems.salesforce = LiveSalesforce(connection, contact)
            systems.writers["salesforce"] = SalesforceWriter(connection)
        if "sales_connect" in needed and connect_settings.gateway.url is not None:
            client = GatewayClient(connect_settings.gateway, environ, self._sleep)
            stack.callback(client.close)
            self._client = client
            systems.people = LivePeople(client, connect_settings.columns)
            systems.writers["sales_connect"] = ConnectWriter(client, connect_settings.gateway, actor)
        return systems

    def _go(self, carrier: Carrier, systems: Systems, advance: Callable[[int], None]) -> None:
        if self._connection is None or systems.salesforce is None:
            self._row_by_row(carrier, self._stored.persons(), advance)
            return
        jobs = BulkUpdate(self._connection, self._loaded.salesforce, self._sleep)
        rows = self._loaded.salesforce.bulk_job_rows
        bulk = BulkSteps(jobs, systems.salesforce, self._evidence, rows)
        self._notes = bulk.notes
        if self._resumed:
            bulk.go_on(self._plan.steps)
            for steps in self._stored.persons():
                carrier.put_back_owed(steps)
        waiting = sum(
            step.system == "salesforce" and not self._evidence.state(Task(step)).final for step in self._plan.steps
        )
        if waiting <= self._loaded.salesforce.bulk_updates_above:
            self._row_by_row(carrier, self._stored.persons(), advance)
            return
        self._way = "bulk"
        for part in _parts(self._stored.persons(), rows):
            seen = self._by_job(carrier, systems, bulk, part)
            self._row_by_row(carrier, part, advance, seen)

    def _by_job(
        self, carrier: Carrier, systems: Systems, bulk: BulkSteps, persons: list[list[Step]]
    ) -> dict[str, Seen] | None:
        """Write the records of some people in Salesforce by jobs; returns the records as they are then, None where that isn't known.

        Rows that were locked go into another job, after a pause and another look; few of them, and the last ones, are left for row by row.
        """
        assert systems.salesforce is not None
        open_persons = [
            steps for steps in persons if not carrier.at_rest(steps) and not self._window_open(carrier, steps)
        ]
        steps = [step for of_person in open_persons for step in carrier.looked_at(of_person)]
        settings = self._loaded.salesforce
        try:
            locked = open_persons
            for attempt in range(settings.retries + 1):
                looked_at = self._connection.server_time if self._connection is not None else None
                seen = systems.read([step for of_person in locked for step in carrier.looked_at(of_person)])
                carrier.know_histories(locked, seen)
                tasks = [task for of_person in locked for task in carrier.review(of_person, seen)]
                tasks = [task for task in tasks if task.step.system == "salesforce"]
                bulk.write(tasks, seen, looked_at)
                for task in tasks:
                    state = self._evidence.state(task)
                    if state.result == "unprocessed":
                        carrier.unreached([task.step], state.code or "unprocessed", _NOT_IN_JOB)
                again = {task.step.person for task in tasks if self._evidence.state(task).result == "failed"}
                locked = [of_person for of_person in locked if self._to_be_repeated(of_person, again)]
                if sum(map(len, locked)) <= settings.bulk_updates_above:
                    break
                if attempt < settings.retries:
                    self._sleep(settings.backoff_seconds * 2**attempt)
            for of_person in open_persons:
                carrier.put_back_owed(of_person)
            return systems.salesforce.read(step for step in steps if step.system == "salesforce")
        except SourceError as error:
            for of_person in open_persons:
                carrier.unreached(of_person, "unreadable", error.message)
            return None

    def _to_be_repeated(self, steps: list[Step], persons: set[str]) -> bool:
        """Whether a job could not write a record of this person for now, as something held it."""
        states = [self._evidence.state(Task(step)) for step in steps if step.system == "salesforce"]
        return steps[0].person in persons and any(state.result == "failed" and state.retryable for state in states)

    def _row_by_row(
        self,
        carrier: Carrier,
        persons: Iterable[list[Step]],
        advance: Callable[[int], None],
        seen: Mapping[str, Seen] | None = None,
    ) -> None:
        stopped: tuple[str, str] | None = None
        unread = 0
        for steps in persons:
            if stopped is not None:
                carrier.unreached(steps, *stopped)
                continue
            if self._window_open(carrier, steps):
                carrier.unreached(steps, "guard_window", _WINDOW)
                continue
            try:
                carrier.person(steps, seen)
                unread = 0
            except Stopped as error:
                stopped = (error.code, error.message)
                carrier.unreached(steps, *stopped)
            except SourceError as error:
                unread += 1
                carrier.unreached(steps, "unreadable", error.message)
                if isinstance(error, AccessRefused) or unread >= _PATIENCE:
                    stopped = ("unreadable", error.message)
            advance(len(steps))

    def _window_open(self, carrier: Carrier, steps: list[Step]) -> bool:
        if self._inside or all(step.direction == "set" for step in steps):
            return False
        # It begins and ends with a second, and is asked for each person.
        now = self._clock.now().replace(microsecond=0)
        if now != self._window[0]:
            self._window = (now, window_met(now, now, self._loaded.sync) is not None)
        return self._window[1] and not carrier.at_rest(steps)

    def _outcomes(self, carrier: Carrier) -> Sequence[Outcome]:
        found: Row[Outcome] = Row(self._stored.spool, packed, unpacked)
        for steps in self._stored.persons():
            for step, outcome in zip(steps, carrier.outcomes(steps), strict=True):
                again = outcome.outcome == "done" and self._evidence.state(Task(step)).earlier
                found.put(step.number - 1, replace(outcome, outcome="skipped_done") if again else outcome)
        return found

    def _write(self, outcomes: Sequence[Outcome], actor: str | None, started_at: str) -> None:
        about: dict[str, Any] = {
            "actor": actor,
            "started_at": started_at,
            "finished_at": self._evidence.now(),
            "resumed": self._resumed,
            "salesforce": self._way,
            "notes": self._notes,
            "api_calls": {
                "salesforce": 0 if self._connection is None else self._connection.calls,
                "sales_connect": 0 if self._client is None else self._client.calls,
            },
            "api_calls_by_kind": cost(self._connection, self._client),
            "api_usage": None if self._connection is None else self._connection.api_usage,
            "api_quota": day(self._connection),
        }
        write_outcomes(self._plan, outcomes, about, self._folder)
        todo = Todo(self._plan.steps, outcomes, self._facts)
        if len(todo) or (self._folder / WORKLIST_CSV).exists():
            write_worklist(self._plan, todo, self._deadline(), self._folder)

    def _deadline(self) -> str | None:
        """Until when an admin's clicks have to be made."""
        sync, now = self._loaded.sync, self._clock.now()
        if not sync.enabled:
            return None
        run = next_run(now, sync)
        opens, _ = window(run.astimezone(ZoneInfo(sync.time_zone)).date(), sync)
        before = opens if opens > now else run
        return f"{iso(before)} ({before.astimezone(ZoneInfo(sync.time_zone)):%Y-%m-%d %H:%M} {sync.time_zone})"


def _parts(persons: Iterable[list[Step]], size: int) -> Iterator[list[list[Step]]]:
    """People in parts of so many records: few enough that they don't change much between the last look at them and the job."""
    part: list[list[Step]] = []
    held = 0
    for steps in persons:
        part.append(steps)
        held += len(steps)
        if held >= size:
            yield part
            part, held = [], 0
    if part:
        yield part
