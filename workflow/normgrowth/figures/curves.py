"""Several quantities against edits: a row of panels per quantity, one line per editor, means over edit orders."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from normgrowth.errors import ArtefactError
from normgrowth.figures import panels
from normgrowth.figures.grid import draw_mean, lay_out
from normgrowth.figures.style import Style


class Quantity(NamedTuple):
    """What one row of panels shows.

    `rows` holds `value` by model, editor, order and step. The grey line stands at `level`, or else at the mean of step
    0. With `log` None the values decide whether the axis is logarithmic.
    """

    label: str
    rows: pd.DataFrame
    level: float | None = None
    log: bool | None = None
    share: bool = False


def draw_curves(style: Style, quantities: Sequence[Quantity]) -> Figure:
    """One row of panels per quantity; quantities without rows are left out.

    Raises:
        ArtefactError: when none has rows.
    """
    quantities = [quantity for quantity in quantities if len(quantity.rows)]
    if not quantities:
        raise ArtefactError("the tables have no rows to draw: measure at least one editor")
    runs = pd.concat([quantity.rows[["model", "editor"]].drop_duplicates() for quantity in quantities])
    few = panels.row_by_model if len(quantities) == 1 else panels.grid_by_model
    layout = lay_out(style, [quantity.label for quantity in quantities], runs, few)
    collapsed, drawn = False, {}
    for panel in layout.panels:
        quantity = quantities[panel.row]
        rows = quantity.rows[quantity.rows["model"] == panel.model]
        level = rows.loc[rows["step"] == 0, "value"].mean() if quantity.level is None else quantity.level
        values = drawn.setdefault((panel.model, panel.row), [level])
        for editor, thinly in panel.lines:
            chosen = rows[rows["editor"] == editor]
            if chosen.empty:
                continue
            line, broke = panels.finite_part(panels.over_orders(chosen, "value", log=bool(quantity.log)))
            draw_mean(panel.axes, line, broke, style.look(editor), thinly)
            collapsed |= broke
            values.extend(line["mean"])
        if np.isfinite(level):
            panels.unedited_line(panel.axes, level)
    for panel in layout.panels:
        quantity = quantities[panel.row]
        if quantity.share:
            panel.axes.set_ylim(-0.03, 1.05)
            panel.axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        else:
            panels.scale(panel.axes, drawn[panel.model, panel.row], quantity.log)
        panels.edits_axis(panel.axes, label=panels.at_bottom(panel.axes))
    return layout.finish(style, [panels.cross_handle()] if collapsed else [])


def per_step(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """Mean of a column by model, editor, order and step, as `value`; NaN where one of its parts is."""
    keys = ["model", "editor", "order", "step"]
    return rows.groupby(keys)[value].agg(lambda values: values.mean(skipna=False)).rename("value").reset_index()
