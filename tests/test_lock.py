"""The lock on a workspace, between real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from recon import lock
from recon.clock import SetClock
from recon.errors import ReconError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = SetClock(datetime(2026, 11, 24, 18, tzinfo=UTC))
HOLD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from recon import lock
from recon.clock import SetClock
with lock.held(Path(sys.argv[1]), "run other", SetClock(datetime(2026, 11, 24, 17, tzinfo=UTC)), word=sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(folder: Path, word: str = "", within: str = "") -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), word],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, lock.WITHIN: within},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def test_is_free_again_after_the_block_and_after_an_error(tmp_path: Path) -> None:
    with lock.held(tmp_path, "run 1", NOW) as former:
        assert former is None
    with pytest.raises(ZeroDivisionError), lock.held(tmp_path, "run 2", NOW):
        raise ZeroDivisionError
    with lock.held(tmp_path, "run 3", NOW) as former:
        assert former is None
    assert (tmp_path / lock.FILE_NAME).read_bytes() == b""


def test_two_parts_of_one_process_do_not_overlap(tmp_path: Path) -> None:
    with (
        lock.held(tmp_path, "run 1", NOW),
        pytest.raises(ReconError, match=rf"process {os.getpid()} on .* \(run 1\)"),
        lock.held(tmp_path, "run 2", NOW),
    ):
        pytest.fail("both held it")


def test_names_the_process_that_holds_it_and_since_when(tmp_path: Path) -> None:
    with other_process(tmp_path) as process:
        with pytest.raises(ReconError) as refused, lock.held(tmp_path, "run 1", NOW):
            pytest.fail("both held it")
        assert f"process {process.pid} on " in str(refused.value)
        assert "(run other), since 2026-11-24T17:00:00Z" in str(refused.value)
        assert refused.value.exit_code == 1
        process.communicate("")
    with lock.held(tmp_path, "run 1", NOW) as former:
        assert former is None


def test_takes_over_from_a_process_that_was_killed(tmp_path: Path) -> None:
    with other_process(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with lock.held(tmp_path, "run 1", NOW) as former:
        assert former is not None
        assert (former.pid, former.doing, former.since) == (process.pid, "run other", "2026-11-24T17:00:00Z")


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"pid": 1}', '{"pid": 1, "more": 2}', "\xff\xfe"])
def test_a_file_that_says_nothing_sensible_is_no_hindrance(tmp_path: Path, content: str) -> None:
    (tmp_path / lock.FILE_NAME).write_text(content, encoding="latin-1")
    with lock.held(tmp_path, "run 1", NOW) as former:
        assert former is None


def test_a_file_that_cannot_be_opened_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / lock.FILE_NAME).mkdir()
    with pytest.raises(ReconError, match="can't be opened"), lock.held(tmp_path, "run 1", NOW):
        pytest.fail("held")


def test_a_part_of_the_run_gets_in_one_at_a_time(tmp_path: Path) -> None:
    word = lock.new_word()
    environ = {lock.WITHIN: word}
    with lock.held(tmp_path, "run 1", NOW, word=word):
        with lock.held(tmp_path, "apply 1", NOW, environ=environ) as former:
            assert former is None
            with (
                pytest.raises(ReconError, match=r"\(apply 1\)"),
                lock.held(tmp_path, "apply 2", NOW, environ=environ),
            ):
                pytest.fail("both parts held it")
        for other in ({}, {lock.WITHIN: ""}, {lock.WITHIN: lock.new_word()}):
            with pytest.raises(ReconError, match=r"\(run 1\)"), lock.held(tmp_path, "apply 3", NOW, environ=other):
                pytest.fail("somebody else got in")
        with lock.held(tmp_path, "apply 4", NOW, environ=environ) as former:
            assert former is None
    # The run is over: what was a part of it is a run like any other.
    with (
        lock.held(tmp_path, "apply 5", NOW, environ=environ),
        pytest.raises(ReconError, match=r"\(apply 5\)"),
        lock.held(tmp_path, "apply 6", NOW, environ=environ),
    ):
        pytest.fail("both held it")


def test_a_run_without_a_word_lets_nobody_in(tmp_path: Path) -> None:
    with (
        lock.held(tmp_path, "run 1", NOW),
        pytest.raises(ReconError, match=r"\(run 1\)"),
        lock.held(tmp_path, "apply 1", NOW, environ={lock.WITHIN: ""}),
    ):
        pytest.fail("both held it")


def test_a_part_that_outlives_its_run_keeps_others_out(tmp_path: Path) -> None:
    word = lock.new_word()
    with other_process(tmp_path, word=word) as run, other_process(tmp_path, within=word) as part:
        os.kill(run.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        run.wait()
        with pytest.raises(ReconError, match=rf"process {part.pid} on "), lock.held(tmp_path, "run 2", NOW):
            pytest.fail("the part was still at work")
        part.communicate("")
        with lock.held(tmp_path, "run 2", NOW) as former:
            assert former is not None
            assert former.pid == run.pid
