"""The objects and fields of the sandbox's org, and what of them the logged-in user may see and edit.

The config keys that change the picture: ``custom_field_installed`` ("false" hides the custom checkbox), ``person_accounts`` ("true" shows
what there is in an org with person accounts alone), ``fls`` (JSON, like ``{"Lead.HasOptedOutOfEmail": "hidden"}`` or ``"read_only"``) and
``extra_fields`` (JSON list of ``{object, name, label}``: further custom checkboxes, always false).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from recon.sandbox.store import Store

FieldType = Literal["id", "string", "email", "boolean", "reference", "datetime", "date", "picklist", "anyType"]

CUSTOM_FIELD = "Marketo_Sales_Opt_Out__c"

_SOAP: dict[FieldType, str] = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "boolean": "xsd:boolean",
    "datetime": "xsd:dateTime",
    "date": "xsd:date",
    "anyType": "xsd:anyType",
}
_LENGTH: dict[FieldType, int] = {"id": 18, "reference": 18, "email": 80, "anyType": 255}


@dataclass(frozen=True, slots=True)
class Field:
    """One field: what describe says about it and how the store holds it.

    Attributes
    ----------
    name, label, type, length
        As in describe.
    updateable
        May be written, at creation and later.
    filterable
        May stand in WHERE.
    required
        A record needs a value.
    sql
        The expression over the object's table that gives the stored value.
    tracked
        A change writes a row of field history.
    of_contact
        On Account: the field of a person account's Contact that it is.
    """

    name: str
    label: str
    type: FieldType
    sql: str
    length: int = 0
    custom: bool = False
    updateable: bool = False
    filterable: bool = True
    required: bool = False
    tracked: bool = False
    reference_to: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    of_contact: str | None = None

    @property
    def relationship(self) -> str | None:
        """The name under which SOQL reaches the parent, like `Lead` for `LeadId`."""
        return self.name.removesuffix("Id") if self.reference_to else None

    def describe(self) -> dict[str, Any]:
        """The field's entry in the describe answer."""
        return {
            "aggregatable": self.type not in ("boolean", "anyType"),
            "autoNumber": False,
            "byteLength": self.length * 3 if self.type not in ("id", "reference") else self.length,
            "calculated": False,
            "caseSensitive": False,
            "compoundFieldName": "Name" if self.name in ("FirstName", "LastName") else None,
            "controllerName": None,
            "createable": self.updateable,
            "custom": self.custom,
            "defaultValue": False if self.type == "boolean" else None,
            "defaultedOnCreate": self.type in ("boolean", "id"),
            "deprecatedAndHidden": False,
            "digits": 0,
            "encrypted": False,
            "externalId": False,
            "extraTypeInfo": None,
            "filterable": self.filterable,
            "groupable": self.type not in ("datetime", "anyType"),
            "idLookup": self.type in ("id", "email"),
            "inlineHelpText": None,
            "label": self.label,
            "length": self.length,
            "name": self.name,
            "nameField": self.name == "Name",
            "nillable": not self.required and self.type not in ("boolean", "id") and not self.name.endswith("Date"),
            "permissionable": self.updateable and not self.required,
            "picklistValues": [
                {"active": True, "defaultValue": False, "label": value, "validFor": None, "value": value}
                for value in self.values
            ],
            "precision": 0,
            "referenceTo": list(self.reference_to),
            "relationshipName": self.relationship,
            "restrictedPicklist": bool(self.values),
            "scale": 0,
            "searchPrefilterable": False,
            "soapType": _SOAP.get(self.type, "xsd:string"),
            "sortable": self.type != "anyType",
            "type": self.type,
            "unique": False,
            "updateable": self.updateable,
            "writeRequiresMasterRead": False,
        }


def _field(name: str, label: str, kind: FieldType = "string", *, sql: str | None = None, **more: Any) -> Field:
    return Field(name, label, kind, sql or name, **({"length": _LENGTH.get(kind, 0)} | more))


def _text(name: str, label: str, length: int, **more: Any) -> Field:
    return _field(name, label, length=length, **more)


_NAME = _field("Name", "Full Name", sql="ltrim(coalesce(FirstName, '') || ' ' || coalesce(LastName, ''))", length=121)
_IDENTITY = (_field("Id", "Record ID", "id"), _field("IsDeleted", "Deleted", "boolean"))
_STAMPS = (
    _field("CreatedDate", "Created Date", "datetime"),
    _field("LastModifiedDate", "Last Modified Date", "datetime"),
    _field("SystemModstamp", "System Modstamp", "datetime"),
)
_PERSON = (
    _text("LastName", "Last Name", 80, updateable=True, required=True),
    _text("FirstName", "First Name", 40, updateable=True),
    _NAME,
    _field("Email", "Email", "email", updateable=True, tracked=True),
    _field("HasOptedOutOfEmail", "Email Opt Out", "boolean", updateable=True, tracked=True),
    _field("IndividualId", "Individual ID", "reference", updateable=True, reference_to=("Individual",)),
    _field("LastModifiedById", "Last Modified By ID", "reference", reference_to=("User",)),
)
_CUSTOM = _field(CUSTOM_FIELD, "Marketo Sales Opt Out", "boolean", custom=True, updateable=True, tracked=True)

