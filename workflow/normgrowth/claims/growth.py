"""Growth of norms: of the edited matrices, edit by edit, against other matrices, and in training of a whole model.

Norms are exact, so the final norm of one run needs no interval; intervals are over edit orders, or training runs.
"""

import re

import numpy as np
import pandas as pd

from normgrowth.analysis import effects
from normgrowth.analysis.effects import Effect
from normgrowth.analysis.intervals import Interval
from normgrowth.claims.claim import Evidence
from normgrowth.claims.verdict import LEVEL, Measure, Rule, Status, Tests, Verdict, count, decide, scope, with_interval

STILL = 1e-9
"""Largest relative change of a norm that counts as none: rounding of its sum in float64."""

UNTRAINED = 1e-6
"""Largest relative change of a matrix's norm that counts as none in training: such a matrix was not updated."""

FEWEST_CALLS = 6
"""Fewest calls of the editor that can show a tendency: six rises alone have p = 2 * 0.5^6 = 0.03."""

FEWEST_OTHERS = 2
"""Fewest unedited layers that show how far layers differ among themselves."""

ROSE = 1.01
"""Least rise of the ratio to other layers; below it, edited layers stood out before any edit."""


def growth(evidence: Evidence, rule: Rule) -> Verdict:
    """The ratio of the edited matrices' norm to the unedited one at the end: geometric mean over matrices.

    The paper says that norms grow invariably, so one matrix that surely ends below the other margin is the opposite.
    """
    edited = evidence.norms[evidence.norms["role"] == "edited"]
    if edited[edited["step"] > 0].empty:
        return Verdict(Status.NOT_MEASURED, "No norms after an edit.")
    edits, orders = int(edited["step"].max()), edited["order"].nunique()
    sound, broken_at = _finite(edited)
    ends = final_log_ratios(sound)
    mean = over_orders(ends.mean(axis=1))
    each = {name: over_orders(ends[name]) for name in ends.columns}
    measures = (
        Measure("edited matrices, geometric mean", mean.interval, "ratio", 1.0),
        *(Measure(name, effect.interval, "ratio", 1.0) for name, effect in each.items() if len(each) > 1),
    )
    if broken_at is not None:
        before = f"; before that its ratio was {mean.interval.estimate:.3g}" if ends.notna().any(axis=None) else ""
        reading = f"The norm is not finite from edit {broken_at:,} on{before}."
        return Verdict(Status.COLLAPSED, reading, measures, edits, orders)
    status, tests = decide(mean, rule)
    reading = (
        f"After {count(edits, 'edit')} the norm of the edited matrices is {with_interval(mean.interval)} times the "
        f"unedited {scope(orders)}."
    )
    # Any of several matrices may seem to shrink by chance, so the 5% are divided among them (Bonferroni).
    shrank: dict[str, float | None] = {}
    for name, effect in each.items():
        word, found = decide(effect, rule)
        p = None if found is None else found.opposite * len(each)
        if word == Status.OPPOSITE and (p is None or p <= 2 * LEVEL):
            shrank[name] = p
    if shrank and status != Status.OPPOSITE:
        status = Status.OPPOSITE
        tested = [p for p in shrank.values() if p is not None]
        tests = Tests(1.0, min(tested), 1.0) if len(tested) == len(shrank) else None
        reading += f" But it fell in {', '.join(shrank)}."
    return Verdict(status, reading, measures, edits, orders, tests=tests)


def rises_edit_by_edit(evidence: Evidence, rule: Rule) -> Verdict:
    """The share of the editor's calls after which the norm had risen, of those that changed it: an exact sign test.

    Calls of all orders are the units: the verdict is about the calls of these runs, not about other orders.
    """
    edited = evidence.norms[evidence.norms["role"] == "edited"]
    if edited[edited["step"] > 0].empty:
        return Verdict(Status.NOT_MEASURED, "No norms after an edit.")
    edits, orders = int(edited["step"].max()), edited["order"].nunique()
    sound, broken_at = _finite(edited)
    signs = np.concatenate([_signs(chain) for _, chain in sound.groupby("order")])
    rises, falls, ties = (int((signs == sign).sum()) for sign in (1, -1, 0))
    moved = rises + falls
    effect = effects.of_share(rises, moved)
    measures = (
        Measure("calls after which the norm had risen", effect.interval, "share", 0.5),
        Measure("calls after which the norm had fallen", Interval.bare(falls, moved), "calls", 0.0),
    )
    if broken_at is not None:
        reading = f"The norm is not finite from edit {broken_at:,} on; before, it rose after {rises} of {moved} calls."
        return Verdict(Status.COLLAPSED, reading, measures, edits, orders)
    unmoved = f" ({ties} more left it as it was)" if ties else ""
    if moved < FEWEST_CALLS:
        reading = f"Only {count(moved, 'call')} changed the norm{unmoved}: too few for a sign test."
        return Verdict(Status.TOO_SHORT, reading, measures, edits, orders)
    status, tests = decide(effect, rule)
    of_runs = scope(1) if orders == 1 else f"in these {orders} runs together"
    after = "every one" if not falls else f"{rises:,}"
    reading = f"The norm rose after {after} of {count(moved, 'call')} that changed it{unmoved} {of_runs}."
    return Verdict(status, reading, measures, edits, orders, tests=tests)


