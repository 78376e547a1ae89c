"""Scores of edited facts as claims read them: at the end of a run, just after each edit, and before any."""

import numpy as np
import pandas as pd

from normgrowth.analysis.effects import last_common_step

PARTS_OF_S = ["es", "ps", "ns"]


def harmonic_mean(means: np.ndarray) -> np.ndarray:
    """S of mean ES, PS, NS [..., 3]: 0 where any of them is 0."""
    means = np.asarray(means, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = means.shape[-1] / (1 / means).sum(axis=-1)
    return np.where((means <= 0).any(axis=-1), 0.0, mean)


def final_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of edited facts at the last step that every order has: moment `final` where measured, else `retention`."""
    kept = scores[scores["moment"].isin(["final", "retention"])]
    last = kept[kept["step"] == last_common_step(kept)]
    final = last[last["moment"] == "final"]
    return last if final.empty else final


def final_s(scores: pd.DataFrame) -> float | None:
    """S of edited facts at the end of a run; None where it was not measured."""
    final = final_scores(scores)
    return None if final.empty else float(harmonic_mean(final[PARTS_OF_S].mean().to_numpy()))


def paired(before: pd.DataFrame, after: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """ES, PS, NS of the facts in both, one row per order and fact."""
    keyed = [frame.set_index(["order", "case_id"])[PARTS_OF_S].astype(float) for frame in (before, after)]
    common = keyed[0].index.intersection(keyed[1].index)
    return keyed[0].loc[common], keyed[1].loc[common]
