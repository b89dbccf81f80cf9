"""The table logic written down a second time, slowly and plainly, to hold the fast one against.

Rows are dicts, joins are pairs, components grow by repeated union, paths come from a breadth-first search. Nothing of `recon` is used
here, so a mistake in it can't repeat itself. Read it beside the design: where the two differ, this file is wrong.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import idna

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from recon.settings import Settings

Row = dict[str, Any]
#: Two rows that are joined, and by what: id, converted or address.
Join = tuple[str, str, str]

KINDS = ("id", "converted", "address")
CATEGORIES = (
    "field_disagrees",
    "broken_link",
    "stale_link",
    "lost_on_conversion",
    "awaiting_sync",
    "sync_off",
    "unlinked_match",
    "duplicate_disagrees",
    "user_level_only",
    "bounce",
    "will_revert",
)
_LOCAL_SIGNS = set("abcdefghijklmnopqrstuvwxyz0123456789.!#$%&'*+/=?^_`{|}~-")
_LABEL_SIGNS = set("abcdefghijklmnopqrstuvwxyz0123456789_-")


# Keys, made comparable


@functools.cache
def address(text: str | None) -> str | None:
    """An e-mail address made comparable, or None where the text is none."""
    if text is None:
        return None
    parts = text.strip().casefold().split("@")
    if len(parts) != 2:
        return None
    local, domain = parts
    if not 1 <= len(local) <= 64:
        return None
    for sign in local:
        if sign not in _LOCAL_SIGNS and (
            sign.isascii() or not (sign.isalnum() or unicodedata.category(sign)[0] == "M")
        ):
            return None
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode().lower()
        except idna.IDNAError:
            return None
    if not 1 <= len(domain) <= 253:
        return None
    for label in domain.split("."):
        if not 1 <= len(label) <= 63 or set(label) - _LABEL_SIGNS or label[0] == "-" or label[-1] == "-":
            return None
    return f"{local}@{domain}"


@functools.cache
def id_18(text: str | None) -> str | None:
    """A Salesforce id in its 18-character form, or None where the text is none."""
    given = (text or "").strip()
    if not re.fullmatch(r"[0-9A-Za-z]{15}([0-9A-Za-z]{3})?", given):
        return None
    body, checksum = given[:15], given[15:].upper()
    if not checksum:
        return body + _checksum(body)
    if _checksum(body) == checksum:
        return body + checksum
    if body not in (body.upper(), body.lower()):
        return None
    # All of one case: its case was lost. Which of all the ways to write it has this checksum?
    for choice in itertools.product(*({sign.lower(), sign.upper()} for sign in body)):
        if _checksum("".join(choice)) == checksum:
            return "".join(choice) + checksum
    return None


def _checksum(body: str) -> str:
    signs = ""
    for start in (0, 5, 10):
        number = sum(2**n for n in range(5) if "A" <= body[start + n] <= "Z")
        signs += "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[number]
    return signs


def known(text: str | None) -> str | None:
    """The text, or None where it is blank."""
    return text if text is not None and text.strip() else None


# What is joined with what


class World:
    """Both datasets as one list of rows, and what joins them.

    Attributes
    ----------
    rows
        uid -> row: the columns of its table, and uid, system, id, object, email, address, opted_out, carries, kind (choice, bounce or
        user, where it is opted out), link (linked, stale, broken or None).
    joins, between
        All pairs that belong to one person; the same by pair.
    cluster, star
        uid -> the smallest uid of its cluster, and of its sync component.
    """

    def __init__(self, people: Iterable[Row], records: Iterable[Row], settings: Settings) -> None:
        self.settings = settings
        live = {record["record_id"]: record for record in records if not record["is_deleted"]}
        never = {address(text) for text in settings.clusters.never_join}
        self.rows: dict[str, Row] = {}
        for person in people:
            level, source = person["unsubscribe_level"], person["unsubscribe_source"]
            self._add(
                "sales_connect",
                person["person_id"],
                "Person",
                person,
                opted_out=person["unsubscribed"],
                opted_out_at=person["unsubscribed_at"],
                carries=person["unsubscribed"] and level != "user",
                kind="user" if level == "user" else "bounce" if source == "bounce" else "choice",
            )
        for record in live.values():
            out = record["opted_out"]
            self._add("salesforce", record["record_id"], record["object"], record, carries=out, kind="choice")

        self.joins: list[Join] = []
        syncing: list[Join] = []
        for row in self.rows.values():
            if row["object"] == "Person" and known(row["salesforce_id"]) is not None:
                target = live.get(cast("str", id_18(row["salesforce_id"])))
                if target is None:
                    row["link"] = "broken"
                    continue
                join = (row["uid"], "id", f"salesforce:{target['record_id']}")
                self.joins.append(join)
                if target["object"] == "Lead" and target["is_converted"]:
                    row["link"] = "stale"
                else:
                    row["link"] = "linked"
                    syncing.append(join)
            if row["object"] == "Lead":
                target = live.get(row["converted_contact_id"])
                if target is not None and target["object"] == "Contact":
                    self.joins.append((row["uid"], "converted", f"salesforce:{target['record_id']}"))
        for one, other in itertools.combinations(self.rows.values(), 2):
            if one["address"] is not None and one["address"] == other["address"] and one["address"] not in never:
                self.joins.append((one["uid"], "address", other["uid"]))
        self.between: dict[frozenset[str], set[str]] = {}
        for a, kind, b in self.joins:
            self.between.setdefault(frozenset({a, b}), set()).add(kind)
        self.cluster = _smallest(self.rows, self.joins)
        self.star = _smallest(self.rows, syncing)

    def _add(self, system: str, number: str, kind_of_row: str, source: Row, **values: Any) -> None:
        email = known(source["email"])
        uid = f"{system}:{number}"
        assert uid not in self.rows
        row = source | {"uid": uid, "system": system, "id": number, "object": kind_of_row, "email": email}
        self.rows[uid] = row | {"address": address(email), "link": None} | values

    def mates(self, row: Row) -> list[Row]:
        """The rows of this row's cluster, itself too."""
        return [other for other in self.rows.values() if self.cluster[other["uid"]] == self.cluster[row["uid"]]]

    def star_mates(self, row: Row) -> list[Row]:
        """The rows of this row's sync component, itself too."""
        return [other for other in self.rows.values() if self.star[other["uid"]] == self.star[row["uid"]]]

    def kinds_between(self, one: str, other: str) -> list[str]:
        """By what two rows are joined directly."""
        return [kind for kind in KINDS if kind in self.between.get(frozenset({one, other}), ())]

    def joined(self, kind: str, one: Row, other: Row) -> bool:
        """Whether two rows are joined directly by this kind."""
        return kind in self.kinds_between(one["uid"], other["uid"])


