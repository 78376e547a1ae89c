"""Activations against edits at several places: the panels that norm and orientation share."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from normgrowth.analysis.places import PLACES, at_place, interval_at, place_layer
from normgrowth.figures import panels
from normgrowth.figures.grid import THIN_WIDTH, lay_out
from normgrowth.figures.style import Style

SHOWN = (PLACES[0], PLACES[1], PLACES[3], PLACES[4])
TITLES = ("residual, last layer\n(text)", "residual, last layer\n(facts, last token)")
TITLES += ("residual, last edited\nlayer (text)", "MLP output, last edited\nlayer (text)")

ASIDE = 0.006
"""Distance of one editor's points from the next, as a share of the run, where panels are split by family."""


def draw_places(
    tables: dict[str, pd.DataFrame], style: Style, mean: str, deviation: str, label: str, log: bool | None
) -> Figure:
    """One row of panels per place, one column per model (or family, of many editors), one line per editor.

    Args:
        mean, deviation: columns of table `activations`.
        label: of the y axis.
        log: whether the y axis is logarithmic; None lets the values decide.
    """
    activations = panels.edited_runs(tables["activations"], "activations")
    layout = lay_out(style, TITLES, activations, panels.grid_by_model)
    collapsed, drawn = False, {}
    for panel in layout.panels:
        place, values = SHOWN[panel.row], drawn.setdefault((panel.model, panel.row), [1.0])
        for editor, thinly in panel.lines:
            chosen = activations[(activations["model"] == panel.model) & (activations["editor"] == editor)]
            if chosen.empty:
                continue
            norms = tables["norms"]
            norms = norms[(norms["model"] == panel.model) & (norms["editor"] == editor)]
            line, broke = along_edits(at_place(chosen, place, place_layer(place, chosen, norms)), mean, deviation)
            aside = panel.shift(editor, line.index.max(), ASIDE) if layout.split and len(line) and not thinly else 0.0
            draw_line(panel.axes, line, broke, style.look(editor), thinly, aside)
            values.extend(line[["mean", "low", "high"]].to_numpy().ravel())
            collapsed |= broke
        panels.unedited_line(panel.axes)
    for panel in layout.panels:
        panels.scale(panel.axes, drawn[panel.model, panel.row], log)
        panels.edits_axis(panel.axes, label=panels.at_bottom(panel.axes))
    layout.figure.supylabel(label, fontsize=style.settings.font_size + 0.5, fontweight="bold")
    return layout.finish(style, [panels.cross_handle()] if collapsed else [])


def along_edits(rows: pd.DataFrame, mean: str, deviation: str) -> tuple[pd.DataFrame, bool]:
    """Mean with 95% interval by step, up to a collapse, and whether there was one."""
    intervals = {step: interval_at(part, mean, deviation) for step, part in rows.groupby("step")}
    line = pd.DataFrame(
        [(i.estimate, i.low, i.high) for i in intervals.values()],
        index=list(intervals),
        columns=["mean", "low", "high"],
    )
    return panels.finite_part(line)


def draw_line(ax, line: pd.DataFrame, broke: bool, look, thinly: bool = False, aside: float = 0.0) -> None:
    """One editor's line with its interval, and the cross of a collapse; `thinly` the bare line.

    All points but those of the unedited model stand `aside`.
    """
    if thinly:
        ax.plot(line.index, line["mean"], color=look.colour, linewidth=THIN_WIDTH, zorder=3)
        return
    errors = np.nan_to_num(np.abs(line[["low", "high"]].to_numpy() - line[["mean"]].to_numpy()).T)
    x = np.where(line.index > 0, line.index + aside, line.index) if aside else line.index
    ax.errorbar(
        x,
        line["mean"],
        yerr=errors,
        color=look.colour,
        linestyle=look.dash,
        marker=look.marker,
        elinewidth=1.0,
        capsize=2,
        zorder=4,
    )
    if broke and len(line):
        panels.cross(ax, x[-1], line["mean"].iloc[-1], look.colour)
