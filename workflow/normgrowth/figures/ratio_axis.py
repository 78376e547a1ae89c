"""An axis of ratios to the unedited model on which one per cent and a hundredfold can both be read.

Distances from 1 are drawn by the inverse hyperbolic sine: in proportion within a hundredth of 1, by their
logarithm beyond, on both sides.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

WIDTH = 0.01
"""Distance from 1 up to which the scale is in proportion."""

TICKS = (
    (1.0,),
    (1.01, 1.1, 2.0, 10.0, 100.0, 0.99, 0.9, 0.5, *(10.0**n for n in range(3, 13))),
    (1.02, 1.05, 1.2, 1.5, 5.0, 3.0, 30.0, 0.98, 0.95, 0.8, 0.0),
)
"""Ticks, the first ones before the later ones as far as there is room."""

ROOM = {"x": 0.16, "y": 0.09}
"""Distance that two ticks keep, in lengths of the axis."""

MARGIN = 0.07


def forward(ratio: np.ndarray) -> np.ndarray:
    """Place of a ratio on the axis."""
    return np.arcsinh((np.asarray(ratio, dtype=float) - 1) / WIDTH)


def backward(place: np.ndarray) -> np.ndarray:
    """The ratio at a place."""
    return 1 + WIDTH * np.sinh(np.asarray(place, dtype=float))


def ratio_axis(ax: Axes, values: Iterable[float], which: str) -> None:
    """Give the x or y axis (`which`) the scale, and limits that hold the values and 1."""
    ends = forward(np.array([1.0, 1 + WIDTH, *values]))
    room = MARGIN * np.ptp(ends)
    low, high = ends.min() - room, ends.max() + room
    scale, limits = (ax.set_xscale, ax.set_xlim) if which == "x" else (ax.set_yscale, ax.set_ylim)
    scale("function", functions=(forward, backward))
    limits(*backward(np.array([low, high])))
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_locator(FixedLocator(ticks(low, high, ROOM[which])))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def ticks(low: float, high: float, room: float) -> Sequence[float]:
    """Round ratios between two places on the axis, `room` of its length apart or more."""
    chosen: list[float] = []
    for group in TICKS:
        for ratio in group:
            place = float(forward(np.array(ratio)))
            apart = [abs(place - float(forward(np.array(other)))) for other in chosen]
            if low <= place <= high and all(distance >= room * (high - low) for distance in apart):
                chosen.append(ratio)
    return sorted(chosen)
