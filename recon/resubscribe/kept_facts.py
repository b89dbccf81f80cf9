"""What the snapshot of a plan says about its records, kept in the plan's spool."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from recon.resubscribe.plan_file import packed, unpacked_step
from recon.resubscribe.snapshot_facts import snapshot_facts
from recon.resubscribe.spool import Shelf

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from recon.resubscribe.plan_file import Plan, Step
    from recon.resubscribe.spool import Spool
    from recon.settings import Settings

#: Steps whose facts are read together. The snapshot is read once for each such part, so that there are few.
_AT_A_TIME = 50_000


class KeptFacts:
    """What was known of the records when the plan was made.

    Parameters
    ----------
    spool
        Where it is kept.
    plan, loaded, run
        As for `recon.resubscribe.snapshot_facts.snapshot_facts`.
    at_a_time
        How many steps' facts are read together.

    Attributes
    ----------
    addresses
        The records' addresses, by `Step.key`, as the systems have them; nothing where there is none.
    names
        First and last name of the people.
    others
        By person: the records that were not opted out then, so that no step is about them. A new opt-out may come in through one.
    looked_at
        The systems with records that no step is about but that are looked at.

    Raises
    ------
    InputRefused
        As `snapshot_facts`.
    """

    def __init__(self, spool: Spool, plan: Plan, loaded: Settings, run: Path, at_a_time: int = _AT_A_TIME) -> None:
        self.addresses: Shelf[str] = Shelf(spool, str, str)
        self.names: Shelf[str] = Shelf(spool, str, str)
        self.others: Shelf[list[Step]] = Shelf(spool, _packed, _unpacked)
        self.looked_at: set[str] = set()
        for start in range(0, len(plan.steps), at_a_time):
            part = plan.model_copy(update={"steps": plan.steps[start : start + at_a_time]})
            self._keep(part, loaded, run)

    def _keep(self, part: Plan, loaded: Settings, run: Path) -> None:
        facts = snapshot_facts(part, loaded, run)
        for key, address in facts.addresses.items():
            if address is not None:
                self.addresses.put(key, address)
        for key, name in facts.names.items():
            self.names.put(key, name)
        for person, steps in facts.others.items():
            self.others.put(person, steps)
            self.looked_at.update(step.system for step in steps)


def _packed(steps: Sequence[Step]) -> str:
    return json.dumps([packed(step) for step in steps])


def _unpacked(text: str) -> list[Step]:
    return [unpacked_step(each) for each in json.loads(text)]
