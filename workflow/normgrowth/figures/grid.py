"""Where lines of several quantities, models and editors are drawn.

Few editors share a panel. Many are told apart by splitting panels: each model is a block of rows, one row per quantity
and one column per family of editors. Panels of a row share their y axis, so that families compare.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from normgrowth.editors.families import CONTROL, PLURAL, by_family, controlled_editor
from normgrowth.figures import panels
from normgrowth.figures.style import Look, Style

MANY = 8
"""Most editors whose lines can be told apart in one panel."""

CROWD = 5
"""Editors beyond which a family's panels are wider than the others'."""

PAGE_WIDTH = 10.8  # inches: the report shows a wider figure smaller than it is
NAME_HEIGHT = 0.3  # inches, of a model's name over its block
THIN = "controlled editor"


class Panel(NamedTuple):
    """One panel: its axes, the number of the quantity, the model, and which editors it shows."""

    axes: Axes
    row: int
    model: str
    editors: list[str]
    controlled: list[str]
    """Editors that the control arms of this panel control, to be drawn thin for comparison."""

    def shift(self, editor: str, span: float, room: float) -> float:
        """How far aside an editor's points stand, so that bars do not hide each other: `room` of `span` per editor."""
        return room * span * (self.editors.index(editor) - (len(self.editors) - 1) / 2)

    @property
    def lines(self) -> list[tuple[str, bool]]:
        """Every editor to draw, and whether it is drawn thin."""
        return [(editor, True) for editor in self.controlled] + [(editor, False) for editor in self.editors]


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
        if any(panel.controlled for panel in self.panels):
            extra = [*extra, Line2D([], [], color="#333333", linewidth=THIN_WIDTH, label=THIN)]
        families = {PLURAL[family]: members for family, members in by_family(self.editors).items()}
        panels.add_grouped_legend(
            self.figure,
            {name: panels.editor_handles(style, members) for name, members in families.items()}
            | ({"in all panels": [*first, *extra]} if first or extra else {}),
        )
        return self.figure


THIN_WIDTH = 0.8


def lay_out(style: Style, labels: Sequence[str], rows: pd.DataFrame, few: Callable, **options) -> Layout:
    """Panels for each quantity and model of a table.

    Args:
        labels: of the quantities' y axes.
        rows: of edited runs; columns `model` and `editor` say which there are.
        few: makes the figure and its panels by (number of label, model) where all editors share a panel, from style,
            labels, models and options.
        options: `sharey=True` where all panels have the same y axis.
    """
    models, editors = sorted(rows["model"].unique()), style.order(sorted(rows["editor"].unique()))
    if len(editors) <= MANY:
        figure, axes = few(style, labels, models, **options)
        return Layout(figure, [Panel(ax, row, model, editors, []) for (row, model), ax in axes.items()], editors, False)
    of_model = {model: set(rows.loc[rows["model"] == model, "editor"]) for model in models}
    return Layout(*_split(style, labels, of_model, editors), editors, True)


def draw_mean(ax: Axes, line: pd.DataFrame, broke: bool, look: Look, thinly: bool, every=None) -> None:
    """A mean with its band, and the cross of a collapse; `thinly` the bare mean.

    Args:
        every: which points carry a marker; all when left out.
    """
    if thinly:
        ax.plot(line.index, line["mean"], color=look.colour, linewidth=THIN_WIDTH, zorder=3)
        return
    marks = {"marker": look.marker, "markevery": every}
    ax.plot(line.index, line["mean"], color=look.colour, linestyle=look.dash, zorder=4, **marks)
    ax.fill_between(line.index, line["low"], line["high"], color=look.colour, alpha=0.18, linewidth=0, zorder=3)
    if broke and len(line):
        panels.cross(ax, line.index[-1], line["mean"].iloc[-1], look.colour)


def blocks(style: Style, models: Sequence[str], heights: Sequence[float], width: float = PAGE_WIDTH):
    """A figure of one block per model under its name, of these heights in inches, and the blocks."""
    heights = [height + NAME_HEIGHT for height in heights]
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.07)
    # Names stand at the left, where a reader of a narrow window begins.
    parts = figure.subfigures(len(models), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, model in zip(parts, models, strict=True):
        part.suptitle(model, x=0.01, ha="left", fontsize=style.settings.font_size + 2, fontweight="bold")
    return figure, parts


def _split(style: Style, labels: Sequence[str], of_model: dict[str, set[str]], editors: list[str]):
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
                others = {controlled_editor(editor) for editor in members} if family == CONTROL else set()
                made.append(Panel(ax, row, model, members, [e for e in editors if e in others & present]))
    return figure, made
