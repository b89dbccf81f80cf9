"""Which clears still stand: what the ledger's intents and outcomes come to, over all plans.

What grows with the ledger's history is gathered on the disk, or not at all: of a few verdicts the ledger is asked through its indexes, and all that is
in memory then is which plans take others back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import closing
from typing import TYPE_CHECKING, Any

from recon.ledger import kinds
from recon.ledger.aside import Aside, room_aside
from recon.ledger.chain import mentions
from recon.resubscribe.steps_evidence import NEWER_OPT_OUT

if TYPE_CHECKING:
    from recon.ledger import Entry, Ledger

#: What is gathered of the whole ledger.
_GATHERED = {
    "allowed": "intent INTEGER PRIMARY KEY, verdict INTEGER NOT NULL",
    "put_back": "plan, record, PRIMARY KEY (plan, record)",
    "undoes": "plan PRIMARY KEY, undone",
    "outcome": "seq INTEGER PRIMARY KEY, intent, plan, record, done, newer",
}
_TABLES = (
    *(f"CREATE TABLE {name} ({columns})" for name, columns in _GATHERED.items()),
    "CREATE TABLE digest (digest PRIMARY KEY) WITHOUT ROWID",
)

#: The clears that were done, and the undoes of clears, as far as they were done; then of each record in a plan the last one. With max() SQLite
#: takes the other columns from the same row.
_STANDING = """
SELECT verdict FROM (
    SELECT plan, record, verdict, max(seq) FROM (
        SELECT o.plan, o.record, a.verdict, o.seq FROM outcome AS o JOIN allowed AS a ON a.intent = o.intent WHERE o.done
        UNION ALL
        SELECT u.undone, o.record, NULL, o.seq FROM outcome AS o JOIN undoes AS u ON u.plan = o.plan
        WHERE o.done AND NOT EXISTS (SELECT 1 FROM allowed AS a WHERE a.intent = o.intent)
    ) GROUP BY plan, record
) WHERE verdict IS NOT NULL
"""

#: The verdicts with a record whose last try was not done, but for those whose person opted out anew.
_IN_PART = """
SELECT verdict FROM (
    SELECT a.verdict, o.done, max(o.seq) FROM outcome AS o JOIN allowed AS a ON a.intent = o.intent GROUP BY o.plan, o.record
) WHERE NOT done
EXCEPT
SELECT a.verdict FROM outcome AS o JOIN allowed AS a ON a.intent = o.intent
WHERE o.newer OR EXISTS (SELECT 1 FROM put_back AS p WHERE p.plan = o.plan AND p.record = o.record)
"""

_CARRIED = f"{_STANDING} EXCEPT SELECT verdict FROM ({_IN_PART}) ORDER BY verdict"  # noqa: S608 - all ours


class Digests(AbstractSet[str]):
    """Digests of approved rows, kept aside: usable like a set that isn't changed, also when the ledger is closed."""

    def __init__(self, aside: Aside) -> None:
        self._aside = aside

    def __contains__(self, digest: object) -> bool:
        if not isinstance(digest, str):
            return False
        return self._aside.db.execute("SELECT 1 FROM digest WHERE digest = ?", (digest,)).fetchone() is not None

    def __iter__(self) -> Iterator[str]:
        for (digest,) in self._aside.db.execute("SELECT digest FROM digest ORDER BY digest"):
            yield digest

    def __len__(self) -> int:
        (count,) = self._aside.db.execute("SELECT count(*) FROM digest").fetchone()
        return int(count)

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> AbstractSet[Any]:  # what & and | make is in memory
        return frozenset(it)


def used_up(ledger: Ledger) -> Digests:
    """The digests that `recon.resubscribe.evidence.applied_digests` tells of.

    Raises
    ------
    NoRoom
        If there is no room on the disk for what is gathered.
    """
    with room_aside("what the ledger says about the rows that were carried out"):
        aside = Aside(*_TABLES)
        _gather(ledger, aside)
        with closing(aside.db.execute(_CARRIED)) as carried:
            aside.db.executemany("INSERT OR IGNORE INTO digest VALUES (?)", _digests(ledger, carried))
        for table in _GATHERED:
            aside.db.execute(f"DROP TABLE {table}")
    return Digests(aside)


