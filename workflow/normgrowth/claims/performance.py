"""Does the model lose what it was taught, does editing itself get worse, and does general ability decline?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from normgrowth.analysis import effects
from normgrowth.analysis.edit_scores import PARTS_OF_S, final_scores, harmonic_mean, paired
from normgrowth.analysis.effects import Effect, last_common_step
from normgrowth.analysis.intervals import Interval
from normgrowth.claims.verdict import (
    COLLAPSED,
    NOT_MEASURED,
    TOO_SHORT,
    Evidence,
    Measure,
    Rule,
    Verdict,
    count,
    decide,
    scope,
    with_interval,
)

ACCURACIES = ("accuracy", "acc,none")
"""Metrics that are shares of right answers: our own, and the harness's."""

WRITTEN = ["es", "ps"]
"""The scores of what an edit wrote."""

LEAST_IMMEDIATE = 0.1
"""Mean score just after the edits below which edits did not take, so that there is nothing to lose."""

FEWEST_FACTS = 10
"""Facts below which scores decide nothing."""

FEWEST_CALLS = 6
"""Calls of the editor in an order below which there is no trend to tell."""

RESAMPLED = 9999
"""Random orders of calls that a trend is compared with, beside the one at hand."""


def edits_are_lost(evidence: Evidence, rule: Rule) -> Verdict:
    """Mean of ES and PS of the edited facts at the end of the run, minus that just after each was written.

    NS stands beside it: it is about facts that were not edited, and may rise while the edits are lost.
    """
    scores = evidence.scores
    final = final_scores(scores)
    if final.empty:
        return Verdict(NOT_MEASURED, "No scores of edited facts after the run.")
    step, orders = int(final["step"].iloc[0]), scores["order"].nunique()
    before, after = paired(scores[scores["moment"] == "immediate"], final)
    if before.empty:
        return Verdict(NOT_MEASURED, "No immediate scores of the facts scored at the end.", (), step, orders)
    if not np.isfinite(after.to_numpy()).any():
        reading = f"No score is a number after {count(step, 'edit')}: the model has collapsed."
        return Verdict(COLLAPSED, reading, (), step, orders)
    written = [frame[WRITTEN].mean(axis=1) for frame in (before, after)]
    effect = _change(*written)
    s = [float(harmonic_mean(frame.mean().to_numpy())) for frame in (before, after)]
    measures = (
        Measure("mean of ES and PS, end minus immediate", effect.interval, "points", 0.0),
        *(
            Measure(f"{part.upper()}, end minus immediate", _change(before[part], after[part]).interval, "points", 0.0)
            for part in PARTS_OF_S
        ),
        Measure("S, end minus immediate", Interval.bare(s[1] - s[0], len(before)), "points", 0.0),
    )
    started, ended = (float(part.mean()) for part in written)
    reading = (
        f"Of {count(len(before), 'edited fact')}, the mean of ES and PS was {started:.3f} just after each edit and "
        f"{ended:.3f} after {count(step, 'edit')}: a change of {with_interval(effect.interval, plus='+')} "
        f"{scope(orders)}."
    )
    if len(before) < FEWEST_FACTS:
        return Verdict(TOO_SHORT, f"{reading} These are too few facts.", measures, step, orders)
    if started < LEAST_IMMEDIATE:
        reading += " Hardly any edit took, so there was nothing to lose."
        return Verdict(NOT_MEASURED, reading, measures, step, orders)
    status, tests = decide(effect, rule)
    return Verdict(status, reading, measures, step, orders, tests=tests)


def _change(before: pd.Series, after: pd.Series) -> Effect:
    """Mean change of facts' scores, by order and fact; facts differ from order to order."""
    changes = (after - before).dropna()
    if changes.empty:
        return effects.unknown()
    return effects.nested([effects.of_changes(order) for _, order in changes.groupby("order")])


def editing_gets_worse(evidence: Evidence, rule: Rule) -> Verdict:
    """The trend of scores just after facts' own edit, from the first call of the editor to the last.

    Facts of one call share the weights that it left, so calls are the units: the mean of a call's facts at the step of
    the call. Which facts a call gets is random, so calls drawn in another order tell how large a trend chance alone
    gives: a test that a call's score does not depend on its place, which decides about the direction in a single edit
    order. Several orders are decided by the interval over them.
    """
    immediate = evidence.scores[evidence.scores["moment"] == "immediate"]
    if immediate.empty:
        return Verdict(NOT_MEASURED, "No scores just after the edits.")
    edits, orders = int(immediate["step"].max()), immediate["order"].nunique()
    series = _by_call(immediate, PARTS_OF_S)
    facts, calls = min(immediate.groupby("order")["case_id"].nunique()), min(map(len, series))
    if facts < FEWEST_FACTS or calls < FEWEST_CALLS:
        reading = f"{count(facts, 'fact')} in {count(calls, 'call')} of the editor in an order are too few for a trend."
        return Verdict(TOO_SHORT, reading, (), edits, orders)
    effect = _trend(immediate, PARTS_OF_S)
    falls, climbs = trend_p(series, evidence.rng("trend"))
    p_of_none = min(1.0, 2 * min(falls, climbs))
    parts = [part for part in PARTS_OF_S if immediate[part].notna().any()]
    along = "last minus first along the trend"
    measures = (
        Measure(f"mean of ES, PS and NS, {along}", effect.interval, "points", 0.0),
        *(Measure(f"{part.upper()}, {along}", _trend(immediate, [part]).interval, "points", 0.0) for part in parts),
        Measure("p-value of no trend, over random orders of calls", Interval.bare(p_of_none, RESAMPLED), "p", 1.0),
    )
    halves = [np.array_split(scores.to_numpy(), 2) for scores in series]
    first, second = (float(np.mean([half[i].mean() for half in halves])) for i in (0, 1))
    reading = (
        f"Just after its edit a fact's mean of ES, PS and NS was {first:.3f} in the first half of the run's calls and "
        f"{second:.3f} in the second: a trend of {with_interval(effect.interval, plus='+')} over "
        f"{count(edits, 'edit')} {scope(orders)} (p of no trend within orders {p_of_none:.2g})."
    )
    decisive = effect if orders > 1 else effects.tested(effect, 0.0, p_above=climbs, p_below=falls)
    status, tests = decide(decisive, rule)
    return Verdict(status, reading, measures, edits, orders, tests=tests)


