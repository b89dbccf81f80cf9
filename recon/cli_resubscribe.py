"""The command line of the resubscribe flow: check, policy, plan, apply, verify, undo, ledger."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from recon.cli_parts import NEEDS_ACTION, existing_file, new_file, progress, say, workspace

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@workspace
@click.argument("approved", type=existing_file)
@click.option("--snapshot", help="A snapshot's id; the newest one by default.")
@click.option("--out", type=new_file, help="Write the verdicts there, as CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON. Holds addresses.")
def check(workspace: Path, approved: Path, snapshot: str | None, out: Path | None, as_json: bool) -> None:  # noqa: FBT001
    """Give every row of an APPROVED file its verdict. Exits with 3 if any row is rejected."""
    from recon.resubscribe import jobs

    result = jobs.check(workspace, approved, snapshot=snapshot, out=out, progress=progress())
    if as_json:
        click.echo(json.dumps(jobs.as_json(result), ensure_ascii=False, indent=2))
    else:
        say("\n".join(result.lines()))
    if result.checked.rejected:
        click.get_current_context().exit(NEEDS_ACTION)


@click.command()
@workspace
def policy(workspace: Path) -> None:
    """Print the policy in force: every rule with its source, and each country's own."""
    from recon import settings
    from recon.resubscribe.policy import policy_lines

    click.echo("\n".join(policy_lines(settings.load(workspace).policy)))


class _Plan(click.Group):
    """`recon plan APPROVED` makes a plan; `recon plan show` and `recon plan diff` look at some."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = ["make", *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Options before the file belong to `make`.
        if args and args[0] not in {*self.commands, "--help", "-h"}:
            args = ["make", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Plan)
def plan() -> None:
    """Make a plan from an approved file (`recon plan APPROVED.csv`), show one, or compare two."""


@plan.command("make")
@workspace
@click.argument("approved", type=existing_file)
@click.option("--with-opt-outs", is_flag=True, help="Also plan the opt-outs that the diff lists for the toolkit.")
@click.option("--by", "created_by", help="Who makes the plan.")
@click.option("--snapshot", help="A snapshot's id; the newest one by default.")
@click.option("--run-id", help="The run's id; made from the time by default.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def make(
    workspace: Path,
    approved: Path,
    with_opt_outs: bool,  # noqa: FBT001
    created_by: str | None,
    snapshot: str | None,
    run_id: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Make the plan of what an APPROVED file allows: verdicts.csv and plan.json in a run's folder."""
    from recon.resubscribe import jobs
    from recon.resubscribe.show import plan_lines

    result = jobs.plan(
        workspace,
        approved,
        with_opt_outs=with_opt_outs,
        created_by=created_by,
        snapshot=snapshot,
        run_id=run_id,
        progress=progress(),
    )
    if as_json:
        click.echo(json.dumps(result.plan.as_json(), ensure_ascii=False, indent=2))
        return
    for line in plan_lines(result.plan):
        say(line)
    say(f"\nPlan: {result.path}")


@plan.command("show")
@click.argument("file", type=existing_file)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(file: Path, as_json: bool) -> None:  # noqa: FBT001
    """Show a plan as a person reads it."""
    from recon.resubscribe.plan_file import read_plan
    from recon.resubscribe.show import plan_lines

    found = read_plan(file)
    click.echo(json.dumps(found.as_json(), ensure_ascii=False, indent=2) if as_json else "\n".join(plan_lines(found)))


@plan.command("diff")
@click.argument("old", type=existing_file)
@click.argument("new", type=existing_file)
def plan_diff(old: Path, new: Path) -> None:
    """Say what two plans differ in."""
    from recon.resubscribe.plan_file import read_plan
    from recon.resubscribe.show import diff_lines

    click.echo("\n".join(diff_lines(read_plan(old), read_plan(new))))


@click.command("apply")
@workspace
@click.argument("file", metavar="PLAN.json", type=existing_file)
@click.option(
    "--actor", required=True, help="Who carries it out; stands in the ledger, and in Sales Connect's history."
)
@click.option(
    "--worklist", type=existing_file, help="A worklist.csv that an admin ticked: takes back what was done by hand."
)
@click.option("--inside-guard-window", is_flag=True, help="Write although the nightly run is near.")
def apply_plan(workspace: Path, file: Path, actor: str, worklist: Path | None, inside_guard_window: bool) -> None:  # noqa: FBT001
    """Carry a plan out, or go on with one that was interrupted. Exits with 3 if anything is left."""
    from recon.resubscribe.apply import apply

    done = apply(
        workspace,
        file,
        actor=actor,
        worklist=worklist,
        inside_guard_window=inside_guard_window,
        progress=progress(),
    )
    say("\n".join(done.lines()))
    click.get_current_context().exit(done.exit_code)


@click.command()
@workspace
@click.option("--run", "run_id", help="The run whose plan was applied; the one that was applied last by default.")
def verify(workspace: Path, run_id: str | None) -> None:
    """After a nightly run: did every resubscribe stick, and if not, which record undid it. Exits with 3 if one was reverted."""
    from recon.resubscribe.verify import verify as look

    found = look(workspace, run_id=run_id, progress=progress())
    say("\n".join(found.lines()))
    click.get_current_context().exit(found.exit_code)


