"""What other settings would change, as a chart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recon.charts.chart import Chart
from recon.charts.theme import BLUE, GREY, WIDTH, titled, whole

if TYPE_CHECKING:
    from recon.explore import WhatIf

_SHAPES = {"now": ("circle", GREY), "then": ("diamond", BLUE)}


def compared(what_if: WhatIf) -> Chart:
    """Records that need action by category: with the settings in force, and with the others."""
    frame = what_if.categories
    names = list(frame["category"])
    rows = [
        {"category": name, "settings": side, "records": int(number)}
        for side in _SHAPES
        for name, number in zip(names, frame[side], strict=True)
    ]
    pairs = [
        {
            "category": n,
            "now": int(a),
            "then": int(b),
            "end": int(max(a, b)),
            "change": f"{a:,}" if a == b else f"{a:,} → {b:,}",
        }
        for n, a, b in zip(names, frame["now"], frame["then"], strict=True)
    ]
    lines = [f"now: {what_if.now}", f"then: {what_if.then}"]

    def draw(alt: Any) -> Any:
        order = alt.Y("category:N", sort=names, title=None, axis=alt.Axis(labelPadding=14))
        axis = whole(alt, (pair["end"] for pair in pairs), 6)
        across = alt.X("now:Q", title="records that need action", axis=axis)
        ends = (
            alt.Chart(alt.Data(values=pairs)).mark_text(align="left", dx=12).encode(y=order, x="end:Q", text="change:N")
        )
        way = (
            alt.Chart(alt.Data(values=pairs))
            .mark_rule(color=GREY, strokeWidth=2)
            .encode(y=order, x=across, x2="then:Q")
        )
        points = (
            alt.Chart(alt.Data(values=rows))
            .mark_point(filled=True, size=110, opacity=1)
            .encode(
                y=order,
                x=alt.X("records:Q", axis=axis),
                shape=alt.Shape(
                    "settings:N",
                    scale=alt.Scale(domain=list(_SHAPES), range=[shape for shape, _ in _SHAPES.values()]),
                    legend=alt.Legend(title=None),
                ),
                color=alt.Color(
                    "settings:N",
                    scale=alt.Scale(domain=list(_SHAPES), range=[colour for _, colour in _SHAPES.values()]),
                ),
                tooltip=["category:N", "settings:N", alt.Tooltip("records:Q", format=",")],
            )
        )
        return (way + points + ends).properties(
            width=WIDTH, height=alt.Step(28), title=titled(alt, "Records that need action, now and then", lines)
        )

    return Chart("compared", "Records that need action under other settings", f"{'; '.join(lines)}.", frame, draw)
