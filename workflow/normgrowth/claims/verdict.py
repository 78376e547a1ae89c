"""What a verdict is, and the one rule by which an effect decides.

A claim has a direction and a margin, the smallest effect that counts. Where the effect surely lies beyond the margin on
the claimed side the claim is supported; beyond the margin of the other side, the opposite holds; surely between the
two, the effect is negligible. Where none of this is sure the run leaves the claim undecided.
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from normgrowth import seeds
from normgrowth.effects import Effect
from normgrowth.inference import CONFIDENCE, Interval, holm

SUPPORTED = "supported"
NEGLIGIBLE = "negligible"
OPPOSITE = "opposite"
UNDECIDED = "undecided"
TOO_SHORT = "too short"
COLLAPSED = "collapsed"
NOT_MEASURED = "not measured"
STATUSES = (SUPPORTED, NEGLIGIBLE, OPPOSITE, UNDECIDED, TOO_SHORT, COLLAPSED, NOT_MEASURED)
"""In the order in which they are counted."""

UP, DOWN = "up", "down"

ALL = "all editors"

LEVEL = (1 - CONFIDENCE) / 2
"""One-sided level of every test, so that a test and a 95% interval say the same."""


@dataclass(frozen=True)
class Evidence:
    """The rows of one model and editor (ALL for all its editors), and the seed of every resampling on them."""

    model: str
    editor: str
    norms: pd.DataFrame
    activations: pd.DataFrame
    subspaces: pd.DataFrame
    scores: pd.DataFrame
    downstream: pd.DataFrame
    seed: int
    arms: "dict[str, Evidence]" = field(default_factory=dict)
    """The control arms of this editor, by kind."""

    def rng(self, *purpose: str) -> np.random.Generator:
        """The generator of resampling for one purpose, the same whenever it is asked for."""
        return np.random.default_rng(seeds.derive(self.seed, "claims", self.model, self.editor, *purpose))


class Rule(NamedTuple):
    """What an effect is compared with.

    `margin` is on the claimed side of no effect, `other` on the other side; without `other` the effect has one side
    only. `zone` holds the effects that are too small to count; by default all between the two margins. A wider zone
    lets runs too short to tell small effects apart still say that there is none of a size that matters.
    """

    direction: str
    margin: float
    other: float | None = None
    zone: tuple[float, float] | None = None

    @property
    def negligible(self) -> tuple[float, float]:
        """Bounds of the effects that are too small to count."""
        if self.zone:
            return self.zone
        other = self.other if self.other is not None else -np.inf if self.direction == UP else np.inf
        return (min(self.margin, other), max(self.margin, other))


@dataclass(frozen=True)
class Measure:
    """One measured quantity: its name, the effect with its interval, and what its value would be without any effect."""

    name: str
    interval: Interval
    unit: str  # ratio, cosine, points
    no_effect: float


@dataclass(frozen=True)
class Verdict:
    """The outcome of one claim for one model and editor, at one place where the claim is judged at several.

    The effect and interval are those of the first measure, which decides; the others stand beside it. `p` is the
    two-sided p-value of the test that decided or came nearest to it; None where nothing was tested.
    """

    status: str
    reading: str
    measures: tuple[Measure, ...] = field(default=())
    edits: int | None = None
    orders: int = 0
    where: str = ""
    p: float | None = None

    @property
    def effect(self) -> Interval:
        """The deciding measure's interval."""
        return self.measures[0].interval if self.measures else Interval.bare()


def decide(effect: Effect, rule: Rule) -> tuple[str, float | None]:
    """What an effect says about a claim, and the two-sided p-value of the test that says it.

    An effect without an interval comes from too few units: the run is too short. An exact number has no p-value.
    """
    if not effect.bounded:
        return TOO_SHORT, None
    low, high = rule.negligible
    within = max(effect.p_above(low) if np.isfinite(low) else 0.0, effect.p_below(high) if np.isfinite(high) else 0.0)
    claimed, against = (effect.p_above, effect.p_below) if rule.direction == UP else (effect.p_below, effect.p_above)
    beyond = claimed(rule.margin)
    opposite = 1.0 if rule.other is None else against(rule.other)
    found = {NEGLIGIBLE: within, SUPPORTED: beyond, OPPOSITE: opposite}
    p = min(1.0, 2 * min(found.values()))
    status = next((word for word, tail in found.items() if tail <= LEVEL), UNDECIDED)
    if effect.error == 0:
        return status, None
    return status, (min(1.0, 2 * found[status]) if status in found else p)


def corrected(verdicts: list[Verdict]) -> list[Verdict]:
    """Verdicts of one claim at one place, p-values adjusted for the number of runs (Holm).

    What the correction leaves unsure is undecided.
    """
    adjusted = holm([np.nan if verdict.p is None else verdict.p for verdict in verdicts])
    found = []
    for verdict, p in zip(verdicts, adjusted, strict=True):
        if verdict.p is None:
            found.append(verdict)
            continue
        status, reading = verdict.status, verdict.reading
        if status in (SUPPORTED, NEGLIGIBLE, OPPOSITE) and p > 2 * LEVEL:
            reading += f" Among {np.isfinite(adjusted).sum()} runs that is not sure enough ({status} by itself)."
            status = UNDECIDED
        found.append(replace(verdict, status=status, reading=reading, p=float(p)))
    return found


def counts(statuses: list[str]) -> dict[str, int]:
    """How often each status occurs."""
    return {status: statuses.count(status) for status in STATUSES if status in statuses}


def last_common_step(frame: pd.DataFrame) -> int | None:
    """The last step after 0 that was measured in every order of `frame`; None where there is none."""
    steps = [set(chain.loc[chain["step"] > 0, "step"]) for _, chain in frame.groupby("order")]
    common = set.intersection(*steps) if steps else set()
    return int(max(common)) if common else None


def with_interval(interval: Interval, digits: int = 3, plus: str = "") -> str:
    """`1.43 (95% interval 1.39 to 1.47)`, the bare number where it is exact, or the number with a note."""
    shown = f"{interval.estimate:{plus}.{digits}g}"
    if not interval.bounded:
        return f"{shown} (no interval)"
    if interval.low == interval.high:
        return shown
    return f"{shown} (95% interval {interval.low:{plus}.{digits}g} to {interval.high:{plus}.{digits}g})"


def scope(orders: int) -> str:
    """What an interval speaks of: one run says nothing about other edit orders."""
    return "in this run" if orders == 1 else f"over {orders} edit orders"


def count(number: int, thing: str) -> str:
    """`1 order`, `3 orders`, `1,000 edits`."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
