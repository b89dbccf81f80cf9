"""The doctor, on the sandbox over HTTP: a sound workspace, and every check as it fails."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from recon import lock
from recon.clock import SetClock, iso
from recon.doctor import diagnose
from recon.ledger.schema import FILE
from recon.sandbox.box import Sandbox
from recon.sandbox.faults import Fault
from recon.sandbox.served import write_settings
from recon.workspace import init
from tests.resubscribe.cli import here
from tests.resubscribe.rig import POLICY, START, Rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from recon.doctor_check import Diagnosis


def tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file, with its mode, time and content: what must not change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A workspace as `recon init` makes it, after a pull, with a plan that was made, and the ledger's keys kept apart."""
    folder = tmp_path_factory.mktemp("doctor") / "ws"
    init(folder)
    (folder / "recon.toml").unlink()
    clock = SetClock(START)
    with Sandbox(clock=clock) as sandbox:
        write_settings(folder, sandbox.settings(), None)
        with (folder / "recon.toml").open("a") as stream:
            stream.write(f"{POLICY}\n[evidence]\nkeys = {json.dumps(str(folder.parent / 'keys'))}\n")
        made = Rig(folder, clock, sandbox)
        made.pair("ada@buyer.example", sobject="Lead")
        made.pair("bob@buyer.example")
        made.days(1)
        made.approve("ada@buyer.example", approved_by="Somebody Else")
        made.pull()
        made.plan()  # nothing in it is accepted, so nothing waits
        yield made


@dataclass
class Case:
    """A copy of the workspace, to be bent out of shape."""

    rig: Rig
    home: Path
    environ: dict[str, str]
    clock: SetClock = field(default_factory=lambda: SetClock(START))

    def toml(self, text: str, *, instead: str | None = None) -> None:
        """Add to recon.toml, or put something in place of one line."""
        file = self.home / "recon.toml"
        said = file.read_text()
        if instead is not None:
            box = self.rig.sandbox
            instead = instead.replace("@SALESFORCE@", box.salesforce_url).replace("@GATEWAY@", box.gateway_url)
            assert instead in said
            text = said.replace(instead, text)
        else:
            text = f"{said}\n{text}\n"
        file.write_text(text)

    def found(self) -> Diagnosis:
        before = tree(self.home)
        done = diagnose(self.home, clock=self.clock, environ=self.environ)
        assert tree(self.home) == before
        return done


@pytest.fixture
def case(rig: Rig, tmp_path: Path) -> Iterator[Case]:
    home = tmp_path / "ws"
    shutil.copytree(rig.folder, home)
    yield Case(rig, home, rig.sandbox.environment(), SetClock(rig.clock.now()))
    rig.sandbox.faults.clear()
    rig.sandbox.store.configure(fls="{}")


def test_a_sound_workspace_has_no_fault_and_nothing_is_written(case: Case) -> None:
    found = case.found()
    assert found.exit_code == 0
    assert [check.line() for check in found.checks if check.state != "ok"] == [
        f"warning  clock: recon takes it for {iso(case.clock.now())}, because RECON_NOW is set. "
        "What to do: Unset RECON_NOW, but for a rehearsal."
    ]
    names = [check.name for check in found.checks]
    assert list(dict.fromkeys(names)) == [
        *("versions", "settings", "time zone", "clock", "folders", "disk", "lock", "secrets", "signing key"),
        *(
            "login",
            "version",
            "calls",
            "fields",
            "history",
            "gateway",
            "ledger",
            "ledger keys",
            "snapshot",
            "open work",
        ),
    ]
    assert (names.count("fields"), names.count("history"), names.count("clock")) == (2, 2, 3)
    assert found.lines()[-1] == f"{len(names) - 1} ok, 1 warning, 0 faults"


def test_on_the_command_line(case: Case) -> None:
    done = here(case.rig, "doctor", folder=case.home)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(line.startswith(("ok ", "warning ")) for line in done.stdout.splitlines()[:-1])
    case.rig.sandbox.faults.add(Fault(kind="status", system="gateway", status=401))
    done = here(case.rig, "doctor", "--json", folder=case.home)
    said = json.loads(done.stdout)
    assert (done.returncode, said["exit_code"], done.stderr) == (1, 1, "")
    (fault,) = [check for check in said["checks"] if check["state"] == "fault"]
    assert (fault["name"], fault["message"]) == ("gateway", "the gateway refused the people: status 401.")
    assert "RECON_GATEWAY_TOKEN" in fault["remedy"]


Bend = Callable[[Case], Any]


def _answer(**said: Any) -> Bend:
    return lambda case: case.rig.sandbox.faults.add(Fault(times=100, **said))


def _without(name: str) -> Bend:
    return lambda case: case.environ.pop(name)


def _toml(text: str, instead: str | None = None) -> Bend:
    return lambda case: case.toml(text, instead=instead)


