"""Faults from a file, and a sandbox that is served with them."""

from __future__ import annotations

import json
import shlex
import threading
from typing import TYPE_CHECKING

import pytest
import requests
from click.testing import CliRunner

from recon.cli import main
from recon.errors import InputRefused
from recon.sandbox.faults_file import read_faults
from recon.sandbox.served import serve

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
# What goes wrong.
[[fault]]
system = "gateway"
path = "^/people$"
kind = "status"
status = 503
headers = { Retry-After = "1" }

[[fault]]
kind = "row"
path = "/sobjects/Contact/"
code = "UNABLE_TO_LOCK_ROW"
times = "always"
"""


def test_toml_and_json_declare_the_same(tmp_path: Path) -> None:
    toml, listed = tmp_path / "faults.toml", tmp_path / "faults.json"
    toml.write_text(GOOD, encoding="utf-8")
    found = read_faults(toml)
    assert [each.kind for each in found] == ["status", "row"]
    assert found[0].headers == {"Retry-After": "1"}
    listed.write_text(json.dumps([each.model_dump(exclude_unset=True) for each in found]), encoding="utf-8")
    assert read_faults(listed) == found
    listed.write_text(json.dumps({"fault": [found[1].model_dump(exclude_unset=True)]}), encoding="utf-8")
    assert read_faults(listed) == found[1:]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "f.toml",
            GOOD.replace("status = 503", "statu = 503"),
            "f.toml, line 3: fault 1: statu: there is no such key.",
        ),
        ("f.toml", GOOD.replace("status = 503", ""), "line 3: fault 1: the kind status needs status."),
        ("f.toml", GOOD.replace('kind = "row"', 'kind = "rows"'), "line 10: fault 2: kind: Input should be"),
        ("f.toml", GOOD.replace('"always"', "-1"), "line 10: fault 2: times"),
        ("f.toml", "[[fault]]\nkind = 'call'\n", "line 1: fault 1: call is for tests in Python."),
        ("f.toml", "[[faults]]\nkind = 'drop'\n", "there is no such key: faults."),
        ("f.toml", "[[fault]\n", "f.toml: is no TOML: "),
        ("f.toml", "", "declares no faults."),
        ("f.toml", "fault = [3]\n", "fault 1: Input should be"),
        ("f.json", "[{}]", "f.json: fault 1: kind: Field required."),
        ("f.json", "{", "f.json: is no JSON: "),
        ("f.json", "3", "declares no faults."),
    ],
    ids=range(12),
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, name: str, text: str, said: str) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputRefused) as caught:
        read_faults(file)
    assert said in str(caught.value)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_text("[[fault]]\nkind = 'drop'\nx = 1\ny = 2\n[[fault]]\nkind = 'late'\nseconds = 0\n", encoding="utf-8")
    with pytest.raises(InputRefused) as caught:
        read_faults(file)
    assert len(caught.value.problems) == 3


def test_a_file_that_can_not_be_read_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputRefused, match="it isn't UTF-8"):
        read_faults(file)
    with pytest.raises(InputRefused, match="can't be read"):
        read_faults(tmp_path)


def test_the_command_refuses_before_anything_is_made(tmp_path: Path) -> None:
    file, folder = tmp_path / "f.toml", tmp_path / "box"
    file.write_text("[[fault]]\nkind = 'flood'\n", encoding="utf-8")
    result = CliRunner().invoke(main, ["sandbox", "--dir", str(folder), "--faults", str(file)])
    assert result.exit_code == 2
    assert "f.toml, line 1: fault 1: kind" in result.output
    assert not folder.exists()


def test_a_served_sandbox_tells_every_fault_as_it_is_met(tmp_path: Path) -> None:
    file, folder = tmp_path / "f.toml", tmp_path / "box"
    file.write_text(GOOD, encoding="utf-8")
    stop, ready = threading.Event(), threading.Event()
    printed: list[str] = []

    def echo(text: str) -> None:
        printed.append(text)
        if text.startswith("Faults declared"):
            ready.set()

    thread = threading.Thread(
        target=lambda: serve(folder, people=20, seed=1, faults=file, echo=echo, stop=stop), daemon=True
    )
    thread.start()
    try:
        assert ready.wait(30)
        words = [shlex.split(line)[-1] for line in (folder / "environment.sh").read_text("utf-8").splitlines()[1:]]
        token = dict(word.split("=", 1) for word in words)["RECON_GATEWAY_TOKEN"]
        url = next(line.split()[-1] for line in printed[0].splitlines() if "Sales Connect" in line)
        headers = {"Authorization": f"Bearer {token}"}
        with requests.Session() as http:
            said = [http.get(f"{url}/people?cursor=", headers=headers, timeout=5).status_code for _ in range(2)]
    finally:
        stop.set()
        thread.join(30)
    assert said[0] == 503
    assert said[1] != 503
    assert "Faults declared: 2. Each is told here as it is met." in printed
    assert "fault 1 (status): gateway, GET /people" in printed
