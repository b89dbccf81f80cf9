"""The guard of the org's daily API calls: what may be used, who used it, and that a pull stops before more than its share is."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from recon.errors import SourceError
from recon.sandbox.salesforce import records
from recon.sandbox.salesforce.wire import API_LIMIT, usage
from recon.sources.quota import Quota
from recon.sources.quota import usage as told
from tests.sources.test_increments import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from recon.sources.salesforce_session import Connection
    from tests.sources.conftest import Acme, Alter, Answer


def quota(acme: Acme, share: float = 80.0) -> tuple[Quota, Connection]:
    connection = acme.connect()
    return Quota(connection, acme.settings(max_share_of_daily_calls=share)), connection


def used(acme: Acme, calls: int) -> None:
    """Say that everybody together has used so many calls."""
    acme.store.configure(api_usage=str(calls))


def limits_say(status: int, body: Any) -> Alter:
    def alter(_method: str, target: str, answer: Answer) -> None:
        if target.endswith("/limits"):
            answer.status = status
            answer.set_json(body)

    return alter


def refused(kind: int = 403) -> Alter:
    return limits_say(kind, [{"errorCode": "INSUFFICIENT_ACCESS", "message": "no"}])


def without_usage(alter: Alter) -> Alter:
    def both(method: str, target: str, answer: Answer) -> None:
        alter(method, target, answer)
        answer.headers.pop("sforce-limit-info", None)

    return both


def test_what_is_needed_must_fit_into_the_share(acme: Acme) -> None:
    used(acme, 999)  # and one for asking
    guard, _ = quota(acme, share=50)
    assert (guard.daily_max, guard.used_before, guard.allowed) == (API_LIMIT, 1000, API_LIMIT // 2)
    free = API_LIMIT // 2 - 1000
    guard.expect(free, "the pull")
    assert guard.estimate == free
    text = acme.refused(SourceError, lambda: guard.expect(free + 1, "the pull"))
    for said in (
        f"{free + 1:,} API calls",
        "1,000 of the org's",
        f"{API_LIMIT // 2:,} (50 percent)",
        "Nothing was read",
    ):
        assert said in text


@pytest.mark.parametrize("header", [True, False])
def test_it_stops_at_the_share_and_not_before(acme: Acme, header: bool) -> None:
    used(acme, API_LIMIT // 2 - 4)
    guard, connection = quota(acme, share=50)
    if not header:  # then the calls that were made are counted
        acme.wire.alter = without_usage(lambda *_: None)
    for _ in range(3):
        guard.look()
        connection.get("the limits", "limits")
    with pytest.raises(SourceError, match="the pull was not finished"):
        guard.look()


def test_what_others_use_meanwhile_counts(acme: Acme) -> None:
    guard, connection = quota(acme)
    guard.look()
    used(acme, int(API_LIMIT * 0.9))
    guard.look()  # nothing has told of it yet
    connection.get("the limits", "limits")
    with pytest.raises(SourceError, match="80 percent"):
        guard.look()


@pytest.mark.parametrize("calls", [int(API_LIMIT * 0.8), API_LIMIT - 2], ids=["at the share", "at the end"])
def test_where_the_share_is_used_up_nothing_is_begun(acme: Acme, calls: int) -> None:
    used(acme, calls - 1)
    guard, _ = quota(acme)
    assert guard.used_before == calls
    with pytest.raises(SourceError, match="Nothing was read"):
        guard.expect(1, "the pull")
    with pytest.raises(SourceError, match="recon stops at"):
        guard.look()


def test_no_calls_fit_even_where_all_are_used_up_to_the_share(acme: Acme) -> None:
    used(acme, int(API_LIMIT * 0.8) - 1)
    guard, _ = quota(acme)
    guard.expect(0, "the pull")


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(refused(), id="not allowed"),
        pytest.param(limits_say(200, {}), id="without the number"),
        pytest.param(limits_say(200, []), id="no object"),
        pytest.param(limits_say(200, {"DailyApiRequests": {"Max": 0, "Remaining": 0}}), id="zero"),
        pytest.param(limits_say(200, {"DailyApiRequests": {"Max": "many"}}), id="no numbers"),
    ],
)
def test_limits_that_cannot_be_read_are_told_by_the_header(acme: Acme, alter: Alter) -> None:
    acme.wire.alter = alter
    used(acme, 41)
    guard, _ = quota(acme)
    assert (guard.daily_max, guard.used_before) == (API_LIMIT, 42)


def test_more_left_than_there_are_is_no_negative_use(acme: Acme) -> None:
    acme.wire.alter = without_usage(limits_say(200, {"DailyApiRequests": {"Max": 100, "Remaining": 120}}))
    guard, _ = quota(acme)
    assert (guard.daily_max, guard.used_before, guard.allowed) == (100, 0, 80)


def test_where_no_number_is_known_nothing_is_held_back_until_one_is(acme: Acme) -> None:
    acme.wire.alter = without_usage(refused())
    used(acme, API_LIMIT - 10)
    guard, connection = quota(acme)
    assert guard.allowed is None
    guard.expect(1_000_000, "the pull")
    guard.look()
    assert guard.as_json() | {"estimate": None} == {
        "daily_max": None,
        "used_before": None,
        "used_after": None,
        "max_share_percent": 80.0,
        "estimate": None,
    }
    acme.wire.alter = lambda *_: None
    connection.get("the limits", "limits")
    with pytest.raises(SourceError, match="recon stops at"):
        guard.look()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("18/15000", (18, 15000)), (None, (0, 0)), ("", (0, 0)), ("x/1", (0, 0)), ("1/2/3", (0, 0)), ("-1/5", (0, 0))],
)
def test_the_header_is_read_or_left(text: str | None, numbers: tuple[int, int]) -> None:
    assert told(text) == numbers


@pytest.fixture
def folder(acme: Acme, tmp_path: Path) -> Workspace:
    for n in range(27):
        records.insert_lead(acme.store, LastName=f"Lead {n}", Company="Acme", Email=f"lead{n}@acme.example")
    return Workspace(acme, tmp_path, bulk_above=0)


def test_a_pull_that_does_not_fit_makes_no_query_of_records(folder: Workspace, acme: Acme) -> None:
    used(acme, int(API_LIMIT * 0.8) - 20)
    text = acme.refused(SourceError, folder.pull)
    assert "the pull needs about" in text
    assert acme.asked("GET", "/results") == 0


def test_a_pull_stops_before_more_than_the_share_is_used_and_goes_on_later(folder: Workspace, acme: Acme) -> None:
    allowed = int(API_LIMIT * 0.8)

    def others(_method: str, target: str) -> None:
        if "/results" in target and acme.asked("GET", "/results") == 3:
            used(acme, allowed - 2)

    acme.wire.before = others
    text = acme.refused(SourceError, folder.pull)
    assert "the pull was not finished" in text
    assert usage(acme.store) <= allowed
    read = acme.asked("GET", "/results")
    assert 3 <= read < 7
    acme.wire.before = lambda *_: None
    used(acme, 100)
    kept = folder.pull()
    assert kept.manifest["rows"]["leads"] == 27
    leads = kept.manifest["inputs"][1]["details"]
    assert leads["pages_of_an_earlier_pull"] == read
    assert acme.asked("GET", f"/jobs/query/{leads['job_id']}/results") == 7
    said = kept.manifest["api_quota"]
    made = kept.manifest["api_calls"]["salesforce"]["total"]
    assert 100 < said["used_before"] < said["used_after"] <= said["used_before"] + made
    assert said["estimate"] > 0


@pytest.mark.parametrize("above", [0, 5000], ids=["bulk", "rest"])
def test_whenever_others_use_the_calls_up_no_more_than_the_share_is_used(
    folder: Workspace, acme: Acme, above: int
) -> None:
    allowed = int(API_LIMIT * 0.8)
    folder.pull(bulk_above=above)
    calls = len(acme.wire.asked)
    over = []
    for moment in range(2, calls + 1):
        used(acme, 0)
        acme.wire.asked.clear()

        def others(_method: str, _target: str, moment: int = moment) -> None:
            if len(acme.wire.asked) == moment:
                used(acme, allowed - 1)

        acme.wire.before = others
        with suppress(SourceError):
            folder.pull(bulk_above=above)
        over.append(usage(acme.store) - allowed)
    assert over == [0] * len(over)


@pytest.mark.parametrize("above", [0, 5000], ids=["bulk", "rest"])
def test_a_pull_needs_no_more_than_it_says_beforehand(folder: Workspace, acme: Acme, above: int) -> None:
    asked: list[int] = []

    def before(method: str, target: str) -> None:
        # What it needs is said once what there is to read is counted, and before any of it is read.
        if method == "GET" and ("/jobs/query/" in target or "q=SELECT+Id" in target):
            asked.append(len(acme.wire.asked) - 1)

    acme.wire.before = before
    kept = folder.pull(bulk_above=above)
    needed = len(acme.wire.asked) - asked[0]
    estimate = kept.manifest["api_quota"]["estimate"]
    assert needed <= estimate <= needed + 3


def test_a_pull_that_goes_on_counts_the_pages_that_are_here(folder: Workspace, acme: Acme) -> None:
    whole = folder.pull().manifest["api_quota"]["estimate"]

    def alter(_method: str, target: str, answer: Answer) -> None:
        if "/results" in target and acme.asked("GET", "/results") == 12:
            answer.status = 400
            answer.set_json([{"errorCode": "UNKNOWN_EXCEPTION", "message": "x"}])

    acme.wire.alter = alter
    acme.refused(SourceError, folder.pull)
    acme.wire.alter = lambda *_: None
    told: list[int] = []
    plain = Quota.expect

    def expect(self: Quota, calls: int, what: str) -> None:
        told.append(calls)
        plain(self, calls, what)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Quota, "expect", expect)
        folder.pull()
    assert told[0] == whole - 4
