"""DuckDB relations that are bound when they are read, and not at every step on the way there.

DuckDB's own relations ask its binder at every step for the names and types of their columns, and again for all steps below whenever
a table was made. For a query over few rows that takes longer than all its work: of `recon diff` on a thousand rows it was half. A
relation here knows the names of its columns by itself, keeps its query as text, and becomes one of DuckDB's own for anything else that is
asked of it. Its query is what DuckDB's would be: nested SELECTs, which the optimizer flattens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_JOINS = {"inner": "INNER", "left": "LEFT"}
_ORDER = " ORDER BY "


class Deferred(duckdb.DuckDBPyRelation):
    """A query of a connection, as text.

    Parameters
    ----------
    connection
        Where it runs.
    source
        What follows FROM, with the name under which its columns are known there.
    columns
        Their names.
    items
        What follows SELECT.
    rest
        What follows the source.
    name
        The relation's alias.
    keeps
        What has to live as long as this relation, because the text names it.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        source: str,
        columns: list[str],
        *,
        items: str = "*",
        rest: str = "",
        name: str = "part",
        keeps: tuple[Any, ...] = (),
    ) -> None:
        self._connection = connection
        self._source, self._items, self._rest = source, items, rest
        self._names, self._name, self._keeps = columns, name, keeps
        self._bound: duckdb.DuckDBPyRelation | None = None

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self._names)

    @property
    def alias(self) -> str:
        """The name in a query that reads it."""
        return self._name

    def sql_query(self) -> str:
        """The query."""
        return f"SELECT {self._items} FROM {self._source}{self._rest}"  # noqa: S608 - DuckDB's expressions and names of ours

    @property
    def ordered(self) -> bool:
        """Whether the query ends in an order."""
        return self._rest.startswith(_ORDER)

    def as_source(self) -> str:
        """What a query that reads this one has after FROM."""
        if self._items == "*" and not self._rest and self._source.endswith('"'):
            return f'{self._source} AS "{self._name}"'
        return f'({self.sql_query()}) AS "{self._name}"'

    def set_alias(self, alias: str) -> Deferred:
        """The same under another name."""
        same = Deferred(
            self._connection, self._source, self._names, items=self._items, rest=self._rest, name=alias, keeps=(self,)
        )
        same._bound = self._bound
        return same

    def select(self, *items: Any, groups: str = "") -> Any:
        """Some expressions over the rows."""
        if groups or not _are_expressions(items):
            return self.own().select(*items, groups=groups)
        listed = [item.as_select() for item in items]
        columns: list[str] = []
        for item, text in zip(items, listed, strict=True):
            columns += self._names if text == "*" else [item.get_name()]
        return self._over(", ".join(listed), columns)

    def filter(self, filter_expr: Any) -> Any:
        """The rows for which an expression is true."""
        if not _are_expressions((filter_expr,)):
            return self.own().filter(filter_expr)
        return self._next(self.as_source(), rest=f" WHERE {filter_expr}")

    def aggregate(self, aggr_expr: Any, group_expr: Any = "") -> Any:
        """Aggregates over all rows, or a row a group: the groups by name."""
        items = list(aggr_expr) if isinstance(aggr_expr, (list, tuple)) else []
        if not items or not isinstance(group_expr, str):
            return self.own().aggregate(aggr_expr, group_expr)
        items = [duckdb.ColumnExpression(item) if isinstance(item, str) else item for item in items]
        grouped = f" GROUP BY {group_expr}" if group_expr else ""
        return self._next(self.as_source(), [item.get_name() for item in items], items=_listed(items), rest=grouped)

    def sort(self, *items: Any) -> Any:
        """The rows in an order."""
        if not _are_expressions(items):
            return self.own().sort(*items)
        keys = ", ".join(item.as_order() for item in items)
        return self._next(self.as_source(), rest=_ORDER + keys)

    def union(self, union_rel: Any) -> Any:
        """The rows of both."""
        if not isinstance(union_rel, Deferred):
            return self.own().union(union_rel)
        one, other = self.sql_query(), union_rel.sql_query()
        if self.ordered or union_rel.ordered:
            one, other = f"({one})", f"({other})"
        return self._next(f"({one} UNION ALL {other}) AS part", keeps=(union_rel,))

    def join(self, other_rel: Any, condition: Any = None, how: str = "inner", suffix: str | None = None) -> Any:
        """The rows of both side by side, as `left` and `right` know them by their aliases."""
        known = isinstance(other_rel, Deferred) and _are_expressions((condition,)) and suffix is None
        if not known or how not in _JOINS:
            return self.own().join(_own(other_rel), condition, how, suffix)
        source = f"{self.as_source()} {_JOINS[how]} JOIN {other_rel.as_source()} ON {condition}"
        return self._next(source, [*self._names, *other_rel.columns], keeps=(other_rel,))

    def own(self) -> duckdb.DuckDBPyRelation:
        """One of DuckDB's own relations."""
        if self._bound is None:
            # Its text names no variables of Python, so none are looked for.
            self._bound = self._connection.sql(self.sql_query(), alias=self._name)
        return self._bound

    def _over(self, items: str, columns: list[str]) -> Deferred:
        """Other items in place of all columns."""
        if self._items == "*" and not self.ordered:
            return self._next(self._source, columns, items=items, rest=self._rest)
        return self._next(self.as_source(), columns, items=items)

    def _next(
        self,
        source: str,
        columns: list[str] | None = None,
        *,
        items: str = "*",
        rest: str = "",
        keeps: tuple[Any, ...] = (),
    ) -> Deferred:
        return Deferred(
            self._connection,
            source,
            self._names if columns is None else columns,
            items=items,
            rest=rest,
            name=self._name,
            keeps=(self, *keeps),
        )


