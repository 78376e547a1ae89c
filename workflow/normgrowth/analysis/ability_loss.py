"""Damage to a model: change of its perplexity and accuracies, and damage by editor beside the growth of norms."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from normgrowth.analysis import effects
from normgrowth.analysis.edit_scores import final_s
from normgrowth.analysis.effects import Effect, last_common_step
from normgrowth.analysis.intervals import Interval
from normgrowth.analysis.places import PLACES, at_place

ACCURACIES = ("accuracy", "acc,none")
"""Metrics that are shares of right answers: of this library, and of the harness."""


class Accuracy(NamedTuple):
    """Share of right answers on one task at the end of a run, and that of the unedited model."""

    task: str
    interval: Interval
    unedited: float


def text_change(downstream: pd.DataFrame) -> pd.DataFrame:
    """Rows of table `downstream` with the change of log perplexity, by the same windows in every row."""
    return downstream[downstream["metric"] == "log_perplexity_change"]


def perplexity_ratio(downstream: pd.DataFrame) -> Effect:
    """Perplexity at the last common checkpoint over that of the unedited model; windows and orders are the units.

    Args:
        downstream: rows of table `downstream` of one run.
    """
    changes = text_change(downstream)
    last = changes[changes["step"] == last_common_step(changes)]
    return effects.crossed(_by_window(last)).exp()


def perplexity_ratio_of_runs(first: pd.DataFrame, second: pd.DataFrame) -> Effect:
    """Perplexity of one run over another's at the same step, orders and windows of text.

    Args:
        first, second: rows of table `downstream` of one run each, both measured after an edit.
    """
    rows = [text_change(run) for run in (first, second)]
    step = min(step for frame in rows if (step := last_common_step(frame)) is not None)
    last = [frame[frame["step"] == step] for frame in rows]
    common = set(last[0]["order"]) & set(last[1]["order"])
    ours, theirs = (_by_window(frame[frame["order"].isin(common)]) for frame in last)
    return effects.crossed(ours - theirs).exp()


def accuracies(downstream: pd.DataFrame) -> list[Accuracy]:
    """Shares of right answers at the end of a run on every task that has them, by the task's name."""
    rows = downstream[downstream["metric"].isin(ACCURACIES)]
    found = []
    for task, part in rows.groupby("task", sort=True):
        step = last_common_step(part)
        if step is None:
            continue
        last, n = part[part["step"] == step], int(part["n"].min())
        interval = effects.crossed_summaries(last["value"], last["stderr"].astype(float) * np.sqrt(n), n).interval
        found.append(Accuracy(task, interval, float(part.loc[part["step"] == 0, "value"].mean())))
    return found


def damage_by_editor(
    norms: pd.DataFrame, activations: pd.DataFrame, scores: pd.DataFrame, downstream: pd.DataFrame
) -> pd.DataFrame:
    """Norm growth and damage of each editor of one model, at the end of the run, averaged over orders.

    Args:
        norms, activations, scores, downstream: rows of the tables of these names of one model.

    Returns:
        One row per editor. Columns: `log_norm` (mean over edited matrices of the log ratio), `log_perplexity`,
        `s`, `cloze` and `residual` (ratio of mean norms of the residual stream, last layer, text); NaN where not
        measured. Growth, perplexity and residual norm are infinite where an order's is no finite number.
    """
    norms = norms[norms["role"] == "edited"]
    norms = norms[norms["step"] == norms.groupby("editor")["step"].transform("max")]
    ratios = _or_infinite(np.log(norms["frobenius_ratio"].astype(float))).groupby(norms["editor"])
    table = pd.DataFrame({"log_norm": ratios.mean()})
    for column, task, metric in (
        ("log_perplexity", "heldout_text", "log_perplexity_change"),
        ("cloze", "cloze", "accuracy"),
    ):
        rows = downstream[(downstream["task"] == task) & (downstream["metric"] == metric)]
        table[column] = _at_end(rows, "value", infinite=column != "cloze")
    residual = at_place(activations, PLACES[0], activations["layer"].max())
    table["residual"] = _at_end(residual, "ratio_of_norms", infinite=True)
    table["s"] = pd.Series({editor: final_s(part) for editor, part in scores.groupby("editor")}, dtype=float)
    return table


def _by_window(rows: pd.DataFrame) -> np.ndarray:
    """The change of log perplexity [orders, windows] from rows of one step, in the order of their `order`."""
    return np.stack([np.asarray(values, dtype=float) for values in rows.sort_values("order")["by_window"]])


def _at_end(rows: pd.DataFrame, value: str, infinite: bool) -> pd.Series:
    """Mean over orders of each editor at its last step; with `infinite`, non-finite values count as infinite."""
    rows = rows[(rows["step"] > 0) & (rows["step"] == rows.groupby("editor")["step"].transform("max"))]
    values = rows[value].astype(float)
    return (_or_infinite(values) if infinite else values).groupby(rows["editor"]).mean()


def _or_infinite(values: pd.Series) -> pd.Series:
    return values.where(np.isfinite(values), np.inf)
