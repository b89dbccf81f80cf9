"""The rows that are merged: one a live record of either system, numbered by system and id, in a shape that is short.

The rules pass over millions of rows many times. So what they look at and long texts are kept apart, words of which there are few are
numbers, and the dates and words of opt-outs are kept for the opted-out rows only, which are few.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import narwhals.stable.v2 as nw

from recon.identity import address_form, not_blank, written_address

if TYPE_CHECKING:
    from recon.engine import Engine, Frame
    from recon.settings import Settings

SALES_CONNECT, SALESFORCE = "sales_connect", "salesforce"

# Words as numbers, from 1; 0 is null.
_KINDS = ("choice", "bounce", "user")
_HOWS = ("manual", "clicked_link", "salesforce_sync", "bounce")
_FIELDS = ("standard", "custom")
_LINKS = ("linked", "stale", "broken")

_SHORT = ("n", "person", "lead", "kind", "is_converted", "fields")
_DATED = ("n", "own_at", "resubscribed_at", "how")


@dataclass(frozen=True, slots=True)
class Rows:
    """All live records of both systems, one row each, and what joins them.

    Attributes
    ----------
    parts
        The people and the records, each held in the order of `n`: `n`, `id`, `object`, `email`, `address`, `opted_out` and more of each.
    odd
        `n` and `_told`, the address of rows that no engine can tell; None where there are none.
    ties
        Held: `keys`, with words as numbers.
    outs
        Held: the opted-out rows of `keys`, and their `id`, `how` and `own_at`.
    """

    parts: tuple[Frame, Frame]
    odd: Frame | None
    ties: Frame
    outs: Frame

    @property
    def keys(self) -> Frame:
        """What the rules look at.

        * `n`: the row's number, by system and id; `object`, `opted_out`; `system`
        * `carries`: does the sync carry the row's flag (account level; an unknown level counts as account)
        * `kind`: of an opted-out row: choice, bounce or user; else null
        * `is_converted`; `fields`: standard or custom where only that field is ticked and the setting is `both`, else null
        * `a`: the number of the first row with the same address; null where no other row has it, or it joins nothing; `both`: do rows of
          both systems have this address
        * `link`: linked, stale or broken, on people with a Salesforce ID; `t`: the number of the record that it leads to
        * `v`: on Leads, the number of the Contact that they became
        * `c`, `s`: the number of the first row of the cluster, of the sync component; `pointed`: is it a record that a person is linked to
        """
        return worded(self.ties)

    @property
    def texts(self) -> Frame:
        """`n`, `system`, `object`, `id`, `email`, `address`, `opted_out`."""
        return with_system(self.told(both(self.parts, ("n", "object", "id", "email", "address", "opted_out"))))

    def texts_of(self, some: Frame) -> Frame:
        """Some rows, few and with `n`, and their `object`, `id`, `email`, `address` (as far as engines can tell it) and `opted_out`."""
        # As they are kept: they become words after the join.
        kept = ("n", "id", "email", "_form", "_kind", "_person", "lead")
        rows = both(self.parts, kept).join(some, on="n", how="inner")
        return rows.with_columns(
            object=nw.when(nw.col("_person")).then(nw.lit("Person")).otherwise(_lead_or_contact()),
            address=written_address("email", "_form"),
            opted_out=nw.col("_kind") > 0,
        )

    @property
    def no_addresses(self) -> Frame:
        """`n`, `system`, `id` of the rows with a text that is no address."""
        rows = both(self.parts, ("n", "object", "id", "email", "_form"))
        rows = rows.filter(~nw.col("email").is_null() & (nw.col("_form") == 0))
        told = self.told(rows.with_columns(address=nw.lit(None, nw.String)))
        return with_system(told.filter(nw.col("address").is_null())).select("n", "system", "id")

    @property
    def names(self) -> Frame:
        """`n`, `system`, `id`."""
        return with_system(both(self.parts, ("n", "object", "id"))).select("n", "system", "id")

    @property
    def found(self) -> Frame:
        """All that is known: `keys`, `texts`, and more.

        * `broken_id`: the Salesforce ID where it leads to no record
        * `how`: how an opted-out person came to be so, where that is known
        * `own_at`: when the row was opted out, where it is and that is known; `resubscribed_at`
        """
        texts = self.told(both(self.parts, (*_DATED, "id", "email", "address")))
        ids = self.parts[0].select("n", "salesforce_id")
        rows = self.keys.join(texts, on="n", how="left").join(ids, on="n", how="left")
        return rows.with_columns(broken_id=nw.when(nw.col("link") == "broken").then(nw.col("salesforce_id"))).drop(
            "salesforce_id"
        )

    def told(self, texts: Frame) -> Frame:
        """Rows with `n` and `address`, the address told where no engine could tell it."""
        if self.odd is None:
            return texts
        told = texts.join(self.odd, on="n", how="left")
        return told.with_columns(address=nw.coalesce("address", "_told")).drop("_told")


def both(parts: tuple[Frame, Frame], columns: tuple[str, ...]) -> Frame:
    """The people's and the records' columns in one frame."""
    return nw.concat([part.select(*columns) for part in parts], how="vertical")


def shorts(parts: tuple[Frame, Frame], side: int) -> Frame:
    """What the rules look at of the people (0) or the records (1), words as numbers."""
    return parts[side].select(
        *(nw.col(name if name in ("n", "lead", "is_converted") else f"_{name}").alias(name) for name in _SHORT)
    )


def with_system(frame: Frame) -> Frame:
    """Add `system` to rows with `object`."""
    person = nw.col("object") == "Person"
    return frame.with_columns(system=nw.when(person).then(nw.lit(SALES_CONNECT)).otherwise(nw.lit(SALESFORCE)))


def worded(ties: Frame) -> Frame:
    """The columns of `Rows.keys` from those of `Rows.ties`."""
    person, kind = nw.col("person"), nw.col("kind")
    object_ = nw.when(person).then(nw.lit("Person")).otherwise(_lead_or_contact())
    return ties.with_columns(
        object=object_,
        system=nw.when(person).then(nw.lit(SALES_CONNECT)).otherwise(nw.lit(SALESFORCE)),
        opted_out=kind > 0,
        carries=_carries(kind),
        kind=_word("kind", _KINDS),
        fields=_word("fields", _FIELDS),
        link=_word("link", _LINKS),
    ).drop("person", "lead")


def link_number(broken: nw.Expr, stale: nw.Expr) -> nw.Expr:
    """The number of a link's word."""
    return nw.when(broken).then(_number(3)).otherwise(nw.when(stale).then(_number(2)).otherwise(_number(1)))


