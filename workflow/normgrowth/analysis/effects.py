"""Effects: estimates with intervals, and p-values that the true value lies beyond a bound.

The spread in an interval depends on the design. Windows of text are the same in every edit order, so windows and orders
are crossed: more orders do not average the spread of windows away. Facts differ from order to order: they are nested,
and the spread between orders includes theirs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import factorial

import numpy as np
import pandas as pd
from scipy.special import bdtr, bdtrc, betaincinv, ndtri, stdtr, stdtridf, stdtrit

from normgrowth.analysis.intervals import CONFIDENCE, Interval, bootstrap_draws, percentile_interval

Tail = Callable[[float], float]

UNSEEN = 0.2
"""Sum of squares added to the residuals of a trend: about that of one fact that fails on half of its prompts."""

ROUNDING = 1e-9
"""Difference below which effects of two orders are the same number."""

FEWEST_PAIRS = 5
"""Pairs below which a rank correlation has no interval."""

MOST_PERMUTED = 8
"""Most pairs for which the test of no rank correlation tries every permutation: 40,320 of them."""


@dataclass(frozen=True)
class Effect:
    """An estimate with its 95% interval and its one-sided p-values.

    `p_above(bound)` is small where the true value surely lies above the bound, `p_below(bound)` where it lies below.
    """

    interval: Interval
    p_above: Tail
    p_below: Tail
    error: float = np.nan  # standard error on the scale of the test

    @property
    def bounded(self) -> bool:
        """True where there is an interval."""
        return self.interval.bounded

    def map(self, function: Callable[[float], float], inverse: Callable[[float], float]) -> "Effect":
        """The effect on another scale, by an increasing function and its inverse."""
        return Effect(
            self.interval.map(function),
            lambda bound: self.p_above(inverse(bound)),
            lambda bound: self.p_below(inverse(bound)),
            self.error,
        )

    def exp(self) -> "Effect":
        """A ratio, from the effect on its logarithm."""
        return self.map(np.exp, np.log)


def unknown(estimate: float = np.nan, n: float = 0) -> Effect:
    """An estimate that has no interval, and decides nothing."""
    return Effect(Interval.bare(estimate, n), lambda bound: 1.0, lambda bound: 1.0)


def exact(value: float, n: int = 1) -> Effect:
    """A number known exactly: its interval is itself."""
    if not np.isfinite(value):
        return unknown(value, n)
    value = float(value)
    interval = Interval(value, value, value, n)
    return Effect(interval, lambda bound: float(value <= bound), lambda bound: float(value >= bound), 0.0)


def student(mean: float, error: float, freedom: float, n: int) -> Effect:
    """A mean with a standard error that has `freedom` degrees of freedom; without interval where it has none."""
    if not (freedom > 0 and np.isfinite(mean) and np.isfinite(error)):
        return unknown(mean, n)
    if error == 0:
        return exact(mean, n)
    half = stdtrit(freedom, (1 + CONFIDENCE) / 2) * error

    def p_above(bound: float) -> float:
        return float(stdtr(freedom, (bound - mean) / error))

    return Effect(
        Interval(float(mean), float(mean - half), float(mean + half), int(n)),
        p_above,
        lambda bound: float(stdtr(freedom, (mean - bound) / error)),  # 1 - p_above would vanish where it is small
        float(error),
    )


def tested(effect: Effect, bound: float, p_above: float, p_below: float) -> Effect:
    """The effect with p-values of another test at one bound."""
    return replace(
        effect,
        p_above=lambda value: p_above if value == bound else effect.p_above(value),
        p_below=lambda value: p_below if value == bound else effect.p_below(value),
    )


def of_mean(values: Sequence[float] | np.ndarray) -> Effect:
    """Mean of independent values; without interval for fewer than two."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n < 2:
        return unknown(values.mean() if n else np.nan, n)
    return student(values.mean(), values.std(ddof=1) / np.sqrt(n), n - 1, n)


def of_share(successes: int, trials: int) -> Effect:
    """Share of independent trials that succeeded, by the exact binomial distribution (Clopper and Pearson 1934)."""
    if not trials:
        return unknown()
    tail = (1 - CONFIDENCE) / 2
    low = betaincinv(successes, trials - successes + 1, tail) if successes else 0.0
    high = betaincinv(successes + 1, trials - successes, 1 - tail) if successes < trials else 1.0
    return Effect(
        Interval(successes / trials, float(low), float(high), trials),
        lambda bound: float(bdtrc(successes - 1, trials, bound)) if successes else 1.0,
        lambda bound: float(bdtr(successes, trials, bound)),
    )


