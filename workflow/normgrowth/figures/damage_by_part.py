"""What the norm and what the direction of the edited matrices do to perplexity, and the model under altered weights."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from normgrowth.analysis import effects
from normgrowth.analysis.intervals import Interval
from normgrowth.analysis.two_by_two import at_last_step, log_perplexity, perplexity_at_efficacy
from normgrowth.errors import ArtefactError
from normgrowth.figures import panels, series
from normgrowth.figures.grid import blocks
from normgrowth.figures.style import UNEDITED_COLOUR, Style

ROW_HEIGHT = 0.24  # inches
HEAD = 0.95  # inches of a block beyond its rows


class Part(NamedTuple):
    """A part of the whole change: its name in the legend, colour, marker, and distance from the row's middle."""

    label: str
    colour: str
    marker: str
    aside: float


PARTS = {
    "norm_effect": Part("norm", "#D55E00", "o", -0.22),
    "direction_effect": Part("direction", "#0072B2", "s", 0.0),
    "interaction": Part("only both together", "#8A8A8A", "d", 0.22),
}

MATCHED = "matched"
"""The model on the path from W₀ to Wₜ at the first point where ES is 0.9: editors compared at equal efficacy."""

MODELS = {
    "norm": "W₀ at the norm of Wₜ",
    "direction": "Wₜ at the norm of W₀",
    "edited": "edited model Wₜ",
    MATCHED: "part of the way, where ES is 0.9",
    "gain": "W₀ scaled to the output of Wₜ",
    "output_norm": "output length put back",
    "output_direction": "output direction put back",
    "clipped": "singular values clipped",
    "rotated": "W₀ turned, norm kept",
    "random_drift": "random drift, same values",
    "ablated": "edited MLPs silenced",
}
"""Rows of the second panel, from the top; those that were not measured are left out."""


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `norm_direction`."""
    rows = series.edited_runs(tables["norm_direction"], "norm_direction")
    if rows.empty:
        raise ArtefactError("table norm_direction has no rows: set measure.arms to primary or all")
    models = sorted(rows["model"].unique())
    of_model = {model: style.order(sorted(rows.loc[rows["model"] == model, "editor"].unique())) for model in models}
    heights = [HEAD + ROW_HEIGHT * max(len(editors), 5) for editors in of_model.values()]
    figure, parts = blocks(style, models, heights)
    shown: set[str] = set()
    for part, model in zip(parts, models, strict=True):
        effects_panel, models_panel = part.subplots(1, 2, width_ratios=[1.15, 1])
        mine = {
            editor: at_last_step(rows[(rows["model"] == model) & (rows["editor"] == editor)])
            for editor in of_model[model]
        }
        _effects(effects_panel, mine)
        shown |= _models(models_panel, mine, style)
    handles = [Line2D([], [], color=p.colour, marker=p.marker, ls="none", label=p.label) for p in PARTS.values()]
    groups = {"left: effect of": handles, "right: editor": panels.editor_handles(style, shown, lines=False)}
    panels.add_grouped_legend(figure, groups)
    return figure


def _effects(ax: Axes, runs: dict[str, pd.DataFrame]) -> None:
    """A row for each editor: the parts of its change of perplexity as factors, with intervals over orders."""
    values = [1.0]
    for row, rows in enumerate(runs.values()):
        corners = log_perplexity(rows)
        for name, part in PARTS.items():
            interval = effects.crossed(getattr(corners, name)).exp().interval
            values += _point(ax, interval, row + part.aside, part)
    orders = [rows["order"].nunique() for rows in runs.values()]
    labels = [f"{editor} ({n})" if max(orders) > 1 else editor for editor, n in zip(runs, orders, strict=True)]
    ax.set_yticks(range(len(runs)), labels)
    ax.set_ylim(len(runs) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
    _factors(ax, values)
    ax.set_title("factor of perplexity by part")
    ax.set_xlabel("factor of perplexity (edit orders in brackets)" if max(orders) > 1 else "factor of perplexity")


def _point(ax: Axes, interval: Interval, height: float, part: Part) -> list[float]:
    """Draw an estimate with its interval; return what the axis must hold, which is not all of a very wide interval."""
    if not np.isfinite(interval.estimate):
        return []
    ax.plot(interval.estimate, height, color=part.colour, marker=part.marker, ls="none", zorder=4)
    if interval.bounded:
        ax.plot([interval.low, interval.high], [height, height], color=part.colour, linewidth=1.1, zorder=3)
    bounds = [bound for bound in (interval.low, interval.high) if 0.1 < bound / interval.estimate < 10]
    return [interval.estimate, *bounds]


def _models(ax: Axes, runs: dict[str, pd.DataFrame], style: Style) -> set[str]:
    """A row for each altered model: perplexity over the unedited one's, of the editors measured with all arms, or of
    those with the most orders; return them."""
    complete = [editor for editor, rows in runs.items() if "ablated" in set(rows["arm"])]
    most = max(rows["order"].nunique() for rows in runs.values())
    chosen = complete or [editor for editor, rows in runs.items() if rows["order"].nunique() == most]
    by_editor = {editor: _ratios(runs[editor]) for editor in chosen}
    names = [name for name in MODELS if any(name in ratios.index for ratios in by_editor.values())]
    values = [1.0]
    for number, (editor, ratios) in enumerate(by_editor.items()):
        look = style.look(editor)
        aside = 0.5 * ((number + 0.5) / len(chosen) - 0.5)
        for row, name in enumerate(names):
            if name in ratios.index and np.isfinite(ratios[name]):
                ax.plot(ratios[name], row + aside, color=look.colour, marker=look.marker, ls="none", zorder=4)
                values.append(ratios[name])
    ax.set_yticks(range(len(names)), [MODELS[name] for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
    _factors(ax, values)
    ax.set_title("the model with altered weights")
    ax.set_xlabel("perplexity over unedited")
    return set(chosen)


def _ratios(rows: pd.DataFrame) -> pd.Series:
    """Perplexity over the unedited model's by altered model, geometric mean over orders."""
    losses = rows[(rows["metric"] == "log_perplexity") & rows["arm"].isin([*MODELS, "unedited"])]
    means = losses.astype({"value": float}).groupby("arm")["value"].mean()
    ratios = np.exp(means - means["unedited"])
    if "path" in set(rows["arm"]):
        by_order = [perplexity_at_efficacy(order) for _, order in rows.groupby("order")]
        matched = [change for change in by_order if change is not None]
        if len(matched) == len(by_order):
            ratios[MATCHED] = np.exp(np.mean(matched))
    return ratios


def _factors(ax: Axes, values: list[float]) -> None:
    ax.axvspan(1 / 1.1, 1.1, color="#F0F0F0", zorder=0)
    ax.axvline(1.0, color=UNEDITED_COLOUR, linewidth=0.9, zorder=1)
    low, high = min(*values, 1 / 1.2), max(*values, 1.2)
    ax.set(xscale="log", xlim=(low / 1.08, high * 1.08))
    ax.xaxis.set_major_locator(FixedLocator(_ticks(low, high)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    ax.xaxis.set_minor_locator(NullLocator())


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two factors, at most about eight of them, 1 always among them."""
    for steps in ((1, 1.1, 1.2, 1.35, 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**power for power in range(-6, 13) for step in steps]
        inside = [tick for tick in ticks if low / 1.05 <= tick <= high * 1.05]
        if len(inside) <= 8:
            return inside
    return [tick for tick in inside if round(np.log10(tick)) % 2 == 0]
