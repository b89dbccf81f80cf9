"""The verdicts on an approved file."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from recon.charts.chart import Chart
from recon.charts.runs import bars
from recon.charts.theme import BLUE, GREY, VERMILION, titled
from recon.report.words import plural

if TYPE_CHECKING:
    from recon.resubscribe.jobs import Resubscribed

_VERDICTS = {"accepted": BLUE, "rejected": VERMILION, "no_op": GREY}
_NO_CODE = "nothing against it"


def verdicts(done: Resubscribed) -> Chart:
    """The rows of an approved file by verdict code; a row with several codes stands under each of them."""
    import pandas as pd

    found = done.planned.check.checked.verdicts.select(["verdict", "codes"]).to_pylist()
    by_verdict = Counter(row["verdict"] for row in found)
    counted = Counter(
        (code, row["verdict"])
        for row in found
        for code in ((row["codes"] or "").split(";") if row["codes"] else [_NO_CODE])
    )
    order = sorted(
        {code for code, _ in counted},
        key=lambda code: (code != _NO_CODE, -sum(counted[code, v] for v in _VERDICTS), code),
    )
    rows = [
        {"code": code, "verdict": verdict, "rows": counted[code, verdict]}
        for code in order
        for verdict in _VERDICTS
        if counted[code, verdict]
    ]
    told = (
        f"{plural(len(found), 'row', 'rows')}: "
        + ", ".join(f"{by_verdict[verdict]:,} {verdict}" for verdict in _VERDICTS)
        + "."
    )

    def draw(alt: Any) -> Any:
        return bars(alt, rows, "code", order, "verdict", _VERDICTS, "rows", "verdict").properties(
            title=titled(alt, "What the policy says of the approved rows", [told])
        )

    return Chart(
        "verdicts",
        "Approved rows, by verdict code",
        told,
        pd.DataFrame(rows, columns=["code", "verdict", "rows"]),
        draw,
    )
