"""Norm of every watched matrix by layer, halfway and at the end: one panel per model and editor."""

import re
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from normgrowth.figures import grid, panels, series
from normgrowth.figures.grid import MANY, blocks
from normgrowth.figures.style import UNEDITED_COLOUR, Style

MOST_COLUMNS = 4
BLOCK_COLUMNS = 6
LONGEST_TITLE = 23  # characters over a panel of a block
SHADE = "#DCE6F2"


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `norms`."""
    norms = series.edited_runs(tables["norms"], "norms")
    runs = {
        model: style.order(sorted(norms.loc[norms["model"] == model, "editor"].unique()))
        for model in sorted(norms["model"].unique())
    }
    if max(map(len, runs.values())) > MANY:
        return _by_blocks(norms, runs, style)
    columns = min(MOST_COLUMNS, max(map(len, runs.values())))
    rows = {model: -(-len(editors) // columns) for model, editors in runs.items()}
    figure, axes = grid.grid(style, sum(rows.values()), columns, 0.8)
    if columns > 2:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width * 0.68, height * 0.9)
    row = 0
    for model, editors in runs.items():
        places = axes[row : row + rows[model]].ravel()
        _run_panels(places, norms[norms["model"] == model], editors, style)
        for number, (ax, editor) in enumerate(zip(places, editors, strict=False)):
            ax.set_title(_title(f"{model} · ", editor, LONGEST_TITLE + 2 if columns > 2 else 1.5 * LONGEST_TITLE))
            if number % columns == 0:
                ax.set_ylabel("Frobenius norm\nrelative to unedited")
        row += rows[model]
    panels.add_legend(figure, _handles(), entry_width=2.1)
    return figure


def _by_blocks(norms: pd.DataFrame, runs: dict[str, list[str]], style: Style) -> Figure:
    """Smaller panels in a block per model, for many editors."""
    columns = BLOCK_COLUMNS
    rows = {model: -(-len(editors) // columns) for model, editors in runs.items()}
    height = style.settings.panel_height * 0.62
    figure, parts = blocks(style, list(runs), [height * number + 0.3 for number in rows.values()])
    for part, (model, editors) in zip(parts, runs.items(), strict=True):
        places = part.subplots(rows[model], columns, squeeze=False).ravel()
        _run_panels(places, norms[norms["model"] == model], editors, style)
        for number, (ax, editor) in enumerate(zip(places, editors, strict=False)):
            start, end = editor.partition("-")[::2]
            title = _title(f"{start}-", end, LONGEST_TITLE) if end else editor
            ax.set_title(title, fontsize=style.settings.font_size - 0.5)
            below = number + columns < len(editors)
            ax.set_xlabel("" if below else "layer")
            ax.tick_params(labelbottom=not below, labelleft=number % columns == 0)
        part.supylabel("Frobenius norm\nrelative to unedited", fontsize=style.settings.font_size)
    panels.add_legend(figure, _handles(), entry_width=2.1)
    return figure


def _title(start: str, end: str, longest: float) -> str:
    """Title of two parts, in two lines where one is too long for the panel."""
    return start + end if len(start + end) <= longest else f"{start.rstrip(' ·')}\n{end}"


def _run_panels(places: np.ndarray, norms: pd.DataFrame, editors: list[str], style: Style) -> None:
    """One panel per editor of a model, all with one y axis; places left over are hidden."""
    summaries = [_summary(norms[norms["editor"] == editor]) for editor in editors]
    values = np.concatenate([summary["ratio"] for summary in summaries])
    sound = values[np.isfinite(values)]
    for ax, editor, summary in zip(places, editors, summaries, strict=False):
        _panel(ax, summary, style.look(editor).colour)
        panels.scale(ax, sound)
        panels.layer_axis(ax, int(summary["layer"].max()) + 1)
        _shared_range(ax, sound)
    for ax in places[len(editors) :]:
        ax.set_visible(False)


def kind_of(matrix: str) -> str:
    """A matrix's name without the number of its layer: its role in the block."""
    return re.sub(r"\.\d+\.", ".", matrix, count=1)


def _summary(norms: pd.DataFrame) -> pd.DataFrame:
    """Ratio by kind, layer and moment (halfway, end), averaged over orders; NaN stays NaN."""
    steps = np.sort(norms["step"].unique())
    end = steps[-1]
    half = steps[np.argmin(np.abs(steps - end / 2))]
    parts = []
    for moment, step in (("halfway", half), ("end", end)):
        chosen = norms[norms["step"] == step].assign(kind=lambda frame: frame["matrix"].map(kind_of), moment=moment)
        keys = ["moment", "kind", "layer", "role"]
        parts.append(chosen.groupby(keys)["frobenius_ratio"].agg(lambda v: v.mean(skipna=False)).rename("ratio"))
    return pd.concat(parts).reset_index()


def _panel(ax: Axes, summary: pd.DataFrame, colour: str) -> None:
    edited = summary[summary["role"] == "edited"]
    for layer in edited["layer"].unique():
        ax.axvspan(layer - 0.5, layer + 0.5, color=SHADE, linewidth=0, zorder=0)
    panels.unedited_line(ax)
    edited_kinds = set(edited["kind"])
    for (kind, moment), line in summary.groupby(["kind", "moment"]):
        line = line.sort_values("layer")
        ours = kind in edited_kinds
        end = moment == "end"
        if not ours and not end:
            continue  # unchanged controls would only hide each other
        ax.plot(
            line["layer"],
            line["ratio"],
            color=colour if ours else UNEDITED_COLOUR,
            marker="o" if ours else "^",
            markersize=4.5 if ours else 3.5,
            markerfacecolor="white" if ours and not end else None,
            linewidth=1.4 if end and ours else 0.8,
            zorder=4 if ours and end else 3 if ours else 2,
        )
    broken = edited[(edited["moment"] == "end") & ~np.isfinite(edited["ratio"])]
    if len(broken):
        note: dict[str, Any] = {"xycoords": "axes fraction", "ha": "right", "va": "top", "fontweight": "bold"}
        ax.annotate("collapsed", (0.98, 0.96), **note)


def _shared_range(ax: Axes, values: np.ndarray) -> None:
    # Panels of a model share their range by hand: sharing axes would share it with other models as well.
    if not len(values):
        return
    low, high = min(values.min(), 1.0), max(values.max(), 1.0)
    if ax.get_yscale() == "log":
        margin = (high / low) ** 0.08
        ax.set_ylim(low / margin, high * margin)
    else:
        margin = max(0.08 * (high - low), 0.005)
        ax.set_ylim(low - margin, high + margin)


def _handles() -> list[Artist]:
    dark = "#333333"
    return [
        panels.unedited_handle(),
        Line2D([], [], color=dark, marker="o", markerfacecolor="white", linewidth=0.8, label="halfway"),
        Line2D([], [], color=dark, marker="o", label="end of the run"),
        Line2D([], [], color=UNEDITED_COLOUR, marker="^", linewidth=0.8, label="other control matrices"),
        Patch(color=SHADE, label="edited layer"),
    ]
