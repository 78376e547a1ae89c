"""Scores of edited facts: at the end of a run, their change and trend along it, and differences between editors.

ES (efficacy), PS (paraphrase) and NS (neighbourhood score) are shares of prompts on which the right object is the more
probable one: the new object on edit prompts and paraphrases, the true one on neighbours. S is their harmonic mean.
Columns `es`, `ps` and `ns` of table `scores` hold them, one row per scored fact. RS (relation specificity), column
`rs`, is the share of prompts about other relations of the subject whose objects stay, of facts that have any; it is no
part of S.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from normgrowth import seeds
from normgrowth.analysis import effects
from normgrowth.analysis.effects import Effect, last_common_step
from normgrowth.analysis.intervals import Interval, bootstrap_means, holm, percentile_interval, two_sided_p
from normgrowth.editors.families import in_order

PARTS_OF_S = ["es", "ps", "ns"]
SPECIFICITY = "rs"

FEWEST_FACTS = 10
"""Least number of facts for a verdict on scores."""

RESAMPLED = 9999
"""Random orders of calls that a trend is compared with, beside the observed one."""


def harmonic_mean(means: np.ndarray) -> np.ndarray:
    """S [...] of mean ES, PS and NS [..., 3]: 0 where any of them is 0."""
    means = np.asarray(means, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = means.shape[-1] / (1 / means).sum(axis=-1)
    return np.where((means <= 0).any(axis=-1), 0.0, mean)


def has_specificity(scores: pd.DataFrame) -> bool:
    """True where a fact of table `scores` was scored on other relations of its subject."""
    return bool(scores[SPECIFICITY].notna().any())


def final_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of table `scores` of edited facts at the last common step: moment `final`, or else `retention`."""
    kept = scores[scores["moment"].isin(["final", "retention"])]
    last = kept[kept["step"] == last_common_step(kept)]
    final = last[last["moment"] == "final"]
    return last if final.empty else final


def final_s(scores: pd.DataFrame) -> float | None:
    """S of edited facts at the end of a run; None where it was not measured."""
    final = final_scores(scores)
    return None if final.empty else float(harmonic_mean(final[PARTS_OF_S].mean().to_numpy()))


