"""What the benchmarks hold recon against, and the Python API on frames: one call, one measurement, told as JSON in the last line."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


def cpu() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def floor(data: Path, out: Path, memory: str) -> dict[str, float]:
    """One join by id and one grouping by address in DuckDB, as one would write it for the purpose; what disagrees is written as CSV."""
    import duckdb

    out.mkdir(exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{memory}'")
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(
            f"""
            CREATE TABLE people AS SELECT person_id, lower(trim(email)) AS address, salesforce_id, unsubscribed AS out
              FROM read_csv('{data}/people.csv', types = {{'person_id': 'VARCHAR'}});
            CREATE TABLE records AS
              SELECT Id AS id, lower(trim(Email)) AS address, HasOptedOutOfEmail AS out FROM read_csv('{data}/leads.csv') WHERE NOT IsDeleted
              UNION ALL
              SELECT Id, lower(trim(Email)), HasOptedOutOfEmail FROM read_csv('{data}/contacts.csv') WHERE NOT IsDeleted;
            CREATE TABLE by_id AS SELECT person_id, id, p.out AS person_out, r.out AS record_out
              FROM people p JOIN records r ON p.salesforce_id = r.id WHERE p.out <> r.out;
            CREATE TABLE by_address AS SELECT address, bool_or(out) AS out
              FROM (SELECT address, out FROM people UNION ALL SELECT address, out FROM records)
              WHERE address IS NOT NULL GROUP BY address;
            COPY (
              SELECT 'sales_connect' AS system, person_id AS id, address FROM people JOIN by_address USING (address)
                WHERE by_address.out AND NOT people.out
              UNION ALL
              SELECT 'salesforce', id, address FROM records JOIN by_address USING (address) WHERE by_address.out AND NOT records.out
              UNION ALL
              SELECT 'link', person_id || ' ' || id, NULL FROM by_id
            ) TO '{out}/floor.csv';
            """
        )
    return {}


def _frames(data: Path) -> tuple[Any, Any]:
    """People and records as pandas frames, read by recon's own reader; not measured."""
    import pyarrow as pa

    from recon.sources.files import read_contacts, read_leads, read_people

    records = pa.concat_tables([read_leads(data / "leads.csv").table, read_contacts(data / "contacts.csv").table])
    return read_people(data / "people.csv").table.to_pandas(), records.to_pandas()


def frames(data: Path, _out: Path, _memory: str) -> dict[str, float]:
    """`recon.reconcile` on pandas frames in memory: both results as pandas frames."""
    from recon.reconcile import reconcile

    people, records = _frames(data)
    before, started = cpu(), time.monotonic()
    result = reconcile(people, records)
    rows = len(result.merged) + len(result.actions)
    return {"work_cpu": cpu() - before, "work_wall": time.monotonic() - started, "rows": rows}


def merge(data: Path, _out: Path, _memory: str) -> dict[str, float]:
    """The same tables by hand, in plain pandas and without a loop over rows in Python: join by id, group by address.

    Both results have the columns that `recon.reconcile` gives. What no merge and no groupby tells is left out: persons that are joined over
    more than one link, paths of more than one, odd addresses, ids of 15 characters, and half of the categories.
    """
    import numpy as np
    import pandas as pd

    from recon.tables import ACTIONS, MERGED

    people, records = _frames(data)
    before, started = cpu(), time.monotonic()
    for frame, key in ((people, "person_id"), (records, "record_id")):
        if not frame[key].is_unique or frame[key].isna().any():
            raise ValueError(key)
    records = records[~records["is_deleted"]]
    rows = pd.concat(
        [
            people.rename(columns={"person_id": "id", "unsubscribed": "opted_out", "unsubscribed_at": "at"})[
                ["id", "email", "opted_out", "at", "salesforce_id"]
            ].assign(system="sales_connect", object="Person"),
            records.rename(columns={"record_id": "id", "opted_out_at": "at"})[
                ["id", "email", "opted_out", "at", "object"]
            ].assign(system="salesforce"),
        ],
        ignore_index=True,
    ).sort_values(["system", "id"], ignore_index=True)
    rows["uid"] = rows["system"] + ":" + rows["id"]
    address = rows["email"].str.strip().str.lower()
    rows["address"] = address.where(address.str.fullmatch(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-z0-9_.-]+"))

    flags = rows.loc[rows["object"] != "Person", ["id", "opted_out"]]
    flags = flags.rename(columns={"id": "salesforce_id", "opted_out": "record_out"})
    rows = rows.merge(flags, on="salesforce_id", how="left")
    rows["star"] = rows["salesforce_id"].where(rows["record_out"].notna(), rows["id"])
    stars = rows.groupby("star", sort=False).agg(
        sync_component=("uid", "first"), predicted_opted_out=("opted_out", "any")
    )
    rows = rows.merge(stars, left_on="star", right_index=True, how="left")

    # The rows stand in the order of their names: the first of a group is its smallest.
    rows["key"] = rows["address"].fillna(rows["uid"])
    groups = rows.groupby("key", sort=False)
    known = groups.agg(merged_opted_out=("opted_out", "any"), cluster=("uid", "first"))
    out = rows.loc[rows["opted_out"], ["key", "uid", "at"]]
    causing = out.groupby("key", sort=False)
    known["opted_out_at"] = causing["at"].max()
    places, counts = causing.cumcount(), causing.size()
    causes = out[places == 0].set_index("key")["uid"]
    known["first_cause"] = causes
    for place in (1, 2):
        another = "; " + out[places == place].set_index("key")["uid"]
        causes = causes + another.reindex(causes.index).fillna("")
    more = counts[counts > 3]
    known["caused_by"] = causes + (" (+" + (more - 3).astype(str) + " more)").reindex(causes.index).fillna("")
    rows = rows.merge(known, left_on="key", right_index=True, how="left")
    merged = rows[MERGED.names]

    acting = rows[rows["merged_opted_out"] & ~rows["opted_out"]]
    waiting, same = (
        acting["predicted_opted_out"],
        acting["first_cause"].str.startswith("sales") & (acting["object"] == "Person"),
    )
    category = np.select([waiting, same], ["awaiting_sync", "duplicate_disagrees"], "unlinked_match")
    dated = acting["opted_out_at"].notna()
    days = acting.loc[dated, "opted_out_at"].dt.tz_localize(None).to_numpy().astype("datetime64[D]")
    due = pd.Series(np.busday_offset(days, 10, roll="backward"), acting.index[dated])
    since = acting["opted_out_at"].dt.strftime("%Y-%m-%d")
    cause = acting["first_cause"].str.split(":", n=1).str[1]
    actions = acting.assign(
        category=category,
        categories=category,
        fix=np.where(waiting, "nobody", "toolkit"),
        due_by=due,
        path=acting["first_cause"] + " -[address]-> " + acting["uid"],
        explanation="The record " + cause + " is opted out (since " + since.fillna("") + "), and this one isn't.",
    )[ACTIONS.names]
    return {"work_cpu": cpu() - before, "work_wall": time.monotonic() - started, "rows": len(merged) + len(actions)}


def spark_start(_data: Path, _out: Path, _memory: str) -> dict[str, float]:
    """Spark's start-up alone: a session, and one job of no work."""
    from recon.engine import engine_named

    engine = engine_named("spark")
    import pyarrow as pa

    engine.collect(engine.bring(pa.table({"n": [1]})))
    return {}


if __name__ == "__main__":
    name, data, out, memory = sys.argv[1:]
    ways = {"floor": floor, "frames": frames, "merge": merge, "spark-start": spark_start}
    print(json.dumps(ways[name](Path(data), Path(out), memory)))
