"""Do activations shrink, do they turn away from the unedited model's, and do they leave its subspace?"""

import numpy as np
import pandas as pd

from normgrowth.analysis.effects import last_common_step
from normgrowth.analysis.intervals import Interval
from normgrowth.analysis.places import SITES, Place, at_place, effect_at, interval_at, judged_places, place_layer
from normgrowth.claims.verdict import (
    COLLAPSED,
    NOT_MEASURED,
    Evidence,
    Measure,
    Rule,
    Verdict,
    count,
    decide,
    scope,
    with_interval,
)


def norm_falls(evidence: Evidence, rule: Rule) -> list[Verdict]:
    """The mean norm of activations over that of the same ones in the unedited model, at each site and depth.

    The mean of single activations' ratios stands beside the ratio of means: small activations that grow raise it even
    where the norm falls.
    """
    return _at_each_place(
        evidence,
        rule,
        tuple(SITES),
        "ratio_of_norms",
        ("ratio", "has a norm {} times the unedited model's"),
        beside={"mean of single activations' ratios": "norm_ratio"},
    )


def orientation_drifts(evidence: Evidence, rule: Rule) -> list[Verdict]:
    """The mean cosine of an activation and the same one in the unedited model, at each site and depth."""
    said = ("cosine", "has a cosine of {} to the unedited one")
    return _at_each_place(evidence, rule, tuple(SITES), "cosine", said)


def subspace_is_left(evidence: Evidence, rule: Rule) -> list[Verdict]:
    """How far the residual stream has left the unedited subspace, as a share of the way to an independent one.

    Judged about the activations' own mean, and about the unedited mean, where a mere shift counts too.
    """
    subspaces = evidence.subspaces
    step = last_common_step(subspaces)
    if step is None:
        return [Verdict(NOT_MEASURED, "No principal components of activations after an edit.")]
    verdicts = []
    for place in judged_places(evidence.norms, subspaces, ("residual",)):
        rows = at_place(subspaces, place, place_layer(place, subspaces, evidence.norms))
        if (rows["step"] == step).any():
            verdicts += [_left(rows, place, rule, step, about) for about in ("", "_uncentred")]
    return verdicts or [Verdict(NOT_MEASURED, "No residual stream on text among the activations.")]


ABOUT = {"": "about its own mean", "_uncentred": "about the unedited mean"}


def _left(rows: pd.DataFrame, place: Place, rule: Rule, step: int, about: str) -> Verdict:
    explained, start = f"explained{about or '_variance'}", rows[rows["step"] == 0]
    rows = rows[rows["step"] == step]
    where, orders = f"{place.name}, {ABOUT[about]}", rows["order"].nunique()
    effect = effect_at(rows, f"departure{about}", f"departure{about}_std")
    kept = rows.set_index("order")[explained] / start.set_index("order")[explained]
    angles = np.stack(rows["principal_angles"].to_numpy()).mean(axis=0)
    shift = rows["centroid_shift"].mean()
    chance = float((rows["components"] / rows["width"]).mean())
    n = effect.interval.n
    measures = (
        Measure("way to an independent subspace", effect.interval, "share", 0.0),
        Measure("share of explained variance kept", Interval.bare(kept.mean(), n), "share", 1.0),
        Measure("principal angle, smallest", Interval.bare(angles.min(), n), "degrees", 0.0),
        Measure("principal angle, largest", Interval.bare(angles.max(), n), "degrees", 0.0),
        Measure("shift of the mean, in unedited spreads", Interval.bare(shift, n), "spreads", 0.0),
    )
    if not np.isfinite(rows["explained_variance"].astype(float)).all():
        reading = f"Activations are not finite after {count(step, 'edit')}: the model has collapsed."
        return Verdict(COLLAPSED, reading, measures, step, orders, where)
    if not np.isfinite(effect.interval.estimate):
        reading = "The unedited components explain no more variance than chance: there is no subspace to leave."
        return Verdict(NOT_MEASURED, reading, measures, step, orders, where)
    status, tests = decide(effect, rule)
    components = int(rows["components"].min())
    reading = (
        f"After {count(step, 'edit')} the unedited model's first {components} components keep {kept.mean():.1%} of the "
        f"share of variance that they explain of the unedited activations ({chance:.1%} of all variance is chance): "
        f"{with_interval(effect.interval)} of the way to an independent subspace {scope(orders)}. Principal angles are "
        f"{angles.min():.0f} to {angles.max():.0f} degrees; the mean has moved by {shift:.2g} spreads."
    )
    return Verdict(status, reading, measures, step, orders, where, tests)


def _at_each_place(
    evidence: Evidence,
    rule: Rule,
    sites: tuple[str, ...],
    quantity: str,
    said: tuple[str, str],
    beside: dict[str, str] | None = None,
) -> list[Verdict]:
    activations = evidence.activations
    step = last_common_step(activations)
    if step is None:
        return [Verdict(NOT_MEASURED, "No activations after an edit.")]
    verdicts = []
    for place in judged_places(evidence.norms, activations, sites):
        rows = at_place(activations, place, place_layer(place, activations, evidence.norms))
        if (rows["step"] == step).any():
            verdicts.append(_compared(rows, place, rule, step, quantity, said, beside or {}))
    return verdicts or [Verdict(NOT_MEASURED, "No activations on text after an edit.")]


MEANS = {"cosine": "cosine_to_unedited"}
"""Columns whose mean is not named as their deviation is."""


def _compared(
    rows: pd.DataFrame,
    place: Place,
    rule: Rule,
    step: int,
    quantity: str,
    said: tuple[str, str],
    beside: dict[str, str],
) -> Verdict:
    unit, sentence = said
    mean, last = MEANS.get(quantity, quantity), rows[rows["step"] == step]
    orders = last["order"].nunique()
    effect = effect_at(last, mean, f"{quantity}_std")
    others = (Measure(name, interval_at(last, q, f"{q}_std"), unit, 1.0) for name, q in beside.items())
    measures = (Measure(f"{place.name}, text", effect.interval, unit, 1.0), *others)
    broken = rows.loc[~np.isfinite(rows[mean].astype(float)), "step"]
    if len(broken):
        reading = f"It is not finite after {count(int(broken.min()), 'edit')}: the model has collapsed."
        return Verdict(COLLAPSED, reading, measures, step, orders, place.name)
    status, tests = decide(effect, rule)
    first = int(rows.loc[rows["step"] > 0, "step"].min())
    early = rows.loc[rows["step"] == first, mean].mean()
    reading = f"After {count(step, 'edit')} it {sentence.format(with_interval(effect.interval))} {scope(orders)}"
    reading += f"; after {first:,} it was {early:.3g}." if first < step else "; this is the only checkpoint."
    return Verdict(status, reading, measures, step, orders, place.name, tests)
