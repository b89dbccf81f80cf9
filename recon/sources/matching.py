"""Whether two sides can be matched at all: a people file whose address and Salesforce ID weren't recognised would give a false all-clear."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon.errors import InputRefused, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recon.sources.base import Input

_FILES = ("csv", "parquet", "excel")


def refuse_unmatchable(people: Input, records: Sequence[Input]) -> None:
    """Refuse sides of which nothing tells which person is which record: neither a Salesforce ID nor an address that both have.

    Parameters
    ----------
    people, records
        Where the two sides came from. What is no file is taken to have both.

    Raises
    ------
    InputRefused
        If no person could be found in Salesforce, whoever is in the files.
    """
    mine = _columns(people)
    if mine is None or "salesforce_id" in mine:
        return
    if "email" not in mine:
        raise InputRefused(
            [
                Problem(
                    people.origin,
                    "there is neither a column 'email' nor a column 'salesforce_id', so no person could be found in Salesforce, and nothing would "
                    "ever need action.",
                    'Say which headers they are: --column email=HEADER --column salesforce_id=HEADER, or email = "HEADER" under '
                    "[sales_connect.columns].",
                )
            ]
        )
    without = [each for each in records if (theirs := _columns(each)) is not None and "email" not in theirs]
    if without and len(without) == len(records):
        raise InputRefused(
            [
                Problem(
                    each.origin,
                    "there is no column 'Email', and the people have no Salesforce ID: no person could be found here.",
                    "Export it with Email, or the people with their Salesforce ID.",
                )
                for each in without
            ]
        )


def _columns(source: Input) -> set[str] | None:
    """The canonical names of a file's columns; None where the source is none."""
    told = source.details.get("columns")
    if source.kind not in _FILES or not isinstance(told, list):
        return None
    return {each.partition(" = ")[0] for each in told}
