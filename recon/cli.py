"""The command line: arguments in, one job called, exit code out.

Exit codes: 0 done; 1 failed; 2 wrong usage, or input refused; 3 done, and something needs action (only where it was asked for).
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any, Literal

import click

from recon import __version__
from recon.cli_explore import COMMANDS as EXPLORING
from recon.cli_operate import COMMANDS as OPERATING
from recon.cli_parts import NEEDS_ACTION, a_folder, existing_file, progress, say, workspace
from recon.cli_resubscribe import COMMANDS as RESUBSCRIBING
from recon.errors import ReconError, UsageError


class _Group(click.Group):
    """Turns what recon raises into a sentence on stderr and an exit code; `--debug` shows where it came from."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ReconError as error:
            _debug(ctx)
            click.echo(f"recon: {error}", err=True)
            ctx.exit(error.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            raise click.Abort from None
        except Exception as error:  # noqa: BLE001 - whatever it is, the user gets a sentence, and no row's values
            _debug(ctx)
            place = traceback.extract_tb(error.__traceback__)[-1]
            click.echo(
                f"recon: this should not have happened: {type(error).__name__} in {Path(place.filename).name}, line {place.lineno}.\n"
                "  What to do: run it again with `recon --debug ...` and send the developers what it prints; look through it first, it "
                "may hold values of a row.",
                err=True,
            )
            ctx.exit(1)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, each with its whole first sentence."""
        rows = [(name, self.commands[name].get_short_help_str(200)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _debug(ctx: click.Context) -> None:
    if ctx.params.get("debug"):
        from recon.secrets import redacted

        click.echo(redacted(traceback.format_exc()), err=True, nl=False)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="recon")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option("--quiet", is_flag=True, help="Print no progress and no summary; errors are still told.")
@click.pass_context
def main(ctx: click.Context, debug: bool, quiet: bool) -> None:  # noqa: FBT001 - click passes flags
    """Reconcile opt-outs between Marketo Sales Connect and Salesforce, and prove it.

    Start with `recon demo`, which shows everything on systems of its own; then `recon init` makes a workspace for yours.
    """
    ctx.obj = {"quiet": quiet, "debug": debug}


@main.command()
@click.argument("folder", type=a_folder)
@click.option(
    "--force", is_flag=True, help="Refresh the notebooks of a workspace that is there; recon.toml is never touched."
)
def init(folder: Path, force: bool) -> None:  # noqa: FBT001
    """Make a workspace in FOLDER: recon.toml with every setting explained, notebooks/, reports/, inbox/."""
    from recon.workspace import init as make

    for path in make(folder, force=force):
        say(f"  {path}")
    say(f"Next: edit {folder / 'recon.toml'}, then `recon pull -w {folder}` and `recon diff -w {folder}`.")


@main.command()
@workspace
@click.option("--full", is_flag=True, help="Read everything.")
@click.option(
    "--since",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[SNAPSHOT]",
    help="Of Salesforce, read what changed since this snapshot, or since the newest that fits.",
)
def pull(workspace: Path, full: bool, since: str | None) -> None:  # noqa: FBT001 - click passes flags
    """Pull both datasets into a snapshot.

    Without --full or --since, pull under [salesforce] says which. What a pull that failed had read by Bulk queries is gone on with.
    """
    from recon import jobs

    if full and since is not None:
        raise UsageError("a pull is whole or since a snapshot, not both.", hint="Give --full or --since.")
    way: Literal["full", "since"] | None = "full" if full else None if since is None else "since"
    say(jobs.pull(workspace, progress=progress(), way=way, since=since or None).summary())


def _column(_ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for value in values:
        name, equals, header = value.partition("=")
        if not equals or not name or not header:
            raise click.BadParameter(f'{value!r} is not of the form NAME=HEADER, like unsubscribed="Opted out?"')
        found[name.strip()] = header
    return found


@main.command()
@workspace
@click.option("--people", type=existing_file, help="People of Sales Connect: CSV, Parquet or Excel.")
@click.option("--leads", type=existing_file, help="Leads of Salesforce, with API names as headers, or a report export.")
@click.option("--contacts", type=existing_file, help="Contacts of Salesforce, likewise.")
@click.option("--snapshot", help="A snapshot's id; the newest one by default.")
@click.option("--column", "columns", multiple=True, callback=_column, help="NAME=HEADER: a header of the people file.")
@click.option("--out", type=a_folder, help="Folder for the files; reports/RUN_ID of the workspace by default.")
@click.option(
    "--engine",
    type=click.Choice(["auto", "pandas", "polars", "duckdb", "spark"]),
    default="auto",
    show_default=True,
    help="What computes; auto is duckdb.",
)
@click.option("--exit-code", is_flag=True, help="Exit with 3 if any record needs action.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest instead of the summary.")
def diff(
    workspace: Path,
    people: Path | None,
    leads: Path | None,
    contacts: Path | None,
    snapshot: str | None,
    columns: dict[str, str],
    out: Path | None,
    engine: str,
    exit_code: bool,  # noqa: FBT001 - click passes flags
    as_json: bool,  # noqa: FBT001
) -> None:
    """Merge, predict the next nightly run, and list what needs action: from the newest snapshot, or from files.

    Writes merged.parquet, actions.csv, unusable.csv and manifest.json.
    """
    from recon import jobs

    if engine in ("auto", "duckdb"):
        from recon.engines.arrow_alone import leave_pandas_out

        leave_pandas_out()
    result = jobs.reconcile(
        workspace,
        people=people,
        leads=leads,
        contacts=contacts,
        snapshot=snapshot,
        columns=columns,
        engine=engine,
        out=out,
        progress=progress(),
    )
    if as_json:
        click.echo(json.dumps(result.manifest, ensure_ascii=False, indent=2, sort_keys=True))
    else:
        say(result.summary())
    if exit_code and result.manifest["rows"]["actions"]:
        click.get_current_context().exit(NEEDS_ACTION)


@main.command()
@workspace
@click.option("--run", "run_id", help="The run, or its folder; the newest one by default.")
def report(workspace: Path, run_id: str | None) -> None:
    """Write compliance.html for a run."""
    from recon import jobs

    click.echo(jobs.report(workspace, run_id=run_id).path)


@main.command()
@workspace
@click.option("--run-id", help="The run's id; made from the time by default.")
@click.option("--parameter", "-p", "parameters", multiple=True, metavar="NAME=VALUE", help="A notebook parameter.")
@click.option(
    "--notebooks", metavar="NAME,NAME", help="Which, in order; by default 01_pull, 02_reconcile and 03_report."
)
@click.option("--exit-code", is_flag=True, help="Exit with 3 if any record needs action.")
def run(
    workspace: Path,
    run_id: str | None,
    parameters: tuple[str, ...],
    notebooks: str | None,
    exit_code: bool,  # noqa: FBT001
) -> None:
    """The whole batch job: pull, reconcile, report, through the notebooks; executed copies are kept with the run."""
    from recon import batch, jobs
    from recon.clock import from_environment

    clock = from_environment()
    given = {}
    for each in parameters:
        name, equals, value = each.partition("=")
        if not equals:
            raise UsageError(f"--parameter {each!r} is not of the form NAME=VALUE.", hint="Like -p engine=pandas.")
        given[name] = value
    result = batch.run(
        workspace,
        run_id=run_id or jobs.new_run_id(clock),
        notebooks=batch.NOTEBOOKS if notebooks is None else [name.strip() for name in notebooks.split(",")],
        parameters=batch.from_text(given),
        clock=clock,
        progress=progress(),
        say=say,
    )
    page, manifest = result.folder / "compliance.html", result.folder / "manifest.json"
    if manifest.exists():
        from recon.report.manifest import read_manifest
        from recon.report.words import verdict

        say(verdict(read_manifest(manifest)))
    say(str(page if page.exists() else result.folder))
    if exit_code and manifest.exists() and json.loads(manifest.read_text("utf-8"))["rows"]["actions"]:
        click.get_current_context().exit(NEEDS_ACTION)


@main.command()
@click.option(
    "--dir", "folder", type=a_folder, default=Path("demo"), show_default=True, help="Where its workspace goes."
)
@click.option(
    "--people", type=click.IntRange(1), default=1000, show_default=True, help="People in the demo's Sales Connect."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, other people.")
def demo(folder: Path, people: int, seed: int) -> None:
    """Everything, on two systems of its own: no server, no account, no network."""
    from recon.demo import run as run_demo

    run_demo(folder, people=people, seed=seed, say=say, progress=progress())


@main.command()
@click.option(
    "--dir", "folder", type=a_folder, default=Path("sandbox"), show_default=True, help="Where its state is kept."
)
@click.option("--people", type=click.IntRange(1), default=1000, show_default=True, help="People, where it is new.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, other people.")
@click.option(
    "--salesforce-port", type=click.IntRange(0, 65535), default=0, help="Port of the Salesforce; 0 takes a free one."
)
@click.option(
    "--gateway-port", type=click.IntRange(0, 65535), default=0, help="Port of the gateway; 0 takes a free one."
)
@click.option("--at", help="Let its clock stand at this time, like 2026-11-24T18:00:00Z; by default it runs.")
@click.option("--faults", type=existing_file, help="TOML or JSON that declares what goes wrong, see docs/faults.md.")
@click.option(
    "--extracts", type=a_folder, help="Serve nothing: write people.csv, leads.csv and contacts.csv to this folder."
)
def sandbox(
    folder: Path,
    people: int,
    seed: int,
    salesforce_port: int,
    gateway_port: int,
    at: str | None,
    faults: Path | None,
    extracts: Path | None,
) -> None:
    """Serve a Salesforce and a Sales Connect of your own on loopback, until stopped (Ctrl-C)."""
    import signal
    import threading
    from datetime import datetime

    from recon.sandbox.served import serve

    moment = None
    if at is not None:
        try:
            moment = datetime.fromisoformat(at)
        except ValueError:
            raise UsageError(f"--at {at!r} is no time.", hint="Write it like 2026-11-24T18:00:00Z.") from None
        if moment.tzinfo is None:
            raise UsageError(f"--at {at!r} has no time zone.", hint="Write it like 2026-11-24T18:00:00Z.")
    if extracts is not None:
        from recon.sandbox.extracts import leave_extracts

        for path in leave_extracts(extracts, people=people, seed=seed, at=moment):
            say(f"  {path}")
        return
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    serve(
        folder,
        people=people,
        seed=seed,
        salesforce_port=salesforce_port,
        gateway_port=gateway_port,
        at=moment,
        faults=faults,
        echo=click.echo,
        stop=stop,
    )


for _command in (*RESUBSCRIBING, *OPERATING, *EXPLORING):
    main.add_command(_command)

if __name__ == "__main__":
    sys.exit(main())
