"""Runs a page of the documentation as a reader would: its files are written, its commands are run, its Python is executed.

What a page holds, from top to bottom, in one empty folder:

* ``console``: lines with ``$`` are commands for bash, what follows is what they print; ``...`` stands for anything. No output shown,
  none compared. A command has to exit with 0; a page that shows another code ends the line with ``; echo "exit $?"``.
* ``sh``: commands whose output isn't shown.
* ``python``: executed in one namespace a page.
* ``<!-- file: NAME -->`` before a block: it is written to NAME.
* ``<!-- in another terminal -->`` before a block: it is started, and goes on to the page's end.
* ``<!-- not run: WHY -->`` before a block: it is read, and no more.

Any other language is text.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, chdir
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- (file: (?P<file>\S+)|(?P<other>in another terminal)|not run: (?P<why>[^>]+)) -->\n+\Z")
_RUN = ("console", "sh", "python")
_END = "__the_command_ended__"
_PATIENCE = 120


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: where it begins, what it is written in, and what is to be done with it."""

    line: int
    language: str
    text: str
    file: str | None = None
    background: bool = False
    why_not: str | None = None


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page."""
    for found in _FENCE.finditer(text):
        mark = _MARK.search(text[: found.start()])
        said: Mapping[str, str | None] = mark.groupdict() if mark else {}
        indent = len(found[1])
        body = "".join(line[indent:] for line in found[3].splitlines(keepends=True))
        yield Block(
            text.count("\n", 0, found.start()) + 2,
            found[2],
            body,
            said.get("file"),
            said.get("other") is not None,
            said.get("why"),
        )


def steps(block: Block) -> Iterator[tuple[int, str, str | None]]:
    """The commands of a console or sh block: line, command, and the output that is shown (None: none is)."""
    if block.language == "sh":
        yield block.line, block.text, None
        return
    command: list[str] = []
    shown: list[str] = []
    begun = block.line
    for number, line in enumerate(block.text.splitlines(), block.line):
        if line.startswith("$ "):
            if command:
                yield begun, "\n".join(command), "\n".join(shown) or None
            command, shown, begun = [line[2:]], [], number
        elif line.startswith("> ") and not shown and command:
            command.append(line[2:])
        else:
            shown.append(line)
    if command:
        yield begun, "\n".join(command), "\n".join(shown) or None


def matches(shown: str, said: str) -> bool:
    """Is that what a page shows? `...` stands for anything, within a line or over several."""
    pattern = ".*".join(re.escape(part) for part in shown.strip().split("..."))
    return re.fullmatch(pattern, said.strip(), re.DOTALL) is not None


class Page:
    """A page that is followed in a folder."""

    def __init__(self, path: Path, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self.path, self.folder = path, folder
        self._names: dict[str, Any] = {"__name__": "__main__"}
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RECON_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "COLUMNS": "120",
            **(environ or {}),
        }

    def follow(self) -> list[str]:
        """Do what the page says, in order. Returns what was run: `line: command`."""
        done: list[str] = []
        with ExitStack() as opened:
            shell = opened.enter_context(_Shell(self.folder, self._environ))
            for block in blocks(self.path.read_text("utf-8")):
                if block.file is not None:
                    target = self.folder / block.file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_text(block.text, "utf-8")
                elif block.language not in _RUN or block.why_not is not None:
                    continue
                elif block.language == "python":
                    done.append(f"{block.line}: python")
                    self._python(block)
                elif block.background:
                    for line, command, _ in steps(block):
                        done.append(f"{line}: {command}")
                        opened.enter_context(_Background(command, self.folder, self._environ))
                else:
                    for line, command, shown in steps(block):
                        done.append(f"{line}: {command}")
                        self._command(shell, line, command, shown)
        return done

    def _command(self, shell: _Shell, line: int, command: str, shown: str | None) -> None:
        code, said = shell.run(command)
        place = f"{self.path.name}, line {line}: {command}"
        assert code == 0, f"{place}\nexits with {code} and prints\n{said}"
        assert shown is None or matches(shown, said), f"{place}\nis to print\n{shown}\nand prints\n{said}"

    def _python(self, block: Block) -> None:
        # Padded, so that a traceback names the page's own line.
        code = compile("\n" * (block.line - 1) + block.text, str(self.path), "exec")
        with chdir(self.folder):
            exec(code, self._names)


class _Shell:
    """One bash for a page: what a command exports or where it goes holds for the next one."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.close()
        self._bash.wait(_PATIENCE)
        self._bash.stdout.close()

    def run(self, command: str) -> tuple[int, str]:
        """Run a command: its exit code, and what it printed on both streams."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        # Whichever line of several fails, that tells.
        trap = "trap 'failed=$?' ERR" if "\n" in command else ":"
        self._bash.stdin.write(
            f"failed=0; {trap}\n{{\n{command}\n}} </dev/null\nlast=$?; trap - ERR\n"
            f"[ $failed = 0 ] && failed=$last; echo; echo {_END} $failed\n"
        )
        self._bash.stdin.flush()
        said: list[str] = []
        for line in self._bash.stdout:
            if line.startswith(_END):
                return int(line.split()[1]), "".join(said)
            said.append(line)
        return -1, "".join([*said, "\n(the shell ended)"])


class _Background:
    """A command in another terminal: waited for until it says something, ended with the page."""

    def __init__(self, command: str, folder: Path, environ: Mapping[str, str]) -> None:
        self._file = (folder / ".another-terminal").open("a+", encoding="utf-8")
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        until = time.monotonic() + _PATIENCE
        while not Path(self._file.name).stat().st_size:
            assert self._process.poll() is None, "the command in another terminal ended"
            assert time.monotonic() < until, "the command in another terminal says nothing"
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(_PATIENCE)
        self._file.close()
