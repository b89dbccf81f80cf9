"""What a population is made of: names and addresses, moments, ids, and rows that are written in bulk."""

from __future__ import annotations

import random
import re
import unicodedata
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

from faker import Faker

from recon.sandbox.sales_connect import ON_SCREEN, STANDARD_FIELD, SYNC_USER, Level, Source
from recon.sandbox.salesforce import records
from recon.sandbox.salesforce.objects import CUSTOM_FIELD
from recon.sandbox.store import text_time

if TYPE_CHECKING:
    from recon.sandbox.store import Store

SObject = Literal["Lead", "Contact"]

#: Whose names the people bear. Fixed, as the same seed has to give the same people.
LOCALES = ("en_US", "de_DE", "fr_FR", "es_ES", "pl_PL", "el_GR", "ja_JP")
_NAMES_A_LOCALE = 120

#: Reserved for examples and tests (RFC 2606, RFC 6761): mail to them reaches nobody.
_PLAIN_DOMAINS = ("example.com", "example.org", "example.net")
_TOP_LEVELS = ("example", "test", "invalid")

_COLLECTED: tuple[Source, ...] = ("manual", "clicked_link", "bounce")
_SALES_USERS = ("Dana Reyes", "Kofi Mensah", "Lena Vogt")
#: Field history goes back this far (18 months); what is older has no rows.
_TRACKED = timedelta(days=548)
#: The oldest opt-outs.
_OLDEST_OPT_OUT = timedelta(days=730)
_PACIFIC = ZoneInfo("America/Los_Angeles")
_RUN_HOUR = 20
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PREFIX: dict[SObject, str] = {"Lead": "00Q", "Contact": "003"}
_ROWS_A_WRITE = 20_000

