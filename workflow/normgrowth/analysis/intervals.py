"""Intervals: bootstrap over units, corrections for many tests, and median times to an event.

Facts, prompts and windows of text are units: they are resampled one by one. Every draw comes from a seeded generator.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit

CONFIDENCE = 0.95
RESAMPLES = 4000
"""Draws of a bootstrap."""

_COUNTS_PER_PASS = 4_000_000
"""Most resampling counts in memory at once."""


class Interval(NamedTuple):
    """An estimate, the bounds of its interval (NaN where there is none) and its sample size."""

    estimate: float
    low: float
    high: float
    n: int

    @property
    def bounded(self) -> bool:
        """True where both bounds are numbers."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    @classmethod
    def bare(cls, estimate: float = np.nan, n: float = 0) -> "Interval":
        """An estimate without bounds; NaN by default."""
        return cls(float(estimate), np.nan, np.nan, int(n))

    def map(self, function: Callable[[float], float]) -> "Interval":
        """The interval of an increasing function of the estimate."""
        return Interval(float(function(self.estimate)), float(function(self.low)), float(function(self.high)), self.n)


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


def percentile_interval(estimate: float, draws: np.ndarray, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Percentile interval of bootstrap draws, expanded for small samples.

    The plain percentile interval is too narrow by sqrt((n-1)/n) and by the normal quantile standing for Student's; the
    tail is chosen to correct for both (Hesterberg 2015, "What teachers should know about the bootstrap",
    section 5.3). `n` is the number of independent things resampled.
    """
    draws = draws[np.isfinite(draws)]
    if not n > 1 or not len(draws):
        return Interval.bare(estimate, n)
    wanted = stdtrit(n - 1, (1 + confidence) / 2) * np.sqrt(n / (n - 1))
    tail = float(ndtr(-wanted))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(float(estimate), float(low), float(high), int(n))


def bootstrap_draws(
    values: np.ndarray,
    function: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> tuple[float, np.ndarray]:
    """A function of the means of `values` [units, k], and its draws [resamples] under resampling of units.

    Args:
        function: from means [..., k] to numbers [...].
    """
    values = np.asarray(values, dtype=float)
    if not len(values):
        return np.nan, np.empty(0)
    # A column without any value gives NaN here, and no interval.
    there = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(there, values, 0.0).sum(axis=0) / there.sum(axis=0)
    return float(function(means)), function(bootstrap_means(values, rng, resamples))


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """p-values adjusted for their number so that the chance of any false finding is bounded (Holm 1979); NaN stays."""
    values = np.asarray(p, dtype=float)
    adjusted = np.full(len(values), np.nan)
    tested = np.flatnonzero(np.isfinite(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    steps = (len(order) - np.arange(len(order))) * values[order]
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
    """Kaplan and Meier's median time to an event, with its interval; `inf` where survival stays above one half.

    Args:
        times: of the event, or of the end of observation where it had not `happened` by then (censored).
    """
    from scipy import stats  # takes a second to import, which planning and drawing need not wait for

    ends, fell = np.asarray(times, dtype=float), np.asarray(happened, dtype=bool)
    if not len(ends):
        return Interval.bare()
    survival = stats.ecdf(stats.CensoredData(ends[fell], right=ends[~fell])).sf

    def first_at_half(values: np.ndarray) -> float:
        reached = np.flatnonzero(values <= 0.5)
        return float(survival.quantiles[reached[0]]) if len(reached) else np.inf

    median = first_at_half(survival.probabilities)
    if fell.sum() < 2:
        return Interval.bare(median, len(ends))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of points where the bounds do not exist: they are set below
        bounds = survival.confidence_interval(CONFIDENCE, method="log-log")
    curves = [bound.probabilities for bound in bounds]
    # Where the curve is 1 or 0 its bounds do not exist; they are set to the curve.
    low, high = (np.where(np.isnan(curve), survival.probabilities, curve) for curve in curves)
    return Interval(median, first_at_half(low), first_at_half(high), len(ends))
