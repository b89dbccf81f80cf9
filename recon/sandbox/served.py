"""A sandbox that is served from a folder until it is told to stop: what `recon sandbox` runs.

The folder holds the sandbox's state and is a workspace that leads to it: `sandbox.sqlite`, `recon.toml`, `environment.sh`.
"""

from __future__ import annotations

import json
import os
import shlex
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import requests

from recon import settings
from recon.clock import VARIABLE, SetClock, ShiftedClock, SystemClock, iso
from recon.errors import ReconError, SettingsError
from recon.sandbox.box import Sandbox
from recon.sandbox.faults_file import read_faults
from recon.sandbox.levers import SHIFT_KEY
from recon.sandbox.store import Store

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from datetime import datetime

    from recon.sandbox.faults import Fault

STATE_FILE = "sandbox.sqlite"
ENVIRONMENT_FILE = "environment.sh"


def serve(
    folder: Path | None,
    *,
    people: int,
    seed: int,
    salesforce_port: int = 0,
    gateway_port: int = 0,
    at: datetime | None = None,
    faults: Path | None = None,
    echo: Callable[[str], None],
    stop: threading.Event,
) -> None:
    """Serve a sandbox until `stop` is set.

    A folder that holds a sandbox already is gone on with: its records, its secrets and, where they are free, its ports.

    Parameters
    ----------
    folder
        Made if it isn't there. None: a temporary one, gone at the end.
    people, seed
        For the population of a new sandbox; see `recon.sandbox.population.populate`.
    salesforce_port, gateway_port
        0 takes the port of last time, or a free one.
    at
        Where the sandbox's clock stands. None: it goes with the machine's, and on from where it was moved to last time.
    faults
        A file that declares what goes wrong, see `recon.sandbox.faults_file`; each fault is told as it is met.
    echo
        Takes what the user has to know, a line or a few a call.
    stop
        Set from another thread or a signal handler; requests under way are finished.

    Raises
    ------
    ReconError
        If the folder or a port can't be used, or a server doesn't start.
    InputRefused
        If the faults can't be used; nothing is served then.
    """
    declared = [] if faults is None else read_faults(faults)
    if folder is None:
        with TemporaryDirectory(prefix="recon-sandbox-") as temporary:
            _serve(Path(temporary), people, seed, (salesforce_port, gateway_port), at, declared, echo, stop)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReconError(f"{folder} can't be made: {error.strerror}.", hint="Name a folder that can.") from error
    _serve(folder, people, seed, (salesforce_port, gateway_port), at, declared, echo, stop)


def write_settings(folder: Path, own: dict[str, dict[str, Any]], before: str | None) -> bool:
    """Write recon.toml, unless the folder has one that is the user's.

    Parameters
    ----------
    own
        `Sandbox.settings()`.
    before
        What was written last time: a file that still says that is nobody's work and is replaced.

    Returns
    -------
    bool
        Whether the file that is there now leads to the sandbox.
    """
    file = folder / settings.FILE_NAME
    try:
        untouched = not file.exists() or file.read_text(encoding="utf-8") == before
    except (OSError, UnicodeDecodeError):
        untouched = False
    if untouched:
        _write_whole(file, _toml(own), mode=0o644)
        return True
    try:
        there = settings.load(folder)
    except SettingsError:
        return False
    return there == there.with_values(**own)


def _serve(
    folder: Path,
    people: int,
    seed: int,
    ports: tuple[int, int],
    at: datetime | None,
    declared: list[Fault],
    echo: Callable[[str], None],
    stop: threading.Event,
) -> None:
    state = folder / STATE_FILE
    before = _last_time(state)
    _must_not_run(folder, before)
    clock = SetClock(at) if at is not None else ShiftedClock(timedelta(seconds=float(before.get(SHIFT_KEY, "0"))))
    with _start(state, clock, ports, before) as sandbox:
        store = sandbox.store
        with store.transaction():
            was_there = not _is_empty(store)
            if not was_there:
                sandbox.populate(people, seed)
        written = write_settings(folder, sandbox.settings(), before.get("served_settings"))
        store.configure(
            salesforce_port=sandbox.salesforce_url.rpartition(":")[2],
            gateway_port=sandbox.gateway_url.rpartition(":")[2],
            served_settings=_toml(sandbox.settings()),
        )
        _write_environment(folder / ENVIRONMENT_FILE, sandbox, standing=at is not None)
        echo(_how_to_use(folder, sandbox, was_there=was_there, written=written, standing=at is not None))
        if declared:
            sandbox.faults.told = lambda each: echo(each.line())
            sandbox.faults.add(*declared)
            echo(f"Faults declared: {len(declared)}. Each is told here as it is met.")
        stop.wait()
    echo("The sandbox has stopped.")


