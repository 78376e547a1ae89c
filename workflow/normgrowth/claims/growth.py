"""Does the norm of the edited matrices grow, does it rise edit by edit, and do the others stay still?

Norms are exact, so what one run ends with needs no interval; intervals are over edit orders.
"""

import re

import numpy as np
import pandas as pd

from normgrowth import effects
from normgrowth.claims.verdict import (
    COLLAPSED,
    NEGLIGIBLE,
    NOT_MEASURED,
    OPPOSITE,
    SUPPORTED,
    TOO_SHORT,
    Evidence,
    Measure,
    Rule,
    Verdict,
    count,
    decide,
    scope,
    with_interval,
)
from normgrowth.effects import Effect
from normgrowth.inference import Interval

STILL = 1e-9
"""Largest relative change of a norm that counts as none: rounding of its sum in float64."""

FEWEST_CALLS = 6
"""Calls below which even rises alone are no sure tendency: 2 * 0.5^6 = 0.03."""


def growth(evidence: Evidence, rule: Rule) -> Verdict:
    """The ratio of the edited matrices' norm to the unedited one at the end: geometric mean over matrices.

    The paper says that norms grow invariably, so one matrix that surely ends below the other margin is the opposite.
    """
    edited = evidence.norms[evidence.norms["role"] == "edited"]
    if edited[edited["step"] > 0].empty:
        return Verdict(NOT_MEASURED, "No norms after an edit.")
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
        return Verdict(COLLAPSED, reading, measures, edits, orders)
    status, p = decide(mean, rule)
    reading = (
        f"After {count(edits, 'edit')} the norm of the edited matrices is {with_interval(mean.interval)} times the "
        f"unedited {scope(orders)}."
    )
    shrank = {name: decide(effect, rule) for name, effect in each.items()}
    # Any of several matrices may seem to shrink by chance, so each is held to its share of the 5%.
    shrank = {name: p for name, (found, p) in shrank.items() if found == OPPOSITE and (p or 0.0) * len(each) < 0.05}
    if shrank and status != OPPOSITE:
        least = min(p or 0.0 for p in shrank.values()) * len(each)
        status, p = OPPOSITE, least or None
        reading += f" But it fell in {', '.join(shrank)}."
    return Verdict(status, reading, measures, edits, orders, p=p)


def rises_edit_by_edit(evidence: Evidence, rule: Rule) -> Verdict:
    """The share of the editor's calls after which the norm had risen, of those that changed it: an exact sign test."""
    edited = evidence.norms[evidence.norms["role"] == "edited"]
    if edited[edited["step"] > 0].empty:
        return Verdict(NOT_MEASURED, "No norms after an edit.")
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
        return Verdict(COLLAPSED, reading, measures, edits, orders)
    unmoved = f" ({ties} more left it as it was)" if ties else ""
    if moved < FEWEST_CALLS:
        reading = f"Only {count(moved, 'call')} changed the norm{unmoved}: too few for a sign test."
        return Verdict(TOO_SHORT, reading, measures, edits, orders)
    status, p = decide(effect, rule)
    after = "every one" if not falls else f"{rises:,}"
    reading = f"The norm rose after {after} of {count(moved, 'call')} that changed it{unmoved} {scope(orders)}."
    return Verdict(status, reading, measures, edits, orders, p=p)


