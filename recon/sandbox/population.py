"""A population for the sandbox: mostly ordinary people, and every category and odd shape that recon has to know.

Deterministic: the same number, seed and clock give the same rows. Every address lies in a domain that is reserved for examples and
tests, except the unusable ones, which are no addresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon.errors import UsageError
from recon.sandbox.population_cases import CASES
from recon.sandbox.population_rows import OptOut, Rows
from recon.sandbox.population_shapes import SHAPES
from recon.sandbox.salesforce.person_accounts import new_person_account

if TYPE_CHECKING:
    import sqlite3

    from recon.sandbox.store import Store

# How ordinary people are.
_LINKED = 0.7
_MATCHED = 0.05  # the same address on both sides, no link, and nothing to disagree about
_OPTED_OUT = 0.06
_SALESFORCE_ONLY = 0.25  # Leads and Contacts that Sales Connect doesn't have, for every person
_PERSON_ACCOUNTS = 0.005, 4  # for every person, and at least


@dataclass(frozen=True, slots=True)
class Population:
    """What was made.

    Attributes
    ----------
    seed
        What it was made from.
    counts
        Rows a table of the store: person, unsubscribe, unsubscribe_history, lead, contact, history.
    cases
        Category -> the `system:id` of the records that were planted to have it as their primary category, with the sync enabled and
        the standard field. The record is the one that has to change; for broken_link and stale_link the person. The awaiting_sync
        ones are sync_off with the sync disabled. The field_disagrees ones are so with the opt-out field `both` only, and need no
        action otherwise. Other records may have the category as well: some shapes disagree, too.
    shapes
        Odd shape -> the `system:id` of the records that have it.
    """

    seed: int
    counts: dict[str, int]
    cases: dict[str, list[str]]
    shapes: dict[str, list[str]]


def populate(store: Store, people: int = 1000, seed: int = 1) -> Population:
    """Fill an empty store.

    Parameters
    ----------
    people
        People in Sales Connect. What has to be there at least (each category and shape a few times) makes some 200, whatever is
        asked for. Salesforce gets about as many records.
    seed
        Another seed, another population.

    Raises
    ------
    UsageError
        If the store holds people, Leads or Contacts already.
    """
    rows = Rows(store, seed)
    with store.transaction() as db:
        for table in ("person", "lead", "contact"):
            if db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone():  # noqa: S608 - the three names above
                raise UsageError(
                    "this sandbox is populated already",
                    hint="Start one on a new file, or go on with the one that is there.",
                )
        cases = {name: plant(rows, max(least, round(people * share))) for name, plant, share, least in CASES}
        shapes = {name: plant(rows, max(least, round(people * share))) for name, plant, share, least in SHAPES}
        # Awaiting the sync they are, too: the report has to show them.
        cases["awaiting_sync"] += shapes["hostile"]
        while rows.counts["person"] < people:
            _ordinary(rows)
        for _ in range(round(people * _SALESFORCE_ONLY)):
            _salesforce_only(rows)
        rows.flush()
        planted = {uid for found in (*cases.values(), *shapes.values()) for uid in found}
        share, least = _PERSON_ACCOUNTS
        _person_accounts(store, db, max(least, round(people * share)), planted)
    return Population(seed, rows.counts, cases, shapes)


def _person_accounts(store: Store, db: sqlite3.Connection, number: int, planted: set[str]) -> None:
    """Make some ordinary Contacts person accounts, every other one opted out. Nothing that recon compares changes by that."""
    for out in (0, 1):
        found = db.execute(
            "SELECT Id FROM contact WHERE NOT IsDeleted AND HasOptedOutOfEmail = ? ORDER BY Id DESC", (out,)
        )
        ids = [row["Id"] for row in found if f"salesforce:{row['Id']}" not in planted]
        for contact in ids[: number // 2 + (out < number % 2)]:
            new_person_account(store, contact)


def _ordinary(rows: Rows) -> None:
    name = rows.name()
    address = rows.address(name)
    ours, theirs = rows.both_sides(rows.settled()) if rows.chance(_OPTED_OUT) else (None, None)
    kind = rows.rng.random()
    if kind >= _LINKED + _MATCHED:
        rows.person(address, None, ours, name=name)
        return
    record = rows.record("Lead" if rows.chance(0.5) else "Contact", address, theirs, name=name)
    rows.person(address, rows.link(record) if kind < _LINKED else None, ours, name=name)


def _salesforce_only(rows: Rows) -> None:
    name = rows.name()
    out = OptOut(rows.settled()) if rows.chance(_OPTED_OUT) else None
    rows.record("Lead" if rows.chance(0.5) else "Contact", rows.address(name), out, name=name)