def _org(**config: str) -> Bend:
    return lambda case: case.rig.sandbox.store.configure(**config)


def _loose_secret(case: Case) -> None:
    file = case.home.parent / "token"
    file.write_text(case.environ.pop("RECON_GATEWAY_TOKEN"))
    file.chmod(0o644)
    case.toml(f"[secrets.files]\nRECON_GATEWAY_TOKEN = {json.dumps(str(file))}")


def _killed(case: Case) -> None:
    # A process that is no more: Python's own child, after it was waited for.
    gone = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(gone, 0)
    holder = {"pid": gone, "host": socket.gethostname(), "since": "2026-11-02T18:00:00Z", "doing": "run r1"}
    (case.home / lock.FILE_NAME).write_text(json.dumps(holder))


def _spoil_ledger(case: Case) -> None:
    database = case.home / "ledger" / FILE
    content = database.read_bytes()
    spoiled = content.replace(b'"accepted":0', b'"accepted":9')
    assert spoiled != content
    database.write_bytes(spoiled)


def _spoil_snapshot(case: Case) -> None:
    (file,) = (case.home / "snapshots").glob("*/people.parquet")
    file.write_bytes(file.read_bytes()[:-1])


def _nothing_lasts(case: Case) -> None:
    for path in (case.home / "ledger", *(case.home / "reports").iterdir()):
        for file in path.glob("checkpoints.jsonl") if path.is_dir() else ():
            file.unlink()


def _no_reports(case: Case) -> None:
    shutil.rmtree(case.home / "reports")
    (case.home / "reports").touch()


def _no_snapshot(case: Case) -> None:
    for path in (case.home / "snapshots").glob("2*"):
        shutil.rmtree(path)


def _keys(case: Case) -> str:
    return f"keys = {json.dumps(str(case.rig.folder.parent / 'keys'))}"


def _keys_beside(case: Case) -> None:
    for key in (case.rig.folder.parent / "keys").iterdir():
        shutil.copy2(key, case.home / "ledger")
    case.toml("", instead=_keys(case))


def _loose_keys(case: Case) -> None:
    keys = case.home.parent / "keys"
    shutil.copytree(case.rig.folder.parent / "keys", keys)
    for key in keys.iterdir():
        key.chmod(0o640)
    case.toml(f"keys = {json.dumps(str(keys))}", instead=_keys(case))


