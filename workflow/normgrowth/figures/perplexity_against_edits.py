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
    _, editors = panels.names_of(style, perplexity)
    label = "perplexity per token\nof held-out text"
    figure, blocks = panels.row_of_models(style, label, perplexity)
    collapsed = False
    for (_, model), block in blocks.items():
        rows = perplexity[perplexity["model"] == model]
        unedited = rows.loc[rows["step"] == 0, "value"].mean()
        drawn = [unedited]
        for ax, shown in block:
            references = panels.reference_editors(shown, rows["editor"].unique())
            for editor in [*references, *shown]:
                chosen = rows[rows["editor"] == editor]
                if len(chosen):
                    line, broke = _editor(ax, chosen, style.look(editor), thin=editor in references)
                    collapsed |= broke
                    drawn.extend(line["mean"])
            panels.unedited_line(ax, unedited)
            panels.edits_axis(ax, label=panels.at_bottom(ax))
        panels.scale(block[0][0], drawn)
    handles = [panels.unedited_handle(), *panels.editor_handles(style, editors)]
    panels.add_legend(figure, [*handles, panels.cross_handle()] if collapsed else handles)
    return figure


def _editor(ax, rows: pd.DataFrame, look, thin: bool) -> tuple[pd.DataFrame, bool]:
    """Draw one editor, `thin` as a reference; its line, and whether it ends in a collapse."""
    line, broke = panels.finite_part(panels.over_orders(rows, "value", log=True))
    if thin:
        ax.plot(line.index, line["mean"], color=look.colour, linewidth=panels.THIN, zorder=3)
        return line, broke
    ax.plot(line.index, line["mean"], color=look.colour, linestyle=look.dash, marker=look.marker, zorder=4)
    ax.fill_between(line.index, line["low"], line["high"], color=look.colour, alpha=0.18, linewidth=0, zorder=3)
    if broke and len(line):
        panels.cross(ax, line.index[-1], line["mean"].iloc[-1], look.colour)
    return line, broke
