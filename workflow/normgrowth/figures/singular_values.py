"""Leading singular values of the edited matrix at the end of the run, beside the unedited one's."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from normgrowth.figures import grid, panels
from normgrowth.figures.grid import lay_out
from normgrowth.figures.spectra_against_edits import edited_spectra
from normgrowth.figures.style import THIN_WIDTH, UNEDITED_COLOUR, Style


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `spectra`; `norms` says which matrices were edited."""
    spectra = edited_spectra(tables)
    layout = lay_out(style, ["singular value"], spectra, grid.row_by_model)
    drawn: dict[str, list[float]] = {}
    for panel in layout.panels:
        rows = spectra[spectra["model"] == panel.model]
        values = drawn.setdefault(panel.model, [])
        unedited = _mean(rows[rows["step"] == 0])
        numbers = np.arange(1, len(unedited) + 1)
        panel.axes.plot(numbers, unedited, color=UNEDITED_COLOUR, linestyle=(0, (1, 1.5)), zorder=2)
        values.extend(unedited)
        for editor, thinly in panel.lines:
            run = rows[(rows["editor"] == editor) & (rows["step"] > 0)]
            if run.empty:
                continue
            look, line = style.look(editor), _mean(run[run["step"] == run["step"].max()])
            marks: dict[str, Any] = {} if thinly else {"marker": look.marker, "linestyle": look.dash}
            panel.axes.plot(
                numbers, line, color=look.colour, linewidth=THIN_WIDTH if thinly else None, zorder=3, **marks
            )
            values.extend(line)
    for panel in layout.panels:
        panels.scale(panel.axes, drawn[panel.model], log=True)
        panel.axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        panel.axes.set_xlabel("rank of the singular value")
    return layout.finish(style)


def _mean(rows: pd.DataFrame) -> np.ndarray:
    """Geometric mean over matrices and orders, rank by rank."""
    with np.errstate(divide="ignore"):
        return np.exp(np.mean(np.log(np.stack(rows["singular_values"].to_list()).astype(float)), axis=0))
