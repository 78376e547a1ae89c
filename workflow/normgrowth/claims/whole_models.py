"""Do norms grow when a whole model is trained on?

The paper says they always do. Matrices of one training run depend on each other, so the unit is a training run: its
matrices' mean growth is exact, and intervals are over runs of several seeds.
"""

import numpy as np

from normgrowth.analysis.intervals import Interval
from normgrowth.claims.growth import over_orders
from normgrowth.claims.verdict import (
    COLLAPSED,
    NOT_MEASURED,
    Evidence,
    Measure,
    Rule,
    Verdict,
    count,
    decide,
    with_interval,
)

STILL = 1e-6
"""Relative change of a matrix's norm that counts as none: such a matrix was not trained."""


def whole_model_grows(evidence: Evidence, rule: Rule) -> Verdict:
    """The ratio of the updated matrices' norms to those before: geometric mean over matrices, one per training run.

    Args:
        evidence: its `norms` are rows of table `interventions`; `order` numbers the training runs.
    """
    steps = int(evidence.norms["step"].max())
    last = evidence.norms[evidence.norms["step"] == steps]
    start = evidence.norms[evidence.norms["step"] == 0].groupby("matrix")["frobenius"].mean()
    updated = last[last["drift_frobenius"] > STILL * last["matrix"].map(start)]
    if updated.empty:
        return Verdict(NOT_MEASURED, "No matrix was updated.")
    runs = updated["order"].nunique()
    if not np.isfinite(updated["frobenius_ratio"].astype(float)).all():
        return Verdict(COLLAPSED, "A matrix is no longer finite.", (), steps, runs)
    logs = np.log(updated["frobenius_ratio"].astype(float))
    effect = over_orders(logs.groupby(updated["order"]).mean())
    of_matrices = np.exp(logs.groupby(updated["matrix"]).mean())
    least, most, grown = of_matrices.idxmin(), of_matrices.idxmax(), int((of_matrices > 1).sum())
    measures = (
        Measure("updated matrices, geometric mean", effect.interval, "ratio", 1.0),
        Measure("share of updated matrices that grew", Interval.bare(grown / len(of_matrices), runs), "share", 0.5),
        Measure(f"least: {least}", Interval.bare(of_matrices[least], runs), "ratio", 1.0),
        Measure(f"most: {most}", Interval.bare(of_matrices[most], runs), "ratio", 1.0),
    )
    status, tests = decide(effect, rule)
    over = "in one training run" if runs == 1 else f"over {runs} training runs"
    reading = (
        f"The updated matrices' norms end at {with_interval(effect.interval, 6)} times their start on the geometric "
        f"mean {over}; {grown} of {count(len(of_matrices), 'updated matrix').replace('matrixs', 'matrices')} grew, by "
        f"{of_matrices[least]:.4g} ({least}) to {of_matrices[most]:.4g} times."
    )
    return Verdict(status, reading, measures, steps, runs, tests=tests)
