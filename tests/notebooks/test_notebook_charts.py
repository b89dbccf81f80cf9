"""Charts: right numbers from few or many rows, the same bytes every time, readable without seeing them, and no way in for what rows hold."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recon import charts
from recon.charts import theme
from recon.charts.chart import VEGA_LITE_TYPE, Chart
from recon.charts.layout import lay_out
from recon.errors import UsageError
from recon.explore.person import Person, persons
from recon.explore.why import Why
from recon.settings import Settings
from recon.tables import ACTIONS, MERGED, PEOPLE, RECORDS

if TYPE_CHECKING:
    from pathlib import Path

CREATED = "2026-11-24T18:00:00Z"
MANY = 30_000


@dataclass
class Folder:
    """A run or a snapshot, as far as charts look at it."""

    folder: Path
    manifest: dict[str, Any]


def a_run(folder: Path, actions: list[dict[str, str]], merged: list[dict[str, Any]] = []) -> Folder:  # noqa: B006 - not changed
    with (folder / "actions.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ACTIONS.names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(actions)
    columns = {name: [row.get(name) for row in merged] for name in ("cluster", "opted_out")}
    rest = {
        column.name: pa.array([False if column.kind == "flag" else "x"] * len(merged))
        for column in MERGED
        if column.required
    }
    pq.write_table(MERGED.conform(pa.table(rest | columns)), folder / "merged.parquet")
    return Folder(folder, {"created_at": CREATED})


def numbers(chart: Chart) -> list[list[Any]]:
    return chart.table.to_numpy().tolist()


def drawn_rows(part: Any) -> int:
    """How many rows of data a specification holds, wherever they stand in it."""
    if isinstance(part, list):
        return sum(map(drawn_rows, part))
    if not isinstance(part, dict):
        return 0
    own = len(part["data"]["values"]) if "data" in part else 0
    return own + sum(drawn_rows(value) for name, value in part.items() if name != "data")


def test_counts_actions_by_category_and_by_who_mends_them_whatever_stands_in_a_cell(tmp_path: Path) -> None:
    hostile = 'a "quote", a comma,\nanother line\r and <script>alert(1)</script>'
    rows = [{"category": "bounce", "fix": "nobody", "explanation": hostile}] * 2
    rows += [{"category": "stale_link", "fix": fix, "email": f"'={hostile}"} for fix in ("toolkit", "admin", "toolkit")]
    chart = charts.disagreements(a_run(tmp_path, rows))
    # In the categories' order, by the sum.
    assert numbers(chart) == [["stale_link", "toolkit", 2], ["stale_link", "admin", 1], ["bounce", "nobody", 2]]
    assert (
        chart.description
        == "5 records need action. Who mends them: toolkit 2, admin 1, nobody 2. Most of them: stale_link."
    )
    assert "alert" not in chart.svg


def test_sorts_actions_by_the_days_that_are_left(tmp_path: Path) -> None:
    days = {
        "2026-10-23": "overdue by more than 30 days",
        "2026-10-24": "overdue by more than 30 days",
        "2026-10-25": "overdue",
        "2026-11-23": "overdue",
        "2026-11-24": "due within 7 days",
        "2026-12-01": "due within 7 days",
        "2026-12-02": "due within 14 days",
        "2026-12-08": "due within 14 days",
        "2026-12-09": "due later",
        "": "no date known",
    }
    chart = charts.deadlines(a_run(tmp_path, [{"due_by": day, "fix": "toolkit"} for day in days]))
    assert {row[0]: row[2] for row in numbers(chart)} == Counter(days.values())
    assert chart.description == "4 of 10 records are overdue on 2026-11-24."


def test_counts_persons_by_their_records(tmp_path: Path) -> None:
    sizes = {
        "a": [True],
        "b": [False],
        "c": [True, False],
        "d": [True, True],
        "e": [False] * 9,
        "f": [False] * 49 + [True],
    }
    merged = [{"cluster": name, "opted_out": flag} for name, flags in sizes.items() for flag in flags]
    chart = charts.cluster_sizes(a_run(tmp_path, [], merged))
    assert sorted(numbers(chart)) == [
        ["1", "not opted out", 1],
        ["1", "opted out everywhere", 1],
        ["2", "opted out everywhere", 1],
        ["2", "opted out on some records only", 1],
        ["5 to 9", "not opted out", 1],
        ["50 and more", "opted out on some records only", 1],
    ]
    assert chart.description.startswith("6 persons, 4 of them with more than one record; 2 are opted out on some")
    assert chart.description.endswith("The largest has 50 records.")


def a_snapshot(folder: Path, people: list[dict[str, Any]], records: list[dict[str, Any]]) -> Folder:
    for shape, rows in ((PEOPLE, people), (RECORDS, records)):
        pq.write_table(pa.Table.from_pylist(rows, schema=shape.schema), folder / f"{shape.name}.parquet")
    return Folder(folder, {})


def out(at: datetime | None, source: str | None = "manual") -> dict[str, Any]:
    return {"person_id": "1", "unsubscribed": True, "unsubscribed_at": at, "unsubscribe_source": source}


def record_out(at: datetime | None, *, deleted: bool = False) -> dict[str, Any]:
    return {
        "record_id": "1",
        "object": "Lead",
        "opted_out": True,
        "opted_out_at": at,
        "is_converted": False,
        "is_deleted": deleted,
    }


def test_counts_opt_outs_by_month_side_and_way_in_utc(tmp_path: Path) -> None:
    # The last moment of a year in UTC is another year elsewhere, and the machine's zone is no UTC in these tests.
    moment = datetime(2025, 12, 31, 23, 59, tzinfo=UTC)
    people = [out(moment), out(moment, None), out(datetime(2026, 2, 1, tzinfo=UTC), "clicked_link"), out(None)]
    people.append(out(moment, "<b>") | {"unsubscribed": False})
    records = [record_out(moment), record_out(moment, deleted=True), record_out(None)]
    chart = charts.opt_outs(a_snapshot(tmp_path, people, records))
    assert numbers(chart) == [
        ["Sales Connect", "2025-12", "manual", 1],
        ["Sales Connect", "2025-12", "not told", 1],
        ["Sales Connect", "2026-02", "clicked link", 1],
        ["Salesforce", "2025-12", "not told", 1],
    ]
    assert "Sales Connect: 4 opted out; 1 of them without a date" in chart.description
    assert "Salesforce: 2 opted out; 1 of them without a date" in chart.description
    # January has its place although nothing happened then.
    assert "2026-01" in chart.svg


@pytest.mark.parametrize(
    ("years", "names", "most"),
    [(2, r"\d{4}-\d\d", 24), (9, r"\d{4} Q[1-4]", 36), (30, r"\d{4}", 30), (300, r"\d{4}|earlier", 41)],
    ids=["months", "quarters", "years", "centuries"],
)
def test_draws_as_many_periods_as_there_is_room_for(tmp_path: Path, years: int, names: str, most: int) -> None:
    people = [out(datetime(2026 - year, month, 15, tzinfo=UTC)) for year in range(years) for month in range(1, 13)]
    rows = numbers(charts.opt_outs(a_snapshot(tmp_path, people, [])))
    assert len(rows) == most
    assert all(re.fullmatch(names, row[1]) for row in rows)
    assert sum(row[3] for row in rows) == 12 * years


def test_much_data_is_counted_and_not_drawn(tmp_path: Path) -> None:
    actions = [
        {"category": category, "fix": "toolkit", "due_by": f"2026-{month:02d}-01"}
        for category in ("unlinked_match", "sync_off")
        for month in range(1, 13)
        for _ in range(MANY // 24)
    ]
    merged = [{"cluster": str(number // 2), "opted_out": number % 3 == 0} for number in range(MANY)]
    run = a_run(tmp_path, actions, merged)
    moments = [datetime(2026, 1 + number % 11, 1 + number % 28, tzinfo=UTC) for number in range(MANY)]
    snapshot = a_snapshot(tmp_path, [out(at) for at in moments], [record_out(at) for at in moments])
    with alt.data_transformers.enable("default", max_rows=1):
        for chart in (
            charts.disagreements(run),
            charts.deadlines(run),
            charts.cluster_sizes(run),
            charts.opt_outs(snapshot),
        ):
            assert 2 <= drawn_rows(chart.spec) < 200
            assert len(json.dumps(chart.spec)) < 40_000


def labels(chart: Chart) -> list[str]:
    """The numbers along the axis of counts, as they are drawn."""
    groups = ET.fromstring(chart.svg).iter("{http://www.w3.org/2000/svg}g")
    axis = next(group for group in groups if group.get("aria-label", "").startswith("X-axis"))
    texts = [each.text or "" for each in axis.iter("{http://www.w3.org/2000/svg}text")]
    return [text for text in texts if re.fullmatch(r"[\d,.]+", text)]


@pytest.mark.parametrize("most", [*range(1, 8), 13, 1_234])
def test_an_axis_of_counts_holds_whole_numbers_and_each_once(tmp_path: Path, most: int) -> None:
    rows = [{"category": "bounce", "fix": "nobody", "due_by": "2026-11-24"}] * most
    merged = [{"cluster": str(number), "opted_out": True} for number in range(most)]
    run = a_run(tmp_path, rows, merged)
    for chart in (charts.disagreements(run), charts.deadlines(run), charts.cluster_sizes(run)):
        drawn = [int(label.replace(",", "")) for label in labels(chart)]
        assert drawn[0] == 0
        assert [b - a for a, b in pairwise(drawn)] == [drawn[1]] * (len(drawn) - 1)
        assert drawn[-1] <= most < drawn[-1] + drawn[1]


def test_nothing_is_a_chart_too(tmp_path: Path) -> None:
    run, snapshot = a_run(tmp_path, []), a_snapshot(tmp_path, [], [])
    for chart in (
        charts.disagreements(run),
        charts.deadlines(run),
        charts.cluster_sizes(run),
        charts.opt_outs(snapshot),
    ):
        assert chart.svg.endswith("</svg>")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    rows = [{"category": name, "fix": "toolkit"} for name in ("sync_off", "sync_off", "will_revert")]
    return charts.disagreements(a_run(tmp_path_factory.mktemp("sample"), rows))


def test_is_shown_by_every_reader_of_notebooks_and_needs_no_network(sample: Chart) -> None:
    data, metadata = sample._repr_mimebundle_()
    assert list(data) == [VEGA_LITE_TYPE, "image/svg+xml", "image/png", "text/plain"]
    # JupyterLab's menu would send the data to an editor on the web.
    assert metadata[VEGA_LITE_TYPE]["embed_options"]["actions"] is False
    assert metadata["image/png"]["alt"] == sample.alternative
    # Nothing is loaded: the only addresses are names of XML's and Vega's forms.
    for text in (sample.svg, json.dumps(sample.spec)):
        addresses = re.findall(r"https?://[^\s\"']+", text)
        assert all(re.match(r"http://www\.w3\.org/|https://vega\.github\.io/schema/", each) for each in addresses)
    assert "@import" not in sample.svg
    assert "url(" not in re.sub(r"url\(#disagreements-\d+\)", "", sample.svg)


def test_says_what_it_shows(sample: Chart) -> None:
    root = ET.fromstring(sample.svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == sample.alternative
    description = root.find("{http://www.w3.org/2000/svg}desc")
    assert description is not None
    assert description.text is not None
    assert "category: sync_off, fix: toolkit, records: 2" in description.text
    assert repr(sample).splitlines()[0] == sample.title
    # Numbers stand in the picture, too, so that no bar has to be measured.
    assert ">2</text>" in sample.svg


def test_is_the_same_whatever_was_drawn_before_and_shares_no_id_with_other_charts() -> None:
    def draw(alt: Any) -> Any:
        return alt.Chart(alt.Data(values=[{"x": 1}])).mark_bar(clip=True).encode(x="x:Q")

    def chart(name: str) -> str:
        return Chart(name, "t", "d", pd.DataFrame({"x": [1]}), draw).svg

    first, second = chart("a"), chart("b")
    with alt.theme.enable("dark"):
        assert chart("a") == first
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert first.replace("a-0", "b-0") == second


def test_is_saved_as_picture_and_as_nothing_else(sample: Chart, tmp_path: Path) -> None:
    assert sample.save(tmp_path / "chart.svg").read_text("utf-8") == sample.svg
    assert sample.save(str(tmp_path / "chart.png")).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match=r"chart\.pdf"):
        sample.save(tmp_path / "chart.pdf")


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("colour", [theme.BLUE, theme.VERMILION, theme.GREEN, theme.PINK, theme.GREY])
def test_every_colour_stands_out_from_white(colour: str) -> None:
    # WCAG 2.2, 1.4.11.
    assert 1.05 / (luminance(colour) + 0.05) >= 3


CONTACT, LEAD, PAIRED = "0035e010000000LAAQ", "00Q5e010000000MEAQ", "0035e010000000NAAQ"


@pytest.fixture(scope="module")
def drawn_persons() -> dict[str, Person]:
    """Three persons, by the record that is asked about: of many ties, of many records, and a pair."""
    people: list[dict[str, Any]] = [
        {"person_id": "1", "email": "a@b.test", "salesforce_id": LEAD},
        {"person_id": "2", "email": "a@b.test", "salesforce_id": "x"},
        *(
            {"person_id": f"i{number:02d}", "email": "info@b.test", "unsubscribed": number == 77}
            for number in range(90)
        ),
        {"person_id": "p", "email": "p@b.test", "salesforce_id": PAIRED, "unsubscribed": True},
    ]
    converted = {"object": "Lead", "is_converted": True, "converted_contact_id": CONTACT, "opted_out": True}
    records: list[dict[str, Any]] = [
        {"record_id": CONTACT, "email": "c@b.test"},
        {"record_id": LEAD, "email": "a@b.test", **converted},
        {"record_id": PAIRED, "email": "p@b.test"},
    ]
    plain: dict[str, Any] = {"object": "Contact", "opted_out": False, "is_converted": False, "is_deleted": False}
    tables = (
        PEOPLE.conform(pa.Table.from_pylist([{"unsubscribed": False} | row for row in people], schema=PEOPLE.schema)),
        RECORDS.conform(pa.Table.from_pylist([plain | row for row in records], schema=RECORDS.schema)),
    )
    asked = [f"salesforce:{CONTACT}", "sales_connect:i50", f"salesforce:{PAIRED}"]
    return {person.asked[0].id: person for person in persons(*tables, Settings(), asked)}


def test_places_no_two_records_at_one_spot_and_draws_the_way_thick(drawn_persons: dict[str, Person]) -> None:
    found = drawn_persons[CONTACT]
    drawn = lay_out(found, show_addresses=False)
    spots = [(node["x"], node["y"]) for node in drawn.nodes]
    assert len(set(spots)) == len(spots) == 5  # the id that leads nowhere has its place
    kinds = {(start, end): (kind, thick) for start, end, kind, thick in drawn.edges}
    assert kinds[f"Lead {LEAD}", f"Contact {CONTACT}"] == ("became the Contact", True)
    assert kinds["Person 1", f"Lead {LEAD}"] == ("Salesforce ID, not synced", False)
    assert kinds["Person 2", "x"] == ("Salesforce ID, not synced", False)
    assert [hub["label"] for hub in drawn.hubs] == ["a***@b***.test"]
    assert [hub["label"] for hub in lay_out(found, show_addresses=True).hubs] == ["a@b.test"]
    assert "the way of the opt-out" in drawn.told()
    assert lay_out(found, show_addresses=False) == drawn


def test_a_person_of_many_records_is_drawn_in_part_and_that_is_said(drawn_persons: dict[str, Person]) -> None:
    drawn = lay_out(drawn_persons["i50"], show_addresses=False)
    names = [node["record"] for node in drawn.nodes]
    assert len(names) == 24
    assert {"Person i50", "Person i77"} <= set(names)
    assert drawn.left_out == "66 more records of this person aren't drawn."
    assert drawn.told().endswith("aren't drawn.")


def test_only_the_link_that_the_opt_out_takes_is_thick(drawn_persons: dict[str, Person]) -> None:
    drawn = lay_out(drawn_persons[PAIRED], show_addresses=False)
    assert [(kind, thick) for _, _, kind, thick in drawn.edges] == [("Salesforce ID", True), ("same address", False)]


def test_every_state_in_the_legend_is_told_from_the_others_without_colour() -> None:
    people = [{"person_id": "1", "salesforce_id": "x"}, {"person_id": "2", "salesforce_id": CONTACT}]
    records = [{"record_id": CONTACT, "opted_out": True}, {"record_id": LEAD, "opted_out": False}]
    plain: dict[str, Any] = {"object": "Contact", "is_converted": False, "is_deleted": False, "email": "a@b.test"}
    of_people = [{"email": "a@b.test", "unsubscribed": False} | row for row in people]
    tables = (
        PEOPLE.conform(pa.Table.from_pylist(of_people, schema=PEOPLE.schema)),
        RECORDS.conform(pa.Table.from_pylist([plain | row for row in records], schema=RECORDS.schema)),
    )
    found = persons(*tables, Settings(), ["sales_connect:1"])
    svg = charts.links(Why("1", found, 1, (), "20261124T180000Z-1a2b3c4d", CREATED)).svg
    legend = re.findall(r'role-legend-symbol"[^>]*><path [^>]*?d="([^"]+)" fill="(#[0-9a-f]{6})"', svg)
    greys = sorted(luminance(fill) ** 0.5 for _, fill in legend)
    assert len(legend) == 4
    assert min(after - before for before, after in pairwise(greys)) > 0.15
    # What isn't there is drawn as a cross, and so it stands in the legend.
    signs = [sign for sign, _ in legend]
    assert len({*signs[:3]}) == 1
    assert signs[3] != signs[0]
