"""Intervals: t intervals of means, bootstrap over units, and moving blocks along a chain of edits.

The edits of one chain build on each other, so the increments of a norm along it are not independent: they are resampled
in blocks. Facts and probes are units: they are resampled one by one. Every draw comes from a seeded generator.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

CONFIDENCE = 0.95
RESAMPLES = 4000
FEWEST_INCREMENTS = 8
"""Increments below which a chain says nothing about how much they vary."""

FEWEST_PAIRS = 5
"""Pairs below which a rank correlation has no interval."""

MOST_BLOCKS = 1000
"""Blocks drawn for one chain: in long chains blocks are lengthened to this number, which costs no validity."""

_COUNTS_PER_PASS = 4_000_000


class Interval(NamedTuple):
    """An estimate, the bounds of its interval (NaN where there is none) and the number of things it rests on."""

    estimate: float
    low: float
    high: float
    n: int

    @property
    def bounded(self) -> bool:
        """Whether both bounds are numbers."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    @classmethod
    def bare(cls, estimate: float = np.nan, n: float = 0) -> "Interval":
        """An estimate without bounds; by default not even that."""
        return cls(float(estimate), np.nan, np.nan, int(n))

    def map(self, function: Callable[[float], float]) -> "Interval":
        """The interval of an increasing function of the estimate."""
        return Interval(*(float(function(value)) for value in self[:3]), self.n)