@click.command()
@workspace
@click.argument("run_id", metavar="RUN")
@click.option("--by", "created_by", help="Who makes the plan.")
@click.option("--run-id", "new_run_id", help="The id of the undo's own run; made from the time by default.")
def undo(workspace: Path, run_id: str, created_by: str | None, new_run_id: str | None) -> None:
    """Make a plan that puts back the opt-outs that a RUN took away. Nothing is changed before `recon apply`."""
    from recon.resubscribe.show import plan_lines
    from recon.resubscribe.undo import undo as take_back

    made = take_back(workspace, run_id, created_by=created_by, new_run_id=new_run_id)
    for line in plan_lines(made.plan):
        say(line)
    say(f"\nPlan: {made.path}")


@click.group()
def ledger() -> None:
    """The evidence: is it whole, one person's story, the consent records."""


@ledger.command("verify")
@workspace
@click.option(
    "--checkpoint", "checkpoints", multiple=True, type=existing_file, help="A file of checkpoints from elsewhere."
)
@click.option("--pubkey", type=existing_file, help="Ed25519 public key (PEM) that checkpoints must be signed with.")
def ledger_verify(workspace: Path, checkpoints: tuple[Path, ...], pubkey: Path | None) -> None:
    """Compute the ledger anew and hold it against checkpoints.

    Exits with 0: unbroken; 1: broken; 4: shorter than a checkpoint says; 5: no checkpoint to hold it against; 6: a signature doesn't hold.
    """
    from recon import evidence, settings
    from recon.ledger import verify as compute

    loaded = settings.load(workspace)
    # Of two that are equally new the last is named: whoever brings one along is to see that it was looked at.
    found = compute(loaded.run.ledger, [*evidence.checkpoint_files(loaded), *checkpoints], pubkey)
    click.echo("\n".join(found.lines()))
    click.get_current_context().exit(found.exit_code)


@ledger.command("show")
@workspace
@click.argument("who")
@click.option("--full", is_flag=True, help="Show what was said about the person unmasked.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON. Holds personal data in full.")
def ledger_show(workspace: Path, who: str, full: bool, as_json: bool) -> None:  # noqa: FBT001
    """One person's whole story, from any address or record id."""
    from recon.ledger import story

    with _opened(workspace) as opened:
        found = story(opened, who)
    click.echo(
        json.dumps(found.as_json(), ensure_ascii=False, indent=2) if as_json else "\n".join(found.lines(full=full))
    )


@ledger.command("export")
@workspace
@click.option("--of", "who", help="One person only: an address or a record's id.")
@click.option("--out", type=new_file, help="The file; standard output by default.")
@click.option("--full", is_flag=True, help="Leave addresses in free texts unmasked.")
def ledger_export(workspace: Path, who: str | None, out: Path | None, full: bool) -> None:  # noqa: FBT001
    """The consent records in DPV / ISO 27560 terms, with the entries and the checkpoint that prove them."""
    from recon import evidence, settings
    from recon.ledger import export
    from recon.outputs import whole

    loaded = settings.load(workspace)
    with _opened(workspace) as opened:
        point = evidence.take_checkpoint(opened, loaded, None)
        found = export(opened, evidence.terms(loaded), of=who, checkpoint=point, full=full)
    if out is None:
        click.echo(found.text(), nl=False)
        return
    with whole(out) as draft:
        draft.write_text(found.text(), encoding="utf-8")
    say("\n".join([*found.lines(), f"  {out}"]))


@ledger.command("checkpoint")
@workspace
@click.option("--to", type=new_file, help="A file that should leave this machine; beside the ledger by default.")
def ledger_checkpoint(workspace: Path, to: Path | None) -> None:
    """Record where the ledger stands."""
    from recon import evidence, settings

    loaded = settings.load(workspace)
    with _opened(workspace) as opened:
        if to is None:
            point = evidence.take_checkpoint(opened, loaded, None)
        else:
            point = opened.checkpoint(to, evidence.signing_key(loaded))
    click.echo("\n".join(point.lines()))


@ledger.command("erase")
@workspace
@click.argument("who")
@click.option("--ground", required=True, help="Why, as a code, like gdpr-17.")
@click.option("--actor", help="Who does it.")
def ledger_erase(workspace: Path, who: str, ground: str, actor: str | None) -> None:
    """Erase what the ledger says about one person; the chain stays whole."""
    from recon.ledger import erase

    with _opened(workspace) as opened:
        click.echo("\n".join(erase(opened, who, ground, actor=actor).lines()))


def _opened(folder: Path) -> Any:
    from recon import evidence, settings
    from recon.clock import from_environment
    from recon.errors import UsageError

    loaded = settings.load(folder)
    if not loaded.run.ledger.is_dir():
        raise UsageError(f"there is no ledger in {loaded.run.ledger}.", hint="`recon plan` makes one.")
    return evidence.open_ledger(loaded, from_environment())


COMMANDS = (check, policy, plan, apply_plan, verify, undo, ledger)
