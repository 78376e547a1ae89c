"""Is it the growth of the norm that harms? What the control arms of an editor say about its rivals.

If the norm's growth does the damage, then holding the norm while editing on must spare the model (the arm
`norm_restored`), and the same growth without any edit must harm it (`scale_only`). Where only one holds, the growth is
at most part of the cause. Damage is told by perplexity on held-out text, which every arm has.
"""

import numpy as np

from normgrowth.analysis import effects
from normgrowth.analysis.collapse import FLOOR, first_below, sliding_s
from normgrowth.analysis.effects import Effect, last_common_step
from normgrowth.claims.performance import by_window, final_difference, perplexity_ratio, text_change
from normgrowth.claims.verdict import (
    COLLAPSED,
    NEGLIGIBLE,
    NOT_MEASURED,
    OPPOSITE,
    SUPPORTED,
    UNDECIDED,
    UP,
    Evidence,
    Measure,
    Rule,
    Tests,
    Verdict,
    decide,
    scope,
    with_interval,
)

RESTORED, SCALED, RANDOM = "norm_restored", "scale_only", "random_direction"

LOST = 0.02
"""Loss of S beyond which a spared model was spared by undoing its edits."""


def restoring_protects(evidence: Evidence, rule: Rule) -> Verdict:
    """Perplexity of the arm whose norm is restored over that of the editor it wraps, on the same edits and text."""
    return _with_arm(evidence, RESTORED, lambda arm: _restored(evidence, arm, rule))


def norm_alone_harms(evidence: Evidence, rule: Rule) -> Verdict:
    """Perplexity of the unedited weights scaled along the editor's norms, over that of the unedited model."""
    return _with_arm(evidence, SCALED, lambda arm: _scaled(evidence, arm, rule))


def imbalance_harms(evidence: Evidence, rule: Rule) -> Verdict:
    """Both together: does holding the norm protect, and does growth alone harm? A word holds where both say it.

    Args:
        rule: of holding the norm; that of growth alone is its mirror image.
    """
    parts = [restoring_protects(evidence, rule), norm_alone_harms(evidence, Rule(UP, rule.other, rule.margin))]
    known = [part for part in parts if part.status != NOT_MEASURED]
    if not known:
        return parts[0]
    reading = " ".join(part.reading for part in known)
    whole = len(known) == len(parts)
    statuses = {part.status for part in known}
    status = UNDECIDED
    if not whole:
        reading += " One of the two arms is missing."
    elif len(statuses) == 1 and statuses <= {SUPPORTED, OPPOSITE, NEGLIGIBLE}:
        (status,) = statuses
    measures = tuple(measure for part in known for measure in part.measures)
    # Both must hold, so the larger p-value is that of the two together.
    tested = [part.tests for part in known if part.tests is not None]
    tests = Tests(*map(max, *tested)) if whole and len(tested) == len(parts) else None
    return Verdict(status, reading, measures, known[0].edits, known[0].orders, tests=tests)


def _with_arm(evidence: Evidence, kind: str, judged) -> Verdict:
    arm = evidence.arms.get(kind)
    if arm is None:
        return Verdict(NOT_MEASURED, f"The study has no arm {kind}-{evidence.editor}.")
    for run in (evidence, arm):
        if last_common_step(text_change(run)) is None:
            return Verdict(NOT_MEASURED, f"No perplexity of {run.editor} after an edit.")
    return judged(arm)


def _restored(evidence: Evidence, arm: Evidence, rule: Rule) -> Verdict:
    step, orders = last_common_step(text_change(arm)), text_change(arm)["order"].nunique()
    effect = _paired_ratio(arm, evidence)
    ratio, ours, theirs = effect.interval, perplexity_ratio(arm), perplexity_ratio(evidence)
    kept = final_difference(arm, evidence)
    measures = (
        Measure("perplexity, norm restored over edited", ratio, "ratio", 1.0),
        Measure("S at the end, norm restored minus edited", kept.interval, "points", 0.0),
        Measure("perplexity over unedited, edited", theirs.interval, "ratio", 1.0),
        Measure("perplexity over unedited, norm restored", ours.interval, "ratio", 1.0),
    )
    reading = (
        f"With its norm restored after every edit, {evidence.editor} ends with {with_interval(ratio)} times the "
        f"perplexity it has without {scope(orders)}; S falls under {FLOOR:.0%} {_when(arm)} with it and "
        f"{_when(evidence)} without."
    )
    if not np.isfinite(theirs.interval.estimate) and np.isfinite(ours.interval.estimate):
        return Verdict(
            SUPPORTED, f"{evidence.editor} collapses; with its norm restored it does not.", measures, step, orders
        )
    if not np.isfinite(ratio.estimate):
        return Verdict(COLLAPSED, f"{evidence.editor} collapses with its norm restored.", measures, step, orders)
    status, tests = decide(effect, rule)
    if not theirs.interval.low > 1 / rule.margin:
        reading += " The editor itself does too little damage to tell."
        return Verdict(UNDECIDED, reading, measures, step, orders)
    if status == SUPPORTED and kept.interval.high < -LOST:
        said = with_interval(kept.interval, plus="+")
        reading += f" But it takes the edits back: S at the end is {said} against the editor's own."
        return Verdict(UNDECIDED, reading, measures, step, orders)
    return Verdict(status, reading, measures, step, orders, tests=tests)


def _scaled(evidence: Evidence, arm: Evidence, rule: Rule) -> Verdict:
    step, orders = last_common_step(text_change(arm)), text_change(arm)["order"].nunique()
    effect, theirs = perplexity_ratio(arm), perplexity_ratio(evidence).interval
    measures = [
        Measure("perplexity over unedited, scaled without edits", effect.interval, "ratio", 1.0),
        Measure("perplexity over unedited, edited", theirs, "ratio", 1.0),
    ]
    if (random := evidence.arms.get(RANDOM)) is not None and last_common_step(text_change(random)) is not None:
        name = "perplexity over unedited, random steps of the same norms"
        measures.append(Measure(name, perplexity_ratio(random).interval, "ratio", 1.0))
    reading = (
        f"Scaled along the norms of {evidence.editor}, without any edit, the model has "
        f"{with_interval(effect.interval)} times the perplexity of the unedited one {scope(orders)}; "
        f"{evidence.editor} itself reaches {with_interval(theirs)}."
    )
    if not np.isfinite(effect.interval.estimate):
        return Verdict(SUPPORTED, "Scaling alone makes the model collapse.", tuple(measures), step, orders)
    status, tests = decide(effect, rule)
    return Verdict(status, reading, tuple(measures), step, orders, tests=tests)


def _paired_ratio(arm: Evidence, edited: Evidence) -> Effect:
    """Ratio of perplexities at the same step, in the same orders, window by window the same text."""
    rows = [text_change(run) for run in (arm, edited)]
    step = min(map(last_common_step, rows))
    last = [frame[frame["step"] == step] for frame in rows]
    common = set(last[0]["order"]) & set(last[1]["order"])
    ours, theirs = (by_window(frame[frame["order"].isin(common)]) for frame in last)
    return effects.crossed(ours - theirs).exp()


def _when(run: Evidence) -> str:
    """At which edit the score of each order fell under the floor, in words."""
    times = [first_below(sliding_s(part), FLOOR) for _, part in run.scores.groupby("order")]
    fell = [time for time in times if time is not None]
    if not fell:
        return "never"
    when = f"at edit {min(fell):,}" if len(set(fell)) == 1 else f"at edits {min(fell):,} to {max(fell):,}"
    return when if len(fell) == len(times) else f"{when} (in {len(fell)} of {len(times)} orders)"