def _last_time(state: Path) -> dict[str, str]:
    """The configuration that an earlier sandbox left; nothing where there was none."""
    if not state.exists():
        return {}
    store = Store(state, SystemClock())
    try:
        with store.transaction() as db:
            return {row["key"]: row["value"] for row in db.execute("SELECT key, value FROM config")}
    finally:
        store.close()


def _must_not_run(folder: Path, before: dict[str, str]) -> None:
    """Refuse to serve a sandbox twice: who answers at the port of last time, to the sandbox's own token, is the sandbox."""
    if "gateway_port" not in before:
        return
    url = f"http://127.0.0.1:{before['gateway_port']}"
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {before['secret_gateway_token']}"
        try:
            answer = session.get(f"{url}/sandbox/clock", timeout=2, allow_redirects=False)
        except requests.RequestException:
            return
    if answer.status_code == requests.codes.ok:
        raise ReconError(
            f"the sandbox in {folder} is served already: its Sales Connect is at {url}.",
            hint="Use that one, stop it first, or name another folder.",
        )


def _is_empty(store: Store) -> bool:
    with store.transaction() as db:
        found = db.execute(
            "SELECT EXISTS (SELECT 1 FROM person) OR EXISTS (SELECT 1 FROM lead) OR EXISTS (SELECT 1 FROM contact)"
        ).fetchone()
    return not found[0]


def _start(state: Path, clock: SetClock | ShiftedClock, ports: tuple[int, int], before: dict[str, str]) -> Sandbox:
    """A sandbox on the ports that are asked for, or else on those of last time, or else on free ones."""
    last = int(before.get("salesforce_port", "0")), int(before.get("gateway_port", "0"))
    wished = ports[0] or last[0], ports[1] or last[1]
    try:
        return Sandbox(path=state, clock=clock, salesforce_port=wished[0], gateway_port=wished[1])
    except ReconError:
        if wished == ports:
            raise
        # Somebody else has a port of last time, which nobody insists on.
        return Sandbox(path=state, clock=clock, salesforce_port=ports[0], gateway_port=ports[1])


def _toml(sections: dict[str, dict[str, Any]]) -> str:
    """Settings as TOML: a section a table, a dictionary in it a table of its own."""
    lines: list[str] = []

    def table(name: str, values: dict[str, Any]) -> None:
        plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
        if plain:
            lines.extend([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in plain.items()), ""])
        for key, value in values.items():
            if isinstance(value, dict):
                table(f"{name}.{key}", value)

    for section, values in sections.items():
        table(section, values)
    return "\n".join(lines)


def _write_environment(file: Path, sandbox: Sandbox, *, standing: bool) -> None:
    exports = sandbox.environment()
    if standing:
        exports[VARIABLE] = iso(sandbox.clock.now())
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    _write_whole(file, "\n".join(["# The sandbox's own secrets. They open nothing else.", *lines, ""]), mode=0o600)


def _write_whole(file: Path, text: str, *, mode: int) -> None:
    """Write a file under another name first: nobody sees half of it, and its mode is right from the start."""
    new = file.with_name(f".{file.name}.new")
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as stream:
            stream.write(text)
        new.replace(file)
    except OSError as error:
        raise ReconError(
            f"{file} can't be written: {error.strerror}.", hint="Name a folder where files can be written."
        ) from error


def _how_to_use(folder: Path, sandbox: Sandbox, *, was_there: bool, written: bool, standing: bool) -> str:
    with sandbox.store.transaction() as db:
        people = db.execute("SELECT count(*) FROM person").fetchone()[0]
    token = settings.GatewaySettings().token_env
    lever = f'curl -sS -H "Authorization: Bearer ${token}"'
    lines = [
        f"A sandbox with {people} people{', gone on with' if was_there else ''}.",
        f"  Salesforce     {sandbox.salesforce_url}",
        f"  Sales Connect  {sandbox.gateway_url}",
        f"  Its time       {iso(sandbox.clock.now())}{' and stands still' if standing else ''}",
        "",
        "In another terminal:",
        f"  cd {shlex.quote(str(folder.absolute()))} && . ./{ENVIRONMENT_FILE}",
        "  recon pull && recon diff",
        "",
        "Its levers:",
        f"  {lever} -X POST {sandbox.gateway_url}/sandbox/nightly",
        f"  {lever} -X POST {sandbox.gateway_url}/sandbox/clock -d '{{\"advance_seconds\": 86400}}'",
        f"  {lever} {sandbox.gateway_url}/sandbox/state",
        f"  {lever} {sandbox.gateway_url}/sandbox/extract/people.csv   (also leads.csv, contacts.csv)",
    ]
    if standing:
        lines.append(f"recon itself goes by {VARIABLE}: set it anew after the sandbox's clock was moved.")
    if not written:
        lines += [
            "",
            f"{settings.FILE_NAME} there is yours and leads elsewhere. For the sandbox it has to say:",
            *(f"  {line}" for line in _toml(sandbox.settings()).splitlines()),
        ]
    return "\n".join(lines)
