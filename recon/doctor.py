"""`recon doctor`: is everything as it has to be before a run, and what to do where it isn't. Nothing is written, in no system.

The checks of the machine and the workspace are here, those of the two systems in `recon.doctor_remote`. A check that can't be made because
an earlier one failed is left out. What is said holds no secret and no e-mail address.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from recon import __version__, lock, secrets, settings
from recon.clock import SystemClock, from_environment, iso
from recon.doctor_check import Check, Diagnosis, failed, ok
from recon.errors import ReconError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from recon.clock import Clock
    from recon.secrets import Secrets
    from recon.settings import Settings

_DISTRIBUTION = "recon-optout"
_LEAST_ROOM = 2 << 30
_PYTHON = (3, 11)
#: A pull a night: a snapshot that is older than this was not made last night.
_FRESH = timedelta(hours=36)


def diagnose(
    workspace: str | Path = ".", *, clock: Clock | None = None, environ: Mapping[str, str] | None = None
) -> Diagnosis:
    """Look whether a workspace, this machine and both systems are ready for a run.

    Parameters
    ----------
    workspace
        A folder with a recon.toml.
    clock, environ
        The time, and the environment that holds the secrets; by default the machine's own.
    """
    return Diagnosis(tuple(_clean(check) for check in _checks(Path(workspace), clock, environ)))


def _clean(check: Check) -> Check:
    from recon.report.mask import mask_within

    remedy = None if check.remedy is None else mask_within(secrets.redacted(check.remedy))
    return Check(check.name, check.state, mask_within(secrets.redacted(check.message)), remedy)


def _checks(workspace: Path, clock: Clock | None, environ: Mapping[str, str] | None) -> Iterator[Check]:
    yield _versions()
    if not (workspace / settings.FILE_NAME).is_file():
        text = f"there is no {settings.FILE_NAME} in {workspace.absolute()}."
        yield Check("settings", "fault", text, "`recon init DIR` makes a workspace; name it with -w DIR.")
        return
    try:
        loaded = settings.load(workspace)
        clock = clock or from_environment()
    except ReconError as error:
        yield failed("settings", error)
        return
    yield ok("settings", f"{workspace / settings.FILE_NAME} can be used.")
    known = secrets.resolver(loaded, environ)
    yield _time_zone(loaded, clock)
    if not isinstance(clock, SystemClock):
        text = f"recon takes it for {iso(clock.now())}, because RECON_NOW is set."
        yield Check("clock", "warning", text, "Unset RECON_NOW, but for a rehearsal.")
    yield from _folders(workspace, loaded)
    yield _lock(workspace)
    yield from _secrets(loaded, known)
    yield from _sources(loaded, known, clock)
    yield from _ledger(loaded, known)
    yield _snapshot(loaded, clock)
    yield from _open_work(loaded, clock)


def _versions() -> Check:
    from importlib import metadata

    from packaging.requirements import Requirement

    said = f"recon {__version__}, Python {platform.python_version()}"
    if sys.version_info < _PYTHON:
        return Check("versions", "fault", f"{said}: too old.", "Install Python 3.11 or newer.")
    try:
        wanted = [Requirement(each) for each in metadata.requires(_DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        return Check("versions", "warning", f"{said}, run without being installed.", "Install recon with pip.")
    needed = [each for each in wanted if each.marker is None or each.marker.evaluate()]
    wrong = []
    for each in needed:
        try:
            found = metadata.version(each.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{each.name} is missing")
            continue
        if not each.specifier.contains(found, prereleases=True):
            wrong.append(f"{each.name} is {found}, wanted {each.specifier}")
    if wrong:
        return Check("versions", "fault", f"{said}; {'; '.join(wrong)}.", "Install recon anew, from its lock file.")
    return ok("versions", f"{said}, all {len(needed)} packages as wanted.")


def _time_zone(loaded: Settings, clock: Clock) -> Check:
    from recon.nightly import next_run

    zone = ZoneInfo(loaded.sync.time_zone)
    # The zone's name was known when the settings were read. Its rules may still be cut down, as in some small images.
    summer, winter = (datetime(2026, month, 1, tzinfo=UTC).astimezone(zone).utcoffset() for month in (7, 1))
    if loaded.sync.time_zone == "America/Los_Angeles" and (summer, winter) != (
        timedelta(hours=-7),
        timedelta(hours=-8),
    ):
        return Check(
            "time zone", "fault", "the time zone data of this machine is damaged.", "Install the package tzdata anew."
        )
    if not loaded.sync.enabled:
        return ok("time zone", f"{loaded.sync.time_zone} is known; the nightly sync is off.")
    run = next_run(clock.now(), loaded.sync)
    return ok(
        "time zone", f"the next nightly run is at {iso(run)}, {run.astimezone(zone):%H:%M} {loaded.sync.time_zone}."
    )


def _folders(workspace: Path, loaded: Settings) -> Iterator[Check]:
    run = loaded.run
    places = {"workspace": workspace, "snapshots": run.snapshots, "reports": run.reports, "ledger": run.ledger}
    there = {name: path for name, path in places.items() if path.exists()}
    shut = [
        str(path) for path in there.values() if not (path.is_dir() and os.access(path, os.R_OK | os.W_OK | os.X_OK))
    ]
    if shut:
        text = f"{', '.join(shut)} can't be written to."
        yield Check("folders", "fault", text, "Run as the user whom the workspace belongs to, or change the rights.")
        return
    private = [path for name, path in there.items() if name != "workspace"]
    loose = [str(path) for path in private if os.name != "nt" and stat.S_IMODE(path.stat().st_mode) & 0o077]
    if loose:
        text = f"{', '.join(loose)} can be read by others than the owner, and what is in it is personal data."
        yield Check("folders", "warning", text, f"chmod 700 {' '.join(loose)}")
    else:
        yield ok("folders", f"{workspace.absolute()} can be written to, and its data is the owner's alone.")
    room = min(shutil.disk_usage(path).free for path in there.values())
    if room < _LEAST_ROOM:
        yield Check("disk", "warning", f"{room / 1e9:.1f} GB are free.", "Make room, for instance with `recon prune`.")
    else:
        yield ok("disk", f"{room / 1e9:.0f} GB are free.")


def _lock(workspace: Path) -> Check:
    holder = lock.last_holder(workspace)
    if holder is None:
        return ok("lock", "no run is at work.")
    if holder.host == socket.gethostname() and os.name != "nt" and not _alive(holder.pid):
        text = f"an earlier run ended without a word: {holder}."
        return Check(
            "lock",
            "warning",
            text,
            "Look how far it came; the next run takes over. A plan that it applied: apply it again.",
        )
    return Check("lock", "warning", f"a run is at work: {holder}.", "Wait until it is done before you start another.")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True


def _secrets(loaded: Settings, known: Secrets) -> Iterator[Check]:
    """Where each secret that is needed comes from, and whether files that hold one are their owner's alone."""
    for section, field, holds in _needed(loaded):
        part: Any = loaded
        for step in section.split("."):
            part = getattr(part, step)
        name = getattr(part, field)
        try:
            found = known.found(name)
            if found is None:
                raise secrets.missing(known, name, setting=f"{section}.{field}", holds=holds)
            if field == "private_key_file_env":
                passphrase = part.private_key_passphrase_env
                secrets.private_key(known, name, passphrase, setting=f"{section}.{field}", holds=holds)
        except ReconError as error:
            yield failed("secrets", error)
        else:
            yield ok("secrets", f"{name} comes from {found[1]}.")
    try:
        signing = _signing(loaded, known)
    except ReconError as error:
        yield failed("signing key", error)
    else:
        yield ok("signing key", "checkpoints are signed." if signing else "none is set: checkpoints aren't signed.")
    for name in sorted(known.names):
        file = known.file(name)
        if file is not None and (fault := secrets.privacy_fault(file)) is not None:
            yield Check("secret files", "fault", *fault)