def paired(before: pd.DataFrame, after: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """ES, PS and NS of the edits that are in both, by (order, case_id, edited_at): columns `es`, `ps`, `ns`.

    Where a fact was edited several times, `edited_at` tells which of its edits was scored.
    """
    keyed = [_by_edit(frame) for frame in (before, after)]
    common = keyed[0].index.intersection(keyed[1].index)
    return keyed[0].loc[common], keyed[1].loc[common]


def _by_edit(scores: pd.DataFrame) -> pd.DataFrame:
    """ES, PS and NS by (order, case_id, edited_at)."""
    at = scores["edited_at"].astype(float)
    return scores.assign(edited_at=at).set_index(["order", "case_id", "edited_at"])[PARTS_OF_S].astype(float)


def of_first_edits(immediate: pd.DataFrame) -> pd.DataFrame:
    """Those rows of one run's immediate scores that are about the first edit of a fact."""
    at = immediate["edited_at"].astype(float)
    later = at > at.groupby([immediate["order"], immediate["case_id"]]).transform("min")
    return immediate[~later]


def final_difference(first: pd.DataFrame, second: pd.DataFrame, rng: np.random.Generator) -> Effect:
    """S of edited facts at the end of two runs, first minus second, by bootstrap over the facts scored in both.

    Args:
        first, second: rows of table `scores` of one run each.
    """
    both = pd.concat(paired(final_scores(first), final_scores(second)), axis=1).groupby("case_id").mean().to_numpy()
    return effects.bootstrapped(both, lambda means: harmonic_mean(means[..., :3]) - harmonic_mean(means[..., 3:]), rng)


def change_of_scores(before: pd.Series, after: pd.Series) -> Effect:
    """Mean change of facts' scores, both as `paired` has them; facts differ from order to order."""
    changes = (after - before).dropna()
    if changes.empty:
        return effects.unknown()
    return effects.nested([effects.of_changes(order) for _, order in changes.groupby("order")])


def by_call(immediate: pd.DataFrame, parts: list[str]) -> list[pd.Series]:
    """Mean of some scores over the facts of each call of the editor, by the step of the call, for each edit order.

    Args:
        immediate: rows of table `scores` just after each fact's own edit.
        parts: scores to average, from `PARTS_OF_S`.
    """
    means = immediate[parts].astype(float).mean(axis=1)
    calls = means.groupby([immediate["order"], immediate["step"]]).mean().dropna()
    return [calls.loc[order] for order in sorted(set(immediate["order"])) if order in calls]


def trend(immediate: pd.DataFrame, parts: list[str]) -> Effect:
    """Trend of some scores over calls, by edit order; arguments are those of `by_call`."""
    facts = immediate.groupby(["order", "step"]).size().mean()
    series = by_call(immediate, parts)
    return effects.nested([effects.of_trend(calls.index, calls, facts) for calls in series])


def trend_p(series: Sequence[pd.Series], rng: np.random.Generator, resamples: int = RESAMPLED) -> tuple[float, float]:
    """One-sided p-values of no trend, against one that falls and one that climbs.

    They are the shares of random orders of the calls that give as large a slope.

    Exact where a call's score does not depend on its place or on the scores before; never below 1 / (resamples + 1).

    Args:
        series: scores of calls by their steps, one for each edit order.
    """
    slopes = np.zeros(resamples + 1)
    for calls in series:
        x, scores = effects.along(calls.index), calls.to_numpy()
        drawn = [x @ scores, *(float(x @ rng.permutation(scores)) for _ in range(resamples))]
        slopes += np.array(drawn) / (x @ x)
    # Equal sums in another order differ by rounding.
    return float((slopes <= slopes[0] + 1e-9).mean()), float((slopes >= slopes[0] - 1e-9).mean())


class Comparison(NamedTuple):
    """S at the end of the run, first minus second; `p` is two-sided, `p_adjusted` over all pairs of a model."""

    model: str
    first: str
    second: str
    difference: Interval
    p: float
    p_adjusted: float


def compare_editors(scores: pd.DataFrame, model: str, seed: int) -> list[Comparison]:
    """Differences of S between every pair of editors of a model, on the edit orders and facts that all of them have.

    Differences are paired fact by fact, each under its latest edit; p-values are adjusted for the number of pairs
    (Holm).

    Args:
        scores: rows of table `scores` of the model.
    """
    tables: dict[str, pd.DataFrame] = {}
    for editor in in_order(scores["editor"].unique()):
        if len(final := final_scores(scores[scores["editor"] == editor])):
            tables[editor] = _by_edit(final)
    if len(tables) < 2:
        return []
    common = pd.concat(tables, axis=1, join="inner").groupby("case_id").mean()
    if len(common) < FEWEST_FACTS:
        return []
    # One resampling of the facts serves all editors, so their differences stay paired.
    rng = np.random.default_rng(seeds.derive(seed, "comparisons", model))
    draws = _s_by_editor(list(tables), bootstrap_means(common, rng))
    values = _s_by_editor(list(tables), common.mean().to_numpy())
    pairs = list(combinations(tables, 2))
    differences = np.stack([draws[a] - draws[b] for a, b in pairs], axis=1)
    p = two_sided_p(differences)
    return [
        Comparison(
            model,
            a,
            b,
            percentile_interval(float(values[a] - values[b]), differences[:, i], len(common)),
            float(p[i]),
            float(adjusted),
        )
        for i, ((a, b), adjusted) in enumerate(zip(pairs, holm(p), strict=True))
    ]


def _s_by_editor(editors: list[str], means: np.ndarray) -> dict[str, np.ndarray]:
    """S [...] of each editor out of mean ES, PS, NS [..., 3 per editor]."""
    width = len(PARTS_OF_S)
    return {editor: harmonic_mean(means[..., i * width : (i + 1) * width]) for i, editor in enumerate(editors)}
