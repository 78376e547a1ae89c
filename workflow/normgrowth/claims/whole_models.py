"""Do norms grow when a whole model is trained on?

The paper says they always do, so one matrix that shrinks counts against it; the mean over matrices says how much.
"""

import numpy as np

from normgrowth.claims.verdict import (
    COLLAPSED,
    CONTRADICTED,
    NOT_MEASURED,
    SUPPORTED,
    UNDECIDED,
    UP,
    Evidence,
    Measure,
    Verdict,
    count,
    decide,
    with_interval,
)
from normgrowth.inference import Interval, t_interval

STILL = 1e-6
"""Relative change of a matrix's norm that counts as none: such a matrix was not trained."""

SHRUNK = 0.99
"""Ratio below which one matrix contradicts that norms always grow."""


def whole_model_grows(evidence: Evidence, margin: float) -> Verdict:
    """The ratio of every updated matrix's norm to its norm before; matrices are the units of the interval.

    Args:
        evidence: its `norms` are rows of table `interventions`.
    """
    steps = int(evidence.norms["step"].max())
    last = evidence.norms[evidence.norms["step"] == steps]
    start = evidence.norms[evidence.norms["step"] == 0].set_index("matrix")["frobenius"]
    updated = last[last["drift_frobenius"] > STILL * last["matrix"].map(start)]
    ratios = updated["frobenius_ratio"].astype(float)
    if not len(ratios):
        return Verdict(NOT_MEASURED, "No matrix was updated.")
    if not np.isfinite(ratios).all():
        return Verdict(COLLAPSED, "A matrix is no longer finite.", (), steps)
    mean = t_interval(np.log(ratios)).map(np.exp)
    least, most = updated.loc[ratios.idxmin()], updated.loc[ratios.idxmax()]
    measures = (
        Measure("updated matrices, geometric mean", mean, "ratio", 1.0),
        *(
            Measure(f"{which}: {row['matrix']}", Interval.bare(row["frobenius_ratio"], 1), "ratio", 1.0)
            for which, row in (("least", least), ("most", most))
        ),
    )
    grown = int((ratios > 1).sum())
    reading = (
        f"The norm grew in {grown} of {count(len(ratios), 'updated matrix').replace('matrixs', 'matrices')}, "
        f"{with_interval(mean, 4)} times on the geometric mean, {least['frobenius_ratio']:.4g} to "
        f"{most['frobenius_ratio']:.4g}."
    )
    status = decide(mean, margin, UP)
    if least["frobenius_ratio"] < SHRUNK:
        status, reading = CONTRADICTED, f"{reading} It fell in {least['matrix']}."
    elif status == SUPPORTED and grown < len(ratios):
        status = UNDECIDED
    return Verdict(status, reading, measures, steps)