#: What only an org with person accounts has.
_WITH_PERSON_ACCOUNTS = frozenset({"IsPersonAccount", "PersonContactId"})
# Unqualified names in the inner query are the Account's: it has no AccountId, and the Contact no PersonContactId.
_IS_PERSON = _field(
    "IsPersonAccount",
    "Is Person Account",
    "boolean",
    sql="coalesce(AccountId IN (SELECT a.Id FROM account AS a WHERE a.IsPersonAccount = 1), 0)",
)


def _person_account_fields() -> tuple[Field, ...]:
    """The fields of a person account that are its Contact's: `PersonEmail`, and of a custom field the name with ``__pc``.

    That they are named so is Salesforce's documentation. That the Contact's own can't be written is assumed, and nowhere confirmed.
    """
    found = []
    for field in (*_PERSON, _CUSTOM):
        if field.name in ("Name", "LastModifiedById"):
            continue
        named = field.name if field.name in ("FirstName", "LastName") else f"Person{field.name}"
        if field.custom:
            named = f"{field.name.removesuffix('__c')}__pc"
        sql = f"(SELECT c.{field.sql} FROM contact AS c WHERE c.Id = PersonContactId)"  # noqa: S608 - names of this module
        found.append(replace(field, name=named, sql=sql, required=False, of_contact=field.name))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class SObject:
    """One object: its fields as the user sees them, and the table behind it."""

    name: str
    label: str
    plural: str
    key_prefix: str
    table: str
    fields: tuple[Field, ...]
    updateable: bool = False
    #: A fixed condition on the table, for objects that share one.
    only: str | None = None

    def field(self, name: str) -> Field | None:
        """The field of this name, whatever its case; None if the user sees none."""
        wanted = name.lower()
        return next((field for field in self.fields if field.name.lower() == wanted), None)

    @property
    def has_deleted(self) -> bool:
        """Whether rows can lie in the recycle bin."""
        return self.only is None

    def summary(self, base: str) -> dict[str, Any]:
        """The object's entry in the list of objects; `base` is the path up to the version."""
        path = f"{base}/sobjects/{self.name}"
        return {
            "activateable": False,
            "createable": self.updateable,
            "custom": False,
            "customSetting": False,
            "deletable": self.updateable,
            "deprecatedAndHidden": False,
            "feedEnabled": False,
            "hasSubtypes": False,
            "isSubtype": False,
            "keyPrefix": self.key_prefix,
            "label": self.label,
            "labelPlural": self.plural,
            "layoutable": self.updateable,
            "mergeable": self.updateable,
            "mruEnabled": self.updateable,
            "name": self.name,
            "queryable": True,
            "replicateable": True,
            "retrieveable": True,
            "searchable": self.updateable,
            "triggerable": True,
            "undeletable": self.updateable,
            "updateable": self.updateable,
            "urls": {"sobject": path, "describe": f"{path}/describe", "rowTemplate": f"{path}/{{ID}}"},
        }


def _history(parent: str) -> SObject:
    return SObject(
        name=f"{parent}History",
        label=f"{parent} History",
        plural=f"{parent} History",
        key_prefix="017",
        table="history",
        only=f"Object = '{parent}'",
        fields=(
            _field("Id", f"{parent} History ID", "id"),
            _field("IsDeleted", "Deleted", "boolean", sql="0"),
            _field(f"{parent}Id", f"{parent} ID", "reference", sql="Parent", reference_to=(parent,)),
            _field("CreatedById", "Created By ID", "reference", reference_to=("User",)),
            _field("CreatedDate", "Created Date", "datetime"),
            _text("Field", "Changed Field", 255),
            _field("OldValue", "Old Value", "anyType", filterable=False),
            _field("NewValue", "New Value", "anyType", filterable=False),
        ),
    )


