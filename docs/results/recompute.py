"""Compute the numbers of six claims anew, from a study's Parquet tables by pandas and scipy alone, and compare them.

    python docs/results/recompute.py [results/STUDY]

No line is shared with the package: who doubts a verdict reads this file instead. Claims: the norm of the edited
matrices (by family), norms rising edit by edit, the norm of activations, lost facts, perplexity, and the effect of the
norm on it; the first two with their intervals, perplexity with that of single edit orders. Prints each number beside
that of claims.json; fails where one differs by more than 1e-4 of its size.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

CONTROL = ("norm_restored", "scale_only", "random_direction", "unedited")
TOLERANCE = 1e-4


def read(folder: Path, name: str) -> dict[tuple[str, str], pd.DataFrame]:
    """A table's rows by model and editor, control arms left out."""
    table = pd.read_parquet(folder / "tables" / f"{name}.parquet")
    return {run: rows for run, rows in table.groupby(["model", "editor"]) if not run[1].startswith(CONTROL)}


def around(mean: float, error: float, freedom: float) -> tuple[float, float]:
    """Bounds of the 95% t interval."""
    half = stats.t.ppf(0.975, freedom) * error
    return mean - half, mean + half


def norms_at_the_end(folder: Path) -> dict:
    """Geometric mean over edited matrices and edit orders of the last norm over the first; t interval over orders."""
    found = {}
    for run, rows in read(folder, "norms").items():
        edited = rows[rows["role"] == "edited"].sort_values("step")
        chains = edited.groupby(["order", "matrix"])["frobenius"]
        orders = np.log(chains.last() / chains.first()).groupby(level="order").mean()
        bounds = (orders.mean(), orders.mean())
        if len(orders) > 1:
            bounds = around(orders.mean(), orders.std() / len(orders) ** 0.5, len(orders) - 1)
        found[run] = [math.exp(value) for value in (orders.mean(), *bounds)]
    return found


def rises(folder: Path) -> dict:
    """Share of steps at which the mean log norm of the edited matrices rose, of those that moved it; exact interval."""
    found = {}
    for run, rows in read(folder, "norms").items():
        edited = rows[rows["role"] == "edited"]
        logs = np.log(edited["frobenius"]).groupby([edited["order"], edited["step"]]).mean()
        change = logs.groupby(level="order").diff().dropna()
        change = change[change.abs() > 1e-9]
        if len(change):
            test = stats.binomtest(int((change > 0).sum()), len(change))
            found[run] = [test.statistic, *test.proportion_ci()]
    return found


def last_residual_norm(folder: Path) -> dict:
    """Mean norm of the last layer's residual stream on text at the last checkpoint, over that before any edit."""
    found = {}
    for run, rows in read(folder, "activations").items():
        rows = rows[(rows["site"] == "residual") & (rows["probe"] == "text") & (rows["token"] == "all")]
        rows = rows[rows["layer"] == rows["layer"].max()].sort_values("step")
        means = rows.groupby("order")["norm_mean"]
        found[run] = [(means.last() / means.first()).mean()]
    return found


def facts_lost(folder: Path) -> dict:
    """Mean of ES and PS of each edited fact at the end, minus that just after its edit: over facts, then orders."""
    found = {}
    for run, rows in read(folder, "scores").items():
        rows = rows.assign(written=rows[["es", "ps"]].mean(axis=1))
        rows = rows.set_index(["order", "case_id", "edited_at"])
        end, once = (rows.loc[rows["moment"] == moment, "written"] for moment in ("final", "immediate"))
        found[run] = [(end - once).dropna().groupby(level="order").mean().mean()]
    return found


def perplexity(folder: Path) -> dict:
    """Perplexity at the last checkpoint over that before any edit: geometric mean over orders.

    Of one order the interval is over windows, by the standard error of their change.
    """
    found = {}
    for run, rows in read(folder, "downstream").items():
        text = rows[rows["task"] == "heldout_text"].sort_values("step")
        values = text[text["metric"] == "perplexity"].groupby("order")["value"]
        orders = np.log(values.last() / values.first())
        numbers = [orders.mean()]
        if len(orders) == 1:
            change = text[text["metric"] == "log_perplexity_change"].iloc[-1]
            numbers += around(change["value"], change["stderr"], change["n"] - 1)
        found[run] = [math.exp(value) for value in numbers]
    return found


def effect_of_norm(folder: Path) -> dict:
    """Factor of perplexity by the norm of the edited matrices, averaged over both directions: geometric mean of orders.

    Half of log perplexity of the edited model less that of its direction alone, plus that of the norm alone less that
    of the unedited model.
    """
    found = {}
    signs = {"edited": 0.5, "direction": -0.5, "norm": 0.5, "unedited": -0.5}
    for run, rows in read(folder, "norm_direction").items():
        losses = rows[(rows["metric"] == "log_perplexity") & (rows["step"] == rows["step"].max())]
        found[run] = [math.exp(sum(sign * losses[losses["arm"] == arm]["value"].mean() for arm, sign in signs.items()))]
    return found


CLAIMS = (
    (("fine_tuning_edits_grow", "hypernetwork_edits_grow", "locate_edits_grow"), "", norms_at_the_end),
    (("norms_rise_edit_by_edit",), "", rises),
    (("activation_norm_falls",), "residual stream, last layer", last_residual_norm),
    (("editing_performance_declines",), "", facts_lost),
    (("general_ability_declines",), "", perplexity),
    (("norm_breaks_model",), "", effect_of_norm),
)


def differences(folder: Path) -> list[tuple[str, str, str, str, float, float, bool]]:
    """Claim, model, editor, which number, that computed here, that of claims.json, and whether they agree."""
    judged = {claim["id"]: claim for claim in json.loads((folder / "claims.json").read_text())["claims"]}
    rows = []
    for names, where, compute in CLAIMS:
        ours = compute(folder)
        for name, verdict in ((claim, verdict) for claim in names for verdict in judged[claim]["verdicts"]):
            if verdict["where"] != where or verdict["effect"] is None or verdict["status"] == "collapsed":
                continue
            run = verdict["model"], verdict["editor"]
            for which, value in zip(("effect", "low", "high"), ours[run], strict=False):
                same = math.isclose(value, verdict[which], rel_tol=TOLERANCE, abs_tol=TOLERANCE)
                rows.append((name, *run, which, value, verdict[which], same))
    return rows


if __name__ == "__main__":
    compared = differences(Path(sys.argv[1] if len(sys.argv) > 1 else "results/demo"))
    for name, model, editor, which, value, told, same in compared:
        shown = f"{name:30} {model:12} {editor:16} {which:6} {value:12.6g} {told:12.6g}"
        print(shown if same else f"{shown}  DIFFERS")
    wrong = sum(not row[-1] for row in compared)
    print(f"{len(compared)} numbers, {wrong} differ")
    sys.exit(1 if wrong or not compared else 0)
