"""Editors beside their control arms: one row per model and controlled editor, one column per measurement."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from normgrowth.claims.collapse import WINDOW, sliding
from normgrowth.errors import ArtefactError
from normgrowth.families import controlled_editor
from normgrowth.figures import panels
from normgrowth.figures.style import Style

TITLES = (
    "norm of edited matrices,\nrelative to unedited",
    f"S just after the edit,\nlast {WINDOW} edits",
    f"NS just after the edit,\nlast {WINDOW} edits",
    "perplexity,\nrelative to unedited",
)


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw tables `norms`, `scores` and `downstream`.

    Raises:
        ArtefactError: when the study has no control arms.
    """
    scores = panels.edited_runs(tables["scores"], "scores")
    pairs = sorted(set(scores[["model", "editor"]].itertuples(index=False, name=None)))
    arms: dict[tuple[str, str], list[str]] = {}
    for model, editor in pairs:
        if controlled := controlled_editor(editor):
            arms.setdefault((model, controlled), []).append(editor)
    if not arms:
        raise ArtefactError("table scores has no control arms to draw: add one to the study's editors")
    figure, axes = panels.grid(style, len(arms), len(TITLES), 0.85, sharex=True)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width * 0.68, height)
    drawn = []
    for line, ((model, controlled), mine) in zip(axes, arms.items(), strict=True):
        shown = [controlled] * ((model, controlled) in pairs) + style.order(mine)
        drawn += shown
        for editor in shown:
            _draw_run(line, {name: _rows(tables[name], model, editor) for name in tables}, style.look(editor))
        line[0].set_ylabel(f"{model}\n{controlled}")
        panels.unedited_line(line[0])
        panels.unedited_line(line[3])
        for ax in (line[0], line[3]):
            panels.scale(ax, np.concatenate([artist.get_ydata() for artist in ax.get_lines()[:-1]]))
        for ax in line[1:3]:
            ax.set_ylim(-0.03, 1.05)
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        for ax in line:
            panels.edits_axis(ax, label=panels.at_bottom(ax))
    for ax, title in zip(axes[0], TITLES, strict=True):
        ax.set_title(title)
    panels.add_legend(figure, [panels.unedited_handle(), *panels.editor_handles(style, drawn)])
    return figure


def _rows(table: pd.DataFrame, model: str, editor: str) -> pd.DataFrame:
    return table[(table["model"] == model) & (table["editor"] == editor)]


def _draw_run(line, tables: dict[str, pd.DataFrame], look) -> None:
    """One run's four curves, each the mean over edit orders."""
    norms = tables["norms"]
    norms = norms[norms["role"] == "edited"]
    curves = [
        np.exp(np.log(norms["frobenius_ratio"]).groupby(norms["step"]).mean()),
        _over_orders(tables["scores"], sliding),
        _over_orders(tables["scores"], _neighbourhood),
        _perplexity(tables["downstream"]),
    ]
    for ax, curve in zip(line, curves, strict=True):
        curve = curve[np.isfinite(curve)]
        every = max(1, len(curve) // 6)
        style = {"color": look.colour, "linestyle": look.dash, "marker": look.marker, "markevery": (every - 1, every)}
        ax.plot(curve.index, curve.to_numpy(), **style)


def _over_orders(scores: pd.DataFrame, curve) -> pd.Series:
    return pd.concat([curve(order) for _, order in scores.groupby("order")]).groupby(level=0).mean()


def _neighbourhood(scores: pd.DataFrame) -> pd.Series:
    """NS of the last facts, each just after its own edit, by the step that ends the window."""
    immediate = scores[scores["moment"] == "immediate"].sort_values("edited_at", kind="stable")
    return immediate.set_index(immediate["edited_at"].astype(int))["ns"].rolling(WINDOW).mean().dropna()


def _perplexity(downstream: pd.DataFrame) -> pd.Series:
    perplexity = downstream[downstream["metric"] == "perplexity"].groupby("step")["value"].mean()
    return perplexity / perplexity.iloc[0]
