"""Tables of the report: editors side by side at the end of their runs, and which explanation orders them by damage."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from normgrowth.analysis.effects import FEWEST_PAIRS
from normgrowth.analysis.explanations import EXPLANATIONS, Ranking, rank_explanations
from normgrowth.analysis.intervals import Interval
from normgrowth.analysis.side_by_side import COLUMNS, HIGH, LOW, Column, at_the_end, side_by_side
from normgrowth.claims.verdict import count
from normgrowth.editors.families import PLURAL, family_of
from normgrowth.report.cells import Cell, Table, known, measured, percent, points, whole

NOTE = (
    "At the last checkpoint of each run, least damage first; means over edit orders, × to the unedited model. What was "
    "not measured has no column."
)

IN_POINTS = ("s_lost",)
"""Differences of shares, shown in points of percent with their sign."""

ALIKE = "none of them differs from editor to editor"
"""Why nothing is told of enough editors."""

WITH_INTERVAL = ("perplexity_ratio",)
"""Columns that show their 95% interval beside the mean."""

MEANINGS = {
    "edits": "Edits made, one after the other.",
    "orders": "Edit orders that the numbers are means over.",
}


def side_by_side_tables(tables: Mapping[str, pd.DataFrame]) -> list[Table]:
    """One table for each model; what the columns mean stands with the first.

    Args:
        tables: those of `analysis.side_by_side.side_by_side`.
    """
    ends = at_the_end(side_by_side(tables))
    names = [name for name in COLUMNS if ends[name].notna().any()]
    models = sorted(ends["model"].unique())
    return [_of_model(model, ends[ends["model"] == model], names, first=model == models[0]) for model in models]


def best_explanation(ranking: Ranking) -> str:
    """The sentence on which explanation orders the editors of a model best by damage, and how sure that is."""
    best, editors = ranking.best, count(ranking.editors, "editor")
    if best is None:
        few = f"{editors} with all columns, and {FEWEST_PAIRS} are needed" if ranking.editors < FEWEST_PAIRS else ALIKE
        return f"Which explanation orders the editors best by damage cannot be told: {few}."
    rho = f"rank correlation {_value(best.over_editors)}{_bounds(best.over_editors)}"
    said = f"Over {editors}, {EXPLANATIONS[best.name]} orders damage to perplexity best: {rho}"
    values = {
        entry.name: f"{EXPLANATIONS[entry.name]} ({_value(entry.over_editors)})" for entry in ranking.explained[1:]
    }
    if ranking.undistinguished:
        alike = ", ".join(values[name] for name in ranking.undistinguished)
        said += f"; resampling the editors does not tell it from {alike}"
    elif not ranking.told:
        said += "; its interval holds 0"
    elif values:
        said += f", surely better than {', '.join(values.values())}"
    families = best.over_families
    if np.isfinite(families.estimate):
        said += f". Over {families.n} families, each counted once, its rank correlation is {_value(families)}"
    return f"{said}. What goes together need not cause each other."


def _bounds(interval: Interval) -> str:
    return f" ({interval.low:+.2f} to {interval.high:+.2f})" if interval.bounded else ""


def _value(interval: Interval) -> str:
    return f"{interval.estimate:+.2f}" if np.isfinite(interval.estimate) else "none"


def _of_model(model: str, rows: pd.DataFrame, names: list[str], first: bool) -> Table:
    shown = [
        [
            Cell(row["editor"]),
            Cell(PLURAL[family_of(row["editor"])]),
            *(_cell(row, name, COLUMNS[name]) for name in names),
            whole(row["step"]),
            whole(row["orders"]),
        ]
        for row in rows.to_dict("records")
    ]
    meanings = {COLUMNS[name].heading: COLUMNS[name].meaning for name in names} | MEANINGS
    return Table(
        f"Editors side by side: {model}",
        f"{NOTE * first} {best_explanation(rank_explanations(rows))}".strip(),
        2,
        ("editor", "family", *meanings),
        {"": shown},
        meanings=meanings if first else {},
        sorted_by=COLUMNS["perplexity_ratio"].heading if "perplexity_ratio" in names else None,
    )


def _cell(row: Mapping[str, float], name: str, column: Column) -> Cell:
    """A number with as many digits as its kind has, and its interval where the column shows it."""
    value = row[name]
    if np.isinf(value):
        return measured(np.nan)
    if name in IN_POINTS:
        return points(known(value))
    if column.kind == "share":
        return percent(known(value))
    bounds = [row[name + LOW], row[name + HIGH]]
    if name not in WITH_INTERVAL or not np.isfinite(bounds).all():
        return _decimals(value)
    return Cell(f"{_decimals(value).text} ({' to '.join(_decimals(bound).text for bound in bounds)})", float(value))


def _decimals(value: float) -> Cell:
    """A number with three decimals below ten: norms of two editors may differ by thousandths."""
    return Cell(f"{value:.3f}", float(value)) if abs(value) < 10 else measured(known(value))
