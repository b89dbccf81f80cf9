"""Find whom a question is about: from an address or an id to the person's records, all of them and no others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import pyarrow as pa
import pyarrow.compute as pc

from recon import merge
from recon.engine import engine_named
from recon.errors import UsageError
from recon.identity import BLANKS, address, address_form, odd_addresses, written_address
from recon.merge import SALES_CONNECT, SALESFORCE
from recon.sources.ids import salesforce_id_18
from recon.tables import PEOPLE, RECORDS

if TYPE_CHECKING:
    from recon.engine import Engine, Frame
    from recon.jobs import Data
    from recon.merge import Rows
    from recon.settings import Settings
    from recon.tables import Table

#: An address that joins nothing may stand in any number of records: so many persons are looked at.
MOST_PERSONS = 20

_ID_BODY = 15
_KEYS = {SALES_CONNECT: "person_id", SALESFORCE: "record_id"}


@dataclass(frozen=True, slots=True)
class Match:
    """The records that a question names, and all records of these persons.

    Attributes
    ----------
    asked
        The named records, `system:id`, smallest first.
    people, records
        The persons' rows of both systems, in the shape of `recon.tables.PEOPLE` and `RECORDS`, by their ids; deleted ones aren't there.
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


def joined(data: Data, settings: Settings, engine: Engine | None = None) -> Joined:
    """Link and cluster a snapshot's rows; done once for every question about it.

    Parameters
    ----------
    data
        As frames of `engine`, or as tables.
    engine
        Where the rows are to be; by default in an engine of their own, within the memory that is set.

    Raises
    ------
    UsageError
        If the data are frames, and no engine is given.
    """
    if engine is None:
        refuse_frames(data)
        engine = engine_named("auto", memory=settings.run.memory, spill=settings.run.spill)
    people, records = frame_of(data.people, PEOPLE, engine), frame_of(data.records, RECORDS, engine)
    return Joined(data, engine, merge.rows(people, records, settings, engine))


def refuse_frames(data: Data) -> None:
    """Refuse frames of which nobody says where they live.

    Raises
    ------
    UsageError
        If the data aren't tables.
    """
    if isinstance(data.people, nw.LazyFrame) or isinstance(data.records, nw.LazyFrame):
        raise UsageError(
            "the snapshot was read into an engine, and can be asked only there.",
            hint="Pass the engine that it was read into, or read it as tables: leave the engine out.",
        )


def frame_of(native: Any, table: Table, engine: Engine) -> Frame:
    """One side of the data as a frame: a table is taken in, a frame is the engine's already."""
    return native if isinstance(native, nw.LazyFrame) else engine.take(native, table)


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
    data, rows, engine = among.data, among.rows, among.engine
    records = frame_of(data.records, RECORDS, engine)
    with engine.apart():
        # An address that joins nothing may stand in any number of rows: they stay in the engine, but for those of the first persons.
        named = engine.hold(rows.found.filter(_names(text)).select("n", "c", _uid()))
        each = engine.hold(named.group_by("c").agg(nw.len().alias("_rows")))
        number = engine.collect(each.select(rows=nw.len())).column("rows")[0].as_py()
        clusters = engine.collect(each.select("c").sort("c").head(MOST_PERSONS)).column("c").to_pylist()
        asked = engine.collect(named.filter(nw.col("c").is_in(clusters)).select("n", "uid")) if clusters else None
        members = _members(rows, clusters, engine)
        return Match(
            () if asked is None else tuple(asked.sort_by("n").column("uid").to_pylist()),
            _rows_of(frame_of(data.people, PEOPLE, engine), PEOPLE, members, SALES_CONNECT, engine),
            _rows_of(records, RECORDS, members, SALESFORCE, engine),
            number,
            _deleted(records, text, engine),
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


def _rows_of(frame: Frame, table: Table, members: pa.Table, system: str, engine: Engine) -> pa.Table:
    ids = members.filter(pc.equal(members.column("system"), system)).column("id")
    if not len(ids):
        return table.schema.empty_table()
    key = _KEYS[system]
    # A person may have very many records: a join, and no list in a condition.
    wanted = engine.bring(pa.table({key: ids}))
    return table.conform(engine.collect(frame.join(wanted, on=key, how="inner"))).sort_by(key)


def _deleted(records: Frame, text: str, engine: Engine) -> tuple[str, ...]:
    """The deleted records that an id or an address names."""
    gone = records.filter(nw.col("is_deleted"))
    whole = salesforce_id_18(text.removeprefix(f"{SALESFORCE}:"))
    if whole is not None:
        return _ids(gone.filter(nw.col("record_id") == whole), engine)
    comparable = address(text)
    if comparable is None:
        return ()
    texts = gone.select(nw.col("record_id").alias("n"), "email", address_form("email").alias("_form"))
    texts = engine.hold(texts.filter(~nw.col("email").is_null()))
    found = _ids(texts.filter(written_address("email", "_form") == comparable).rename({"n": "record_id"}), engine)
    odd = odd_addresses(texts, engine)
    if odd is not None:
        found += _ids(odd.filter(nw.col("_told") == comparable).rename({"n": "record_id"}), engine)
    return tuple(sorted(found))


def _ids(frame: Frame, engine: Engine) -> tuple[str, ...]:
    return tuple(engine.collect(frame.select("record_id")).column("record_id").to_pylist())
