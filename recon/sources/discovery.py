"""Before a pull: what the user may see, and which field is the opt-out.

Source of the labels: AdobeDocs, "Syncing Unsubscribes with Salesforce"; the field's API name is chosen where it is installed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from recon.errors import AccessRefused, SourceError

if TYPE_CHECKING:
    from recon.settings import SalesforceSettings
    from recon.sources.salesforce_session import Connection

ObjectName = Literal["Lead", "Contact"]

STANDARD_FIELD = "HasOptedOutOfEmail"
#: The custom field's labels, under the product's three names.
LABELS = ("Marketo Sales Opt Out", "MSE - Opt Out", "MSC - Opt Out")

#: What tells a person account's Contact, where the org has person accounts.
PERSON_ACCOUNT = ("IsPersonAccount", "AccountId")

#: The record that a deleted one was merged into.
MASTER = "MasterRecordId"

_LEAD_ONLY = ("IsConverted", "ConvertedContactId")
_CHECKBOXES = ("IsConverted", "IsPersonAccount", "IsDeleted")


@dataclass(frozen=True, slots=True)
class ObjectFields:
    """What is read of one object.

    Attributes
    ----------
    object
        Lead or Contact.
    targets
        The opt-out fields that count; one of them is enough.
    custom_field
        The custom opt-out's API name; None where the standard field alone is the opt-out.
    standard_visible
        Is HasOptedOutOfEmail read too? Where the custom field alone counts, it may be hidden.
    select
        The fields in the order of the query. SystemModstamp stands last: its form is fixed, so a row that was cut short is seen.
    read_only
        Those of `targets` that the user may not write: a pull works, setting or clearing them will not.
    account_visible
        Does the user see AccountId? Of Contact alone.
    person_accounts
        Has the org person accounts, as far as the user can see? Of Contact alone.
    person_targets, person_read_only
        The same as `targets` and `read_only` on a person account's Account; empty where the user can't see them all.
    """

    object: ObjectName
    targets: tuple[str, ...]
    custom_field: str | None
    standard_visible: bool
    select: tuple[str, ...]
    read_only: tuple[str, ...]
    account_visible: bool = False
    person_accounts: bool = False
    person_targets: tuple[str, ...] = ()
    person_read_only: tuple[str, ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        """The checkboxes among the fields."""
        return tuple(name for name in self.select if name in (STANDARD_FIELD, self.custom_field, *_CHECKBOXES))

    @property
    def query(self) -> str:
        """The SOQL that reads the object."""
        return f"SELECT {', '.join(self.select)} FROM {self.object}"  # noqa: S608 - names that describe gave, no user's text


def on_account(field: str) -> str:
    """A Contact's field as a person account's Account names it.

    Source: Change Data Capture Developer Guide, Creating a Person Account: its Account has `PersonHasOptedOutOfEmail`, and of a custom field of
    the Contact the name with `__pc`.

    >>> on_account("HasOptedOutOfEmail"), on_account("Sales_Opt_Out__c")
    ('PersonHasOptedOutOfEmail', 'Sales_Opt_Out__pc')
    """
    return f"{field[:-3]}__pc" if field.endswith("__c") else f"Person{field}"


def on_contact(field: str) -> str:
    """The other way round; other names stay as they are.

    >>> on_contact("PersonHasOptedOutOfEmail"), on_contact("Sales_Opt_Out__pc"), on_contact("HasOptedOutOfEmail")
    ('HasOptedOutOfEmail', 'Sales_Opt_Out__c', 'HasOptedOutOfEmail')
    """
    return f"{field[:-4]}__c" if field.endswith("__pc") else field.removeprefix("Person")


def discover(connection: Connection, settings: SalesforceSettings) -> tuple[ObjectFields, ObjectFields]:
    """Describe Lead and Contact, and find the opt-out fields; where there are person accounts, those of Account, too.

    Returns
    -------
    tuple
        Lead's fields and Contact's.

    Raises
    ------
    AccessRefused
        If an object or a field is hidden from the user, or the custom opt-out field isn't found exactly once on each object. The text
        says what was found and which setting to write.
    SourceError
        If Salesforce can't be reached.
    """
    return _of_object(connection, settings, "Lead"), _of_object(connection, settings, "Contact")


def _of_object(connection: Connection, settings: SalesforceSettings, name: ObjectName) -> ObjectFields:
    try:
        described = connection.get(f"the fields of {name}", f"sobjects/{name}/describe")
    except AccessRefused as error:
        raise AccessRefused(
            f"the object {name} is hidden from the user: status {error.status}, {error.code or 'no code'}.",
            hint=f"Give the user Read on {name} (and View All, so that no record is left out) by a permission set.",
            status=error.status,
            code=error.code,
        ) from None
    fields = _fields(described, name)
    custom = None if settings.opt_out_field == "standard" else _custom_field(fields, settings, name)
    standard_counts = settings.opt_out_field != "custom"
    standard_visible = STANDARD_FIELD in fields
    opt_outs = (
        *((STANDARD_FIELD,) if standard_counts or standard_visible else ()),
        *((custom,) if custom else ()),
    )
    targets = opt_outs if standard_counts else tuple(field for field in opt_outs if field == custom)
    person_accounts = name == "Contact" and fields.keys() >= set(PERSON_ACCOUNT)
    select = (
        "Id",
        "Email",
        "FirstName",
        "LastName",
        *opt_outs,
        *(_LEAD_ONLY if name == "Lead" else ()),
        *(PERSON_ACCOUNT if person_accounts else ()),
        *((MASTER,) if MASTER in fields else ()),
        "IsDeleted",
        "LastModifiedDate",
        "SystemModstamp",
    )
    hidden = [field for field in select if field not in fields]
    if hidden:
        raise AccessRefused(
            f"{name}.{f', {name}.'.join(hidden)} can't be seen by the user: field-level security hides "
            f"{'it' if len(hidden) == 1 else 'them'}.",
            hint=f"Make {'it' if len(hidden) == 1 else 'them'} visible: Setup > Object Manager > {name} > Fields & Relationships > the field > "
            "Set Field-Level Security, for the user's profile or permission set.",
        )
    read_only = tuple(field for field in targets if fields[field].get("updateable") is not True)
    sees_account = name == "Contact" and "AccountId" in fields
    found = ObjectFields(name, targets, custom, standard_visible, select, read_only, account_visible=sees_account)
    return _with_person_accounts(connection, found) if person_accounts else found


def _with_person_accounts(connection: Connection, contact: ObjectFields) -> ObjectFields:
    """Add what Account says about the same fields. Hidden ones are no fault: reading doesn't need them."""
    try:
        described = connection.get("the fields of Account", "sobjects/Account/describe")
    except AccessRefused:
        return replace(contact, person_accounts=True)
    fields = _fields(described, "Account")
    targets = tuple(on_account(field) for field in contact.targets)
    if not fields.keys() >= set(targets):
        return replace(contact, person_accounts=True)
    locked = tuple(field for field in targets if fields[field].get("updateable") is not True)
    return replace(contact, person_accounts=True, person_targets=targets, person_read_only=locked)


