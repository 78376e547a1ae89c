"""Editors and their control arms side by side: a row of panels per model and controlled editor.

Does restoring the norm delay the collapse? Does the growth alone, or a step of the same size without its meaning,
bring it about?
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from normgrowth.analysis.collapse import FLOOR, WINDOW, sliding_s
from normgrowth.editors.families import controlled_editor
from normgrowth.errors import ArtefactError
from normgrowth.figures import grid, panels, series
from normgrowth.figures.curves import draw_line
from normgrowth.figures.grid import blocks
from normgrowth.figures.norm_against_edits import mean_norm
from normgrowth.figures.perplexity_against_edits import draw_perplexity, readable
from normgrowth.figures.scores_against_edits import retained
from normgrowth.figures.series import Line
from normgrowth.figures.style import Look, Style

TITLES = (
    f"S just after the edit\n(last {WINDOW} edits)",
    "S of all facts\nedited so far",
    "perplexity per token\nof held-out text",
    "norm of the edited matrices\nrelative to unedited",
)
S = -1  # the last of the four scores


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw tables `scores`, `downstream` and `norms`."""
    norms = series.edited_runs(tables["norms"], "norms")
    scores, perplexity = tables["scores"], readable(tables["downstream"])
    groups = arms_by_model(norms, style)
    figure, parts = blocks(
        style, list(groups), [style.settings.panel_height * 0.82 * len(of_model) for of_model in groups.values()]
    )
    collapsed = False
    legend: dict[str, list[str]] = {}
    for part, (model, of_model) in zip(parts, groups.items(), strict=True):
        axes = part.subplots(len(of_model), len(TITLES), squeeze=False, sharex=True)
        for row, (controlled, members) in zip(axes, of_model.items(), strict=True):
            mine = Run(*(frame[frame["model"] == model] for frame in (scores, perplexity, norms)))
            collapsed |= _row(row, members, mine, style)
            row[0].set_ylabel(controlled, fontweight="bold")
            legend[controlled] = style.order(sorted({*legend.get(controlled, ()), *members}))
        for ax, title in zip(axes[0], TITLES, strict=True):
            ax.set_title(title, fontsize=style.settings.font_size)
    handles = {f"{name} and its arms": panels.editor_handles(style, members) for name, members in legend.items()}
    general = [panels.unedited_handle(), *([panels.cross_handle()] if collapsed else [])]
    panels.add_grouped_legend(figure, {**handles, "in all panels": general})
    return figure


def arms_by_model(norms: pd.DataFrame, style: Style) -> dict[str, dict[str, list[str]]]:
    """Controlled editors by model, each with the editors of its panels: itself, where it ran, and its arms.

    Raises:
        ArtefactError: when there is no control arm.
    """
    groups: dict[str, dict[str, list[str]]] = {}
    for model, rows in norms.groupby("model"):
        present = style.order(sorted(rows["editor"].unique()))
        for editor in present:
            if controlled := controlled_editor(editor):
                start = [controlled] if controlled in present else []
                groups.setdefault(model, {}).setdefault(controlled, start).append(editor)
    if not groups:
        raise ArtefactError("table norms has no rows of a control arm: name one among the study's editors")
    return groups


class Run(NamedTuple):
    """Rows of the tables `scores`, `downstream` (perplexity alone) and `norms` that belong together."""

    scores: pd.DataFrame
    perplexity: pd.DataFrame
    norms: pd.DataFrame

    def of(self, editor: str) -> "Run":
        """The rows of one editor."""
        return Run(*(frame[frame["editor"] == editor] for frame in self))


def _row(axes: np.ndarray, members: list[str], of_model: Run, style: Style) -> bool:
    """Draw one controlled editor and its arms; say whether one of them collapsed."""
    collapsed = False
    perplexities: list[float] = []
    ratios: list[float] = []
    norms = of_model.norms
    steps = series.thin(np.sort(norms["step"].unique()))
    of_model = of_model._replace(norms=norms[(norms["role"] == "edited") & norms["step"].isin(steps)])
    perplexity = of_model.perplexity
    unedited = perplexity.loc[perplexity["step"] == 0, "value"].mean()
    for editor in members:
        look, run = style.look(editor), of_model.of(editor)
        _scores(axes[0], axes[1], run.scores, look)
        if len(run.perplexity):
            broke, values = draw_perplexity(axes[2], run.perplexity, look)
            collapsed |= broke
            perplexities.extend(values)
        broke, values = mean_norm(axes[3], run.norms, look)
        collapsed |= broke
        ratios.extend(values)
    for ax in axes[:2]:
        ax.set_ylim(-0.03, 1.05)
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes[0].axhline(FLOOR, color="#999999", linewidth=0.7, zorder=1)
    for ax, values, level in ((axes[2], perplexities, unedited), (axes[3], ratios, 1.0)):
        panels.unedited_line(ax, level)
        panels.scale(ax, [*values, level])
    for ax in axes:
        panels.edits_axis(ax, label=grid.at_bottom(ax))
    return collapsed


def _scores(once: Axes, kept: Axes, scores: pd.DataFrame, look: Look) -> None:
    # A window slides along one order of edits; means over orders would blur the moment of a collapse.
    first = scores[scores["order"] == scores["order"].min()]
    line = sliding_s(first)
    every = max(1, len(line) // 5)
    marks: dict[str, Any] = {"marker": look.marker, "markevery": (0, every)}
    once.plot(line.index, line, color=look.colour, linestyle=look.dash, zorder=4, **marks)
    draw_line(kept, Line(retained(scores[scores["moment"] != "unedited"])[S]), look)
