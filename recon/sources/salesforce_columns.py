"""Which header of a Salesforce file is which column: API names, or the labels of a report.

Source of the custom field's labels: AdobeDocs, "Syncing Unsubscribes with Salesforce". Its API name is not documented; the names
below are what Salesforce makes of the labels.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from recon.sources.headers import did_you_mean, only, places
from recon.sources.report_export import ID_LABELS, recognised

if TYPE_CHECKING:
    from recon.settings import OptOutField
    from recon.sources.cells import ObjectName
    from recon.sources.refusal import Refusal

STANDARD = ("HasOptedOutOfEmail", "Email Opt Out")
CUSTOM_LABELS = ("Marketo Sales Opt Out", "MSE - Opt Out", "MSC - Opt Out")

_NAMES: dict[str, tuple[str, ...]] = {
    "email": ("Email",),
    "has_opted_out_of_email": STANDARD,
    "opted_out_at": ("OptedOutAt", "opted_out_at"),
    "resubscribed_at": ("ResubscribedAt", "resubscribed_at"),
    "is_converted": ("IsConverted", "Converted"),
    "converted_contact_id": ("ConvertedContactId", "Converted Contact ID"),
    "is_deleted": ("IsDeleted", "Deleted"),
    "first_name": ("FirstName", "First Name"),
    "last_name": ("LastName", "Last Name"),
    "modified_at": ("LastModifiedDate", "Last Modified Date"),
}
_OF_LEADS = ("is_converted", "converted_contact_id")


def fits(object_name: ObjectName, headers: list[str]) -> bool:
    """Tell whether these headers hold what a file of this object needs: an id and an opt-out."""
    opt_out = places(headers, STANDARD) or _custom_places(headers, None)
    return bool(places(headers, ("Id", ID_LABELS[object_name])) and opt_out)


def find(
    headers: list[str],
    object_name: ObjectName,
    opt_out_field: OptOutField,
    custom_field: str | None,
    refusal: Refusal,
) -> dict[str, int]:
    """Where each column stands: canonical name -> place. What is missing or twice there is noted in `refusal`."""
    found: dict[str, int] = {}
    for name, spellings in _NAMES.items():
        if object_name == "Contact" and name in _OF_LEADS:
            continue
        place = only(headers, spellings, refusal)
        if place is not None:
            found[name] = place
    record_id = _record_id(headers, object_name, refusal)
    if record_id is not None:
        found = {"record_id": record_id} | found
    if opt_out_field != "custom" and not places(headers, STANDARD):
        refusal.add(
            f"there is no column 'HasOptedOutOfEmail' (the standard opt-out field).{did_you_mean(headers, STANDARD[0])}",
            'Export it too (field-level security may hide it), or set opt_out_field = "custom" under [salesforce].',
        )
    custom = _custom(headers, custom_field, refusal, needed=opt_out_field != "standard")
    if custom is not None:
        found["sales_opt_out"] = custom
    return found


def _record_id(headers: list[str], object_name: ObjectName, refusal: Refusal) -> int | None:
    if places(headers, ("Id", ID_LABELS[object_name])):
        return only(headers, ("Id", ID_LABELS[object_name]), refusal)
    for other, label in ID_LABELS.items():
        if other != object_name and places(headers, (label,)):
            refusal.add(
                f"this is a report of {other}s (it has the column {label!r}), but the file was given as the {object_name}s.",
                f"Give it with --{other.lower()}s.",
            )
            return None
    refusal.add(
        f"there is no column 'Id' (in a report: {ID_LABELS[object_name]!r}).", "Export the file again with the Id."
    )
    return None


def _custom(headers: list[str], custom_field: str | None, refusal: Refusal, *, needed: bool) -> int | None:
    found = _custom_places(headers, custom_field)
    if len(found) == 1:
        return found[0]
    if not needed:
        return None
    if found:
        names = " and ".join(repr(headers[place]) for place in found)
        refusal.add(
            f"more than one column may be the custom opt-out field: {names}.",
            'Name it: custom_field = "API_Name__c" under [salesforce].',
        )
    elif custom_field is not None:
        refusal.add(
            f"there is no column {custom_field!r} (the custom opt-out field).{did_you_mean(headers, custom_field)}",
            "Export it too, or mend custom_field under [salesforce].",
        )
    else:
        refusal.add(
            "there is no column that is known as the custom opt-out field (like 'Marketo_Sales_Opt_Out__c').",
            'Export it too, or name it: custom_field = "API_Name__c" under [salesforce].',
        )
    return None


def _custom_places(headers: list[str], custom_field: str | None) -> list[int]:
    """The columns that are the custom field: by the name that was given, or by the known names and labels."""
    report = recognised(headers)
    if custom_field is not None:
        found = places(headers, (custom_field,))
        if found or not report:
            return found
        known = {_bare(custom_field), *map(_bare, CUSTOM_LABELS)}
    else:
        known = {_bare(label) for label in CUSTOM_LABELS}
    return [
        place
        for place, header in enumerate(headers)
        if (report or header.strip().casefold().endswith("__c")) and _bare(header) in known
    ]


def _bare(name: str) -> str:
    """An API name or a label without what the two differ in: namespace, __c, blanks and signs, case."""
    plain = re.sub(r"__c$", "", name.strip().casefold())
    return re.sub(r"[^0-9a-z]", "", plain.rsplit("__", 1)[-1])