def _signing(loaded: Settings, known: Secrets) -> bool:
    from recon import evidence

    return evidence.signing_key(loaded, known) is not None


def _needed(loaded: Settings) -> Iterator[tuple[str, str, str]]:
    """Section, setting and meaning of each secret that this way of logging in needs."""
    side = loaded.salesforce
    if side.instance_url is not None:
        if side.login != "soap":
            yield "salesforce", "consumer_key_env", "the connected app's consumer key"
        if side.login in ("client_credentials", "password"):
            yield "salesforce", "consumer_secret_env", "the connected app's consumer secret"
        if side.login == "jwt":
            yield "salesforce", "private_key_file_env", "the connected app's private key"
        if side.login in ("password", "soap"):
            yield "salesforce", "password_env", "the user's password"
    if loaded.sales_connect.gateway.url is not None:
        yield "sales_connect.gateway", "token_env", "the gateway's bearer token"


def _sources(loaded: Settings, known: Secrets, clock: Clock) -> Iterator[Check]:
    from recon import doctor_remote as remote

    run = loaded.run
    if loaded.salesforce.instance_url is not None:
        yield from remote.salesforce(loaded.salesforce, known, clock)
    else:
        yield from _files(
            "Leads and Contacts",
            [run.leads, run.contacts],
            "instance_url under [salesforce], or leads and contacts under [run]",
        )
    if loaded.sales_connect.gateway.url is not None:
        yield from remote.gateway(loaded.sales_connect.gateway, known, clock)
    else:
        yield from _files("people", [run.people], "url under [sales_connect.gateway], or people under [run]")


