"""The sandbox's Sales Connect: people, their unsubscribes and history, and the real-time push.

Rules and their sources (all AdobeDocs, marketo-sales-connect):

* Two levels: an *account* unsubscribe holds for the company, a *user* one between one sales user and the person (ToutApp's help pages).
* An unsubscribe collected in Sales Connect goes to Salesforce in real time; with the sync disabled it still goes to
  Email Opt Out (Syncing Unsubscribes with Salesforce). A resubscribe goes nowhere.
* The Unsubscribe History card shows Date, Details (Unsubscribe or Resubscribe) and Source: Salesforce Sync, Manual,
  Clicked Link, or the admin's name when an admin resubscribed (Unsubscribe History Card; Bounce: Unsubscribe Overview).
* Only an admin removes an unsubscribe, and gives a reason (Resubscribing an Unsubscribe).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from recon.errors import ReconError
from recon.sandbox.salesforce import records
from recon.sandbox.salesforce.objects import CUSTOM_FIELD
from recon.sandbox.store import text_time

if TYPE_CHECKING:
    import sqlite3
    from datetime import datetime

    from recon.sandbox.store import Store

Level = Literal["account", "user"]
Source = Literal["manual", "clicked_link", "salesforce_sync", "bounce"]

STANDARD_FIELD = "HasOptedOutOfEmail"

#: The user through whom Sales Connect writes to Salesforce.
SYNC_USER = records.to_18("0055e000001Sync")

_CHECKSUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"

#: What the Unsubscribe History card shows as the source.
ON_SCREEN: dict[str, str] = {
    "manual": "Manual",
    "clicked_link": "Clicked Link",
    "salesforce_sync": "Salesforce Sync",
    "bounce": "Bounce",
}

# A person may hold an account-level unsubscribe and several of single users. The account's is the one that counts;
# among several users' the newest, because a consent has to be newer than every opt-out.
_PEOPLE = """
SELECT p.person_id, p.email, p.salesforce_id,
       u.level IS NOT NULL AS unsubscribed, u.level AS unsubscribe_level, u.at AS unsubscribed_at, u.source AS unsubscribe_source,
       (SELECT max(h.at) FROM unsubscribe_history h WHERE h.person_id = p.person_id AND h.details = 'Resubscribe') AS resubscribed_at,
       p.first_name, p.last_name, p.updated_at
FROM person p LEFT JOIN unsubscribe u ON u.person_id = p.person_id AND (u.level, u.user_name) = (
    SELECT x.level, x.user_name FROM unsubscribe x WHERE x.person_id = p.person_id
    ORDER BY x.level = 'account' DESC, x.at DESC, x.user_name LIMIT 1)
"""


class SalesConnectError(ReconError):
    """Sales Connect refuses a request.

    Parameters
    ----------
    status
        The HTTP status that the gateway answers with.
    code
        A short name of the fault, for programs.
    message
        One sentence for people.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class HistoryRow(TypedDict):
    """One line of the Unsubscribe History card; level and reason are not on the card but kept."""

    date: str
    details: str
    source: str
    level: str
    reason: str | None


def add_person(
    store: Store,
    *,
    email: str | None = None,
    salesforce_id: str | None = None,
    person_id: str | None = None,
    first_name: str | None = None,
    last_name: str | None = None,
    company: str | None = None,
    title: str | None = None,
    phone: str | None = None,
) -> str:
    """Add a person and return its id.

    Nothing is checked or made comparable: Sales Connect holds addresses and Salesforce IDs as they came.

    Raises
    ------
    sqlite3.IntegrityError
        If the person_id is taken.
    """
    with store.transaction() as db:
        if person_id is None:
            person_id = reserve_person_ids(store, 1)[0]
        now = store.now()
        db.execute(
            "INSERT INTO person (person_id, email, salesforce_id, first_name, last_name, company, title, phone, created_at, updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (person_id, email, salesforce_id, first_name, last_name, company, title, phone, now, now),
        )
    return person_id


def reserve_person_ids(store: Store, count: int) -> list[str]:
    """The next free person ids, taken off the sequence."""
    with store.transaction():
        first = int(store.config("person_sequence"))
        store.configure(person_sequence=str(first + count))
    return [str(number) for number in range(first, first + count)]


