"""SOQL, answered: a parsed query becomes SQLite over the store, every value a parameter.

Comparisons of text ignore case, ids don't; ``!=`` and NOT include rows without a value; ``''`` is no value; nulls sort first.
Source: Salesforce, SOQL and SOSL Reference.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recon.sandbox.salesforce.errors import Fault
from recon.sandbox.salesforce.objects import visible_object
from recon.sandbox.salesforce.records import to_18
from recon.sandbox.salesforce.soql_parse import Comparison, complain, parse
from recon.sandbox.store import text_time

if TYPE_CHECKING:
    import sqlite3
    from datetime import datetime

    from recon.sandbox.salesforce.objects import Field, SObject
    from recon.sandbox.salesforce.soql_parse import Condition, Path, Query, Value
    from recon.sandbox.store import Store

_MAX_OFFSET = 2000
_TEXT = ("string", "email", "picklist")


@dataclass(frozen=True, slots=True)
class Column:
    """One selected field: its name as the org writes it (``Lead.Email`` for a parent's), and its SQL."""

    name: str
    field: Field
    sql: str
    parent: str | None = None
    parent_id: str | None = None


@dataclass(frozen=True, slots=True)
class Compiled:
    """A query ready to run.

    Attributes
    ----------
    columns
        What was selected, in order; empty for a count.
    where, parameters, order, window
        SQL, with the values of `where`.
    """

    sobject: SObject
    query: Query
    columns: tuple[Column, ...]
    where: str
    parameters: tuple[Any, ...]
    order: str
    window: str

    def count(self, db: sqlite3.Connection) -> int:
        """How many rows the query has; of ``COUNT(field)`` those with a value."""
        sql = f"SELECT count(*) FROM {self.sobject.table} AS t WHERE {self.where}"  # noqa: S608 - compiled here
        total = int(db.execute(sql, self.parameters).fetchone()[0])
        return total if self.query.limit is None else min(total, self.query.limit)

    def ids(self, db: sqlite3.Connection) -> list[str]:
        """The ids of all rows, in order."""
        sql = f"SELECT t.Id FROM {self.sobject.table} AS t WHERE {self.where} {self.order} {self.window}"  # noqa: S608 - compiled here
        return [row[0] for row in db.execute(sql, self.parameters)]

    def records(self, db: sqlite3.Connection, ids: list[str], base: str) -> list[dict[str, Any]]:
        """Rows by their ids, in this order, as they stand in JSON; `base` is the path up to the version."""
        selected = [column.sql for column in self.columns]
        parents = [column.parent_id or "NULL" for column in self.columns]
        sql = (
            f"SELECT t.Id, {', '.join(selected + parents)} "  # noqa: S608 - compiled here
            "FROM (SELECT key AS place_, value AS id_ FROM json_each(?)) AS wanted "
            f"JOIN {self.sobject.table} AS t ON t.Id = wanted.id_ ORDER BY wanted.place_"
        )
        return [self._record(tuple(row), base) for row in db.execute(sql, (json.dumps(ids),))]

    def _record(self, row: tuple[Any, ...], base: str) -> dict[str, Any]:
        record: dict[str, Any] = {"attributes": attributes(self.sobject.name, row[0], base)}
        width = len(self.columns)
        for n, column in enumerate(self.columns, start=1):
            value = json_value(column.field, row[n])
            if column.parent is None:
                record[column.name] = value
                continue
            relation, name = column.name.split(".")
            parent_id = row[n + width]
            if parent_id is None:
                record[relation] = None
            else:
                parent = record.setdefault(relation, {"attributes": attributes(column.parent, parent_id, base)})
                parent[name] = value
        return record

    def csv_sql(self, delimiter: str) -> str:
        """SQL whose rows are the lines of a Bulk result, without their ends: every cell quoted, no value as an empty cell."""
        cells = [f"'\"' || replace(coalesce({_csv_cell(column)}, ''), '\"', '\"\"') || '\"'" for column in self.columns]
        line = f" || '{delimiter}' || ".join(cells)
        return f"SELECT {line} FROM {self.sobject.table} AS t WHERE {self.where} {self.order} {self.window}"  # noqa: S608 - compiled here


def attributes(sobject: str, record_id: str, base: str) -> dict[str, str]:
    """The `attributes` of a record in JSON."""
    return {"type": sobject, "url": f"{base}/sobjects/{sobject}/{record_id}"}


def json_value(field: Field, stored: Any) -> Any:
    """A stored value as it stands in JSON."""
    if stored is None:
        return None
    if field.type == "boolean":
        return bool(stored)
    if field.type == "datetime":
        return str(stored).removesuffix("Z") + "+0000"
    if field.type == "anyType" and stored in ("true", "false"):
        return stored == "true"
    return stored


def _csv_cell(column: Column) -> str:
    if column.field.type == "boolean":
        return f"CASE {column.sql} WHEN 0 THEN 'false' WHEN 1 THEN 'true' END"
    return column.sql


def compile_query(store: Store, text: str, *, deleted: bool = False) -> Compiled:
    """Read a query and make it ready to run.

    Parameters
    ----------
    deleted
        Include rows in the recycle bin, as queryAll does.

    Raises
    ------
    Fault
        ``MALFORMED_QUERY``, ``INVALID_TYPE``, ``INVALID_FIELD``, ``INVALID_QUERY_FILTER_OPERATOR``,
        ``NUMBER_OUTSIDE_VALID_RANGE``.
    """
    query = parse(text)
    sobject = visible_object(store, query.sobject)
    if sobject is None:
        message = (
            f"sObject type '{query.sobject}' is not supported. If you are attempting to use a custom object, be sure to append "
            "the '__c' after the entity name. Please reference your WSDL or the describe call for the appropriate names."
        )
        raise complain(text, query.sobject_at, message, "INVALID_TYPE")
    return _Compiler(store, query, sobject).compile(deleted=deleted)


class _Compiler:
    def __init__(self, store: Store, query: Query, sobject: SObject) -> None:
        self.store = store
        self.query = query
        self.sobject = sobject
        self.parameters: list[Any] = []

    def fail(self, at: int, message: str, code: str = "INVALID_FIELD") -> Fault:
        return complain(self.query.text, at, message, code)

    def compile(self, *, deleted: bool) -> Compiled:
        query = self.query
        columns = [self.column(path) for path in query.fields]
        names = [column.name for column in columns]
        for name, path in zip(names, query.fields, strict=True):
            if names.count(name) > 1:
                raise self.fail(path.at, f"duplicate field selected: {name}", "MALFORMED_QUERY")
        conditions = ["1"]
        if self.sobject.only is not None:
            conditions.append(f"t.{self.sobject.only}")
        if self.sobject.has_deleted and not deleted:
            conditions.append("t.IsDeleted = 0")
        if query.where is not None:
            conditions.append(f"({self.condition(query.where)})")
        if query.count:
            conditions.append(f"{self.column(query.count[0]).sql} IS NOT NULL")
        if query.count is not None and (query.order or query.offset is not None):
            raise self.fail(0, "a count can't be ordered or start at an offset", "MALFORMED_QUERY")
        if query.offset is not None and query.offset > _MAX_OFFSET:
            raise Fault(400, "NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {_MAX_OFFSET}")
        keys = [self.sort_key(order.path, order.descending, order.nulls_last) for order in query.order]
        # Ties and unordered queries come by id, so that the sandbox answers the same way twice.
        order = f"ORDER BY {', '.join([*keys, 't.Id'])}"
        window = ""
        if query.limit is not None or query.offset is not None:
            window = f"LIMIT {-1 if query.limit is None else query.limit} OFFSET {query.offset or 0}"
        where = " AND ".join(conditions)
        return Compiled(self.sobject, query, tuple(columns), where, tuple(self.parameters), order, window)

    def column(self, path: Path) -> Column:
        if len(path.parts) == 1:
            field = self.sobject.field(path.parts[0])
            if field is None:
                raise self.no_such_column(path.parts[0], self.sobject, path.at)
            return Column(field.name, field, field.sql)
        relation, *rest = path.parts
        link = next(
            (field for field in self.sobject.fields if (field.relationship or "").lower() == relation.lower()), None
        )
        parent = None if link is None or len(rest) > 1 else visible_object(self.store, link.reference_to[0])
        if link is None or parent is None:
            message = (
                f"Didn't understand relationship '{relation}' in field path. If you are attempting to use a custom relationship, "
                "be sure to append the '__r' after the custom relationship name. Please reference your WSDL or the describe call "
                "for the appropriate names."
            )
            raise self.fail(path.at, message)
        field = parent.field(rest[0])
        if field is None:
            raise self.no_such_column(rest[0], parent, path.at)
        # Names inside the subquery are the parent's, as it is the inner table.
        sql = f"(SELECT {field.sql} FROM {parent.table} AS p WHERE p.Id = t.{link.sql})"  # noqa: S608 - names from the object list
        return Column(f"{link.relationship}.{field.name}", field, sql, parent.name, f"t.{link.sql}")

    def no_such_column(self, name: str, sobject: SObject, at: int) -> Fault:
        message = (
            f"No such column '{name}' on entity '{sobject.name}'. If you are attempting to use a custom field, be sure to append "
            "the '__c' after the custom field name. Please reference your WSDL or the describe call for the appropriate names."
        )
        return self.fail(at, message)

    def sort_key(self, path: Path, descending: bool, nulls_last: bool) -> str:  # noqa: FBT001 - the two words of a sort key
        column = self.column(path)
        if column.field.type == "anyType":
            raise self.fail(path.at, f"field '{column.name}' can not be sorted in a query call", "MALFORMED_QUERY")
        collate = " COLLATE NOCASE" if column.field.type in _TEXT else ""
        direction = "DESC" if descending else "ASC"
        return f"{column.sql}{collate} {direction} NULLS {'LAST' if nulls_last else 'FIRST'}"

    def condition(self, condition: Condition) -> str:
        if isinstance(condition, Comparison):
            return self.comparison(condition)
        parts = [self.condition(item) for item in condition.items]
        if condition.op == "not":
            # Two truth values: what is unknown is false, so its negation is true.
            return f"NOT (({parts[0]}) IS TRUE)"
        return _joined(parts, condition.op.upper())

    def comparison(self, item: Comparison) -> str:
        column = self.column(item.path)
        field = column.field
        if not field.filterable:
            raise self.fail(item.path.at, f"field '{column.name}' can not be filtered in a query call")
        if item.op == "like":
            return self.like(column, item)
        if field.type == "boolean" and item.op not in ("=", "!=", "in", "not in"):
            raise self.operator(field, item.path.at)
        values = [self.literal(column, value) for value in item.values]
        if item.op in ("=", "in"):
            return self.equal(column, values)
        if item.op in ("!=", "not in"):
            return f"NOT (({self.equal(column, values)}) IS TRUE)"
        if values[0] is None:
            return "0"
        self.parameters.append(values[0])
        collate = " COLLATE NOCASE" if field.type in _TEXT else ""
        return f"{column.sql} {item.op} ?{collate}"

    def operator(self, field: Field, at: int) -> Fault:
        return self.fail(at, f"invalid operator on {field.type} field", "INVALID_QUERY_FILTER_OPERATOR")

    def like(self, column: Column, item: Comparison) -> str:
        if column.field.type not in _TEXT:
            raise self.operator(column.field, item.path.at)
        value = item.values[0]
        self.literal(column, value)
        if value.kind == "null":
            raise self.fail(value.at, "LIKE needs a string", "MALFORMED_QUERY")
        pattern = value.pattern
        if pattern.isascii():
            self.parameters.append(pattern)
            return f"{column.sql} LIKE ? ESCAPE '\\'"
        self.parameters.append(pattern.casefold())
        return f"casefold({column.sql}) LIKE ? ESCAPE '\\'"

    def equal(self, column: Column, values: list[Any]) -> str:
        parts = []
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            parts.append(f"{column.sql} IS NULL")
        if column.field.type in _TEXT:
            # SQLite folds ASCII by itself, and can use an index for it; anything else is folded by Python.
            wide = [value.casefold() for value in known if not value.isascii()]
            known = [value for value in known if value.isascii()]
            if wide:
                parts.append(f"casefold({column.sql}) IN ({', '.join('?' * len(wide))})")
                self.parameters += wide
            if known:
                parts.append(f"{column.sql} COLLATE NOCASE IN ({', '.join('?' * len(known))})")
                self.parameters += known
        elif known:
            parts.append(f"{column.sql} IN ({', '.join('?' * len(known))})")
            self.parameters += known
        return " OR ".join(parts)

    def literal(self, column: Column, value: Value) -> Any:
        """The literal as the store holds such values; None for null and for an empty string."""
        field = column.field
        if value.kind == "null":
            if field.type == "boolean":
                raise self.wrong_type(column, value, "boolean and should not be enclosed in quotes")
            return None
        match field.type:
            case "boolean":
                if value.kind != "boolean":
                    raise self.wrong_type(column, value, "boolean and should not be enclosed in quotes")
                return int(bool(value.value))
            case "datetime" | "date":
                wanted = "dateTime" if field.type == "datetime" else "date"
                if value.kind != field.type:
                    raise self.wrong_type(column, value, f"{wanted} and should not be enclosed in quotes")
                return self.time(value)
        if value.kind != "string":
            raise self.wrong_type(column, value, "string and should be enclosed in quotes")
        text = str(value.value)
        if not text:
            return None
        return self.id_literal(value, text) if field.type in ("id", "reference") else text

    def time(self, value: Value) -> str:
        moment: Any = value.value
        if value.kind == "date":
            return str(moment.isoformat())
        at: datetime = moment
        return text_time(at)

    def id_literal(self, value: Value, text: str) -> str:
        try:
            return to_18(text)
        except ValueError:
            raise self.fail(value.at, f"invalid ID field: {text}", "INVALID_QUERY_FILTER_OPERATOR") from None

    def wrong_type(self, column: Column, value: Value, wanted: str) -> Fault:
        return self.fail(value.at, f"value of filter criterion for field '{column.name}' must be of type {wanted}")


def _joined(parts: list[str], word: str) -> str:
    """Conditions joined as a balanced tree: SQLite bounds the depth of an expression."""
    if len(parts) == 1:
        return f"({parts[0]})"
    half = len(parts) // 2
    return f"({_joined(parts[:half], word)} {word} {_joined(parts[half:], word)})"


def prepare(db: sqlite3.Connection) -> None:
    """Give a connection the functions that compiled queries use."""
    db.create_function("casefold", 1, _casefold, deterministic=True)


def _casefold(value: str | None) -> str | None:
    return None if value is None else value.casefold()
