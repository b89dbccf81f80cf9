"""What a command loads before it does anything: no clock tells that reliably, a list of modules does."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from recon.engines.arrow_alone import know_pandas, leave_pandas_out

if TYPE_CHECKING:
    from pathlib import Path

#: What `--help` needs of what is installed.
HELPING = {"click"}
#: What takes long to load and has no part in a small run.
HEAVY = {
    *(
        "IPython",
        "altair",
        "cryptography",
        "jinja2",
        "matplotlib",
        "nbformat",
        "openpyxl",
        "pandas",
        "papermill",
        "polars",
    ),
    *("pyspark", "requests", "scipy", "simple_salesforce", "tqdm", "vl_convert"),
}
_TOLD = """
import json, sys
from recon.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
places = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
print(json.dumps(sorted({name.partition(".")[0] for name, place in places.items() if "site-packages" in place})), file=sys.stderr)
"""
PEOPLE = (
    "person_id,email,unsubscribed,salesforce_id\np1,ada@example.com,true,\np2,bo@example.com,false,00Q000000000001EAA\n"
)
LEADS = (
    "Id,Email,HasOptedOutOfEmail\n00Q000000000001EAA,ada@example.com,false\n00Q000000000002EAA,eve@example.com,false\n"
)


def loaded(*arguments: str) -> set[str]:
    """The installed packages of which a command loads anything."""
    command = [sys.executable, "-c", _TOLD, *arguments]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not said.returncode, said.stderr
    return set(json.loads(said.stderr.strip().splitlines()[-1]))


def test_help_loads_click_alone() -> None:
    assert loaded("--help") - {"_distutils_hack"} == HELPING


def test_a_small_diff_loads_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(PEOPLE, "utf-8")
    (tmp_path / "leads.csv").write_text(LEADS, "utf-8")
    files = [f"--{name}={tmp_path / name}.csv" for name in ("people", "leads")]
    there = loaded("--quiet", "diff", "-w", str(tmp_path), *files, "--out", str(tmp_path / "out"))
    assert "duckdb" in there
    assert not there & HEAVY
    # One address and one id join three records: the graph is solved, too.
    actions = (tmp_path / "out" / "actions.csv").read_text("utf-8").splitlines()
    assert [line.split(",")[1].strip('"') for line in actions] == ["id", "p2", "00Q000000000001EAA"]


def test_arrow_knows_pandas_again_before_a_frame_is_taken() -> None:
    """In a process of its own: Arrow remembers what it found."""
    script = (
        "import sys; from recon.engines.arrow_alone import leave_pandas_out; leave_pandas_out(); import pyarrow as pa;"
        "pa.array([1]); assert 'pandas' not in sys.modules; import pandas as pd; from recon.engines.shape import from_pandas;"
        "from recon.tables import PEOPLE;"
        "frame = pd.DataFrame({'person_id': ['1', '2'], 'email': ['a@example.com', float('nan')], 'unsubscribed': [True, False]});"
        "assert from_pandas(frame, PEOPLE)['email'].to_pylist() == ['a@example.com', None]"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert not said.returncode, said.stderr


def test_where_pandas_is_loaded_arrow_goes_on_knowing_it() -> None:
    leave_pandas_out()
    know_pandas()
    assert pa.array(pd.Series(["a", None], dtype="str"), from_pandas=True).to_pylist() == ["a", None]
