"""An HTML page as the tests look at it: elements, tables and text, by the standard library's parser."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "link", "img", "hr", "input", "col", "wbr", "base", "area", "embed", "source", "track"}


@dataclass
class Table:
    caption: str = ""
    head: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    def row(self, begins: str) -> list[str]:
        """The only row whose first cell begins so."""
        (found,) = [row for row in self.rows if row[0].startswith(begins)]
        return found


class Page(HTMLParser):
    """Parses at once; raises on an element that isn't closed where it must be."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.tables: list[Table] = []
        self.text = ""
        self.style = ""
        self.script = ""
        self.ids: list[str] = []
        self.declarations: list[str] = []
        self.comments: list[str] = []
        self.scrolled: list[bool] = []
        self.feed(html)
        self.close()
        if self.open:
            raise AssertionError(f"not closed: {self.open}")

    def handle_decl(self, decl: str) -> None:
        self.declarations.append(decl)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice in {tag}: {names}"
        self.elements.append((tag, dict(attrs)))
        if (own := dict(attrs).get("id")) is not None:
            self.ids.append(own)
        if tag in VOID:
            return
        self.open.append(tag)
        if tag == "table":
            self.tables.append(Table())
            self.scrolled.append("div" in self.open and self._in_scroll_box())
        elif tag == "tr" and "thead" not in self.open:
            self.tables[-1].rows.append([])
        elif tag in {"td", "th"}:
            (self.tables[-1].head if "thead" in self.open else self.tables[-1].rows[-1]).append("")

    def _in_scroll_box(self) -> bool:
        boxes = [attrs for tag, attrs in self.elements if tag == "div"]
        last = boxes[-1]
        return last.get("tabindex") == "0" and last.get("role") == "region" and bool(last.get("aria-label"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a beginning"
        assert self.open[-1] == tag, f"</{tag}> closes {self.open[-1]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            self.style += data
            return
        if "script" in self.open:
            self.script += data
            return
        self.text += data
        if "caption" in self.open:
            self.tables[-1].caption += data
        elif self.open and {"td", "th"} & set(self.open):
            cells = self.tables[-1].head if "thead" in self.open else self.tables[-1].rows[-1]
            cells[-1] += data

    def table(self, begins: str) -> Table:
        """The only table whose caption begins so."""
        (found,) = [table for table in self.tables if table.caption.strip().startswith(begins)]
        return found

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a kind."""
        return [attrs for name, attrs in self.elements if name == tag]
