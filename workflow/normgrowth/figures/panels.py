"""Parts of a panel that figures share: scales, axes, the unedited model's line, the cross of collapse, and legends."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from normgrowth.figures.style import UNEDITED_COLOUR, Style

LOG_BEYOND = 5.0
"""Ratio of largest to smallest value beyond which an axis is logarithmic."""

LEGEND_HEIGHT = 0.22  # inches per row
GROUP_DEPTH = 5  # entries in a column of a legend by groups, where no group needs more than two columns
LEGEND_ENTRY_WIDTH = 1.1  # inches, for an editor's name


def add_legend(figure: Figure, handles: Sequence[Artist], entry_width: float = LEGEND_ENTRY_WIDTH) -> None:
    """One legend under all panels; the figure grows by its height, so panels keep theirs."""
    handles = list(handles)
    if not handles:
        return
    width, height = figure.get_size_inches()
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(len(handles), int(width / max(entry_width, 0.45 + 0.075 * longest))))
    rows = -(-len(handles) // columns)
    figure.set_size_inches(width, height + LEGEND_HEIGHT * rows + 0.1)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=2.6, columnspacing=1.4)


def add_grouped_legend(figure: Figure, groups: Mapping[str, Sequence[Artist]]) -> None:
    """One legend under all panels in which every group has columns of its own under its name."""
    largest = max(map(len, groups.values()))
    depth = max(min(GROUP_DEPTH, largest), -(-largest // 2))
    handles: list[Artist] = []
    heads: list[int] = []
    columns = 0
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
        dash: Any = look.dash if lines else "none"
        handles.append(Line2D([], [], color=look.colour, marker=look.marker, linestyle=dash, label=editor))
    return handles


def cross_handle() -> Line2D:
    """Legend entry of the mark of collapse."""
    return Line2D([], [], color="#222222", label="collapsed", **_CROSS)


def cross(axes: Axes, x: float, y: float, colour: str) -> None:
    """Mark the last finite point of a line that ends in a collapse."""
    axes.plot([x], [y], color=colour, zorder=6, **_CROSS)


_CROSS: dict[str, Any] = {"marker": "x", "markersize": 8, "markeredgewidth": 2.2, "linestyle": "none"}


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
    """True where positive values span more than a factor of `LOG_BEYOND`."""
    values = np.array([v for v in values if np.isfinite(v) and v > 0])
    return bool(len(values)) and values.max() / values.min() > LOG_BEYOND


def edits_axis(axes: Axes, label: bool = True) -> None:
    """The x axis of everything that is drawn against edits."""
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    # Room for markers at the end, also where all points stand there.
    axes.set_xlim(left=0, right=max(axes.get_xlim()[1], 1.05 * axes.dataLim.x1))
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