def _gather(ledger: Ledger, aside: Aside) -> None:
    for entry in ledger.entries(kinds.INTENT):
        if entry.data.get("verdict") is not None:
            aside.db.execute("INSERT INTO allowed VALUES (?, ?)", (entry.seq, entry.data["verdict"]))
        elif str(entry.data["step"]).endswith(".resuppress"):
            place = entry.data["plan"], entry.data["record"]
            aside.db.execute("INSERT OR IGNORE INTO put_back VALUES (?, ?)", place)
    aside.db.executemany("INSERT OR REPLACE INTO undoes VALUES (?, ?)", _undoes(ledger))
    aside.db.executemany(
        "INSERT INTO outcome VALUES (?, ?, ?, ?, ?, ?)",
        (
            (
                entry.seq,
                entry.data["intent"],
                entry.data["plan"],
                entry.data["record"],
                entry.data["result"] == "done",
                entry.data.get("code") == NEWER_OPT_OUT,
            )
            for entry in ledger.entries(kinds.OUTCOME)
        ),
    )


def _undoes(ledger: Ledger) -> Iterator[tuple[str, str]]:
    """The plans that take others back, each with the one that it takes back."""
    for entry in ledger.entries(kinds.PLAN):
        if entry.data.get("purpose") == "undo" and entry.data.get("undoes") is not None:
            yield entry.data["plan"], entry.data["undoes"]


def _digests(ledger: Ledger, carried: Iterator[tuple[int]]) -> Iterator[tuple[str]]:
    """What the personal parts of these verdicts say; they come in the ledger's order."""
    (wanted,) = next(carried, (None,))
    for entry in ledger.entries(kinds.VERDICT):
        while wanted is not None and wanted < entry.seq:
            (wanted,) = next(carried, (None,))
        said = ledger.personal(entry) if entry.seq == wanted else None
        if said and "digest" in said:
            yield (said["digest"],)


def standing(ledger: Ledger, verdicts: Iterable[Entry]) -> Iterator[Entry]:
    """Those of some verdicts under which a clear was done that no undo took back. Asks for what the ledger says about their people only."""
    undoes: dict[str, str] | None = None
    for verdict in verdicts:
        cleared = {
            (outcome.data["plan"], outcome.data["record"])
            for intent in _under(ledger, verdict)
            if (outcome := ledger.outcome(intent.seq)) is not None and outcome.data["result"] == "done"
        }
        if cleared and undoes is None:
            undoes = dict(_undoes(ledger))
        if any(_last(ledger, *place, undoes or {}) == verdict.seq for place in sorted(cleared)):
            yield verdict


def _under(ledger: Ledger, verdict: Entry) -> Iterator[Entry]:
    """The intents that a verdict allowed: each names one of its person's pseudonyms, see `recon.ledger.pointers`."""
    names = [name for name, own in mentions(verdict.data) if own]
    later = {seq for name in names for seq, own in ledger.mentioning(name) if own and seq > verdict.seq}
    for seq in sorted(later):
        entry = ledger.entry(seq)
        if entry.kind == kinds.INTENT and entry.data.get("verdict") == verdict.seq:
            yield entry


def _last(ledger: Ledger, plan: str, record: str, undoes: dict[str, str]) -> int | None:
    """The verdict under which a plan's last clear of a record was done; None where it was taken back."""
    found = None
    for seq, _ in ledger.mentioning(record):
        entry = ledger.entry(seq)
        if entry.kind != kinds.OUTCOME or entry.data["record"] != record or entry.data["result"] != "done":
            continue
        intent = ledger.entry(entry.data["intent"])
        verdict = intent.data.get("verdict") if intent.kind == kinds.INTENT else None
        if verdict is None:
            found = None if undoes.get(entry.data["plan"]) == plan else found
        elif entry.data["plan"] == plan:
            found = verdict
    return found
