"""Layouts: panels for lines of several quantities, models and editors.

A few editors share a panel. Many are split over panels: each model is a block of rows, one row per quantity
and one column per family of editors. Panels of a row share their y axis, so that families compare.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from normgrowth.editors.families import PLURAL, by_family, wrapped_editor
from normgrowth.figures import panels
from normgrowth.figures.style import THIN_WIDTH, Style

MANY = 8
"""Most editors whose lines can be told apart in one panel."""

CROWD = 5
"""Number of editors beyond which a family's panels are wider than the others'."""

PAGE_WIDTH = 10.8  # inches: the report shows a wider figure smaller than it is
NAME_HEIGHT = 0.3  # inches, of a model's name over its block
THIN = "editor as it is"

Few = Callable[..., tuple[Figure, dict[tuple[int, str], Axes]]]
"""Maker of a figure whose panels, by (number of label, model), all editors share."""


class Panel(NamedTuple):
    """One panel: its axes, the number of the quantity, the model, and which editors it shows."""

    axes: Axes
    row: int
    model: str
    editors: list[str]
    wrapped: list[str]
    """Editors that the remedies or control arms of this panel stand around, to be drawn thin for comparison."""

    def shift(self, editor: str, span: float, room: float) -> float:
        """Distance aside of an editor's points, so that bars do not hide each other: `room` of `span` per editor."""
        return room * span * (self.editors.index(editor) - (len(self.editors) - 1) / 2)

    @property
    def lines(self) -> list[tuple[str, bool]]:
        """Every editor to draw, and whether it is drawn thin."""
        return [(editor, True) for editor in self.wrapped] + [(editor, False) for editor in self.editors]


class Layout(NamedTuple):
    """The figure, its panels, and all editors in the order of the legend."""

    figure: Figure
    panels: list[Panel]
    editors: list[str]
    split: bool

    @property
    def models(self) -> list[str]:
        """The models, in the order of their panels."""
        return list(dict.fromkeys(panel.model for panel in self.panels))

    def finish(self, style: Style, extra: Sequence[Line2D] = (), first: Sequence[Line2D] | None = None) -> Figure:
        """Add the legend: `first` (by default the unedited model's line), every editor, and what else is drawn."""
        first = [panels.unedited_handle()] if first is None else first
        if not self.split:
            panels.add_legend(self.figure, [*first, *panels.editor_handles(style, self.editors), *extra])
            return self.figure
        if any(panel.wrapped for panel in self.panels):
            extra = [*extra, Line2D([], [], color="#333333", linewidth=THIN_WIDTH, label=THIN)]
        families = {PLURAL[family]: members for family, members in by_family(self.editors).items()}
        panels.add_grouped_legend(
            self.figure,
            {name: panels.editor_handles(style, members) for name, members in families.items()}
            | ({"in all panels": [*first, *extra]} if first or extra else {}),
        )
        return self.figure


