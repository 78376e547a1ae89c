"""Editors side by side: what each has done to weights, outputs, text and facts at a checkpoint, and what it cost.

Nothing is measured here: every column follows from the tables of a study. Of weights, the coefficient of W_0 in W is

    <W, W_0> / ||W_0||^2 = (||W||^2 + ||W_0||^2 - ||W - W_0||^2) / (2 ||W_0||^2),

1 for an editor that only adds at right angles to W_0 (polarisation identity). Drift and coefficient are those of all
edited matrices together, as one long vector; ratios of norms, singular values and outputs are geometric means over
matrices or layers, as in every other table.
"""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from normgrowth.analysis import effects
from normgrowth.analysis.ability_loss import perplexity_ratio, text_change
from normgrowth.analysis.edit_scores import PARTS_OF_S, harmonic_mean, paired
from normgrowth.analysis.intervals import Interval
from normgrowth.layout import UNEDITED

RUN = ["model", "editor", "order"]
CHECKPOINT = [*RUN, "step"]

LOW, HIGH = "_low", "_high"
"""Endings of a column's name for the bounds of its interval."""


class Column(NamedTuple):
    """A column: its heading, what it says in a sentence, and its kind of number.

    Means over edit orders are geometric for ratios, arithmetic for the others.
    """

    heading: str
    meaning: str
    kind: Literal["ratio", "share", "number"]


COLUMNS: dict[str, Column] = {
    "perplexity_ratio": Column("perplexity ×", "Perplexity of held-out text over the unedited model's.", "ratio"),
    "s_lost": Column(
        "S lost",
        "S of edited facts just after their own edit minus S of the same facts now, in points: what later edits cost.",
        "share",
    ),
    "norm_ratio": Column("norm ×", "‖W‖ / ‖W₀‖ of the edited matrices, geometric mean.", "ratio"),
    "drift": Column("drift", "‖W − W₀‖ / ‖W₀‖ of the edited matrices together.", "ratio"),
    "unedited_coefficient": Column(
        "W₀ in W", "⟨W, W₀⟩ / ‖W₀‖² of the edited matrices together: how much of W₀ is left in W.", "number"
    ),
    "spectral_ratio": Column("σ₁ ×", "Largest singular value over the unedited one, geometric mean.", "ratio"),
    "stable_rank_ratio": Column(
        "stable rank ×", "‖W‖² over the squared largest singular value, over the same of W₀, geometric mean.", "ratio"
    ),
    "rotation": Column(
        "turn, °",
        "Angle, in degrees, by which the leading left and right singular subspaces have turned, mean over both and "
        "over the edited matrices.",
        "number",
    ),
    "output_gain": Column(
        "output ×",
        "Mean norm of the edited layers' MLP outputs on text over that in the unedited model, geometric mean over "
        "layers.",
        "ratio",
    ),
    "output_cosine": Column(
        "output cosine", "Mean cosine of these outputs and the unedited model's, mean over layers.", "number"
    ),
    "es_at_once": Column("ES at once", "Efficacy of each edit just after it, in percent.", "share"),
    "ps_at_once": Column("PS at once", "The same of its paraphrases.", "share"),
    "ns_at_once": Column("NS at once", "The same of its neighbours.", "share"),
    "es": Column("ES", "Efficacy of the facts edited so far, all scored now, in percent.", "share"),
    "ps": Column("PS", "The same of their paraphrases.", "share"),
    "ns": Column("NS", "The same of their neighbours.", "share"),
    "s": Column("S", "Harmonic mean of the last three.", "share"),
    "generated": Column("said", "Edited facts whose new object greedy decoding gives, in percent.", "share"),
    "direction_alone": Column(
        "Wₜ / g ×", "Perplexity of the edited model at the unedited norms, over the unedited model's.", "ratio"
    ),
    "norm_alone": Column(
        "g W₀ ×", "Perplexity of the unedited model at the edited norms, over the unedited model's.", "ratio"
    ),
    "ablated": Column(
        "no MLP ×", "Perplexity with the edited layers' MLPs silenced, over the unedited model's.", "ratio"
    ),
    "seconds": Column("s per edit", "Seconds of the editor alone, mean over edits.", "number"),
    "memory": Column("MiB", "Most memory that a job of the run held.", "number"),
}
"""Columns beside `model`, `editor`, `step` and `orders`. Each but these has two more, of its bounds."""

