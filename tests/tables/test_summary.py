"""The summary, worlds whose counts are written out by hand, on every engine: each world says what it adds to the numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from recon.explain import ANSWERED
from recon.settings import Settings
from recon.summary import summary, unusable
from tests.tables.engines import reconciled, told
from tests.tables.test_every_small_world import Maker

if TYPE_CHECKING:
    from recon.reconcile import Reconciliation
    from tests.tables.engines import Engine
    from tests.tables.reference import Row

NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
SETTINGS = Settings().with_values(clusters={"report_above": 5})
FIRST = datetime(2026, 11, 2, 23, 30, tzinfo=UTC)  # a Monday
#: What is counted of each world: sections of the summary, and the names in them.
COUNTED = {
    "effect": ("same_day", "within_2_days", "within_limit", "late", "unknown"),
    "mailed": ("total", "you", "tonight", "nobody"),
    "tonight": ("people_set", "records_set"),
}


@dataclass
class Told:
    """A world and what it adds to the summary; and of its actions that matter, by id: who mends it, has it a date, was it answered."""

    rows: tuple[Row, ...]
    adds: dict[str, int] = field(default_factory=dict)
    fixes: dict[str, tuple[str, bool, bool]] = field(default_factory=dict)
    answered: tuple[str, ...] = ()

    @property
    def people(self) -> list[Row]:
        return [row for row in self.rows if "person_id" in row]

    @property
    def records(self) -> list[Row]:
        return [row for row in self.rows if "record_id" in row]


def _at(day: int) -> datetime:
    return datetime(2026, 11, day, 9, tzinfo=UTC)


def until_it_was_whole() -> list[Told]:
    """A person and a Contact of one address: from the one's opt-out to the other's."""
    dates: list[tuple[datetime, datetime | None, str]] = [
        (FIRST, FIRST, "same_day"),
        (FIRST, _at(4), "within_2_days"),  # two dates on
        (_at(5), FIRST, "within_limit"),  # three, whichever was first
        (FIRST, _at(16), "within_limit"),  # ten business days: on the limit
        (FIRST, _at(17), "late"),
        (FIRST, None, "unknown"),
    ]
    worlds = []
    for number, (one, other, counts) in enumerate(dates, 100):
        m = Maker(number)
        rows = m.person("1", "choice", "a", unsubscribed_at=one), m.record("C001", "a", True, opted_out_at=other)
        worlds.append(Told(rows, {f"effect.{counts}": 1}))
    m = Maker(199)
    return [*worlds, Told((m.person("1", None, "a"), m.record("C001", "a", False)))]


def who_could_be_mailed() -> list[Told]:
    """Counted once, however many records there are; who needs somebody comes before who waits for the sync."""
    one, two, three, four = (Maker(number) for number in range(200, 204))
    return [
        Told(
            (one.person("1", "choice", "a"), *(one.record(name, "a", False) for name in ("C001", "C002", "C003"))),
            {"mailed.total": 1, "mailed.you": 1},
        ),
        Told(
            (two.person("1", "choice", "a", "C001"), two.record("C001", "a", False)),
            {"mailed.total": 1, "mailed.tonight": 1, "tonight.records_set": 1},
        ),
        Told(
            (
                three.person("1", "choice", "a", "C001"),
                three.record("C001", "a", False),
                three.record("C002", "a", False),
            ),
            {"mailed.total": 1, "mailed.you": 1, "tonight.records_set": 1},
        ),
        Told(
            (four.person("1", "bounce", "a"), four.record("C001", "a", False)), {"mailed.total": 1, "mailed.nobody": 1}
        ),
    ]


def answered_leads() -> list[Told]:
    """A converted Lead that is opted out, and its Contact that isn't, because the person was resubscribed under an approval; or nobody was."""
    somebody, nobody = {"mailed.total": 1, "mailed.you": 1}, {"mailed.total": 1, "mailed.nobody": 1}
    makers = [Maker(number) for number in range(300, 306)]
    pairs = [(m.record("L001", "a", True, "C001", opted_out_at=FIRST), m.record("C001", "b", False)) for m in makers]
    leads, contacts = [m.id_of("L001") for m in makers], [m.id_of("C001") for m in makers]
    _, user, choice, _, stale, record = makers
    return [
        Told(pairs[0], nobody, {contacts[0]: ("nobody", False, True)}, (leads[0],)),
        # What one sales user alone has set is the admin's.
        Told((*pairs[1], user.person("1", "user", "b")), somebody, {contacts[1]: ("admin", False, True)}, (leads[1],)),
        # Who chose anew is opted out as ever, on whatever side.
        Told(
            (*pairs[2], choice.person("1", "choice", "b")),
            somebody,
            {contacts[2]: ("toolkit", True, False)},
            (leads[2],),
        ),
        Told(pairs[3], somebody, {contacts[3]: ("toolkit", True, False)}),
        # The link to the Lead that is no more is to be mended.
        Told(
            (*pairs[4], stale.person("1", None, "c", "L001")),
            somebody,
            {contacts[4]: ("nobody", False, True), stale.person("1", None, "c")["person_id"]: ("admin", False, True)},
            (leads[4],),
        ),
        Told(
            (*pairs[5], record.record("C002", "b", True)),
            somebody,
            {contacts[5]: ("toolkit", True, False)},
            (leads[5],),
        ),
    ]


