"""The resubscribe flow on the command line: plan, show, diff, apply, and the ledger, on a sandbox that this process serves."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recon.ledger import check_export, new_key_pair
from recon.ledger.canonical import canonical, parse
from recon.ledger.chain import GENESIS, chained
from recon.ledger.schema import TRIGGERS
from recon.nightly import next_run
from recon.sandbox import sales_connect
from recon.sandbox.salesforce import records
from recon.settings import SyncSettings
from tests.ledger.test_ledger_attacks import attack
from tests.resubscribe.cli import here, recon
from tests.resubscribe.rig import ADMIN, POLICY, new_rig

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

EVIDENCE = """
[evidence]
keys = "keys"
controller_name = "Seller Inc"
controller_identifier = "HRB 4711"
controller_address = "1 Seller Street"
controller_contact = "mailto:privacy@seller.example"
withdraw_at = "https://seller.example/unsubscribe"
"""


class Flow:
    """What was done, once, for all tests: two plans were made, and the first one was applied.

    Ada (a Contact) and Bob (a Lead) are in the first file, Eva in the second, which comes with Dan's opt-out; Eva opts out anew in between.
    """

    def __init__(self, folder: Path) -> None:
        self.outside = folder
        home = folder / "workspace"
        home.mkdir()
        self.rig = rig = new_rig(home, POLICY + EVIDENCE)
        self.ada = rig.pair("ada@buyer.example")
        self.bob = rig.pair("bob@buyer.example", sobject="Lead")
        self.eva = rig.pair("eva@buyer.example")
        store = rig.sandbox.store
        records.insert_contact(store, LastName="D", Email="dan@buyer.example", HasOptedOutOfEmail=True)
        self.dan = sales_connect.add_person(store, email="dan@buyer.example")
        rig.days(3)
        self.pulled = recon(rig, "pull")
        rig.approve("ada@buyer.example")
        rig.approve("bob@buyer.example", reason="=1+1 <b>asked</b>")
        rig.approve("nobody@buyer.example")
        rig.approved("first.csv")
        # From another folder: what is in the files mustn't depend on where the command was called.
        self.first = recon(
            *(rig, "plan", "--workspace", "workspace", "workspace/first.csv", "--by", "Dana Analyst"),
            *("--run-id", "first"),
            folder=folder,
        )
        rig.rows.clear()
        rig.approve("eva@buyer.example")
        rig.approved("second.csv")
        self.second = recon(rig, "plan", "second.csv", "--with-opt-outs", "--run-id", "second", "--json")
        self.applied = self.apply("first")
        self.before_second = shutil.copytree(home, folder / "before-second")
        sales_connect.unsubscribe(store, self.eva[0], source="clicked_link", at=rig.clock.now())

    def plan(self, run: str) -> Path:
        return self.rig.folder / "reports" / run / "plan.json"

    def apply(self, run: str) -> subprocess.CompletedProcess[str]:
        path = self.plan(run).relative_to(self.rig.folder)
        return recon(self.rig, "apply", path, "--actor", ADMIN)

    def copy(self, folder: Path) -> Path:
        """The workspace, to be spoiled."""
        shutil.copytree(self.rig.folder, folder / "copy")
        return folder / "copy"


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flow]:
    made = Flow(tmp_path_factory.mktemp("flow"))
    yield made
    made.rig.sandbox.close()


def of(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def test_a_plan_is_told_and_kept(flow: Flow) -> None:
    assert (flow.pulled.returncode, flow.pulled.stderr) == (0, "")
    assert (flow.first.returncode, flow.first.stderr) == (0, "")
    told = flow.first.stdout
    assert "2 people to resubscribe (4 records), 0 records to opt out, 0 accepted rows left out" in told
    assert "first.csv: 3 rows, 2 accepted, 1 rejected, 0 with nothing to do" in told
    assert told.endswith("\nPlan: workspace/reports/first/plan.json\n")
    assert "@" not in told
    assert sorted(path.name for path in flow.plan("first").parent.iterdir() if path.suffix in (".json", ".csv")) == [
        *("actions.csv", "apply.json", "before.csv", "before.json", "failed.csv", "manifest.json", "plan.json"),
        *("success.csv", "unprocessed.csv", "unusable.csv", "verdicts.csv"),
    ]
    assert (flow.second.returncode, flow.second.stderr) == (0, "")
    assert json.loads(flow.second.stdout) == of(flow.plan("second"))


def test_a_plan_is_shown_as_it_was_told(flow: Flow) -> None:
    shown = here(flow.rig, "plan", "show", "reports/first/plan.json")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert flow.first.stdout == f"{shown.stdout}\nPlan: workspace/reports/first/plan.json\n"
    for person, record in (flow.ada, flow.bob):
        assert re.search(
            rf"^ +\d  Salesforce (Lead|Contact) {record}: HasOptedOutOfEmail true -> false", shown.stdout, re.MULTILINE
        )
        assert re.search(
            rf"^ +\d  Sales Connect Person {person}: unsubscribed true -> false", shown.stdout, re.MULTILINE
        )
    as_json = here(flow.rig, "plan", "show", "--json", "reports/first/plan.json")
    assert json.loads(as_json.stdout) == of(flow.plan("first"))


def test_two_plans_are_compared(flow: Flow) -> None:
    done = here(flow.rig, "plan", "diff", "reports/first/plan.json", "reports/second/plan.json")
    assert (done.returncode, done.stderr) == (0, "")
    first, *others = done.stdout.splitlines()
    assert first.endswith(": 3 records came, 4 went, 0 changed otherwise")
    assert sorted(line[0] for line in others) == ["+"] * 3 + ["-"] * 4
    assert f"Sales Connect Person {flow.dan}: unsubscribed false -> true" in done.stdout


def test_apply_carries_out_once(flow: Flow) -> None:
    assert (flow.applied.returncode, flow.applied.stderr) == (0, "")
    assert flow.applied.stdout == "4 steps: 4 done\n  files in reports/first\n"
    for person, record in (flow.ada, flow.bob):
        assert not flow.rig.flag(f"sales_connect:{person}")
        assert not flow.rig.flag(f"salesforce:{record}")
    assert of(flow.plan("first").parent / "apply.json")["counts"] == {"done": 4}
    again = flow.apply("first")
    assert (again.returncode, again.stdout) == (0, "4 steps: 4 done already\n  files in reports/first\n")


@pytest.fixture(scope="module")
def second(flow: Flow) -> subprocess.CompletedProcess[str]:
    """The second plan, of which a part can't be done any more."""
    return flow.apply("second")