def localized(evidence: Evidence, rule: Rule) -> Verdict:
    """Growth of edited matrices while every control matrix keeps its norm exactly. Nothing here is estimated."""
    norms = evidence.norms
    control = norms[norms["role"] == "control"].reset_index(drop=True)
    if control[control["step"] > 0].empty:
        return Verdict(Status.NOT_MEASURED, "No norms of control matrices after an edit.")
    edits, orders = int(norms["step"].max()), norms["order"].nunique()
    moved = (control["frobenius_ratio"] - 1).abs()
    changed = Measure("control matrices, largest change", Interval.bare(moved.max(), len(moved)), "ratio", 0.0)
    if not np.isfinite(moved).all():
        return Verdict(Status.COLLAPSED, "The norm of a control matrix is not finite.", (changed,), edits, orders)
    if (moved > STILL).any():
        worst = control.loc[moved.idxmax()]
        by = f"changed its norm by a factor {worst['frobenius_ratio']:.6g}"
        reading = f"{worst['matrix']}, which no edit touches, {by}."
        return Verdict(Status.OPPOSITE, reading, (changed,), edits, orders)
    edited, broken_at = _finite(norms[norms["role"] == "edited"])
    if broken_at is not None:
        reading = f"The norm of an edited matrix is not finite from edit {broken_at:,} on."
        return Verdict(Status.COLLAPSED, reading, (changed,), edits, orders)
    ends = np.exp(final_log_ratios(edited).mean(axis=1)).dropna()
    if ends.empty:
        return Verdict(Status.NOT_MEASURED, "No norms of edited matrices after an edit.", (changed,), edits, orders)
    least = effects.exact(ends.min(), len(ends))
    measures = (Measure("edited matrices, geometric mean, least of all orders", least.interval, "ratio", 1.0), changed)
    least_of = "at least " if len(ends) > 1 else ""
    flat = f"all {control['matrix'].nunique()} control matrices kept their norm exactly"
    reading = f"The edited matrices' norm is {least_of}{ends.min():.3g} times the unedited; {flat}."
    if decide(least, rule)[0] == Status.SUPPORTED:
        return Verdict(Status.SUPPORTED, reading, measures, edits, orders)
    return Verdict(Status.NEGLIGIBLE, f"There is no growth to be confined: {reading}", measures, edits, orders)


def imbalance(evidence: Evidence, rule: Rule) -> Verdict:
    """Norm of the edited matrices at the end over the largest and smallest of the same kind in other layers.

    Supported only where they stand out because of the edits: where the ratio to the others' mean also surely rose
    beyond `ROSE`.
    """
    norms = evidence.norms.assign(kind=evidence.norms["matrix"].map(_kind))
    edited, broken_at = _finite(norms[norms["role"] == "edited"])
    others = norms[(norms["role"] == "control") & norms["kind"].isin(set(edited["kind"]))]
    edits, orders = int(norms["step"].max()), norms["order"].nunique()
    if broken_at is not None:
        return Verdict(Status.COLLAPSED, f"The norm is not finite from edit {broken_at:,} on.", (), edits, orders)
    if others.empty or edited[edited["step"] > 0].empty:
        return Verdict(
            Status.NOT_MEASURED, "No norms of edited matrices and of the same kind of matrix in other layers."
        )
    ours = {last: _log_norms(edited, last).mean(axis=1) for last in (False, True)}
    theirs = {last: _log_norms(others, last) for last in (False, True)}
    before, gap = (ours[last] - theirs[last].mean(axis=1) for last in (False, True))
    over_largest = over_orders(ours[True] - theirs[True].max(axis=1))
    over_smallest = over_orders(ours[True] - theirs[True].min(axis=1))
    rise, layers = over_orders(gap - before), theirs[True].shape[1]
    measures = (
        Measure("edited layers over the largest of the others, at the end", over_largest.interval, "ratio", 1.0),
        Measure("edited layers over the smallest of the others, at the end", over_smallest.interval, "ratio", 1.0),
        Measure("edited layers over the others' mean, at the end", over_orders(gap).interval, "ratio", 1.0),
        Measure("edited layers over the others' mean, before", over_orders(before).interval, "ratio", 1.0),
        Measure("edited layers over the others' mean, end over before", rise.interval, "ratio", 1.0),
    )
    reading = (
        f"The edited layers' norm is {with_interval(over_largest.interval)} times the largest and "
        f"{with_interval(over_smallest.interval)} times the smallest of the {count(layers, 'other layer')} after "
        f"{count(edits, 'edit')} {scope(orders)}. It was {np.exp(before.mean()):.3g} times their mean before any edit, "
        f"and is {np.exp(gap.mean()):.3g} times at the end."
    )
    if layers < FEWEST_OTHERS:
        return Verdict(Status.TOO_SHORT, f"{reading} One other layer shows no spread.", measures, edits, orders)
    if not over_largest.bounded:
        return Verdict(Status.TOO_SHORT, reading, measures, edits, orders)
    tests = Tests.of_tails(
        max(over_largest.p_above(rule.margin), rise.p_above(ROSE)),
        over_smallest.p_below(1.0),
        max(over_largest.p_below(rule.margin), over_smallest.p_above(1.0)),
    )
    exact = over_largest.error == over_smallest.error == rise.error == 0
    return Verdict(tests.status, reading, measures, edits, orders, tests=None if exact else tests)


