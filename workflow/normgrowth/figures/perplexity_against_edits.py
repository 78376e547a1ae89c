"""Perplexity on held-out text against edits: one panel per model (and family, of many editors), one line per editor."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from normgrowth.figures import panels
from normgrowth.figures.grid import draw_mean, lay_out
from normgrowth.figures.style import Style


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `downstream`."""
    perplexity = readable(tables["downstream"])
    layout = lay_out(style, ["perplexity per token\nof held-out text"], perplexity, panels.row_by_model)
    collapsed, drawn = False, {}
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
    downstream = panels.edited_runs(downstream, "downstream")
    perplexity = downstream[downstream["metric"] == "perplexity"]
    return panels.edited_runs(perplexity.assign(value=perplexity["value"].replace(np.inf, np.nan)), "downstream")


def draw_perplexity(ax, perplexity: pd.DataFrame, look, thinly: bool = False) -> tuple[bool, list[float]]:
    """Draw one editor's `value` by step; say whether it collapsed, and which values were drawn."""
    line, broke = panels.finite_part(panels.over_orders(perplexity, "value", log=True))
    draw_mean(ax, line, broke, look, thinly)
    return broke, list(line["mean"])
