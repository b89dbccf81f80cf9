"""One person's whole story: from any of their addresses or ids to every entry that is about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recon.ledger import kinds
from recon.ledger.chain import mentions
from recon.ledger.store import Draft

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recon.ledger.chain import Entry
    from recon.ledger.store import Ledger

_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of a story.

    Attributes
    ----------
    entry
        The entry.
    personal
        Its personal part, or None.
    erased
        It had a personal part, which was erased.
    context
        It is about others too: the file or the plan that the person's entries name, or what the person did. Its personal part isn't shown.
    """

    entry: Entry
    personal: dict[str, Any] | None
    erased: bool
    context: bool


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that the ledger holds about one person.

    Attributes
    ----------
    names
        The person's pseudonyms: of addresses and records.
    steps
        The entries, in order.
    actors
        The names of those who acted, by pseudonym.
    """

    names: frozenset[str]
    steps: tuple[Step, ...]
    actors: dict[str, str]

    def lines(self, *, full: bool = False) -> list[str]:
        """The story for people.

        Parameters
        ----------
        full
            Show addresses; without, they are masked.
        """
        from recon.report.mask import cut, mask_within, visible  # brings the whole report along

        if not self.steps:
            return ["The ledger holds nothing about this person."]
        lines = []
        for step in self.steps:
            entry = step.entry
            lines.append(f"{entry.at}  {entry.seq:>6}  {entry.kind:<13}  {self._told(entry)}")
            said = dict(step.personal or {}) if not step.erased else {"personal part": "erased"}
            for name, value in said.items():
                text = visible(str(value))
                lines.append(f"{'':<45}{name}: {cut(text if full else mask_within(text), _LONGEST)}")
        return lines

    def as_json(self) -> dict[str, Any]:
        """The story for machines. Holds personal data in full."""
        return {
            "names": sorted(self.names),
            "actors": dict(sorted(self.actors.items())),
            "steps": [
                {"entry": s.entry.as_json(), "personal": s.personal, "erased": s.erased, "context": s.context}
                for s in self.steps
            ],
        }

    def _told(self, entry: Entry) -> str:
        return told(entry, self.actors)


def told(entry: Entry, actors: dict[str, str] | None = None) -> str:
    """An entry's fields in one line; pseudonyms of actors as names where they are known, hashes cut short."""
    known = actors or {}
    return ", ".join(
        f"{name} {_shown(name, value, known)}"
        for name, value in entry.data.items()
        if name not in ("addresses", "records")
    )


def _shown(field: str, value: Any, actors: dict[str, str]) -> str:
    if isinstance(value, list):
        return "; ".join(_shown(field, part, actors) for part in value) or "none"
    if isinstance(value, dict):
        return " ".join(f"{key}={part}" for key, part in value.items())
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, str):
        if field in kinds.ACTOR_FIELDS and value in actors:
            from recon.report.mask import mask_within, visible

            return visible(mask_within(actors[value]))
        if kinds.HASH.fits(value):
            return value[:12]
    return str(value)


def story(ledger: Ledger, of: str) -> Story:
    """Find one person's whole story.

    Entries that name several of a person's pseudonyms tie these together, so any address and any record of the person leads to all of it.

    Parameters
    ----------
    ledger
        Where to look.
    of
        An address, a person's or record's id, `system:id`, a pseudonym; or somebody who acted, whose own entries are found then.
    """
    names, about, other = _closure(ledger, ledger.names.of(of))
    own = [ledger.entry(seq) for seq in sorted(about)]
    around = {seq: ledger.entry(seq) for seq in other} | {e.seq: e for e in _context(ledger, own)}
    steps = []
    for entry in sorted((around | {e.seq: e for e in own}).values(), key=lambda found: found.seq):
        context = entry.seq not in about
        personal = None if context else ledger.personal(entry)
        erased = entry.personal_id is not None and personal is None and not context
        steps.append(Step(entry, personal, erased, context))
    actors = {}
    for step in steps:
        for field in kinds.ACTOR_FIELDS:
            name = step.entry.data.get(field)
            if name is not None and name not in actors and (said := ledger.actor_name(name)) is not None:
                actors[name] = said
    return Story(frozenset(names), tuple(steps), actors)


