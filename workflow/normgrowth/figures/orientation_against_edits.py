"""Cosine of activations to the unedited model's against edits, at several places."""

import pandas as pd
from matplotlib.figure import Figure

from normgrowth.figures.curves import Activity, draw_places
from normgrowth.figures.style import Style

SHOWN = Activity("cosine_to_unedited", "cosine_std", "Cosine of activations to the unedited model", False)


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `activations`; `norms` says which layers were edited."""
    return draw_places(tables, style, SHOWN)
