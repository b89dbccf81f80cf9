"""What an admin must click in Sales Connect, where no gateway does it: as a list to tick, for the screen and on paper, and back again.

Source of the clicks: AdobeDocs, "Resubscribing an Unsubscribe" (People > the person > three dots > Remove Unsubscribe > the reason). No bulk way
is documented.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import chain
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from recon.outputs import whole
from recon.report.csv_safe import neutralise
from recon.report.mask import visible
from recon.report.words import plural
from recon.sources import vocabulary
from recon.sources.files import open_reader
from recon.sources.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from recon.resubscribe.kept_facts import KeptFacts
    from recon.resubscribe.moments import Moment, Reader
    from recon.resubscribe.outcomes import Outcome
    from recon.resubscribe.plan_file import Plan, Step

WORKLIST_CSV, WORKLIST_HTML = "worklist.csv", "worklist.html"
_COLUMNS = (
    *("step", "person_id", "name", "email", "to_do", "reason", "deadline", "done", "done_by", "done_at", "plan"),
)
_BACK = ("step", "person_id", "done", "done_by", "done_at", "plan")
_REQUIRED = ("step", "person_id", "done")
_YES = dict.fromkeys(("x", "yes", "y", "true", "1", "done", "ok", "✓", "✔", "☑", "✅"), "yes")
_NO = dict.fromkeys(("no", "n", "false", "0", "-", "☐"), "no")
_MEANINGS = _YES | _NO
_AGAIN = "Use the worklist of this plan, and change nothing but the columns done, done_by and done_at."


@dataclass(frozen=True, slots=True)
class Item:
    """One person to click for."""

    step: int
    person_id: str
    name: str
    email: str | None
    to_do: str
    clicks: tuple[str, ...]
    reason: str | None


@dataclass(frozen=True, slots=True)
class Tick:
    """A step that an admin says is done; `by` and `at` where the list tells."""

    step: Step
    by: str | None
    at: Moment | None


class Todo:
    """What is left to click, in the plan's order. It may be as long as the plan, so it is made whenever it is gone through.

    Parameters
    ----------
    steps, outcomes
        The plan's, one for one.
    facts
        Tell the people's names and addresses.
    """

    def __init__(self, steps: Sequence[Step], outcomes: Sequence[Outcome], facts: KeptFacts) -> None:
        self._steps, self._outcomes, self._facts = steps, outcomes, facts
        self._length = sum(each.outcome == "worklist" for each in outcomes)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Item]:
        for step, outcome in zip(self._steps, self._outcomes, strict=True):
            if outcome.outcome == "worklist":
                yield _item(step, self._facts)


def _item(step: Step, facts: KeptFacts) -> Item:
    clear = step.direction == "clear"
    to_do = "Remove Unsubscribe" if clear else "Unsubscribe"
    last = ("the reason", "Remove Unsubscribe") if clear else ()
    clicks = ("People", "the person", "the three dots", to_do, *last)
    name, address = facts.names.get(step.key) or "", facts.addresses.get(step.key)
    return Item(step.number, step.id, name, address, to_do, clicks, step.reason)


def write_worklist(plan: Plan, todo: Todo, deadline: str | None, folder: Path) -> None:
    """Write worklist.csv and worklist.html. A list that is there and says something else is kept under another name: it may have ticks.

    Parameters
    ----------
    plan
        The plan.
    todo
        What is left to click.
    deadline
        When it has to be done, as text; None with the sync switched off.
    folder
        The run's folder.
    """
    target = folder / WORKLIST_CSV
    if target.exists():
        if _same(target, _csv(plan, todo, deadline)):
            return
        target.rename(_free_name(folder))
    with whole(target) as draft, draft.open("wb") as file:
        file.writelines(_csv(plan, todo, deadline))
    with whole(folder / WORKLIST_HTML) as draft, draft.open("w", encoding="utf-8", newline="") as page:
        page.writelines(_html(plan, todo, deadline))


def _same(file: Path, lines: Iterable[bytes]) -> bool:
    with file.open("rb") as there:
        return all(there.read(len(line)) == line for line in lines) and not there.read(1)


def _free_name(folder: Path) -> Path:
    number = 1
    while (folder / f"worklist-{number}.csv").exists():
        number += 1
    return folder / f"worklist-{number}.csv"


def _csv(plan: Plan, todo: Todo, deadline: str | None) -> Iterator[bytes]:
    """The lines of worklist.csv."""
    line = io.StringIO(newline="")
    writer = csv.writer(line, lineterminator="\n")
    for row in chain([_COLUMNS], (_row(plan, item, deadline) for item in todo)):
        writer.writerow(["" if cell is None else neutralise(str(cell)) for cell in row])
        yield line.getvalue().encode()
        line.seek(0)
        line.truncate()


def _row(plan: Plan, item: Item, deadline: str | None) -> Sequence[object]:
    to_do = " > ".join(item.clicks)
    said = (item.step, item.person_id, item.name, item.email, to_do, item.reason, deadline)
    return (*said, "", "", "", plan.hash[:16])


def _html(plan: Plan, todo: Todo, deadline: str | None) -> Iterator[str]:
    style = (resources.files("recon.resubscribe") / "templates" / "worklist.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        _environment()
        .get_template("worklist.html.j2")
        .generate(
            plan=plan.hash,
            run_id=plan.run_id,
            items=todo,
            deadline=deadline,
            style=Markup(style),  # noqa: S704 - our own file
            policy=Markup(policy),  # noqa: S704 - a constant and a base64 digest
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("recon.resubscribe"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(plural=plural)
    return environment


def read_ticked(
    path: Path, plan: Plan, listed: Callable[[int], Step | None], read: Reader, now: datetime
) -> list[Tick]:
    """Read a worklist that an admin hands back: CSV or Excel, rows in any order.

    Parameters
    ----------
    path
        The file.
    plan
        The plan whose list it has to be.
    listed
        Gives the step of a number, where it is or was on that list.
    read
        Reads the times in done_at.
    now
        What is done later than that is refused.

    Returns
    -------
    list of Tick
        The ticked steps; those that aren't ticked stay on the list.

    Raises
    ------
    InputRefused
        With everything that is wrong: it is another plan's list, a step stands there twice or was never on the list, or a cell can't be read.
    """
    refusal = Refusal(str(path))
    reader = open_reader(path, "utf-8-sig", refusal, fits=_fits, reports=False)
    places = {
        name: place for place, header in enumerate(reader.headers) if (name := header.strip().casefold()) in _BACK
    }
    if lacking := [name for name in _REQUIRED if name not in places]:
        raise refusal.refuse(f"there is no column {', '.join(lacking)}.", _AGAIN, line=1)
    rows = reader.read(list(places.values()), report=False)
    refusal.know_lines(rows.lines)
    cells = {name: vocabulary.text(rows.columns[place]) for name, place in places.items()}
    done = vocabulary.closed(cells["done"], _MEANINGS, "done", refusal).to_pylist()
    columns = {name: [_bare(text) for text in column.to_pylist()] for name, column in cells.items()}
    nothing = [None] * rows.count
    ticks: list[Tick] = []
    seen: set[int] = set()
    for row in range(rows.count):
        said = {name: columns.get(name, nothing)[row] for name in _BACK}
        if not any(said.values()):
            continue
        line = refusal.line(row)
        number = said["step"] or ""
        step = listed(int(number)) if number.isdecimal() else None
        if said["plan"] is not None and not plan.hash.startswith(said["plan"]):
            refusal.add("this row is of another plan's worklist.", _AGAIN, line=line, column="plan")
        elif step is None or step.id != said["person_id"]:
            refusal.add("this step and person were not on the worklist of this plan.", _AGAIN, line=line, column="step")
        elif step.number in seen:
            refusal.add(f"step {step.number} stands there twice.", "Keep one of the rows.", line=line, column="step")
        else:
            seen.add(step.number)
            at = _at(said["done_at"], read, now, refusal, line)
            if done[row] == "yes":
                ticks.append(Tick(step, said["done_by"], at))
    refusal.stop()
    return ticks


def _at(text: str | None, read: Reader, now: datetime, refusal: Refusal, line: int) -> Moment | None:
    at = None if text is None else read(text)
    if text is not None and at is None:
        refusal.add(
            "this is no date that can be read surely.",
            "Write it like 2026-11-24, or leave the cell empty.",
            line=line,
            column="done_at",
        )
    elif at is not None and at.earliest > now:
        refusal.add("this lies in the future.", "Write when it was done.", line=line, column="done_at")
    return at


def _fits(headers: list[str]) -> bool:
    return set(_REQUIRED) <= {header.strip().casefold() for header in headers}


def _bare(text: str | None) -> str | None:
    """A cell without what a spreadsheet or recon put before it."""
    return None if text is None else text.strip().removeprefix("'") or None