def deferred(connection: duckdb.DuckDBPyConnection, relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """A relation of DuckDB's as one that is bound when it is read.

    Before 2.0 DuckDB's relations are written in C++ and can't be derived from; they bind fast, and stay as they are.
    """
    if isinstance(relation, Deferred) or not hasattr(duckdb.Expression, "as_select"):
        return relation
    return Deferred(connection, f"({relation.sql_query()}) AS part", relation.columns, keeps=(relation,))


def held(
    connection: duckdb.DuckDBPyConnection, relation: duckdb.DuckDBPyRelation, name: str, by: Sequence[str] = ()
) -> duckdb.DuckDBPyRelation:
    """A relation's rows as a new table of the connection, in the order of these columns.

    Parameters
    ----------
    name
        The table's; a plain word.
    by
        Columns.
    """
    keys = ", ".join(map(_quoted, by))
    if not isinstance(relation, Deferred):
        (relation.order(keys) if by else relation).create(name)
        return deferred(connection, connection.table(name))
    order = f" ORDER BY {keys}" if by else ""
    connection.execute(f"CREATE TABLE {name} AS SELECT * FROM ({relation.sql_query()}) AS part{order}")  # noqa: S608
    return Deferred(connection, f'"{name}"', relation.columns, name=name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _own(relation: Any) -> Any:
    return relation.own() if isinstance(relation, Deferred) else relation


def _are_expressions(items: Iterable[Any]) -> bool:
    return all(isinstance(item, duckdb.Expression) for item in items)


def _listed(items: Iterable[Any]) -> str:
    return ", ".join(item.as_select() for item in items)


def _do(name: str) -> Callable[..., Any]:
    def do(self: Deferred, *arguments: Any, **options: Any) -> Any:
        return getattr(self.own(), name)(*map(_own, arguments), **options)

    return do


def _ask(name: str) -> property:
    def ask(self: Deferred) -> Any:
        return getattr(self.own(), name)

    return property(ask)


def _delegate_all() -> None:
    """Whatever else a relation can do is done by DuckDB's own."""
    for name, member in vars(duckdb.DuckDBPyRelation).items():
        public = not name.startswith("_") or name in ("__len__", "__contains__", "__getitem__", "__str__", "__repr__")
        if not public or name in vars(Deferred):
            continue
        if isinstance(member, property):
            setattr(Deferred, name, _ask(name))
        elif callable(member):
            setattr(Deferred, name, _do(name))


_delegate_all()
