"""Why is this record opted out, and what if the settings were others: asked of a small world, and of a workspace with a ledger."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from recon.errors import SettingsError, UsageError
from recon.explore.find import Joined, Match, find, joined
from recon.explore.person import Person, persons
from recon.explore.what_if import compare
from recon.explore.why import Why
from recon.jobs import Data
from recon.sandbox.salesforce import records as salesforce
from recon.settings import Settings
from recon.tables import PEOPLE, RECORDS
from tests.resubscribe.cli import here
from tests.resubscribe.rig import Rig, new_rig

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = datetime(2026, 3, 2, 10, 30, tzinfo=UTC)
LATER = DAY + timedelta(days=3)
HOSTILE = "<script>alert(1)</script>\u202eevil\0{{x}}"


def contact(number: int) -> str:
    # The check of an id without capital letters but its last two.
    return f"0035e0000000{number:03d}AAA"


def lead(number: int) -> str:
    return f"00Q5e0000000{number:03d}EAA"


def p(number: int, **more: Any) -> dict[str, Any]:
    return {
        "person_id": f"70{number:02d}",
        "email": f"n{number}@b.test",
        "unsubscribed": "unsubscribed_at" in more,
    } | more


def r(number: int, name: str = "Contact", **more: Any) -> dict[str, Any]:
    flag = more.get("opted_out", False)
    plain = {
        "record_id": contact(number) if name == "Contact" else lead(number),
        "object": name,
        "email": f"n{number}@b.test",
        "opted_out": flag,
        "has_opted_out_of_email": flag,
        "sales_opt_out": False,
        "is_converted": False,
        "is_deleted": False,
    }
    return plain | more


def out(source: str | None, at: datetime | None = DAY, level: str = "account") -> dict[str, Any]:
    return {"unsubscribed": True, "unsubscribed_at": at, "unsubscribe_source": source, "unsubscribe_level": level}


_PEOPLE = [
    p(1, **out("clicked_link")),
    p(2, **out("manual", level="user")),
    p(3, **out("bounce")),
    p(4, **out(None, None)),
    p(5, salesforce_id=contact(5), **out("salesforce_sync", LATER)),
    p(6, salesforce_id=contact(6), **out("salesforce_sync", LATER)),
    p(7, salesforce_id=contact(99), **out("salesforce_sync", LATER)),
    p(8, salesforce_id=contact(8)[:15], **out("clicked_link")),
    p(9, salesforce_id=contact(9), **out("clicked_link", LATER)),
    p(10),
    p(11, salesforce_id=contact(11)),
    p(12, email=HOSTILE, salesforce_id=HOSTILE, person_id=f"7012{HOSTILE}", **out(HOSTILE)),
]
_RECORDS = [
    r(5, opted_out=True, opted_out_at=DAY),
    r(6),
    r(8, opted_out=True, opted_out_at=DAY + timedelta(minutes=1)),
    r(9, opted_out=True, opted_out_at=DAY, sales_opt_out=True),
    r(10, opted_out=True),
    r(11, sales_opt_out=True),
    r(13, "Lead", opted_out=True, opted_out_at=DAY, is_converted=True, converted_contact_id=contact(13)),
    r(13, opted_out=True),
    r(14, "Lead", is_deleted=True),
]


@pytest.fixture(scope="module")
def world() -> Data:
    people = PEOPLE.conform(pa.Table.from_pylist(_PEOPLE, schema=PEOPLE.schema))
    records = RECORDS.conform(pa.Table.from_pylist(_RECORDS, schema=RECORDS.schema))
    return Data(people, records, [], {"id": "20261124T180000Z-1a2b3c4d", "manifest_sha256": ""}, None)


@pytest.fixture(scope="module")
def everybody(world: Data) -> dict[str, Person]:
    """Each person, by the `system:id` of every record."""
    live = world.records.filter(pa.compute.invert(world.records.column("is_deleted")))
    asked = [f"sales_connect:{each['person_id']}" for each in _PEOPLE]
    found = persons(world.people, live, Settings(), asked)
    return {record.uid: person for person in found for record in person.records}


@pytest.mark.parametrize(
    ("uid", "origin", "way"),
    [
        (
            "sales_connect:7001",
            "Unsubscribed on 2026-03-02 at 10:30 UTC: the person clicked the unsubscribe link in a mail.",
            None,
        ),
        (
            "sales_connect:7002",
            "Unsubscribed on 2026-03-02 at 10:30 UTC: somebody unsubscribed the person by hand in Sales Connect. "
            "It holds for one sales user only, and the sync doesn't carry it.",
            None,
        ),
        ("sales_connect:7003", "mail to the person bounced; that is no choice of the person's.", None),
        ("sales_connect:7004", "Unsubscribed; Sales Connect doesn't tell how.", None),
        (
            "sales_connect:7005",
            f"because a linked Salesforce record was opted out. The Contact {contact(5)} is opted out since 2026-03-02.",
            f"salesforce:{contact(5)} -[id]-> sales_connect:7005",
        ),
        (
            "sales_connect:7006",
            f"The Contact {contact(6)}, which is linked now, isn't opted out: the sync never takes an opt-out back.",
            None,
        ),
        ("sales_connect:7007", "No record is linked any more.", None),
        (
            f"salesforce:{contact(8)}",
            "most likely from Sales Connect: the linked person 7008 is unsubscribed since 2026-03-02 (clicked link)",
            f"sales_connect:7008 -[id]-> salesforce:{contact(8)}",
        ),
        (f"salesforce:{contact(9)}", "Opted out on 2026-03-02 at 10:30 UTC, in Salesforce itself", None),
        (
            f"salesforce:{contact(10)}",
            "Opted out, nobody knows since when (field history has no such change), in Salesforce",
            None,
        ),
        (
            "sales_connect:7010",
            f"Not opted out. The Contact {contact(10)} is opted out, has the same address, and no id links the two",
            f"salesforce:{contact(10)} -[address]-> sales_connect:7010",
        ),
        ("sales_connect:7011", "Not opted out, and no other record of the person is.", None),
        (
            f"salesforce:{contact(13)}",
            f"most likely since the Lead {lead(13)}, which is opted out, became this Contact.",
            f"salesforce:{lead(13)} -[converted]-> salesforce:{contact(13)}",
        ),
    ],
    ids=lambda value: (
        value.partition(":")[2] if isinstance(value, str) and value.startswith("sales") and "[" not in value else ""
    ),
)
def test_tells_where_an_opt_out_came_from(everybody: dict[str, Person], uid: str, origin: str, way: str | None) -> None:
    record = everybody[uid].record(uid)
    assert origin in record.origin
    assert record.way == way


def test_tells_what_happened_in_order_of_time(everybody: dict[str, Person]) -> None:
    person = everybody["sales_connect:7005"]
    assert [(each.at, each.what) for each in person.events()] == [
        (DAY, "opted out"),
        (LATER, "unsubscribed (salesforce sync)"),
    ]


@pytest.fixture(scope="module")
def among(world: Data) -> Joined:
    return joined(world, Settings())


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        (" N5@B.TEST ", ["sales_connect:7005", f"salesforce:{contact(5)}"]),
        ("7001", ["sales_connect:7001"]),
        ("sales_connect:7001", ["sales_connect:7001"]),
        ("salesforce:7001", []),
        (contact(5), [f"salesforce:{contact(5)}"]),
        (contact(5)[:15], [f"salesforce:{contact(5)}"]),
        (contact(5).lower(), [f"salesforce:{contact(5)}"]),
        (f"salesforce:{contact(5)[:15]}", [f"salesforce:{contact(5)}"]),
        # No such record: the person that holds the id.
        (contact(99)[:15], ["sales_connect:7007"]),
        # What is no address is still what stands in the field.
        (HOSTILE, [f"sales_connect:7012{HOSTILE}"]),
        ("' OR 1=1 --", []),
        (lead(14), []),
    ],
    ids=[
        "address",
        "person",
        "uid",
        "other-system",
        "id-18",
        "id-15",
        "id-case",
        "uid-15",
        "broken",
        "no-address",
        "sql",
        "deleted",
    ],
)
def test_finds_whom_a_question_is_about(among: Joined, query: str, asked: list[str]) -> None:
    found: Match = find(among, query)
    assert list(found.asked) == asked
    assert found.persons == bool(asked)
    assert found.deleted == ((lead(14),) if query == lead(14) else ())
    # All records of the person, and nobody else's.
    if query == "7001":
        assert (found.people.num_rows, found.records.num_rows) == (1, 0)
    if contact(5)[:12] in query and asked == [f"salesforce:{contact(5)}"]:
        assert (found.people.num_rows, found.records.num_rows) == (1, 1)


def test_an_address_that_joins_nothing_leads_to_several_persons(world: Data) -> None:
    settings = Settings().with_values(clusters={"never_join": ["n5@b.test", "n10@b.test"]})
    found = find(joined(world, settings), "n10@b.test")
    assert found.persons == len(found.asked) == 2
    answer = Why("n10@b.test", (), found.persons, (), "20261124T180000Z-1a2b3c4d", "2026-11-24T18:00:00Z")
    assert answer.lines()[0].startswith("No record has n***@b***.test")


def test_what_rows_hold_stays_text(everybody: dict[str, Person]) -> None:
    person = everybody[f"sales_connect:7012{HOSTILE}"]
    answer = Why(HOSTILE, (person,), 1, (), "20261124T180000Z-1a2b3c4d", "2026-11-24T18:00:00Z")
    for text in (answer._repr_html_(), repr(answer)):
        assert "\0" not in text
        assert "\u202e" not in text
        assert "⟨U+202E⟩" in text
    assert "<script" not in answer._repr_html_()
    chart = explore_chart(answer)
    assert "<script" not in chart.replace("&lt;script", "")
    assert "\u202e" not in chart


def explore_chart(answer: Why) -> str:
    from recon import charts

    return charts.links(answer).svg


def test_what_if_the_other_field_counted(world: Data) -> None:
    found = compare(world, Settings(), sync_enabled=None, opt_out_field="custom", show_addresses=False)
    assert (found.now, found.then) == ("sync on, opt-out field standard", "sync on, opt-out field custom")
    changed = {row["id"]: row for row in found.changed.to_dict("records")}
    # Ticked in the custom field alone: now nothing is to be done, then its person is opted out tonight.
    assert (changed[contact(11)]["opted_out_now"], changed[contact(11)]["opted_out_then"]) == (False, True)
    assert changed["7011"]["category_then"] == "awaiting_sync"
    assert (changed["7011"]["predicted_now"], changed["7011"]["predicted_then"]) == (False, True)
    # Ticked in the standard one alone: then it isn't opted out, and its person brings it back.
    assert (changed[contact(8)]["opted_out_then"], changed[contact(8)]["predicted_then"]) == (False, True)
    assert contact(9) not in changed  # ticked in both
    assert found.changed_records == len(changed)
    assert found.changed_predictions == sum(row["predicted_now"] != row["predicted_then"] for row in changed.values())
    totals = {row["what"]: (row["now"], row["then"], row["change"]) for row in found.totals.to_dict("records")}
    assert totals["records that are opted out"] == (16, 12, -4)
    assert "Dates of opt-outs" in found.notes[1]
    for text in (repr(found), found._repr_html_()):
        assert "n***@b***.test" in text
        assert "n11@b.test" not in text


def test_what_if_is_drawn_with_whole_numbers_each_once(world: Data) -> None:
    from recon import charts

    chart = charts.compared(compare(world, Settings(), sync_enabled=None, opt_out_field="custom", show_addresses=False))
    axis = next(
        group
        for group in ET.fromstring(chart.svg).iter("{http://www.w3.org/2000/svg}g")
        if group.get("aria-label", "").startswith("X-axis")
    )
    numbers = [
        each.text or "" for each in axis.iter("{http://www.w3.org/2000/svg}text") if (each.text or "").isdecimal()
    ]
    most = int(chart.table[["now", "then"]].to_numpy().max())
    assert numbers == sorted({*numbers}, key=int)
    assert numbers[0] == "0"
    assert most // 2 < int(numbers[-1]) <= most


def test_what_if_refuses_what_can_not_be_told(world: Data) -> None:
    blank = world.records.drop_columns("sales_opt_out")
    data = Data(world.people, RECORDS.conform(blank), [], None, None)
    with pytest.raises(UsageError, match="of 8 records what the custom opt-out field holds"):
        compare(data, Settings(), sync_enabled=None, opt_out_field="both", show_addresses=False)
    with pytest.raises(SettingsError, match="opt_out_field"):
        compare(world, Settings(), sync_enabled=None, opt_out_field="mine", show_addresses=False)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Ada has opted out on both sides, and asks for mail again: the plan stands in the ledger. A record of Bob's is deleted."""
    made = new_rig(tmp_path_factory.mktemp("why"))
    made.pair("ada@buyer.example")
    _, gone = made.pair("bob@buyer.example", out=False)
    salesforce.delete_record(made.sandbox.store, "Contact", gone)
    made.days(3)
    made.pull()
    made.approve("ada@buyer.example")
    made.plan()
    yield made
    made.sandbox.close()


