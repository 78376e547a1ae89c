"""Growth of the norm beside damage: one point per editor at the end of its run."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from normgrowth.analysis.ability_loss import damage_by_editor
from normgrowth.analysis.effects import rank_correlation
from normgrowth.editors.families import is_control
from normgrowth.figures import panels, series
from normgrowth.figures.grid import blocks
from normgrowth.figures.style import Style

QUANTITIES = {
    "perplexity": "perplexity of held-out text\nrelative to unedited",
    "s": "S of edited facts\nat the end",
    "cloze": "cloze of facts that\nno edit is about, right",
    "residual": "residual norm on text\nrelative to unedited",
}


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw tables `norms`, `activations`, `scores` and `downstream`."""
    names = ("norms", "activations", "scores", "downstream")
    frames = [series.edited_runs(tables[name], name) for name in names]
    models = sorted(frames[0]["model"].unique())
    figure, parts = blocks(style, models, [style.settings.panel_height * 0.95] * len(models))
    editors = set()
    for part, model in zip(parts, models, strict=True):
        row = part.subplots(1, len(QUANTITIES), squeeze=False)[0]
        table = damage_by_editor(*(frame[frame["model"] == model] for frame in frames))
        table["norm"], table["perplexity"] = np.exp(table["log_norm"]), np.exp(table["log_perplexity"])
        editors |= set(table.index)
        for ax, (quantity, label) in zip(row, QUANTITIES.items(), strict=True):
            _panel(ax, table, quantity, style)
            ax.set_ylabel(label)
            ax.set_xlabel("norm of the edited matrices\nrelative to unedited")
    panels.add_legend(figure, panels.editor_handles(style, editors, lines=False), entry_width=1.5)
    return figure


def _panel(ax: Axes, table: pd.DataFrame, quantity: str, style: Style) -> None:
    known = table[np.isfinite(table["norm"]) & np.isfinite(table[quantity].astype(float))]
    for editor, point in known.iterrows():
        look = style.look(editor)
        fill = "white" if is_control(editor) else look.colour
        ax.plot(point["norm"], point[quantity], color=look.colour, marker=look.marker, markerfacecolor=fill, ls="none")
    edited = table[~table.index.map(is_control)]
    rho = rank_correlation(edited["norm"], edited[quantity]).interval
    if rho.bounded:
        text = f"ρ = {rho.estimate:+.2f} ({rho.low:+.2f} to {rho.high:+.2f})"
        ax.set_title(text, fontsize=style.settings.font_size - 1, fontweight="normal")
    panels.scale(ax, known["norm"], log=True, which="x")
    if quantity in ("s", "cloze"):
        ax.set_ylim(-0.03, 1.05)
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    else:
        panels.unedited_line(ax)
        panels.scale(ax, [1.0, *known[quantity]])
