"""Perplexity on held-out text against edits: one panel per model, one line per editor."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from normgrowth.figures import panels
from normgrowth.figures.style import Style


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `downstream`."""
    downstream = panels.edited_runs(tables["downstream"], "downstream")
    perplexity = downstream[downstream["metric"] == "perplexity"]
    perplexity = panels.edited_runs(perplexity.assign(value=perplexity["value"].replace(np.inf, np.nan)), "downstream")
    models, editors = sorted(perplexity["model"].unique()), style.order(sorted(perplexity["editor"].unique()))
    figure, axes = panels.grid(style, 1, len(models))
    collapsed = False
    for ax, model in zip(axes[0], models, strict=True):
        rows = perplexity[perplexity["model"] == model]
        unedited = rows.loc[rows["step"] == 0, "value"].mean()
        drawn = [unedited]
        for editor in editors:
            chosen = rows[rows["editor"] == editor]
            if chosen.empty:
                continue
            look = style.look(editor)
            line, broke = panels.finite_part(panels.over_orders(chosen, "value", log=True))
            ax.plot(line.index, line["mean"], color=look.colour, linestyle=look.dash, marker=look.marker, zorder=4)
            ax.fill_between(line.index, line["low"], line["high"], color=look.colour, alpha=0.18, linewidth=0, zorder=3)
            if broke and len(line):
                panels.cross(ax, line.index[-1], line["mean"].iloc[-1], look.colour)
            collapsed |= broke
            drawn.extend(line["mean"])
        panels.unedited_line(ax, unedited)
        panels.scale(ax, drawn)
        panels.edits_axis(ax)
        ax.set_title(model)
    axes[0, 0].set_ylabel("perplexity per token\nof held-out text")
    handles = [panels.unedited_handle(), *panels.editor_handles(style, editors)]
    panels.add_legend(figure, [*handles, panels.cross_handle()] if collapsed else handles)
    return figure
