"""What a reconciliation says in numbers: for the manifest, the notebooks and the report."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import pyarrow as pa
import pyarrow.compute as pc

from recon.categories import CATEGORIES
from recon.clock import iso
from recon.identity import comparable
from recon.merge import SALES_CONNECT, SALESFORCE
from recon.nightly import next_run, predict
from recon.report.mask import mask_address
from recon.sources.ids import to_18
from recon.tables import Column, Table

if TYPE_CHECKING:
    from datetime import datetime

    from recon.engine import Engine, Frame
    from recon.reconcile import Reconciliation
    from recon.settings import ActionSettings, Settings

#: How people come to be unsubscribed (Unsubscribe History Card; Unsubscribe Overview).
SOURCES = ("manual", "clicked_link", "salesforce_sync", "bounce")

UNUSABLE = Table(
    "unusable",
    "one value that can't be used: its record is kept, but the value joins nothing",
    (
        Column("system", "string", "sales_connect or salesforce", required=True),
        Column("id", "string", "the record's id in its system", required=True),
        Column("column", "string", "where the value stands: email or salesforce_id", required=True),
        Column("problem", "string", "what is wrong with it", required=True),
    ),
)


def summary(result: Reconciliation, settings: Settings, now: datetime) -> dict[str, Any]:
    """Count what the manifest holds about the result.

    Parameters
    ----------
    result
        From `recon.reconcile.reconcile`.
    settings
        Those it was made with.
    now
        The moment of the run: what is overdue, and which nightly run is the next.

    Returns
    -------
    dict
        The keys coverage, opted_out, categories, fix, could_be_mailed, overdue, time_to_effect, tonight, large_clusters and, under counts, clusters.
    """
    first = result.rows.ties.filter(nw.col("c") == nw.col("n"))
    persons = _persons(result)
    return {
        "coverage": _coverage(result),
        "opted_out": _opted_out(result, persons),
        **_actions(result, now),
        "time_to_effect": _time_to_effect(result, persons, settings.actions),
        "tonight": _tonight(result, settings, now),
        "large_clusters": _large_clusters(result, settings),
        "clusters": _one(result, first.select(number=nw.len()))["number"],
    }


def unusable(result: Reconciliation) -> pa.Table:
    """The table `UNUSABLE`: addresses that are none, Salesforce ids that can't be ids; sorted by system, id, column."""
    engine = result.engine
    odd = result.rows.no_addresses.select("n", "system", "id")
    addresses = engine.collect(odd.sort("n")).drop(["n"])
    broken = result.rows.keys.filter(nw.col("link") == "broken").select("n", "system")
    ids = result.rows.parts[0].select("n", "id", nw.col("salesforce_id").alias("broken_id"))
    given = engine.collect(broken.join(ids, on="n", how="inner").select("n", "system", "id", "broken_id").sort("n"))
    _, good = to_18(given.column("broken_id"))
    ids = given.filter(pc.invert(pc.fill_null(good, fill_value=False))).select(["system", "id"])
    parts = [
        _listed(addresses, "email", "this is no e-mail address, so it joins this record to no other"),
        _listed(ids, "salesforce_id", "this can't be a Salesforce id, so it links this person to no record"),
    ]
    keys = [("system", "ascending"), ("id", "ascending"), ("column", "ascending")]
    both: pa.Table = pa.concat_tables(parts)
    return both.sort_by(keys)


def _listed(rows: pa.Table, column: str, problem: str) -> pa.Table:
    number = rows.num_rows
    return UNUSABLE.conform(
        pa.table(
            {
                "system": rows.column("system"),
                "id": rows.column("id"),
                "column": pa.array([column] * number, pa.string()),
                "problem": pa.array([problem] * number, pa.string()),
            }
        )
    )


def _one(result: Reconciliation, frame: Frame) -> dict[str, Any]:
    """The only row of a frame."""
    row: dict[str, Any] = result.engine.collect(frame).to_pylist()[0]
    return row


def _counts(result: Reconciliation, frame: Frame, *by: str) -> dict[tuple[Any, ...], int]:
    counted = result.engine.collect(frame.group_by(*by).agg(nw.len().alias("number")))
    return {tuple(row[name] for name in by): row["number"] for row in counted.to_pylist()}


def _coverage(result: Reconciliation) -> dict[str, dict[str, int]]:
    """How each side's records are tied to the other side."""
    by = ("system", "link", "pointed", "both")
    found: dict[str, dict[str, int]] = {
        SALES_CONNECT: dict.fromkeys(("linked", "stale_link", "broken_link", "address_only", "unmatched"), 0),
        SALESFORCE: dict.fromkeys(("linked", "address_only", "unmatched"), 0),
    }
    for (system, link, pointed, both), number in _counts(result, result.rows.keys, *by).items():
        unlinked = "address_only" if both else "unmatched"
        if system == SALES_CONNECT:
            tie = {"linked": "linked", "stale": "stale_link", "broken": "broken_link"}.get(link, unlinked)
        else:
            tie = "linked" if pointed else unlinked
        found[system][tie] += number
    return {"people": found[SALES_CONNECT], "records": found[SALESFORCE]}