_ARMS = {"direction_alone": "direction", "norm_alone": "norm", "ablated": "ablated"}


def side_by_side(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row per model, editor and checkpoint: means over edit orders, with 95% t intervals over several.

    The interval of `perplexity_ratio` is over windows of text and orders, so that one order has it too. Steps of
    `measure.curve` have rows too, in which what is measured at checkpoints alone is missing.

    Args:
        tables: frames of `norms`, `activations`, `scores` and `downstream`, and where they are at hand of `spectra`,
            `norm_direction`, `edits` and `speed`.

    Returns:
        Columns `model`, `editor`, `step`, `orders`, every name of `COLUMNS`, and with `LOW` and `HIGH` behind it. NaN
        stands for what was not measured, infinity for what is no finite number. Steps that an order of the editor did
        not reach are left out.
    """
    table = by_order(tables)
    orders = table.groupby(["model", "editor"])["order"].transform("nunique")
    changes = text_change(tables["downstream"])
    losses = dict(list(changes.groupby(["model", "editor", "step"])))
    rows = []
    for key, part in table.groupby(["model", "editor", "step"]):
        if len(part) < orders[part.index[0]]:
            continue
        intervals = {name: _over_orders(part[name].to_numpy(), column.kind) for name, column in COLUMNS.items()}
        if key in losses and np.isfinite(part["perplexity_ratio"]).all():
            intervals["perplexity_ratio"] = perplexity_ratio(losses[key]).interval
        values = {name: interval.estimate for name, interval in intervals.items()}
        bounds = {
            name + end: bound
            for name, interval in intervals.items()
            for end, bound in ((LOW, interval.low), (HIGH, interval.high))
        }
        rows.append(
            {**dict(zip(("model", "editor", "step"), key, strict=True)), "orders": len(part), **values, **bounds}
        )
    numbers = [*COLUMNS, *(name + end for name in COLUMNS for end in (LOW, HIGH))]
    made = pd.DataFrame(rows, columns=["model", "editor", "step", "orders", *numbers])
    return made.astype(dict.fromkeys(numbers, float))  # without rows, too


def at_the_end(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `side_by_side` at the last checkpoint of each model and editor, least damage first.

    Editors whose perplexity is no finite number stand behind those with one, and before those without any.
    """
    last = table[table["step"] == table.groupby(["model", "editor"])["step"].transform("max")]
    return last.sort_values(["model", "perplexity_ratio", "editor"], kind="stable").reset_index(drop=True)


def by_order(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row per model, editor, order and checkpoint, with columns `CHECKPOINT` and those of `COLUMNS`.

    Arguments and missing values are those of `side_by_side`.
    """
    edited = {name: frame[frame["editor"] != UNEDITED] for name, frame in tables.items()}
    index = _checkpoints(edited)
    parts = [
        _weights(edited["norms"]),
        _outputs(edited),
        _losses(edited["downstream"]),
        _scores(edited["scores"], index),
    ]
    if "spectra" in edited:
        parts.append(_spectra(edited))
    if "norm_direction" in edited:
        parts.append(_arms(edited["norm_direction"]))
    parts.append(_costs(edited, index))
    table = pd.concat([part.reindex(index) for part in parts], axis=1)
    return table.reindex(columns=list(COLUMNS)).astype(float).reset_index()


def _checkpoints(tables: Mapping[str, pd.DataFrame]) -> pd.MultiIndex:
    """Every run and step at which text was read or activations were measured."""
    seen = [tables[name].loc[tables[name]["step"] > 0, CHECKPOINT] for name in ("downstream", "activations")]
    return pd.MultiIndex.from_frame(pd.concat(seen).drop_duplicates().sort_values(CHECKPOINT))


def _over_orders(values: np.ndarray, kind: str) -> Interval:
    """Mean of an editor's orders with its t interval; no interval for one order, or where a value is not finite."""
    if np.isnan(values).any() or np.isinf(values).any() or len(values) < 2:
        return Interval.bare(_mean(values, kind), len(values))
    if kind != "ratio":
        return effects.of_mean(values).interval
    with np.errstate(divide="ignore", invalid="ignore"):  # a drift of 0 has no logarithm, and no interval
        return effects.of_mean(np.log(values)).exp().interval


def _mean(values: np.ndarray, kind: str) -> float:
    if kind != "ratio":
        return float(values.mean())
    with np.errstate(divide="ignore"):
        return float(np.exp(np.log(values).mean()))


def _geometric(values: pd.Series) -> float:
    """Geometric mean; infinite where a value is no finite number."""
    with np.errstate(divide="ignore"):
        return float(np.exp(np.log(_or_infinite(values)).mean()))


def _or_infinite(values: pd.Series) -> pd.Series:
    """Measured values, with infinity for those that are no finite numbers."""
    values = values.astype(float)
    return values.where(np.isfinite(values), np.inf)


def _weights(norms: pd.DataFrame) -> pd.DataFrame:
    """Norm ratio, drift and the coefficient of W_0, by run and step."""
    norms = norms[norms["role"] == "edited"]
    start = norms[norms["step"] == 0].set_index([*RUN, "matrix"])["frobenius"]
    unedited = start.reindex(pd.MultiIndex.from_frame(norms[[*RUN, "matrix"]])).set_axis(norms.index)
    keys = [norms[name] for name in CHECKPOINT]
    now, moved, before = (
        (_or_infinite(norm) ** 2).groupby(keys).sum()
        for norm in (norms["frobenius"], norms["drift_frobenius"], unedited)
    )
    with np.errstate(invalid="ignore"):
        coefficient = _or_infinite((now + before - moved) / (2 * before))
    return pd.DataFrame(
        {
            "norm_ratio": norms["frobenius_ratio"].groupby(keys).agg(_geometric),
            "drift": np.sqrt(moved / before),
            "unedited_coefficient": coefficient,
        }
    )


def _edited(tables: Mapping[str, pd.DataFrame], name: str, place: str) -> pd.DataFrame:
    """Rows of a table after the first edit at the places (`matrix` or `layer`) that each editor edits."""
    norms = tables["norms"]
    edited = norms.loc[norms["role"] == "edited", ["model", "editor", place]].drop_duplicates()
    return tables[name].merge(edited, on=["model", "editor", place])


def _spectra(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Largest singular value and stable rank over the unedited ones, and rotation, by run and checkpoint."""
    rows = _edited(tables, "spectra", "matrix")
    start = rows[rows["step"] == 0].set_index([*RUN, "matrix"])
    before = start.reindex(pd.MultiIndex.from_frame(rows[[*RUN, "matrix"]]))
    keys = [rows[name] for name in CHECKPOINT]
    ratios = {name: rows[name].astype(float) / before[name].to_numpy() for name in ("spectral_norm", "stable_rank")}
    turned = rows[["left_rotation", "right_rotation"]].astype(float).mean(axis=1, skipna=False)
    return pd.DataFrame(
        {
            "spectral_ratio": ratios["spectral_norm"].groupby(keys).agg(_geometric),
            "stable_rank_ratio": ratios["stable_rank"].groupby(keys).agg(_geometric),
            "rotation": _or_infinite(turned).groupby(keys).mean(),
        }
    )


def _outputs(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Norm of the edited layers' MLP outputs over the unedited ones', and their cosine, by run and checkpoint."""
    rows = _edited(tables, "activations", "layer")
    rows = rows[(rows["site"] == "mlp_output") & (rows["probe"] == "text") & (rows["token"] == "all")]
    keys = [rows[name] for name in CHECKPOINT]
    return pd.DataFrame(
        {
            "output_gain": rows["ratio_of_norms"].groupby(keys).agg(_geometric),
            "output_cosine": _or_infinite(rows["cosine_to_unedited"]).groupby(keys).mean(),
        }
    )


def _losses(downstream: pd.DataFrame) -> pd.DataFrame:
    """Perplexity over the unedited model's, by run and checkpoint: geometric mean over windows of text."""
    rows = text_change(downstream).set_index(CHECKPOINT)["value"].astype(float)
    return pd.DataFrame({"perplexity_ratio": _or_infinite(np.exp(rows))})


def _arms(norm_direction: pd.DataFrame) -> pd.DataFrame:
    """Perplexity of models with altered weights over the unedited model's, by run and checkpoint."""
    rows = norm_direction[norm_direction["metric"] == "log_perplexity"]
    losses = {arm: part.set_index(CHECKPOINT)["value"].astype(float) for arm, part in rows.groupby("arm")}
    return pd.DataFrame(
        {name: _or_infinite(np.exp(losses[arm] - losses["unedited"])) for name, arm in _ARMS.items() if arm in losses}
    )


def _scores(scores: pd.DataFrame, checkpoints: pd.MultiIndex) -> pd.DataFrame:
    """Scores of edited facts just after their edits and now, by run and checkpoint."""
    runs = dict(list(scores.groupby(RUN)))
    rows = [_scores_at(runs[run], step) if (run := tuple(place)) in runs else {} for *place, step in checkpoints]
    return pd.DataFrame(rows, index=checkpoints, dtype=float)


def _scores_at(run: pd.DataFrame, step: int) -> dict[str, float]:
    """Scores of one run at a step: columns of `COLUMNS`."""
    at_once = run[(run["moment"] == "immediate") & (run["step"] <= step)]
    kept = run[run["moment"].isin(["retention", "final"]) & (run["step"] == step)]
    kept = kept.drop_duplicates("case_id", keep="last")
    found: dict[str, float] = {f"{part}_at_once": at_once[part].astype(float).mean() for part in PARTS_OF_S}
    if kept.empty:
        return found
    found |= {part: kept[part].astype(float).mean() for part in PARTS_OF_S}
    before, after = (_s(frame) for frame in paired(at_once, kept))
    generated = kept["generation_match"].astype(float).mean()
    return found | {"s": _s(kept), "s_lost": before - after, "generated": generated}


def _s(scores: pd.DataFrame) -> float:
    """S of facts; NaN without any."""
    return float(harmonic_mean(scores[PARTS_OF_S].astype(float).mean().to_numpy())) if len(scores) else np.nan


def _costs(tables: Mapping[str, pd.DataFrame], checkpoints: pd.MultiIndex) -> pd.DataFrame:
    """Seconds of an edit, and most memory of a job, up to each checkpoint of a run."""
    found = {}
    if "edits" in tables and "edit_seconds" in tables["edits"]:
        found["seconds"] = list(_so_far(tables["edits"], "edit_seconds", "mean", checkpoints))
    if "speed" in tables:
        found["memory"] = list(_so_far(tables["speed"], "peak_memory_mb", "max", checkpoints))
    return pd.DataFrame(found, index=checkpoints)


def _so_far(frame: pd.DataFrame, name: str, what: str, checkpoints: pd.MultiIndex) -> Iterator[float]:
    """Mean or maximum of a column over a run's steps up to each checkpoint; NaN without any."""
    runs = {run: part.set_index("step")[name].astype(float) for run, part in frame.groupby(RUN)}
    for *run, step in checkpoints:
        values = runs.get(tuple(run), pd.Series(dtype=float))
        yield float(values[values.index <= step].agg(what))
