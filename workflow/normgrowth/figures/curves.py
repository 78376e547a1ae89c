"""Lines against edits: one editor's line, and figures with a row of panels per quantity or place of the model."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from normgrowth.analysis.places import PLACES, at_place, place_layer
from normgrowth.errors import ArtefactError
from normgrowth.figures import grid, panels, series
from normgrowth.figures.grid import lay_out
from normgrowth.figures.series import Line
from normgrowth.figures.style import THIN_WIDTH, Look, Style

SHOWN = (PLACES[0], PLACES[1], PLACES[3], PLACES[4])
TITLES = (
    "residual, last layer\n(text)",
    "residual, last layer\n(facts, last token)",
    "residual, last edited\nlayer (text)",
    "MLP output, last edited\nlayer (text)",
)

ASIDE = 0.006
"""Horizontal shift between editors' points, as a share of the run, in panels of one family."""


POINTS_OF_A_LINE = 3
"""Points below which they are drawn without a line: between two points nothing was measured."""

APART = 0.02
"""Horizontal shift between editors' points where they have no lines, as a share of the run."""


class Activity(NamedTuple):
    """A quantity of activations: columns of table `activations` with its mean and deviation, and its y axis.

    With `log` None the values decide whether the axis is logarithmic.
    """

    mean: str
    deviation: str
    label: str
    log: bool | None


class Quantity(NamedTuple):
    """Quantity that one row of panels shows.

    `rows` has columns `model, editor, order, step, value`. The grey line stands at `level`, or else at the mean of step
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
    few = grid.row_by_model if len(quantities) == 1 else grid.grid_by_model
    layout = lay_out(style, [quantity.label for quantity in quantities], runs, few)
    collapsed = False
    drawn: dict[tuple[str, int], list[float]] = {}
    for panel in layout.panels:
        quantity = quantities[panel.row]
        rows = quantity.rows[quantity.rows["model"] == panel.model]
        level = rows.loc[rows["step"] == 0, "value"].mean() if quantity.level is None else quantity.level
        values = drawn.setdefault((panel.model, panel.row), [level])
        for editor, thinly in panel.lines:
            chosen = rows[rows["editor"] == editor]
            if chosen.empty:
                continue
            line = series.finite_part(series.over_orders(chosen, "value", log=bool(quantity.log)))
            draw_mean(panel.axes, line, style.look(editor), thinly, aside=_aside(panel, editor, line))
            collapsed |= line.broke
            values.extend(line.values["mean"])
        if np.isfinite(level):
            panels.unedited_line(panel.axes, level)
    for panel in layout.panels:
        quantity = quantities[panel.row]
        if quantity.share:
            panel.axes.set_ylim(-0.03, 1.05)
            panel.axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        else:
            panels.scale(panel.axes, drawn[panel.model, panel.row], quantity.log)
        panels.edits_axis(panel.axes, label=grid.at_bottom(panel.axes))
    return layout.finish(style, [panels.cross_handle()] if collapsed else [])


def draw_places(tables: dict[str, pd.DataFrame], style: Style, activity: Activity) -> Figure:
    """One row of panels per place, one column per model (or family, of many editors), one line per editor.

    Args:
        tables: `activations`, and `norms`, which says which layers were edited.
    """
    activations = series.edited_runs(tables["activations"], "activations")
    layout = lay_out(style, TITLES, activations, grid.grid_by_model)
    collapsed = False
    drawn: dict[tuple[str, int], list[float]] = {}
    for panel in layout.panels:
        place, values = SHOWN[panel.row], drawn.setdefault((panel.model, panel.row), [1.0])
        for editor, thinly in panel.lines:
            chosen = activations[(activations["model"] == panel.model) & (activations["editor"] == editor)]
            if chosen.empty:
                continue
            norms = tables["norms"]
            norms = norms[(norms["model"] == panel.model) & (norms["editor"] == editor)]
            rows = at_place(chosen, place, place_layer(place, chosen, norms))
            line = series.along_edits(rows, activity.mean, activity.deviation)
            aside = _aside(panel, editor, line)
            if not aside and layout.split and len(line.values) and not thinly:
                aside = panel.shift(editor, line.values.index.max(), ASIDE)
            draw_line(panel.axes, line, style.look(editor), thinly, aside)
            values.extend(line.values[["mean", "low", "high"]].to_numpy().ravel())
            collapsed |= line.broke
        panels.unedited_line(panel.axes)
    for panel in layout.panels:
        panels.scale(panel.axes, drawn[panel.model, panel.row], activity.log)
        panels.edits_axis(panel.axes, label=grid.at_bottom(panel.axes))
    layout.figure.supylabel(activity.label, fontsize=style.settings.font_size + 0.5, fontweight="bold")
    return layout.finish(style, [panels.cross_handle()] if collapsed else [])


def _aside(panel: grid.Panel, editor: str, line: Line) -> float:
    """Shift of an editor's points where there are too few of them for a line; 0 where there is one."""
    if not 0 < len(line.values) < POINTS_OF_A_LINE or editor not in panel.editors:
        return 0.0
    return panel.shift(editor, line.values.index.max(), APART)


def draw_mean(
    ax: Axes, line: Line, look: Look, thinly: bool, every: tuple[int, int] | None = None, aside: float = 0.0
) -> None:
    """Draw a mean with its band, and a cross at a collapse; with `thinly` the mean alone.

    Fewer than `POINTS_OF_A_LINE` points are drawn as `draw_line` does.

    Args:
        every: which points carry a marker; all when left out.
        aside: shift of points without a line.
    """
    values = line.values
    if len(values) < POINTS_OF_A_LINE:
        draw_line(ax, line, look, thinly, aside)
        return
    if thinly:
        ax.plot(values.index, values["mean"], color=look.colour, linewidth=THIN_WIDTH, zorder=3)
        return
    style: dict[str, Any] = {"linestyle": look.dash, "marker": look.marker, "markevery": every}
    ax.plot(values.index, values["mean"], color=look.colour, zorder=4, **style)
    ax.fill_between(values.index, values["low"], values["high"], color=look.colour, alpha=0.18, linewidth=0, zorder=3)
    if line.broke and len(values):
        panels.cross(ax, values.index[-1], values["mean"].iloc[-1], look.colour)


def draw_line(ax: Axes, line: Line, look: Look, thinly: bool = False, aside: float = 0.0) -> None:
    """Draw one editor's line with its interval, and a cross at a collapse; with `thinly` the line alone.

    All points but those of the unedited model are shifted by `aside`. Fewer than `POINTS_OF_A_LINE` points have no
    line, and that of the unedited model is left out.
    """
    values = line.values
    joined = len(values) >= POINTS_OF_A_LINE
    if not joined and (values.index > 0).any():
        values = values[values.index > 0]
    if thinly:
        mark = None if joined else "_"
        ax.plot(values.index, values["mean"], color=look.colour, linewidth=THIN_WIDTH, marker=mark, zorder=3)
        return
    errors = np.nan_to_num(np.abs(values[["low", "high"]].to_numpy() - values[["mean"]].to_numpy()).T)
    x = np.where(values.index > 0, values.index + aside, values.index) if aside else values.index
    ax.errorbar(
        x,
        values["mean"],
        yerr=errors,
        color=look.colour,
        linestyle=look.dash if joined else "none",
        marker=look.marker,
        elinewidth=1.0,
        capsize=2,
        zorder=4,
    )
    if line.broke and len(values):
        panels.cross(ax, x[-1], values["mean"].iloc[-1], look.colour)
