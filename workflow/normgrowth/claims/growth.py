"""Does the norm of the edited matrices grow, and do the others stay still?"""

import numpy as np
import pandas as pd

from normgrowth import seeds
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
from normgrowth.inference import CONFIDENCE, Interval, moving_block_interval

PARTS = 10
"""Parts of a run in which growth is looked for, to tell steady growth from one jump."""

PARTS_REQUIRED = 0.8

STILL = 1e-9
"""Largest relative change of a norm that counts as none: rounding of its sum in float64."""


def growth(evidence: Evidence, margin: float) -> Verdict:
    """The ratio of the edited matrices' norm to the unedited one at the end of the run.

    The ratio is exp of the total of the increments of log ||W||_F, averaged over the edited matrices; its interval
    comes from moving blocks of increments. One matrix that surely shrank (Bonferroni over matrices) contradicts growth,
    since the paper claims it invariably; a run that rose in too few of its parts is undecided at best.
    """
    edited = evidence.norms[evidence.norms["role"] == "edited"]
    if edited[edited["step"] > 0].empty:
        return Verdict(NOT_MEASURED, "No norms after an edit.")
    edits, orders = int(edited["step"].max()), edited["order"].nunique()
    broken = edited[~np.isfinite(edited["frobenius_ratio"])]
    sound = edited if broken.empty else edited[edited["step"] < broken["step"].min()]

    chains = log_norms(sound)
    mean = growth_ratio([chain.mean(axis=1) for chain in chains], _rng(evidence, "mean"))
    each = [
        Measure(name, growth_ratio([chain[name] for chain in chains], _rng(evidence, name)), "ratio", 1.0)
        for name in chains[0].columns
    ]
    measures = (Measure("edited matrices, geometric mean", mean, "ratio", 1.0), *(each if len(each) > 1 else ()))
    if not broken.empty:
        step = int(broken["step"].min())
        before = f"; before that its ratio was {mean.estimate:.3g}" if np.isfinite(mean.estimate) else ""
        reading = f"The norm is not finite from edit {step:,} on{before}."
        return Verdict(COLLAPSED, reading, measures, edits, orders)

    rose, parts = parts_that_rose(chains)
    status = decide(mean, margin, UP)
    if status == SUPPORTED and rose < PARTS_REQUIRED * parts:
        status = UNDECIDED
    reading = (
        f"After {count(edits, 'edit')} the norm of the edited matrices is {with_interval(mean)} times the unedited; "
        f"it rose in {rose} of {count(parts, 'part')} of the run."
    )
    confidence = 1 - (1 - CONFIDENCE) / len(each)
    shrank = [
        name
        for name in chains[0].columns
        if growth_ratio([chain[name] for chain in chains], _rng(evidence, name), confidence).high < 1
    ]
    if shrank:
        status, reading = CONTRADICTED, f"{reading} It fell in {', '.join(shrank)}."
    if not mean.bounded:
        reading += " The run is too short for an interval."
    return Verdict(status, reading, measures, edits, orders)


def localized(evidence: Evidence, margin: float) -> Verdict:
    """Edited matrices grow while every control matrix keeps its norm exactly."""
    control = evidence.norms[evidence.norms["role"] == "control"]
    if control[control["step"] > 0].empty:
        return Verdict(NOT_MEASURED, "No norms of control matrices after an edit.")
    grown = growth(evidence, margin)
    if not grown.measures:
        return grown
    control = control.reset_index(drop=True)
    moved = (control["frobenius_ratio"] - 1).abs()
    measures = (
        grown.measures[0],
        Measure("control matrices, largest change", Interval.bare(moved.max(), len(moved)), "ratio", 0),
    )
    count_control = control["matrix"].nunique()
    if grown.status == COLLAPSED or not np.isfinite(moved).all():
        return Verdict(COLLAPSED, grown.reading, measures, grown.edits, grown.orders)
    if (moved > STILL).any():
        worst = control.loc[moved.idxmax()]
        reading = (
            f"{worst['matrix']}, which no edit touches, changed its norm by a factor {worst['frobenius_ratio']:.6g}."
        )
        return Verdict(CONTRADICTED, reading, measures, grown.edits, grown.orders)
    flat = f"all {count(count_control, 'control matrix').replace('matrixs', 'matrices')} kept their norm exactly"
    status = decide(grown.effect, margin, UP)
    if status == SUPPORTED:
        reading = f"The edited matrices' norm is {with_interval(grown.effect)} times the unedited; {flat}."
        return Verdict(SUPPORTED, reading, measures, grown.edits, grown.orders)
    reading = f"There is no sure growth to be concentrated: ratio {with_interval(grown.effect)}; {flat}."
    return Verdict(UNDECIDED, reading, measures, grown.edits, grown.orders)


def log_norms(norms: pd.DataFrame) -> list[pd.DataFrame]:
    """For each order, log of ||W_t|| / ||W_0|| [steps, matrices]."""
    return [
        np.log(chain.pivot(index="step", columns="matrix", values="frobenius_ratio").sort_index())
        for _, chain in norms.groupby("order")
    ]


def growth_ratio(chains: list[pd.Series], rng: np.random.Generator, confidence: float = CONFIDENCE) -> Interval:
    """The ratio that chains of log norms end at, with the interval of their increments."""
    return moving_block_interval([np.diff(chain.to_numpy()) for chain in chains], rng, confidence).map(np.exp)


def parts_that_rose(chains: list[pd.DataFrame]) -> tuple[int, int]:
    """In how many of at most ten equal parts of the run the mean log norm ended above its beginning."""
    rises = []
    for chain in chains:
        mean = chain.mean(axis=1).to_numpy()
        edges = np.linspace(0, len(mean) - 1, min(PARTS, len(mean) - 1) + 1).round().astype(int)
        rises.append(np.diff(mean[edges]))
    fewest = min(map(len, rises))
    return int((np.mean([rise[:fewest] for rise in rises], axis=0) > 0).sum()), fewest


def _rng(evidence: Evidence, purpose: str) -> np.random.Generator:
    return np.random.default_rng(seeds.derive(evidence.seed, "growth", evidence.model, evidence.editor, purpose))
