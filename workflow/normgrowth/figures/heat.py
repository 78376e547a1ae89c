"""Tables of colours, for numbers of many editors at once: a row per editor, a column per layer, colour for the number.

Ratios to the unedited model have colours around 1; shares have colours from 0 to 1.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from normgrowth.editors.families import family_of
from normgrowth.figures import panels
from normgrowth.figures.style import Style

ROW = 0.2  # inches
MOST_NUMBERS = 8
"""Layers up to which ratios are written into the cells: more would not fit."""

BROKEN = "#4A4A4A"
STRONGEST = (1.25, 1.5, 2.0, 5.0, 10.0)
"""Ratios at which colours may saturate; written numbers do not."""


class Colours(NamedTuple):
    """Colours of numbers: their scale, and the name of matplotlib's colour map."""

    norm: Normalize
    name: str

    @property
    def map(self) -> Colormap:
        """The colour map, with a colour of its own for what is not finite."""
        return _with_broken(self.name)

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value of the scale.

        Raises:
            ValueError: when the scale was made without them.
        """
        if self.norm.vmin is None or self.norm.vmax is None:
            raise ValueError("a scale of colours needs its bounds")
        return self.norm.vmin, self.norm.vmax


SHARES = Colours(Normalize(0, 1), "viridis")
"""Colours of shares."""


@cache
def _with_broken(name: str) -> Colormap:
    return colormaps[name].with_extremes(bad=BROKEN)


def ratio_colours(values: np.ndarray) -> Colours:
    """Colours around 1 for all ratios [...] of a block."""
    sound = values[np.isfinite(values) & (values > 0)]
    extreme = np.exp(np.abs(np.log(sound)).max()) if len(sound) else 1.0
    end = next((end for end in STRONGEST if extreme <= end), STRONGEST[-1])
    return Colours(LogNorm(1 / end, end), "RdBu_r")


def draw(ax: Axes, numbers: pd.DataFrame, edited: dict[str, set[int]], colours: Colours, style: Style) -> None:
    """A panel of numbers [editors, layers]; `edited` are the layers that each editor edits."""
    values = numbers.to_numpy(dtype=float)
    rows, columns = values.shape
    # Lines around narrow cells would hide them: only rows are separated.
    written = columns <= MOST_NUMBERS
    lines: dict[str, Any] = {"edgecolors": "white", "linewidth": 0.6} if written else {}
    edges = np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5
    shown = np.ma.masked_invalid(np.clip(values, *colours.bounds))
    ax.pcolormesh(*edges, shown, cmap=colours.map, norm=colours.norm, **lines)
    ax.set_ylim(rows - 0.5, -0.5)
    ax.grid(False)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    for row, editor in enumerate(numbers.index):
        if row and family_of(editor) != family_of(numbers.index[row - 1]):
            ax.axhline(row - 0.5, color="#222222", linewidth=1.0)
        elif row and not written:
            ax.axhline(row - 0.5, color="white", linewidth=0.8)
        for column, layer in enumerate(numbers.columns):
            value = values[row, column]
            ink, marked = _ink(colours, value), layer in edited.get(editor, ())
            if written:
                _write(ax, (column, row), value, marked, {"color": ink, "fontsize": style.settings.font_size - 2})
            elif marked:
                ax.plot([column], [row], marker="o", markersize=2.2, color=ink, markeredgewidth=0)
    ax.set_yticks(range(rows), numbers.index)
    panels.layer_axis(ax, columns)


def _write(ax: Axes, at: tuple[int, int], value: float, marked: bool, look: dict[str, Any]) -> None:
    """Write a value into the cell at (column, row), bold and underlined where it is marked."""
    column, row = at
    text = "–" if not np.isfinite(value) else short(value)
    weight = "bold" if marked else "normal"
    ax.text(column, row, text, ha="center", va="center_baseline", fontweight=weight, **look)
    if marked:
        ends = [column - 0.42, column + 0.42]
        ax.plot(ends, [row + 0.4] * 2, color=look["color"], linewidth=0.9, solid_capstyle="butt")


def _ink(colours: Colours, value: float) -> str:
    """Black or white, whichever is read more easily on the colour of a value."""
    if not np.isfinite(value):
        return "white"
    red, green, blue, _ = colours.map(float(colours.norm(np.clip(value, *colours.bounds))))
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "#1B1B1B"


def short(ratio: float) -> str:
    """A ratio in four characters or fewer, where that is possible."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:,.0f}"


def colour_bar(
    part: FigureBase,
    axes: Sequence[Axes],
    colours: Colours,
    label: str,
    extend: Literal["neither", "both", "min", "max"] = "both",
) -> None:
    """The scale of colours, beside all panels of a block."""
    scalars = ScalarMappable(colours.norm, colormaps[colours.name])
    bar = part.colorbar(scalars, ax=list(axes), label=label, fraction=0.02, pad=0.01, extend=extend)
    bar.outline.set_visible(False)
    start, end = colours.bounds
    middle = float(np.sqrt(end))
    # Ticks that matplotlib picks depend on the height of the bar, and the room found for their labels with them.
    ticks = (
        [1 / end, 1 / middle, 1.0, middle, end]
        if isinstance(colours.norm, LogNorm)
        else list(np.linspace(start, end, 3))
    )
    bar.ax.yaxis.set_major_locator(FixedLocator(ticks))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))


def handles(columns: int, broken: bool) -> list[Artist]:
    """Legend entries of what marks a cell."""
    dark = "#1B1B1B"
    written = columns <= MOST_NUMBERS
    mark: dict[str, Any] = {"linewidth": 0.9} if written else {"marker": "o", "markersize": 2.2, "linestyle": "none"}
    label = "edited layer (bold, underlined)" if written else "edited layer"
    found: list[Artist] = [Line2D([], [], color=dark, label=label, **mark)]
    return found + ([Patch(color=BROKEN, label="collapsed")] if broken else [])
