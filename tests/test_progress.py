"""Progress: shown where somebody looks, silent elsewhere."""

from __future__ import annotations

import io

import pytest

from recon.progress import SILENT, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("show", "stream", "shown"),
    [
        (None, Terminal(), True),
        (None, io.StringIO(), False),
        (True, io.StringIO(), True),
        (False, Terminal(), False),
    ],
)
def test_it_is_shown_where_somebody_looks_or_as_told(show: bool | None, stream: io.StringIO, shown: bool) -> None:
    progress = Progress(show=show, stream=stream)
    assert progress.shown is shown
    with progress.task("Leads", 4, "rows") as task:
        task.advance(1)
        task.advance(3)
    assert task.done == 4
    assert bool(stream.getvalue()) is shown


def test_a_bar_tells_what_how_far_and_of_how_many() -> None:
    stream = io.StringIO()
    with Progress(show=True, stream=stream).task("Leads", 4000, "rows") as task:
        task.advance(4000)
    last = stream.getvalue().split("\r")[-1]
    assert "Leads: 100%" in last
    assert "4.00k/4.00k" in last
    assert " rows/s" in last
    assert last.endswith("\n")


def test_without_a_total_it_counts() -> None:
    stream = io.StringIO()
    with Progress(show=True, stream=stream).task("History", None, "rows") as task:
        task.advance(7)
    assert "History: 7.00 rows" in stream.getvalue()
    assert "%" not in stream.getvalue()


def test_a_fault_closes_the_bar_and_goes_on_up() -> None:
    stream = io.StringIO()

    def work() -> None:
        with Progress(show=True, stream=stream).task("Leads", 4, "rows") as task:
            task.advance(2)
            raise KeyError("x")

    with pytest.raises(KeyError):
        work()
    assert stream.getvalue().endswith("\n")


def test_stdout_stays_clean(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(show=True).task("Leads", 1, "rows") as task:
        task.advance(1)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Leads" in printed.err


def test_silent_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with SILENT.task("Leads", 1, "rows") as task:
        task.advance(1)
    assert task.done == 1
    assert capsys.readouterr() == ("", "")


def test_tasks_within_tasks() -> None:
    progress = Progress(show=False)
    with progress.task("all", 2, "objects") as outer:
        for rows in (3, 4):
            with progress.task("one", rows, "rows") as inner:
                inner.advance(rows)
            outer.advance(1)
    assert (outer.done, inner.done) == (2, 4)
