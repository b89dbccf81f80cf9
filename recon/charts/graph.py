"""The story of one record as a small graph: the person's records, whether they are opted out, and what joins them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recon.charts.chart import Chart
from recon.charts.layout import HEIGHT_OF_ROW, Drawn, lay_out
from recon.charts.theme import BLUE, GREEN, GREY, INK, PALE, PINK, VERMILION, titled

if TYPE_CHECKING:
    from recon.explore import Why

_WIDTH = 760
#: Colour, dashes and width: a kind can be told without its colour.
_KINDS = {
    "Salesforce ID": (BLUE, [1, 0]),
    "Salesforce ID, not synced": (PINK, [7, 3]),
    "became the Contact": (GREEN, [12, 3, 3, 3]),
    "same address": (GREY, [2, 3]),
}
_NOT_THERE = "not there"
#: Greys of their own in print: half dark, pale, white, black.
_STATES = {
    "opted out": VERMILION,
    "not yet: the next run opts it out": PALE,
    "not opted out": "#ffffff",
    _NOT_THERE: INK,
}
_SHAPES = {"Person": "circle", "Lead": "square", "Contact": "diamond", "no record": "cross"}


def links(why: Why, number: int = 0) -> Chart:
    """One person's records and what joins them, the way of the opt-out drawn thick.

    Parameters
    ----------
    why
        From `recon.explore.why`.
    number
        Which person, where it names several.
    """
    drawn = lay_out(why.persons[number], show_addresses=why.show_addresses) if why.persons else Drawn.nothing()
    told = drawn.told()
    lines = [drawn.left_out] if drawn.left_out else []

    def draw(alt: Any) -> Any:
        height = max(drawn.rows, 1) * HEIGHT_OF_ROW
        across = {"scale": alt.Scale(domain=[0, 1], nice=False), "axis": None}
        down = {"scale": alt.Scale(domain=[max(drawn.rows, 1) - 0.2, -0.6], nice=False), "axis": None}
        place = {"x": alt.X("x:Q", **across), "y": alt.Y("y:Q", **down)}
        edges = alt.Chart(alt.Data(values=drawn.edge_points)).encode(**place)
        kinds = [kind for kind in _KINDS if any(point["kind"] == kind for point in drawn.edge_points)]
        joined = alt.Legend(
            title="joined by", symbolType="stroke", symbolStrokeWidth=2, symbolSize=500, orient="bottom", columns=4
        )
        lines_ = edges.mark_line(strokeCap="butt").encode(
            detail="edge:N",
            order="step:Q",
            color=alt.Color(
                "kind:N", scale=alt.Scale(domain=kinds, range=[_KINDS[kind][0] for kind in kinds]), legend=joined
            ),
            strokeDash=alt.StrokeDash(
                "kind:N", scale=alt.Scale(domain=kinds, range=[_KINDS[kind][1] for kind in kinds]), legend=joined
            ),
            strokeWidth=alt.StrokeWidth(
                "thick:N", scale=alt.Scale(domain=["no", "yes"], range=[1.5, 4.5]), legend=None
            ),
        )
        layers = [lines_]
        hubs = alt.Chart(alt.Data(values=drawn.hubs)).encode(**place)
        if drawn.hubs:
            layers += [
                hubs.mark_point(filled=True, size=40, color=GREY, opacity=1),
                # Lines pass here: a white edge keeps the text readable.
                hubs.mark_text(dy=14, fontSize=11, stroke="white", strokeWidth=4).encode(text="label:N"),
                hubs.mark_text(dy=14, fontSize=11, color="#444444").encode(text="label:N"),
            ]
        nodes = alt.Chart(alt.Data(values=drawn.nodes)).encode(**place)
        states = [state for state in _STATES if any(node["state"] == state for node in drawn.nodes)]
        objects = [name for name in _SHAPES if any(node["object"] == name for node in drawn.nodes)]
        asked = alt.expr.if_(alt.datum.asked, 3, 1.2)
        layers.append(
            nodes.transform_calculate(ring=asked)
            .mark_point(filled=True, size=330, opacity=1, stroke=INK)
            .encode(
                shape=alt.Shape(
                    "object:N",
                    scale=alt.Scale(domain=objects, range=[_SHAPES[name] for name in objects]),
                    legend=None,
                ),
                fill=alt.Fill(
                    "state:N",
                    scale=alt.Scale(domain=states, range=[_STATES[state] for state in states]),
                    legend=alt.Legend(
                        title="state", orient="bottom", columns=4, symbolType=_symbols(alt), symbolStrokeColor=INK
                    ),
                ),
                strokeWidth=alt.StrokeWidth("ring:Q", scale=None, legend=None),
                tooltip=["record:N", "state:N", "label:N"],
            )
        )
        for side, align, shift in (("left", "right", -16), ("right", "left", 16)):
            of_side = nodes.transform_filter(alt.datum.side == side)
            layers += [
                of_side.mark_text(align=align, dx=shift, dy=-7, fontWeight="bold").encode(text="record:N"),
                of_side.mark_text(align=align, dx=shift, dy=8, fontSize=11, color="#444444").encode(text="label:N"),
            ]
        return (
            alt.layer(*layers)
            .properties(width=_WIDTH, height=height, title=titled(alt, "How the records hang together", lines))
            .resolve_scale(strokeWidth="independent")
        )

    return Chart("links", "How one person's records hang together", told, drawn.table(), draw)


def _symbols(alt: Any) -> Any:
    """The legend's sign of a state: a cross where there is no record, as it is drawn; any record may have the other states."""
    return alt.ExprRef(f"datum.label === '{_NOT_THERE}' ? '{_SHAPES['no record']}' : 'circle'")
