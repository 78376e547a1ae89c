"""Collapse of runs: the editing score over a sliding window, and the state of the model at the end.

S is the harmonic mean of ES, PS and NS (see `analysis.edit_scores`). These are measurements, not verdicts: they are
made of control arms as of editors.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from normgrowth.analysis.edit_scores import PARTS_OF_S, SPECIFICITY, final_s, harmonic_mean, has_specificity
from normgrowth.analysis.places import PLACES, at_place, place_layer
from normgrowth.layout import UNEDITED

WINDOW = 20
"""Edits per window of S: enough for a mean, few enough to date its fall."""

FLOOR = 0.60
"""S below which a run counts as collapsed: chance is near 0.5."""

HALF = 0.5
"""Share of its first S below which a run has lost half of it."""

EARLY = 30
"""Edits whose immediate success is reported as the start of a run."""


@dataclass(frozen=True)
class Collapse:
    """Collapse of one run. None stands for what was not measured, in `below_floor` and `below_half` also for no fall.

    `start` is S of the first window, `below_floor` and `below_half` the first edit at which S lies under `FLOOR` and
    under half of `start`; a run where they are None kept its score over all `edits` (censored).
    """

    model: str
    editor: str
    order: int
    edits: int
    start: float | None
    below_floor: int | None
    below_half: int | None
    early_es: float | None
    final_s: float | None
    norm_ratio: float | None
    perplexity_ratio: float | None
    residual_ratio: float | None
    residual_cosine: float | None


def collapses(tables: dict[str, pd.DataFrame]) -> list[Collapse]:
    """Collapse of every run, by model, editor and order.

    Args:
        tables: frames of `norms`, `scores`, `downstream` and `activations` under the schemas of `io.schemas`.
    """
    names = ("norms", "scores", "downstream", "activations")
    parts = {name: dict(list(tables[name].groupby(["model", "editor", "order"]))) for name in names}
    runs = sorted({run for part in parts.values() for run in part if run[1] != UNEDITED})
    return [_run(run, {name: parts[name].get(run, tables[name].iloc[:0]) for name in names}) for run in runs]


def sliding_s(scores: pd.DataFrame) -> pd.Series:
    """S of the last `WINDOW` facts of one run by step, as in `sliding_scores`."""
    return sliding_scores(scores)["s"]


def sliding_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Columns `es`, `ps`, `ns` and `s` by step: scores of the last `WINDOW` facts, each just after its own edit.

    Steps start where the first window is full. S is the harmonic mean of the windows' mean ES, PS and NS. A fact
    without paraphrases or neighbours counts in the others. Where facts have RS, `rs` is a column more.

    Args:
        scores: rows of table `scores` of one run.
    """
    immediate = scores[scores["moment"] == "immediate"].sort_values(["step", "case_id"], kind="stable")
    # Counts of each score differ where facts lack prompts, so means are taken over those that have them.
    columns = [*PARTS_OF_S, *[SPECIFICITY] * has_specificity(scores)]
    means = immediate[columns].astype(float).rolling(WINDOW, min_periods=1).mean().iloc[WINDOW - 1 :]
    means.insert(len(PARTS_OF_S), "s", harmonic_mean(means[PARTS_OF_S].to_numpy()))
    return means.set_axis(immediate["step"].iloc[WINDOW - 1 :], axis="index").groupby(level=0).last()


def first_below(series: pd.Series, bound: float) -> int | None:
    """The first step at which a series lies under a bound, if any."""
    below = series.index[series.to_numpy() < bound]
    return int(below[0]) if len(below) else None


def _run(run: tuple[str, str, int], tables: dict[str, pd.DataFrame]) -> Collapse:
    norms, scores, activations = tables["norms"], tables["scores"], tables["activations"]
    immediate = scores[scores["moment"] == "immediate"].sort_values(["step", "case_id"], kind="stable")
    window = sliding_s(scores)
    start = float(window.iloc[0]) if len(window) else None
    residual = _last_residual(activations, norms)
    steps = [frame["step"].max() for frame in (immediate, norms, tables["downstream"]) if len(frame)]
    return Collapse(
        *run,
        edits=int(max(steps, default=0)),
        start=start,
        below_floor=first_below(window, FLOOR),
        below_half=None if start is None else first_below(window, HALF * start),
        early_es=float(immediate["es"].iloc[:EARLY].mean()) if len(immediate) else None,
        final_s=final_s(scores),
        norm_ratio=_norm_ratio(norms),
        perplexity_ratio=_perplexity_ratio(tables["downstream"]),
        residual_ratio=None if residual is None else float(residual["ratio_of_norms"]),
        residual_cosine=None if residual is None else float(residual["cosine_to_unedited"]),
    )


def _norm_ratio(norms: pd.DataFrame) -> float | None:
    """Norm ratio at the last step, geometric mean over the edited matrices; NaN where one is not finite."""
    edited = norms[(norms["role"] == "edited") & (norms["step"] == norms["step"].max())]
    if edited.empty or not edited["step"].iloc[0]:
        return None
    return float(np.exp(np.log(edited["frobenius_ratio"].to_numpy(dtype=float)).mean()))


def _perplexity_ratio(downstream: pd.DataFrame) -> float | None:
    values = downstream[downstream["metric"] == "perplexity"].groupby("step")["value"].mean()
    if values.empty or 0 not in values.index or not values.index.max():
        return None
    return float(values.iloc[-1] / values.loc[0])


def _last_residual(activations: pd.DataFrame, norms: pd.DataFrame) -> pd.Series | None:
    """The row of the residual stream after the last layer, on text, at the last checkpoint."""
    if activations.empty or not activations["step"].max():
        return None
    rows = at_place(activations, PLACES[0], place_layer(PLACES[0], activations, norms))
    rows = rows[rows["step"] == activations["step"].max()]
    return None if rows.empty else rows.iloc[0]
