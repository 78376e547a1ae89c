"""Norm of every matrix in further training of a whole model: a panel per model and intervention."""

import re

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from normgrowth.errors import ArtefactError
from normgrowth.figures import grid, panels
from normgrowth.figures.style import Style
from normgrowth.training.training_settings import KINDS

COLUMNS = 3
COLOURS = {
    "attention": "#0072B2",
    "MLP": "#D55E00",
    "embedding and head": "#009E73",
}
MEAN = "#000000"


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `interventions`.

    Raises:
        ArtefactError: when it is empty.
    """
    rows = tables["interventions"]
    if rows.empty:
        raise ArtefactError("table interventions has no rows to draw: name an intervention in the study")
    found = rows[["kind", "model", "editor"]].drop_duplicates().itertuples(index=False)
    runs = sorted(found, key=lambda run: (run.model, KINDS.index(run.kind), run.editor))
    columns = min(COLUMNS, len(runs))
    figure, axes = grid.grid(style, -(-len(runs) // columns), columns, 0.95)
    several = len({run.model for run in runs}) > 1
    for ax, run in zip(axes.ravel(), runs, strict=False):
        chosen = rows[(rows["model"] == run.model) & (rows["editor"] == run.editor)]
        _panel(ax, chosen)
        ax.set_title(f"{run.model}\n{run.editor}" if several else run.editor.replace("_", " ").replace("-", " "))
        ax.set_xlabel("optimizer steps" if chosen["step"].max() > 1 else "before and after")
    for ax in axes[:, 0]:
        ax.set_ylabel("Frobenius norm\nrelative to the start")
    for ax in axes.ravel()[len(runs) :]:
        ax.set_visible(False)
    kinds = [kind for kind in COLOURS if kind in set(rows["matrix"].map(part_of))]
    lines = [Line2D([], [], color=COLOURS[kind], linewidth=1.0, label=f"{kind} matrices") for kind in kinds]
    mean = Line2D([], [], color=MEAN, linewidth=2.0, label="geometric mean")
    panels.add_legend(figure, [panels.unedited_handle(), *lines, mean], entry_width=1.4)
    return figure


def part_of(matrix: str) -> str:
    """The part of a model that a parameter's name puts it in."""
    if not re.search(r"\.\d+\.", matrix):
        return "embedding and head"
    return "attention" if re.search(r"attn|attention", matrix) else "MLP"


def _panel(ax: Axes, rows: pd.DataFrame) -> None:
    logs = np.log(rows["frobenius_ratio"].astype(float))
    ratios = np.exp(logs.groupby([rows["step"], rows["matrix"]]).mean().unstack())  # over training runs
    for matrix in ratios:
        ax.plot(ratios.index, ratios[matrix], color=COLOURS[part_of(matrix)], linewidth=0.6, alpha=0.6, zorder=2)
    ax.plot(ratios.index, np.exp(np.log(ratios).mean(axis=1)), color=MEAN, linewidth=2.0, zorder=3)
    panels.unedited_line(ax)
    panels.scale(ax, ratios.to_numpy().ravel())
    ax.margins(x=0.02)
