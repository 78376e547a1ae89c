"""Names beside points, clear of each other, of the markers and of the panel's edge as far as there is room."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

POINTS_PER_INCH = 72

GAPS = (4.0, 7.0, 11.0, 16.0, 22.0, 29.0, 37.0, 47.0, 60.0, 75.0, 95.0, 120.0)
"""Distances between a point and its name that are tried, in points."""

ANGLES = np.deg2rad(np.arange(0, 360, 15))

NEAR = 8.0
"""Distance in points beyond which a thin line joins a name to its point."""

MARKER = 3.2
"""Half the size of a marker, in points."""

PASSES = 4
"""Times that every name looks for a better place among the others'."""

ON_LINE = np.linspace(0.1, 0.95, 12)[:, None]
"""Places on the line from a point to its name at which other names are looked for."""

OUTSIDE, OVER_NAME, OVER_MARKER, OVER_LINE = 1e6, 1e3, 300.0, 40.0
"""Costs beside the distance: of leaving the panel, and of each name, marker and place on a line that is covered."""


def label_points(ax: Axes, x: Sequence[float], y: Sequence[float], names: Sequence[str], size: float) -> None:
    """Write names beside the points of a panel that has its final place and scales: lay the figure out first.

    Args:
        size: of the letters, in points.
    """
    if not len(names):
        return
    per_point = ax.figure.dpi / POINTS_PER_INCH
    points = ax.transData.transform(np.column_stack([x, y])) / per_point
    panel = ax.get_window_extent()
    bounds = np.array([[panel.x0, panel.y0], [panel.x1, panel.y1]]) / per_point
    sizes = np.array([extent(name, size) for name in names])
    for at, name, offset, far in zip(zip(x, y, strict=True), names, *places(points, sizes, bounds), strict=True):
        line: dict[str, Any] = {"arrowstyle": "-", "color": "#8A8A8A", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2.5}
        note = ax.annotate(
            name,
            at,
            xytext=tuple(offset),
            textcoords="offset points",
            fontsize=size,
            color="#222222",
            ha="center",
            va="center",
            arrowprops=line if far else None,
            zorder=5,
        )
        note.set_in_layout(False)


def extent(text: str, size: float) -> tuple[float, float]:
    """Width and height of a line of text in points, with a little room around it."""
    box = TextPath((0, 0), text, size=size, prop=FontProperties(family="DejaVu Sans")).get_extents()
    return box.width + 2.0, 1.15 * size


def places(points: np.ndarray, sizes: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where names stand: offsets [n, 2] of their centres from their points, and which [n] need a line to it.

    Each name takes the nearest of some places that covers least; in crowds first, then again among all others. The
    same points always give the same places.

    Args:
        points: places of the points [n, 2].
        sizes: widths and heights of the names [n, 2].
        bounds: lower left and upper right corner of the panel [2, 2]. All are in one unit, points of print.
    """
    tried = np.concatenate([_around(gap) for gap in GAPS])  # [m, 3]: direction, gap
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    crowded = np.argsort(-(apart < 30).sum(axis=1), kind="stable")
    offsets, gaps = np.full(points.shape, np.nan), np.zeros(len(points))
    for _ in range(PASSES):
        before = offsets.copy()
        for i in crowded:
            others = [j for j in range(len(points)) if j != i and np.isfinite(offsets[j, 0])]
            candidates = tried[:, :2] * (tried[:, 2:] + sizes[i] / 2)
            cost = _cost(i, candidates, tried[:, 2], points, sizes, bounds, offsets, others)
            best = int(np.argmin(cost))
            offsets[i], gaps[i] = candidates[best], tried[best, 2]
        if (offsets == before).all():
            break
    return offsets, gaps > NEAR


def _around(gap: float) -> np.ndarray:
    """Directions at a gap [angles, 3]; names stand rather right of and above their points."""
    return np.column_stack([np.cos(ANGLES), np.sin(ANGLES), np.full(len(ANGLES), gap)])


def _cost(
    i: int,
    candidates: np.ndarray,
    gaps: np.ndarray,
    points: np.ndarray,
    sizes: np.ndarray,
    bounds: np.ndarray,
    offsets: np.ndarray,
    others: list[int],
) -> np.ndarray:
    """Cost [m] of each place [m, 2] that the name of point `i` could have among the others that have theirs."""
    centres, half = points[i] + candidates, sizes[i] / 2
    outside = ((centres - half < bounds[0]) | (centres + half > bounds[1])).any(axis=1)
    covered = _boxes_meet(centres, half, points, np.full_like(points, MARKER)).sum(axis=1)
    cost = gaps + OUTSIDE * outside + OVER_MARKER * covered
    if not others:
        return cost
    theirs = points[others] + offsets[others]
    cost += OVER_NAME * _boxes_meet(centres, half, theirs, sizes[others] / 2).sum(axis=1)
    # Lines to names: mine over the others' names, theirs under mine.
    mine = (points[i] + candidates[:, None] * ON_LINE).reshape(-1, 2)  # places of one candidate after the other's
    crossed = _boxes_meet(mine, np.zeros(2), theirs, sizes[others] / 2).sum(axis=1).reshape(len(candidates), -1)
    cost += OVER_LINE * crossed.sum(axis=1) * (gaps > NEAR)
    lines = (points[others][:, None] + offsets[others][:, None] * ON_LINE).reshape(-1, 2)
    return cost + OVER_LINE * _boxes_meet(centres, half, lines, np.zeros_like(lines)).sum(axis=1)


def _boxes_meet(centres: np.ndarray, half: np.ndarray, others: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Truth values [m, n]: which of m equal boxes around centres [m, 2] meet which of n others of half sizes [n, 2]."""
    x, y = (
        np.abs(centres[:, None, axis] - others[None, :, axis]) < half[axis] + halves[None, :, axis] for axis in (0, 1)
    )
    return x & y