def test_what_is_left_is_named_and_exits_with_3(flow: Flow, second: subprocess.CompletedProcess[str]) -> None:
    assert (second.returncode, second.stderr) == (3, "")
    first, *others = second.stdout.splitlines()
    assert first == "3 steps: 1 done, 2 stale"
    person, record = flow.eva
    assert {line.split(" [")[0] for line in others[:-1]} == {
        f"  step 1, salesforce:{record}: stale",
        f"  step 2, sales_connect:{person}: stale",
    }
    assert "[newer_opt_out]" in second.stdout
    assert "@" not in second.stdout
    assert flow.rig.flag(f"sales_connect:{flow.dan}")
    assert flow.rig.flag(f"sales_connect:{person}")
    assert flow.rig.flag(f"salesforce:{record}")


def test_a_row_that_was_applied_is_used_up(flow: Flow) -> None:
    done = here(flow.rig, "check", "first.csv")
    assert done.returncode == 3
    assert "line 2: rejected" not in done.stdout
    assert "line 4: rejected [unknown_person]" in done.stdout
    # The snapshot still says that they are opted out: only the ledger knows better.
    assert done.stdout.count("[already_applied]") == 2


def test_what_may_not_be_applied_is_refused_before_anything_is_written(flow: Flow, tmp_path: Path) -> None:
    rig, home = flow.rig, shutil.copytree(flow.before_second, tmp_path / "copy")
    rig.rows.clear()
    rig.approve("ada@buyer.example", approved_by="Nobody Known")
    shutil.copy(rig.approved("nothing.csv"), home)
    empty = here(rig, "plan", "nothing.csv", "--run-id", "empty", folder=home)
    assert empty.returncode == 0
    assert "There is nothing to apply." in empty.stdout
    state = (home / "ledger" / "ledger.db").read_bytes()
    toml = home / "recon.toml"
    before = toml.read_text("utf-8")
    plan = home / "reports" / "second" / "plan.json"
    spoiled = home / "spoiled.json"
    spoiled.write_text(plan.read_text("utf-8").replace('"row": 2', '"row": 3'), "utf-8")

    def refused(file: str, said: str, code: int = 2, actor: str = ADMIN, **environ: str) -> None:
        done = here(rig, "apply", file, "--actor", actor, folder=home, **environ)
        assert (done.returncode, done.stdout) == (code, "")
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert (home / "ledger" / "ledger.db").read_bytes() == state

    refused("reports/empty/plan.json", "the plan has no steps: there is nothing to apply.")
    refused("spoiled.json", "the plan was changed after it was made")
    refused("nowhere.json", "nowhere.json: the file can't be read: No such file or directory.")
    refused("reports/second/plan.json", "nobody is named who applies the plan", actor=" ")
    night = next_run(rig.clock.now(), SyncSettings()) - timedelta(minutes=10)
    refused(
        "reports/second/plan.json",
        "inside the guard window around the nightly run",
        RECON_NOW=night.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    refused("reports/second/plan.json", "login", code=1, RECON_SF_CONSUMER_SECRET="wrong-secret")
    toml.write_text(before.replace("marketo_engage = false", "marketo_engage = true"), "utf-8")
    refused("reports/second/plan.json", "the settings were changed since the plan was made: policy.marketo_engage.")


def test_wrong_usage_is_told(flow: Flow, tmp_path: Path) -> None:
    for arguments, said in {
        ("apply", "reports/first/plan.json"): "--actor",
        ("plan", "nowhere.csv"): "nowhere.csv: there is no such file.",
        ("plan", "diff", "reports/first/plan.json"): "NEW",
        ("plan", "first.csv", "--run-id", "../elsewhere"): "../elsewhere",
        ("ledger", "export", "--out", "no/such.json"): "there is no folder no",
    }.items():
        done = here(flow.rig, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert not (flow.rig.folder / "elsewhere").exists()
    nothing = here(flow.rig, "ledger", "show", "ada@buyer.example", folder=tmp_path)
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert "there is no ledger" in nothing.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_persons_story(flow: Flow) -> None:
    shown = here(flow.rig, "ledger", "show", "Ada@Buyer.Example")
    assert (shown.returncode, shown.stderr) == (0, "")
    kinds = [line.split()[2] for line in shown.stdout.splitlines() if not line.startswith(" ")]
    assert kinds == ["approved_file", "verdict", "plan", *["intent", "outcome"] * 2]
    assert "ada@buyer.example" not in shown.stdout
    assert "email: a***@b***.example" in shown.stdout
    assert "reason: Asked to get mail again" in shown.stdout
    full = here(flow.rig, "ledger", "show", f"salesforce:{flow.ada[1]}", "--full")
    assert "email: ada@buyer.example" in full.stdout
    as_json = json.loads(here(flow.rig, "ledger", "show", f"sales_connect:{flow.ada[0]}", "--json").stdout)
    assert [step["entry"]["body"]["kind"] for step in as_json["steps"]] == kinds
    stranger = here(flow.rig, "ledger", "show", "nobody-at-all@buyer.example")
    assert (stranger.returncode, stranger.stdout) == (0, "The ledger holds nothing about this person.\n")


def test_consent_records_are_exported(flow: Flow, tmp_path: Path) -> None:
    home = flow.copy(tmp_path)
    done = here(flow.rig, "ledger", "export", "--of", "bob@buyer.example", "--out", "bob.json", folder=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1 consent record and 0 corrections, with their entries; checkpoint of ")
    document = of(home / "bob.json")
    assert (len(document["records"]), check_export(document)) == (1, [])
    assert (home / "bob.json").stat().st_mode & 0o077 == 0
    everything = json.loads(here(flow.rig, "ledger", "export", folder=home).stdout)
    assert len(everything["records"]) == 3
    toml = home / "recon.toml"
    toml.write_text(toml.read_text("utf-8").replace('controller_name = "Seller Inc"', ""), "utf-8")
    refused = here(flow.rig, "ledger", "export", folder=home)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "controller_name under [evidence]" in refused.stderr


def test_a_person_is_erased_and_the_chain_stays_whole(flow: Flow, tmp_path: Path) -> None:
    home = flow.copy(tmp_path)
    done = here(
        *(flow.rig, "ledger", "erase", "ada@buyer.example", "--ground", "gdpr-17", "--actor", "Olga Officer"),
        folder=home,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Erased 1 personal part and 0 names; entry ")
    assert b"ada@buyer.example" not in (home / "ledger" / "ledger.db").read_bytes()
    shown = here(flow.rig, "ledger", "show", "ada@buyer.example", folder=home).stdout
    assert "personal part: erased" in shown
    assert "Asked to get mail again" not in shown
    assert here(flow.rig, "ledger", "verify", folder=home).returncode == 0
    again = here(flow.rig, "ledger", "erase", "ada@buyer.example", "--ground", "gdpr-17", folder=home)
    assert (again.returncode, again.stdout) == (0, "There was nothing to erase.\n")


@pytest.fixture(scope="module")
def saved(flow: Flow, second: subprocess.CompletedProcess[str]) -> Path:
    """A checkpoint that has left the workspace, after all that is done in it."""
    assert second.returncode == 3
    path = flow.outside / "saved.jsonl"
    done = here(flow.rig, "ledger", "checkpoint", "--to", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        r"Ledger checkpoint of \S+: \d+ entries, head [0-9a-f]{64} \(not signed, recon .+\)\.\n", done.stdout
    )
    return path


def forget_checkpoints(home: Path) -> None:
    """What somebody who may write in the workspace can do besides."""
    for path in (home / "ledger" / "checkpoints.jsonl", *home.glob("reports/*/checkpoints.jsonl")):
        path.unlink()


def rewrite(ledger: Path) -> None:
    """A ledger in which every hash and the index are right, and entry 3 says something else."""
    with closing(sqlite3.connect(ledger / "ledger.db")) as db:
        guards = [sql for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'")]
        for trigger in TRIGGERS:
            db.execute(f"DROP TRIGGER {trigger}")
        bodies = [parse(text.encode()) for (text,) in db.execute("SELECT body FROM chain ORDER BY seq")]
        bodies[2]["data"]["approved_at"] = "2026-11-03"
        db.execute("DELETE FROM chain")
        head = GENESIS
        for body in bodies:
            own = chained(head, canonical(body))
            db.execute("INSERT INTO chain VALUES (?, ?, ?, ?)", (body["seq"], head, own, canonical(body).decode()))
            head = own
        for sql in guards:
            db.execute(sql)
        db.commit()


def size(home: Path) -> int:
    with closing(sqlite3.connect(home / "ledger" / "ledger.db")) as db:
        return int(db.execute("SELECT max(seq) FROM chain").fetchone()[0])


def cut(last: int) -> list[str]:
    return [f"DELETE FROM {table} WHERE seq > {last}" for table in ("chain", "mention", "personal")]


SWAP = [
    "UPDATE chain SET seq = 999 WHERE seq = 3",
    "UPDATE chain SET seq = 3 WHERE seq = 4",
    "UPDATE chain SET seq = 4 WHERE seq = 999",
]


@pytest.mark.parametrize(
    "how", ["nothing", "edit", "delete", "swap", "cut", "gone", "rewrite", "forget", "cut and forget"]
)
def test_what_was_done_to_the_ledger_shows(flow: Flow, saved: Path, tmp_path: Path, how: str) -> None:
    home = flow.copy(tmp_path)
    ledger = home / "ledger"
    last = size(home)
    statements = {
        "edit": ["UPDATE chain SET body = replace(body, 'accepted', 'rejected') WHERE seq = 3"],
        "delete": ["DELETE FROM chain WHERE seq = 3"],
        "swap": SWAP,
        "cut": cut(last - 3),
        "cut and forget": cut(last - 3),
    }.get(how)
    if statements is not None:
        attack(ledger, *statements)
    if how == "gone":
        (ledger / "ledger.db").unlink()
    if how == "rewrite":
        rewrite(ledger)
    if how in ("rewrite", "forget", "cut and forget"):
        forget_checkpoints(home)
    given = () if "forget" in how else ("--checkpoint", saved)
    done = recon(flow.rig, "ledger", "verify", *given, folder=home)
    code, said = {
        "nothing": (0, "The ledger is unbroken since checkpoint "),
        "edit": (1, "The ledger is BROKEN. First bad entry: 3."),
        "delete": (1, "The ledger is BROKEN. First bad entry: 3."),
        "swap": (1, "The ledger is BROKEN. First bad entry: 3."),
        "cut": (4, f"The ledger is TRUNCATED: entries are missing at its end. First bad entry: {last - 2}."),
        "gone": (4, "The ledger is TRUNCATED: entries are missing at its end. First bad entry: 1."),
        "rewrite": (1, "The ledger is BROKEN."),
        "forget": (5, "The chain holds together, but there is NO CHECKPOINT to hold it against"),
        "cut and forget": (5, "The chain holds together, but there is NO CHECKPOINT to hold it against"),
    }[how]
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout.startswith(said)
    assert "@" not in done.stdout
    if how == "rewrite":
        assert "saved.jsonl" in done.stdout
        assert "written anew" in done.stdout
        assert here(flow.rig, "ledger", "verify", folder=home).returncode == 5
    if how == "cut and forget":  # the checkpoint that left the machine tells all the same
        assert here(flow.rig, "ledger", "verify", "--checkpoint", saved, folder=home).returncode == 4
    if how == "cut":
        kept = shutil.copy(saved, tmp_path)
        refused = here(flow.rig, "ledger", "checkpoint", "--to", kept, folder=home)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "contradicts the checkpoint" in refused.stderr
        assert Path(kept).read_bytes() == saved.read_bytes()


def test_signed_checkpoints(flow: Flow, saved: Path, tmp_path: Path) -> None:
    home = flow.copy(tmp_path)
    forget_checkpoints(home)
    for name in ("ours", "theirs"):
        new_key_pair(tmp_path / f"{name}.pem", tmp_path / f"{name}-public.pem")
    taken = here(flow.rig, "ledger", "checkpoint", folder=home, RECON_LEDGER_SIGNING_KEY=str(tmp_path / "ours.pem"))
    assert (taken.returncode, taken.stderr) == (0, "")
    assert "(signed, recon" in taken.stdout
    shutil.move(home / "ledger" / "checkpoints.jsonl", tmp_path / "signed.jsonl")
    public = ("--pubkey", tmp_path / "ours-public.pem")

    def verified(file: Path, *more: str | Path) -> subprocess.CompletedProcess[str]:
        return here(flow.rig, "ledger", "verify", "--checkpoint", file, *more, folder=home)

    held = verified(tmp_path / "signed.jsonl", *public)
    assert (held.returncode, held.stderr) == (0, "")
    assert "its signature holds" in held.stdout
    for file, key in ((saved, "ours"), (tmp_path / "signed.jsonl", "theirs")):
        done = verified(file, "--pubkey", tmp_path / f"{key}-public.pem")
        assert (done.returncode, done.stderr) == (6, "")
        assert done.stdout.startswith("A checkpoint can't be trusted: BAD SIGNATURE.")
    (tmp_path / "garbage.jsonl").write_text("{}\n")
    assert verified(tmp_path / "garbage.jsonl").returncode == 6
    assert verified(tmp_path / "nowhere.jsonl").returncode == 2
    assert verified(tmp_path / "signed.jsonl", "--pubkey", tmp_path / "ours.pem").returncode == 2


def test_after_the_night_it_is_verified_and_can_be_taken_back(tmp_path: Path) -> None:
    rig = new_rig(tmp_path)
    try:
        ada, bob = rig.pair("ada@buyer.example"), rig.pair("bob@buyer.example")
        nothing = here(rig, "verify")
        assert (nothing.returncode, nothing.stdout) == (2, "")
        assert "no plan was applied here yet" in nothing.stderr
        rig.days(3)
        assert here(rig, "pull").returncode == 0
        for name in ("ada", "bob"):
            rig.approve(f"{name}@buyer.example")
        rig.approved()
        assert here(rig, "plan", "approved.csv", "--run-id", "r1").returncode == 0
        assert here(rig, "apply", "reports/r1/plan.json", "--actor", ADMIN).returncode == 0
        early = here(rig, "verify")
        assert (early.returncode, early.stderr) == (0, "")
        assert "Run r1, 4 records cleared: 4 too early" in early.stdout
        rig.night()
        stuck = recon(rig, "verify", "--run", "r1")
        assert (stuck.returncode, stuck.stderr) == (0, "")
        assert stuck.stdout == "Run r1, 4 records cleared: 4 stuck\n  files in reports/r1\n"
        # Somebody ticks the box of Bob's record, and the next nightly run carries that to the person.
        records.update_record(rig.sandbox.store, "Contact", bob[1], {"HasOptedOutOfEmail": True})
        rig.night()
        reverted = recon(rig, "verify")
        assert (reverted.returncode, reverted.stderr) == (3, "")
        assert "2 reverted, 2 stuck" in reverted.stdout
        assert f"salesforce:{bob[1]}" in reverted.stdout
        assert f"sales_connect:{bob[0]}" in reverted.stdout
        assert ada[1] not in reverted.stdout
        assert "@" not in reverted.stdout

        made = recon(rig, "undo", "r1", "--by", "Dana Analyst", "--run-id", "r1-undo")
        assert (made.returncode, made.stderr) == (0, "")
        assert "0 people to resubscribe (0 records), 4 records to opt out" in made.stdout
        assert made.stdout.endswith("\nPlan: reports/r1-undo/plan.json\n")
        assert not rig.flag(f"salesforce:{ada[1]}")
        done = here(rig, "apply", "reports/r1-undo/plan.json", "--actor", ADMIN)
        assert (done.returncode, done.stdout) == (0, "4 steps: 2 done, 2 done already\n  files in reports/r1-undo\n")
        assert all(
            rig.flag(uid)
            for person, record in (ada, bob)
            for uid in (f"sales_connect:{person}", f"salesforce:{record}")
        )
        for run_id, said in {
            "r1-undo": "is an undo itself",
            "nowhere": "there is no plan in the run 'nowhere'",
        }.items():
            refused = here(rig, "undo", run_id)
            assert (refused.returncode, refused.stdout) == (2, "")
            assert said in refused.stderr
        assert here(rig, "ledger", "verify").returncode == 0
    finally:
        rig.sandbox.close()
