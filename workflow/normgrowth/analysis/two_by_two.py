"""Effects of the norm and of the direction of the edited matrices, from the corners of their two by two.

With Y the log perplexity (or another outcome) of a model, W_0 and W_t the edited matrices before and after the edits,
and g = ||W_t|| / ||W_0||:

    norm effect       N = ([Y(W_t) - Y(W_t / g)] + [Y(g W_0) - Y(W_0)]) / 2
    direction effect  D = ([Y(W_t) - Y(g W_0)] + [Y(W_t / g) - Y(W_0)]) / 2
    interaction       I = [Y(W_t) - Y(W_t / g)] - [Y(g W_0) - Y(W_0)]

N + D is the whole change Y(W_t) - Y(W_0). The unit is an edit order; windows of text are the same in every order.
"""

from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd

from normgrowth.analysis import effects
from normgrowth.analysis.effects import Effect, last_common_step

FEWEST_ORDERS = 6
"""Edit orders below which a sign-flip test cannot reach a two-sided 5%: 2 / 2^5 is 6.25%."""

MOST_FLIPPED = 16
"""Most orders whose sign patterns are all tried; of more, 2^16 patterns are drawn."""


class Corners(NamedTuple):
    """An outcome at the four corners, as arrays of one shape: [orders] or [orders, windows]."""

    unedited: np.ndarray
    norm: np.ndarray  # W_0 with the norm of W_t
    direction: np.ndarray  # W_t with the norm of W_0
    edited: np.ndarray

    @property
    def norm_effect(self) -> np.ndarray:
        """N."""
        return ((self.edited - self.direction) + (self.norm - self.unedited)) / 2

    @property
    def direction_effect(self) -> np.ndarray:
        """D."""
        return ((self.edited - self.norm) + (self.direction - self.unedited)) / 2

    @property
    def interaction(self) -> np.ndarray:
        """I."""
        return (self.edited - self.direction) - (self.norm - self.unedited)

    @property
    def whole(self) -> np.ndarray:
        """N + D."""
        return self.edited - self.unedited


def at_last_step(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of table `norm_direction` of one run at the last step that all its orders have; empty without one."""
    step = last_common_step(rows)
    return rows[rows["step"] == step] if step is not None else rows[:0]


def log_perplexity(rows: pd.DataFrame) -> Corners:
    """Log perplexity [orders, windows] at the corners, from rows of one run and step."""
    rows = rows[rows["metric"] == "log_perplexity"]
    arms = (rows[rows["arm"] == arm].sort_values("order")["by_window"] for arm in Corners._fields)
    return Corners(*(np.stack([np.asarray(values, dtype=float) for values in by_order]) for by_order in arms))


def outcome(rows: pd.DataFrame, metric: str) -> Corners:
    """Another outcome [orders] at the corners, from rows of one run and step."""
    rows = rows[rows["metric"] == metric]
    return Corners(
        *(rows[rows["arm"] == arm].sort_values("order")["value"].to_numpy(dtype=float) for arm in Corners._fields)
    )


def effect_over_orders(values: np.ndarray) -> Effect:
    """Mean of an effect on log perplexity [orders, windows], with tests that it lies beyond a bound.

    Orders and windows are crossed in the interval. From `FEWEST_ORDERS` orders on, an exact sign-flip test over the
    orders' means tests each bound; its p-value counts where it is larger than that of the interval.
    """
    effect = effects.crossed(values)
    if len(values) < FEWEST_ORDERS or not effect.bounded:
        return effect
    means = values.mean(axis=1)
    return replace(
        effect,
        p_above=lambda bound: max(effect.p_above(bound), sign_flips(means - bound)),
        p_below=lambda bound: max(effect.p_below(bound), sign_flips(bound - means)),
    )


def sign_flips(values: np.ndarray) -> float:
    """One-sided p-value of a mean above 0: the share of sign patterns whose mean is at least the observed one.

    Exact for independent values that are symmetric about 0 under the hypothesis, whatever their distribution.

    Args:
        values: one for each unit [n].
    """
    n = len(values)
    if n <= MOST_FLIPPED:
        signs = np.array(list(product((1.0, -1.0), repeat=n)))
    else:
        drawn = np.random.default_rng(n).choice((1.0, -1.0), size=(2**MOST_FLIPPED - 1, n))
        signs = np.vstack([np.ones(n), drawn])
    rounding = 1e-12 * np.abs(values).sum()
    return float((signs @ values >= values.sum() - rounding).mean())


def perplexity_at_efficacy(rows: pd.DataFrame, efficacy: float = 0.9) -> float | None:
    """Log perplexity over the unedited model's where the path W_0 + lambda (W_t - W_0) first has this ES, by order.

    Linear between the path's points.

    Args:
        rows: rows of one run, order and step.

    Returns:
        None where the path never has that ES.
    """
    path = rows[(rows["arm"] == "path") | rows["arm"].isin(("unedited", "edited"))].copy()
    path["amount"] = path["amount"].astype(float).where(path["arm"] == "path", (path["arm"] == "edited").astype(float))
    by_amount = path.pivot_table(index="amount", columns="metric", values="value")[["es", "log_perplexity"]]
    es, loss = by_amount["es"].to_numpy(), by_amount["log_perplexity"].to_numpy()
    reached = np.flatnonzero(es >= efficacy)
    if not len(reached):
        return None
    at = int(reached[0])
    if at == 0:
        return 0.0
    share = (efficacy - es[at - 1]) / (es[at] - es[at - 1])
    return float(loss[at - 1] + share * (loss[at] - loss[at - 1]) - loss[0])