def _files(what: str, paths: list[Path | None], settings_named: str) -> Iterator[Check]:
    named = [path for path in paths if path is not None]
    if not named:
        text = f"nothing says where {what} come from."
        yield Check("sources", "warning", text, f"Write {settings_named}; or give files to `recon diff`.")
        return
    lacking = [str(path) for path in named if not (path.is_file() and os.access(path, os.R_OK))]
    if lacking:
        yield Check(
            "sources",
            "fault",
            f"{', '.join(lacking)} can't be read.",
            "Put the extract there, or change the setting in [run].",
        )
    else:
        yield ok("sources", f"{what} come from {', '.join(path.name for path in named)}.")


def _ledger(loaded: Settings, known: Secrets) -> Iterator[Check]:
    from recon import evidence
    from recon.ledger import verify
    from recon.ledger.pseudonym import keys_of, read_keys
    from recon.ledger.verify import Result

    folder = loaded.run.ledger
    try:
        found = verify(folder, evidence.checkpoint_files(loaded))
    except UsageError:
        yield ok("ledger", "there is none yet; `recon plan` makes one.")
        return
    except ReconError as error:
        yield failed("ledger", error)
        return
    first, *_ = found.lines()
    if found.result is Result.OK:
        yield ok("ledger", first)
    elif found.result is Result.NO_CHECKPOINT:
        yield Check("ledger", "warning", first, "Take one with `recon ledger checkpoint`, and keep a copy elsewhere.")
    else:
        yield Check(
            "ledger",
            "fault",
            first,
            "Run `recon ledger verify`, and compare with your backup before anything else is run.",
        )
    keys = loaded.evidence.keys or folder
    try:
        read_keys(keys)
        keys_of(known.get(loaded.evidence.keys_env, ""))
    except ReconError as error:
        yield failed("ledger keys", error)
        return
    if known.get(loaded.evidence.keys_env):
        yield ok("ledger keys", "they come as a secret.")
    elif loaded.evidence.keys is None:
        text = "they lie beside the ledger: whoever gets both can tell who is behind the pseudonyms."
        yield Check(
            "ledger keys",
            "warning",
            text,
            "Move pseudonyms-hk*.key to a folder outside the workspace, and set keys under [evidence].",
        )
    else:
        yield ok("ledger keys", f"they are kept apart, in {keys}.")


def _snapshot(loaded: Settings, clock: Clock) -> Check:
    from recon import snapshot

    try:
        newest = snapshot.newest(loaded.run.snapshots)
    except UsageError as error:
        return failed("snapshot", error, "warning")
    except ReconError as error:
        return failed("snapshot", error)
    at = datetime.fromisoformat(newest.manifest["created_at"])
    age = clock.now() - at
    said = f"the newest one, {newest.id}, is {_hours(age)} old"
    if age > _FRESH:
        return Check("snapshot", "warning", f"{said}.", "See that the nightly job runs; `recon pull` makes a new one.")
    return ok("snapshot", f"{said}, and whole.")


def _hours(age: timedelta) -> str:
    hours = max(0, int(age.total_seconds() // 3600))
    return f"{hours} hours" if hours < 48 else f"{hours // 24} days"


def _open_work(loaded: Settings, clock: Clock) -> Iterator[Check]:
    from recon.pruning import runs

    waiting = [run for run in runs(loaded, clock.now()) if run.open is not None]
    for run in waiting:
        yield Check(
            "open work",
            "warning",
            f"run {run.name}: {run.open}.",
            "See docs/admins.md; `recon prune` keeps it until then.",
        )
    if not waiting:
        yield ok("open work", "no plan and no worklist waits for anybody.")
