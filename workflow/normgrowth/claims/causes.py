"""Is it the growth of the norm that harms? What the control arms of an editor say about its rivals.

If the norm's growth does the damage, then holding the norm while editing on must spare the model (the arm
`norm_restored`), and the same growth without any edit must harm it (`scale_only`). Where only one holds, the growth is
at most part of the cause. Damage is told by perplexity on held-out text, which every arm has.
"""

import numpy as np
import pandas as pd

from normgrowth.claims.collapse import FLOOR, first_below, sliding_s
from normgrowth.claims.performance import (
    final_difference,
    final_s,
    mean_over_orders,
    perplexity_ratio,
    text_change,
)
from normgrowth.claims.probes import PLACES, at_place
from normgrowth.claims.verdict import (
    COLLAPSED,
    DOWN,
    NOT_MEASURED,
    SUPPORTED,
    UNDECIDED,
    UP,
    Evidence,
    Measure,
    Verdict,
    count,
    decide,
    last_common_step,
    with_interval,
)
from normgrowth.inference import Interval, rank_correlation

RESTORED, SCALED, RANDOM = "norm_restored", "scale_only", "random_direction"

LOST = 0.02
"""Loss of S beyond which a spared model was spared by undoing its edits."""


def restoring_protects(evidence: Evidence, margin: float) -> Verdict:
    """Perplexity of the arm whose norm is restored over that of the editor it wraps, on the same edits and text."""
    return _with_arm(evidence, RESTORED, lambda arm: _restored(evidence, arm, margin))


def norm_alone_harms(evidence: Evidence, margin: float) -> Verdict:
    """Perplexity of the unedited weights scaled along the editor's norms, over that of the unedited model."""
    return _with_arm(evidence, SCALED, lambda arm: _scaled(evidence, arm, margin))


def imbalance_harms(evidence: Evidence, margin: float) -> Verdict:
    """Both together: supported where holding the norm protects and growth alone harms, contradicted where neither."""
    parts = [restoring_protects(evidence, 1 / margin), norm_alone_harms(evidence, margin)]
    known = [part for part in parts if part.status != NOT_MEASURED]
    statuses = {part.status for part in known}
    if not known:
        return parts[0]
    reading = " ".join(part.reading for part in known)
    whole = len(known) == len(parts)
    status = statuses.pop() if whole and len(statuses) == 1 else UNDECIDED
    if not whole:
        reading += " One of the two arms is missing."
    measures = tuple(measure for part in known for measure in part.measures)
    return Verdict(status, reading, measures, known[0].edits, known[0].orders)


def growth_tracks_damage(evidence: Evidence, margin: float) -> Verdict:
    """Over the editors of a model: rank correlation of the norm's growth with damage.

    Each editor is one pair, its edit orders averaged. It says what goes together, not what causes what.
    """
    names = ("norms", "activations", "scores", "downstream")
    table = damage_by_editor({name: getattr(evidence, name) for name in names})
    pairs = {
        "perplexity": "log_perplexity",
        "S of edited facts at the end": "s",
        "cloze accuracy": "cloze",
        "residual norm on text": "residual",
    }
    measures = tuple(
        Measure(f"rank correlation of norm and {name}", rank_correlation(table["log_norm"], table[column]), "rho", 0.0)
        for name, column in pairs.items()
        if column in table and table[column].notna().any()
    )
    if not measures or "perplexity" not in measures[0].name:
        return Verdict(NOT_MEASURED, "No norms and perplexities of the same runs.")
    rho = measures[0].interval
    edits, orders = int(evidence.norms["step"].max()), int(evidence.norms["order"].nunique())
    if not rho.bounded:
        reading = f"{count(rho.n, 'editor')} are too few, or too alike, for a rank correlation."
        return Verdict(UNDECIDED, reading, measures, edits, orders)
    reading = (
        f"Over {count(rho.n, 'editor')}, growth of the norm and of perplexity after {count(edits, 'edit')} have a rank "
        f"correlation of {with_interval(rho, plus='+')}."
    )
    return Verdict(decide(rho, margin, UP), reading, measures, edits, orders)


