"""datacompy on the same files: one flag on one key. Runs in an environment of its own, see engines.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import datacompy
import pandas as pd


def main(data: Path) -> None:
    """People's flags against the records' flags, joined by the Salesforce ID."""
    people = pd.read_csv(data / "people.csv", dtype=str, usecols=["salesforce_id", "unsubscribed"])
    people = people.rename(columns={"salesforce_id": "id", "unsubscribed": "out"}).dropna(subset=["id"])
    parts = [
        pd.read_csv(data / f"{name}.csv", dtype=str, usecols=["Id", "HasOptedOutOfEmail"])
        for name in ("leads", "contacts")
    ]
    records = pd.concat(parts, ignore_index=True).rename(columns={"Id": "id", "HasOptedOutOfEmail": "out"})
    kind = getattr(datacompy, "PandasCompare", None) or datacompy.Compare
    compared = kind(people, records, join_columns="id")
    print(json.dumps({"common": len(compared.intersect_rows)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
