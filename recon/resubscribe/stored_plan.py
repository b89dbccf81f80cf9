"""A plan that is applied: approved and hashed as one file, and read into a spool, so that its steps are never all in memory."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING

from recon.resubscribe.plan_file import packed, read_plan, unpacked_approval, unpacked_step
from recon.resubscribe.spool import Row, Shelf, Spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from recon.resubscribe.plan_file import Approval, Kept, Plan, Step

_PAGE = 1000


class StoredPlan:
    """A plan that was read and whose hash was checked: over what is kept here, which is what is carried out.

    Parameters
    ----------
    file
        The plan.json.
    folder
        Where the spool lies; by default beside the file.

    Attributes
    ----------
    plan
        The plan; its steps and approvals are read from the spool whenever they are asked for.
    clears
        How many of its steps take an opt-out back.
    systems
        The systems that it writes to.

    Raises
    ------
    InputRefused
        As `recon.resubscribe.plan_file.read_plan`.
    ReconError
        If nothing can be written there.
    """

    def __init__(self, file: Path, folder: Path | None = None) -> None:
        self._folder = folder or file.parent
        self._steps: _Steps  # comes while the plan is read
        self.plan: Plan = read_plan(file, self._keep)
        self.clears: int = self._steps.clears
        self.systems: frozenset[str] = frozenset(self._steps.systems)

    @cached_property
    def spool(self) -> Spool:
        """Where the plan lies, and what else is known of its steps."""
        return Spool(self._folder)

    def persons(self) -> Iterator[list[Step]]:
        """The steps of one person after the other, in the order of their first steps."""
        return self._steps.persons()

    def _keep(self, name: str) -> Kept:
        if name == "steps":
            self._steps = _Steps(self.spool)
            return self._steps
        approvals: Row[Approval] = Row(self.spool, packed, unpacked_approval)
        return approvals


class _Steps(Row["Step"]):
    """Steps, and whose they are."""

    def __init__(self, spool: Spool) -> None:
        super().__init__(spool, packed, unpacked_step)
        self.clears = 0
        self.systems: set[str] = set()
        self._first: Shelf[int] = Shelf(spool, json.dumps, json.loads)
        self._turns = spool.table("turn INTEGER NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (turn, place)")

    def append(self, value: Step) -> None:
        """Add a step at the end."""
        place = len(self)
        first = self._first.get(value.person)
        if first is None:
            first = place
            self._first.put(value.person, first)
        super().append(value)
        self.clears += value.direction == "clear"
        self.systems.add(value.system)
        self._spool.db.execute(f"INSERT INTO {self._turns} VALUES (?, ?)", (first, place))  # noqa: S608 - a name of `Spool.table`

    def persons(self) -> Iterator[list[Step]]:
        """The steps of one person after the other."""
        theirs: list[Step] = []
        after = (-1, -1)
        page = (
            f"SELECT turn, turns.place, steps.value FROM {self._turns} AS turns JOIN {self._table} AS steps ON steps.place = turns.place "  # noqa: S608 - as above
            "WHERE (turn, turns.place) > (?, ?) ORDER BY turn, turns.place LIMIT ?"
        )
        while rows := self._spool.db.execute(page, (*after, _PAGE)).fetchall():
            for turn, place, text in rows:
                if theirs and turn != after[0]:
                    yield theirs
                    theirs = []
                theirs.append(unpacked_step(text))
                after = (turn, place)
        if theirs:
            yield theirs
