"""Activations of the edited model: their norm, their orientation, and the unedited model's subspace."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from normgrowth.analysis.effects import last_common_step
from normgrowth.analysis.intervals import Interval
from normgrowth.analysis.places import SITES, Place, at_place, effect_at, interval_at, judged_places, place_layer
from normgrowth.claims.claim import EditingEvidence
from normgrowth.claims.verdict import Measure, Rule, Status, Verdict, count, decide, scope, with_interval


class Beside(NamedTuple):
    """A quantity reported beside a judged one: columns of table `activations` with its mean and deviation."""

    name: str
    mean: str
    deviation: str


class Quantity(NamedTuple):
    """A judged quantity of activations: columns of mean and deviation, unit, and a sentence on its value."""

    mean: str
    deviation: str
    unit: str
    sentence: str
    beside: tuple[Beside, ...] = ()


NORM = Quantity(
    "ratio_of_norms",
    "ratio_of_norms_std",
    "ratio",
    "has a norm {} times the unedited model's",
    (Beside("mean of single activations' ratios", "norm_ratio", "norm_ratio_std"),),
)
ORIENTATION = Quantity("cosine_to_unedited", "cosine_std", "cosine", "has a cosine of {} to the unedited one")


class Centre(NamedTuple):
    """A point about which variance is taken, and the columns of table `subspaces` about it."""

    name: str
    departure: str
    deviation: str
    explained: str


OWN_MEAN = Centre("about its own mean", "departure", "departure_std", "explained_variance")
UNEDITED_MEAN = Centre(
    "about the unedited mean", "departure_uncentred", "departure_uncentred_std", "explained_uncentred"
)


class At(NamedTuple):
    """A place in the model, and the checkpoint judged there."""

    place: Place
    step: int


def norm_falls(evidence: EditingEvidence, rule: Rule) -> list[Verdict]:
    """The mean norm of activations over that of the same ones in the unedited model, at each site and depth.

    The mean of single activations' ratios is reported beside the ratio of means: growth of small activations raises it
    even where the norm falls.
    """
    return _at_each_place(evidence, rule, NORM)


def orientation_drifts(evidence: EditingEvidence, rule: Rule) -> list[Verdict]:
    """The mean cosine of an activation and the same one in the unedited model, at each site and depth."""
    return _at_each_place(evidence, rule, ORIENTATION)


def subspace_is_left(evidence: EditingEvidence, rule: Rule) -> list[Verdict]:
    """Distance of the residual stream from the unedited subspace, as a share of the way to an independent one.

    Judged about the activations' own mean, and about the unedited mean, where a mere shift counts too.
    """
    subspaces = evidence.subspaces
    step = last_common_step(subspaces)
    if step is None:
        return [Verdict(Status.NOT_MEASURED, "No principal components of activations after an edit.")]
    verdicts = []
    for place in judged_places(evidence.norms, subspaces, ("residual",)):
        rows = at_place(subspaces, place, place_layer(place, subspaces, evidence.norms))
        if (rows["step"] == step).any():
            verdicts += [_left(rows, At(place, step), centre, rule) for centre in (OWN_MEAN, UNEDITED_MEAN)]
    return verdicts or [Verdict(Status.NOT_MEASURED, "No residual stream on text among the activations.")]


def _left(rows: pd.DataFrame, at: At, centre: Centre, rule: Rule) -> Verdict:
    step, start = at.step, rows[rows["step"] == 0]
    rows = rows[rows["step"] == step]
    where, orders = f"{at.place.name}, {centre.name}", rows["order"].nunique()
    effect = effect_at(rows, centre.departure, centre.deviation)
    kept = rows.set_index("order")[centre.explained] / start.set_index("order")[centre.explained]
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
        return Verdict(Status.COLLAPSED, reading, measures, step, orders, where)
    if not np.isfinite(effect.interval.estimate):
        reading = "The unedited components explain no more variance than chance: there is no subspace to leave."
        return Verdict(Status.NOT_MEASURED, reading, measures, step, orders, where)
    status, tests = decide(effect, rule)
    components = int(rows["components"].min())
    reading = (
        f"After {count(step, 'edit')} the unedited model's first {components} components keep {kept.mean():.1%} of the "
        f"share of variance that they explain of the unedited activations ({chance:.1%} of all variance is chance): "
        f"{with_interval(effect.interval)} of the way to an independent subspace {scope(orders)}. Principal angles are "
        f"{angles.min():.0f} to {angles.max():.0f} degrees; the mean has moved by {shift:.2g} spreads."
    )
    return Verdict(status, reading, measures, step, orders, where, tests)


def _at_each_place(evidence: EditingEvidence, rule: Rule, quantity: Quantity) -> list[Verdict]:
    activations = evidence.activations
    step = last_common_step(activations)
    if step is None:
        return [Verdict(Status.NOT_MEASURED, "No activations after an edit.")]
    verdicts = []
    for place in judged_places(evidence.norms, activations, tuple(SITES)):
        rows = at_place(activations, place, place_layer(place, activations, evidence.norms))
        if (rows["step"] == step).any():
            verdicts.append(_compared(rows, At(place, step), quantity, rule))
    return verdicts or [Verdict(Status.NOT_MEASURED, "No activations on text after an edit.")]


def _compared(rows: pd.DataFrame, at: At, quantity: Quantity, rule: Rule) -> Verdict:
    step, last = at.step, rows[rows["step"] == at.step]
    orders = last["order"].nunique()
    effect = effect_at(last, quantity.mean, quantity.deviation)
    beside = (
        Measure(other.name, interval_at(last, other.mean, other.deviation), quantity.unit, 1.0)
        for other in quantity.beside
    )
    measures = (Measure(f"{at.place.name}, text", effect.interval, quantity.unit, 1.0), *beside)
    broken = rows.loc[~np.isfinite(rows[quantity.mean].astype(float)), "step"]
    if len(broken):
        reading = f"It is not finite after {count(int(broken.min()), 'edit')}: the model has collapsed."
        return Verdict(Status.COLLAPSED, reading, measures, step, orders, at.place.name)
    status, tests = decide(effect, rule)
    first = int(rows.loc[rows["step"] > 0, "step"].min())
    early = rows.loc[rows["step"] == first, quantity.mean].mean()
    reading = (
        f"After {count(step, 'edit')} it {quantity.sentence.format(with_interval(effect.interval))} {scope(orders)}"
    )
    reading += f"; after {first:,} it was {early:.3g}." if first < step else "; this is the only checkpoint."
    return Verdict(status, reading, measures, step, orders, at.place.name, tests)
