"""What if the sync were off, or the opt-out were the other field? The reconciliation twice, and what differs."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw

from recon.categories import CATEGORIES
from recon.engine import engine_named, to_pandas
from recon.errors import UsageError
from recon.explore.borrowed import Borrowed
from recon.explore.find import frame_of, refuse_frames
from recon.notebook_table import table_html
from recon.reconcile import reconcile
from recon.report.mask import mask_address, mask_within, visible
from recon.rows import with_system
from recon.tables import RECORDS

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from recon.engine import Engine, Frame
    from recon.jobs import Data
    from recon.reconcile import Reconciliation
    from recon.settings import Settings

#: Changed records that are listed; all of them are counted.
MOST_CHANGED = 1000
_CHANGED = (
    *("system", "id", "object", "email"),
    *(f"{name}_{side}" for name in ("opted_out", "predicted", "category") for side in ("now", "then")),
)
_SHOWN = 20
_FIELDS = {
    "standard": ["has_opted_out_of_email"],
    "custom": ["sales_opt_out"],
    "both": ["has_opted_out_of_email", "sales_opt_out"],
}
_NAMES = {"has_opted_out_of_email": "HasOptedOutOfEmail", "sales_opt_out": "the custom opt-out field"}


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The difference that other settings would make. A notebook shows it as a page; printing it gives lines.

    Attributes
    ----------
    now, then
        The settings that matter, in words.
    categories
        One row a category: `category`, `now`, `then`, `change`, in records.
    totals
        One row a number of the whole: `what`, `now`, `then`, `change`.
    changed
        Records whose flag after the next nightly run, or whose category, would be another: `system`, `id`, `object`, `email`, `opted_out_now`,
        `opted_out_then`, `predicted_now`, `predicted_then`, `category_now`, `category_then`. At most `MOST_CHANGED`, by system and id;
        first those whose flag would differ. Holds addresses.
    changed_records, changed_predictions
        How many there are in all, and of how many the flag after the next nightly run would be another.
    notes
        What to keep in mind.
    show_addresses
        Are addresses shown in full?
    """

    now: str
    then: str
    categories: pd.DataFrame
    totals: pd.DataFrame
    changed: pd.DataFrame
    changed_records: int
    changed_predictions: int
    notes: tuple[str, ...]
    show_addresses: bool = False

    def headline(self) -> str:
        """The answer in a sentence."""
        if self.now == self.then:
            return f"These are the settings in force ({self.now}): nothing would change."
        return (
            f"Now: {self.now}. Then: {self.then}. {self.changed_predictions:,} records would have another flag after "
            f"the next nightly run; {self.changed_records:,} another flag or another category."
        )

    def shown(self) -> pd.DataFrame:
        """The first changed records, as they are shown."""
        frame = self.changed.head(_SHOWN).copy()
        text = (lambda value: value) if self.show_addresses else mask_within
        frame["id"] = [visible(text(each)) for each in frame["id"]]
        frame["email"] = [
            visible((each if self.show_addresses else mask_address(each)) if isinstance(each, str) else "")
            for each in frame["email"]
        ]
        for name in ("category_now", "category_then"):
            frame[name] = frame[name].fillna("")
        if frame["opted_out_now"].equals(frame["opted_out_then"]):
            frame = frame.drop(columns=["opted_out_now", "opted_out_then"])
        return frame.rename(columns=lambda name: name.replace("predicted", "after the run").replace("_", " "))

    def __repr__(self) -> str:
        parts = [self.headline(), self.totals.to_string(index=False), self.categories.to_string(index=False)]
        if len(self.changed):
            parts.append(self.shown().to_string(index=False))
        return "\n\n".join([*parts, *self.notes])

    def _repr_html_(self) -> str:
        parts = [f"<p>{html.escape(self.headline())}</p>", table_html(self.totals), table_html(self.categories)]
        if len(self.changed):
            parts += [
                f"<p>The first {min(_SHOWN, len(self.changed)):,} of the records that would change:</p>",
                table_html(self.shown()),
            ]
        parts += [f"<p>{html.escape(note)}</p>" for note in self.notes]
        return f'<div class="recon-what-if">{"".join(parts)}</div>'


