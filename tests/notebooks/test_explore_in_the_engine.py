"""A snapshot is asked where its files lie: what comes to the driver are the rows that were asked for and counts, however many rows there are."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import pandas as pd
import pyarrow as pa
import pytest

from recon import jobs, settings
from recon.engine import DuckDB
from recon.errors import UsageError
from recon.explore import asking, explore, what_if, why
from recon.explore.borrowed import Borrowed
from recon.explore.find import MOST_PERSONS, find, joined
from recon.explore.what_if import MOST_CHANGED, compare
from recon.jobs import Data
from recon.reconcile import reconcile
from recon.settings import Settings
from recon.tables import PEOPLE, RECORDS

if TYPE_CHECKING:
    from recon.engine import Frame

FEW, MANY = 1_000, 4_000
SHARED = "office@shared.example"
LITTLE, PLENTY = "40MB", "2GB"


class Counting(DuckDB):
    """DuckDB, that counts the rows that come out of it."""

    def __init__(self, *, memory: str | None = None, spill: Path | None = None) -> None:
        super().__init__(memory=memory, spill=spill)
        self.collected: list[int] = []

    def collect(self, frame: Frame) -> pa.Table:
        table = super().collect(frame)
        self.collected.append(table.num_rows)
        return table

    @property
    def tables(self) -> int:
        """How many tables it holds."""
        return len(self.connection.sql("SHOW TABLES").fetchall())


def workspace(folder: Path, rows: int) -> Path:
    """A snapshot of pairs with an address each, every seventh person and fifth Contact opted out, and a Contact of the shared address for each."""
    folder.mkdir(exist_ok=True)
    files = {name: folder / f"{name}.csv" for name in ("people", "contacts")}
    people = "".join(f"{n},p{n}@x.example,{record(n)},{flag(n % 7 == 0)}\n" for n in range(rows))
    contacts = "".join(f"{record(n)},p{n}@x.example,{flag(n % 5 == 0)},false\n" for n in range(rows))
    contacts += "".join(
        f"{record(n + rows)},{SHARED.title() if n % 2 else SHARED},{flag(n % 5 == 0)},{flag(n % 4 == 0)}\n"
        for n in range(rows)
    )
    files["people"].write_text("person_id,email,salesforce_id,unsubscribed\n" + people, "utf-8")
    files["contacts"].write_text("Id,Email,HasOptedOutOfEmail,IsDeleted\n" + contacts, "utf-8")
    sources = "".join(f'{name} = "{path.name}"\n' for name, path in files.items())
    told = f'[run]\nmemory = "{PLENTY}"\n{sources}\n[clusters]\nnever_join = ["{SHARED}"]\n'
    (folder / "recon.toml").write_text(told, "utf-8")
    jobs.pull(folder)
    return folder


def record(number: int) -> str:
    # The check of an id without capital letters but its last two.
    return f"0035e00000{number:05d}AAA"


def flag(yes: bool) -> str:
    return "true" if yes else "false"


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workspace(tmp_path_factory.mktemp("few") / "ws", FEW)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workspace(tmp_path_factory.mktemp("many") / "ws", MANY)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[Counting]:
    """The engines that questions are asked in, in the order in which they are made."""
    made: list[Counting] = []

    def counting(name: str, **options: Any) -> Counting:
        assert name == "auto"
        made.append(Counting(**options))
        return made[-1]

    monkeypatch.setattr(asking, "engine_named", counting)
    return made


@pytest.mark.parametrize("query", ["p35@x.example", record(10)[:15]])
def test_what_why_collects_grows_with_the_person_alone(
    few: Path, many: Path, engines: list[Counting], query: str
) -> None:
    found = [why(folder, query) for folder in (few, many)]
    assert [each.found for each in found] == [1, 1]
    assert [person.records for person in found[0].persons] == [person.records for person in found[1].persons]
    one, other = (engine.collected for engine in engines)
    assert one == other
    assert max(one) <= 10


def test_of_an_address_that_joins_nothing_the_first_persons_are_collected(
    few: Path, many: Path, engines: list[Counting]
) -> None:
    for folder, rows in ((few, FEW), (many, MANY)):
        loaded = settings.load(folder)
        data, engine = asking._opened(loaded, None)
        among = joined(data, loaded, engine)
        assert isinstance(data.people, nw.LazyFrame)
        assert isinstance(data.records, nw.LazyFrame)
        assert engine is engines[-1]
        engines[-1].collected.clear()
        found = find(among, SHARED.upper())
        live = [n for n in range(rows) if n % 4]
        assert found.persons == len(live)
        assert found.asked == tuple(f"salesforce:{record(n + rows)}" for n in live[:MOST_PERSONS])
        assert found.records.column("record_id").to_pylist() == [record(n + rows) for n in live[:MOST_PERSONS]]
        assert (found.records.schema, found.people.schema) == (RECORDS.schema, PEOPLE.schema)
        # The deleted ones that it names are told by their ids, all of them.
        assert found.deleted == tuple(record(n + rows) for n in range(0, rows, 4))
        assert sorted(engines[-1].collected)[-2:] == [MOST_PERSONS, len(found.deleted)]


def test_what_if_collects_counts_and_the_rows_that_are_listed(few: Path, many: Path, engines: list[Counting]) -> None:
    found = [what_if(folder, sync_enabled=False) for folder in (few, many)]
    assert 20 < found[0].changed_records < MOST_CHANGED < found[1].changed_records
    for answer, engine in zip(found, engines, strict=True):
        assert len(answer.changed) == min(answer.changed_records, MOST_CHANGED)
        sizes = sorted(engine.collected)
        assert sizes[-1] == len(answer.changed)
        assert sizes[-2] <= 20
    one, other = (engine.collected for engine in engines)
    assert len(one) == len(other)


def test_the_first_reconciliation_is_gone_when_the_second_is_made(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    engine, module = Counting(), sys.modules[compare.__module__]
    usual = reconcile

    def watched(*arguments: Any, **options: Any) -> Any:
        held.append(engine.tables)
        return usual(*arguments, **options)

    monkeypatch.setattr(module, "reconcile", watched)
    loaded = settings.load(few)
    compare(
        jobs.from_snapshot(loaded, None, engine),
        loaded,
        sync_enabled=False,
        opt_out_field=None,
        show_addresses=False,
        engine=engine,
    )
    # Of the first there is what is compared.
    assert held == [0, 1]


def test_frames_and_tables_give_the_same_and_a_question_leaves_alone_what_another_has_joined(few: Path) -> None:
    loaded, engine = settings.load(few), Counting()
    frames, tables = jobs.from_snapshot(loaded, None, engine), jobs.from_snapshot(loaded, None)
    assert isinstance(tables.people, pa.Table)
    among, usual = joined(frames, loaded, engine), joined(tables, loaded)
    held = engine.tables
    assert held > 0
    asked: dict[str, Any] = {"sync_enabled": False, "opt_out_field": None, "show_addresses": True}
    one, other = compare(frames, loaded, engine=engine, **asked), compare(tables, loaded, **asked)
    assert repr(one) == repr(other)
    for name in ("categories", "totals", "changed"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert engine.tables == held
    for query in ("7", SHARED, record(FEW), "nobody@x.example"):
        found = find(among, query)
        assert found == find(usual, query)
        assert found.asked or found.deleted or query.startswith("nobody")
    assert asking._why(loaded, among, "7", show_addresses=True, clock=None).found == 1
    assert engine.tables == held


def test_frames_without_their_engine_are_refused(few: Path) -> None:
    loaded, engine = settings.load(few), DuckDB()
    frames = jobs.from_snapshot(loaded, None, engine)
    with pytest.raises(UsageError, match="can be asked only there"):
        joined(frames, loaded)
    with pytest.raises(UsageError, match="can be asked only there"):
        compare(frames, loaded, sync_enabled=False, opt_out_field=None, show_addresses=False)


def test_little_memory_gives_the_same_as_plenty_and_nothing_stays_held(
    many: Path, engines: list[Counting], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(many, tmp_path / "ws"))

    def answers() -> list[str]:
        said = explore(folder, query=SHARED)
        return [repr(said.why), said.why._repr_html_(), repr(said.what_if), said.what_if._repr_html_()]

    plenty = answers()
    told = folder / "recon.toml"
    told.write_text(told.read_text("utf-8").replace(PLENTY, LITTLE), "utf-8")
    assert settings.load(folder).run.memory == LITTLE
    assert answers() == plenty
    assert [engine.tables for engine in engines] == [0, 0]


_DELETED = {
    "object": "Contact",
    "opted_out": False,
    "is_converted": False,
    "is_deleted": True,
}


@pytest.mark.parametrize(
    ("query", "emails"),
    [
        ("ada@b.example", ["ADA@b.example ", "\tada@B.example", "ada@b.example"]),
        ("jörg@b.example", ["JÖRG@b.example", "jörg@b.example\u00a0"]),
        ("ada@müller.example", ["Ada@Müller.example", "ada@xn--mller-kva.example"]),
        (f"{'a' * 64}@b.example", [f"{'A' * 64}@b.example"]),
        ("a@b", ["a@b"]),
        ("n/a", []),
    ],
    ids=["plain", "letters", "domain", "long", "short", "none"],
)
def test_deleted_records_are_found_by_any_form_of_their_address(query: str, emails: list[str]) -> None:
    others = ["n/a", None, "", " ", "x@b.example", "ada@b.example.org", f"{'a' * 65}@b.example", "b@a"]
    rows = [_DELETED | {"record_id": record(n), "email": email} for n, email in enumerate([*emails, *others])]
    data = Data(PEOPLE.schema.empty_table(), pa.Table.from_pylist(rows, schema=RECORDS.schema), [], None, None)
    found = find(joined(data, Settings()), query)
    assert found.deleted == tuple(record(n) for n in range(len(emails)))
    assert (found.asked, found.persons, found.people.num_rows, found.records.num_rows) == ((), 0, 0, 0)


def test_what_is_borrowed_is_given_back_and_nothing_else() -> None:
    engine = Counting()
    mine = engine.hold(engine.bring(pa.table({"n": [1, 2, 3]})))
    lent = Borrowed(engine)
    assert lent.name == engine.name
    kept = lent.hold(lent.number(mine, ["n"], "place"))
    lent.sort(mine, "n")
    dropped = lent.hold(mine)
    lent.drop(dropped)
    lent.release(kept)
    assert engine.tables == 3
    assert engine.collect(kept.sort("n")).to_pydict() == {"place": [0, 1, 2], "n": [1, 2, 3]}
    lent.release()
    assert engine.collect(mine.sort("n")).column("n").to_pylist() == [1, 2, 3]
    assert engine.tables == 2
