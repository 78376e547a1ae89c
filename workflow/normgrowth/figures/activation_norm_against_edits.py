"""Norm of activations against edits, at several places."""

import pandas as pd
from matplotlib.figure import Figure

from normgrowth.figures.curves import Activity, draw_places
from normgrowth.figures.style import Style

SHOWN = Activity("ratio_of_norms", "ratio_of_norms_std", "Activation norm relative to the unedited model", None)


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `activations`; `norms` says which layers were edited."""
    return draw_places(tables, style, SHOWN)
