"""One check of the doctor, and all of them: for people and for machines."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from recon.errors import InputRefused

if TYPE_CHECKING:
    from recon.errors import ReconError

State = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name
        What, like "login".
    state
        ok; warning: it works, but not for everything or not for long; fault: a run will fail or can't be trusted.
    message
        What was found, in one sentence.
    remedy
        What to do; None where all is well.
    """

    name: str
    state: State
    message: str
    remedy: str | None = None

    def line(self) -> str:
        """The check in one line."""
        todo = "" if self.remedy is None else f" What to do: {self.remedy}"
        return f"{self.state:8} {self.name}: {self.message}{todo}"


def ok(name: str, message: str) -> Check:
    """A check that found all well."""
    return Check(name, "ok", message)


def failed(name: str, error: ReconError, state: State = "fault") -> Check:
    """A check that recon's own error ended."""
    if isinstance(error, InputRefused):
        first = error.problems[0]
        return Check(name, state, f"{first.file}: {first.message}", first.remedy)
    message = " ".join(error.message.split())
    return Check(name, state, message if message.endswith(".") else f"{message}.", error.hint)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All checks, in the order in which they were made."""

    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> int:
        """0, or 1 where there is a fault."""
        return 1 if any(check.state == "fault" for check in self.checks) else 0

    def lines(self) -> list[str]:
        """One line a check, and one with the counts."""
        counts = Counter(check.state for check in self.checks)
        said = ", ".join(
            f"{counts[state]} {state}{_plural(state, counts[state])}" for state in ("ok", "warning", "fault")
        )
        return [*(check.line() for check in self.checks), said]

    def as_json(self) -> dict[str, Any]:
        """The same for machines."""
        return {"exit_code": self.exit_code, "checks": [asdict(check) for check in self.checks]}


def _plural(state: str, count: int) -> str:
    return "" if state == "ok" or count == 1 else "s"
