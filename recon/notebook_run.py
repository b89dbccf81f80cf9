"""One notebook, executed through papermill in this very Python: nothing has to be registered, and nothing is left running.

What papermill and Jupyter leave to be desired is mended here: messages between the two processes are encrypted, the executed copy is
readable by its owner alone, time-outs and dead kernels are marked in it, and whatever happens is told in a sentence.
"""

from __future__ import annotations

import html
import logging
import os
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat

from recon import errors
from recon.errors import InputRefused, ReconError, UsageError
from recon.report.mask import mask_within
from recon.secrets import redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from recon.notebook_parameters import Value

_HINT = "\n  What to do: "
# papermill takes cells of this tag out again when such a notebook is run once more.
_MARKER = "papermill-error-cell-tag"

# Both log what is told here in a sentence, cell contents included; without a handler Python would print that to stderr.
for _name in ("papermill", "traitlets"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in whole seconds.

    Attributes
    ----------
    start
        Until the kernel answers.
    cell
        For one cell.
    """

    start: int = 120
    cell: int = 6 * 3600


@dataclass(slots=True)
class _State:
    """What is known of an execution when it fails."""

    cell: int | None = None
    exit_code: int | None = None


def execute(
    source: Path,
    target: Path,
    parameters: Mapping[str, Value],
    *,
    environ: Mapping[str, str],
    limits: Limits,
    hidden: Sequence[str] = (),
    cell_done: Callable[[], None] = lambda: None,
) -> None:
    """Execute a notebook and keep the executed copy, also of a failed one.

    Parameters
    ----------
    source, target
        The notebook, and where the executed copy goes (mode 600, it may hold personal data). The target's folder must be there.
    parameters
        For its parameters cell; see `recon.notebook_parameters.settled`.
    environ
        The kernel's environment.
    limits
        How long things may take.
    hidden
        Secrets: where a cell has printed one, it is taken out of the executed copy.
    cell_done
        Called after each code cell.

    Raises
    ------
    UsageError
        If the notebook stopped because recon refused settings or input.
    ReconError
        If it failed in any other way.
    """
    state = _State()
    sentence: ReconError | None = None
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        target.chmod(0o600)  # it may have been there
        with tempfile.TemporaryDirectory(prefix="recon-kernel-") as runtime:
            sentence = _papermill(
                source, target, parameters, Path(runtime), environ, limits, state, cell_done
            ) or _unfinished(target, state)
        if target.stat().st_size:
            _without(target, hidden)
        if sentence is not None:
            sentence = type(sentence)(
                redacted(sentence.message, hidden), hint=sentence.hint and redacted(sentence.hint, hidden)
            )
            if target.stat().st_size:
                _mark(target, state, sentence)
    except OSError as error:
        sentence = ReconError(
            f"the executed copy {target} can't be written: {error.strerror}.",
            hint="See to the folder's rights and the room on the disk, and run again.",
        )
    if sentence is not None:
        raise sentence


def code_cells(source: Path) -> int:
    """How many cells of a notebook will be executed, the one that papermill adds for parameters not counted."""
    notebook = nbformat.read(source, as_version=4)  # type: ignore[no-untyped-call]
    return sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in notebook.cells)


def _papermill(
    source: Path,
    target: Path,
    parameters: Mapping[str, Value],
    runtime: Path,
    environ: Mapping[str, str],
    limits: Limits,
    state: _State,
    cell_done: Callable[[], None],
) -> ReconError | None:
    """Run papermill; what went wrong, as an error to raise."""
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    def cell_begins(*, cell_index: int, **_: object) -> None:
        state.cell = cell_index

    def cell_ends(**_: object) -> None:
        cell_done()

    name = source.stem
    try:
        papermill.execute_notebook(
            _literal(source),
            _literal(target),
            dict(parameters),
            kernel_name="python3",
            language="python",
            progress_bar=False,
            start_timeout=limits.start,
            execution_timeout=limits.cell,
            # Handed on to the client that nbclient makes:
            kernel_manager_class=_kernel_manager(runtime, environ, state),
            iopub_timeout=60,
            on_cell_start=cell_begins,
            on_cell_executed=cell_ends,
        )
    except papermill.PapermillExecutionError as error:
        state.cell = None  # papermill has marked it
        return _from_cell(name, target, error)
    except DeadKernelError:
        return _died(name, target, state)
    except CellTimeoutError as error:
        if "IOPub" in str(error):
            return ReconError(
                f"the notebook {name} lost the output of a cell: its kernel doesn't answer.", hint=_again(target)
            )
        return ReconError(
            f"the notebook {name} was stopped: a cell took longer than {limits.cell} seconds.",
            hint=f"Allow more time, or see in {target} how far it came.",
        )
    except RuntimeError:
        state.cell = 0
        return _not_started(name, runtime, limits)
    return None


def _literal(path: Path) -> str:
    """A path for papermill, which puts paths through `str.format`."""
    return str(path.absolute()).replace("{", "{{").replace("}", "}}")


def _kernel_manager(runtime: Path, environ: Mapping[str, str], state: _State) -> type[Any]:
    """A class of kernel managers for one execution."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from traitlets import default

    if "transport_encryption" not in AsyncKernelManager.class_trait_names():
        raise ReconError(
            "the installed jupyter_client can't encrypt what the notebooks' kernels send.",
            hint="Install jupyter_client 8.9 or newer, and ipykernel 7.3 or newer.",
        )
    environment = {
        **environ,
        # Nobody's start-up files and no history: a run depends on recon, its settings and its parameters.
        "IPYTHONDIR": str(runtime / "ipython"),
        # A debugger isn't attached, so its remark about frozen modules is noise.
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }

    class ThisPython(KernelSpecManager):
        """Knows one kernel, whatever it is called: the Python that runs this."""

        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:  # noqa: ARG002 - there is only this one
            return KernelSpec(resource_dir=str(runtime), **get_kernel_dict())

    class PrivateKernelManager(AsyncKernelManager):
        """Encrypts what goes over the wire, keeps its keys in a private folder, and remembers how its kernel ended."""

        @default("transport_encryption")
        def _encrypted(self) -> str:
            return "required"

        @default("kernel_spec_manager")
        def _this_python(self) -> KernelSpecManager:
            return ThisPython()

        @default("connection_file")
        def _private_file(self) -> str:
            return str(runtime / "connection.json")

        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override] # as its base class does
            with (runtime / "stderr").open("wb") as stderr:
                await super().start_kernel(env=environment, stdout=stderr, stderr=stderr, **options)

        async def is_alive(self) -> bool:  # type: ignore[override] # as its base class does
            if self.provisioner is not None and self.has_kernel:
                state.exit_code = await self.provisioner.poll()
            alive: bool = await super().is_alive()
            return alive

    return PrivateKernelManager


