"""Every fault of docs/faults.md, in a pull and in an apply: what the user sees, and what holds whatever goes wrong.

No wrong data is used, no opt-out is lost, nobody is resubscribed without approval, no outcome is unknown that isn't said to be unknown, and
running again finishes the work.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from recon.ledger import verify
from tests.faults.cases import CASES, LEAD, QUERY, REMOVE, Case, Side, fault
from tests.faults.fault_world import World, tables
from tests.faults.test_faults_docs import rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

    from recon.resubscribe.outcomes import Applied
    from recon.sandbox.faults import Fault
    from tests.faults.fault_world import Said, Template


INGEST = "/jobs/ingest/"
#: The lines of docs/faults.md.
DOCUMENTED = {row[0].strip("`"): row for row in rows(8)}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("world"))
    yield world
    world.close()


def told(world: World, said: Said, side: Side) -> None:
    """The exit code and the sentence, and that the fault was there."""
    assert (said.exit, said.text if said.exit != side.exit else "") == (side.exit, "")
    assert side.says in said.text
    assert bool(world.faults.fired) is side.met, [each.line() for each in world.faults.fired]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_in_a_pull(shared: World, tmp_path: Path, case: Case) -> None:
    template = shared.template(case.way, hasty=case.hasty)
    shared.begin(template, tmp_path)
    kept = sorted(each.name for each in (tmp_path / "snapshots").iterdir())
    shared.inject(*case.pull.faults)
    said = shared.pull(tmp_path)
    told(shared, said, case.pull)
    if any("Retry-After" in fault.headers for fault in case.pull.faults):
        assert 7.0 in shared.slept
    if "after a pause" in DOCUMENTED[case.name][2]:
        assert max(shared.slept) >= 0.5
    changed = any(fault.kind == "change" for fault in case.pull.faults)
    if case.pull.exit:
        assert sorted(each.name for each in (tmp_path / "snapshots").iterdir()) == kept
    found = tables(tmp_path)
    if case.pull.exit or changed:
        shared.calm()
        again = shared.pull(tmp_path)
        assert again.exit == 0, again.text
    now = tables(tmp_path)
    for one, later, before in zip(found, now, tables(template.folder), strict=True):
        assert held(one, before, later) if changed else one.equals(before) and later.equals(before)
    if case.pull.sees:
        # People come first, then records.
        which = 0 if case.name.startswith("gateway") else 1
        before, later = tables(template.folder)[which], now[which]
        assert not before.equals(later)
        assert found[which].equals(before if case.pull.sees == "before" else later)


def held(found: pa.Table, before: pa.Table, later: pa.Table) -> bool:
    """Whether every value is one that was there, before or after what somebody changed while it was read."""
    old, new = ({next(iter(row.values())): row for row in table.to_pylist()} for table in (before, later))
    return all(
        value in (old.get(key, {}).get(name), new.get(key, {}).get(name))
        for row in found.to_pylist()
        for key in [next(iter(row.values()))]
        for name, value in row.items()
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_in_an_apply(shared: World, tmp_path: Path, case: Case) -> None:
    template = shared.template(case.way, hasty=case.hasty)
    plan = shared.begin(template, tmp_path)
    shared.inject(*case.apply.faults)
    said = shared.apply(plan)
    told(shared, said, case.apply)
    patches = [each.headers for each in shared.faults.asked if each.method == "PATCH" and "/sobjects/" in each.path]
    assert all("if-unmodified-since" in headers for headers in patches)
    if any("Retry-After" in fault.headers for fault in case.apply.faults):
        assert 7.0 in shared.slept
    if case.way == "rest":
        sent(shared, case)
    else:
        # A job is closed once, and never ended.
        closed = Counter(each.path for each in shared.faults.asked if each.method == "PATCH" and INGEST in each.path)
        assert set(closed.values()) == {1}
    if case.spares:
        assert all(shared.flags().get(each, True) for each in ann(shared))
    holds(shared, template.before, plan, said.applied)
    shared.calm()
    before = shared.flags()
    if case.again == "plan":
        plan = shared.plan_again(tmp_path)
    again = shared.apply(plan)
    holds(shared, before, plan, again.applied)
    assert again.exit == (3 if case.ends == "ann_out" else 0), again.text
    assert not verify(tmp_path / "ledger").findings
    ends_well(shared, template, case)


def sent(world: World, case: Case) -> None:
    """How often Ann's write was sent, and that her record was read between two of them."""
    ids, asked = world.ids, world.faults.asked
    if case.name.startswith("gateway"):
        method, path = "POST", world.named(REMOVE)
        looks = [n for n, each in enumerate(asked) if (each.method, each.path) == ("GET", f"/people/{ids['ann']}")]
    else:
        method, path = "PATCH", world.named(LEAD)
        looks = [n for n, each in enumerate(asked) if f"FROM Lead WHERE Id IN ('{ids['ann_lead']}'" in each.query]
    tries = [n for n, each in enumerate(asked) if each.method == method and each.path.endswith(path)]
    assert len(tries) == case.writes
    assert all(any(one < look < other for look in looks) for one, other in pairwise(tries))
    if case.stops:
        met = next(n for n, each in enumerate(asked) if each is world.faults.fired[0].asked)
        assert not [each for each in asked[met + 1 :] if each.method != "GET" and "/oauth2/" not in each.path]


