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
    """The same by hand, in plain pandas: join by id, group by address, the merged flag, what tonight does, the causes, the sorted tables."""
    import pandas as pd

    people, records = _frames(data)
    before, started = cpu(), time.monotonic()
    records = records[~records["is_deleted"]]
    rows = pd.concat(
        [
            people.rename(columns={"person_id": "id", "unsubscribed": "out", "unsubscribed_at": "at"})[
                ["id", "email", "out", "at", "salesforce_id"]
            ].assign(system="sales_connect"),
            records.rename(columns={"record_id": "id", "opted_out": "out", "opted_out_at": "at"})[
                ["id", "email", "out", "at", "object"]
            ].assign(system="salesforce"),
        ],
        ignore_index=True,
    ).sort_values(["system", "id"], ignore_index=True)
    rows["uid"] = rows["system"] + ":" + rows["id"]
    rows["address"] = rows["email"].str.strip().str.lower()
    flags = rows[["id", "out"]].rename(columns={"id": "salesforce_id", "out": "record_out"})
    linked = rows.merge(flags, on="salesforce_id", how="left")
    back = rows.loc[rows["salesforce_id"].notna() & rows["out"], "salesforce_id"].unique()
    linked["predicted"] = (
        linked["out"] | linked["record_out"].fillna(value=False).astype(bool) | linked["id"].isin(back)
    )
    groups = linked[linked["address"].notna()].groupby("address")
    known = groups.agg(any_out=("out", "any"), first=("uid", "min"), latest=("at", "max"))
    causes = (
        linked[linked["out"] & linked["address"].notna()]
        .groupby("address")["uid"]
        .agg(lambda uids: "; ".join(sorted(uids)[:3]))
    )
    merged = linked.merge(known, on="address", how="left").merge(causes.rename("caused_by"), on="address", how="left")
    actions = merged[merged["any_out"].fillna(value=False).astype(bool) & ~merged["out"]].copy()
    actions["explanation"] = "The record " + actions["caused_by"].fillna("") + " is opted out, and this one isn't."
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
