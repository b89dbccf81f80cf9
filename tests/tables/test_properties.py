"""What must hold for any data, of the reference and, on every engine, of recon."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from recon.diff import due_dates
from recon.identity import address
from recon.settings import ActionSettings
from recon.sources.ids import salesforce_id_18
from tests.tables import reference, strategies
from tests.tables.engines import ENGINES, LOCAL, run
from tests.tables.lanes import together
from tests.tables.strategies import Case, World, cases

if TYPE_CHECKING:
    import random

    from tests.tables.engines import Engine
    from tests.tables.lanes import Reconcile
    from tests.tables.reference import Row

    Tables = tuple[list[Row], list[Row]]

# A call of an engine takes about a second, on Spark several, however few the rows: few examples of many worlds, and several cases in a call.
_MANY_WORLDS = 18
_EXAMPLES = settings().max_examples
many = settings(max_examples=max(2, _EXAMPLES // 15))
few = settings(max_examples=max(2, _EXAMPLES // 75))
# What fails is not made smaller there: the engines without Java are for that.
on_spark = settings(max_examples=1, phases=(Phase.generate,))
dense = st.one_of(cases(worlds=_MANY_WORLDS, least=2), cases(worlds=_MANY_WORLDS, most=3))
randoms = st.randoms(use_true_random=False)
#: What the reference doesn't say, or says otherwise.
_OWN = ("path", "explanation")


def on(engine: Engine) -> Reconcile:
    return lambda case: run(engine, case.people, case.records, case.settings)


def by_reference(case: Case) -> tuple[list[Row], list[Row]]:
    return reference.reconcile(case.people, case.records, case.settings)


def is_large(case: Case) -> bool:
    """The first that Hypothesis thinks of are hardly any rows."""
    return len(case.people) + len(case.records) > 60


def by_uid(rows: list[Row]) -> dict[str, Row]:
    return {f"{row['system']}:{row['id']}": row for row in rows}


def without(rows: list[Row], names: tuple[str, ...]) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


# recon against the reference


@many
@given(case=dense)
def test_every_engine_says_what_the_reference_says(case: Case) -> None:
    the_reference_agrees(case, LOCAL)


@pytest.mark.spark
@settings(on_spark, max_examples=2)
@given(case=dense)
def test_spark_says_what_the_reference_says(case: Case) -> None:
    """The same cases as above, but only large ones, and these few."""
    assume(is_large(case))
    the_reference_agrees(case, {name: ENGINES[name] for name in ("duckdb", "spark")})


def the_reference_agrees(case: Case, engines: dict[str, Engine]) -> None:
    merged, actions = case.expected()
    worlds = [reference.World(world.people, world.records, case.settings) for world in case.worlds]
    home = {uid: world for world in worlds for uid in world.rows}
    first: list[Row] | None = None
    for name, engine in engines.items():
        found_merged, found_actions = on(engine)(case)
        assert found_merged == merged, name
        assert without(found_actions, _OWN) == without(actions, _OWN), name
        for uid, row in by_uid(found_actions).items():
            if row["merged_opted_out"] and not row["opted_out"]:
                assert row["path"] is not None, (name, uid)
                wrong = reference.check_path(home[uid], home[uid].rows[uid], row["path"])
                assert wrong is None, f"{name}: {row['path']}: {wrong}"
            else:
                assert row["path"] is None, (name, uid)
            assert row["explanation"].strip(), (name, uid)
            assert "@" not in row["explanation"], (name, uid)
            assert "\n" not in row["explanation"], (name, uid)
        # Paths and explanations, too: the same on every engine.
        first = found_actions if first is None else first
        assert found_actions == first, name


# What must hold, whoever computes it


def what_must_hold(reconcile: Reconcile, case: Case, rng: random.Random) -> None:
    found, shuffled, more = together(reconcile, [case, in_another_order(case, rng), with_more(case, rng)])
    names_are_those_of_the_smallest_members(found)
    assert shuffled == found
    an_opt_out_or_a_link_more_never_opts_anyone_in(found, more)
    settled, next_day = together(reconcile, [after_the_merge(case, found), after_the_night(case, found)])
    merging_what_was_merged_changes_nothing(found, settled)
    a_night_after_a_night_changes_nothing(found, next_day)


def in_another_order(case: Case, rng: random.Random) -> Case:
    world = World(list(case.people), list(case.records))
    rng.shuffle(world.people)
    rng.shuffle(world.records)
    return Case([world], case.options)


def after_the_merge(case: Case, found: Tables) -> Case:
    return _with_flags(case, {uid for uid, row in by_uid(found[0]).items() if row["merged_opted_out"]})


def merging_what_was_merged_changes_nothing(found: Tables, settled: Tables) -> None:
    again, actions = settled
    for before, after in zip(found[0], again, strict=True):
        assert (
            after["opted_out"]
            == after["predicted_opted_out"]
            == after["merged_opted_out"]
            == before["merged_opted_out"]
        )
        assert after["cluster"] == before["cluster"]
        assert after["sync_component"] == before["sync_component"]
    assert {row["category"] for row in actions} <= {"field_disagrees", "broken_link", "stale_link"}
    assert all(row["path"] is None for row in actions)


def after_the_night(case: Case, found: Tables) -> Case:
    return _with_flags(case, {uid for uid, row in by_uid(found[0]).items() if row["predicted_opted_out"]})


def a_night_after_a_night_changes_nothing(found: Tables, next_day: Tables) -> None:
    out = {uid for uid, row in by_uid(found[0]).items() if row["predicted_opted_out"]}
    again = by_uid(next_day[0])
    assert {uid for uid, row in again.items() if row["predicted_opted_out"]} == out
    assert {uid for uid, row in again.items() if row["opted_out"]} == out


def with_more(case: Case, rng: random.Random) -> Case:
    return Case([_with_more(world, rng) for world in case.worlds], case.options)


def an_opt_out_or_a_link_more_never_opts_anyone_in(found: Tables, more: Tables) -> None:
    for old, new in zip(found[0], more[0], strict=True):
        for flag in ("opted_out", "merged_opted_out", "predicted_opted_out"):
            assert new[flag] >= old[flag]


def a_missing_key_joins_nothing(found: Tables) -> None:
    merged, actions = found
    for uid, row in by_uid(merged).items():
        assert row["address"] is None
        assert row["cluster"] == row["sync_component"] == uid
        assert row["merged_opted_out"] == row["predicted_opted_out"] == row["opted_out"]
    assert {row["category"] for row in actions} <= {"field_disagrees", "broken_link"}


def names_are_those_of_the_smallest_members(found: Tables) -> None:
    merged, _ = found
    for column in ("cluster", "sync_component"):
        members: dict[str, list[str]] = {}
        for uid, row in by_uid(merged).items():
            members.setdefault(row[column], []).append(uid)
        assert all(name == min(uids) for name, uids in members.items())
    # What the sync joins is one person's.
    assert len({(row["sync_component"], row["cluster"]) for row in merged}) == len(
        {row["sync_component"] for row in merged}
    )


def _with_flags(case: Case, out: set[str]) -> Case:
    """The case after these rows were opted out, as the sync does it: whole company, both fields where both count."""
    fields = {"has_opted_out_of_email": True}
    if case.options["salesforce"]["opt_out_field"] == "both":
        fields["sales_opt_out"] = True

    def person(row: Row) -> Row:
        newly = f"sales_connect:{row['person_id']}" in out and not row["unsubscribed"]
        return row | ({"unsubscribed": True, "unsubscribe_level": "account"} if newly else {})

    def record(row: Row) -> Row:
        newly = f"salesforce:{row['record_id']}" in out and not row["opted_out"]
        return row | ({"opted_out": True} | fields if newly else {})

    worlds = [World([person(row) for row in w.people], [record(row) for row in w.records]) for w in case.worlds]
    return Case(worlds, case.options)


def _with_more(world: World, rng: random.Random) -> World:
    """The world with an opt-out more here and there, and a link where there was none."""
    ids = [row["record_id"] for row in world.records]

    def person(row: Row) -> Row:
        more: Row = {"unsubscribed": row["unsubscribed"] or rng.random() < 0.2}
        if ids and reference.known(row["salesforce_id"]) is None and rng.random() < 0.5:
            more["salesforce_id"] = rng.choice(ids)
        return row | more

    def record(row: Row) -> Row:
        return row | {"opted_out": row["opted_out"] or rng.random() < 0.2}

    return World([person(row) for row in world.people], [record(row) for row in world.records])


# ... of the reference, on small cases


@given(case=cases(), rng=randoms)
def test_reference_order(case: Case, rng: random.Random) -> None:
    def but_paths(case: Case) -> Tables:
        merged, actions = by_reference(case)
        return merged, without(actions, ("path",))

    assert but_paths(in_another_order(case, rng)) == but_paths(case)


@given(case=cases())
def test_reference_idempotent(case: Case) -> None:
    found = by_reference(case)
    merging_what_was_merged_changes_nothing(found, by_reference(after_the_merge(case, found)))
    a_night_after_a_night_changes_nothing(found, by_reference(after_the_night(case, found)))


@given(case=cases(), rng=randoms)
def test_reference_monotone(case: Case, rng: random.Random) -> None:
    an_opt_out_or_a_link_more_never_opts_anyone_in(by_reference(case), by_reference(with_more(case, rng)))


@given(case=cases(keys=False))
def test_reference_missing_keys(case: Case) -> None:
    a_missing_key_joins_nothing(by_reference(case))


@given(case=cases())
def test_reference_names(case: Case) -> None:
    names_are_those_of_the_smallest_members(by_reference(case))


@given(case=cases(worlds=2), rng=randoms)
def test_reference_lanes_do_not_touch(case: Case, rng: random.Random) -> None:
    """Several cases in one call are the same as each by itself."""
    several = [case, with_more(case, rng), Case(case.worlds[:1], case.options)]
    assert together(by_reference, several) == [by_reference(each) for each in several]


@given(case=cases(worlds=3))
def test_reference_worlds_do_not_touch(case: Case) -> None:
    assert by_reference(case) == case.expected()


@given(case=cases())
def test_reference_paths_are_valid(case: Case) -> None:
    world = reference.World(case.people, case.records, case.settings)
    for uid, row in by_uid(by_reference(case)[1]).items():
        if row["path"] is not None:
            assert reference.check_path(world, world.rows[uid], row["path"]) is None


# ... and of recon, on every engine


@few
@given(case=dense, rng=randoms)
def test_what_must_hold_on_every_engine(local_engine: Engine, case: Case, rng: random.Random) -> None:
    what_must_hold(on(local_engine), case, rng)


@pytest.mark.spark
@on_spark
@given(case=dense, rng=randoms)
def test_what_must_hold_on_spark(case: Case, rng: random.Random) -> None:
    assume(is_large(case))
    what_must_hold(on(ENGINES["spark"]), case, rng)


keyless = cases(worlds=_MANY_WORLDS, least=2, keys=False)


@few
@given(case=keyless)
def test_a_missing_key_joins_nothing_on_every_engine(local_engine: Engine, case: Case) -> None:
    a_missing_key_joins_nothing(on(local_engine)(case))


@pytest.mark.spark
@on_spark
@given(case=keyless)
def test_a_missing_key_joins_nothing_on_spark(case: Case) -> None:
    assume(is_large(case))
    a_missing_key_joins_nothing(on(ENGINES["spark"])(case))


# Keys and days


@given(
    day=st.dates(date(2026, 1, 1), date(2027, 12, 31)),
    limits=st.builds(
        ActionSettings,
        limit_business_days=st.one_of(st.sampled_from((0, 1, 10)), st.integers(0, 60)),
        holidays=st.lists(st.dates(date(2026, 1, 1), date(2028, 6, 30)), max_size=30),
    ),
    shift=st.integers(-4, 4),
)
def test_days_are_counted_as_the_reference_counts_them(day: date, limits: ActionSettings, shift: int) -> None:
    # A holiday close by, so that it matters.
    holidays = [*limits.holidays, day + timedelta(days=shift)]
    limits = limits.model_copy(update={"holidays": holidays})
    at = datetime.combine(day, time(12), tzinfo=UTC)
    expected = reference.business_days_after(at, limits.limit_business_days, holidays)
    assert due_dates([day.isoformat()], limits).to_pylist() == [expected]


_id_signs = st.text("0aA5zZ", min_size=15, max_size=15)
_near_ids = st.one_of(
    _id_signs,
    _id_signs.map(lambda text: str(reference.id_18(text))),
    _id_signs.map(lambda text: str(reference.id_18(text)).upper()),
    _id_signs.map(lambda text: str(reference.id_18(text)).lower()),
    st.tuples(_id_signs, st.text("AaE0Q5x6", min_size=3, max_size=3)).map("".join),
    st.text(max_size=20),
)


@given(text=_near_ids)
def test_ids_are_read_as_the_reference_reads_them(text: str) -> None:
    assert salesforce_id_18(text) == reference.id_18(text)


_near_addresses = st.one_of(
    st.sampled_from([str(text) for text in (*strategies.ADDRESSES, *strategies.NO_ADDRESSES)]),
    st.tuples(st.text(max_size=6), st.text(max_size=6)).map("@".join),
    st.tuples(
        st.text("aB.+-_'\u00dc\u0130\u00df\u0301 ", max_size=5),
        st.text("aB1.-_\u00fc\u00df\u3002\uff0e \u200d", max_size=6),
    ).map("@".join),
    st.text(max_size=12),
)


@given(text=_near_addresses)
def test_addresses_are_read_as_the_reference_reads_them(text: str) -> None:
    assert address(text) == reference.address(text)


@settings(max_examples=1, phases=(Phase.generate,))
@given(texts=st.lists(_near_addresses, min_size=300, max_size=400))
def test_addresses_are_read_alike_on_every_engine(engine: Engine, texts: list[str]) -> None:
    # What Hypothesis tries first is one text many times.
    assume(len(set(texts)) > 100)
    person = {"salesforce_id": None, "unsubscribed": False, "unsubscribe_level": None, "unsubscribed_at": None}
    people = [{"person_id": f"{n:04}", "email": text} | person for n, text in enumerate(texts)]
    merged, _ = run(engine, people, [], Case([]).settings)
    assert [(row["email"], row["address"]) for row in merged] == [
        (reference.known(text), reference.address(text)) for text in texts
    ]
