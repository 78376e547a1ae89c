"""Activations against edits at several places: the panels that norm and orientation share."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from normgrowth.claims.probes import PLACES, at_place, interval_at, place_layer
from normgrowth.figures import panels
from normgrowth.figures.style import Style

SHOWN = (PLACES[0], PLACES[1], PLACES[3], PLACES[4])
TITLES = ("residual, last layer\n(text)", "residual, last layer\n(facts, last token)")
TITLES += ("residual, last edited\nlayer (text)", "MLP output, last edited\nlayer (text)")


def draw_places(
    tables: dict[str, pd.DataFrame], style: Style, mean: str, deviation: str, label: str, log: bool | None
) -> Figure:
    """One row of panels per place, one column per model, one line per editor.

    Args:
        mean, deviation: columns of table `activations`.
        label: of the y axis.
        log: whether the y axis is logarithmic; None lets the values decide.
    """
    activations = panels.edited_runs(tables["activations"], "activations")
    _, editors = panels.names_of(style, activations)
    figure, blocks = panels.blocks(style, TITLES, activations)
    collapsed = False
    for (row, model), block in blocks.items():
        drawn = [1.0]
        present = activations.loc[activations["model"] == model, "editor"].unique()
        for ax, shown in block:
            references = panels.reference_editors(shown, present)
            for editor in [*references, *shown]:
                chosen = activations[(activations["model"] == model) & (activations["editor"] == editor)]
                if chosen.empty:
                    continue
                norms = tables["norms"]
                norms = norms[(norms["model"] == model) & (norms["editor"] == editor)]
                layer = place_layer(SHOWN[row], chosen, norms)
                line, broke = along_edits(at_place(chosen, SHOWN[row], layer), mean, deviation)
                draw_line(ax, line, broke, style.look(editor), thin=editor in references)
                drawn.extend(line[["mean", "low", "high"]].to_numpy().ravel())
                collapsed |= broke
            panels.unedited_line(ax)
            panels.edits_axis(ax, label=panels.at_bottom(ax))
        panels.scale(block[0][0], drawn, log)
    figure.supylabel(label, fontsize=style.settings.font_size + 0.5, fontweight="bold")
    handles = [panels.unedited_handle(), *panels.editor_handles(style, editors)]
    panels.add_legend(figure, [*handles, panels.cross_handle()] if collapsed else handles)
    return figure


def along_edits(rows: pd.DataFrame, mean: str, deviation: str) -> tuple[pd.DataFrame, bool]:
    """Mean with 95% interval by step, up to a collapse, and whether there was one."""
    intervals = {step: interval_at(part, mean, deviation) for step, part in rows.groupby("step")}
    line = pd.DataFrame(
        [(i.estimate, i.low, i.high) for i in intervals.values()],
        index=list(intervals),
        columns=["mean", "low", "high"],
    )
    return panels.finite_part(line)


def draw_line(ax, line: pd.DataFrame, broke: bool, look, thin: bool = False) -> None:
    """One editor's line with its interval, and the cross of a collapse; `thin` as a reference, alone."""
    if thin:
        ax.plot(line.index, line["mean"], color=look.colour, linewidth=panels.THIN, zorder=3)
        return
    errors = np.nan_to_num(np.abs(line[["low", "high"]].to_numpy() - line[["mean"]].to_numpy()).T)
    ax.errorbar(
        line.index,
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
        panels.cross(ax, line.index[-1], line["mean"].iloc[-1], look.colour)