def _smallest(uids: Iterable[str], joins: list[Join]) -> dict[str, str]:
    """Every row's component, named by its smallest member: joined rows take the smaller name until none changes."""
    name = {uid: uid for uid in uids}
    changed = True
    while changed:
        changed = False
        for one, _, other in joins:
            if name[one] != name[other]:
                name[one] = name[other] = min(name[one], name[other])
                changed = True
    return name


# The two tables


def reconcile(people: list[Row], records: list[Row], settings: Settings) -> tuple[list[Row], list[Row]]:
    """`merged` and `actions` as dicts, sorted; `explanation` is left out, and `path` is one of the shortest."""
    world = World(people, records, settings)
    merged = [_merged(world, row) for row in world.rows.values()]
    merged.sort(key=place)
    found = ((row, _action(world, world.rows[f"{row['system']}:{row['id']}"], row)) for row in merged)
    return merged, [row | action for row, action in found if action is not None]


def place(row: Row) -> tuple[str, str]:
    """Where a row stands in `merged` and `actions`."""
    return row["system"], row["id"]


def _merged(world: World, row: Row) -> Row:
    causes = sorted(other["uid"] for other in world.mates(row) if other["opted_out"])
    dates = [other["opted_out_at"] for other in world.mates(row) if other["opted_out"] and other["opted_out_at"]]
    more = f" (+{len(causes) - 3} more)" if len(causes) > 3 else ""
    carried = world.settings.sync.enabled and any(other["carries"] for other in world.star_mates(row))
    return {
        "system": row["system"],
        "id": row["id"],
        "object": row["object"],
        "email": row["email"],
        "address": row["address"],
        "opted_out": row["opted_out"],
        "cluster": world.cluster[row["uid"]],
        "merged_opted_out": bool(causes),
        "sync_component": world.star[row["uid"]],
        "predicted_opted_out": row["opted_out"] or carried,
        "caused_by": "; ".join(causes[:3]) + more if causes else None,
        "opted_out_at": max(dates, default=None),
    }


