"""When a run collapses: the edit at which what edits achieve falls under a bar, and what the run is like at its end."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from normgrowth.artefacts.schemas import UNEDITED
from normgrowth.claims.performance import PARTS_OF_S, harmonic_mean

WINDOW = 20
"""Edits over which S is taken: fewer would make it jump with single facts."""
BAR = 0.60
FIRST = 30
"""Edits whose immediate efficacy says whether an editor works at all on a model."""


@dataclass(frozen=True)
class Collapse:
    """One run; None is a value that does not exist, or an edit that was not reached within the run."""

    model: str
    editor: str
    order: int
    edits: int
    first_efficacy: float | None  # mean ES just after each of the first edits
    start: float | None  # S of the first window
    below_bar: int | None  # the edit that ends the first window whose S is below the bar
    below_half: int | None  # ... below half of the start
    final: float | None  # S of edited facts at the end
    norm_ratio: float | None  # geometric mean over the edited matrices
    perplexity_ratio: float | None
    residual_ratio: float | None  # last layer, running text
    cosine: float | None


def collapses(tables: dict[str, pd.DataFrame]) -> list[Collapse]:
    """Every run of a study, by model, editor and order."""
    runs = tables["scores"].loc[tables["scores"]["editor"] != UNEDITED, ["model", "editor", "order"]]
    return [_collapse(tables, *run) for run in sorted(set(runs.itertuples(index=False, name=None)))]


def sliding(scores: pd.DataFrame, window: int = WINDOW) -> pd.Series:
    """S of the last `window` facts, each just after its own edit, by the step that ends the window."""
    immediate = scores[scores["moment"] == "immediate"].sort_values("edited_at", kind="stable")
    means = immediate[PARTS_OF_S].rolling(window).mean().dropna()
    return pd.Series(harmonic_mean(means.to_numpy()), index=immediate.loc[means.index, "edited_at"].astype(int))


def _collapse(tables: dict[str, pd.DataFrame], model: str, editor: str, order: int) -> Collapse:
    def rows(name: str) -> pd.DataFrame:
        frame = tables[name]
        return frame[(frame["model"] == model) & (frame["editor"] == editor) & (frame["order"] == order)]

    scores = rows("scores")
    immediate = scores[scores["moment"] == "immediate"]
    s = sliding(scores)
    start = float(s.iloc[0]) if len(s) else None
    final = scores[scores["moment"] == "final"]
    activations = rows("activations")
    last = activations[
        (activations["step"] == activations["step"].max())
        & (activations["layer"] == activations["layer"].max())
        & (activations["site"] == "residual")
        & (activations["probe"] == "text")
    ]
    return Collapse(
        model,
        editor,
        order,
        edits=int(immediate["edited_at"].max()) if len(immediate) else 0,
        first_efficacy=_mean(immediate.loc[immediate["edited_at"] <= FIRST, "es"]),
        start=start,
        below_bar=_first_below(s, BAR),
        below_half=None if start is None else _first_below(s, start / 2),
        final=float(harmonic_mean(final[PARTS_OF_S].mean().to_numpy())) if len(final) else None,
        norm_ratio=_norm_ratio(rows("norms")),
        perplexity_ratio=_perplexity_ratio(rows("downstream")),
        residual_ratio=_mean(last["norm_ratio"]),
        cosine=_mean(last["cosine_to_unedited"]),
    )


def _first_below(s: pd.Series, bar: float) -> int | None:
    below = s.index[s < bar]
    return int(below[0]) if len(below) else None


def _norm_ratio(norms: pd.DataFrame) -> float | None:
    edited = norms[norms["role"] == "edited"]
    last = edited[edited["step"] == edited["step"].max()]
    return float(np.exp(np.log(last["frobenius_ratio"]).mean())) if len(last) else None


def _perplexity_ratio(downstream: pd.DataFrame) -> float | None:
    perplexity = downstream[downstream["metric"] == "perplexity"].sort_values("step")
    if len(perplexity) < 2:
        return None
    return float(perplexity["value"].iloc[-1] / perplexity["value"].iloc[0])


def _mean(values: pd.Series) -> float | None:
    return float(values.mean()) if len(values) and np.isfinite(values.mean()) else None
