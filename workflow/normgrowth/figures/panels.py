"""What several figures share: grids of panels, one look per editor, scales, bands, crosses and the legend."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from normgrowth.analysis.effects import of_mean
from normgrowth.errors import ArtefactError
from normgrowth.figures.style import UNEDITED_COLOUR, Style
from normgrowth.layout import UNEDITED

POINTS = 300
"""Most points of one line: more would not be seen, and would make files large."""

LOG_BEYOND = 5.0
"""Ratio of largest to smallest value beyond which an axis is logarithmic."""

LEGEND_HEIGHT = 0.22  # inches per row
GROUP_DEPTH = 5  # entries in a column of a legend by groups, where no group needs more than two columns
LEGEND_ENTRY_WIDTH = 1.1  # inches, for an editor's name


def edited_runs(frame: pd.DataFrame, what: str) -> pd.DataFrame:
    """Rows of edited runs, refused when there are none.

    Raises:
        ArtefactError: when no row is left to draw.
    """
    frame = frame[frame["editor"] != UNEDITED]
    if frame.empty:
        raise ArtefactError(f"table {what} has no rows to draw: measure at least one editor")
    return frame


def edited_layers(norms: pd.DataFrame, model: str) -> dict[str, set[int]]:
    """The layers that each editor of a model edits, from table `norms`."""
    rows = norms[(norms["model"] == model) & (norms["role"] == "edited")]
    return {editor: set(part["layer"]) for editor, part in rows.groupby("editor")}


def grid(style: Style, rows: int, columns: int, height: float = 1.0, **options) -> tuple[Figure, np.ndarray]:
    """A figure of rows x columns panels; `height` scales the height of a panel."""
    settings = style.settings
    # A lone panel is made wider: its legend and title need the room.
    width = settings.panel_width * (1.35 if columns == 1 else columns)
    figure = Figure(figsize=(width, settings.panel_height * height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def grid_by_model(
    style: Style, labels: Sequence[str], models: Sequence[str], **options
) -> tuple[Figure, dict[tuple[int, str], Axes]]:
    """One row of panels per label and one column per model; two columns of labels where there is a single model.

    Returns:
        The figure, and its panels by (number of label, model), titled and labelled.
    """
    if len(models) > 1:
        figure, axes = grid(style, len(labels), len(models), 0.78, sharex="col", **options)
        panels = {(row, model): axes[row, column] for row in range(len(labels)) for column, model in enumerate(models)}
        for model in models:
            panels[0, model].set_title(model)
    else:
        figure, axes = grid(style, -(-len(labels) // 2), min(2, len(labels)), 0.85, sharex=True, **options)
        panels = {(row, models[0]): axes[row // 2, row % 2] for row in range(len(labels))}
        for unused in axes.ravel()[len(labels) :]:
            unused.set_visible(False)
        figure.suptitle(models[0], fontsize=style.settings.font_size + 0.5, fontweight="bold")
    for (row, model), ax in panels.items():
        if model == models[0]:
            ax.set_ylabel(labels[row])
    return figure, panels


def row_by_model(
    style: Style, labels: Sequence[str], models: Sequence[str], **options
) -> tuple[Figure, dict[tuple[int, str], Axes]]:
    """One panel per model side by side, for a single quantity; as `grid_by_model`."""
    figure, axes = grid(style, 1, len(models), **options)
    for ax, model in zip(axes[0], models, strict=True):
        ax.set_title(model)
    axes[0, 0].set_ylabel(labels[0])
    return figure, {(0, model): ax for ax, model in zip(axes[0], models, strict=True)}


def at_bottom(ax: Axes) -> bool:
    """Whether no panel stands under this one, so that it carries the label of the x axis."""
    return ax.get_subplotspec().is_last_row()


def add_legend(figure: Figure, handles: Sequence[Line2D], entry_width: float = LEGEND_ENTRY_WIDTH) -> None:
    """One legend under all panels; the figure grows by its height, so panels keep theirs."""
    handles = list(handles)
    if not handles:
        return
    width, height = figure.get_size_inches()
    longest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, min(len(handles), int(width / max(entry_width, 0.45 + 0.075 * longest))))
    rows = -(-len(handles) // columns)
    figure.set_size_inches(width, height + LEGEND_HEIGHT * rows + 0.1)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=2.6, columnspacing=1.4)


def add_grouped_legend(figure: Figure, groups: dict[str, Sequence[Line2D]]) -> None:
    """One legend under all panels in which every group has columns of its own under its name."""
    largest = max(map(len, groups.values()))
    depth = max(min(GROUP_DEPTH, largest), -(-largest // 2))
    handles, heads, columns = [], [], 0
    for name, members in groups.items():
        for start in range(0, len(members), depth):
            part = list(members[start : start + depth])
            heads.append(len(handles))
            blanks = [_blank() for _ in range(depth - len(part))]
            # A second column of a group has an empty head, so that its entries stand level with the first one's.
            handles += [_blank("" if start else name), *part, *blanks]
            columns += 1
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + LEGEND_HEIGHT * (depth + 1) + 0.1)
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, handlelength=2.6, columnspacing=1.2
    )
    for head in heads:
        legend.get_texts()[head].set_fontweight("bold")


def _blank(label: str = "") -> Line2D:
    return Line2D([], [], linestyle="none", label=label or " ")


def editor_handles(style: Style, editors: Iterable[str], lines: bool = True) -> list[Line2D]:
    """Legend entries of editors, in the order of every legend."""
    handles = []
    for editor in style.order(sorted(set(editors))):
        look = style.look(editor)
        dash = look.dash if lines else "none"
        handles.append(Line2D([], [], color=look.colour, marker=look.marker, linestyle=dash, label=editor))
    return handles


def cross_handle() -> Line2D:
    """Legend entry of the mark of collapse."""
    return Line2D([], [], **_CROSS, label="collapsed")


def cross(axes: Axes, x: float, y: float, colour: str) -> None:
    """Mark the last finite point of a line that ends in a collapse."""
    axes.plot([x], [y], **{**_CROSS, "color": colour}, zorder=6)


_CROSS = {"marker": "x", "markersize": 8, "markeredgewidth": 2.2, "linestyle": "none", "color": "#222222"}


def scale(axes: Axes, values: Iterable[float], log: bool | None = None, which: str = "y") -> None:
    """A logarithmic y (or x) axis with plain numbers where positive values span a wide range (or as `log` says)."""
    values = np.array([v for v in values if np.isfinite(v) and v > 0])
    if log is None:
        log = wide(values)
    axis = axes.yaxis if which == "y" else axes.xaxis
    if not log or not len(values):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        return
    axes.set(**{f"{which}scale": "log"})
    decades = np.log10(values.max() / values.min())
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2.5 else (1,), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def wide(values: Iterable[float]) -> bool:
    """Whether positive values span more than `LOG_BEYOND`."""
    values = np.array([v for v in values if np.isfinite(v) and v > 0])
    return bool(len(values)) and values.max() / values.min() > LOG_BEYOND


def edits_axis(axes: Axes, label: bool = True) -> None:
    """The x axis of everything that is drawn against edits."""
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlim(left=0)
    if label:
        axes.set_xlabel("edits applied")


def layer_axis(axes: Axes, layers: int, label: bool = True) -> None:
    """The x axis of everything that is drawn by layer."""
    axes.xaxis.set_major_locator(MaxNLocator(min(layers, 8), integer=True))
    axes.set_xlim(-0.5, layers - 0.5)
    if label:
        axes.set_xlabel("layer")


def unedited_line(axes: Axes, value: float = 1.0) -> None:
    """The value of the unedited model."""
    axes.axhline(value, color=UNEDITED_COLOUR, linewidth=0.9, linestyle=(0, (1, 1.5)), zorder=1)


def unedited_handle() -> Line2D:
    """Legend entry of `unedited_line`."""
    return Line2D([], [], color=UNEDITED_COLOUR, linewidth=0.9, linestyle=(0, (1, 1.5)), label="unedited")


def over_orders(frame: pd.DataFrame, value: str, log: bool = False) -> pd.DataFrame:
    """Mean of `value` over edit orders by step, with bounds `low`, `high` where there are several orders.

    Steps that some order did not reach are left out. Bounds are 95% t intervals from three orders on and the range of
    two; with `log`, mean and interval are taken of the logarithm.
    """
    table = frame.pivot(index="step", columns="order", values=value)
    forward, back = (np.log, np.exp) if log else (np.asarray, np.asarray)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = forward(table.to_numpy(dtype=float))
    result = pd.DataFrame({"mean": back(values.mean(axis=1)), "low": np.nan, "high": np.nan}, index=table.index)
    if values.shape[1] == 2:
        result["low"], result["high"] = back(values.min(axis=1)), back(values.max(axis=1))
    elif values.shape[1] > 2:
        intervals = [of_mean(row).interval for row in values]
        result["low"] = back(np.array([i.low for i in intervals]))
        result["high"] = back(np.array([i.high for i in intervals]))
    return result


def thin(steps: Sequence[int]) -> np.ndarray:
    """At most `POINTS` of sorted steps, the first and last among them."""
    steps = np.asarray(steps)
    if len(steps) <= POINTS:
        return steps
    return steps[np.unique(np.linspace(0, len(steps) - 1, POINTS).round().astype(int))]


def finite_part(series: pd.DataFrame, column: str = "mean") -> tuple[pd.DataFrame, bool]:
    """Rows before the first that is not finite, and whether there was one."""
    sound = np.isfinite(series[column].to_numpy(dtype=float))
    if sound.all():
        return series, False
    return series.iloc[: int(np.argmin(sound))], True