def _persons(result: Reconciliation) -> Frame:
    """The clusters with an opt-out, held: is a record of either system in it, an opted-out one, one that can be changed; are all these opted out."""
    here, out, live = nw.col("system") == SALES_CONNECT, nw.col("opted_out"), ~nw.col("is_converted")
    sides = result.rows.keys.join(result.deciding.select("c"), on="c", how="inner").select(
        "c",
        sc=here,
        sf=~here,
        sc_out=out & here,
        sf_out=out & ~here,
        sc_live=here & live,
        sf_live=~here & live,
        all_out=out | ~live,
    )
    names = ("sc", "sf", "sc_out", "sf_out", "sc_live", "sf_live")
    every = nw.col("all_out").all()
    return result.engine.hold(sides.group_by("c").agg(*(nw.col(name).any() for name in names), every))


def _opted_out(result: Reconciliation, persons: Frame) -> dict[str, Any]:
    """Opted-out records a system, and clusters by the side that says so."""
    out = _counts(result, result.rows.outs, "system", "how")
    rows = {system: sum(n for (each, _), n in out.items() if each == system) for system in (SALES_CONNECT, SALESFORCE)}
    sources = dict.fromkeys((*SOURCES, "unknown"), 0)
    for (system, source), number in out.items():
        if system == SALES_CONNECT:
            sources[source if source in SOURCES else "unknown"] += number
    counted = _counts(result, persons, "sc", "sf", "sc_out", "sf_out")
    return {
        **rows,
        "sources": sources,
        "clusters": sum(number for (_, _, sc, sf), number in counted.items() if sc or sf),
        "both_sides": counted.get((True, True, True, True), 0),
        "sales_connect_only": counted.get((True, True, True, False), 0),
        "salesforce_only": counted.get((True, True, False, True), 0),
    }


def _actions(result: Reconciliation, now: datetime) -> dict[str, Any]:
    converted = result.rows.keys.select("n", "is_converted")
    rows = result.actions_frame.select(
        "n",
        "cluster",
        "opted_out",
        "merged_opted_out",
        "predicted_opted_out",
        "category",
        "categories",
        "fix",
        "due_by",
    ).join(converted, on="n", how="left")
    late = (nw.col("due_by") < nw.lit(now.date(), nw.Date)).fill_null(value=False)
    rows = rows.with_columns(
        late=late, mailable=~nw.col("opted_out") & nw.col("merged_opted_out") & ~nw.col("is_converted")
    )
    keys = ("category", "categories", "fix", "predicted_opted_out", "late", "mailable")
    counted = [(dict(zip(keys, key, strict=True)), number) for key, number in _counts(result, rows, *keys).items()]

    def number(**wanted: Any) -> int:
        return sum(n for row, n in counted if all(row[name] == value for name, value in wanted.items()))

    return {
        "actions": number(),
        "categories": {
            category.name: {
                "primary": number(category=category.name),
                "all": sum(n for row, n in counted if category.name in row["categories"].split(";")),
            }
            for category in CATEGORIES
        },
        "fix": {fix: number(fix=fix) for fix in ("toolkit", "admin", "nobody")},
        "could_be_mailed": {
            "total": number(mailable=True),
            "tonight": number(mailable=True, predicted_opted_out=True),
            **{
                fix: number(mailable=True, predicted_opted_out=False, fix=fix) for fix in ("toolkit", "admin", "nobody")
            },
            "people": _people_mailable(result, rows),
        },
        "overdue": number(late=True),
    }


def _people_mailable(result: Reconciliation, rows: Frame) -> dict[str, int]:
    """The persons behind the records that could be mailed, each counted once: who needs somebody comes before who waits for the sync."""
    open_ = nw.col("mailable")
    persons = (
        rows.with_columns(
            you=open_ & ~nw.col("predicted_opted_out") & (nw.col("fix") != "nobody"),
            tonight=open_ & nw.col("predicted_opted_out"),
        )
        .group_by("cluster")
        .agg(nw.col("mailable").any(), nw.col("you").any(), nw.col("tonight").any())
    )
    counted = _counts(result, persons, "mailable", "you", "tonight")
    return {
        "total": sum(number for (mailable, _, _), number in counted.items() if mailable),
        "you": sum(number for (_, you, _), number in counted.items() if you),
        "tonight": counted.get((True, False, True), 0),
        "nobody": counted.get((True, False, False), 0),
    }