def numbered(people: Frame, records: Frame, settings: Settings, engine: Engine) -> tuple[Frame, Frame]:
    """Both sides, each in the order of its ids; as `sales_connect` comes before `salesforce`, so do their numbers."""
    first = engine.number(_short_people(people), ["id"], "n")
    # Over no rows an engine may tell null.
    last = engine.collect(first.select(nw.col("n").max())).column("n")[0].as_py()
    second = engine.number(_short_records(records, settings), ["id"], "n")
    second = second.with_columns(n=nw.col("n") + nw.lit(0 if last is None else last + 1))
    return _told_people(first), _told_records(second)


def _short_people(people: Frame) -> Frame:
    out = nw.col("unsubscribed")
    user = (nw.col("unsubscribe_level") == "user").fill_null(value=False)
    bounce = (nw.col("unsubscribe_source") == "bounce").fill_null(value=False)
    kind = nw.when(user).then(_number(3)).otherwise(nw.when(bounce).then(_number(2)).otherwise(_number(1)))
    return people.select(
        nw.col("person_id").alias("id"),
        not_blank("email").alias("email"),
        address_form("email").alias("_form"),
        nw.when(out).then(kind).otherwise(_number(0)).alias("_kind"),
        nw.when(out).then(_number_of("unsubscribe_source", _HOWS)).otherwise(_number(0)).alias("_how"),
        nw.when(out).then(nw.col("unsubscribed_at")).alias("own_at"),
        "resubscribed_at",
        not_blank("salesforce_id").alias("salesforce_id"),
    )


def _told_people(people: Frame) -> Frame:
    return people.with_columns(
        object=nw.lit("Person"),
        _person=nw.lit(value=True),
        lead=nw.lit(value=False),
        address=written_address("email", "_form"),
        opted_out=nw.col("_kind") > 0,
        is_converted=nw.lit(value=False),
        how=_word("_how", _HOWS),
        _fields=_number(0),
    )


def _short_records(records: Frame, settings: Settings) -> Frame:
    standard, custom = nw.col("has_opted_out_of_email"), nw.col("sales_opt_out")
    fields = _number(0)
    if settings.salesforce.opt_out_field == "both":
        only_custom = nw.when((custom & ~standard).fill_null(value=False)).then(_number(2)).otherwise(_number(0))
        fields = nw.when((standard & ~custom).fill_null(value=False)).then(_number(1)).otherwise(only_custom)
    out, lead = nw.col("opted_out"), nw.col("object") == "Lead"
    return records.filter(~nw.col("is_deleted")).select(
        nw.col("record_id").alias("id"),
        not_blank("email").alias("email"),
        address_form("email").alias("_form"),
        nw.when(out).then(_number(1)).otherwise(_number(0)).alias("_kind"),
        lead.alias("lead"),
        "is_converted",
        fields.alias("_fields"),
        nw.when(out).then(nw.col("opted_out_at")).alias("own_at"),
        "resubscribed_at",
        nw.when(lead).then(nw.col("converted_contact_id")).alias("converted_contact_id"),
    )


def _told_records(records: Frame) -> Frame:
    return records.with_columns(
        object=_lead_or_contact(),
        _person=nw.lit(value=False),
        address=written_address("email", "_form"),
        opted_out=nw.col("_kind") > 0,
        how=nw.lit(None, nw.String),
    )


def outs(parts: tuple[Frame, Frame], ties: Frame, engine: Engine) -> Frame:
    """The opted-out rows, with the words and dates of their opt-outs."""
    columns = ("n", "id", "how", "own_at")
    dated = nw.concat([part.filter(nw.col("_kind") > 0).select(*columns) for part in parts], how="vertical")
    return engine.hold(worded(ties.filter(nw.col("kind") > 0)).join(dated, on="n", how="left"))


def _carries(kind: nw.Expr) -> nw.Expr:
    """Whether the sync carries the flag: that of a single sales user stays where it is."""
    return (kind > 0) & (kind < len(_KINDS))


def _lead_or_contact() -> nw.Expr:
    return nw.when(nw.col("lead")).then(nw.lit("Lead")).otherwise(nw.lit("Contact"))


def _number(value: int) -> nw.Expr:
    return nw.lit(value, nw.Int8)


def _number_of(name: str, words: tuple[str, ...]) -> nw.Expr:
    found = _number(0)
    for place, word in enumerate(words, 1):
        found = nw.when((nw.col(name) == word).fill_null(value=False)).then(_number(place)).otherwise(found)
    return found


def _word(name: str, words: tuple[str, ...]) -> nw.Expr:
    found = nw.lit(None, nw.String)
    for place, word in enumerate(words, 1):
        found = nw.when(nw.col(name) == place).then(nw.lit(word)).otherwise(found)
    return found
