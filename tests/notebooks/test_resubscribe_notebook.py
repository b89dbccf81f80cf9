"""The notebook for approved files, run on a sandbox: first to look at the plan, then to carry it out."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from recon import batch, views, workspace
from recon.errors import UsageError
from recon.resubscribe import jobs
from tests.notebooks.test_notebooks import ADDRESS
from tests.resubscribe.cli import here
from tests.resubscribe.rig import ADMIN, Rig, new_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Ada's row is right, Bob's lacks its evidence; Ada's reason holds an address and what a page could take for HTML."""
    made = new_rig(tmp_path_factory.mktemp("resubscribe"))
    (made.folder / "inbox").mkdir()
    for name in ("ada", "bob"):
        made.pair(f"{name}@buyer.example")
    made.days(3)
    made.pull()
    made.approve("ada@buyer.example", reason="<b>Asked</b> from ada.private@buyer.example")
    made.approve("bob@buyer.example", evidence="")
    made.approved("inbox/approved.csv")
    yield made
    made.sandbox.close()


def looked(rig: Rig) -> Path:
    """The executed copy that a batch leaves, with the notebook's own defaults."""
    environ = {**os.environ, **rig.sandbox.environment()}
    return (
        batch.run(rig.folder, run_id="look", notebooks=["04_resubscribe"], clock=rig.clock, environ=environ)
        .notebooks[0]
        .path
    )


def carried_out(rig: Rig) -> Path:
    """The executed copy that `recon run` leaves when it is told to apply: the batch holds the workspace, and lets its notebook in."""
    told = {"apply": "true", "actor": ADMIN, "created_by": "Dana Analyst"}
    given = [part for name, value in told.items() for part in ("-p", f"{name}={value}")]
    done = here(rig, "run", "--notebooks", "04_resubscribe", "--run-id", "do", "--exit-code", *given)
    # Bob's other records still need action.
    assert done.returncode in (0, 3), done.stderr
    return rig.folder / "reports" / "do" / "notebooks" / "04_resubscribe.ipynb"


def shown(path: Path) -> dict[str, Any]:
    """What each cell shows: of a table its HTML, of a chart its text."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.get("outputs")}
    for of_cell in outputs.values():
        # No warning, no log: only what print wrote.
        assert [output.get("name", "stdout") for output in of_cell] == ["stdout"]
    return {name: output.text if "text" in output else text(output.data) for name, [output] in outputs.items()}


def text(data: dict[str, str]) -> str:
    if "text/html" in data:
        return data["text/html"]
    assert "image/svg+xml" in data
    return data["text/plain"]


def flags(rig: Rig) -> list[bool]:
    with rig.sandbox.store.transaction() as db:
        people = [row[0] for row in db.execute("SELECT person_id FROM person ORDER BY person_id")]
        contacts = [row[0] for row in db.execute("SELECT Id FROM contact ORDER BY Id")]
    return [rig.flag(uid) for uid in (*(f"sales_connect:{i}" for i in people), *(f"salesforce:{i}" for i in contacts))]


def test_the_plan_is_shown_first_and_carried_out_when_asked_for(rig: Rig) -> None:
    cells = shown(looked(rig))
    assert cells["resubscribe"].endswith("Not applied: nothing was changed in either system.\n")
    assert "1 person to resubscribe (2 records)" in cells["resubscribe"]
    assert "evidence_missing" in cells["verdicts"]
    assert "a***@b***.example" in cells["verdicts"]
    assert "HasOptedOutOfEmail" not in cells["outcomes"]
    assert "<td" not in cells["outcomes"]
    assert "2 rows: 1 accepted, 1 rejected, 0 no_op." in cells["codes"]
    assert cells["codes"].splitlines()[-1].split() == ["evidence_missing", "rejected", "1"]
    for name in ("verdicts.csv", "plan.json", "merged.parquet"):
        assert name in cells["files"]
    assert flags(rig) == [True] * 4
    assert not (rig.folder / "reports" / "look" / "apply.json").exists()

    cells = shown(carried_out(rig))
    assert cells["resubscribe"].endswith("Applied: 2 steps: 2 done\n")
    assert cells["outcomes"].count(">done</td>") == 2
    assert "success.csv" in cells["files"]
    assert sorted(flags(rig)) == [False, False, True, True]
    folder = rig.folder / "reports" / "do"
    plan = json.loads((folder / "plan.json").read_text("utf-8"))
    assert plan["created_by"] == "Dana Analyst"
    assert json.loads((folder / "apply.json").read_text("utf-8"))["counts"] == {"done": 2}
    for told in cells.values():
        assert not ADDRESS.search(told)
    assert "&lt;b&gt;Asked&lt;/b&gt; from a***@b***.example" in cells["steps"]


def test_nobody_applies_is_refused_before_anything_is_written(rig: Rig) -> None:
    before = set(rig.folder.rglob("*"))
    for actor in (None, " "):
        with pytest.raises(UsageError, match="nobody is named"):
            jobs.resubscribe(rig.folder, apply=True, actor=actor, clock=rig.clock, environ=rig.sandbox.environment())
    assert set(rig.folder.rglob("*")) == before


def test_nothing_to_apply_is_no_failure(rig: Rig) -> None:
    (rig.folder / "inbox" / "nothing.csv").write_text(
        (rig.folder / "inbox" / "approved.csv").read_text("utf-8").replace(ADMIN, "Somebody Else"), "utf-8"
    )
    done = jobs.resubscribe(
        rig.folder,
        approved="inbox/nothing.csv",
        run_id="nothing",
        apply=True,
        actor=ADMIN,
        clock=rig.clock,
        environ=rig.sandbox.environment(),
    )
    assert done.applied is None
    assert done.summary().endswith("There is nothing to apply.")
    for view in (views.steps, views.blocked, views.outcomes):
        assert view(done).frame.empty
    assert list(views.verdicts(done).frame["verdict"]) == ["rejected", "rejected"]


def test_a_workspace_gets_it(tmp_path: Path) -> None:
    assert tmp_path / "notebooks" / "04_resubscribe.ipynb" in workspace.init(tmp_path)