_ALL = (
    SObject(
        name="Lead",
        label="Lead",
        plural="Leads",
        key_prefix="00Q",
        table="lead",
        updateable=True,
        fields=(
            *_IDENTITY,
            _field("MasterRecordId", "Master Record ID", "reference", reference_to=("Lead",)),
            *_PERSON,
            _text("Company", "Company", 255, updateable=True, required=True),
            _field("IsConverted", "Converted", "boolean"),
            _field("ConvertedDate", "Converted Date", "date", sql="substr(ConvertedDate, 1, 10)"),
            _field("ConvertedContactId", "Converted Contact ID", "reference", reference_to=("Contact",)),
            *_STAMPS,
            _CUSTOM,
        ),
    ),
    SObject(
        name="Contact",
        label="Contact",
        plural="Contacts",
        key_prefix="003",
        table="contact",
        updateable=True,
        fields=(
            *_IDENTITY,
            _field("MasterRecordId", "Master Record ID", "reference", reference_to=("Contact",)),
            _field("AccountId", "Account ID", "reference", updateable=True, reference_to=("Account",)),
            *_PERSON,
            *_STAMPS,
            _CUSTOM,
            _IS_PERSON,
        ),
    ),
    SObject(
        name="Account",
        label="Account",
        plural="Accounts",
        key_prefix="001",
        table="account",
        updateable=True,
        fields=(
            *_IDENTITY,
            _field("MasterRecordId", "Master Record ID", "reference", reference_to=("Account",)),
            _text("Name", "Account Name", 255),
            _field("LastModifiedById", "Last Modified By ID", "reference", reference_to=("User",)),
            *_STAMPS,
            _field("IsPersonAccount", "Is Person Account", "boolean"),
            _field("PersonContactId", "Contact ID", "reference", reference_to=("Contact",)),
            *_person_account_fields(),
        ),
    ),
    _history("Lead"),
    _history("Contact"),
    _history("Account"),
    SObject(
        name="Individual",
        label="Individual",
        plural="Individuals",
        key_prefix="0PK",
        table="individual",
        fields=(
            *_IDENTITY,
            _text("LastName", "Last Name", 80),
            _text("FirstName", "First Name", 40),
            _NAME,
            _field("HasOptedOutSolicit", "Don't Market", "boolean"),
            _field("HasOptedOutProcessing", "Don't Process", "boolean"),
            _field("ShouldForget", "Forget this Individual", "boolean"),
            *_STAMPS,
        ),
    ),
    SObject(
        name="ContactPointTypeConsent",
        label="Contact Point Type Consent",
        plural="Contact Point Type Consents",
        key_prefix="0ZX",
        table="contactpointtypeconsent",
        fields=(
            *_IDENTITY,
            _text("Name", "Name", 255),
            _field("PartyId", "Party ID", "reference", reference_to=("Individual",)),
            _field(
                "ContactPointType",
                "Contact Point Type",
                "picklist",
                length=255,
                values=("Phone", "Email", "Social", "Web", "MailingAddress"),
            ),
            _field(
                "PrivacyConsentStatus",
                "Privacy Consent Status",
                "picklist",
                length=255,
                values=("NotSeen", "Seen", "OptIn", "OptOut"),
            ),
            _field("CaptureDate", "Capture Date", "datetime"),
            _text("CaptureSource", "Capture Source", 255),
            _field("EffectiveFrom", "Effective From", "datetime"),
            _field("EffectiveTo", "Effective To", "datetime"),
            *_STAMPS,
        ),
    ),
)
_BY_NAME = {item.name.lower(): item for item in _ALL}


def whole_object(name: str) -> SObject | None:
    """An object with all its fields, whoever looks; None if there is none of this name (whatever its case)."""
    return _BY_NAME.get(name.lower())


def _visible(item: SObject, config: dict[str, str]) -> SObject:
    fls: dict[str, str] = json.loads(config.get("fls", "{}"))
    extra: list[dict[str, str]] = json.loads(config.get("extra_fields", "[]"))
    fields = []
    people = config.get("person_accounts") == "true"
    for field in item.fields:
        rule = fls.get(f"{item.name}.{field.name}")
        if rule == "hidden" or (field.custom and config.get("custom_field_installed") == "false"):
            continue
        if not people and (field.of_contact is not None or field.name in _WITH_PERSON_ACCOUNTS):
            continue
        fields.append(replace(field, updateable=False) if rule == "read_only" else field)
    fields += [
        _field(more["name"], more["label"], "boolean", sql="0", custom=True)
        for more in extra
        if more["object"] == item.name
    ]
    return replace(item, fields=tuple(fields))


def visible_objects(store: Store) -> list[SObject]:
    """All objects, each with the fields that the user may see."""
    config = _config(store)
    return [_visible(item, config) for item in _ALL]


def visible_object(store: Store, name: str) -> SObject | None:
    """One object with the fields that the user may see; None if there is none of this name (whatever its case)."""
    item = whole_object(name)
    return None if item is None else _visible(item, _config(store))


def _config(store: Store) -> dict[str, str]:
    with store.transaction() as db:
        rows = db.execute(
            "SELECT key, value FROM config WHERE key IN ('fls', 'extra_fields', 'custom_field_installed', 'person_accounts')"
        )
        return {row["key"]: row["value"] for row in rows}