def _by_call(immediate: pd.DataFrame, parts: list[str]) -> list[pd.Series]:
    """The mean of some scores over the facts of each call, by the step of the call, for each edit order."""
    means = immediate[parts].astype(float).mean(axis=1)
    calls = means.groupby([immediate["order"], immediate["step"]]).mean().dropna()
    return [calls.loc[order] for order in sorted(set(immediate["order"])) if order in calls]


def _trend(immediate: pd.DataFrame, parts: list[str]) -> Effect:
    """Trend of some scores over calls, by edit order."""
    facts = immediate.groupby(["order", "step"]).size().mean()
    series = _by_call(immediate, parts)
    return effects.nested([effects.of_trend(calls.index, calls, facts) for calls in series])


def trend_p(series: Sequence[pd.Series], rng: np.random.Generator, resamples: int = RESAMPLED) -> tuple[float, float]:
    """p-values of no trend, against one that falls and one that climbs: how often random orders give as large a slope.

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


def ability_is_lost(evidence: Evidence, rule: Rule) -> Verdict:
    """Perplexity on held-out text at the end of the run, relative to the unedited model on the same windows."""
    changes = text_change(evidence)
    step, orders = last_common_step(changes), changes["order"].nunique()
    if step is None:
        return Verdict(NOT_MEASURED, "No perplexity of the edited model.")
    effect = perplexity_ratio(evidence)
    measures = (Measure("perplexity on held-out text", effect.interval, "ratio", 1.0), *_accuracies(evidence))
    perplexity = evidence.downstream[evidence.downstream["metric"] == "perplexity"]
    broken = perplexity.loc[~np.isfinite(perplexity["value"]), "step"]
    if len(broken):
        reading = f"Perplexity is not finite after {count(int(broken.min()), 'edit')}: the model has collapsed."
        return Verdict(COLLAPSED, reading, measures, step, orders)
    start, end = (perplexity.loc[perplexity["step"] == s, "value"].mean() for s in (0, step))
    reading = (
        f"After {count(step, 'edit')} perplexity on held-out text is {with_interval(effect.interval)} times the "
        f"unedited model's {scope(orders)} ({start:.4g} to {end:.4g})."
    )
    status, tests = decide(effect, rule)
    return Verdict(status, reading, measures, step, orders, tests=tests)


def text_change(evidence: Evidence) -> pd.DataFrame:
    """Rows of the change of log perplexity, window by window the same text."""
    return evidence.downstream[evidence.downstream["metric"] == "log_perplexity_change"]


def perplexity_ratio(evidence: Evidence) -> Effect:
    """Perplexity at the last common checkpoint over that of the unedited model; windows and orders are the units."""
    changes = text_change(evidence)
    last = changes[changes["step"] == last_common_step(changes)]
    return effects.crossed(by_window(last)).exp()


def by_window(rows: pd.DataFrame) -> np.ndarray:
    """The change of log perplexity [orders, windows] from rows of one step, in the order of their `order`."""
    return np.stack([np.asarray(values, dtype=float) for values in rows.sort_values("order")["by_window"]])


def _accuracies(evidence: Evidence) -> list[Measure]:
    """Shares of right answers at the end of the run, of every task that has them; against the unedited model's."""
    rows = evidence.downstream[evidence.downstream["metric"].isin(ACCURACIES)]
    measures = []
    for task, part in rows.groupby("task", sort=True):
        step = last_common_step(part)
        if step is None:
            continue
        last, n = part[part["step"] == step], int(part["n"].min())
        interval = effects.crossed_summaries(last["value"], last["stderr"].astype(float) * np.sqrt(n), n).interval
        before = float(part.loc[part["step"] == 0, "value"].mean())
        measures.append(Measure(f"accuracy, {task.replace('_', ' ')}", interval, "share", before))
    return measures


def final_difference(first: Evidence, second: Evidence) -> Effect:
    """S of edited facts at the end of the run, first minus second, over the facts scored in both."""
    both = pd.concat(paired(*(final_scores(run.scores) for run in (first, second))), axis=1)
    both = both.groupby("case_id").mean().to_numpy()
    return effects.bootstrapped(
        both,
        lambda means: harmonic_mean(means[..., :3]) - harmonic_mean(means[..., 3:]),
        first.rng("against", second.editor),
    )
