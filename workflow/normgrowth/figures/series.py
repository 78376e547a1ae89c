"""Rows of tables as lines against edits: which rows are drawn, means over edit orders, and where a line ends."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from normgrowth.analysis.effects import of_mean
from normgrowth.analysis.places import interval_at
from normgrowth.errors import ArtefactError
from normgrowth.layout import UNEDITED

POINTS = 300
"""Most points of one line: more would not be visible, and would make files large."""


class Line(NamedTuple):
    """Values of one line by step, in columns `mean`, `low` and `high`; `broke` where it ends in a collapse."""

    values: pd.DataFrame
    broke: bool = False


def edited_runs(frame: pd.DataFrame, what: str) -> pd.DataFrame:
    """Rows of edited runs of a table, refused when there are none.

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


def over_orders(frame: pd.DataFrame, value: str, log: bool = False) -> pd.DataFrame:
    """Mean of a column over edit orders by step, with bounds where there are several orders.

    Steps that some order did not reach are left out. Bounds are 95% t intervals from three orders on and the range of
    two; with `log`, mean and interval are taken of the logarithm.

    Args:
        frame: columns `order`, `step` and the one named by `value`.

    Returns:
        Columns `mean`, `low` and `high` by step.
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


def per_step(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """Columns `model, editor, order, step` and `value`, the mean of a column; NaN where one of its parts is."""
    keys = ["model", "editor", "order", "step"]
    return rows.groupby(keys)[value].agg(lambda values: values.mean(skipna=False)).rename("value").reset_index()


def along_edits(rows: pd.DataFrame, mean: str, deviation: str) -> Line:
    """Mean with 95% interval by step, up to a collapse.

    Args:
        rows: of table `activations`, of one model, editor and place.
        mean, deviation: columns with the mean over units and their standard deviation.
    """
    intervals = {step: interval_at(part, mean, deviation) for step, part in rows.groupby("step")}
    line = pd.DataFrame(
        [(i.estimate, i.low, i.high) for i in intervals.values()],
        index=list(intervals),
        columns=["mean", "low", "high"],
    )
    return finite_part(line)


def finite_part(series: pd.DataFrame, column: str = "mean") -> Line:
    """Rows, indexed by step, before the first whose `column` is not finite."""
    sound = np.isfinite(series[column].to_numpy(dtype=float))
    if sound.all():
        return Line(series)
    return Line(series.iloc[: int(np.argmin(sound))], broke=True)


def thin(steps: Sequence[int] | np.ndarray) -> np.ndarray:
    """Sorted steps thinned to at most `POINTS`, the first and last among them."""
    every = np.asarray(steps)
    if len(every) <= POINTS:
        return every
    return every[np.unique(np.linspace(0, len(every) - 1, POINTS).round().astype(int))]
