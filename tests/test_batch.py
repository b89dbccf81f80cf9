"""The batch runner, with real kernels: what notebooks get, and what is told and kept when they fail."""

from __future__ import annotations

import html
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from papermill import PapermillExecutionError

from recon import batch, lock, notebook_run, settings
from recon.batch import Limits
from recon.clock import SetClock
from recon.errors import ReconError, UsageError
from recon.progress import Progress

if TYPE_CHECKING:
    from nbformat import NotebookNode

NOW = SetClock(datetime(2026, 11, 24, 18, tzinfo=UTC))
ADDRESS = "ann.lee@acme.example"
PARAMETERS = 'workspace: str = "."\nrun_id: str = ""'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty workspace, in a folder whose name would upset papermill's path templates."""
    path = tmp_path / "w {x} ü"
    (path / "notebooks").mkdir(parents=True)
    (path / settings.FILE_NAME).write_text("")
    return path


def write(folder: Path, name: str, *cells: str, parameters: str = PARAMETERS) -> None:
    first = new_code_cell(parameters, metadata={"tags": ["parameters"]})  # type: ignore[no-untyped-call]
    rest = [new_code_cell(cell) for cell in cells]  # type: ignore[no-untyped-call]
    notebook = new_notebook(cells=[new_markdown_cell(f"# {name}"), first, *rest])  # type: ignore[no-untyped-call]
    nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")  # type: ignore[no-untyped-call]


def run(folder: Path, *names: str, **options: Any) -> batch.BatchResult:
    given: dict[str, Any] = {"run_id": "r1", "clock": NOW} | options
    return batch.run(folder, notebooks=names, **given)


def executed(folder: Path, name: str) -> NotebookNode:
    path = folder / "reports" / "r1" / "notebooks" / f"{name}.ipynb"
    assert os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == 0o600
    notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    return notebook


def failed(folder: Path, *cells: str, kind: type[ReconError] = ReconError, **options: Any) -> str:
    """Run a notebook that fails: the text for the user. No value of a row is in it, and no later cell or notebook has run."""
    write(folder, "a", *cells, "later = 1")
    write(folder, "b", "1")
    said: list[str] = []
    with pytest.raises(ReconError) as caught:
        run(folder, "a", "b", say=said.append, **options)
    assert type(caught.value) is kind
    assert caught.value.exit_code == kind.exit_code
    shown = "".join(traceback.format_exception(caught.value))
    assert ADDRESS not in shown
    assert "During handling" not in shown
    copies = folder / "reports" / "r1" / "notebooks"
    line, where, rest = said
    reason = caught.value.message.splitlines()[0]
    assert re.fullmatch(rf"a: failed after \d+\.\d s \(1 of 2\): {re.escape(reason)}", line)
    assert (where, rest) == (f"  what it did is in {copies / 'a.ipynb'}", "not run: b")
    assert [path.name for path in copies.iterdir()] == ["a.ipynb"]
    notebook = executed(folder, "a")
    assert html.escape(caught.value.message) in notebook.cells[0].source
    assert notebook.cells[-1].get("execution_count") is None
    # The next run isn't hindered.
    with lock.held(folder, "run r2", NOW) as former:
        assert former is None
    return str(caught.value)


def states(notebook: NotebookNode) -> list[str]:
    return [cell.metadata.papermill.status for cell in notebook.cells if "papermill" in cell.metadata]


TELL = """
import json, os, sys
from pathlib import Path
from IPython import get_ipython
kernel = get_ipython().kernel
told = {name: [value, type(value).__name__] for name, value in dict(
    workspace=workspace, run_id=run_id, text=text, count=count, share=share, dry=dry, maybe=maybe).items()}
connection = json.loads(Path(kernel.config["IPKernelApp"]["connection_file"]).read_text())
(Path(workspace) / "told.json").write_text(json.dumps(dict(
    told=told,
    python=sys.executable,
    now=os.environ["RECON_NOW"],
    own=os.environ["OWN"],
    startup="startup_ran" in globals(),
    keys=sorted(key for key in connection if key.startswith("curve")),
    connection=kernel.config["IPKernelApp"]["connection_file"],
    mode=oct(os.stat(kernel.config["IPKernelApp"]["connection_file"]).st_mode & 0o777),
)))
print("out")
print("err", file=sys.stderr)
"""


