"""The sentence that goes with an action: what is wrong here and what happens next, in words that need no manual.

Holds record ids and dates, never an address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import narwhals.stable.v2 as nw

if TYPE_CHECKING:
    from recon.engine import Frame

#: Columns that a sentence may use: {source} is the record that the opt-out starts at, {on} its date where that is known.
_SENTENCES: dict[str, str] = {
    "field_disagrees": "One of the two opt-out fields of this record is ticked ({fields}), the other isn't.",
    "broken_link": "The person's Salesforce ID leads to no record that is there, so the sync reaches nothing.",
    "stale_link": "The person's Salesforce ID is a Lead that was converted; the sync isn't known to follow it to the Contact.",
    "lost_on_conversion": "The {source} is opted out{on} and became this Contact, which isn't: the opt-out was lost on conversion.",
    "awaiting_sync": "The {source} is opted out{on} and linked: the next nightly run opts this record out, too.",
    "sync_off": "The {source} is opted out{on} and linked, but the sync is switched off: nothing carries it here.",
    "unlinked_match": "The {source} is opted out{on}, {near}, and no id links the two: the sync will never carry it here.",
    "duplicate_disagrees": "The {source} is opted out{on}, {near}, and this record isn't.",
    "user_level_only": "The {source} is unsubscribed{on} from one sales user only; the sync doesn't carry that: decide whether it holds for the whole company.",
    "bounce": "The {source} is unsubscribed{on} because mail bounced, not by choice.",
    "will_revert": "This record was resubscribed, but the {source} is still opted out{on} and linked: the next nightly run undoes the resubscribe.",
}
_ALSO = " The same person is opted out as {source}{on}, and this record isn't."
_CONVERTED = " A converted Lead can't be changed; its Contact is what counts."
#: Follows the sentence of a record whose person was resubscribed since, under an approval.
ANSWERED = (
    " But the person was resubscribed with proof since then, and that opt-out stays only because nobody can change a converted Lead: "
    "don't opt the person out again."
)
_OBJECTS = {"Person": "person", "Lead": "Lead", "Contact": "Contact"}


def with_explanation(rows: Frame) -> Frame:
    """Add `explanation`, the sentence, to rows of `recon.diff`: uses `category`, `needs`, `fields`, `hops`, `is_converted`, `source_*`."""
    source = nw.lit("a record")
    for name, words in _OBJECTS.items():
        source = (
            nw.when((nw.col("source_object") == name).fill_null(value=False))
            .then(nw.concat_str(nw.lit(f"{words} "), "source_id"))
            .otherwise(source)
        )
    day = nw.concat_str(nw.lit(" (since "), nw.col("source_at").dt.date().cast(nw.String), nw.lit(")")).fill_null("")
    near = (
        nw.when((nw.col("hops") > 1).fill_null(value=False))
        .then(nw.lit("is the same person by way of other records"))
        .otherwise(nw.lit("has the same address"))
    )
    fields = (
        nw.when((nw.col("fields") == "standard").fill_null(value=False))
        .then(nw.lit("the standard one"))
        .otherwise(nw.lit("the custom one"))
    )
    rows = rows.with_columns(_source=source, _on=day, _near=near, _fields=fields)
    text = nw.lit("")
    for category, sentence in _SENTENCES.items():
        text = nw.when(nw.col("category") == category).then(_filled(sentence)).otherwise(text)
    alone = nw.col("category").is_in(["field_disagrees", "broken_link", "stale_link"]) & nw.col("needs")
    also = nw.when(alone).then(_filled(_ALSO)).otherwise(nw.lit(""))
    end = nw.when(nw.col("is_converted")).then(nw.lit(_CONVERTED)).otherwise(nw.lit(""))
    return rows.with_columns(explanation=nw.concat_str(text, also, end)).drop("_source", "_on", "_near", "_fields")


def _filled(sentence: str) -> nw.Expr:
    pieces: list[nw.Expr] = []
    for number, piece in enumerate(sentence.replace("}", "{").split("{")):
        if number % 2:
            pieces.append(nw.col(f"_{piece}"))
        elif piece:
            pieces.append(nw.lit(piece))
    return nw.concat_str(*pieces)
