"""The files that a reconciliation leaves: exact for machines, harmless for people, the same bytes for the same rows on every engine."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from recon.report.csv_safe import neutralise_column

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from recon.tables import Table

MERGED_FILE, ACTIONS_FILE, UNUSABLE_FILE, MANIFEST_FILE = (
    "merged.parquet",
    "actions.csv",
    "unusable.csv",
    "manifest.json",
)

#: The files of a run, by what their names begin with: who each is for, and what it holds. Files for people are CSV and HTML, in which nothing is a
#: formula or markup; files for machines are exact to the last byte.
FILES = {
    "merged.parquet": ("machines", "every record of both systems with its merged and predicted flag, exact"),
    "actions.csv": ("people", "every record that needs action"),
    "persons.csv": ("people", "who the report's pseudonyms are, and in which rows of actions.csv they stand"),
    "unusable.csv": ("people", "what stands in the data and can't be used for matching, row by row"),
    "manifest.json": ("machines", "inputs, settings, versions, counts, and the hashes of the files that the run wrote"),
    "verdicts.csv": ("people", "every row of the approved file with its verdict, its codes and what to do"),
    "plan.json": ("machines", "exactly what was to be changed; hashed"),
    "apply.json": ("machines", "how the plan was applied: by whom, when, counts, calls"),
    "success.csv": ("people", "steps that are done"),
    "failed.csv": ("people", "steps that failed, or whose record isn't what the plan was made for"),
    "unprocessed.csv": ("people", "steps that were not tried, or are for an admin to do"),
    "before.json": ("machines", "the values before the first write, exact"),
    "before.csv": ("people", "the values before the first write"),
    "verification.csv": ("people", "every cleared record after the next nightly run"),
    "verification.json": ("machines", "the same, exact"),
    "worklist.csv": ("people", "what an admin has to do in Sales Connect, to be ticked and handed back"),
    "worklist.html": ("people", "the same, to be printed"),
    "worklist-": ("people", "an earlier worklist, kept as it may hold ticks"),
    "checkpoints.jsonl": ("machines", "where the ledger stood after each step of this run"),
}


def told(name: str) -> tuple[str, str]:
    """Who a file of a run is for (people or machines), and what it holds. Of one that recon doesn't know, its kind decides."""
    if name in FILES:
        return FILES[name]
    for begins, said in FILES.items():
        if begins.endswith("-") and name.startswith(begins):
            return said
    return (
        "machines" if name.endswith((".json", ".jsonl", ".parquet")) else "people",
        "not one of recon's own files",
    )


#: Rows of a Parquet row group: fixed, so that the bytes don't depend on how an engine batches its rows. Few, as two of them are in memory.
_GROUP_ROWS = 122_880


#: Columns of a few words.
_FEW_VALUES = ("system", "object", "category", "categories", "fix")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Write a file under another name, and give it its own only when it is whole.

    Files of a run hold personal data: only their owner may read them.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.touch(mode=0o600)
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_parquet(batches: Iterable[pa.RecordBatch], table: Table, path: Path) -> int:
    """Write a table as Parquet, exactly as it is, and return the number of its rows."""
    import pyarrow.parquet as pq

    # Nearly every text is another one: a dictionary of them, or their smallest and largest, would only be work.
    texts = [column.name for column in table if column.kind == "string"]
    few = [name for name in texts if name in _FEW_VALUES]
    bounded = [column.name for column in table if column.kind != "string"]
    with (
        whole(path) as draft,
        pq.ParquetWriter(
            draft, table.schema, compression="zstd", use_dictionary=few, write_statistics=bounded
        ) as writer,
    ):
        return _written(_groups(batches, table), lambda group: writer.write_table(group, row_group_size=_GROUP_ROWS))


def _written(groups: Iterable[pa.Table], write: Callable[[pa.Table], None]) -> int:
    """Write groups one after the other, each while the engine makes the next one; the number of their rows."""
    rows = 0
    before: Future[None] | None = None
    with ThreadPoolExecutor(1) as thread:
        for group in groups:
            if before is not None:
                before.result()
            before = thread.submit(write, group)
            rows += group.num_rows
        if before is not None:
            before.result()
    return rows


def write_csv(batches: Iterable[pa.RecordBatch], table: Table, path: Path) -> int:
    """Write a table as CSV for people, and return the number of its rows.

    UTF-8, a header, LF; flags as true and false, times as 2026-11-24T18:00:00Z, null empty. A cell that a spreadsheet could take for
    a formula begins with a single quote: see `recon.report.csv_safe`.
    """
    import pyarrow.csv as pacsv

    kinds = {"time": pa.string(), "string": pa.string()}
    text = pa.schema([pa.field(column.name, kinds.get(column.kind, column.arrow)) for column in table])
    options = pacsv.WriteOptions(quoting_style="needed")
    with whole(path) as draft, pacsv.CSVWriter(draft, text, write_options=options) as writer:

        def write(group: pa.Table) -> None:
            writer.write_table(pa.table([_as_text(group.column(name)) for name in table.names], schema=text))

        return _written(_groups(batches, table), write)


def _groups(batches: Iterable[pa.RecordBatch], table: Table) -> Iterator[pa.Table]:
    """The rows in groups of one size, the last one smaller; one empty group where there are no rows."""
    size = _GROUP_ROWS
    waiting: list[pa.RecordBatch] = []
    held = 0
    any_rows = False
    for batch in batches:
        waiting.append(batch)
        held += batch.num_rows
        while held >= size:
            together = pa.Table.from_batches(waiting, schema=table.schema)
            any_rows = True
            yield together.slice(0, size).combine_chunks()
            rest = together.slice(size)
            waiting, held = rest.to_batches(), rest.num_rows
    if held or not any_rows:
        yield pa.Table.from_batches(waiting, schema=table.schema).combine_chunks()


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type):
        # Whole seconds, as recon writes times everywhere.
        seconds = pc.floor_temporal(column, unit="second").cast(pa.timestamp("s", tz="UTC"))
        return pc.strftime(seconds, format="%Y-%m-%dT%H:%M:%SZ")
    if pa.types.is_string(column.type):
        return neutralise_column(column)
    return column


def write_json(document: Mapping[str, Any], path: Path) -> None:
    """Write a JSON document with sorted keys, so that the same content is the same bytes."""
    with whole(path) as draft:
        draft.write_text(json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True) + "\n", encoding="utf-8")
