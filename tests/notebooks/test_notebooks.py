"""The notebooks: thin, clean, true to the jobs they call, and right in what they find.

The end-to-end run reads the sandbox's files of some 230 people: what was planted there is known record by record.
"""

from __future__ import annotations

import ast
import base64
import csv
import html
import inspect
import json
import os
import re
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pandas as pd
import pytest
from click.testing import CliRunner
from papermill.cli import papermill

from recon import batch, charts, jobs, views, workspace
from recon import snapshot as snapshots
from recon.charts.chart import VEGA_LITE_TYPE
from recon.clock import SetClock, SystemClock
from recon.explore import explore
from recon.notebook_parameters import read
from recon.resubscribe.jobs import resubscribe
from recon.results import ReportResult, RunResult
from recon.sandbox.box import Sandbox
from recon.sandbox.extracts import write_extract, write_salesforce_files
from recon.sandbox.served import write_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from recon.sandbox.population import Population

FOLDER = Path(__file__).parents[2] / "notebooks"
JOBS: dict[str, Callable[..., Any]] = {
    "01_pull": jobs.pull,
    "02_reconcile": jobs.reconcile,
    "03_report": jobs.report,
    "04_resubscribe": resubscribe,
    "05_explore": explore,
}
#: Parameters that change what is shown, not what is done: they go to the views.
SHOWN_ONLY = {"02_reconcile": ["show_addresses"], "04_resubscribe": ["show_addresses"]}
EXECUTED = (*batch.NOTEBOOKS, "05_explore")
NAMES = tuple(JOBS)
NOW = "2026-11-24T18:00:00Z"
# Any address; masked ones have stars before and behind the @.
ADDRESS = re.compile(r"[^\s\"'<>*()\[\]]@[^\s\"'<>*]")


def source(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]


def test_these_are_the_batch_jobs_notebooks_and_two_to_open_by_hand() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES) == {*EXECUTED, "04_resubscribe"}


@pytest.mark.parametrize("name", NAMES)
def test_is_stored_without_outputs_in_one_form(name: str) -> None:
    path = FOLDER / f"{name}.ipynb"
    notebook = source(name)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
        # Chosen by hand, so that a change shows as a change of one cell.
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", cell.id)
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    # As nbformat writes it: saving it in Jupyter changes nothing else.
    assert path.read_text("utf-8") == nbformat.writes(notebook) + "\n"  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", NAMES)
def test_is_thin(name: str) -> None:
    notebook = source(name)
    title, parameters, call, *rest = notebook.cells
    assert title.source.startswith(f"# {int(name[:2])}. ")
    assert "**Answers:**" in title.source
    assert parameters.metadata.tags == ["parameters"]
    *imports, result, printed = ast.parse(call.source).body
    assert all(isinstance(each, ast.ImportFrom) for each in imports)
    assert isinstance(result, ast.Assign)
    assert isinstance(result.value, ast.Call)
    assert ast.unparse(result.value.func).rpartition(".")[2] == JOBS[name].__name__
    assert ast.unparse(printed).startswith("print(")
    shown = [cell.source for cell in rest if cell.cell_type == "code"]
    assert 2 <= len(shown) <= 9
    # One expression each, a view or a chart of what the job gave: nothing is decided or computed here.
    for text in shown:
        (only,) = ast.parse(text).body
        assert isinstance(only, ast.Expr)
        if isinstance(only.value, ast.Call):
            assert re.fullmatch(r"(views|charts)\.[a-z_]+", ast.unparse(only.value.func))
            assert all(map(plain, [*only.value.args, *(each.value for each in only.value.keywords)]))
        else:
            assert plain(only.value)


def plain(value: ast.expr) -> bool:
    """Is it a name, an attribute of one, or an entry of one: no call, no operator?"""
    if isinstance(value, ast.Subscript):
        return isinstance(value.slice, ast.Constant) and plain(value.value)
    return isinstance(value, ast.Name) or (isinstance(value, ast.Attribute) and plain(value.value))


