"""Do activations shrink, do they turn away from the unedited model's, and do they leave its subspace?

The paper does not say which vector it measures. The one that decides here is the residual stream after the last layer
on running text: what the head reads, on text that no edit is about. The other places stand beside it.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from normgrowth.claims.verdict import (
    COLLAPSED,
    DOWN,
    NOT_MEASURED,
    Evidence,
    Measure,
    Verdict,
    count,
    decide,
    last_common_step,
    with_interval,
)
from normgrowth.inference import Interval, interval_over_orders

VECTORS_PER_WINDOW = 4
"""Vectors that `measure.activations` takes from one window of text (token "all"). They share a context, so an interval
counts windows, not vectors."""


class Place(NamedTuple):
    """A row of the table `activations`; `layer` is "last" or "edited" (the last edited one)."""

    name: str
    layer: str
    site: str
    probe: str
    token: str


PLACES = (
    Place("residual stream, last layer, text", "last", "residual", "text", "all"),
    Place("residual stream, last layer, facts at their last token", "last", "residual", "facts", "last"),
    Place(
        "residual stream, last layer, facts at the subject's last token", "last", "residual", "facts", "subject_last"
    ),
    Place("residual stream, last edited layer, text", "edited", "residual", "text", "all"),
    Place("MLP output, last edited layer, text", "edited", "mlp_output", "text", "all"),
    Place("MLP output, last layer, text", "last", "mlp_output", "text", "all"),
    Place("attention output, last layer, text", "last", "attention_output", "text", "all"),
)
"""Where activations are compared; the first decides."""


def norm_falls(evidence: Evidence, margin: float) -> Verdict:
    """The mean ratio of an activation's norm to the same vector's in the unedited model."""
    return _compared(
        evidence, "norm_ratio", "norm_ratio_std", "ratio", margin, "has a norm {} times the unedited model's"
    )


def orientation_drifts(evidence: Evidence, margin: float) -> Verdict:
    """The mean cosine of an activation and the same vector in the unedited model."""
    return _compared(
        evidence, "cosine_to_unedited", "cosine_std", "cosine", margin, "has a cosine of {} to the unedited one"
    )


def subspace_is_left(evidence: Evidence, margin: float) -> Verdict:
    """The change of the share of variance that the unedited model's principal components explain."""
    subspaces = evidence.subspaces
    step = last_common_step(subspaces)
    if step is None:
        return Verdict(NOT_MEASURED, "No principal components of activations after an edit.")
    orders = subspaces["order"].nunique()
    measures, decisive = [], None
    for place in PLACES:
        rows = at_place(subspaces, place, place_layer(place, subspaces, evidence.norms))
        last = rows[rows["step"] == step]
        if last.empty:
            continue
        decisive = last if place == PLACES[0] else decisive
        change = interval_at(last, "explained_change", "explained_change_std")
        measures.append(Measure(f"change of explained variance: {place.name}", change, "points", 0.0))
        shift = Interval.bare(last["centroid_shift"].mean(), change.n)
        measures.append(Measure(f"centroid shift: {place.name}", shift, "spreads", 0.0))
    if decisive is None:
        return Verdict(NOT_MEASURED, "No residual stream on text among the activations.", tuple(measures), step, orders)
    if not np.isfinite(decisive["explained_change"].astype(float)).all():
        reading = f"The residual stream is not finite after {count(step, 'edit')}: the model has collapsed."
        return Verdict(COLLAPSED, reading, tuple(measures), step, orders)
    before, after = (decisive[f"explained_variance{which}"].mean() for which in ("_unedited", ""))
    components = int(decisive["components"].min())
    reading = (
        f"After {count(step, 'edit')} the unedited model's first {components} components explain {after:.1%} of the "
        f"variance of the residual stream on held-out text, and {before:.1%} of the unedited model's: a change of "
        f"{with_interval(measures[0].interval, plus='+')}."
    )
    return Verdict(decide(measures[0].interval, margin, DOWN), reading, tuple(measures), step, orders)


def _compared(evidence: Evidence, mean: str, deviation: str, unit: str, margin: float, sentence: str) -> Verdict:
    activations = evidence.activations
    step = last_common_step(activations)
    if step is None:
        return Verdict(NOT_MEASURED, "No activations after an edit.")
    orders = activations["order"].nunique()
    places = {place: place_layer(place, activations, evidence.norms) for place in PLACES}
    measures, broken_at = [], None
    for place, layer in places.items():
        chosen = at_place(activations, place, layer)
        last = chosen[chosen["step"] == step]
        if last.empty:
            continue
        measures.append(Measure(place.name, interval_at(last, mean, deviation), unit, 1.0))
        if place == PLACES[0]:
            broken = chosen.loc[~np.isfinite(chosen[mean].astype(float)), "step"]
            broken_at = int(broken.min()) if len(broken) else None
            first = chosen[(chosen["step"] > 0)]["step"].min()
            early = chosen.loc[chosen["step"] == first, mean].mean()
    if not measures or measures[0].name != PLACES[0].name:
        return Verdict(NOT_MEASURED, "No activations of the residual stream on text.", tuple(measures), step, orders)
    if broken_at is not None:
        reading = f"The residual stream is not finite after {count(broken_at, 'edit')}: the model has collapsed."
        return Verdict(COLLAPSED, reading, tuple(measures), step, orders)
    interval = measures[0].interval
    said = sentence.format(with_interval(interval))
    reading = f"After {count(step, 'edit')} the residual stream after the last layer, on text, {said}"
    reading += f"; after {first:,} it was {early:.3g}." if first < step else "; this is the only checkpoint."
    return Verdict(decide(interval, margin, DOWN), reading, tuple(measures), step, orders)


def interval_at(rows: pd.DataFrame, mean: str, deviation: str) -> Interval:
    """Mean with interval from rows of one place and step, one per order."""
    vectors = int(rows["n"].min())
    independent = vectors / VECTORS_PER_WINDOW if rows["token"].iloc[0] == "all" else vectors
    interval = interval_over_orders(rows[mean], rows[deviation], independent)
    return interval._replace(n=vectors)


def place_layer(place: Place, activations: pd.DataFrame, norms: pd.DataFrame) -> int | None:
    """The layer a place names for one model and editor; None where it is not known which layers were edited."""
    if place.layer == "last":
        return int(activations["layer"].max())
    edited = norms.loc[norms["role"] == "edited", "layer"]
    return int(edited.max()) if len(edited) else None


def at_place(activations: pd.DataFrame, place: Place, layer: int | None) -> pd.DataFrame:
    """The rows of a place at a layer."""
    wanted = {"layer": layer, "site": place.site, "probe": place.probe, "token": place.token}
    keep = np.logical_and.reduce([activations[column] == value for column, value in wanted.items()])
    return activations[keep]
