"""Editors of one model against each other on the same edits: differences of S, fact by fact the same facts.

Every pair is compared, so p-values are adjusted for their number (Holm).
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from normgrowth import seeds
from normgrowth.analysis.edit_scores import PARTS_OF_S, final_scores, harmonic_mean
from normgrowth.analysis.intervals import Interval, bootstrap_means, holm, percentile_interval, two_sided_p
from normgrowth.claims.performance import FEWEST_FACTS
from normgrowth.editors.families import in_order


class Comparison(NamedTuple):
    """S at the end of the run, first minus second; `p` is two-sided, `p_adjusted` over all pairs of the model."""

    model: str
    first: str
    second: str
    difference: Interval
    p: float
    p_adjusted: float


def compare_editors(scores: pd.DataFrame, model: str, seed: int) -> list[Comparison]:
    """Every pair of editors in rows of table `scores` of one model, on the facts and orders that all of them have."""
    tables = {}
    for editor in in_order(scores["editor"].unique()):
        if len(final := final_scores(scores[scores["editor"] == editor])):
            tables[editor] = final.set_index(["order", "case_id"])[PARTS_OF_S].astype(float)
    if len(tables) < 2:
        return []
    common = pd.concat(tables, axis=1, join="inner").groupby("case_id").mean()
    if len(common) < FEWEST_FACTS:
        return []
    # One resampling of the facts serves all editors, so their differences stay paired.
    rng = np.random.default_rng(seeds.derive(seed, "comparisons", model))
    draws = {editor: harmonic_mean(part) for editor, part in _by_editor(tables, bootstrap_means(common, rng))}
    values = {editor: harmonic_mean(part) for editor, part in _by_editor(tables, common.mean().to_numpy())}
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


def _by_editor(tables: dict, means: np.ndarray):
    """Means [..., 3] of each editor out of means [..., 3 per editor]."""
    width = len(PARTS_OF_S)
    return [(editor, means[..., i * width : (i + 1) * width]) for i, editor in enumerate(tables)]
