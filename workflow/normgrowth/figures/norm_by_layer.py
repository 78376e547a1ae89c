"""Norm of every watched matrix by layer, halfway and at the end: one panel per model and editor."""

import re

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from normgrowth.figures import panels
from normgrowth.figures.style import UNEDITED_COLOUR, Style

MOST_COLUMNS = 4
SHADE = "#DCE6F2"


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `norms`."""
    norms = panels.edited_runs(tables["norms"], "norms")
    runs = {
        model: style.order(sorted(norms.loc[norms["model"] == model, "editor"].unique()))
        for model in sorted(norms["model"].unique())
    }
    columns = min(MOST_COLUMNS, max(map(len, runs.values())))
    rows = {model: -(-len(editors) // columns) for model, editors in runs.items()}
    figure, axes = panels.grid(style, sum(rows.values()), columns, 0.8)
    if columns > 2:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width * 0.68, height * 0.9)
    many = max(map(len, runs.values())) > columns  # then names of model and editor do not fit a title together
    row = 0
    for model, editors in runs.items():
        places = axes[row : row + rows[model]].ravel()
        summaries = [_summary(norms[(norms["model"] == model) & (norms["editor"] == editor)]) for editor in editors]
        values = np.concatenate([summary["ratio"] for summary in summaries])
        sound = values[np.isfinite(values)]
        for number, (ax, editor, summary) in enumerate(zip(places, editors, summaries, strict=False)):
            _panel(ax, summary, style.look(editor).colour)
            panels.scale(ax, sound)
            under = number + columns >= len(editors)
            panels.layer_axis(ax, int(summary["layer"].max()) + 1, label=under or not many)
            _shared_range(ax, sound)
            ax.set_title(editor if many else f"{model} · {editor}")
            if number % columns == 0:
                ax.set_ylabel(f"{model}\n‖W‖ / ‖W₀‖" if many else "Frobenius norm\nrelative to unedited")
        for ax in places[len(editors) :]:
            ax.set_visible(False)
        row += rows[model]
    panels.add_legend(figure, _handles(), entry_width=2.1)
    return figure


def kind_of(matrix: str) -> str:
    """A matrix's name without the number of its layer: what it is in its block."""
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


def _panel(ax, summary: pd.DataFrame, colour: str) -> None:
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
            continue  # controls that did not move halfway and at the end would only hide each other
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
        note = {"xycoords": "axes fraction", "ha": "right", "va": "top", "fontweight": "bold"}
        ax.annotate("collapsed", (0.98, 0.96), **note)


def _shared_range(ax, values: np.ndarray) -> None:
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


def _handles() -> list:
    dark = "#333333"
    return [
        panels.unedited_handle(),
        Line2D([], [], color=dark, marker="o", markerfacecolor="white", linewidth=0.8, label="halfway"),
        Line2D([], [], color=dark, marker="o", label="end of the run"),
        Line2D([], [], color=UNEDITED_COLOUR, marker="^", linewidth=0.8, label="other control matrices"),
        Patch(color=SHADE, label="edited layer"),
    ]
