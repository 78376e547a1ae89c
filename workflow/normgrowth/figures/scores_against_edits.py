"""Editing scores along the run: what is kept at each checkpoint, beside what each edit achieved at once."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from normgrowth import seeds
from normgrowth.claims.performance import PARTS_OF_S, harmonic_mean
from normgrowth.figures import panels
from normgrowth.figures.places import draw_line
from normgrowth.figures.style import STROKES, UNEDITED_COLOUR, Look, Style
from normgrowth.inference import bootstrap_means, percentile_interval

NAMES = ("efficacy (ES)", "paraphrase (PS)", "neighbourhood (NS)", "harmonic mean (S)")
RESAMPLES = 1000
UNEDITED_LOOK = Look(UNEDITED_COLOUR, "o", "none")


def draw(tables: dict[str, pd.DataFrame], style: Style) -> Figure:
    """Draw table `scores`."""
    scores = panels.edited_runs(tables["scores"], "scores")
    models, editors = panels.names_of(style, scores)
    figure, blocks = panels.blocks(style, NAMES, scores, sharey=True)
    for model in models:
        mine = scores[scores["model"] == model]
        unedited = retained(mine[mine["moment"] == "unedited"])
        lines = {}
        for editor in editors:
            chosen = mine[mine["editor"] == editor]
            lines[editor] = retained(chosen[chosen["moment"] != "unedited"]), at_once(chosen)
        for row in range(len(NAMES)):
            for ax, shown in blocks[row, model]:
                draw_line(ax, unedited[row], False, UNEDITED_LOOK)
                for editor in panels.reference_editors(shown, editors):
                    draw_line(ax, lines[editor][0][row], False, style.look(editor), thin=True)
                for number, editor in enumerate(shown):
                    # Hollow markers stand a little apart, so that editors that all succeed do not hide each other.
                    shift = 0.012 * mine["step"].max() * (number - (len(shown) - 1) / 2)
                    _draw_editor(ax, *(part[row] for part in lines[editor]), style.look(editor), shift)
    for block in blocks.values():
        for ax, _ in block:
            ax.set_ylim(-0.03, 1.05)
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            panels.edits_axis(ax, label=panels.at_bottom(ax))
            ax.set_xlim(left=-0.03 * scores["step"].max())
    handles = panels.editor_handles(style, editors)
    handles.append(Line2D([], [], color="#333333", marker="o", markerfacecolor="white", ls="none", label="just edited"))
    handles.insert(0, Line2D([], [], color=UNEDITED_COLOUR, marker="o", ls="none", label="unedited"))
    panels.add_legend(figure, handles)
    return figure


def _draw_editor(ax, kept: pd.DataFrame, immediate: pd.DataFrame, look: Look, shift: float) -> None:
    draw_line(ax, kept, False, look)
    hollow = {"marker": look.marker, "linestyle": "none", "zorder": 5}
    if look.marker not in STROKES:
        hollow["markerfacecolor"] = "white"
    ax.plot(immediate.index + shift, immediate["mean"], color=look.colour, **hollow)


def retained(scores: pd.DataFrame) -> list[pd.DataFrame]:
    """ES, PS, NS and S of the unedited model and of edited facts at each checkpoint, with intervals, by step."""
    kept = scores[scores["moment"].isin(["unedited", "retention", "final"])]
    # A last checkpoint may be scored twice, as retention and as final: one row per case is kept.
    kept = kept.drop_duplicates(["order", "step", "case_id"], keep="last")
    return _with_intervals(kept.groupby("step"))


def at_once(scores: pd.DataFrame) -> list[pd.DataFrame]:
    """ES, PS, NS and S just after each edit, over the edits since the checkpoint before, by checkpoint."""
    steps = np.sort(scores.loc[scores["moment"].isin(["retention", "final"]), "step"].unique())
    immediate = scores[scores["moment"] == "immediate"]
    if not len(steps):
        steps = np.array([immediate["step"].max()]) if len(immediate) else steps
    if not len(steps):
        return [pd.DataFrame(columns=["mean", "low", "high"]) for _ in NAMES]
    number = np.searchsorted(steps, immediate["step"].to_numpy())
    reached = number < len(steps)
    return _with_intervals(immediate[reached].groupby(steps[number[reached]]))


def _with_intervals(groups) -> list[pd.DataFrame]:
    """Mean and bounds of each score by step, from groups of rows per step."""
    lines: list[dict[int, tuple]] = [{} for _ in NAMES]
    for step, rows in groups:
        cases = rows.groupby("case_id")[PARTS_OF_S].mean()
        draws = bootstrap_means(
            cases.to_numpy(), np.random.default_rng(seeds.derive(0, "scores", int(step))), RESAMPLES
        )
        means = cases.mean().to_numpy()
        for line, function in zip(lines, _FUNCTIONS, strict=True):
            line[step] = percentile_interval(float(function(means)), function(draws), len(cases))[:3]
    return [pd.DataFrame(list(line.values()), index=list(line), columns=["mean", "low", "high"]) for line in lines]


_FUNCTIONS = [*(lambda means, i=i: means[..., i] for i in range(len(PARTS_OF_S))), harmonic_mean]
