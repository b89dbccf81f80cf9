"""SOQL, read: a tokenizer and a parser for the part of the language that the sandbox answers.

``SELECT fields | COUNT() | COUNT(field) FROM object [WHERE …] [ORDER BY …] [LIMIT n] [OFFSET n]``. Everything else is refused with
MALFORMED_QUERY, never passed over. Source of the grammar: Salesforce, SOQL and SOSL Reference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Literal, NoReturn

from recon.sandbox.salesforce.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_LENGTH = 100_000
_MAX_DEPTH = 50

Kind = Literal["name", "string", "number", "datetime", "date", "op", "end"]

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>'(?:[^'\\]|\\.)*')
    |(?P<datetime>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))
    |(?P<date>\d{4}-\d\d-\d\d)(?![\w:])
    |(?P<number>[+-]?\d+(?:\.\d+)?)(?![\w.:-])
    |(?P<name>[A-Za-z]\w*(?:\.[A-Za-z]\w*)*)
    |(?P<op><>|!=|<=|>=|[=<>(),])""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}
_KEYWORDS = {
    "select",
    "from",
    "where",
    "order",
    "limit",
    "offset",
    "and",
    "or",
    "not",
    "in",
    "like",
    "null",
    "true",
    "false",
}


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `at` is where it starts in the query."""

    kind: Kind
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Value:
    """A literal. `value` is text, a number, a flag, a moment, a day or None; `pattern` is a string's form for LIKE."""

    kind: Literal["string", "number", "boolean", "datetime", "date", "null"]
    value: str | float | bool | datetime | date | None
    at: int
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Path:
    """A field, or a parent's field like ``Lead.Email``."""

    parts: tuple[str, ...]
    at: int

    def __str__(self) -> str:
        return ".".join(self.parts)


@dataclass(frozen=True, slots=True)
class Comparison:
    """``path op value``; for ``in`` and ``not in`` there are several values."""

    path: Path
    op: Literal["=", "!=", "<", "<=", ">", ">=", "like", "in", "not in"]
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Conditions joined by one word, or one negated."""

    op: Literal["and", "or", "not"]
    items: tuple[Condition, ...]


Condition = Comparison | Group


@dataclass(frozen=True, slots=True)
class Order:
    """One sort key."""

    path: Path
    descending: bool
    nulls_last: bool


@dataclass(slots=True)
class Query:
    """A query as it was written.

    Attributes
    ----------
    count
        None for rows, ``()`` for ``COUNT()``, else the counted path and its alias or None.
    """

    text: str
    sobject: str = ""
    sobject_at: int = 0
    fields: list[Path] = field(default_factory=list)
    count: tuple[()] | tuple[Path, str | None] | None = None
    where: Condition | None = None
    order: list[Order] = field(default_factory=list)
    limit: int | None = None
    offset: int | None = None


def complain(text: str, at: int, message: str, code: str = "MALFORMED_QUERY") -> Fault:
    """A refusal in Salesforce's form: the words around the place, a caret, row and column, the reason."""
    start, end = max(0, at - 30), min(len(text), at + 30)
    line = " ".join(text[start:end].split("\n"))
    row = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    return Fault(400, code, f"\n{line}\n{' ' * (at - start)}^\nERROR at Row:{row}:Column:{column}\n{message}")


def tokenize(text: str) -> list[Token]:
    """The query's tokens, with an end token.

    Raises
    ------
    Fault
        ``MALFORMED_QUERY``.
    """
    tokens = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise complain(text, at, f"unexpected token: '{text[at]}'")
        kind = match.lastgroup
        if kind != "space":
            tokens.append(Token(_KINDS[kind], match.group(), at))
        at = match.end()
    tokens.append(Token("end", "<EOF>", len(text)))
    return tokens