def whole_model_grows(evidence: Evidence, rule: Rule) -> Verdict:
    """Ratio of the updated matrices' norms to those before training: geometric mean over matrices, then over runs.

    The paper says that norms always grow. Matrices of one training run depend on each other, so the unit is a training
    run: its matrices' mean growth is exact, and intervals are over runs of several seeds.
    """
    steps = int(evidence.norms["step"].max())
    last = evidence.norms[evidence.norms["step"] == steps]
    start = evidence.norms[evidence.norms["step"] == 0].groupby("matrix")["frobenius"].mean()
    updated = last[last["drift_frobenius"] > UNTRAINED * last["matrix"].map(start)]
    if updated.empty:
        return Verdict(Status.NOT_MEASURED, "No matrix was updated.")
    runs = updated["order"].nunique()
    if not np.isfinite(updated["frobenius_ratio"].astype(float)).all():
        return Verdict(Status.COLLAPSED, "A matrix is no longer finite.", (), steps, runs)
    logs = np.log(updated["frobenius_ratio"].astype(float))
    effect = over_orders(logs.groupby(updated["order"]).mean())
    of_matrices = np.exp(logs.groupby(updated["matrix"]).mean())
    least, most, grown = of_matrices.idxmin(), of_matrices.idxmax(), int((of_matrices > 1).sum())
    measures = (
        Measure("updated matrices, geometric mean", effect.interval, "ratio", 1.0),
        Measure("share of updated matrices that grew", Interval.bare(grown / len(of_matrices), runs), "share", 0.5),
        Measure(f"least: {least}", Interval.bare(of_matrices[least], runs), "ratio", 1.0),
        Measure(f"most: {most}", Interval.bare(of_matrices[most], runs), "ratio", 1.0),
    )
    status, tests = decide(effect, rule)
    over = "in one training run" if runs == 1 else f"over {runs} training runs"
    reading = (
        f"The updated matrices' norms end at {with_interval(effect.interval, 6)} times their start on the geometric "
        f"mean {over}; {grown} of {count(len(of_matrices), 'updated matrix', 'updated matrices')} grew, by "
        f"{of_matrices[least]:.4g} ({least}) to {of_matrices[most]:.4g} times."
    )
    return Verdict(status, reading, measures, steps, runs, tests=tests)


def final_log_ratios(edited: pd.DataFrame) -> pd.DataFrame:
    """Log of each edited matrix's norm over its unedited one at the end of each order [orders, matrices]."""
    last = edited[edited["step"] == edited.groupby("order")["step"].transform("max")]
    last = last[last["step"] > 0]
    return np.log(last.pivot(index="order", columns="matrix", values="frobenius_ratio").astype(float))


def over_orders(logs: pd.Series) -> Effect:
    """A ratio from its logarithm in each order: exact in one order, with a t interval over several."""
    logs = logs.dropna()
    return (effects.exact(logs.iloc[0]) if len(logs) == 1 else effects.of_mean(logs)).exp()


def _finite(edited: pd.DataFrame) -> tuple[pd.DataFrame, int | None]:
    """The rows before the first step at which a norm is not finite, and that step where there is one."""
    broken = edited.loc[~np.isfinite(edited["frobenius_ratio"].astype(float)), "step"]
    return (edited, None) if broken.empty else (edited[edited["step"] < broken.min()], int(broken.min()))


def _signs(chain: pd.DataFrame) -> np.ndarray:
    """Direction of the mean log norm of the edited matrices at each step of one order: rose 1, fell -1, stayed 0."""
    table = chain.pivot(index="step", columns="matrix", values="frobenius_ratio").sort_index()
    steps = np.diff(np.log(table).mean(axis=1).to_numpy())
    return np.where(np.abs(steps) <= STILL, 0, np.sign(steps))


def _log_norms(rows: pd.DataFrame, last: bool) -> pd.DataFrame:
    """Log norm of each matrix [orders, matrices], before any edit or at the end."""
    rows = rows[rows["step"] == (rows["step"].max() if last else 0)]
    return np.log(rows.pivot(index="order", columns="matrix", values="frobenius").astype(float))


def _kind(matrix: str) -> str:
    """A matrix's name without the number of its layer."""
    return re.sub(r"\.\d+\.", ".*.", matrix)