def damage_by_editor(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Per editor in tables of one model, at the end of its run and averaged over orders: the norm's growth, and damage.

    Columns: `log_norm` (mean over edited matrices of the log ratio), `log_perplexity`, `s`, `cloze`, `residual` (ratio
    of the residual stream's norm, last layer, text); those that were measured.
    """
    norms = tables["norms"][tables["norms"]["role"] == "edited"]
    norms = norms[norms["step"] == norms.groupby("editor")["step"].transform("max")]
    ratios = np.log(norms["frobenius_ratio"].astype(float)).groupby(norms["editor"])
    table = pd.DataFrame({"log_norm": ratios.mean()})
    downstream = tables["downstream"]
    for column, task, metric in (
        ("log_perplexity", "heldout_text", "log_perplexity_change"),
        ("cloze", "cloze", "accuracy"),
    ):
        rows = downstream[(downstream["task"] == task) & (downstream["metric"] == metric)]
        table[column] = _at_end(rows, "value")
    activations = tables["activations"]
    residual = at_place(activations, PLACES[0], activations["layer"].max())
    table["residual"] = _at_end(residual, "norm_ratio")
    table["s"] = pd.Series({editor: final_s(part) for editor, part in tables["scores"].groupby("editor")}, dtype=float)
    return table


def _at_end(rows: pd.DataFrame, value: str) -> pd.Series:
    rows = rows[(rows["step"] > 0) & (rows["step"] == rows.groupby("editor")["step"].transform("max"))]
    return rows.groupby("editor")[value].mean()


def _with_arm(evidence: Evidence, kind: str, judged) -> Verdict:
    arm = evidence.arms.get(kind)
    if arm is None:
        return Verdict(NOT_MEASURED, f"The study has no arm {kind}-{evidence.editor}.")
    for run in (evidence, arm):
        if last_common_step(text_change(run)) is None:
            return Verdict(NOT_MEASURED, f"No perplexity of {run.editor} after an edit.")
    return judged(arm)


def _restored(evidence: Evidence, arm: Evidence, margin: float) -> Verdict:
    step, orders = last_common_step(text_change(arm)), text_change(arm)["order"].nunique()
    ratio = _paired_ratio(arm, evidence)
    ours, theirs = perplexity_ratio(arm), perplexity_ratio(evidence)
    kept = final_difference(arm, evidence)
    measures = (
        Measure("perplexity, norm restored over edited", ratio, "ratio", 1.0),
        Measure("S at the end, norm restored minus edited", kept, "points", 0.0),
        Measure("perplexity over unedited, edited", theirs, "ratio", 1.0),
        Measure("perplexity over unedited, norm restored", ours, "ratio", 1.0),
    )
    reading = (
        f"With its norm restored after every edit, {evidence.editor} ends with {with_interval(ratio)} times the "
        f"perplexity it has without; S falls under {FLOOR:.0%} {_when(arm)} with it and {_when(evidence)} without."
    )
    if not np.isfinite(theirs.estimate) and np.isfinite(ours.estimate):
        return Verdict(
            SUPPORTED, f"{evidence.editor} collapses; with its norm restored it does not.", measures, step, orders
        )
    if not np.isfinite(ratio.estimate):
        return Verdict(COLLAPSED, f"{evidence.editor} collapses with its norm restored.", measures, step, orders)
    status = decide(ratio, margin, DOWN)
    if not theirs.low > 1 / margin:
        reading += " The editor itself does too little damage to tell."
        status = UNDECIDED
    elif status == SUPPORTED and kept.high < -LOST:
        reading += (
            f" But it takes the edits back: S at the end is {with_interval(kept, plus='+')} against the editor's own."
        )
        status = UNDECIDED
    return Verdict(status, reading, measures, step, orders)


def _scaled(evidence: Evidence, arm: Evidence, margin: float) -> Verdict:
    step, orders = last_common_step(text_change(arm)), text_change(arm)["order"].nunique()
    ours, theirs = perplexity_ratio(arm), perplexity_ratio(evidence)
    measures = [
        Measure("perplexity over unedited, scaled without edits", ours, "ratio", 1.0),
        Measure("perplexity over unedited, edited", theirs, "ratio", 1.0),
    ]
    if (random := evidence.arms.get(RANDOM)) is not None and last_common_step(text_change(random)) is not None:
        name = "perplexity over unedited, random steps of the same norms"
        measures.append(Measure(name, perplexity_ratio(random), "ratio", 1.0))
    reading = (
        f"Scaled along the norms of {evidence.editor}, without any edit, the model has {with_interval(ours)} times the "
        f"perplexity of the unedited one; {evidence.editor} itself reaches {with_interval(theirs)}."
    )
    if not np.isfinite(ours.estimate):
        return Verdict(SUPPORTED, "Scaling alone makes the model collapse.", tuple(measures), step, orders)
    return Verdict(decide(ours, margin, UP), reading, tuple(measures), step, orders)


def _paired_ratio(arm: Evidence, edited: Evidence) -> Interval:
    """Ratio of perplexities at the same step and order.

    Both read the same windows, but only their means are kept: their spreads are added as if the windows were
    different, which makes the interval too wide rather than too narrow.
    """
    rows = [text_change(run) for run in (arm, edited)]
    step = min(map(last_common_step, rows))
    first, second = (frame[frame["step"] == step].set_index("order").sort_index() for frame in rows)
    orders = first.index.intersection(second.index)
    first, second = (frame.loc[orders].astype({"stderr": float}) for frame in (first, second))
    difference = {
        "value": first["value"] - second["value"],
        "stderr": np.hypot(first["stderr"], second["stderr"]),
        "n": np.minimum(first["n"], second["n"]),
    }
    return mean_over_orders(pd.DataFrame(difference)).map(np.exp)


def _when(run: Evidence) -> str:
    """At which edit the score of each order fell under the floor, in words."""
    times = [first_below(sliding_s(part), FLOOR) for _, part in run.scores.groupby("order")]
    fell = [time for time in times if time is not None]
    if not fell:
        return "never"
    when = f"at edit {min(fell):,}" if len(set(fell)) == 1 else f"at edits {min(fell):,} to {max(fell):,}"
    return when if len(fell) == len(times) else f"{when} (in {len(fell)} of {len(times)} orders)"
