"""Explanations of damage: which of several quantities orders the editors of a model best by the damage they did.

Each editor is one point, its edit orders averaged. What goes together need not cause each other, and editors are no
random sample: intervals say how far the order rests on single editors, by resampling them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from normgrowth import seeds
from normgrowth.analysis.effects import FEWEST_PAIRS, of_draws, rank_correlation
from normgrowth.analysis.intervals import RESAMPLES, Interval
from normgrowth.editors.families import family_of, is_control

EXPLANATIONS = {
    "norm_ratio": "growth of the norm",
    "drift": "drift",
    "output_gain": "gain of the edited layers' outputs",
    "rotation": "turn of the leading singular subspaces",
}
"""Explanations by their columns of `analysis.side_by_side`, in words."""

PERPLEXITY, SCORES = "perplexity_ratio", "s_lost"
"""Kinds of damage by their columns: of text, which decides, and of edited facts."""

FEWEST_FAMILIES = 3
"""Fewest families for a correlation: of two it is always 1 or -1."""

LEVEL = 0.05
"""Two-sided level at which the best explanation must be better than each other one. Being better than all of them needs
every test, so that these need no correction for their number (Berger 1982, intersection-union tests)."""


@dataclass(frozen=True)
class Explained:
    """How well one explanation orders editors by damage: rank correlations, of editors and of families' means."""

    name: str
    over_editors: Interval
    over_families: Interval


@dataclass(frozen=True)
class Ranking:
    """Explanations of one kind of damage, the best one first; empty where none was measured.

    `undistinguished` are those that the best one is not surely better than. With any of them, or where the best
    one's own interval holds 0, the data do not tell which explanation is best.
    """

    damage: str
    editors: int
    explained: tuple[Explained, ...]
    undistinguished: tuple[str, ...]

    @property
    def best(self) -> Explained | None:
        """The explanation that orders the editors best, sure or not; None where there are too few editors."""
        found = [entry for entry in self.explained if np.isfinite(entry.over_editors.estimate)]
        return found[0] if found else None

    @property
    def told(self) -> bool:
        """True where the best explanation is surely better than every other, and than none."""
        return self.best is not None and not self.undistinguished and self.best.over_editors.low > 0


def rank_explanations(
    table: pd.DataFrame, damage: str = PERPLEXITY, names: Sequence[str] = tuple(EXPLANATIONS), seed: int = 0
) -> Ranking:
    """Spearman's rank correlation of each explanation with damage over the editors of one model, control arms left out.

    Infinite values rank last. Explanations that no editor has are left out, then editors that lack a value, so that
    all explanations order the same editors. Intervals are bootstrap percentiles over editors, widened for small
    samples; where every resample gives the same correlation, that of `effects.rank_correlation` stands instead. One
    resampling serves all explanations, so their differences are paired.

    Args:
        table: rows of `side_by_side` of one model, one per editor.
        damage: column of the damage; more is worse.
        names: columns of the explanations; more should mean more damage.
        seed: seed of the resampling.
    """
    table = table.loc[[not is_control(editor) for editor in table["editor"]]]
    names = [name for name in names if table[name].notna().any()]
    table = table.dropna(subset=[damage, *names])
    n = len(table)
    if n < FEWEST_PAIRS or not names:
        bare = tuple(Explained(name, Interval.bare(n=n), Interval.bare()) for name in names)
        return Ranking(damage, n, bare, tuple(names[1:]))
    values = table[[*names, damage]].to_numpy(dtype=float)
    chosen = np.random.default_rng(seeds.derive(seed, "explanations", damage)).integers(n, size=(RESAMPLES, n))
    draws = _correlations(values[chosen])
    rho = dict(zip(names, _correlations(values), strict=True))
    drawn = dict(zip(names, draws.T, strict=True))
    families = _over_families(table, damage, names)
    explained = [
        Explained(name, _interval(table[name], table[damage], rho[name], drawn[name]), families[name]) for name in names
    ]
    # A constant explanation has no correlation, and stands last.
    explained.sort(key=lambda entry: -np.nan_to_num(entry.over_editors.estimate, nan=-2.0))
    first = explained[0].name
    alike = [
        name
        for name in (entry.name for entry in explained[1:])
        if not _p_of_difference(rho[first] - rho[name], drawn[first] - drawn[name], n) < LEVEL
    ]
    return Ranking(damage, n, tuple(explained), tuple(alike))


def _interval(x: pd.Series, damage: pd.Series, rho: float, draws: np.ndarray) -> Interval:
    """The bootstrap's interval, or that of a formula where resamples do not differ."""
    if not np.isfinite(rho):
        return Interval.bare(n=len(x))
    if np.ptp(draws[np.isfinite(draws)]) > 0:
        interval = of_draws(rho, draws, len(x)).interval
        return interval._replace(low=max(interval.low, -1.0), high=min(interval.high, 1.0))
    return rank_correlation(x, damage).interval


def _p_of_difference(difference: float, draws: np.ndarray, n: int) -> float:
    """Two-sided p-value of no difference; NaN where a correlation does not exist."""
    if not np.isfinite(difference):
        return np.nan
    effect = of_draws(difference, draws, n)
    return min(1.0, 2 * min(effect.p_above(0.0), effect.p_below(0.0)))


def _over_families(table: pd.DataFrame, damage: str, names: Sequence[str]) -> dict[str, Interval]:
    """Rank correlations over families, whose number is too small for an interval: of means over a family's editors.

    Means are of ranks among all editors, so that an editor that breaks the model does not stand for its family.
    """
    of = table["editor"].map(lambda editor: family_of(editor) or editor)
    means = table[[*names, damage]].rank().groupby(of).mean()
    if len(means) < FEWEST_FAMILIES:
        return dict.fromkeys(names, Interval.bare(n=len(means)))
    found = _correlations(means.to_numpy())
    return {name: Interval.bare(value, len(means)) for name, value in zip(names, found, strict=True)}


def _correlations(values: np.ndarray) -> np.ndarray:
    """Spearman's correlations [..., k] of the first k columns with the last one of values [..., n, k + 1].

    NaN where one of the two does not vary.
    """
    from scipy import stats  # takes a second to import; kept out of planning and drawing

    ranks = stats.rankdata(values, axis=-2)
    ranks -= ranks.mean(axis=-2, keepdims=True)
    x, y = ranks[..., :-1], ranks[..., -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = (x * y).sum(axis=-2) / np.sqrt((x**2).sum(axis=-2) * (y**2).sum(axis=-2))
    return np.clip(rho, -1.0, 1.0)