def _time_to_effect(result: Reconciliation, persons: Frame, limits: ActionSettings) -> dict[str, int]:
    """How long it took until all records of a person were opted out: from the first opt-out's date (UTC) to the last one's.

    Only persons on both sides whose records are all opted out are counted; converted Leads, which can't be changed, are left aside.
    """
    from recon.diff import due_dates

    dates = (
        result.rows.outs.filter(~nw.col("is_converted"))
        .select("c", "own_at", _dated=~nw.col("own_at").is_null())
        .group_by("c")
        .agg(
            nw.col("_dated").all(),
            nw.col("own_at").min().alias("_first"),
            nw.col("own_at").max().alias("_last"),
        )
        .with_columns(*(nw.col(name).dt.to_string("%Y-%m-%d") for name in ("_first", "_last")))
    )
    whole = persons.filter(nw.col("sc_live") & nw.col("sf_live") & nw.col("all_out")).select("c")
    persons = whole.join(dates, on="c", how="inner")
    found = {"same_day": 0, "within_2_days": 0, "within_limit": 0, "late": 0, "unknown": 0}
    counted = _counts(result, persons, "_dated", "_first", "_last")
    dated = [(first, last, number) for (known, first, last), number in counted.items() if known]
    found["unknown"] = sum(number for (known, _, _), number in counted.items() if not known)
    due = due_dates([first for first, _, _ in dated], limits).to_pylist()
    for (first, last, number), until in zip(dated, due, strict=True):
        days = (date.fromisoformat(last) - date.fromisoformat(first)).days
        within = "same_day" if not days else "within_2_days" if days <= 2 else "within_limit"
        found["late" if date.fromisoformat(last) > until else within] += number
    return found


def _tonight(result: Reconciliation, settings: Settings, now: datetime) -> dict[str, Any]:
    keys = result.rows.keys.filter(~nw.col("opted_out")).select("s", "system", "opted_out")
    keys = keys.join(result.carried.select("s", "star_carries"), on="s", how="left")
    changed = predict(keys, settings.sync).filter(nw.col("predicted_opted_out"))
    counted = _counts(result, changed, "system")
    return {
        "enabled": settings.sync.enabled,
        "run_at": iso(next_run(now, settings.sync)) if settings.sync.enabled else None,
        "people_set": counted.get((SALES_CONNECT,), 0),
        "records_set": counted.get((SALESFORCE,), 0),
    }


def _large_clusters(result: Reconciliation, settings: Settings) -> list[dict[str, Any]]:
    """Clusters above the setting's size, largest first, each with the address or the record that joins most of its members."""
    engine, found = result.engine, result.rows.keys
    never = comparable(settings.clusters.never_join)
    # The first row of a cluster is counted apart: most clusters are of one row.
    others = found.filter(nw.col("c") != nw.col("n")).group_by("c").agg(nw.len().alias("_others"))
    sizes = others.select("c", size=nw.col("_others") + 1)
    large = engine.hold(sizes.filter(nw.col("size") > settings.clusters.report_above))
    listed = sorted(engine.collect(large).to_pylist(), key=lambda row: (-row["size"], row["c"]))
    if not listed:
        return []
    members = found.join(large, on="c", how="inner").select("n", "c", "a", "t")
    members = result.rows.told(result.rows.texts_of(members)).select("n", "c", "a", "t", "address")
    # An address that nobody else has is one's own.
    joins = ~nw.col("address").is_null() & ~nw.col("address").is_in(never or [""])
    members = engine.hold(members.with_columns(a=nw.coalesce("a", nw.when(joins).then(nw.col("n")))))
    by_address, by_link = _most(members, "a", engine), _most(members, "t", engine)
    names = _names(result, {row["c"] for row in listed} | _values(by_address, "a") | _values(by_link, "t"))
    entries = []
    for row in listed:
        address, hub = by_address.get(row["c"]), by_link.get(row["c"])
        entry = {"cluster": names[row["c"]], "size": row["size"]}
        if address is not None and (hub is None or address["number"] >= hub["number"]):
            entry |= {
                "joined_by": "address",
                "members": address["number"],
                "value_masked": mask_address(address["address"]),
            }
            entry["uid"] = names[address["a"]]
        else:
            assert hub is not None
            entry |= {"joined_by": "link", "members": hub["number"] + 1, "value_masked": None, "uid": names[hub["t"]]}
        entries.append(entry)
    return entries


def _most(members: Frame, name: str, engine: Engine) -> dict[int, dict[str, Any]]:
    """Of each cluster the group with the most members; among equals the one whose number is the smallest."""
    groups = members.filter(~nw.col(name).is_null()).group_by("c", name)
    counted = groups.agg(nw.len().alias("number"), nw.col("address").min())
    largest = counted.filter(nw.col("number") == nw.col("number").max().over("c"))
    first = largest.filter(nw.col(name) == nw.col(name).min().over("c"))
    return {row["c"]: row for row in engine.collect(first).to_pylist()}


def _values(groups: dict[int, dict[str, Any]], name: str) -> set[int]:
    return {row[name] for row in groups.values()}


def _names(result: Reconciliation, numbers: set[int]) -> dict[int, str]:
    """`system:id` of a few rows."""
    engine = result.engine
    few = engine.bring(pa.table({"n": pa.array(sorted(numbers), pa.int64())}))
    uid = nw.concat_str("system", nw.lit(":"), "id").alias("uid")
    named = engine.collect(result.rows.names.join(few, on="n", how="inner").select("n", uid))
    return dict(zip(named.column("n").to_pylist(), named.column("uid").to_pylist(), strict=True))
