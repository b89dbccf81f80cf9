"""What became of every step of a plan, and the files that say so."""

from __future__ import annotations

import csv
import json
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from recon.outputs import whole, write_json
from recon.report.csv_safe import neutralise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from recon.resubscribe.plan_file import Plan, Step

Result = Literal["done", "stale", "failed", "unprocessed", "worklist", "skipped_done"]
#: A step with one of these needs nobody any more.
SETTLED = frozenset({"done", "skipped_done"})
_TOLD = {"skipped_done": "done already", "worklist": "on the worklist"}

SUCCESS_FILE, FAILED_FILE, UNPROCESSED_FILE, APPLY_FILE = "success.csv", "failed.csv", "unprocessed.csv", "apply.json"
_COLUMNS = (
    *("step", "person", "system", "object", "id", "direction", "outcome", "retryable", "code", "message", "at", "row"),
)
_FILES: dict[str, frozenset[str]] = {
    SUCCESS_FILE: SETTLED,
    FAILED_FILE: frozenset({"stale", "failed"}),
    UNPROCESSED_FILE: frozenset({"unprocessed", "worklist"}),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one step.

    Attributes
    ----------
    number, key
        The step, and its record as `system:id`.
    outcome
        done; stale: left as it is, because the record is no more what the plan was made for; failed; unprocessed: not tried, or
        not known yet; worklist: for an admin to do by hand; skipped_done: done by an earlier run, or so already.
    retryable
        Will applying the same plan again try it again?
    code
        The system's own error code or ours; None where all is well.
    message
        One sentence with what to do. Holds no address.
    at
        When that became known, UTC text; None where nothing happened.
    """

    number: int
    key: str
    outcome: Result
    retryable: bool = False
    code: str | None = None
    message: str = ""
    at: str | None = None

    @property
    def settled(self) -> bool:
        """Whether nobody has to do anything about it."""
        return self.outcome in SETTLED


def packed(outcome: Outcome) -> str:
    """An outcome as short text, for keeping it elsewhere than in memory."""
    return json.dumps(astuple(outcome))


def unpacked(text: str) -> Outcome:
    """The outcome that `packed` made the text of."""
    return Outcome(*json.loads(text))


@dataclass(frozen=True)
class Applied:
    """A plan that was applied, as far as it went.

    Attributes
    ----------
    outcomes
        One a step, in the plan's order. They are on the disk for as long as this is there, and read whenever they are asked for.
    folder
        The run's folder, with success.csv, failed.csv, unprocessed.csv and apply.json.
    notes
        What was odd on the way, like results of a Bulk job that don't fit what was sent.
    """

    outcomes: Sequence[Outcome]
    folder: Path
    notes: tuple[str, ...] = ()

    @cached_property
    def counts(self) -> dict[str, int]:
        """Steps by outcome, those that don't occur left out."""
        return dict(sorted(Counter(each.outcome for each in self.outcomes).items()))

    @property
    def complete(self) -> bool:
        """Whether every step is done."""
        return self.counts.keys() <= SETTLED

    @property
    def exit_code(self) -> int:
        """0: all done. 3: something needs somebody."""
        return 0 if self.complete else 3

    def lines(self) -> list[str]:
        """What was done and what wasn't, for people. Holds no address."""
        said = ", ".join(f"{count} {_TOLD.get(name, name)}" for name, count in self.counts.items())
        number = len(self.outcomes)
        lines = [f"{number} step{'' if number == 1 else 's'}: {said or 'none'}"]
        for each in self.outcomes:
            if not each.settled:
                code = f" [{each.code}]" if each.code else ""
                lines.append(f"  step {each.number}, {each.key}: {each.outcome}{code} {each.message}".rstrip())
        lines += [f"  note: {note}" for note in self.notes]
        return [*lines, f"  files in {self.folder}"]


def write_outcomes(plan: Plan, outcomes: Sequence[Outcome], about: Mapping[str, Any], folder: Path) -> None:
    """Write success.csv, failed.csv, unprocessed.csv and apply.json; together they hold every step exactly once.

    Parameters
    ----------
    plan, outcomes
        The plan, and one outcome a step in its order.
    about
        What else apply.json says: times, ways, API calls.
    folder
        The run's folder.
    """
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        sheets = [(results, stack.enter_context(_sheet(folder / name, _COLUMNS))) for name, results in _FILES.items()]
        for step, outcome in zip(plan.steps, outcomes, strict=True):
            counts[outcome.outcome] += 1
            for results, write in sheets:
                if outcome.outcome in results:
                    write(_row(step, outcome))
    document = {"schema": 1, "plan": plan.hash, "run_id": plan.run_id, "steps": len(outcomes)} | dict(about)
    document["counts"] = dict(sorted(counts.items()))
    write_json(document, folder / APPLY_FILE)


def _row(step: Step, outcome: Outcome) -> list[object]:
    retryable = "true" if outcome.retryable else "false"
    said = (outcome.outcome, retryable, outcome.code, outcome.message, outcome.at, step.row)
    return [step.number, step.person, step.system, step.object, step.id, step.direction, *said]


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV for people, whole or not at all: null is empty, and no cell is a formula."""
    with _sheet(path, header) as write:
        for row in rows:
            write(row)


@contextmanager
def _sheet(path: Path, header: Sequence[str]) -> Iterator[Callable[[Sequence[object]], object]]:
    """The same, a row at a time."""
    with whole(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        yield lambda row: writer.writerow([neutralise("" if cell is None else str(cell)) for cell in row])
