"""Norm of activations by layer at the end of the run: one row per site, one column per model.

Many editors are rows of a table of colours instead, one per model and site.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from normgrowth.analysis.effects import last_common_step
from normgrowth.analysis.places import SITES, interval_at
from normgrowth.figures import grid, heat, panels, series
from normgrowth.figures.grid import MANY, blocks
from normgrowth.figures.style import Look, Style

PROBE, TOKEN = "text", "all"


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `activations`; `norms` says which layers were edited."""
    activations = series.edited_runs(tables["activations"], "activations")
    activations = activations[(activations["probe"] == PROBE) & (activations["token"] == TOKEN)]
    models, editors = sorted(activations["model"].unique()), style.order(sorted(activations["editor"].unique()))
    sites = [site for site in SITES if site in set(activations["site"])]
    if len(editors) > MANY:
        return _heat(activations, tables["norms"], editors, sites, style)
    figure, axes = grid.grid_by_model(style, [SITES[site] for site in sites], models)
    collapsed = []
    for model in models:
        edited = series.edited_layers(tables["norms"], model)
        for row, site in enumerate(sites):
            ax, drawn = axes[row, model], [1.0]
            rows = activations[(activations["model"] == model) & (activations["site"] == site)]
            for number, editor in enumerate(editors):
                chosen = rows[rows["editor"] == editor]
                if chosen.empty:
                    continue
                # Editors stand a little apart, so that bars do not hide each other.
                shift = 0.4 * ((number + 0.5) / len(editors) - 0.5)
                line = ratios_by_layer(chosen)
                if line.empty:
                    collapsed.append((model, editor))
                    continue
                draw_layers(ax, line, edited.get(editor, set()), shift, style.look(editor))
                drawn.extend(line[["mean", "low", "high"]].to_numpy().ravel())
            panels.unedited_line(ax)
            panels.scale(ax, drawn)
            panels.layer_axis(ax, int(rows["layer"].max()) + 1, label=grid.at_bottom(ax))
    label = "Activation norm relative to the unedited model"
    figure.supylabel(label, fontsize=style.settings.font_size + 0.5, fontweight="bold")
    for model in models:
        gone = style.order(sorted({editor for m, editor in collapsed if m == model}))
        if gone:
            where: dict[str, Any] = {"xycoords": "axes fraction", "ha": "left", "va": "bottom", "fontweight": "bold"}
            axes[0, model].annotate("collapsed: " + ", ".join(gone), (0.02, 0.03), **where)
    handles = [panels.unedited_handle(), *panels.editor_handles(style, editors)]
    handles.append(Line2D([], [], color="#333333", marker="o", markerfacecolor="white", ls="none", label="not edited"))
    panels.add_legend(figure, handles)
    return figure


def _heat(activations: pd.DataFrame, norms: pd.DataFrame, editors: list[str], sites: list[str], style: Style) -> Figure:
    """The same ratios without intervals: a block per model, a panel per site, a row per editor."""
    models = sorted(activations["model"].unique())
    runs = {model: set(activations.loc[activations["model"] == model, "editor"]) for model in models}
    shown = {model: [editor for editor in editors if editor in present] for model, present in runs.items()}
    figure, parts = blocks(style, models, [heat.ROW * len(shown[model]) + 0.5 for model in models])
    broken, most = False, 0
    for part, (model, members) in zip(parts, shown.items(), strict=True):
        rows = activations[activations["model"] == model]
        layers = sorted(rows["layer"].unique())
        most = max(most, len(layers))
        edited = series.edited_layers(norms, model)
        ratios = [_ratios(rows[rows["site"] == site], members, layers) for site in sites]
        colours = heat.ratio_colours(np.concatenate([frame.to_numpy(dtype=float).ravel() for frame in ratios]))
        axes = part.subplots(1, len(sites), squeeze=False, sharey=True)[0]
        for ax, site, frame in zip(axes, sites, ratios, strict=True):
            heat.draw(ax, frame, edited, colours, style)
            ax.set_title(SITES[site])
            broken |= not np.isfinite(frame.to_numpy(dtype=float)).all()
        heat.colour_bar(part, axes, colours, "activation norm relative\nto the unedited model")
    panels.add_legend(figure, heat.handles(most, broken), entry_width=2.4)
    return figure


def _ratios(rows: pd.DataFrame, editors: list[str], layers: list[int]) -> pd.DataFrame:
    """Mean ratio [editors, layers] at the last checkpoint; NaN where the model has collapsed."""
    lines = {editor: ratios_by_layer(rows[rows["editor"] == editor])["mean"] for editor in editors}
    return pd.DataFrame(lines).T.reindex(index=editors, columns=layers)


def ratios_by_layer(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns `mean`, `low`, `high` by layer at the last checkpoint of rows of one editor and place.

    Empty where that checkpoint has collapsed or does not exist.
    """
    step = last_common_step(rows)
    last = rows[rows["step"] == step]
    if last.empty or not np.isfinite(last["ratio_of_norms"]).all():
        return pd.DataFrame(columns=["mean", "low", "high"])
    intervals = {
        layer: interval_at(part, "ratio_of_norms", "ratio_of_norms_std") for layer, part in last.groupby("layer")
    }
    return pd.DataFrame.from_dict(
        {layer: (i.estimate, i.low, i.high) for layer, i in intervals.items()},
        orient="index",
        columns=["mean", "low", "high"],
    )


def draw_layers(ax: Axes, line: pd.DataFrame, edited: set[int], shift: float, look: Look) -> None:
    """One line by layer, `shift` aside, with filled markers at edited layers."""
    x, errors = (
        line.index + shift,
        np.nan_to_num(np.abs(line[["low", "high"]].to_numpy() - line[["mean"]].to_numpy()).T),
    )
    ax.errorbar(
        x, line["mean"], yerr=errors, color=look.colour, linestyle=look.dash, linewidth=1.1, capsize=1.5, zorder=3
    )
    for layer, at, mean in zip(line.index, x, line["mean"], strict=True):
        fill = look.colour if layer in edited else "white"
        ax.plot([at], [mean], marker=look.marker, color=look.colour, markerfacecolor=fill, zorder=4)