@pytest.mark.parametrize("name", NAMES)
def test_every_table_and_chart_has_its_heading(name: str) -> None:
    _, _, _, *rest = source(name).cells
    for above, cell in pairwise(rest):
        if cell.cell_type == "code" and above.cell_type == "code":
            # Two of one heading: a chart with its table.
            assert "charts." in above.source + cell.source
    assert rest[0].cell_type == "markdown"
    assert "files" in rest[-1].id or name == "05_explore"


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_the_jobs_own(name: str) -> None:
    signature = inspect.signature(JOBS[name]).parameters
    parameters = read(FOLDER / f"{name}.ipynb")
    assert parameters
    only_shown = [parameter for parameter in parameters if parameter.name in SHOWN_ONLY.get(name, [])]
    assert [parameter.name for parameter in only_shown] == SHOWN_ONLY.get(name, [])
    rest = "".join(cell.source for cell in source(name).cells[3:])
    for parameter in only_shown:
        assert parameter.default is False
        assert f"{parameter.name}={parameter.name})" in rest
    parameters = tuple(parameter for parameter in parameters if parameter not in only_shown)
    for parameter in parameters:
        assert parameter.help
        default = signature[parameter.name].default
        # papermill --help-notebook overlooks `str | None`: in a notebook, empty text stands for None.
        assert parameter.default == ("" if default is None else default), parameter.name
        assert not parameter.optional
    call = source(name).cells[2].source
    for parameter in parameters:
        given = parameter.name if parameter.default != "" else f"{parameter.name} or None"
        assert re.search(rf"\({given}\)" if parameter.name == "workspace" else rf"{parameter.name}={given}[,)]", call)


@pytest.mark.parametrize("name", NAMES)
def test_papermill_prints_its_parameters(name: str) -> None:
    shown = CliRunner().invoke(papermill, ["--help-notebook", str(FOLDER / f"{name}.ipynb")])
    assert shown.exit_code == 0
    for parameter in read(FOLDER / f"{name}.ipynb"):
        assert f"  {parameter.name}: {parameter.kind} (default" in shown.output
        assert parameter.help in shown.output


@dataclass
class Batch:
    folder: Path
    result: batch.BatchResult
    population: Population
    said: list[str]

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.result.folder / "manifest.json").read_text("utf-8"))
        return found

    def copy(self, name: str) -> Any:
        return nbformat.read(self.result.folder / "notebooks" / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]

    def output(self, name: str, cell: str) -> Any:
        (found,) = (each for each in self.copy(name).cells if each.id == cell)
        return found.outputs[0]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """The batch job, run once over the sandbox's files."""
    folder = tmp_path_factory.mktemp("batch") / "workspace"
    workspace.init(folder)
    with Sandbox() as sandbox:
        population = sandbox.populate(people=230, seed=7)
        write_extract(sandbox.store, folder / "inbox" / "people.csv")
        write_salesforce_files(sandbox.store, folder / "inbox")
    toml = folder / "recon.toml"
    text = toml.read_text("utf-8")
    for name in ("people", "leads", "contacts"):
        text = text.replace(f'# {name} = "inbox/file.csv"', f'{name} = "inbox/{name}.csv"')
    toml.write_text(text, "utf-8")
    said: list[str] = []
    # The machine's clock for the runner: the notebooks take RECON_NOW from the environment.
    result = batch.run(
        folder,
        run_id="r1",
        notebooks=EXECUTED,
        clock=SystemClock(),
        environ={**os.environ, "RECON_NOW": NOW},
        say=said.append,
    )
    return Batch(folder, result, population, said)


def test_leaves_every_file_of_a_run(done: Batch) -> None:
    assert sorted(path.name for path in done.result.folder.iterdir()) == [
        "actions.csv",
        "compliance.html",
        "manifest.json",
        "merged.parquet",
        "notebooks",
        "persons.csv",
        "unusable.csv",
    ]
    assert [each.name for each in done.result.notebooks] == list(EXECUTED)
    assert [line.split(":")[0] for line in done.said] == list(EXECUTED)


