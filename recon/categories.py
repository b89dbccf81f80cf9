"""The categories of records that need action: what each means, and who mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Fix = Literal["toolkit", "admin", "nobody"]


@dataclass(frozen=True, slots=True)
class Category:
    """One category.

    Attributes
    ----------
    name
        As it stands in the column `category`.
    meaning
        What disagrees.
    fix
        Who mends it.
    to_do
        What to do about it.
    """

    name: str
    meaning: str
    fix: Fix
    to_do: str


#: In order: a record's primary category is the first that applies.
CATEGORIES = (
    Category(
        "field_disagrees",
        "The standard and the custom opt-out field differ on one Salesforce record.",
        "toolkit",
        "Set the field that isn't ticked.",
    ),
    Category(
        "broken_link",
        "The person's Salesforce ID exists nowhere in the Salesforce data, or is deleted: the sync reaches nothing.",
        "admin",
        "Link the person to the right record in Sales Connect, or remove the ID.",
    ),
    Category(
        "stale_link",
        "The person's Salesforce ID is a converted Lead; its Contact is the real counterpart.",
        "toolkit",
        "Set the flag where it is missing, and link the person to the Contact (admin).",
    ),
    Category(
        "lost_on_conversion",
        "The Lead is opted out and was converted, its Contact is not opted out.",
        "toolkit",
        "Set the opt-out on the Contact.",
    ),
    Category(
        "awaiting_sync",
        "A linked pair differs; tonight's run sets the flag.",
        "nobody",
        "Nothing, unless it is still here tomorrow: then the sync doesn't run as it should.",
    ),
    Category(
        "sync_off",
        "A linked pair differs and the sync is switched off.",
        "toolkit",
        "Set the flag, or switch the sync on.",
    ),
    Category(
        "unlinked_match",
        "The same address stands on both sides without a link, and the flags differ: the sync will never carry it.",
        "toolkit",
        "Set the flag, and link the two (admin).",
    ),
    Category(
        "duplicate_disagrees",
        "The same person stands twice in one system, and the flags differ.",
        "toolkit",
        "Set the flag, and merge the duplicates where you can.",
    ),
    Category(
        "user_level_only",
        "Unsubscribed from one sales user only: the sync doesn't carry it.",
        "admin",
        "Decide whether it should hold for the whole company.",
    ),
    Category(
        "bounce",
        "Unsubscribed because of a bounce, not by choice.",
        "nobody",
        "Nothing: consent can't mend a dead address.",
    ),
    Category(
        "will_revert",
        "A resubscribe was made, but a linked record is still opted out: the next run undoes it.",
        "toolkit",
        "Clear the linked record under the same approval, or accept the opt-out.",
    ),
)

BY_NAME = {category.name: category for category in CATEGORIES}
