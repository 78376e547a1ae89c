"""Perplexity on held-out text against edits: one panel per model (and family, of many editors), one line per editor."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from normgrowth.figures import grid, panels, series
from normgrowth.figures.curves import draw_mean
from normgrowth.figures.grid import lay_out
from normgrowth.figures.style import Look, Style


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `downstream`."""
    perplexity = readable(tables["downstream"])
    layout = lay_out(style, ["perplexity per token\nof held-out text"], perplexity, grid.row_by_model)
    collapsed = False
    drawn: dict[str, list[float]] = {}
    for panel in layout.panels:
        rows = perplexity[perplexity["model"] == panel.model]
        unedited = rows.loc[rows["step"] == 0, "value"].mean()
        values = drawn.setdefault(panel.model, [unedited])
        for editor, thinly in panel.lines:
            chosen = rows[rows["editor"] == editor]
            if len(chosen):
                broke, seen = draw_perplexity(panel.axes, chosen, style.look(editor), thinly)
                collapsed |= broke
                values.extend(seen)
        panels.unedited_line(panel.axes, unedited)
    for panel in layout.panels:
        panels.scale(panel.axes, drawn[panel.model])
        panels.edits_axis(panel.axes)
    return layout.finish(style, [panels.cross_handle()] if collapsed else [])


def readable(downstream: pd.DataFrame) -> pd.DataFrame:
    """Rows of perplexity, NaN where it is infinite.

    Raises:
        ArtefactError: when there are none.
    """
    downstream = series.edited_runs(downstream, "downstream")
    perplexity = downstream[downstream["metric"] == "perplexity"]
    return series.edited_runs(perplexity.assign(value=perplexity["value"].replace(np.inf, np.nan)), "downstream")


def draw_perplexity(ax: Axes, perplexity: pd.DataFrame, look: Look, thinly: bool = False) -> tuple[bool, list[float]]:
    """Draw one editor's `value` by step; say whether it collapsed, and which values were drawn."""
    line = series.finite_part(series.over_orders(perplexity, "value", log=True))
    draw_mean(ax, line, look, thinly)
    return line.broke, list(line.values["mean"])