def ann(world: World) -> set[str]:
    """Ann's records."""
    ids = world.ids
    return {f"salesforce:{ids['ann_lead']}", f"salesforce:{ids['ann_contact']}", f"sales_connect:{ids['ann']}"}


ONCE: dict[str, dict[str, Any]] = {
    "429": {"kind": "status", "status": 429, "headers": {"Retry-After": "7"}},
    "503": {"kind": "status", "status": 503},
    "dropped": {"kind": "drop"},
    "dropped-done": {"kind": "drop", "carried_out": True},
    "cut": {"kind": "cut"},
}


@pytest.mark.parametrize("how", ONCE)
@pytest.mark.parametrize("way", ["rest", "bulk"])
@pytest.mark.parametrize("job", ["pull", "apply"])
def test_every_single_call_may_fail_once(shared: World, tmp_path: Path, job: str, way: str, how: str) -> None:
    """Whatever is called: logins, descriptions, counts, pages, uploads, looks at jobs, results, writes, the gateway."""
    template = shared.template(way, hasty=False)

    def run(folder: Path) -> Said:
        plan = shared.begin(template, folder)
        shared.inject(*faults)
        return shared.pull(folder) if job == "pull" else shared.apply(plan)

    faults: list[Fault] = []
    assert run(tmp_path / "calm").exit == 0
    faults = [fault(**ONCE[how], **call) for call in calls(shared)]
    said = run(tmp_path / "spoiled")
    assert (said.exit, said.text if said.exit else "") == (0, "")
    assert {each.number for each in shared.faults.fired} == set(range(1, len(faults) + 1))
    if job == "pull":
        for found, before in zip(tables(tmp_path / "spoiled"), tables(template.folder), strict=True):
            assert found.equals(before)
    else:
        assert shared.flags() == template.after


def calls(world: World) -> list[dict[str, Any]]:
    """What was called, as faults name it. Ids of jobs and queries are others the next time."""
    made = {
        (each.system, each.method, re.sub(r"/(7\w{14,17}|\w+-\d+)(?=/|$)", r"/[\\w-]+", each.path))
        for each in world.faults.asked
    }
    return [{"system": system, "method": method, "path": f"{path}$"} for system, method, path in sorted(made)]


def test_a_web_page_in_the_place_of_any_answer_is_never_data(shared: World, tmp_path: Path) -> None:
    """A proxy's login page with status 200, once and then never again."""
    template = shared.template("bulk", hasty=False)
    shared.begin(template, tmp_path / "calm")
    assert shared.pull(tmp_path / "calm").exit == 0
    for number, call in enumerate(calls(shared)):
        folder = tmp_path / str(number)
        shared.begin(template, folder)
        shared.inject(fault("status", status=200, content="<html>Sign in, ann@buyer.example</html>", **call))
        said = shared.pull(folder)
        # A login is made again, and whether a job was removed doesn't matter.
        assert said.exit == (0 if "oauth2" in call["path"] or call["method"] == "DELETE" else 1), call
        if said.exit:
            assert len(list((folder / "snapshots").glob("2*"))) == 1, call
            assert shared.pull(folder).exit == 0
        for found, before in zip(tables(folder), tables(template.folder), strict=True):
            assert found.equals(before), call


