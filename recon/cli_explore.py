"""The command line of questions: why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from recon.cli_parts import workspace

if TYPE_CHECKING:
    from pathlib import Path

NOBODY_FOUND = 1


@click.command()
@workspace
@click.argument("query", metavar="ADDRESS_OR_ID")
@click.option("--snapshot", help="A snapshot's id; the newest one by default.")
@click.option("--full", is_flag=True, help="Show addresses in full; they are masked by default.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def why(workspace: Path, query: str, snapshot: str | None, full: bool, as_json: bool) -> None:  # noqa: FBT001
    """Why is this record opted out, or why isn't it? Asks the newest snapshot, and the ledger where there is one.

    Takes an address, a person's id of Sales Connect, a Salesforce id of 15 or 18 characters, or system:id. Shows every record of
    the person, what joins them, how and when each opt-out came, and what the next nightly run will do. Exits with 1 if no record has
    this address or id.
    """
    from recon.explore import why as ask

    found = ask(workspace, query, snapshot=snapshot, show_addresses=full)
    if as_json:
        click.echo(json.dumps(found.as_json(), ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(found.lines()), err=not found.persons)
    if not found.persons:
        click.get_current_context().exit(NOBODY_FOUND)


COMMANDS = (why,)