def test_reads_everything_and_finds_what_was_planted(done: Batch) -> None:
    manifest, counts = done.manifest(), done.population.counts
    assert (manifest["run_id"], manifest["created_at"], manifest["clock"]) == ("r1", NOW, "set")
    rows = manifest["rows"]
    assert (rows["people"], rows["leads"], rows["contacts"]) == (counts["person"], counts["lead"], counts["contact"])
    (snapshot,) = (path for path in (done.folder / "snapshots").iterdir() if path.is_dir() and path.name[0] != ".")
    assert manifest["snapshot"]["id"] == snapshot.name
    assert sum(manifest["coverage"]["people"].values()) == rows["people"]
    assert sum(each["primary"] for each in manifest["categories"].values()) == rows["actions"]
    with (done.result.folder / "actions.csv").open(encoding="utf-8", newline="") as file:
        found = {f"{row['system']}:{row['id']}": row["category"] for row in csv.DictReader(file)}
    assert len(found) == rows["actions"]
    for category, uids in done.population.cases.items():
        if category != "field_disagrees":  # with the standard field alone these two don't matter
            for uid in uids:
                # Files hold no field history: that a Salesforce record was resubscribed can't be seen there.
                unseen = category == "will_revert" and uid.startswith("salesforce:")
                assert found[uid] == ("awaiting_sync" if unseen else category)
            assert manifest["categories"][category]["primary"] == sum(each == category for each in found.values())


