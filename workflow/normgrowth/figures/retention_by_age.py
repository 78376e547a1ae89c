"""Retention of edits at the end of the run, by how many edits were made after them."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from normgrowth.analysis.edit_scores import PARTS_OF_S, harmonic_mean
from normgrowth.analysis.effects import last_common_step
from normgrowth.figures import grid, series
from normgrowth.figures.grid import lay_out
from normgrowth.figures.style import THIN_WIDTH, Style

BINS = 6
LABELS = {"es": "efficacy (ES)\nat the end", "s": "harmonic mean (S)\nat the end"}


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `scores`."""
    scores = series.edited_runs(tables["scores"], "scores")
    kept = scores[scores["moment"].isin(["retention", "final"])]
    layout = lay_out(style, list(LABELS.values()), scores, grid.grid_by_model, sharey=True)
    for panel in layout.panels:
        quantity = list(LABELS)[panel.row]
        for editor, thinly in panel.lines:
            run = kept[(kept["model"] == panel.model) & (kept["editor"] == editor)]
            if run.empty:
                continue
            line, look = by_age(run), style.look(editor)
            marks: dict[str, Any] = (
                {"linewidth": THIN_WIDTH} if thinly else {"marker": look.marker, "linestyle": look.dash}
            )
            panel.axes.plot(line.index, line[quantity], color=look.colour, zorder=3, **marks)
        panel.axes.set_ylim(-0.03, 1.05)
        panel.axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        panel.axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        if grid.at_bottom(panel.axes):
            panel.axes.set_xlabel("edits made since")
    return layout.finish(style, first=())


def by_age(run: pd.DataFrame) -> pd.DataFrame:
    """Columns `es` and `s` by mean age of edits: one run's last checkpoint in at most `BINS` bins of equal size.

    Args:
        run: rows of table `scores` of one run, edited facts at checkpoints.
    """
    step = last_common_step(run)
    last = run[run["step"] == step].drop_duplicates(["order", "case_id"], keep="last")
    last = last.assign(age=step - last["edited_at"].astype(int))
    bins = pd.qcut(last["age"], min(BINS, last["age"].nunique()), duplicates="drop", labels=False)
    means = last.groupby(bins.to_numpy())[["age", *PARTS_OF_S]].mean().astype(float)
    s = harmonic_mean(means[PARTS_OF_S].to_numpy())
    return pd.DataFrame({"es": means["es"].to_numpy(), "s": np.asarray(s)}, index=means["age"].to_numpy())
