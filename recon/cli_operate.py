"""The command line for operators: doctor, prune."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from recon.cli_parts import say, workspace

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@workspace
@click.option(
    "--keep-days", type=click.IntRange(0), metavar="N", help="Keep what is not older; by default as in [retention]."
)
@click.option(
    "--keep-runs", type=click.IntRange(1), metavar="N", help="Keep the newest runs; by default as in [retention]."
)
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def prune(workspace: Path, keep_days: int | None, keep_runs: int | None, dry_run: bool, as_json: bool) -> None:  # noqa: FBT001
    """Delete old runs and snapshots; never the ledger, nor what a plan, a worklist or an incremental pull still needs."""
    from recon.prune import prune as delete_old

    done = delete_old(workspace, keep_days=keep_days, keep_runs=keep_runs, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(done.as_json(), ensure_ascii=False, indent=2))
    else:
        say("\n".join(done.lines()))


@click.command()
@workspace
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def doctor(workspace: Path, as_json: bool) -> None:  # noqa: FBT001
    """Check settings, secrets, logins, field access, clocks, versions and the workspace, and say what to do. Exits with 1 on a fault."""
    from recon.doctor import diagnose

    found = diagnose(workspace)
    click.echo(json.dumps(found.as_json(), ensure_ascii=False, indent=2) if as_json else "\n".join(found.lines()))
    click.get_current_context().exit(found.exit_code)


COMMANDS = (doctor, prune)