def compare(
    data: Data,
    settings: Settings,
    *,
    sync_enabled: bool | None,
    opt_out_field: str | None,
    show_addresses: bool,
    engine: Engine | None = None,
) -> WhatIf:
    """Reconcile with the settings in force and with others, and compare.

    Parameters
    ----------
    data
        As frames of `engine`, or as tables.
    sync_enabled, opt_out_field
        The other settings; None leaves one as it is.
    engine
        Where to reconcile; by default in an engine of its own, within the memory that is set. What else is held there stays.

    Raises
    ------
    UsageError
        If the data doesn't hold the field, or are frames and no engine is given.
    SettingsError
        If there is no such field.
    """
    other: dict[str, dict[str, Any]] = {}
    if sync_enabled is not None:
        other["sync"] = {"enabled": sync_enabled}
    if opt_out_field is not None:
        other["salesforce"] = {"opt_out_field": opt_out_field}
    changed_settings = settings.with_values(**other)
    same_field = changed_settings.salesforce.opt_out_field == settings.salesforce.opt_out_field
    if engine is None:
        refuse_frames(data)
        engine = engine_named("auto", memory=settings.run.memory, spill=settings.run.spill)
    lent = Borrowed(engine)
    records = data.records
    if not same_field:
        records = frame_of(records, RECORDS, lent)
        records = _with_field(records, changed_settings.salesforce.opt_out_field, lent)
    # Which Leads a resubscribe has answered tells who mends a record, not its flag or its category: it needn't be asked for here.
    now = lent.hold(_side(reconcile(data.people, data.records, settings, engine=lent), "now"))
    # Of each reconciliation only flags and categories are compared: the rest would take as much room again as the next one.
    lent.release(now)
    result = reconcile(data.people, records, changed_settings, engine=lent)
    # The same rows in the same order, so the same numbers.
    both = lent.hold(now.join(_side(result, "then"), on="n", how="inner"))
    lent.drop(now)
    differs = nw.col("predicted_now") != nw.col("predicted_then")
    moved = nw.col("category_now").fill_null("") != nw.col("category_then").fill_null("")
    rows = lent.hold(both.filter(differs | moved).with_columns(_first=~differs))
    first = _named(lent.hold(rows.sort("_first", "n").head(MOST_CHANGED)), result, lent)
    lent.release(both, rows)
    counted = lent.collect(
        rows.select(nw.len().alias("all"), (~nw.col("_first")).cast(nw.Int64).sum().alias("predictions"))
    ).to_pylist()[0]
    notes = ["Only the settings differ: the same snapshot, and nothing was written."]
    if not same_field:
        notes.append(
            "Dates of opt-outs come from the history of the field that was pulled; where the other field says something else, the date is unknown, "
            "and so is when that is due."
        )
    names = [each.name for each in CATEGORIES]
    counts = [_counts(lent, both, f"category_{side}") for side in ("now", "then")]
    totals = _totals(lent, both)
    lent.release()
    shown = [name for name in names if any(each.get(name) for each in counts)]
    return WhatIf(
        now=_told(settings),
        then=_told(changed_settings),
        categories=_compared("category", [(name, *(each.get(name, 0) for each in counts)) for name in shown]),
        totals=_compared("what", totals),
        changed=to_pandas(first),
        changed_records=counted["all"] or 0,
        changed_predictions=counted["predictions"] or 0,
        notes=tuple(notes),
        show_addresses=show_addresses,
    )


def _told(settings: Settings) -> str:
    return f"sync {'on' if settings.sync.enabled else 'off'}, opt-out field {settings.salesforce.opt_out_field}"