def test_a_notebook_gets_what_it_was_told_in_this_python(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write(
        folder,
        "a",
        TELL,
        "text",
        parameters=f'{PARAMETERS}\ntext: str = ""\ncount: int = 1\nshare: float = 0.5\ndry: bool = True\nmaybe: str | None = "x"',
    )
    # Somebody's start-up files and somebody's kernels of the same name are not ours.
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("startup_ran = True")
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text('{"argv": ["false"], "display_name": "x", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(spec.parents[1]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    environ = {**os.environ, "OWN": "a$HOME"}
    said: list[str] = []
    shown = io.StringIO()
    hostile = 'a "quoted" \\ {braces} $HOME \n007 é 💌 <b>'
    result = run(
        folder,
        "a",
        parameters=batch.from_text({"text": hostile, "count": "007", "dry": "false"}) | {"share": 2, "maybe": None},
        environ=environ,
        say=said.append,
        progress=Progress(show=True, stream=shown),
    )
    found = json.loads((folder / "told.json").read_text())
    assert found.pop("told") == {
        "workspace": [str(folder), "str"],
        "run_id": ["r1", "str"],
        "text": [hostile, "str"],
        "count": [7, "int"],
        "share": [2, "int"],
        "dry": [False, "bool"],
        "maybe": [None, "NoneType"],
    }
    assert str(tmp_path) not in found["connection"]
    assert not os.path.lexists(found.pop("connection"))
    assert found == {
        "python": sys.executable,
        "now": "2026-11-24T18:00:00Z",
        "own": "a$HOME",
        "startup": False,
        "keys": ["curve_publickey", "curve_secretkey"],
        "mode": "0o600",
    }
    (done,) = result.notebooks
    assert (result.run_id, result.folder, done.name) == ("r1", folder / "reports" / "r1", "a")
    assert done.path == result.folder / "notebooks" / "a.ipynb"
    assert done.seconds > 0
    assert said == [f"a: done in {done.seconds:.1f} s (1 of 1)"]
    assert "4.00/4.00" in shown.getvalue()
    notebook = executed(folder, "a")
    assert set(states(notebook)) == {"completed"}
    assert notebook.cells[-1].outputs[0].data["text/plain"] == repr(hostile)
    assert os.name == "nt" or stat.S_IMODE(done.path.parent.stat().st_mode) == 0o700
    # Nothing of the kernel's comes to the terminal: no warning, no log.
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_cell_that_raises_is_told_without_the_rows_it_met(folder: Path) -> None:
    text = failed(folder, "1", f"{{}}['{ADDRESS}']")
    assert text.startswith("the notebook a failed in its cell [4] with KeyError.\n")
    assert "a.ipynb. It may hold values of a row" in text
    notebook = executed(folder, "a")
    assert ADDRESS in json.dumps(notebook)  # which is why the copy is private
    assert states(notebook)[-2:] == ["failed", "pending"]
    # The copy of a failed run is not overwritten, either.
    with pytest.raises(UsageError, match="has executed a already"):
        run(folder, "a")


def test_what_recon_refuses_in_a_notebook_is_told_as_it_was_said(folder: Path) -> None:
    text = failed(
        folder,
        "from recon.errors import InputRefused, Problem\n"
        f"raise InputRefused([Problem('people.csv', 'the flag of {ADDRESS} is blank.', 'Fill it in.', line=4, column='Out')])",
        kind=UsageError,
    )
    assert text.startswith(
        "people.csv, line 4, column 'Out': the flag of a***@a***.example is blank. Fill it in.\n  What to do: See"
    )


def test_a_secret_that_a_cell_prints_is_taken_out_of_the_copy_and_of_the_sentence(folder: Path) -> None:
    secret = 'planted "secret" with a \\ 4711'
    environ = {**os.environ, "RECON_GATEWAY_TOKEN": secret}
    text = failed(
        folder,
        "import os\nprint(os.environ['RECON_GATEWAY_TOKEN'])\nos.environ['RECON_GATEWAY_TOKEN']",
        "from recon.errors import SourceError\nraise SourceError('refused: ' + os.environ['RECON_GATEWAY_TOKEN'])",
        environ=environ,
    )
    assert text.startswith("refused: [secret]\n")
    copy = (folder / "reports" / "r1" / "notebooks" / "a.ipynb").read_text("utf-8")
    assert copy.count("[secret]") >= 3
    assert "4711" not in copy


@pytest.mark.parametrize(
    ("name", "value", "kind", "told"),
    [
        ("SourceError", "no answer.\n  What to do: Try later.", ReconError, "no answer.\n  What to do: Try later."),
        ("SettingsError", "no value.\n  What to do: Set it.", UsageError, "no value.\n  What to do: Set it."),
        ("MemoryError", "", ReconError, "the notebook a ran out of memory.\n  What to do: Close"),
        ("ReconErrors", ADDRESS, ReconError, "the notebook a failed in its cell [2] with ReconErrors.\n"),
        ("annotations", ADDRESS, ReconError, "the notebook a failed in its cell [2] with annotations.\n"),
    ],
)
def test_what_a_cell_raised_is_told_by_its_kind(name: str, value: str, kind: type[ReconError], told: str) -> None:
    error = notebook_run._from_cell("a", Path("a.ipynb"), PapermillExecutionError(2, 2, "source", name, value, []))
    assert type(error) is kind
    assert str(error).startswith(told)
    assert ADDRESS not in str(error)


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no SIGKILL")
def test_a_kernel_that_is_killed_is_told_as_lack_of_memory(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = failed(folder, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert "was killed from outside: most likely the machine ran out of memory" in text
    notebook = executed(folder, "a")
    assert "most likely the machine ran out of memory" in notebook.cells[0].source
    assert states(notebook)[-2:] == ["failed", "pending"]
    assert notebook.metadata.papermill.exception is True
    assert capfd.readouterr().err == ""


def test_a_kernel_that_ends_itself_is_told_with_its_code(folder: Path) -> None:
    assert "the kernel of the notebook a ended with code 3 before the notebook did" in failed(
        folder, "import os\nos._exit(3)"
    )


def test_a_cell_that_takes_too_long_is_stopped(folder: Path) -> None:
    text = failed(folder, "import threading\nthreading.Event().wait()", limits=Limits(cell=3))
    assert text.startswith("the notebook a was stopped: a cell took longer than 3 seconds.\n")
    notebook = executed(folder, "a")
    assert states(notebook)[-2:] == ["failed", "pending"]


def test_sys_exit_is_no_success(folder: Path) -> None:
    text = failed(folder, "import sys\nsys.exit(0)")
    assert text.startswith("the notebook a ended itself in its cell [3], before its last one.")


def test_a_kernel_that_does_not_start(folder: Path) -> None:
    text = failed(folder, "1", environ={**os.environ, "PYTHONHOME": str(folder)}, limits=Limits(start=20))
    assert text.startswith("the kernel for the notebook a didn't start within 20 seconds, or ended at once.")
    assert "Its last words: ModuleNotFoundError: No module named 'encodings'" in text
    notebook = executed(folder, "a")
    assert "start within 20 seconds" in notebook.cells[0].source
    assert set(states(notebook)) == {"failed", "pending"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"parameters": {"dryrun": False}}, "did you mean dry_run"),
        ({"parameters": {"dry_run": 0}}, "has to be true or false"),
        ({"parameters": {"run_id": "r2"}}, "the run sets this itself"),
        ({"parameters": {"token": "x"}}, "looks like a secret"),
        ({"parameters": {"note": "my correct-horse"}}, "holds a secret of the environment"),
        ({"notebooks": ("a", "c")}, "there is no notebook 'c'"),
        ({"notebooks": ("a", "odd")}, "sets no parameter"),
        ({"notebooks": ("a", "a")}, "can't be a notebook of this run"),
        ({"notebooks": ("../a",)}, "can't be a notebook of this run"),
        ({"notebooks": ()}, "at least one notebook"),
        ({"run_id": "../r1"}, "can't be a run's id"),
        ({"run_id": ""}, "can't be a run's id"),
        ({"run_id": "{x}"}, "can't be a run's id"),
    ],
)
def test_what_can_be_refused_is_refused_before_anything_runs(folder: Path, options: dict[str, Any], told: str) -> None:
    write(folder, "a", "1", parameters='dry_run: bool = True\nnote: str = ""')
    write(folder, "odd", "1", parameters="x = 1")
    before = sorted(folder.rglob("*"))
    environ = {**os.environ, "RECON_SF_PASSWORD": "correct-horse"}
    given: dict[str, Any] = {"run_id": "r1", "notebooks": ("a",), "clock": NOW, "environ": environ} | options
    with pytest.raises(UsageError) as refused:
        batch.run(folder, **given)
    assert told in str(refused.value)
    assert "correct-horse" not in str(refused.value)
    assert sorted(folder.rglob("*")) == before


def test_a_folder_without_settings_is_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no recon\.toml"):
        run(tmp_path, "01_pull")


def test_two_runs_do_not_overlap(folder: Path) -> None:
    write(folder, "a", "1")
    with (
        lock.held(folder, "run r0", NOW),
        pytest.raises(ReconError, match=rf"process {os.getpid()} on .* \(run r0\), since 2026-11-24T18:00:00Z"),
    ):
        run(folder, "a")
    assert not (folder / "reports").exists()


def test_reports_that_cannot_be_written_are_told_in_a_sentence(folder: Path) -> None:
    write(folder, "a", "1")
    (folder / "reports").write_text("a file")
    with pytest.raises(ReconError, match="can't be made"):
        run(folder, "a")


RUN = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from recon import batch
from recon.clock import SetClock
batch.run(Path(sys.argv[1]), run_id=sys.argv[2], notebooks=("a",), clock=SetClock(datetime(2026, 11, 24, 18, tzinfo=UTC)), say=print)
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="signals and named pipes are needed")
@pytest.mark.parametrize("how", ["interrupted", "killed"])
def test_a_run_that_is_stopped_leaves_no_kernel_and_no_lock(folder: Path, how: str) -> None:
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    # The kernel keeps the pipe open: its end is the kernel's end.
    write(
        folder,
        "a",
        "from pathlib import Path\npipe = (Path(workspace) / 'pipe').open('w')",
        # Said from within the cell that waits: by then the copy was saved with the cell before, and nobody is writing it.
        "import threading\nprint('begun', file=pipe, flush=True)\nthreading.Event().wait()",
    )
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), "r1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        with pipe.open() as reader:
            assert reader.readline() == "begun\n"
            process.send_signal(signal.SIGINT if how == "interrupted" else signal.SIGKILL)
            assert reader.read() == ""
        assert process.wait() != 0
    with lock.held(folder, "run r2", NOW) as former:
        assert (former is None) == (how == "interrupted")
    assert states(executed(folder, "a"))[:2] == ["completed", "completed"]


def test_one_line_a_notebook_is_said_when_it_is_done(folder: Path) -> None:
    write(folder, "a", "1")
    write(folder, "b", "2")
    # A run that was killed has left its lock.
    left = {"pid": 1, "host": "h", "since": "2026-11-23T18:00:00Z", "doing": "run r0"}
    (folder / lock.FILE_NAME).write_text(json.dumps(left))
    said: list[tuple[str, bool]] = []

    def say(line: str) -> None:
        said.append((line.split(":")[0], (folder / "reports" / "r1" / "notebooks" / "b.ipynb").exists()))

    run(folder, "a", "b", say=say)
    assert said == [("An earlier run ended without a word", False), ("a", False), ("b", True)]
