"""A small world of two systems, reconciled for real, and rows of an approved file that are right until a test spoils them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from recon.reconcile import reconcile
from recon.resubscribe.approved import Approved, ApprovedRow, ApprovedRows
from recon.resubscribe.policy import PolicySettings
from recon.resubscribe.verdicts import Checked, check
from recon.settings import Settings
from recon.sources.base import Input
from recon.tables import MERGED, PEOPLE, RECORDS

NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
OUT = datetime(2026, 11, 2, 15, 30, tzinfo=UTC)
ADMIN = "Ida Admin <ida@seller.example>"

GOOD = ApprovedRow(
    line=2,
    email="ann@buyer.example",
    reason="Asked by phone",
    authorization="Consent",
    consent_date="2026-11-10",
    purpose="Sales and marketing mail",
    evidence="https://proof.example/4711",
    initiated_by="person",
    approved_by="ida@seller.example",
    approved_at="2026-11-20",
    requested_by="rob@seller.example",
    scope="sales+marketing",
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def person(number: int, email: str | None, **values: Any) -> dict[str, Any]:
    out = values.pop("out", True)
    given = {"unsubscribed": out, "unsubscribe_level": "account" if out else None}
    given |= {"unsubscribed_at": OUT if out else None, "unsubscribe_source": "manual" if out else None}
    return {"person_id": str(number), "email": email} | given | values


def contact(number: int, email: str | None, **values: Any) -> dict[str, Any]:
    lead = values.pop("lead", False)
    out = values.pop("out", True)
    base: dict[str, Any] = {
        "record_id": record_id(number, lead=lead),
        "object": "Lead" if lead else "Contact",
        "email": email,
    }
    base |= {"opted_out": out, "has_opted_out_of_email": out, "opted_out_at": OUT if out else None}
    return base | {"is_converted": False, "is_deleted": False} | values


def record_id(number: int, *, lead: bool = False) -> str:
    return f"{'00Q' if lead else '003'}{number:012d}AAA"


class World:
    """Two systems and a policy; `check` gives rows their verdicts."""

    def __init__(self, people: list[dict[str, Any]], records: list[dict[str, Any]], **sections: dict[str, Any]) -> None:
        self.settings = Settings().with_values(**sections)
        self.people = PEOPLE.conform(pa.Table.from_pylist(people, schema=PEOPLE.schema))
        self.records = RECORDS.conform(pa.Table.from_pylist(records, schema=RECORDS.schema))
        types = {pa.string(): pd.StringDtype(), pa.bool_(): pd.BooleanDtype()}
        people_frame = self.people.to_pandas(types_mapper=types.get)
        records_frame = self.records.to_pandas(types_mapper=types.get)
        merged = reconcile(people_frame, records_frame, self.settings).merged
        self.merged = MERGED.conform(pa.Table.from_pandas(merged, preserve_index=False))

    def check(self, rows: list[ApprovedRow], policy: PolicySettings | None = None, **options: Any) -> Checked:
        approved = Approved(ApprovedRows.of(rows), Input("approved", "approved.csv", "csv", len(rows)))
        settled = policy or PolicySettings(admins=[ADMIN])
        return check(approved, self.merged, self.people, self.records, self.settings, settled, **{"now": NOW} | options)


def row(**values: Any) -> ApprovedRow:
    return replace(GOOD, **values)


ANN = person(1, "Ann@Buyer.example", salesforce_id=record_id(1), first_name="Ann", last_name="Buyer")
ANN_CONTACT = contact(1, "ann@buyer.example")


def codes(checked: Checked) -> list[list[str]]:
    return [(text or "").split(";") if text else [] for text in checked.verdicts.column("codes").to_pylist()]


def verdicts(checked: Checked) -> list[str]:
    found: list[str] = checked.verdicts.column("verdict").to_pylist()
    return found
