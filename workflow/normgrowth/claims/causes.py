"""Causes of damage: what the control arms of an editor say about the growth of the norm.

If the norm's growth does the damage, then holding the norm while editing on must spare the model (the arm
`norm_restored`), and the same growth without any edit must harm it (`scale_only`). Where only one holds, the growth is
at most part of the cause. Damage is measured by perplexity on held-out text, which every arm has.
"""

import numpy as np

from normgrowth.analysis.ability_loss import perplexity_ratio, perplexity_ratio_of_runs, text_change
from normgrowth.analysis.collapse import FLOOR, first_below, sliding_s
from normgrowth.analysis.edit_scores import final_difference
from normgrowth.analysis.effects import last_common_step
from normgrowth.claims.claim import EditingEvidence
from normgrowth.claims.verdict import DIRECT, UP, Measure, Rule, Status, Verdict, decide, scope, with_interval

RESTORED, SCALED, RANDOM = "norm_restored", "scale_only", "random_direction"
"""Kinds of control arms."""

LOST = 0.02
"""Loss of S beyond which protection of the model is put down to undone edits."""


def restoring_protects(evidence: EditingEvidence, rule: Rule) -> Verdict:
    """Perplexity of the arm whose norm is restored over that of the editor it wraps, on the same edits and text."""
    arm = _measured_arm(evidence, RESTORED)
    return arm if isinstance(arm, Verdict) else _restored(evidence, arm, rule)


def norm_alone_harms(evidence: EditingEvidence, rule: Rule) -> Verdict:
    """Perplexity of the unedited weights scaled along the editor's norms, over that of the unedited model."""
    arm = _measured_arm(evidence, SCALED)
    return arm if isinstance(arm, Verdict) else _scaled(evidence, arm, rule)


def imbalance_harms(evidence: EditingEvidence, rule: Rule) -> Verdict:
    """Joint verdict on two questions: does holding the norm protect, and does growth alone harm?

    The verdict is the common answer of both; where they differ nothing is decided.

    Args:
        rule: rule of the first question; that of the second is its mirror image.

    Raises:
        ValueError: when the rule has one side only.
    """
    if rule.other is None:
        raise ValueError(f"a rule with two sides is needed, not {rule}")
    protects, harms = restoring_protects(evidence, rule), norm_alone_harms(evidence, Rule(UP, rule.other, rule.margin))
    measured = [part for part in (protects, harms) if part.status is not Status.NOT_MEASURED]
    if not measured:
        return protects
    reading = " ".join(part.reading for part in measured)
    measures = tuple(measure for part in measured for measure in part.measures)
    edits, orders = measured[0].edits, measured[0].orders
    if len(measured) == 1:
        return Verdict(Status.UNDECIDED, f"{reading} One of the two arms is missing.", measures, edits, orders)
    agreed = protects.status is harms.status and protects.status in DIRECT
    # Both must hold, so the joint p-value is the larger one.
    tests = None if protects.tests is None or harms.tests is None else protects.tests.joint(harms.tests)
    return Verdict(protects.status if agreed else Status.UNDECIDED, reading, measures, edits, orders, tests=tests)


def _measured_arm(evidence: EditingEvidence, kind: str) -> EditingEvidence | Verdict:
    """The control arm of a kind, or the verdict that it or the editor was not measured."""
    arm = evidence.arms.get(kind)
    if arm is None:
        return Verdict(Status.NOT_MEASURED, f"The study has no arm {kind}-{evidence.editor}.")
    for run in (evidence, arm):
        if last_common_step(text_change(run.downstream)) is None:
            return Verdict(Status.NOT_MEASURED, f"No perplexity of {run.editor} after an edit.")
    return arm


def _restored(evidence: EditingEvidence, arm: EditingEvidence, rule: Rule) -> Verdict:
    step, orders = last_common_step(text_change(arm.downstream)), text_change(arm.downstream)["order"].nunique()
    effect = perplexity_ratio_of_runs(arm.downstream, evidence.downstream)
    ratio, ours, theirs = effect.interval, perplexity_ratio(arm.downstream), perplexity_ratio(evidence.downstream)
    kept = final_difference(arm.scores, evidence.scores, arm.rng("against", evidence.editor))
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
            Status.SUPPORTED,
            f"{evidence.editor} collapses; with its norm restored it does not.",
            measures,
            step,
            orders,
        )
    if not np.isfinite(ratio.estimate):
        return Verdict(Status.COLLAPSED, f"{evidence.editor} collapses with its norm restored.", measures, step, orders)
    status, tests = decide(effect, rule)
    if not theirs.interval.low > 1 / rule.margin:
        reading += " The editor itself does too little damage to tell."
        return Verdict(Status.UNDECIDED, reading, measures, step, orders)
    if status == Status.SUPPORTED and kept.interval.high < -LOST:
        said = with_interval(kept.interval, plus="+")
        reading += f" But it takes the edits back: S at the end is {said} against the editor's own."
        return Verdict(Status.UNDECIDED, reading, measures, step, orders)
    return Verdict(status, reading, measures, step, orders, tests=tests)


def _scaled(evidence: EditingEvidence, arm: EditingEvidence, rule: Rule) -> Verdict:
    step, orders = last_common_step(text_change(arm.downstream)), text_change(arm.downstream)["order"].nunique()
    effect, theirs = perplexity_ratio(arm.downstream), perplexity_ratio(evidence.downstream).interval
    measures = [
        Measure("perplexity over unedited, scaled without edits", effect.interval, "ratio", 1.0),
        Measure("perplexity over unedited, edited", theirs, "ratio", 1.0),
    ]
    if (random := evidence.arms.get(RANDOM)) is not None and last_common_step(
        text_change(random.downstream)
    ) is not None:
        name = "perplexity over unedited, random steps of the same norms"
        measures.append(Measure(name, perplexity_ratio(random.downstream).interval, "ratio", 1.0))
    reading = (
        f"Scaled along the norms of {evidence.editor}, without any edit, the model has "
        f"{with_interval(effect.interval)} times the perplexity of the unedited one {scope(orders)}; "
        f"{evidence.editor} itself reaches {with_interval(theirs)}."
    )
    if not np.isfinite(effect.interval.estimate):
        return Verdict(Status.SUPPORTED, "Scaling alone makes the model collapse.", tuple(measures), step, orders)
    status, tests = decide(effect, rule)
    return Verdict(status, reading, tuple(measures), step, orders, tests=tests)


def _when(run: EditingEvidence) -> str:
    """Words on the edit at which the score of each order fell below the floor."""
    times = [first_below(sliding_s(part), FLOOR) for _, part in run.scores.groupby("order")]
    fell = [time for time in times if time is not None]
    if not fell:
        return "never"
    when = f"at edit {min(fell):,}" if len(set(fell)) == 1 else f"at edits {min(fell):,} to {max(fell):,}"
    return when if len(fell) == len(times) else f"{when} (in {len(fell)} of {len(times)} orders)"
