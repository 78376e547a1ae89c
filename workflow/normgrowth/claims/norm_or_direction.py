"""Does the norm itself break the model, or what the edits turn the matrices into?

Both are exchanged between the unedited and the edited matrices at one checkpoint (`measure.norm_direction`); an edit
order is the unit.
"""

from collections.abc import Callable

import numpy as np

from normgrowth.analysis import effects
from normgrowth.analysis.two_by_two import (
    FEWEST_ORDERS,
    Corners,
    at_last_step,
    effect_over_orders,
    log_perplexity,
    outcome,
)
from normgrowth.claims.claim import EditingEvidence
from normgrowth.claims.verdict import Measure, Rule, Status, Verdict, decide, scope, with_interval

BEHIND_NORM = 1.1
"""Factor of perplexity from which a model whose MLPs are normed counts as damaged."""


def norm_harms(evidence: EditingEvidence, rule: Rule) -> list[Verdict]:
    """Effect of the norm on perplexity, averaged over both directions."""
    return _judged(evidence, rule, "the grown norm multiplies perplexity by {}", _norm)


def direction_harms(evidence: EditingEvidence, rule: Rule) -> list[Verdict]:
    """Effect of the direction on perplexity, averaged over both norms."""
    return _judged(evidence, rule, "the turned direction multiplies perplexity by {}", _direction)


def norm_harms_more(evidence: EditingEvidence, rule: Rule) -> list[Verdict]:
    """Effect of the norm over that of the direction."""
    return _judged(evidence, rule, "the factor of the norm is {} times that of the direction", _more)


def damage_behind_norm(evidence: EditingEvidence, rule: Rule) -> list[Verdict]:
    """Damage to a model whose MLPs are normed before they reach the stream: the matrices' scale cannot matter there."""
    rows = at_last_step(evidence.norm_direction)
    if rows.empty or not rows["post_norm"].astype(bool).all():
        return []
    corners = log_perplexity(rows)
    whole, norm = effects.crossed(corners.whole).exp(), effects.crossed(corners.norm_effect).exp()
    step, orders = int(rows["step"].max()), rows["order"].nunique()
    ratio = rows.loc[rows["metric"] == "norm_ratio", "value"].astype(float)
    measures = (
        Measure("perplexity over unedited", whole.interval, "ratio", 1.0),
        Measure("effect of the norm", norm.interval, "ratio", 1.0),
        Measure("norm of the edited matrices over unedited", effects.of_mean(ratio).interval, "ratio", 1.0),
    )
    if not np.isfinite(whole.interval.estimate):
        return [Verdict(Status.COLLAPSED, "Perplexity is not finite.", measures, step, orders)]
    status, tests = decide(whole, rule)
    reading = (
        f"The edited matrices' norm grew {ratio.mean():.3g} times, and scaling them changes perplexity by a factor of "
        f"{with_interval(norm.interval, 4)}; the edits multiply it by {with_interval(whole.interval)} {scope(orders)}."
    )
    return [Verdict(status, reading, measures, step, orders, tests=tests)]


def _norm(corners: Corners) -> np.ndarray:
    return corners.norm_effect


def _direction(corners: Corners) -> np.ndarray:
    return corners.direction_effect


def _more(corners: Corners) -> np.ndarray:
    return corners.norm_effect - corners.direction_effect


def _judged(
    evidence: EditingEvidence, rule: Rule, sentence: str, effect_of: Callable[[Corners], np.ndarray]
) -> list[Verdict]:
    """Verdict on an effect, for an editor with enough edit orders; none for others, whose numbers the figure shows."""
    rows = at_last_step(evidence.norm_direction)
    orders = rows["order"].nunique()
    if orders < FEWEST_ORDERS:
        return []
    corners, step = log_perplexity(rows), int(rows["step"].max())
    effect = effect_over_orders(effect_of(corners)).exp()
    measures = (
        Measure("effect on perplexity", effect.interval, "ratio", 1.0),
        *_beside(corners),
        *(
            Measure(f"effect on {name}", effects.of_mean(effect_of(outcome(rows, metric))).interval, "points", 0.0)
            for metric, name in (("es", "ES"), ("ns", "NS"), ("cloze", "the cloze"))
            if metric in set(rows["metric"])
        ),
    )
    if not np.isfinite(effect.interval.estimate):
        return [Verdict(Status.COLLAPSED, "Perplexity is not finite.", measures, step, orders)]
    status, tests = decide(effect, rule)
    parts = {name: effects.crossed(values).exp().interval for name, values in _parts(corners).items()}
    norm, direction = parts["norm"].estimate, parts["direction"].estimate
    whole, interaction = parts["whole"].estimate, parts["interaction"].estimate
    reading = (
        f"After {step:,} edits {sentence.format(with_interval(effect.interval))} {scope(orders)}. Averaged over the "
        f"other, the norm gives a factor of {norm:.3g} and the direction {direction:.3g}, which multiply to that of "
        f"the edits, {whole:.3g}; the norm's factor is {interaction:.3g} times as large with the edited direction as "
        "with the unedited one."
    )
    return [Verdict(status, reading, measures, step, orders, tests=tests)]


def _parts(corners: Corners) -> dict[str, np.ndarray]:
    return {
        "norm": corners.norm_effect,
        "direction": corners.direction_effect,
        "interaction": corners.interaction,
        "whole": corners.whole,
    }


def _beside(corners: Corners) -> list[Measure]:
    """The parts of the whole change, as factors of perplexity."""
    names = {
        "norm": "norm, averaged over directions",
        "direction": "direction, averaged over norms",
        "interaction": "interaction",
        "whole": "perplexity over unedited",
    }
    return [
        Measure(names[part], effects.crossed(values).exp().interval, "ratio", 1.0)
        for part, values in _parts(corners).items()
    ]
