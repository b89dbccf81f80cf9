"""Find whom a question is about: from an address or an id to the person's records, all of them and no others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import narwhals.stable.v2 as nw
import pyarrow as pa
import pyarrow.compute as pc

from recon import merge
from recon.engine import engine_named
from recon.identity import BLANKS, address
from recon.merge import SALES_CONNECT, SALESFORCE
from recon.sources.ids import salesforce_id_18
from recon.tables import PEOPLE, RECORDS

if TYPE_CHECKING:
    from recon.engine import Engine
    from recon.jobs import Data
    from recon.merge import Rows
    from recon.settings import Settings

#: An address that joins nothing may stand in any number of records: so many persons are looked at.
MOST_PERSONS = 20

_ID_BODY = 15


@dataclass(frozen=True, slots=True)
class Match:
    """The records that a question names, and all records of these persons.

    Attributes
    ----------
    asked
        The named records, `system:id`, smallest first.
    people, records
        The persons' rows of both systems, in the shape of `recon.tables.PEOPLE` and `RECORDS`; deleted ones aren't there.
    persons
        How many persons were found; of more than `MOST_PERSONS` only the first are in the tables.
    deleted
        Ids of Salesforce records that were named and are deleted.
    """

    asked: tuple[str, ...]
    people: pa.Table
    records: pa.Table
    persons: int
    deleted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """All rows of a snapshot, joined into persons: see `recon.merge.rows`."""

    data: Data
    engine: Engine
    rows: Rows


def joined(data: Data, settings: Settings) -> Joined:
    """Link and cluster a snapshot's rows; done once for every question about it."""
    engine = engine_named("auto", memory=settings.run.memory, spill=settings.run.spill)
    people = engine.hold(engine.take(data.people, PEOPLE))
    records = engine.hold(engine.take(data.records, RECORDS))
    return Joined(data, engine, merge.rows(people, records, settings, engine))


def find(among: Joined, query: str) -> Match:
    """Find the persons that an address or an id leads to.

    Parameters
    ----------
    among
        Where to look.
    query
        An address, a person's id, a Salesforce id of 15 or 18 characters, or `system:id`. The id of a record that isn't there leads to the people
        that are linked to it.
    """
    text = query.strip()
    data, engine, rows = among.data, among.engine, among.rows
    named = engine.collect(rows.found.filter(_names(text)).select("n", "c", _uid()))
    clusters = sorted(set(named.column("c").to_pylist()))
    members = _members(rows, clusters[:MOST_PERSONS], engine)
    kept = set(members.column("uid").to_pylist())
    asked = sorted((row["n"], row["uid"]) for row in named.to_pylist() if row["uid"] in kept)
    return Match(
        tuple(uid for _, uid in asked),
        _rows_of(data.people, "person_id", members, SALES_CONNECT),
        _rows_of(data.records, "record_id", members, SALESFORCE),
        len(clusters),
        _deleted(data.records, text),
    )


def example(among: Joined) -> str | None:
    """A record worth asking about: the first that could be mailed although the person is opted out; else the first that is opted out.

    None where nobody is opted out.
    """
    engine, keys = among.engine, among.rows.keys
    out = keys.filter(nw.col("opted_out")).select("c").unique()
    first = keys.join(out, on="c", how="inner").group_by("opted_out").agg(nw.col("n").min().alias("n"))
    numbers = {row["opted_out"]: row["n"] for row in engine.collect(first.select("opted_out", "n")).to_pylist()}
    if not numbers:
        return None
    wanted = numbers[min(numbers)]
    uid: str = engine.collect(among.rows.names.filter(nw.col("n") == wanted).select(_uid())).column("uid")[0].as_py()
    return uid


def _uid() -> nw.Expr:
    return nw.concat_str("system", nw.lit(":"), "id").alias("uid")


def _names(text: str) -> nw.Expr:
    """Whether a row carries this address or id."""
    comparable = address(text)
    if comparable is not None:
        return (nw.col("address") == comparable).fill_null(value=False)
    system, colon, rest = text.partition(":")
    if colon and system in (SALES_CONNECT, SALESFORCE):
        text, systems = rest.strip(), {system}
    else:
        systems = {SALES_CONNECT, SALESFORCE}
    ways = []
    if SALES_CONNECT in systems:
        ways.append((nw.col("system") == SALES_CONNECT) & (nw.col("id") == text))
    if SALESFORCE in systems:
        whole = salesforce_id_18(text)
        ways.append((nw.col("system") == SALESFORCE) & (nw.col("id") == (whole or text)))
        if whole is not None:
            held = nw.col("broken_id").str.strip_chars(BLANKS).str.slice(0, _ID_BODY) == whole[:_ID_BODY]
            ways.append(held.fill_null(value=False))
    # What is no address is still what stands in somebody's address field.
    ways.append((nw.col("email").str.strip_chars(BLANKS) == text).fill_null(value=False))
    return reduce(lambda one, other: one | other, ways)


def _members(rows: Rows, clusters: list[int], engine: Engine) -> pa.Table:
    if not clusters:
        return pa.table(
            {"system": pa.array([], pa.string()), "id": pa.array([], pa.string()), "uid": pa.array([], pa.string())}
        )
    numbers = rows.keys.filter(nw.col("c").is_in(clusters)).select("n")
    return engine.collect(numbers.join(rows.names, on="n", how="inner").select("system", "id", _uid()))


def _rows_of(table: pa.Table, key: str, members: pa.Table, system: str) -> pa.Table:
    ids = members.filter(pc.equal(members.column("system"), system)).column("id")
    return table.filter(pc.is_in(table.column(key), value_set=ids.combine_chunks()))


def _deleted(records: pa.Table, text: str) -> tuple[str, ...]:
    """The deleted records that an id or an address names."""
    gone = records.filter(records.column("is_deleted"))
    whole = salesforce_id_18(text.removeprefix(f"{SALESFORCE}:"))
    if whole is not None:
        return tuple(gone.filter(pc.equal(gone.column("record_id"), whole)).column("record_id").to_pylist())
    comparable = address(text)
    if comparable is None:
        return ()
    # Only the few in which the part before the @ occurs are worth a closer look.
    near = pc.match_substring(gone.column("email"), comparable.partition("@")[0], ignore_case=True)
    rows = gone.filter(pc.fill_null(near, fill_value=False)).select(["record_id", "email"]).to_pylist()
    return tuple(sorted(row["record_id"] for row in rows if address(row["email"]) == comparable))
