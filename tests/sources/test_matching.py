"""Two sides of which nothing tells which person is which record are refused: all would look well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from recon import jobs
from recon.errors import InputRefused

if TYPE_CHECKING:
    from pathlib import Path

LEAD = "Id,HasOptedOutOfEmail,IsDeleted{}\n00Q5e00000Ab001EAB,true,false{}\n"


def write(folder: Path, people: str, with_email: bool = True) -> tuple[Path, Path]:
    files = folder / "people.csv", folder / "leads.csv"
    files[0].write_text(people, "utf-8")
    extra = (",Email", ",ada@x.example") if with_email else ("", "")
    files[1].write_text(LEAD.format(*extra), "utf-8")
    return files


def both_ways(folder: Path, people: Path, leads: Path) -> list[str]:
    """What a run and a pull of these files say."""
    (folder / "recon.toml").write_text(f'[run]\npeople = "{people}"\nleads = "{leads}"\n', "utf-8")
    said = []
    for attempt in (
        lambda: jobs.reconcile(folder, people=people, leads=leads, out=folder / "out"),
        lambda: jobs.pull(folder),
    ):
        with pytest.raises(InputRefused) as refused:
            attempt()
        said.append(str(refused.value))
    assert not (folder / "out").exists()
    assert not [*folder.glob("snapshots/2*")]
    return said


def test_people_without_address_and_salesforce_id_are_refused(tmp_path: Path) -> None:
    files = write(tmp_path, "person_id,unsubscribed,E-mail address,SFDC\n1,no,ada@x.example,00Q5e00000Ab001EAB\n")
    for said in both_ways(tmp_path, *files):
        assert "people.csv" in said
        assert "--column email=HEADER" in said
        assert "ada@" not in said


def test_addresses_on_one_side_alone_are_refused(tmp_path: Path) -> None:
    files = write(tmp_path, "person_id,unsubscribed,email\n1,no,ada@x.example\n", with_email=False)
    for said in both_ways(tmp_path, *files):
        assert "leads.csv" in said
        assert "Email" in said


@pytest.mark.parametrize(
    ("people", "with_email"),
    [
        ("person_id,unsubscribed,email\n1,no,ada@x.example\n", True),
        ("person_id,unsubscribed,salesforce_id\n1,no,00Q5e00000Ab001EAB\n", False),
    ],
)
def test_one_of_them_is_enough(tmp_path: Path, people: str, with_email: bool) -> None:
    one, other = write(tmp_path, people, with_email)
    found = jobs.reconcile(tmp_path, people=one, leads=other, out=tmp_path / "out")
    assert found.manifest["rows"]["actions"] == 1