def t_interval(values: Sequence[float] | np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """Mean of independent `values` [n] with its t interval; without bounds for fewer than two."""
    values = np.asarray(values, dtype=float)
    deviation = values.std(ddof=1) if len(values) > 1 else np.nan
    return summary_interval(values.mean() if len(values) else np.nan, deviation, len(values), confidence)


def summary_interval(mean: float, deviation: float, n: float, confidence: float = CONFIDENCE) -> Interval:
    """t interval of a mean known by the standard deviation of its `n` values; `n` may be an effective number."""
    if not n > 1:
        return Interval.bare(mean, n)
    half = stdtrit(n - 1, (1 + confidence) / 2) * deviation / np.sqrt(n)
    return Interval(float(mean), float(mean - half), float(mean + half), int(n))


def interval_over_orders(
    means: Sequence[float], deviations: Sequence[float], n: float, confidence: float = CONFIDENCE
) -> Interval:
    """Mean over edit orders of means over the same `n` probes, with both kinds of spread in the interval.

    Probes do not change from order to order, so more orders do not average their spread away:
    variance = mean of s^2 / n over orders + variance of the means / orders, with Satterthwaite's degrees of freedom.
    """
    means, deviations = np.asarray(means, dtype=float), np.asarray(deviations, dtype=float)
    orders = len(means)
    if orders == 1:
        return summary_interval(means[0], deviations[0], n, confidence)
    within, between = (deviations**2).mean() / n, means.var(ddof=1) / orders
    variance = within + between
    freedom = np.inf
    if variance > 0:
        freedom = variance**2 / (within**2 / max(n - 1, 1) + between**2 / (orders - 1))
    half = stdtrit(freedom, (1 + confidence) / 2) * np.sqrt(variance)
    mean = float(means.mean())
    return Interval(mean, float(mean - half), float(mean + half), int(n))


def bootstrap_means(values: np.ndarray, rng: np.random.Generator, resamples: int = RESAMPLES) -> np.ndarray:
    """Means [resamples, k] of `values` [units, k] under resampling of units; NaN entries are left out of their mean."""
    values = np.asarray(values, dtype=float)
    units = len(values)
    there = np.isfinite(values)
    filled = np.where(there, values, 0.0)
    parts = []
    size = max(1, _COUNTS_PER_PASS // max(units, 1))
    for start in range(0, resamples, size):
        counts = rng.multinomial(units, np.full(units, 1 / units), size=min(size, resamples - start)).astype(float)
        with np.errstate(invalid="ignore", divide="ignore"):
            parts.append(counts @ filled / (counts @ there))
    return np.concatenate(parts)


def percentile_interval(
    estimate: float, draws: np.ndarray, n: float, confidence: float = CONFIDENCE, count: int | None = None
) -> Interval:
    """Percentile interval of bootstrap draws, expanded for small samples.

    The plain percentile interval is too narrow by sqrt((n-1)/n) and by the normal quantile standing for Student's; the
    tail is chosen so that both are made up for (Hesterberg 2015, "What teachers should know about the bootstrap",
    section 5.3). `n` is the number of independent things resampled, `count` the number to report (default: `n`).
    """
    count = int(n if count is None else count)
    draws = draws[np.isfinite(draws)]
    if not n > 1 or not len(draws):
        return Interval.bare(estimate, count)
    wanted = stdtrit(n - 1, (1 + confidence) / 2) * np.sqrt(n / (n - 1))
    tail = float(ndtr(-wanted))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(float(estimate), float(low), float(high), count)


def bootstrap_interval(
    values: np.ndarray,
    function: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Interval:
    """Interval of a function of the means of `values` [units, k] by resampling units.

    Args:
        function: from means [..., k] to numbers [...].
    """
    values = np.asarray(values, dtype=float)
    if not len(values):
        return Interval.bare()
    # A column without any value gives NaN here, and no interval.
    there = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(there, values, 0.0).sum(axis=0) / there.sum(axis=0)
    draws = function(bootstrap_means(values, rng, resamples))
    return percentile_interval(float(function(means)), draws, len(values), confidence)


def block_length(chains: Sequence[np.ndarray]) -> int:
    """Length of blocks for the mean of stationary chains, pooled over `chains`.

    Politis and White (2004) with the correction of Patton, Politis and White (2009): the autocovariances up to the lag
    where they stop mattering, under a flat-top window, balance bias and variance of the circular block bootstrap.
    """
    n = sum(map(len, chains))
    shortest = min(map(len, chains))
    limit = max(1, min(int(np.ceil(3 * np.sqrt(n))), shortest // 4))
    lags = min(int(np.ceil(np.sqrt(n))) + 5, shortest - 1)
    centred = [chain - chain.mean() for chain in chains]
    covariance = np.array([sum(float(c[: len(c) - k] @ c[k:]) for c in centred) / n for k in range(lags + 1)])
    if covariance[0] <= 0:
        return 1
    run = max(5, int(np.ceil(np.sqrt(np.log10(n)))))
    negligible = np.abs(covariance[1:] / covariance[0]) < 2 * np.sqrt(np.log10(n) / n)
    cut = next((k for k in range(len(negligible)) if negligible[k : k + run].all()), len(negligible))
    bandwidth = min(2 * max(cut, 1), lags)
    lag = np.arange(1, bandwidth + 1)
    window = np.clip(2 * (1 - lag / bandwidth), 0, 1)
    long_run = covariance[0] + 2 * (window * covariance[1 : bandwidth + 1]).sum()
    slope = 2 * (window * lag * covariance[1 : bandwidth + 1]).sum()
    if long_run <= 0:
        return limit
    length = (2 * slope**2 / (4 / 3 * long_run**2)) ** (1 / 3) * n ** (1 / 3)
    return int(np.clip(np.ceil(length), 1, limit))


def moving_block_interval(
    chains: Sequence[np.ndarray], rng: np.random.Generator, confidence: float = CONFIDENCE, resamples: int = RESAMPLES
) -> Interval:
    """Interval of the mean total of `chains` of increments: what such a chain adds up to.

    Blocks of consecutive increments, wrapped around each chain's end, are drawn from all chains together, so that the
    spread between edit orders counts as well. Without bounds for fewer than `FEWEST_INCREMENTS`.
    """
    chains = [np.asarray(chain, dtype=float) for chain in chains if len(chain)]
    n = sum(map(len, chains))
    if not n:
        return Interval.bare()
    total = sum(float(chain.sum()) for chain in chains) / len(chains)
    if min(map(len, chains)) < FEWEST_INCREMENTS or not np.isfinite(total):
        return Interval.bare(total, n)
    length = max(block_length(chains), min(-(-n // MOST_BLOCKS), min(map(len, chains)) // 4))
    block_means = np.concatenate([_block_means(chain, length) for chain in chains])
    mean, blocks = block_means.mean(), n / length
    drawn = int(np.ceil(blocks))
    picked = np.concatenate(
        [
            block_means[rng.integers(len(block_means), size=(part, drawn))].mean(axis=1)
            for part in _parts(resamples, max(1, _COUNTS_PER_PASS // drawn))
        ]
    )
    # The last block would overshoot the chain's length: the spread is that of exactly n increments.
    draws = mean + (picked - mean) * np.sqrt(drawn / blocks)
    return percentile_interval(total, draws * n / len(chains), blocks, confidence, count=n)


def rank_correlation(x: Sequence[float], y: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Spearman's rank correlation of independent pairs, with the interval of Bonett and Wright (2000).

    On Fisher's scale its standard error is sqrt((1 + rho^2 / 2) / (n - 3)). Pairs with a NaN are left out; infinite
    values rank first or last. Without bounds for fewer than five pairs or where one side does not vary.
    """
    from scipy import stats  # takes a second to import, which drawing need not wait for

    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    there = ~(np.isnan(x) | np.isnan(y))
    x, y, n = stats.rankdata(x[there]), stats.rankdata(y[there]), int(there.sum())
    if n < FEWEST_PAIRS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Interval.bare(n=n)
    rho = float(np.corrcoef(x, y)[0, 1])
    bounded = np.clip(rho, -1 + 1e-12, 1 - 1e-12)
    half = ndtri((1 + confidence) / 2) * np.sqrt((1 + bounded**2 / 2) / (n - 3))
    low, high = np.tanh(np.arctanh(bounded) + np.array([-half, half]))
    return Interval(rho, float(low), float(high), n)


def holm(p: Sequence[float]) -> np.ndarray:
    """p-values adjusted for their number so that the chance of any false finding is bounded (Holm 1979); NaN stays."""
    p = np.asarray(p, dtype=float)
    adjusted = np.full(len(p), np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = (len(order) - np.arange(len(order))) * p[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def two_sided_p(draws: np.ndarray) -> np.ndarray:
    """p-values [k] of no difference from bootstrap draws [resamples, k] of differences, never below 1 / resamples."""
    finite = np.isfinite(draws)
    count = finite.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        below = ((draws <= 0) & finite).sum(axis=0) / count
        above = ((draws >= 0) & finite).sum(axis=0) / count
        return np.clip(2 * np.minimum(below, above), 1 / count, 1.0)


def median_time(times: Sequence[float], happened: Sequence[bool]) -> Interval:
    """Kaplan and Meier's median time to an event, with its interval; `inf` where too few runs had it to tell.

    Args:
        times: of the event, or of the end of observation where it had not `happened` by then (censored).
    """
    from scipy import stats

    times, happened = np.asarray(times, dtype=float), np.asarray(happened, dtype=bool)
    if not len(times):
        return Interval.bare()
    survival = stats.ecdf(stats.CensoredData(times[happened], right=times[~happened])).sf

    def first_at_half(values: np.ndarray) -> float:
        reached = np.flatnonzero(values <= 0.5)
        return float(survival.quantiles[reached[0]]) if len(reached) else np.inf

    median = first_at_half(survival.probabilities)
    if happened.sum() < 2:
        return Interval.bare(median, len(times))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of points where the bounds do not exist: they are set below
        bounds = survival.confidence_interval(CONFIDENCE, method="log-log")
    curves = [bound.probabilities for bound in bounds]
    # Where the curve stands at 1 or 0 its bounds do not exist: it is as sure there as it can be.
    low, high = (np.where(np.isnan(curve), survival.probabilities, curve) for curve in curves)
    return Interval(median, first_at_half(low), first_at_half(high), len(times))


def _block_means(chain: np.ndarray, length: int) -> np.ndarray:
    sums = np.concatenate([[0.0], np.cumsum(np.concatenate([chain, chain[: length - 1]]))])
    return (sums[length:] - sums[:-length]) / length


def _parts(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]
