"""Places at which activations are compared: sites at three depths, and effects from the rows of one place.

The paper speaks of internal activations and does not say which. Claims are therefore judged at every site, at the last
layer, the last edited layer and halfway between them where these differ, on running text.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from normgrowth.analysis import effects
from normgrowth.analysis.effects import Effect
from normgrowth.analysis.intervals import Interval


class Place(NamedTuple):
    """Rows of the table `activations`; `layer` is "last", "edited" (the last edited one) or "middle" (between them)."""

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
"""Places that figures and the report's tables show; the first one represents the model."""

SITES = {
    "residual": "residual stream",
    "mlp_output": "MLP output",
    "attention_output": "attention output",
    "mlp_key": "MLP key",
}
DEPTHS = {"last": "last layer", "edited": "last edited layer", "middle": "halfway to the last layer"}
"""Labels of depths; a layer at two depths has the first label."""

BEFORE_THE_EDIT = ("attention_output", "mlp_key")
"""Sites that a layer computes before its MLP output: an edit of that layer does not change them."""


def judged_places(norms: pd.DataFrame, activations: pd.DataFrame, sites: tuple[str, ...]) -> list[Place]:
    """Places of one model and editor at which claims are judged: each layer once, and only if edits can change it."""
    edited = edited_layers(norms)
    found, seen = [], set()
    for site in sites:
        for depth, words in DEPTHS.items():
            place = Place(f"{SITES[site]}, {words}", depth, site, "text", "all")
            layer = place_layer(place, activations, norms)
            reached = site not in BEFORE_THE_EDIT or not edited or (layer is not None and layer > min(edited))
            if layer is not None and reached and (site, layer) not in seen:
                seen.add((site, layer))
                found.append(place)
    return found


def edited_layers(norms: pd.DataFrame) -> list[int]:
    """The layers whose matrices are edited."""
    return sorted({int(layer) for layer in norms.loc[norms["role"] == "edited", "layer"]})


def place_layer(place: Place, activations: pd.DataFrame, norms: pd.DataFrame) -> int | None:
    """The layer a place names for one model and editor; None where it is not known which layers were edited."""
    last = int(activations["layer"].max())
    if place.layer == "last":
        return last
    edited = edited_layers(norms)
    if not edited:
        return None
    return edited[-1] if place.layer == "edited" else (edited[-1] + last) // 2


def at_place(activations: pd.DataFrame, place: Place, layer: int | None) -> pd.DataFrame:
    """Rows of table `activations` or `subspaces` of a place at a layer."""
    wanted = {"layer": layer, "site": place.site, "probe": place.probe, "token": place.token}
    keep = np.logical_and.reduce([activations[column] == value for column, value in wanted.items()])
    return activations[keep]


def effect_at(rows: pd.DataFrame, mean: str, deviation: str) -> Effect:
    """Mean over edit orders from rows of one place and step, one per order; prompts or windows are the units.

    Args:
        mean, deviation: columns with the mean over units and their standard deviation.
    """
    return effects.crossed_summaries(rows[mean], rows[deviation], int(rows["units"].min()))


def interval_at(rows: pd.DataFrame, mean: str, deviation: str) -> Interval:
    """Interval of the effect that `effect_at` gives."""
    return effect_at(rows, mean, deviation).interval
