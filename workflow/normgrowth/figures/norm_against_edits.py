"""Norm of the edited matrices against edits: one panel per model (and family, of many editors), one line per editor."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from normgrowth.figures import grid, panels, series
from normgrowth.figures.curves import draw_mean
from normgrowth.figures.grid import lay_out
from normgrowth.figures.style import Look, Style


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `norms`."""
    norms = series.edited_runs(tables["norms"], "norms")
    norms = norms[norms["role"] == "edited"]
    layout = lay_out(style, ["Frobenius norm relative\nto the unedited matrix"], norms, grid.row_by_model)
    collapsed = False
    drawn: dict[str, list[float]] = {}
    for panel in layout.panels:
        values = drawn.setdefault(panel.model, [1.0])
        rows = norms[norms["model"] == panel.model]
        for editor, thinly in panel.lines:
            chosen = rows[rows["editor"] == editor]
            if len(chosen):
                broke, seen = draw_norms(panel.axes, chosen, style.look(editor), thinly)
                collapsed |= broke
                values.extend(seen)
        panels.unedited_line(panel.axes)
    for panel in layout.panels:
        panels.scale(panel.axes, drawn[panel.model])
        panels.edits_axis(panel.axes)
    return layout.finish(style, [panels.cross_handle()] if collapsed else [])


def draw_norms(ax: Axes, norms: pd.DataFrame, look: Look, thinly: bool = False) -> tuple[bool, list[float]]:
    """Draw one editor; say whether it collapsed, and which values were drawn."""
    steps = series.thin(np.sort(norms["step"].unique()))
    norms = norms[norms["step"].isin(steps)]
    drawn = []
    if norms["matrix"].nunique() > 1 and not thinly:
        for _, matrix in norms.groupby("matrix"):
            line = series.finite_part(series.over_orders(matrix, "frobenius_ratio", log=True))
            ax.plot(line.values.index, line.values["mean"], color=look.colour, linewidth=0.6, alpha=0.5, zorder=2)
            drawn.extend(line.values["mean"])
    broke, values = mean_norm(ax, norms, look, thinly)
    return broke, drawn + values


def mean_norm(ax: Axes, norms: pd.DataFrame, look: Look, thinly: bool = False) -> tuple[bool, list[float]]:
    """Draw the mean over one editor's edited matrices; say whether it collapsed, and which values were drawn."""
    norms = norms.assign(log_ratio=np.log(norms["frobenius_ratio"]))
    # Plain sums, so that one matrix that is not finite shows in the mean.
    mean = norms.groupby(["order", "step"])["log_ratio"].agg(lambda values: np.exp(values.mean(skipna=False)))
    line = series.finite_part(series.over_orders(mean.rename("ratio").reset_index(), "ratio", log=True))
    every = max(1, len(line.values) // 6)
    draw_mean(ax, line, look, thinly, (every - 1, every))
    values = line.values
    return line.broke, [*values["mean"], *([] if thinly else [*values["low"].dropna(), *values["high"].dropna()])]
