"""Loss of edited facts, of the ability to edit, and of general ability along a run."""

import numpy as np

from normgrowth.analysis import effects
from normgrowth.analysis.ability_loss import accuracies, perplexity_ratio, text_change
from normgrowth.analysis.edit_scores import (
    FEWEST_FACTS,
    PARTS_OF_S,
    RESAMPLED,
    by_call,
    change_of_scores,
    final_scores,
    harmonic_mean,
    of_first_edits,
    paired,
    trend,
    trend_p,
)
from normgrowth.analysis.effects import last_common_step
from normgrowth.analysis.intervals import Interval
from normgrowth.claims.claim import EditingEvidence
from normgrowth.claims.verdict import Measure, Rule, Status, Verdict, count, decide, scope, with_interval

WRITTEN = ["es", "ps"]
"""Columns of the scores of edited facts themselves, neighbours aside."""

LEAST_IMMEDIATE = 0.1
"""Least mean score just after the edits; below it the edits failed, and there is nothing to lose."""

FEWEST_CALLS = 6
"""Fewest calls of the editor for a trend in a single edit order, which random orders of the calls decide."""

FEWEST_CALLS_PER_ORDER = 4
"""Fewest calls for a trend in each of several edit orders: enough for a slope, since the spread over orders decides."""


def edits_are_lost(evidence: EditingEvidence, rule: Rule) -> Verdict:
    """Mean of ES and PS of the edited facts at the end of the run, minus that just after each was written.

    NS is reported beside it: it is about facts that were not edited, and may rise while edits are lost.
    """
    scores = evidence.scores
    final = final_scores(scores)
    if final.empty:
        return Verdict(Status.NOT_MEASURED, "No scores of edited facts after the run.")
    step, orders = int(final["step"].iloc[0]), scores["order"].nunique()
    before, after = paired(scores[scores["moment"] == "immediate"], final)
    if before.empty:
        return Verdict(Status.NOT_MEASURED, "No immediate scores of the facts scored at the end.", (), step, orders)
    if not np.isfinite(after.to_numpy()).any():
        reading = f"No score is a number after {count(step, 'edit')}: the model has collapsed."
        return Verdict(Status.COLLAPSED, reading, (), step, orders)
    written = [frame[WRITTEN].mean(axis=1) for frame in (before, after)]
    effect = change_of_scores(*written)
    s = [float(harmonic_mean(frame.mean().to_numpy())) for frame in (before, after)]
    measures = (
        Measure("mean of ES and PS, end minus immediate", effect.interval, "points", 0.0),
        *(
            Measure(
                f"{part.upper()}, end minus immediate",
                change_of_scores(before[part], after[part]).interval,
                "points",
                0.0,
            )
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
        return Verdict(Status.TOO_SHORT, f"{reading} These are too few facts.", measures, step, orders)
    if started < LEAST_IMMEDIATE:
        reading += " Hardly any edit took, so there was nothing to lose."
        return Verdict(Status.NOT_MEASURED, reading, measures, step, orders)
    status, tests = decide(effect, rule)
    return Verdict(status, reading, measures, step, orders, tests=tests)


def editing_gets_worse(evidence: EditingEvidence, rule: Rule) -> Verdict:
    """The trend of scores just after facts' own edit, from the first call of the editor to the last.

    Facts of one call share the weights that it left, so calls are the units: the mean of a call's facts at the step of
    the call. Facts are assigned to calls at random, so permuted calls show how large a trend chance alone gives. This
    test, that a call's score does not depend on its place, decides the direction in a single edit order; with several
    orders the interval over them decides. Edits of facts edited before are left out: there are none at the start of a
    run, so they would be a trend of their own.
    """
    immediate = evidence.scores[evidence.scores["moment"] == "immediate"]
    if immediate.empty:
        return Verdict(Status.NOT_MEASURED, "No scores just after the edits.")
    edits, orders = int(immediate["step"].max()), immediate["order"].nunique()
    immediate = of_first_edits(immediate)
    series = by_call(immediate, PARTS_OF_S)
    facts, calls = min(immediate.groupby("order")["case_id"].nunique()), min(map(len, series))
    if facts < FEWEST_FACTS or calls < (FEWEST_CALLS if orders == 1 else FEWEST_CALLS_PER_ORDER):
        reading = f"{count(facts, 'fact')} in {count(calls, 'call')} of the editor in an order are too few for a trend."
        return Verdict(Status.TOO_SHORT, reading, (), edits, orders)
    effect = trend(immediate, PARTS_OF_S)
    falls, climbs = trend_p(series, evidence.rng("trend"))
    p_of_none = min(1.0, 2 * min(falls, climbs))
    parts = [part for part in PARTS_OF_S if immediate[part].notna().any()]
    along = "last minus first along the trend"
    measures = (
        Measure(f"mean of ES, PS and NS, {along}", effect.interval, "points", 0.0),
        *(Measure(f"{part.upper()}, {along}", trend(immediate, [part]).interval, "points", 0.0) for part in parts),
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


def ability_is_lost(evidence: EditingEvidence, rule: Rule) -> Verdict:
    """Perplexity on held-out text at the end of the run, relative to the unedited model on the same windows."""
    changes = text_change(evidence.downstream)
    step, orders = last_common_step(changes), changes["order"].nunique()
    if step is None:
        return Verdict(Status.NOT_MEASURED, "No perplexity of the edited model.")
    effect = perplexity_ratio(evidence.downstream)
    beside = (
        Measure(f"accuracy, {share.task.replace('_', ' ')}", share.interval, "share", share.unedited)
        for share in accuracies(evidence.downstream)
    )
    measures = (Measure("perplexity on held-out text", effect.interval, "ratio", 1.0), *beside)
    perplexity = evidence.downstream[evidence.downstream["metric"] == "perplexity"]
    broken = perplexity.loc[~np.isfinite(perplexity["value"]), "step"]
    if len(broken):
        reading = f"Perplexity is not finite after {count(int(broken.min()), 'edit')}: the model has collapsed."
        return Verdict(Status.COLLAPSED, reading, measures, step, orders)
    start, end = (perplexity.loc[perplexity["step"] == s, "value"].mean() for s in (0, step))
    reading = (
        f"After {count(step, 'edit')} perplexity on held-out text is {with_interval(effect.interval)} times the "
        f"unedited model's {scope(orders)} ({start:.4g} to {end:.4g})."
    )
    status, tests = decide(effect, rule)
    return Verdict(status, reading, measures, step, orders, tests=tests)
