"""The tables, in one place: columns, types, meaning.

Between the steps a table is Arrow (`pyarrow.Table`) or whatever frame the user's engine has; the columns and types are these.
Strings are strings, times are UTC timestamps in microseconds, flags are booleans, and unknown is null: never `""`, never `"nan"`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["string", "flag", "time", "date", "count"]

_ARROW: dict[Kind, pa.DataType] = {
    "string": pa.string(),
    "flag": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
    "count": pa.int64(),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, kind, whether null is refused, and what it means."""

    name: str
    kind: Kind
    meaning: str
    required: bool = False

    @property
    def arrow(self) -> pa.DataType:
        """The column's Arrow type."""
        return _ARROW[self.kind]


@dataclass(frozen=True, slots=True)
class Table:
    """A table's columns, in order, and what one row is."""

    name: str
    row_is: str
    columns: tuple[Column, ...]

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    @property
    def names(self) -> list[str]:
        """The columns' names, in order."""
        return [column.name for column in self.columns]

    @property
    def schema(self) -> pa.Schema:
        """The table's Arrow schema."""
        return pa.schema([pa.field(column.name, column.arrow) for column in self.columns])

    def empty(self) -> pa.Table:
        """A table of this shape without rows."""
        return self.schema.empty_table()

    def conform(self, table: pa.Table) -> pa.Table:
        """Bring an Arrow table to this shape: columns in order, types cast, absent columns null, others dropped.

        A floating-point NaN is how some frames write null, so it becomes null.

        Raises
        ------
        ValueError
            If a required column is absent or holds nulls, a column is there twice, or a value can't be cast. Readers of outside data find and name such
            rows before they come here.
        """
        columns = []
        for column in self.columns:
            if column.name not in table.column_names:
                if column.required:
                    raise ValueError(f"{self.name}: the required column {column.name!r} is absent")
                columns.append(pa.nulls(table.num_rows, column.arrow))
                continue
            values = _cast(table, column, self.name)
            if column.required and values.null_count:
                raise ValueError(f"{self.name}: {values.null_count} nulls in the required column {column.name!r}")
            columns.append(values)
        return pa.table(columns, schema=self.schema)


