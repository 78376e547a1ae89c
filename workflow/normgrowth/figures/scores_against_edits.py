"""Editing scores along the run: of all edits so far at each checkpoint, and of each edit just after it was made."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from normgrowth import seeds
from normgrowth.analysis.edit_scores import PARTS_OF_S, SPECIFICITY, harmonic_mean, has_specificity
from normgrowth.analysis.intervals import bootstrap_means, percentile_interval
from normgrowth.figures import grid, panels, series
from normgrowth.figures.curves import ASIDE, draw_line
from normgrowth.figures.grid import lay_out
from normgrowth.figures.series import Line
from normgrowth.figures.style import UNEDITED_COLOUR, Look, Style

NAMES = ("efficacy (ES)", "paraphrase (PS)", "neighbourhood (NS)", "harmonic mean (S)", "specificity (RS)")
"""Names of the scores that `retained` returns, in its order; RS, the last, only where facts have it."""

RESAMPLES = 1000
UNEDITED_LOOK = Look(UNEDITED_COLOUR, "o", "none")


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `scores`."""
    scores = series.edited_runs(tables["scores"], "scores")
    layout = lay_out(style, shown(scores), scores, grid.grid_by_model, sharey=True)
    for model in layout.models:
        mine = scores[scores["model"] == model]
        ours = [panel for panel in layout.panels if panel.model == model]
        point = retained(mine[mine["moment"] == "unedited"])
        for panel in ours:
            draw_line(panel.axes, Line(point[panel.row]), UNEDITED_LOOK)
        for editor in layout.editors:
            chosen = mine[mine["editor"] == editor]
            look = style.look(editor)
            kept, immediate = retained(chosen[chosen["moment"] != "unedited"]), at_once(chosen)
            for panel in ours:
                if (editor, True) in panel.lines:
                    draw_line(panel.axes, Line(kept[panel.row]), look, thinly=True)
                if editor not in panel.editors:
                    continue
                longest = mine["step"].max()
                aside = panel.shift(editor, longest, ASIDE) if layout.split else 0.0
                draw_line(panel.axes, Line(kept[panel.row]), look, aside=aside)
                # Hollow markers stand a little apart, so that editors that all succeed do not hide each other.
                shift = panel.shift(editor, longest, 0.012)
                once = immediate[panel.row]
                hollow: dict[str, Any] = {
                    "marker": look.marker,
                    "markerfacecolor": "white",
                    "linestyle": "none",
                    "zorder": 5,
                }
                panel.axes.plot(once.index + shift, once["mean"], color=look.colour, **hollow)
    for panel in layout.panels:
        panel.axes.set_ylim(-0.03, 1.05)
        panel.axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        panels.edits_axis(panel.axes, label=grid.at_bottom(panel.axes))
        panel.axes.set_xlim(left=-0.03 * scores["step"].max())
    once = Line2D([], [], color="#333333", marker="o", markerfacecolor="white", ls="none", label="just edited")
    return layout.finish(
        style, [once], [Line2D([], [], color=UNEDITED_COLOUR, marker="o", ls="none", label="unedited")]
    )


def shown(scores: pd.DataFrame) -> tuple[str, ...]:
    """Names of the scores that these rows of table `scores` have."""
    return NAMES if has_specificity(scores) else NAMES[:-1]


def retained(scores: pd.DataFrame) -> list[pd.DataFrame]:
    """ES, PS, NS, S and RS of the unedited model and of edited facts at each checkpoint.

    Args:
        scores: rows of table `scores` of one model and editor.

    Returns:
        One frame per score, in the order of `NAMES`: columns `mean`, `low` and `high` by step.
    """
    kept = scores[scores["moment"].isin(["unedited", "retention", "final"])]
    # A last checkpoint may be scored twice, as retention and as final: one row per case is kept.
    kept = kept.drop_duplicates(["order", "step", "case_id"], keep="last")
    return _with_intervals(kept.groupby("step"))


def at_once(scores: pd.DataFrame) -> list[pd.DataFrame]:
    """ES, PS, NS, S and RS just after each edit, over the edits since the checkpoint before; as `retained`."""
    steps = np.sort(scores.loc[scores["moment"].isin(["retention", "final"]), "step"].unique())
    immediate = scores[scores["moment"] == "immediate"]
    if not len(steps):
        steps = np.array([immediate["step"].max()]) if len(immediate) else steps
    if not len(steps):
        return [pd.DataFrame(columns=["mean", "low", "high"]) for _ in NAMES]
    number = np.searchsorted(steps, immediate["step"].to_numpy())
    reached = number < len(steps)
    return _with_intervals(immediate[reached].groupby(steps[number[reached]]))


def _with_intervals(groups: Iterable[tuple[int, pd.DataFrame]]) -> list[pd.DataFrame]:
    """Mean and bounds of each score by step, from groups of rows per step."""
    lines: list[dict[int, tuple]] = [{} for _ in NAMES]
    for step, rows in groups:
        cases = rows.groupby("case_id")[[*PARTS_OF_S, SPECIFICITY]].mean()
        draws = bootstrap_means(
            cases.to_numpy(), np.random.default_rng(seeds.derive(0, "scores", int(step))), RESAMPLES
        )
        means = cases.mean().to_numpy()
        for line, function in zip(lines, _FUNCTIONS, strict=True):
            line[step] = percentile_interval(float(function(means)), function(draws), len(cases))[:3]
    return [pd.DataFrame(list(line.values()), index=list(line), columns=["mean", "low", "high"]) for line in lines]


_N = len(PARTS_OF_S)
_FUNCTIONS = [
    *(lambda means, i=i: means[..., i] for i in range(_N)),
    lambda means: harmonic_mean(means[..., :_N]),
    lambda means: means[..., _N],
]