def test_a_look_at_history_that_is_hidden_midway_is_made_by_the_next_run(shared: World, tmp_path: Path) -> None:
    template = shared.template("rest", hasty=False)
    plan = shared.begin(template, tmp_path)
    shared.inject(
        fault("change", change="edit", record="<ann_lead>", path=QUERY),
        fault("status", status=400, code="INVALID_TYPE", query="FROM LeadHistory", after=1, times="always"),
    )
    said = shared.apply(plan)
    assert said.exit == 3
    assert "Whether the person opted out just before isn't known: its history" in said.text
    assert shared.flags()[f"salesforce:{shared.ids['ann_lead']}"] is False
    shared.calm()
    assert shared.apply(plan).exit == 0
    assert shared.flags() == template.after


def test_a_job_that_nobody_can_look_at_is_left_to_the_next_run(shared: World, tmp_path: Path) -> None:
    template = shared.template("bulk", hasty=False)
    plan = shared.begin(template, tmp_path)
    shared.inject(fault("status", path=r"/jobs/ingest/\w+$", status=503, method="GET", after=1, times="always"))
    assert shared.apply(plan).exit == 3
    closed = {each.path for each in shared.faults.asked if each.method == "PATCH" and INGEST in each.path}
    shared.calm()
    assert shared.apply(plan).exit == 0
    assert shared.flags() == template.after
    # Both are looked at, and no other one is made.
    assert closed <= {each.path for each in shared.faults.asked if each.method == "GET"}
    assert not [each for each in shared.faults.asked if each.method in ("POST", "PATCH") and INGEST[:-1] in each.path]


def test_where_a_job_s_records_have_no_history_that_is_noted(shared: World, tmp_path: Path) -> None:
    template = shared.template("bulk", hasty=False)
    plan = shared.begin(template, tmp_path)
    shared.inject(fault("status", status=400, code="INVALID_TYPE", query="FROM (Lead|Contact)History", times="always"))
    said = shared.apply(plan)
    assert said.exit == 0
    assert "1 record whose history can't be read" in said.text
    assert "2 records whose history can't be read" in said.text
    assert shared.flags() == template.after


def holds(world: World, before: dict[str, bool], plan: Path, applied: Applied | None) -> None:
    """What holds after every run, however it ended: `before` is who was opted out until then."""
    flags = world.flags()
    steps = {step.key: step for step in world.steps(plan)}
    approved = {key for key, step in steps.items() if step.direction == "clear"}
    cleared = {key for key, out in before.items() if out and not flags.get(key, True)}
    assert cleared <= approved
    for outcome in () if applied is None else applied.outcomes:
        if outcome.key not in steps or outcome.key not in flags:
            continue
        there = flags[outcome.key] is steps[outcome.key].after[0]
        was = before[outcome.key] is steps[outcome.key].after[0]
        if outcome.outcome in ("done", "skipped_done"):
            assert there, outcome
        elif there and not was:
            assert "known" in outcome.message, outcome
    if applied is None:
        # Nothing was begun.
        assert {key: flags[key] for key in steps} == {key: before[key] for key in steps}


def ends_well(world: World, template: Template, case: Case) -> None:
    """Running again brought both systems to where they would be without the fault."""
    ids = world.ids
    flags, wanted = world.flags(), dict(template.after)
    if case.ends == "ann_out":
        wanted |= dict.fromkeys(ann(world), True)
    if case.ends == "less":
        gone = f"sales_connect:{ids['ann']}" if case.name.startswith("gateway") else f"salesforce:{ids['ann_lead']}"
        flags.pop(gone, None)
        wanted.pop(gone)
    assert flags == wanted