def link_person(store: Store, person_id: str, salesforce_id: str | None) -> None:
    """Give a person another Salesforce ID, or none. Nothing is synced by it.

    Raises
    ------
    SalesConnectError
        If there is no such person.
    """
    with store.transaction() as db:
        _must_exist(db, person_id)
        db.execute(
            "UPDATE person SET salesforce_id = ?, updated_at = ? WHERE person_id = ?",
            (salesforce_id, store.now(), person_id),
        )


def unsubscribe(
    store: Store,
    person_id: str,
    level: Level = "account",
    source: Source = "manual",
    user_name: str = "",
    at: datetime | None = None,
) -> None:
    """Unsubscribe a person, write the history, and push an account-level unsubscribe to Salesforce.

    One that stands already takes the newer date and source: the person has said it again.

    Parameters
    ----------
    user_name
        Whose unsubscribe it is, for level user. Not kept for level account.
    at
        When it was collected; the store's clock by default.

    Raises
    ------
    SalesConnectError
        If there is no such person, or a user-level unsubscribe names no user.
    """
    moment = store.now() if at is None else text_time(at)
    with store.transaction() as db:
        _must_exist(db, person_id)
        if level == "user" and not user_name:
            raise SalesConnectError(400, "user_missing", "A user-level unsubscribe needs the sales user's name.")
        record_unsubscribe(db, person_id, level, source, user_name, moment)
        if level == "account" and store.config("push_enabled") == "true":
            _push(store, db, person_id)


def record_unsubscribe(
    db: sqlite3.Connection, person_id: str, level: Level, source: Source, user_name: str, at: str
) -> None:
    """Write an unsubscribe and its history row, and push nothing: what the nightly run does to a person."""
    db.execute(
        "INSERT INTO unsubscribe (person_id, level, user_name, source, at) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET source = excluded.source, at = excluded.at",
        (person_id, level, user_name if level == "user" else "", source, at),
    )
    db.execute(
        "INSERT INTO unsubscribe_history (person_id, at, level, details, source) VALUES (?, ?, ?, 'Unsubscribe', ?)",
        (person_id, at, level, ON_SCREEN[source]),
    )
    db.execute("UPDATE person SET updated_at = max(updated_at, ?) WHERE person_id = ?", (at, person_id))


def remove_unsubscribe(store: Store, person_id: str, reason: str, admin: str) -> None:
    """Remove a person's account-level unsubscribe. Salesforce is not told: resubscribes don't sync.

    A user-level unsubscribe of the same person stays.

    Parameters
    ----------
    reason
        Kept verbatim.
    admin
        The admin's name, which the history shows as the source.

    Raises
    ------
    SalesConnectError
        If there is no such person, no account-level unsubscribe stands, or the reason or the admin is blank.
    """
    if not reason.strip():
        raise SalesConnectError(400, "reason_missing", "An unsubscribe is removed with a reason only.")
    if not admin.strip():
        raise SalesConnectError(400, "admin_missing", "Only an admin removes an unsubscribe: name the admin.")
    now = store.now()
    with store.transaction() as db:
        _must_exist(db, person_id)
        removed = db.execute("DELETE FROM unsubscribe WHERE person_id = ? AND level = 'account'", (person_id,)).rowcount
        if not removed:
            raise SalesConnectError(
                409, "not_unsubscribed", "No account-level unsubscribe stands for this person; nothing was changed."
            )
        db.execute(
            "INSERT INTO unsubscribe_history (person_id, at, level, details, source, reason) "
            "VALUES (?, ?, 'account', 'Resubscribe', ?, ?)",
            (person_id, now, admin, reason),
        )
        db.execute("UPDATE person SET updated_at = max(updated_at, ?) WHERE person_id = ?", (now, person_id))


def history(store: Store, person_id: str) -> list[HistoryRow]:
    """A person's Unsubscribe History card, oldest first.

    Raises
    ------
    SalesConnectError
        If there is no such person.
    """
    with store.transaction() as db:
        _must_exist(db, person_id)
        rows = db.execute(
            "SELECT at AS date, details, source, level, reason FROM unsubscribe_history WHERE person_id = ? ORDER BY at, seq",
            (person_id,),
        ).fetchall()
    return [
        HistoryRow(date=r["date"], details=r["details"], source=r["source"], level=r["level"], reason=r["reason"])
        for r in rows
    ]


