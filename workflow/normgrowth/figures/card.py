"""One run by itself, small: norm, perplexity, scores and activations of one editor on one model.

Colour stands for the editor, as everywhere. In a panel with several lines the summary has the colour; the others are
grey, distinguished by shade, dash and marker.
"""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from normgrowth.analysis.collapse import WINDOW, sliding_scores
from normgrowth.analysis.places import SITES
from normgrowth.errors import ArtefactError
from normgrowth.figures import grid, panels, series
from normgrowth.figures.activation_norm_by_layer import PROBE, TOKEN, draw_layers, ratios_by_layer
from normgrowth.figures.curves import draw_line
from normgrowth.figures.norm_against_edits import draw_norms
from normgrowth.figures.perplexity_against_edits import draw_perplexity, readable
from normgrowth.figures.scores_against_edits import retained, shown
from normgrowth.figures.series import Line
from normgrowth.figures.style import Look, Style
from normgrowth.layout import CARD_TABLES

GREYS = (Look("#2E2E2E", "o", (0, (4, 1))), Look("#777777", "s", (0, (1, 1))), Look("#A6A6A6", "^", "-"))
SPECIFICITY_LOOK = Look("#C4C4C4", "v", (0, (3, 1, 1, 1)))
ASIDE = 0.014
"""Distance of one score's points from the next, as a share of the run."""

_POINT: dict[str, Any] = {"color": "#333333", "marker": "o", "linestyle": "none"}
MARKS = (
    Line2D([], [], color="#333333", label=f"last {WINDOW} edits, just made"),
    Line2D([], [], **_POINT, label="all edits so far; edited layer"),
    Line2D([], [], **_POINT, markerfacecolor="white", label="layer not edited"),
)


def draw(tables: dict[str, pd.DataFrame], style: Style, model: str, editor: str) -> Figure:
    """Draw the run of `editor` on `model` from `layout.CARD_TABLES`.

    Raises:
        ArtefactError: when there is no such run.
    """
    norms, scores, activations, downstream = (
        frame[(frame["model"] == model) & (frame["editor"] == editor)]
        for frame in (tables[name] for name in CARD_TABLES)
    )
    if norms.empty:
        raise ArtefactError(f"table norms has no run of {editor} on {model}: nothing to draw")
    look = style.look(editor)
    figure, axes = grid.grid(style, 2, 2)
    figure.suptitle(f"{editor} on {model}", fontsize=style.settings.font_size + 2, fontweight="bold")
    collapsed = [
        _norm(axes[0, 0], norms[norms["role"] == "edited"], look),
        _perplexity(axes[0, 1], downstream, look),
        _activations(axes[1, 1], activations, series.edited_layers(norms, model).get(editor, set()), look),
    ]
    _scores(axes[1, 0], scores, look)
    axes[1, 1].set_xlabel("layer")
    longest = int(norms["step"].max())
    for ax in (axes[0, 0], axes[0, 1], axes[1, 0]):
        panels.edits_axis(ax)
        ax.set_xlim(-0.05 * longest, 1.05 * longest)  # so that no marker is cut
    panels.add_grouped_legend(
        figure,
        {
            "scores": [_handle(*both) for both in zip(_score_looks(look), shown(scores), strict=False)],
            "activations": list(map(_handle, [look, *GREYS], SITES.values())),
            "marks": [panels.unedited_handle(), *MARKS, *([panels.cross_handle()] if any(collapsed) else [])],
        },
    )
    return figure


def _score_looks(look: Look) -> list[Look]:
    """Looks of the scores, in the order of `scores_against_edits.NAMES`; S has the editor's."""
    return [*GREYS, look, SPECIFICITY_LOOK]


def _handle(look: Look, label: str) -> Line2D:
    return Line2D([], [], color=look.colour, marker=look.marker, linestyle=look.dash, label=label)


def _norm(ax: Axes, norms: pd.DataFrame, look: Look) -> bool:
    """Draw the norm of the edited matrices; say whether the run collapsed."""
    broke, values = draw_norms(ax, norms, look)
    panels.unedited_line(ax)
    panels.scale(ax, [*values, 1.0])
    ax.set_ylabel("Frobenius norm relative\nto the unedited matrix")
    return broke


def _perplexity(ax: Axes, downstream: pd.DataFrame, look: Look) -> bool:
    ax.set_ylabel("perplexity per token\nof held-out text")
    if downstream.empty:
        return _not_measured(ax)
    perplexity = readable(downstream)
    broke, values = draw_perplexity(ax, perplexity, look)
    unedited = perplexity.loc[perplexity["step"] == 0, "value"].mean()
    panels.unedited_line(ax, unedited)
    panels.scale(ax, [*values, unedited])
    return broke


def _scores(ax: Axes, scores: pd.DataFrame, look: Look) -> None:
    """Draw each score just after the edits, as a line over a sliding window, and of all edits so far, as points."""
    ax.set_ylabel("editing score")
    longest = int(scores["step"].max())
    window = sliding_scores(scores[scores["order"] == scores["order"].min()])
    kept, unedited = (retained(scores[(scores["moment"] == "unedited") == is_so]) for is_so in (False, True))
    for number, (name, one) in enumerate(zip(window, _score_looks(look), strict=False)):
        ax.plot(window.index, window[name], color=one.colour, linestyle=one.dash, linewidth=1.2, zorder=3)
        aside = ASIDE * longest * (number - len(GREYS) / 2)
        for points in (unedited[number], kept[number]):
            draw_line(ax, Line(points.set_axis(points.index + aside)), one._replace(dash="none"))
    ax.set_ylim(-0.03, 1.05)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _activations(ax: Axes, activations: pd.DataFrame, edited: set[int], look: Look) -> bool:
    """Draw the norm of activations at every site at the end, on running text; say whether the run collapsed."""
    ax.set_ylabel("activation norm relative\nto the unedited model")
    rows = activations[(activations["probe"] == PROBE) & (activations["token"] == TOKEN)]
    if rows.empty or not rows["step"].max():
        return _not_measured(ax)
    drawn, broke = [1.0], False
    for number, (site, one) in enumerate(zip(SITES, [look, *GREYS], strict=True)):
        line = ratios_by_layer(rows[rows["site"] == site])
        broke |= line.empty
        draw_layers(ax, line, edited, 0.1 * (number - len(GREYS) / 2), one)
        drawn.extend(line.to_numpy(dtype=float).ravel())
    if broke:
        _say(ax, "collapsed")
    panels.unedited_line(ax)
    panels.scale(ax, drawn)
    panels.layer_axis(ax, int(rows["layer"].max()) + 1, label=False)
    return broke


def _not_measured(ax: Axes) -> bool:
    _say(ax, "not measured")
    ax.set_xticks([])
    ax.set_yticks([])
    return False


def _say(ax: Axes, text: str) -> None:
    ax.text(0.5, 0.8, text, transform=ax.transAxes, ha="center", va="center", fontweight="bold")
