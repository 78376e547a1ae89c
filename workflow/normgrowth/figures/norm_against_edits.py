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
    _, editors = panels.names_of(style, norms)
    label = "Frobenius norm relative\nto the unedited matrix"
    figure, blocks = panels.row_of_models(style, label, norms)
    collapsed = False
    for (_, model), block in blocks.items():
        rows = norms[norms["model"] == model]
        drawn = [1.0]
        for ax, shown in block:
            references = panels.reference_editors(shown, rows["editor"].unique())
            for editor in [*references, *shown]:
                chosen = rows[rows["editor"] == editor]
                if len(chosen):
                    broke, values = _editor(ax, chosen, style.look(editor), thin=editor in references)
                    collapsed |= broke
                    drawn.extend(values)
            panels.unedited_line(ax)
            panels.edits_axis(ax, label=panels.at_bottom(ax))
        panels.scale(block[0][0], drawn)
    handles = [panels.unedited_handle(), *panels.editor_handles(style, editors)]
    panels.add_legend(figure, [*handles, panels.cross_handle()] if collapsed else handles)
    return figure


def _editor(ax, norms: pd.DataFrame, look, thin: bool) -> tuple[bool, list[float]]:
    """Draw one editor, `thin` as a reference; say whether it collapsed, and which values were drawn."""
    steps = panels.thin(np.sort(norms["step"].unique()))
    norms = norms[norms["step"].isin(steps)]
    drawn = []
    if norms["matrix"].nunique() > 1 and not thin:
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
    if thin:
        ax.plot(line.index, line["mean"], color=look.colour, linewidth=panels.THIN, zorder=3)
        return broke, list(line["mean"])
    ax.plot(line.index, line["mean"], color=look.colour, linestyle=look.dash, zorder=4, **marks)
    ax.fill_between(line.index, line["low"], line["high"], color=look.colour, alpha=0.18, linewidth=0, zorder=3)
    if broke and len(line):
        panels.cross(ax, line.index[-1], line["mean"].iloc[-1], look.colour)
    return broke, [*drawn, *line["mean"], *line["low"].dropna(), *line["high"].dropna()]