def grid(style: Style, rows: int, columns: int, height: float = 1.0, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure of rows x columns panels; `height` scales the height of a panel."""
    settings = style.settings
    # A lone panel is made wider: its legend and title need the room.
    width = settings.panel_width * (1.35 if columns == 1 else columns)
    figure = Figure(figsize=(width, settings.panel_height * height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def grid_by_model(
    style: Style, labels: Sequence[str], models: Sequence[str], **options: Any
) -> tuple[Figure, dict[tuple[int, str], Axes]]:
    """One row of panels per label and one column per model; two columns of labels where there is a single model.

    Returns:
        The figure, and its panels by (number of label, model), titled and labelled.
    """
    if len(models) > 1:
        figure, axes = grid(style, len(labels), len(models), 0.78, sharex="col", **options)
        found = {(row, model): axes[row, column] for row in range(len(labels)) for column, model in enumerate(models)}
        for model in models:
            found[0, model].set_title(model)
    else:
        figure, axes = grid(style, -(-len(labels) // 2), min(2, len(labels)), 0.85, sharex=True, **options)
        found = {(row, models[0]): axes[row // 2, row % 2] for row in range(len(labels))}
        for unused in axes.ravel()[len(labels) :]:
            unused.set_visible(False)
        figure.suptitle(models[0], fontsize=style.settings.font_size + 0.5, fontweight="bold")
    for (row, model), ax in found.items():
        if model == models[0]:
            ax.set_ylabel(labels[row])
    return figure, found


def row_by_model(
    style: Style, labels: Sequence[str], models: Sequence[str], **options: Any
) -> tuple[Figure, dict[tuple[int, str], Axes]]:
    """One panel per model side by side, for a single quantity; as `grid_by_model`."""
    figure, axes = grid(style, 1, len(models), **options)
    for ax, model in zip(axes[0], models, strict=True):
        ax.set_title(model)
    axes[0, 0].set_ylabel(labels[0])
    return figure, {(0, model): ax for ax, model in zip(axes[0], models, strict=True)}


def at_bottom(ax: Axes) -> bool:
    """True where no panel stands under this one, so that it carries the label of the x axis."""
    place = ax.get_subplotspec()
    return place is not None and place.is_last_row()


def lay_out(style: Style, labels: Sequence[str], rows: pd.DataFrame, few: Few, **options: Any) -> Layout:
    """Panels for each quantity and model of a table.

    Args:
        labels: labels of the quantities' y axes.
        rows: rows of edited runs, with columns `model` and `editor`.
        few: makes the figure and its panels by (number of label, model) where all editors share a panel, from style,
            labels, models and options.
        options: `sharey=True` where all panels have the same y axis.
    """
    models, editors = sorted(rows["model"].unique()), style.order(sorted(rows["editor"].unique()))
    if len(editors) <= MANY:
        figure, axes = few(style, labels, models, **options)
        return Layout(figure, [Panel(ax, row, model, editors, []) for (row, model), ax in axes.items()], editors, False)
    of_model = {model: set(rows.loc[rows["model"] == model, "editor"]) for model in models}
    figure, made = _split(style, labels, of_model, editors)
    return Layout(figure, made, editors, True)


def blocks(
    style: Style, models: Sequence[str], heights: Sequence[float], width: float = PAGE_WIDTH
) -> tuple[Figure, np.ndarray]:
    """A figure of one block per model under its name, of these heights in inches, and the blocks."""
    heights = [height + NAME_HEIGHT for height in heights]
    figure = Figure(figsize=(width, sum(heights)), layout=ConstrainedLayoutEngine(h_pad=0.07))
    # Names stand at the left, where a reader of a narrow window begins.
    parts = figure.subfigures(len(models), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, model in zip(parts, models, strict=True):
        part.suptitle(model, x=0.01, ha="left", fontsize=style.settings.font_size + 2, fontweight="bold")
    return figure, parts


def _split(
    style: Style, labels: Sequence[str], of_model: dict[str, set[str]], editors: list[str]
) -> tuple[Figure, list[Panel]]:
    families = by_family(editors)
    height = style.settings.panel_height * (1.0 if len(labels) == 1 else 0.72)
    width = min(PAGE_WIDTH, style.settings.panel_width * max(len(families), 1.6))
    figure, parts = blocks(style, list(of_model), [height * len(labels)] * len(of_model), width)
    widths = [1.3 if len(members) > CROWD else 1.0 for members in families.values()]
    made = []
    for part, (model, present) in zip(parts, of_model.items(), strict=True):
        axes = part.subplots(len(labels), len(families), squeeze=False, sharex=True, sharey="row", width_ratios=widths)
        shown = {family: [editor for editor in members if editor in present] for family, members in families.items()}
        leftmost = next(column for column, members in enumerate(shown.values()) if members)
        for column, (family, members) in enumerate(shown.items()):
            for row, label in enumerate(labels):
                ax = axes[row, column]
                if not members:
                    ax.set_visible(False)
                    continue
                if row == 0:
                    ax.set_title(PLURAL[family])
                if column == leftmost:
                    ax.set_ylabel(label)
                    ax.tick_params(labelleft=True)
                others = {wrapped_editor(editor) for editor in members}
                made.append(Panel(ax, row, model, members, [e for e in editors if e in others & present]))
    return figure, made
