"""Share of the residual stream's norm that each MLP and attention output has, unedited and after each editor."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from normgrowth.figures import heat, panels, series
from normgrowth.figures.grid import blocks
from normgrowth.figures.style import Style

SITES = {"mlp_output": "MLP output", "attention_output": "attention output"}
PROBE, TOKEN = "text", "all"
UNEDITED = "unedited model"


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `activations`; `norms` says which layers were edited."""
    rows = series.edited_runs(tables["activations"], "activations")
    rows = rows[(rows["probe"] == PROBE) & (rows["token"] == TOKEN) & rows["site"].isin(SITES)]
    models = sorted(rows["model"].unique())
    editors = {model: style.order(sorted(rows.loc[rows["model"] == model, "editor"].unique())) for model in models}
    figure, parts = blocks(style, models, [heat.ROW * (len(editors[model]) + 1) + 0.5 for model in models])
    broken, most = False, 0
    for part, model in zip(parts, models, strict=True):
        mine = rows[rows["model"] == model]
        most = max(most, mine["layer"].nunique())
        shares = {site: _shares(mine[mine["site"] == site], editors[model]) for site in SITES}
        values = np.concatenate([share.to_numpy(dtype=float).ravel() for share in shares.values()])
        axes = part.subplots(1, len(SITES), squeeze=False, sharey=True)[0]
        edited = series.edited_layers(tables["norms"], model)
        for ax, (site, share) in zip(axes, shares.items(), strict=True):
            heat.draw(ax, share, edited, heat.SHARES, style)
            ax.axhline(0.5, color="#222222", linewidth=1.0)
            ax.set_title(SITES[site])
        broken |= not np.isfinite(values).all()
        heat.colour_bar(part, axes, heat.SHARES, "norm over that of\nthe residual stream", "max")
    panels.add_legend(figure, heat.handles(most, broken), entry_width=2.4)
    return figure


def _shares(rows: pd.DataFrame, editors: list[str]) -> pd.DataFrame:
    """Mean share [unedited and editors, layers] at the end of the run."""
    means = rows.groupby(["editor", "step", "layer"])["share_of_residual"].agg(lambda v: v.mean(skipna=False))
    table = means.unstack("layer").astype(float)
    start = table.xs(0, level="step").iloc[0].rename(UNEDITED)
    ends = {editor: table.loc[editor].iloc[-1] for editor in editors}
    return pd.concat([start.to_frame().T, pd.DataFrame(ends).T])
