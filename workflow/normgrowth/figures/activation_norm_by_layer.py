"""Norm of activations by layer at the end of the run: one row per site, one column per model."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from normgrowth.claims.probes import interval_at
from normgrowth.claims.verdict import last_common_step
from normgrowth.figures import panels
from normgrowth.figures.style import STROKES, Style

SITES = {
    "residual": "residual stream",
    "mlp_output": "MLP output",
    "attention_output": "attention output",
    "mlp_key": "MLP key",
}
PROBE, TOKEN = "text", "all"


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `activations`; `norms` says which layers were edited."""
    activations = panels.edited_runs(tables["activations"], "activations")
    activations = activations[(activations["probe"] == PROBE) & (activations["token"] == TOKEN)]
    models, editors = panels.names_of(style, activations)
    sites = [site for site in SITES if site in set(activations["site"])]
    figure, blocks = panels.blocks(style, [SITES[site] for site in sites], activations)
    collapsed = []
    for (row, model), block in blocks.items():
        drawn = [1.0]
        rows = activations[(activations["model"] == model) & (activations["site"] == sites[row])]
        for ax, shown in block:
            for number, editor in enumerate(shown):
                chosen = rows[rows["editor"] == editor]
                if chosen.empty:
                    continue
                # Editors stand a little apart, so that bars do not hide each other.
                shift = 0.4 * ((number + 0.5) / len(shown) - 0.5)
                line = _line(chosen)
                if line.empty:
                    collapsed.append((model, editor))
                    continue
                edited = _edited_layers(tables["norms"], model, editor)
                _draw(ax, line, edited, shift, style.look(editor))
                drawn.extend(line[["mean", "low", "high"]].to_numpy().ravel())
            panels.unedited_line(ax)
            panels.layer_axis(ax, int(rows["layer"].max()) + 1, label=panels.at_bottom(ax))
        panels.scale(block[0][0], drawn)
    label = "Activation norm relative to the unedited model"
    figure.supylabel(label, fontsize=style.settings.font_size + 0.5, fontweight="bold")
    for model in models:
        gone = style.order(sorted({editor for m, editor in collapsed if m == model}))
        if gone:
            where = {"xycoords": "axes fraction", "ha": "left", "va": "bottom", "fontweight": "bold"}
            blocks[0, model][0][0].annotate("collapsed: " + ", ".join(gone), (0.02, 0.03), **where)
    handles = [panels.unedited_handle(), *panels.editor_handles(style, editors)]
    handles.append(Line2D([], [], color="#333333", marker="o", markerfacecolor="white", ls="none", label="not edited"))
    panels.add_legend(figure, handles)
    return figure


def _line(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and interval by layer at the last checkpoint; empty where that has collapsed or does not exist."""
    step = last_common_step(rows)
    last = rows[rows["step"] == step]
    if last.empty or not np.isfinite(last["norm_ratio"]).all():
        return pd.DataFrame(columns=["mean", "low", "high"])
    intervals = {layer: interval_at(part, "norm_ratio", "norm_ratio_std") for layer, part in last.groupby("layer")}
    return pd.DataFrame.from_dict(
        {layer: i[:3] for layer, i in intervals.items()}, orient="index", columns=["mean", "low", "high"]
    )


def _edited_layers(norms: pd.DataFrame, model: str, editor: str) -> set[int]:
    mine = norms[(norms["model"] == model) & (norms["editor"] == editor) & (norms["role"] == "edited")]
    return set(mine["layer"])


def _draw(ax, line: pd.DataFrame, edited: set[int], shift: float, look) -> None:
    x, errors = (
        line.index + shift,
        np.nan_to_num(np.abs(line[["low", "high"]].to_numpy() - line[["mean"]].to_numpy()).T),
    )
    ax.errorbar(
        x, line["mean"], yerr=errors, color=look.colour, linestyle=look.dash, linewidth=1.1, capsize=1.5, zorder=3
    )
    for layer, at, mean in zip(line.index, x, line["mean"], strict=True):
        fill = {} if look.marker in STROKES else {"markerfacecolor": look.colour if layer in edited else "white"}
        ax.plot([at], [mean], marker=look.marker, color=look.colour, zorder=4, **fill)