def _cast(table: pa.Table, column: Column, name: str) -> pa.ChunkedArray:
    """One column in its type."""
    if table.column_names.count(column.name) > 1:
        raise ValueError(f"{name}: the column {column.name!r} is there more than once")
    values = table.column(column.name)
    if values.type == column.arrow:
        return values
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    if values.null_count == len(values):
        # Whatever type an empty column was given: Arrow makes no moment of a float, null or not.
        return pa.chunked_array([pa.nulls(len(values), column.arrow)])
    try:
        if column.kind == "flag" and (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            # Arrow takes every number but 0 for true.
            known = pc.is_in(values, value_set=pa.array([0, 1], values.type), skip_nulls=True)
            if not pc.all(pc.or_(known, pc.is_null(values)), min_count=0).as_py():
                raise ValueError(f"{name}: the column {column.name!r} holds numbers that are neither 0 nor 1")
        return values.cast(column.arrow)
    except pa.ArrowException as error:
        # Arrow's own text may quote a value, which may be an address.
        raise ValueError(
            f"{name}: the column {column.name!r} is of type {values.type}, and not all of it can be read as {column.arrow}"
        ) from error


PEOPLE = Table(
    "people",
    "one person in Sales Connect",
    (
        Column("person_id", "string", "the person's id in Sales Connect; unique", required=True),
        Column("email", "string", "the address as Sales Connect has it"),
        Column(
            "salesforce_id",
            "string",
            "the Salesforce id that the person is linked to, as Sales Connect has it (15 or 18 characters)",
        ),
        Column(
            "unsubscribed", "flag", "does Sales Connect hold the person as unsubscribed, at any level", required=True
        ),
        Column(
            "unsubscribe_level", "string", "account (whole company) or user (one sales user); null counts as account"
        ),
        Column("unsubscribed_at", "time", "when the standing unsubscribe was recorded"),
        Column("unsubscribe_source", "string", "manual, clicked_link, salesforce_sync or bounce"),
        Column("resubscribed_at", "time", "when an unsubscribe was last removed"),
        Column("first_name", "string", "first name"),
        Column("last_name", "string", "last name"),
        Column("updated_at", "time", "when the person was last changed"),
    ),
)

RECORDS = Table(
    "records",
    "one Lead or Contact in Salesforce",
    (
        Column("record_id", "string", "the record's id, 18 characters; unique", required=True),
        Column("object", "string", "Lead or Contact", required=True),
        Column("email", "string", "the address as Salesforce has it"),
        Column(
            "opted_out",
            "flag",
            "opted out by the field that is the sync's target (either field, for the setting 'both')",
            required=True,
        ),
        Column("has_opted_out_of_email", "flag", "the standard field HasOptedOutOfEmail"),
        Column("sales_opt_out", "flag", "the custom field (Marketo Sales / MSE / MSC Opt Out)"),
        Column("opted_out_at", "time", "when the standing opt-out was set, from field history"),
        Column("resubscribed_at", "time", "when an opt-out was last cleared, from field history"),
        Column("is_converted", "flag", "a Lead that was converted", required=True),
        Column("converted_contact_id", "string", "the Contact that a converted Lead became, 18 characters"),
        Column("is_deleted", "flag", "in the recycle bin, or merged away", required=True),
        Column("first_name", "string", "first name"),
        Column("last_name", "string", "last name"),
        Column("modified_at", "time", "when the record was last changed (LastModifiedDate)"),
        Column(
            "account_id",
            "string",
            "of a person account's Contact: the Account that it is, 18 characters, by which it is written; null for all others",
        ),
    ),
)

MERGED = Table(
    "merged",
    "one record of either system that is not deleted",
    (
        Column("system", "string", "sales_connect or salesforce", required=True),
        Column("id", "string", "the record's id in its system", required=True),
        Column("object", "string", "Person, Lead or Contact", required=True),
        Column("email", "string", "the address as its system has it"),
        Column("address", "string", "the address made comparable; null when it isn't an address"),
        Column("opted_out", "flag", "the record's own flag", required=True),
        Column(
            "cluster",
            "string",
            "all records of one person (id links, converted-Lead links, equal addresses): the smallest system:id",
            required=True,
        ),
        Column("merged_opted_out", "flag", "is any record of the cluster opted out", required=True),
        Column(
            "sync_component",
            "string",
            "the records that the nightly sync joins (id links only): the smallest system:id",
            required=True,
        ),
        Column("predicted_opted_out", "flag", "the flag after the next nightly run", required=True),
        Column(
            "caused_by",
            "string",
            "the opted-out records of the cluster that decide it, system:id, smallest first, at most three and a count of the rest",
        ),
        Column("opted_out_at", "time", "the newest opt-out date known in the cluster"),
    ),
)

ACTIONS = Table(
    "actions",
    "one record that needs action",
    (
        *MERGED.columns,
        Column("category", "string", "why it needs action: the first category that applies", required=True),
        Column(
            "categories",
            "string",
            "every category that applies, in the categories' order, joined by ';'",
            required=True,
        ),
        Column("fix", "string", "who mends it: toolkit, admin or nobody", required=True),
        Column(
            "due_by",
            "date",
            "until when an opt-out has to be effective here (UTC date); null where its date is unknown or nothing is to be set",
        ),
        Column(
            "path", "string", "how the opt-out reaches this record: record -[link]-> record; null where no opt-out does"
        ),
        Column("explanation", "string", "one sentence a person understands", required=True),
    ),
)

APPROVED = Table(
    "approved",
    "one address to be resubscribed, as an admin hands it in; all cells are text as they stand in the file",
    (
        Column("email", "string", "the address"),
        Column("reason", "string", "why, in the admin's words"),
        Column("authorization", "string", "the Compliance Card's authorization type"),
        Column("consent_date", "string", "when the person consented"),
        Column("purpose", "string", "what the person consented to"),
        Column("evidence", "string", "where the proof lies"),
        Column("initiated_by", "string", "person or sender: did the person ask, or was the person asked"),
        Column("approved_by", "string", "who approves the row"),
        Column("approved_at", "string", "when it was approved"),
        Column("kind", "string", "consent, or correction of a wrongly recorded opt-out; blank is consent"),
        Column("person_id", "string", "the person's id in Sales Connect, as a cross-check"),
        Column("requested_by", "string", "who asked for the resubscribe"),
        Column("scope", "string", "sales or sales+marketing"),
        Column("country", "string", "whose rules apply, two letters (ISO 3166)"),
        Column("notice", "string", "what the person was told"),
        Column("evidence_sha256", "string", "SHA-256 of the evidence"),
        Column("note", "string", "anything else; for a correction, what went wrong"),
    ),
)

VERDICTS = Table(
    "verdicts",
    "one row of the approved file, in its order",
    (
        Column("row", "count", "the line in the file; in a workbook or Parquet file the row", required=True),
        Column("email", "string", "the address as it stands in the file"),
        Column("verdict", "string", "accepted, rejected or no_op", required=True),
        Column("codes", "string", "every code that applies, in the codes' order, joined by ';'"),
        Column("message", "string", "why, and what to do about it", required=True),
        Column("records", "count", "how many records it would clear; 0 unless accepted", required=True),
    ),
)

VERIFICATION = Table(
    "verification",
    "one record whose opt-out a plan took away, or may have",
    (
        Column("step", "count", "the step of the plan", required=True),
        Column("row", "count", "the line in the approved file that allowed it"),
        Column("record", "string", "the record, system:id", required=True),
        Column(
            "state",
            "string",
            "stuck, reverted, unsubscribed_anew, undone, worklist_open, gone, too_early or unknown",
            required=True,
        ),
        Column("caused_by", "string", "the record whose opt-out undid it, system:id"),
        Column("through", "string", "the link it came through: id; null where it was undone on the record itself"),
        Column("changed_at", "time", "when it was opted out again, or put back"),
        Column("message", "string", "what happened and what to do, in one or two sentences", required=True),
    ),
)

TABLES = (PEOPLE, RECORDS, MERGED, ACTIONS, APPROVED, VERDICTS, VERIFICATION)