_KINDS: dict[str, Kind] = {
    "string": "string",
    "datetime": "datetime",
    "date": "date",
    "number": "number",
    "name": "name",
    "op": "op",
}


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.at = 0

    @property
    def here(self) -> Token:
        return self.tokens[self.at]

    def fail(self, message: str | None = None) -> NoReturn:
        raise complain(self.text, self.here.at, message or f"unexpected token: '{self.here.text}'")

    def take(self) -> Token:
        token = self.here
        self.at += 1
        return token

    def word(self, *words: str) -> bool:
        """Take these keywords, if they come next."""
        for n, word in enumerate(words):
            token = self.tokens[min(self.at + n, len(self.tokens) - 1)]
            if token.kind != "name" or token.text.lower() != word:
                return False
        self.at += len(words)
        return True

    def op(self, text: str) -> bool:
        """Take this sign, if it comes next."""
        if self.here.kind == "op" and self.here.text == text:
            self.at += 1
            return True
        return False

    def expect(self, found: object) -> None:
        if not found:
            self.fail()

    def path(self) -> Path:
        token = self.here
        if token.kind != "name" or token.text.lower() in _KEYWORDS:
            self.fail()
        self.at += 1
        return Path(tuple(token.text.split(".")), token.at)

    def query(self) -> Query:
        query = Query(self.text)
        self.expect(self.word("select"))
        self.select(query)
        self.expect(self.word("from"))
        query.sobject_at = self.here.at
        name = self.path()
        if len(name.parts) > 1:
            raise complain(self.text, name.at, f"unexpected token: '{name}'")
        query.sobject = name.parts[0]
        if self.word("where"):
            query.where = self.condition(0)
        if self.word("order", "by"):
            query.order.append(self.sort_key())
            while self.op(","):
                query.order.append(self.sort_key())
        if self.word("limit"):
            query.limit = self.count_literal()
        if self.word("offset"):
            query.offset = self.count_literal()
        if self.here.kind != "end":
            self.fail()
        return query

    def select(self, query: Query) -> None:
        following = self.tokens[min(self.at + 1, len(self.tokens) - 1)].text
        if following == "(" and self.word("count"):
            self.expect(self.op("("))
            if self.op(")"):
                query.count = ()
                return
            counted = self.path()
            self.expect(self.op(")"))
            alias = None
            if self.here.kind == "name" and self.here.text.lower() not in _KEYWORDS:
                alias = str(self.path())
            query.count = (counted, alias)
            return
        query.fields.append(self.path())
        while self.op(","):
            query.fields.append(self.path())

    def condition(self, depth: int) -> Condition:
        if depth > _MAX_DEPTH:
            self.fail("the filter is nested too deeply")
        if self.word("not"):
            return Group("not", (self.simple(depth),))
        first = self.simple(depth)
        joined: list[Condition] = [first]
        word: Literal["and", "or"]
        for word in ("and", "or"):
            # One level holds one kind of word: a AND b OR c needs parentheses, as in Salesforce.
            while self.word(word):
                joined.append(self.simple(depth))
            if len(joined) > 1:
                return Group(word, tuple(joined))
        return first

    def simple(self, depth: int) -> Condition:
        if self.op("("):
            inner = self.condition(depth + 1)
            self.expect(self.op(")"))
            return inner
        path = self.path()
        if self.word("not", "in"):
            return Comparison(path, "not in", self.value_list())
        if self.word("in"):
            return Comparison(path, "in", self.value_list())
        if self.word("like"):
            return Comparison(path, "like", (self.value(),))
        token = self.here
        operators: dict[str, Literal["=", "!=", "<", "<=", ">", ">="]] = {
            "=": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=",
        }  # fmt: skip
        if token.kind != "op" or token.text not in operators:
            self.fail()
        self.at += 1
        return Comparison(path, operators[token.text], (self.value(),))

    def value_list(self) -> tuple[Value, ...]:
        self.expect(self.op("("))
        values = [self.value()]
        while self.op(","):
            values.append(self.value())
        self.expect(self.op(")"))
        return tuple(values)

    def value(self) -> Value:
        token = self.here
        readers: dict[str, Callable[[Token], Value]] = {
            "string": self.string,
            "number": lambda token: Value("number", float(token.text), token.at),
            "datetime": self.moment,
            "date": self.day,
            "name": self.constant,
        }
        if token.kind not in readers:
            self.fail()
        value = readers[token.kind](token)
        self.at += 1
        return value

    def constant(self, token: Token) -> Value:
        word = token.text.lower()
        if word not in ("true", "false", "null"):
            self.fail()
        if word == "null":
            return Value("null", None, token.at)
        return Value("boolean", word == "true", token.at)

    def string(self, token: Token) -> Value:
        plain, pattern = [], []
        chars = iter(token.text[1:-1])
        for char in chars:
            if char != "\\":
                plain.append(char)
                pattern.append(char)
                continue
            escaped = next(chars)
            if escaped in "_%":
                plain.append(escaped)
                pattern.append("\\" + escaped)
            elif escaped in _ESCAPES:
                plain.append(_ESCAPES[escaped])
                pattern.append("\\\\" if escaped == "\\" else _ESCAPES[escaped])
            else:
                self.fail(f"Illegal character sequence '\\{escaped}' in string literal")
        return Value("string", "".join(plain), token.at, "".join(pattern))

    def moment(self, token: Token) -> Value:
        try:
            return Value("datetime", datetime.fromisoformat(token.text).astimezone(UTC), token.at)
        except (ValueError, OverflowError):
            self.fail(f"Invalid datetime: {token.text}")

    def day(self, token: Token) -> Value:
        try:
            return Value("date", date.fromisoformat(token.text), token.at)
        except ValueError:
            self.fail(f"Invalid date: {token.text}")

    def sort_key(self) -> Order:
        path = self.path()
        descending = False
        if not self.word("asc"):
            descending = self.word("desc")
        nulls_last = False
        if self.word("nulls"):
            nulls_last = self.word("last")
            if not nulls_last:
                self.expect(self.word("first"))
        return Order(path, descending, nulls_last)

    def count_literal(self) -> int:
        token = self.here
        if token.kind != "number" or not token.text.isdigit() or len(token.text) > 9:
            self.fail()
        self.at += 1
        return int(token.text)


def parse(text: str) -> Query:
    """Read a query.

    Raises
    ------
    Fault
        ``MALFORMED_QUERY``, with the place.
    """
    if len(text) > MAX_LENGTH:
        raise Fault(400, "MALFORMED_QUERY", f"SOQL statements can't be longer than {MAX_LENGTH} characters")
    if not text.strip():
        raise Fault(400, "MALFORMED_QUERY", "SOQL statement is empty")
    return _Parser(text).query()