_INSERTS = {
    "person": "INSERT INTO person (person_id, email, salesforce_id, first_name, last_name, company, title, phone, created_at, updated_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "unsubscribe": "INSERT INTO unsubscribe (person_id, level, user_name, source, at) VALUES (?, ?, ?, ?, ?)",
    "unsubscribe_history": "INSERT INTO unsubscribe_history (person_id, at, level, details, source, reason) VALUES (?, ?, ?, ?, ?, ?)",
    "lead": "INSERT INTO lead (Id, FirstName, LastName, Company, Email, HasOptedOutOfEmail, Marketo_Sales_Opt_Out__c, IsConverted, "
    "ConvertedContactId, ConvertedDate, MasterRecordId, IsDeleted, CreatedDate, LastModifiedDate, LastModifiedById, SystemModstamp) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "contact": "INSERT INTO contact (Id, FirstName, LastName, Email, HasOptedOutOfEmail, Marketo_Sales_Opt_Out__c, MasterRecordId, "
    "IsDeleted, CreatedDate, LastModifiedDate, LastModifiedById, SystemModstamp) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "history": "INSERT INTO history (Id, Object, Parent, Field, OldValue, NewValue, CreatedById, CreatedDate) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
}


@dataclass(frozen=True, slots=True)
class Name:
    """First name, last name, company."""

    first: str
    last: str
    company: str


@dataclass(frozen=True, slots=True)
class OptOut:
    """An opt-out as one side holds it, and, where it was taken back, when."""

    at: datetime
    source: Source = "manual"
    level: Level = "account"
    cleared_at: datetime | None = None

    def cleared(self, at: datetime) -> OptOut:
        """The same, taken back."""
        return replace(self, cleared_at=at)


class Rows:
    """Makes rows, keeps them back and writes them in large lots. Nothing here fires the push or the clock.

    Parameters
    ----------
    store
        An empty store.
    seed
        The same seed and the same clock give the same rows.
    """

    def __init__(self, store: Store, seed: int) -> None:
        self.now = store.clock.now()
        self.last_run = _run_before(self.now)
        self.rng = random.Random(seed)  # noqa: S311 - made-up people, no secrets
        self.counts: dict[str, int] = dict.fromkeys(_INSERTS, 0)
        self._store = store
        self._pending: dict[str, list[tuple[object, ...]]] = {table: [] for table in _INSERTS}
        self._held = 0
        self._first_person = int(store.config("person_sequence"))
        self._serial = 0
        self._addresses = 0
        self._names = _names(seed)
        self._domains = _domains(seed)

    # Names, addresses, moments

    def chance(self, share: float) -> bool:
        """True in this share of all calls."""
        return self.rng.random() < share

    def name(self) -> Name:
        """A person's name, first and last from one language."""
        firsts, lasts, companies = self.rng.choice(self._names)
        return Name(self.rng.choice(firsts), self.rng.choice(lasts), self.rng.choice(companies))

    def address(self, name: Name | None = None, domain: str | None = None) -> str:
        """An address that no other record has: plain lower-case ASCII unless the domain isn't."""
        self._addresses += 1
        parts = [_ascii(name.first), _ascii(name.last)] if name else []
        local = ".".join([*(part for part in parts if part), str(self._addresses)])
        return f"{local if name else f'box{local}'}@{domain or self.rng.choice(self._domains)}"

    def settled(self) -> datetime:
        """A moment in the last two years, but a day before the last nightly run: both sides know of it by now."""
        span = _OLDEST_OPT_OUT - (self.now - self.last_run) - timedelta(days=1)
        return self.now - _OLDEST_OPT_OUT + span * self.rng.random()

    def since_last_run(self) -> datetime:
        """A moment after the last nightly run."""
        return self.last_run + (self.now - self.last_run) * self.rng.random()

    def both_sides(self, at: datetime) -> tuple[OptOut, OptOut]:
        """One settled opt-out as it got to both sides, by the push or by the sync: the person's and the record's."""
        if self.chance(0.4):
            return OptOut(run_after(at), "salesforce_sync"), OptOut(at)
        source = self.rng.choices(_COLLECTED, (45, 50, 5))[0]
        pushed = at + timedelta(seconds=self.rng.randint(1, 5))
        return OptOut(at, source), OptOut(pushed, "salesforce_sync")

    # Rows

    def person(
        self,
        email: str | None,
        link: str | None = None,
        out: OptOut | None = None,
        *,
        also: OptOut | None = None,
        name: Name | None = None,
        person_id: str | None = None,
    ) -> str:
        """A person in Sales Connect, up to two unsubscribes (of different levels) with their history; returns the id."""
        if person_id is None:
            person_id = str(self._first_person + self.counts["person"])
        name = name or self.name()
        created = self._created(out)
        updated = created
        for each in (out, also):
            if each is None:
                continue
            user = self.rng.choice(_SALES_USERS) if each.level == "user" else ""
            if each.cleared_at is None:
                self._add("unsubscribe", (person_id, each.level, user, each.source, text_time(each.at)))
            source = ON_SCREEN[each.source]
            self._add("unsubscribe_history", (person_id, text_time(each.at), each.level, "Unsubscribe", source, None))
            if each.cleared_at is not None:
                cleared = text_time(each.cleared_at)
                reason = self.rng.choice(("Asked to get mail again", "Unsubscribed by mistake", "New consent form"))
                self._add("unsubscribe_history", (person_id, cleared, each.level, "Resubscribe", "Admin Ines", reason))
            updated = max(updated, each.cleared_at or each.at)
        row = (person_id, email, link, name.first, name.last, name.company, None, None)
        self._add("person", (*row, text_time(created), text_time(updated)))
        return person_id

    def record(
        self,
        sobject: SObject,
        email: str | None,
        out: OptOut | None = None,
        *,
        name: Name | None = None,
        fields: tuple[bool, bool] | None = None,
        converted_to: str | None = None,
        converted_at: datetime | None = None,
        deleted: bool = False,
        master: str | None = None,
    ) -> str:
        """A Lead or Contact, with field history as far as it is tracked; returns the 18-character id.

        Both opt-out fields say the same, unless `fields` says which of them (standard, custom) an opt-out stands in.
        """
        name = name or self.name()
        record_id = self._id(_PREFIX[sobject])
        created = self._created(out)
        modified = created if out is None else max(created, out.cleared_at or out.at)
        setter = SYNC_USER if out is not None and out.source == "salesforce_sync" else records.ADMIN
        stands = out is not None and out.cleared_at is None
        flags = fields or (stands, stands)
        if out is not None:
            tracked = [
                each for each, flag in zip((STANDARD_FIELD, CUSTOM_FIELD), flags, strict=True) if flag or not stands
            ]
            self._history(sobject, record_id, tracked, out, setter)
        if converted_to is not None:
            # Nobody can change a converted Lead: what changed came before.
            converted_at = converted_at or modified + (self.last_run - modified) * self.rng.random()
            modified = max(modified, converted_at)
        # The last hand: an admin's where the opt-out was taken back or the Lead converted after it.
        user = setter if stands and converted_to is None else records.ADMIN
        stamps = (text_time(created), text_time(modified), user, text_time(modified))
        shared = (email, int(flags[0]), int(flags[1]))
        if sobject == "Contact":
            row = (record_id, name.first, name.last, *shared, master, int(deleted), *stamps)
            self._add("contact", row)
        else:
            when = None if converted_at is None else text_time(converted_at)
            conversion = (int(converted_to is not None), converted_to, when, master, int(deleted))
            self._add("lead", (record_id, name.first, name.last, name.company, *shared, *conversion, *stamps))
        return record_id

    def missing_id(self, sobject: SObject) -> str:
        """An id that no record has."""
        return self._id(_PREFIX[sobject])

    def link(self, record_id: str) -> str:
        """A record's id as Sales Connect may hold it: 18 characters, or now and then 15."""
        return record_id[:15] if self.chance(0.3) else record_id

    def flush(self) -> None:
        """Write what is kept back."""
        with self._store.transaction() as db:
            for table, rows in self._pending.items():
                db.executemany(_INSERTS[table], rows)
                rows.clear()
            self._store.configure(person_sequence=str(self._first_person + self.counts["person"]))
        self._held = 0

    def _add(self, table: str, row: tuple[object, ...]) -> None:
        self._pending[table].append(row)
        self.counts[table] += 1
        self._held += 1
        # The row that the others belong to comes last: what belongs together is written together.
        if self._held >= _ROWS_A_WRITE and table in ("person", "lead", "contact"):
            self.flush()

    def _history(self, sobject: SObject, record_id: str, fields: list[str], out: OptOut, user: str) -> None:
        changes = [("false", "true", out.at, user)]
        if out.cleared_at is not None:
            changes.append(("true", "false", out.cleared_at, records.ADMIN))
        for old, new, at, by in changes:
            if at < self.now - _TRACKED:
                continue
            for field in fields:
                self._add("history", (self._id("017"), sobject, record_id, field, old, new, by, text_time(at)))

    def _created(self, out: OptOut | None) -> datetime:
        """Some time in the last four years, and before the opt-out."""
        latest = self.last_run if out is None else min(out.at, self.last_run)
        return latest - timedelta(seconds=self.rng.randint(3600, 2 * 365 * 86400))

    def _id(self, prefix: str) -> str:
        # Another stem than records.new_id has: later records never meet these.
        self._serial += 1
        digits, number = "", self._serial
        while number:
            number, digit = divmod(number, 62)
            digits = _BASE62[digit] + digits
        return records.to_18(f"{prefix}5e01{digits:0>8}")


def run_after(at: datetime) -> datetime:
    """The nightly run that follows a moment: 8 pm Pacific time."""
    local = at.astimezone(_PACIFIC)
    run = local.replace(hour=_RUN_HOUR, minute=0, second=0, microsecond=0)
    if run <= local:
        run = (run + timedelta(days=1)).replace(hour=_RUN_HOUR)
    return run.astimezone(UTC)


def _run_before(at: datetime) -> datetime:
    local = at.astimezone(_PACIFIC)
    run = local.replace(hour=_RUN_HOUR, minute=0, second=0, microsecond=0)
    return (run if run < local else run - timedelta(days=1)).astimezone(UTC)


def _names(seed: int) -> list[tuple[list[str], list[str], list[str]]]:
    pools = []
    for offset, locale in enumerate(LOCALES):
        fake = Faker(locale)
        fake.seed_instance(seed * len(LOCALES) + offset)
        makers = (fake.first_name, fake.last_name, fake.company)
        firsts, lasts, companies = ([make() for _ in range(_NAMES_A_LOCALE)] for make in makers)
        pools.append((firsts, lasts, companies))
    return pools


def _domains(seed: int) -> list[str]:
    fake = Faker("en_US")
    fake.seed_instance(seed)
    words = sorted({_ascii(fake.last_name()) for _ in range(40)})
    return [*_PLAIN_DOMAINS, *(f"{word}.{_TOP_LEVELS[n % 3]}" for n, word in enumerate(words))]


def _ascii(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", unicodedata.normalize("NFKD", text).lower())