def localized(evidence: Evidence, rule: Rule) -> Verdict:
    """Edited matrices grow while every control matrix keeps its norm exactly. Nothing here is estimated."""
    norms = evidence.norms
    control = norms[norms["role"] == "control"].reset_index(drop=True)
    if control[control["step"] > 0].empty:
        return Verdict(NOT_MEASURED, "No norms of control matrices after an edit.")
    edits, orders = int(norms["step"].max()), norms["order"].nunique()
    moved = (control["frobenius_ratio"] - 1).abs()
    changed = Measure("control matrices, largest change", Interval.bare(moved.max(), len(moved)), "ratio", 0.0)
    if not np.isfinite(moved).all():
        return Verdict(COLLAPSED, "The norm of a control matrix is not finite.", (changed,), edits, orders)
    if (moved > STILL).any():
        worst = control.loc[moved.idxmax()]
        by = f"changed its norm by a factor {worst['frobenius_ratio']:.6g}"
        reading = f"{worst['matrix']}, which no edit touches, {by}."
        return Verdict(OPPOSITE, reading, (changed,), edits, orders)
    edited, broken_at = _finite(norms[norms["role"] == "edited"])
    ends = np.exp(final_log_ratios(edited).mean(axis=1)).dropna()
    if ends.empty:
        return Verdict(COLLAPSED, "The norm of an edited matrix is not finite from the first edit on.", (changed,))
    least = effects.exact(ends.min(), len(ends))
    measures = (Measure("edited matrices, geometric mean, least of all orders", least.interval, "ratio", 1.0), changed)
    until = f" before it broke at edit {broken_at:,}" if broken_at else ""
    least_of = "at least " if len(ends) > 1 else ""
    flat = f"all {control['matrix'].nunique()} control matrices kept their norm exactly"
    reading = f"The edited matrices' norm is {least_of}{ends.min():.3g} times the unedited{until}; {flat}."
    if decide(least, rule)[0] == SUPPORTED:
        return Verdict(SUPPORTED, reading, measures, edits, orders)
    return Verdict(NEGLIGIBLE, f"There is no growth to be confined: {reading}", measures, edits, orders)


def imbalance(evidence: Evidence, rule: Rule) -> Verdict:
    """Norm of the edited matrices over that of the same kind of matrix in other layers, relative to before any edit."""
    norms = evidence.norms.assign(kind=evidence.norms["matrix"].map(_kind))
    edited, broken_at = _finite(norms[norms["role"] == "edited"])
    others = norms[(norms["role"] == "control") & norms["kind"].isin(set(edited["kind"]))]
    if others.empty or edited[edited["step"] > 0].empty:
        return Verdict(NOT_MEASURED, "No norms of edited matrices and of the same kind of matrix in other layers.")
    edits, orders = int(norms["step"].max()), norms["order"].nunique()
    start, end = (np.exp(_log_gap(edited, others, last)) for last in (False, True))
    effect = over_orders(np.log(end / start))
    layers = others[others["step"] == 0].groupby("matrix")["frobenius"].mean()
    spread = float(layers.max() / layers.min())
    measures = (
        Measure("edited layers over the others, relative to before", effect.interval, "ratio", 1.0),
        Measure("edited layers over the others, before", Interval.bare(start.mean(), orders), "ratio", 1.0),
        Measure("edited layers over the others, at the end", Interval.bare(end.mean(), orders), "ratio", 1.0),
        Measure("other layers, largest over smallest", Interval.bare(spread, len(layers)), "ratio", 1.0),
    )
    if broken_at is not None:
        return Verdict(COLLAPSED, f"The norm is not finite from edit {broken_at:,} on.", measures, edits, orders)
    status, p = decide(effect, rule)
    reading = (
        f"The edited layers' norm is {end.mean():.3g} times that of the other layers after {count(edits, 'edit')}, and "
        f"was {start.mean():.3g} times: {with_interval(effect.interval)} times as much {scope(orders)}. Among the "
        f"other layers the largest is {spread:.3g} times the smallest."
    )
    return Verdict(status, reading, measures, edits, orders, p=p)


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
    """Whether the mean log norm of the edited matrices rose (1), fell (-1) or stayed (0) at each step of one order."""
    table = chain.pivot(index="step", columns="matrix", values="frobenius_ratio").sort_index()
    steps = np.diff(np.log(table).mean(axis=1).to_numpy())
    return np.where(np.abs(steps) <= STILL, 0, np.sign(steps))


def _log_gap(edited: pd.DataFrame, others: pd.DataFrame, last: bool) -> pd.Series:
    """Mean log norm of the edited matrices less that of the others, by order, before any edit or at the end."""
    step = edited["step"].max() if last else 0
    logs = [
        np.log(part.loc[part["step"] == step].set_index("order")["frobenius"].astype(float)).groupby(level=0).mean()
        for part in (edited, others)
    ]
    return logs[0] - logs[1]


def _kind(matrix: str) -> str:
    """A matrix's name without the number of its layer."""
    return re.sub(r"\.\d+\.", ".*.", matrix)