@pytest.fixture(scope="module")
def direct(done: Batch, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """The same reconciliation, called without notebooks."""
    clock = SetClock(datetime.fromisoformat(NOW))
    return jobs.reconcile(done.folder, out=tmp_path_factory.mktemp("direct"), run_id="r1", clock=clock)


def test_finds_the_same_as_the_job_called_directly(done: Batch, direct: RunResult) -> None:
    assert direct.manifest == done.manifest()
    for name in ("actions.csv", "merged.parquet", "unusable.csv", "manifest.json"):
        assert (direct.folder / name).read_bytes() == (done.result.folder / name).read_bytes()


def test_shows_what_the_manifest_says(done: Batch, direct: RunResult) -> None:
    manifest = direct.manifest
    run = RunResult("r1", done.result.folder, manifest)
    assert done.output("02_reconcile", "reconcile").text == run.summary() + "\n"
    for cell, shown in {
        "categories": views.categories(run),
        "fixes": views.fixes(manifest),
        "coverage": views.coverage(run),
        "night": views.night(manifest),
        "actions": views.first_actions(run),
        "large": views.large_clusters(manifest),
    }.items():
        assert done.output("02_reconcile", cell).data == {"text/html": shown._repr_html_(), "text/plain": repr(shown)}
    assert f"{manifest['rows']['people']}" in done.output("01_pull", "inputs").data["text/html"]
    assert done.output("03_report", "report").text == f"{done.result.folder / 'compliance.html'}\n"
    for name in ("compliance.html", "actions.csv"):
        assert name in done.output("03_report", "files").data["text/html"]


def test_draws_what_the_job_found(done: Batch, direct: RunResult) -> None:
    snapshot = snapshots.newest(done.folder / "snapshots")
    report = ReportResult("r1", done.result.folder / "compliance.html")
    for name, cell, chart in (
        ("01_pull", "opt-outs", charts.opt_outs(snapshot)),
        ("02_reconcile", "disagreements", charts.disagreements(direct)),
        ("02_reconcile", "sizes", charts.cluster_sizes(direct)),
        ("03_report", "deadlines", charts.deadlines(report)),
    ):
        output = done.output(name, cell)
        # Drawn in another process, by the same bytes.
        assert output.data["text/plain"] == repr(chart), cell
        assert output.data["image/svg+xml"] == chart.svg
        assert base64.b64decode(output.data["image/png"]) == chart.png
        assert output.data[VEGA_LITE_TYPE] == chart.spec
        assert output.metadata["image/png"]["alt"] == chart.alternative


def test_explores_an_example_and_a_sync_that_is_off(done: Batch, direct: RunResult) -> None:
    primary = {name: each["primary"] for name, each in direct.manifest["categories"].items()}
    waiting = primary["awaiting_sync"] + primary["will_revert"]
    summary = done.output("05_explore", "explore").text
    # Nbconvert's pages break a line of more signs than they have room for, within a word, too.
    assert max(map(len, summary.splitlines())) <= 80
    asked, difference = summary.replace("\n  ", " ").splitlines()
    actions = direct.actions()
    uid = asked.partition(" ")[0]
    (action,) = actions[actions["system"] + ":" + actions["id"] == uid].to_dict("records")
    # A record that could be mailed although the person is opted out, and the way there.
    assert (action["opted_out"], action["merged_opted_out"]) == ("false", "true")
    page = done.output("05_explore", "why").data["text/html"]
    for said in (action["path"], action["explanation"], action["category"]):
        assert html.escape(said) in page
    assert "the way of the opt-out" in done.output("05_explore", "links").data["text/plain"]
    assert f"{waiting} records would have another flag after the next nightly run; {waiting} another" in difference
    # What tonight's run would set is left, and nothing else differs.
    table = done.output("05_explore", "compared").data["text/plain"].splitlines()[3:]
    then = {category: int(number) for category, _, number, _ in map(str.split, table)}
    assert then == {name: n for name, n in primary.items() if n} | {
        "awaiting_sync": 0,
        "will_revert": 0,
        "sync_off": waiting,
    }
    assert "text/html" in done.output("05_explore", "timeline").data


def test_shows_no_address_in_full_and_nothing_but_results(done: Batch) -> None:
    with (done.folder / "inbox" / "people.csv").open(encoding="utf-8", newline="") as file:
        addresses = {address for row in csv.DictReader(file) if "@" in (address := row["email"].strip())}
    assert len(addresses) > 100
    for name in EXECUTED:
        for cell in done.copy(name).cells:
            for output in cell.get("outputs", []):
                assert output.output_type in ("execute_result", "stream")
                # No warning, no log: only what print wrote.
                assert output.get("name", "stdout") == "stdout"
                text = json.dumps(output, ensure_ascii=False)
                assert not ADDRESS.search(text)
                assert not any(address in text for address in addresses)


def test_masked_addresses_are_there(done: Batch) -> None:
    frame = views.first_actions(RunResult("r1", done.result.folder, done.manifest()), rows=1000).frame
    assert len(frame) == min(1000, done.manifest()["rows"]["actions"])
    masked = frame["address"][frame["address"] != "no address"]
    assert len(masked) > 50
    assert masked.str.fullmatch(r".\*\*\*@.\*\*\*(\.[a-z0-9-]+)?").all()


def test_a_night_with_the_sync_switched_off() -> None:
    shown = views.night(
        {
            "tonight": {"enabled": False, "run_at": None, "people_set": 0, "records_set": 0},
            "could_be_mailed": {"tonight": 0},
            "overdue": 1234,
        }
    )
    assert list(shown.frame[""]) == ["switched off: nothing will be set", "none", "0", "0", "0", "1,234"]


def test_no_files_and_no_inputs_are_empty_tables(tmp_path: Path) -> None:
    for shown in (views.files(tmp_path), views.inputs([])):
        assert shown.frame.empty
        assert "<th " in shown._repr_html_()


def test_what_stands_in_a_table_is_text_in_full() -> None:
    hostile = "<script>alert(1)</script>" + "x" * 200
    shown = views.Shown(pd.DataFrame({"a": [hostile]}))
    assert "&lt;script&gt;" + "alert(1)" in shown._repr_html_()
    assert "<script" not in shown._repr_html_()
    assert "x" * 200 in shown._repr_html_()
    assert "x" * 200 in repr(shown)


def test_pulls_from_both_systems_over_http_and_keeps_no_secret(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        population = sandbox.populate(people=1, seed=3)
        write_settings(tmp_path, sandbox.settings(), None)
        secrets = sandbox.environment()
        # A workspace without notebooks of its own takes those that came with recon.
        result = batch.run(
            tmp_path, run_id="r1", notebooks=["01_pull"], clock=sandbox.clock, environ={**os.environ, **secrets}
        )
    (snapshot,) = (path for path in (tmp_path / "snapshots").iterdir() if path.name[0] != ".")
    assert snapshot.name.startswith("20261124T180000Z-")
    rows = {
        each["name"]: each["rows"] for each in json.loads((snapshot / "manifest.json").read_text("utf-8"))["inputs"]
    }
    counts = population.counts
    assert rows == {"people": counts["person"], "leads": counts["lead"], "contacts": counts["contact"]}
    text = result.notebooks[0].path.read_text("utf-8")
    assert not [name for name, value in secrets.items() if value in text]
