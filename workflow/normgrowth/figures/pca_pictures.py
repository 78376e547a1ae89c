"""Activations in the plane of the unedited model's first two principal components, before and after edits."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from normgrowth.errors import ArtefactError
from normgrowth.figures import panels, series
from normgrowth.figures.grid import blocks
from normgrowth.figures.style import UNEDITED_COLOUR, Style

COLUMNS = 6
PROBE, TOKEN, SITE = "text", "mean", "residual"
MOST_CLOUDS = 4
"""Checkpoints drawn, the last among them: more would hide each other."""

MOST_DOTS = 100
"""Dots of a cloud: evenly chosen from the probes, the same ones in each cloud."""

ROOM = 1.0
"""Margin of panels around the unedited cloud, in units of its width."""


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `coordinates`.

    Raises:
        ArtefactError: when it holds no picture.
    """
    rows = series.edited_runs(tables["coordinates"], "coordinates")
    rows = rows[(rows["probe"] == PROBE) & (rows["token"] == TOKEN) & (rows["site"] == SITE)]
    if rows.empty:
        raise ArtefactError("table coordinates has no residual stream on text to draw")
    rows = rows[rows["layer"] == rows.groupby("model")["layer"].transform("max")]
    rows = rows[rows["number"] % -(-rows["number"].nunique() // MOST_DOTS) == 0]
    rows = rows[rows["order"] == rows.groupby(["model", "editor"])["order"].transform("min")]
    models = sorted(rows["model"].unique())
    editors = {model: style.order(sorted(rows.loc[rows["model"] == model, "editor"].unique())) for model in models}
    lines = {model: -(-len(members) // COLUMNS) for model, members in editors.items()}
    figure, parts = blocks(style, models, [1.55 * number + 0.3 for number in lines.values()])
    for part, model in zip(parts, models, strict=True):
        mine = rows[rows["model"] == model]
        frame = _frame(mine)
        axes = part.subplots(lines[model], COLUMNS, squeeze=False, sharex=True, sharey=True).ravel()
        for number, ax in enumerate(axes):
            if number >= len(editors[model]):
                ax.set_visible(False)
                continue
            editor = editors[model][number]
            ax.set(**frame)
            _panel(ax, mine[mine["editor"] == editor], style.look(editor).colour)
            start, _, end = editor.partition("-")
            ax.set_title(f"{start}-\n{end}" if end else editor, fontsize=style.settings.font_size - 0.5)
            ax.tick_params(labelbottom=number + COLUMNS >= len(editors[model]))
        shares = [mine[f"pc{i}_share"].iloc[0] for i in (1, 2)]
        size: dict[str, Any] = {"fontsize": style.settings.font_size}
        part.supxlabel(f"first component ({shares[0]:.0%} of the unedited variance)", **size)
        part.supylabel(f"second ({shares[1]:.0%})", **size)
    dark: dict[str, Any] = {"linestyle": "none", "markersize": 4}
    handles = [
        Line2D([], [], color=UNEDITED_COLOUR, marker="o", label="unedited model", **dark),
        Line2D(
            [], [], color="#0072B2", marker="o", alpha=0.35, label="earlier checkpoints (the editor's colour)", **dark
        ),
        Line2D([], [], color="#0072B2", marker="o", label="end of the run (the editor's colour)", **dark),
    ]
    earlier = rows.loc[rows["step"] > 0].groupby(["model", "editor"])["step"].nunique().max() > 1
    panels.add_legend(figure, handles if earlier else [handles[0], handles[2]], entry_width=2.6)
    return figure


def _panel(ax: Axes, rows: pd.DataFrame, colour: str) -> None:
    steps = np.sort(rows.loc[rows["step"] > 0, "step"].unique())
    shown = steps[np.unique(np.linspace(0, len(steps) - 1, MOST_CLOUDS).round().astype(int))] if len(steps) else steps
    dots: dict[str, Any] = {"s": 5, "linewidths": 0}
    before = rows[rows["step"] == 0]
    ax.scatter(before["pc1"], before["pc2"], color=UNEDITED_COLOUR, alpha=0.6, zorder=2, **dots)
    for number, step in enumerate(shown):
        cloud = rows[rows["step"] == step]
        alpha = 0.8 if step == shown[-1] else 0.15 + 0.3 * number / len(shown)
        ax.scatter(cloud["pc1"], cloud["pc2"], color=colour, alpha=alpha, zorder=3 + number, **dots)
    if len(steps) and not np.isfinite(rows.loc[rows["step"] == steps[-1], "pc1"]).all():
        ax.annotate("collapsed", (0.5, 0.5), xycoords="axes fraction", ha="center", fontweight="bold")
    elif len(steps):
        end = rows[rows["step"] == steps[-1]]
        inside = end["pc1"].between(*ax.get_xlim()) & end["pc2"].between(*ax.get_ylim())
        if inside.mean() < 0.5:
            note = f"{(~inside).sum()} of {len(inside)} outside"
            ax.annotate(note, (0.03, 0.04), xycoords="axes fraction", color=colour, fontsize="small")


def _frame(rows: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Limits for all panels of a model: every cloud, but no farther than `ROOM` allows."""
    limits = {}
    for name, key in (("pc1", "xlim"), ("pc2", "ylim")):
        values = rows[name].to_numpy(dtype=float)
        values, before = values[np.isfinite(values)], rows.loc[rows["step"] == 0, name].to_numpy(dtype=float)
        reach = ROOM * np.ptp(before)
        low, high = max(values.min(), before.min() - reach), min(values.max(), before.max() + reach)
        limits[key] = (low - 0.06 * (high - low), high + 0.06 * (high - low))
    return limits
