"""Norm of the edited matrices against edits: one panel per model, one line per editor."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from normgrowth.figures import panels
from normgrowth.figures.style import Style


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `norms`."""
    norms = panels.edited_runs(tables["norms"], "norms")
    norms = norms[norms["role"] == "edited"]
    models, editors = sorted(norms["model"].unique()), style.order(sorted(norms["editor"].unique()))
    figure, axes = panels.grid(style, 1, len(models))
    collapsed = False
    for ax, model in zip(axes[0], models, strict=True):
        rows = norms[norms["model"] == model]
        drawn = [1.0]
        for editor in editors:
            chosen = rows[rows["editor"] == editor]
            if len(chosen):
                broke, values = _editor(ax, chosen, style.look(editor))
                collapsed |= broke
                drawn.extend(values)
        panels.unedited_line(ax)
        panels.scale(ax, drawn)
        panels.edits_axis(ax)
        ax.set_title(model)
    axes[0, 0].set_ylabel("Frobenius norm relative\nto the unedited matrix")
    handles = [panels.unedited_handle(), *panels.editor_handles(style, editors)]
    panels.add_legend(figure, [*handles, panels.cross_handle()] if collapsed else handles)
    return figure


def _editor(ax, norms: pd.DataFrame, look) -> tuple[bool, list[float]]:
    """Draw one editor; say whether it collapsed, and which values were drawn."""
    steps = panels.thin(np.sort(norms["step"].unique()))
    norms = norms[norms["step"].isin(steps)]
    drawn = []
    if norms["matrix"].nunique() > 1:
        for _, matrix in norms.groupby("matrix"):
            line, _ = panels.finite_part(panels.over_orders(matrix, "frobenius_ratio", log=True))
            ax.plot(line.index, line["mean"], color=look.colour, linewidth=0.6, alpha=0.5, zorder=2)
            drawn.extend(line["mean"])
    norms = norms.assign(log_ratio=np.log(norms["frobenius_ratio"]))
    # Plain sums, so that one matrix that is not finite shows in the mean.
    mean = norms.groupby(["order", "step"])["log_ratio"].agg(lambda values: np.exp(values.mean(skipna=False)))
    line, broke = panels.finite_part(panels.over_orders(mean.rename("ratio").reset_index(), "ratio", log=True))
    every = max(1, len(line) // 6)
    marks = {"marker": look.marker, "markevery": (every - 1, every)}
    ax.plot(line.index, line["mean"], color=look.colour, linestyle=look.dash, zorder=4, **marks)
    ax.fill_between(line.index, line["low"], line["high"], color=look.colour, alpha=0.18, linewidth=0, zorder=3)
    if broke and len(line):
        panels.cross(ax, line.index[-1], line["mean"].iloc[-1], look.colour)
    return broke, [*drawn, *line["mean"], *line["low"].dropna(), *line["high"].dropna()]