CASES: dict[str, tuple[Bend, str, str, str, str]] = {
    # name: what is wrong, the check, its state, what is said, what to do
    "no workspace": (lambda case: (case.home / "recon.toml").unlink(), "settings", "fault", "there is no recon.toml", "recon init"),
    "bad settings": (_toml("[sync]\nenabledd = true", "[sync]"), "settings", "fault", "sync.enabledd", "recon init"),
    "secret in recon.toml": (
        _toml('[report]\ntitle = "Bearer abcdefgh12345"'), "settings", "fault", "report.title: this looks like a bearer token", "take it out",
    ),
    "unwritable": (_no_reports, "folders", "fault", "can't be written to", "rights"),
    "open to all": (lambda case: (case.home / "reports").chmod(0o755), "folders", "warning", "can be read by others", "chmod 700"),
    "killed": (_killed, "lock", "warning", "an earlier run ended without a word", "takes over"),
    "missing secret": (_without("RECON_SF_CONSUMER_SECRET"), "secrets", "fault", "RECON_SF_CONSUMER_SECRET is not set", "[secrets]"),
    "loose secret": (_loose_secret, "secrets", "fault", "can be read by others than its owner (mode 644)", "chmod 600"),
    "no jwt key": (_toml('login = "jwt"', 'login = "client_credentials"'), "secrets", "fault", "RECON_SF_PRIVATE_KEY_FILE", "salesforce.private_key_file_env"),
    "bad signing key": (lambda case: case.environ.update(RECON_LEDGER_SIGNING_KEY="/nowhere"), "signing key", "fault", "No such file", "path"),
    "wrong login": (
        lambda case: case.environ.update(RECON_SF_CONSUMER_SECRET="planted-wrong-secret"), "login", "fault", "refused the login", "consumer key and secret",
    ),
    "no answer": (_answer(kind="drop", system="salesforce"), "login", "fault", "could not be read for the login", "network"),
    "soap": (_toml('login = "soap"', 'login = "client_credentials"'), "login", "warning", "ends on 1 June 2027", "client_credentials or jwt"),
    "old version": (_toml('[salesforce]\napi_version = "20.0"', "[salesforce]"), "version", "fault", "doesn't serve version 20.0", "api_version"),
    "few calls": (
        _answer(kind="status", system="salesforce", path="/limits", status=200, content='{"DailyApiRequests": {"Max": 100, "Remaining": 19}}'),
        "calls", "warning", "19 of 100 API calls are left", "uses them up",
    ),
    "hidden field": (_org(fls='{"Contact.HasOptedOutOfEmail": "hidden"}'), "fields", "fault", "Contact.HasOptedOutOfEmail can't be seen", "Field-Level Security"),
    "locked field": (_org(fls='{"Lead.HasOptedOutOfEmail": "read_only"}'), "fields", "warning", "can be read, but not written", "Give Edit"),
    "no history": (
        _answer(kind="status", system="salesforce", query="LeadHistory", status=400, code="INVALID_TYPE"), "history", "warning", "LeadHistory can't be read (INVALID_TYPE)", "Set History Tracking",
    ),
    "untracked": (
        _answer(kind="status", system="salesforce", query="ContactHistory", status=200, content='{"totalSize": 0, "done": true, "records": []}'),
        "history", "warning", "ContactHistory holds no change", "Set History Tracking",
    ),
    "wrong token": (lambda case: case.environ.update(RECON_GATEWAY_TOKEN="planted-wrong-token"), "gateway", "fault", "the gateway refused the people", "token"),
    "another gateway": (_toml('[sales_connect.gateway]\nitems_key = "rows"', "[sales_connect.gateway]"), "gateway", "fault", "holds no list 'rows'", "items_key"),
    "a little off": (lambda case: case.clock.advance(timedelta(seconds=30.7)), "clock", "warning", "30 s ahead of Salesforce's", "NTP"),
    "far off": (lambda case: case.clock.advance(-timedelta(minutes=10)), "clock", "fault", "behind the gateway's", "NTP"),
    "no date": (_answer(kind="headers", system="gateway", remove=["date"]), "clock", "warning", "the gateway doesn't say what time it is", "NTP"),
    "spoiled ledger": (_spoil_ledger, "ledger", "fault", "BROKEN", "backup"),
    "no checkpoint": (_nothing_lasts, "ledger", "warning", "NO CHECKPOINT", "recon ledger checkpoint"),
    "keys beside": (_keys_beside, "ledger keys", "warning", "beside the ledger", "keys under [evidence]"),
    "loose keys": (_loose_keys, "ledger keys", "fault", "can be read by others", "chmod 600"),
    "no snapshot": (_no_snapshot, "snapshot", "warning", "no snapshot", "recon pull"),
    "old snapshot": (lambda case: case.clock.advance(timedelta(days=5)), "snapshot", "warning", "is 5 days old", "nightly job"),
    "spoiled snapshot": (_spoil_snapshot, "snapshot", "fault", "changed after it was written", "another snapshot"),
    "no source": (_toml("", 'instance_url = "@SALESFORCE@"'), "sources", "warning", "nothing says where Leads and Contacts come from", "instance_url"),
    "missing file": (
        _toml('[run]\npeople = "inbox/people.csv"', 'url = "@GATEWAY@"'), "sources", "fault", "people.csv can't be read", "extract",
    ),
}  # fmt: skip


#: What can be wrong at the same time is looked at together.
TOGETHER = (
    (
        "open to all",
        "killed",
        "bad signing key",
        "loose secret",
        "no history",
        "few calls",
        "spoiled snapshot",
        "loose keys",
    ),
    ("unwritable", "missing secret", "keys beside", "no snapshot", "another gateway"),
    ("locked field", "untracked", "a little off", "no checkpoint"),
    ("hidden field", "no date", "old snapshot"),
    ("wrong login", "wrong token", "spoiled ledger"),
    ("soap", "old version"),
    ("no source", "missing file"),
    *(("no answer",), ("no jwt key",), ("far off",), ("no workspace",), ("bad settings",), ("secret in recon.toml",)),
)
_NOT_ON_WINDOWS = {"open to all", "killed", "loose secret", "loose keys"}


def test_every_case_is_looked_at() -> None:
    assert sorted(name for group in TOGETHER for name in group) == sorted(CASES)


@pytest.mark.parametrize("group", TOGETHER, ids=lambda group: group[0])
def test_what_is_wrong_is_told_with_what_to_do(case: Case, group: tuple[str, ...]) -> None:
    cases = [CASES[name] for name in group if os.name != "nt" or name not in _NOT_ON_WINDOWS]
    for bend, *_ in cases:
        bend(case)
    found = case.found()
    for _, check, state, said, todo in cases:
        told = [each for each in found.checks if (each.name, each.state) == (check, state)]
        assert any(said in each.message and todo in (each.remedy or "") for each in told), "\n".join(found.lines())
    assert found.exit_code == (1 if any(each.state == "fault" for each in found.checks) else 0)
    shown = "\n".join(found.lines()) + json.dumps(found.as_json())
    for secret in (*case.rig.sandbox.environment().values(), "planted-wrong", "buyer.example", "Bearer abc"):
        assert secret not in shown
    assert all(len(line.splitlines()) == 1 for line in found.lines())