def _action(world: World, row: Row, merged: Row) -> Row | None:
    needs = merged["merged_opted_out"] and not row["opted_out"]
    names = [name for name in CATEGORIES if _RULES[name](world, row, needs)]
    if needs and not set(names) & set(CATEGORIES[3:]):
        # The opt-out comes over other records only.
        across = any(cause["system"] != row["system"] for cause in _causes(world, row, "choice"))
        names.append("unlinked_match" if across else "duplicate_disagrees")
    if not names:
        return None
    category = names[0]
    return {
        "category": category,
        "categories": ";".join(names),
        "fix": _fix(row, category, needs),
        "due_by": _due_by(world, merged, category) if needs or "field_disagrees" in names else None,
        "path": path(world, row) if needs else None,
    }


def _causes(world: World, row: Row, kind: str | None = None) -> list[Row]:
    """The opted-out rows of the cluster, all or those of one kind."""
    return [other for other in world.mates(row) if other["opted_out"] and kind in (None, other["kind"])]


def _carriers(world: World, row: Row) -> list[Row]:
    return [other for other in world.star_mates(row) if other["carries"]]


def _field_disagrees(world: World, row: Row, needs: bool) -> bool:
    if world.settings.salesforce.opt_out_field != "both" or row["object"] == "Person":
        return False
    return {row["has_opted_out_of_email"], row["sales_opt_out"]} == {True, False}


def _lost_on_conversion(world: World, row: Row, needs: bool) -> bool:
    leads = [other for other in world.rows.values() if other["object"] == "Lead" and other["opted_out"]]
    return needs and row["object"] == "Contact" and any(world.joined("converted", lead, row) for lead in leads)


def _will_revert(world: World, row: Row, needs: bool) -> bool:
    if not (needs and world.settings.sync.enabled and _carriers(world, row) and row["resubscribed_at"]):
        return False
    # Opted out anew since the resubscribe: the sync rightly carries that.
    return not any(
        other["opted_out_at"] and other["opted_out_at"] > row["resubscribed_at"] for other in _carriers(world, row)
    )


def _awaiting_sync(world: World, row: Row, needs: bool) -> bool:
    carried = needs and world.settings.sync.enabled and bool(_carriers(world, row))
    return carried and not _will_revert(world, row, needs)


def _sync_off(world: World, row: Row, needs: bool) -> bool:
    return needs and not world.settings.sync.enabled and bool(_carriers(world, row))


def _unlinked_match(world: World, row: Row, needs: bool) -> bool:
    return needs and any(
        cause["system"] != row["system"]
        and world.joined("address", cause, row)
        and world.star[cause["uid"]] != world.star[row["uid"]]
        for cause in _causes(world, row, "choice")
    )


def _duplicate_disagrees(world: World, row: Row, needs: bool) -> bool:
    return needs and any(
        cause["system"] == row["system"] and world.joined("address", cause, row)
        for cause in _causes(world, row, "choice")
    )