def _from_cell(name: str, target: Path, error: Any) -> ReconError:
    """What a cell raised: recon's own sentence, or the kind of error. Other texts may hold values of a row."""
    kind = getattr(errors, error.ename, None)
    if isinstance(kind, type) and issubclass(kind, ReconError):
        message, _, hint = mask_within(error.evalue).partition(_HINT)
        refused = issubclass(kind, (UsageError, InputRefused))
        return (UsageError if refused else ReconError)(message, hint=hint or _again(target))
    if error.ename == "MemoryError":
        return _out_of_memory(name)
    return ReconError(
        f"the notebook {name} failed in its cell [{error.exec_count}] with {error.ename[:80]}.",
        hint=f"{_again(target)} It may hold values of a row: handle it as personal data.",
    )


def _again(target: Path) -> str:
    return f"See the executed copy, {target}."


def _out_of_memory(name: str) -> ReconError:
    return ReconError(
        f"the notebook {name} ran out of memory.",
        hint="Close other programs or take a larger machine, or reconcile with `engine` duckdb, which needs the least.",
    )


def _died(name: str, target: Path, state: _State) -> ReconError:
    code = state.exit_code
    if code is not None and code < 0:
        number = -code
        if number == signal.SIGTERM:
            return ReconError(f"the notebook {name} was told to end by somebody else (SIGTERM).", hint="Run again.")
        if hasattr(signal, "SIGKILL") and number == signal.SIGKILL:
            return ReconError(
                f"the notebook {name} was killed from outside: most likely the machine ran out of memory.",
                hint="Close other programs or take a larger machine, or reconcile with `engine` duckdb, which needs the least.",
            )
        word = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        return ReconError(f"the notebook {name} crashed ({word}).", hint=_again(target))
    how = "" if code is None else f" with code {code}"
    return ReconError(f"the kernel of the notebook {name} ended{how} before the notebook did.", hint=_again(target))


def _not_started(name: str, runtime: Path, limits: Limits) -> ReconError:
    log = runtime / "stderr"
    lines = log.read_text("utf-8", errors="replace").strip().splitlines() if log.exists() else []
    # A traceback ends in its error, but for Python's own one at start-up, which goes on behind it.
    telling = [line for line in lines if "Error:" in line] or lines
    said = f" Its last words: {mask_within(telling[-1])[:200]}" if telling else ""
    return ReconError(
        f"the kernel for the notebook {name} didn't start within {limits.start} seconds, or ended at once.{said}",
        hint="See that recon is installed with its dependencies and the machine isn't overloaded; then run again.",
    )


def _unfinished(target: Path, state: _State) -> ReconError | None:
    """A cell that called sys.exit: for papermill with code 0 that is a success, with the rest left out."""
    notebook = nbformat.read(target, as_version=4)  # type: ignore[no-untyped-call]
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error" and output.ename == "SystemExit":
                state.cell = index
                return ReconError(
                    f"the notebook {target.stem} ended itself in its cell [{cell.execution_count}], before its last one.",
                    hint="Take sys.exit out of the notebook.",
                )
    return None


def _without(target: Path, hidden: Sequence[str]) -> None:
    """Take secrets out of an executed copy: a cell may have printed its environment."""
    if not hidden:
        return
    notebook = nbformat.read(target, as_version=4)  # type: ignore[no-untyped-call]

    def clean(part: Any) -> Any:
        if isinstance(part, dict):
            return nbformat.from_dict({key: clean(value) for key, value in part.items()})  # type: ignore[no-untyped-call]
        if isinstance(part, list):
            return [clean(each) for each in part]
        return redacted(part, hidden) if isinstance(part, str) else part

    cleaned = clean(notebook)
    if cleaned != notebook:
        nbformat.write(cleaned, target)  # type: ignore[no-untyped-call]


def _mark(target: Path, state: _State, sentence: ReconError) -> None:
    """Say in the executed copy why it failed, and mark its cells where papermill doesn't: there they would all count as completed."""
    notebook = nbformat.read(target, as_version=4)  # type: ignore[no-untyped-call]
    notebook.metadata.setdefault("papermill", {})["exception"] = True
    for index, cell in enumerate([] if state.cell is None else notebook.cells[state.cell :]):
        status = {"status": "pending"} if index else {"status": "failed", "exception": True}
        cell.metadata.setdefault("papermill", {}).update(status)
    text = f'<span style="color:red">This run failed: {html.escape(sentence.message)}</span>'
    marker = nbformat.v4.new_markdown_cell(text, metadata={"tags": [_MARKER]})  # type: ignore[no-untyped-call]
    notebook.cells.insert(0, marker)
    nbformat.write(notebook, target)  # type: ignore[no-untyped-call]
