"""Every layer of the edited model against every layer of the unedited one: a map of CKA per model and editor."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from normgrowth.errors import ArtefactError
from normgrowth.figures import heat, panels, series
from normgrowth.figures.grid import blocks
from normgrowth.figures.style import Style

COLUMNS = 7
PROBE, TOKEN, SITE = "text", "mean", "residual"
UNEDITED = "unedited model"


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `cka`.

    Raises:
        ArtefactError: when it holds no map.
    """
    rows = series.edited_runs(tables["cka"], "cka")
    rows = rows[(rows["probe"] == PROBE) & (rows["token"] == TOKEN) & (rows["site"] == SITE)]
    if rows.empty:
        raise ArtefactError("table cka has no map of layers to draw")
    models = sorted(rows["model"].unique())
    maps = {model: _maps(rows[rows["model"] == model], style) for model in models}
    lines = {model: -(-len(found) // COLUMNS) for model, found in maps.items()}
    side = 10.8 / (COLUMNS + 0.6)
    figure, parts = blocks(style, models, [(side + 0.12) * number + 0.45 for number in lines.values()])
    broken = False
    for part, model in zip(parts, models, strict=True):
        axes = part.subplots(lines[model], COLUMNS, squeeze=False)
        for number, ax in enumerate(axes.ravel()):
            if number >= len(maps[model]):
                ax.set_visible(False)
                continue
            name, values = list(maps[model].items())[number]
            broken |= not np.isfinite(values).all()
            below = number + COLUMNS < len(maps[model])
            _panel(ax, name, values, style)
            _label(ax, left=number % COLUMNS == 0, bottom=not below)
        heat.colour_bar(part, axes.ravel(), heat.SHARES, "CKA", "neither")
    if broken:
        panels.add_legend(figure, heat.handles(1, True)[1:])
    return figure


def _maps(rows: pd.DataFrame, style: Style) -> dict[str, np.ndarray]:
    """CKA [layers of the edited, layers of the unedited model] at the end of the run; the unedited model first."""
    found: dict[str, np.ndarray] = {}
    for editor in style.order(sorted(rows["editor"].unique())):
        run = rows[rows["editor"] == editor]
        if not found:
            found[UNEDITED] = _map(run[run["step"] == 0])
        found[editor] = _map(run[run["step"] == run["step"].max()])
    return found


def _map(rows: pd.DataFrame) -> np.ndarray:
    means = rows.groupby(["layer", "unedited_layer"])["cka"].agg(lambda values: values.mean(skipna=False))
    return means.unstack("unedited_layer").to_numpy(dtype=float)


def _panel(ax: Axes, name: str, values: np.ndarray, style: Style) -> None:
    ax.imshow(np.ma.masked_invalid(values), cmap=heat.SHARES.map, norm=heat.SHARES.norm, origin="lower", aspect="equal")
    start, _, end = name.partition("-")
    ax.set_title(f"{start}\n{end}" if end else name, fontsize=style.settings.font_size - 1, fontweight="normal")
    ax.grid(False)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(min(len(values), 4), integer=True))


def _label(ax: Axes, left: bool, bottom: bool) -> None:
    ax.tick_params(length=2, labelbottom=bottom, labelleft=left)
    if bottom:
        ax.set_xlabel("unedited layer")
    if left:
        ax.set_ylabel("edited layer")