def _only(kind: str) -> Callable[[World, Row, bool], bool]:
    def rule(world: World, row: Row, needs: bool) -> bool:
        by_choice = _causes(world, row, "choice")
        return needs and not by_choice and not _carriers(world, row) and bool(_causes(world, row, kind))

    return rule


_RULES: dict[str, Callable[[World, Row, bool], bool]] = {
    "field_disagrees": _field_disagrees,
    "broken_link": lambda world, row, needs: row["link"] == "broken",
    "stale_link": lambda world, row, needs: row["link"] == "stale",
    "lost_on_conversion": _lost_on_conversion,
    "awaiting_sync": _awaiting_sync,
    "sync_off": _sync_off,
    "unlinked_match": _unlinked_match,
    "duplicate_disagrees": _duplicate_disagrees,
    "user_level_only": _only("user"),
    "bounce": _only("bounce"),
    "will_revert": _will_revert,
}


def _fix(row: Row, category: str, needs: bool) -> str:
    if row["object"] == "Lead" and row["is_converted"]:
        return "nobody"
    if category == "stale_link":
        return "toolkit" if needs else "admin"
    if category in ("broken_link", "user_level_only"):
        return "admin"
    return "nobody" if category in ("awaiting_sync", "bounce") else "toolkit"


def _due_by(world: World, merged: Row, category: str) -> date | None:
    if category in ("bounce", "user_level_only") or merged["opted_out_at"] is None:
        return None
    actions = world.settings.actions
    return business_days_after(merged["opted_out_at"], actions.limit_business_days, actions.holidays)


def business_days_after(at: datetime, days: int, holidays: list[date]) -> date:
    """The business day so many business days after the moment's UTC date; for none, the first that isn't before it."""

    def works(day: date) -> bool:
        return day.weekday() < 5 and day not in holidays

    day, one = at.astimezone(UTC).date(), timedelta(days=1)
    if not days:
        while not works(day):
            day += one
        return day
    while not works(day):
        day -= one
    for _ in range(days):
        day += one
        while not works(day):
            day += one
    return day


# Paths


def sources(world: World, row: Row) -> set[str]:
    """The rows that a path to this row may start from."""
    found = _causes(world, row, "choice") + _carriers(world, row)
    return {cause["uid"] for cause in found or _causes(world, row)}


def path(world: World, row: Row) -> str:
    """A shortest way from a source to the row."""
    starts = sources(world, row)
    nearest = [(KINDS.index(kind), uid) for uid in starts for kind in world.kinds_between(uid, row["uid"])]
    if nearest:
        surest, uid = min(nearest)
        return f"{uid} -[{KINDS[surest]}]-> {row['uid']}"
    ways = {uid: uid for uid in starts}
    ends = sorted(starts)
    while row["uid"] not in ways:
        reached = []
        for end in ends:
            for one, kind, other in world.joins:
                for a, b in ((one, other), (other, one)):
                    if a == end and b not in ways:
                        ways[b] = f"{ways[a]} -[{kind}]-> {b}"
                        reached.append(b)
        ends = sorted(reached)
        assert ends, "an opt-out that nothing leads to"
    return ways[row["uid"]]


def check_path(world: World, row: Row, text: str) -> str | None:
    """What is wrong with a path to this row; None if nothing is."""
    parts = re.split(r" -\[(\w+)\]-> ", text)
    uids, kinds = parts[::2], parts[1::2]
    if uids[-1] != row["uid"]:
        return "it ends elsewhere"
    if uids[0] not in sources(world, row):
        return f"it starts at no source: {sorted(sources(world, row))}"
    for (one, other), kind in zip(itertools.pairwise(uids), kinds, strict=True):
        if kind not in world.kinds_between(one, other):
            return f"nothing of kind {kind} joins {one} and {other}"
    shortest = path(world, row)
    if shortest.count("]->") != len(kinds):
        return f"this one has another length: {shortest}"
    if len(kinds) == 1 and text != shortest:
        return f"of one hop this one comes first: {shortest}"
    return None
