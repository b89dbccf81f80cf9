"""A chart as a notebook shows it: for JupyterLab, for HTML, for ears, and the same bytes every time."""

from __future__ import annotations

import base64
import html
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

#: The version of Vega-Lite that draws, and the name under which notebooks know its charts. Altair writes for version 6, but JupyterLab brings
#: version 5 along; the charts use nothing that differs.
_VEGA_LITE = "5.20"
_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.20.1.json"
VEGA_LITE_TYPE = "application/vnd.vegalite.v5+json"
_SCALE = 2
# How much of a table is read out: a chart has a few dozen numbers at most.
_ROWS_TOLD = 60

_ROOT = re.compile(r"<svg [^>]*>")
_SIZE = re.compile(r'width="([0-9.]+)" height="([0-9.]+)"')
_IDS = re.compile(r'(?<=\bid=")[^"]+(?=")')


class Chart:
    """A chart, the numbers in it, and what it shows in words.

    Parameters
    ----------
    name
        Names its elements where several charts stand in one page; letters and hyphens.
    title, description
        What it shows: in a few words, and in one or two sentences with the numbers that matter.
    table
        Every number that is drawn.
    draw
        Takes the module altair and gives the chart in it. Called when the chart is shown.
    """

    def __init__(
        self, name: str, title: str, description: str, table: pd.DataFrame, draw: Callable[[Any], Any]
    ) -> None:
        self.name = name
        self.title = title
        self.description = description
        self.table = table
        self._draw = draw

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The chart in Vega-Lite, with its data."""
        import altair as alt

        from recon.charts.theme import config

        # Whatever theme a notebook has switched on: the same chart.
        with alt.theme.enable("none"):
            spec: dict[str, Any] = self._draw(alt).properties(description=self.alternative).to_dict()
        spec |= {"config": config(), "$schema": _SCHEMA}
        return spec

    @cached_property
    def svg(self) -> str:
        """The chart as SVG, with its text alternative."""
        import vl_convert

        drawn = vl_convert.vegalite_to_svg(self.spec, vl_version=_VEGA_LITE)
        # The renderer counts its ids through a process: two runs would differ, and two charts in a page share some.
        for number, old in enumerate(dict.fromkeys(_IDS.findall(drawn))):
            new = f"{self.name}-{number}"
            drawn = drawn.replace(f'id="{old}"', f'id="{new}"').replace(f"url(#{old})", f"url(#{new})")
        label = html.escape(self.alternative)
        root = _ROOT.match(drawn)
        assert root is not None
        opened = f'{root.group()[:-1]} role="img" aria-label="{label}" style="max-width:100%;height:auto">'
        return f"{opened}<desc>{html.escape(self._told())}</desc>{drawn[root.end() :]}"

    @cached_property
    def png(self) -> bytes:
        """The chart as PNG, in twice its size."""
        import vl_convert

        drawn: bytes = vl_convert.svg_to_png(self.svg, scale=_SCALE)
        return drawn

    @property
    def alternative(self) -> str:
        """What it shows, for who can't see it."""
        return f"{self.title}. {self.description}"

    def save(self, path: str | Path) -> Path:
        """Write the chart to a file.

        Parameters
        ----------
        path
            Ends in .svg or .png.

        Raises
        ------
        UsageError
            If it ends in something else.
        """
        target = Path(path)
        if target.suffix == ".svg":
            target.write_text(self.svg, encoding="utf-8", newline="\n")
        elif target.suffix == ".png":
            target.write_bytes(self.png)
        else:
            raise UsageError(
                f"a chart can't be written to {target.name}.", hint="Name a file that ends in .svg or .png."
            )
        return target

    def __repr__(self) -> str:
        return f"{self.title}\n{self.description}\n{self.table.to_string(index=False)}"

    def _told(self) -> str:
        """All numbers, as a sentence a row."""
        rows = self.table.head(_ROWS_TOLD).itertuples(index=False)
        told = [
            ", ".join(f"{name}: {value}" for name, value in zip(self.table.columns, row, strict=True)) for row in rows
        ]
        return ". ".join([self.description.rstrip("."), *told]) + "."

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, Any], dict[str, Any]]:
        # JupyterLab takes the first; SVG is for HTML; PNG is what it shows of notebooks that it doesn't trust.
        size = _SIZE.search(self.svg)
        assert size is not None
        data = {
            VEGA_LITE_TYPE: self.spec,
            "image/svg+xml": self.svg,
            "image/png": base64.b64encode(self.png).decode(),
            "text/plain": repr(self),
        }
        metadata = {
            # No menu: it would open the data in an editor on the web.
            VEGA_LITE_TYPE: {"embed_options": {"actions": False, "renderer": "svg"}},
            "image/svg+xml": {"isolated": False},
            "image/png": {"alt": self.alternative, "width": round(float(size[1])), "height": round(float(size[2]))},
        }
        return data, metadata