def _with_field(records: Frame, field: str, engine: Engine) -> Frame:
    """The records with the flag of another field."""
    live = ~nw.col("is_deleted")
    unknown = [(live & nw.col(name).is_null()).cast(nw.Int64).alias(name) for name in _FIELDS[field]]
    counted = engine.collect(records.select(*unknown).select(*(nw.col(name).sum() for name in _FIELDS[field])))
    for name, number in counted.to_pylist()[0].items():
        if number:
            raise UsageError(
                f"the snapshot doesn't say of {number:,} records what {_NAMES[name]} holds.",
                hint="Export or pull both fields (field-level security may hide one), then ask again.",
            )
    # Of deleted records it may be unknown; they take no part.
    flags = [nw.col(name).fill_null(value=False) for name in _FIELDS[field]]
    flag = flags[0] if len(flags) == 1 else flags[0] | flags[1]
    same = flag == nw.col("opted_out")
    dates = [nw.when(same).then(nw.col(name)).alias(name) for name in ("opted_out_at", "resubscribed_at")]
    return records.with_columns(*dates, opted_out=flag)


def _side(result: Reconciliation, name: str) -> Frame:
    """What is compared of one side: numbers, flags, category."""
    found = result.rows.keys.select("n", "is_converted")
    told = result.actions_frame.select("n", nw.col("category").alias(f"category_{name}"))
    rows = result.merged_frame.join(found, on="n", how="left").join(told, on="n", how="left")
    mailable = ~nw.col("opted_out") & nw.col("merged_opted_out") & ~nw.col("is_converted")
    return rows.select(
        "n",
        nw.col("opted_out").alias(f"opted_out_{name}"),
        nw.col("predicted_opted_out").alias(f"predicted_{name}"),
        f"category_{name}",
        mailable.alias(f"mailable_{name}"),
    )


def _named(first: Frame, result: Reconciliation, engine: Engine) -> pa.Table:
    """The rows that are listed, with the texts of their records."""
    texts = with_system(result.rows.texts_of(first))
    found = engine.collect(texts.select("_first", "n", *_CHANGED))
    return found.sort_by([("_first", "ascending"), ("n", "ascending")]).select(_CHANGED)


def _counts(engine: Engine, both: Frame, column: str) -> dict[str, int]:
    counted = both.filter(~nw.col(column).is_null()).group_by(column).agg(nw.len().alias("number"))
    return {row[column]: row["number"] for row in engine.collect(counted).to_pylist()}


def _totals(engine: Engine, both: Frame) -> list[tuple[str, int, int]]:
    told = {
        "records that are opted out": "opted_out_{}",
        "records that the next nightly run opts out": "set_{}",
        "records that could be mailed although the person opted out": "mailable_{}",
        "of these, still the morning after the next run": "left_{}",
        "records that need action": "action_{}",
    }
    sums: dict[str, Any] = {}
    for side in ("now", "then"):
        out, after, mailable = (nw.col(f"{name}_{side}") for name in ("opted_out", "predicted", "mailable"))
        sums |= {
            f"opted_out_{side}": out,
            f"set_{side}": after & ~out,
            f"mailable_{side}": mailable,
            f"left_{side}": mailable & ~after,
            f"action_{side}": ~nw.col(f"category_{side}").is_null(),
        }
    marked = both.select(*(mark.cast(nw.Int64).alias(f"_{name}") for name, mark in sums.items()))
    row = engine.collect(marked.select(*(nw.col(f"_{name}").sum().alias(name) for name in sums))).to_pylist()[0]
    return [(words, *(int(row[name.format(side)] or 0) for side in ("now", "then"))) for words, name in told.items()]  # type: ignore[misc]


def _compared(name: str, rows: list[Any]) -> pd.DataFrame:
    import pandas as pd

    rows = [(*row, row[2] - row[1]) for row in rows]
    return pd.DataFrame(rows, columns=[name, "now", "then", "change"])