def _fields(described: Any, name: str) -> dict[str, dict[str, Any]]:
    fields = described.get("fields") if isinstance(described, dict) else None
    if not isinstance(fields, list) or not all(isinstance(field, dict) and "name" in field for field in fields):
        raise SourceError(f"Salesforce's description of {name} lists no fields.", hint="Check salesforce.instance_url.")
    return {str(field["name"]): field for field in fields}


def _custom_field(fields: dict[str, dict[str, Any]], settings: SalesforceSettings, name: str) -> str:
    if settings.custom_field is not None:
        return _named_field(fields, settings.custom_field, name)
    wanted = {_plain(label) for label in LABELS}
    labelled = {
        api: field for api, field in fields.items() if field.get("custom") and _plain(field.get("label")) in wanted
    }
    found = sorted(api for api, field in labelled.items() if field.get("type") == "boolean")
    if len(found) == 1:
        return found[0]
    labels = " or ".join(f"'{label}'" for label in LABELS)
    if found:
        raise AccessRefused(
            f"{name} has {len(found)} custom checkboxes labelled {labels}: {', '.join(found)}.",
            hint=f'Say which one the sync writes: custom_field = "{found[0]}" in [salesforce] of recon.toml, for example.',
        )
    other = sorted(labelled)
    none = f" ({', '.join(other)} has such a label but is no checkbox)" if other else ""
    raise AccessRefused(
        f"{name} has no checkbox labelled {labels} that the user can see{none}.",
        hint="If it is there, field-level security hides it: make it visible for the user. If it has another label, write its API name as custom_field "
        'in [salesforce]. If the sync writes Email Opt Out alone, set opt_out_field = "standard".',
    )


def _named_field(fields: dict[str, dict[str, Any]], api: str, name: str) -> str:
    field = fields.get(api)
    if field is None:
        raise AccessRefused(
            f"{name}.{api}, named by salesforce.custom_field, can't be seen by the user: it doesn't exist on {name}, or field-level security hides it.",
            hint="Check the API name in Setup > Object Manager (upper and lower case count here), and the field's field-level security.",
        )
    if field.get("type") != "boolean" or field.get("custom") is not True:
        raise AccessRefused(
            f"{name}.{api}, named by salesforce.custom_field, is not a custom checkbox.",
            hint="Name the checkbox that the sync writes.",
        )
    return api


def _plain(label: object) -> str:
    return " ".join(str(label).split()).casefold()