def test_an_admin_asks_on_the_command_line(rig: Rig) -> None:
    done = here(rig, "why", "Ada@Buyer.example")
    assert (done.returncode, done.stderr) == (0, "")
    assert "A***@B***.example names 2 records (snapshot 20261105T180000Z-" in done.stdout
    assert "the person clicked the unsubscribe link in a mail" in done.stdout
    assert "most likely from Sales Connect" in done.stdout
    assert "verdict accepted" in done.stdout
    assert "@buyer" not in done.stdout
    assert "Ada" not in done.stdout


def test_nobody_has_this_id(rig: Rig) -> None:
    done = here(rig, "why", "0035e000000zzzzAAA")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("No record has 0035e000000zzzzAAA (snapshot ")
    refused = here(rig, "why", " ")
    assert refused.returncode == 2
    assert "What to do: Name an address" in refused.stderr


def test_a_deleted_record_is_told_and_leads_to_its_person(rig: Rig) -> None:
    with rig.sandbox.store.transaction() as db:
        (gone,) = db.execute("SELECT Id FROM contact WHERE IsDeleted").fetchone()
    told = json.loads(here(rig, "why", gone, "--json", "--full").stdout)
    assert told["deleted"] == [gone]
    (person,) = told["persons"]
    (record,) = person["records"]
    assert (record["asked"], record["email"], record["category"]) == (True, "bob@buyer.example", "broken_link")
    assert [(link["end"], link["kind"]) for link in person["links"]] == [(f"salesforce:{gone}", "broken")]
    assert (told["ledger"], told["note"]) == (["The ledger holds nothing about this person."], None)


def test_what_is_said_around_the_records(everybody: dict[str, Person]) -> None:
    answer = Why(
        "7001",
        (everybody["sales_connect:7001"],),
        40,
        (lead(14),),
        "20261124T180000Z-1a2b3c4d",
        "now",
        note="it is <b>damaged</b>",
    )
    for text in (repr(answer), answer._repr_html_()):
        assert "leads to 40 persons, of whom the first 20 are shown" in text
        assert "in the recycle bin or was merged away" in text
        assert "The ledger could not be read: it is" in text
    assert "<b>damaged" not in answer._repr_html_()
    masked = Why("n5@b.test", (everybody["sales_connect:7005"],), 1, (), "20261124T180000Z-1a2b3c4d", "now")
    assert "n5@b.test" not in json.dumps(masked.as_json())