MAILBOX, HUB, ODD = Maker(400), Maker(401), Maker(402)


def large_and_odd() -> list[Told]:
    people = [HUB.person(str(number), None, f"p{number}", "C001") for number in range(6)]
    odd = ODD.person("1", None, "a", email="n/a", salesforce_id="abc"), ODD.record("C001", "a", False, email="a@")
    return [
        Told(tuple(MAILBOX.record(f"C00{number}", "info", False) for number in range(6))),
        Told((*people, HUB.record("C001", "other", False))),
        Told(odd),
    ]


WORLDS = [*until_it_was_whole(), *who_could_be_mailed(), *answered_leads(), *large_and_odd()]


@pytest.fixture(scope="module")
def result(engine: Engine) -> Reconciliation:
    people = [row for world in WORLDS for row in world.people]
    records = [row for world in WORLDS for row in world.records]
    return reconciled(engine, people, records, SETTINGS, [lead for world in WORLDS for lead in world.answered])


@pytest.fixture(scope="module")
def counted(result: Reconciliation) -> dict[str, Any]:
    return summary(result, SETTINGS, NOW)


def test_every_world_adds_what_it_says(counted: dict[str, Any]) -> None:
    wanted = sum((Counter(world.adds) for world in WORLDS), Counter())
    sections = {
        "effect": counted["time_to_effect"],
        "mailed": counted["could_be_mailed"]["people"],
        "tonight": counted["tonight"],
    }
    assert {f"{name}.{each}": sections[name][each] for name, names in COUNTED.items() for each in names} == {
        f"{name}.{each}": wanted[f"{name}.{each}"] for name, names in COUNTED.items() for each in names
    }


def test_what_was_answered_is_left_alone(engine: Engine, result: Reconciliation) -> None:
    actions = {row["id"]: row for row in told(engine, result)[1]}
    wanted = {name: fix for world in WORLDS for name, fix in world.fixes.items()}
    assert {
        name: (
            actions[name]["fix"],
            actions[name]["due_by"] is not None,
            actions[name]["explanation"].endswith(ANSWERED),
        )
        for name in wanted
    } == wanted
    assert sum(row["explanation"].endswith(ANSWERED) for row in actions.values()) == sum(
        answered for *_, answered in wanted.values()
    )


def test_large_clusters_are_told_by_what_joins_them(counted: dict[str, Any]) -> None:
    hub, mailbox = counted["large_clusters"]
    first = "sales_connect:" + HUB.person("0", None, "p0")["person_id"]
    assert hub == {
        "cluster": first,
        "size": 7,
        "joined_by": "link",
        "members": 7,
        "value_masked": None,
        "uid": f"salesforce:{HUB.id_of('C001')}",
    }
    assert (mailbox["size"], mailbox["joined_by"], mailbox["members"]) == (6, "address", 6)
    assert mailbox["uid"] == mailbox["cluster"] == f"salesforce:{MAILBOX.id_of('C000')}"
    assert mailbox["value_masked"].startswith("i***@")


def test_what_can_not_be_used_is_listed(result: Reconciliation) -> None:
    person = ODD.person("1", None, "a")["person_id"]
    assert [(row["system"], row["id"], row["column"]) for row in unusable(result).to_pylist()] == [
        ("sales_connect", person, "email"),
        ("sales_connect", person, "salesforce_id"),
        ("salesforce", ODD.id_of("C001"), "email"),
    ]
