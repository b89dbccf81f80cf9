"""Records and the history of their opt-outs, brought together: streams in, streams out, in a bounded part of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from recon.sources.history import FIELDS, NEWEST, Lookup, opt_out_dates, together
from recon.sources.runs import merged_runs, write_run
from recon.tables import RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

_PAIRS = pa.schema([("account_id", pa.string()), ("record_id", pa.string())])
_GATHERED = 50_000


def dated(records: Iterable[pa.Table], history: Iterable[pa.Table], fields: Collection[str]) -> Iterator[pa.Table]:
    """Give records, sorted by `record_id`, the dates of their opt-outs.

    Parameters
    ----------
    history
        `recon.sources.history.NEWEST` rows, sorted.
    fields
        Which of `recon.sources.history.FIELDS` count as the opt-out.
    """
    lookup = Lookup(history, "parent", NEWEST)
    out, back = RECORDS.names.index("opted_out_at"), RECORDS.names.index("resubscribed_at")
    for block in records:
        if not block.num_rows:
            continue
        ids = block.column("record_id")
        flags = {field: block.column(FIELDS[field]) for field in fields}
        opted_out_at, resubscribed_at = opt_out_dates(ids, flags, lookup.through(ids[-1].as_py()))
        block = block.set_column(out, RECORDS.schema.field(out), opted_out_at)
        yield block.set_column(back, RECORDS.schema.field(back), resubscribed_at)


def of_person_accounts(
    contacts: Callable[[], Iterable[pa.Table]], accounts: Iterable[pa.Table], folder: Path
) -> Iterator[pa.Table]:
    """What the history of person accounts says, under the Contacts that they are.

    Salesforce doesn't document where a change of a person account's opt-out stands. It is looked for under both records.

    Parameters
    ----------
    contacts
        Gives the records, sorted; those with an `account_id` count.
    accounts
        The Accounts' `NEWEST` rows, sorted.
    folder
        Where runs may be written.
    """
    files = _sorted_runs(
        (
            block.select(_PAIRS.names).filter(pc.is_valid(block.column("account_id"))).cast(_PAIRS)
            for block in contacts()
        ),
        "account_id",
        _PAIRS,
        folder / "person-accounts",
    )
    lookup = Lookup(accounts, "parent", NEWEST)
    found = _sorted_runs(
        _told(merged_runs(files, "account_id", _PAIRS, folder), lookup), "parent", NEWEST, folder / "person-history"
    )
    yield from together([merged_runs(found, "parent", NEWEST, folder)])


def _told(pairs: Iterable[pa.Table], lookup: Lookup) -> Iterator[pa.Table]:
    for block in pairs:
        accounts = block.column("account_id")
        newest = lookup.through(accounts[-1].as_py())
        place = pc.index_in(accounts, value_set=newest.column("parent").combine_chunks())
        known = pc.is_valid(place)
        yield newest.take(place.filter(known)).set_column(0, NEWEST.field(0), block.column("record_id").filter(known))


def _sorted_runs(tables: Iterable[pa.Table], key: str, schema: pa.Schema, place: Path) -> list[Path]:
    """Write tables in any order as sorted runs."""
    files: list[Path] = []
    waiting: list[pa.Table] = []

    def write() -> None:
        files.append(place.with_name(f"{place.name}-{len(files) + 1:05d}.run"))
        write_run(files[-1], [pa.concat_tables(waiting).sort_by(key)], schema)
        waiting.clear()

    for table in tables:
        if table.num_rows:
            waiting.append(table)
        if sum(each.num_rows for each in waiting) >= _GATHERED:
            write()
    if waiting:
        write()
    return files