def _closure(ledger: Ledger, start: Iterable[str]) -> tuple[set[str], set[int], set[int]]:
    """All pseudonyms that entries tie to the first ones; the entries about them, with what corrects these; and those that name one in another part."""
    names: set[str] = set()
    about: set[int] = set()
    other: set[int] = set()
    seen: set[str] = set()
    todo = list(start)
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        for seq, joins in ledger.mentioning(name):
            if not joins:
                other.add(seq)
                continue
            names.add(name)
            if seq not in about:
                about.add(seq)
                todo += [own for own, is_own in mentions(ledger.entry(seq).data) if is_own]
    for entry in ledger.entries(kinds.CORRECTION):
        if entry.data["corrects"] in about:
            about.add(entry.seq)
    return names, about, other - about


def _context(ledger: Ledger, own: list[Entry]) -> list[Entry]:
    """The entries about the files and plans that a person's entries name."""
    files = {entry.data["file"] for entry in own if "file" in entry.data}
    plans = {entry.data["plan"] for entry in own if "plan" in entry.data}
    found = [e for e in ledger.entries(kinds.APPROVED_FILE) if e.data["file"] in files]
    return found + [e for e in ledger.entries(kinds.PLAN) if e.data["plan"] in plans]


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased.

    Attributes
    ----------
    entry
        The entry that says so; None where there was nothing to erase.
    parts
        How many personal parts.
    actors
        How many names of people who acted.
    """

    entry: Entry | None
    parts: int
    actors: int

    def lines(self) -> list[str]:
        """The outcome for people, with what is left."""
        if self.entry is None:
            return ["There was nothing to erase."]
        return [
            f"Erased {self.parts} personal part{'' if self.parts == 1 else 's'} and {self.actors} name{'' if self.actors == 1 else 's'}; "
            f"entry {self.entry.seq} says so.",
            "The chain keeps pseudonyms, dates and codes: with the key of the pseudonyms they still lead to the person.",
            "Not erased: the approved CSV, snapshots, reports, exports and backups. They have to be dealt with where they lie.",
        ]


def erase(ledger: Ledger, of: str, ground: str, *, actor: str | None = None) -> Erasure:
    """Erase what is said about one person; the chain stays whole.

    Parameters
    ----------
    ledger
        Where from.
    of
        As for `story`. Of somebody who only acted, the name goes and what is said about others stays.
    ground
        Why, as a code, like `request`.
    actor
        Who erases.

    Returns
    -------
    Erasure
        Doing it twice erases nothing more and writes nothing more.
    """
    asked = ledger.names.of(of)
    by = None if actor is None else ledger.actor(actor)
    with ledger.writing() as db:
        names, about, _ = _closure(ledger, asked)
        marks = [found for seq in sorted(about) if (found := ledger.entry(seq).personal_id) is not None]
        parts = [m for m in marks if db.execute("SELECT 1 FROM personal WHERE id = ?", (m,)).fetchone()]
        actors = [n for n in sorted(asked) if db.execute("SELECT 1 FROM actor WHERE name = ?", (n,)).fetchone()]
        if not parts and not actors:
            return Erasure(None, 0, 0)
        data = {"erased": parts, "actors": actors or None, "addresses": sorted(names) or None, "ground": ground}
        data = kinds.conform(kinds.ERASURE, data | {"actor": by})
        entry = ledger.add(Draft(kinds.ERASURE, data), ledger.sound_head())
        for gone, table, column in ((parts, "personal", "id"), (actors, "actor", "name")):
            db.executemany("INSERT INTO erased VALUES (?, ?)", [(name, entry.seq) for name in gone])
            db.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(name,) for name in gone])  # noqa: S608 - both are ours
    return Erasure(entry, len(parts), len(actors))