def of_changes(changes: Sequence[float] | np.ndarray) -> Effect:
    """Mean of independent changes of scores, each between -1 and 1, that may all be alike.

    One gain and one loss are added (Bonett and Price 2012): a set in which nothing changed has an interval too.
    """
    changes = np.asarray(changes, dtype=float)
    n = len(changes)
    if n < 2:
        return unknown(changes.mean() if n else np.nan, n)
    widened = np.concatenate([changes, [1.0, -1.0]])
    found = student(widened.mean(), widened.std() / np.sqrt(n + 2), n - 1, n)
    return replace(found, interval=found.interval._replace(estimate=float(changes.mean())))


def of_trend(places: Sequence[float], scores: Sequence[float], facts: float = 1) -> Effect:
    """Change of scores between 0 and 1 from the first to the last of a series, along a straight line.

    The residual sum of squares is raised by `UNSEEN`, so that a series of equal scores has an interval too.

    Args:
        places: positions of the scores along the series, ascending.
        facts: number of facts that each score is the mean of.
    """
    series, x = np.asarray(scores, dtype=float), along(places)
    n = len(series)
    if n < 4:
        return unknown(n=n)
    slope = float(x @ series / (x @ x))
    residuals = series - series.mean() - slope * x
    unseen = UNSEEN / facts**2
    return student(slope, np.sqrt((residuals @ residuals + unseen) / (n - 2) / (x @ x)), n - 2, n)


def along(places: Sequence[float]) -> np.ndarray:
    """Places along a series on a scale where first and last lie 1 apart and the mean is 0."""
    positions = np.asarray(places, dtype=float)
    length = np.ptp(positions) if len(positions) else 0.0
    return (positions - positions.mean()) / length if length else np.zeros(len(positions))


def crossed(values: np.ndarray) -> Effect:
    """Mean of `values` [orders, windows], where both are samples; with a single order, over its windows alone.

    variance = var(orders' means) / orders + (var(windows' means) - var(residuals) / orders) / windows: the spread
    of their interaction is in both, and counts once.
    """
    values = np.asarray(values, dtype=float)
    orders, windows = values.shape
    if orders == 1:
        return of_mean(values[0])
    of_orders, of_windows, mean = values.mean(axis=1), values.mean(axis=0), float(values.mean())
    if windows == 1:
        return of_mean(of_orders)
    residuals = values - of_orders[:, None] - of_windows + mean
    together = (residuals**2).sum() / ((orders - 1) * (windows - 1))
    within = max((of_windows.var(ddof=1) - together / orders) / windows, 0.0)
    return _two_sources(mean, of_orders.var(ddof=1) / orders, orders, within, windows)


def crossed_summaries(means: Sequence[float], deviations: Sequence[float], units: int) -> Effect:
    """Estimate of `crossed` from each order's mean and standard deviation over the same `units`.

    The interaction of orders and units counts twice, which makes the interval a little too wide.
    """
    of_orders, spreads = np.asarray(means, dtype=float), np.asarray(deviations, dtype=float)
    orders = len(of_orders)
    within = float((spreads**2).mean() / units)
    if orders == 1:
        return student(of_orders[0], np.sqrt(within), units - 1, units)
    return _two_sources(float(of_orders.mean()), float(of_orders.var(ddof=1) / orders), orders, within, units)


def nested(parts: Sequence[Effect]) -> Effect:
    """Mean of one effect per edit order, whose units differ from order to order.

    The spread between orders includes that of their units, so this is a t interval over orders. Where orders agree up
    to rounding, as when no score changes, the units alone give the interval.
    """
    if len(parts) == 1:
        return parts[0]
    estimates = np.array([part.interval.estimate for part in parts])
    orders, n = len(parts), sum(part.interval.n for part in parts)
    if not all(part.bounded for part in parts):
        return unknown(estimates.mean(), n)
    mean = float(estimates.mean())
    if np.ptp(estimates) <= ROUNDING:
        return student(mean, np.sqrt(sum(part.error**2 for part in parts)) / orders, n - orders, n)
    return student(mean, estimates.std(ddof=1) / np.sqrt(orders), orders - 1, n)