def get_person(store: Store, person_id: str) -> dict[str, Any]:
    """One person, with the columns of `recon.tables.PEOPLE`; times as UTC text.

    Raises
    ------
    SalesConnectError
        If there is no such person.
    """
    with store.transaction() as db:
        _must_exist(db, person_id)
        row = db.execute(f"{_PEOPLE} WHERE p.person_id = ?", (person_id,)).fetchone()
    return _person(row)


def list_people(store: Store, *, after: str | None, limit: int) -> tuple[list[dict[str, Any]], int, bool]:
    """A page of people by person_id.

    Returns
    -------
    tuple
        The people after the given id, the number of all people, and whether more follow.
    """
    with store.transaction() as db:
        total = int(db.execute("SELECT count(*) FROM person").fetchone()[0])
        rows = db.execute(
            f"{_PEOPLE} WHERE p.person_id > ? ORDER BY p.person_id LIMIT ?", (after or "", limit + 1)
        ).fetchall()
    return [_person(row) for row in rows[:limit]], total, len(rows) > limit


def sync_fields(store: Store) -> tuple[str, ...]:
    """The opt-out fields that the sync reads and writes; none when it doesn't run.

    It runs only if it is enabled and its field is installed (Syncing Unsubscribes with Salesforce).
    """
    if store.config("sync_enabled") != "true":
        return ()
    fields = {
        "standard": (STANDARD_FIELD,),
        "custom": (CUSTOM_FIELD,),
        "both": (STANDARD_FIELD, CUSTOM_FIELD),
    }[store.config("opt_out_field")]
    if CUSTOM_FIELD in fields and store.config("custom_field_installed") != "true":
        return ()
    return fields


def _push(store: Store, db: sqlite3.Connection, person_id: str) -> None:
    """The real-time push: set the opt-out on the linked record, if it is there and can be changed."""
    link = db.execute("SELECT salesforce_id FROM person WHERE person_id = ?", (person_id,)).fetchone()["salesforce_id"]
    target = live_record(db, link)
    if target is None:
        return
    sobject, record_id = target
    fields = sync_fields(store) or (STANDARD_FIELD,)
    records.update_record(store, sobject, record_id, dict.fromkeys(fields, True), SYNC_USER)


def linked_id(link: str | None) -> str | None:
    """A person's Salesforce ID in 18 characters, or None if it is no id.

    Salesforce takes an 18-character id in any case: its last three characters tell what the case was. Blanks around it don't count.
    """
    text = (link or "").strip()
    try:
        return records.to_18(_recase(text) if len(text) == 18 and text.isascii() else text)
    except ValueError:
        return None


def live_record(db: sqlite3.Connection, link: str | None) -> tuple[str, str] | None:
    """The record that a person's Salesforce ID syncs with: object and 18-character id; None for no or a stale or broken link."""
    record_id = linked_id(link)
    if record_id is None:
        return None
    for sobject, sql in (
        ("Lead", "SELECT 1 FROM lead WHERE Id = ? AND NOT IsDeleted AND NOT IsConverted"),
        ("Contact", "SELECT 1 FROM contact WHERE Id = ? AND NOT IsDeleted"),
    ):
        if db.execute(sql, (record_id,)).fetchone():
            return sobject, record_id
    return None


def _recase(text: str) -> str:
    """An 18-character id, the case of its letters as the last three characters tell it."""
    restored = ""
    for group, code in enumerate(text[15:].upper()):
        bits = _CHECKSUM.index(code)
        for n, char in enumerate(text[group * 5 : group * 5 + 5]):
            restored += char.upper() if bits >> n & 1 else char.lower()
    return restored + text[15:].upper()


def _must_exist(db: sqlite3.Connection, person_id: str) -> None:
    if not db.execute("SELECT 1 FROM person WHERE person_id = ?", (person_id,)).fetchone():
        raise SalesConnectError(404, "unknown_person", "There is no person with this id.")


def _person(row: sqlite3.Row) -> dict[str, Any]:
    person: dict[str, Any] = dict(row)
    person["unsubscribed"] = bool(person["unsubscribed"])
    return person
