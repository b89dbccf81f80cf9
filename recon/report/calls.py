"""What a pull, an apply and a verify cost: calls by system and kind, as the files of a run tell them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recon.report.context import CallsRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recon.report.mask import Veil

_SYSTEMS = {"salesforce": "Salesforce", "sales_connect": "Sales Connect"}
#: The kinds of `recon.sources.calls`, in words.
_KINDS = {
    "login": "log-in",
    "limits": "limits",
    "describe": "describe",
    "bulk_query": "Bulk query",
    "bulk_ingest": "Bulk update",
    "count": "count",
    "query": "query",
    "read": "read",
    "write": "write",
}


def calls_rows(work: str, calls: object, quota: object, veil: Veil) -> tuple[CallsRow, ...]:
    """The calls of one piece of work, a row a system that was asked.

    Parameters
    ----------
    work
        What they were made for.
    calls
        By system and kind, each system with its `total`; whatever else stands there is left out.
    quota
        `daily_max` and `used_after`: what Salesforce said of the day's calls.
    veil
        Makes texts harmless.
    """
    if not isinstance(calls, dict):
        return ()
    rows = []
    for system, name in _SYSTEMS.items():
        kinds = calls.get(system)
        if not isinstance(kinds, dict):
            continue
        total = _count(kinds.get("total"))
        if not total:
            continue
        told = ", ".join(
            f"{_KINDS.get(kind, veil.text(str(kind)))} {count:,}"
            for kind, count in sorted(kinds.items())
            if kind != "total" and _count(count)
        )
        share = _share(total, quota) if system == "salesforce" and isinstance(quota, dict) else "not known"
        rows.append(CallsRow(work, name, total, told, share))
    return tuple(rows)


def _share(total: int, quota: Mapping[str, Any]) -> str:
    most, used = _count(quota.get("daily_max")), _count(quota.get("used_after"))
    if not most:
        return "not known"
    text = f"{100 * total / most:.2f} % of {most:,}"
    return text if used is None else f"{text}; {used:,} used by everybody by then"


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
