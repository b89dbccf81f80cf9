"""Workspaces: what `recon init` writes, that it is true, and that it overwrites nothing."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from recon import settings, settings_file, workspace
from recon.errors import ReconError, UsageError
from recon.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[1]


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def fields(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields(kind, (*path, name))
            continue
        yield (*path, name), field
        # An entry of a table may be a section of its own.
        entry = get_args(kind)[1] if get_origin(kind) is dict else None
        if isinstance(entry, type) and issubclass(entry, BaseModel):
            yield from fields(entry, (*path, name, "CODE"))


def test_makes_everything_a_workspace_needs(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "here"
    made = workspace.init(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [".gitignore", "README.md", "inbox", "notebooks", "recon.toml", "reports", "snapshots"]
    )
    assert set(made) == {folder, *folder.rglob("*")}
    for name in workspace.DATA_FOLDERS:
        assert (folder / name / ".gitignore").read_text() == "*\n"
        assert os.name == "nt" or stat.S_IMODE((folder / name).stat().st_mode) == 0o700
    shipped = {path.name: path.read_bytes() for path in (REPOSITORY / "notebooks").glob("*.ipynb")}
    assert {path.name: path.read_bytes() for path in (folder / "notebooks").iterdir()} == shipped
    assert len(shipped) == 5


def test_the_file_loads_to_exactly_the_defaults(tmp_path: Path) -> None:
    workspace.init(tmp_path / "a")
    raw = tomllib.loads((tmp_path / "a" / "recon.toml").read_text("utf-8"))
    assert Settings.model_validate(raw) == Settings()
    (tmp_path / "b").mkdir()
    one, other = settings.load(tmp_path / "a"), settings.load(tmp_path / "b")
    assert one.model_dump(exclude={"run"}) == other.model_dump(exclude={"run"})
    assert one.run.reports == tmp_path / "a" / "reports"


def test_every_setting_stands_there_with_its_meaning_type_and_default() -> None:
    text = settings_file.default_text()
    raw = tomllib.loads(text)
    # With every line that is commented out taken in, each setting has to be known: names can't go stale.
    given = re.sub(r"^# (\w+ = |\[[\w.]+\]$)", r"\1", text, flags=re.MULTILINE)
    everything = tomllib.loads(given)
    seen = set()
    for path, field in fields(Settings):
        section: Any = raw
        for part in path[:-1]:
            section = section.get(part, {})
        whole: Any = everything
        for part in path:
            assert part in whole, path
            whole = whole[part]
        default = field.get_default(call_default_factory=True)
        assert (path[-1] in section) == (default is not None and "CODE" not in path), path
        assert " ".join(field.description.split()) in " ".join(text.replace("\n# ", " ").split()), path
        seen.add(path)
    assert len(seen) == len(re.findall(r"Default:\s", text))
    # Every section is explained by its own docstring.
    for name, field in Settings.model_fields.items():
        assert field.annotation is not None
        before = text.partition(f"\n[{name}]\n")[0].rpartition("\n\n")[2]
        assert " ".join((field.annotation.__doc__ or "").split()) == before.removeprefix("# ").replace("\n# ", " "), (
            name
        )


def test_types_and_bounds_are_told_in_words() -> None:
    text = settings_file.default_text()
    assert '(One of "standard", "custom", "both". Default: "standard")\nopt_out_field' in text
    assert "(Whole number, at least 0, at most 10. Default: 4)\nretries = 4" in text
    assert "(True or false. Default: true)\nenabled = true" in text
    assert '(Text. Default: unset)\n# instance_url = ""' in text
    assert "Path(" not in text
    assert all(len(line) <= 112 for line in text.splitlines() if line.startswith("#"))


@pytest.mark.parametrize(
    "value",
    [
        True,
        0,
        -7,
        0.5,
        1e300,
        "",
        'quote " backslash \\ tab \t newline \n delete \x7f bell \x07 é 💌',
        [],
        ["a", "b"],
        [1, 2],
        time(20, 0),
        date(2026, 12, 25),
        {"a b": "c", "d": [True]},
    ],
)
def test_literals_come_back_as_they_were(value: Any) -> None:
    assert tomllib.loads(f"x = {settings_file.literal(value)}") == {"x": value}


def test_what_toml_has_no_form_for_is_not_written() -> None:
    with pytest.raises(TypeError, match="object"):
        settings_file.literal(object())


def test_paths_are_written_with_forward_slashes() -> None:
    assert settings_file.literal(Path("a") / "b") == '"a/b"'


def test_tables_come_after_the_plain_settings_of_their_section() -> None:
    text = settings_file.default_text()
    assert text.index("\nencoding = ") < text.index("[sales_connect.columns]") < text.index("[sales_connect.gateway]")
    assert any(get_origin(field.annotation) is dict for _, field in fields(Settings))


@pytest.mark.parametrize("force", [False, True])
def test_never_overwrites_a_recon_toml(tmp_path: Path, *, force: bool) -> None:
    (tmp_path / "recon.toml").write_text("[sync]\nenabled = false\n")
    before = tree(tmp_path)
    if force:
        workspace.init(tmp_path, force=True)
        assert not settings.load(tmp_path).sync.enabled
        assert (tmp_path / "notebooks" / "01_pull.ipynb").is_file()
    else:
        with pytest.raises(UsageError, match="there is a workspace already"):
            workspace.init(tmp_path)
        assert tree(tmp_path) == before


def test_a_second_init_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    workspace.init(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(UsageError):
        workspace.init(tmp_path)
    assert tree(tmp_path) == before
    assert workspace.init(tmp_path, force=True) == []


def test_an_init_that_was_interrupted_can_be_repeated(tmp_path: Path) -> None:
    workspace.init(tmp_path)
    (tmp_path / "recon.toml").unlink()
    assert workspace.init(tmp_path) == [tmp_path / "recon.toml"]


def test_files_of_ones_own_stay(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / ".gitignore").write_text("mine")
    workspace.init(tmp_path)
    assert {(tmp_path / name).read_text() for name in ("README.md", ".gitignore")} == {"mine"}


def test_other_notebooks_of_these_names_stay_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    own = tmp_path / "notebooks" / "01_pull.ipynb"
    own.write_text("mine")
    with pytest.raises(UsageError, match="01_pull"):
        workspace.init(tmp_path)
    assert tree(tmp_path) == {"notebooks": None, "notebooks/01_pull.ipynb": b"mine"}
    assert own in workspace.init(tmp_path, force=True)
    assert own.read_bytes() == (REPOSITORY / "notebooks" / "01_pull.ipynb").read_bytes()


def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReconError, match="can't be written"):
        workspace.init(tmp_path / "file" / "folder")


def test_finds_the_workspace_that_a_folder_lies_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.init(tmp_path / "w")
    assert workspace.find(tmp_path / "w") == tmp_path / "w"
    assert workspace.find(str(tmp_path / "w" / "notebooks")) == tmp_path / "w"
    monkeypatch.chdir(tmp_path / "w" / "inbox")
    assert workspace.find() == tmp_path / "w"
    with pytest.raises(UsageError, match=r"no recon\.toml"):
        workspace.find(tmp_path)
    with pytest.raises(UsageError, match=r"no recon\.toml"):
        workspace.existing(tmp_path / "w" / "inbox")


def test_notebooks_are_the_workspaces_own_or_those_that_came_with_recon(tmp_path: Path) -> None:
    assert workspace.notebook_source(tmp_path, "01_pull") == REPOSITORY / "notebooks" / "01_pull.ipynb"
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_pull.ipynb").write_text("mine")
    assert workspace.notebook_source(tmp_path, "01_pull") == tmp_path / "notebooks" / "01_pull.ipynb"
    with pytest.raises(UsageError, match="did you mean 02_reconcile"):
        workspace.notebook_source(tmp_path, "02_reconcil")
    with pytest.raises(UsageError, match="there are 01_pull, 02_reconcile, 03_report"):
        workspace.notebook_source(tmp_path, "zzz")
