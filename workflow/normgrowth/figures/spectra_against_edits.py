"""Spectral norm, stable rank and rotation of the edited matrices against edits."""

import pandas as pd
from matplotlib.figure import Figure

from normgrowth.figures import series
from normgrowth.figures.curves import Quantity, draw_curves
from normgrowth.figures.series import per_step
from normgrowth.figures.style import Style


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `spectra`; `norms` says which matrices were edited."""
    spectra = edited_spectra(tables)
    keys = ["model", "editor", "order", "matrix"]
    start = spectra[spectra["step"] == 0].set_index(keys)["spectral_norm"].rename("start")
    spectra = spectra.join(start, on=keys)
    grown = spectra.assign(ratio=spectra["spectral_norm"] / spectra["start"])
    return draw_curves(
        style,
        [
            Quantity("spectral norm relative\nto unedited", per_step(grown, "ratio"), 1.0),
            Quantity("stable rank", per_step(spectra, "stable_rank")),
            Quantity("turn of leading left\nsingular vectors (°)", per_step(spectra, "left_rotation"), 0.0, log=False),
            Quantity(
                "turn of leading right\nsingular vectors (°)", per_step(spectra, "right_rotation"), 0.0, log=False
            ),
        ],
    )


def edited_spectra(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Rows of table `spectra` that belong to edited matrices of edited runs."""
    spectra = series.edited_runs(tables["spectra"], "spectra")
    norms = tables["norms"]
    edited = norms.loc[norms["role"] == "edited", ["model", "editor", "matrix"]].drop_duplicates()
    return series.edited_runs(spectra.merge(edited, on=["model", "editor", "matrix"]), "spectra")
