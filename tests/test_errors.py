"""What can go wrong, as sentences."""

from __future__ import annotations

import inspect
import pickle
import re
import textwrap
from typing import TYPE_CHECKING

import pytest

from recon import errors
from recon.errors import (
    PROBLEMS_SHOWN,
    AccessRefused,
    IncompletePull,
    InputRefused,
    Problem,
    ReconError,
    SettingsError,
    SourceError,
    StraddlingPull,
    UsageError,
)

if TYPE_CHECKING:
    from pathlib import Path

EVERY = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, Exception)]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    lines = re.findall(r"^    ([│├└─ ]*)(\w+)\s+(?:exit code (\d))?", str(errors.__doc__), re.MULTILINE)
    told: dict[str, str] = {}
    above: list[str] = []
    for indent, name, code in lines:
        if name not in vars(errors):
            break
        depth = len(indent) // 4
        above[depth:] = [name]
        told[name] = above[depth - 1] if depth else "Exception"
        if code:
            assert vars(errors)[name].exit_code == int(code), name
    assert told == {each.__name__: each.__bases__[0].__name__ for each in EVERY}


@pytest.mark.parametrize("kind", EVERY)
def test_everything_raised_on_purpose_is_a_recon_error_with_an_exit_code(kind: type[ReconError]) -> None:
    assert issubclass(kind, ReconError)
    assert kind.exit_code in (1, 2)
    assert kind.__doc__


def test_a_script_catches_them_all_by_one_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The script of the docstring, run."""
    script = textwrap.dedent(str(errors.__doc__).partition("a script writes::\n")[2])
    script = "import sys\nimport recon.jobs\nimport recon.errors\n" + script.replace(
        "(...)", f"({str(tmp_path)!r}, snapshot='none')"
    )
    with pytest.raises(SystemExit) as caught:
        exec(script, {})
    assert caught.value.code in (1, 2)
    assert capsys.readouterr().err


def test_the_hint_stands_on_its_own_line() -> None:
    assert str(ReconError("It broke.")) == "It broke."
    assert str(UsageError("It broke.", hint="Mend it.")) == "It broke.\n  What to do: Mend it."
    error = SettingsError("It broke.", hint="Mend it.")
    assert (error.message, error.hint, error.exit_code) == ("It broke.", "Mend it.", 2)


class TestProblem:
    @pytest.mark.parametrize(
        ("problem", "text"),
        [
            (Problem("people.csv", "It is empty.", "Export it again."), "people.csv: It is empty. Export it again."),
            (Problem("a.csv", "Bad.", "Mend.", line=7), "a.csv, line 7: Bad. Mend."),
            (Problem("a.csv", "Bad.", "Mend.", column="E mail"), "a.csv, column 'E mail': Bad. Mend."),
            (Problem("a.csv", "Bad.", "Mend.", line=0, column="x\n"), "a.csv, line 0, column 'x\\n': Bad. Mend."),
        ],
    )
    def test_it_says_where(self, problem: Problem, text: str) -> None:
        assert str(problem) == text

    def test_it_cant_be_changed(self) -> None:
        with pytest.raises(AttributeError):
            Problem("a", "b", "c").file = "d"  # type: ignore[misc]


class TestInputRefused:
    @pytest.mark.parametrize("number", [1, 2, PROBLEMS_SHOWN - 1, PROBLEMS_SHOWN])
    def test_every_problem_is_told_in_order(self, number: int) -> None:
        problems = [Problem("a.csv", "Bad.", "Mend.", line=n) for n in range(number)]
        error = InputRefused(problems)
        assert str(error).splitlines() == [str(problem) for problem in problems]
        assert error.problems == tuple(problems)
        assert error.exit_code == 2
        assert error.hint is None

    @pytest.mark.parametrize("more", [1, 1_000_000])
    def test_many_are_counted_and_all_are_kept(self, more: int) -> None:
        error = InputRefused([Problem("a.csv", "Bad.", "Mend.")] * (PROBLEMS_SHOWN + more))
        lines = str(error).splitlines()
        assert len(lines) == PROBLEMS_SHOWN + 1
        assert lines[-1] == f"... and {more} more of this kind."
        assert len(error.problems) == PROBLEMS_SHOWN + more

    def test_none_is_no_refusal(self) -> None:
        with pytest.raises(ValueError, match="at least one problem"):
            InputRefused([])

    def test_a_list_that_grows_afterwards_changes_nothing(self) -> None:
        problems = [Problem("a.csv", "Bad.", "Mend.")]
        error = InputRefused(problems)
        problems.append(problems[0])
        assert len(error.problems) == 1


@pytest.mark.parametrize("kind", [SourceError, AccessRefused, IncompletePull, StraddlingPull])
def test_a_systems_error_has_its_status_and_code(kind: type[SourceError]) -> None:
    error = kind("No.", hint="Ask.", status=403, code="INVALID_FIELD")
    assert (error.status, error.code, error.exit_code) == (403, "INVALID_FIELD", 1)
    assert str(error) == "No.\n  What to do: Ask."
    assert (kind("No.").status, kind("No.").code) == (None, None)


@pytest.mark.parametrize(
    "error",
    [
        ReconError("It broke.", hint="Mend it."),
        InputRefused([Problem("a.csv", "Bad.", "Mend.", 1, "x")] * 30),
        SourceError("No.", status=500, code="X"),
    ],
)
def test_an_error_gets_whole_from_process_to_process(error: ReconError) -> None:
    copied = pickle.loads(pickle.dumps(error))
    assert str(copied) == str(error)
    assert vars(copied) == vars(error)