def of_draws(estimate: float, draws: np.ndarray, n: int) -> Effect:
    """An estimate with bootstrap draws of it, widened for small samples as `percentile_interval` does."""
    draws = draws[np.isfinite(draws)]
    interval = percentile_interval(estimate, draws, n)
    if not interval.bounded:
        return unknown(estimate, n)

    def tail(beyond: np.ndarray) -> float:
        share = max(float(beyond.mean()), 1 / len(draws))
        return float(stdtr(n - 1, ndtri(share) * np.sqrt((n - 1) / n))) if share < 1 else 1.0

    return Effect(interval, lambda bound: tail(draws <= bound), lambda bound: tail(draws >= bound))


def bootstrapped(values: np.ndarray, function: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator) -> Effect:
    """Function of the means of `values` [units, k] by resampling units."""
    estimate, draws = bootstrap_draws(values, function, rng)
    return of_draws(estimate, draws, len(values))


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> Effect:
    """Spearman's rank correlation of independent pairs, with the standard error of Bonett and Wright (2000).

    On Fisher's scale it is sqrt((1 + rho^2 / 2) / (n - 3)). That scale is infinite at a correlation of 1, which can
    occur: its interval is taken half a step towards the next possible value. The test of no correlation is by
    permutation (exact for few pairs, by Student's approximation for more), and no p-value is below the share of a
    single permutation. Pairs with a NaN are left out; infinite values rank first or last. Without interval for fewer
    than five pairs or where one side does not vary.
    """
    from scipy import stats  # takes a second to import; kept out of planning and drawing

    first, second = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    there = ~(np.isnan(first) | np.isnan(second))
    ranks = stats.rankdata(first[there]), stats.rankdata(second[there])
    n = int(there.sum())
    if n < FEWEST_PAIRS or np.ptp(ranks[0]) == 0 or np.ptp(ranks[1]) == 0:
        return unknown(n=n)
    rho = float(np.clip(np.corrcoef(*ranks)[0, 1], -1, 1))
    most = 1 - 6 / (n**3 - n)
    inner = float(np.clip(rho, -most, most))
    error = np.sqrt((1 + inner**2 / 2) / (n - 3))
    around = student(np.arctanh(inner), error, np.inf, n).map(np.tanh, np.arctanh)
    bounds = Interval(rho, min(around.interval.low, rho), max(around.interval.high, rho), n)
    least = 1 / factorial(n)

    def tail(of_interval: Tail, sign: int) -> Tail:
        return lambda bound: max(
            _no_correlation(ranks[0], sign * ranks[1]) if bound == 0 else of_interval(bound), least
        )

    return replace(around, interval=bounds, p_above=tail(around.p_above, 1), p_below=tail(around.p_below, -1))


def _no_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Share of all permutations of `y` whose rank correlation with `x` is at least the observed one."""
    n, x, y = len(x), x - x.mean(), y - y.mean()
    if n <= MOST_PERMUTED:
        return float((y[np.array(list(permutations(range(n))))] @ x >= x @ y - ROUNDING).mean())
    rho = min(float(x @ y / np.sqrt((x @ x) * (y @ y))), 1 - 1e-12)
    return float(stdtr(n - 2, -rho * np.sqrt((n - 2) / max(1 - rho**2, 1e-12))))


def _two_sources(mean: float, between: float, orders: int, within: float, units: int) -> Effect:
    """Mean whose variance has two independent parts: of orders, and of units.

    The squares of both parts' half-widths add up, each with its own degrees of freedom: few orders make for a wide
    interval only as far as orders matter. (Satterthwaite's degrees of freedom would rest on the ratio of the two,
    which three orders estimate too poorly: only 92% of such intervals cover the truth.)
    """
    variance = between + within
    if not np.isfinite(variance):
        return unknown(mean, units)
    if variance == 0:
        return exact(mean, units)
    level = (1 + CONFIDENCE) / 2
    of_orders, of_units = stdtrit(orders - 1, level), stdtrit(max(units - 1, 1), level)
    quantile = np.sqrt((between * of_orders**2 + within * of_units**2) / variance)
    return student(mean, np.sqrt(variance), float(stdtridf(level, quantile)), units)


def last_common_step(frame: pd.DataFrame) -> int | None:
    """The last step after 0 that was measured in every order of `frame`; None where there is none."""
    steps = [set(chain.loc[chain["step"] > 0, "step"]) for _, chain in frame.groupby("order")]
    common = set.intersection(*steps) if steps else set()
    return int(max(common)) if common else None
