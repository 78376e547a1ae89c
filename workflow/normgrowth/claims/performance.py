"""Does the model lose what it was taught, and what it could before?"""

import numpy as np
import pandas as pd

from normgrowth import seeds
from normgrowth.claims.verdict import (
    COLLAPSED,
    DOWN,
    NOT_MEASURED,
    UNDECIDED,
    UP,
    Evidence,
    Measure,
    Verdict,
    count,
    decide,
    last_common_step,
    with_interval,
)
from normgrowth.inference import (
    Interval,
    bootstrap_interval,
    bootstrap_means,
    interval_over_orders,
    percentile_interval,
)

PARTS_OF_S = ["es", "ps", "ns"]

ACCURACIES = ("accuracy", "acc,none")
"""Metrics that are shares of right answers: our own, and the harness's."""

LEAST_IMMEDIATE = 0.1
"""Immediate S below which edits did not take, so that there is nothing to lose."""

FEWEST_FACTS = 10
"""Facts below which a change of S is left undecided. With fewer facts than this scored both before and after, the two
sets are compared as independent ones."""


def harmonic_mean(means: np.ndarray) -> np.ndarray:
    """S of mean ES, PS, NS [..., 3]: 0 where any of them is 0."""
    means = np.asarray(means, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = means.shape[-1] / (1 / means).sum(axis=-1)
    return np.where((means <= 0).any(axis=-1), 0.0, mean)


def edits_are_lost(evidence: Evidence, margin: float) -> Verdict:
    """S over the edited facts at the end of the run, minus S of the same facts just after each was written."""
    scores = evidence.scores
    final = final_scores(scores)
    if final.empty:
        return Verdict(NOT_MEASURED, "No scores of edited facts after the run.")
    step, orders = int(final["step"].iloc[0]), scores["order"].nunique()
    immediate, unedited = (scores[scores["moment"] == moment] for moment in ("immediate", "unedited"))
    before, after = paired(immediate, final)
    if before.empty:
        return Verdict(NOT_MEASURED, "No immediate scores of the facts scored at the end.", (), step, orders)
    if not np.isfinite(after.to_numpy(dtype=float)).any():
        reading = f"No score is a number after {count(step, 'edit')}: the model has collapsed."
        return Verdict(COLLAPSED, reading, (), step, orders)

    both = np.hstack([before.to_numpy(dtype=float), after.to_numpy(dtype=float)])
    change = bootstrap_interval(
        both, lambda means: harmonic_mean(means[..., 3:]) - harmonic_mean(means[..., :3]), _rng(evidence, "s")
    )
    measures = [Measure("S, end minus immediate", change, "points", 0.0)]
    for i, name in enumerate(PARTS_OF_S):
        difference = bootstrap_interval(
            both, lambda means, i=i: means[..., 3 + i] - means[..., i], _rng(evidence, name)
        )
        measures.append(Measure(f"{name.upper()}, end minus immediate", difference, "points", 0.0))
    if not unedited.empty:
        measures.append(Measure("NS, end minus unedited model", _neighbours(evidence, unedited, final), "points", 0.0))

    started, ended = (float(harmonic_mean(part.mean().to_numpy())) for part in (before, after))
    reading = (
        f"Of {count(len(before), 'edited fact')}, S was {started:.3f} just after each edit and {ended:.3f} after "
        f"{count(step, 'edit')}: a change of {with_interval(change, plus='+')}."
    )
    if started < LEAST_IMMEDIATE:
        reading += " Hardly any edit took, so there was nothing to lose."
        return Verdict(UNDECIDED, reading, tuple(measures), step, orders)
    if len(before) < FEWEST_FACTS:
        return Verdict(UNDECIDED, f"{reading} These are too few facts.", tuple(measures), step, orders)
    return Verdict(decide(change, margin, DOWN), reading, tuple(measures), step, orders)


def ability_is_lost(evidence: Evidence, margin: float) -> Verdict:
    """Perplexity on held-out text at the end of the run, relative to the unedited model on the same windows."""
    changes = text_change(evidence)
    step, orders = last_common_step(changes), changes["order"].nunique()
    if step is None:
        return Verdict(NOT_MEASURED, "No perplexity of the edited model.")
    measures = (
        Measure("perplexity on held-out text", perplexity_ratio(evidence), "ratio", 1.0),
        *_accuracies(evidence),
    )
    perplexity = evidence.downstream[evidence.downstream["metric"] == "perplexity"]
    broken = perplexity.loc[~np.isfinite(perplexity["value"]), "step"]
    if len(broken):
        reading = f"Perplexity is not finite after {count(int(broken.min()), 'edit')}: the model has collapsed."
        return Verdict(COLLAPSED, reading, measures, step, orders)
    start, end = (perplexity.loc[perplexity["step"] == s, "value"].mean() for s in (0, step))
    reading = (
        f"After {count(step, 'edit')} perplexity on held-out text is {with_interval(measures[0].interval)} times the "
        f"unedited model's ({start:.4g} to {end:.4g})."
    )
    return Verdict(decide(measures[0].interval, margin, UP), reading, measures, step, orders)


def text_change(evidence: Evidence) -> pd.DataFrame:
    """Rows of the change of log perplexity, window by window the same text."""
    return evidence.downstream[evidence.downstream["metric"] == "log_perplexity_change"]


def perplexity_ratio(evidence: Evidence) -> Interval:
    """Perplexity after the last common checkpoint over that of the unedited model, with windows and orders as units."""
    return log_perplexity_change(text_change(evidence)).map(np.exp)


def log_perplexity_change(changes: pd.DataFrame) -> Interval:
    """Mean change of log perplexity at the last common checkpoint, from rows that `text_change` gives."""
    return mean_over_orders(changes[changes["step"] == last_common_step(changes)])


def mean_over_orders(rows: pd.DataFrame) -> Interval:
    """Mean of `value` in rows of table `downstream`, one per order: its items and the orders are the units."""
    n = int(rows["n"].min())
    return interval_over_orders(rows["value"], rows["stderr"].astype(float) * np.sqrt(n), n)


def _accuracies(evidence: Evidence) -> list[Measure]:
    """Shares of right answers at the end of the run, of every task that has them; against the unedited model's."""
    rows = evidence.downstream[evidence.downstream["metric"].isin(ACCURACIES)]
    measures = []
    for task, part in rows.groupby("task", sort=True):
        step = last_common_step(part)
        if step is None:
            continue
        interval = mean_over_orders(part[part["step"] == step])
        before = float(part.loc[part["step"] == 0, "value"].mean())
        measures.append(Measure(f"accuracy, {task.replace('_', ' ')}", interval, "share", before))
    return measures


def final_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of edited facts at the last step that every order has: moment `final` where measured, else `retention`."""
    kept = scores[scores["moment"].isin(["final", "retention"])]
    last = kept[kept["step"] == last_common_step(kept)]
    final = last[last["moment"] == "final"]
    return last if final.empty else final


def final_s(scores: pd.DataFrame) -> float | None:
    """S of edited facts at the end of a run; None where it was not measured."""
    final = final_scores(scores)
    return None if final.empty else float(harmonic_mean(final[PARTS_OF_S].mean().to_numpy()))


def paired(before: pd.DataFrame, after: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """ES, PS, NS [cases, 3] of the cases in both, one row per case, averaged over orders."""
    keyed = [frame.set_index(["order", "case_id"])[PARTS_OF_S] for frame in (before, after)]
    common = keyed[0].index.intersection(keyed[1].index)
    return tuple(frame.loc[common].groupby("case_id").mean() for frame in keyed)


def final_difference(first: Evidence, second: Evidence) -> Interval:
    """S of edited facts at the end of the run, first minus second, over the facts scored in both."""
    ours, theirs = paired(*(final_scores(run.scores) for run in (first, second)))
    both = np.hstack([ours.to_numpy(dtype=float), theirs.to_numpy(dtype=float)])
    return bootstrap_interval(
        both,
        lambda means: harmonic_mean(means[..., :3]) - harmonic_mean(means[..., 3:]),
        _rng(first, f"against {second.editor}"),
    )


def _neighbours(evidence: Evidence, unedited: pd.DataFrame, final: pd.DataFrame) -> Interval:
    before, after = paired(unedited, final)
    rng = _rng(evidence, "ns unedited")
    if len(before) >= FEWEST_FACTS:
        return bootstrap_interval((after["ns"] - before["ns"]).to_numpy()[:, None], lambda means: means[..., 0], rng)
    cases = [frame.groupby("case_id")["ns"].mean().to_numpy()[:, None] for frame in (unedited, final)]
    draws = [bootstrap_means(values, rng)[:, 0] for values in cases]
    estimate = np.nanmean(cases[1]) - np.nanmean(cases[0])
    return percentile_interval(estimate, draws[1] - draws[0], min(map(len, cases)))


def _rng(evidence: Evidence, purpose: str) -> np.random.Generator:
    return np.random.default_rng(seeds.derive(evidence.seed, "performance", evidence.model, evidence.editor, purpose))
