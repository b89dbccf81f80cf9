"""What Salesforce answers when it refuses: an HTTP status and a list of `{message, errorCode, fields}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class Fault(Exception):
    """A refusal, as the caller of the API sees it.

    Parameters
    ----------
    status
        The HTTP status of a single request; in a batch the row's error carries only the code.
    code
        Salesforce's error code, like ``INVALID_FIELD``.
    message
        Salesforce's words.
    fields
        The fields at fault. None leaves the key out of the body, as most errors do.
    """

    def __init__(self, status: int, code: str, message: str, fields: Sequence[str] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.fields = None if fields is None else list(fields)

    def body(self) -> list[dict[str, Any]]:
        """The body of a REST answer."""
        entry: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        if self.fields is not None:
            entry["fields"] = self.fields
        return [entry]


class RecordFault(Fault):
    """One record can't be written or isn't there; a batch goes on with the next."""


def not_found() -> Fault:
    """The path leads nowhere."""
    return Fault(404, "NOT_FOUND", "The requested resource does not exist")


def record_not_found() -> RecordFault:
    """No record has this id."""
    return RecordFault(404, "NOT_FOUND", "The requested resource does not exist")


def in_batch(fault: RecordFault) -> RecordFault:
    """A row's fault as Collections and Bulk name it: a missing record is a bad reference there."""
    if fault.code == "NOT_FOUND":
        return RecordFault(400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", [])
    return fault


def record_deleted() -> RecordFault:
    """The record lies in the recycle bin."""
    return RecordFault(404, "ENTITY_IS_DELETED", "entity is deleted", [])


def malformed_id(value: str) -> RecordFault:
    """The text is no id of this object."""
    return RecordFault(400, "MALFORMED_ID", f"Id: id value of incorrect type: {value}", ["Id"])


def converted_lead() -> RecordFault:
    """A converted lead is read-only."""
    return RecordFault(400, "CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead", [])


def no_such_column(name: str, sobject: str) -> RecordFault:
    """A write names a field that isn't there, or that the user can't see."""
    return RecordFault(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {sobject}")


def field_not_writeable(names: Sequence[str]) -> RecordFault:
    """A write names fields that the user can't edit."""
    listed = ", ".join(names)
    message = (
        f"Unable to create/update fields: {listed}. Please check the security settings of this field and verify that it is "
        "read/write for your profile or permission set."
    )
    return RecordFault(400, "INVALID_FIELD_FOR_INSERT_UPDATE", message, list(names))


def cannot_deserialize(wanted: str, token: str, value: object) -> RecordFault:
    """A JSON value has the wrong type."""
    message = (
        f"Cannot deserialize instance of {wanted} from {token} value {value} or request may be missing a required field at "
        "[line:1, column:2]"
    )
    return RecordFault(400, "JSON_PARSER_ERROR", message)
