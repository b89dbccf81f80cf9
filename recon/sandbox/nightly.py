"""The sandbox's nightly unsubscribe sync: the behaviour that recon's prediction is held against.

Once a day both directions, opt-out wins: where one side of a linked pair is opted out, the other is marked; a flag is never cleared.
Source: AdobeDocs, Syncing Unsubscribes with Salesforce. Written plainly, pair by pair, and on purpose without anything of
`recon.merge` or `recon.nightly`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon.sandbox.sales_connect import SYNC_USER, linked_id, record_unsubscribe, sync_fields
from recon.sandbox.salesforce import records

if TYPE_CHECKING:
    from recon.sandbox.store import Store


@dataclass(frozen=True, slots=True)
class NightlyResult:
    """What a nightly run did.

    Attributes
    ----------
    at
        When, as the store keeps times.
    ran
        False if the sync is switched off or its opt-out field isn't installed: nothing was looked at then.
    pairs
        Linked pairs that qualified.
    people_set
        The person_ids that got an account-level unsubscribe, sorted.
    records_set
        The Salesforce ids that were opted out, sorted.
    """

    at: str
    ran: bool
    pairs: int
    people_set: tuple[str, ...]
    records_set: tuple[str, ...]


def run_nightly(store: Store) -> NightlyResult:
    """Run the sync now, until nothing changes any more.

    * A pair qualifies if the person's Salesforce ID is that of a live Lead that isn't converted, or of a live Contact. Equal
      addresses link nothing. What the product does with the id of a converted or deleted Lead isn't documented: here it doesn't sync.
    * The person's side counts at account level only. Salesforce's side counts by the configured field; for `both` one is enough,
      and a record that is set gets both.
    * Several people may hold the id of one record. What takes the product this night and the next ones is done at once.

    Returns
    -------
    NightlyResult
        What was set. A run leaves a row in the table nightly_run.
    """
    now = store.now()
    with store.transaction() as db:
        fields = sync_fields(store)
        if not fields:
            return NightlyResult(now, ran=False, pairs=0, people_set=(), records_set=())

        kind: dict[str, str] = {}
        record_out: dict[str, bool] = {}
        for sobject, sql in (
            ("Lead", "SELECT * FROM lead WHERE NOT IsDeleted AND NOT IsConverted"),
            ("Contact", "SELECT * FROM contact WHERE NOT IsDeleted"),
        ):
            for row in db.execute(sql):
                kind[row["Id"]] = sobject
                record_out[row["Id"]] = any(row[field] for field in fields)

        person_out: dict[str, bool] = {}
        pairs: list[tuple[str, str]] = []
        for row in db.execute(
            "SELECT person_id, salesforce_id, "
            "EXISTS (SELECT 1 FROM unsubscribe u WHERE u.person_id = p.person_id AND u.level = 'account') AS out "
            "FROM person p WHERE salesforce_id IS NOT NULL ORDER BY person_id"
        ):
            record_id = linked_id(row["salesforce_id"])
            if record_id is not None and record_id in record_out:
                person_out[row["person_id"]] = bool(row["out"])
                pairs.append((row["person_id"], record_id))

        people_set: set[str] = set()
        records_set: set[str] = set()
        changed = True
        while changed:
            changed = False
            for person_id, record_id in pairs:
                if person_out[person_id] and not record_out[record_id]:
                    record_out[record_id] = changed = True
                    records_set.add(record_id)
                elif record_out[record_id] and not person_out[person_id]:
                    person_out[person_id] = changed = True
                    people_set.add(person_id)

        for person_id in sorted(people_set):
            record_unsubscribe(db, person_id, "account", "salesforce_sync", "", now)
        for record_id in sorted(records_set):
            records.update_record(store, kind[record_id], record_id, dict.fromkeys(fields, True), SYNC_USER)
        db.execute(
            "INSERT INTO nightly_run (at, people_set, records_set) VALUES (?, ?, ?)",
            (now, len(people_set), len(records_set)),
        )
    return NightlyResult(now, True, len(pairs), tuple(sorted(people_set)), tuple(sorted(records_set)))
