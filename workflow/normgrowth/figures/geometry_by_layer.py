"""Norm, alignment and subspace of the residual stream side by side, by layer, at the end of the run.

CKA is blind to scale, the norm shows nothing else, and the subspace is blind to changes inside it.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from normgrowth.figures import heat, panels, series
from normgrowth.figures.grid import blocks
from normgrowth.figures.style import Style

PROBE, TOKEN, SITE = "text", "mean", "residual"
TITLES = (
    "norm relative\nto unedited",
    "CKA to the\nunedited model",
    "variance in the unedited\nsubspace, relative to unedited",
)


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw tables `activations`, `cka` and `subspaces`; `norms` says which layers were edited."""
    norms, alignment, subspaces = (_chosen(tables[name], name) for name in ("activations", "cka", "subspaces"))
    alignment = alignment[alignment["layer"] == alignment["unedited_layer"]]
    kept = subspaces["explained_variance"].astype(float) / subspaces["explained_variance_unedited"]
    subspaces = subspaces.assign(kept=kept)
    models = sorted(norms["model"].unique())
    editors = {model: style.order(sorted(norms.loc[norms["model"] == model, "editor"].unique())) for model in models}
    figure, parts = blocks(style, models, [heat.ROW * len(editors[model]) + 0.75 for model in models])
    broken, most = False, 0
    for part, model in zip(parts, models, strict=True):
        columns = ((norms, "ratio_of_norms"), (alignment, "cka"), (subspaces, "kept"))
        values = [_at_end(frame[frame["model"] == model], column, editors[model]) for frame, column in columns]
        most = max(most, values[0].shape[1])
        scales = (heat.ratio_colours(values[0].to_numpy(dtype=float)), heat.SHARES, heat.SHARES)
        axes = part.subplots(1, len(TITLES), squeeze=False, sharey=True)[0]
        edited = series.edited_layers(tables["norms"], model)
        for ax, frame, scale, title in zip(axes, values, scales, TITLES, strict=True):
            heat.draw(ax, frame, edited, scale, style)
            ax.set_title(title, fontsize=style.settings.font_size)
            broken |= not np.isfinite(frame.to_numpy(dtype=float)).all()
        heat.colour_bar(part, axes[2:], heat.SHARES, "CKA, or ratio", "max")
    panels.add_legend(figure, heat.handles(most, broken), entry_width=2.4)
    return figure


def _chosen(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    rows = series.edited_runs(frame, name)
    return rows[(rows["probe"] == PROBE) & (rows["token"] == TOKEN) & (rows["site"] == SITE)]


def _at_end(rows: pd.DataFrame, column: str, editors: list[str]) -> pd.DataFrame:
    """Mean over orders [editors, layers] at each editor's last checkpoint; NaN where the model has collapsed."""
    last = rows[rows["step"] == rows.groupby("editor")["step"].transform("max")]
    means = last.groupby(["editor", "layer"])[column].agg(lambda values: values.mean(skipna=False))
    return means.unstack("layer").reindex(editors)
