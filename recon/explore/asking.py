"""Ask a workspace: opens its settings, its newest snapshot and its ledger, and answers."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from recon import jobs, settings
from recon.clock import from_environment, iso
from recon.engine import engine_named
from recon.engines.room import enough_room
from recon.errors import ReconError, UsageError
from recon.explore.find import example, find, joined
from recon.explore.person import persons
from recon.explore.what_if import WhatIf, compare
from recon.explore.why import Why, uids

if TYPE_CHECKING:
    import pyarrow as pa

    from recon.clock import Clock
    from recon.engine import Engine
    from recon.explore.find import Joined
    from recon.jobs import Data
    from recon.ledger import Story
    from recon.settings import Settings

#: Signs in a line, as a printed page has room for them.
_WIDTH = 80
#: Records of a person whose entries are looked for in the ledger; entries tie a person's records together, so a few lead to all.
_LOOKED_UP = 25


@dataclass(frozen=True, slots=True)
class Explored:
    """Both answers of the notebook `05_explore`.

    Attributes
    ----------
    why
        Why the record is, or isn't, opted out.
    what_if
        What other settings would change.
    """

    why: Why
    what_if: WhatIf

    def summary(self) -> str:
        """Both answers' first sentences, in lines that a page has room for: nbconvert's pages break longer ones anywhere, within a word, too."""
        told = (self.why.lines()[0], self.what_if.headline())
        return "\n".join(
            textwrap.fill(each, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
            for each in told
        )


def why(
    workspace: str | Path = ".",
    query: str = "",
    *,
    snapshot: str | None = None,
    show_addresses: bool = False,
    clock: Clock | None = None,
) -> Why:
    """Tell why a record is opted out, or isn't: its person's records, what joins them, when and how each opt-out came, the ledger's story.

    Parameters
    ----------
    workspace
        A folder with a recon.toml.
    query
        An address, a person's id, a Salesforce id of 15 or 18 characters, or `system:id`.
    snapshot
        A snapshot's id; by default the newest one.
    show_addresses
        Show addresses in full; by default they are masked.
    clock
        The time, for the ledger; by default the machine's.

    Returns
    -------
    Why
        Without persons where no record has this address or id.

    Raises
    ------
    UsageError
        If nothing is asked for, or there is no such snapshot.
    InputRefused
        If the snapshot was damaged.
    NoRoom
        If the memory that the engine may use, or a disk, isn't enough.
    """
    if not query.strip():
        raise UsageError("nothing is asked for.", hint="Name an address, a person's id or a Salesforce id.")
    loaded = settings.load(Path(workspace))
    with enough_room(loaded.run, "duckdb"):
        data, engine = _opened(loaded, snapshot)
        return _why(loaded, joined(data, loaded, engine), query, show_addresses=show_addresses, clock=clock)


def what_if(
    workspace: str | Path = ".",
    *,
    sync_enabled: bool | None = None,
    opt_out_field: str | None = None,
    snapshot: str | None = None,
    show_addresses: bool = False,
) -> WhatIf:
    """Reconcile with other settings, and tell what would differ. Nothing is written.

    Parameters
    ----------
    workspace
        A folder with a recon.toml.
    sync_enabled
        Were the nightly sync on, or off; None: as it is set.
    opt_out_field
        Were the opt-out `standard`, `custom` or `both`; None: as it is set.
    snapshot
        A snapshot's id; by default the newest one.
    show_addresses
        Show addresses in full; by default they are masked.

    Raises
    ------
    UsageError
        If the snapshot doesn't hold the field, or there is no such snapshot.
    SettingsError
        If there is no such field.
    """
    loaded = settings.load(Path(workspace))
    with enough_room(loaded.run, "duckdb"):
        data, engine = _opened(loaded, snapshot)
        return compare(
            data,
            loaded,
            sync_enabled=sync_enabled,
            opt_out_field=opt_out_field,
            show_addresses=show_addresses,
            engine=engine,
        )


def explore(
    workspace: str | Path = ".",
    *,
    query: str | None = None,
    snapshot: str | None = None,
    sync_enabled: bool = False,
    opt_out_field: str | None = None,
    show_addresses: bool = False,
    clock: Clock | None = None,
) -> Explored:
    """Both questions at once, over one reading of the snapshot: what the notebook `05_explore` shows.

    Parameters
    ----------
    workspace, snapshot, show_addresses, clock
        As for `why`.
    query
        As for `why`; None takes an example: a record that could be mailed although the person is opted out.
    sync_enabled, opt_out_field
        As for `what_if`.
    """
    loaded = settings.load(Path(workspace))
    with enough_room(loaded.run, "duckdb"):
        data, engine = _opened(loaded, snapshot)
        among = joined(data, loaded, engine)
        asked = query if query and query.strip() else example(among)
        if asked is None:
            raise UsageError(
                "nobody in this snapshot is opted out, so there is no example.", hint="Name an address or an id."
            )
        said = _why(loaded, among, asked, show_addresses=show_addresses, clock=clock)
        # The first question is answered: what was joined for it makes room for the second. The snapshot's files stay.
        engine.release()
        other = compare(
            data,
            loaded,
            sync_enabled=sync_enabled,
            opt_out_field=opt_out_field,
            show_addresses=show_addresses,
            engine=engine,
        )
    return Explored(said, other)


def _opened(loaded: Settings, snapshot: str | None) -> tuple[Data, Engine]:
    """A snapshot as frames over its files: it may be larger than memory."""
    engine = engine_named("auto", memory=loaded.run.memory, spill=loaded.run.spill)
    return jobs.from_snapshot(loaded, snapshot, engine), engine


def _why(loaded: Settings, among: Joined, query: str, *, show_addresses: bool, clock: Clock | None) -> Why:
    match = find(among, query)
    answered, note = _answered(loaded, match.records, clock)
    found = persons(match.people, match.records, loaded, match.asked, answered, among.engine)
    assert among.data.snapshot is not None
    snapshot_id = among.data.snapshot["id"]
    story = None
    try:
        story = _story(loaded, [query, *uids(found)[:_LOOKED_UP]], clock)
    except ReconError as error:
        note = error.message
    return Why(
        query=query,
        persons=found,
        found=match.persons,
        deleted=match.deleted,
        snapshot=snapshot_id,
        # An id begins with the time: 20261124T180000Z-1a2b3c4d.
        taken_at=iso(datetime.strptime(snapshot_id.partition("-")[0], "%Y%m%dT%H%M%S%z")),
        ledger=story,
        note=note,
        show_addresses=show_addresses,
    )


def _answered(loaded: Settings, records: pa.Table, clock: Clock | None) -> tuple[list[str], str | None]:
    """The converted Leads that `recon diff` leaves alone, too; and why that can't be told, where it can't."""
    from recon.resubscribe.answered import answered_leads

    try:
        return answered_leads(loaded, records, clock or from_environment()), None
    except ReconError as error:
        return [], error.message


def _story(loaded: Settings, names: list[str], clock: Clock | None) -> Story | None:
    """What the ledger says about any of these names; None where there is no ledger."""
    if not loaded.run.ledger.is_dir():
        return None
    from recon.evidence import open_ledger
    from recon.ledger import Story, story

    with open_ledger(loaded, clock or from_environment()) as ledger:
        told = [story(ledger, name) for name in names]
    steps = {}
    for each in told:
        for step in each.steps:
            # What is about the person counts more than what another name only brought along.
            if step.entry.seq not in steps or not step.context:
                steps[step.entry.seq] = step
    return Story(
        frozenset().union(*(each.names for each in told)),
        tuple(steps[seq] for seq in sorted(steps)),
        {name: said for each in told for name, said in each.actors.items()},
    )
