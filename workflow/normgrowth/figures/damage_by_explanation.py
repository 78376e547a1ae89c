"""Damage beside what could explain it: growth of the norm, drift, gain of outputs, turn; one named point per editor."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from normgrowth.analysis.explanations import EXPLANATIONS, PERPLEXITY, SCORES, Ranking, rank_explanations
from normgrowth.analysis.side_by_side import COLUMNS, at_the_end, side_by_side
from normgrowth.editors.families import (
    CONTROL,
    FINE_TUNING,
    HYPERNETWORK,
    LOCATE,
    PLURAL,
    REGRESSION,
    REMEDY,
    family_of,
    in_order,
    is_control,
)
from normgrowth.figures import panels, series
from normgrowth.figures.grid import blocks
from normgrowth.figures.labels import label_points
from normgrowth.figures.ratio_axis import ratio_axis
from normgrowth.figures.style import Style

AXES = {
    "norm_ratio": "norm of the edited matrices\nrelative to unedited",
    "drift": "drift ‖W − W₀‖ / ‖W₀‖",
    "output_gain": "norm of the edited layers' outputs\non text, relative to unedited",
    "rotation": "turn of the leading singular\nsubspaces, degrees",
}
"""Labels of the explanations' axes."""

DAMAGE = {
    PERPLEXITY: "perplexity of held-out text\nrelative to unedited",
    SCORES: "S of edited facts lost since\ntheir own edits, points",
}

MARKERS = {
    LOCATE: "o",
    FINE_TUNING: "s",
    HYPERNETWORK: "D",
    REGRESSION: "v",
    REMEDY: "*",
    CONTROL: "^",
    None: "P",
}
"""Marker of each family: names tell the editors."""

FEW = 10
"""Number of editors from which on panels are higher, so that their names find room."""

HEIGHT_OF_ONE = 0.1  # inches


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw tables `norms`, `spectra`, `activations`, `scores` and `downstream`."""
    norms = series.edited_runs(tables["norms"], "norms")
    ends = at_the_end(side_by_side(tables))
    models = sorted(norms["model"].unique())
    editors = {model: set(norms.loc[norms["model"] == model, "editor"]) for model in models}
    height = style.settings.panel_height + HEIGHT_OF_ONE * max(0, max(map(len, editors.values())) - FEW)
    figure, parts = blocks(style, models, [height * len(DAMAGE)] * len(models))
    named: list[tuple[Axes, pd.DataFrame, str, str]] = []
    for part, model in zip(parts, models, strict=True):
        axes = part.subplots(len(DAMAGE), len(EXPLANATIONS), squeeze=False, sharex="col", sharey="row")
        table = ends[ends["model"] == model]
        for row, damage in zip(axes, DAMAGE, strict=True):
            ranking = rank_explanations(table, damage)
            for ax, explanation in zip(row, EXPLANATIONS, strict=True):
                shown = table[np.isfinite(table[[explanation, damage]].astype(float)).all(axis=1)]
                _panel(ax, shown, explanation, damage, style)
                ax.set_title(
                    _correlation(ranking, explanation), fontsize=style.settings.font_size - 1, fontweight="normal"
                )
                named.append((ax, shown, explanation, damage))
            _damage_axis(row[0], table[damage], damage)
        for ax, explanation in zip(axes[-1], EXPLANATIONS, strict=True):
            ax.set_xlabel(AXES[explanation])
            _explanation_axis(ax, table[explanation], explanation)
        _say_what_is_missing(part, table, editors[model], style)
    families = {family_of(editor) for present in editors.values() for editor in present}
    panels.add_legend(figure, _handles(family for family in MARKERS if family in families), entry_width=1.5)
    figure.draw_without_rendering()  # names are placed in the final panels
    for ax, shown, explanation, damage in named:
        label_points(ax, [*shown[explanation]], [*shown[damage]], [*shown["editor"]], style.settings.font_size - 2.5)
    return figure


def _panel(ax: Axes, shown: pd.DataFrame, explanation: str, damage: str, style: Style) -> None:
    """The editors as points, in their own colours and the marker of their family."""
    for editor, x, y in zip(shown["editor"], shown[explanation], shown[damage], strict=True):
        colour = style.look(editor).colour
        fill = "white" if is_control(editor) else colour
        ax.plot(x, y, color=colour, marker=MARKERS[family_of(editor)], markerfacecolor=fill, ls="none", zorder=4)
    panels.unedited_line(ax, 1.0 if damage == PERPLEXITY else 0.0)


def _correlation(ranking: Ranking, explanation: str) -> str:
    """The rank correlation over a panel; nothing where there are too few editors."""
    found = next((entry.over_editors for entry in ranking.explained if entry.name == explanation), None)
    if found is None or not np.isfinite(found.estimate):
        return ""
    bounds = f" ({found.low:+.2f} to {found.high:+.2f})" if found.bounded else ""
    return f"ρ = {found.estimate:+.2f}{bounds}"


def _damage_axis(ax: Axes, values: pd.Series, damage: str) -> None:
    finite = values[np.isfinite(values)]
    ax.set_ylabel(DAMAGE[damage])
    if damage == PERPLEXITY:
        ratio_axis(ax, finite, "y")
        return
    ax.set_ylim(*_wider(min([-0.01, *finite]), max([0.01, *finite])))
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))


def _explanation_axis(ax: Axes, values: pd.Series, explanation: str) -> None:
    finite = values[np.isfinite(values)]
    if explanation == "drift" and (finite > 0).all() and len(finite):
        low, high = _wider(np.log10(finite.min()), np.log10(finite.max()), least=0.5)
        panels.scale(ax, finite, log=True, which="x")
        ax.set_xlim(10**low, 10**high)
        steps = (1, 2, 5) if high - low < 1.3 else (1, 3) if high - low < 2 else (1,)
        ax.xaxis.set_major_locator(LogLocator(subs=steps))
    elif COLUMNS[explanation].kind == "ratio":
        ratio_axis(ax, finite, "x")
    else:
        ax.set_xlim(*_wider(0.0, max([1.0, *finite])))
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 1.5, 2, 3, 5, 10]))


def _wider(low: float, high: float, least: float = 0.0) -> tuple[float, float]:
    """Limits of an axis with some room on both sides of its values."""
    room = 0.07 * max(high - low, least)
    return low - room, high + room


def _say_what_is_missing(part: SubFigure, table: pd.DataFrame, editors: set[str], style: Style) -> None:
    """A line under the panels that names the editors without a point in each of them."""
    whole = np.isfinite(table[[*EXPLANATIONS, *DAMAGE]].astype(float)).all(axis=1)
    missing = in_order(editors - set(table.loc[whole, "editor"]))
    if missing:
        said = " · ".join(["not in every panel, since not finite or not measured", *missing])
        part.supxlabel(said, x=0.01, ha="left", fontsize=style.settings.font_size - 1)


def _handles(families: Iterable[str | None]) -> list[Line2D]:
    """Legend entries of families."""
    return [
        Line2D(
            [],
            [],
            color="#444444",
            marker=MARKERS[family],
            markerfacecolor="white" if family == CONTROL else "#444444",
            ls="none",
            label=PLURAL[family],
        )
        for family in families
    ]
