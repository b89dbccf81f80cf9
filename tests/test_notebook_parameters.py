"""What a parameters cell may say, and what may be given for it. No kernel runs here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from recon.errors import UsageError
from recon.notebook_parameters import Parameter, from_text, is_secret, read, settled

if TYPE_CHECKING:
    from pathlib import Path


def notebook(folder: Path, *sources: str, tag: str = "parameters") -> Path:
    cells = [new_code_cell(source, metadata={"tags": [tag]}) for source in sources]  # type: ignore[no-untyped-call]
    path = folder / "n.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("# n"), *cells]), path)  # type: ignore[no-untyped-call]
    return path


def test_reads_every_type_with_default_and_help(tmp_path: Path) -> None:
    path = notebook(
        tmp_path,
        "# what can be told\n"
        'text: str = "a=b # c"  # a text\n'
        "count: int = -3\n"
        "share: float = 2\n"
        "dry: bool = True  # nothing is written\n"
        "\n"
        "path: str | None = None  # where\n"
        "limit: None | int = 5",
    )
    assert read(path) == (
        Parameter("text", "str", False, "a=b # c", "a text"),
        Parameter("count", "int", False, -3, ""),
        Parameter("share", "float", False, 2, ""),
        Parameter("dry", "bool", False, True, "nothing is written"),
        Parameter("path", "str", True, None, "where"),
        Parameter("limit", "int", True, 5, ""),
    )


def test_a_notebook_without_such_a_cell_has_none(tmp_path: Path) -> None:
    assert read(notebook(tmp_path, "x = 1", tag="other")) == ()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("x = 1", "line 1: this sets no parameter"),
        ("x: int = 1\nimport os", "line 2: this sets no parameter"),
        ("x.y: int = 1", "sets no parameter"),
        ("x: int = 1; x: int = 2", "x is set twice"),
        ("x: list = []", "the type of x"),
        ("x: int | str = 1", "the type of x"),
        ("x: None = None", "the type of x"),
        ("x: 'int' = 1", "the type of x"),
        ("x: int", "the default of x has to be a whole number, not something computed"),
        ("x: int = 1 + y", "not something computed"),
        ("x: str = open('f').read()", "not something computed"),
        ("x: int = True", "has to be a whole number, not bool"),
        ("x: int = 1.0", "has to be a whole number, not float"),
        ("x: float = 1e999", "has to be a number"),
        ("x: bool = 1", "has to be true or false, not int"),
        ("x: str = None", "has to be text, not None"),
        ("x: str = b''", "not bytes"),
        ("x: str = '\\ud800'", "holds half a character"),
        ("x: int = 1\n%matplotlib", "this is not Python"),
        ("x: str = '''", "this is not Python"),
        ("api_token: str = ''", "api_token looks like a secret"),
    ],
)
def test_refuses_what_is_no_plain_line(tmp_path: Path, source: str, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(notebook(tmp_path, source))
    assert told in str(refused.value)
    assert "n.ipynb, parameters cell" in str(refused.value)


def test_refuses_two_such_cells_and_files_that_are_no_notebook(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only one"):
        read(notebook(tmp_path, "x: int = 1", "y: int = 1"))
    with pytest.raises(UsageError, match="can't be read: No such file"):
        read(tmp_path / "absent.ipynb")
    for content in ("", "{", "[]", "{}", '{"nbformat": 9, "nbformat_minor": 0, "cells": []}'):
        (tmp_path / "n.ipynb").write_text(content)
        with pytest.raises(UsageError, match="is no notebook"):
            read(tmp_path / "n.ipynb")


@pytest.mark.parametrize(
    "name",
    ["password", "sf_password", "token", "securityToken", "api_key", "apikey", "PRIVATE_KEY", "consumer_key", "my_secrets", "credential"],
)  # fmt: skip
def test_names_that_look_like_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["run_id", "key_column", "tokenize", "bypass", "author", "passenger", "secretary"])
def test_names_that_do_not(name: str) -> None:
    assert not is_secret(name)


KNOWN = {
    "a": (Parameter("dry_run", "bool", False, True, ""), Parameter("batch", "str", False, "", "")),
    "b": (
        Parameter("batch", "str", True, None, ""),
        Parameter("rows", "int", False, 1, ""),
        Parameter("share", "float", False, 0.5, ""),
        Parameter("run_id", "str", False, "", ""),
    ),
}


def test_each_value_goes_to_every_notebook_that_knows_it() -> None:
    assert settled(KNOWN, {"batch": "007", "rows": 3, "share": 1}) == {
        "a": {"batch": "007"},
        "b": {"batch": "007", "rows": 3, "share": 1},
    }


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("batch", "007", "007"),
        ("batch", "1_000", "1_000"),
        ("batch", "nan", "nan"),
        ("batch", "a=b", "a=b"),
        ("rows", "007", 7),
        ("rows", "-3", -3),
        ("share", "1e-3", 0.001),
        ("share", "2", 2.0),
        ("dry_run", "False", False),
        ("dry_run", "true", True),
    ],
)
def test_typed_text_becomes_what_is_declared(name: str, typed: str, value: object) -> None:
    told = settled(KNOWN, from_text({name: typed}))
    found = told["b" if name in ("rows", "share") else "a"][name]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"dryrun": False}, "dryrun: no notebook of this run knows this parameter; did you mean dry_run?"),
        ({"zzz": 1}, "zzz: no notebook of this run knows this parameter; there are batch, dry_run, rows, share."),
        ({"run_id": "x"}, "run_id: the run sets this itself"),
        ({"rows": "3"}, "rows: the value has to be a whole number, not str (b)"),
        ({"rows": True}, "not bool"),
        ({"rows": None}, "not None"),
        ({"batch": None}, "has to be text, not None (a)"),
        ({"batch": ("a", "b")}, "not tuple"),
        ({"share": float("nan")}, "has to be a number"),
        ({"dry_run": 0}, "not int"),
        (from_text({"rows": "1_000"}), "not str"),
        (from_text({"rows": "1.0"}), "not str"),
        (from_text({"rows": "٣"}), "not str"),
        (from_text({"share": "nan"}), "not str"),
        (from_text({"dry_run": "yes"}), "has to be true or false"),
        ({"sf_password": "x"}, "sf_password: this looks like a secret"),
        ({"batch": "hunter2-hunter2!"}, "batch: this holds a secret of the environment"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as refused:
        settled(KNOWN, given, own=("run_id",), secrets=("hunter2-hunter2",))
    assert told in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(UsageError) as refused:
        settled(KNOWN, {"dryrun": 1, "rows": "x", "token": "y"})
    assert [line.split(":")[0] for line in refused.value.message.splitlines()] == [
        "parameter dryrun",
        "parameter rows",
        "parameter token",
    ]
